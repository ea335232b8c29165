"""How the arrays of an objective are pickled: with their order in memory, which decides bits, or by a file's name."""

import mmap
import os
from typing import NamedTuple

import numpy as np

from jitlogreg.targets.base import layout


class PackedArray(NamedTuple):
    """An array that is pickled with its data."""

    rows: np.ndarray
    """The array, contiguous; a matrix in F order is transposed, since a pickle keeps C order."""
    order: str

    def unpacked(self) -> np.ndarray:
        """The array in its order, aligned."""
        rows = np.require(self.rows, requirements=["C", "A"])  # an array in a pickle's buffer may be misaligned
        if self.order == "C":
            return rows
        if rows.shape[1] == 1:  # F order with one row: contiguous numbers would be C order
            rows = np.repeat(rows, 2, axis=1)[:, :1]
        return rows.T


class MappedFile(NamedTuple):
    """A view of a memory-mapped file: it is pickled by the file's name, and mapped read-only when it is loaded."""

    filename: str
    offset: int
    dtype: np.dtype
    shape: tuple
    strides: tuple
    extent: int
    """How many bytes of the file the view spans."""
    version: tuple
    """The size of the file and when it was last written."""

    def unpacked(self) -> np.ndarray:
        """The view.

        Raises
        ------
        ValueError
            If the file has changed: nothing would check its numbers.
        OSError
            If it cannot be read.
        """
        if _version(self.filename) != self.version:
            raise ValueError(
                f"{self.filename}: expected the file as it was when the objective was pickled or copied, got one that "
                "has been written since: make a new Objective of it"
            )
        span = np.memmap(self.filename, np.uint8, "r", self.offset, (self.extent,))
        return np.ndarray(self.shape, self.dtype, span, 0, self.strides)


def packed(attributes) -> dict:
    """The attributes of an object, with arrays packed, also those in tuples.

    An array that occurs twice is pickled once, and loaded as one.
    """
    return _map_values(attributes, lambda value: pack(value) if isinstance(value, np.ndarray) else value)


def unpacked(attributes) -> dict:
    """The attributes that `packed` was given."""
    return _map_values(
        attributes, lambda value: value.unpacked() if isinstance(value, (PackedArray, MappedFile)) else value
    )


def _map_values(attributes, change):
    changed = {}

    def of(value):
        if type(value) is tuple:
            return tuple(map(of, value))
        if id(value) not in changed:
            changed[id(value)] = change(value)
        return changed[id(value)]

    return {name: of(value) for name, value in attributes.items()}


def pack(array) -> PackedArray | MappedFile:
    """What is pickled in place of an array: the name of the file that it is mapped from, or its data."""
    return _mapped_file(array) or _packed_array(array)


def unpack(what) -> np.ndarray:
    """The array that `pack` was given."""
    return what.unpacked()


def keeps_by_itself(array) -> bool:
    """Whether a plain pickle of an array keeps all that `pack` does."""
    return array.flags.c_contiguous and _mapped_file(array) is None


def _packed_array(array):
    lies = layout(array.shape, array.strides, array.itemsize) if array.ndim == 2 else None
    if lies is not None and lies[0] == "F":
        return PackedArray(np.ascontiguousarray(array.T).view(np.ndarray), "F")
    return PackedArray(np.ascontiguousarray(array).view(np.ndarray), "C")


def _mapped_file(array):
    """The array by its file's name; None if it is not mapped from a file that another process could map."""
    whole = _memmap_of(array)
    if whole is None or array.size == 0 or any(stride < 0 for stride in array.strides):
        return None
    if whole.mode == "c" or whole.filename is None:
        return None
    if whole.mode != "r":
        whole.flush()  # which updates the file's time as well
    extent = sum((n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)) + array.itemsize
    offset, filename = whole.offset + _address(array) - _address(whole), str(whole.filename)
    try:
        version = _version(filename)
    except OSError:  # the file has been removed; its memory is still mapped
        return None
    if version[0] < offset + extent:
        return None
    return MappedFile(filename, offset, array.dtype, array.shape, array.strides, extent, version)


def _memmap_of(array):
    """The memmap whose memory an array is a view of; None if there is none."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array
        array = array.base
    return None


def _address(array):
    return array.__array_interface__["data"][0]


def _version(filename):
    status = os.stat(filename)  # noqa: PTH116 (the name as NumPy has it)
    return status.st_size, status.st_mtime_ns

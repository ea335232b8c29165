"""How the arrays of an objective travel to another process: in their order, which decides bits, or by a file's name."""

import mmap
import os
from typing import NamedTuple

import numpy as np

from jitlogreg.targets.base import layout


class Numbers(NamedTuple):
    """An array that takes its numbers along."""

    rows: np.ndarray
    """The array, contiguous; of a matrix in F order the transposed one, since a pickle keeps C order."""
    order: str

    def unpacked(self) -> np.ndarray:
        """The array in its order, aligned."""
        rows = np.require(self.rows, requirements=["C", "A"])  # which what lies in a pickle's buffer need not be
        if self.order == "C":
            return rows
        if rows.shape[1] == 1:  # one row in F order: side by side its numbers would be in C order
            rows = np.repeat(rows, 2, axis=1)[:, :1]
        return rows.T


class Mapped(NamedTuple):
    """A view of a file that is mapped into memory: it travels by name, and is mapped read-only where it arrives."""

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
            If the file is another one than it was: nothing would check its numbers.
        OSError
            If it cannot be read.
        """
        if _version(self.filename) != self.version:
            raise ValueError(
                f"{self.filename} has been written since the objective was pickled or copied; accepted is the file as "
                "it was, or a new Objective of it"
            )
        span = np.memmap(self.filename, np.uint8, "r", self.offset, (self.extent,))
        return np.ndarray(self.shape, self.dtype, span, 0, self.strides)


def packed(attributes) -> dict:
    """The attributes of an object, with what arrays travel as in place of arrays, and of those in tuples.

    An array that is there twice is there once in a pickle, and comes out as one.
    """
    return _each(attributes, lambda value: pack(value) if isinstance(value, np.ndarray) else value)


def unpacked(attributes) -> dict:
    """The attributes that `packed` made these of."""
    return _each(attributes, lambda value: value.unpacked() if isinstance(value, (Numbers, Mapped)) else value)


def _each(attributes, change):
    done = {}

    def changed(value):
        if type(value) is tuple:
            return tuple(map(changed, value))
        if id(value) not in done:
            done[id(value)] = change(value)
        return done[id(value)]

    return {name: changed(value) for name, value in attributes.items()}


def pack(array) -> Numbers | Mapped:
    """What an array travels as: a view of a mapped file by name, another one with its numbers."""
    return _mapped(array) or _numbers(array)


def unpack(what) -> np.ndarray:
    """The array that `pack` made this of."""
    return what.unpacked()


def keeps_by_itself(array) -> bool:
    """Whether a plain pickle of an array keeps all that `pack` does."""
    return array.flags.c_contiguous and _mapped(array) is None


def _numbers(array):
    lies = layout(array.shape, array.strides, array.itemsize) if array.ndim == 2 else None
    if lies is not None and lies[0] == "F":
        return Numbers(np.ascontiguousarray(array.T).view(np.ndarray), "F")
    return Numbers(np.ascontiguousarray(array).view(np.ndarray), "C")


def _mapped(array):
    """The array by its file's name; None if it is of none that others can see."""
    whole = _map_of(array)
    if (
        whole is None
        or array.size == 0
        or any(step < 0 for step in array.strides)
        or whole.mode == "c"
        or whole.filename is None
    ):
        return None
    if whole.mode != "r":
        whole.flush()  # which sets the file's time, too
    begin = _address(array) - _address(whole)
    extent = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)) + array.itemsize
    offset, filename = whole.offset + begin, str(whole.filename)
    try:
        version = _version(filename)
    except OSError:  # the name is gone; the memory is not
        return None
    if version[0] < offset + extent:
        return None
    return Mapped(filename, offset, array.dtype, array.shape, array.strides, extent, version)


def _map_of(array):
    """The memmap that has opened the file whose memory an array is a view of; None if there is none."""
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

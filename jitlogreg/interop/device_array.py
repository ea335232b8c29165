"""A view of an array on a GPU, whichever library it belongs to.

CUDA packages are imported only once there is such an array.
"""

from typing import NamedTuple

import numpy as np

from jitlogreg.interop.libraries import DEFAULT_STREAM

_ON_GPU = (2, 13)  # DLPack's device types of CUDA memory and of CUDA managed memory


class Flags(NamedTuple):
    """As `ndarray.flags`. An array is aligned if every element lies at a multiple of its size."""

    c_contiguous: bool
    writeable: bool
    aligned: bool


class DeviceArray:
    """An array on a GPU: its address, layout and library.

    Parameters
    ----------
    owner : object
        The library's array, which keeps the memory alive.
    library : Library
    address, device, stream : int
        The address of the first element; the ordinal of the GPU; the handle of the stream for all work with the array,
        which is the library's current stream at the time of the call.
    shape, strides : tuple of int
        Strides in bytes.
    dtype : np.dtype
    readonly : bool
    exported : object
        The export by the array protocol, which lives as long as this view.
    """

    def __init__(self, owner, library, address, device, stream, shape, strides, dtype, readonly=False, exported=None):
        self.owner, self.library = owner, library
        self.address, self.device, self.stream = address, device, stream
        self.shape, self.strides, self.dtype, self.readonly = shape, strides, dtype, readonly
        self.exported = exported

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements follow each other in C order."""
        expected = self.itemsize
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return self.size == 0
            expected *= length
        return True

    @property
    def flags(self) -> Flags:
        """The counterparts of the flags of an ndarray."""
        aligned = not any(number % self.itemsize for number in (self.address, *self.strides))
        return Flags(self.is_contiguous, not self.readonly, aligned)

    def empty(self, shape, dtype) -> "DeviceArray":
        """A new array of the same library on the same device, uninitialised."""
        return self._like(self.library.empty(self.device, shape, np.dtype(dtype)))

    def astype(self, dtype) -> "DeviceArray":
        """A new array with these elements in another dtype, contiguous."""
        return self._like(self.library.astype(self.device, self.owner, np.dtype(dtype))).contiguous()

    def contiguous(self) -> "DeviceArray":
        """The array itself, or a copy if it is not contiguous."""
        return self if self.is_contiguous else self._like(self.library.contiguous(self.device, self.owner))

    def copy(self) -> "DeviceArray":
        """A contiguous copy, made through the host."""
        return self.from_numpy(self.to_numpy())

    def to_numpy(self) -> np.ndarray:
        """The elements, in the memory of the CPU."""
        return self.library.to_numpy(self.device, self.owner)

    def from_numpy(self, values) -> "DeviceArray":
        """A new array of the same library, on the same device, with these values."""
        return self.empty(values.shape, values.dtype).assign(values)

    def assign(self, values) -> "DeviceArray":
        """Write values of the same shape to a contiguous array."""
        if self.size:
            self.library.assign(self.device, self.owner, np.require(values, self.dtype, ["C", "W"]))
        return self

    def rows(self, which) -> "DeviceArray":
        """A view of some rows."""
        return self._like(self.owner[which])

    def _like(self, owner):
        return device_array(owner, self.library, self.stream)


def device_array(owner, library, stream=None) -> DeviceArray:
    """The view of a library's array for work on this stream, by default the library's current one."""
    if stream is None:
        stream = library.stream(library.device(owner)) or DEFAULT_STREAM
    return DeviceArray(owner, library, stream=stream, **_view(owner, stream))


def _view(owner, stream):
    """An array's address and layout, by DLPack if it supports that, else by the CUDA array interface.

    DLPack's exporter receives the stream of this call, and makes it wait for pending writes. PyTorch's CUDA array
    interface names no stream.
    """
    from cuda.core.utils import StridedMemoryView

    view = StridedMemoryView.from_any_interface(owner, stream_ptr=stream)
    dtype, shape, steps = view.dtype, tuple(view.shape), view.strides
    if steps is None:  # in C order
        steps = [1] * len(shape)
        for axis in range(len(shape) - 1, 0, -1):
            steps[axis - 1] = steps[axis] * shape[axis]
    return {
        "address": view.ptr,
        "device": view.device_id,
        "shape": shape,
        "strides": tuple(step * dtype.itemsize for step in steps),
        "dtype": dtype,
        "readonly": view.readonly,
        "exported": view,
    }


def on_host(array) -> np.ndarray:
    """The elements on the CPU: an ndarray itself, a copy of a `DeviceArray`."""
    return array.to_numpy() if type(array) is DeviceArray else array


def like(X, values):
    """An array from the host in X's memory: itself if X is an ndarray, as is anything that is no array."""
    return X.from_numpy(values) if type(X) is DeviceArray and type(values) is np.ndarray else values


def on_gpu(value) -> bool:
    """Whether a value is an array on an NVIDIA GPU, whichever library it belongs to."""
    where = getattr(type(value), "__dlpack_device__", None)
    if where is not None:
        return where(value)[0] in _ON_GPU
    return hasattr(value, "__cuda_array_interface__")

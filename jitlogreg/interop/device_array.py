"""Arrays in the memory of a GPU, whichever library they belong to: what targets and checks see of them.

Nothing of CUDA is imported before there is such an array.
"""

from typing import NamedTuple

import numpy as np

from jitlogreg.interop.libraries import DEFAULT_STREAM

_ON_GPU = (2, 13)  # DLPack's numbers of CUDA's memory, and of that which CUDA moves


class Flags(NamedTuple):
    """Contiguous in C order; not read-only; every element at a multiple of its size."""

    c_contiguous: bool
    writeable: bool
    aligned: bool


class DeviceArray:
    """An array in the memory of a GPU: where it lies, how, and whose it is.

    Parameters
    ----------
    owner : object
        The library's array. It keeps the memory.
    library : Library
    address, device, stream : int
        The first element's; the ordinal of the GPU; the handle of the stream that all work with the array goes to, the
        library's current one when the call was made.
    shape, strides : tuple of int
        Strides in bytes.
    dtype : np.dtype
    readonly : bool
    exported : object
        What the array protocol gave, kept as long as this is.
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
        """What is asked of an ndarray by this name."""
        aligned = not any(number % self.itemsize for number in (self.address, *self.strides))
        return Flags(self.is_contiguous, not self.readonly, aligned)

    def empty(self, shape, dtype) -> "DeviceArray":
        """A new array of the same library, on the same device; its elements are not set."""
        return self._like(self.library.empty(self.device, shape, np.dtype(dtype)))

    def astype(self, dtype) -> "DeviceArray":
        """A new array with these elements in another dtype, contiguous."""
        return self._like(self.library.astype(self.device, self.owner, np.dtype(dtype))).contiguous()

    def contiguous(self) -> "DeviceArray":
        """The array itself, or a copy if it is not contiguous."""
        return self if self.is_contiguous else self._like(self.library.contiguous(self.device, self.owner))

    def copy(self) -> "DeviceArray":
        """A new array with these elements, contiguous; they go through the host."""
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
    """The view of a library's array, ready for work on the stream: the library's current one, unless one is given."""
    if stream is None:
        stream = library.stream(library.device(owner)) or DEFAULT_STREAM
    return DeviceArray(owner, library, stream=stream, **_view(owner, stream))


def _view(owner, stream):
    """Where an array lies and how, by DLPack if it has that, else by the CUDA array interface.

    DLPack is told the stream on which the array will be used, and its exporter sees to it that this waits for what is
    still to be written. The interface of PyTorch, but for DLPack, says nothing of streams.
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
    """The elements in the memory of the CPU: an ndarray as it is, a copy of a `DeviceArray`."""
    return array.to_numpy() if type(array) is DeviceArray else array


def like(X, values):
    """A vector from the host in the memory where X lies: as it is beside an ndarray."""
    return X.from_numpy(values) if type(X) is DeviceArray and type(values) is np.ndarray else values


def on_gpu(value) -> bool:
    """Whether something is an array in the memory of a GPU of NVIDIA, of whichever library."""
    where = getattr(type(value), "__dlpack_device__", None)
    if where is not None:
        return where(value)[0] in _ON_GPU
    return hasattr(value, "__cuda_array_interface__")

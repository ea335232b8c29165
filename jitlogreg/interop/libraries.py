"""One interface to the GPU arrays of CuPy, PyTorch and Numba, and the expressions that convert them, for messages.

None of them is imported here: such an array exists only if its library is imported.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

DEFAULT_STREAM = 1  # the legacy default stream; the array protocols forbid its handle 0
PER_THREAD_STREAM = 2


class Library(NamedTuple):
    """The operations of a library of GPU arrays, and the expressions for them in messages.

    Attributes
    ----------
    title, kind : str
        The library, and its arrays.
    owns : callable
        Whether an object of the library is an array on a GPU.
    device, stream : callable
        The ordinal of an array's device, or None if only its address tells; the handle of a device's current stream.
    empty, to_numpy, assign, astype, contiguous : callable
        The device is the first argument. `assign` writes a NumPy array of the same shape and dtype.
    from_other, from_device, to_cpu, to_ndarray, to_dtype, to_contiguous : str
        Conversions, with placeholders {name} and {dtype}: from another library, from another device, to the library's
        type on the CPU, to NumPy, and of its own arrays.
    """

    title: str
    kind: str
    owns: Callable
    device: Callable
    stream: Callable
    empty: Callable
    to_numpy: Callable
    assign: Callable
    astype: Callable
    contiguous: Callable
    from_other: str
    from_device: str
    to_cpu: str
    to_ndarray: str
    to_dtype: str
    to_contiguous: str


def library_of(value) -> Library | None:
    """The library that a GPU array belongs to; None for anything else."""
    for kind in type(value).__mro__:
        library = _LIBRARIES.get(str(kind.__module__).partition(".")[0])
        if library is not None:
            return library if library.owns(value) else None
    return None


def _module(name) -> Any:
    return sys.modules[name]


def _cupy(device):
    """A context in which the device is CuPy's current one."""
    return _module("cupy").cuda.Device(device)


def _cupy_stream(device):
    with _cupy(device):
        return _module("cupy").cuda.get_current_stream().ptr


def _cupy_empty(device, shape, dtype):
    with _cupy(device):
        return _module("cupy").empty(shape, dtype)


def _cupy_to_numpy(device, array):
    with _cupy(device):
        return _module("cupy").asnumpy(array)


def _cupy_assign(device, array, values):
    with _cupy(device):
        array.set(values)


def _cupy_astype(device, array, dtype):
    with _cupy(device):
        return array.astype(dtype)


def _cupy_contiguous(device, array):
    with _cupy(device):
        return _module("cupy").ascontiguousarray(array)


CUPY = Library(
    title="CuPy",
    kind="cupy.ndarray",
    owns=lambda value: isinstance(value, _module("cupy").ndarray),
    device=lambda array: array.device.id,
    stream=_cupy_stream,
    empty=_cupy_empty,
    to_numpy=_cupy_to_numpy,
    assign=_cupy_assign,
    astype=_cupy_astype,
    contiguous=_cupy_contiguous,
    from_other="cupy.asarray({name})",
    from_device="cupy.asarray({name}) within `with X.device:`",
    to_cpu="cupy.asnumpy({name})",
    to_ndarray="cupy.asnumpy({name})",
    to_dtype="{name}.astype('{dtype}')",
    to_contiguous="cupy.ascontiguousarray({name})",
)


def _torch_empty(device, shape, dtype):
    torch = _module("torch")
    return torch.empty(shape, dtype=getattr(torch, dtype.name), device=torch.device("cuda", device))


TORCH = Library(
    title="PyTorch",
    kind="torch.Tensor",
    owns=lambda value: isinstance(value, _module("torch").Tensor) and value.device.type == "cuda",
    device=lambda tensor: tensor.device.index,
    stream=lambda device: _module("torch").cuda.current_stream(device).cuda_stream,
    empty=_torch_empty,
    to_numpy=lambda device, tensor: tensor.cpu().numpy(),
    assign=lambda device, tensor, values: tensor.copy_(_module("torch").from_numpy(values)),
    astype=lambda device, tensor, dtype: tensor.to(getattr(_module("torch"), dtype.name)),
    contiguous=lambda device, tensor: tensor.contiguous(),
    from_other="torch.as_tensor({name}, device=X.device)",
    from_device="{name}.to(X.device)",
    to_cpu="{name}.cpu()",
    to_ndarray="{name}.cpu().numpy()",
    to_dtype="{name}.to(torch.{dtype})",
    to_contiguous="{name}.contiguous()",
)


def _numba(device):
    """A context in which the device is Numba's current one."""
    return _module("numba.cuda").gpus[device]


def _numba_stream(device):
    per_thread = getattr(_module("numba").config, "CUDA_PER_THREAD_DEFAULT_STREAM", 0)
    return PER_THREAD_STREAM if per_thread else DEFAULT_STREAM


def _numba_empty(device, shape, dtype):
    with _numba(device):
        return _module("numba.cuda").device_array(shape, dtype)


def _numba_to_numpy(device, array):
    with _numba(device):
        # on the default stream, which already waits for the array's own; the host waits for the copy
        return array.bind(0).copy_to_host()


def _numba_assign(device, array, values):
    with _numba(device):
        array.bind(0).copy_to_device(values)


def _numba_to_device(device, values):
    with _numba(device):
        return _module("numba.cuda").to_device(values)


NUMBA = Library(
    title="Numba",
    kind="Numba device array",
    owns=lambda value: hasattr(value, "__cuda_array_interface__"),
    device=lambda array: None,
    stream=_numba_stream,
    empty=_numba_empty,
    to_numpy=_numba_to_numpy,
    assign=_numba_assign,
    # Numba's arrays have neither method, so the host converts
    astype=lambda device, array, dtype: _numba_to_device(device, _numba_to_numpy(device, array).astype(dtype)),
    contiguous=lambda device, array: _numba_to_device(device, np.ascontiguousarray(_numba_to_numpy(device, array))),
    from_other="numba.cuda.to_device({name})",
    from_device="numba.cuda.to_device({name}.copy_to_host()) on that device",
    to_cpu="{name}.copy_to_host()",
    to_ndarray="{name}.copy_to_host()",
    to_dtype="numba.cuda.to_device({name}.copy_to_host().astype('{dtype}'))",
    to_contiguous="numba.cuda.to_device(np.ascontiguousarray({name}.copy_to_host()))",
)

_LIBRARIES = {"cupy": CUPY, "torch": TORCH, "numba": NUMBA, "numba_cuda": NUMBA}

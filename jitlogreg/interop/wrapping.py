"""Arrays of other libraries as arguments and results.

PyTorch tensors on the CPU are viewed as NumPy arrays. Arrays on a GPU are used in place.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

from jitlogreg.interop.device_array import DeviceArray, device_array, on_gpu
from jitlogreg.interop.libraries import TORCH, library_of
from jitlogreg.targets.csr import CSR, as_csr
from jitlogreg.targets.dispatch import choose_for

_Call = TypeVar("_Call", bound=Callable)

_BESIDE_X = ("y", "w", "sample_weight", "offset", "out")


def accepts_foreign_arrays(call: _Call) -> _Call:
    """Let a call accept arrays of X's library and return its results in that library; X is the first argument.

    The call itself receives NumPy views of arrays on the CPU, and a `DeviceArray` for each array on a GPU.

    Raises
    ------
    TypeError
        If libraries or devices are mixed, if an array on a GPU belongs to none of the three libraries, or if a tensor
        requires a gradient, since none is recorded here.
    TargetUnavailableError
        If X is on a GPU and the target cannot run here.
    """
    signature = inspect.signature(call)

    @functools.wraps(call)
    def with_arrays(X, *args, **kwargs):
        if type(X) is np.ndarray:
            return call(X, *args, **kwargs)
        if type(X := as_csr(X)) is CSR:
            return call(X, *args, **kwargs)
        library = library_of(X)
        torch = sys.modules.get("torch")  # a tensor exists only if it is imported
        if library is None and not isinstance(X, getattr(torch, "Tensor", ())):
            if on_gpu(X):
                raise TypeError(
                    f"X: expected an array of CuPy, PyTorch or Numba on a GPU, got a {_kind(X)}: "
                    "cupy.asarray(X) makes one"
                )
            return call(X, *args, **kwargs)
        arguments = signature.bind(X, *args, **kwargs).arguments
        out, callback = arguments.get("out"), arguments.get("callback")
        to_library = functools.partial(_tensor, torch=torch) if library is None else _owner
        if callable(callback):
            arguments["callback"] = lambda state: callback(_to_caller_library(state, to_library))
        if library is None:
            arguments = {name: _array(name, value, torch) for name, value in arguments.items()}
        else:
            choose_for(arguments.get("target"), library)  # before any use of CUDA
            arguments |= _device_arrays(arguments, signature, library)
        result = call(**arguments)
        if isinstance(result, tuple):
            result = _to_caller_library(result, to_library)
            return result if out is None else result._replace(dw=out)
        return out if isinstance(result, (np.ndarray, DeviceArray)) and out is not None else to_library(result)

    return cast(_Call, with_arrays)


# ---------------------------------------------------------------- tensors in the memory of the CPU


def _array(name, value, torch):
    """A NumPy view of a tensor; other arguments are returned as they are."""
    if isinstance(value, np.ndarray):
        conversion = f"torch.from_numpy({name}) makes one"
        raise TypeError(f"{name}: expected a torch.Tensor, as X is, got a numpy.ndarray: {conversion}")
    if not isinstance(value, torch.Tensor):
        return value
    _refuse_gradient(name, value)
    if value.device.type != "cpu":
        raise TypeError(f"{name}: expected a tensor on the CPU, got one on {value.device}: {name}.cpu() makes one")
    return value.numpy()


def _refuse_gradient(name, tensor):
    if tensor.requires_grad:
        raise TypeError(
            f"{name}: expected a tensor that requires no gradient, since none is recorded here, got one that does: "
            f"{name}.detach() makes such a view"
        )


def _tensor(value, torch):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


# ---------------------------------------------------------------- arrays on a GPU


def _device_arrays(arguments, signature, library):
    """X and the other arrays as views of its device's memory."""
    X = _device_array("X", arguments["X"], library)
    arrays = {"X": X}
    for name in _BESIDE_X:
        value = arguments.get(name)
        if value is not None or (name in arguments and signature.parameters[name].default is inspect.Parameter.empty):
            arrays[name] = _beside(X, name, value)
    if library_of(b := arguments.get("b")) is library and len(b.shape) > 0:  # of K outputs
        arrays["b"] = _beside(X, "b", b)
    return arrays


def _beside(X, name, value):
    """Another array of X's library on X's device."""
    library = X.library
    if library_of(value) is not library:
        came = "None" if value is None else f"a {_kind(value)}"
        raise TypeError(
            f"{name}: expected a {library.kind} on GPU {X.device}, as X is, got {came}: "
            f"{library.from_other.format(name=name)} makes one"
        )
    array = _device_array(name, value, library)
    if array.device != X.device:
        raise TypeError(
            f"{name}: expected a {library.kind} on GPU {X.device}, as X is, got one on GPU {array.device}: "
            f"{library.from_device.format(name=name)} makes one"
        )
    return array


def _device_array(name, value, library):
    if library is TORCH:
        _refuse_gradient(name, value)
        if value.layout is not sys.modules["torch"].strided:
            raise TypeError(
                f"{name}: expected a dense tensor, got one with the layout {value.layout}: {name}.to_dense() makes one"
            )
        if value.is_neg():  # a lazy negation: its memory holds the opposite numbers
            raise TypeError(
                f"{name}: expected a tensor without the negative bit, got a negated view: "
                f"{name}.resolve_neg() makes one"
            )
    try:
        return device_array(value, library)
    except (BufferError, NotImplementedError) as error:
        raise TypeError(
            f"{name}: expected float32 or float64, got an array without a view of its memory: {error}"
        ) from error


def _owner(value):
    return value.owner if isinstance(value, DeviceArray) else value


# ---------------------------------------------------------------- both


def _to_caller_library(result, to_library):
    """A named tuple with its parameters, gradients and losses in the caller's library.

    Single numbers stay Python's, and a loss history stays a NumPy array.
    """
    values = {name: getattr(result, name) for name in ("w", "b", "loss", "dw", "db") if name in result._fields}
    return result._replace(**{name: to_library(value) for name, value in values.items()})


def _kind(value):
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")

"""Arrays of other libraries in, and out: CPU tensors of PyTorch as NumPy's, arrays on a GPU where they lie."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

from jitlogreg.interop.device_array import DeviceArray, device_array, on_gpu
from jitlogreg.interop.libraries import TORCH, library_of
from jitlogreg.targets.dispatch import choose_for

_Call = TypeVar("_Call", bound=Callable)

_BESIDE_X = ("y", "w", "sample_weight", "out")


def takes_arrays(call: _Call) -> _Call:
    """Let a call whose first argument X is of another library take its other arrays, and give its results, as that.

    The call itself sees NumPy arrays where they lie in the memory of the CPU, and a `DeviceArray` for each that lies on
    a GPU.

    Raises
    ------
    TypeError
        If libraries or devices are mixed, if an array is on a GPU and of none of the three libraries, or a tensor
        requires a gradient (none is recorded here).
    TargetUnavailableError
        If X is on a GPU and the target cannot run here.
    """
    signature = inspect.signature(call)

    @functools.wraps(call)
    def with_arrays(X, *args, **kwargs):
        if type(X) is np.ndarray:
            return call(X, *args, **kwargs)
        library = library_of(X)
        torch = sys.modules.get("torch")  # whoever has a tensor has imported it
        if library is None and not isinstance(X, getattr(torch, "Tensor", ())):
            if on_gpu(X):
                raise TypeError(
                    f"X is a {_kind(X)} in the memory of a GPU; accepted there are arrays of CuPy, PyTorch and Numba: "
                    "cupy.asarray(X) makes one"
                )
            return call(X, *args, **kwargs)
        arguments = signature.bind(X, *args, **kwargs).arguments
        out, callback = arguments.get("out"), arguments.get("callback")
        give = functools.partial(_tensor, torch=torch) if library is None else _owner
        if callable(callback):
            arguments["callback"] = lambda state: callback(_given_back(state, give))
        if library is None:
            arguments = {name: _array(name, value, torch) for name, value in arguments.items()}
        else:
            choose_for(arguments.get("target"), library)  # before anything is asked of CUDA
            arguments |= _device_arrays(arguments, signature, library)
        result = call(**arguments)
        if isinstance(result, tuple):
            return _given_back(result, give) if out is None else result._replace(dw=out)
        return out if isinstance(result, (np.ndarray, DeviceArray)) and out is not None else give(result)

    return cast(_Call, with_arrays)


# ---------------------------------------------------------------- tensors in the memory of the CPU


def _array(name, value, torch):
    """A NumPy view of a tensor's memory; other arguments as they are."""
    if isinstance(value, np.ndarray):
        conversion = f"torch.from_numpy({name})"
        raise TypeError(f"{name} is a numpy.ndarray beside X of PyTorch; accepted is a tensor: {conversion}")
    if not isinstance(value, torch.Tensor):
        return value
    _refuse_gradient(name, value)
    if value.device.type != "cpu":
        raise TypeError(f"{name} is on {value.device}; accepted is a tensor in the memory of the CPU: {name}.cpu()")
    return value.numpy()


def _refuse_gradient(name, tensor):
    if tensor.requires_grad:
        raise TypeError(f"{name} requires a gradient, and none is recorded here; accepted is {name}.detach()")


def _tensor(value, torch):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


# ---------------------------------------------------------------- arrays on a GPU


def _device_arrays(arguments, signature, library):
    """X, and the arrays beside it, as they lie on its device."""
    X = _device_array("X", arguments["X"], library)
    arrays = {"X": X}
    for name in _BESIDE_X:
        value = arguments.get(name)
        if value is not None or (name in arguments and signature.parameters[name].default is inspect.Parameter.empty):
            arrays[name] = _beside(X, name, value)
    return arrays


def _beside(X, name, value):
    """Another array of X's library on X's device."""
    library = X.library
    if library_of(value) is not library:
        came = "None" if value is None else f"a {_kind(value)}"
        raise TypeError(
            f"{name} is {came} beside X of {library.title} on GPU {X.device}; accepted is a {library.kind} there: "
            f"{library.from_other.format(name=name)}"
        )
    array = _device_array(name, value, library)
    if array.device != X.device:
        raise TypeError(
            f"{name} is on GPU {array.device} and X on GPU {X.device}; accepted is a {library.kind} on X's: "
            f"{library.from_device.format(name=name)}"
        )
    return array


def _device_array(name, value, library):
    if library is TORCH:
        _refuse_gradient(name, value)
        if value.layout is not sys.modules["torch"].strided:
            raise TypeError(f"{name} has the layout {value.layout}; accepted is a dense tensor: {name}.to_dense()")
        if value.is_neg():  # its memory holds the numbers without their sign
            raise TypeError(f"{name} is a negated view; accepted is {name}.resolve_neg()")
    try:
        return device_array(value, library)
    except (BufferError, NotImplementedError) as error:
        raise TypeError(f"{name} gives no view of its memory ({error}); accepted are float32 and float64") from error


def _owner(value):
    return value.owner if isinstance(value, DeviceArray) else value


# ---------------------------------------------------------------- both


def _given_back(result, give):
    """A named tuple with its vectors of parameters as the library's; a history of losses stays a NumPy array."""
    vectors = {name: getattr(result, name) for name in ("w", "dw") if name in result._fields}
    return result._replace(**{name: give(vector) for name, vector in vectors.items()})


def _kind(value):
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")

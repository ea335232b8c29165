"""PyTorch tensors in, PyTorch tensors out, sharing memory, for the calls that are written for NumPy arrays."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

_Call = TypeVar("_Call", bound=Callable)


def takes_tensors(call: _Call) -> _Call:
    """Let a call whose first argument X is a torch.Tensor take its other arrays, and give its results, as tensors.

    Raises
    ------
    TypeError
        If arrays and tensors are mixed, or a tensor requires a gradient (none is recorded here) or is not in the memory
        of the CPU.
    """
    signature = inspect.signature(call)

    @functools.wraps(call)
    def with_tensors(X, *args, **kwargs):
        if type(X) is np.ndarray:
            return call(X, *args, **kwargs)
        torch = sys.modules.get("torch")  # whoever has a tensor has imported it
        if not isinstance(X, getattr(torch, "Tensor", ())):
            return call(X, *args, **kwargs)
        arguments = signature.bind(X, *args, **kwargs).arguments
        out, callback = arguments.get("out"), arguments.get("callback")
        if callable(callback):
            arguments["callback"] = lambda state: callback(_with_tensors(state, torch))
        arrays = {name: _array(name, value, torch) for name, value in arguments.items()}
        result = call(**arrays)
        if isinstance(result, tuple):
            return _with_tensors(result, torch) if out is None else result._replace(dw=out)
        return out if isinstance(result, np.ndarray) and out is not None else _tensor(result, torch)

    return cast(_Call, with_tensors)


def _array(name, value, torch):
    """A NumPy view of a tensor's memory; other arguments as they are."""
    if isinstance(value, np.ndarray):
        conversion = f"torch.from_numpy({name})"
        raise TypeError(f"{name} is a numpy.ndarray beside X of PyTorch; accepted is a tensor: {conversion}")
    if not isinstance(value, torch.Tensor):
        return value
    if value.requires_grad:
        raise TypeError(f"{name} requires a gradient, and none is recorded here; accepted is {name}.detach()")
    if value.device.type != "cpu":
        raise TypeError(f"{name} is on {value.device}; accepted is a tensor in the memory of the CPU: {name}.cpu()")
    return value.numpy()


def _tensor(value, torch):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _with_tensors(result, torch):
    """A named tuple with its vectors of parameters as tensors; a history of losses stays an array."""
    vectors = {name: getattr(result, name) for name in ("w", "dw") if name in result._fields}
    return result._replace(**{name: _tensor(vector, torch) for name, vector in vectors.items()})

"""What of a call is compiled within the caller's function, for the types of its arrays, which `overloads.py` has checked.

As little as can be: each caller compiles it anew. Messages are constants: to make one takes Python's lock, which a
thread of the caller's may wait for in vain.
"""

import numpy as np
from numba import prange, types
from numba.core.targetconfig import ConfigStack
from numba.extending import overload

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import embedded
from jitlogreg.targets.cpu.embedded import CALL
from jitlogreg.targets.cpu.memory import call, put_array
from jitlogreg.targets.cpu.symbols import symbol

_step, _convert = symbol("step"), symbol("convert")
_activations_of_rows, _activations_of_columns = symbol("activations", "C"), symbol("activations", "F")
_sums_of_rows, _sums_of_columns, _sums_of_panels = symbol("sums", "C"), symbol("sums", "F"), symbol("panels", "C")

_AT_X, _AT_W, _AT_Y, _AT_S, _AT_OUT = (CALL.fields[name][1] for name in ("x", "w", "y", "s", "out"))


@inline
def begin(operation, X, y, w, b, sample_weight, l2, out, result):
    """Check a call and describe it to the kernels. Returns its record, and what must live until `finish`."""
    calls = np.zeros(1, CALL)
    t, record, step = calls[0], calls.ctypes.data, _step(X, w)
    t.record, t.operation, t.b, t.l2 = record, operation, b, l2
    put_array(record + _AT_X, X)
    put_array(record + _AT_W, w)
    put_array(record + _AT_Y, y)
    put_array(record + _AT_S, sample_weight)
    put_array(record + _AT_OUT, out)
    t.for_rows, t.for_columns, t.for_panels = _kernels(X, y, w)
    t.convert_y, t.convert_s = _conversion(y, w), _conversion(sample_weight, w)
    call(step, embedded.CHECK, record)
    _refuse(t.refusal)
    memory = np.empty(t.numbers)
    t.memory = memory.ctypes.data
    put_array(record + _AT_OUT, result)
    call(step, embedded.PLACE, record)
    return calls, (X, y, w, sample_weight, result, memory)


@inline
def finish(calls, kept, X, w):
    """The mean loss and db, once dw has been written."""
    t = calls[0]
    call(_step(X, w), embedded.FINISH, calls.ctypes.data)
    _refuse(t.refusal)
    return t.loss, t.db


@inline
def keep(kept):
    """What is given lives until here: an address keeps nothing alive."""


@inline
def _refuse(refusal):
    if refusal == embedded.STRIDES:
        raise ValueError(
            "X has strides that are not accepted: accepted is a unit stride, and another that is positive and lets no "
            "rows or columns overlap; np.ascontiguousarray(X) makes such a copy"
        )
    if refusal == embedded.W_LENGTH:
        raise ValueError("w has not the length n, the columns of X; accepted is shape (n,)")
    if refusal == embedded.INTERCEPT:
        raise ValueError("b is beyond float32, the dtype of w; accepted are numbers within it")
    if refusal == embedded.PENALTY:
        raise ValueError("l2 is negative or not finite; accepted is a finite number of at least 0")
    if refusal == embedded.EMPTY:
        raise ValueError("X has no rows; accepted is at least one row where a mean is asked for")
    if refusal == embedded.Y_LENGTH:
        raise ValueError("y has not the length m, the rows of X; accepted is shape (m,)")
    if refusal == embedded.S_LENGTH:
        raise ValueError("sample_weight has not the length m, the rows of X; accepted is shape (m,)")
    if refusal == embedded.OUT_LENGTH:
        raise ValueError("out has not the length of the result; accepted is its shape")
    if refusal == embedded.OUT_STEP:
        raise ValueError("out is not contiguous; accepted is an array that is")
    if refusal == embedded.OUT_SHARED:
        raise ValueError("out shares memory with an input; accepted is an array of its own")
    if refusal == embedded.LABEL:
        raise ValueError("y has a value that is no label; accepted are labels from 0 to 1")
    if refusal == embedded.WEIGHT_OF_EXAMPLE:
        raise ValueError("sample_weight has a value that is none; accepted are finite weights of at least 0")
    if refusal == embedded.WEIGHT_BEYOND:
        raise ValueError("sample_weight has a value beyond the dtype of w; accepted are numbers within it")
    if refusal == embedded.WEIGHT_SUM:
        raise ValueError("sample_weight has no sum to divide by; accepted is a sum that is positive and finite")


# ---------------------------------------------------------------- chosen by the types of the arguments


def run(calls, X, w):
    """Run every part of a call, on Numba's threads where the caller's function is compiled for them."""


def parallel_caller():
    """Whether the function that is being compiled is to run on Numba's threads."""
    flags = ConfigStack.top_or_none()
    return flags is not None and flags.auto_parallel.enabled


@overload(run, inline="always")
def _run_on_threads(calls, X, w):
    if not parallel_caller():
        return None

    def implementation(calls, X, w):
        for stage in range(calls[0].stages):
            kernel, task, first, parts = _parts(calls, stage)
            if calls[0].threads:
                for part in prange(parts):
                    call(kernel, first + part, task)
            else:
                for part in range(parts):
                    call(kernel, first + part, task)

    return implementation


@overload(run)
def _run_here(calls, X, w):
    if parallel_caller():
        return None
    return lambda calls, X, w: call(_step(X, w), embedded.RUN, calls.ctypes.data)


@inline
def _parts(calls, stage):
    t = calls[0]
    return t.kernel, t.task, stage * t.parts, embedded.parts_of_stage(t, stage)


def _kernels(X, y, w):
    """The addresses of the kernels for rows, for columns and for panels; 0 for one that is not needed."""


@overload(_kernels)
def _kernels_of(X, y, w):
    # only a C-ordered matrix is sure to need no other: of one row or column the others may be in C order, too
    if not isinstance(y, types.Array):
        if X.layout == "C":
            return lambda X, y, w: (_activations_of_rows(X, w), 0, 0)
        return lambda X, y, w: (_activations_of_rows(X, w), _activations_of_columns(X, w), 0)
    if X.layout == "C":
        return lambda X, y, w: (_sums_of_rows(X, w), 0, _sums_of_panels(X, w))
    return lambda X, y, w: (_sums_of_rows(X, w), _sums_of_columns(X, w), _sums_of_panels(X, w))


def _conversion(array, w):
    """The address of what converts labels or weights to w's dtype; 0 where there are none to convert."""


@overload(_conversion)
def _conversion_of(array, w):
    if isinstance(array, types.Array) and array.dtype != w.dtype:
        return lambda array, w: _convert(array, w)
    return lambda array, w: 0


def result(out, length, w):
    """The array that receives a result: `out`, or a new one."""


@overload(result)
def _result(out, length, w):
    if isinstance(out, types.Array):
        return lambda out, length, w: out
    return lambda out, length, w: np.empty(length, w.dtype)

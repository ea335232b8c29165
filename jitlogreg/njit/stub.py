"""What of a call is compiled in the caller's function, for the types of its arrays, which `overloads.py` has checked.

As little as can be: each caller compiles it anew.
"""

import numpy as np
from numba import prange, types
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic, overload

from jitlogreg.njit import call_frame
from jitlogreg.njit.call_frame import CALL
from jitlogreg.njit.symbols import symbol
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import address_of, at, call, get, put, put_words

_step, _convert, _profile = symbol("step"), symbol("convert"), symbol("profile")
_activations_c, _activations_f = symbol("activations", "C"), symbol("activations", "F")
_activation_panels_f = symbol("activation_panels", "F")
_sums_c, _sums_f = symbol("sums", "C"), symbol("sums", "F")
_sum_panels_c, _sum_panels_f = symbol("sum_panels", "C"), symbol("sum_panels", "F")

_WORDS = CALL.itemsize // 8
_REFUSAL, _NUMBERS, _MEMORY, _RESULT, _LOSS, _DB = (
    (CALL.names or ()).index(name) for name in ("refusal", "numbers", "memory", "result", "loss", "db")
)

_MESSAGES = {
    call_frame.STRIDES: "X has strides that cannot be served; accepted is a unit stride, and another that is positive "
    "and lets no rows or columns overlap: np.ascontiguousarray(X) makes such a copy",
    call_frame.W_LENGTH: "w is not of length n, the columns of X; accepted is shape (n,)",
    call_frame.INTERCEPT: "b is beyond float32, the dtype of w; accepted are numbers within it",
    call_frame.PENALTY: "l2 is negative or not finite; accepted is a finite number of at least 0",
    call_frame.EMPTY: "X has no rows; accepted is at least one row where a mean is asked for",
    call_frame.Y_LENGTH: "y is not of length m, the rows of X; accepted is shape (m,)",
    call_frame.S_LENGTH: "sample_weight is not of length m, the rows of X; accepted is shape (m,)",
    call_frame.OUT_LENGTH: "out is not of the length of the result; accepted is its shape",
    call_frame.OUT_STEP: "out is not contiguous; accepted is an array that is",
    call_frame.OUT_SHARED: "out shares memory with an input; accepted is an array of its own",
    call_frame.LABEL: "y has a value that is not a label; accepted are labels from 0 to 1",
    call_frame.WEIGHT_OF_EXAMPLE: "sample_weight has a value that is no weight; accepted are finite ones of at least 0",
    call_frame.WEIGHT_BEYOND: "sample_weight has a value beyond the dtype of w; accepted are numbers within it",
    call_frame.WEIGHT_SUM: "sample_weight has a sum that divides nothing; accepted is one that is positive and finite",
}


@inline
def begin(operation, X, y, w, b, sample_weight, l2, out, result):
    """Check a call and describe it to the kernels. Returns its record and its memory."""
    record = np.empty(_WORDS)
    to = address_of(record)
    conversions = _conversion(y, w), _conversion(sample_weight, w)
    described = np.float64(b), np.float64(l2), to, operation, X, w, y, sample_weight, out, _profile(X, w)
    put_words(to, described + _kernels(X, y, w) + conversions)
    call(_step(X, w), call_frame.CHECK, to)
    words = at(to, 0)
    _refuse(get(words, _REFUSAL))
    memory = np.empty(get(words, _NUMBERS))
    put(words, _MEMORY, address_of(memory))
    put(words, _RESULT, _address(result))
    call(_step(X, w), call_frame.PLACE, to)
    return record, memory


@inline
def finish(record, memory, X, y, w, sample_weight, result):
    """The mean loss and db, once dw has been written. Arrays live until here: an address keeps none alive."""
    to = address_of(record)
    call(_step(X, w), call_frame.FINISH, to)
    _refuse(get(at(to, 0), _REFUSAL))
    return record[_LOSS], record[_DB]


@intrinsic
def _refuse(typingctx, refusal):
    """Raise ValueError unless a call is accepted. Messages are constants, since to make one takes Python's lock."""

    def codegen(context, builder, sig, args):
        for reason, message in _MESSAGES.items():
            with builder.if_then(builder.icmp_signed("==", args[0], args[0].type(reason)), likely=False):
                context.call_conv.return_user_exc(builder, ValueError, (message,))
        return context.get_dummy_value()

    return types.void(types.intp), codegen


# ---------------------------------------------------------------- chosen by the types of the arguments


def run(record, X, w):
    """Run every part of a call, on Numba's threads where the caller's function is compiled for them."""


def parallel_caller():
    """Whether the function that is being compiled is to run on Numba's threads."""
    flags = ConfigStack.top_or_none()
    return flags is not None and flags.auto_parallel.enabled


@overload(run, inline="always")
def _run_on_threads(record, X, w):
    if not parallel_caller():
        return None

    def implementation(record, X, w):
        stages, threads = _stages(record)
        for stage in range(stages):
            kernel, task, first, parts = _parts(record, stage)
            if threads:
                for part in prange(parts):
                    call(kernel, first + part, task)
            else:
                for part in range(parts):
                    call(kernel, first + part, task)

    return implementation


@overload(run)
def _run_here(record, X, w):
    if parallel_caller():
        return None
    return lambda record, X, w: call(_step(X, w), call_frame.RUN, address_of(record))


@inline
def _stages(record):
    t = record.view(CALL)[0]
    return t.stages, t.threads


@inline
def _parts(record, stage):
    t = record.view(CALL)[0]
    return t.kernel, t.task, stage * t.parts, call_frame.parts_of_stage(t, stage)


def _address(array):
    """Of an array's first element; 0 for None."""


@overload(_address)
def _address_in(array):
    return (lambda array: address_of(array)) if isinstance(array, types.Array) else (lambda array: 0)


def _kernels(X, y, w):
    """The addresses of the kernels for row chunks in C and F order, and for column panels; 0 for one not needed."""


@overload(_kernels)
def _kernels_of(X, y, w):
    # only a C-ordered matrix is sure to need no other: of one row or column the others may be in C order, too
    if not isinstance(y, types.Array):
        if X.layout == "C":
            return lambda X, y, w: (_activations_c(X, w), 0, 0, 0)
        return lambda X, y, w: (_activations_c(X, w), _activations_f(X, w), 0, _activation_panels_f(X, w))
    if X.layout == "C":
        return lambda X, y, w: (_sums_c(X, w), 0, _sum_panels_c(X, w), 0)
    return lambda X, y, w: (_sums_c(X, w), _sums_f(X, w), _sum_panels_c(X, w), _sum_panels_f(X, w))


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
    dtype = np.dtype(str(w.dtype))
    return lambda out, length, w: np.empty(length, dtype)

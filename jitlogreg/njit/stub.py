"""The part of a call that is compiled into the caller's function, for array types that `overloads.py` has checked.

It is as small as possible, since every caller compiles it again.
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
    call_frame.STRIDES: "X: expected a unit stride and another that is positive and lets nothing overlap, got other "
    "strides: np.ascontiguousarray(X) makes such a copy",
    call_frame.W_LENGTH: "w: expected shape (n,), one coefficient per column of X, got another length",
    call_frame.INTERCEPT: "b: expected a number within float32, the dtype of w, got one beyond it",
    call_frame.PENALTY: "l2: expected a finite number of at least 0, got one that is negative or not finite",
    call_frame.EMPTY: "X: expected at least one row to take a mean over, got none",
    call_frame.Y_LENGTH: "y: expected shape (m,), one label per row of X, got another length",
    call_frame.S_LENGTH: "sample_weight: expected shape (m,), one weight per row of X, got another length",
    call_frame.OUT_LENGTH: "out: expected the shape of the result, got another length",
    call_frame.OUT_STEP: "out: expected a contiguous array, got one that is not contiguous",
    call_frame.OUT_SHARED: "out: expected an array that shares no memory with an input, got one that does",
    call_frame.LABEL: "y: expected labels from 0 to 1, got a value outside",
    call_frame.WEIGHT_OF_EXAMPLE: "sample_weight: expected finite weights of at least 0, got a value that is negative "
    "or not finite",
    call_frame.WEIGHT_BEYOND: "sample_weight: expected numbers within the dtype of w, got a value beyond it",
    call_frame.WEIGHT_SUM: "sample_weight: expected a positive and finite sum, got another",
}


@inline
def begin(operation, X, y, w, b, sample_weight, l2, out, result):
    """Check a call and describe it to the kernels. Return its record and its memory."""
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
    """Write dw, and return the mean loss and db. The arrays are arguments to keep them alive: an address does not."""
    to = address_of(record)
    call(_step(X, w), call_frame.FINISH, to)
    _refuse(get(at(to, 0), _REFUSAL))
    return record[_LOSS], record[_DB]


@intrinsic
def _refuse(typingctx, refusal):
    """Raise ValueError if a call is refused. Messages are constants, since formatting needs the GIL."""

    def codegen(context, builder, sig, args):
        for reason, message in _MESSAGES.items():
            with builder.if_then(builder.icmp_signed("==", args[0], args[0].type(reason)), likely=False):
                context.call_conv.return_user_exc(builder, ValueError, (message,))
        return context.get_dummy_value()

    return types.void(types.intp), codegen


# ---------------------------------------------------------------- overloads on the types of the arguments


def run(record, X, w):
    """Run every part of a call, on Numba's threads if the caller's function is compiled with `parallel=True`."""


def parallel_caller():
    """Whether the function that is being compiled has `parallel=True`."""
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
    """The address of an array's first element; 0 for None."""


@overload(_address)
def _address_in(array):
    return (lambda array: address_of(array)) if isinstance(array, types.Array) else (lambda array: 0)


def _kernels(X, y, w):
    """The addresses of the kernels for row chunks in C and F order, and for column panels; 0 if not needed."""


@overload(_kernels)
def _kernels_of(X, y, w):
    # only layout C excludes F order: a matrix of another layout may be C-ordered if it has one row or column
    if not isinstance(y, types.Array):
        if X.layout == "C":
            return lambda X, y, w: (_activations_c(X, w), 0, 0, 0)
        return lambda X, y, w: (_activations_c(X, w), _activations_f(X, w), 0, _activation_panels_f(X, w))
    if X.layout == "C":
        return lambda X, y, w: (_sums_c(X, w), 0, _sum_panels_c(X, w), 0)
    return lambda X, y, w: (_sums_c(X, w), _sums_f(X, w), _sum_panels_c(X, w), _sum_panels_f(X, w))


def _conversion(array, w):
    """The address of the function that converts labels or weights to w's dtype; 0 if there is nothing to convert."""


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

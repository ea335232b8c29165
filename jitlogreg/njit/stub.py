"""What of a call is compiled in the caller's function, for the types of its arrays, which `overloads.py` has checked.

As little as can be: each caller compiles it anew.
"""

import numpy as np
from numba import prange, types
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic, overload

from jitlogreg.njit import call_frame
from jitlogreg.njit.call_frame import CALL
from jitlogreg.njit.symbols import kernel_symbols, symbol
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import executor
from jitlogreg.targets.cpu.pointers import address_of, call, load_scalar, pointer_to, store_scalar, store_words
from jitlogreg.targets.cpu.problem import PROBLEM, problem_at

_step, _convert, _profile, _squares = (symbol(name) for name in ("step", "convert", "profile", "squares"))

_WORDS = CALL.itemsize // 8
_REFUSAL, _NUMBERS, _MEMORY, _RESULT = (
    (CALL.names or ()).index(name) for name in ("refusal", "numbers", "memory", "result")
)
_LOSS, _DB = ((PROBLEM.names or ()).index(name) for name in ("loss", "db"))

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


def beginning(operation, kernel, in_panels):
    """A function that checks a call of an operation, describes it to the kernels, and gives its record and memory."""
    kernels = kernel_symbols(kernel, in_panels)

    @inline
    def begin(X, y, w, b, sample_weight, l2, out, result):
        record = np.empty(_WORDS)
        to = address_of(record)
        others = _squares_if_needed(l2, w), _conversion(y, w), _conversion(sample_weight, w)
        described = np.float64(b), np.float64(l2), to, operation, X, w, y, sample_weight, out, _profile(X, w)
        store_words(to, described + kernels(X, w) + others)
        call(_step(w, w), call_frame.CHECK, to)
        words = pointer_to(to, 0)
        _refuse(load_scalar(words, _REFUSAL))
        memory = np.empty(load_scalar(words, _NUMBERS))
        store_scalar(words, _MEMORY, address_of(memory))
        store_scalar(words, _RESULT, _address(result))
        call(_step(w, w), call_frame.PLACE, to)
        return record, memory

    return begin


begin_loss = beginning(call_frame.MEAN, "loss_gradient", "CF")
begin_gradient = beginning(call_frame.GRADIENT, "loss_gradient", "CF")


@inline
def finish(record, memory, X, y, w, sample_weight, result):
    """The mean loss and db, once dw has been written. Arrays live until here: an address keeps none alive."""
    to = address_of(record)
    call(_step(w, w), call_frame.FINISH, to)
    _refuse(load_scalar(pointer_to(to, 0), _REFUSAL))
    return memory[_LOSS], memory[_DB]


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
        address, threads = _problem(record)
        for stage in range(problem_at(address).stages):
            kernel, first, count = executor.tasks_of(problem_at(address), stage)
            if threads:
                for k in prange(count):
                    call(kernel, first + k, address)
            else:
                for k in range(count):
                    call(kernel, first + k, address)

    return implementation


@overload(run)
def _run_here(record, X, w):
    if parallel_caller():
        return None
    return lambda record, X, w: call(_step(w, w), call_frame.RUN, address_of(record))


@inline
def _problem(record):
    """The address of the kernels' record, and whether threads are worth it."""
    t = record.view(CALL)[0]
    return t.memory, t.threads


def _address(array):
    """Of an array's first element; 0 for None."""


@overload(_address)
def _address_in(array):
    return (lambda array: address_of(array)) if isinstance(array, types.Array) else (lambda array: 0)


def _squares_if_needed(l2, w):
    """The address of what computes Σ w²; 0 where there is no penalty."""


@overload(_squares_if_needed)
def _squares_of(l2, w):
    if isinstance(l2, types.Omitted):
        return lambda l2, w: 0
    return lambda l2, w: _squares(w, w)


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

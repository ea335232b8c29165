"""The part of a call that is compiled into the caller's function, for array types that `overloads.py` has checked.

It is as small as possible, since every caller compiles it again.
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
    """Write dw, and return the mean loss and db. The arrays are arguments to keep them alive: an address does not."""
    to = address_of(record)
    call(_step(w, w), call_frame.FINISH, to)
    _refuse(load_scalar(pointer_to(to, 0), _REFUSAL))
    return memory[_LOSS], memory[_DB]


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
    """The address of an array's first element; 0 for None."""


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

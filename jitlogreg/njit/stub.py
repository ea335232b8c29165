"""The part of a call that is compiled into the caller's function, for array types that `overloads.py` has checked.

It is as small as possible, since every caller compiles it again.
"""

import numpy as np
from numba import prange, types
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic, overload

from jitlogreg.njit import arguments, call_frame
from jitlogreg.njit.arguments import CALL
from jitlogreg.njit.symbols import kernel_symbols, symbol
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import executor
from jitlogreg.targets.cpu.pointers import address_of, call, load_scalar, pointer_to, store_scalar, store_words
from jitlogreg.targets.cpu.problem import PROBLEM, problem_at

_step, _convert, _profile, _squares = (symbol(name) for name in ("step", "convert", "profile", "squares"))

WORDS_OF_CALL = CALL.itemsize // 8
REFUSAL, NUMBERS, MEMORY, RESULT = (
    (CALL.names or ()).index(name) for name in ("refusal", "numbers", "memory", "result")
)
_LOSS, _DB = ((PROBLEM.names or ()).index(name) for name in ("loss", "db"))

MESSAGES = {
    arguments.STRIDES: "X: expected a unit stride and another that is positive and lets nothing overlap, got other "
    "strides: np.ascontiguousarray(X) makes such a copy",
    arguments.W_LENGTH: "w: expected shape (n,), one coefficient per column of X, got another length",
    arguments.INTERCEPT: "b: expected a number within float32, the dtype of w, got one beyond it",
    arguments.PENALTY: "l2: expected a finite number of at least 0, got one that is negative or not finite",
    arguments.EMPTY: "X: expected at least one row to take a mean over, got none",
    arguments.Y_LENGTH: "y: expected shape (m,), one label per row of X, got another length",
    arguments.S_LENGTH: "sample_weight: expected shape (m,), one weight per row of X, got another length",
    arguments.OFFSET_LENGTH: "offset: expected shape (m,), one number per row of X, got another length",
    arguments.OUT_LENGTH: "out: expected the shape of the result, got another length",
    arguments.OUT_STEP: "out: expected a contiguous array, got one that is not contiguous",
    arguments.OUT_SHARED: "out: expected an array that shares no memory with an input, got one that does",
    arguments.LABEL: "y: expected labels from 0 to 1, got a value outside",
    arguments.WEIGHT_OF_EXAMPLE: "sample_weight: expected finite weights of at least 0, got a value that is negative "
    "or not finite",
    arguments.WEIGHT_BEYOND: "sample_weight: expected numbers within the dtype of w, got a value beyond it",
    arguments.WEIGHT_SUM: "sample_weight: expected a positive and finite sum, got another",
    arguments.OFFSET_BEYOND: "offset: expected numbers within float32, the dtype of w, got a value beyond it",
}


def refusing(messages):
    """A function of compiled code that raises ValueError if a call is refused for a reason that is not `VALID`.

    Messages are constants, since formatting needs the GIL.
    """

    @intrinsic
    def refuse(typingctx, refusal):
        def codegen(context, builder, sig, args):
            for reason, message in messages.items():
                with builder.if_then(builder.icmp_signed("==", args[0], args[0].type(reason)), likely=False):
                    context.call_conv.return_user_exc(builder, ValueError, (message,))
            return context.get_dummy_value()

        return types.void(types.intp), codegen

    return refuse


_refuse = refusing(MESSAGES)


def beginning(operation, kernel, in_panels):
    """A function that checks a call of an operation, describes it to the kernels, and gives its record and memory."""
    kernels = kernel_symbols(kernel, in_panels)

    @inline
    def begin(X, y, w, b, sample_weight, l2, offset, out, result):
        record = np.empty(WORDS_OF_CALL)
        to = address_of(record)
        conversions = conversion(y, w), conversion(sample_weight, w), conversion(offset, w)
        described = np.float64(b), np.float64(l2), to, operation, X, w, y, sample_weight, offset, out, _profile(X, w)
        store_words(to, described + kernels(X, w) + (squares_if_needed(l2, w),) + conversions)
        call(_step(w, w), call_frame.CHECK, to)
        words = pointer_to(to, 0)
        _refuse(load_scalar(words, REFUSAL))
        memory = np.empty(load_scalar(words, NUMBERS))
        store_scalar(words, MEMORY, address_of(memory))
        store_scalar(words, RESULT, address(result))
        call(_step(w, w), call_frame.PLACE, to)
        return record, memory

    return begin


begin_loss = beginning(arguments.MEAN, "loss_gradient", "CF")
begin_gradient = beginning(arguments.GRADIENT, "loss_gradient", "CF")


@inline
def finish(record, memory, X, y, w, sample_weight, offset, result):
    """Write dw, and return the mean loss and db. The arrays are arguments to keep them alive: an address does not."""
    to = address_of(record)
    call(_step(w, w), call_frame.FINISH, to)
    _refuse(load_scalar(pointer_to(to, 0), REFUSAL))
    return memory[_LOSS], memory[_DB]


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


def address(array):
    """The address of an array's first element; 0 for None."""


@overload(address)
def _address_in(array):
    return (lambda array: address_of(array)) if isinstance(array, types.Array) else (lambda array: 0)


def squares_if_needed(l2, w):
    """The address of what computes Σ w²; 0 where there is no penalty."""


@overload(squares_if_needed)
def _squares_of(l2, w):
    if isinstance(l2, types.Omitted):
        return lambda l2, w: 0
    return lambda l2, w: _squares(w, w)


def conversion(array, w):
    """The address of the function that converts an array of examples to w's dtype; 0 if there is nothing to convert."""


@overload(conversion)
def _conversion_of(array, w):
    if isinstance(array, types.Array) and array.dtype != w.dtype:
        return lambda array, w: _convert(array, w)
    return lambda array, w: 0


def result(out, length, w):
    """The array that receives a result of one output: `out`, or a new one."""


@overload(result)
def _result(out, length, w):
    if isinstance(out, types.Array):
        return lambda out, length, w: out
    dtype = np.dtype(str(w.dtype))
    return lambda out, length, w: np.empty(length, dtype)

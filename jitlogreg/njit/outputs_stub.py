"""What `stub.py` is for calls of K outputs, with W (n, K): the part that is compiled into the caller's function."""

import numpy as np
from numba import types
from numba.extending import overload

from jitlogreg.evaluation import Gradient, LossAndGradient
from jitlogreg.njit import arguments, call_frame, outputs_frame
from jitlogreg.njit.arguments import CALL
from jitlogreg.njit.stub import (
    MEMORY,
    MESSAGES,
    NUMBERS,
    REFUSAL,
    RESULT,
    WORDS_OF_CALL,
    address,
    conversion,
    parallel_caller,
    refusing,
    run,
    squares_if_needed,
)
from jitlogreg.njit.symbols import kernel_symbols, symbol
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.kernels import OUTPUTS_EPILOGUES
from jitlogreg.targets.cpu.pointers import address_of, call, load_scalar, pointer_to, store_scalar, store_words

_step, _classes, _profile, _most_threads = (
    symbol(name) for name in ("outputs_step", "convert_classes", "profile", "most_threads")
)

_refuse = refusing(
    {
        **MESSAGES,
        arguments.W_LENGTH: "w: expected shape (n, K), one row per column of X, got another length",
        arguments.FEW_OUTPUTS: "w: expected at least 1 column, or with link='softmax' 2 classes, got fewer",
        arguments.INTERCEPTS_LENGTH: "b: expected shape (K,), one intercept per column of w, got another length",
        arguments.PENALTIES_LENGTH: "l2: expected a number or an array of shape (K,), got another length",
        arguments.Y_LENGTH: "y: expected shape (m,) or (m, K), got another shape",
        arguments.S_LENGTH: "sample_weight: expected shape (m,), or of independent models (m, K), got another shape",
        arguments.OFFSET_LENGTH: "offset: expected shape (m,) or (m, K), got another shape",
        arguments.OUT_LENGTH: "out: expected the shape of the result, got another shape",
        arguments.CLASS: "y: expected classes from 0 to K - 1, as there are K outputs, got a value outside: "
        "np.unique(y, return_inverse=True)[1] makes class numbers",
        arguments.PROBABILITIES: "y: expected probabilities of at least 0 that sum to 1, got others",
    }
)


def beginning(operation, kernel, in_panels, link, of_panels=None):
    """As `stub.beginning`, of a kernel of K outputs, and of that of one whose tasks may own columns."""
    kernels = kernel_symbols(kernel, in_panels if link == "sigmoid" else "", of_panels)
    softmax, (shared, own, _) = int(link == "softmax"), OUTPUTS_EPILOGUES[kernel].room
    conversion_of_labels = _conversion_of_classes if softmax else conversion

    @inline
    def begin(X, y, w, b, sample_weight, l2, offset, out, results):
        record = np.empty(WORDS_OF_CALL)
        to = address_of(record)
        of_outputs = per_output(b, w), per_output(l2, w)
        conversions = conversion_of_labels(y, w), conversion(sample_weight, w), conversion(offset, w)
        described = 0.0, 0.0, to, operation, X, w, y, sample_weight, offset, out, _profile(X, w)
        functions = (*kernels(X, w), squares_if_needed(l2, w), *conversions)
        means = address(results[1]), address(results[2]), softmax, shared, own, _most_threads(w, w)
        store_words(to, described + functions + of_outputs + means)
        call(_step(w, w), call_frame.CHECK, to)
        words = pointer_to(to, 0)
        _refuse(load_scalar(words, REFUSAL))
        memory = np.empty(load_scalar(words, NUMBERS))
        store_scalar(words, MEMORY, address_of(memory))
        store_scalar(words, RESULT, address(results[0]))
        call(_step(w, w), call_frame.PLACE, to)
        return record, memory, of_outputs

    return begin


@inline
def finish(record, memory, of_outputs, X, y, w, sample_weight, offset, results):
    """Write the results. The arrays are arguments to keep them alive: an address does not."""
    to = address_of(record)
    call(_step(w, w), call_frame.FINISH, to)
    _refuse(load_scalar(pointer_to(to, 0), REFUSAL))


# ---------------------------------------------------------------- the calls

# The functions of the K margins of a softmax that stand for those of one margin
_OF_CLASSES = {"sigmoid": "softmax", "log_sigmoid": "log_softmax"}


def activations(function, in_panels, link):
    """The implementation of a call that writes a function of the margins."""
    kernel = f"outputs_{function if link == 'sigmoid' else _OF_CLASSES[function]}"
    begin = beginning(arguments.ACTIVATE, kernel, in_panels, link, function)

    def implementation(X, w, b=0.0, link="sigmoid", offset=None, out=None, target=None):
        results = matrix(out, X.shape[0], w), None, None
        record, memory, of_outputs = begin(X, None, w, b, None, 0.0, offset, out, results)
        run_turns(record, X, w)
        finish(record, memory, of_outputs, X, None, w, None, offset, results)
        return results[0]

    return implementation


def _of_means(operation, link):
    kernel = f"outputs_{link}_loss"
    return beginning(operation, kernel, "CF", link, "loss_gradient"), _loss_of_all if link == "softmax" else _losses


def loss(link):
    """The implementation of `loss`."""
    begin, told = _of_means(arguments.MEAN, link)

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, target=None):
        results = None, np.empty(w.shape[1]), None
        record, memory, of_outputs = begin(X, y, w, b, sample_weight, l2, offset, None, results)
        run_turns(record, X, w)
        finish(record, memory, of_outputs, X, y, w, sample_weight, offset, results)
        return told(results[1])

    return implementation


def gradient(link):
    """The implementation of `gradient`."""
    begin, _ = _of_means(arguments.GRADIENT, link)

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
        results = matrix(out, X.shape[1], w), None, np.empty(w.shape[1])
        record, memory, of_outputs = begin(X, y, w, b, sample_weight, l2, offset, out, results)
        run_turns(record, X, w)
        finish(record, memory, of_outputs, X, y, w, sample_weight, offset, results)
        return Gradient(results[0], results[2])

    return implementation


def loss_and_gradient(link):
    """The implementation of `loss_and_gradient`."""
    begin, told = _of_means(arguments.GRADIENT, link)

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
        results = matrix(out, X.shape[1], w), np.empty(w.shape[1]), np.empty(w.shape[1])
        record, memory, of_outputs = begin(X, y, w, b, sample_weight, l2, offset, out, results)
        run_turns(record, X, w)
        finish(record, memory, of_outputs, X, y, w, sample_weight, offset, results)
        return LossAndGradient(told(results[1]), results[0], results[2])

    return implementation


@inline
def _losses(losses):
    """The losses of independent models."""
    return losses


@inline
def _loss_of_all(losses):
    """The loss of a softmax."""
    return losses[0]


# ---------------------------------------------------------------- overloads on the types of the arguments


def run_turns(record, X, w):
    """Run every turn of a call, on Numba's threads if the caller's function is compiled with `parallel=True`."""


@overload(run_turns, inline="always")
def _run_turns_on_threads(record, X, w):
    if not parallel_caller():
        return None

    def implementation(record, X, w):
        for _turn in range(_turns(record)):
            call(_step(w, w), outputs_frame.BEGIN_TURN, address_of(record))
            run(record, X, w)
            call(_step(w, w), outputs_frame.END_TURN, address_of(record))

    return implementation


@overload(run_turns)
def _run_turns_here(record, X, w):
    if parallel_caller():
        return None
    return lambda record, X, w: call(_step(w, w), call_frame.RUN, address_of(record))


@inline
def _turns(record):
    return record.view(CALL)[0].turns


def per_output(number, w):
    """A number of each output, in float64: those of an array, or the same one for all."""


@overload(per_output)
def _per_output(number, w):
    if isinstance(number, types.Array):
        return lambda number, w: number.astype(np.float64)
    return lambda number, w: np.full(w.shape[1], np.float64(number))


def _conversion_of_classes(y, w):
    """The address of the function that checks and converts the labels of a softmax; 0 where there are none."""


@overload(_conversion_of_classes)
def _conversion_of_classes_in(y, w):
    return (lambda y, w: _classes(y, w)) if isinstance(y, types.Array) else (lambda y, w: 0)


def matrix(out, rows, w):
    """The array (rows, K) that receives a result: `out`, or a new one."""


@overload(matrix)
def _matrix(out, rows, w):
    if isinstance(out, types.Array):
        return lambda out, rows, w: out
    dtype = np.dtype(str(w.dtype))
    return lambda out, rows, w: np.empty((rows, w.shape[1]), dtype)

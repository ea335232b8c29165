"""What of a call is compiled within the caller's function, for the types of its arrays, which `overloads.py` has checked.

Messages are constants: to make one takes Python's lock, which a thread of the caller's may wait for in vain.
"""

import math

import numpy as np
from numba import prange, types
from numba.extending import overload

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import embedded, panels
from jitlogreg.targets.cpu.embedded import CALL
from jitlogreg.targets.cpu.memory import call
from jitlogreg.targets.cpu.symbols import symbol

_plan, _finish = symbol("plan"), symbol("finish")
_activations_of_rows, _activations_of_columns = symbol("activations", "C"), symbol("activations", "F")
_sums_of_rows, _sums_of_columns, _sums_of_panels = symbol("sums", "C"), symbol("sums", "F"), symbol("panels", "C")


@inline
def begin(operation, X, y, w, b, sample_weight, l2, out, result):
    """Check a call and describe it to the kernels. Returns its record, and what must live until `finish`."""
    if w.shape[0] != X.shape[1]:
        raise ValueError("w has not the length n, the columns of X; accepted is shape (n,)")
    if not 0 <= l2 < math.inf:
        raise ValueError("l2 is negative or not finite; accepted is a finite number of at least 0")
    calls = np.empty(1, CALL)
    t = calls[0]
    t.operation, t.b, t.l2 = operation, _intercept(b, w), l2
    t.x, t.itemsize, t.m, t.n = X.ctypes.data, X.itemsize, X.shape[0], X.shape[1]
    t.down, t.across, t.memory = X.strides[0], X.strides[1], 0
    t.for_rows, t.for_columns, t.for_panels = _kernels(X, y, w)
    plan, record = _plan(X, w), calls.ctypes.data
    call(plan, 0, record)
    _refuse(t.refusal)
    _check_output(out, result, X, y, w, sample_weight)
    parameters = np.ascontiguousarray(w)
    labels, weights = _labels(y, X, w), _weights(sample_weight, X, w)
    memory = np.empty(t.numbers)
    t.w, t.y, t.s, t.out = parameters.ctypes.data, _address(labels), _address(weights), _address(result)
    t.memory = memory.ctypes.data
    call(plan, 0, record)
    return calls, (X, parameters, labels, weights, result, memory)


def run(calls):
    """Run every part of a call, on Numba's threads where `prange` of the caller's function does."""


@overload(run, inline="always")
def _run(calls):
    def implementation(calls):
        for stage in range(calls[0].stages):
            kernel, task, first, parts = _parts(calls, stage)
            if calls[0].threads:
                for part in prange(parts):
                    call(kernel, first + part, task)
            else:
                for part in range(parts):
                    call(kernel, first + part, task)

    return implementation


@inline
def _parts(calls, stage):
    t = calls[0]
    parts, step = t.parts, stage % panels.STEPS
    if t.by_panels and step == panels.LINK:
        parts = 1
    elif t.by_panels and step == panels.UPDATE and t.operation == embedded.MEAN:
        parts = 0
    return t.kernel, t.task, stage * t.parts, parts


@inline
def finish(calls, kept, X, w):
    """The mean loss and db, once dw has been written."""
    t = calls[0]
    call(_finish(X, w), 0, calls.ctypes.data)
    _refuse(t.refusal)
    return t.loss, t.db


@inline
def _refuse(refusal):
    if refusal == embedded.STRIDES:
        raise ValueError(
            "X has strides that are not accepted: accepted is a unit stride, and another that is positive and lets no "
            "rows or columns overlap; np.ascontiguousarray(X) makes such a copy"
        )
    if refusal == embedded.EMPTY:
        raise ValueError("X has no rows; accepted is at least one row where a mean is asked for")
    if refusal == embedded.LABEL:
        raise ValueError("y has a value that is no label; accepted are labels from 0 to 1")
    if refusal == embedded.WEIGHT_OF_EXAMPLE:
        raise ValueError("sample_weight has a value that is none; accepted are finite weights of at least 0")
    if refusal == embedded.WEIGHT_SUM:
        raise ValueError("sample_weight has no sum to divide by; accepted is a sum that is positive and finite")


# ---------------------------------------------------------------- chosen by the types of the arguments


def _kernels(X, y, w):
    """The addresses of the kernels for rows, for columns and for panels; 0 for one that is not needed."""


@overload(_kernels)
def _kernels_of(X, y, w):
    if not isinstance(y, types.Array):
        if X.layout == "C":
            return lambda X, y, w: (_activations_of_rows(X, w), 0, 0)
        return lambda X, y, w: (_activations_of_rows(X, w), _activations_of_columns(X, w), 0)
    if X.layout == "C":
        return lambda X, y, w: (_sums_of_rows(X, w), 0, _sums_of_panels(X, w))
    return lambda X, y, w: (_sums_of_rows(X, w), _sums_of_columns(X, w), _sums_of_panels(X, w))


def _address(array):
    """Of an array's first element; 0 for None."""


@overload(_address)
def _address_of(array):
    if isinstance(array, types.Array):
        return lambda array: array.ctypes.data
    return lambda array: 0


def _intercept(b, w):
    """The intercept as float64, rounded to w's dtype."""


@overload(_intercept)
def _intercept_in(b, w):
    if w.dtype == types.float64:
        return lambda b, w: np.float64(b)

    def rounded(b, w):
        wide, narrow = np.float64(b), np.float32(np.float64(b))
        if math.isinf(narrow) and not math.isinf(wide):
            raise ValueError("b is beyond float32, the dtype of w; accepted are numbers within it")
        return np.float64(narrow)

    return rounded


def result(out, length, w):
    """The array that receives a result: `out`, or a new one."""


@overload(result)
def _result(out, length, w):
    if isinstance(out, types.Array):
        return lambda out, length, w: out
    return lambda out, length, w: np.empty(length, w.dtype)


def _labels(y, X, w):
    """Labels in w's dtype, contiguous; None for None. Values are looked at only where they are converted."""


@overload(_labels)
def _labels_of(y, X, w):
    if not isinstance(y, types.Array):
        return lambda y, X, w: None

    message = "y has not the length m, the rows of X; accepted is shape (m,)"
    if y.dtype == w.dtype and y.layout == "C":

        def as_they_are(y, X, w):
            if y.shape[0] != X.shape[0]:
                raise ValueError(message)
            return y

        return as_they_are

    def converted(y, X, w):
        if y.shape[0] != X.shape[0]:
            raise ValueError(message)
        labels = np.empty(y.shape[0], w.dtype)
        for i in range(y.shape[0]):
            if not 0 <= y[i] <= 1:
                _refuse(embedded.LABEL)
            labels[i] = y[i]
        return labels

    return converted


def _weights(sample_weight, X, w):
    """The same of weights."""


@overload(_weights)
def _weights_of(sample_weight, X, w):
    if not isinstance(sample_weight, types.Array):
        return lambda sample_weight, X, w: None

    message = "sample_weight has not the length m, the rows of X; accepted is shape (m,)"
    if sample_weight.dtype == w.dtype and sample_weight.layout == "C":

        def as_they_are(sample_weight, X, w):
            if sample_weight.shape[0] != X.shape[0]:
                raise ValueError(message)
            return sample_weight

        return as_they_are

    def converted(sample_weight, X, w):
        if sample_weight.shape[0] != X.shape[0]:
            raise ValueError(message)
        weights = np.empty(sample_weight.shape[0], w.dtype)
        for i in range(sample_weight.shape[0]):
            if not 0 <= sample_weight[i] < math.inf:
                _refuse(embedded.WEIGHT_OF_EXAMPLE)
            weights[i] = sample_weight[i]
            # else the example would be left out unseen
            if math.isinf(weights[i]) or (weights[i] == 0 and sample_weight[i] != 0):
                raise ValueError("sample_weight has a value beyond the dtype of w; accepted are numbers within it")
        return weights

    return converted


# ---------------------------------------------------------------- out


def _check_output(out, result, X, y, w, sample_weight):
    """Check `out`, if there is one: its length, that it is contiguous, and shares no memory with an input."""


@overload(_check_output)
def _check_given_output(out, result, X, y, w, sample_weight):
    if not isinstance(out, types.Array):
        return lambda out, result, X, y, w, sample_weight: None
    of_rows = not isinstance(y, types.Array)

    def check(out, result, X, y, w, sample_weight):
        if out.shape[0] != X.shape[0 if of_rows else 1]:
            raise ValueError("out has not the length of the result; accepted is its shape")
        if out.shape[0] > 1 and out.strides[0] != out.itemsize:
            raise ValueError("out is not contiguous; accepted is an array that is")
        if _shares(out, X) or _shares(out, w) or _shares(out, y) or _shares(out, sample_weight):
            raise ValueError("out shares memory with an input; accepted is an array of its own")

    return check


def _shares(out, array):
    """Whether a contiguous array shares memory with another, whose layout is accepted; None shares none."""


@overload(_shares)
def _shares_memory(out, array):
    if not isinstance(array, types.Array):
        return lambda out, array: False
    if array.ndim == 1:

        def of_vector(out, array):
            first, count, stride = array.ctypes.data, array.shape[0], array.strides[0]
            if stride < 0:
                first += (count - 1) * stride
            return _meets(out, first, array.itemsize, abs(stride), count)

        return of_vector

    def of_matrix(out, array):
        (m, n), (down, across), size = array.shape, array.strides, array.itemsize
        if (n <= 1 or across == size) and (m <= 1 or down >= n * size):
            return _meets(out, array.ctypes.data, n * size, down, m)
        return _meets(out, array.ctypes.data, m * size, across, n)

    return of_matrix


@inline
def _meets(out, start, size, pitch, count):
    """Whether `out` shares memory with one of `count` runs of `size` bytes, `pitch` from one to the next."""
    if out.size == 0 or size == 0 or count == 0:
        return False
    first, after, k = out.ctypes.data, out.ctypes.data + out.size * out.itemsize, 0
    if count > 1 and pitch > 0:
        k = max(0, (first - start - size) // pitch + 1)  # the first run that ends after the beginning of `out`
    run = start + k * pitch
    return k < count and run < after and run + size > first

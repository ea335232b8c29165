"""The record of a call from the user's own compiled code, the call frame, and the checks of its arguments.

`call_frame.py` takes calls of one output, `outputs_frame.py` those of K. Labels, weights and offsets of all models are
vectors, those of each model columns of a matrix; kernels read them with the numbers of a column adjacent.
"""

import math

import numpy as np

from jitlogreg.targets.base import UNSUPPORTED, classify_layout
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import call, load_scalar, pointer_to, record_reader, store_scalar

# What the user's function writes, by `pointers.store_words`: the record's own address, the operation, arrays, the
# numbers of the profile, kernels of row chunks and of column panels in either order, what computes Σ w², and what
# converts labels, weights and offsets; 0 for a kernel that cannot be needed
_MATRIX = ("x", "x_size", "m", "n", "down", "across")
_ARRAY = ("", "_size", "_length", "_columns", "_step", "_across")
_KERNELS = (
    "profile",
    "rows_c",
    "rows_f",
    "panels_c",
    "panels_f",
    "squares",
    "convert_y",
    "convert_s",
    "convert_offset",
)
# of K outputs also b and l2 of each, where losses and db go, whether they are a softmax, the vectors that the pointwise
# step works in for all and for each, and the address of how many threads there are at most
_OUTPUTS = (
    *(f"{name}{what}" for name in ("intercepts", "penalties") for what in _ARRAY),
    *("losses", "dbs", "softmax", "shared", "own", "most_threads"),
)
_INTEGERS = (
    *("record", "operation", *_MATRIX),
    *(f"{name}{what}" for name in ("w", "y", "s", "offset", "out") for what in _ARRAY),
    *(*_KERNELS, *_OUTPUTS),
    # why the call is refused; memory that is asked for, in numbers of eight bytes, and given; where the result goes
    *("refusal", "numbers", "memory", "result"),
    # whether threads are worth it; labels, weights and offsets that can be read
    *("threads", "labels", "weights", "offsets"),
    # of K outputs: turns of kernels, and the one whose turn it is; packed coefficients; where Σ w² of each output goes,
    # and what is kept of a turn
    *("turns", "turn", "packed", "squares_of", "kept"),
)
CALL = np.dtype([(name, np.intp if name in _INTEGERS else np.float64) for name in ("b", "l2", *_INTEGERS)])

call_at = record_reader(CALL)

ACTIVATE, MEAN, GRADIENT = range(3)

VALID, STRIDES, W_LENGTH, INTERCEPT, PENALTY, EMPTY, Y_LENGTH, S_LENGTH, OFFSET_LENGTH = range(9)
OUT_LENGTH, OUT_STEP, OUT_SHARED = range(9, 12)
LABEL, WEIGHT_OF_EXAMPLE, WEIGHT_BEYOND, WEIGHT_SUM, OFFSET_BEYOND = range(12, 17)
FEW_OUTPUTS, INTERCEPTS_LENGTH, PENALTIES_LENGTH, CLASS, PROBABILITIES = range(17, 22)

# The largest weight: what is more is infinite
_LARGEST = float(np.finfo(np.float64).max)

# The least float64 that float32 rounds to infinity
BEYOND_FLOAT32 = 2.0**128 - 2.0**103

classify = inline(classify_layout)


# ---------------------------------------------------------------- the arrays of a record


@inline
def _w(t):
    return t.w, t.w_size, t.w_length, t.w_columns, t.w_step, t.w_across


@inline
def _y(t):
    return t.y, t.y_size, t.y_length, t.y_columns, t.y_step, t.y_across


@inline
def _s(t):
    return t.s, t.s_size, t.s_length, t.s_columns, t.s_step, t.s_across


@inline
def _offset(t):
    return t.offset, t.offset_size, t.offset_length, t.offset_columns, t.offset_step, t.offset_across


@inline
def _count(array):
    """How many numbers an array has."""
    _, _, rows, columns, _, _ = array
    return rows * abs(columns)


@inline
def numbers_of_examples(t):
    """How many labels, weights and offsets there are."""
    return _count(_y(t)) + _count(_s(t)) + _count(_offset(t))


# ---------------------------------------------------------------- shapes


@inline
def check_shapes(t):
    """Why a call is refused for X or the shape of another array, but `out`."""
    order, _ = classify(t.m, t.n, t.down, t.across, t.x_size)
    if order == UNSUPPORTED:
        return STRIDES
    if t.w_length != t.n:
        return W_LENGTH
    if t.operation >= MEAN:
        if t.m == 0:
            return EMPTY
        if not _fits(t, _y(t)):
            return Y_LENGTH
        if t.s_size > 0 and not _fits(t, _s(t)):
            return S_LENGTH
    if t.offset_size > 0 and not _fits(t, _offset(t)):
        return OFFSET_LENGTH
    return VALID


@inline
def _fits(t, array):
    """Whether an array has a number for each example, or one for each example and output."""
    _, _, rows, columns, _, _ = array
    return rows == t.m and (columns < 0 or columns == t.w_columns)


# ---------------------------------------------------------------- labels, weights and offsets


@inline
def take_examples(t, free, w0):
    """Have labels, weights and offsets in w's dtype, copied to `free` where they must be; the call may be refused."""
    y, s, o = _y(t), _s(t), _offset(t)
    t.labels, t.weights, t.offsets = free, free + 8 * _count(y), free + 8 * (_count(y) + _count(s))
    if t.convert_y != 0:
        call(t.convert_y, LABEL, t.record)
    else:
        t.labels = adjacent(y, t.labels, w0)
    if t.convert_s != 0:
        call(t.convert_s, WEIGHT_OF_EXAMPLE, t.record)
    else:
        t.weights = adjacent(s, t.weights, w0)
    if t.convert_offset != 0:
        call(t.convert_offset, OFFSET_BEYOND, t.record)
    else:
        t.offsets = adjacent(o, t.offsets, w0)


@inline
def adjacent(array, copy, w0):
    """The address of an array of w's dtype in which a column's numbers are adjacent: its own, or that of a copy."""
    start, size, rows, columns, down, across = array
    if (rows <= 1 or down == size) and (abs(columns) <= 1 or across == rows * size):
        return start
    for i in range(rows):
        for k in range(abs(columns)):
            number = load_scalar(pointer_to(start + i * down + k * across, w0), 0)
            store_scalar(pointer_to(copy, w0), k * rows + i, number)
    return copy


def convert(refusal, call, source0, w0):
    """Labels, weights or offsets to w's dtype, once they are known to be good in theirs and to have come through."""
    t = call_at(call)
    if refusal == LABEL:
        array, to, least, most = _y(t), t.labels, 0.0, 1.0
    elif refusal == WEIGHT_OF_EXAMPLE:
        array, to, least, most = _s(t), t.weights, 0.0, _LARGEST
    else:
        array, to, least, most = _offset(t), t.offsets, -math.inf, math.inf
    start, _, rows, columns, down, across = array
    for i in range(rows):
        for k in range(abs(columns)):
            number = load_scalar(pointer_to(start + i * down + k * across, source0), 0)
            store_scalar(pointer_to(to, w0), k * rows + i, number)
            converted = load_scalar(pointer_to(to, w0), k * rows + i)
            if refusal == OFFSET_BEYOND:
                if math.isinf(converted) and not math.isinf(number):
                    t.refusal = OFFSET_BEYOND
                    return
            elif not least <= number <= most:
                t.refusal = refusal
                return
            # otherwise the example would silently be left out
            elif refusal == WEIGHT_OF_EXAMPLE and (math.isinf(converted) or (converted == 0 and number != 0)):
                t.refusal = WEIGHT_BEYOND
                return


def convert_classes(refusal, call, source0, w0):
    """The labels of a softmax to w's dtype, likewise: class numbers, or probabilities whose rows sum to 1."""
    t = call_at(call)
    start, size, rows, columns, down, across = _y(t)
    # 4 u K; integers sum to 1 exactly, or not at all
    tolerance = t.w_columns * (2.0**-22 if size == 4 or t.w_size == 4 else 2.0**-51)
    for i in range(rows):
        total = 0.0
        for k in range(abs(columns)):
            number = load_scalar(pointer_to(start + i * down + k * across, source0), 0)
            store_scalar(pointer_to(t.labels, w0), k * rows + i, number)
            total += number
            if not number >= 0:
                t.refusal = PROBABILITIES if columns > 0 else CLASS
        if columns < 0 and total >= t.w_columns:
            t.refusal = CLASS
        if columns > 0 and not abs(total - 1) <= tolerance:
            t.refusal = PROBABILITIES


@inline
def check_sums(t, labels_checked, flawed, positive, w0):
    """Why a call is refused for its sums: for a label or weight if they are flawed, else for a sum of weights.

    Sums are flawed if they have met a bad label or weight, or if a sum of weights is not finite.
    """
    if flawed:
        for i in range(0 if labels_checked else _count(_y(t))):
            y = load_scalar(pointer_to(t.labels, w0), i)
            if not 0 <= y <= 1:
                return LABEL
        for i in range(_count(_s(t))):
            s = load_scalar(pointer_to(t.weights, w0), i)
            if not 0 <= s < math.inf:
                return WEIGHT_OF_EXAMPLE
    return VALID if positive else WEIGHT_SUM


# ---------------------------------------------------------------- out


@inline
def check_out(t):
    """Why a call is refused for `out`."""
    rows, columns = t.out_length, abs(t.out_columns)
    if t.out_size > 0:
        if rows != (t.m if t.operation < MEAN else t.n) or t.out_columns != t.w_columns:
            return OUT_LENGTH
        if rows * columns > 0:
            if (rows > 1 and t.out_step != columns * t.out_size) or (columns > 1 and t.out_across != t.out_size):
                return OUT_STEP
            if _shares_memory(t):
                return OUT_SHARED
    return VALID


@inline
def _shares_memory(t):
    """Whether `out` shares memory with an input, as that was passed."""
    rows = (t.n <= 1 or t.across == t.x_size) and (t.m <= 1 or t.down >= t.n * t.x_size)
    if (rows and _meets(t, t.x, t.n * t.x_size, t.down, t.m)) or (
        not rows and _meets(t, t.x, t.m * t.x_size, t.across, t.n)
    ):
        return True
    return _meets_array(t, _w(t)) or _meets_array(t, _y(t)) or _meets_array(t, _s(t)) or _meets_array(t, _offset(t))


@inline
def _meets_array(t, array):
    start, size, rows, columns, down, across = array
    meets = False
    for k in range(abs(columns)):
        meets = meets or _meets(t, start + k * across, size, down, rows)
    return meets


@inline
def _meets(t, start, size, step, count):
    """Whether `out` shares memory with one of `count` runs of `size` bytes, `step` from one to the next."""
    if size == 0 or count == 0:
        return False
    if step < 0:
        start, step = start + (count - 1) * step, -step
    after, k = t.out + t.out_length * abs(t.out_columns) * t.out_size, 0
    if count > 1 and step > 0:
        k = max(0, (t.out - start - size) // step + 1)  # the first run that ends after the beginning of `out`
    return k < count and start + k * step < after and start + k * step + size > t.out

"""A call from the user's own compiled code: what `api`, `targets.cpu` and `objective` do around the kernels.

Compiled once for all, and called by symbol (`symbols.py`), so that the user's function takes little time to compile. It
describes its call in a record, the call frame, and then asks for one step after the other. The steps check the call,
write the kernels' own record (`targets.cpu.problem`), and hand it to the executor.
"""

import functools
import math

import numba
import numpy as np
from numba import types

from jitlogreg.simd import LANES
from jitlogreg.targets.base import UNSUPPORTED, F, classify_layout
from jitlogreg.targets.compile import function_pointer, inline
from jitlogreg.targets.cpu import column_panels, executor, row_chunks
from jitlogreg.targets.cpu.partition import POINTWISE_COST, partition
from jitlogreg.targets.cpu.pointers import call, load_scalar, pointer_to, record_reader, store_scalar
from jitlogreg.targets.cpu.problem import WORDS, problem_at
from jitlogreg.targets.cpu.profile import (
    C_ORDER,
    CACHED,
    DISTANCE,
    F_ORDER,
    FORWARD_BELOW,
    GRADIENT_BELOW,
    SERIAL_BELOW,
    prefetch_offset,
)

# What the user's function writes, by `pointers.store_words`: the record's own address, the operation, arrays, the
# numbers of the profile, kernels of row chunks and of column panels in either order, what computes Σ w², and what
# converts labels and weights; 0 for a kernel that cannot be needed
_MATRIX = ("x", "x_size", "m", "n", "down", "across")
_VECTORS = tuple(f"{name}{what}" for name in ("w", "y", "s", "out") for what in ("", "_size", "_length", "_step"))
_KERNELS = ("profile", "rows_c", "rows_f", "panels_c", "panels_f", "squares", "convert_y", "convert_s")
_INTEGERS = (
    *("record", "operation", *_MATRIX, *_VECTORS, *_KERNELS),
    # why the call is refused; memory that is asked for, in numbers of eight bytes, and given; where the result goes
    *("refusal", "numbers", "memory", "result"),
    # whether threads are worth it; labels and weights that can be read
    *("threads", "labels", "weights"),
)
CALL = np.dtype([(name, np.intp if name in _INTEGERS else np.float64) for name in ("b", "l2", *_INTEGERS)])

_call_at = record_reader(CALL)

ACTIVATE, MEAN, GRADIENT = range(3)

# What a call goes through: check, and ask for memory; take it; run every part, or let the caller do that; make means
CHECK, PLACE, RUN, FINISH = range(4)

VALID, STRIDES, W_LENGTH, INTERCEPT, PENALTY, EMPTY, Y_LENGTH, S_LENGTH, OUT_LENGTH, OUT_STEP, OUT_SHARED = range(11)
LABEL, WEIGHT_OF_EXAMPLE, WEIGHT_BEYOND, WEIGHT_SUM = range(11, 15)

# The largest weight: what is more is infinite
_LARGEST = float(np.finfo(np.float64).max)

# The least float64 that float32 rounds to infinity
_BEYOND_FLOAT32 = 2.0**128 - 2.0**103

_classify = inline(classify_layout)


def _step(step, call, x0, w0):
    """One step of a call. A null pointer tells the type of w."""
    t = _call_at(call)
    if step == CHECK:
        t.refusal = _check(t)
        if t.refusal == VALID:
            _plan(t)
    elif step == PLACE:
        _place(t, w0)
    elif t.refusal == VALID:
        problem = problem_at(t.memory)
        if step == RUN:
            executor.run(problem, t.memory)
        else:
            executor.finish(problem, t.memory)
            if t.operation >= MEAN:
                t.refusal = _refusal(t, problem, w0)


@inline
def _check(t):
    """Why a call is refused, as far as it shows before labels and weights are read."""
    order, _ = _classify(t.m, t.n, t.down, t.across, t.x_size)
    if order == UNSUPPORTED:
        return STRIDES
    if t.w_length != t.n:
        return W_LENGTH
    if t.w_size == 4 and _BEYOND_FLOAT32 <= abs(t.b) < math.inf:
        return INTERCEPT
    if not 0 <= t.l2 < math.inf:
        return PENALTY
    if t.operation >= MEAN:
        if t.m == 0:
            return EMPTY
        if t.y_length != t.m:
            return Y_LENGTH
        if t.s_size > 0 and t.s_length != t.m:
            return S_LENGTH
    if t.out_size > 0:
        if t.out_length != (t.m if t.operation < MEAN else t.n):
            return OUT_LENGTH
        if t.out_length > 1 and t.out_step != t.out_size:
            return OUT_STEP
        if _shares_memory(t):
            return OUT_SHARED
    return VALID


@inline
def _partition(t):
    """The partition, whether X is in F order, and the leading dimension."""
    order, ld = _classify(t.m, t.n, t.down, t.across, t.x_size)
    return partition(t.m, t.n, t.x_size, order == F, t.operation < MEAN), order == F, ld


@inline
def _plan(t):
    """How much memory a call takes, with copies of vectors that cannot be read as they are; whether threads pay."""
    m, n, of_examples = t.m, t.n, t.operation >= MEAN
    (rows, tasks, panel, _), _, _ = _partition(t)
    n_padded = -(-n // LANES) * LANES if t.operation == GRADIENT else 0
    t.threads = m * (n + POINTWISE_COST) >= load_scalar(pointer_to(t.profile, 0), SERIAL_BELOW)
    _, size = _memory(m, rows, tasks, panel, n_padded)
    t.numbers = size // 8 + n + (2 * m if of_examples else 0)


@inline
def _memory(m, rows, tasks, panel, n_padded):
    """The fields of the plan that say where memory is, and how much there is."""
    if panel > 0:
        return column_panels.memory(m, rows, tasks, n_padded, 1, 8 * WORDS)
    return row_chunks.memory(m, rows, tasks, n_padded, 0, 8 * WORDS)


@inline
def _prefetch_offset(t, f_order, ld, rows, panel):
    """How far ahead to prefetch, as the profile says."""
    profile, of_order = pointer_to(t.profile, 0), F_ORDER if f_order else C_ORDER
    below = load_scalar(profile, of_order + (GRADIENT_BELOW if t.operation >= MEAN else FORWARD_BELOW))
    cached, distance = load_scalar(profile, of_order + CACHED), load_scalar(profile, of_order + DISTANCE)
    return prefetch_offset(t.m, t.n, t.x_size, ld, f_order, rows, panel, cached, distance, below)


@inline
def _place(t, w0):
    """Describe the problem, once memory is given. The call may be refused then for labels or weights it converts."""
    m, n, weighted = t.m, t.n, 1 if t.s_size > 0 else 0
    (rows, tasks, panel, sequential), f_order, ld = _partition(t)
    p = problem_at(t.memory)
    own_w = t.memory + 8 * (t.numbers - n)
    t.labels, t.weights = own_w - 8 * m, own_w - 16 * m
    if t.operation >= MEAN:
        if t.convert_y != 0:
            call(t.convert_y, LABEL, t.record)
        else:
            t.labels = _contiguous(t.y, t.y_step, t.w_size, m, t.labels, w0)
        if t.convert_s != 0:
            call(t.convert_s, WEIGHT_OF_EXAMPLE, t.record)
        else:
            t.weights = _contiguous(t.s, t.s_step, t.w_size, m * weighted, t.weights, w0)
    if f_order:
        p.kernel = t.panels_f if panel > 0 else t.rows_f
    else:
        p.kernel = t.panels_c if panel > 0 else t.rows_c
    p.b, p.l2, p.x, p.w = t.b, t.l2, t.x, _contiguous(t.w, t.w_step, t.w_size, n, own_w, w0)
    p.y, p.s, p.weighted, p.frame = t.labels, t.weights, weighted, 0
    # residuals would go to `out` as well
    p.out, p.dw = t.result if t.operation < MEAN else 0, t.result if t.operation == GRADIENT else 0
    p.w_size = t.w_size if t.operation >= MEAN else 0
    p.squares, p.plan, p.reduction, p.m, p.n, p.ld = t.squares, 0, 0, m, n, ld
    p.rows, p.tasks, p.panel, p.sequential = rows, tasks, panel, sequential
    p.offset, p.y_step, p.s_step, p.offset_step, p.outputs, p.w_step, p.wave = 0, 0, 0, 0, 1, 0, 0
    p.prefetch = _prefetch_offset(t, f_order, ld, rows, panel)
    p.n_padded, p.packed, p.vectors = -(-n // LANES) * LANES if t.operation == GRADIENT else 0, 0, 1
    fields, _ = _memory(m, rows, tasks, panel, p.n_padded)
    p.width, p.totals, p.partials, p.work, p.work_size, p.parts, p.z, p.accumulators = fields[:8]
    p.blocks, p.stages, p.stage_tasks, p.first_tasks, p.second_tasks, p.third_tasks, p.total_blocks = fields[8:]
    executor.prepare(p, t.memory)
    if t.refusal != VALID:
        p.stages = 0


@inline
def _contiguous(start, step, size, count, copy, w0):
    """The address of a vector of w's dtype whose numbers are adjacent: its own, or that of a copy which is made."""
    if step == size or count <= 1:
        return start
    for i in range(count):
        store_scalar(pointer_to(copy, w0), i, load_scalar(pointer_to(start + i * step, w0), 0))
    return copy


def _convert(refusal, call, source0, w0):
    """Labels, or weights, to w's dtype, once they are known to be good in theirs and to have come through."""
    t = _call_at(call)
    if refusal == LABEL:
        start, step, to, most = t.y, t.y_step, t.labels, 1.0
    else:
        start, step, to, most = t.s, t.s_step, t.weights, _LARGEST
    for i in range(t.m):
        number = load_scalar(pointer_to(start + i * step, source0), 0)
        store_scalar(pointer_to(to, w0), i, number)
        converted = load_scalar(pointer_to(to, w0), i)
        if not 0 <= number <= most:
            t.refusal = refusal
            return
        # otherwise the example would silently be left out
        if refusal == WEIGHT_OF_EXAMPLE and (math.isinf(converted) or (converted == 0 and number != 0)):
            t.refusal = WEIGHT_BEYOND
            return


@inline
def _refusal(t, problem, w0):
    """What is wrong with the sums: a label, a weight, or if weights are finite, their sum."""
    if problem.invalid != 0 or not problem.weight < math.inf:
        for i in range(t.m):
            y = load_scalar(pointer_to(t.labels, w0), i)
            if not 0 <= y <= 1:
                return LABEL
        for i in range(t.m if t.s_size > 0 else 0):
            s = load_scalar(pointer_to(t.weights, w0), i)
            if not 0 <= s < math.inf:
                return WEIGHT_OF_EXAMPLE
    return VALID if 0 < problem.weight < math.inf else WEIGHT_SUM


# ---------------------------------------------------------------- out


@inline
def _shares_memory(t):
    """Whether `out` shares memory with an input, as that was passed."""
    rows = (t.n <= 1 or t.across == t.x_size) and (t.m <= 1 or t.down >= t.n * t.x_size)
    if (rows and _meets(t, t.x, t.n * t.x_size, t.down, t.m)) or (
        not rows and _meets(t, t.x, t.m * t.x_size, t.across, t.n)
    ):
        return True
    return (
        _meets(t, t.w, t.w_size, t.w_step, t.w_length)
        or _meets(t, t.y, t.y_size, t.y_step, t.y_length)
        or _meets(t, t.s, t.s_size, t.s_step, t.s_length)
    )


@inline
def _meets(t, start, size, step, count):
    """Whether `out` shares memory with one of `count` runs of `size` bytes, `step` from one to the next."""
    if t.out_length == 0 or size == 0 or count == 0:
        return False
    if step < 0:
        start, step = start + (count - 1) * step, -step
    after, k = t.out + t.out_length * t.out_size, 0
    if count > 1 and step > 0:
        k = max(0, (t.out - start - size) // step + 1)  # the first run that ends after the beginning of `out`
    return k < count and start + k * step < after and start + k * step + size > t.out


# ---------------------------------------------------------------- machine code


@functools.cache
def compiled(operation, x_dtype, w_dtype):
    """The address of `_step`, or of `_convert` for labels or weights of `x_dtype`; both called as a kernel is."""
    x0, w0 = (types.CPointer(numba.from_dtype(dtype)) for dtype in (x_dtype, w_dtype))
    function = _step if operation == "step" else _convert
    variant = w_dtype.name if operation == "step" else f"{x_dtype.name}_{w_dtype.name}"
    return function_pointer(function, (types.intp, types.intp, x0, w0), f"{function.__name__}_{variant}")

"""A call from the caller's own compiled code: the work of `api`, `targets.cpu` and `objective.finish`.

It is compiled once for all callers and called by symbol (`symbols.py`), so a caller's function compiles quickly. The
caller describes its call in a record, `CALL`, and then requests one step after another.
"""

import functools
import math

import numba
import numpy as np
from numba import carray, types

from jitlogreg.simd import LANES
from jitlogreg.targets import layout
from jitlogreg.targets.compile import address, inline
from jitlogreg.targets.cpu import column_panels, drivers
from jitlogreg.targets.cpu.chunks import TASK
from jitlogreg.targets.cpu.epilogue import INVALID, TOTALS, WEIGHT
from jitlogreg.targets.cpu.partition import POINTWISE_COST, partition
from jitlogreg.targets.cpu.pointers import at, call, get, put
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
from jitlogreg.targets.cpu.whole import finish

# What the caller writes, by `memory.put_words`: the record's own address, the operation, arrays, the numbers of the
# profile, the kernels for row chunks and column panels of either order, and those that convert labels and weights; 0
# for a kernel that cannot be needed
_MATRIX = ("x", "x_size", "m", "n", "down", "across")
_VECTORS = tuple(f"{name}{what}" for name in ("w", "y", "s", "out") for what in ("", "_size", "_length", "_step"))
_KERNELS = ("profile", "chunks_c", "chunks_f", "panels_c", "panels_f", "convert_y", "convert_s")
_INTEGERS = (
    *("record", "operation", *_MATRIX, *_VECTORS, *_KERNELS),
    # why the call is refused; memory that is asked for, in numbers of eight bytes, and given; where the result goes
    *("refusal", "numbers", "memory", "result"),
    # how to run it: a kernel, its task's address, and in each stage part after part, on threads where that is worth it
    *("kernel", "task", "stages", "parts", "panels", "blocks", "threads"),
    # where the sums lie, and w, labels and weights that can be read
    *("by_panels", "width", "scratch", "parameters", "labels", "weights"),
)
_MEANS = ("loss", "db")
CALL = np.dtype([(name, np.intp if name in _INTEGERS else np.float64) for name in ("b", "l2", *_INTEGERS, *_MEANS)])

FORWARD, LOG_FORWARD, MEAN, GRADIENT = range(4)

# What a call goes through: check, and ask for memory; take it; run every part, or let the caller do that; make means
CHECK, PLACE, RUN, FINISH = range(4)

VALID, STRIDES, W_LENGTH, INTERCEPT, PENALTY, EMPTY, Y_LENGTH, S_LENGTH, OUT_LENGTH, OUT_STEP, OUT_SHARED = range(11)
LABEL, WEIGHT_OF_EXAMPLE, WEIGHT_BEYOND, WEIGHT_SUM = range(11, 15)

# Room for a task of either kind, in numbers
_OF_TASK = -(-max(TASK.itemsize, column_panels.TASK.itemsize) // 8)

# The largest weight: what is more is infinite
_LARGEST = float(np.finfo(np.float64).max)

# The least float64 that float32 rounds to infinity
_BEYOND_FLOAT32 = 2.0**128 - 2.0**103

_lies = inline(layout.lies)


def _step(step, call, chunks0, panels0, w0):
    """One step of a call. Null pointers tell the types of the tasks and of w."""
    t = carray(call, 1)[0]
    if step == CHECK:
        t.refusal = _check(t)
        if t.refusal == VALID:
            _plan(t)
    elif step == PLACE:
        _place(t, chunks0, panels0, w0)
    elif step == RUN:
        _run(t)
    elif t.operation >= MEAN and t.refusal == VALID:
        _finish(t, w0)


@inline
def _check(t):
    """The reason to refuse a call, except for the values of labels and weights."""
    order, _ = _lies(t.m, t.n, t.down, t.across, t.x_size)
    if order == layout.NEITHER:
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
def _plan(t):
    """How a call will run, and how much memory that takes: with copies of vectors that cannot be read as they are."""
    m, n = t.m, t.n
    order, _ = _lies(m, n, t.down, t.across, t.x_size)
    room, of_examples = -(-n // LANES) * LANES if t.operation == GRADIENT else 0, t.operation >= MEAN
    rows, tasks, panel, _ = partition(m, n, t.x_size, order == layout.F, not of_examples)
    t.width, t.by_panels = room + TOTALS, panel > 0
    t.threads = m * (n + POINTWISE_COST) >= get(at(t.profile, 0), SERIAL_BELOW)
    if t.by_panels:
        size = column_panels.scratch_size(rows, tasks, room, 1)
    else:
        size = drivers.numbers_of_scratch(m, n, rows, tasks, room, 0)
    t.numbers = _OF_TASK + 2 * t.width + size + n + (2 * m if of_examples else 0)


@inline
def _prefetch_offset(t, order, leading, rows, panel):
    """How far ahead to prefetch, as the profile says."""
    profile, of_order = at(t.profile, 0), C_ORDER if order == layout.C else F_ORDER
    below = get(profile, of_order + (GRADIENT_BELOW if t.operation >= MEAN else FORWARD_BELOW))
    ahead = get(profile, of_order + CACHED), get(profile, of_order + DISTANCE), below
    return prefetch_offset(t.m, t.n, t.x_size, leading, order == layout.F, rows, panel, *ahead)


@inline
def _place(t, chunks0, panels0, w0):
    """Describe the task, once memory is given. It may be refused then for labels or weights that are converted."""
    m, n = t.m, t.n
    order, leading = _lies(m, n, t.down, t.across, t.x_size)
    totals, s_step = t.memory + 8 * _OF_TASK, int(t.s_size > 0)
    for k in range(2 * t.width):
        put(at(totals, 0.0), k, 0)
    t.task, t.scratch = t.memory, totals + 8 * 2 * t.width
    t.parameters = t.memory + 8 * (t.numbers - n)
    t.labels, t.weights = t.parameters - 8 * m, t.parameters - 16 * m
    t.parameters = _contiguous(t.w, t.w_step, t.w_size, n, t.parameters, w0)
    if t.operation >= MEAN:
        if t.convert_y != 0:
            call(t.convert_y, LABEL, t.record)
        else:
            t.labels = _contiguous(t.y, t.y_step, t.w_size, m, t.labels, w0)
        if t.convert_s != 0:
            call(t.convert_s, WEIGHT_OF_EXAMPLE, t.record)
        else:
            t.weights = _contiguous(t.s, t.s_step, t.w_size, m * s_step, t.weights, w0)
    rows, tasks, panel, sequential = partition(m, n, t.x_size, order == layout.F, t.operation < MEAN)
    prefetch = _prefetch_offset(t, order, leading, rows, panel)
    of_examples, to = (t.labels, t.weights, s_step), (t.result, int(t.operation == LOG_FORWARD))
    if t.by_panels:
        t.kernel, t.blocks = t.panels_c if order == layout.C else t.panels_f, column_panels.row_blocks(rows)
        t.panels, t.parts = tasks, max(tasks, t.blocks)
        t.stages = (m + rows - 1) // rows * column_panels.STAGES
        of_x, task = (leading, m, n, rows, tasks, prefetch, panel), carray(at(t.task, panels0), 1)
        rest = t.width - TOTALS, totals, t.scratch, 1
        column_panels.describe(task, t.b, t.x, t.parameters, of_x, *of_examples, *to, *rest)
    else:
        t.kernel, t.stages = t.chunks_c if order == layout.C else t.chunks_f, 1
        of_x, task = (leading, m, n, rows, tasks, prefetch, sequential), carray(at(t.task, chunks0), 1)
        t.parts = drivers.describe(task, t.b, t.x, t.parameters, of_x, *of_examples, *to, 0, t.width, t.scratch)
    if t.refusal != VALID:
        t.stages = 0


@inline
def _contiguous(start, step, size, count, copy, w0):
    """The address of a vector of w's dtype whose numbers are adjacent: its own, or that of a copy which is made."""
    if step == size or count <= 1:
        return start
    for i in range(count):
        put(at(copy, w0), i, get(at(start + i * step, w0), 0))
    return copy


def _convert(refusal, call, source0, w0, nothing):
    """Convert labels or weights to w's dtype. Refuse bad ones, and weights that overflow or vanish."""
    t = carray(call, 1)[0]
    if refusal == LABEL:
        start, step, to, most = t.y, t.y_step, t.labels, 1.0
    else:
        start, step, to, most = t.s, t.s_step, t.weights, _LARGEST
    for i in range(t.m):
        number = get(at(start + i * step, source0), 0)
        put(at(to, w0), i, number)
        converted = get(at(to, w0), i)
        if not 0 <= number <= most:
            t.refusal = refusal
            return
        # otherwise the example would silently be left out
        if refusal == WEIGHT_OF_EXAMPLE and (math.isinf(converted) or (converted == 0 and number != 0)):
            t.refusal = WEIGHT_BEYOND
            return


@inline
def parts_of_stage(t, stage):
    """How many parts a stage of a call has."""
    return column_panels.tasks_of_stage(t.panels, t.blocks, t.width - TOTALS, stage) if t.by_panels else t.parts


@inline
def _run(t):
    """Run every part on this thread."""
    for stage in range(t.stages):
        for part in range(parts_of_stage(t, stage)):
            call(t.kernel, stage * t.parts + part, t.task)


@inline
def _finish(t, w0):
    """`drivers._run` after its loop, and the checks of `objective.evaluate`."""
    room = t.width - TOTALS
    totals = carray(at(t.memory + 8 * _OF_TASK, 0.0), (2, t.width))
    if t.by_panels:
        column_panels.join(totals, carray(at(t.scratch, 0.0), 2 * TOTALS * t.blocks), t.blocks)
    else:
        drivers.add_up(totals, carray(at(t.scratch, 0.0), t.parts * 2 * t.width), t.parts)
    weight = totals[0, room + WEIGHT]
    if totals[0, room + INVALID] != 0 or not weight < math.inf:
        t.refusal = _refusal(t, w0)
    if t.refusal == VALID and not 0 < weight < math.inf:
        t.refusal = WEIGHT_SUM
    if t.refusal != VALID:
        return
    columns = t.n if t.operation == GRADIENT else 0
    t.loss, t.db = finish(totals, at(t.parameters, w0), t.n, t.l2, columns, at(t.result, w0))


@inline
def _refusal(t, w0):
    """Whether a label or a weight is bad; neither if finite weights have an infinite sum."""
    for i in range(t.m):
        y = get(at(t.labels, w0), i)
        if not 0 <= y <= 1:
            return LABEL
    for i in range(t.m if t.s_size > 0 else 0):
        s = get(at(t.weights, w0), i)
        if not 0 <= s < math.inf:
            return WEIGHT_OF_EXAMPLE
    return VALID


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
def driver(operation, x_dtype, w_dtype):
    """The address of `_step`, or of `_convert` for labels or weights of `x_dtype`; both called as a kernel is."""
    record, x, w, task, panels_task = (
        types.CPointer(numba.from_dtype(np.dtype(dtype)))
        for dtype in (CALL, x_dtype, w_dtype, TASK, column_panels.TASK)
    )
    if operation == "step":
        return address(_step, (types.intp, record, task, panels_task, w), w_dtype.name)
    return address(_convert, (types.intp, record, x, w, types.none), f"{x_dtype.name}_{w_dtype.name}")

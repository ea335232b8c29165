"""A call from the caller's own compiled code: what `targets.cpu` and `objective.finish` do around the kernels.

Compiled once for all, and called by symbol (`symbols.py`), so that the caller's function takes little time to compile.
It describes its call in a record, `CALL`; `plan` checks and cuts, the caller runs the parts, `finish` makes means.
"""

import functools
import math

import numba
import numpy as np
from numba import carray, types

from jitlogreg.lanes import LANES
from jitlogreg.targets import layout
from jitlogreg.targets.compile import address, inline
from jitlogreg.targets.cpu import SERIAL_COST, WIDE, drivers, panels
from jitlogreg.targets.cpu.chunks import TASK
from jitlogreg.targets.cpu.cut import LINK_COST, cut
from jitlogreg.targets.cpu.link import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cpu.memory import at, get, put

_INTEGERS = (
    # what the caller asks for, with addresses, sizes, and strides in bytes
    *("operation", "x", "m", "n", "down", "across", "itemsize", "w", "y", "s", "out"),
    # the kernels for either order, and for panels
    *("for_rows", "for_columns", "for_panels"),
    # memory that `plan` asks for, in numbers of eight bytes, and where it was given
    *("numbers", "memory"),
    # how to run it: a kernel, its task's address, and in each stage part after part, on threads where that is worth it
    *("kernel", "task", "stages", "parts", "threads"),
    *("by_panels", "width", "refusal"),
)
CALL = np.dtype([*((name, np.float64) for name in ("b", "l2", "loss", "db")), *((name, np.intp) for name in _INTEGERS)])

FORWARD, LOG_FORWARD, MEAN, GRADIENT = range(4)

# Why a call is refused
ACCEPTED, STRIDES, EMPTY, LABEL, WEIGHT_OF_EXAMPLE, WEIGHT_SUM = range(6)

# Room for a task of either kind, in numbers
_OF_TASK = -(-max(TASK.itemsize, panels.TASK.itemsize) // 8)

_lies = inline(layout.lies)


def _plan(_, call, chunks0, panels0, nothing):
    """Check a matrix, and ask for memory; called again with that, describe the task. Null pointers tell their types."""
    t = carray(call, 1)[0]
    m, n, of_examples = t.m, t.n, t.operation >= MEAN
    order, leading = _lies(m, n, t.down, t.across, t.itemsize)
    t.refusal = STRIDES if order == layout.NEITHER else EMPTY if of_examples and m == 0 else ACCEPTED
    if t.refusal != ACCEPTED:
        return
    room = -(-n // LANES) * LANES if t.operation == GRADIENT else 0
    block, chunks, lead, apart = cut(m, n, t.itemsize, leading, order == layout.F)
    count = -(-n // panels.PANEL)
    t.width = room + TOTALS
    t.by_panels = order == layout.C and of_examples and n * t.itemsize >= WIDE
    t.threads = t.by_panels or m * (n + LINK_COST) >= SERIAL_COST
    if t.by_panels:
        size = panels.scratch_size(n, room)
    else:
        size = drivers.numbers_of_scratch(m, n, block, chunks, room, 0)
    t.numbers = _OF_TASK + 2 * t.width + size
    if t.memory == 0:
        return
    t.task, totals, s_step = t.memory, t.memory + 8 * _OF_TASK, int(t.s != 0)
    scratch = totals + 8 * 2 * t.width
    for k in range(2 * t.width):
        put(at(totals, 0.0), k, 0)
    if t.by_panels:
        t.kernel, t.parts, t.stages = t.for_panels, count, (m + LANES - 1) // LANES * panels.STEPS
        task = carray(at(t.task, panels0), 1)
        panels.describe(task, t.b, t.x, t.w, leading, m, n, count, t.y, t.s, s_step, t.width, totals, scratch)
    else:
        t.kernel, t.stages = t.for_rows if order == layout.C else t.for_columns, 1
        task, of_x = carray(at(t.task, chunks0), 1), (leading, m, n, block, chunks, lead, apart)
        log = int(t.operation == LOG_FORWARD)
        t.parts = drivers.describe(task, t.b, t.x, t.w, of_x, t.y, t.s, s_step, t.out, log, 0, t.width, scratch)


def _finish(_, call, x0, w0, nothing):
    """`drivers._run` after its loop, the checks of `objective.evaluate`, and `objective.finish`."""
    t = carray(call, 1)[0]
    room = t.width - TOTALS
    first = t.memory + 8 * _OF_TASK
    totals = carray(at(first, 0.0), (2, t.width))
    if t.by_panels:
        panels.join(totals)
    else:
        drivers.add_up(totals, carray(at(first + 8 * 2 * t.width, 0.0), t.parts * 2 * t.width), t.parts)
    weight = totals[0, room + WEIGHT]
    if totals[0, room + INVALID] != 0 or not weight < math.inf:
        t.refusal = _refusal(t, w0)
    if t.refusal == ACCEPTED and not 0 < weight < math.inf:
        t.refusal = WEIGHT_SUM
    if t.refusal != ACCEPTED:
        return
    w, out, l2 = at(t.w, w0), at(t.out, w0), t.l2
    t.loss, t.db = totals[0, room + LOSS] / weight, totals[0, room + DB] / weight
    if l2 != 0:
        t.loss += 0.5 * l2 * _sum_of_squares(w, t.n)
    if t.operation == GRADIENT:
        for j in range(t.n):
            dw = totals[0, j] / weight
            if l2 != 0:
                dw += l2 * get(w, j)
            put(out, j, dw)


@inline
def _refusal(t, w0):
    """Which is wrong, a label or a weight; neither if weights that are finite have a sum that is not."""
    for i in range(t.m):
        y = get(at(t.y, w0), i)
        if not 0 <= y <= 1:
            return LABEL
    for i in range(t.m if t.s != 0 else 0):
        s = get(at(t.s, w0), i)
        if not 0 <= s < math.inf:
            return WEIGHT_OF_EXAMPLE
    return ACCEPTED


# NumPy adds up to so many numbers at once, in eight sums
_AT_ONCE = 128


@inline
def _sum_of_squares(w, n):
    """Σ w² in float64, in the order of `np.sum`: halves, but of whole eights, are added up and then together."""
    left = np.empty(64)  # for each depth the sum of the left half, where the way led to the right
    start = 0
    while True:
        first, count, depth, rights = 0, n, 0, 0
        while count > _AT_ONCE:
            half = count // 2 // 8 * 8
            depth += 1
            rights *= 2
            if start < first + half:
                count = half
            else:
                first, count, rights = first + half, count - half, rights + 1
        total = _few_squares(w, first, count)
        while rights % 2 == 1:
            total += left[depth]
            depth, rights = depth - 1, rights // 2
        if first + count == n:
            return total
        left[depth] = total
        start = first + count


@inline
def _few_squares(w, first, count):
    total, rest = 0.0, 0
    if count >= 8:
        t0, t1, t2, t3 = _square(w, first), _square(w, first + 1), _square(w, first + 2), _square(w, first + 3)
        t4, t5, t6, t7 = _square(w, first + 4), _square(w, first + 5), _square(w, first + 6), _square(w, first + 7)
        rest = count // 8 * 8
        for j in range(first + 8, first + rest, 8):
            t0, t1 = t0 + _square(w, j), t1 + _square(w, j + 1)
            t2, t3 = t2 + _square(w, j + 2), t3 + _square(w, j + 3)
            t4, t5 = t4 + _square(w, j + 4), t5 + _square(w, j + 5)
            t6, t7 = t6 + _square(w, j + 6), t7 + _square(w, j + 7)
        total = ((t0 + t1) + (t2 + t3)) + ((t4 + t5) + (t6 + t7))
    for j in range(first + rest, first + count):
        total += _square(w, j)
    return total


@inline
def _square(w, j):
    x = np.float64(get(w, j))
    return x * x


@functools.cache
def driver(operation, w_dtype):
    """The address of `plan`, or of `finish` for w's dtype, to be called as a kernel is."""
    record, number = (numba.from_dtype(np.dtype(dtype)) for dtype in (CALL, w_dtype))
    pointers = (types.CPointer(number),) * 2
    if operation == "plan":
        pointers = types.CPointer(numba.from_dtype(TASK)), types.CPointer(numba.from_dtype(panels.TASK))
    function = _plan if operation == "plan" else _finish
    return address(function, (types.intp, types.CPointer(record), *pointers, types.none), w_dtype.name)

"""Tasks that own columns: for very long rows in C order, and for many columns in F order.

In C order eight rows of 256 KB leave the caches of a core, and in F order a row block has a page of each column. So the
columns are shared instead. For one strip of rows after another, every panel of columns gives its part of the margins;
then the parts are added up, in order, for the pointwise step; then every panel takes the accumulation. A column's sum
belongs to one panel, so there are no partial sums of columns to add up: for a hundred rows of 200,000 numbers they
would be 15 % of the bytes of X.

A strip is eight rows in C order, which lie in the cache that the cores share when they are read again. In F order it is
thousands, and a panel reads its columns end to end, twice from memory.

A kernel is told by one number what to do: strip, stage, and which panel, or which row block of the pointwise step.
"""

import math

import numpy as np
from numba import carray, prange

from jitlogreg.simd import LANES, zeros
from jitlogreg.targets.compile import inline, parallel, serial, shared
from jitlogreg.targets.cpu import column_major, row_major
from jitlogreg.targets.cpu.compensated import add_number, clear, flush, two_sum
from jitlogreg.targets.cpu.epilogue import (
    DB,
    INVALID,
    LOSS,
    SEGMENT,
    SEGMENTS,
    TOTALS,
    WEIGHT,
    activate,
    add_sums,
    curved,
    hold,
    no_sums,
    residuals,
)
from jitlogreg.targets.cpu.pointers import at, call, get, load, offset, put, splat, spread, store, sum_lanes
from jitlogreg.targets.cpu.remainder import copy_numbers

_INTEGERS = (
    # as in `chunks.TASK`, with the rows of a strip and the columns of a panel
    *("x", "w", "leading", "m", "n", "strip", "panel", "panels", "prefetch", "y", "s", "s_step", "out", "logarithm"),
    # row blocks of the pointwise step, the most tasks of a stage, the length of the totals; addresses of totals, parts
    # of the margins, residuals, each row block's totals and what it works in, accumulators in C order
    *("blocks", "tasks", "width", "totals", "parts", "dz", "of_blocks", "work", "accumulators"),
)
TASK = np.dtype([("b", np.float64), *((name, np.intp) for name in _INTEGERS)])

# What happens to a strip
MARGINS, POINTWISE, ACCUMULATE, STAGES = range(4)

# Rows of a block of the pointwise step
BLOCK = SEGMENTS * SEGMENT

# Strips of C order whose sums stay in the accumulators, at most: a term meets as many roundings
STRIPS_AT_ONCE = 8

# Numbers that a row block works in: products, and labels and weights of the last rows
_OF_BLOCK = (SEGMENTS + 2) * LANES


@shared
def row_blocks(strip):
    """Row blocks of the pointwise step in a strip."""
    return (strip + BLOCK - 1) // BLOCK


@shared
def scratch_size(strip, panels, room, vectors):
    """What a call needs beside its totals, in numbers of eight bytes.

    `vectors` is 2 where a second vector has margins as well, which lie behind the first's; else 1.
    """
    return vectors * (panels + 1) * strip + row_blocks(strip) * (2 * TOTALS + _OF_BLOCK) + room


@inline
def describe(task, b, x, w, of_x, y, s, s_step, out, logarithm, room, totals, scratch, vectors):
    """Fill in a task, with `totals` and `scratch` as addresses, and clear what row blocks add to."""
    leading, m, n, strip, panels, prefetch, panel = of_x
    t, blocks = task[0], row_blocks(strip)
    t.b, t.x, t.w, t.leading, t.m, t.n, t.strip, t.panel, t.panels = b, x, w, leading, m, n, strip, panel, panels
    t.prefetch, t.y, t.s, t.s_step, t.out, t.logarithm, t.blocks = prefetch, y, s, s_step, out, logarithm, blocks
    t.tasks, t.width, t.totals, t.of_blocks = max(panels, blocks), room + TOTALS, totals, scratch
    t.work = t.of_blocks + 8 * 2 * TOTALS * blocks
    t.parts = t.work + 8 * _OF_BLOCK * blocks
    t.dz = t.parts + 8 * vectors * panels * strip
    t.accumulators = t.dz + 8 * vectors * strip
    clear(at(t.of_blocks, 0.0), 2 * TOTALS * blocks)


# ---------------------------------------------------------------- kernels


def sum_panel(number, task, x0, w0, f_order):
    """One task of the loss and its gradient."""
    t = carray(task, 1)[0]
    strip, stage, k = _place(number, t)
    if stage == MARGINS:
        _margins(t, strip, k, 0, t.strip, at(t.w, w0), at(t.parts, w0), x0, w0, f_order)
    elif stage == POINTWISE:
        _sum_block(t, strip, k, w0)
    else:
        _accumulate(t, strip, k, x0, w0, f_order)


def activate_panel(number, task, x0, w0, f_order):
    """One task of the forward pass."""
    t = carray(task, 1)[0]
    strip, stage, k = _place(number, t)
    if stage == MARGINS:
        _margins(t, strip, k, 0, t.strip, at(t.w, w0), at(t.parts, w0), x0, w0, f_order)
    elif stage == POINTWISE:
        first, count, full, z = _row_block(t, strip, k, w0)
        _add_parts(at(t.parts, w0), t, k, full, z, spread(t.b, w0))
        activate(z, full, t.logarithm, spread(t.b, w0))
        out = offset(at(t.out, w0), first)
        for r in range(count):
            put(out, r, get(z, r))


def product_panel(number, task, x0, w0, f_order):
    """One task of the product of the Hessian with a vector, which lies where labels do otherwise."""
    t = carray(task, 1)[0]
    strip, stage, k = _place(number, t)
    second = offset(at(t.parts, w0), t.panels * t.strip)
    if stage == MARGINS:
        for start in range(0, min(t.strip, t.m - strip * t.strip), BLOCK):  # the second finds the first's rows in cache
            _margins(t, strip, k, start, BLOCK, at(t.w, w0), at(t.parts, w0), x0, w0, f_order)
            _margins(t, strip, k, start, BLOCK, at(t.y, w0), second, x0, w0, f_order)
    elif stage == POINTWISE:
        _multiply_block(t, strip, k, second, w0)
    else:
        _accumulate(t, strip, k, x0, w0, f_order)


@inline
def _place(number, t):
    """The strip, the stage, and the panel or row block of a task's number."""
    return number // t.tasks // STAGES, number // t.tasks % STAGES, number % t.tasks


@inline
def _columns_of(t, panel):
    """The first column of a panel, and how many it has."""
    first = panel * t.panel
    return first, min(t.panel, t.n - first)


@inline
def _margins(t, strip, panel, start, rows_at_once, w, parts, x0, w0, f_order):
    """A panel's part of the margins of a strip, of so many rows from row `start` of the strip on."""
    first, n = _columns_of(t, panel)
    row, b = strip * t.strip + start, zeros(spread(t.b, w0))
    count = min(min(rows_at_once, t.strip - start), t.m - row)
    x, leading, w, z = at(t.x, x0), t.leading, offset(w, first), offset(parts, panel * t.strip + start)
    if f_order is None:
        i = row * leading + first
        if count < LANES:
            row_major.few_margins(x, i, leading, n, w, b, z, count)
        else:
            row_major.margins(x, i, leading, n, w, b, z, LANES, i, 0, 0)
    else:
        i, whole = row + first * leading, count // LANES * LANES
        column_major.margins(x, i, leading, n, w, b, z, whole, 0, True)
        if whole < count:
            column_major.few_margins(x, i + whole, leading, n, w, b, offset(z, whole), count - whole)


@inline
def _accumulate(t, strip, panel, x0, w0, f_order):
    """A strip's part of the sums of a panel."""
    first, n = _columns_of(t, panel)
    row, b, like = strip * t.strip, t.b, spread(t.b, w0)
    count, last = min(t.strip, t.m - row), row + t.strip >= t.m
    x, leading, dz = at(t.x, x0), t.leading, at(t.dz, w0)
    high = offset(at(t.totals, b), first)
    low = offset(high, t.width)
    if f_order is None:
        i, g, room = row * leading + first, offset(at(t.accumulators, w0), first), (n + LANES - 1) // LANES * LANES
        if strip == 0:
            clear(g, room)
        if count < LANES:
            row_major.few_update(x, i, leading, n, dz, count, g, like)
        else:
            # four panels together prefetch half of the next strip: each one row of all four
            next_row = (row + LANES + panel % 4) * leading + panel // 4 * 4 * t.panel
            row_major.update(x, i, leading, n, dz, LANES, g, next_row if t.prefetch > 0 else i, like)
        if last or strip % STRIPS_AT_ONCE == STRIPS_AT_ONCE - 1:
            flush(g, high, low, room, like)
    else:
        i, whole = row + first * leading, count // LANES * LANES
        column_major.update(x, i, leading, n, dz, whole, high, low, 0, like)
        if whole < count:
            column_major.few_update(x, i + whole, leading, n, offset(dz, whole), count - whole, high, low, like)
    if last:
        for j in range(n):
            if math.isfinite(get(high, j)):  # else the low part is NaN and means nothing
                put(high, j, get(high, j) + get(low, j))


# ---------------------------------------------------------------- the pointwise step


@inline
def _row_block(t, strip, block, w0):
    """A row block's first row, how many it has, how many with padding, and where its margins and residuals go."""
    first = strip * t.strip + block * BLOCK
    count = max(0, min(min(BLOCK, t.strip - block * BLOCK), t.m - first))  # the last strip may have fewer row blocks
    return first, count, (count + LANES - 1) // LANES * LANES, offset(at(t.dz, w0), block * BLOCK)


@inline
def _add_parts(parts, t, block, rows, z, b):
    """z = the sum of the panels' parts and b, for `rows` rows of a block."""
    start = block * BLOCK
    for r in range(0, rows, LANES):
        margins = b
        for panel in range(t.panels):
            margins = margins + load(parts, panel * t.strip + start + r, b)
        store(z, r, margins)


@inline
def _totals_of(t, block):
    """The high and low totals of a row block."""
    high = offset(at(t.of_blocks, t.b), 2 * TOTALS * block)
    return high, offset(high, TOTALS)


@inline
def _labels(t, first, count, rows, work, w0):
    """Labels and weights from a row on, and whether there are weights: the last rows' are copies, padded with zeros."""
    y, s, weighted = offset(at(t.y, w0), first), offset(at(t.s, w0), first), t.s_step > 0
    if count == rows:
        return y, s, weighted
    tail_y, tail_s = offset(work, SEGMENTS * LANES), offset(work, (SEGMENTS + 1) * LANES)
    copy_numbers(y, 0, count, tail_y)
    copy_numbers(s, 0 if weighted else -1, count, tail_s)
    return tail_y, tail_s, True


@inline
def _sum_block(t, strip, block, w0):
    """Losses and residuals of a row block. Its last group of eight, if padded, is a segment of its own."""
    b, work = spread(t.b, w0), offset(at(t.work, w0), block * _OF_BLOCK)
    first, count, full, z = _row_block(t, strip, block, w0)
    _add_parts(at(t.parts, w0), t, block, full, z, b)
    for r in range(count, full):
        put(z, r, 0)  # padding: its weight is 0, but 0 · inf would count
    high, low = _totals_of(t, block)
    held, segments, r = no_sums(b), 0, 0
    while r < count:
        examples = min(SEGMENT, count - r)
        if examples > LANES:
            examples = examples // LANES * LANES
        y, s, weighted = _labels(t, first + r, examples, (examples + LANES - 1) // LANES * LANES, work, w0)
        examples = (examples + LANES - 1) // LANES * LANES
        sums = residuals(offset(z, r), y, s, weighted, offset(z, r), examples, no_sums(b))
        if segments == SEGMENTS:
            add_sums(held, work, segments, high, low)
            held, segments = no_sums(b), 0
        held = hold(sums, held, work, segments)
        segments += 1
        r += examples
    add_sums(held, work, segments, high, low)


@inline
def _multiply_block(t, strip, block, second, w0):
    """s·σ(z)σ(−z)·(xv + c) of a row block, in place of residuals."""
    b, work = spread(t.b, w0), offset(at(t.work, w0), block * _OF_BLOCK)
    first, count, full, u = _row_block(t, strip, block, w0)
    z, c = offset(u, t.strip), spread(get(at(t.y, w0), t.n), w0)  # behind the residuals, which u becomes
    _add_parts(at(t.parts, w0), t, block, full, z, b)
    _add_parts(second, t, block, full, u, c)
    for r in range(count, full):
        put(z, r, 0)
        put(u, r, 0)
    high, low = _totals_of(t, block)
    whole = count // LANES * LANES
    for r in range(0, whole, SEGMENT):
        s, examples = offset(at(t.s, w0), first + r), min(SEGMENT, whole - r)
        db = curved(offset(z, r), offset(u, r), s, t.s_step > 0, examples, splat(0.0), b)
        add_number(high, low, DB, sum_lanes(db))
    if whole < count:
        s = offset(work, SEGMENTS * LANES)
        copy_numbers(at(t.s, w0), first + whole if t.s_step > 0 else -1, count - whole, s)
        db = curved(offset(z, whole), offset(u, whole), s, True, LANES, splat(0.0), b)
        add_number(high, low, DB, sum_lanes(db))


# ---------------------------------------------------------------- drivers


@inline
def tasks_of_stage(panels, blocks, room, stage):
    """How many tasks a stage has: none where nothing would be accumulated."""
    if stage % STAGES == POINTWISE:
        return blocks
    return panels if stage % STAGES == MARGINS or room > 0 else 0


@inline
def join(totals, of_blocks, blocks):
    """Add the row blocks' totals, in order, to the first row of `totals`, which has the columns' sums."""
    room = totals.shape[1] - TOTALS
    for k in range(TOTALS):
        high, low = 0.0, 0.0
        for block in range(blocks):
            high, lost = two_sum(high, of_blocks[2 * TOTALS * block + k])
            low += lost + of_blocks[2 * TOTALS * block + TOTALS + k]
        totals[0, room + k] = high + low if math.isfinite(high) else high


def _run_panels(
    kernel,
    b,
    x,
    w,
    leading,
    m,
    n,
    strip,
    panels,
    prefetch,
    panel,
    y,
    s,
    s_step,
    out,
    logarithm,
    vectors,
    totals,
    scratch,
):
    """Take every stage of every strip. `totals` comes as zeros, and leaves as that of `drivers._run` does."""
    room = totals.shape[1] - TOTALS
    task, blocks = np.empty(1, TASK), row_blocks(strip)
    of_x = leading, m, n, strip, panels, prefetch, panel
    to = totals.ctypes.data, scratch.ctypes.data, vectors
    describe(task, b, x, w, of_x, y, s, s_step, out, logarithm, room, *to)
    tasks = task[0].tasks
    for strip_number in range((m + strip - 1) // strip):
        first = strip_number * STAGES * tasks
        for k in prange(panels):
            call(kernel, first + MARGINS * tasks + k, task.ctypes.data)
        if blocks == 1:
            call(kernel, first + POINTWISE * tasks, task.ctypes.data)
        else:
            for k in prange(blocks):
                call(kernel, first + POINTWISE * tasks + k, task.ctypes.data)
        if room > 0:
            # In F order from the last panel to the first: the columns that were read last are still in L3. 8000 x 8192
            # of float32 0.73 of the time, 2000 x 32,768 of float64 0.84. In C order each thread takes its own panels
            # again, which its L2 has: the other way 100 x 200,000 takes 1.4 times as long (Zen 5, 1 MB and 32 MB)
            for k in prange(panels):
                panel_number = k if strip == LANES else panels - 1 - k
                call(kernel, first + ACCUMULATE * tasks + panel_number, task.ctypes.data)
    join(totals, scratch, blocks)
    return totals[0, room + LOSS], totals[0, room + DB], totals[0, room + WEIGHT], totals[0, room + INVALID]


run_panels_serial, run_panels_parallel = serial(_run_panels), parallel(_run_panels)

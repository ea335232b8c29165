"""C order with rows so long that eight of them leave the caches of a core: all threads share eight rows at a time.

The columns are cut into panels. For each group of eight rows every panel gives its part of the margins, one call adds
the parts up and takes the per-example step, and every panel takes the update while the eight rows lie in the cache that
the cores share. A panel of the sums belongs to one panel of columns, so there are no partial sums to add up: for a
hundred rows of 200,000 numbers they would be 15 % of the bytes of X.

The kernel is told by one number what to do: group, step and panel. Everything is added in an order that follows from
the shape alone.
"""

import math

import numpy as np
from numba import carray, prange

from jitlogreg.lanes import LANES, zeros
from jitlogreg.targets.compile import inline, parallel, serial, shared
from jitlogreg.targets.cpu import rows
from jitlogreg.targets.cpu.accumulate import clear, flush
from jitlogreg.targets.cpu.link import DB, INVALID, LOSS, SEGMENTS, TOTALS, WEIGHT, add_sums, hold, no_sums, residuals
from jitlogreg.targets.cpu.memory import at, call, get, load, offset, put, spread, store
from jitlogreg.targets.cpu.tail import copy_numbers

_INTEGERS = ("x", "w", "leading", "m", "n", "panels", "y", "s", "s_step", "width", "work", "totals")
TASK = np.dtype([("b", np.float64), *((name, np.intp) for name in _INTEGERS)])

# Numbers of a row in a panel, a multiple of eight. From 512 to 4096 the time is the same, at 16384 a tenth more
PANEL = 2048

# The steps of a group of eight rows
MARGINS, LINK, UPDATE, STEPS = range(4)

# Groups whose updates are added up in the accumulators, at most: a term meets as many roundings
_GROUPS_AT_ONCE = 8

# Numbers that a group needs beside its parts of the margins: residuals, products, and labels and weights of the tail
_OF_GROUP = (1 + SEGMENTS + 2) * LANES


@shared
def scratch_size(n, room):
    """What a call needs beside its totals, in numbers of eight bytes: margins and such, and accumulators."""
    return -(-n // PANEL) * LANES + _OF_GROUP + room


def panel_step(number, task, x0, w0, f_order):
    """One step of one panel of one group of eight rows, or the link of a group."""
    t = carray(task, 1)[0]
    group, step, panel = number // t.panels // STEPS, number // t.panels % STEPS, number % t.panels
    row, first = group * LANES, panel * PANEL
    n, count = min(PANEL, t.n - first), min(LANES, t.m - row)
    b, room = spread(t.b, w0), t.width - TOTALS
    z = at(t.work, w0)
    dz = offset(z, t.panels * LANES)
    g = offset(dz, _OF_GROUP + first)
    high = at(t.totals, 0.0)
    low = offset(high, t.width)
    if step == LINK:
        _link(t, row, count, z, dz, offset(high, room), offset(low, room), w0, b)
        return
    x, i, leading = at(t.x, x0), row * t.leading + first, t.leading
    if step == MARGINS:
        w, parts = offset(at(t.w, w0), first), offset(z, panel * LANES)
        if count < LANES:
            rows.few_margins(x, i, leading, n, w, zeros(b), parts, count)
        else:
            rows.margins(x, i, leading, n, w, zeros(b), parts, LANES, i, 0, 0)
        if group == 0 and room > 0:
            clear(g, (n + LANES - 1) // LANES * LANES)
    else:
        if count < LANES:
            rows.few_update(x, i, leading, n, dz, count, g, b)
        else:
            # four panels together ask for half of the next group: each for one row of all four
            ahead = (row + LANES + panel % 4) * t.leading + panel // 4 * 4 * PANEL
            rows.update(x, i, leading, n, dz, LANES, g, ahead, b)
        last = row + LANES >= t.m
        if last or group % _GROUPS_AT_ONCE == _GROUPS_AT_ONCE - 1:
            flush(g, offset(high, first), offset(low, first), (n + LANES - 1) // LANES * LANES, b)
        if last:
            for j in range(first, first + n):
                if math.isfinite(get(high, j)):  # else the low part is NaN and means nothing
                    put(high, j, get(high, j) + get(low, j))


@inline
def _link(t, row, count, z, dz, high, low, w0, b):
    """The per-example step of a group, whose margins come in parts."""
    margins = b
    for panel in range(t.panels):
        margins = margins + load(z, panel * LANES, b)
    store(z, 0, margins)
    for r in range(count, LANES):
        put(z, r, 0)  # padding: its weight is 0, but 0 · inf would count
    products = offset(dz, LANES)
    y, s, weighted = offset(at(t.y, w0), row), offset(at(t.s, w0), row), t.s_step > 0
    if count < LANES:
        tail_y, tail_s = offset(products, SEGMENTS * LANES), offset(products, (SEGMENTS + 1) * LANES)
        copy_numbers(y, 0, count, tail_y)
        copy_numbers(s, 0 if weighted else -1, count, tail_s)
        y, s, weighted = tail_y, tail_s, True
    sums = residuals(z, y, s, weighted, dz, LANES, no_sums(b))
    add_sums(hold(sums, no_sums(b), products, 0), products, 1, high, low)


def _run_panels(kernel, b, x, w, leading, m, n, panels, y, s, s_step, totals, scratch):
    """Take every step of every group. `totals` comes as zeros, and leaves as that of `drivers._run` does."""
    width = totals.shape[1]
    room = width - TOTALS
    task = np.empty(1, TASK)
    describe(task, b, x, w, leading, m, n, panels, y, s, s_step, width, totals.ctypes.data, scratch.ctypes.data)
    for group in range((m + LANES - 1) // LANES):
        first = group * STEPS * panels
        for panel in prange(panels):
            call(kernel, first + MARGINS * panels + panel, task.ctypes.data)
        call(kernel, first + LINK * panels, task.ctypes.data)
        if room > 0:
            for panel in prange(panels):
                call(kernel, first + UPDATE * panels + panel, task.ctypes.data)
    join(totals)
    scratch[0] = 0  # it lives until here: an address keeps nothing alive
    return totals[0, room + LOSS], totals[0, room + DB], totals[0, room + WEIGHT], totals[0, room + INVALID]


@inline
def describe(task, b, x, w, leading, m, n, panels, y, s, s_step, width, totals, scratch):
    """Fill in a task, with `totals` and `scratch` as addresses."""
    t = task[0]
    t.b, t.x, t.w, t.leading, t.m, t.n, t.panels = b, x, w, leading, m, n, panels
    t.y, t.s, t.s_step, t.width, t.totals, t.work = y, s, s_step, width, totals, scratch


@inline
def join(totals):
    """Join the high and the low parts of the examples' totals in the first row, where the columns' are already."""
    for k in range(totals.shape[1] - TOTALS, totals.shape[1]):
        if math.isfinite(totals[0, k]):
            totals[0, k] += totals[1, k]


run_panels_serial, run_panels_parallel = serial(_run_panels), parallel(_run_panels)

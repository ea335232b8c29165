"""Kernels whose tasks own columns: for very long rows in C order, and for many columns in F order.

In C order eight rows of 256 KB leave the caches of a core, and in F order a row block has a page of each column. So the
columns are shared instead. For one strip of rows after another, every panel of columns gives its part of the margins;
then the parts are added up, in order, for the pointwise step; then every panel takes the accumulation. A column's sum
belongs to one panel, so there are no partial sums of columns to add up: for a hundred rows of 200,000 numbers they
would be 15 % of the bytes of X.

A strip is eight rows in C order, which lie in the cache that the cores share when they are read again. In F order it is
thousands, and a panel reads its columns end to end, twice from memory.

A task's number tells the strip, the stage, and the panel, or the row block of the pointwise step.
"""

import math

from jitlogreg.simd import LANES, zeros
from jitlogreg.targets.compile import inline, jitable
from jitlogreg.targets.cpu import row_major
from jitlogreg.targets.cpu.compensated import clear
from jitlogreg.targets.cpu.epilogue import SEGMENT, SEGMENTS, TOTALS, WORK, add_offset
from jitlogreg.targets.cpu.pointers import load_scalar, matrix, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import problem_at
from jitlogreg.targets.cpu.vectors import broadcast_as, load, minimum, store

# What happens to a strip
MARGINS, POINTWISE, ACCUMULATE, STAGES = range(4)

# Rows of a block of the pointwise step
BLOCK = SEGMENTS * SEGMENT

# Strips of C order whose sums stay in the accumulators, at most: a term meets as many roundings
STRIPS_AT_ONCE = 8


def make_task(layout, epilogue):
    """The function of a kernel's tasks, for a layout with `margins` and `accumulate_gradient` and an epilogue."""
    margins, accumulate, flush = layout.margins, layout.accumulate_gradient, layout.flush_gradient
    begin, apply, finish = epilogue.start, epilogue.apply, epilogue.finish
    two_vectors, in_rows = epilogue.vectors == 2, layout is row_major

    @inline
    def panel_margins(t, x0, strip, panel, start, stop, w, parts):
        """A panel's part of the margins of the rows `start` to `stop` of a strip."""
        x, shape = _panel(t, x0, panel, in_rows)
        z, zero, r = offset(parts, panel * t.rows), zeros(broadcast_as(0.0, parts)), start
        w, full = offset(w, panel * t.panel), start + (stop - start) // LANES * LANES
        while r < stop:  # all rows that fill vectors, then the remainder
            rows, pad = (full - r, 0) if r < full else (LANES, LANES - (stop - r))
            margins(x, shape, strip * t.rows + r, rows, pad, w, zero, offset(z, r), 0, False)
            r += rows

    @inline
    def row_block(t, problem, w0, strip, block):
        """The pointwise step of a block of rows of a strip."""
        first, w = strip * t.rows + block * BLOCK, pointer_to(t.w, w0)
        count = minimum(minimum(BLOCK, t.rows - block * BLOCK), t.m - first)
        if count < 0:  # the last strip may have fewer blocks
            count = 0
        full = count // LANES * LANES
        z, parts = offset(pointer_to(problem + t.z, w0), block * BLOCK), pointer_to(problem + t.parts, w0)
        u = offset(z, t.rows)
        _add_parts(parts, t, block, count, z, broadcast_as(t.b, w0))
        add_offset(t, first, count, 0, z)
        if two_vectors:
            c = load_scalar(pointer_to(t.y, w0), t.n)
            _add_parts(offset(parts, t.tasks * t.rows), t, block, count, u, broadcast_as(c, w0))
        high = offset(pointer_to(problem + t.partials, 0.0), 2 * TOTALS * block)
        work = offset(pointer_to(problem + t.work, w0), block * WORK)
        state, r = begin(w, high, offset(high, TOTALS), work), 0
        while r < count:
            rows, pad = (minimum(SEGMENT, full - r), 0) if r < full else (LANES, LANES - (count - r))
            state, _ = apply(t, first + r, rows, pad, True, offset(z, r), offset(u, r), state)
            r += rows
        finish(state)

    @inline
    def accumulate_panel(t, problem, x0, w0, strip, panel):
        """A strip's part of the sums of a panel."""
        x, shape = _panel(t, x0, panel, in_rows)
        first, n = panel * t.panel, shape[1]
        row, like, n_padded = strip * t.rows, broadcast_as(0.0, w0), (n + LANES - 1) // LANES * LANES
        count, last, dz = minimum(t.rows, t.m - row), row + t.rows >= t.m, pointer_to(problem + t.z, w0)
        high, g = (
            offset(pointer_to(problem + t.totals, 0.0), first),
            offset(pointer_to(problem + t.accumulators, w0), first),
        )
        low, ahead = offset(high, t.width), 0
        if in_rows:
            if strip == 0:
                clear(g, n_padded)
            if t.prefetch > 0:  # four panels together prefetch half of the next strip: each one row of all four
                ahead = (LANES // 2 + panel % 4) * t.ld - panel % 4 * t.panel
        r, full = 0, count // LANES * LANES
        while r < count:
            rows, pad = (full, 0) if r < full else (LANES, LANES - (count - r))
            accumulate(x, shape, row + r, rows, pad, offset(dz, r), g, high, low, ahead)
            r += rows
        if last or strip % STRIPS_AT_ONCE == STRIPS_AT_ONCE - 1:
            flush(g, high, low, n_padded, like)
        if last:
            for j in range(n):
                if math.isfinite(load_scalar(high, j)):  # else the low part is NaN and means nothing
                    store_scalar(high, j, load_scalar(high, j) + load_scalar(low, j))

    def task(number, problem, x0, w0):
        t = problem_at(problem)
        stage, k = number // t.stage_tasks % STAGES, number % t.stage_tasks
        strip = number // t.stage_tasks // STAGES
        rows, parts, w = minimum(t.rows, t.m - strip * t.rows), pointer_to(problem + t.parts, w0), pointer_to(t.w, w0)
        if stage == POINTWISE:
            row_block(t, problem, w0, strip, k)
        elif stage == MARGINS and two_vectors:  # the second finds the first's rows in cache
            for start in range(0, rows, BLOCK):
                stop = minimum(start + BLOCK, rows)
                panel_margins(t, x0, strip, k, start, stop, w, parts)
                second = offset(parts, t.tasks * t.rows)
                panel_margins(t, x0, strip, k, start, stop, pointer_to(t.y, w0), second)
        elif stage == MARGINS:
            panel_margins(t, x0, strip, k, 0, rows, w, parts)
        elif in_rows:
            accumulate_panel(t, problem, x0, w0, strip, k)
        else:
            # From the last panel to the first: the columns that were read last are still in L3. 8000 x 8192 of float32
            # 0.73 of the time, 2000 x 32,768 of float64 0.84. In C order each thread takes its own panels again, which
            # its L2 has: the other way 100 x 200,000 takes 1.4 times as long (Zen 5, 1 MB and 32 MB)
            accumulate_panel(t, problem, x0, w0, strip, t.tasks - 1 - k)

    return task


@inline
def _panel(t, x0, panel, in_rows):
    """X from the first column of a panel on, and its shape."""
    first = panel * t.panel
    begin = first if in_rows else first * t.ld
    return offset(matrix(t.x, t.frame, x0), begin), (t.ld, minimum(t.panel, t.n - first), 0)


@inline
def _add_parts(parts, t, block, count, z, b):
    """z = the sum of the panels' parts and b, for the rows of a block; 0 for padding."""
    start = block * BLOCK
    for r in range(0, count, LANES):
        margins = b
        for panel in range(t.tasks):
            margins = margins + load(parts, panel * t.rows + start + r, b)
        store(z, r, margins)
    for r in range(count, (count + LANES - 1) // LANES * LANES):
        store_scalar(z, r, 0)  # its weight is 0, but 0 · inf would count


# ---------------------------------------------------------------- memory


@jitable
def row_blocks(rows):
    """Row blocks of the pointwise step in a strip of so many rows."""
    return (rows + BLOCK - 1) // BLOCK


@jitable
def memory(m, rows, panels, n_padded, vectors, first):
    """The fields of the plan from `width` on, and where all memory ends, in bytes; the totals lie at byte `first`."""
    width, blocks = n_padded + TOTALS, row_blocks(rows)
    partials = first + 8 * 2 * width
    work = partials + 8 * 2 * TOTALS * blocks
    parts = work + 8 * WORK * blocks
    z = parts + 8 * vectors * panels * rows
    accumulators = z + 8 * vectors * rows
    stage_tasks, stages = panels if panels > blocks else blocks, (m + rows - 1) // rows * STAGES
    accumulating = panels if n_padded > 0 else 0
    of_stages = stages, stage_tasks, panels, blocks, accumulating, 1
    fields = width, first, partials, work, WORK, parts, z, accumulators, blocks, *of_stages
    return fields, accumulators + 8 * n_padded

"""Kernels whose tasks own rows: one skeleton, with the layout and the pointwise step as compile-time parameters.

A task takes a chunk of rows, block after block: the margins of a block, the epilogue, the accumulation. It has sums of
its own for every column, which the executor adds up in order. The rows that fill no vector are one more task.
"""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline, jitable
from jitlogreg.targets.cpu.compensated import ADDED_AT_ONCE, clear
from jitlogreg.targets.cpu.epilogue import TOTALS, WORK, add_offset
from jitlogreg.targets.cpu.pointers import load_scalar, matrix, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import problem_at
from jitlogreg.targets.cpu.vectors import broadcast_as, minimum


def make_task(layout, epilogue, accumulation):
    """The function of a kernel's tasks.

    Parameters
    ----------
    layout : module
        `margins` of the rows of X as they lie in memory.
    epilogue : Epilogue
    accumulation : module
        `accumulate_gradient` and `flush_gradient`, of the layout; or what takes their place.
    """
    margins, accumulate, flush = layout.margins, accumulation.accumulate_gradient, accumulation.flush_gradient
    begin, apply, finish = epilogue.start, epilogue.apply, epilogue.finish
    accumulates, two_vectors = epilogue.accumulates, epilogue.vectors == 2
    reads_twice = accumulates and accumulation is layout

    def task(number, problem, x0, w0):
        t = problem_at(problem)
        start, stop, pad = rows_of(t, number)
        high = offset(pointer_to(problem + t.partials, 0.0), number * 2 * t.width)
        low = offset(high, t.width)
        clear(high, 2 * t.width)
        x, shape = matrix(t.x, t.frame, x0), (t.ld, t.n, t.sequential)
        w, b = pointer_to(t.w, w0), broadcast_as(t.b, w0)
        z = offset(pointer_to(problem + t.work, w0), number * t.work_size)
        u, work, g = offset(z, t.rows), offset(z, 2 * t.rows), offset(z, 2 * t.rows + WORK)
        clear(g, t.n_padded)
        state = begin(w, offset(high, t.n_padded), offset(low, t.n_padded), work)
        for i in range(start, stop, t.rows):
            rows = minimum(t.rows, stop - i)
            ends = i + rows >= stop
            ahead = 0 if ends and number + 1 >= t.tasks else t.prefetch
            margins(x, shape, i, rows, pad, w, b, z, ahead, not reads_twice or t.n_padded == 0)
            add_offset(t, i, rows, pad, z)
            if two_vectors:  # the second finds the rows in cache
                v = pointer_to(t.y, w0)
                margins(x, shape, i, rows, pad, v, broadcast_as(load_scalar(v, t.n), w0), u, 0, False)
            for r in range(rows - pad, rows):
                store_scalar(z, r, 0)  # padding: its weight is 0, but 0 · inf would count
                store_scalar(u, r, 0)
            state, complete = apply(t, i, rows, pad, ends, z, u, state)
            if accumulates and t.n_padded > 0:
                accumulate(x, shape, i, rows, pad, z, g, high, low, ahead)
                if complete:
                    flush(g, high, low, t.n_padded, b)
        finish(state)

    return task


@inline
def rows_of(t, number):
    """The first row of a task, the row after its last, and how many of these are padding."""
    full = t.m // LANES * LANES
    if number == t.tasks:
        return full, full + LANES, LANES - t.m % LANES
    blocks = (full + t.rows - 1) // t.rows
    return number * blocks // t.tasks * t.rows, minimum((number + 1) * blocks // t.tasks * t.rows, full), 0


# ---------------------------------------------------------------- memory


@jitable
def memory(m, rows, tasks, n_padded, own, first):
    """The fields of the plan from `width` on, and where all memory ends, in bytes; the totals lie at byte `first`.

    Each task has two rows of totals. It works in the margins of two vectors, the epilogue's numbers, and `own` numbers:
    accumulators, and packed rows.
    """
    width, parts = n_padded + TOTALS, tasks + (1 if m % LANES > 0 else 0)
    work_size = 2 * rows + WORK + own
    partials = first + 8 * 2 * width
    work = partials + 8 * parts * 2 * width
    total_blocks = (width + ADDED_AT_ONCE - 1) // ADDED_AT_ONCE
    fields = width, first, partials, work, work_size, 0, 0, 0, 0, 1, parts, parts, 0, 0, total_blocks
    return fields, work + 8 * parts * work_size

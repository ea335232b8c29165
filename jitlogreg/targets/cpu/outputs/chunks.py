"""The skeleton of K outputs: tasks own rows, as in `targets.cpu.row_chunks`, and have sums of every model.

These take K times the memory, so not all tasks have some at once. They run in waves: the tasks of a wave, then their
totals are added up in order, one block of totals after another. The order of every sum is that of row chunks all the
same.
"""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline, jitable
from jitlogreg.targets.cpu.compensated import ADDED_AT_ONCE, add_parts, clear, join
from jitlogreg.targets.cpu.epilogue import TOTALS, add_offset
from jitlogreg.targets.cpu.outputs.row_major import DOTS
from jitlogreg.targets.cpu.pointers import matrix, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import problem_at
from jitlogreg.targets.cpu.row_chunks import rows_of
from jitlogreg.targets.cpu.vectors import broadcast_as, minimum

# The memory of a wave's tasks in bytes, unless a task for each thread takes more: about what an L3 cache holds
WAVE_BYTES = 1 << 25

# Executors know three kinds of stages. Of the first, tasks run; of the second, they are added up; of the third is none
STAGES = 3


def make_task(layout, epilogue):
    """The function of a kernel's tasks.

    Parameters
    ----------
    layout : module
        `margins`, `accumulate_gradient` and `flush_gradient` of K models.
    epilogue : OutputsEpilogue
    """
    margins, accumulate, flush = layout.margins, layout.accumulate_gradient, layout.flush_gradient
    apply, finish = epilogue.apply, epilogue.finish
    accumulates, inputs = epilogue.accumulates, epilogue.inputs
    shared, own = epilogue.shared, epilogue.own

    @inline
    def run(t, problem, part, slot, x0, w0):
        """One part of the rows, in a slot's memory."""
        start, stop, pad = rows_of(t, part)
        x, shape, w = matrix(t.x, t.frame, x0), (t.ld, t.n, t.sequential), pointer_to(t.w, w0)
        width = t.n_padded + TOTALS
        read, summed = (t.outputs * inputs, t.w_step, t.rows, 0, 0), (t.outputs, 0, t.rows, t.n_padded, width)
        high = offset(pointer_to(problem + t.partials, 0.0), slot * 2 * t.width)
        low = offset(high, t.width)
        clear(high, 2 * t.width)
        state = problem + t.work + 8 * slot * t.work_size
        state_size = LANES * (shared + t.outputs * own)
        clear(pointer_to(state, 0.0), state_size)
        dots = pointer_to(state + 8 * state_size, w0)
        z = offset(dots, DOTS)
        g = offset(z, t.outputs * inputs * t.rows)
        clear(g, t.outputs * t.n_padded)
        counts = part - part, part - part  # no literals, whose type would be another one
        for i in range(start, stop, t.rows):
            rows = minimum(t.rows, stop - i)
            ends = i + rows >= stop
            ahead = 0 if ends and part + 1 >= t.tasks else t.prefetch
            margins(x, shape, read, i, rows, pad, w, z, dots, ahead)
            for k in range(t.outputs):
                add_offset(t, i + k * t.offset_step, rows, pad, offset(z, k * t.rows))
            for k in range(read[0] if pad > 0 else 0):
                for r in range(rows - pad, rows):
                    store_scalar(z, k * t.rows + r, 0)  # padding: its weight is 0, but 0 · inf would count
            counts = apply(t, i, (rows, pad, ends), z, state, (high, low), counts)
            if accumulates and t.n_padded > 0:
                accumulate(x, shape, summed, i, rows, pad, z, g, (high, low), ahead)
                for k in range(t.outputs if counts[0] == 0 else 0):
                    of_model, like = offset(g, k * t.n_padded), broadcast_as(0.0, w)
                    flush(of_model, offset(high, k * width), offset(low, k * width), t.n_padded, like)
        finish(t, state, z, (high, low), counts)

    def task(number, problem, x0, w0):
        t = problem_at(problem)
        stage, k = number // t.stage_tasks, number % t.stage_tasks
        first = stage // STAGES * t.wave
        if stage % STAGES > 0:
            _add_wave(t, problem, k, minimum(t.wave, t.parts - first), stage + STAGES > t.stages)
        elif first + k < t.parts:
            run(t, problem, first + k, k, x0, w0)

    return task


@inline
def _add_wave(t, problem, block, parts, last):
    """Add up one block of a wave's totals, in order; after the last wave, join both parts."""
    high, partials = pointer_to(problem + t.totals, 0.0), pointer_to(problem + t.partials, 0.0)
    low, first = offset(high, t.width), block * ADDED_AT_ONCE
    stop = minimum(t.width, first + ADDED_AT_ONCE)
    add_parts(high, low, partials, parts, t.width, first, stop)
    if last:
        join(high, low, first, stop)


# ---------------------------------------------------------------- memory


@jitable
def memory(m, rows, tasks, outputs, n_padded, room, itemsize, threads, first):
    """The fields of the plan from `width` on, tasks that have memory at once, and where all memory ends, in bytes.

    See `row_chunks.memory`. `room` has the epilogue's `shared`, `own` and `inputs`, and `itemsize` is that of w. At
    least `threads` tasks have memory at once.
    """
    shared, own, inputs = room
    width = outputs * (n_padded + TOTALS)
    numbers = DOTS + outputs * (inputs * rows + n_padded)
    work_size = LANES * (shared + outputs * own) + (numbers * itemsize + 8 * LANES - 1) // (8 * LANES) * LANES
    parts = tasks + (1 if m % LANES > 0 else 0)
    wave = min(parts, max(threads, WAVE_BYTES // (8 * (2 * width + work_size))))
    waves = (parts + wave - 1) // wave if parts > 0 else 0
    blocks = (width + ADDED_AT_ONCE - 1) // ADDED_AT_ONCE
    partials = first + 8 * 2 * width
    work = partials + 8 * wave * 2 * width
    of_stages = STAGES * waves, max(wave, blocks), wave, blocks, 0, 0
    fields = width, first, partials, work, work_size, parts, 0, 0, 0, *of_stages
    return fields, wave, work + 8 * wave * work_size

"""A call of one output from the user's own compiled code: what `api`, `targets.cpu` and `objective` do around kernels.

Compiled once for all, and called by symbol (`symbols.py`), so that the user's function takes little time to compile. It
describes its call in a record, the call frame of `arguments.py`, and then asks for one step after the other. The steps
check the call, write the kernels' own record (`targets.cpu.problem`), and hand it to the executor.
"""

import math

from jitlogreg.njit.arguments import (
    BEYOND_FLOAT32,
    GRADIENT,
    INTERCEPT,
    MEAN,
    PENALTY,
    VALID,
    adjacent,
    call_at,
    check_out,
    check_shapes,
    check_sums,
    classify,
    numbers_of_examples,
    take_examples,
)
from jitlogreg.simd import LANES
from jitlogreg.targets.base import F
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import column_panels, executor, row_chunks
from jitlogreg.targets.cpu.partition import POINTWISE_COST, partition
from jitlogreg.targets.cpu.pointers import load_scalar, pointer_to
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

# What a call goes through: check, and ask for memory; take it; run every part, or let the caller do that; make means
CHECK, PLACE, RUN, FINISH = range(4)


def step(step, call, x0, w0):
    """One step of a call. A null pointer tells the type of w."""
    t = call_at(call)
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
                finite = problem.weight < math.inf
                t.refusal = check_sums(t, False, problem.invalid != 0 or not finite, finite and problem.weight > 0, w0)


@inline
def _check(t):
    """Why a call is refused, as far as it shows before labels, weights and offsets are read."""
    refusal = check_shapes(t)
    if refusal != VALID:
        return refusal
    if t.w_size == 4 and BEYOND_FLOAT32 <= abs(t.b) < math.inf:
        return INTERCEPT
    if not 0 <= t.l2 < math.inf:
        return PENALTY
    return check_out(t)


@inline
def _plan(t):
    """How much memory a call takes, with copies of vectors that cannot be read as they are; whether threads pay."""
    t.threads = t.m * (t.n + POINTWISE_COST) >= serial_below(t)
    t.numbers = memory_of_one(t) + t.n + numbers_of_examples(t)


@inline
def _place(t, w0):
    """Describe the problem, once memory is given. The call may be refused then for what it converts."""
    p, own_w = problem_at(t.memory), t.memory + 8 * (t.numbers - t.n)
    take_examples(t, own_w - 8 * numbers_of_examples(t), w0)
    p.b, p.l2, p.x = t.b, t.l2, t.x
    p.w = adjacent((t.w, t.w_size, t.w_length, t.w_columns, t.w_step, t.w_across), own_w, w0)
    p.y, p.s, p.weighted, p.frame, p.offset = t.labels, t.weights, 1 if t.s_size > 0 else 0, 0, t.offsets
    # residuals would go to `out` as well
    p.out, p.dw = t.result if t.operation < MEAN else 0, t.result if t.operation == GRADIENT else 0
    p.w_size = t.w_size if t.operation >= MEAN else 0
    p.squares = t.squares
    place_one(t, p)


# ---------------------------------------------------------------- the plan of one output, as `plan.make_plan` makes it


@inline
def serial_below(t):
    """The cost of a call from which on threads are worth it, as the profile says."""
    return load_scalar(pointer_to(t.profile, 0), SERIAL_BELOW)


@inline
def padded_columns(t):
    """The columns of the sums, in whole vectors; none without a gradient."""
    return (t.n + LANES - 1) // LANES * LANES if t.operation == GRADIENT else 0


@inline
def partition_of_one(t):
    """The partition, whether X is in F order, and the leading dimension."""
    order, ld = classify(t.m, t.n, t.down, t.across, t.x_size)
    return partition(t.m, t.n, t.x_size, order == F, t.operation < MEAN), order == F, ld


@inline
def memory_of_one(t):
    """The memory that a problem takes, in numbers of eight bytes."""
    (rows, tasks, panel, _), _, _ = partition_of_one(t)
    return _memory(t.m, rows, tasks, panel, padded_columns(t))[1] // 8


@inline
def _memory(m, rows, tasks, panel, n_padded):
    """The fields of the plan that say where memory is, and how much there is."""
    if panel > 0:
        return column_panels.memory(m, rows, tasks, n_padded, 1, 8 * WORDS)
    return row_chunks.memory(m, rows, tasks, n_padded, n_padded, 8 * WORDS)


@inline
def place_one(t, p):
    """Write the plan of one output, and what only K outputs differ in, to a problem; hand out memory."""
    (rows, tasks, panel, sequential), f_order, ld = partition_of_one(t)
    if f_order:
        p.kernel = t.panels_f if panel > 0 else t.rows_f
    else:
        p.kernel = t.panels_c if panel > 0 else t.rows_c
    p.plan, p.reduction, p.m, p.n, p.ld = 0, 0, t.m, t.n, ld
    p.rows, p.tasks, p.panel, p.sequential = rows, tasks, panel, sequential
    p.y_step, p.s_step, p.offset_step, p.outputs, p.w_step, p.wave = 0, 0, 0, 1, 0, 0
    p.prefetch = prefetching(t, f_order, ld, rows, panel, t.operation >= MEAN)
    p.n_padded, p.packed, p.vectors = padded_columns(t), 0, 1
    hand_out(t, p, _memory(t.m, rows, tasks, panel, p.n_padded)[0])


@inline
def prefetching(t, f_order, ld, rows, panel, of_gradient):
    """How far ahead to prefetch, as the profile says."""
    profile, of_order = pointer_to(t.profile, 0), F_ORDER if f_order else C_ORDER
    below = load_scalar(profile, of_order + (GRADIENT_BELOW if of_gradient else FORWARD_BELOW))
    cached, distance = load_scalar(profile, of_order + CACHED), load_scalar(profile, of_order + DISTANCE)
    return prefetch_offset(t.m, t.n, t.x_size, ld, f_order, rows, panel, cached, distance, below)


@inline
def hand_out(t, p, fields):
    """Write the fields of the plan that say where memory is, and clear the totals; a refused call has no stages."""
    p.width, p.totals, p.partials, p.work, p.work_size, p.parts, p.z, p.accumulators = fields[:8]
    p.blocks, p.stages, p.stage_tasks, p.first_tasks, p.second_tasks, p.third_tasks, p.total_blocks = fields[8:]
    p.paired = 0
    executor.prepare(p, t.memory)
    if t.refusal != VALID:
        p.stages = 0

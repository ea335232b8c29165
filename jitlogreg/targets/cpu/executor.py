"""The executor: it runs the tasks of any kernel, on the calling thread or on Numba's, and adds up what they leave.

Kernels come by their address, so there is one compilation of each, and the bits are the same on any number of threads:
tasks follow from the partition, and their totals are added in order. Every caller takes this way: large and small calls
from Python, and calls from a user's own compiled functions (`jitlogreg.njit`).
"""

import math

from numba import prange

from jitlogreg.targets import normalize
from jitlogreg.targets.compile import inline, parallel, serial
from jitlogreg.targets.cpu import column_panels
from jitlogreg.targets.cpu.compensated import ADDED_AT_ONCE, add_paired_parts, add_parts, clear, join
from jitlogreg.targets.cpu.epilogue import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cpu.pointers import call, load_scalar, load_sized, offset, pointer_to, store_scalar, store_sized
from jitlogreg.targets.cpu.problem import PLAN_START, PLAN_WORDS, problem_at
from jitlogreg.targets.cpu.vectors import minimum

# The totals of all tasks from which on threads share the blocks in which they are added up
SHARED_SUMS = 1 << 16

# The steps of a call, which `execute` takes in this order: hand out memory; run every task; add up and take the means
PREPARE, RUN, FINISH = 1, 2, 4
ALL = PREPARE | RUN | FINISH

_mean, _penalized_loss = inline(normalize.mean), inline(normalize.penalized_loss)
_penalized_gradient = inline(normalize.penalized_gradient)


def _execute(problem, steps, bound, theta, gradient, has_b):
    """Take steps of a call. Returns its loss, db, Σs and the number of bad labels and weights, once it is finished.

    Unless `bound` is 0, the problem is the one whose record is there, at θ = [w, b] or [w], and the gradient goes to
    `gradient`, which has room for db if there is b.
    """
    t = problem_at(problem)
    if bound != 0:
        of_bound, of_call = pointer_to(bound, 0), pointer_to(problem, 0)
        for k in range(PLAN_START):
            store_scalar(of_call, k, load_scalar(of_bound, k))
        t.w, t.dw = theta, gradient
        if has_b:
            t.b = load_scalar(pointer_to(theta, 0.0), problem_at(t.plan).n)
    if steps & PREPARE:
        prepare(t, problem)
    if steps & RUN:
        run(t, problem)
    if steps & FINISH:
        finish(t, problem)
    if has_b:
        store_scalar(pointer_to(gradient, 0.0), t.n, t.db)
    return t.loss, t.db, t.weight, t.invalid


def _run_on_threads(problem):
    """`run`, on Numba's threads."""
    t = problem_at(problem)
    for stage in range(t.stages + 1):
        kernel, first, count = tasks_of(t, stage)
        if count == 1:
            call(kernel, first, problem)
        else:
            for k in prange(count):
                call(kernel, first + k, problem)


execute, run_on_threads = serial(_execute), parallel(_run_on_threads)


@inline
def prepare(t, problem):
    """Take over what the plan fixes, and clear the totals."""
    if t.plan != 0:
        of_plan, of_call = pointer_to(t.plan, 0), pointer_to(problem, 0)
        for k in range(PLAN_START, PLAN_START + PLAN_WORDS):
            store_scalar(of_call, k, load_scalar(of_plan, k))
    clear(pointer_to(problem + t.totals, 0.0), 2 * t.width)
    if t.panel > 0:
        clear(pointer_to(problem + t.partials, 0.0), 2 * TOTALS * t.blocks)


@inline
def tasks_of(t, stage):
    """The kernel, the first task, and the number of tasks of a stage; the last stage adds up."""
    if stage == t.stages:
        return t.reduction, 0, t.total_blocks if t.reduction != 0 else 0
    kind = stage % column_panels.STAGES
    count = t.first_tasks if kind == 0 else t.second_tasks if kind == 1 else t.third_tasks
    return t.kernel, stage * t.stage_tasks, count


@inline
def run(t, problem):
    """Run all tasks on this thread."""
    for stage in range(t.stages + 1):
        kernel, first, count = tasks_of(t, stage)
        for k in range(count):
            call(kernel, first + k, problem)


@inline
def finish(t, problem):
    """Add up the totals, and take the means if they are asked for and there is weight to divide by."""
    if t.reduction == 0:
        for block in range(t.total_blocks):
            add_totals(t, problem, block)
    of_examples = offset(pointer_to(problem + t.totals, 0.0), t.n_padded)
    t.loss, t.db = load_scalar(of_examples, LOSS), load_scalar(of_examples, DB)
    t.weight, t.invalid = load_scalar(of_examples, WEIGHT), load_scalar(of_examples, INVALID)
    if t.w_size > 0 and t.invalid == 0 and 0 < t.weight < math.inf:
        take_means(t, problem)


@inline
def take_means(t, problem):
    """Replace the sums of loss and db by means, with the penalty, and write dw."""
    t.loss, t.db = _mean(t.loss, t.weight), _mean(t.db, t.weight)
    if t.l2 != 0:
        call(t.squares, 0, problem)
        t.loss = _penalized_loss(t.loss, t.l2, t.square)
    totals = pointer_to(problem + t.totals, 0.0)
    for j in range(t.n if t.dw != 0 else 0):
        gradient = _mean(load_scalar(totals, j), t.weight)
        if t.l2 != 0:
            gradient = _penalized_gradient(gradient, t.l2, load_sized(t.w, t.w_size, j))
        store_sized(t.dw, t.w_size, j, gradient)


# ---------------------------------------------------------------- totals


@inline
def add_totals(t, problem, block):
    """Add up one block of the tasks' totals, or of the row blocks' of column panels, in order; join both parts."""
    into, width, parts = problem + t.totals, t.width, t.stage_tasks
    first = block * ADDED_AT_ONCE
    last = minimum(width, first + ADDED_AT_ONCE)
    if t.panel > 0:
        into, width, parts, last = into + 8 * t.n_padded, TOTALS, t.blocks, TOTALS
    high, partials = pointer_to(into, 0.0), pointer_to(problem + t.partials, 0.0)
    low = offset(high, t.width)
    if t.paired != 0:
        add_paired_parts(high, low, partials, parts, t.n_padded, first, last)
    else:
        add_parts(high, low, partials, parts, width, first, last)
    join(high, low, first, last)


def reduction_task(block, problem, x0, w0):
    """`add_totals`, as a kernel whose tasks threads share."""
    add_totals(problem_at(problem), problem, block)

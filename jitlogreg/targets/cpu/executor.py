"""The executor: it runs the tasks of any kernel, on the calling thread or on Numba's, and adds up what they leave.

Kernels come by their address, so there is one compilation of each, and the bits are the same on any number of threads:
tasks follow from the partition, and their totals are added in order. Every caller takes this way: large and small calls
from Python, and calls from a user's own compiled functions (`jitlogreg.njit`).
"""

import math

import numpy as np
from numba import prange

from jitlogreg.simd import LANES
from jitlogreg.targets import normalize
from jitlogreg.targets.compile import inline, parallel, serial
from jitlogreg.targets.cpu import column_panels, row_chunks
from jitlogreg.targets.cpu.compensated import clear, two_sum
from jitlogreg.targets.cpu.epilogue import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cpu.pointers import call, load_scalar, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import PLAN_START, PLAN_WORDS, WORDS, problem_at
from jitlogreg.targets.cpu.vectors import load, splat, store

# Columns whose sums are added up at once, and the sums of all tasks from which on threads share such blocks of columns
ADDED_AT_ONCE, SHARED_SUMS = 128, 1 << 16

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
        _copy(bound, problem, 0, WORDS)
        t.w, t.dw = theta, gradient
        if has_b:
            t.b = load_scalar(pointer_to(theta, 0.0), t.n)
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
def _copy(source, target, start, stop):
    """Copy some words of a record to another."""
    read, written = pointer_to(source, 0), pointer_to(target, 0)
    for k in range(start, stop):
        store_scalar(written, k, load_scalar(read, k))


@inline
def prepare(t, problem):
    """Take over what the plan fixes, hand out the memory behind the record, and clear the totals."""
    if t.plan != 0:
        _copy(t.plan, problem, PLAN_START, PLAN_START + PLAN_WORDS)
    t.width, t.totals = t.n_padded + TOTALS, problem + 8 * WORDS
    t.memory = t.totals + 8 * 2 * t.width
    clear(pointer_to(t.totals, 0.0), 2 * t.width)
    if t.panel > 0:
        column_panels.place(t)
    else:
        row_chunks.place(t)


@inline
def tasks_of(t, stage):
    """The kernel, the first task, and the number of tasks of a stage; the last stage adds up."""
    if stage == t.stages:
        return t.reduction, 0, blocks_of_columns(t) if t.reduction != 0 else 0
    count = column_panels.tasks_of_stage(t, stage) if t.panel > 0 else t.stage_tasks
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
    if t.panel > 0:
        column_panels.join(t)
    elif t.reduction == 0:
        for block in range(blocks_of_columns(t)):
            add_columns(t, block)
    of_examples = offset(pointer_to(t.totals, 0.0), t.n_padded)
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
    totals = pointer_to(t.totals, 0.0)
    for j in range(t.n if t.dw != 0 else 0):
        mean = _mean(load_scalar(totals, j), t.weight)
        if t.w_size == 8:
            w, dw = pointer_to(t.w, np.float64(0)), pointer_to(t.dw, np.float64(0))
            store_scalar(dw, j, mean if t.l2 == 0 else _penalized_gradient(mean, t.l2, load_scalar(w, j)))
        else:
            w, dw = pointer_to(t.w, np.float32(0)), pointer_to(t.dw, np.float32(0))
            store_scalar(dw, j, mean if t.l2 == 0 else _penalized_gradient(mean, t.l2, load_scalar(w, j)))


# ---------------------------------------------------------------- the sums of row chunks


@inline
def blocks_of_columns(t):
    """Blocks of columns in whose sums no other takes part; the last one has the columns that fill none."""
    return max(1, t.width // ADDED_AT_ONCE)


@inline
def add_columns(t, block):
    """Add the tasks' totals of one block of columns, in order, and join their high and low parts."""
    width, first, like = t.width, block * ADDED_AT_ONCE, splat(0.0)
    last = width if first + 2 * ADDED_AT_ONCE > width else first + ADDED_AT_ONCE
    full = first + (last - first) // LANES * LANES
    high, partials = pointer_to(t.totals, 0.0), pointer_to(t.partials, 0.0)
    low = offset(high, width)
    for task in range(t.stage_tasks):
        high_part = offset(partials, 2 * task * width)
        low_part = offset(high_part, width)
        for j in range(first, full, LANES):
            total, lost = two_sum(load(high, j, like), load(high_part, j, like))
            store(high, j, total)
            store(low, j, load(low, j, like) + (lost + load(low_part, j, like)))
        for j in range(full, last):
            total, lost = two_sum(load_scalar(high, j), load_scalar(high_part, j))
            store_scalar(high, j, total)
            store_scalar(low, j, load_scalar(low, j) + (lost + load_scalar(low_part, j)))
    for j in range(first, last):
        if math.isfinite(load_scalar(high, j)):  # else the low part is NaN and means nothing
            store_scalar(high, j, load_scalar(high, j) + load_scalar(low, j))


def reduction_task(block, problem, x0, w0):
    """`add_columns`, as a kernel whose tasks threads share."""
    add_columns(problem_at(problem), block)

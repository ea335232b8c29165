"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import functools
import threading
from typing import NamedTuple

import numba
import numpy as np

from jitlogreg.simd import LANES
from jitlogreg.targets.cpu import column_panels, hessian, profile, whole
from jitlogreg.targets.cpu.drivers import kernel, run_parallel, run_serial, scratch_size
from jitlogreg.targets.cpu.epilogue import TOTALS
from jitlogreg.targets.cpu.partition import POINTWISE_COST, Partition, chunk_count, partition
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.dispatch import may_use_threads
from jitlogreg.targets.frame import turned_hessian_vector_sums, turned_sums
from jitlogreg.targets.layout import layout
from jitlogreg.targets.sums import Sums

# Numbers in a block of a dot product
DOT_BLOCK = 4 * LANES

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same blocks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()


class Plan(NamedTuple):
    """How one operation runs on a matrix: its partition, and what the profile says."""

    order: str
    cost: int
    serial: bool
    hint: str
    of_x: tuple
    """What a driver is told of X: `leading, m, n`, the rows and the tasks of the partition, how far ahead to prefetch,
    and whether margins are sequential, or for column panels how many columns they have."""
    by_panels: bool


def _plan(X, forward=False):
    return _planned(X.shape, X.strides, X.itemsize, forward, profile.current())


@functools.lru_cache
def _planned(shape, strides, itemsize, forward, tuned):
    (order, leading), (m, n) = layout(shape, strides, itemsize), shape
    parts = Partition(*partition(m, n, itemsize, order == "F", forward))
    prefetch = tuned.c_order if order == "C" else tuned.f_order
    below = prefetch.forward_below if forward else prefetch.gradient_below
    ahead = (order == "F", parts.rows, parts.panel, prefetch.cached, prefetch.distance, below)
    offset = profile.prefetch_offset(m, n, itemsize, leading, *ahead)
    cost, by_panels = m * (n + POINTWISE_COST), parts.panel > 0
    of_x = leading, m, n, parts.rows, parts.tasks, offset, parts.panel if by_panels else parts.sequential
    serial = cost < tuned.serial_below
    return Plan(order, cost, serial, prefetch.hint, of_x, by_panels)


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    tuned, chunks = profile.current(), chunk_count(u.size, 1, DOT_BLOCK)
    of_x = 0, 0, u.size, DOT_BLOCK, chunks, 0, 0
    plan = Plan("C", u.size, u.size < tuned.serial_below, "t0", of_x, by_panels=False)
    return _run(plan, "dot", 0.0, u, v, 0, 0, 0, 0, 0, 0, _no_totals())[0]


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=0)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=1)


def _activations(X, w, b, out, logarithm):
    plan, to = _plan(X, forward=True), (data_address(out), logarithm)
    if plan.by_panels:
        _run_panels(plan, "activation_panels", b, X, w, 0, 0, 0, *to, _no_totals())
    else:
        _run(plan, "activations", b, X, w, 0, 0, 0, *to, 0, _no_totals())
    return out


def sums(X, y, w, b, sample_weight, with_gradient, frame=None):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples; of standardized columns if there is a frame."""
    plan, n = _plan(X), X.shape[1]
    if frame is not None and plan.by_panels:  # which take columns as they are
        return turned_sums(sums, X, y, w, b, sample_weight, with_gradient, frame)
    totals = np.zeros((2, (_room(n) if with_gradient else 0) + TOTALS))
    examples = data_address(y), *_address_and_step(sample_weight)
    if plan.by_panels:
        of_examples = _run_panels(plan, "sum_panels", b, X, w, *examples, 0, 0, totals)
    else:
        of_examples = _run(plan, "sums", b, X, w, *examples, 0, 0, 0, totals, frame=frame)
    loss, db, weight, invalid = of_examples
    return Sums(loss, totals[0, :n] if with_gradient else np.zeros(n), db, weight, invalid == 0)


def small_loss_and_gradient(X, y, w, b, sample_weight, l2, dw):
    """Write dw, and return the loss, db, Σs and whether the examples are good; None for data that threads share.

    dw is written if the examples are good and Σs is positive and finite.
    """
    small = _small(X.shape, X.strides, X.dtype, w.dtype, profile.current())
    if small is None:
        return None
    examples = data_address(y), *_address_and_step(sample_weight)
    return whole.loss_and_gradient(*small, data_address(X), *examples, data_address(w), b, l2, data_address(dw))


def small_objective(X, y, sample_weight, l2):
    """A function of θ and of where the gradient is to go, which returns the loss; None for data that threads share.

    Whoever has it must keep the arrays: it has their addresses alone.
    """
    small = _small(X.shape, X.strides, X.dtype, np.dtype(np.float64), profile.current())
    if small is None:
        return None
    data = *small, data_address(X), data_address(y), *_address_and_step(sample_weight)
    return lambda theta, gradient: whole.objective(*data, theta, l2, gradient)


@functools.lru_cache
def _small(shape, strides, x_dtype, w_dtype, tuned):
    """What `whole` is told of the shape of data for one thread: kernel, `Plan.of_x`, room; None for other data."""
    plan = _planned(shape, strides, x_dtype.itemsize, False, tuned)
    if not plan.serial or plan.by_panels:
        return None
    return kernel("sums", x_dtype, w_dtype, plan.order, plan.hint), plan.of_x, _room(shape[1])


def _room(n):
    """Numbers of a row of n columns in whole vectors."""
    return -(-n // LANES) * LANES


def _address_and_step(sample_weight):
    """Of weights; a step of 0 tells that there are none."""
    return (0, 0) if sample_weight is None else (data_address(sample_weight), 1)


def hessian_vector_sums(X, w, b, v, sample_weight, frame=None):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    plan, n = _plan(X), X.shape[1]
    if frame is not None and plan.by_panels:
        return turned_hessian_vector_sums(hessian_vector_sums, X, w, b, v, sample_weight, frame)
    totals = np.zeros((2, _room(n) + TOTALS))
    along = data_address(v), *_address_and_step(sample_weight)
    if plan.by_panels:
        _, along_b, _, _ = _run_panels(plan, "hessian_vector_panels", b, X, w, *along, 0, 0, totals, vectors=2)
    else:
        _, along_b, _, _ = _run(plan, "hessian_vector", b, X, w, *along, 0, 0, 0, totals, frame=frame)
    return totals[0, :n], along_b


def hessian_sums(X, w, b, sample_weight, frame=None):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    n = X.shape[1]
    panels = hessian.panel_count(n)
    pairs, packed = panels * (panels + 1) // 2, hessian.BLOCK * panels * LANES
    totals = np.zeros((2, pairs * hessian.TILE + TOTALS))
    plan, weights = (
        _plan_of_hessian(X.shape, X.strides, X.itemsize, profile.current()),
        _address_and_step(sample_weight),
    )
    _run(plan, "hessian", b, X, w, 0, *weights, 0, 0, packed, totals, frame=frame)
    return hessian.unfold(totals[0], n)


@functools.lru_cache
def _plan_of_hessian(shape, strides, itemsize, tuned):
    """As for the forward pass, in chunks whose sums are three matrices; it costs n/2 updates more."""
    (order, leading), (m, n) = layout(shape, strides, itemsize), shape
    row_cost, of_chunk = (n + 1) * (n + POINTWISE_COST) // 2, 3 * 8 * (n + 1) ** 2 // 2
    few = max(4, m * n * itemsize // (8 * of_chunk))
    chunks = min(chunk_count(m // LANES * LANES, row_cost, hessian.BLOCK), few)
    prefetch = tuned.c_order if order == "C" else tuned.f_order
    ahead = (order == "F", 2 * LANES, 0, prefetch.cached, prefetch.distance, prefetch.gradient_below)
    offset = profile.prefetch_offset(m, n, itemsize, leading, *ahead)
    cost = m * row_cost
    of_x = leading, m, n, hessian.BLOCK, chunks, offset, 0
    return Plan(order, cost, cost < tuned.serial_below, prefetch.hint, of_x, by_panels=False)


def _no_totals():
    return np.zeros((2, TOTALS))


def _run(plan, operation, b, x, w, *numbers, frame=None):
    """Run the kernel on every chunk."""
    _, m, n, block, chunks, _, _ = plan.of_x
    *of_examples, out, logarithm, packed, totals = numbers
    if frame is not None:
        out = data_address(frame.packed)
    # NumPy's memory, which comes in large pages where there is much: Numba's took as long as 100 x 200,000 numbers do
    scratch = np.empty(scratch_size(m, n, block, chunks, totals.shape[1] - TOTALS, packed))
    variant = (plan.hint,) if frame is None else (plan.hint, True)
    address = kernel(operation, x.dtype, w.dtype, plan.order, *variant)
    to = out, logarithm, packed, totals, scratch
    arguments = address, float(b), data_address(x), data_address(w), *plan.of_x, *of_examples, *to
    return run_serial(*arguments) if plan.serial else _run_on_threads(run_serial, run_parallel, arguments)


def _run_panels(plan, operation, b, x, w, *numbers, vectors=1):
    """Run the kernel on every stage of every strip."""
    _, _, _, strip, panels, _, _ = plan.of_x
    *_, totals = numbers
    scratch = np.empty(column_panels.scratch_size(strip, panels, totals.shape[1] - TOTALS, vectors))
    address = kernel(operation, x.dtype, w.dtype, plan.order, plan.hint)
    of_call = *plan.of_x, *numbers[:-1], vectors, totals, scratch
    arguments = address, float(b), data_address(x), data_address(w), *of_call
    serial, parallel = column_panels.run_panels_serial, column_panels.run_panels_parallel
    return serial(*arguments) if plan.serial else _run_on_threads(serial, parallel, arguments)


def _run_on_threads(serial, parallel, arguments):
    """Call the driver for Numba's threads, or where they may not be used that for the calling thread."""
    if not may_use_threads() or numba.get_num_threads() == 1:
        return serial(*arguments)
    taken = False
    try:
        taken = _threads.acquire(blocking=False)
        return (parallel if taken else serial)(*arguments)
    finally:
        if taken:
            _threads.release()

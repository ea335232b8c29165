"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import functools
import threading

import numba
import numpy as np

from jitlogreg.lanes import LANES
from jitlogreg.targets import may_use_threads
from jitlogreg.targets.cpu import hessian, panels, whole
from jitlogreg.targets.cpu.cut import LEAD, LINK_COST, chunk_count, cut
from jitlogreg.targets.cpu.drivers import kernel, run_parallel, run_serial, scratch_size
from jitlogreg.targets.cpu.link import TOTALS
from jitlogreg.targets.cpu.memory import data_address
from jitlogreg.targets.layout import layout
from jitlogreg.targets.sums import Sums

# Numbers in a block of a dot product
DOT_BLOCK = 4 * LANES

# In C order the bytes of a row from which on the threads share each group of eight rows. Shares of the read limit,
# where memory gives 36 GB/s, if each thread has blocks of its own, and if they share: 200,000 columns of float64 0.35
# and 0.55, 65,536 columns 0.58 and 0.70, 16,384 columns 0.69 either way (Zen 4, 32 MB of third level)
WIDE = 256 << 10

# Below this cost threads save less than a tenth of a millisecond, and may lose much: those of GNU OpenMP spin while
# they wait for each other, and where another process has the core that one of them needs, a call takes 8 ms
SERIAL_COST = 1 << 19

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same blocks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    cut = 0, 0, u.size, DOT_BLOCK, chunk_count(u.size, 1, DOT_BLOCK), 0, 0
    return _run(u.size, kernel("dot", u.dtype, v.dtype, "C"), 0.0, u, v, *cut, 0, 0, 0, 0, 0, 0, _no_totals())[0]


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=0)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=1)


def _activations(X, w, b, out, logarithm):
    order, cost, cut = _cut(X.shape, X.strides, X.itemsize)
    to = data_address(out), logarithm
    _run(cost, kernel("activations", X.dtype, w.dtype, order), b, X, w, *cut, 0, 0, 0, *to, 0, _no_totals())
    return out


def sums(X, y, w, b, sample_weight, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    order, cost, cut = _cut(X.shape, X.strides, X.itemsize)
    n = X.shape[1]
    room = -(-n // LANES) * LANES if with_gradient else 0
    totals = np.zeros((2, room + TOTALS))
    s = (0, 0) if sample_weight is None else (data_address(sample_weight), 1)
    if order == "C" and n * X.itemsize >= WIDE:
        address = kernel("panels", X.dtype, w.dtype, order)
        of_examples = _run_panels(address, b, X, w, cut[0], data_address(y), *s, totals)
    else:
        address = kernel("sums", X.dtype, w.dtype, order)
        of_examples = _run(cost, address, b, X, w, *cut, data_address(y), *s, 0, 0, 0, totals)
    loss, db, weight, invalid = of_examples
    return Sums(loss, totals[0, :n] if with_gradient else np.zeros(n), db, weight, invalid == 0)


def small_loss_and_gradient(X, y, w, b, sample_weight, l2, dw):
    """Write dw, and return the loss, db, Σs and whether the examples are good; None for data that threads share.

    dw is written if the examples are good and Σs is positive and finite.
    """
    order, cost, cut = _cut(X.shape, X.strides, X.itemsize)
    if not _is_small(order, cost, X):
        return None
    data = _small(order, cut, X, y, sample_weight, w.dtype)
    return whole.loss_and_gradient(*data, data_address(w), b, l2, data_address(dw))


def small_objective(X, y, sample_weight, l2):
    """A function of θ and of where the gradient is to go, which returns the loss; None for data that threads share.

    Whoever has it must keep the arrays: it has their addresses alone.
    """
    order, cost, cut = _cut(X.shape, X.strides, X.itemsize)
    if not _is_small(order, cost, X):
        return None
    data = _small(order, cut, X, y, sample_weight, np.dtype(np.float64))
    return lambda theta, gradient: whole.objective(*data, theta, l2, gradient)


def _is_small(order, cost, X):
    return cost < SERIAL_COST and not (order == "C" and X.shape[1] * X.itemsize >= WIDE)


def _small(order, cut, X, y, sample_weight, dtype):
    """What `whole` is told of the data: kernel, addresses, shape."""
    s = (0, 0) if sample_weight is None else (data_address(sample_weight), 1)
    room = -(-X.shape[1] // LANES) * LANES
    return kernel("sums", X.dtype, dtype, order), data_address(X), cut, data_address(y), *s, room


def hessian_vector_sums(X, w, b, v, sample_weight):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    order, cost, cut = _cut(X.shape, X.strides, X.itemsize)
    n = X.shape[1]
    totals = np.zeros((2, -(-n // LANES) * LANES + TOTALS))
    s = (0, 0) if sample_weight is None else (data_address(sample_weight), 1)
    address = kernel("hessian_vector", X.dtype, w.dtype, order)
    _, along_b, _, _ = _run(cost, address, b, X, w, *cut, data_address(v), *s, 0, 0, 0, totals)
    return totals[0, :n], along_b


def hessian_sums(X, w, b, sample_weight):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    n = X.shape[1]
    panels = hessian.panel_count(n)
    pairs, packed = panels * (panels + 1) // 2, hessian.BLOCK * panels * LANES
    order, cost, cut = _cut_for_hessian(X.shape, X.strides, X.itemsize)
    totals = np.zeros((2, pairs * hessian.TILE + TOTALS))
    s = (0, 0) if sample_weight is None else (data_address(sample_weight), 1)
    _run(cost, kernel("hessian", X.dtype, w.dtype, order), b, X, w, *cut, 0, *s, 0, 0, packed, totals)
    return hessian.unfold(totals[0], n)


@functools.lru_cache
def _cut_for_hessian(shape, strides, itemsize):
    """What `_cut` gives, for chunks whose sums are those of a matrix, three times; and the cost of n/2 updates more."""
    (order, leading), (m, n) = layout(shape, strides, itemsize), shape
    row_cost, of_chunk = (n + 1) * (n + LINK_COST) // 2, 3 * 8 * (n + 1) ** 2 // 2
    few = max(4, m * n * itemsize // (8 * of_chunk))
    chunks = min(chunk_count(m // LANES * LANES, row_cost, hessian.BLOCK), few)
    return order, m * row_cost, (leading, m, n, hessian.BLOCK, chunks, (LANES + 2) * leading + LEAD // itemsize, 0)


def _no_totals():
    return np.zeros((2, TOTALS))


@functools.lru_cache
def _cut(shape, strides, itemsize):
    """A matrix's order, what it costs, and how it is cut into blocks and chunks: that follows from its shape alone."""
    (order, leading), (m, n) = layout(shape, strides, itemsize), shape
    return order, m * (n + LINK_COST), (leading, m, n, *cut(m, n, itemsize, leading, order == "F"))


def _run(cost, kernel, b, x, w, *numbers):
    """Run the kernel on every chunk."""
    _, m, n, block, chunks, *_, packed, totals = numbers
    # NumPy's memory, which comes in large pages where there is much: Numba's took as long as 100 x 200,000 numbers do
    scratch = np.empty(scratch_size(m, n, block, chunks, totals.shape[1] - TOTALS, packed))
    arguments = kernel, float(b), data_address(x), data_address(w), *numbers, scratch
    return run_serial(*arguments) if cost < SERIAL_COST else _run_on_threads(run_serial, run_parallel, arguments)


def _run_panels(kernel, b, X, w, leading, *numbers):
    """Run the kernel on every group of eight rows."""
    (m, n), totals = X.shape, numbers[-1]
    scratch = np.empty(panels.scratch_size(n, totals.shape[1] - TOTALS))
    of_x = leading, m, n, -(-n // panels.PANEL)
    arguments = kernel, float(b), data_address(X), data_address(w), *of_x, *numbers, scratch
    return _run_on_threads(panels.run_panels_serial, panels.run_panels_parallel, arguments)


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

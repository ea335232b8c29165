"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import threading

import numba
import numpy as np

from jitlogreg.lanes import LANES
from jitlogreg.targets import in_forked_child
from jitlogreg.targets.cpu.drivers import add_chunks, describe, kernel, run_parallel, run_serial
from jitlogreg.targets.cpu.link import DB, INVALID, LOSS, SEGMENT, TOTALS, WEIGHT
from jitlogreg.targets.layout import layout
from jitlogreg.targets.sums import Sums

# For each order the fewest rows in a block, the most, and the bytes of X that it should keep to: they are read twice,
# the second time from a cache. C: half of a 32 KB first-level cache. F, whose segments want to be long: at 256 columns
# 0.75 of the read limit with 256 KB, 0.81 with 1 MB, 0.74 with 2 MB (Zen 4, whose second level has 1 MB).
BLOCKS = {"C": (LANES, SEGMENT, 16 << 10), "F": (SEGMENT, 512, 1 << 20)}
DOT_BLOCK = 4 * LANES

# In C order the bytes of X between the row being read and the line being asked for, beyond the half block and the rows
# that the order of reading needs. At 8, 16 and 32 KB the same time; at 4 KB up to a tenth more, at 64 KB for long rows
LEAD = 16 << 10

# What the per-example step costs, in numbers of a row: 3 ns against 0.2 to 0.5
LINK_COST = 8

# The most chunks that a matrix is cut into, and the least cost of one: enough for 64 cores, and few enough that adding
# up their partial sums does not show
CHUNKS = 64
CHUNK_COST = 1 << 14

# Below this cost threads save less than a tenth of a millisecond, and may lose much: those of GNU OpenMP spin while
# they wait for each other, and where another process has the core that one of them needs, a call takes 8 ms
SERIAL_COST = 1 << 19

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same blocks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    chunks = _chunk_count(u.size, 1, DOT_BLOCK)
    partials = np.empty(chunks)
    addresses = {"x": u.ctypes.data, "w": v.ctypes.data, "partials": partials.ctypes.data}
    task = describe(**addresses, n=u.size, block=DOT_BLOCK, chunks=chunks)
    _run(kernel("dot", u.dtype, v.dtype, "C"), chunks, task, u.size)
    return sum(partials.tolist(), 0.0)


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=False)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activations(X, w, b, out, logarithm=True)


def _activations(X, w, b, out, logarithm):
    order, task = _matrix(X)
    task |= {"w": w.ctypes.data, "out": out.ctypes.data, "logarithm": logarithm}
    tail = len(X) % LANES
    if tail:
        tail_x, tail_out = _tail(X, order), np.empty(LANES, w.dtype)
        task |= {"tail_x": tail_x.ctypes.data, "tail_out": tail_out.ctypes.data}
    _run(kernel("activations", X.dtype, w.dtype, order), task["chunks"] + bool(tail), describe(b, **task), _cost(X))
    if tail:
        out[-tail:] = tail_out[:tail]
    return out


def sums(X, y, w, b, sample_weight, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    order, task = _matrix(X)
    n, tail = X.shape[1], len(X) % LANES
    parts = task["chunks"] + bool(tail)
    room = -(-n // LANES) * LANES if with_gradient else 0
    work = np.empty((parts, 2 * task["block"] + room), w.dtype)
    partials = np.empty((parts, 2 * (room + TOTALS)))
    task |= {"w": w.ctypes.data, "y": y.ctypes.data, "pad": LANES - tail, "room": room}
    task |= {"work": work.ctypes.data, "work_step": work.shape[1], "partials": partials.ctypes.data}
    if sample_weight is not None:
        task |= {"s": sample_weight.ctypes.data, "s_step": 1}
    if tail:
        weights = np.ones(tail, w.dtype) if sample_weight is None else sample_weight
        tail_x, tail_y, tail_s = _tail(X, order), _tail(y), _tail(weights)
        task |= {"tail_x": tail_x.ctypes.data, "tail_y": tail_y.ctypes.data, "tail_s": tail_s.ctypes.data}
    _run(kernel("sums", X.dtype, w.dtype, order), parts, describe(b, **task), _cost(X))
    totals = np.zeros((2, room + TOTALS))
    add_chunks(partials, totals)
    dw = totals[0, :n] if with_gradient else np.zeros(n)
    of_examples = totals[0, room:].tolist()
    return Sums(of_examples[LOSS], dw, of_examples[DB], of_examples[WEIGHT], of_examples[INVALID] == 0)


def _matrix(X):
    """The order of X, and what a task says of it: how it is cut into blocks and chunks follows from its shape alone."""
    order, leading = layout(X)
    m, n = X.shape
    whole = m // LANES * LANES
    shortest, longest, size = BLOCKS[order]
    block = longest
    while block > shortest and block * n * X.itemsize > size:
        block //= 2
    lead = (block // 2 + 2) * leading + LEAD // X.itemsize
    # each chunk has three numbers of its own for each column: beyond four chunks not more than a sixteenth of X
    chunks = min(_chunk_count(whole, n + LINK_COST, block), max(4, X.nbytes // (16 * 24 * max(n, 1))))
    shape = {"leading": leading, "m": whole, "n": n, "block": block, "chunks": chunks, "lead": lead}
    return order, {"x": X.ctypes.data, **shape}


def _chunk_count(rows, row_cost, block):
    return min(CHUNKS, -(-rows // block), max(1, rows * row_cost // CHUNK_COST))


def _cost(X):
    return X.shape[0] * (X.shape[1] + LINK_COST)


def _run(kernel, parts, task, cost):
    """Run the kernel on every chunk: on the calling thread, or on Numba's threads."""
    if cost < SERIAL_COST or in_forked_child() or numba.get_num_threads() == 1:
        run_serial(kernel, parts, task)
        return
    taken = False
    try:
        taken = _threads.acquire(blocking=False)
        (run_parallel if taken else run_serial)(kernel, parts, task)
    finally:
        if taken:
            _threads.release()


def _tail(rows, order="C"):
    """The rows that do not fill a group of eight, padded with zeros."""
    count = len(rows) % LANES
    padded = np.zeros((LANES, *rows.shape[1:]), rows.dtype, order)
    padded[:count] = rows[-count:]
    return padded

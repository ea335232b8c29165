"""How an operation runs on a matrix: its kernel, its partition, what the profile says, and the memory it takes."""

import functools
from typing import NamedTuple

import numba
import numpy as np

from jitlogreg.simd import LANES
from jitlogreg.targets.cpu import column_panels, dot, executor, hessian, profile, row_chunks
from jitlogreg.targets.cpu.kernels import (
    EPILOGUES,
    OUTPUTS_EPILOGUES,
    SPARSE_EPILOGUES,
    kernel,
    plain_kernel,
    sparse_kernel,
)
from jitlogreg.targets.cpu.outputs import chunks
from jitlogreg.targets.cpu.partition import (
    POINTWISE_COST,
    Partition,
    chunk_count,
    partition,
    row_partition,
    sparse_partition,
)
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.cpu.problem import PLAN, PLAN_START, PLAN_WORDS, WORDS
from jitlogreg.targets.cpu.sparse_rows import COLUMNS, NUMBERS

# What sparse rows prefetch: numbers of rows that have so many on average; and coefficients and totals of columns, where
# totals take more than so many bytes. 57 numbers a row took 0.93 of the time, and 10 a row 1.2 times as long; 1,000,000
# columns took 0.3 of the time, and 50,000 took 1.1 times as long (Zen 5, two cores, 1 MB of L2)
LONG_ROW, PREFETCHED_TOTALS = 32, 4 << 20

# What kernels of one output are told of outputs, coefficients and waves
_ONE_OUTPUT = 1, 0, 0


class Plan(NamedTuple):
    """What calls of one operation on matrices of one shape have in common."""

    record: np.ndarray
    """A problem's record in which the fields of the plan are written."""
    address: int
    """Of the record."""
    serial: bool
    """Whether it costs too little for threads."""
    as_they_are: bool
    """Whether its kernel takes the columns of X as they are, in no frame, and one output at a time."""
    numbers: int
    """The memory that a call takes, in numbers of eight bytes."""
    width: int
    """The number of totals."""
    pool: list
    """Memory of calls that have ended."""


@functools.lru_cache(maxsize=512)
def make_plan(operation, shape, order, ld, x_dtype, w_dtype, with_gradient, standardized, tuned):
    """The plan of an operation on a matrix, with a profile."""
    m, n = shape
    forward = not EPILOGUES[operation].accumulates
    prefetch = tuned.c_order if order == "C" else tuned.f_order
    below = prefetch.forward_below if forward else prefetch.gradient_below
    if operation == "hessian":
        parts, ahead_rows = _hessian_partition(m, n, x_dtype.itemsize), 2 * LANES
        n_padded, packed, row_cost = hessian.tile_count(n) * hessian.TILE, hessian.pack_size(n), _hessian_cost(n)
    else:
        parts = Partition(*partition(m, n, x_dtype.itemsize, order == "F", forward))
        n_padded, packed, row_cost = -(-n // LANES) * LANES if with_gradient else 0, 0, n + POINTWISE_COST
        ahead_rows = parts.rows
    offset = profile.prefetch_offset(
        m, n, x_dtype.itemsize, ld, order == "F", ahead_rows, parts.panel, prefetch.cached, prefetch.distance, below
    )
    by_panels = parts.panel > 0
    # panels take columns as they are
    address = kernel(operation, x_dtype, w_dtype, order, prefetch.hint, by_panels, standardized and not by_panels)
    fixed = m, n, ld, *parts, offset, *_ONE_OUTPUT, n_padded, packed, EPILOGUES[operation].vectors
    return _planned(address, fixed, n_padded + packed, m * row_cost < tuned.serial_below)


@functools.lru_cache(maxsize=512)
def make_outputs_plan(operation, shape, outputs, order, ld, x_dtype, w_dtype, with_gradient, standardized, tuned):
    """The plan of an operation of K outputs; tasks own rows, however wide X is."""
    m, n = shape
    epilogue = OUTPUTS_EPILOGUES[operation]
    parts = Partition(*row_partition(m, n, x_dtype.itemsize, order == "F"))
    prefetch = tuned.c_order if order == "C" else tuned.f_order
    ahead = profile.prefetch_offset(
        *(m, n, x_dtype.itemsize, ld, order == "F", parts.rows, 0),
        *(prefetch.cached, prefetch.distance, prefetch.gradient_below),
    )
    columns = -(-n // LANES) * LANES
    n_padded, threads = columns if with_gradient else 0, numba.config.NUMBA_NUM_THREADS
    of_tasks = m, parts.rows, parts.tasks, outputs, n_padded
    fields, wave, size = chunks.memory(*of_tasks, epilogue.room, w_dtype.itemsize, threads, 8 * WORDS)
    address = kernel(operation, x_dtype, w_dtype, order, prefetch.hint, standardized=standardized)
    fixed = m, n, ld, *parts, ahead, outputs, columns + LANES, wave, n_padded, 0, 1
    serial = m * outputs * (n + POINTWISE_COST) < tuned.serial_below
    return _recorded((address, 0, *fixed, *fields), size, serial, False)


@functools.lru_cache(maxsize=512)
def make_sparse_plan(operation, shape, nnz, x_dtype, index_dtype, w_dtype, with_gradient, tuned):
    """The plan of an operation on sparse rows with so many numbers in all."""
    (m, n), address = shape, sparse_kernel(operation, x_dtype, index_dtype, w_dtype)
    columns, cost = n, 2 * nnz + m * POINTWISE_COST
    if operation == "hessian":
        columns, cost = (n + 1) * (n + 2) // 2, nnz * (nnz // max(m, 1) + POINTWISE_COST)
    parts = sparse_partition(m, columns, cost // 2)
    n_padded = -(-columns // LANES) * LANES if with_gradient else 0
    prefetches = NUMBERS * (nnz >= LONG_ROW * m) | COLUMNS * (16 * columns > PREFETCHED_TOTALS)
    fixed = m, n, 0, *parts, prefetches, *_ONE_OUTPUT, n_padded, 0, SPARSE_EPILOGUES[operation].vectors
    return _planned(address, fixed, 0, cost < tuned.serial_below, paired=True)


def plan_of_dot(u, v):
    """The plan of a dot product of two vectors."""
    tasks, serial = chunk_count(u.size, 1, dot.BLOCK), u.size < profile.current().serial_below
    fixed = 0, u.size, 0, dot.BLOCK, tasks, 0, 0, 0, *_ONE_OUTPUT, 0, 0, 1
    return _planned(kernel("dot", u.dtype, v.dtype, "C", "t0"), fixed, 0, serial)


def _planned(address, fixed, own, serial, paired=False):
    """The plan of a kernel whose tasks own rows, and work in so many numbers of their own, or columns."""
    m, _, _, rows, tasks, panel, *_, n_padded, _, vectors = fixed
    if panel > 0:
        fields, size = column_panels.memory(m, rows, tasks, n_padded, vectors, 8 * WORDS)
    else:
        fields, size = row_chunks.memory(m, rows, tasks, n_padded, own, 8 * WORDS)
    width, reduction = fields[0], 0
    if panel == 0 and not serial and tasks * width >= executor.SHARED_SUMS:
        reduction = plain_kernel("reduction")
    return _recorded((address, reduction, *fixed, *fields), size, serial, panel > 0 or paired, paired)


def _recorded(fields, size, serial, as_they_are, paired=False):
    """The plan whose fields these are, with `size` bytes of memory."""
    record = np.zeros(WORDS, np.int64)
    record[PLAN_START : PLAN_START + PLAN_WORDS] = *fields, paired
    return Plan(record, data_address(record), serial, as_they_are, -(-size // 8), fields[PLAN.index("width")], [])


def _hessian_cost(n):
    """What a row costs: n/2 updates more than the forward pass."""
    return (n + 1) * (n + POINTWISE_COST) // 2


def _hessian_partition(m, n, itemsize):
    """Chunks whose sums are three matrices, of which no more are worth it than X has bytes for."""
    of_chunk = 3 * 8 * (n + 1) ** 2 // 2
    few = max(4, m * n * itemsize // (8 * of_chunk))
    chunks = min(chunk_count(m // LANES * LANES, _hessian_cost(n), hessian.BLOCK), few)
    return Partition(hessian.BLOCK, chunks, 0, 0)

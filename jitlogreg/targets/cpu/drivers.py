"""Chunks of a matrix, and the two drivers that run them: on the calling thread, or on all of Numba's.

A matrix is cut into chunks of whole blocks of rows by its shape alone. Each chunk adds up in a row of `partials` of its
own, and the rows are added in order. The drivers call the very same machine code, through its address: the same bits on
any number of threads, and one compilation of each kernel (compiled into its drivers, as Numba would, it takes twice as
long).

What a chunk needs is described by a record, `TASK`, which the drivers fill in from plain numbers: in compiled code all
that a call needs beside its kernel takes a microsecond, in Python it took eight. The rows that do not fill a group of
eight are the last chunk: in C order they are read one by one, in F order copied, padded to eight.

`f_order` is None in C order: None is of a type of its own, so the branches of the other order are gone before anything
is compiled.
"""

import functools
import math

import numba
import numpy as np
from numba import carray, prange, types

from jitlogreg.simd import LANES, fma
from jitlogreg.targets.compile import address, inline, parallel, serial, shared
from jitlogreg.targets.cpu import column_major, column_panels, row_major
from jitlogreg.targets.cpu.chunks import OF_TAIL, TASK, bounds
from jitlogreg.targets.cpu.compensated import clear, flush, two_sum
from jitlogreg.targets.cpu.epilogue import (
    DB,
    INVALID,
    LOSS,
    SEGMENT,
    SEGMENTS,
    TOTALS,
    WEIGHT,
    activate,
    add_sums,
    hold,
    no_sums,
    residuals,
)
from jitlogreg.targets.cpu.hessian import hessian_chunk, product_chunk
from jitlogreg.targets.cpu.pointers import (
    Streamed,
    address_of,
    at,
    call,
    get,
    load,
    load_first,
    matrix,
    offset,
    put,
    splat,
    spread,
    store,
    sum_lanes,
)
from jitlogreg.targets.cpu.remainder import copy_numbers, padded_rows


def _sum_chunk(chunk, task, x0, w0, f_order):
    """Sums of one chunk into its row of partials."""
    t = carray(task, 1)[0]
    n, room = t.n, t.room  # room is 0 where no gradient is asked for
    high = offset(at(t.partials, 0.0), chunk * 2 * t.width)
    low = offset(high, t.width)
    clear(high, 2 * t.width)
    x, leading, y, s, s_step, pad = matrix(t.x, t.out, x0), t.leading, at(t.y, w0), at(t.s, w0), t.s_step, 0
    start, stop = 0, LANES
    if chunk < t.chunks:
        start, stop = bounds(chunk, t.chunks, t.m // LANES * LANES, t.block)
    else:
        first, count = t.m // LANES * LANES, t.m % LANES
        tail = at(t.tail, w0)
        copy_numbers(y, first, count, tail)
        copy_numbers(s, first if s_step > 0 else -1, count, offset(tail, LANES))
        y, s, s_step, pad = tail, offset(tail, LANES), 1, LANES - count
        if f_order is None:
            x = offset(x, first * leading)
        else:
            x = padded_rows(x, first, leading, count, n, at(t.tail + OF_TAIL, x0))
            leading = LANES
    w, b = at(t.w, w0), spread(t.b, w0)
    z = offset(at(t.work, w0), chunk * t.work_step)
    dz, g, products = offset(z, t.block), offset(z, 2 * t.block), offset(z, 2 * t.block + room)
    clear(g, room)
    prefetch_rows = 0 if t.prefetch == 0 else 2 if room > 0 else 4  # of four: the update prefetches the other half
    sums, pending = no_sums(b), 0  # of a segment, and how many examples it has
    held, segments = no_sums(b), 0
    for i in range(start, stop, t.block):
        count = min(t.block, stop - i)
        position, ahead = i * leading, t.prefetch if i + count < stop or chunk + 1 < t.chunks else 0
        if f_order is not None:
            column_major.margins(x, i, leading, n, w, b, z, count, ahead, room > 0)
        elif pad > 0:
            row_major.few_margins(x, position, leading, n, w, b, z, count - pad)
        else:
            row_major.margins(
                x, position, leading, n, w, b, z, count, position + t.prefetch, prefetch_rows, t.sequential
            )
        for r in range(count - pad, count):
            put(z, r, 0)  # padding: its weight is 0, but 0 · inf would count
        for r in range(0, count, SEGMENT):
            examples = min(SEGMENT, count - r)
            yr, sr = offset(y, i + r), offset(s, (i + r) * s_step)
            sums = residuals(offset(z, r), yr, sr, s_step > 0, offset(dz, r), examples, sums)
            pending += examples
            if pending >= SEGMENT or i + r + examples >= stop:
                held = hold(sums, held, products, segments)
                sums, pending, segments = no_sums(b), 0, segments + 1
            if segments == SEGMENTS or i + r + examples >= stop:
                add_sums(held, products, segments, offset(high, room), offset(low, room))
                held, segments = no_sums(b), 0
        if room > 0:
            if f_order is not None:
                column_major.update(x, i, leading, n, dz, count, high, low, ahead, b)
            elif pad > 0:
                row_major.few_update(x, position, leading, n, dz, count - pad, g, b)
            else:
                prefetch_at = position + t.prefetch + count // 2 * leading if t.prefetch > 0 else position
                row_major.update(x, position, leading, n, dz, count, g, prefetch_at, b)
            if f_order is None and pending == 0:
                flush(g, high, low, room, b)


def _activate_chunk(chunk, task, x0, w0, f_order):
    """Activations of one chunk, whose totals are 0."""
    t = carray(task, 1)[0]
    clear(offset(at(t.partials, 0.0), chunk * 2 * t.width), 2 * t.width)
    n, w, b = t.n, at(t.w, w0), spread(t.b, w0)
    x, leading, out = at(t.x, x0), t.leading, at(t.out, w0)
    start, stop, pad = 0, LANES, 0
    prefetch_rows = 4 if t.prefetch > 0 else 0
    if chunk < t.chunks:
        start, stop = bounds(chunk, t.chunks, t.m // LANES * LANES, t.block)
    else:
        first, out, pad = t.m // LANES * LANES, at(t.tail, w0), LANES - t.m % LANES
        if f_order is None:
            x = offset(x, first * leading)
        else:
            x = padded_rows(x, first, leading, LANES - pad, n, at(t.tail + OF_TAIL, x0))
            leading = LANES
    for i in range(start, stop, t.block):
        count = min(t.block, stop - i)
        a, ahead = offset(out, i), t.prefetch if i + count < stop or chunk + 1 < t.chunks else 0
        if f_order is not None:
            column_major.margins(x, i, leading, n, w, b, a, count, ahead, False)
        elif pad > 0:
            row_major.few_margins(x, 0, leading, n, w, b, a, count - pad)
        else:
            position = i * leading
            row_major.margins(
                x, position, leading, n, w, b, a, count, position + t.prefetch, prefetch_rows, t.sequential
            )
        activate(a, count, t.logarithm, b)
    if chunk == t.chunks:
        for r in range(t.m % LANES):
            put(at(t.out, w0), t.m // LANES * LANES + r, get(out, r))


def _dot_chunk(chunk, task, x0, w0, f_order):
    """Σ xⱼ wⱼ of one chunk, in float64, by four vectors of partial sums, in place of a loss."""
    t = carray(task, 1)[0]
    like = splat(0.0)
    x, w = at(t.x, x0), at(t.w, w0)
    a0 = like
    a1, a2, a3 = a0, a0, a0
    start, stop = bounds(chunk, t.chunks, t.n, t.block)
    whole = stop // (4 * LANES) * (4 * LANES)
    for j in range(start, whole, 4 * LANES):
        a0 = fma(load(x, j, like), load(w, j, like), a0)
        a1 = fma(load(x, j + LANES, like), load(w, j + LANES, like), a1)
        a2 = fma(load(x, j + 2 * LANES, like), load(w, j + 2 * LANES, like), a2)
        a3 = fma(load(x, j + 3 * LANES, like), load(w, j + 3 * LANES, like), a3)
    for j in range(whole, stop, LANES):
        rest = min(LANES, stop - j)
        a0 = fma(load_first(x, j, rest, like), load_first(w, j, rest, like), a0)
    high = offset(at(t.partials, 0.0), chunk * 2 * t.width)
    clear(high, 2 * t.width)
    put(high, LOSS, sum_lanes((a0 + a1) + (a2 + a3)))


# Columns whose sums are added up at once, and the sums of all chunks from which on threads share such blocks of columns
ADDED_AT_ONCE, SHARED_SUMS = 128, 1 << 16

KERNELS = {
    "sums": _sum_chunk,
    "hessian": hessian_chunk,
    "hessian_vector": product_chunk,
    "activations": _activate_chunk,
    "dot": _dot_chunk,
    "sum_panels": column_panels.sum_panel,
    "hessian_vector_panels": column_panels.product_panel,
    "activation_panels": column_panels.activate_panel,
}


def kernel_types(x_dtype, w_dtype, order, hint, task=TASK, standardized=False):
    """What a kernel is compiled for: a task's number, its record, and three null pointers whose types alone matter.

    They tell the dtype of x and its prefetch hint, the dtype of w, and the order: None is of a type of its own.
    """
    x0 = Streamed(numba.from_dtype(x_dtype), hint, standardized)
    record, w0 = (types.CPointer(numba.from_dtype(dtype)) for dtype in (task, w_dtype))
    return types.intp, record, x0, w0, types.none if order == "C" else types.voidptr


@functools.cache
def kernel(operation, x_dtype, w_dtype, order, hint, standardized=False):
    """The address of a task's machine code, compiled when it is first asked for."""
    variant = f"{x_dtype.name}_{w_dtype.name}_{order}_{hint}{'_standardized' if standardized else ''}"
    task = column_panels.TASK if operation.endswith("panels") else TASK
    return address(KERNELS[operation], kernel_types(x_dtype, w_dtype, order, hint, task, standardized), variant)


@functools.lru_cache
def scratch_size(m, n, block, chunks, room, packed):
    """`numbers_of_scratch`, which a call asks for again and again."""
    return numbers_of_scratch(m, n, block, chunks, room, packed)


@shared
def numbers_of_scratch(m, n, block, chunks, room, packed):
    """What a call needs beside its totals, in numbers of eight bytes, which those of every dtype fit in.

    For each chunk two rows of partial sums and what it works in, with so many numbers that are `packed`; labels and
    weights of the tail, and in F order a copy of its rows: in C order that memory is never touched.
    """
    tail, of_chunk = m % LANES > 0, 2 * (room + TOTALS) + 2 * block + room + SEGMENTS * LANES + packed
    return (chunks + tail) * of_chunk + tail * LANES * (n + 2)


def _run(
    kernel,
    b,
    x,
    w,
    leading,
    m,
    n,
    block,
    chunks,
    prefetch,
    sequential,
    y,
    s,
    s_step,
    out,
    logarithm,
    packed,
    totals,
    scratch,
):
    """Call the kernel for every chunk, and add up the chunks' totals.

    `totals` comes as two rows of zeros, for the high and the low parts; the first leaves with the sums of the columns
    of X, as many as there is room for, and of `TOTALS` more, which are also returned. `scratch` has `scratch_size`
    numbers; it is read at the end, so that it lives until then: an address keeps nothing alive.
    """
    width, task = totals.shape[1], np.empty(1, TASK)
    of_x = leading, m, n, block, chunks, prefetch, sequential
    parts = describe(task, b, x, w, of_x, y, s, s_step, out, logarithm, packed, width, scratch.ctypes.data)
    for chunk in prange(parts):
        call(kernel, chunk, task.ctypes.data)
    if parts * width < SHARED_SUMS:
        add_up(totals, scratch, parts)
    else:
        for block in prange(max(1, width // ADDED_AT_ONCE)):
            add_columns(totals, scratch, parts, block)
    room = width - TOTALS
    return totals[0, room + LOSS], totals[0, room + DB], totals[0, room + WEIGHT], totals[0, room + INVALID]


@inline
def describe(task, b, x, w, of_x, y, s, s_step, out, logarithm, packed, width, scratch):
    """Fill in a task, with `scratch` an address. Returns the number of its parts, chunks and tail."""
    leading, m, n, block, chunks, prefetch, sequential = of_x
    parts, room = chunks + (m % LANES > 0), width - TOTALS
    work, work_step = parts * 2 * width, 2 * block + room + SEGMENTS * LANES + packed
    t = task[0]
    t.b, t.x, t.w, t.leading, t.m, t.n, t.block, t.chunks = b, x, w, leading, m, n, block, chunks
    t.prefetch, t.sequential = prefetch, sequential
    t.y, t.s, t.s_step, t.out, t.logarithm = y, s, s_step, out, logarithm
    t.room, t.width, t.work_step, t.partials = room, width, work_step, scratch
    t.work, t.tail = t.partials + 8 * work, t.partials + 8 * (work + parts * work_step)
    return parts


@inline
def add_up(totals, scratch, parts):
    """Add the chunks' totals, in order, to two rows of high and low parts, and join those in the first."""
    width = totals.shape[1]
    for block in range(max(1, width // ADDED_AT_ONCE)):
        add_columns(totals, scratch, parts, block)


@inline
def add_columns(totals, scratch, parts, block):
    """`add_up` of one block of columns, in whose sums no other takes part: threads may share the blocks.

    The last block has the columns that fill none.
    """
    width, first, like = totals.shape[1], block * ADDED_AT_ONCE, splat(0.0)
    last = width if first + 2 * ADDED_AT_ONCE > width else first + ADDED_AT_ONCE
    whole = first + (last - first) // LANES * LANES
    high = at(address_of(totals), 0.0)
    low, sums = offset(high, width), at(address_of(scratch), 0.0)
    for chunk in range(parts):
        high_part = offset(sums, 2 * chunk * width)
        low_part = offset(high_part, width)
        for j in range(first, whole, LANES):
            total, lost = two_sum(load(high, j, like), load(high_part, j, like))
            store(high, j, total)
            store(low, j, load(low, j, like) + (lost + load(low_part, j, like)))
        for j in range(whole, last):
            total, lost = two_sum(get(high, j), get(high_part, j))
            put(high, j, total)
            put(low, j, get(low, j) + (lost + get(low_part, j)))
    for j in range(first, last):
        if math.isfinite(get(high, j)):  # else the low part is NaN and means nothing
            put(high, j, get(high, j) + get(low, j))


run_serial, run_parallel = serial(_run), parallel(_run)

"""Chunks of a matrix, and the two drivers that run them: on the calling thread, or on all of Numba's.

A matrix is cut into chunks of whole blocks of rows by its shape alone. Each chunk adds up in a row of `partials` of its
own, and the rows are added in order. The drivers call the very same machine code, through its address: the same bits on
any number of threads, and one compilation of each kernel (compiled into its drivers, as Numba would, it takes twice as
long).

What a chunk needs is described by a record, `TASK`. The rows that do not fill a group of eight come as a tail, a copy
padded to eight, which is the last chunk.

`f_order` is None for C order, True for F order: None is a type of its own, so the branches of the other order are gone
before anything is compiled.
"""

import functools
import struct

import numba
import numpy as np
from numba import carray, prange, types

from jitlogreg.lanes import LANES, fma
from jitlogreg.targets.compile import address, inline, parallel, serial
from jitlogreg.targets.cpu import columns, rows
from jitlogreg.targets.cpu.accumulate import clear, flush, merge, rounded, whole_lanes
from jitlogreg.targets.cpu.link import DB, INVALID, LOSS, SEGMENT, TOTALS, WEIGHT, activate, residuals
from jitlogreg.targets.cpu.memory import at, call, get, load, load_first, offset, put, splat, sum_lanes

# Addresses, sizes in numbers, and switches of one call
_INTEGERS = (
    *("x", "leading", "m", "n", "w", "block", "chunks", "y", "s", "s_step", "with_gradient", "work", "work_step"),
    *("partials", "out", "logarithm", "tail_x", "tail_y", "tail_s", "tail_out", "pad"),
)
TASK = np.dtype([("b", np.float64), *((name, np.intp) for name in _INTEGERS)])
_PACKER = struct.Struct(f"=d{len(_INTEGERS)}q")


def describe(b=0.0, **integers):
    """A task, as the record's bytes; what is not named is 0. The caller keeps the arrays alive."""
    # 2 µs, where filling a NumPy record takes 28
    return np.frombuffer(_PACKER.pack(b, *[integers.get(name, 0) for name in _INTEGERS]), np.uint8)


@inline
def _bounds(chunk, chunks, m, block):
    """The first row of a chunk, and the row after its last."""
    blocks = (m + block - 1) // block
    return chunk * blocks // chunks * block, min((chunk + 1) * blocks // chunks * block, m)


@inline
def _margins(x, i, leading, f_order, n, w, b, z, count, like):
    if f_order is None:
        rows.margins(x, i * leading, leading, n, w, b, z, count, like)
    else:
        columns.margins(x, i, leading, n, w, b, z, count, like)


@inline
def _add_rows(x, leading, f_order, n, y, s, s_step, w, b, start, stop, pad, block, with_gradient, work, high, low):
    """Add the sums over rows start … stop to the totals; the last `pad` rows are padding."""
    like = splat(b)
    room = whole_lanes(n)
    z, dz, g = work, offset(work, block), offset(work, 2 * block)
    clear(g, room)
    pending = 0
    i = start
    while i < stop:
        count = min(block, stop - i)
        _margins(x, i, leading, f_order, n, w, b, z, count, like)
        for r in range(count - pad, count):
            put(z, r, 0)  # its weight is 0, but 0 · inf would count
        for r in range(0, count, SEGMENT):
            zr, yr, sr, dzr = offset(z, r), offset(y, i + r), offset(s, (i + r) * s_step), offset(dz, r)
            residuals(zr, yr, sr, dzr, min(SEGMENT, count - r), offset(high, room), offset(low, room), like)
        if with_gradient:
            if f_order is None:
                rows.update(x, i * leading, leading, n, dz, count, g, like)
                pending += count
            else:
                columns.update(x, i, leading, n, dz, count, high, low, like)
        i += count
        if f_order is None and (pending >= SEGMENT or i >= stop):
            flush(g, high, low, room, like)
            pending = 0


@inline
def _sum_chunk(chunk, t, x0, w0, f_order):
    """Sums of one chunk into its row of partials. `x0` and `w0` are zeros that tell the dtypes."""
    room = whole_lanes(t.n)
    width = room + TOTALS
    high = offset(at(t.partials, 0.0), chunk * 2 * width)
    low = offset(high, width)
    clear(high, 2 * width)
    x, leading, y, s, s_step, pad = t.x, t.leading, t.y, t.s, t.s_step, 0
    start, stop = _bounds(chunk, t.chunks, t.m, t.block)
    if chunk == t.chunks:
        x, leading, y, s, s_step, pad = t.tail_x, t.n if f_order is None else LANES, t.tail_y, t.tail_s, 1, t.pad
        start, stop = 0, LANES
    _add_rows(
        *(at(x, x0), leading, f_order, t.n, at(y, w0), at(s, w0), s_step, at(t.w, w0), type(w0)(t.b)),
        *(start, stop, pad, t.block, t.with_gradient, offset(at(t.work, w0), chunk * t.work_step), high, low),
    )


@inline
def _activate_chunk(chunk, t, x0, w0, f_order):
    """Activations of one chunk."""
    b = type(w0)(t.b)
    like = splat(b)
    x, leading, out = t.x, t.leading, t.out
    start, stop = _bounds(chunk, t.chunks, t.m, t.block)
    if chunk == t.chunks:
        x, leading, out = t.tail_x, t.n if f_order is None else LANES, t.tail_out
        start, stop = 0, LANES
    for i in range(start, stop, t.block):
        count = min(t.block, stop - i)
        a = offset(at(out, w0), i)
        _margins(at(x, x0), i, leading, f_order, t.n, at(t.w, w0), b, a, count, like)
        activate(a, count, t.logarithm, like)


@inline
def _dot_chunk(chunk, t, x0, w0, f_order):
    """Σ xⱼ wⱼ of one chunk, in float64, by four vectors of partial sums."""
    like = splat(0.0)
    x, w = at(t.x, x0), at(t.w, w0)
    a0 = like
    a1, a2, a3 = a0, a0, a0
    start, stop = _bounds(chunk, t.chunks, t.n, t.block)
    whole = stop // (4 * LANES) * (4 * LANES)
    for j in range(start, whole, 4 * LANES):
        a0 = fma(load(x, j, like), load(w, j, like), a0)
        a1 = fma(load(x, j + LANES, like), load(w, j + LANES, like), a1)
        a2 = fma(load(x, j + 2 * LANES, like), load(w, j + 2 * LANES, like), a2)
        a3 = fma(load(x, j + 3 * LANES, like), load(w, j + 3 * LANES, like), a3)
    for j in range(whole, stop, LANES):
        rest = min(LANES, stop - j)
        a0 = fma(load_first(x, j, rest, like), load_first(w, j, rest, like), a0)
    put(at(t.partials, 0.0), chunk, sum_lanes((a0 + a1) + (a2 + a3)))


KERNEL_ARGUMENTS = (types.intp, types.CPointer(numba.from_dtype(TASK)))


def chunk_kernel(operation, x_dtype, w_dtype, order):
    """The function of one chunk and a task, to be compiled for `KERNEL_ARGUMENTS`.

    Parameters
    ----------
    operation : {"sums", "activations", "dot"}
    x_dtype, w_dtype : dtype
    order : {"C", "F"}
    """
    run = {"sums": _sum_chunk, "activations": _activate_chunk, "dot": _dot_chunk}[operation]
    x0, w0, f_order = x_dtype.type(0), w_dtype.type(0), None if order == "C" else True

    def kernel(chunk, task):
        run(chunk, carray(task, 1)[0], x0, w0, f_order)

    return kernel


@functools.cache
def kernel(operation, x_dtype, w_dtype, order):
    """The address of a chunk's machine code, compiled when it is first asked for."""
    function = chunk_kernel(operation, x_dtype, w_dtype, order)
    return address(function, KERNEL_ARGUMENTS, f"{operation}_{x_dtype.name}_{w_dtype.name}_{order}")


def _run(kernel, parts, task):
    """Call the kernel for every chunk."""
    for chunk in prange(parts):
        call(kernel, chunk, task.ctypes.data)


run_serial, run_parallel = serial(_run), parallel(_run)


def _add_chunks(partials, dw):
    """Add the chunks' sums in order: `dw`, and Σ sL, Σ s·dz, Σ s, and whether labels and weights were good."""
    n = dw.size
    room = whole_lanes(n)
    width = room + TOTALS
    high = at(partials.ctypes.data, 0.0)
    low = offset(high, width)
    for chunk in range(1, partials.shape[0]):
        other = offset(high, chunk * 2 * width)
        merge(high, low, width, other, offset(other, width))
    for j in range(n):
        dw[j] = rounded(get(high, j), get(low, j))
    loss = rounded(get(high, room + LOSS), get(low, room + LOSS))
    db = rounded(get(high, room + DB), get(low, room + DB))
    weight = rounded(get(high, room + WEIGHT), get(low, room + WEIGHT))
    return loss, db, weight, get(high, room + INVALID) == 0


add_chunks = serial(_add_chunks)

"""The Hessian, XᵀDX, and its products with a vector, XᵀD(Xv + c), each from one read of X.

The Hessian is summed in tiles. A block of rows is scaled by √(s·σ(z)σ(−z)), so that a tile is AᵀA, and packed, in
float64, into panels of eight columns, each a run of memory: any order and dtype of X comes to the same loop, and the
column of ones for the intercept is just one more. Rows of panels are multiplied four columns by eight at a time, eight
vectors of AVX in registers, which is what the two units of today's processors need to be always busy.
"""

import functools

import numpy as np
from numba import carray

from jitlogreg.simd import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import column_major, row_major
from jitlogreg.targets.cpu.chunks import OF_TAIL, bounds
from jitlogreg.targets.cpu.compensated import add_number, clear, flush
from jitlogreg.targets.cpu.epilogue import DB, curved, roots
from jitlogreg.targets.cpu.pointers import (
    at,
    get,
    lane,
    load,
    load_first,
    matrix,
    moments,
    moments_of,
    offset,
    put,
    splat,
    spread,
    store,
    sum_lanes,
    transpose,
)
from jitlogreg.targets.cpu.remainder import copy_numbers, padded_rows

# Rows that are packed at once, and added up before they go to the totals: in runs of sixteen, so that a term meets at
# most 16 + 8 roundings of the 32 that the bound on sums allows. A panel of them is 8 KB
BLOCK, RUN = 128, 16

# Numbers of a tile, the products of two panels
TILE = LANES * LANES


def panel_count(n):
    """The panels of n columns and the one of ones."""
    return n // LANES + 1


def unfold(tiles, n):
    """The symmetric matrix (n + 1, n + 1) from tiles of its lower half: of panels (0, 0), (1, 0), (1, 1), (2, 0) …"""
    return tiles[_places(n)]


@functools.lru_cache(maxsize=1)  # 32 MB for 2,000 columns
def _places(n):
    """Where in the tiles each number of the matrix is found."""
    larger, smaller = np.maximum.outer(range(n + 1), range(n + 1)), np.minimum.outer(range(n + 1), range(n + 1))
    first, second = larger // LANES, smaller // LANES
    # within a tile of two panels the column of the second comes first, and within the diagonal's both halves are there
    return (first * (first + 1) // 2 + second) * TILE + smaller % LANES * LANES + larger % LANES


@inline
def _rows_of(chunk, t, x0, w0, f_order):
    """A chunk's x, its leading dimension, the weights and their step, the first row, the one after, and the padding."""
    x, leading, s, s_step, pad = matrix(t.x, t.out, x0), t.leading, at(t.s, w0), t.s_step, 0
    start, stop = 0, LANES
    if chunk < t.chunks:
        start, stop = bounds(chunk, t.chunks, t.m // LANES * LANES, t.block)
    else:
        first, count = t.m // LANES * LANES, t.m % LANES
        tail = at(t.tail, w0)
        copy_numbers(s, first if s_step > 0 else -1, count, tail)
        s, s_step, pad = tail, 1, LANES - count
        if f_order is None:
            x = offset(x, first * leading)
        else:
            x = padded_rows(x, first, leading, count, t.n, at(t.tail + OF_TAIL, x0))
            leading = LANES
    return x, leading, s, s_step, start, stop, pad


def product_chunk(chunk, task, x0, w0, f_order):
    """Σ s·σ(z)σ(−z)·(xv + c)·x of one chunk, and the same without x in place of Σ s·dz.

    v lies where labels do otherwise, and c after it. The second margin of a block finds x in the cache.
    """
    t = carray(task, 1)[0]
    n, room = t.n, t.room
    high = offset(at(t.partials, 0.0), chunk * 2 * t.width)
    low = offset(high, t.width)
    clear(high, 2 * t.width)
    x, leading, s, s_step, start, stop, pad = _rows_of(chunk, t, x0, w0, f_order)
    w, b, v = at(t.w, w0), spread(t.b, w0), at(t.y, w0)
    c = spread(get(v, n), w0)
    z = offset(at(t.work, w0), chunk * t.work_step)
    u, g = offset(z, t.block), offset(z, 2 * t.block)
    prefetch_rows = 2 if t.prefetch > 0 else 0
    clear(g, room)
    for i in range(start, stop, t.block):
        count = min(t.block, stop - i)
        position, ahead = i * leading, t.prefetch if i + count < stop or chunk + 1 < t.chunks else 0
        if f_order is not None:
            column_major.margins(x, i, leading, n, w, b, z, count, ahead, True)
            column_major.margins(x, i, leading, n, v, c, u, count, 0, True)
        elif pad > 0:
            row_major.few_margins(x, position, leading, n, w, b, z, count - pad)
            row_major.few_margins(x, position, leading, n, v, c, u, count - pad)
        else:
            row_major.margins(
                x, position, leading, n, w, b, z, count, position + t.prefetch, prefetch_rows, t.sequential
            )
            row_major.margins(x, position, leading, n, v, c, u, count, position, 0, t.sequential)
        for r in range(count - pad, count):
            put(z, r, 0)
            put(u, r, 0)  # padding: its weight is 0, but 0 · inf would count
        db = curved(z, u, offset(s, i * s_step), s_step > 0, count, splat(0.0), b)
        add_number(offset(high, room), offset(low, room), DB, sum_lanes(db))
        if f_order is not None:
            column_major.update(x, i, leading, n, u, count, high, low, ahead, b)
        elif pad > 0:
            row_major.few_update(x, position, leading, n, u, count - pad, g, b)
        else:
            prefetch_at = position + t.prefetch + count // 2 * leading if t.prefetch > 0 else position
            row_major.update(x, position, leading, n, u, count, g, prefetch_at, b)
        if f_order is None:
            flush(g, high, low, room, b)


def hessian_chunk(chunk, task, x0, w0, f_order):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ of one chunk, in tiles; the totals of examples stay 0. w is float64."""
    t = carray(task, 1)[0]
    n, room = t.n, t.room
    high = offset(at(t.partials, 0.0), chunk * 2 * t.width)
    low = offset(high, t.width)
    clear(high, 2 * t.width)
    x, leading, s, s_step, start, stop, pad = _rows_of(chunk, t, x0, w0, f_order)
    w, b = at(t.w, w0), spread(t.b, w0)
    z = offset(at(t.work, w0), chunk * t.work_step)
    g = offset(z, 2 * t.block)
    packed = offset(g, t.work_step - 2 * t.block - (n // LANES + 1) * LANES * BLOCK)
    prefetch_rows = 4 if t.prefetch > 0 else 0
    clear(g, room)
    for i in range(start, stop, BLOCK):
        count = min(BLOCK, stop - i)
        position, ahead = i * leading, t.prefetch if i + count < stop or chunk + 1 < t.chunks else 0
        if f_order is not None:
            column_major.margins(x, i, leading, n, w, b, z, count, ahead, False)
        elif pad > 0:
            row_major.few_margins(x, position, leading, n, w, b, z, count - pad)
        else:
            row_major.margins(
                x, position, leading, n, w, b, z, count, position + t.prefetch, prefetch_rows, t.sequential
            )
        roots(z, offset(s, i * s_step), s_step > 0, count, b)
        if f_order is None:
            _pack_rows(x, position, leading, n, z, count - pad, packed, b)
        else:
            _pack_columns(x, i, leading, n, z, count, packed, b)
        whole_runs = (count + RUN - 1) // RUN * RUN
        for r in range(count - pad, whole_runs):
            for j in range(0, n + 1, LANES):
                store(packed, j * BLOCK + r * LANES, zeros(b))
        _multiply(packed, n // LANES + 1, whole_runs, g, b)
        flush(g, high, low, room, b)


@inline
def _pack_rows(x, i, leading, n, scale, count, packed, like):
    """Write [x, 1] times its scale into panels, for `count` rows of C order."""
    whole = n // LANES * LANES
    for r in range(count):
        row, factor = i + r * leading, splat(get(scale, r))
        for j in range(0, whole, LANES):
            numbers = row_major.standardized(load(x, row + j, like), moments(x, j, like))
            store(packed, j * BLOCK + r * LANES, numbers * factor)
        last = offset(packed, whole * BLOCK + r * LANES)
        numbers = row_major.standardized(load_first(x, row + whole, n - whole, like), moments(x, whole, like))
        store(last, 0, numbers * factor)
        put(last, n - whole, get(scale, r))


@inline
def _pack_columns(x, i, leading, n, scale, count, packed, like):
    """Write [x, 1] times its scale into panels, for `count` rows of F order, a multiple of eight."""
    whole = n // LANES * LANES
    for r in range(0, count, LANES):
        factor = load(scale, r, like)
        for j in range(0, whole, LANES):
            p = i + r + j * leading
            x0, x1 = _column(x, p, j, like), _column(x, p + leading, j + 1, like)
            x2, x3 = _column(x, p + 2 * leading, j + 2, like), _column(x, p + 3 * leading, j + 3, like)
            x4, x5 = _column(x, p + 4 * leading, j + 4, like), _column(x, p + 5 * leading, j + 5, like)
            x6, x7 = _column(x, p + 6 * leading, j + 6, like), _column(x, p + 7 * leading, j + 7, like)
            turned = transpose(
                x0 * factor, x1 * factor, x2 * factor, x3 * factor, x4 * factor, x5 * factor, x6 * factor, x7 * factor
            )
            to = offset(packed, j * BLOCK + r * LANES)
            for k in range(LANES):
                store(to, k * LANES, turned[k])
        rest = offset(packed, whole * BLOCK + r * LANES)
        for k in range(LANES):
            store(rest, k * LANES, zeros(like))
            put(rest, k * LANES + n - whole, get(scale, r + k))
        for j in range(whole, n):
            numbers = _column(x, i + r + j * leading, j, like) * factor
            for k in range(LANES):
                put(rest, k * LANES + j - whole, lane(numbers, k))


@inline
def _column(x, i, j, like):
    """Eight numbers of column j, from element i on."""
    return row_major.standardized(load(x, i, like), moments_of(x, j, like))


@inline
def _multiply(packed, panels, count, g, like):
    """Add the products of all panels, of `count` rows in whole runs, to the tiles g of the lower half."""
    tile = 0
    for first in range(panels):
        for second in range(first + 1):
            p, q = offset(packed, first * LANES * BLOCK), offset(packed, second * LANES * BLOCK)
            for half in range(0, LANES, 4):
                to = offset(g, tile + half * LANES)
                for start in range(0, count, RUN):
                    _add_run(offset(p, start * LANES), offset(q, start * LANES + half), to, like)
            tile += TILE


@inline
def _add_run(p, q, g, like):
    """Add Σ q[r, k]·p[r] over a run of rows to vector k of g, for four columns k."""
    c0 = zeros(like)
    c1, c2, c3 = c0, c0, c0
    for r in range(RUN):
        i = r * LANES
        v = load(p, i, like)
        c0 = fma(splat(get(q, i)), v, c0)
        c1 = fma(splat(get(q, i + 1)), v, c1)
        c2 = fma(splat(get(q, i + 2)), v, c2)
        c3 = fma(splat(get(q, i + 3)), v, c3)
    store(g, 0, load(g, 0, like) + c0)
    store(g, LANES, load(g, LANES, like) + c1)
    store(g, 2 * LANES, load(g, 2 * LANES, like) + c2)
    store(g, 3 * LANES, load(g, 3 * LANES, like) + c3)

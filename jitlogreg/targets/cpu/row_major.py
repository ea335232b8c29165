"""Row-major (C order) layout: the margins of a block of rows, and the accumulation of its gradient.

A block of rows is read twice, from memory for its margins and from cache for its gradient. While the second pass works
in cache, the memory bus would idle and the hardware prefetcher would lose its streams. Both passes therefore prefetch
the rows ahead at a steady rate, each of them half as much as it reads; at 256 columns that halves the time (Zen 5).
Where nothing is to be prefetched, they prefetch one cached line over and over: a branch in the loop over columns costs
40 % at 28 columns.

The order of every sum decides the bits:

    margin      8 partial sums over the columns, one per lane; `sequential` rows have 32, added pairwise first
    gradient    eight rows at a time, even and odd rows in two chains, then g + (even + odd)

`shape` is (ld, n, sequential), with the leading dimension in elements, `i` a row; `pad` rows of a block of LANES are
padding, and never read.
"""

from jitlogreg.simd import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import compensated
from jitlogreg.targets.cpu.matrix import fma_rows, load_row, load_two_columns, prefetch, weighted_rows
from jitlogreg.targets.cpu.pointers import load_scalar, store_scalar
from jitlogreg.targets.cpu.vectors import (
    broadcast_as,
    horizontal_sum,
    load,
    load_each,
    load_masked,
    room_for_eight,
    splat,
    splat_each,
    store,
    transpose_sum,
)

UNROLL = 4 * LANES  # columns of one row that are read together, in four independent chains


@inline
def margins(x, shape, i, rows, pad, w, b, z, ahead, alone):
    """z[:rows] = x·w + b for the rows from row i on; `rows` is a multiple of LANES, b a vector.

    Rows are read four side by side, which share each load of w, or one after another if `sequential`. `ahead`
    elements on, as many rows are prefetched as are read if `alone`, half as many if an accumulation follows, and none
    if `ahead` is 0.
    """
    ld, n, sequential = shape
    position = i * ld
    step = (4 if alone else 2) if ahead > 0 else 0  # rows to prefetch with every four
    if pad > 0 or sequential:
        _sequential_margins(x, shape, position, rows, pad, w, b, z, position + ahead, step)
    elif n == ld == 2:
        _margins_2col(x, position, rows, w, b, z)
    else:
        for r in range(0, rows, LANES):
            row, prefetched = position + r * ld, position + ahead + r // 4 * step * ld
            upper = _four_dots(x, row, ld, n, w, b, prefetched, step, alone)
            lower = _four_dots(x, row + 4 * ld, ld, n, w, b, prefetched + step * ld, step, alone)
            store(z, r, transpose_sum(upper + lower) + b)


@inline
def _four_dots(x, i, ld, n, w, like, prefetched, step, alone):
    """Four rows times w, side by side: four vectors of partial sums. A term meets at most n/8 roundings here."""
    sums = zeros(like), zeros(like), zeros(like), zeros(like)
    full = n // LANES * LANES
    for j in range(0, full, LANES):
        prefetch(x, prefetched + step * j, 2)
        if alone:
            prefetch(x, prefetched + step * j + 2 * LANES, 2)
        sums = fma_rows(x, i, j, ld, None, load(w, j, like), sums)
    if full < n:
        prefetch(x, prefetched + step * full, 4)
        sums = fma_rows(x, i, full, ld, n - full, load_masked(w, full, n - full, like), sums)
    return sums


@inline
def _sequential_margins(x, shape, position, rows, pad, w, b, z, prefetched, step):
    """`margins` of rows that are read one after another."""
    ld, n, _ = shape
    dots = room_for_eight(b)
    for r in range(0, rows, LANES):
        for k in range(LANES - pad):
            row = (r + k) * ld
            store(dots, k * LANES, _dot(x, position + row, n, w, b, prefetched + row * step // 4, step))
        if pad == 0:
            store(z, r, transpose_sum(load_each(dots, 0, b)) + b)
        else:
            store(z, r, b)
            for k in range(LANES - pad):
                store_scalar(z, r + k, load_scalar(z, r + k) + horizontal_sum(load(dots, k * LANES, b)))


@inline
def _dot(x, i, n, w, like, prefetched, step):
    """One row times w, in 32 partial sums: a term meets at most n/32 + 4 roundings, and five in their sum."""
    a0, a1, a2, a3 = zeros(like), zeros(like), zeros(like), zeros(like)
    unrolled, full = n // UNROLL * UNROLL, n // LANES * LANES
    for j in range(0, unrolled, UNROLL):
        line = prefetched + j * step // 4
        prefetch(x, line, 2)
        prefetch(x, line + step // 4 * 2 * LANES, 2)
        a0 = fma(load_row(x, i, j, None, like), load(w, j, like), a0)
        a1 = fma(load_row(x, i, j + LANES, None, like), load(w, j + LANES, like), a1)
        a2 = fma(load_row(x, i, j + 2 * LANES, None, like), load(w, j + 2 * LANES, like), a2)
        a3 = fma(load_row(x, i, j + 3 * LANES, None, like), load(w, j + 3 * LANES, like), a3)
    for j in range(unrolled, full, LANES):
        prefetch(x, prefetched + j * step // 4, 1)
        a0 = fma(load_row(x, i, j, None, like), load(w, j, like), a0)
    if full < n:
        a1 = fma(load_row(x, i, full, n - full, like), load_masked(w, full, n - full, like), a1)
    return (a0 + a1) + (a2 + a3)


@inline
def _margins_2col(x, i, rows, w, b, z):
    """`margins` of two adjacent columns, separated in registers: eight rows are two loads instead of eight."""
    w0, w1 = splat(load_scalar(w, 0)), splat(load_scalar(w, 1))
    for r in range(0, rows, LANES):
        first, second = load_two_columns(x, i + 2 * r, b)
        store(z, r, fma(first, w0, fma(second, w1, b)))


# ---------------------------------------------------------------- accumulation


@inline
def accumulate_gradient(x, shape, i, rows, pad, dz, g, high, low, ahead):
    """g += dzᵀx for the rows from row i on; `rows` is a multiple of LANES, g has room for whole vectors.

    A term meets at most five roundings, then one for every eight rows. From the middle of the rows that lie `ahead`
    elements on, half as many rows are prefetched; none if `ahead` is 0.
    """
    ld, n, _ = shape
    position, like = i * ld, broadcast_as(0.0, dz)
    full = n // LANES * LANES
    if pad > 0:
        _accumulate_remainder(x, position, ld, n, LANES - pad, dz, g, like)
    elif n == ld == 2:
        _accumulate_2col(x, position, rows, dz, g, like)
    else:
        step = 4 if ahead > 0 else 0
        start = position + ahead + (rows // 2 * ld if ahead > 0 else 0)
        for r in range(0, rows, LANES):
            row, prefetched = position + r * ld, start + r // 8 * step * ld
            d = splat_each(dz, r, like)
            for j in range(0, full, LANES):
                prefetch(x, prefetched + step * j, 4)
                store(g, j, load(g, j, like) + weighted_rows(x, row, j, ld, None, d))
            if full < n:
                prefetch(x, prefetched + step * full, 4)
                store(g, full, load(g, full, like) + weighted_rows(x, row, full, ld, n - full, d))


@inline
def _accumulate_2col(x, i, rows, dz, g, like):
    """`accumulate_gradient` of two adjacent columns: a term meets one rounding for every eight rows, and four more."""
    a0, a1 = zeros(like), zeros(like)
    for r in range(0, rows, LANES):
        first, second = load_two_columns(x, i + 2 * r, like)
        d = load(dz, r, like)
        a0, a1 = fma(first, d, a0), fma(second, d, a1)
    nothing = zeros(like)
    sums = transpose_sum((a0, a1, nothing, nothing, nothing, nothing, nothing, nothing))
    store(g, 0, load(g, 0, like) + sums)


@inline
def _accumulate_remainder(x, i, ld, n, rows, dz, g, like):
    """`accumulate_gradient` of fewer than LANES rows, one after another: a term meets as many roundings."""
    full = n // LANES * LANES
    for r in range(rows):
        row, d = i + r * ld, splat(load_scalar(dz, r))
        for j in range(0, full, LANES):
            store(g, j, fma(load_row(x, row, j, None, like), d, load(g, j, like)))
        if full < n:
            store(g, full, fma(load_row(x, row, full, n - full, like), d, load(g, full, like)))


# Moves the sums of the rows so far to the totals: a float32 accumulator takes at most 64 rows
flush_gradient = compensated.flush

"""C order: a block of rows is read for its margins, and again, from cache, for the update.

While the second pass reads the cache, memory would idle and the hardware prefetcher would lose its streams. So both
passes prefetch the next rows at a steady rate, each of them half as much as it reads. At 256 columns that halves the
time. How much is prefetched is a number at run time, the hint is part of the type of `x`.
"""

from jitlogreg.simd import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import (
    even_lanes,
    get,
    load,
    load_first,
    moments,
    moments_of,
    odd_lanes,
    prefetch,
    put,
    splat,
    store,
    sum_each,
    sum_lanes,
)


@inline
def standardized(numbers, moments_of_columns):
    """Numbers of columns less the columns' centres, times their scales."""
    centre, scale = moments_of_columns
    return (numbers - centre) * scale


@inline
def _prefetch(x, at, rows, j):
    """Prefetch what `rows` rows (0, 2 or 4) hold at step j of a loop over columns, as if they lay end to end."""
    if rows > 0:
        prefetch(x, at + rows * j, 2)
    if rows == 4:
        prefetch(x, at + rows * j + 2 * LANES, 2)


@inline
def _four_dots(x, i, leading, n, w, prefetch_at, prefetch_rows, like):
    """Four rows times w, eight partial sums each: a term meets at most n/8 roundings, and three in their sum.

    Prefetches so many rows (0, 2 or 4) from element `prefetch_at` on.
    """
    a0 = zeros(like)
    a1, a2, a3 = a0, a0, a0
    whole = n // LANES * LANES
    i1, i2, i3 = i + leading, i + 2 * leading, i + 3 * leading
    for j in range(0, whole, LANES):
        v, of = load(w, j, like), moments(x, j, like)
        _prefetch(x, prefetch_at, prefetch_rows, j)
        a0 = fma(standardized(load(x, i + j, like), of), v, a0)
        a1 = fma(standardized(load(x, i1 + j, like), of), v, a1)
        a2 = fma(standardized(load(x, i2 + j, like), of), v, a2)
        a3 = fma(standardized(load(x, i3 + j, like), of), v, a3)
    if whole < n:
        j, rest = whole, n - whole
        v, of = load_first(w, j, rest, like), moments(x, j, like)
        _prefetch(x, prefetch_at, prefetch_rows, j)
        a0 = fma(standardized(load_first(x, i + j, rest, like), of), v, a0)
        a1 = fma(standardized(load_first(x, i1 + j, rest, like), of), v, a1)
        a2 = fma(standardized(load_first(x, i2 + j, rest, like), of), v, a2)
        a3 = fma(standardized(load_first(x, i3 + j, rest, like), of), v, a3)
    return a0, a1, a2, a3


@inline
def _columns(x, i, j, like):
    """Eight columns from column j on of the row that begins at element i."""
    return standardized(load(x, i + j, like), moments(x, j, like))


@inline
def _one_dot(x, i, n, w, prefetch_at, prefetch_rows, like):
    """One row times w, 32 partial sums: a term meets at most n/32 + 4 roundings, and five in their sum.

    Prefetches nothing, half a row or a row, as `prefetch_rows` is 0, 2 or 4.
    """
    a0 = zeros(like)
    a1, a2, a3 = a0, a0, a0
    step, vectors = 4 * LANES, n // LANES * LANES
    whole = n // step * step
    for j in range(0, whole, step):
        if prefetch_rows > 0:
            prefetch(x, prefetch_at + j * prefetch_rows // 4, 2)
        if prefetch_rows == 4:
            prefetch(x, prefetch_at + j + 2 * LANES, 2)
        a0 = fma(_columns(x, i, j, like), load(w, j, like), a0)
        a1 = fma(_columns(x, i, j + LANES, like), load(w, j + LANES, like), a1)
        a2 = fma(_columns(x, i, j + 2 * LANES, like), load(w, j + 2 * LANES, like), a2)
        a3 = fma(_columns(x, i, j + 3 * LANES, like), load(w, j + 3 * LANES, like), a3)
    if prefetch_rows > 0 and whole < n:  # what is left is four vectors at most, and half of them two
        prefetch(x, prefetch_at + whole * prefetch_rows // 4, 2)
    for j in range(whole, vectors, LANES):
        a0 = fma(_columns(x, i, j, like), load(w, j, like), a0)
    if vectors < n:
        rest = n - vectors
        last = standardized(load_first(x, i + vectors, rest, like), moments(x, vectors, like))
        a1 = fma(last, load_first(w, vectors, rest, like), a1)
    return (a0 + a1) + (a2 + a3)


@inline
def _four_dots_sequential(x, i, leading, n, w, prefetch_at, prefetch_rows, like):
    """`_four_dots`, one row after another."""
    step = prefetch_rows * leading // 4
    a0 = _one_dot(x, i, n, w, prefetch_at, prefetch_rows, like)
    a1 = _one_dot(x, i + leading, n, w, prefetch_at + step, prefetch_rows, like)
    a2 = _one_dot(x, i + 2 * leading, n, w, prefetch_at + 2 * step, prefetch_rows, like)
    a3 = _one_dot(x, i + 3 * leading, n, w, prefetch_at + 3 * step, prefetch_rows, like)
    return a0, a1, a2, a3


@inline
def _pair_margins(x, i, w, b, z, rows):
    """`margins` of two columns side by side, taken apart in registers: eight rows are two loads instead of eight."""
    w0, w1 = splat(get(w, 0)), splat(get(w, 1))
    of0, of1 = moments_of(x, 0, b), moments_of(x, 1, b)
    for r in range(0, rows, LANES):
        p, q = load(x, i + 2 * r, b), load(x, i + 2 * r + LANES, b)
        first, second = standardized(even_lanes(p, q), of0), standardized(odd_lanes(p, q), of1)
        store(z, r, fma(first, w0, fma(second, w1, b)))


@inline
def _pair_update(x, i, dz, rows, g, like):
    """`update` of two columns side by side: a term meets one rounding for every eight rows, and four in the end."""
    zero = zeros(like)
    a0, a1 = zero, zero
    of0, of1 = moments_of(x, 0, like), moments_of(x, 1, like)
    for r in range(0, rows, LANES):
        p, q = load(x, i + 2 * r, like), load(x, i + 2 * r + LANES, like)
        d = load(dz, r, like)
        a0 = fma(standardized(even_lanes(p, q), of0), d, a0)
        a1 = fma(standardized(odd_lanes(p, q), of1), d, a1)
    store(g, 0, load(g, 0, like) + sum_each(a0, a1, zero, zero, zero, zero, zero, zero))


@inline
def margins(x, i, leading, n, w, b, z, rows, prefetch_at, prefetch_rows, sequential):
    """z = xw + b for `rows` rows from element i of x on; b is a vector, `rows` a multiple of eight.

    Reads one row after another if `sequential`, or else four side by side, which share each load of w. With every four
    rows, `prefetch_rows` of them (0, 2 or 4) are prefetched from element `prefetch_at` on.
    """
    if n == leading == 2:
        _pair_margins(x, i, w, b, z, rows)
        return
    for r in range(0, rows, LANES):
        row = i + r * leading
        q = prefetch_at + r // 4 * prefetch_rows * leading
        next_row, next_q = row + 4 * leading, q + prefetch_rows * leading
        if sequential:
            a0, a1, a2, a3 = _four_dots_sequential(x, row, leading, n, w, q, prefetch_rows, b)
            a4, a5, a6, a7 = _four_dots_sequential(x, next_row, leading, n, w, next_q, prefetch_rows, b)
        else:
            a0, a1, a2, a3 = _four_dots(x, row, leading, n, w, q, prefetch_rows, b)
            a4, a5, a6, a7 = _four_dots(x, next_row, leading, n, w, next_q, prefetch_rows, b)
        store(z, r, sum_each(a0, a1, a2, a3, a4, a5, a6, a7) + b)


@inline
def update(x, i, leading, n, dz, rows, g, prefetch_at, like):
    """g += dzᵀx for `rows` rows; `rows` is a multiple of eight, g has room for whole vectors.

    Eight rows at a time, in two chains: a term meets at most five roundings, then one for every eight rows.
    Half as many rows are prefetched from element `prefetch_at` on. Whoever wants nothing prefetched names the block
    itself: lines that are in L1 cost nothing, where a branch in this loop would cost 40 % at 28 columns (Zen 5).
    """
    if n == leading == 2:
        _pair_update(x, i, dz, rows, g, like)
        return
    whole = n // LANES * LANES
    for r in range(0, rows, LANES):
        i0 = i + r * leading
        i1, i2, i3 = i0 + leading, i0 + 2 * leading, i0 + 3 * leading
        i4, i5, i6, i7 = i0 + 4 * leading, i1 + 4 * leading, i2 + 4 * leading, i3 + 4 * leading
        d0, d1, d2, d3 = splat(get(dz, r)), splat(get(dz, r + 1)), splat(get(dz, r + 2)), splat(get(dz, r + 3))
        d4, d5, d6, d7 = splat(get(dz, r + 4)), splat(get(dz, r + 5)), splat(get(dz, r + 6)), splat(get(dz, r + 7))
        q0 = prefetch_at + r // 2 * leading
        for j in range(0, whole, LANES):
            of = moments(x, j, like)
            _prefetch(x, q0, 4, j)
            p = standardized(load(x, i0 + j, like), of) * d0
            q = standardized(load(x, i1 + j, like), of) * d1
            p = fma(standardized(load(x, i2 + j, like), of), d2, p)
            q = fma(standardized(load(x, i3 + j, like), of), d3, q)
            p = fma(standardized(load(x, i4 + j, like), of), d4, p)
            q = fma(standardized(load(x, i5 + j, like), of), d5, q)
            p = fma(standardized(load(x, i6 + j, like), of), d6, p)
            q = fma(standardized(load(x, i7 + j, like), of), d7, q)
            store(g, j, load(g, j, like) + (p + q))
        if whole < n:
            j, rest = whole, n - whole
            of = moments(x, j, like)
            _prefetch(x, q0, 4, j)
            p = standardized(load_first(x, i0 + j, rest, like), of) * d0
            q = standardized(load_first(x, i1 + j, rest, like), of) * d1
            p = fma(standardized(load_first(x, i2 + j, rest, like), of), d2, p)
            q = fma(standardized(load_first(x, i3 + j, rest, like), of), d3, q)
            p = fma(standardized(load_first(x, i4 + j, rest, like), of), d4, p)
            q = fma(standardized(load_first(x, i5 + j, rest, like), of), d5, q)
            p = fma(standardized(load_first(x, i6 + j, rest, like), of), d6, p)
            q = fma(standardized(load_first(x, i7 + j, rest, like), of), d7, q)
            store(g, j, load(g, j, like) + (p + q))


@inline
def few_margins(x, i, leading, n, w, b, z, rows):
    """`margins` of fewer than eight rows, one after another. z has room for eight."""
    store(z, 0, b)
    for r in range(rows):
        row = i + r * leading
        put(z, r, get(z, r) + sum_lanes(_one_dot(x, row, n, w, row, 0, b)))


@inline
def few_update(x, i, leading, n, dz, rows, g, like):
    """`update` of fewer than eight rows, one after another: a term meets as many roundings."""
    whole, rest = n // LANES * LANES, n % LANES
    for r in range(rows):
        row, d = i + r * leading, splat(get(dz, r))
        for j in range(0, whole, LANES):
            store(g, j, fma(_columns(x, row, j, like), d, load(g, j, like)))
        if rest > 0:
            last = standardized(load_first(x, row + whole, rest, like), moments(x, whole, like))
            store(g, whole, fma(last, d, load(g, whole, like)))

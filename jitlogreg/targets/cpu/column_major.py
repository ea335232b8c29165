"""F order: the columns of a block of rows are read for its margins, and again, from cache, for the update.

Both passes prefetch lines of the block `ahead` rows on, as in C order: of eight columns, the margins the first four,
and the update the others. An `ahead` of 0 prefetches nothing new: lines that are in L1 cost nothing, where a branch in
the loops would cost up to a tenth (Zen 5). The hint is part of the type of `x`.
"""

from jitlogreg.simd import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import add_vector
from jitlogreg.targets.cpu.pointers import get, load, load_first, moments_of, offset, prefetch, splat, store, sum_each
from jitlogreg.targets.cpu.row_major import standardized

# The rows that a column's accumulator takes before it goes to the totals: 16 terms a lane and the pairwise sum of the
# lanes are 19 roundings of the 32 that the bound on sums allows
ROWS_AT_ONCE = 128


@inline
def margins(x, i, leading, n, w, b, z, rows, ahead, update_follows):
    """z = xw + b for `rows` rows from element i of x on; b is a vector, `rows` a multiple of eight.

    Eight columns at a time, summed as a tree: a term meets at most n/8 roundings, and eleven in the tree and the rest.
    Prefetches all columns where no update follows that would prefetch its half.
    """
    for r in range(0, rows, LANES):
        store(z, r, b)
    whole = n // LANES * LANES
    for j in range(0, whole, LANES):
        i0 = i + j * leading
        i1, i2, i3 = i0 + leading, i0 + 2 * leading, i0 + 3 * leading
        i4, i5, i6, i7 = i0 + 4 * leading, i1 + 4 * leading, i2 + 4 * leading, i3 + 4 * leading
        w0, w1, w2, w3 = splat(get(w, j)), splat(get(w, j + 1)), splat(get(w, j + 2)), splat(get(w, j + 3))
        w4, w5, w6, w7 = splat(get(w, j + 4)), splat(get(w, j + 5)), splat(get(w, j + 6)), splat(get(w, j + 7))
        of0, of1, of2, of3 = _moments_of_four(x, j, b)
        of4, of5, of6, of7 = _moments_of_four(x, j + 4, b)
        for r in range(0, rows, LANES):
            k = r + ahead
            _prefetch(x, i0 + k, i1 + k, i2 + k, i3 + k)
            if not update_follows:
                _prefetch(x, i4 + k, i5 + k, i6 + k, i7 + k)
            p = fma(standardized(load(x, i1 + r, b), of1), w1, standardized(load(x, i0 + r, b), of0) * w0)
            q = fma(standardized(load(x, i3 + r, b), of3), w3, standardized(load(x, i2 + r, b), of2) * w2)
            s = fma(standardized(load(x, i5 + r, b), of5), w5, standardized(load(x, i4 + r, b), of4) * w4)
            t = fma(standardized(load(x, i7 + r, b), of7), w7, standardized(load(x, i6 + r, b), of6) * w6)
            store(z, r, load(z, r, b) + ((p + q) + (s + t)))
    for j in range(whole, n):
        column = i + j * leading
        weight, of = splat(get(w, j)), moments_of(x, j, b)
        for r in range(0, rows, LANES):
            prefetch(x, column + r + ahead, 1)
            store(z, r, fma(standardized(load(x, column + r, b), of), weight, load(z, r, b)))


@inline
def _moments_of_four(x, j, like):
    """`moments_of` four columns from column j on."""
    return moments_of(x, j, like), moments_of(x, j + 1, like), moments_of(x, j + 2, like), moments_of(x, j + 3, like)


@inline
def _prefetch(x, i0, i1, i2, i3):
    """Prefetch a vector of each of four columns."""
    prefetch(x, i0, 1)
    prefetch(x, i1, 1)
    prefetch(x, i2, 1)
    prefetch(x, i3, 1)


@inline
def _four_dots(x, j, i0, i1, i2, i3, dz, rows, prefetch0, prefetch1, like):
    """Four columns, from column j on, times dz. Prefetches two, from elements `prefetch0` and `prefetch1` on."""
    a0 = zeros(like)
    a1, a2, a3 = a0, a0, a0
    of0, of1, of2, of3 = _moments_of_four(x, j, like)
    for r in range(0, rows, LANES):
        d = load(dz, r, like)
        prefetch(x, prefetch0 + r, 1)
        prefetch(x, prefetch1 + r, 1)
        a0 = fma(standardized(load(x, i0 + r, like), of0), d, a0)
        a1 = fma(standardized(load(x, i1 + r, like), of1), d, a1)
        a2 = fma(standardized(load(x, i2 + r, like), of2), d, a2)
        a3 = fma(standardized(load(x, i3 + r, like), of3), d, a3)
    return a0, a1, a2, a3


@inline
def update(x, i, leading, n, dz, rows, high, low, ahead, like):
    """Add dzᵀx of `rows` rows to the totals; `rows` is a multiple of eight, the totals have room for whole vectors.

    Of eight columns the last four are prefetched, `ahead` rows on; with an `ahead` of 0 that is nothing new.
    """
    last = i + (n - 1) * leading
    for j in range(0, n, LANES):
        # past the last column it is read again, for totals that nobody looks at
        i0 = i + j * leading
        i1, i2, i3 = min(i0 + leading, last), min(i0 + 2 * leading, last), min(i0 + 3 * leading, last)
        i4, i5 = min(i0 + 4 * leading, last), min(i0 + 5 * leading, last)
        i6, i7 = min(i0 + 6 * leading, last), min(i0 + 7 * leading, last)
        for r in range(0, rows, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, rows - r)
            d, k = offset(dz, r), r + ahead
            a0, a1, a2, a3 = _four_dots(x, j, i0 + r, i1 + r, i2 + r, i3 + r, d, count, i4 + k, i5 + k, like)
            a4, a5, a6, a7 = _four_dots(x, j + 4, i4 + r, i5 + r, i6 + r, i7 + r, d, count, i6 + k, i7 + k, like)
            add_vector(high, low, j, sum_each(a0, a1, a2, a3, a4, a5, a6, a7))


@inline
def few_margins(x, i, leading, n, w, b, z, rows):
    """`margins` of fewer than eight rows, in the same order of sums. z has room for a vector."""
    whole, total = n // LANES * LANES, b
    for j in range(0, whole, LANES):
        k, v = i + j * leading, offset(w, j)
        p = _two_products(x, k, leading, v, rows, b)
        q = _two_products(x, k + 2 * leading, leading, offset(v, 2), rows, b)
        s = _two_products(x, k + 4 * leading, leading, offset(v, 4), rows, b)
        t = _two_products(x, k + 6 * leading, leading, offset(v, 6), rows, b)
        total = total + ((p + q) + (s + t))
    for j in range(whole, n):
        total = fma(load_first(x, i + j * leading, rows, b), splat(get(w, j)), total)
    store(z, 0, total)


@inline
def _two_products(x, i, leading, w, rows, like):
    """Two columns times two weights, added up, of fewer than eight rows."""
    first = load_first(x, i, rows, like) * splat(get(w, 0))
    return fma(load_first(x, i + leading, rows, like), splat(get(w, 1)), first)


@inline
def few_update(x, i, leading, n, dz, rows, high, low, like):
    """`update` of fewer than eight rows. dz has room for a vector."""
    last, d = i + (n - 1) * leading, load(dz, 0, like)
    for j in range(0, n, LANES):
        k = i + j * leading
        a0, a1 = _one_product(x, k, last, rows, d), _one_product(x, k + leading, last, rows, d)
        a2, a3 = _one_product(x, k + 2 * leading, last, rows, d), _one_product(x, k + 3 * leading, last, rows, d)
        a4, a5 = _one_product(x, k + 4 * leading, last, rows, d), _one_product(x, k + 5 * leading, last, rows, d)
        a6, a7 = _one_product(x, k + 6 * leading, last, rows, d), _one_product(x, k + 7 * leading, last, rows, d)
        add_vector(high, low, j, sum_each(a0, a1, a2, a3, a4, a5, a6, a7))


@inline
def _one_product(x, i, last, rows, d):
    """A column, or the last one in place of those beyond it, times d, of fewer than eight rows."""
    return load_first(x, min(i, last), rows, d) * d

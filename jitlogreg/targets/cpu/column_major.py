"""Column-major (F order) layout: the margins of a block of rows, and the accumulation of its gradient.

A block of rows is read twice, column after column, from memory for its margins and from cache for its gradient. Both
passes prefetch the block `ahead` rows on: of eight columns, the margins the first four, and the accumulation the
others. With an `ahead` of 0 they prefetch what is cached; a branch in the loops would cost up to a tenth (Zen 5).

The order of every sum decides the bits:

    margin      b, then eight columns at a time as a tree of four pairs, then the last columns one by one
    gradient    eight partial sums over at most ROWS_AT_ONCE rows, one per lane, added pairwise, then the totals

`shape` is (ld, n, sequential), with the leading dimension in elements, `i` a row; `pad` rows of a block of LANES are
padding, and never read.
"""

from jitlogreg.simd import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import add_vector
from jitlogreg.targets.cpu.matrix import (
    column_moments,
    column_starts,
    fma_columns,
    load_column,
    prefetch,
    weighted_columns,
)
from jitlogreg.targets.cpu.pointers import load_scalar
from jitlogreg.targets.cpu.vectors import broadcast_as, load, minimum, splat, splat_each, store, transpose_sum

# The rows that a column's accumulator takes before it is added to the totals: 16 terms a lane and the pairwise sum of
# the lanes are 19 roundings of the 32 that the bound on sums allows
ROWS_AT_ONCE = 128


@inline
def margins(x, shape, i, rows, pad, w, b, z, ahead, alone):
    """z[:rows] = x·w + b for the rows from row i on; `rows` is a multiple of LANES, b a vector.

    A term meets at most n/8 roundings, and eleven in the tree and the last columns. All columns are prefetched if
    `alone`: then no accumulation follows that would prefetch its half.
    """
    ld, n, _ = shape
    full = n // LANES * LANES
    for r in range(0, rows, LANES):
        store(z, r, b)
    for j in range(0, full, LANES):
        first, weights, moments = i + j * ld, splat_each(w, j, b), column_moments(x, j, 8, b)
        if pad > 0:
            store(z, 0, load(z, 0, b) + weighted_columns(x, first, ld, moments, LANES - pad, weights))
        else:
            for r in range(0, rows, LANES):
                prefetch4(x, first + r + ahead, ld)
                if alone:
                    prefetch4(x, first + 4 * ld + r + ahead, ld)
                store(z, r, load(z, r, b) + weighted_columns(x, first + r, ld, moments, None, weights))
    for j in range(full, n):
        if pad > 0:
            moments, weight = column_moments(x, j, 1, b), splat(load_scalar(w, j))
            store(z, 0, fma(load_column(x, i + j * ld, moments, LANES - pad, b), weight, load(z, 0, b)))
        else:
            add_column(x, i, j, ld, rows, w, z, ahead, b)


@inline
def add_column(x, i, j, ld, rows, w, z, ahead, like):
    """z[:rows] += x[:, j] w[j] for the rows from row i on."""
    first, weight, moments = i + j * ld, splat(load_scalar(w, j)), column_moments(x, j, 1, like)
    for r in range(0, rows, LANES):
        prefetch(x, first + r + ahead, 1)
        store(z, r, fma(load_column(x, first + r, moments, None, like), weight, load(z, r, like)))


@inline
def prefetch4(x, i, ld):
    """Prefetch a vector of each of four columns."""
    prefetch(x, i, 1)
    prefetch(x, i + ld, 1)
    prefetch(x, i + 2 * ld, 1)
    prefetch(x, i + 3 * ld, 1)


# ---------------------------------------------------------------- accumulation


@inline
def accumulate_gradient(x, shape, i, rows, pad, dz, g, high, low, ahead):
    """Add dzᵀx of the rows from row i on to the totals, which have room for whole vectors.

    Of eight columns, the last four are prefetched, `ahead` rows on.
    """
    ld, n, _ = shape
    like, last = broadcast_as(0.0, dz), i + (n - 1) * ld
    zero = zeros(like), zeros(like), zeros(like), zeros(like)
    for j in range(0, n, LANES):
        # past the last column it is read again, for totals that nobody looks at
        starts = column_starts(i + j * ld, ld, last)
        if pad > 0:
            d, rest = load(dz, 0, like), LANES - pad
            left = fma_columns(x, starts[:4], 0, rest, column_moments(x, j, 4, like), d, zero)
            right = fma_columns(x, starts[4:], 0, rest, column_moments(x, j + 4, 4, like), d, zero)
            add_vector(high, low, j, transpose_sum(left + right))
        else:
            for r in range(0, rows, ROWS_AT_ONCE):
                stop = minimum(r + ROWS_AT_ONCE, rows)
                left = _four_dots(x, j, starts[:4], r, stop, dz, starts[4] + ahead, starts[5] + ahead, like)
                right = _four_dots(x, j + 4, starts[4:], r, stop, dz, starts[6] + ahead, starts[7] + ahead, like)
                add_vector(high, low, j, transpose_sum(left + right))


@inline
def _four_dots(x, j, starts, first, stop, dz, prefetched0, prefetched1, like):
    """The rows `first` to `stop` of four columns, from column j on, times dz; two other columns are prefetched."""
    sums, moments = (zeros(like), zeros(like), zeros(like), zeros(like)), column_moments(x, j, 4, like)
    for r in range(first, stop, LANES):
        prefetch(x, prefetched0 + r, 1)
        prefetch(x, prefetched1 + r, 1)
        sums = fma_columns(x, starts, r, None, moments, load(dz, r, like), sums)
    return sums


@inline
def flush_gradient(g, high, low, count, like):
    """Nothing: the sums of these columns are in the totals already."""

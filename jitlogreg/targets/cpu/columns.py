"""F order: the columns of a block of rows are read for its margins, and again, from cache, for the update.

Both passes ask for lines of the block `ahead` rows on, as in C order: of eight columns, the margins for the first four,
and the update for the others. An `ahead` of 0 asks for nothing new.
"""

from jitlogreg.lanes import LANES, fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.accumulate import add_vector
from jitlogreg.targets.cpu.memory import get, load, offset, prefetch, splat, store, sum_each

# The rows that a column's accumulator takes before it goes to the totals: 16 terms a lane and the pairwise sum of the
# lanes are 19 roundings of the 32 that the bound on sums allows
ROWS_AT_ONCE = 128


@inline
def margins(x, i, leading, n, w, b, z, rows, ahead, update_follows):
    """z = xw + b for `rows` rows from element i of x on; b is a vector, `rows` a multiple of eight.

    Eight columns at a time, summed as a tree: a term meets at most n/8 roundings, and eleven in the tree and the rest.
    Asks for all columns where no update follows that would ask for its half.
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
        for r in range(0, rows, LANES):
            k = r + ahead
            _ask(x, i0 + k, i1 + k, i2 + k, i3 + k)
            if not update_follows:
                _ask(x, i4 + k, i5 + k, i6 + k, i7 + k)
            p = fma(load(x, i1 + r, b), w1, load(x, i0 + r, b) * w0)
            q = fma(load(x, i3 + r, b), w3, load(x, i2 + r, b) * w2)
            s = fma(load(x, i5 + r, b), w5, load(x, i4 + r, b) * w4)
            t = fma(load(x, i7 + r, b), w7, load(x, i6 + r, b) * w6)
            store(z, r, load(z, r, b) + ((p + q) + (s + t)))
    for j in range(whole, n):
        column = i + j * leading
        weight = splat(get(w, j))
        for r in range(0, rows, LANES):
            prefetch(x, column + r + ahead, 1)
            store(z, r, fma(load(x, column + r, b), weight, load(z, r, b)))


@inline
def _ask(x, i0, i1, i2, i3):
    """Ask for a vector of each of four columns."""
    prefetch(x, i0, 1)
    prefetch(x, i1, 1)
    prefetch(x, i2, 1)
    prefetch(x, i3, 1)


@inline
def _four_dots(x, i0, i1, i2, i3, dz, rows, ask0, ask1, like):
    """Four columns times dz. Asks for two columns, from elements `ask0` and `ask1` on."""
    a0 = zeros(like)
    a1, a2, a3 = a0, a0, a0
    for r in range(0, rows, LANES):
        d = load(dz, r, like)
        prefetch(x, ask0 + r, 1)
        prefetch(x, ask1 + r, 1)
        a0 = fma(load(x, i0 + r, like), d, a0)
        a1 = fma(load(x, i1 + r, like), d, a1)
        a2 = fma(load(x, i2 + r, like), d, a2)
        a3 = fma(load(x, i3 + r, like), d, a3)
    return a0, a1, a2, a3


@inline
def update(x, i, leading, n, dz, rows, high, low, ahead, like):
    """Add dzᵀx of `rows` rows to the totals; `rows` is a multiple of eight, the totals have room for whole vectors."""
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
            a0, a1, a2, a3 = _four_dots(x, i0 + r, i1 + r, i2 + r, i3 + r, d, count, i4 + k, i5 + k, like)
            a4, a5, a6, a7 = _four_dots(x, i4 + r, i5 + r, i6 + r, i7 + r, d, count, i6 + k, i7 + k, like)
            add_vector(high, low, j, sum_each(a0, a1, a2, a3, a4, a5, a6, a7))

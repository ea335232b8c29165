"""Compensated sums: the error of a long sum does not grow with its length.

A total is kept as high + low. `high` is the plain running sum, so infinities and NaN behave as in any sum; `low`
collects what its roundings lost (Knuth's two-sum).
"""

from jitlogreg.pointwise import two_sum
from jitlogreg.simd import LANES, where, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import load_scalar, offset, store_scalar
from jitlogreg.targets.cpu.vectors import load, minimum, splat, store, widen

# Totals of tasks that are added up at once
ADDED_AT_ONCE = 128


@inline
def clear(p, count):
    """Set `count` numbers to 0."""
    for i in range(count):
        store_scalar(p, i, 0)


@inline
def add_number(high, low, x):
    """Add x to the total of which `high` and `low` point to the parts."""
    total, lost = two_sum(load_scalar(high, 0), x)
    store_scalar(high, 0, total)
    store_scalar(low, 0, load_scalar(low, 0) + lost)


@inline
def add_vector(high, low, j, x):
    """Add eight numbers to the totals from j on."""
    wide = splat(0.0)
    total, lost = two_sum(load(high, j, wide), widen(x))
    store(high, j, total)
    store(low, j, load(low, j, wide) + lost)


@inline
def flush(g, high, low, count, like):
    """Add the accumulators g to the totals and start them anew. `count` is a multiple of LANES."""
    for j in range(0, count, LANES):
        add_vector(high, low, j, load(g, j, like))
        store(g, j, zeros(like))


@inline
def add_parts(high, low, partials, parts, width, first, last):
    """Add to the totals from `first` to `last` those of so many parts, in order.

    `partials` has the high and the low totals of a part, `width` of each, and then those of the next.
    """
    like = splat(0.0)
    for part in range(parts):
        high_part = offset(partials, 2 * part * width)
        low_part = offset(high_part, width)
        for j in range(first, last, LANES):
            total, lost = two_sum(load(high, j, like), load(high_part, j, like))
            store(high, j, total)
            store(low, j, load(low, j, like) + (lost + load(low_part, j, like)))


@inline
def add_paired_parts(high, low, partials, parts, n_padded, first, last):
    """`add_parts`, where a part has the high and the low total of each column side by side, and then those of examples.

    These are the last eight totals, and not side by side.
    """
    columns, width = minimum(last, n_padded), n_padded + LANES
    for part in range(parts):
        of_part = offset(partials, 2 * part * width)
        for j in range(first, columns):
            total, lost = two_sum(load_scalar(high, j), load_scalar(of_part, 2 * j))
            store_scalar(high, j, total)
            store_scalar(low, j, load_scalar(low, j) + (lost + load_scalar(of_part, 2 * j + 1)))
        if last > n_padded:
            like = splat(0.0)
            total, lost = two_sum(load(high, n_padded, like), load(of_part, 2 * n_padded, like))
            store(high, n_padded, total)
            of_low = load(of_part, 2 * n_padded + LANES, like)
            store(low, n_padded, load(low, n_padded, like) + (lost + of_low))


@inline
def join(high, low, first, last):
    """Add the low parts of the totals from `first` to `last` to the high ones."""
    like = splat(0.0)
    for j in range(first, last, LANES):
        total = load(high, j, like)
        is_finite = total - total >= like  # else the low part is NaN and means nothing
        store(high, j, where(is_finite, total + load(low, j, like), total))

"""Compensated sums: the error of a long sum does not grow with its length.

A total is kept as high + low. `high` is the plain running sum, so infinities and NaN behave as in any sum; `low`
collects what its roundings lost (Knuth's two-sum).
"""

from jitlogreg.pointwise import two_sum
from jitlogreg.simd import LANES, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import load_scalar, store_scalar
from jitlogreg.targets.cpu.vectors import load, splat, store, widen

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

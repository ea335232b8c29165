"""The rows that do not fill a group of eight."""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import get, moved, offset, put


@inline
def padded_rows(x, i, leading, count, n, tail):
    """Copy to `tail` the `count` rows of F order from row i of x on, padded to eight with zeros. Returns the copy,
    standardized if x is.
    """
    for j in range(n):
        copy_numbers(x, i + j * leading, count, offset(tail, j * LANES))
    return moved(x, tail)


@inline
def copy_numbers(p, i, count, tail):
    """Copy `count` numbers from element i of p on, or ones if `i` is negative, padded to eight with zeros."""
    for r in range(LANES):
        put(tail, r, 0)
        if r < count:
            put(tail, r, 1)
            if i >= 0:
                put(tail, r, get(p, i + r))

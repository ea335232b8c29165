"""The rows that do not fill a group of eight: copied, and padded to eight."""

from jitlogreg.lanes import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.memory import get, put


@inline
def copy_rows(x, i, leading, count, n, tail, f_order):
    """Copy `count` rows from element i of x on, padded to eight with zeros. Returns the copy's leading dimension."""
    for r in range(LANES):
        for j in range(n):
            source, target = r * leading + j, r * n + j
            if f_order is not None:
                source, target = r + j * leading, r + j * LANES
            if r < count:
                put(tail, target, get(x, i + source))
            else:
                put(tail, target, 0)
    return n if f_order is None else LANES


@inline
def copy_numbers(p, i, count, tail):
    """Copy `count` numbers from element i of p on, or ones if `i` is negative, padded to eight with zeros."""
    for r in range(LANES):
        put(tail, r, 0)
        if r < count:
            put(tail, r, 1)
            if i >= 0:
                put(tail, r, get(p, i + r))

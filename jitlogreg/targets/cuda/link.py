"""The per-example step, and totals that are kept as pairs: a number and what its roundings have lost."""

from numba import float32, int64, uint32

from jitlogreg.lanes import zeros
from jitlogreg.scalar import log_sigmoid, loss_and_residual, sigmoid, two_sum
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.device import cuda

# The totals of a block beside its columns: each takes a place after them
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = 4

FULL = 0xFFFFFFFF  # every lane of a warp


@inline
def add(high, low, x):
    """Add x to the pair."""
    high, lost = two_sum(high, x)
    return high, low + lost


@inline
def join(high, low, other_high, other_low):
    """Add a pair to the pair."""
    high, lost = two_sum(high, other_high)
    return high, low + (lost + other_low)


@inline
def sum_over_lanes(x, lanes, stride):
    """Σ x over the lanes of a warp that are `stride` apart, `lanes` / `stride` of them, in every one of them."""
    step = uint32(lanes // 2)
    while step >= stride:
        x = x + cuda.shfl_xor_sync(FULL, x, step)
        step >>= uint32(1)
    return x


@inline
def join_over_lanes(high, low, lanes, stride):
    """The same of pairs. Lane and partner add in different orders: what the first lane of them gets is the sum."""
    step = uint32(lanes // 2)
    while step >= stride:
        high, low = join(high, low, cuda.shfl_xor_sync(FULL, high, step), cuda.shfl_xor_sync(FULL, low, step))
        step >>= uint32(1)
    return high, low

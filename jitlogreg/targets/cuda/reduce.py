"""The second stage of every sum: adds up the partials of all blocks, in a fixed order and in float64."""

from numba import float64, int64

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import compensated_merge, warp_sum_compensated
from jitlogreg.targets.cuda.intrinsics import cuda, load, store

# A warp takes eight sums, adjacent in memory; each of its lanes reads one sum of every fourth partial
SUMS_PER_WARP = 8


def make_reducer(w_type):
    """A function in which a warp adds up the partials of the sums from `first` on and writes the results."""
    load_w, store_result = load(w_type), store(float64)

    @inline
    def reduce_partials(partials, n_partials, n_sums, first, results, lane):
        j = first + int64(lane % int64(SUMS_PER_WARP))
        partial = int64(lane // int64(SUMS_PER_WARP))
        high, low = float64(0), float64(0)
        if j < n_sums:
            while partial < n_partials:
                index = partial * int64(2) * n_sums + j
                high, low = compensated_merge(
                    high, low, float64(load_w(partials, index)), float64(load_w(partials, index + n_sums))
                )
                partial += int64(32 // SUMS_PER_WARP)
        high, low = warp_sum_compensated(high, low, 32, SUMS_PER_WARP)
        if lane < int64(SUMS_PER_WARP) and j < n_sums:
            if high - high == float64(0):  # where high is not finite, low is NaN and means nothing
                high += low
            store_result(results, j, high)

    return reduce_partials


def make(w_type, threads):
    """The kernel: one warp for every eight sums from `first` on."""
    reduce_partials = make_reducer(w_type)

    def kernel(partials, n_partials, n_sums, first, results):
        thread = int64(cuda.blockIdx.x) * int64(threads) + int64(cuda.threadIdx.x)
        j = first + thread // int64(32) * int64(SUMS_PER_WARP)
        if j < n_sums:
            reduce_partials(partials, n_partials, n_sums, j, results, int64(cuda.threadIdx.x) & int64(31))

    return kernel

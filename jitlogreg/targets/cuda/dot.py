"""The dot product of two vectors: each thread block sums its share and leaves a partial."""

from numba import float64, int64

from jitlogreg.targets.cuda.compensated import compensated_add, compensated_merge, warp_sum_compensated
from jitlogreg.targets.cuda.intrinsics import cuda, load, store


def make(u_type, v_type, threads):
    """The kernel, in float64: the partial of a block is the high and the low part of its sum."""
    load_u, load_v, store_sum = load(u_type), load(v_type), store(float64)
    warps = threads // 32

    def kernel(u, v, n, out):
        thread = int64(cuda.threadIdx.x)
        warp_sums = cuda.shared.array((2, warps), float64)
        high, low = float64(0), float64(0)
        i = int64(cuda.blockIdx.x) * int64(threads) + thread
        while i < n:
            high, low = compensated_add(high, low, float64(load_u(u, i)) * float64(load_v(v, i)))
            i += int64(cuda.gridDim.x) * int64(threads)
        high, low = warp_sum_compensated(high, low, 32, 1)
        if thread % int64(32) == int64(0):
            warp_sums[0, thread // int64(32)], warp_sums[1, thread // int64(32)] = high, low
        cuda.syncthreads()
        if thread == int64(0):
            for warp in range(1, warps):
                high, low = compensated_merge(high, low, warp_sums[0, warp], warp_sums[1, warp])
            store_sum(out, int64(cuda.blockIdx.x) * int64(2), high)
            store_sum(out, int64(cuda.blockIdx.x) * int64(2) + int64(1), low)

    return kernel

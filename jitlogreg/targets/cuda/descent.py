"""The kernel of gradient descent that stays on the device: one launch makes many steps, with grid syncs in each.

w and b lie in two rows of `parameters`, `parameter_stride` numbers apart: step i reads row i mod 2 and writes the next
w and b to the other. Whichever step is the last, its w is therefore still there, and the result does not depend on how
many steps a launch makes.
"""

import math

from numba import float64, int64

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import DB, FULL_MASK, INVALID, LOSS, TOTALS, WEIGHT, warp_sum
from jitlogreg.targets.cuda.intrinsics import cuda, grid_sync, load, opaque_zero, store
from jitlogreg.targets.cuda.reduce import SUMS_PER_WARP, make_reducer

# What `report` holds: the gradient's norm, whether the run has stopped, Σ s, the count of invalid labels and weights,
# and the last step whose loss was taken
REPORT_NORM, REPORT_STOPPED, REPORT_WEIGHT, REPORT_INVALID, REPORT_LAST_STEP = range(5)
REPORT_SIZE = 5


def _make_block_reductions(threads):
    """Functions for the sum and the maximum over a thread block; each of its threads gets the result."""
    warps = threads // 32

    @inline
    def block_sum(x, shared, thread):
        x = warp_sum(x, 32, 1)
        cuda.syncthreads()
        if thread & int64(31) == int64(0):
            shared[thread >> int64(5)] = x
        cuda.syncthreads()
        total = float64(0)
        for v in range(warps):
            total += shared[v]
        return total

    @inline
    def block_max(x, shared, thread):
        step = int64(16)
        while step > int64(0):
            x = max(x, cuda.shfl_xor_sync(FULL_MASK, x, step))
            step >>= int64(1)
        cuda.syncthreads()
        if thread & int64(31) == int64(0):
            shared[thread >> int64(5)] = x
        cuda.syncthreads()
        largest = float64(0)
        for v in range(warps):
            largest = max(largest, shared[v])
        return largest

    return block_sum, block_max


def make(sums_kernel, w_type, threads, with_l2_panels):
    """The kernel that descends, of which each step evaluates the loss and the gradient by `sums_kernel`."""
    evaluate = inline(sums_kernel)
    load_w, store_w, load_float64, store_float64 = load(w_type), store(w_type), load(float64), store(float64)
    reduce_partials = make_reducer(w_type)
    block_sum, block_max = _make_block_reductions(threads)
    warps, w_itemsize = threads // 32, w_type.bitwidth // 8

    def kernel(
        x,
        ld,
        m,
        n,
        y,
        s,
        offset,
        partials,
        n_partials,
        workspace,
        parameters,
        parameter_stride,
        sums,
        history,
        report,
        first_step,
        n_steps,
        learning_rate,
        l2,
        tolerance,
        n_reducers,
        panel_rows,
        split_k,
        barrier_counter,
    ):
        thread = int64(cuda.threadIdx.x)
        shared = cuda.shared.array(warps, float64)
        n_sums = n + TOTALS
        parameter_bytes = parameter_stride * int64(w_itemsize)
        # the step number is kept in shared memory: what is live during an evaluation takes registers from it
        step_number = cuda.shared.array(1, int64)
        if thread == int64(0):
            step_number[0] = first_step
        cuda.syncthreads()
        while step_number[0] < first_step + n_steps and load_float64(report, REPORT_STOPPED) == float64(0):
            w = parameters + (step_number[0] & int64(1)) * parameter_bytes
            b = load_w(w, n)
            zero = opaque_zero(step_number[0])
            if with_l2_panels:
                evaluate(
                    x,
                    ld + zero,
                    m,
                    n + zero,
                    w,
                    b,
                    y,
                    s,
                    offset,
                    partials,
                    workspace,
                    panel_rows,
                    split_k,
                    barrier_counter,
                )
            else:
                evaluate(x, ld + zero, m, n + zero, w, b, y, s, offset, partials)
            grid_sync(barrier_counter)
            i = step_number[0]
            w = parameters + (i & int64(1)) * parameter_bytes
            next_w = parameters + ((i + int64(1)) & int64(1)) * parameter_bytes
            block, thread = int64(cuda.blockIdx.x), int64(cuda.threadIdx.x)
            if block < n_reducers:
                first = (block * int64(warps) + int64(thread >> int64(5))) * int64(SUMS_PER_WARP)
                while first < n_sums:
                    reduce_partials(partials, n_partials, n_sums, first, sums, thread & int64(31))
                    first += n_reducers * int64(warps * SUMS_PER_WARP)
            if n_reducers > 1:
                grid_sync(barrier_counter)
            else:
                cuda.syncthreads()
            if block == 0:
                S = load_float64(sums, n + WEIGHT)
                # `not_finite` stays 0 while all slopes are finite, and is NaN otherwise
                largest, not_finite, penalty = float64(0), float64(0), float64(0)
                j = int64(thread)
                while j <= n:
                    wj = load_w(w, j)
                    if j < n:
                        slope = w_type(load_float64(sums, j) / S + l2 * float64(wj))
                        penalty += float64(wj) * float64(wj)
                        magnitude = abs(float64(slope))
                    else:
                        slope = w_type(load_float64(sums, n + DB) / S)
                        magnitude = abs(load_float64(sums, n + DB) / S)
                    largest = max(largest, magnitude)
                    not_finite += magnitude - magnitude
                    store_w(next_w, j, wj - learning_rate * slope)
                    j += int64(threads)
                largest = block_max(largest, shared, thread)
                not_finite = block_sum(not_finite, shared, thread)
                penalty = block_sum(penalty, shared, thread)
                squares = float64(0)
                j = int64(thread)
                while j <= n:
                    if j < n:
                        slope = w_type(load_float64(sums, j) / S + l2 * float64(load_w(w, j)))
                        ratio = float64(slope) / largest
                    else:
                        ratio = load_float64(sums, n + DB) / S / largest
                    squares += ratio * ratio
                    j += int64(threads)
                squares = block_sum(squares, shared, thread)
                if thread == int64(0):
                    norm = largest + not_finite
                    if largest > float64(0) and not_finite == float64(0):
                        norm = largest * math.sqrt(squares)
                    loss = load_float64(sums, n + LOSS) / S + float64(0.5) * l2 * penalty
                    invalid = load_float64(sums, n + INVALID)
                    store_float64(history, i - first_step, loss)
                    store_float64(report, REPORT_NORM, norm)
                    store_float64(report, REPORT_WEIGHT, S)
                    store_float64(report, REPORT_INVALID, invalid)
                    store_float64(report, REPORT_LAST_STEP, float64(i))
                    valid = invalid == float64(0) and float64(0) < S and float64(0) == S - S
                    if not valid or loss - loss != float64(0) or norm <= tolerance:
                        store_float64(report, REPORT_STOPPED, float64(1))
            grid_sync(barrier_counter)
            if thread == int64(0):
                step_number[0] = i + int64(1)
            cuda.syncthreads()

    return kernel

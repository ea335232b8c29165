"""Gradient descent that stays on the device: one launch makes many steps, and all blocks meet within each.

w and b lie in two rows, `apart` numbers from each other: step i reads row i mod 2 and leaves the next w and b in the
other. So a stop after any step has its w at hand, and the result does not depend on how many steps a launch makes.
"""

import math

from numba import float64, int64

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import cuda, load, meet, store, unknown_zero
from jitlogreg.targets.cuda.reduce import COLUMNS, adder
from jitlogreg.targets.cuda.totals import DB, EVERY_LANE, INVALID, LOSS, TOTALS, WEIGHT, sum_over_lanes

# What `report` says: the gradient's norm, whether the run has ended, Σ s, whether a label or a weight was none, and the
# last step whose loss was taken
NORM, ENDED, SUM_OF_WEIGHTS, WRONG, LAST = range(5)
REPORT = 5


def _over_block(threads):
    """Sums and largest values over a block, the same in each of its threads."""
    warps = threads // 32

    @inline
    def sum_over_block(x, shared, thread):
        x = sum_over_lanes(x, 32, 1)
        cuda.syncthreads()
        if thread & int64(31) == int64(0):
            shared[thread >> int64(5)] = x
        cuda.syncthreads()
        total = float64(0)
        for v in range(warps):
            total += shared[v]
        return total

    @inline
    def largest_over_block(x, shared, thread):
        step = int64(16)
        while step > int64(0):
            x = max(x, cuda.shfl_xor_sync(EVERY_LANE, x, step))
            step >>= int64(1)
        cuda.syncthreads()
        if thread & int64(31) == int64(0):
            shared[thread >> int64(5)] = x
        cuda.syncthreads()
        largest = float64(0)
        for v in range(warps):
            largest = max(largest, shared[v])
        return largest

    return sum_over_block, largest_over_block


def make(evaluate, w_type, threads, in_panels):
    """The kernel that descends by evaluations of one of the kernels for sums."""
    evaluate = inline(evaluate)
    load_w, store_w, load_64, store_64 = load(w_type), store(w_type), load(float64), store(float64)
    add_columns = adder(w_type)
    sum_over_block, largest_over_block = _over_block(threads)
    warps, size = threads // 32, w_type.bitwidth // 8

    def kernel(
        x,
        leading,
        m,
        n,
        y,
        s,
        left,
        rows,
        scratch,
        parameters,
        apart,
        totals,
        history,
        report,
        first,
        steps,
        rate,
        l2,
        tolerance,
        reducers,
        panel,
        slices,
        meeting,
    ):
        thread = int64(cuda.threadIdx.x)
        shared = cuda.shared.array(warps, float64)
        width = n + TOTALS
        row_size = apart * int64(size)
        # the step's number waits in shared memory: what is alive during an evaluation takes registers from it
        number = cuda.shared.array(1, int64)
        if thread == int64(0):
            number[0] = first
        cuda.syncthreads()
        while number[0] < first + steps and load_64(report, ENDED) == float64(0):
            w = parameters + (number[0] & int64(1)) * row_size
            b = load_w(w, n)
            anew = unknown_zero(number[0])
            if in_panels:
                evaluate(x, leading + anew, m, n + anew, w, b, y, s, left, scratch, panel, slices, meeting)
            else:
                evaluate(x, leading + anew, m, n + anew, w, b, y, s, left)
            meet(meeting)
            i = number[0]
            w = parameters + (i & int64(1)) * row_size
            following = parameters + ((i + int64(1)) & int64(1)) * row_size
            block, thread = int64(cuda.blockIdx.x), int64(cuda.threadIdx.x)
            if block < reducers:
                column = (block * int64(warps) + int64(thread >> int64(5))) * int64(COLUMNS)
                while column < width:
                    add_columns(left, rows, width, column, totals, thread & int64(31))
                    column += reducers * int64(warps * COLUMNS)
            if reducers > 1:
                meet(meeting)
            else:
                cuda.syncthreads()
            if block == 0:
                S = load_64(totals, n + WEIGHT)
                largest, poison, penalty = float64(0), float64(0), float64(0)
                j = int64(thread)
                while j <= n:
                    at = load_w(w, j)
                    if j < n:
                        slope = w_type(load_64(totals, j) / S + l2 * float64(at))
                        penalty += float64(at) * float64(at)
                        size_of = abs(float64(slope))
                    else:
                        slope = w_type(load_64(totals, n + DB) / S)
                        size_of = abs(load_64(totals, n + DB) / S)
                    largest = max(largest, size_of)
                    poison += size_of - size_of
                    store_w(following, j, at - rate * slope)
                    j += int64(threads)
                largest = largest_over_block(largest, shared, thread)
                poison = sum_over_block(poison, shared, thread)
                penalty = sum_over_block(penalty, shared, thread)
                squares = float64(0)
                j = int64(thread)
                while j <= n:
                    if j < n:
                        slope = w_type(load_64(totals, j) / S + l2 * float64(load_w(w, j)))
                        size_of = float64(slope) / largest
                    else:
                        size_of = load_64(totals, n + DB) / S / largest
                    squares += size_of * size_of
                    j += int64(threads)
                squares = sum_over_block(squares, shared, thread)
                if thread == int64(0):
                    norm = largest + poison
                    if largest > float64(0) and poison == float64(0):
                        norm = largest * math.sqrt(squares)
                    loss = load_64(totals, n + LOSS) / S + float64(0.5) * l2 * penalty
                    invalid = load_64(totals, n + INVALID)
                    store_64(history, i - first, loss)
                    store_64(report, NORM, norm)
                    store_64(report, SUM_OF_WEIGHTS, S)
                    store_64(report, WRONG, invalid)
                    store_64(report, LAST, float64(i))
                    good = invalid == float64(0) and float64(0) < S and float64(0) == S - S
                    if not good or loss - loss != float64(0) or norm <= tolerance:
                        store_64(report, ENDED, float64(1))
            meet(meeting)
            if thread == int64(0):
                number[0] = i + int64(1)
            cuda.syncthreads()

    return kernel

"""Rows or columns too long to hold: panels of rows that the L2 cache keeps between two passes.

All blocks of the grid work on one L2 panel at a time. They compute the margins of its rows segment by segment,
synchronize once, and read the panel again from the L2 cache for the column sums. Those are split-K: each column of
each slice of the rows belongs to one warp, which keeps its pair in global memory. There is one partial per slice, where
other kernels leave one per thread block.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import (
    TOTALS,
    TOTALS_SIZE,
    add_example,
    clear_shared,
    compensated_add,
    compensated_merge,
    load_totals,
    merge_totals,
    store_totals,
    warp_sum,
    warp_sum_compensated,
    warp_sum_totals,
    zero_totals,
)
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT, REDUCTIONS, make_epilogue, rhs_count
from jitlogreg.targets.cuda.intrinsics import cuda, grid_sync, load, load_vector, store, thread_index

# The most rows of a panel: shared memory holds their residuals
MAX_PANEL_ROWS = 2048

# Rows of which a warp computes the residuals at once
RESIDUALS_PER_WARP = 8

# Rows whose x a warp has in flight while it accumulates the gradient in C order
ROWS_IN_FLIGHT = 8


def make(x_type, w_type, operation, threads, f_order, load_width, segment):
    """The kernel, which computes margins in segments of `segment` columns.

    `panel_rows` is the number of rows of a panel, at most `MAX_PANEL_ROWS`; `split_k` is the number of slices of its
    rows in which the column sums are taken. `workspace` holds 2 · panel_rows · (segments of a row) numbers of w's type
    for each right-hand side. In C order a load reads `load_width` numbers of X.
    """
    load_xs, load_x, load_w = load_vector(x_type, load_width), load(x_type), load(w_type)
    epilogue, store_w = make_epilogue(w_type, operation), store(w_type)
    vector_width, warps = 1 if f_order else 128 // x_type.bitwidth, threads // 32
    warp_columns = 32 * vector_width  # columns that a warp takes at once in C order
    vectors_per_lane = segment // warp_columns
    x_size, block_sums_size, dzs_size = ROWS_IN_FLIGHT * vector_width, 2 * TOTALS, MAX_PANEL_ROWS
    reduces, accumulate_gradient = operation in REDUCTIONS, operation in ACCUMULATE_GRADIENT
    n_rhs = rhs_count(operation)
    n_slots = warps * RESIDUALS_PER_WARP  # each lane that runs the epilogue has totals of its own
    totals_size = TOTALS_SIZE * n_slots if reduces else 1
    two_rhs = n_rhs == 2  # a loop over the right-hand sides would change how the loops around it are unrolled

    @inline
    def load_row(x, row_start, n, column, destination, start):
        for e in range(vector_width):
            destination[start + e] = x_type(0)
        for e in range(0, vector_width, load_width):
            if column + int64(e) < n:
                load_xs(destination, start + e, x, row_start + column + int64(e))

    @inline
    def load_pair(out, index, n_sums, panel_start):
        if panel_start > 0:
            return load_w(out, index), load_w(out, index + n_sums)
        return w_type(0), w_type(0)

    @inline
    def store_pair(out, index, n_sums, high, low):
        store_w(out, index, high)
        store_w(out, index + n_sums, low)

    def kernel(x, ld, m, n, w, b, y, s, offset, out, workspace, panel_rows, split_k, barrier_counter):
        thread = thread_index(ld)
        lane = thread & int64(31)
        warp = int64(cuda.blockIdx.x) * int64(warps) + int64(thread >> int64(5))
        grid_warps = int64(cuda.gridDim.x) * int64(warps)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if two_rhs else b
        dzs = cuda.shared.array(dzs_size, w_type)
        xs = cuda.local.array(x_size, x_type)
        g = cuda.local.array(vector_width, w_type)
        # the totals are kept in shared memory: registers are short
        shared_totals = cuda.shared.array(totals_size, w_type)
        slot = (thread >> int64(5)) * int64(RESIDUALS_PER_WARP) + lane
        if reduces and lane < int64(RESIDUALS_PER_WARP):
            store_totals(shared_totals, slot, n_slots, zero_totals(b))
        segments = (n + int64(segment - 1)) // int64(segment)
        n_sums = n + TOTALS
        buffer_start = int64(0)  # the margins of consecutive panels alternate between two halves of the workspace
        panel_start = int64(0)
        while panel_start < m:
            n_rows = min(panel_rows, m - panel_start)
            if f_order:
                row_groups = (n_rows + int64(31)) // int64(32)
                item = warp
                while item < row_groups * segments:
                    row, segment_index = (item % row_groups) * int64(32) + int64(lane), item // row_groups
                    stop = min(n, (segment_index + int64(1)) * int64(segment))
                    j = segment_index * int64(segment)
                    if row < n_rows:
                        z0, z1, u0, u1 = zero, zero, zero, zero
                        while j + int64(1) < stop:
                            x0 = w_type(load_x(x, j * ld + panel_start + row))
                            z0 = fma(x0, load_w(w, j), z0)
                            x1 = w_type(load_x(x, (j + int64(1)) * ld + panel_start + row))
                            z1 = fma(x1, load_w(w, j + int64(1)), z1)
                            if two_rhs:
                                u0 = fma(x0, load_w(w, n + j), u0)
                                u1 = fma(x1, load_w(w, n + j + int64(1)), u1)
                            j += int64(2)
                        if j < stop:
                            x0 = w_type(load_x(x, j * ld + panel_start + row))
                            z0 = fma(x0, load_w(w, j), z0)
                            if two_rhs:
                                u0 = fma(x0, load_w(w, n + j), u0)
                        store_w(workspace, buffer_start + segment_index * panel_rows + row, z0 + z1)
                        if two_rhs:
                            store_w(workspace, buffer_start + (segments + segment_index) * panel_rows + row, u0 + u1)
                    item += grid_warps
            else:
                item = warp
                while item < n_rows * segments:
                    row, segment_index = item // segments, item % segments
                    z, u = zero, zero
                    for k in range(vectors_per_lane):
                        column = segment_index * int64(segment) + int64(k * warp_columns) + lane * int64(vector_width)
                        load_row(x, (panel_start + row) * ld, n, column, xs, 0)
                        for e in range(0, vector_width, load_width):
                            if column + int64(e) < n:
                                for i in range(e, e + load_width):
                                    z = fma(w_type(xs[i]), load_w(w, column + int64(i)), z)
                                    if two_rhs:
                                        u = fma(w_type(xs[i]), load_w(w, n + column + int64(i)), u)
                    z = warp_sum(z, 32, 1)
                    if two_rhs:
                        u = warp_sum(u, 32, 1)
                    if lane == int64(0):
                        store_w(workspace, buffer_start + segment_index * panel_rows + row, z)
                        if two_rhs:
                            store_w(workspace, buffer_start + (segments + segment_index) * panel_rows + row, u)
                    item += grid_warps
            grid_sync(barrier_counter)
            # For sums each block computes all residuals of the panel: sharing them would take a second grid sync. Only
            # block 0 keeps the totals. A warp takes eight rows, four lanes to a row, so that its loads are coalesced
            row = (warp if not reduces else thread >> int64(5)) * int64(RESIDUALS_PER_WARP) + lane % int64(
                RESIDUALS_PER_WARP
            )
            while row - lane % int64(RESIDUALS_PER_WARP) < n_rows:
                z, u = zero, zero
                segment_index = lane // int64(RESIDUALS_PER_WARP)
                while segment_index < segments and row < n_rows:
                    z = z + load_w(workspace, buffer_start + segment_index * panel_rows + row)
                    if two_rhs:
                        u = u + load_w(workspace, buffer_start + (segments + segment_index) * panel_rows + row)
                    segment_index += int64(32 // RESIDUALS_PER_WARP)
                z = warp_sum(z, 32, RESIDUALS_PER_WARP) + b
                if two_rhs:
                    u = warp_sum(u, 32, RESIDUALS_PER_WARP) + c
                if lane < int64(RESIDUALS_PER_WARP) and row < n_rows:
                    dz, loss, weight, invalid = epilogue(z, u, panel_start + row, y, s, offset, out)
                    dzs[row] = dz
                    if reduces and cuda.blockIdx.x == 0:
                        with_example = add_example(load_totals(shared_totals, slot, n_slots), loss, dz, weight, invalid)
                        store_totals(shared_totals, slot, n_slots, with_example)
                row += (grid_warps if not reduces else int64(warps)) * int64(RESIDUALS_PER_WARP)
            cuda.syncthreads()
            if accumulate_gradient:
                slice_rows = (n_rows + split_k - int64(1)) // split_k
                if f_order:
                    item = warp
                    while item < n * split_k:
                        column, slice_index = item % n, item // n
                        row, stop = slice_index * slice_rows + lane, min(n_rows, (slice_index + int64(1)) * slice_rows)
                        gk = zero
                        while row < stop:
                            gk = fma(dzs[row], w_type(load_x(x, column * ld + panel_start + row)), gk)
                            row += int64(32)
                        high, low = warp_sum_compensated(gk, zero, 32, 1)
                        if lane == int64(0):
                            index = slice_index * int64(2) * n_sums + column
                            previous, previous_low = load_pair(out, index, n_sums, panel_start)
                            store_pair(out, index, n_sums, *compensated_merge(previous, previous_low, high, low))
                        item += grid_warps
                else:
                    tiles = (n + int64(warp_columns - 1)) // int64(warp_columns)
                    item = warp
                    while item < tiles * split_k:
                        column = (item % tiles) * int64(warp_columns) + lane * int64(vector_width)
                        slice_index = item // tiles
                        row, stop = slice_index * slice_rows, min(n_rows, (slice_index + int64(1)) * slice_rows)
                        for e in range(vector_width):
                            g[e] = zero
                        while row < stop:
                            for r in range(ROWS_IN_FLIGHT):
                                # past the last row, 0 columns: nothing is read
                                row_columns = n if row + int64(r) < stop else int64(0)
                                load_row(
                                    x,
                                    (panel_start + row + int64(r)) * ld,
                                    row_columns,
                                    column,
                                    xs,
                                    r * vector_width,
                                )
                            for r in range(ROWS_IN_FLIGHT):
                                dz = dzs[row + int64(r)] if row + int64(r) < stop else zero
                                for e in range(vector_width):
                                    g[e] = fma(dz, w_type(xs[r * vector_width + e]), g[e])
                            row += int64(ROWS_IN_FLIGHT)
                        for e in range(vector_width):
                            if column + int64(e) < n:
                                index = slice_index * int64(2) * n_sums + column + int64(e)
                                high, low = load_pair(out, index, n_sums, panel_start)
                                store_pair(out, index, n_sums, *compensated_add(high, low, g[e]))
                        item += grid_warps
                cuda.syncthreads()  # before the residuals of the next panel overwrite these
            buffer_start = int64(n_rhs) * panel_rows * segments - buffer_start
            panel_start += panel_rows
        if reduces and cuda.blockIdx.x == 0:
            block_sums = cuda.shared.array(block_sums_size, w_type)
            clear_shared(block_sums, int64(block_sums_size), thread, int64(threads))
            totals = zero_totals(b)
            if lane < int64(RESIDUALS_PER_WARP):
                totals = load_totals(shared_totals, slot, n_slots)
            totals = warp_sum_totals(totals)
            for v in range(warps):
                if thread == int64(32 * v):
                    merge_totals(block_sums, 0, TOTALS, totals)
                cuda.syncthreads()
            if thread < int64(TOTALS):
                for slice_index in range(split_k):
                    index = int64(2) * slice_index * n_sums + n + thread
                    store_w(out, index, block_sums[thread] if slice_index == 0 else zero)
                    store_w(out, index + n_sums, block_sums[thread + TOTALS] if slice_index == 0 else zero)

    return kernel

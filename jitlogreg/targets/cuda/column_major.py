"""F order, up to 1024 columns: a lane takes a row, a sub-warp some columns, and x stays in registers.

Where the sub-warps of a thread block share rows, they put the margins together in shared memory. The column sums are
reduced over the lanes by recursive halving: each fold halves the columns that a lane is left with, so 31 shuffles add
up 32 columns. Each remaining column has a pair.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import (
    FULL_MASK,
    TOTALS,
    TOTALS_SIZE,
    add_example,
    clear_shared,
    compensated_add,
    load_totals,
    make_partial_writer,
    merge_pair,
    merge_totals,
    store_totals,
    warp_sum,
    warp_sum_compensated,
    warp_sum_totals,
    zero_totals,
)
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT, REDUCTIONS, make_epilogue, rhs_count
from jitlogreg.targets.cuda.intrinsics import cuda, load, opaque_zero, thread_index


def _make_fold(step, width):
    """A function that adds up `width` numbers over pairs of lanes `step` apart; each lane keeps half of the sums.

    A single number is not folded: the lanes' pairs are merged after the last row.
    """
    half = width // 2

    @inline
    def fold(g, lane):
        if step > 0:
            upper = lane & int64(step) != int64(0)
            for k in range(half):
                kept, sent = (g[k + half], g[k]) if upper else (g[k], g[k + half])
                g[k] = kept + cuda.shfl_xor_sync(FULL_MASK, sent, step)

    return fold


def make(x_type, w_type, operation, threads, lanes, lane_columns, sub_warps_per_row, rows, prefetch):
    """The kernel for at most `lane_columns · sub_warps_per_row` columns, in blocks of `threads` threads.

    A sub-warp has 8, 16 or 32 `lanes`; each takes `rows` rows and `lane_columns` columns, a power of two up to twice
    `lanes`. `prefetch` loads the next rows into registers while the current ones are in use.
    """
    load_x, load_w = load(x_type), load(w_type)
    epilogue, write_partial = make_epilogue(w_type, operation), make_partial_writer(w_type)
    reduces, accumulate_gradient = operation in REDUCTIONS, operation in ACCUMULATE_GRADIENT
    n_rhs = rhs_count(operation)
    two_rhs = n_rhs == 2  # a loop over the right-hand sides would change how the loops around it are unrolled
    row_groups, warps = threads // lanes // sub_warps_per_row, threads // 32  # the sub-warps of a group share rows
    group_rows, columns = lanes * rows, lane_columns * sub_warps_per_row
    x_size, low_offset, block_sums_size = rows * lane_columns, columns + TOTALS, 2 * (columns + TOTALS)
    n_margins, block_rows = row_groups * sub_warps_per_row * group_rows, row_groups * group_rows
    prefetched_size = x_size if prefetch else 1
    folded_columns = max(1, lane_columns // lanes)  # columns that the folds leave a lane with
    lanes_per_column = max(1, lanes // lane_columns)  # adjacent lanes that are left with the same column
    lanes_per_margin = min(sub_warps_per_row, 32)  # lanes that add up a margin; the first of them runs the epilogue
    n_slots = threads // lanes_per_margin  # each lane that runs the epilogue has totals of its own
    totals_size, w_size, zs_size = TOTALS_SIZE * n_slots, n_rhs * columns, n_rhs * n_margins
    fold16, fold8 = _make_fold(lanes // 2, lane_columns), _make_fold(lanes // 4, lane_columns // 2)
    fold4, fold2 = _make_fold(lanes // 8, lane_columns // 4), _make_fold(lanes // 16, lane_columns // 8)
    fold1 = _make_fold(lanes // 32, lane_columns // 16)

    @inline
    def load_rows(x, ld, m, n, first_row, first_column, destination):
        for r in range(rows):
            row = first_row + int64(r * lanes)
            for k in range(lane_columns):
                destination[r * lane_columns + k] = x_type(0)
                if row < m and first_column + int64(k) < n:
                    destination[r * lane_columns + k] = load_x(x, (first_column + int64(k)) * ld + row)

    @inline
    def dot(xs, r, ws, first, zero):
        even, odd = zero, zero
        for k in range(0, lane_columns, 2):
            even = fma(w_type(xs[r * lane_columns + k]), ws[first + int64(k)], even)
            if k + 1 < lane_columns:
                odd = fma(w_type(xs[r * lane_columns + k + 1]), ws[first + int64(k + 1)], odd)
        return even + odd

    def kernel(x, ld, m, n, w, b, y, s, offset, out):
        thread = thread_index(ld)
        lane, sub_warp = thread % int64(lanes), thread // int64(lanes)
        group, group_sub_warp = sub_warp // int64(sub_warps_per_row), sub_warp % int64(sub_warps_per_row)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if two_rhs else b
        ws = cuda.shared.array(w_size, w_type)
        j = thread
        while j < int64(columns):
            ws[j] = load_w(w, j) if j < n else zero
            if two_rhs:
                ws[int64(columns) + j] = load_w(w, n + j) if j < n else zero
            j += int64(threads)
        shared_totals = cuda.shared.array(totals_size, w_type)
        if thread < int64(n_slots):
            store_totals(shared_totals, thread, n_slots, zero_totals(b))
        cuda.syncthreads()
        first_column = group_sub_warp * int64(lane_columns)
        xs, g = cuda.local.array(x_size, x_type), cuda.local.array(lane_columns, w_type)
        prefetched = cuda.local.array(prefetched_size, x_type)
        # a lane's margins, then its residuals
        lane_dzs, us = cuda.local.array(rows, w_type), cuda.local.array(rows, w_type)
        zs, dzs = cuda.shared.array(zs_size, w_type), cuda.shared.array(block_rows, w_type)
        high, low = cuda.local.array(folded_columns, w_type), cuda.local.array(folded_columns, w_type)
        for e in range(folded_columns):
            high[e], low[e] = zero, zero
        base = int64(cuda.blockIdx.x) * int64(block_rows)
        grid_stride = int64(cuda.gridDim.x) * int64(block_rows)
        lane_row = group * int64(group_rows) + lane
        if prefetch:
            load_rows(x, ld, m, n, base + lane_row, first_column, prefetched)
        while base < m:
            opaque_column, opaque_ld = first_column + opaque_zero(base), ld + opaque_zero(base)
            if prefetch:
                for i in range(x_size):
                    xs[i] = prefetched[i]
                load_rows(x, opaque_ld, m, n, base + grid_stride + lane_row, opaque_column, prefetched)
            else:
                load_rows(x, opaque_ld, m, n, base + lane_row, opaque_column, xs)
            for r in range(rows):
                lane_dzs[r] = dot(xs, r, ws, opaque_column, zero)
                if two_rhs:
                    us[r] = dot(xs, r, ws, opaque_column + int64(columns), zero)
                if sub_warps_per_row > 1:
                    z_index = (
                        (group * int64(sub_warps_per_row) + group_sub_warp) * int64(group_rows)
                        + int64(r * lanes)
                        + lane
                    )
                    zs[z_index] = lane_dzs[r]
                    if two_rhs:
                        zs[int64(n_margins) + z_index] = us[r]
            if sub_warps_per_row > 1:
                cuda.syncthreads()
                block_row = thread // int64(lanes_per_margin)
                while block_row < int64(block_rows):
                    z, u, v = zero, zero, thread % int64(lanes_per_margin)
                    while v < int64(sub_warps_per_row):
                        z_index = (block_row // int64(group_rows) * int64(sub_warps_per_row) + v) * int64(
                            group_rows
                        ) + block_row % int64(group_rows)
                        z = z + zs[z_index]
                        if two_rhs:
                            u = u + zs[int64(n_margins) + z_index]
                        v += int64(lanes_per_margin)
                    z = warp_sum(z, lanes_per_margin, 1)
                    if two_rhs:
                        u = warp_sum(u, lanes_per_margin, 1)
                    if thread % int64(lanes_per_margin) == int64(0):
                        dz, row, slot = zero, base + block_row, thread // int64(lanes_per_margin)
                        if row < m:
                            dz, loss, weight, invalid = epilogue(z + b, u + c, row, y, s, offset, out)
                            if reduces:
                                with_example = add_example(
                                    load_totals(shared_totals, slot, n_slots), loss, dz, weight, invalid
                                )
                                store_totals(shared_totals, slot, n_slots, with_example)
                        if accumulate_gradient:
                            dzs[block_row] = dz
                    block_row += int64(threads // lanes_per_margin)
                cuda.syncthreads()
                for r in range(rows):
                    lane_dzs[r] = dzs[lane_row + int64(r * lanes)] if accumulate_gradient else zero
            else:
                for r in range(rows):
                    dz, row = zero, base + lane_row + int64(r * lanes)
                    u = us[r] if two_rhs else zero
                    if row < m:
                        dz, loss, weight, invalid = epilogue(lane_dzs[r] + b, u + c, row, y, s, offset, out)
                        if reduces:
                            with_example = add_example(
                                load_totals(shared_totals, thread, n_slots), loss, dz, weight, invalid
                            )
                            store_totals(shared_totals, thread, n_slots, with_example)
                    lane_dzs[r] = dz
            if accumulate_gradient:
                for k in range(lane_columns):
                    gk = zero
                    for r in range(rows):
                        gk = fma(lane_dzs[r], w_type(xs[r * lane_columns + k]), gk)
                    g[k] = gk
                fold16(g, lane)
                fold8(g, lane)
                fold4(g, lane)
                fold2(g, lane)
                fold1(g, lane)
                for e in range(folded_columns):
                    high[e], low[e] = compensated_add(high[e], low[e], g[e])
            base += grid_stride
        if reduces:
            block_sums = cuda.shared.array(block_sums_size, w_type)
            clear_shared(block_sums, int64(block_sums_size), thread, int64(threads))
            for e in range(folded_columns):
                high[e], low[e] = warp_sum_compensated(high[e], low[e], lanes_per_column, 1)
            for t in range(row_groups):
                if group == int64(t) and lane % int64(lanes_per_column) == int64(0):
                    for e in range(folded_columns):
                        merge_pair(
                            block_sums,
                            first_column + lane // int64(lanes_per_column) * int64(folded_columns) + int64(e),
                            low_offset,
                            high[e],
                            low[e],
                        )
                cuda.syncthreads()
            totals = zero_totals(b)
            if thread < int64(n_slots):
                totals = load_totals(shared_totals, thread, n_slots)
            totals = warp_sum_totals(totals)
            for v in range(warps):
                if thread == int64(32 * v):
                    merge_totals(block_sums, columns, low_offset, totals)
                cuda.syncthreads()
            write_partial(out, cuda.blockIdx.x, n, block_sums, columns, thread, int64(threads))

    return kernel

"""C order, rows that a warp can hold: x stays in registers between its margin and the gradient.

A sub-warp of `lanes_per_row` lanes takes `rows` rows at a time; each lane holds `vectors_per_lane` 16-byte vectors of
each row. The sub-warps of a warp take adjacent rows, so a warp's loads are coalesced wherever the rows are adjacent.
Which lane holds which columns does not depend on the width of its loads. The sums therefore have the same bits however
X is aligned.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.cuda.compensated import (
    FULL_MASK,
    TOTALS,
    add_example,
    clear_shared,
    compensated_add,
    make_partial_writer,
    merge_pair,
    merge_totals,
    warp_sum,
    warp_sum_compensated,
    warp_sum_totals,
    zero_totals,
)
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT, REDUCTIONS, make_epilogue, rhs_count
from jitlogreg.targets.cuda.intrinsics import cuda, load, load_vector, opaque_zero, thread_index


def make(x_type, w_type, operation, threads, load_width, lanes_per_row, vectors_per_lane, rows):
    """The kernel for rows of at most `lanes_per_row · vectors_per_lane` 16-byte vectors.

    A load reads `load_width` numbers of X.
    """
    vector_width = 128 // x_type.bitwidth
    load_x, load_w = load_vector(x_type, load_width), load(w_type)
    epilogue, write_partial = make_epilogue(w_type, operation), make_partial_writer(w_type)
    lane_columns, sub_warps, warps = vectors_per_lane * vector_width, 32 // lanes_per_row, threads // 32
    columns, warp_rows = lane_columns * lanes_per_row, sub_warps * rows
    lane_residuals = (rows + lanes_per_row - 1) // lanes_per_row  # rows whose margins a lane turns into residuals
    x_size, low_offset = rows * lane_columns, columns + TOTALS
    block_sums_size = 2 * (columns + TOTALS)
    reduces, accumulate_gradient = operation in REDUCTIONS, operation in ACCUMULATE_GRADIENT
    n_rhs = rhs_count(operation)
    w_size, n_margins = n_rhs * lane_columns, n_rhs * rows
    u_offset = n_margins - rows  # u follows z where there are two right-hand sides

    def kernel(x, ld, m, n, w, b, y, s, offset, out):
        thread = thread_index(ld)
        lane, warp = thread & int64(lanes_per_row - 1), thread >> int64(5)
        sub_warp = (thread & int64(31)) // int64(lanes_per_row)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if n_rhs == 2 else b
        ws = cuda.local.array(w_size, w_type)
        high, low = cuda.local.array(lane_columns, w_type), cuda.local.array(lane_columns, w_type)
        for k in range(vectors_per_lane):
            for e in range(vector_width):
                column = (int64(k * lanes_per_row) + lane) * int64(vector_width) + int64(e)
                for i in range(n_rhs):
                    ws[i * lane_columns + k * vector_width + e] = (
                        load_w(w, int64(i) * n + column) if column < n else zero
                    )
                high[k * vector_width + e], low[k * vector_width + e] = zero, zero
        totals = zero_totals(b)
        xs, zs = cuda.local.array(x_size, x_type), cuda.local.array(n_margins, w_type)
        dzs = cuda.local.array(lane_residuals, w_type)
        base = (int64(cuda.blockIdx.x) * int64(warps) + int64(warp)) * int64(warp_rows)
        grid_stride = int64(cuda.gridDim.x) * int64(warps * warp_rows)
        while base < m:
            opaque_lane = lane + opaque_zero(base)
            for r in range(rows):
                row = base + int64(r * sub_warps) + int64(sub_warp)
                first = opaque_lane * int64(vector_width)
                # one number tells what remains to be read: a comparison for each load would take registers
                remaining = n - first if row < m else int64(0)
                for k in range(vectors_per_lane):
                    start, across = r * lane_columns + k * vector_width, k * lanes_per_row * vector_width
                    for e in range(vector_width):
                        xs[start + e] = x_type(0)
                    for e in range(0, vector_width, load_width):
                        if int64(across + e) < remaining:
                            load_x(xs, start + e, x, row * ld + first + int64(across + e))
            for r in range(rows):
                for i in range(n_rhs):
                    z = zero
                    for k in range(lane_columns):
                        z = fma(w_type(xs[r * lane_columns + k]), ws[i * lane_columns + k], z)
                    zs[i * rows + r] = warp_sum(z, lanes_per_row, 1)
            for q in range(lane_residuals):
                z, u = zs[q * lanes_per_row], zs[u_offset + q * lanes_per_row]
                for r in range(q * lanes_per_row + 1, min(rows, q * lanes_per_row + lanes_per_row)):
                    if lane == int64(r - q * lanes_per_row):
                        z, u = zs[r], zs[u_offset + r]
                lane_row = int64(q * lanes_per_row) + lane
                row = base + int64(lane_row) * int64(sub_warps) + int64(sub_warp)
                dzs[q] = zero
                if lane_row < rows and row < m:
                    dz, loss, weight, invalid = epilogue(z + b, u + c, row, y, s, offset, out)
                    dzs[q], totals = dz, add_example(totals, loss, dz, weight, invalid)
            if accumulate_gradient:
                for r in range(rows):
                    zs[r] = cuda.shfl_sync(
                        FULL_MASK,
                        dzs[r // lanes_per_row],
                        sub_warp * int64(lanes_per_row) + int64(r % lanes_per_row),
                    )
                for k in range(lane_columns):
                    g = zero
                    for r in range(rows):
                        g = fma(zs[r], w_type(xs[r * lane_columns + k]), g)
                    high[k], low[k] = compensated_add(high[k], low[k], g)
            base += grid_stride
        if reduces:
            block_sums = cuda.shared.array(block_sums_size, w_type)
            clear_shared(block_sums, int64(block_sums_size), thread, int64(threads))
            for k in range(lane_columns):
                high[k], low[k] = warp_sum_compensated(high[k], low[k], 32, lanes_per_row)
            totals = warp_sum_totals(totals)
            for v in range(warps):
                if warp == int64(v):
                    if sub_warp == int64(0):
                        for k in range(vectors_per_lane):
                            for e in range(vector_width):
                                column = (int64(k * lanes_per_row) + lane) * int64(vector_width) + int64(e)
                                merge_pair(
                                    block_sums,
                                    column,
                                    low_offset,
                                    high[k * vector_width + e],
                                    low[k * vector_width + e],
                                )
                    if thread & int64(31) == int64(0):
                        merge_totals(block_sums, columns, low_offset, totals)
                cuda.syncthreads()
            write_partial(out, cuda.blockIdx.x, n, block_sums, columns, thread, int64(threads))

    return kernel

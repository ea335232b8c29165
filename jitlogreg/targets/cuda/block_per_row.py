"""C order, rows that a thread block can hold: x stays in registers, and the column sums in shared memory.

The block prefetches its next rows into registers while it reduces the margins of the current ones.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import (
    DB,
    INVALID,
    LOSS,
    TOTALS,
    TOTALS_SIZE,
    WEIGHT,
    add_example,
    compensated_add,
    load_totals,
    store_totals,
    warp_sum,
    zero_totals,
)
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT, REDUCTIONS, make_epilogue, rhs_count
from jitlogreg.targets.cuda.intrinsics import cuda, load, load_vector, opaque_zero, store, thread_index


def make(x_type, w_type, operation, threads, load_width, w_load_width, vectors_per_thread, rows):
    """The kernel for rows of at most `threads · vectors_per_thread` 16-byte vectors, `rows` of them at a time.

    A load reads `load_width` numbers of X or `w_load_width` of w. Dynamic shared memory must hold a pair of w's type
    for each number of such a row.
    """
    load_x, load_ws, load_w = load_vector(x_type, load_width), load_vector(w_type, w_load_width), load(w_type)
    epilogue, store_w = make_epilogue(w_type, operation), store(w_type)
    reduces, accumulate_gradient = operation in REDUCTIONS, operation in ACCUMULATE_GRADIENT
    two_rhs = rhs_count(operation) == 2  # a loop over the right-hand sides would change how loops around it unroll
    vector_width, warps = 128 // x_type.bitwidth, threads // 32
    thread_columns, n_margins = vectors_per_thread * vector_width, 2 * rows if two_rhs else rows
    x_size, low_offset, zs_size = rows * thread_columns, threads * thread_columns, 2 * warps * n_margins

    @inline
    def load_rows(x, ld, m, n, base, thread, destination):
        for r in range(rows):
            for k in range(vectors_per_thread):
                column = (int64(k * threads) + thread) * int64(vector_width)
                for e in range(vector_width):
                    destination[r * thread_columns + k * vector_width + e] = x_type(0)
                for e in range(0, vector_width, load_width):
                    if base + int64(r) < m and column + int64(e) < n:
                        load_x(
                            destination,
                            r * thread_columns + k * vector_width + e,
                            x,
                            (base + int64(r)) * ld + column + int64(e),
                        )

    @inline
    def multiply(xs, k, w, w_offset, column, n, ws, margins):
        # w comes from the L1 cache each time: it does not fit in registers
        for e in range(vector_width):
            ws[e] = w_type(0)
        for e in range(0, vector_width, w_load_width):
            if column + int64(e) < n:
                load_ws(ws, e, w, w_offset + column + int64(e))
        for r in range(rows):
            for e in range(vector_width):
                margins[r] = fma(w_type(xs[r * thread_columns + k * vector_width + e]), ws[e], margins[r])

    def kernel(x, ld, m, n, w, b, y, s, offset, out):
        thread = thread_index(ld)
        lane, warp = thread & int64(31), thread >> int64(5)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if two_rhs else b
        block_sums = cuda.shared.array(0, w_type)
        zs = cuda.shared.array(zs_size, w_type)
        if accumulate_gradient:
            for i in range(thread_columns):
                block_sums[int64(i * threads) + thread], block_sums[int64(i * threads + low_offset) + thread] = (
                    zero,
                    zero,
                )
        shared_totals = cuda.shared.array(TOTALS_SIZE, w_type)
        if thread == int64(0):
            store_totals(shared_totals, 0, 1, zero_totals(b))
        ws = cuda.local.array(vector_width, w_type)
        xs, prefetched = cuda.local.array(x_size, x_type), cuda.local.array(x_size, x_type)
        us, dzs = cuda.local.array(rows, w_type), cuda.local.array(rows, w_type)
        phase = int64(0)
        base, grid_stride = int64(cuda.blockIdx.x) * int64(rows), int64(cuda.gridDim.x) * int64(rows)
        load_rows(x, ld, m, n, base, thread, prefetched)
        while base < m:
            opaque_thread = thread + opaque_zero(base)
            for i in range(x_size):
                xs[i] = prefetched[i]
            load_rows(x, ld, m, n, base + grid_stride, opaque_thread, prefetched)
            zs_start = phase * int64(warps * n_margins)
            for r in range(rows):
                dzs[r], us[r] = zero, zero
            for k in range(vectors_per_thread):
                column = (int64(k * threads) + opaque_thread) * int64(vector_width)
                multiply(xs, k, w, int64(0), column, n, ws, dzs)
                if two_rhs:
                    multiply(xs, k, w, n, column, n, ws, us)
            for r in range(rows):
                z, u = warp_sum(dzs[r], 32, 1), zero
                if two_rhs:
                    u = warp_sum(us[r], 32, 1)
                if lane == int64(0):
                    zs[zs_start + int64(r * warps) + warp] = z
                    if two_rhs:
                        zs[zs_start + int64((rows + r) * warps) + warp] = u
            cuda.syncthreads()
            for r in range(rows):
                z_index = zs_start + int64(r * warps) + lane % int64(warps)
                z, u = warp_sum(zs[z_index], warps, 1), zero
                if two_rhs:
                    u = warp_sum(zs[z_index + int64(rows * warps)], warps, 1)
                row = base + int64(r)
                dzs[r] = zero
                if row < m and (reduces or thread == int64(0)):
                    dz, loss, weight, invalid = epilogue(z + b, u + c, row, y, s, offset, out)
                    dzs[r] = dz
                    if reduces and thread == int64(0):
                        store_totals(
                            shared_totals,
                            0,
                            1,
                            add_example(load_totals(shared_totals, 0, 1), loss, dz, weight, invalid),
                        )
            if accumulate_gradient:
                for i in range(thread_columns):
                    g = zero
                    for r in range(rows):
                        g = fma(dzs[r], w_type(xs[r * thread_columns + i]), g)
                    j = int64(i * threads) + thread  # adjacent threads have adjacent sums: no bank conflicts
                    block_sums[j], block_sums[j + low_offset] = compensated_add(
                        block_sums[j], block_sums[j + low_offset], g
                    )
            phase ^= int64(1)
            base += grid_stride
        if reduces:
            n_sums = n + TOTALS
            partial = int64(cuda.blockIdx.x) * int64(2) * n_sums
            for k in range(vectors_per_thread):
                for e in range(vector_width):
                    column = (int64(k * threads) + thread) * int64(vector_width) + int64(e)
                    if accumulate_gradient and column < n:
                        j = int64((k * vector_width + e) * threads) + thread
                        store_w(out, partial + column, block_sums[j])
                        store_w(out, partial + n_sums + column, block_sums[j + low_offset])
            if thread == int64(0):
                loss, loss_low, db, db_low, weight, weight_low, invalid = load_totals(shared_totals, 0, 1)
                store_w(out, partial + n + LOSS, loss)
                store_w(out, partial + n_sums + n + LOSS, loss_low)
                store_w(out, partial + n + DB, db)
                store_w(out, partial + n_sums + n + DB, db_low)
                store_w(out, partial + n + WEIGHT, weight)
                store_w(out, partial + n_sums + n + WEIGHT, weight_low)
                store_w(out, partial + n + INVALID, invalid)
                store_w(out, partial + n_sums + n + INVALID, zero)

    return kernel

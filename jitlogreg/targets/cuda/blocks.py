"""Rows in C order that a block can hold: x stays in registers, and the column sums lie in shared memory.

While the block puts a margin together, the next rows are on their way.
"""

from numba import int64

from jitlogreg.lanes import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.device import cuda, load_vector, store, this_thread, unknown_zero
from jitlogreg.targets.cuda.link import SUMS, linker
from jitlogreg.targets.cuda.totals import (
    DB,
    INVALID,
    LOSS,
    SLOTS,
    TOTALS,
    WEIGHT,
    add,
    add_example,
    no_totals,
    put_totals_at,
    sum_over_lanes,
    totals_at,
)


def make(x_type, w_type, operation, threads, vector, w_vector, pieces, rows):
    """The kernel for rows of at most `threads · pieces` pieces of 16 bytes, `rows` of them at a time.

    `vector` numbers of X and `w_vector` of w are read at once. It needs shared memory for a pair of w's type for every
    number of such a row.
    """
    load_x, load_own = load_vector(x_type, vector), load_vector(w_type, w_vector)
    link, store_w = linker(w_type, operation), store(w_type)
    piece, warps = 128 // x_type.bitwidth, threads // 32
    wide, parts = pieces * piece, 2 * warps * rows
    held, lows = rows * wide, threads * wide
    sums, with_gradient = operation in SUMS, operation == "gradient"

    @inline
    def read(x, leading, m, n, top, thread, into):
        for r in range(rows):
            for k in range(pieces):
                column = (int64(k * threads) + thread) * int64(piece)
                for e in range(piece):
                    into[r * wide + k * piece + e] = x_type(0)
                for e in range(0, piece, vector):
                    if top + int64(r) < m and column + int64(e) < n:
                        load_x(into, r * wide + k * piece + e, x, (top + int64(r)) * leading + column + int64(e))

    def kernel(x, leading, m, n, w, b, y, s, out):
        thread = this_thread(leading)
        lane, warp = thread & int64(31), thread >> int64(5)
        zero = zeros(b)
        total = cuda.shared.array(0, w_type)
        zs = cuda.shared.array(parts, w_type)
        if with_gradient:
            for i in range(wide):
                total[int64(i * threads) + thread], total[int64(i * threads + lows) + thread] = zero, zero
        slots = cuda.shared.array(SLOTS, w_type)
        if thread == int64(0):
            put_totals_at(slots, 0, 1, no_totals(b))
        own = cuda.local.array(piece, w_type)
        xs, following = cuda.local.array(held, x_type), cuda.local.array(held, x_type)
        dzs = cuda.local.array(rows, w_type)
        phase = int64(0)
        base, step = int64(cuda.blockIdx.x) * int64(rows), int64(cuda.gridDim.x) * int64(rows)
        read(x, leading, m, n, base, thread, following)
        while base < m:
            here = thread + unknown_zero(base)
            for i in range(held):
                xs[i] = following[i]
            read(x, leading, m, n, base + step, here, following)
            place = phase * int64(warps * rows)
            for r in range(rows):
                dzs[r] = zero
            for k in range(pieces):
                column = (int64(k * threads) + here) * int64(piece)
                # from the first-level cache: there is no room for it in registers
                for e in range(piece):
                    own[e] = zero
                for e in range(0, piece, w_vector):
                    if column + int64(e) < n:
                        load_own(own, e, w, column + int64(e))
                for r in range(rows):
                    for e in range(piece):
                        dzs[r] = fma(w_type(xs[r * wide + k * piece + e]), own[e], dzs[r])
            for r in range(rows):
                z = sum_over_lanes(dzs[r], 32, 1)
                if lane == int64(0):
                    zs[place + int64(r * warps) + warp] = z
            cuda.syncthreads()
            for r in range(rows):
                z = sum_over_lanes(zs[place + int64(r * warps) + lane % int64(warps)], warps, 1)
                row = base + int64(r)
                dzs[r] = zero
                if row < m and (sums or thread == int64(0)):
                    dz, loss, weight, bad = link(z + b, row, y, s, out)
                    dzs[r] = dz
                    if sums and thread == int64(0):
                        put_totals_at(slots, 0, 1, add_example(totals_at(slots, 0, 1), loss, dz, weight, bad))
            if with_gradient:
                for i in range(wide):
                    g = zero
                    for r in range(rows):
                        g = fma(dzs[r], w_type(xs[r * wide + i]), g)
                    at = int64(i * threads) + thread  # neighbouring threads' are adjacent: no bank is asked twice
                    total[at], total[at + lows] = add(total[at], total[at + lows], g)
            phase ^= int64(1)
            base += step
        if sums:
            width = n + TOTALS
            first = int64(cuda.blockIdx.x) * int64(2) * width
            for k in range(pieces):
                for e in range(piece):
                    column = (int64(k * threads) + thread) * int64(piece) + int64(e)
                    if with_gradient and column < n:
                        at = int64((k * piece + e) * threads) + thread
                        store_w(out, first + column, total[at])
                        store_w(out, first + width + column, total[at + lows])
            if thread == int64(0):
                loss, loss_low, db, db_low, weight, weight_low, invalid = totals_at(slots, 0, 1)
                store_w(out, first + n + LOSS, loss)
                store_w(out, first + width + n + LOSS, loss_low)
                store_w(out, first + n + DB, db)
                store_w(out, first + width + n + DB, db_low)
                store_w(out, first + n + WEIGHT, weight)
                store_w(out, first + width + n + WEIGHT, weight_low)
                store_w(out, first + n + INVALID, invalid)
                store_w(out, first + width + n + INVALID, zero)

    return kernel

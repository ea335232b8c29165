"""Rows in C order that a block can hold: x stays in registers, and the column sums lie in shared memory.

While the block puts a margin together, the next rows are on their way.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.epilogue import SUMS, UPDATES, linker, vectors_of
from jitlogreg.targets.cuda.intrinsics import cuda, load, load_vector, store, this_thread, unknown_zero
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
    load_x, load_own, load_one = load_vector(x_type, vector), load_vector(w_type, w_vector), load(w_type)
    link, store_w = linker(w_type, operation), store(w_type)
    sums, with_update = operation in SUMS, operation in UPDATES
    two = vectors_of(operation) == 2  # no loop over the vectors: it would change how the loops around it are unrolled
    piece, warps = 128 // x_type.bitwidth, threads // 32
    wide, margins = pieces * piece, 2 * rows if two else rows
    held, lows, parts = rows * wide, threads * wide, 2 * warps * margins

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

    @inline
    def multiply(xs, k, w, first, column, n, own, into):
        # from the first-level cache: there is no room for it in registers
        for e in range(piece):
            own[e] = w_type(0)
        for e in range(0, piece, w_vector):
            if column + int64(e) < n:
                load_own(own, e, w, first + column + int64(e))
        for r in range(rows):
            for e in range(piece):
                into[r] = fma(w_type(xs[r * wide + k * piece + e]), own[e], into[r])

    def kernel(x, leading, m, n, w, b, y, s, out):
        thread = this_thread(leading)
        lane, warp = thread & int64(31), thread >> int64(5)
        zero = zeros(b)
        c = load_one(w, int64(2) * n) if two else b
        total = cuda.shared.array(0, w_type)
        zs = cuda.shared.array(parts, w_type)
        if with_update:
            for i in range(wide):
                total[int64(i * threads) + thread], total[int64(i * threads + lows) + thread] = zero, zero
        slots = cuda.shared.array(SLOTS, w_type)
        if thread == int64(0):
            put_totals_at(slots, 0, 1, no_totals(b))
        own = cuda.local.array(piece, w_type)
        xs, following = cuda.local.array(held, x_type), cuda.local.array(held, x_type)
        us, dzs = cuda.local.array(rows, w_type), cuda.local.array(rows, w_type)
        phase = int64(0)
        base, step = int64(cuda.blockIdx.x) * int64(rows), int64(cuda.gridDim.x) * int64(rows)
        read(x, leading, m, n, base, thread, following)
        while base < m:
            here = thread + unknown_zero(base)
            for i in range(held):
                xs[i] = following[i]
            read(x, leading, m, n, base + step, here, following)
            place = phase * int64(warps * margins)
            for r in range(rows):
                dzs[r], us[r] = zero, zero
            for k in range(pieces):
                column = (int64(k * threads) + here) * int64(piece)
                multiply(xs, k, w, int64(0), column, n, own, dzs)
                if two:
                    multiply(xs, k, w, n, column, n, own, us)
            for r in range(rows):
                z, u = sum_over_lanes(dzs[r], 32, 1), zero
                if two:
                    u = sum_over_lanes(us[r], 32, 1)
                if lane == int64(0):
                    zs[place + int64(r * warps) + warp] = z
                    if two:
                        zs[place + int64((rows + r) * warps) + warp] = u
            cuda.syncthreads()
            for r in range(rows):
                at = place + int64(r * warps) + lane % int64(warps)
                z, u = sum_over_lanes(zs[at], warps, 1), zero
                if two:
                    u = sum_over_lanes(zs[at + int64(rows * warps)], warps, 1)
                row = base + int64(r)
                dzs[r] = zero
                if row < m and (sums or thread == int64(0)):
                    dz, loss, weight, bad = link(z + b, u + c, row, y, s, out)
                    dzs[r] = dz
                    if sums and thread == int64(0):
                        put_totals_at(slots, 0, 1, add_example(totals_at(slots, 0, 1), loss, dz, weight, bad))
            if with_update:
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
                    if with_update and column < n:
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

"""Rows or columns too long to be held: panels of rows that the second-level cache keeps between two passes.

All blocks of the grid work on one panel: they take the margins of its rows, segment by segment, meet once, and go back
over the panel for the column sums, while it still lies in the cache. Each column belongs to one warp and slice of rows,
which keeps its pair in the rows that the kernel leaves behind, a slice's where a block's are otherwise.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.epilogue import SUMS, UPDATES, linker, vectors_of
from jitlogreg.targets.cuda.intrinsics import cuda, load, load_vector, meet, store, this_thread
from jitlogreg.targets.cuda.totals import (
    SLOTS,
    TOTALS,
    add,
    add_example,
    clear,
    join,
    join_over_lanes,
    join_totals_at,
    no_totals,
    put_totals_at,
    sum_over_lanes,
    totals_at,
    totals_over_lanes,
)

# The most rows of a panel: their residuals lie in shared memory
MOST_ROWS = 2048

# Rows whose margins a warp takes at once
ROWS_AT_ONCE = 8

# Rows of which the update has x in flight
AT_ONCE = 8


def make(x_type, w_type, operation, threads, f_order, vector, segment):
    """The kernel, which takes margins in segments of `segment` columns.

    `panel` is the number of rows of a panel, at most `MOST_ROWS`; the column sums are taken in `slices` of its rows;
    `scratch` holds 2 · panel · (segments of a row) numbers of w's type for each vector that X is multiplied by. In C
    order `vector` numbers are read at once.
    """
    load_x, load_one, load_w = load_vector(x_type, vector), load(x_type), load(w_type)
    link, store_w = linker(w_type, operation), store(w_type)
    piece, warps = 1 if f_order else 128 // x_type.bitwidth, threads // 32
    across = 32 * piece  # columns that a warp has in C order
    rounds = segment // across
    held, shared_size, residuals = AT_ONCE * piece, 2 * TOTALS, MOST_ROWS
    sums, with_update = operation in SUMS, operation in UPDATES
    vectors = vectors_of(operation)
    places = warps * ROWS_AT_ONCE  # whoever takes links
    slots_size = SLOTS * places if sums else 1
    two = vectors == 2  # no loop over the vectors: it would change how the loops around it are unrolled

    @inline
    def read(x, at, n, column, into, first):
        for e in range(piece):
            into[first + e] = x_type(0)
        for e in range(0, piece, vector):
            if column + int64(e) < n:
                load_x(into, first + e, x, at + column + int64(e))

    @inline
    def kept(out, at, width, top):
        if top > 0:
            return load_w(out, at), load_w(out, at + width)
        return w_type(0), w_type(0)

    @inline
    def keep(out, at, width, high, low):
        store_w(out, at, high)
        store_w(out, at + width, low)

    def kernel(x, leading, m, n, w, b, y, s, out, scratch, panel, slices, meeting):
        thread = this_thread(leading)
        lane = thread & int64(31)
        warp = int64(cuda.blockIdx.x) * int64(warps) + int64(thread >> int64(5))
        all_warps = int64(cuda.gridDim.x) * int64(warps)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if two else b
        dzs = cuda.shared.array(residuals, w_type)
        xs = cuda.local.array(held, x_type)
        g = cuda.local.array(piece, w_type)
        # lanes that take links add to totals in shared memory: registers are short
        slots = cuda.shared.array(slots_size, w_type)
        slot = (thread >> int64(5)) * int64(ROWS_AT_ONCE) + lane
        if sums and lane < int64(ROWS_AT_ONCE):
            put_totals_at(slots, slot, places, no_totals(b))
        segments = (n + int64(segment - 1)) // int64(segment)
        width = n + TOTALS
        half = int64(0)
        top = int64(0)
        while top < m:
            count = min(panel, m - top)
            if f_order:
                groups = (count + int64(31)) // int64(32)
                item = warp
                while item < groups * segments:
                    row, part = (item % groups) * int64(32) + int64(lane), item // groups
                    stop = min(n, (part + int64(1)) * int64(segment))
                    j = part * int64(segment)
                    if row < count:
                        z0, z1, u0, u1 = zero, zero, zero, zero
                        while j + int64(1) < stop:
                            x0 = w_type(load_one(x, j * leading + top + row))
                            z0 = fma(x0, load_w(w, j), z0)
                            x1 = w_type(load_one(x, (j + int64(1)) * leading + top + row))
                            z1 = fma(x1, load_w(w, j + int64(1)), z1)
                            if two:
                                u0 = fma(x0, load_w(w, n + j), u0)
                                u1 = fma(x1, load_w(w, n + j + int64(1)), u1)
                            j += int64(2)
                        if j < stop:
                            x0 = w_type(load_one(x, j * leading + top + row))
                            z0 = fma(x0, load_w(w, j), z0)
                            if two:
                                u0 = fma(x0, load_w(w, n + j), u0)
                        store_w(scratch, half + part * panel + row, z0 + z1)
                        if two:
                            store_w(scratch, half + (segments + part) * panel + row, u0 + u1)
                    item += all_warps
            else:
                item = warp
                while item < count * segments:
                    row, part = item // segments, item % segments
                    z, u = zero, zero
                    for k in range(rounds):
                        column = part * int64(segment) + int64(k * across) + lane * int64(piece)
                        read(x, (top + row) * leading, n, column, xs, 0)
                        for e in range(0, piece, vector):
                            if column + int64(e) < n:
                                for i in range(e, e + vector):
                                    z = fma(w_type(xs[i]), load_w(w, column + int64(i)), z)
                                    if two:
                                        u = fma(w_type(xs[i]), load_w(w, n + column + int64(i)), u)
                    z = sum_over_lanes(z, 32, 1)
                    if two:
                        u = sum_over_lanes(u, 32, 1)
                    if lane == int64(0):
                        store_w(scratch, half + part * panel + row, z)
                        if two:
                            store_w(scratch, half + (segments + part) * panel + row, u)
                    item += all_warps
            meet(meeting)
            # each block takes all margins of the panel: a second meeting would cost more. Block 0 keeps their totals.
            # Eight rows for each warp, so that four lanes share one, and what they read is adjacent
            row = (warp if not sums else thread >> int64(5)) * int64(ROWS_AT_ONCE) + lane % int64(ROWS_AT_ONCE)
            while row - lane % int64(ROWS_AT_ONCE) < count:
                z, u = zero, zero
                part = lane // int64(ROWS_AT_ONCE)
                while part < segments and row < count:
                    z = z + load_w(scratch, half + part * panel + row)
                    if two:
                        u = u + load_w(scratch, half + (segments + part) * panel + row)
                    part += int64(32 // ROWS_AT_ONCE)
                z = sum_over_lanes(z, 32, ROWS_AT_ONCE) + b
                if two:
                    u = sum_over_lanes(u, 32, ROWS_AT_ONCE) + c
                if lane < int64(ROWS_AT_ONCE) and row < count:
                    dz, loss, weight, bad = link(z, u, top + row, y, s, out)
                    dzs[row] = dz
                    if sums and cuda.blockIdx.x == 0:
                        with_this = add_example(totals_at(slots, slot, places), loss, dz, weight, bad)
                        put_totals_at(slots, slot, places, with_this)
                row += (all_warps if not sums else int64(warps)) * int64(ROWS_AT_ONCE)
            cuda.syncthreads()
            if with_update:
                share = (count + slices - int64(1)) // slices
                if f_order:
                    item = warp
                    while item < n * slices:
                        column, part = item % n, item // n
                        row, stop = part * share + lane, min(count, (part + int64(1)) * share)
                        gk = zero
                        while row < stop:
                            gk = fma(dzs[row], w_type(load_one(x, column * leading + top + row)), gk)
                            row += int64(32)
                        high, low = join_over_lanes(gk, zero, 32, 1)
                        if lane == int64(0):
                            at = part * int64(2) * width + column
                            before, before_low = kept(out, at, width, top)
                            keep(out, at, width, *join(before, before_low, high, low))
                        item += all_warps
                else:
                    tiles = (n + int64(across - 1)) // int64(across)
                    item = warp
                    while item < tiles * slices:
                        column, part = (item % tiles) * int64(across) + lane * int64(piece), item // tiles
                        row, stop = part * share, min(count, (part + int64(1)) * share)
                        for e in range(piece):
                            g[e] = zero
                        while row < stop:
                            for r in range(AT_ONCE):
                                # past the last row n is 0, so that nothing is read
                                inside = n if row + int64(r) < stop else int64(0)
                                read(x, (top + row + int64(r)) * leading, inside, column, xs, r * piece)
                            for r in range(AT_ONCE):
                                dz = dzs[row + int64(r)] if row + int64(r) < stop else zero
                                for e in range(piece):
                                    g[e] = fma(dz, w_type(xs[r * piece + e]), g[e])
                            row += int64(AT_ONCE)
                        for e in range(piece):
                            if column + int64(e) < n:
                                at = part * int64(2) * width + column + int64(e)
                                high, low = kept(out, at, width, top)
                                keep(out, at, width, *add(high, low, g[e]))
                        item += all_warps
                cuda.syncthreads()  # before the residuals of the next panel are written
            half = int64(vectors) * panel * segments - half
            top += panel
        if sums and cuda.blockIdx.x == 0:
            total = cuda.shared.array(shared_size, w_type)
            clear(total, int64(shared_size), thread, int64(threads))
            totals = no_totals(b)
            if lane < int64(ROWS_AT_ONCE):
                totals = totals_at(slots, slot, places)
            totals = totals_over_lanes(totals)
            for v in range(warps):
                if thread == int64(32 * v):
                    join_totals_at(total, 0, TOTALS, totals)
                cuda.syncthreads()
            if thread < int64(TOTALS):
                for part in range(slices):
                    at = int64(2) * part * width + n + thread
                    store_w(out, at, total[thread] if part == 0 else zero)
                    store_w(out, at + width, total[thread + TOTALS] if part == 0 else zero)

    return kernel

"""Rows in C order that the lanes of a warp can hold: x stays in registers between its margin and its update.

A team of `group` lanes takes a row, and `rows` rows at a time; each lane holds `pieces` pieces of 16 bytes of each. A
warp's teams read adjacent rows, so what a warp reads at once is adjacent in memory wherever rows are. Which lane holds
what does not depend on how much it can read at once, and so the sums have the same bits for every view of the values.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.cuda.epilogue import SUMS, UPDATES, linker, vectors_of
from jitlogreg.targets.cuda.intrinsics import cuda, load, load_vector, this_thread, unknown_zero
from jitlogreg.targets.cuda.totals import (
    EVERY_LANE,
    TOTALS,
    add,
    add_example,
    clear,
    join_at,
    join_over_lanes,
    join_totals_at,
    no_totals,
    row_writer,
    sum_over_lanes,
    totals_over_lanes,
)


def make(x_type, w_type, operation, threads, vector, group, pieces, rows):
    """The kernel for rows of at most `group · pieces` pieces, of which `vector` numbers are read at once."""
    piece = 128 // x_type.bitwidth
    load_x, load_w = load_vector(x_type, vector), load(w_type)
    link, write_rows = linker(w_type, operation), row_writer(w_type)
    wide, teams, warps = pieces * piece, 32 // group, threads // 32
    columns, tile = wide * group, teams * rows
    answers = (rows + group - 1) // group  # margins that each lane turns into residuals
    held, lows = rows * wide, wide * group + TOTALS
    shared_size = 2 * (wide * group + TOTALS)
    sums, with_update, vectors = operation in SUMS, operation in UPDATES, vectors_of(operation)
    own_size, margins = vectors * wide, vectors * rows
    second = margins - rows  # where the second margins begin

    def kernel(x, leading, m, n, w, b, y, s, out):
        thread = this_thread(leading)
        lane, warp = thread & int64(group - 1), thread >> int64(5)
        team = (thread & int64(31)) // int64(group)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if vectors == 2 else b
        own = cuda.local.array(own_size, w_type)
        high, low = cuda.local.array(wide, w_type), cuda.local.array(wide, w_type)
        for k in range(pieces):
            for e in range(piece):
                column = (int64(k * group) + lane) * int64(piece) + int64(e)
                for i in range(vectors):
                    own[i * wide + k * piece + e] = load_w(w, int64(i) * n + column) if column < n else zero
                high[k * piece + e], low[k * piece + e] = zero, zero
        totals = no_totals(b)
        xs, zs = cuda.local.array(held, x_type), cuda.local.array(margins, w_type)
        dzs = cuda.local.array(answers, w_type)
        base = (int64(cuda.blockIdx.x) * int64(warps) + int64(warp)) * int64(tile)
        step = int64(cuda.gridDim.x) * int64(warps * tile)
        while base < m:
            here = lane + unknown_zero(base)
            for r in range(rows):
                row = base + int64(r * teams) + int64(team)
                first = here * int64(piece)
                # one number tells whether there is something to read: a comparison for each takes registers
                rest = n - first if row < m else int64(0)
                for k in range(pieces):
                    at, further = r * wide + k * piece, k * group * piece
                    for e in range(piece):
                        xs[at + e] = x_type(0)
                    for e in range(0, piece, vector):
                        if int64(further + e) < rest:
                            load_x(xs, at + e, x, row * leading + first + int64(further + e))
            for r in range(rows):
                for i in range(vectors):
                    z = zero
                    for k in range(wide):
                        z = fma(w_type(xs[r * wide + k]), own[i * wide + k], z)
                    zs[i * rows + r] = sum_over_lanes(z, group, 1)
            for q in range(answers):
                z, u = zs[q * group], zs[second + q * group]
                for r in range(q * group + 1, min(rows, q * group + group)):
                    if lane == int64(r - q * group):
                        z, u = zs[r], zs[second + r]
                mine = int64(q * group) + lane
                row = base + int64(mine) * int64(teams) + int64(team)
                dzs[q] = zero
                if mine < rows and row < m:
                    dz, loss, weight, bad = link(z + b, u + c, row, y, s, out)
                    dzs[q], totals = dz, add_example(totals, loss, dz, weight, bad)
            if with_update:
                for r in range(rows):
                    zs[r] = cuda.shfl_sync(EVERY_LANE, dzs[r // group], team * int64(group) + int64(r % group))
                for k in range(wide):
                    g = zero
                    for r in range(rows):
                        g = fma(zs[r], w_type(xs[r * wide + k]), g)
                    high[k], low[k] = add(high[k], low[k], g)
            base += step
        if sums:
            total = cuda.shared.array(shared_size, w_type)
            clear(total, int64(shared_size), thread, int64(threads))
            for k in range(wide):
                high[k], low[k] = join_over_lanes(high[k], low[k], 32, group)
            totals = totals_over_lanes(totals)
            for v in range(warps):
                if warp == int64(v):
                    if team == int64(0):
                        for k in range(pieces):
                            for e in range(piece):
                                column = (int64(k * group) + lane) * int64(piece) + int64(e)
                                join_at(total, column, lows, high[k * piece + e], low[k * piece + e])
                    if thread & int64(31) == int64(0):
                        join_totals_at(total, columns, lows, totals)
                cuda.syncthreads()
            write_rows(out, cuda.blockIdx.x, n, total, columns, thread, int64(threads))

    return kernel

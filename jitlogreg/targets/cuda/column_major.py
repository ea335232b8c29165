"""Columns in F order: a lane takes a row, and `lanes` of them some columns; x stays in registers.

The margins of a tile of rows are put together in shared memory. The column sums are folded over the lanes: each fold
halves the columns that a lane is left with, so that 31 shuffles add up 32 columns, and a pair holds the sum of each.
"""

from numba import int64

from jitlogreg.simd import fma, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.epilogue import SUMS, UPDATES, linker, vectors_of
from jitlogreg.targets.cuda.intrinsics import cuda, load, this_thread, unknown_zero
from jitlogreg.targets.cuda.totals import (
    EVERY_LANE,
    SLOTS,
    TOTALS,
    add,
    add_example,
    clear,
    join_at,
    join_over_lanes,
    join_totals_at,
    no_totals,
    put_totals_at,
    row_writer,
    sum_over_lanes,
    totals_at,
    totals_over_lanes,
)


def _folder(step, width):
    """A function that adds up `width` numbers over pairs of lanes `step` apart; each lane keeps half of them.

    A last number is left to the pair of its lane: pairs are joined over lanes at the end.
    """
    half = width // 2

    @inline
    def fold(v, lane):
        if step > 0:
            upper = lane & int64(step) != int64(0)
            for k in range(half):
                kept, sent = (v[k + half], v[k]) if upper else (v[k], v[k + half])
                v[k] = kept + cuda.shfl_xor_sync(EVERY_LANE, sent, step)

    return fold


def make(x_type, w_type, operation, threads, lanes, columns, parts, rows, prefetch):
    """The kernel for at most `columns · parts` columns, in blocks of `threads`.

    A part is `lanes` lanes, 8, 16 or 32, with `rows` rows each and `columns` columns, a power of two up to twice
    `lanes`. With `prefetch` the next rows are on their way while these are worked on.
    """
    load_x, load_w = load(x_type), load(w_type)
    link, write_rows = linker(w_type, operation), row_writer(w_type)
    sums, with_update, vectors = operation in SUMS, operation in UPDATES, vectors_of(operation)
    two = vectors == 2  # no loop over the vectors: it would change how the loops around it are unrolled
    teams, warps = threads // lanes // parts, threads // 32
    tile, room = lanes * rows, columns * parts
    held, lows, shared_size = rows * columns, room + TOTALS, 2 * (room + TOTALS)
    margins, residuals = teams * parts * tile, teams * tile
    next_size = held if prefetch else 1
    rest = max(1, columns // lanes)  # columns that the folds leave a lane with
    apart = max(1, lanes // columns)  # neighbouring lanes that are left with the same column
    sharers = min(parts, 32)  # lanes that put a row's margin together, of which the first takes the link
    places = threads // sharers  # whoever takes links adds to totals of its own
    slots_size, w_size, zs_size = SLOTS * places, vectors * room, vectors * margins
    fold16, fold8 = _folder(lanes // 2, columns), _folder(lanes // 4, columns // 2)
    fold4, fold2 = _folder(lanes // 8, columns // 4), _folder(lanes // 16, columns // 8)
    fold1 = _folder(lanes // 32, columns // 16)

    @inline
    def read(x, stride, m, n, top, here, into):
        for r in range(rows):
            row = top + int64(r * lanes)
            for k in range(columns):
                into[r * columns + k] = x_type(0)
                if row < m and here + int64(k) < n:
                    into[r * columns + k] = load_x(x, (here + int64(k)) * stride + row)

    @inline
    def dot(xs, r, all_w, first, zero):
        even, odd = zero, zero
        for k in range(0, columns, 2):
            even = fma(w_type(xs[r * columns + k]), all_w[first + int64(k)], even)
            if k + 1 < columns:
                odd = fma(w_type(xs[r * columns + k + 1]), all_w[first + int64(k + 1)], odd)
        return even + odd

    def kernel(x, leading, m, n, w, b, y, s, out):
        thread = this_thread(leading)
        lane, unit = thread % int64(lanes), thread // int64(lanes)
        team, part = unit // int64(parts), unit % int64(parts)
        zero = zeros(b)
        c = load_w(w, int64(2) * n) if two else b
        all_w = cuda.shared.array(w_size, w_type)
        at = thread
        while at < int64(room):
            all_w[at] = load_w(w, at) if at < n else zero
            if two:
                all_w[int64(room) + at] = load_w(w, n + at) if at < n else zero
            at += int64(threads)
        slots = cuda.shared.array(slots_size, w_type)
        if thread < int64(places):
            put_totals_at(slots, thread, places, no_totals(b))
        cuda.syncthreads()
        first = part * int64(columns)
        xs, g = cuda.local.array(held, x_type), cuda.local.array(columns, w_type)
        following = cuda.local.array(next_size, x_type)
        own, us = cuda.local.array(rows, w_type), cuda.local.array(rows, w_type)
        zs, dzs = cuda.shared.array(zs_size, w_type), cuda.shared.array(residuals, w_type)
        high, low = cuda.local.array(rest, w_type), cuda.local.array(rest, w_type)
        for e in range(rest):
            high[e], low[e] = zero, zero
        base = int64(cuda.blockIdx.x) * int64(teams * tile)
        step = int64(cuda.gridDim.x) * int64(teams * tile)
        within = team * int64(tile) + lane
        if prefetch:
            read(x, leading, m, n, base + within, first, following)
        while base < m:
            here, stride = first + unknown_zero(base), leading + unknown_zero(base)
            if prefetch:
                for i in range(held):
                    xs[i] = following[i]
                read(x, stride, m, n, base + step + within, here, following)
            else:
                read(x, stride, m, n, base + within, here, xs)
            for r in range(rows):
                own[r] = dot(xs, r, all_w, here, zero)
                if two:
                    us[r] = dot(xs, r, all_w, here + int64(room), zero)
                if parts > 1:
                    mine = (team * int64(parts) + part) * int64(tile) + int64(r * lanes) + lane
                    zs[mine] = own[r]
                    if two:
                        zs[int64(margins) + mine] = us[r]
            if parts > 1:
                cuda.syncthreads()
                place = thread // int64(sharers)
                while place < int64(residuals):
                    z, u, v = zero, zero, thread % int64(sharers)
                    while v < int64(parts):
                        at = (place // int64(tile) * int64(parts) + v) * int64(tile) + place % int64(tile)
                        z = z + zs[at]
                        if two:
                            u = u + zs[int64(margins) + at]
                        v += int64(sharers)
                    z = sum_over_lanes(z, sharers, 1)
                    if two:
                        u = sum_over_lanes(u, sharers, 1)
                    if thread % int64(sharers) == int64(0):
                        dz, row, slot = zero, base + place, thread // int64(sharers)
                        if row < m:
                            dz, loss, weight, bad = link(z + b, u + c, row, y, s, out)
                            if sums:
                                with_this = add_example(totals_at(slots, slot, places), loss, dz, weight, bad)
                                put_totals_at(slots, slot, places, with_this)
                        if with_update:
                            dzs[place] = dz
                    place += int64(threads // sharers)
                cuda.syncthreads()
                for r in range(rows):
                    own[r] = dzs[within + int64(r * lanes)] if with_update else zero
            else:
                for r in range(rows):
                    dz, row = zero, base + within + int64(r * lanes)
                    u = us[r] if two else zero
                    if row < m:
                        dz, loss, weight, bad = link(own[r] + b, u + c, row, y, s, out)
                        if sums:
                            with_this = add_example(totals_at(slots, thread, places), loss, dz, weight, bad)
                            put_totals_at(slots, thread, places, with_this)
                    own[r] = dz
            if with_update:
                for k in range(columns):
                    gk = zero
                    for r in range(rows):
                        gk = fma(own[r], w_type(xs[r * columns + k]), gk)
                    g[k] = gk
                fold16(g, lane)
                fold8(g, lane)
                fold4(g, lane)
                fold2(g, lane)
                fold1(g, lane)
                for e in range(rest):
                    high[e], low[e] = add(high[e], low[e], g[e])
            base += step
        if sums:
            total = cuda.shared.array(shared_size, w_type)
            clear(total, int64(shared_size), thread, int64(threads))
            for e in range(rest):
                high[e], low[e] = join_over_lanes(high[e], low[e], apart, 1)
            for t in range(teams):
                if team == int64(t) and lane % int64(apart) == int64(0):
                    for e in range(rest):
                        join_at(total, first + lane // int64(apart) * int64(rest) + int64(e), lows, high[e], low[e])
                cuda.syncthreads()
            totals = no_totals(b)
            if thread < int64(places):
                totals = totals_at(slots, thread, places)
            totals = totals_over_lanes(totals)
            for v in range(warps):
                if thread == int64(32 * v):
                    join_totals_at(total, room, lows, totals)
                cuda.syncthreads()
            write_rows(out, cuda.blockIdx.x, n, total, room, thread, int64(threads))

    return kernel

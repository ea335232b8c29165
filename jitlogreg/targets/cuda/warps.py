"""Rows in C order that the lanes of a warp can hold: x stays in registers between its margin and its update."""

from numba import float32, int64, uint32

from jitlogreg.lanes import fma, zeros
from jitlogreg.scalar import log_sigmoid, loss_and_residual, sigmoid
from jitlogreg.targets.cuda.device import cuda, load, store
from jitlogreg.targets.cuda.link import DB, FULL, INVALID, LOSS, TOTALS, WEIGHT, add, join, join_over_lanes, sum_over_lanes


def make(x_type, w_type, operation, vector, group, vectors, rows, threads):
    load_x, load_w, store_w = load(x_type, vector), load(w_type), store(w_type)
    wide, teams, warps = vectors * vector, 32 // group, threads // 32
    columns = wide * group
    tile = teams * rows
    shared = 2 * (columns + TOTALS)
    answers = (rows + group - 1) // group
    with_gradient, sums = operation == "gradient", operation in ("loss", "gradient")
    logarithm = operation == "log_forward"
    size = rows * wide

    def kernel(x, leading, m, n, w, b, y, s, out):
        thread = uint32(cuda.threadIdx.x)
        lane, warp = thread & uint32(group - 1), thread >> uint32(5)
        team = (thread & uint32(31)) // uint32(group)
        zero = zeros(b)
        own = cuda.local.array(wide, w_type)
        high, low = cuda.local.array(wide, w_type), cuda.local.array(wide, w_type)
        for k in range(vectors):
            for e in range(vector):
                column = (uint32(k * group) + lane) * uint32(vector) + uint32(e)
                own[k * vector + e] = load_w(w, column) if column < n else zero
                high[k * vector + e], low[k * vector + e] = zero, zero
        loss, loss_low, db, db_low, weight, weight_low, invalid = zero, zero, zero, zero, zero, zero, zero
        xs, zs, dzs = cuda.local.array(size, w_type), cuda.local.array(rows, w_type), cuda.local.array(answers, w_type)
        base = (int64(cuda.blockIdx.x) * int64(warps) + int64(warp)) * int64(tile)
        step = int64(cuda.gridDim.x) * int64(warps * tile)
        while base < m:
            for r in range(rows):
                row = base + int64(r * teams) + int64(team)
                for k in range(vectors):
                    column = (uint32(k * group) + lane) * uint32(vector)
                    at = r * wide + k * vector
                    for e in range(vector):
                        xs[at + e] = zero
                    if row < m and column < n:
                        if vector == 1:
                            xs[at] = w_type(load_x(x, row * leading + int64(column)))
                        elif vector == 2:
                            x0, x1 = load_x(x, row * leading + int64(column))
                            xs[at], xs[at + 1] = w_type(x0), w_type(x1)
                        else:
                            x0, x1, x2, x3 = load_x(x, row * leading + int64(column))
                            xs[at], xs[at + 1], xs[at + 2], xs[at + 3] = w_type(x0), w_type(x1), w_type(x2), w_type(x3)
            for r in range(rows):
                z = zero
                for k in range(wide):
                    z = fma(xs[r * wide + k], own[k], z)
                zs[r] = sum_over_lanes(z, group, 1)
            for q in range(answers):
                z = zs[q * group]
                for r in range(q * group + 1, min(rows, q * group + group)):
                    if lane == uint32(r - q * group):
                        z = zs[r]
                z = z + b
                row = base + int64(q * group * teams) + int64(lane) * int64(teams) + int64(team)
                dz = zero
                if q * group + lane < rows and row < m:
                    if sums:
                        yi = load_w(y, row)
                        si = zero + w_type(1)
                        if s != 0:
                            si = load_w(s, row)
                        li, dz = loss_and_residual(z, yi)
                        dz = si * dz
                        loss, loss_low = add(loss, loss_low, si * li)
                        db, db_low = add(db, db_low, dz)
                        weight, weight_low = add(weight, weight_low, si)
                        if not (yi >= zero and yi <= w_type(1) and si >= zero):
                            invalid = w_type(1)
                    elif logarithm:
                        store_w(out, row, log_sigmoid(z))
                    else:
                        store_w(out, row, sigmoid(z))
                dzs[q] = dz
            if with_gradient:
                for k in range(wide):
                    zs[0] = zero
                for r in range(rows):
                    zs[r] = cuda.shfl_sync(FULL, dzs[r // group], team * uint32(group) + uint32(r % group))
                for k in range(wide):
                    g = zero
                    for r in range(rows):
                        g = fma(zs[r], xs[r * wide + k], g)
                    high[k], low[k] = add(high[k], low[k], g)
            base += step
        if sums:
            total = cuda.shared.array(shared, w_type)
            for k in range(wide):
                high[k], low[k] = join_over_lanes(high[k], low[k], 32, group)
            loss, loss_low = join_over_lanes(loss, loss_low, 32, 1)
            db, db_low = join_over_lanes(db, db_low, 32, 1)
            weight, weight_low = join_over_lanes(weight, weight_low, 32, 1)
            invalid = sum_over_lanes(invalid, 32, 1)
            at = thread
            while at < uint32(shared):
                total[at] = zero
                at += uint32(threads)
            cuda.syncthreads()
            for v in range(warps):
                if warp == uint32(v):
                    if team == uint32(0):
                        for k in range(vectors):
                            for e in range(vector):
                                c = (uint32(k * group) + lane) * uint32(vector) + uint32(e)
                                i = k * vector + e
                                total[c], total[c + columns] = join(total[c], total[c + columns], high[i], low[i])
                    if thread & uint32(31) == uint32(0):
                        c = 2 * columns
                        total[c], total[c + TOTALS] = join(total[c], total[c + TOTALS], loss, loss_low)
                        total[c + 1], total[c + TOTALS + 1] = join(total[c + 1], total[c + TOTALS + 1], db, db_low)
                        total[c + 2], total[c + TOTALS + 2] = join(total[c + 2], total[c + TOTALS + 2], weight, weight_low)
                        total[c + 3] += invalid
                cuda.syncthreads()
            width = n + TOTALS
            at = thread
            base = int64(cuda.blockIdx.x) * int64(2) * width
            while at < n:
                store_w(out, base + at, total[at])
                store_w(out, base + width + at, total[at + columns])
                at += uint32(threads)
            if thread < uint32(TOTALS):
                store_w(out, base + n + thread, total[2 * columns + thread])
                store_w(out, base + width + n + thread, total[2 * columns + TOTALS + thread])

    return kernel

"""Products of the Hessian with a vector, XᵀD(Xv + c): two margins and one update of each block, from one read of X."""

from numba import carray

from jitlogreg.lanes import LANES
from jitlogreg.targets.cpu import columns, rows
from jitlogreg.targets.cpu.accumulate import add_number, clear, flush
from jitlogreg.targets.cpu.chunks import OF_TAIL, bounds
from jitlogreg.targets.cpu.link import DB, curved
from jitlogreg.targets.cpu.memory import at, get, offset, put, splat, spread, sum_lanes
from jitlogreg.targets.cpu.tail import copy_numbers, padded_rows


def hessian_chunk(chunk, task, x0, w0, f_order):
    """Σ s·σ(z)σ(−z)·(xv + c)·x of one chunk, and the same without x in place of Σ s·dz.

    v lies where labels do otherwise, and c after it. The second margin of a block finds x in the cache.
    """
    t = carray(task, 1)[0]
    n, room = t.n, t.room
    high = offset(at(t.partials, 0.0), chunk * 2 * t.width)
    low = offset(high, t.width)
    clear(high, 2 * t.width)
    x, leading, s, s_step, pad = at(t.x, x0), t.leading, at(t.s, w0), t.s_step, 0
    start, stop = 0, LANES
    if chunk < t.chunks:
        start, stop = bounds(chunk, t.chunks, t.m // LANES * LANES, t.block)
    else:
        first, count = t.m // LANES * LANES, t.m % LANES
        tail = at(t.tail, w0)
        copy_numbers(s, first if s_step > 0 else -1, count, tail)
        s, s_step, pad = tail, 1, LANES - count
        if f_order is None:
            x = offset(x, first * leading)
        else:
            x = padded_rows(x, first, leading, count, n, at(t.tail + OF_TAIL, x0))
            leading = LANES
    w, b, v = at(t.w, w0), spread(t.b, w0), at(t.y, w0)
    c = spread(get(v, n), w0)
    z = offset(at(t.work, w0), chunk * t.work_step)
    u, g = offset(z, t.block), offset(z, 2 * t.block)
    clear(g, room)
    for i in range(start, stop, t.block):
        count = min(t.block, stop - i)
        position, ahead = i * leading, t.block if i + count < stop else 0
        if f_order is not None:
            columns.margins(x, i, leading, n, w, b, z, count, ahead, True)
            columns.margins(x, i, leading, n, v, c, u, count, 0, True)
        elif pad > 0:
            rows.few_margins(x, position, leading, n, w, b, z, count - pad)
            rows.few_margins(x, position, leading, n, v, c, u, count - pad)
        else:
            rows.margins(x, position, leading, n, w, b, z, count, position + t.lead, 2, t.apart)
            rows.margins(x, position, leading, n, v, c, u, count, position, 2, t.apart)
        for r in range(count - pad, count):
            put(z, r, 0)
            put(u, r, 0)  # padding: its weight is 0, but 0 · inf would count
        db = curved(z, u, offset(s, i * s_step), s_step > 0, count, splat(0.0), b)
        add_number(offset(high, room), offset(low, room), DB, sum_lanes(db))
        if f_order is not None:
            columns.update(x, i, leading, n, u, count, high, low, ahead, b)
        elif pad > 0:
            rows.few_update(x, position, leading, n, u, count - pad, g, b)
        else:
            rows.update(x, position, leading, n, u, count, g, position + t.lead + count // 2 * leading, b)
        if f_order is None:
            flush(g, high, low, room, b)

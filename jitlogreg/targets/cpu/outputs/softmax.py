"""One model of K classes: the formulas of `pointwise` for eight rows at a time, in three passes over their margins.

    SOFTMAX    z ← s·dz; LOSS, WEIGHT and INVALID among the totals of class 0, DB of each class
    PRODUCT    z ← s·aₖ (uₖ − Σⱼ aⱼuⱼ), with the margins u of K more vectors; DB of each class

The sums of a segment's examples are kept in lanes: losses, weights and bad weights for all, dz for each class.
"""

from jitlogreg import pointwise
from jitlogreg.pointwise import two_sum
from jitlogreg.simd import LANES, fma, ones, where, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import add_number
from jitlogreg.targets.cpu.epilogue import DB, INVALID, LOSS, SEGMENT, TOTALS, WEIGHT, examples
from jitlogreg.targets.cpu.outputs.epilogue import OutputsEpilogue, finish_nothing, write_outputs
from jitlogreg.targets.cpu.pointers import offset, pointer_to
from jitlogreg.targets.cpu.vectors import broadcast_as, horizontal_sum, load, minimum, splat, store, widen

# Vectors: losses, weights and bad weights; then room for labels and weights of the remainder
_SUMS, _SHARED = 3, 5


@inline
def _largest(z, models, step):
    """The largest margin of each of eight rows, and the number of its class, the first of equals."""
    largest = load(z, 0, broadcast_as(0.0, z))
    number = zeros(largest)
    which = zeros(largest)
    for k in range(1, models):
        which = which + ones(largest)
        zk = load(z, k * step, largest)
        number = where(zk > largest, which, number)
        largest = where(zk > largest, zk, largest)
    return largest, number


@inline
def _exponentials(z, models, step, largest, number):
    """Replace margins by eₖ = exp(zₖ − largest). The sum of the classes but the largest's, in two parts."""
    high, low, which = zeros(largest), zeros(largest), zeros(largest)
    for k in range(models):
        difference, lost = pointwise.below_largest(load(z, k * step, largest), largest)
        e = pointwise.exp_nonpositive_sum(difference, lost)
        store(z, k * step, e)
        high, rounded = two_sum(high, where(which == number, zeros(e), e))
        low, which = low + rounded, which + ones(e)
    return high, low


@inline
def _misfits(t, i, pad, z, step, largest, copy):
    """Σₖ yₖ (largest − zₖ): what a row's loss has beside the logarithm."""
    misfit, which = zeros(largest), zeros(largest)
    y = load(examples(t.y, i, pad, copy), 0, largest)
    for k in range(t.outputs):
        difference, lost = pointwise.below_largest(load(z, k * step, largest), largest)
        if t.y_step > 0:
            y = load(examples(t.y, i + k * t.y_step, pad, copy), 0, largest)
            misfit = misfit - where(y > zeros(y), y * (difference + lost), zeros(y))
        else:
            misfit = where(y == which, -(difference + lost), misfit)
        which = which + ones(which)
    return misfit


@inline
def _apply(t, i, block, z, state, totals, counts):
    """Replace margins by s·dz, and add to the sums."""
    (rows, pad, ends), (pending, segments) = block, counts
    for first in range(0, rows, SEGMENT):
        stop = minimum(first + SEGMENT, rows)
        for r in range(first, stop, LANES):
            _add_eight(t, i + r, pad, offset(z, r), state)
        pending += stop - first
        if pending >= SEGMENT or (ends and stop >= rows):
            _add_segment(t, state, totals)
            pending = pending - pending
    if t.out != 0:
        write_outputs(t, i, rows - pad, z, t.rows)
    return pending, segments


@inline
def _add_eight(t, i, pad, z, state):
    """The rows from row i on."""
    step, copies, sums = t.rows, pointer_to(state + 8 * LANES * _SUMS, z), pointer_to(state, 0.0)
    wide, own = splat(0.0), offset(sums, LANES * _SHARED)
    largest, number = _largest(z, t.outputs, step)
    misfit = _misfits(t, i, pad, z, step, largest, copies)
    high, low = _exponentials(z, t.outputs, step, largest, number)
    s = ones(largest)
    if t.weighted > 0 or pad > 0:
        s = load(examples(t.s, i * t.weighted, pad, offset(copies, LANES)), 0, s)
    loss = pointwise.log1p_nonnegative(high + low) + misfit
    store(sums, 0, load(sums, 0, wide) + widen(s) * widen(loss))
    store(sums, LANES, load(sums, LANES, wide) + widen(s))
    bad = where(s >= zeros(s), zeros(s), ones(s))
    store(sums, 2 * LANES, load(sums, 2 * LANES, wide) + widen(bad))
    scale, which = pointwise.softmax_scale(high, low), zeros(s)
    y = load(examples(t.y, i, pad, copies), 0, s)
    for k in range(t.outputs):
        e = load(z, k * step, s)
        others = where(which == number, high + low, ones(e) + ((high - e) + low))
        if t.y_step > 0:
            share = load(examples(t.y, i + k * t.y_step, pad, copies), 0, s)
        else:
            share = where(y == which, ones(y), zeros(y))
        dz = s * pointwise.softmax_residual(e, scale, others, share)
        store(z, k * step, dz)
        store(own, k * LANES, load(own, k * LANES, wide) + widen(dz))
        which = which + ones(which)


@inline
def _add_segment(t, state, totals):
    """Add the sums to the totals, and start them anew."""
    sums, (high, low) = pointer_to(state, 0.0), totals
    _move(sums, offset(high, t.n_padded + LOSS), offset(low, t.n_padded + LOSS))
    _move(offset(sums, LANES), offset(high, t.n_padded + WEIGHT), offset(low, t.n_padded + WEIGHT))
    _move(offset(sums, 2 * LANES), offset(high, t.n_padded + INVALID), offset(low, t.n_padded + INVALID))
    for k in range(t.outputs):
        to = k * (t.n_padded + TOTALS) + t.n_padded + DB
        _move(offset(sums, (_SHARED + k) * LANES), offset(high, to), offset(low, to))


@inline
def _move(sums, high, low):
    wide = splat(0.0)
    add_number(high, low, horizontal_sum(load(sums, 0, wide)))
    store(sums, 0, wide)


@inline
def _finish(t, state, z, totals, counts):
    """Nothing: the last rows end a segment."""


SOFTMAX = OutputsEpilogue(_apply, _finish, shared=_SHARED, own=1)


# ---------------------------------------------------------------- curvature


@inline
def _apply_product(t, i, block, z, state, totals, counts):
    """Replace margins by s·aₖ (uₖ − Σⱼ aⱼuⱼ), with the margins u of K more vectors, and add these to DB."""
    rows, pad, _ = block
    own = pointer_to(state + 8 * LANES * _SHARED, 0.0)
    for first in range(0, rows, SEGMENT):
        for r in range(first, minimum(first + SEGMENT, rows), LANES):
            _multiply_eight(t, i + r, pad, offset(z, r), state)
        for k in range(t.outputs):
            to = k * (t.n_padded + TOTALS) + t.n_padded + DB
            _move(offset(own, k * LANES), offset(totals[0], to), offset(totals[1], to))
    return counts


@inline
def _multiply_eight(t, i, pad, z, state):
    """The rows from row i on.

    Margins u are taken from that of the likeliest class: the others' shares are then all that is summed.
    """
    step, copies = t.rows, pointer_to(state + 8 * LANES * _SUMS, z)
    u, own, wide = offset(z, t.outputs * step), pointer_to(state + 8 * LANES * _SHARED, 0.0), splat(0.0)
    largest, number = _largest(z, t.outputs, step)
    high, low = _exponentials(z, t.outputs, step, largest, number)
    scale, which = pointwise.softmax_scale(high, low), zeros(high)
    u_largest, mean, s = zeros(high), zeros(high), ones(high)
    for k in range(t.outputs):
        u_largest = where(which == number, load(u, k * step, scale), u_largest)
        which = which + ones(which)
    for k in range(t.outputs):
        a = load(z, k * step, scale) * scale
        store(z, k * step, a)
        mean = fma(a, load(u, k * step, scale) - u_largest, mean)
    if t.weighted > 0 or pad > 0:
        s = load(examples(t.s, i * t.weighted, pad, copies), 0, s)
    for k in range(t.outputs):
        h = s * load(z, k * step, scale) * ((load(u, k * step, scale) - u_largest) - mean)
        store(z, k * step, h)
        store(own, k * LANES, load(own, k * LANES, wide) + widen(h))


PRODUCT = OutputsEpilogue(_apply_product, finish_nothing, shared=_SHARED, own=1, inputs=2)


# ---------------------------------------------------------------- activations


@inline
def _apply_softmax(t, i, block, z, state, totals, counts):
    rows, pad, _ = block
    for r in range(0, rows, LANES):
        row = offset(z, r)
        largest, number = _largest(row, t.outputs, t.rows)
        high, low = _exponentials(row, t.outputs, t.rows, largest, number)
        scale = pointwise.softmax_scale(high, low)
        for k in range(t.outputs):
            store(row, k * t.rows, load(row, k * t.rows, scale) * scale)
    write_outputs(t, i, rows - pad, z, t.rows)
    return counts


@inline
def _apply_log_softmax(t, i, block, z, state, totals, counts):
    rows, pad, _ = block
    for r in range(0, rows, LANES):
        row = offset(z, r)
        largest, number = _largest(row, t.outputs, t.rows)
        high, low, which = zeros(largest), zeros(largest), zeros(largest)
        for k in range(t.outputs):
            difference, lost = pointwise.below_largest(load(row, k * t.rows, largest), largest)
            e = pointwise.exp_nonpositive_sum(difference, lost)
            high, rounded = two_sum(high, where(which == number, zeros(e), e))
            low, which = low + rounded, which + ones(e)
        log_total = pointwise.log1p_nonnegative(high + low)
        for k in range(t.outputs):
            difference, lost = pointwise.below_largest(load(row, k * t.rows, largest), largest)
            store(row, k * t.rows, pointwise.log_softmax(difference, lost, log_total))
    write_outputs(t, i, rows - pad, z, t.rows)
    return counts


ACTIVATIONS = {
    "softmax": OutputsEpilogue(_apply_softmax, finish_nothing, accumulates=False),
    "log_softmax": OutputsEpilogue(_apply_log_softmax, finish_nothing, accumulates=False),
}

"""The per-example step of a block of margins: activations of the forward pass, losses and residuals of the gradient."""

import numpy as np

from jitlogreg import pointwise
from jitlogreg.simd import LANES, fma, ones, root, where, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import add_number, two_sum
from jitlogreg.targets.cpu.pointers import compound_lanes, load, splat, store, sum_lanes, widen

# The totals a block adds to
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = 4

# The examples summed in lanes before they go to the totals. Eight terms a lane: with the pairwise sum of the lanes a
# term meets at most 11 roundings of the 32 that the bound on sums allows.
SEGMENT = 64

# The segments whose sums are held in lanes: eight roundings more. Their products take six in a tree of three levels,
# after 16 within a segment, and six in the lanes: 29 with the logarithm. To reduce the lanes for every segment took
# 0.4 ns per example, an eighth of all that two columns take
SEGMENTS = 8


@inline
def activate(z, rows, logarithm, like):
    """Replace `rows` margins by σ(z), or by log σ(z)."""
    if logarithm:
        for i in range(0, rows, LANES):
            store(z, i, pointwise.log_sigmoid(load(z, i, like)))
    else:
        for i in range(0, rows, LANES):
            store(z, i, pointwise.sigmoid(load(z, i, like)))


@inline
def no_sums(like):
    """What `residuals` adds up in lanes, for no examples: losses, residuals, weights, 1 + e, bad labels and weights."""
    loss = splat(0.0)
    return loss, loss, loss, zeros(like), zeros(like)


@inline
def residuals(z, y, s, weighted, dz, rows, sums):
    """Write s·dz for `rows` margins, and add to `sums`, which may hold SEGMENT examples.

    Without weights the losses' logarithms become one: 1 + p ← (1 + p)(1 + e), a sum of positive terms, so that
    p is within 16 roundings of itself after eight factors. A logarithm for each example costs half as much again as all
    else here.

    The labels and weights are judged as they pass: a label is good if y (1 − y) ≥ 0, which NaN is not.
    """
    loss, db, weight, p, invalid = sums
    zero, one = zeros(p), ones(p)
    if weighted:
        for i in range(0, rows, LANES):
            yi = load(y, i, p)
            si = load(s, i, p)
            loss_i, dz_i = pointwise.loss_and_residual(load(z, i, p), yi)
            weighted_dz = si * dz_i
            store(dz, i, weighted_dz)
            # in float64: what float32 may hold, its sum may not
            loss += widen(si) * widen(loss_i)
            db += widen(weighted_dz)
            weight += widen(si)
            invalid = where(yi * (one - yi) >= zero, where(si >= zero, invalid, one), one)
    else:
        total = zero
        for i in range(0, rows, LANES):
            yi = load(y, i, p)
            e, linear, dz_i = pointwise.loss_terms_and_residual(load(z, i, p), yi)
            store(dz, i, dz_i)
            p = fma(p, e, p + e)
            loss += widen(linear)
            total += dz_i
            invalid = where(yi * (one - yi) >= zero, invalid, one)
        db += widen(total)
        weight += splat(float(rows) / LANES)
    return loss, db, weight, p, invalid


@inline
def curved(z, u, s, weighted, rows, total, like):
    """Replace `rows` margins u of the vector by s·σ(z)σ(−z)·u, and add these to `total`."""
    for i in range(0, rows, LANES):
        h = pointwise.curvature(load(z, i, like)) * load(u, i, like)
        if weighted:
            h = load(s, i, like) * h
        store(u, i, h)
        total += widen(h)
    return total


@inline
def roots(z, s, weighted, rows, like):
    """Replace `rows` margins by √(s·σ(z)σ(−z))."""
    for i in range(0, rows, LANES):
        h = pointwise.curvature(load(z, i, like))
        if weighted:
            h = load(s, i, like) * h
        store(z, i, root(h))


@inline
def hold(sums, held, products, k):
    """Add a segment's sums to those that are held, and put its product in place k."""
    loss, db, weight, p, invalid = sums
    store(products, k * LANES, p)
    return held[0] + loss, held[1] + db, held[2] + weight, held[3], held[4] + invalid


@inline
def _compound(p, i, half, like):
    """(1 + p)(1 + q) − 1 of the vectors at places i and i + half."""
    x, y = load(p, i * LANES, like), load(p, (i + half) * LANES, like)
    return fma(x, y, x + y)


# log(2) = high + low, where k * high is exact for every exponent k of float64
_LOG2_HIGH, _LOG2_LOW = float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c7673p-45")


@inline
def _log1p(p):
    """log(1 + p) of a float64 p ≥ 0 whose 1 + p is finite, within 2 ulp: libm's differs between systems.

    1 + p = s + lost = 2ᵏ f + lost with 1 ≤ f < 2, so log(1 + p) = k log(2) + log(f) + lost / s, to first order in
    lost / s, which is at most 2⁻⁵³.
    """
    if p <= 1:
        return pointwise.log1p_unit(p)
    s, lost = two_sum(1.0, p)
    bits = np.float64(s).view(np.int64)
    k = (bits >> 52) - 1023
    f = np.int64((bits & ((1 << 52) - 1)) | (1023 << 52)).view(np.float64)
    value = k * _LOG2_HIGH + (k * _LOG2_LOW + (pointwise.log1p_unit(f - 1.0) + lost / s))
    return value if p < np.inf else p  # NaN goes on as well


@inline
def add_sums(held, products, k, high, low):
    """Add what is held of k segments to the totals."""
    loss, db, weight, like, invalid = held
    for i in range(k, SEGMENTS):
        store(products, i * LANES, zeros(like))
    half = SEGMENTS // 2
    while half > 0:
        for i in range(half):
            store(products, i * LANES, _compound(products, i, half, like))
        half //= 2
    add_number(high, low, LOSS, sum_lanes(loss) + _log1p(compound_lanes(load(products, 0, like))))
    add_number(high, low, DB, sum_lanes(db))
    add_number(high, low, WEIGHT, sum_lanes(weight))
    add_number(high, low, INVALID, sum_lanes(invalid))

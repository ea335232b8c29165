"""The per-example step of a block of margins: activations of the forward pass, losses and residuals of the gradient."""

from jitlogreg import scalar
from jitlogreg.lanes import LANES, ones, where, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.accumulate import add_number
from jitlogreg.targets.cpu.memory import load, splat, store, sum_lanes, widen

# The totals a block adds to
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = 4

# The examples summed in lanes before they go to the totals. Eight terms a lane: with the pairwise sum of the lanes a
# term meets at most 11 roundings of the 32 that the bound on sums allows.
SEGMENT = 64


@inline
def activate(z, rows, logarithm, like):
    """Replace `rows` margins by σ(z), or by log σ(z)."""
    if logarithm:
        for i in range(0, rows, LANES):
            store(z, i, scalar.log_sigmoid(load(z, i, like)))
    else:
        for i in range(0, rows, LANES):
            store(z, i, scalar.sigmoid(load(z, i, like)))


@inline
def residuals(z, y, s, dz, rows, high, low, like):
    """Write s·dz for at most SEGMENT margins, and add Σ sL, Σ s·dz, Σ s and the count of bad labels and weights.

    The labels and weights are judged here, as they pass: a label is good if y (1 − y) ≥ 0, which NaN is not.
    """
    zero, one = zeros(like), ones(like)
    loss = splat(0.0)
    db, weight, invalid = loss, loss, zero
    for i in range(0, rows, LANES):
        yi = load(y, i, like)
        si = load(s, i, like)
        loss_i, dz_i = scalar.loss_and_residual(load(z, i, like), yi)
        weighted = si * dz_i
        store(dz, i, weighted)
        # in float64: what float32 may hold, its sum may not
        loss += widen(si) * widen(loss_i)
        db += widen(weighted)
        weight += widen(si)
        invalid = where(yi * (one - yi) >= zero, where(si >= zero, invalid, one), one)
    add_number(high, low, LOSS, sum_lanes(loss))
    add_number(high, low, DB, sum_lanes(db))
    add_number(high, low, WEIGHT, sum_lanes(weight))
    add_number(high, low, INVALID, sum_lanes(invalid))

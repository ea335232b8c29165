"""One evaluation of J(w, b) and its gradient: a target's sums, checked, and the means with the penalty."""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.targets.base import Sums
from jitlogreg.targets.normalize import mean, penalized_gradient, penalized_loss

# Sums of weights for which products with a weight stay in range whenever the mean does: for float64, and for float32
WEIGHT_RANGE, WEIGHT_RANGE_32 = (2.0**-512, 2.0**512), (2.0**-64, 2.0**64)


class Gradient(NamedTuple):
    """∂J/∂w, shape (n,) in w's dtype, and ∂J/∂b, a Python float."""

    dw: np.ndarray
    db: float


class LossAndGradient(NamedTuple):
    """J in nats per example, a Python float; ∂J/∂w, shape (n,) in w's dtype; ∂J/∂b, a Python float."""

    loss: float
    dw: np.ndarray
    db: float


def loss_and_gradient(target, problem, w, b, l2, out) -> LossAndGradient:
    """The objective and its gradient. A target may normalize in the call that sums: that saves half of a small call."""
    s, dw = problem.sample_weight, np.empty(w.shape, w.dtype) if out is None else out
    means = target.means(problem, w, b, l2, dw)
    if means is not None:
        loss, db, weight, valid = means
        if valid and 0 < weight < math.inf and (s is None or _within_range(s.dtype, weight, loss, db, dw)):
            return LossAndGradient(loss, dw, db)
    return normalize(checked_sums(target, problem, w, b), w, l2, out)


def checked_sums(target, problem, w, b, with_gradient=True) -> Sums:
    """The sums over the examples, with a check of the labels and weights that the target has read.

    If the sums overflow or vanish, they are computed again with the weights times a power of two. The means stay the
    same.

    Raises
    ------
    ValueError
        If a label is outside [0, 1], or a weight is negative or not finite.
    """
    sums = target.sums(problem, w, b, with_gradient)
    check_examples(sums.weight, sums.valid, problem)
    s = problem.sample_weight
    if s is None or _within_range(s.dtype, sums.weight, sums.loss, sums.db, sums.dw):
        return sums
    return target.sums(problem._replace(sample_weight=rescaled(s)), w, b, with_gradient)


def _within_range(dtype, weight, loss, db, dw):
    """Whether weighted sums in a dtype are in range, or zero because all weights are."""
    least, most = WEIGHT_RANGE if dtype.itemsize == 8 else WEIGHT_RANGE_32
    in_range = weight == 0 or least <= weight <= most
    return in_range and math.isfinite(loss) and math.isfinite(db) and bool(np.isfinite(on_host(dw)).all())


def rescaled(sample_weight):
    """Weights times the power of two that brings the largest between 1 and 2. Results depend only on their ratios."""
    on_cpu = on_host(sample_weight)
    _, exponent = math.frexp(float(on_cpu.max(initial=0.0)))
    scaled = np.ldexp(on_cpu, 1 - exponent)  # ldexp, since the power itself may be out of the dtype's range
    return sample_weight.from_numpy(scaled) if type(sample_weight) is DeviceArray else scaled


def check_examples(weight, valid, problem):
    """Raise ValueError for the first bad label or weight, if the target found one or the sum of weights overflows."""
    if not valid:
        validation.check_structure(problem.X)
    if not valid or not weight < math.inf:
        validation.check_values(problem.y, problem.sample_weight)


def check_weight(weight):
    """Raise ValueError if the sum of weights is not positive and finite."""
    if not 0 < weight < math.inf:
        raise ValueError(f"sample_weight: expected a sum that is positive and finite, got {weight}")


@np.errstate(all="ignore")
def normalize(sums, w, l2, out=None, with_gradient=True) -> LossAndGradient:
    """Means from sums, with the penalty: J = ΣsL/S + l2/2 ‖w‖², dw = Σs·dz·x/S + l2 w, db = Σs·dz/S.

    They are computed in float64 and rounded to w's dtype at the end; the intercept is not penalised. With a gradient,
    dw is in w's memory. In a frame l2 is an array with one penalty per column.

    Raises
    ------
    ValueError
        If the weights sum to 0 or overflow.
    """
    check_weight(sums.weight)
    loss, dw, db = (mean(total, sums.weight) for total in (sums.loss, sums.dw, sums.db))
    if np.ndim(l2):
        loss, dw = penalized_loss(loss, 1.0, float(np.sum(l2 * w * w))), penalized_gradient(dw, l2, w)
    elif l2:
        w_wide = on_host(w).astype(np.float64, copy=False)
        squares = float(np.sum(w_wide * w_wide))  # pairwise; the order of a BLAS dot is unknown
        loss, dw = penalized_loss(loss, l2, squares), penalized_gradient(dw, l2, w_wide)
    if not with_gradient:
        out = dw
    elif type(w) is DeviceArray:
        dw = dw.astype(w.dtype, copy=False)
        out = w.from_numpy(dw) if out is None else out.assign(dw)
    elif out is None:
        out = dw.astype(w.dtype, copy=False)
    else:
        out[:] = dw
    return LossAndGradient(loss, out, db)

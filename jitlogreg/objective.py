"""From sums over examples to the objective J(w, b) and its gradient."""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg import checks
from jitlogreg.targets.device_array import DeviceArray, on_host
from jitlogreg.targets.sums import Sums


class Gradient(NamedTuple):
    """∂J/∂w, shape (n,) in w's dtype, and ∂J/∂b, a Python float."""

    dw: np.ndarray
    db: float


class LossAndGradient(NamedTuple):
    """J in nats per example, a Python float; ∂J/∂w, shape (n,) in w's dtype; ∂J/∂b, a Python float."""

    loss: float
    dw: np.ndarray
    db: float


def evaluate(kernels, X, y, sample_weight, w, b, with_gradient=True) -> Sums:
    """The sums over the examples of checked arrays, once the labels and weights that passed are known to be good.

    Raises
    ------
    ValueError
        For a label outside [0, 1], for a weight that is negative or not finite.
    """
    sums = kernels.sums(X, y, w, b, sample_weight, with_gradient)
    check_examples(sums.weight, sums.valid, y, sample_weight)
    return sums


def check_examples(weight, valid, y, sample_weight):
    """Raise ValueError for the first label or weight that is none, where a target has met one or their sum tells."""
    if not valid or not weight < math.inf:
        checks.refuse_values(y, sample_weight)


def check_weight(weight):
    """Raise ValueError for a sum of weights by which nothing can be divided."""
    if not 0 < weight < math.inf:
        raise ValueError(f"sample_weight sums to {weight}; accepted is a sum that is positive and finite")


@np.errstate(all="ignore")
def finish(sums, w, l2, dw_out=None, with_gradient=True) -> LossAndGradient:
    """Means from sums, with the penalty: J = ΣsL/S + l2/2 ‖w‖², dw = Σs·dz·x/S + l2 w, db = Σs·dz/S.

    Computed in float64 and rounded to w's dtype at the end; the intercept is not penalised. dw comes to lie where w
    does, unless nobody asked for a gradient.

    Raises
    ------
    ValueError
        For weights that sum to 0 or overflow.
    """
    check_weight(sums.weight)
    dw = sums.dw / sums.weight
    loss = sums.loss / sums.weight
    if l2:
        w_wide = on_host(w).astype(np.float64, copy=False)
        dw += l2 * w_wide
        loss += 0.5 * l2 * float(np.sum(w_wide * w_wide))  # pairwise, where a BLAS dot's order is its own
    if not with_gradient:
        dw_out = dw
    elif type(w) is DeviceArray:
        dw = dw.astype(w.dtype, copy=False)
        dw_out = w.from_numpy(dw) if dw_out is None else dw_out.assign(dw)
    elif dw_out is None:
        dw_out = dw.astype(w.dtype, copy=False)
    else:
        dw_out[:] = dw
    return LossAndGradient(loss, dw_out, sums.db / sums.weight)

"""Intervals of parameters from those of resamples.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.
"""

from statistics import NormalDist

import numpy as np

from jitlogreg.solvers.curvature import newton_step
from jitlogreg.targets.base import Problem


def percentiles(theta, confidence):
    """The ends of each parameter's interval, (p, 2), from the parameters of resamples, (p, R)."""
    return np.quantile(theta, _tails(confidence), axis=1).T


def corrected(theta, confidence, whole):
    """The same, corrected for bias and acceleration by the fit to all rows. One read of X."""
    normal, center = NormalDist(), np.append(whole.w, whole.b)
    ends = np.empty((len(theta), 2))
    acceleration = accelerations(whole)
    for j, of_resamples in enumerate(theta):
        share = (np.sum(of_resamples < center[j]) + np.sum(of_resamples == center[j]) / 2) / len(of_resamples)
        bias = normal.inv_cdf(min(max(share, 0.5 / len(of_resamples)), 1 - 0.5 / len(of_resamples)))
        z = bias + np.array([normal.inv_cdf(tail) for tail in _tails(confidence)])
        shifted = bias + z / (1 - acceleration[j] * z)
        ends[j] = np.quantile(of_resamples, [normal.cdf(end) for end in shifted])
    return ends


def _tails(confidence):
    return np.array([(1 - confidence) / 2, (1 + confidence) / 2])


def accelerations(whole):
    """Σ u³ / (6 (Σ u²)^(3/2)) of each parameter, u an example's influence on it; from one read of X.

    The influence is −H⁻¹ times the example's part of the gradient (the infinitesimal jackknife), less its mean.
    """
    objective, frame = whole.objective, whole.framed.frame
    n, K, has_b = objective.n_features, objective.n_outputs, int(objective.has_intercept)
    minus_inverse = np.stack([newton_step(whole.model, unit) for unit in np.eye(objective.n_parameters)])
    moments, m = np.zeros((3, n + 1, K)), 0
    for X, y, s, offset in objective.row_blocks():
        columns = np.append(X if frame is None else frame.columns(X), np.ones((len(X), has_b)), axis=1)
        residuals = s[:, np.newaxis] * _residuals(whole, X, y, offset)
        gradients = columns[:, :, np.newaxis] * residuals[:, np.newaxis, :]
        of_frame = (gradients.reshape(len(X), -1) @ minus_inverse).reshape(gradients.shape)
        influence = np.zeros((len(X), n + 1, K))
        influence[:, : n + has_b] = of_frame
        if frame is not None:
            influence[:, :n] *= frame.scale[:, np.newaxis]
            influence[:, n] -= np.tensordot(influence[:, :n], frame.centre, (1, 0))
        moments += [np.sum(influence**power, axis=0) for power in (1, 2, 3)]
        m += len(X)
    first, second, third = moments.reshape(3, -1) / m
    variance = np.maximum(second - first**2, 0.0)
    skewness = third - 3 * first * second + 2 * first**3
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, skewness / (6 * np.sqrt(m) * variance**1.5), 0.0)


def _residuals(whole, X, y, offset):
    """a − y of some examples, (m, K)."""
    objective, w, b = whole.objective, whole.w, whole.b
    block = Problem.of(X, offset=None if offset is None else np.ascontiguousarray(offset))
    if objective.link == "sigmoid":
        return (objective._target.activate("sigmoid", block, w, b, np.empty(len(X))) - y)[:, np.newaxis]
    a = objective._target.activate_outputs("softmax", block, w, b, np.empty((len(X), len(b))))
    return a - (y.T if y.ndim == 2 else np.equal.outer(y, np.arange(len(b))))

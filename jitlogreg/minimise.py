"""Minimising a smooth convex function of θ: directions, a line search, and the iterations that `fit` makes of them.

The function is an `Objective`, or whatever else gives loss and gradient when it is called with θ. A run is a chain of
`Point`s, each of which holds all that the next one depends on: begun again from one of them, it goes on to the same
bits.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.objective import norm

# Pairs of steps and gradients that L-BFGS remembers (Nocedal & Wright, Numerical Optimization, 7.2: 3 to 20)
MEMORY = 10

# The share of the slope that a step must gain, and the share that may be left (Nocedal & Wright, 3.1: the Wolfe
# conditions with the values recommended for quasi-Newton methods)
GAIN, LEFT = 1e-4, 0.9
TRIALS = 60  # of a line search

# What a loss may rise by rounding, relative to itself: a mean is within 32 u and the margins' errors
ROUNDING = 64 * 2.0**-53

# Iterations in a row that neither lower the loss by more than rounding nor the gradient's norm below the lowest so far,
# before a run ends
STANDSTILL = 3

# Added to the diagonal of a Hessian that was scaled to ones there: with duplicate or constant columns it is singular.
# Newton's steps lose as much of their accuracy where an eigenvalue is 1e-9
DAMPING = 1e-12

# L-BFGS starts from the Hessian of a sample of so many rows, or so many for each parameter, made anew at iteration 3,
# as the start lies far off, and then at every tenth. 1,000,000 x 28 takes 7 evaluations in place of 10, with correlated
# columns 9 in place of 24, with columns of scales exp(N(0, 1)) 8 in place of 152; a fifth as many rows or five times as
# many change that by one or two. Separable data, where the Hessian vanishes on the way, take 73 iterations, not 183
SAMPLE, SAMPLE_PER_PARAMETER = 10_000, 20
SAMPLED_AT, SAMPLED_EVERY = 3, 10


class Point(NamedTuple):
    """Where a run has come to.

    Attributes
    ----------
    iteration, n_evaluations : int
    theta, gradient : ndarray of float64, shape (p,)
    loss, gradient_norm : float
    steps, slopes : ndarray of float64, shape (k, p)
        The last steps in θ, and how the gradient changed along them.
    scaled_at : ndarray of float64, shape (p,) or (0,)
        The θ whose Hessian scales the directions.
    length : float
        Of the last step, relative to its direction.
    lowest : float
        The smallest norm of a gradient so far: rounding makes the last ones rise and fall.
    standing : int
        Iterations since the loss went down by more than its rounding, or the gradient's norm below the lowest.
    """

    iteration: int
    n_evaluations: int
    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    gradient_norm: float
    steps: np.ndarray
    slopes: np.ndarray
    scaled_at: np.ndarray
    length: float
    lowest: float
    standing: int


def start(objective, theta):
    """The point from which a run sets out."""
    loss, gradient = objective(theta)
    size, none = norm(gradient), np.empty((0, len(theta)))
    return Point(0, 1, theta, loss, gradient, size, none, none, np.empty(0), 0.0, size, 0)


def directions(objective, solver):
    """The function that gives, for a point, a direction, the length to try first, and the point as it is to be kept."""
    return {"newton": _newton, "lbfgs": _lbfgs, "gradient_descent": _steepest}[solver](objective)


@np.errstate(all="ignore")
def following(objective, direction_at, point):
    """The next point; None where no step lowers the loss any more."""
    if point.standing >= STANDSTILL:
        return None
    direction, length, point = direction_at(point)
    stepped = _step(objective, point, direction, length)
    if stepped is None:  # a direction that rounding has spoilt
        stepped = _step(objective, point, -point.gradient, _cauchy(objective, point))
    return stepped


# ---------------------------------------------------------------- directions


def _steepest(objective):
    """Directions of gradient descent; twice the last length is tried first."""

    def direction_at(point):
        length = 2 * point.length if point.length else _cauchy(objective, point)
        return -point.gradient, length, point

    return direction_at


def _newton(objective):
    """Directions of Newton's method, −H⁻¹g."""

    def direction_at(point):
        return -inverse(objective.hessian(point.theta))(point.gradient), 1.0, point

    return direction_at


def _lbfgs(objective):
    """Directions of L-BFGS, by the recursion of two loops, from the inverse Hessian of a sample where there is one."""
    rows = max(SAMPLE, SAMPLE_PER_PARAMETER * objective.n_parameters)
    sample = objective.sample(rows) if objective.has_hessian else None
    scaled = None, None  # the point's scaled_at, and the inverse that belongs to it

    def direction_at(point):
        nonlocal scaled
        if sample is not None and (point.iteration == SAMPLED_AT or point.iteration % SAMPLED_EVERY == 0):
            point = point._replace(scaled_at=point.theta)
        if len(point.scaled_at) and scaled[0] is not point.scaled_at:
            scaled = point.scaled_at, inverse(sample.hessian(point.scaled_at))
        q, products = point.gradient.copy(), []
        pairs = [(s, y, _dot(s, y)) for s, y in zip(point.steps, point.slopes, strict=True)]
        for s, y, sy in reversed(pairs):
            products.append(_dot(s, q) / sy)
            q -= products[-1] * y
        length = 1.0
        if len(point.scaled_at):
            q = scaled[1](q)
        elif pairs:
            _, y, sy = pairs[-1]
            q *= sy / _dot(y, y)
        else:
            length = _cauchy(objective, point)
        for s, y, sy in pairs:
            q += (products.pop() - _dot(y, q) / sy) * s
        return -q, length, point

    return direction_at


def _cauchy(objective, point):
    """The length of a first step along −g: to the minimum of the parabola there, or to a distance of 1."""
    if point.gradient_norm == 0:
        return 1.0
    unit = point.gradient / point.gradient_norm
    hessian_vector = getattr(objective, "hessian_vector", None)
    curvature = _dot(unit, hessian_vector(point.theta, unit)) if hessian_vector else 0.0
    return 1 / curvature if 0 < curvature < math.inf else 1 / point.gradient_norm


def inverse(hessian):
    """The function v ↦ H⁻¹v of a symmetric positive semidefinite H, damped where it is singular.

    H is scaled to ones on its diagonal, so the columns' scales do not matter. A column of zeros stays where it is.
    """
    diagonal = np.sqrt(np.diag(hessian))
    scale = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    scaled = hessian * scale * scale[:, np.newaxis]
    damping = DAMPING
    while True:
        np.fill_diagonal(scaled, 1 + damping)
        try:
            half = np.linalg.inv(np.linalg.cholesky(scaled))
            return lambda v: scale * (half.T @ (half @ (scale * v)))
        except np.linalg.LinAlgError:
            damping *= 100  # 1 + damping dominates any row in the end


# ---------------------------------------------------------------- the step


def _step(objective, point, direction, length):
    """The point that a line search finds along a direction; None where there is none lower."""
    slope = _dot(direction, point.gradient)
    if not (slope < 0 and math.isfinite(slope)):
        return None
    found = _search(objective, point, direction, slope, length)
    if found is None:
        return None
    length, loss, theta, gradient, evaluations = found
    steps, slopes = point.steps, point.slopes
    step, change = theta - point.theta, gradient - point.gradient
    if _dot(step, change) > 0:
        steps, slopes = (np.vstack([old[-MEMORY + 1 :], new]) for old, new in ((steps, step), (slopes, change)))
    gradient_norm = norm(gradient)
    lower = loss < point.loss - ROUNDING * abs(point.loss) or gradient_norm < point.lowest
    return Point(
        point.iteration + 1,
        point.n_evaluations + evaluations,
        theta,
        loss,
        gradient,
        gradient_norm,
        steps,
        slopes,
        point.scaled_at,
        length,
        min(point.lowest, gradient_norm),
        0 if lower else point.standing + 1,
    )


def _search(objective, point, direction, slope, length):
    """A length that meets the weak Wolfe conditions, by bracketing; or the lowest loss met, or None.

    The loss may rise by its rounding: near the minimum the slope alone can tell.
    """
    shortest, longest, best = 0.0, math.inf, None
    highest = point.loss + ROUNDING * abs(point.loss)
    for trial in range(1, TRIALS + 1):
        theta = point.theta + length * direction
        loss, gradient = objective(theta)
        if not loss <= highest + GAIN * length * slope:
            longest = length
        else:
            if best is None or loss <= best[1]:
                best = length, loss, theta, gradient
            if _dot(gradient, direction) >= LEFT * slope:
                return length, loss, theta, gradient, trial
            shortest = length
        if longest == math.inf:
            length *= 4
        elif shortest == 0:
            length = longest * _parabola(loss - point.loss, longest * slope)
        else:
            length = (shortest + longest) / 2
        if not 0 < length < math.inf:
            break
    return None if best is None else (*best, trial)


def _parabola(rise, slope):
    """Where the parabola with this slope at 0 and this rise at 1 is lowest, within a tenth and a half."""
    bend = rise - slope
    return min(max(-slope / (2 * bend), 0.1), 0.5) if 0 < bend < math.inf else 0.1


def _dot(u, v):
    """Σ uⱼvⱼ, pairwise, where a BLAS dot's order is its own."""
    return float(np.add.reduce(u * v))

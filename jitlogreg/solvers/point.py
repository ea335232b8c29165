"""Where a run has come to."""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.objective import Objective, norm


class Task(NamedTuple):
    """What a run minimises, and until when.

    Attributes
    ----------
    objective : Objective
        Or whatever else gives loss and gradient when it is called with θ.
    tolerance : float
        Of the Newton decrement.
    gradient_tolerance : float
        Of the gradient's norm, by which gradient descent goes.
    size : ndarray of float64, shape (p,)
        What each component of θ is multiplied by, typically: it tells how far margins are rounded.
    spread : ndarray of float64, shape (p,)
        The deviation of what it is multiplied by.
    """

    objective: Objective
    tolerance: float
    gradient_tolerance: float
    size: np.ndarray
    spread: np.ndarray

    @property
    def negligible(self):
        """The λ that needs no step any more: a thousandth of the tolerance, in standard errors of as many examples."""
        return NEGLIGIBLE * self.tolerance / math.sqrt(max(1, self.objective.shape[0]))

    def rounding(self, point):
        """By how much a loss there may come out too large: as a mean it is within 32 u, and the margins have errors."""
        margins = float(np.sum(np.abs(point.theta) * self.size))
        return UNIT * (64 * abs(point.loss) + 8 * margins)


UNIT, NEGLIGIBLE = 2.0**-53, 1e-3


class Point(NamedTuple):
    """A point of a run, with all that the next one depends on: begun again from it, a run comes to the same bits.

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
    decrement : float
        λ = √(gᵀH⁻¹g), by the model of H that led here; inf where none did.
    before : float
        λ at the point before, by the same model.
    unverified : int
        How often a model said that the end was near and the next gradient did not bear it out.
    converged : bool
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
    decrement: float
    before: float
    unverified: int
    converged: bool


def start(theta, loss, gradient):
    """The point from which a run sets out."""
    size, none = norm(gradient), np.empty((0, len(theta)))
    none_yet = np.empty(0), 0.0, size, 0
    return Point(0, 1, theta, loss, gradient, size, none, none, *none_yet, np.inf, np.inf, 0, False)


def length(v):
    """`norm`, sooner by 2 µs: whoever calls it ignores NumPy's warnings."""
    square = dot(v, v)
    return math.sqrt(square) if 1e-250 < square < 1e250 else norm(v)


def dot(u, v):
    """Σ uⱼvⱼ, pairwise, where a BLAS dot's order is its own."""
    return float(np.add.reduce(u * v))

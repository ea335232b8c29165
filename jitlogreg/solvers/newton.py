"""Newton's method: steps −H⁻¹g, from a factored Hessian or by conjugate gradients."""

import functools
import math

import numpy as np

from jitlogreg.solvers.curvature import Cholesky, decrement, factored, newton_step
from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.point import dot

# Where a step has brought λ, by the Hessian before it, below this share of what it was, that Hessian has changed by
# about twice the share, and another step with it leaves about so much of λ: within GROWTH times
STILL_GOOD, GROWTH = 1 / 8, 4.0

# Conjugate gradients go on until what is left of the gradient is this share of it, in the norm of the preconditioner:
# λ is known to half of that
ENOUGH, MOST_PRODUCTS = 0.1, 100


class Newton:
    """Directions of Newton's method."""

    name = "newton"
    memory = 1

    def __init__(self, task):
        self._task = task
        self._made_at, self._model = None, None

    def model_at(self, theta):
        """The factored Hessian at θ; that of the last θ is kept."""
        if self._made_at is None or not np.array_equal(self._made_at, theta):
            self._made_at, self._model = theta, factored(self._task.objective, theta, self._task.spread)
        return self._model

    def is_sound_at(self, theta):
        """Whether the Hessian at θ has a Cholesky factor to go by, in columns as they are."""
        if not self._task.objective.has_hessian:
            return True
        self._made_at, self._model = theta, Cholesky(self._task.objective.hessian(theta))
        return self._model.is_sound

    def direction(self, point):
        """−H⁻¹g; with the Hessian before where that is still good and the end is near."""
        share = point.decrement / point.before if len(point.scaled_at) else math.inf
        if not (share <= STILL_GOOD and GROWTH * share * point.decrement <= self._task.tolerance):
            point = point._replace(scaled_at=point.theta)
        model = self.model_at(point.scaled_at)
        decrement_of = functools.partial(decrement, model)
        step = newton_step(model, point.gradient)
        return Direction(step, 1.0, point, decrement_of(point.gradient), decrement_of, model.noise, is_exact=True)

    @property
    def dependent(self):
        """The numbers of the parameters that the last Hessian could not tell apart."""
        return () if self._model is None else self._model.dependent


def by_conjugate_gradients(task, point, precondition):
    """Newton's direction from products of the Hessian with vectors alone, each of which reads X once.

    λ² is Σ α gᵀp over the products made, which grows towards its limit.
    """
    objective, residual = task.objective, -point.gradient
    step, weighed = np.zeros_like(residual), precondition(residual)
    along, square = weighed.copy(), dot(residual, weighed)
    first = square
    for _ in range(MOST_PRODUCTS):
        if not square > ENOUGH * ENOUGH * first:
            break
        product = objective.hessian_vector(point.theta, along)
        curvature = dot(along, product)
        if not curvature > 0:
            break
        length = square / curvature
        step += length * along
        residual -= length * product
        weighed = precondition(residual)
        before, square = square, dot(residual, weighed)
        along = weighed + (square / before) * along
    known = np.any(step) or not np.any(point.gradient)
    size = math.sqrt(max(-dot(point.gradient, step), 0.0)) if known else math.inf
    return Direction(step, 1.0, point, size, is_exact=True)

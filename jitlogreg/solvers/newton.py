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

# The steps with a Hessian from before that are made in place of a new one: as many as take its time, one more for so
# many parameters, and no more than so many
PER_STEP, MOST_STEPS = 32, 4

# Conjugate gradients go on until what is left of the gradient is this share of it, in the norm of the preconditioner:
# λ is known to half of that
ENOUGH, MOST_PRODUCTS = 0.1, 100


class Newton:
    """Directions of Newton's method."""

    name = "newton"
    goes_by_norm = False
    memory = 1
    most_unverified = 0

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
        """−H⁻¹g; with the Hessian before where a few steps with that are quicker, and enough for the end."""
        negligible = self._task.negligible
        is_new = not self._is_still_good(point, negligible)
        if is_new:
            point = point._replace(scaled_at=point.theta)
        model = self.model_at(point.scaled_at)
        decrement_of = functools.partial(decrement, model)
        known = decrement_of(point.gradient), decrement_of, model.noise
        may_leave = None if is_new else negligible
        return Direction(newton_step(model, point.gradient), 1.0, point, *known, is_exact=is_new, may_leave=may_leave)

    def _is_still_good(self, point, negligible):
        """Whether the Hessian that led to a point can lead to the end."""
        if not len(point.scaled_at) or not point.decrement <= STILL_GOOD * point.before:
            return False
        steps = min(1 + len(point.theta) // PER_STEP, MOST_STEPS)
        return point.decrement * (GROWTH * point.decrement / point.before) ** steps <= negligible

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

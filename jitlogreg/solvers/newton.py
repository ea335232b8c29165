"""Newton's method: steps −H⁻¹g from a factored Hessian.

Source: Nocedal & Wright, Numerical Optimization, 2006, 3.3.
"""

import functools

import numpy as np

from jitlogreg.solvers.curvature import Cholesky, decrement, factorize, newton_step
from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.requests import Hessian

# A Hessian is reused if its last step brought λ below this share of what it was, by that Hessian. The Hessian has then
# changed by about twice the share, and another step with it leaves about that share of λ, within a factor of GROWTH
REUSE_CONTRACTION, GROWTH = 1 / 8, 4.0

# Steps with one Hessian: as many as take the time of a new one, which is one more for so many parameters, and no more
# than so many
PARAMETERS_PER_REUSE, MAX_REUSES = 32, 4


class Newton:
    """Directions of Newton's method."""

    name = "newton"
    stops_by_norm = False
    memory = 1
    max_unconfirmed = 0

    def __init__(self, task):
        self._task = task
        self._factored_at, self._model = None, None

    def model_at(self, theta):
        """The factored Hessian at θ. The last one is kept."""
        if self._factored_at is None or not np.array_equal(self._factored_at, theta):
            self._model = yield from factorize(self._task.objective, theta, self._task.spread)
            self._factored_at = theta
        return self._model

    def is_well_conditioned_at(self, theta):
        """Whether the Hessian at θ has a usable Cholesky factor in the caller's columns."""
        if not self._task.objective.has_hessian:
            return True
        self._factored_at, self._model = theta, Cholesky((yield Hessian(self._task.objective, theta)))
        return self._model.is_well_conditioned

    def direction(self, point):
        """−H⁻¹g. H is that of an earlier point where a few steps with it are faster and suffice to converge."""
        negligible = self._task.negligible_decrement
        is_new = not self._can_reuse_hessian(point, negligible)
        if is_new:
            point = point._replace(preconditioner_theta=point.theta)
        model = yield from self.model_at(point.preconditioner_theta)
        decrement_of = functools.partial(decrement, model)
        return Direction(
            newton_step(model, point.gradient),
            1.0,
            point,
            decrement_of(point.gradient),
            decrement_of,
            model.noise_floor,
            is_exact=is_new,
            accepted_decrement=None if is_new else negligible,
        )

    def _can_reuse_hessian(self, point, negligible):
        """Whether steps with the Hessian that led to a point will bring λ down to `negligible`."""
        if not len(point.preconditioner_theta) or not point.decrement <= REUSE_CONTRACTION * point.previous_decrement:
            return False
        steps = min(1 + len(point.theta) // PARAMETERS_PER_REUSE, MAX_REUSES)
        return point.decrement * (GROWTH * point.decrement / point.previous_decrement) ** steps <= negligible

    @property
    def dependent(self):
        """The parameters that the last Hessian could not tell apart."""
        return () if self._model is None else self._model.dependent

"""Newton's method by conjugate gradients: steps that nearly are −H⁻¹g, without a Hessian.

Source: Nocedal & Wright, Numerical Optimization, 2006, 5.1 and 7.1.
"""

import math

import numpy as np

from jitlogreg.solvers.curvature import Diagonal, NoModel
from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.point import dot
from jitlogreg.solvers.requests import MeanCurvature, Product

# Conjugate gradients end once the preconditioned norm of the residual is this share of its initial value: λ is then
# known to half of that share
CG_TOLERANCE, MAX_CG_ITERATIONS = 0.1, 100


class NewtonCG:
    """Directions of Newton's method where X has too many columns for a Hessian. Their mean squares precondition."""

    name = "newton"
    stops_by_norm = False
    memory = 1
    max_unconfirmed = 0
    dependent = ()

    def __init__(self, task):
        self._task, self._model = task, NoModel()

    def is_well_conditioned_at(self, theta):
        """Whether the method can work in the caller's columns: always."""
        if self._task.objective.has_mean_curvature:
            self._model = Diagonal((yield MeanCurvature(self._task.objective)))
        return True

    def direction(self, point):
        """−H⁻¹g, nearly."""
        return (yield from newton_cg_direction(self._task, point, self._precondition))

    def _precondition(self, gradient):
        return self._model.recover_step(self._model.transform_gradient(gradient))


def newton_cg_direction(task, point, precondition):
    """Newton's direction by preconditioned conjugate gradients: one product of the Hessian with a vector an iteration.

    Each product reads X once. λ² is the sum of α rᵀz over the iterations, which grows towards its limit.
    """
    objective, residual = task.objective, -point.gradient
    step, preconditioned = np.zeros_like(residual), precondition(residual)
    search, rz = preconditioned.copy(), dot(residual, preconditioned)
    initial_rz = rz
    for _ in range(MAX_CG_ITERATIONS):
        if not rz > CG_TOLERANCE * CG_TOLERANCE * initial_rz:
            break
        product = yield Product(objective, point.theta, search)
        curvature = dot(search, product)
        if not curvature > 0:
            break
        alpha = rz / curvature
        step += alpha * search
        residual -= alpha * product
        preconditioned = precondition(residual)
        previous_rz, rz = rz, dot(residual, preconditioned)
        search = preconditioned + (rz / previous_rz) * search
    is_known = np.any(step) or not np.any(point.gradient)
    found = math.sqrt(max(-dot(point.gradient, step), 0.0)) if is_known else math.inf
    return Direction(step, 1.0, point, found, is_exact=True)

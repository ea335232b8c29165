"""Steepest descent: directions along −g. A gradient's norm depends on the columns' units, so λ decides the end as well.

Source: Nocedal & Wright, Numerical Optimization, 2006, 3.3 and 4.1 (the Cauchy point).
"""

import math

import numpy as np

from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.newton import Newton
from jitlogreg.solvers.newton_cg import newton_cg_direction
from jitlogreg.solvers.point import dot
from jitlogreg.solvers.requests import Product

# λ is bounded by this multiple of the tolerance of the gradient's norm: curvatures along columns of deviation 1 are
# ¼ to 1/100
DECREMENT_PER_NORM = 10.0


class SteepestDescent:
    """Directions along −g. The line search first tries twice the last step size."""

    name = "gradient descent"
    stops_by_norm = True
    memory = 1
    max_unconfirmed = 0

    dependent = ()

    def __init__(self, task):
        self._task = task
        self._newton = Newton(task) if task.objective.has_hessian else None

    def is_well_conditioned_at(self, theta):
        """True: nothing is factored."""
        yield from ()
        return True

    def direction(self, point):
        """−g.

        λ is computed once the gradient's norm is within its tolerance, and again whenever the norm has halved since.
        """
        step_size = 2 * point.step_size
        if not step_size:
            step_size = yield from cauchy_step_size(self._task.objective, point)
        decrement = np.inf
        if point.gradient_norm <= min(self._task.gtol, point.previous_decrement / 2):
            exact = yield from self._newton_direction(point)
            decrement = exact.decrement
            # the norm at which λ was computed stands in the place of the last λ
            point = point._replace(previous_decrement=point.gradient_norm, decrement=decrement)
        stop = decrement <= DECREMENT_PER_NORM * self._task.tolerance
        return Direction(-point.gradient, step_size, point, decrement, is_exact=True, stop_without_step=stop)

    def _newton_direction(self, point):
        if self._newton is not None:
            return (yield from self._newton.direction(point._replace(preconditioner_theta=np.empty(0))))
        return (yield from newton_cg_direction(self._task, point, np.array))


def cauchy_step_size(objective, point):
    """The size of a first step along −g: to the Cauchy point, which minimises the quadratic model along −g.

    To a distance of 1 where the curvature along −g is not positive or not finite.
    """
    if point.gradient_norm == 0:
        return 1.0
    unit = point.gradient / point.gradient_norm
    curvature = dot(unit, (yield Product(objective, point.theta, unit)))
    return 1 / curvature if 0 < curvature < math.inf else 1 / point.gradient_norm

"""Directions along −g. A gradient's norm has the columns' units: that the end is near, the Hessian must say too."""

import math

import numpy as np

from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.newton import Newton, by_conjugate_gradients
from jitlogreg.solvers.point import dot

# The λ that goes with a gradient's norm, as a multiple: curvatures along columns of deviation 1 are ¼ to 1/100
LAMBDA = 10.0


class GradientDescent:
    """Directions of gradient descent; twice the last length is tried first."""

    name = "gradient descent"
    goes_by_norm = True
    memory = 1
    most_unverified = 0

    dependent = ()

    def __init__(self, task):
        self._task = task
        self._newton = Newton(task) if task.objective.has_hessian else None

    def is_sound_at(self, theta):
        """Whether columns as they are will do: there is no factor that could fail."""
        return True

    def direction(self, point):
        """−g, and λ where the gradient's norm is within its tolerance and half of what it was when λ was asked last."""
        length = 2 * point.length if point.length else cauchy_length(self._task.objective, point)
        decrement = np.inf
        if point.gradient_norm <= min(self._task.gradient_tolerance, point.before / 2):
            exact = self._exact(point)
            decrement, point = exact.decrement, point._replace(before=point.gradient_norm, decrement=exact.decrement)
        ends_here = decrement <= LAMBDA * self._task.tolerance
        return Direction(-point.gradient, length, point, decrement, is_exact=True, ends_here=ends_here)

    def _exact(self, point):
        if self._newton is not None:
            return self._newton.direction(point._replace(scaled_at=np.empty(0)))
        return by_conjugate_gradients(self._task, point, np.array)


def cauchy_length(objective, point):
    """The length of a first step along −g: to the minimum of the parabola there, or to a distance of 1."""
    if point.gradient_norm == 0:
        return 1.0
    unit = point.gradient / point.gradient_norm
    hessian_vector = getattr(objective, "hessian_vector", None)
    curvature = dot(unit, hessian_vector(point.theta, unit)) if hessian_vector else 0.0
    return 1 / curvature if 0 < curvature < math.inf else 1 / point.gradient_norm

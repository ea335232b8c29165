"""L-BFGS: directions from the last steps, and from the Hessian of a sample of the rows where the target has one.

Source: Nocedal & Wright, Numerical Optimization, 2006, 7.2.
"""

import math

import numpy as np

from jitlogreg.solvers.curvature import Cholesky, factored
from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.newton import Newton, by_conjugate_gradients
from jitlogreg.solvers.point import dot
from jitlogreg.solvers.steepest_descent import cauchy_length

# Pairs of steps and gradients that are remembered (Nocedal & Wright, 7.2: 3 to 20)
MEMORY = 10

# A sample has so many rows, or so many for each parameter; its Hessian is made anew at iteration 3, as the start lies
# far off, and then at every tenth. 1,000,000 x 28 takes 7 evaluations in place of 10, with correlated columns 9 in
# place of 24, with columns of scales exp(N(0, 1)) 8 in place of 152; a fifth as many rows or five times as many change
# that by one or two. Separable data, where the Hessian vanishes on the way, take 73 iterations, not 183
SAMPLE, SAMPLE_PER_PARAMETER = 10_000, 20
SAMPLED_AT, SAMPLED_EVERY = 3, 10

# Parameters up to which the Hessian costs an evaluation. There, and where the sample has all rows, the last step is
# Newton's
CHEAP = 8

# How often the model may be wrong about the end before the Hessian itself is asked
PATIENCE = 2


class LBFGS:
    """Directions of L-BFGS, by the recursion of two loops; near an end that they misjudge, those of Newton's method.

    The loops run in the coordinates in which the sample's Hessian is the unit matrix: elsewhere their sums cancel where
    columns are nearly the same.
    """

    name = "lbfgs"
    goes_by_norm = False
    memory, most_unverified = MEMORY, PATIENCE

    def __init__(self, task):
        self._task, objective = task, task.objective
        rows = max(SAMPLE, SAMPLE_PER_PARAMETER * objective.n_parameters)
        self._sample = objective.sample(rows) if objective.has_hessian else None
        self._scaled_at, self._model, self._pairs = None, _AsIs(), {}
        self._newton = Newton(task) if objective.has_hessian else None
        small = objective.n_parameters <= CHEAP or (self._sample is not None and objective.shape[0] <= rows)
        self._ends_exactly = objective.has_hessian and small

    @property
    def dependent(self):
        """The numbers of the parameters that the last Hessian could not tell apart."""
        return (self._newton.dependent if self._newton is not None else ()) or self._model.dependent

    def is_sound_at(self, theta):
        """Whether the Hessian of the sample at θ has a Cholesky factor to go by, in columns as they are."""
        if self._sample is None:
            return True
        self._scaled_at, self._model = theta, Cholesky(self._sample.hessian(theta))
        return self._model.is_sound

    def direction(self, point):
        """−B⁻¹g, B as the last steps and the sample have it."""
        near = point.unverified >= PATIENCE
        if near and self._newton is not None:
            return self._newton.direction(point)
        due = point.iteration == SAMPLED_AT or point.iteration % SAMPLED_EVERY == 0
        if self._sample is not None and due:
            point = point._replace(scaled_at=point.theta)
        model = self._model_at(point.scaled_at)
        pairs = self._pairs_of(point)

        def inverse(gradient):
            return model.to_step(_two_loops(pairs, model.of_gradient(gradient), model.is_unit))

        def decrement_of(gradient):
            if model.misses(gradient):
                return math.inf
            x = model.of_gradient(gradient)
            return math.sqrt(max(dot(x, _two_loops(pairs, x, model.is_unit)), 0.0))

        decrement = decrement_of(point.gradient)
        if decrement <= self._task.tolerance and self._ends_exactly:
            return self._newton.direction(point._replace(scaled_at=np.empty(0)))
        if near or (self._sample is None and decrement <= self._task.tolerance):
            return by_conjugate_gradients(self._task, point, inverse)
        length = 1.0 if model.is_unit or pairs else cauchy_length(self._task.objective, point)
        return Direction(-inverse(point.gradient), length, point, decrement, decrement_of, model.noise)

    def _model_at(self, theta):
        """The factored Hessian of the sample at θ; that of the last θ is kept. The unit matrix if there is none."""
        if len(theta) and (self._scaled_at is None or not np.array_equal(self._scaled_at, theta)):
            self._scaled_at, self._model = theta, factored(self._sample, theta, self._task.spread)
            self._pairs = {}
        return self._model

    def _pairs_of(self, point):
        """The steps and slopes of a point in the model's coordinates, with their products."""
        before, self._pairs = self._pairs, {}
        for s, y in zip(point.steps, point.slopes, strict=True):
            key = s.tobytes()
            if key not in before:
                along, change = self._model.of_step(s), self._model.of_gradient(y)
                before[key] = along, change, dot(along, change)
            self._pairs[key] = before[key]
        return [pair for pair in self._pairs.values() if pair[2] > 0]


class _AsIs:
    """Coordinates as they are, where there is no sample to tell better ones."""

    is_unit, dependent = False, ()

    def of_gradient(self, gradient):
        """g."""
        return gradient

    def of_step(self, step):
        """s."""
        return step

    def to_step(self, x):
        """x."""
        return x

    def misses(self, gradient):
        """False."""
        return False

    def noise(self, size):
        """0, for want of better knowledge."""
        return 0.0


def _two_loops(pairs, v, is_unit):
    """B⁻¹v: the unit matrix, or a multiple of it that the last pair tells, updated by the pairs."""
    q, products = v.copy(), []
    for s, y, sy in reversed(pairs):
        products.append(dot(s, q) / sy)
        q -= products[-1] * y
    if pairs and not is_unit:
        _, y, sy = pairs[-1]
        q *= sy / dot(y, y)
    for s, y, sy in pairs:
        q += (products.pop() - dot(y, q) / sy) * s
    return q

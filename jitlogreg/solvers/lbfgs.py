"""L-BFGS, preconditioned by the Hessian of a sample of the rows where the target has a Hessian.

Of a softmax with more parameters than a Hessian is formed of, the block that its classes share preconditions it. Where
X has too many columns for that, their mean squares do: a column that few rows have would else hardly move.

Source: Nocedal & Wright, Numerical Optimization, 2006, 7.2.
"""

import math

import numpy as np

from jitlogreg.norms import norm
from jitlogreg.solvers.curvature import Cholesky, Diagonal, NoModel, factorize, factorize_shared
from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.newton import Newton
from jitlogreg.solvers.newton_cg import newton_cg_direction
from jitlogreg.solvers.point import dot
from jitlogreg.solvers.requests import Hessian, MeanCurvature
from jitlogreg.solvers.steepest_descent import cauchy_step_size

# Pairs (s, y) that are kept (Nocedal & Wright, 7.2: 3 to 20)
MEMORY = 10

# A sample has so many rows, or so many for each parameter if that is more. Its Hessian is computed at iteration 3, if
# the start is farther away than NEAR (in its Hessian's norm, in which a step of Newton's has the length λ), and then at
# every tenth. 1,000,000 x 28 takes 7 evaluations instead of 10; with
# correlated columns 9 instead of 24; with columns of scales exp(N(0, 1)) 8 instead of 152. A fifth as many rows or five
# times as many change that by one or two. Separable data, whose Hessian vanishes on the way, take 73 iterations instead
# of 183
SAMPLE_ROWS, SAMPLE_ROWS_PER_PARAMETER = 10_000, 20
FIRST_SAMPLED_ITERATION, SAMPLING_INTERVAL, NEAR = 3, 10, 0.1

# Up to so many parameters the Hessian costs no more than an evaluation. The last step is then Newton's, as it is where
# the sample has all rows
CHEAP_PARAMETERS = 8

# How often the next gradient may fail to confirm that the minimum is near before the Hessian itself is asked
MAX_UNCONFIRMED = 2


class LBFGS:
    """Directions of L-BFGS by the two-loop recursion; those of Newton's method near an end that L-BFGS misjudges.

    The recursion runs in preconditioned coordinates, in which the sample's Hessian is the unit matrix. In others its
    sums cancel where columns are nearly equal.
    """

    name = "lbfgs"
    stops_by_norm = False
    memory, max_unconfirmed = MEMORY, MAX_UNCONFIRMED

    def __init__(self, task, model=None):
        """L-BFGS for a task, preconditioned by a factored Hessian if one is given, else by that of a sample."""
        self._task, objective = task, task.objective
        self._sample, rows = None, 0
        if model is None and (objective.has_hessian or objective.has_shared_hessian):
            factored = objective.n_parameters if objective.has_hessian else objective.n_features + 1
            rows = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_PARAMETER * factored)
            self._sample = objective.sample(rows)
        # a block that the outputs share tells too little of λ to end a run
        self._tells_decrement = model is not None or (self._sample is not None and objective.has_hessian)
        self._factored_at, self._model, self._pairs = None, NoModel() if model is None else model, {}
        self._newton = Newton(task) if objective.has_hessian else None
        is_cheap = objective.n_parameters <= CHEAP_PARAMETERS
        sample_is_all = self._sample is not None and objective.shape[0] <= rows
        self._ends_by_newton = objective.has_hessian and model is None and (is_cheap or sample_is_all)

    @property
    def dependent(self):
        """The parameters that the last Hessian could not tell apart."""
        return (self._newton.dependent if self._newton is not None else ()) or self._model.dependent

    def is_well_conditioned_at(self, theta):
        """Whether the sample's Hessian at θ has a usable Cholesky factor in the caller's columns."""
        if self._sample is None:
            if self._task.objective.has_mean_curvature:
                self._model = Diagonal((yield MeanCurvature(self._task.objective)))
            return True
        if self._sample.has_hessian:
            self._factored_at, self._model = theta, Cholesky((yield Hessian(self._sample, theta)))
            return self._model.is_well_conditioned
        self._factored_at, self._model = theta, (yield from factorize_shared(self._sample, theta))
        return self._model.has_unit_hessian

    def direction(self, point):
        """−B⁻¹g, where the last pairs and the sample make B."""
        is_misjudged = point.n_unconfirmed >= MAX_UNCONFIRMED
        if is_misjudged and self._newton is not None:
            return (yield from self._newton.direction(point))
        if self._sample is not None and (yield from self._is_sampled_at(point)):
            point = point._replace(preconditioner_theta=point.theta)
        model = yield from self._model_at(point.preconditioner_theta)
        inverse = _InverseHessian(model, self._transformed_pairs(point))
        decrement = inverse.decrement_of(point.gradient)
        if decrement <= self._task.tolerance and self._ends_by_newton:
            return (yield from self._newton.direction(point._replace(preconditioner_theta=np.empty(0))))
        if is_misjudged or (not self._tells_decrement and decrement <= self._task.tolerance):
            return (yield from newton_cg_direction(self._task, point, inverse.times))
        is_scaled = model.has_unit_hessian or inverse.pairs
        step_size = 1.0 if is_scaled else (yield from cauchy_step_size(self._task.objective, point))
        step = -inverse.times(point.gradient)
        return Direction(step, step_size, point, decrement, inverse.decrement_of, model.noise_floor)

    def _is_sampled_at(self, point):
        """Whether the sample's Hessian is to be computed at a point."""
        if point.iteration != FIRST_SAMPLED_ITERATION or not len(point.preconditioner_theta):
            return point.iteration == FIRST_SAMPLED_ITERATION or point.iteration % SAMPLING_INTERVAL == 0
        model = yield from self._model_at(point.preconditioner_theta)
        return norm(model.transform_step(point.theta - point.preconditioner_theta)) > NEAR

    def _model_at(self, theta):
        """The factored Hessian of the sample at θ. The last one is kept; before the first nothing is preconditioned."""
        if len(theta) and (self._factored_at is None or not np.array_equal(self._factored_at, theta)):
            if self._sample.has_hessian:
                model = yield from factorize(self._sample, theta, self._task.spread)
            else:
                model = yield from factorize_shared(self._sample, theta)
            self._factored_at, self._model, self._pairs = theta, model, {}
        return self._model

    def _transformed_pairs(self, point):
        """(s, y, sᵀy) of a point's history, in the preconditioned coordinates; those with sᵀy > 0."""
        known, self._pairs = self._pairs, {}
        for s, y in zip(point.s_history, point.y_history, strict=True):
            key = s.tobytes()
            if key not in known:
                s, y = self._model.transform_step(s), self._model.transform_gradient(y)
                known[key] = s, y, dot(s, y)
            self._pairs[key] = known[key]
        return [pair for pair in self._pairs.values() if pair[2] > 0]


class _InverseHessian:
    """B⁻¹ by the two-loop recursion, in the preconditioned coordinates of a model."""

    def __init__(self, model, pairs):
        self._model, self.pairs = model, pairs

    def times(self, gradient):
        """B⁻¹g."""
        x = self._model.transform_gradient(gradient)
        return self._model.recover_step(_two_loop_recursion(self.pairs, x, self._model.has_unit_hessian))

    def decrement_of(self, gradient):
        """√(gᵀB⁻¹g); inf where the model has no curvature along a part of g."""
        if self._model.has_null_space_part(gradient):
            return math.inf
        x = self._model.transform_gradient(gradient)
        return math.sqrt(max(dot(x, _two_loop_recursion(self.pairs, x, self._model.has_unit_hessian)), 0.0))


def _two_loop_recursion(pairs, v, has_unit_hessian):
    """B⁻¹v, where the pairs update the unit matrix.

    Without a preconditioner the unit matrix is scaled by sᵀy / yᵀy of the last pair.
    """
    q, alphas = v.copy(), []
    for s, y, sy in reversed(pairs):
        alphas.append(dot(s, q) / sy)
        q -= alphas[-1] * y
    if pairs and not has_unit_hessian:
        _, y, sy = pairs[-1]
        q *= sy / dot(y, y)
    for s, y, sy in pairs:
        q += (alphas.pop() - dot(y, q) / sy) * s
    return q

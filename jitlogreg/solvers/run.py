"""A run from its start to its end: the columns in which it computes, its points, and the verdict on the last one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg.norms import norm
from jitlogreg.solvers import separation
from jitlogreg.solvers.curvature import MIN_SHARE
from jitlogreg.solvers.direction import Method
from jitlogreg.solvers.line_search import CONFIRMED, next_point
from jitlogreg.solvers.monitor import Monitor, State, is_true
from jitlogreg.solvers.point import Point, Task, initial_point
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.requests import Evaluation, Steps
from jitlogreg.solvers.solver_objective import SolverObjective
from jitlogreg.solvers.standardize import ROWS, ColumnStatistics, column_statistics

# Separation is suspected if the last step has left this share of λ or more: along exponentials 1/e is left
DIVERGENT_CONTRACTION = 0.3

# The columns that separate are named if they are fewer
MAX_NAMED_COLUMNS = 10

# Below this λ the run ends even if separation is still possible: further steps gain nothing
MIN_DECREMENT = 1e-11

# While λ falls as slowly as it does without a minimum, separation is looked for at each multiple of so many iterations
SEPARATION_INTERVAL = 4

HIDDEN = (
    "rounding hides the minimum, as columns of X are nearly dependent (it would not without one of them, or with l2 "
    "above 0)"
)


class Outcome(NamedTuple):
    """The last point of a run, and the verdict on it.

    Attributes
    ----------
    point : Point
    converged : bool
        Whether it is the minimum.
    message : str
        Why the run ended there.
    remedy : {"penalty", "labels"} or None
        What would give the objective a minimum, where it has none.
    """

    point: Point
    converged: bool
    message: str
    remedy: str | None = None


class Run:
    """One fit: an objective, the columns in which it is minimised, and the method.

    The caller's columns are used where that loses no digits. Where they lie far from 0, or depend on each other so much
    that their Hessian has no usable Cholesky factor, the run computes in the frame of their centres and scales. Their
    statistics come from the objective's own rows and weights, or are given as `columns`.

    Whoever calls answers the requests of `begin` and `minimise`, while NumPy's warnings are off.
    """

    def __init__(
        self,
        objective: SolverObjective,
        make_method: Callable[[Task], Method],
        tolerance: float,
        theta: np.ndarray,
        columns: ColumnStatistics | None = None,
    ):
        self._columns = columns
        self._objective, self._make_method, self._tolerance = objective, make_method, tolerance
        self.theta, self._warnings = theta, np.geterr()
        self._tested_theta = self._is_separation_possible = self._separation = None

    def begin(self) -> Steps:
        """Choose the columns, and evaluate the start."""
        objective = self._objective
        if self._columns is None:
            described = {"l2": objective.l2, "has_intercept": objective.has_intercept}
            self._columns = column_statistics(*objective.some_rows(ROWS), **described)
        if not self._columns.needs_frame:
            yield from self._set_up(objective, self._columns.rms, np.ones(objective.n_features))
        if self._columns.needs_frame or not (yield from self._method.is_well_conditioned_at(self.start.theta)):
            spread = self._columns.spread
            yield from self._set_up(objective.in_frame(self._columns.frame), spread, spread)

    @property
    def objective(self):
        """The objective in the columns in which the run computes."""
        return self._task.objective

    @property
    def spread(self):
        """The deviation of the column of each parameter there."""
        return self._task.spread

    def _set_up(self, objective, rms, spread):
        """Start in the columns of an objective, which have these statistics."""
        theta = objective.from_caller(self.theta)
        loss, gradient = (yield Evaluation(objective, theta)) if np.any(theta) else objective.at_zero()
        self.start = initial_point(theta, loss, gradient)
        gtol = self._tolerance * max(1.0, self.start.gradient_norm)
        rms, spread = objective.per_parameter(rms), objective.per_parameter(spread)
        self._task = Task(objective, self._tolerance, gtol, rms, spread)
        self._method = self._make_method(self._task)

    @np.errstate(all="ignore")
    def parameters(self, point):
        """w and b in the caller's columns."""
        return self._task.objective.parameters(point.theta)

    @np.errstate(all="ignore")
    def gradient_norm(self, point):
        """The Euclidean norm of the gradient in the caller's columns."""
        objective = self._task.objective
        return point.gradient_norm if objective.frame is None else norm(objective.gradient_to_caller(point.gradient))

    # ---------------------------------------------------------------- the iterations

    def minimise(self, point: Point, max_iterations: int, monitor: Monitor) -> Steps:
        """Go on from a point to the end of the run; returns its `Outcome`."""
        with progress_bar(self._method.name, max_iterations, enabled=monitor.progress) as advance:
            advance(point.iteration, point.loss)
            while True:
                monitor.checkpoint.save(point.iteration, point._asdict)
                reason = self._stop_reason(point, max_iterations, self._is_stopped(point, monitor.callback))
                found = None if reason else (yield from self._next_point(point, max_iterations))
                if found is None or found.iteration == point.iteration:
                    break
                point = found
                advance(1, point.loss)
            if found is not None:
                point, reason = found, HIDDEN
            monitor.checkpoint.save(point.iteration, point._asdict, is_last=True)
            return (yield from self._outcome(point, reason or "no step lowers the loss further"))

    def _is_stopped(self, point, callback):
        """Whether the callback, which is shown the point, ends the run."""
        if callback is None:
            return False
        state = State(point.iteration, point.loss, self.gradient_norm(point), *self.parameters(point))
        with np.errstate(**self._warnings):
            return is_true(callback(state))

    def _stop_reason(self, point, max_iterations, is_stopped):
        """Why the run ends at a point, or None."""
        if point.converged:
            return "converged"
        if not np.isfinite(point.loss):
            return f"the loss is {point.loss} at the start: X, w, b or offset, or a sum of them, is not finite"
        if is_stopped:
            return "stopped by the callback"
        if point.iteration >= max_iterations:
            return f"max_iterations={max_iterations} is reached"
        return None

    def _next_point(self, point, max_iterations):
        """The next point. It is not the end before separation is ruled out or proved, unless λ is next to nothing."""
        found = yield from next_point(self._task, self._method, point)
        if found is None or not found.converged or not point.iteration < found.iteration < max_iterations:
            return found
        if found.decrement > MIN_DECREMENT and (yield from self._may_be_separated(found)):
            if found.decrement > CONFIRMED * found.previous_decrement and found.iteration % SEPARATION_INTERVAL == 0:
                self._separation = separation.find(self._task.objective, found, self._columns.frame)
            if self._separation is None:
                return found._replace(converged=False)
        return found

    # ---------------------------------------------------------------- the verdict

    def _outcome(self, point, reason):
        """The outcome of a run that has ended at a point for this reason."""
        if reason.startswith("max_iterations") and self._is_confirmed(point):
            point = point._replace(converged=True)
        if point.converged:
            reason = "converged"
        message, remedy = yield from self._separation_message(point)
        if remedy is not None:
            return Outcome(point, False, message, remedy)
        if not np.isfinite(point.loss):
            return Outcome(point, False, reason)
        message = f"{reason}: {self._distance(point)}"
        if point.converged and self._method.dependent:
            message += f"; {self._named(self._method.dependent)}: of all solutions this is the one of least norm"
        return Outcome(point, point.converged, message)

    def _is_confirmed(self, point):
        """Whether the step that led to a point has confirmed that it is the end."""
        return point.decrement <= min(self._tolerance, CONFIRMED * point.previous_decrement)

    def _distance(self, point):
        """How far a point is from the minimum, in words."""
        decrement = f"Newton's decrement is {point.decrement:.3g}"
        if self._method.stops_by_norm:
            norms = f"the gradient's norm is {point.gradient_norm:.3g}, the tolerance {self._task.gtol:.3g}"
            return f"{norms}; {decrement}" if np.isfinite(point.decrement) else norms
        return f"{decrement}, the tolerance {self._tolerance:.3g}"

    def _separation_message(self, point):
        """What to say if the objective has no minimum, or seems to have none, and the remedy; or None and None."""
        objective = self._task.objective
        if not (yield from self._may_be_separated(point)):
            return None, None
        found = self._separation or separation.find(objective, point, self._columns.frame)
        if found is not None:
            remedy = "labels" if found.kind.startswith(("one class", "missing class")) else "penalty"
            return f"the objective has no minimum: {found.described()}{self._separating_columns(found)}", remedy
        if np.all(objective.penalty > 0):  # there are two classes
            return None, None
        if point.converged and self._seems_to_diverge(point):
            return "the objective seems to have no minimum: separation is suspected, as w grows without end", "penalty"
        return None, None

    def _may_be_separated(self, point):
        """Whether separation is possible. The answer for the last θ is kept."""
        if self._tested_theta is not point.theta:
            self._tested_theta = point.theta
            self._is_separation_possible = yield from separation.is_possible(self._task.objective, point)
        return self._is_separation_possible

    def _seems_to_diverge(self, point):
        """Whether the last step has reduced λ no more than a step along an exponential does."""
        before = point.previous_decrement
        return DIVERGENT_CONTRACTION * before <= point.decrement and self._tolerance * 1e-3 < before

    def _separating_columns(self, found):
        """The columns that separate, in words, where they are few and not all."""
        n, outputs = self._objective.n_features, self._objective.n_outputs
        size = np.max(np.abs(found.direction[: n * outputs].reshape(n, outputs)), axis=1) * self._columns.spread
        columns = np.flatnonzero(size > MIN_SHARE * np.max(size, initial=0.0))
        if not 0 < len(columns) < min(n, MAX_NAMED_COLUMNS):
            return ""
        return f", along column{'s' * (len(columns) > 1)} {', '.join(map(str, columns))} of X"

    def _named(self, parameters):
        """Columns that depend on each other, in words."""
        n, outputs = self._objective.n_features, self._objective.n_outputs
        columns = [str(j) for j in sorted({parameter // outputs for parameter in parameters}) if j < n]
        if not columns:
            return "the intercepts depend on each other"
        if len(columns) == 1:
            return f"column {columns[0]} of X is constant or depends on others"
        return f"columns {', '.join(columns)} of X depend on each other"

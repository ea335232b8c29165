"""A run from its start to its end: in which columns it computes, where it has come to, and what that is worth."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg.objective import Objective, norm, split
from jitlogreg.solvers import point as points
from jitlogreg.solvers import separation
from jitlogreg.solvers.curvature import TAKES_PART
from jitlogreg.solvers.gradient_descent import State, is_true
from jitlogreg.solvers.line_search import BORNE_OUT, following
from jitlogreg.solvers.point import Point, Task
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.standardize import ROWS, standard

# A last step that has left this share of λ or more has not gone to a minimum: along exponentials 1/e is left
RUNS_AWAY = 0.3


# The columns that are named at most where some separate
MOST_NAMED = 10

# The λ below which nothing is gained by another step that might rule a separation out
RULED_OUT = 1e-11


# While λ falls as it does without a minimum, a separation is looked for at so manieth iterations, and at the end
SOUGHT_EVERY = 4


HIDDEN = (
    "rounding hides the minimum, as columns of X are nearly dependent (it would not without one of them, or with l2 "
    "above 0)"
)


class Watch(NamedTuple):
    """Who looks on at a run: a callback, a progress bar, and a function that keeps every so manieth point."""

    callback: Callable[[State], object] | None
    progress: bool
    keep: Callable[[Point], None] | None
    every: int


class Ending(NamedTuple):
    """The last point of a run, and what it is worth.

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
    """One fit: what is minimised, in which columns, and how.

    Columns are taken as they are where that loses no digits. Where they lie far from 0, or depend on each other so much
    that their Hessian has no Cholesky factor, the run computes in the frame of their centres and scales.
    """

    @np.errstate(all="ignore")
    def __init__(self, objective: Objective, make_method: Callable[[Task], Any], tolerance: float, theta: np.ndarray):
        self._objective, self._make_method, self._tolerance = objective, make_method, tolerance
        self.theta = theta
        self._asked_about = self._is_possible = self._proof = None
        has_b = objective.n_parameters > objective.n_features
        self._standard = standard(*objective.some_rows(ROWS), l2=objective.l2, has_intercept=has_b)
        if not self._standard.matters:
            self._begin(objective, self._standard.size, np.ones(objective.n_features))
        if self._standard.matters or not self._method.is_sound_at(self.start.theta):
            spread = self._standard.spread
            self._begin(objective.in_frame(self._standard.frame), spread, spread)

    def _begin(self, objective, size, spread):
        n, p = objective.n_features, objective.n_parameters
        theta = self.theta if objective.frame is None else objective.frame.from_caller(self.theta)
        loss, gradient = objective(theta) if np.any(theta) else objective.at_zero()
        self.start = points.start(theta, loss, gradient)
        enough = self._tolerance * max(1.0, self.start.gradient_norm)
        with_b = [np.append(columns, np.ones(p - n)) for columns in (size, spread)]
        self._task = Task(objective, self._tolerance, enough, *with_b)
        self._method = self._make_method(self._task)

    @np.errstate(all="ignore")
    def parameters(self, point):
        """w and b in the caller's columns."""
        frame = self._task.objective.frame
        w, b = split(point.theta if frame is None else frame.to_caller(point.theta), self._objective.n_features)
        return w.copy(), b

    @np.errstate(all="ignore")
    def gradient_norm(self, point):
        """The Euclidean norm of the gradient in the caller's columns."""
        frame = self._task.objective.frame
        return point.gradient_norm if frame is None else norm(frame.gradient_to_caller(point.gradient))

    def to_end(self, point, max_iterations, watch):
        """Go on from a point. Returns the `Ending`."""
        name = type(self._method).name
        with progress_bar(name, max_iterations, enabled=watch.progress) as advance:
            advance(point.iteration, point.loss)
            while True:
                if watch.keep and point.iteration % watch.every == 0:
                    watch.keep(point)
                stop = watch.callback is not None and is_true(watch.callback(self._state(point)))
                ended = self._ended(point, max_iterations, stop)
                found = None if ended else self._following(point, max_iterations)
                if found is None or found.iteration == point.iteration:
                    point = point if found is None else found
                    if watch.keep and point.iteration % watch.every != 0:
                        watch.keep(point)
                    hidden = found is not None and not found.converged
                    stuck = HIDDEN if hidden else "no step lowers the loss further"
                    return self._judged(point, ended or stuck)
                point = found
                advance(1, point.loss)

    def _following(self, point, max_iterations):
        """The next point, which is the end no sooner than a separation is ruled out or proved, or λ next to nothing."""
        found = following(self._task, self._method, point)
        if found is None or not found.converged or not point.iteration < found.iteration < max_iterations:
            return found
        if found.decrement > RULED_OUT and self._may_be_separated(found):
            if found.decrement > BORNE_OUT * found.before and found.iteration % SOUGHT_EVERY == 0:
                self._proof = separation.find(self._task.objective, found, self._standard.frame)
            if self._proof is None:
                return found._replace(converged=False)
        return found

    def _state(self, point):
        return State(point.iteration, point.loss, self.gradient_norm(point), *self.parameters(point))

    def _ended(self, point, max_iterations, stop):
        """Why the run ends at a point, or None."""
        if point.converged:
            return "converged"
        if not np.isfinite(point.loss):
            return f"the loss is {point.loss} at the start: X, w or b, or a sum of them, is not finite"
        if stop:
            return "stopped by the callback"
        if point.iteration >= max_iterations:
            return f"max_iterations={max_iterations} is reached"
        return None

    def _judged(self, point, why):
        """The ending at a point, once it is known whether there is a minimum."""
        if why.startswith("max_iterations") and self._has_settled(point):
            point = point._replace(converged=True)
        if point.converged:
            why = "converged"
        message, remedy = self._separation(point)
        if remedy is not None:
            return Ending(point, False, message, remedy)
        if not np.isfinite(point.loss):
            return Ending(point, False, why)
        message = f"{why}: {self._far(point)}"
        if point.converged and self._method.dependent:
            message += f"; {self._names(self._method.dependent)}: of all solutions this is the one of least norm"
        return Ending(point, point.converged, message)

    def _far(self, point):
        """How far a point is from the end, in words."""
        far = f"Newton's decrement is {point.decrement:.3g}"
        if self._method.goes_by_norm:
            norms = (
                f"the gradient's norm is {point.gradient_norm:.3g}, the tolerance {self._task.gradient_tolerance:.3g}"
            )
            return f"{norms}; {far}" if np.isfinite(point.decrement) else norms
        return f"{far}, the tolerance {self._tolerance:.3g}"

    def _has_settled(self, point):
        """Whether the step that led to a point has borne out that it is the end."""
        return point.decrement <= min(self._tolerance, BORNE_OUT * point.before)

    @np.errstate(all="ignore")
    def _separation(self, point):
        """What to say where the objective has no minimum, or seems to have none, and what would help; or two None."""
        objective = self._task.objective
        if not self._may_be_separated(point):
            return None, None
        found = self._proof or separation.find(objective, point, self._standard.frame)
        if found is not None:
            remedy = "labels" if found.kind.startswith("one class") else "penalty"
            return f"the objective has no minimum: {found.described()}{self._along(found)}", remedy
        if np.all(objective.penalty > 0):  # there are two classes
            return None, None
        if point.converged and RUNS_AWAY * point.before <= point.decrement and self._tolerance * 1e-3 < point.before:
            return "the objective seems to have no minimum: separation is suspected, as w grows without end", "penalty"
        return None, None

    def _may_be_separated(self, point):
        """Whether a separation is possible; of a point that was asked about last, the answer then."""
        if self._asked_about is not point.theta:
            self._asked_about = point.theta
            self._is_possible = separation.is_possible(self._task.objective, point)
        return self._is_possible

    def _along(self, found):
        """The columns that separate, where they are few and not all."""
        n = self._objective.n_features
        size = np.abs(found.direction[:n]) * self._standard.spread
        columns = np.flatnonzero(size > TAKES_PART * np.max(size, initial=0.0))
        if not 0 < len(columns) < min(n, MOST_NAMED):
            return ""
        return f", along column{'s' * (len(columns) > 1)} {', '.join(map(str, columns))} of X"

    def _names(self, parameters):
        n = self._objective.n_features
        columns = [str(j) for j in parameters if j < n]
        if len(columns) == 1:
            return f"column {columns[0]} of X is constant or depends on others"
        return f"columns {', '.join(columns)} of X depend on each other"

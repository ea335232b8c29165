"""From one point to the next: a line search along a direction, or a final full step without one.

Source: Nocedal & Wright, Numerical Optimization, 2006, 3.1 (the Wolfe conditions) and 3.5 (interpolation).
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.solvers.newton import REUSE_CONTRACTION
from jitlogreg.solvers.point import dot, fast_norm, initial_point
from jitlogreg.solvers.requests import Evaluation
from jitlogreg.solvers.steepest_descent import cauchy_step_size

# The constants of the Armijo condition and of the weak curvature condition, as recommended for quasi-Newton methods
# (Nocedal & Wright, 3.1)
C1, C2 = 1e-4, 0.9

# The most evaluations of a line search
MAX_LINE_SEARCH = 60

# A run ends after so many iterations in a row that lower neither the loss by more than its rounding nor the gradient's
# norm below its best
PATIENCE = 3

# A model other than the Hessian at the point is confirmed if its step leaves at most this share of λ, or this share of
# the tolerance. Where classes are separated, 1/e of λ or more is left
CONFIRMED, CONFIRMED_OF_TOLERANCE = 1 / 4, 1 / 64


def next_point(task, method, point):
    """The next point; None if no step lowers the loss; the same point if rounding hides what is left to gain."""
    if point.n_stalled >= PATIENCE:
        return (yield from _last_resort(task, method, point))
    direction = yield from method.direction(point)
    point = direction.point
    if direction.stop_without_step:
        # no step led here for which λ is known before and after
        return point._replace(previous_decrement=math.inf, converged=True)
    if direction.decrement <= task.tolerance:
        noise = _noise_floor(task, direction)
        if noise > task.tolerance:
            return point._replace(decrement=noise)
        final = yield from _final_step(task, method.memory, point, direction)
        if final is not None:
            return final
    elif direction.decrement == math.inf and direction.decrement_of is not None:
        point = point._replace(n_unconfirmed=point.n_unconfirmed + 1)
    stepped = yield from _descent_step(task, method.memory, point, direction)
    if stepped is None:
        return (yield from _last_resort(task, method, point))
    return _with_decrement(task, stepped, direction)


def _noise_floor(task, direction):
    """The λ that rounding may hide from a direction's model."""
    return direction.noise_floor(task.rms) if direction.noise_floor is not None else 0.0


def _last_resort(task, method, point):
    """The next point where no step lowers the loss: by the Hessian in place of a model, or anew from θ = 0."""
    if point.n_unconfirmed < method.max_unconfirmed:
        exact = point._replace(n_unconfirmed=method.max_unconfirmed, n_stalled=0)
        return (yield from next_point(task, method, exact))
    zero = np.zeros_like(point.theta)
    loss, gradient = yield Evaluation(task.objective, zero)
    if not loss < point.loss - task.loss_rounding(point):
        return None
    counts = {"iteration": point.iteration + 1, "n_evaluations": point.n_evaluations + 1}
    return initial_point(zero, loss, gradient)._replace(**counts)


def _final_step(task, memory, point, direction):
    """The end of a run whose λ is within the tolerance: the full step is taken unless it leaves a larger λ.

    The run goes on where the step does not confirm λ. None if the step raises the loss.
    """
    end = point._replace(decrement=direction.decrement, converged=True)
    if not np.any(direction.step):
        return end
    theta = point.theta + direction.step
    loss, gradient = yield Evaluation(task.objective, theta)
    left = direction.decrement if direction.decrement_of is None else direction.decrement_of(gradient)
    stepped = _advance(memory, point, _Trial(1.0, loss, theta, gradient), 1)
    stepped = stepped._replace(decrement=left, previous_decrement=direction.decrement, converged=True)
    is_lower = loss <= point.loss + task.loss_rounding(point)
    if direction.is_exact:
        is_better = is_lower and left <= direction.decrement
        return stepped if is_better else end._replace(n_evaluations=stepped.n_evaluations)
    if not is_lower:
        return None
    accepted = direction.accepted_decrement
    if accepted is None:
        accepted = max(CONFIRMED * direction.decrement, CONFIRMED_OF_TOLERANCE * task.tolerance)
    if left <= accepted:
        return stepped
    return stepped._replace(n_unconfirmed=point.n_unconfirmed + 1, converged=False)


def _descent_step(task, memory, point, direction):
    """The point that a line search finds, along −g where rounding has spoilt the direction; None if none is lower."""
    stepped = yield from _line_search_step(task, memory, point, direction.step, direction.step_size)
    if stepped is not None:
        return stepped
    step_size = yield from cauchy_step_size(task.objective, point)
    return (yield from _line_search_step(task, memory, point, -point.gradient, step_size))


def _with_decrement(task, stepped, direction):
    """The point after a step, with λ before and after it. It is the end if a step of Newton's has left next to no λ."""
    if direction.decrement_of is None:
        return stepped
    left = direction.decrement_of(stepped.gradient)
    is_newtons = direction.is_exact or direction.accepted_decrement is not None
    converged = is_newtons and left <= min(REUSE_CONTRACTION * direction.decrement, task.negligible_decrement)
    if converged:
        converged = _noise_floor(task, direction) <= task.tolerance
    return stepped._replace(decrement=left, previous_decrement=direction.decrement, converged=converged)


def _line_search_step(task, memory, point, step, step_size):
    """The point that a line search finds along a step; None if none is lower."""
    slope = dot(step, point.gradient)
    if not (slope < 0 and math.isfinite(slope)):
        return None
    rounding = task.loss_rounding(point)
    found, evaluations = yield from _weak_wolfe_search(task.objective, point, step, slope, step_size, rounding)
    if found is None:
        return None
    stepped = _advance(memory, point, found, evaluations)
    is_progress = stepped.loss < point.loss - rounding or stepped.gradient_norm < point.best_norm
    return stepped._replace(n_stalled=0 if is_progress else point.n_stalled + 1)


class _Trial(NamedTuple):
    """A step size that was tried, and what was found there."""

    step_size: float
    loss: float
    theta: np.ndarray
    gradient: np.ndarray


def _advance(memory, point, trial, evaluations):
    """The point after a step, with (s, y) in its history."""
    s_history, y_history = point.s_history, point.y_history
    s, y = trial.theta - point.theta, trial.gradient - point.gradient
    if memory == 1:
        s_history, y_history = s[np.newaxis], y[np.newaxis]
    elif dot(s, y) > 0:
        s_history, y_history = (np.vstack([old[-memory + 1 :], new]) for old, new in ((s_history, s), (y_history, y)))
    gradient_norm = fast_norm(trial.gradient)
    return point._replace(
        iteration=point.iteration + 1,
        n_evaluations=point.n_evaluations + evaluations,
        theta=trial.theta,
        loss=trial.loss,
        gradient=trial.gradient,
        gradient_norm=gradient_norm,
        s_history=s_history,
        y_history=y_history,
        step_size=trial.step_size,
        best_norm=min(point.best_norm, gradient_norm),
    )


def _weak_wolfe_search(objective, point, step, slope, step_size, rounding):
    """A step size that meets the weak Wolfe conditions, by bracketing, and how many were tried.

    The lowest loss that met the Armijo condition if none meets both, or None. The loss may rise by its rounding: near
    the minimum the slope alone can tell.
    """
    lower, upper, best = 0.0, math.inf, None
    for evaluations in range(1, MAX_LINE_SEARCH + 1):
        theta = point.theta + step_size * step
        loss, gradient = yield Evaluation(objective, theta)
        trial = _Trial(step_size, loss, theta, gradient)
        if not loss <= point.loss + rounding + C1 * step_size * slope:  # Armijo
            upper = step_size
        else:
            if best is None or loss <= best.loss:
                best = trial
            if dot(gradient, step) >= C2 * slope:  # the curvature condition
                return trial, evaluations
            lower = step_size
        step_size = _next_step_size(lower, upper, loss - point.loss, slope)
        if not 0 < step_size < math.inf:
            break
    return best, evaluations


def _next_step_size(lower, upper, rise, slope):
    """The next size to try: a longer one, the minimum of a parabola, or the middle of the bracket."""
    if upper == math.inf:
        return 4 * lower
    if lower == 0:
        return upper * _quadratic_interpolation(rise, upper * slope)
    return (lower + upper) / 2


def _quadratic_interpolation(rise, slope):
    """The minimum of the parabola with this slope at 0 and this rise at 1, clipped to between a tenth and a half."""
    bend = rise - slope
    return min(max(-slope / (2 * bend), 0.1), 0.5) if 0 < bend < math.inf else 0.1

"""From a point to the next: a step that a line search finds along a direction, or the last one, which needs none.

Source: Nocedal & Wright, Numerical Optimization, 2006, 3.1.
"""

import math

import numpy as np

from jitlogreg.solvers.newton import STILL_GOOD
from jitlogreg.solvers.point import dot, length, start
from jitlogreg.solvers.steepest_descent import cauchy_length

# The share of the slope that a step must gain, and the share that may be left (Nocedal & Wright, 3.1: the Wolfe
# conditions with the values recommended for quasi-Newton methods)
C1, C2 = 1e-4, 0.9
MAX_TRIALS = 60

# Iterations in a row that neither lower the loss by more than rounding nor the gradient's norm below the lowest so far,
# before a run ends
PATIENCE = 3

# A model that is not of the Hessian at a point is borne out where the step that it gave has left at most this share of
# λ, or next to nothing of what is asked for. Where classes are separated it is 1/e at least
BORNE_OUT, NEXT_TO_NOTHING = 1 / 4, 1 / 64


@np.errstate(all="ignore")
def following(task, method, point):
    """The next point; None where no step lowers the loss any more, the point itself where rounding hides the rest."""
    if point.standing >= PATIENCE:
        return _otherwise(task, method, point)
    towards = method.direction(point)
    point = towards.point
    if towards.ends_here:  # no step has led here by which λ went from one number to another
        return point._replace(before=math.inf, converged=True)
    if towards.decrement <= task.tolerance:
        noise = towards.noise(task.size) if towards.noise is not None else 0.0
        if noise > task.tolerance:
            return point._replace(decrement=noise)
        last = _last_step(task, method.memory, point, towards)
        if last is not None:
            return last
    elif towards.decrement == math.inf and towards.decrement_of is not None:
        point = point._replace(unverified=point.unverified + 1)
    stepped = _step(task, method.memory, point, towards.step, towards.length)
    if stepped is None:  # a direction that rounding has spoilt
        stepped = _step(task, method.memory, point, -point.gradient, cauchy_length(task.objective, point))
    if stepped is None:
        return _otherwise(task, method, point)
    if towards.decrement_of is None:
        return stepped
    left = towards.decrement_of(stepped.gradient)
    is_newtons = towards.is_exact or towards.may_leave is not None
    arrived = is_newtons and left <= min(STILL_GOOD * towards.decrement, task.negligible)
    if arrived and towards.noise is not None:
        arrived = towards.noise(task.size) <= task.tolerance
    return stepped._replace(decrement=left, before=towards.decrement, converged=arrived)


def _otherwise(task, method, point):
    """What is left to try where no step lowers the loss: the Hessian in place of a model of it, or a start at 0."""
    if point.unverified < method.most_unverified:
        return following(task, method, point._replace(unverified=method.most_unverified, standing=0))
    zero = np.zeros_like(point.theta)
    loss, gradient = task.objective(zero)
    if not loss < point.loss - task.rounding(point):
        return None
    counts = {"iteration": point.iteration + 1, "n_evaluations": point.n_evaluations + 1}
    return start(zero, loss, gradient)._replace(**counts)


def _last_step(task, memory, point, towards):
    """The end of a run whose λ is within its tolerance, after the step that told λ, unless that leaves a larger one.

    Where the step does not bear λ out it is not the end; None if it is no step at all.
    """
    end = point._replace(decrement=towards.decrement, converged=True)
    if not np.any(towards.step):
        return end
    theta = point.theta + towards.step
    loss, gradient = task.objective(theta)
    left = towards.decrement if towards.decrement_of is None else towards.decrement_of(gradient)
    stepped = _moved(memory, point, 1.0, loss, theta, gradient, 1)
    stepped = stepped._replace(decrement=left, before=towards.decrement, converged=True)
    is_lower = loss <= point.loss + task.rounding(point)
    if towards.is_exact:
        return stepped if is_lower and left <= towards.decrement else end._replace(n_evaluations=stepped.n_evaluations)
    borne_out = max(BORNE_OUT * towards.decrement, NEXT_TO_NOTHING * task.tolerance)
    if is_lower and left <= (borne_out if towards.may_leave is None else towards.may_leave):
        return stepped
    return stepped._replace(unverified=point.unverified + 1, converged=False) if is_lower else None


def _step(task, memory, point, direction, length):
    """The point that a line search finds along a direction; None where there is none lower."""
    slope = dot(direction, point.gradient)
    if not (slope < 0 and math.isfinite(slope)):
        return None
    rounding = task.rounding(point)
    found = _search(task.objective, point, direction, slope, length, rounding)
    if found is None:
        return None
    stepped = _moved(memory, point, *found)
    lower = stepped.loss < point.loss - rounding or stepped.gradient_norm < point.lowest
    return stepped._replace(standing=0 if lower else point.standing + 1)


def _moved(memory, point, reach, loss, theta, gradient, evaluations):
    """The point after a step, and the step with the gradient's change among those that are remembered."""
    steps, slopes = point.steps, point.slopes
    step, change = theta - point.theta, gradient - point.gradient
    if memory == 1:
        steps, slopes = step[np.newaxis], change[np.newaxis]
    elif dot(step, change) > 0:
        steps, slopes = (np.vstack([old[-memory + 1 :], new]) for old, new in ((steps, step), (slopes, change)))
    gradient_norm = length(gradient)
    return point._replace(
        iteration=point.iteration + 1,
        n_evaluations=point.n_evaluations + evaluations,
        theta=theta,
        loss=loss,
        gradient=gradient,
        gradient_norm=gradient_norm,
        steps=steps,
        slopes=slopes,
        length=reach,
        lowest=min(point.lowest, gradient_norm),
    )


def _search(objective, point, direction, slope, length, rounding):
    """A length that meets the weak Wolfe conditions, by bracketing; or the lowest loss met, or None.

    The loss may rise by its rounding: near the minimum the slope alone can tell.
    """
    shortest, longest, best = 0.0, math.inf, None
    highest = point.loss + rounding
    for trial in range(1, MAX_TRIALS + 1):
        theta = point.theta + length * direction
        loss, gradient = objective(theta)
        if not loss <= highest + C1 * length * slope:
            longest = length
        else:
            if best is None or loss <= best[1]:
                best = length, loss, theta, gradient
            if dot(gradient, direction) >= C2 * slope:
                return length, loss, theta, gradient, trial
            shortest = length
        if longest == math.inf:
            length *= 4
        elif shortest == 0:
            length = longest * _parabola(loss - point.loss, longest * slope)
        else:
            length = (shortest + longest) / 2
        if not 0 < length < math.inf:
            break
    return None if best is None else (*best, trial)


def _parabola(rise, slope):
    """Where the parabola with this slope at 0 and this rise at 1 is lowest, within a tenth and a half."""
    bend = rise - slope
    return min(max(-slope / (2 * bend), 0.1), 0.5) if 0 < bend < math.inf else 0.1

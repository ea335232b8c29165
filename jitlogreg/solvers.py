"""Fitting: minimising the objective until the gradient vanishes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import checks, minimise
from jitlogreg.arrays import takes_arrays
from jitlogreg.descent import State, is_true
from jitlogreg.objective import Objective
from jitlogreg.progress import progress_bar
from jitlogreg.targets.device_array import like, on_host

SOLVERS = ("auto", "newton", "lbfgs", "gradient_descent")

# The most m (n + 1)² for which "auto" takes Newton's method: below, what an iteration costs is not its arithmetic
NEWTON_COST = 1e7


class Fit(NamedTuple):
    """The outcome of `fit`.

    Attributes
    ----------
    w : ndarray of float64, shape (n,)
    b : float
        0 without an intercept.
    loss : float
        The objective there, penalty included.
    gradient_norm : float
        The Euclidean norm of the gradient there.
    n_iterations : int
    n_evaluations : int
        How often loss and gradient were computed.
    converged : bool
        Whether the gradient's norm came down to its tolerance.
    message : str
        Why the run ended.
    """

    w: np.ndarray
    b: float
    loss: float
    gradient_norm: float
    n_iterations: int
    n_evaluations: int
    converged: bool
    message: str


@takes_arrays
def fit(
    X: np.ndarray,
    y: np.ndarray,
    *,
    solver: str = "auto",
    l2: float = 0.0,
    sample_weight: np.ndarray | None = None,
    fit_intercept: bool = True,
    w: np.ndarray | None = None,
    b: float = 0.0,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    callback: Callable[[State], object] | None = None,
    progress: bool = False,
    target: str | None = None,
) -> Fit:
    """Minimise the objective J(w, b) until its gradient vanishes.

    J(w, b) = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ; the intercept is not penalised.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0
        Finite. θ = [w, b] and all sums are float64, whatever X is.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        "newton" factors the Hessian in each iteration, which costs about mn² flops (n ≤ 2,000); it takes the fewest
        iterations, whatever the columns' scales. "lbfgs" needs gradients alone, and begins with the Hessian of a sample
        of the rows where the target has one. "gradient_descent" goes along −gradient. "auto" is "newton" where the data
        is small, else "lbfgs".
    l2 : float
        Penalty of l2/2 ‖w‖², at least 0.
    sample_weight : ndarray, shape (m,), optional
        Finite and at least 0, with a positive sum.
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    w, b : optional
        Where to start; 0 if left out. They are not written to.
    tolerance : float
        Stop once ‖∇J‖ ≤ tolerance · max(1, ‖∇J‖ at the start), in the Euclidean norm of [dw, db].
    max_iterations : int
    callback : callable, optional
        Called as callback(state) before each iteration and after the last one, with `iteration`, `loss`,
        `gradient_norm`, `w` and `b`; the run stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        For data that cannot be served exactly, as by `Objective`; for an unknown solver.
    TargetUnavailableError
        If the target cannot run here, or has no Hessian and the solver is "newton".

    Notes
    -----
    An iteration costs one read of X, and one more for a Hessian. Every step goes downhill, by a line search for the
    Wolfe conditions. Where classes are separable and l2 is 0, J has no minimum: w grows until the gradient is small
    enough, and the fit counts as converged. Duplicate columns share their weight; a column of zeros gets none.

    References
    ----------
    Nocedal & Wright, Numerical Optimization, 2006: chapters 3 and 7.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[-1.0], [0.5], [2.0], [0.1]]), np.array([0, 1, 1, 0])
    >>> fitted = jlr.fit(X, y, l2=0.1)
    >>> fitted.w.round(4), round(fitted.b, 4), fitted.converged
    (array([1.3267]), -0.478, True)
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; accepted are {', '.join(map(repr, SOLVERS))}")
    tolerance = checks.nonnegative("tolerance", tolerance)
    max_iterations = checks.count("max_iterations", max_iterations)
    checks.function("callback", callback)
    objective = Objective(X, y, sample_weight=sample_weight, l2=l2, fit_intercept=fit_intercept, target=target)
    theta = _theta(X, w, b, fit_intercept)
    if solver == "auto":
        solver = "newton" if objective.has_hessian and len(X) * objective.n_parameters**2 <= NEWTON_COST else "lbfgs"
    run = _run(objective, solver, minimise.start(objective, theta), tolerance, max_iterations, callback, progress)
    point, converged, message = run
    w, b = _split(point.theta, X.shape[1])
    return Fit(like(X, w), b, point.loss, point.gradient_norm, point.iteration, point.n_evaluations, converged, message)


def _run(objective, solver, point, tolerance, max_iterations, callback, progress):
    """The last point of a run, whether it converged, and why it ended."""
    enough = tolerance * max(1.0, point.gradient_norm)
    direction_at, n = minimise.directions(objective, solver), objective.n_features
    with progress_bar(solver.replace("_", " "), max_iterations, enabled=progress) as advance:
        while True:
            advance(int(point.iteration > 0), point.loss)
            w, b = _split(point.theta, n)
            state = State(point.iteration, point.loss, point.gradient_norm, w, b)
            stop = callback is not None and is_true(callback(state))
            norm = f"the gradient's norm is {point.gradient_norm:.3g}, the tolerance {enough:.3g}"
            if point.gradient_norm <= enough:
                return point, True, f"converged: {norm}"
            if not math.isfinite(point.loss):
                return point, False, f"the loss is {point.loss} at the start: w and b are too large for X"
            if stop:
                return point, False, f"stopped by the callback: {norm}"
            if point.iteration >= max_iterations:
                return point, False, f"max_iterations={max_iterations} are made: {norm}"
            following = minimise.following(objective, direction_at, point)
            if following is None:
                return point, False, f"no step lowers the loss by more than its rounding: {norm}"
            point = following


def _theta(X, w, b, fit_intercept):
    """Where the run starts, as one vector."""
    w = np.zeros(X.shape[1]) if w is None else on_host(checks.weights(w, X)).astype(np.float64)
    b = float(checks.intercept(b, w.dtype))
    if not fit_intercept and b != 0:
        raise ValueError(f"b is {b} and fit_intercept is False; accepted is then 0")
    return np.append(w, b) if fit_intercept else w


def _split(theta, n):
    """w, a copy, and b."""
    return theta[:n].copy(), float(theta[n]) if len(theta) > n else 0.0

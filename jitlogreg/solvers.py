"""Fitting: minimising the objective until the gradient vanishes."""

import math
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import checkpoint as checkpoints
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
    X: np.ndarray | Objective,
    y: np.ndarray | None = None,
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
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 10,
    resume: str | os.PathLike | None = None,
    target: str | None = None,
) -> Fit:
    """Minimise the objective J(w, b) until its gradient vanishes.

    J(w, b) = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ; the intercept is not penalised.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0; or Objective
        Finite. θ = [w, b] and all sums are float64, whatever X is. Of an `Objective`, such as one over dask arrays, the
        data, `l2`, `fit_intercept` and the target are its own.
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
    checkpoint : path, optional
        A file to keep the run in, before the first iteration, after every `checkpoint_every` and after the last one. It
        is replaced whole or not at all.
    checkpoint_every : int
        At least 1.
    resume : path, optional
        A checkpoint of the same fit to go on from, to the bits that it would have come to uninterrupted; it may be the
        file that `checkpoint` names. `w` and `b` are not looked at then; `tolerance` and `max_iterations` may differ.
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        For data that cannot be served exactly, as by `Objective`; for an unknown solver; for a checkpoint that is
        damaged, or of other data, another version, or a fit with other arguments.
    OSError
        If a checkpoint cannot be written or read.
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
    every = checks.count("checkpoint_every", checkpoint_every, least=1)
    checkpoints.check_path("checkpoint", checkpoint)
    checkpoints.check_path("resume", resume)
    if isinstance(X, Objective):
        own = {"y": y, "sample_weight": sample_weight, "l2": l2 or None, "target": target}
        checks.left_out_beside_objective(**own, fit_intercept=None if fit_intercept else fit_intercept)
        objective = X
    else:
        objective = Objective(X, y, sample_weight=sample_weight, l2=l2, fit_intercept=fit_intercept, target=target)
    theta = _theta(X, w, b, objective.n_parameters)
    if solver == "auto":
        cost = X.shape[0] * objective.n_parameters**2
        solver = "newton" if objective.has_hessian and cost <= NEWTON_COST else "lbfgs"
    run = {"call": "fit", "solver": solver, "target": objective.target, "l2": objective.l2, "shape": list(X.shape)}
    run |= {"dtype": X.dtype.name, "fit_intercept": objective.n_parameters > objective.n_features}
    saved = None if resume is None else checkpoints.load(resume, run)
    start = point = minimise.start(objective, theta if saved is None else saved["start"])
    if saved is not None:
        checkpoints.check_start(resume, saved, start.loss, start.gradient)
        point = minimise.Point(*(_number_or_array(saved[name]) for name in minimise.Point._fields))

    def keep_in_file(point):
        first = {"start": start.theta, "start_loss": start.loss, "start_gradient": start.gradient}
        checkpoints.save(checkpoint, run, first | point._asdict())

    enough = tolerance * max(1.0, start.gradient_norm)
    keep = None if checkpoint is None else keep_in_file
    point, converged, message = _run(objective, solver, point, enough, max_iterations, callback, progress, keep, every)
    w, b = _split(point.theta, objective.n_features)
    return Fit(like(X, w), b, point.loss, point.gradient_norm, point.iteration, point.n_evaluations, converged, message)


def _run(objective, solver, point, enough, max_iterations, callback, progress, keep, every):
    """The last point of a run, whether it converged, and why it ended."""
    direction_at, n = minimise.directions(objective, solver), objective.n_features
    with progress_bar(solver.replace("_", " "), max_iterations, enabled=progress) as advance:
        advance(point.iteration, point.loss)
        while True:
            if keep and point.iteration % every == 0:
                keep(point)
            w, b = _split(point.theta, n)
            state = State(point.iteration, point.loss, point.gradient_norm, w, b)
            stop = callback is not None and is_true(callback(state))
            ended = _ended(point, enough, max_iterations, stop)
            following = None if ended else minimise.following(objective, direction_at, point)
            if following is None:
                if keep and point.iteration % every != 0:
                    keep(point)
                return point, *(ended or (False, f"no step lowers the loss further: {_far(point, enough)}"))
            point = following
            advance(1, point.loss)


def _ended(point, enough, max_iterations, stop):
    """Whether the run converged and why it ends here, or None."""
    if point.gradient_norm <= enough:
        return True, f"converged: {_far(point, enough)}"
    if not math.isfinite(point.loss):
        return False, f"the loss is {point.loss} at the start: X, w or b, or a sum of them, is not finite"
    if stop:
        return False, f"stopped by the callback: {_far(point, enough)}"
    if point.iteration >= max_iterations:
        return False, f"max_iterations={max_iterations} is reached: {_far(point, enough)}"
    return None


def _far(point, enough):
    return f"the gradient's norm is {point.gradient_norm:.3g}, the tolerance {enough:.3g}"


def _number_or_array(saved):
    return saved if saved.ndim else saved.item()


def _theta(X, w, b, n_parameters):
    """Where the run starts, as one vector."""
    w = np.zeros(X.shape[1]) if w is None else on_host(checks.weights(w, X)).astype(np.float64)
    b = checks.start_of_intercept(b, w.dtype, n_parameters > len(w))
    return np.append(w, b)[:n_parameters]


def _split(theta, n):
    """w, a copy, and b."""
    return theta[:n].copy(), float(theta[n]) if len(theta) > n else 0.0

"""Fitting: minimising the objective until Newton's decrement is within its tolerance, if there is a minimum."""

import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.interop.device_array import like, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.solvers import checkpoint as checkpoints
from jitlogreg.solvers.gradient_descent import State
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.newton import Newton
from jitlogreg.solvers.point import Point
from jitlogreg.solvers.run import Run, Watch
from jitlogreg.solvers.separation import SeparationWarning
from jitlogreg.solvers.steepest_descent import GradientDescent

METHODS = {"newton": Newton, "lbfgs": LBFGS, "gradient_descent": GradientDescent}
SOLVERS = ("auto", *METHODS)

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
        Whether this is the minimum: λ came down to its tolerance (of gradient descent to ten times that), and classes
        are not separated.
    message : str
        Why the run ended.
    decrement : float
        Newton's λ = √(gᵀH⁻¹g) there, as the last Hessian tells it: λ²/2 is about how far `loss` is above the minimum,
        and no coefficient is further than √S λ of its standard errors from its limit, if there is one. After the last
        step it is far below the tolerance. inf where it is not known: at the start, and on the way of gradient descent.
    """

    w: np.ndarray
    b: float
    loss: float
    gradient_norm: float
    n_iterations: int
    n_evaluations: int
    converged: bool
    message: str
    decrement: float


@accepts_foreign_arrays
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
    """Minimise the objective J(w, b).

    J(w, b) = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ; the intercept is not penalised.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0; or Objective
        Finite. θ = [w, b] and all sums are float64, whatever X is. Of an `Objective`, such as one over dask arrays, the
        data, `l2`, `fit_intercept` and the target are its own.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1. Grouped counts are successes / trials, with the trials as `sample_weight`.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        "newton" factors the Hessian in each iteration, which costs about mn² flops (n ≤ 2,000); it takes the fewest
        iterations. "lbfgs" needs gradients alone, and begins with the Hessian of a sample of the rows where the target
        has one. "gradient_descent" goes along −gradient. "auto" is "newton" where the data is small, else "lbfgs".
    l2 : float
        Penalty of l2/2 ‖w‖², at least 0.
    sample_weight : ndarray, shape (m,), optional
        Finite and at least 0, with a positive sum.
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    w, b : optional
        Where to start; 0 if left out. They are not written to.
    tolerance : float
        Stop once λ = √(gᵀH⁻¹g) ≤ tolerance, g and H being gradient and Hessian of J. λ has no units: at the default of
        1e-6 the mean loss is within about 5e-13 of its minimum, and each coefficient within 1e-6 √S standard errors,
        √(diag(H⁻¹) / S), of its limit. The step that has told λ is taken, and Newton's leaves about λ². Of
        "gradient_descent" the norm is bounded, ‖∇J‖ ≤ tolerance · max(1, ‖∇J‖ at the start), and λ by ten times the
        tolerance; it takes no last step.
    max_iterations : int
        The most iterations. A run that they end, or any other but the minimum, has `converged=False` and no warning.
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

    Warns
    -----
    SeparationWarning
        If J has no minimum, because classes are separated and l2 is 0, or because there is but one class, whose
        intercept nothing penalises; or if that is suspected. `converged` is False then.

    Notes
    -----
    An iteration costs one read of X, and one more for a Hessian; the read that checks the data is the first evaluation
    where the run starts at 0, and one more at the end looks for separation. Every step goes downhill, by a line search
    for the Wolfe conditions.

    Where a column's values share leading digits, such as those of a time stamp, or its unit is odd, all is computed
    with x − centre, times a power of two, in registers. Columns that depend on each other so much that the Hessian has
    no Cholesky factor are factored by rows; where they depend on each other altogether, this is the solution of least
    norm in columns divided by their deviations, in which duplicates share their weight, and the message names them. A
    column of zeros gets none. Without a penalty and with an intercept, neither the unit nor the zero of a column
    changes more than roundings.

    The bits of the result are the same on any number of threads and any CPU, and on the target "reference" those of
    NumPy's matrix products.

    References
    ----------
    Nocedal & Wright, Numerical Optimization, 2006: chapters 3 and 7. Boyd & Vandenberghe, Convex Optimization, 2004,
    section 9.5: λ. Albert & Anderson, Biometrika 71, 1984: separation.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[-1.0], [0.5], [2.0], [0.1]]), np.array([0, 1, 1, 0])
    >>> fitted = jlr.fit(X, y, l2=0.1)
    >>> fitted.w.round(4), round(fitted.b, 4), fitted.converged
    (array([1.3267]), -0.478, True)
    """
    fitted, remedy = fit_quietly(
        X,
        y,
        solver=solver,
        l2=l2,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        w=w,
        b=b,
        tolerance=tolerance,
        max_iterations=max_iterations,
        callback=callback,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        target=target,
    )
    if remedy == "penalty":
        fitted = fitted._replace(message=f"{fitted.message}; with l2 above 0 it has one")
    if remedy is not None:
        warnings.warn(fitted.message, SeparationWarning, stacklevel=3)  # past the wrapper that takes others' arrays
    return fitted


def fit_quietly(
    X,
    y,
    *,
    solver,
    l2,
    sample_weight,
    fit_intercept,
    w,
    b,
    tolerance,
    max_iterations,
    target,
    callback=None,
    progress=False,
    checkpoint=None,
    checkpoint_every=10,
    resume=None,
):
    """`fit` of NumPy arrays, without a warning. Returns the `Fit`, and its `Ending.remedy`."""
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; accepted are {', '.join(map(repr, SOLVERS))}")
    tolerance = validation.check_nonnegative("tolerance", tolerance)
    max_iterations = validation.check_count("max_iterations", max_iterations)
    validation.check_callable("callback", callback)
    every = validation.check_count("checkpoint_every", checkpoint_every, least=1)
    checkpoints.check_path("checkpoint", checkpoint)
    checkpoints.check_path("resume", resume)
    if isinstance(X, Objective):
        own = {"y": y, "sample_weight": sample_weight, "l2": l2 or None, "target": target}
        validation.check_none_beside_objective(**own, fit_intercept=None if fit_intercept else fit_intercept)
        objective = X
    else:
        objective = Objective(X, y, sample_weight=sample_weight, l2=l2, fit_intercept=fit_intercept, target=target)
    theta = _theta(X, w, b, objective.n_parameters)
    if solver == "auto":
        cost = X.shape[0] * objective.n_parameters**2
        solver = "newton" if objective.has_hessian and cost <= NEWTON_COST else "lbfgs"
    run = {"call": "fit", "solver": solver, "target": objective.target, "l2": objective.l2, "shape": list(X.shape)}
    run |= {"dtype": X.dtype.name, "fit_intercept": objective.n_parameters > objective.n_features}
    names = ("start", "start_loss", "start_gradient", *Point._fields)
    saved = None if resume is None else checkpoints.load(resume, run, names)
    begun = Run(objective, METHODS[solver], tolerance, theta if saved is None else saved["start"])
    point = first = begun.start
    if saved is not None:
        checkpoints.check_start(resume, saved, first.loss, first.gradient)
        point = Point(*(_number_or_array(saved[name]) for name in Point._fields))

    def keep_in_file(point):
        begin = {"start": begun.theta, "start_loss": first.loss, "start_gradient": first.gradient}
        checkpoints.save(checkpoint, run, begin | point._asdict())

    watch = Watch(callback, progress, None if checkpoint is None else keep_in_file, every)
    ending = begun.to_end(point, max_iterations, watch)
    point = ending.point
    w, b = begun.parameters(point)
    if np.isfinite(point.theta).all() and not (np.isfinite(w).all() and np.isfinite(b)):
        raise ValueError(
            "w or b would be beyond float64; accepted is an X whose columns are larger, or less far from 0"
        )
    ends = begun.gradient_norm(point), point.iteration, point.n_evaluations, ending.converged, ending.message
    return Fit(like(X, w), b, point.loss, *ends, point.decrement), ending.remedy


def _number_or_array(saved):
    return saved if saved.ndim else saved.item()


def _theta(X, w, b, n_parameters):
    """Where the run starts, as one vector."""
    w = np.zeros(X.shape[1]) if w is None else on_host(validation.check_coefficients(w, X)).astype(np.float64)
    b = validation.check_initial_intercept(b, w.dtype, n_parameters > len(w))
    return np.append(w, b)[:n_parameters]

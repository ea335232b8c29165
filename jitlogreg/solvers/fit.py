"""`fit`: minimise the objective until Newton's decrement is within its tolerance, if there is a minimum."""

import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg._docs import documented
from jitlogreg.interop.device_array import like
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.outputs_objective import OutputsObjective
from jitlogreg.solvers.arguments import METHODS, Options, chosen_solver, description_of, initial_theta, objective_of
from jitlogreg.solvers.fit_models import fit_models
from jitlogreg.solvers.monitor import State
from jitlogreg.solvers.point import Point, number_or_array
from jitlogreg.solvers.requests import Request, completed
from jitlogreg.solvers.run import Run
from jitlogreg.solvers.separation import SeparationWarning


class Fit(NamedTuple):
    """The outcome of `fit`.

    Attributes
    ----------
    w : ndarray of float64, shape (n,)
        Of a softmax and of K independent models, (n, K); of the latter, b and all that follows have K elements too.
    b : float
        0 without an intercept. Of a softmax, an array (K,) that sums to 0; without a penalty each row of w does too.
    loss : float
        The objective there, penalty included.
    gradient_norm : float
        The Euclidean norm of the gradient there.
    n_iterations : int
    n_evaluations : int
        How often loss and gradient were computed.
    converged : bool
        Whether this is the minimum: λ is within its tolerance (for gradient descent within ten times that), and classes
        are not separated.
    message : str
        Why the run ended.
    decrement : float
        Newton's λ = √(gᵀH⁻¹g) there, by the last Hessian: λ²/2 is about how far `loss` is above the minimum, and no
        coefficient is further than √S λ of its standard errors from its limit, if there is one. After the last step it
        is far below the tolerance. inf where it is not known: at the start, and on the way of gradient descent.
    n_reads : int
        How often this call has read X, the check of the data included; of K models together. A sample's Hessian reads
        few rows and does not count, nor does the proof of a separation, which reads X a few times.
    """

    w: np.ndarray
    b: Any
    loss: float
    gradient_norm: float
    n_iterations: int
    n_evaluations: int
    converged: bool
    message: str
    decrement: float
    n_reads: int


@accepts_foreign_arrays
@documented
def fit(
    X: np.ndarray | Objective,
    y: np.ndarray | None = None,
    *,
    solver: str = "auto",
    l2: float = 0.0,
    link: str = "sigmoid",
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
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
    X : ndarray or CSR of float32 or float64, shape (m, n), m > 0; or Objective
        Finite. θ = [w, b] and all sums are float64, whatever X is. An `Objective`, such as one over dask arrays, brings
        its own data, `l2`, `fit_intercept` and target.
    %(y_of_fit)s
        For grouped counts: successes / trials, with the trials as `sample_weight`. Labels (m, K) without a softmax are
        those of K independent models, each with the bits that it has alone; weights and offsets may be (m, K) then, and
        l2 (K,). An evaluation of all is one read of X.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        "newton" factors the Hessian in each iteration, which costs about mn² flops, up to n = 2,000; beyond, and where
        the target has no Hessian, it takes its steps by conjugate gradients. It takes the fewest iterations. "lbfgs"
        needs gradients alone; where the target has a Hessian, that of a sample of the rows preconditions it.
        "gradient_descent" steps along −gradient. "auto" is "newton" for small data and for wide sparse rows, else
        "lbfgs".
    %(l2_of_fit)s
    link : {"sigmoid", "softmax"}
        "softmax" fits one model of K classes. K follows from y: it is the largest class number and one more, or the
        number of columns.
    %(sample_weight_of_fit)s
    %(offset_of_fit)s
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    w, b : optional
        Where to start; 0 if left out. They are not written to. Those of a softmax are first made to sum to 0 over the
        classes, which changes no probability.
    tolerance : float
        Stop once λ = √(gᵀH⁻¹g) ≤ tolerance, where g and H are gradient and Hessian of J. λ has no units: at the default
        of 1e-6 the mean loss is within about 5e-13 of its minimum, and each coefficient within 1e-6 √S standard errors,
        √(diag(H⁻¹) / S), of its limit. The step that has told λ is still taken, and Newton's leaves about λ².
        "gradient_descent" stops once ‖∇J‖ ≤ tolerance · max(1, ‖∇J‖ at the start) and λ ≤ 10 · tolerance; it takes no
        last step.
    max_iterations : int
        The most iterations. A run that ends there, or anywhere but at the minimum, has `converged=False` and no
        warning.
    callback : callable, optional
        Called as callback(state) before each iteration and after the last one, with `iteration`, `loss`,
        `gradient_norm`, `w` and `b`; the run stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    checkpoint : path, optional
        A file to save the run in: before the first iteration, after each `checkpoint_every` and after the last one. It
        is replaced whole or not at all.
    checkpoint_every : int
        At least 1.
    resume : path, optional
        A checkpoint of the same fit to go on from; the run ends bit for bit where an uninterrupted one would. It may be
        the file that `checkpoint` names. `w` and `b` are ignored then; `tolerance` and `max_iterations` may differ.
    %(target)s

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError
        For unsupported data, as by `Objective`; for an unknown solver; for a checkpoint that is damaged, or of other
        data, another version, or a fit with other arguments.
    OSError
        If a checkpoint cannot be written or read.
    TargetUnavailableError
        If the target cannot run here.

    Warns
    -----
    SeparationWarning
        If J has no minimum, because classes are separated and l2 is 0, or because there is but one class, or a class of
        a softmax has no examples, and nothing penalises the intercept; or if that is suspected. `converged` is False
        then.

    Notes
    -----
    An iteration costs one read of X, and one more for a Hessian. The read that checks the data is the first evaluation
    if the run starts at 0. One more read at the end looks for separation. Every step goes downhill, by a line search
    for the Wolfe conditions.

    If the values of a column share leading digits, as those of a time stamp do, or its unit is very large or small, the
    run computes with x − centre, times a power of two, in registers. If columns are so nearly dependent that the
    Hessian has no usable Cholesky factor, the weighted rows are factored instead (QR). If they are dependent, this is
    the solution of least norm in columns divided by their deviations, in which duplicates share their weight; the
    message names them. A column of zeros gets none. Without a penalty and with an intercept, neither the unit nor the
    zero of a column changes more than roundings.

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
    options = Options.checked(
        solver=solver,
        tolerance=tolerance,
        max_iterations=max_iterations,
        callback=callback,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
    )
    described = {"l2": l2, "link": link, "sample_weight": sample_weight, "offset": offset}
    described["fit_intercept"] = fit_intercept
    fitted, remedy = fit_quietly(X, y, options, **described, w=w, b=b, target=target)
    if isinstance(remedy, list):
        messages = [_with_remedy(*both) for both in zip(fitted.message, remedy, strict=True)]
        fitted = fitted._replace(message=tuple(messages))
        named = [f"output {k}: {message}" for k, message in enumerate(messages) if remedy[k] is not None]
        warning = f"{len(named)} of {len(messages)} outputs have no minimum; {named[0]}" if named else None
    else:
        fitted = fitted._replace(message=_with_remedy(fitted.message, remedy))
        warning = None if remedy is None else fitted.message
    if warning is not None:
        warnings.warn(warning, SeparationWarning, stacklevel=3)  # past the wrapper that takes others' arrays
    return fitted


def _with_remedy(message, remedy):
    return f"{message}; with l2 above 0 it has one" if remedy == "penalty" else message


def fit_quietly(X, y, options, *, w, b, link="sigmoid", **described):
    """`fit` of NumPy arrays, without a warning. Returns the `Fit`, and its `Outcome.remedy`."""
    objective = objective_of(X, y, link=link, **described)
    if isinstance(objective, OutputsObjective) and objective.link == "sigmoid":
        return _fit_side_by_side(objective, options, w, b)
    asked: list[Request] = []
    run, point = _begin(objective, initial_theta(X, w, b, objective), options, asked)
    outcome = completed(run.minimise(point, options.max_iterations, options.monitor), asked)
    point = outcome.point
    w, b = _parameters(run, point)
    fitted = Fit(
        w=like(X, w),
        b=b,
        loss=point.loss,
        gradient_norm=run.gradient_norm(point),
        n_iterations=point.iteration,
        n_evaluations=point.n_evaluations,
        converged=outcome.converged,
        message=outcome.message,
        decrement=point.decrement,
        n_reads=1 + sum(request.objective.shape[0] == objective.shape[0] for request in asked),
    )
    return fitted, outcome.remedy


def _parameters(run, point):
    """w and b in the caller's columns."""
    w, b = run.parameters(point)
    if np.isfinite(point.theta).all() and not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise ValueError("X: expected columns that are larger, or less far from 0, got a w or b beyond float64")
    return w, b


def _fit_side_by_side(objective, options, w, b):
    """The `Fit` of independent models, and what would give those a minimum that have none."""
    solver = chosen_solver(options.solver, objective.model(0))
    description = _description(objective, solver)
    runs, outcomes, n_reads = fit_models(objective, METHODS[solver], options, description, w=w, b=b)
    points = [outcome.point for outcome in outcomes]
    parameters = [_parameters(run, point) for run, point in zip(runs, points, strict=True)]
    fitted = Fit(
        w=np.stack([w for w, _ in parameters], axis=1),
        b=np.array([b for _, b in parameters]),
        loss=np.array([point.loss for point in points]),
        gradient_norm=np.array([run.gradient_norm(point) for run, point in zip(runs, points, strict=True)]),
        n_iterations=np.array([point.iteration for point in points]),
        n_evaluations=np.array([point.n_evaluations for point in points]),
        converged=np.array([outcome.converged for outcome in outcomes]),
        message=tuple(outcome.message for outcome in outcomes),
        decrement=np.array([point.decrement for point in points]),
        n_reads=n_reads,
    )
    return fitted, [outcome.remedy for outcome in outcomes]


def _begin(objective, theta, options, asked):
    """The run, and the point to go on from: its start, or the point of a checkpoint."""
    solver, checkpoint = chosen_solver(options.solver, objective), options.monitor.checkpoint
    restored = checkpoint.restore(_description(objective, solver), ("start", *Point._fields))
    run = Run(objective, METHODS[solver], options.tolerance, theta if restored is None else restored["start"])
    completed(run.begin(), asked)
    checkpoint.begin(run.start.loss, run.start.gradient, objective.fingerprint, start=run.theta)
    if restored is None:
        return run, run.start
    return run, Point(*(number_or_array(restored[name]) for name in Point._fields))


def _description(objective, solver):
    return description_of("fit", objective, solver=solver, l2=np.asarray(objective.l2).tolist())

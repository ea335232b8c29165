"""`fit_path`: one model, many penalties."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg._docs import documented
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.outputs_objective import OutputsObjective
from jitlogreg.solvers.arguments import METHODS, Options, chosen_solver, description_of, initial_theta, objective_of
from jitlogreg.solvers.lockstep import Apart
from jitlogreg.solvers.monitor import Progress, warn
from jitlogreg.solvers.path import How, check_penalties, follow_paths, unfinished
from jitlogreg.solvers.separation import SeparationWarning


class FitPath(NamedTuple):
    """The outcome of `fit_path`, for P penalties in the order that was given.

    Attributes
    ----------
    l1s, l2s : ndarray of float64, shape (P,)
        The penalties; `l1s` are 0, as there is no L1 penalty yet.
    w : ndarray of float64, shape (n, P)
        Of a softmax, (n, K, P).
    b : ndarray of float64, shape (P,)
        Of a softmax, (K, P).
    loss, gradient_norm, decrement : ndarray of float64, shape (P,)
        Those of `Fit`.
    n_iterations : ndarray of int, shape (P,)
    converged : ndarray of bool, shape (P,)
    n_reads : int
        How often X was read, the check of the data included. A sample's Hessian reads few rows, and does not count.
    """

    l1s: np.ndarray
    l2s: np.ndarray
    w: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    decrement: np.ndarray
    n_iterations: np.ndarray
    converged: np.ndarray
    n_reads: int


@accepts_foreign_arrays
@documented
def fit_path(
    X: np.ndarray | Objective,
    y: np.ndarray | None = None,
    *,
    l2s: np.ndarray | None = None,
    solver: str = "auto",
    link: str = "sigmoid",
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    fit_intercept: bool = True,
    w: np.ndarray | None = None,
    b: float = 0.0,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    callback: Callable[[Progress], object] | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1,
    resume: str | os.PathLike | None = None,
    target: str | None = None,
) -> FitPath:
    """Fit one model to several penalties, each fit starting where that to the next larger one ended.

    Parameters
    ----------
    X : ndarray or CSR of float32 or float64, shape (m, n), m > 0; or Objective
        As for `fit`. The `l2` of an `Objective` does not count.
    %(y_of_fit)s
    l2s : ndarray or list, shape (P,), optional
        Different penalties of at least 0, in any order. By default ten, evenly spaced in their logarithm, from a
        quarter of the largest variance of a column down to a millionth of that.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        As for `fit`.
    link : {"sigmoid", "softmax"}
        As for `fit`.
    %(sample_weight_of_fit)s
    %(offset_of_fit)s
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    w, b : optional
        Where the first fit starts; 0 if left out.
    tolerance, max_iterations : float, int
        Those of each fit.
    %(callback_of_fits)s
    progress : bool
        Show how many fits are left (needs the package rich).
    %(checkpoint_of_fits)s
    resume : path, optional
        A checkpoint of the same data, penalties, solver and target to go on from, to the same bits. `w` and `b` are
        ignored then.
    %(target)s

    Returns
    -------
    FitPath

    Raises
    ------
    %(raises)s

    Warns
    -----
    SeparationWarning
        If there is no minimum for some penalty; `converged` is False there.
    RuntimeWarning
        If the callback has stopped the path: the smaller penalties have no fit, and NaN in its place.

    Notes
    -----
    An iteration costs one read of X. A fit begins with the sums that the one before has left, which costs none.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[-1.0], [0.5], [2.0], [0.1]]), np.array([0, 1, 1, 0])
    >>> path = jlr.fit_path(X, y, l2s=[1.0, 0.1, 0.01])
    >>> path.w.round(3), path.converged
    (array([[0.331, 1.327, 3.632]]), array([ True,  True,  True]))
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
    described = {"sample_weight": sample_weight, "offset": offset, "fit_intercept": fit_intercept}
    objective = objective_of(X, y, link=link, l2=0.0, target=target, **described)
    if isinstance(objective, OutputsObjective) and objective.link != "softmax":
        raise ValueError(f"y: expected labels of one model, got those of {objective.n_outputs}")
    l2s = check_penalties("l2s", l2s, objective)
    solver = chosen_solver(solver, objective)
    how = How(METHODS[solver], options.tolerance, options.max_iterations)
    order, models, start = np.argsort(-l2s), Apart([objective]), initial_theta(X, w, b, objective)
    description = description_of("fit_path", objective, solver=solver, l2s=l2s[order].tolist())
    (stops,) = follow_paths(models, l2s[order], how, start, options.monitor, description, objective.fingerprint)
    warn_of_penalties(stops, l2s[order])
    stops += [unfinished(objective)] * (len(l2s) - len(stops))
    return _packed(l2s, [stops[k] for k in np.argsort(order)], models.n_reads)


def _packed(l2s, stops, n_reads):
    def of_each(name):
        return np.array([getattr(stop, name) for stop in stops])

    return FitPath(
        l1s=np.zeros(len(l2s)),
        l2s=l2s,
        w=np.stack([stop.w for stop in stops], axis=-1),
        b=np.stack([stop.b for stop in stops], axis=-1),
        loss=of_each("loss"),
        gradient_norm=of_each("gradient_norm"),
        decrement=of_each("decrement"),
        n_iterations=of_each("n_iterations"),
        converged=of_each("converged"),
        n_reads=n_reads,
    )


def warn_of_penalties(stops, l2s):
    """Warn if some penalties leave no minimum, or have no fit."""
    without = [(stop.message, l2) for stop, l2 in zip(stops, l2s, strict=False) if stop.remedy is not None]
    if without:
        message, l2 = without[0]
        warn(f"{len(without)} of {len(l2s)} penalties leave no minimum; l2={l2:g}: {message}", SeparationWarning)
    if len(stops) < len(l2s):
        warn(f"stopped by the callback: {len(stops)} of {len(l2s)} penalties have a fit")

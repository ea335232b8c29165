"""`bootstrap`: fits to resamples of the rows, in groups side by side, and intervals from them."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg._docs import documented
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.solvers.arguments import Options, objective_in_memory
from jitlogreg.solvers.intervals import corrected, percentiles
from jitlogreg.solvers.monitor import Progress, warn
from jitlogreg.solvers.path import unfinished
from jitlogreg.solvers.resamples import Draws, Whole, fit_resamples

METHODS_OF_INTERVALS = ("percentile", "bca")


class Bootstrap(NamedTuple):
    """The outcome of `bootstrap`, for R resamples.

    Attributes
    ----------
    w : ndarray of float64, shape (n, R)
        NaN where the fit to a resample has not converged, or was not made as the callback has stopped the run. Of a
        softmax (n, K, R).
    b : ndarray of float64, shape (R,)
        Of a softmax (K, R).
    w_interval : ndarray of float64, shape (n, 2)
        The ends of each coefficient's interval. Of a softmax (n, K, 2).
    b_interval : ndarray of float64, shape (2,)
        Of a softmax (K, 2).
    n_reads : int
        How often X was read.
    """

    w: np.ndarray
    b: np.ndarray
    w_interval: np.ndarray
    b_interval: np.ndarray
    n_reads: int


@accepts_foreign_arrays
@documented
def bootstrap(
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_resamples: int = 200,
    first_resample: int = 0,
    seed: int = 0,
    confidence: float = 0.95,
    method: str = "percentile",
    solver: str = "auto",
    link: str = "sigmoid",
    l2: float = 0.0,
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    fit_intercept: bool = True,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    callback: Callable[[Progress], object] | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 10,
    resume: str | os.PathLike | None = None,
    target: str | None = None,
) -> Bootstrap:
    """Fit resamples of the rows, drawn with replacement, and take intervals of the coefficients from them.

    Parameters
    ----------
    X : ndarray or CSR of float32 or float64, shape (m, n), m > 0
        Finite. Resamples are weights, and never copies of X.
    %(y_of_fit)s
    n_resamples : int
        R, at least 2.
    first_resample : int
        The number r of the first; the others follow. Resample r is drawn by numpy.random.default_rng([seed, r]) and has
        the same bits in every call, so that several calls may share the work.
    seed : int
    confidence : float
        The probability that an interval is to cover the coefficient, between 0 and 1.
    method : {"percentile", "bca"}
        Quantiles of the resamples' coefficients; or those that are corrected for bias and acceleration, which takes a
        model whose Hessian is formed: see `Objective.has_hessian`.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        That of the fit to all rows. Resamples are fitted by L-BFGS from there, preconditioned by its Hessian.
    link : {"sigmoid", "softmax"}
        As for `fit`. Reads of X are shared by models with one output; resamples of a softmax read it each.
    %(l2_of_fit)s
    %(sample_weight_of_fit)s
        A row that is drawn k times has k times its weight.
    %(offset_of_fit)s
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    tolerance, max_iterations : float, int
        Those of each fit.
    callback : callable, optional
        Called as callback(state) after each group of resamples, with `n_done` and `n_left`, the numbers of resamples;
        no more are fitted if it returns True.
    progress : bool
        Show how many resamples are left (needs the package rich).
    checkpoint : path, optional
        A file to save finished resamples in: at the start, after each `checkpoint_every` groups of them, and at the
        end, also where the callback is it.
    checkpoint_every : int
        At least 1.
    resume : path, optional
        A checkpoint of the same data, seed, first resample, l2, solver and target to go on from, to the same bits;
        `n_resamples`, `confidence` and `method` may differ.
    %(target)s

    Returns
    -------
    Bootstrap

    Raises
    ------
    %(raises)s

    Warns
    -----
    RuntimeWarning
        If the fit to a resample does not converge, as where it has one class, or if the callback has come before it.
        Its coefficients are NaN, and no interval counts it.

    Notes
    -----
    Resamples are fitted in groups of 8 to 32, side by side: an evaluation is one read of X for a group. Their weights
    take 8 bytes a row and resample of a group, and at most as much again once some of them have ended before others. A
    resample has the bits that it has without the others.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = (X[:, 0] + rng.logistic(size=500) > 0).astype(int)
    >>> found = jlr.bootstrap(X, y)
    >>> found.w.shape, found.w_interval.round(1)
    ((2, 200), array([[ 1.1,  1.6],
           [-0.4,  0. ]]))
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
    n_resamples = validation.check_count("n_resamples", n_resamples, 2)
    first_resample = validation.check_count("first_resample", first_resample)
    seed = validation.check_count("seed", seed)
    confidence = validation.check_nonnegative("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    if method not in METHODS_OF_INTERVALS:
        raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS_OF_INTERVALS))}, got {method!r}")
    described = {"sample_weight": sample_weight, "offset": offset, "fit_intercept": fit_intercept, "target": target}
    objective = objective_in_memory(X, y, link=link, l2=l2, **described)
    if method == "bca" and not objective.has_hessian:
        raise ValueError("method: expected 'percentile' where Objective.has_hessian is False, as it is here, got 'bca'")
    whole = Whole(objective, options)
    stops, n_reads = fit_resamples(whole, Draws(seed, first_resample, n_resamples), options)
    _warn_of_missing(stops, first_resample, n_resamples)
    counted = [np.append(stop.w, stop.b) for stop in stops if stop.converged]
    theta = np.stack(counted, axis=1)
    ends = percentiles(theta, confidence) if method == "percentile" else corrected(theta, confidence, whole)
    missing = unfinished(objective)
    stops = [stop if stop.converged else missing for stop in stops] + [missing] * (n_resamples - len(stops))
    return Bootstrap(
        w=np.stack([stop.w for stop in stops], axis=-1),
        b=np.stack([stop.b for stop in stops], axis=-1),
        w_interval=ends[: whole.w.size].reshape(*whole.w.shape, 2),
        b_interval=ends[whole.w.size :].reshape(*np.shape(whole.b), 2),
        n_reads=n_reads + whole.n_reads + (method == "bca"),
    )


def _warn_of_missing(stops, first_resample, n_resamples):
    missing = [number for number, stop in enumerate(stops, first_resample) if not stop.converged]
    if len(missing) == len(stops):
        raise ValueError("y: expected resamples whose fits converge, got none")
    if missing:
        named = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        warn(f"{len(missing)} of {len(stops)} resamples have no fit that converged, and are not counted: {named}")
    if len(stops) < n_resamples:
        warn(f"stopped by the callback: {len(stops)} of {n_resamples} resamples are fitted, and no others counted")

"""`bootstrap`: fits to resamples of the rows, in groups side by side, and intervals from them."""

import functools
import os
import warnings
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg._docs import documented
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.row_passes import RowNorms
from jitlogreg.solvers.arguments import METHODS, Options, chosen_solver, description_of, objective_in_memory
from jitlogreg.solvers.curvature import factorize, newton_step
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.lockstep import Apart, SideBySide, lockstep
from jitlogreg.solvers.monitor import Progress, is_true
from jitlogreg.solvers.path import NOBODY, How, path_steps, stops_from_arrays, stops_to_arrays, unfinished
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.requests import completed
from jitlogreg.solvers.run import Run
from jitlogreg.solvers.standardize import ROWS, column_statistics
from jitlogreg.targets.base import Problem

METHODS_OF_INTERVALS = ("percentile", "bca")

# Resamples that are fitted side by side, and how many at least and at most: their weights, 8 bytes a row, take no more
# memory than X where that has as many columns of float64
FEWEST, MOST = 8, 32


class Bootstrap(NamedTuple):
    """The outcome of `bootstrap`, for R resamples.

    Attributes
    ----------
    w : ndarray of float64, shape (n, R)
        NaN where the fit to a resample has not converged, or was not made as the callback has stopped the run.
    b : ndarray of float64, shape (R,)
    w_interval : ndarray of float64, shape (n, 2)
        The ends of each coefficient's interval.
    b_interval : ndarray of float64, shape (2,)
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
    seed: int = 0,
    confidence: float = 0.95,
    method: str = "percentile",
    solver: str = "auto",
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
    X : ndarray of float32 or float64, shape (m, n), m > 0
        Finite. Resamples are weights, and never copies of X.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1; soft labels are allowed.
    n_resamples : int
        At least 2. Resample r is drawn by numpy.random.default_rng([seed, r]), whatever the number of resamples.
    seed : int
    confidence : float
        The probability that an interval is to cover the coefficient, between 0 and 1.
    method : {"percentile", "bca"}
        Quantiles of the resamples' coefficients; or those that are corrected for bias and acceleration.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        That of the fit to all rows. Resamples are fitted by L-BFGS from there, preconditioned by its Hessian.
    %(l2_of_fit)s
    %(sample_weight_of_fit)s
        A row that is drawn k times has k times its weight.
    offset : ndarray of bool, integer or float, shape (m,), optional
        A known part of each margin, which is added to z.
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
        A checkpoint of the same data, seed, l2, solver and target to go on from, to the same bits; `n_resamples`,
        `confidence` and `method` may differ.
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
    take 8 bytes a row and resample of a group. A resample has the bits that it has without the others.

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
    n_resamples, seed = validation.check_count("n_resamples", n_resamples, 2), validation.check_count("seed", seed)
    confidence = validation.check_nonnegative("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    if method not in METHODS_OF_INTERVALS:
        raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS_OF_INTERVALS))}, got {method!r}")
    described = {"sample_weight": sample_weight, "offset": offset, "fit_intercept": fit_intercept, "target": target}
    objective = objective_in_memory(X, y, link="sigmoid", l2=l2, **described)
    whole = _Whole(objective, options)
    stops, n_reads = _fit_resamples(whole, n_resamples, seed, options)
    _warn_of_missing(stops, n_resamples)
    stops += [unfinished(objective)] * (n_resamples - len(stops))
    w, b = np.stack([stop.w for stop in stops], axis=1), np.array([stop.b for stop in stops])
    theta = np.vstack([w, b])
    theta_interval = _intervals(theta, whole, confidence, method)
    return Bootstrap(w, b, theta_interval[:-1], theta_interval[-1], n_reads + whole.n_reads + (method == "bca"))


# ---------------------------------------------------------------- all rows


class _Whole:
    """The fit to all rows, from which resamples begin, and its Hessian, which preconditions theirs."""

    def __init__(self, objective, options):
        self.objective, has_b = objective, objective.has_intercept
        self.columns = column_statistics(*objective.some_rows(ROWS), l2=objective.l2, has_intercept=has_b)
        methods = METHODS[chosen_solver(options.solver, objective)]
        run = Run(objective, methods, options.tolerance, np.zeros(objective.n_parameters), self.columns)
        alone = Apart([objective])
        lockstep(alone, {0: run.begin()})
        outcome = lockstep(alone, {0: run.minimise(run.start, options.max_iterations, NOBODY)})[0]
        if outcome.remedy is not None:
            raise ValueError(f"y: expected data whose objective has a minimum, got none: {outcome.message}")
        if not outcome.converged:
            raise ValueError(
                f"max_iterations: expected enough for the fit to all rows, which has ended: {outcome.message}"
            )
        self.w, self.b = run.parameters(outcome.point)
        self.framed, self.theta = run.objective, outcome.point.theta
        self.model = completed(factorize(self.framed, self.theta, run.spread))
        self.n_reads = alone.n_reads + 1

    def method(self, task):
        """The method of a resample's run."""
        return _Preconditioned(task, self.model, in_frame=self.framed.frame is not None)


class _Preconditioned(LBFGS):
    """L-BFGS, preconditioned by the Hessian of all rows at their minimum."""

    def __init__(self, task, model, in_frame):
        super().__init__(task, model)
        self._in_frame = in_frame

    def is_well_conditioned_at(self, theta):
        """Whether the fit to all rows has needed no frame."""
        yield from ()
        return not self._in_frame


# ---------------------------------------------------------------- resamples


def drawn(m, seed, number):
    """How often each row is drawn into a resample, as uint8, or wider if some row is drawn more often."""
    rows = np.random.default_rng([seed, number]).integers(0, m, m)
    counts = np.bincount(rows, minlength=m)
    return counts.astype(np.min_scalar_type(counts.max()))


def _fit_resamples(whole, n_resamples, seed, options):
    """A `Stop` for each resample until the callback ends that, and how often X was read for them."""
    objective, monitor = whole.objective, options.monitor
    m, n = objective.shape
    solver = chosen_solver(options.solver, objective)
    description = description_of("bootstrap", objective, solver=solver, l2=objective.l2, seed=seed)
    restored = monitor.checkpoint.restore(description, stops_to_arrays([], 0))
    monitor.checkpoint.begin(*objective.at_zero(), objective.fingerprint)
    stops = [] if restored is None else stops_from_arrays(restored, 0)[:n_resamples]
    size, n_reads, groups = min(max(FEWEST, n), MOST), 0, 0
    how = How(whole.method, options.tolerance, options.max_iterations, lambda l2: whole.columns)
    row_norms = RowNorms(objective._data.X)
    with progress_bar("resamples", n_resamples, enabled=monitor.progress) as advance:
        advance(len(stops), None)
        monitor.checkpoint.save(0, functools.partial(stops_to_arrays, stops, 0))
        is_stopped = False
        while len(stops) < n_resamples and not is_stopped:
            numbers = range(len(stops), min(len(stops) + size, n_resamples))
            weights = np.empty((len(numbers), m))
            for k, number in enumerate(numbers):
                weights[k] = drawn(m, seed, number)
            if objective.sample_weight is not None:
                weights *= objective.sample_weight
            models = SideBySide(objective.with_weights(weights), row_norms)
            start = objective.theta_of(whole.w, whole.b)
            found = [[] for _ in numbers]
            paths = {
                k: path_steps(of_model, [objective.l2], how, found[k], start)
                for k, of_model in enumerate(models.objectives)
            }
            lockstep(models, paths)
            stops += [of_model[0] for of_model in found]
            n_reads, groups = n_reads + models.n_reads, groups + 1
            advance(len(numbers), None)
            monitor.checkpoint.save(groups, functools.partial(stops_to_arrays, stops, 0))
            if monitor.callback is not None:
                is_stopped = is_true(monitor.callback(Progress(len(stops), n_resamples - len(stops))))
    monitor.checkpoint.save(groups, functools.partial(stops_to_arrays, stops, 0), is_last=True)
    return [stop if stop.converged else stop._replace(w=np.full(n, np.nan), b=np.nan) for stop in stops], n_reads


def _warn_of_missing(stops, n_resamples):
    missing = [number for number, stop in enumerate(stops) if not stop.converged]
    if len(missing) == len(stops):
        raise ValueError("y: expected resamples whose fits converge, got none")
    if missing:
        named = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        _warn(f"{len(missing)} of {len(stops)} resamples have no fit that converged, and are not counted: {named}")
    if len(stops) < n_resamples:
        _warn(f"stopped by the callback: {len(stops)} of {n_resamples} resamples are fitted, and no others counted")


def _warn(message):
    # past this, _warn_of_missing, bootstrap, and the wrapper that takes others' arrays
    warnings.warn(message, RuntimeWarning, stacklevel=5)


# ---------------------------------------------------------------- intervals


def _intervals(theta, whole, confidence, method):
    """The ends of each parameter's interval, (p, 2), from the parameters of resamples, (p, R)."""
    theta = theta[:, ~np.isnan(theta).any(axis=0)]
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "percentile":
        return np.quantile(theta, tails, axis=1).T
    normal, center = NormalDist(), np.append(whole.w, whole.b)
    ends = np.empty((len(theta), 2))
    acceleration = _accelerations(whole)
    for j, of_resamples in enumerate(theta):
        share = (np.sum(of_resamples < center[j]) + np.sum(of_resamples == center[j]) / 2) / len(of_resamples)
        bias = normal.inv_cdf(min(max(share, 0.5 / len(of_resamples)), 1 - 0.5 / len(of_resamples)))
        z = bias + np.array([normal.inv_cdf(tail) for tail in tails])
        shifted = bias + z / (1 - acceleration[j] * z)
        ends[j] = np.quantile(of_resamples, [normal.cdf(end) for end in shifted])
    return ends


def _accelerations(whole):
    """Σ u³ / (6 (Σ u²)^(3/2)) of each parameter, u an example's influence on it; from one read of X.

    The influence is −H⁻¹ times the example's part of the gradient (the infinitesimal jackknife), less its mean.
    """
    objective, n = whole.objective, whole.objective.n_features
    minus_inverse = np.stack([newton_step(whole.model, unit) for unit in np.eye(len(whole.theta))])
    moments, m = np.zeros((3, n + 1)), 0
    for X, y, s, offset in objective.row_blocks():
        block = Problem.of(X, offset=offset)
        a = whole.objective._target.activate("sigmoid", block, whole.w, whole.b, np.empty(len(X)))
        columns = X if whole.framed.frame is None else whole.framed.frame.columns(X)
        rows = np.append(columns, np.ones((len(X), len(whole.theta) - n)), axis=1) * (s * (a - y))[:, np.newaxis]
        of_frame = rows @ minus_inverse
        influence = np.zeros((len(X), n + 1))
        influence[:, : len(whole.theta)] = of_frame
        if whole.framed.frame is not None:
            influence[:, :n] *= whole.framed.frame.scale
            influence[:, n] -= influence[:, :n] @ whole.framed.frame.centre
        moments += [np.sum(influence**power, axis=0) for power in (1, 2, 3)]
        m += len(X)
    first, second, third = moments / m
    variance = np.maximum(second - first**2, 0.0)
    skewness = third - 3 * first * second + 2 * first**3
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, skewness / (6 * np.sqrt(m) * variance**1.5), 0.0)

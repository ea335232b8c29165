"""Fits of one model to several penalties, from the largest to the smallest: each begins where the last one ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.solvers.checkpoint import Checkpoint
from jitlogreg.solvers.direction import Method
from jitlogreg.solvers.lockstep import Apart, lockstep
from jitlogreg.solvers.monitor import Monitor, Progress, is_true
from jitlogreg.solvers.point import Task
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.requests import Steps
from jitlogreg.solvers.run import Run
from jitlogreg.solvers.standardize import ColumnStatistics, column_variances

# Penalties of a path if none are given: so many, from a curvature of the loss down to this share of it
N_PENALTIES, SMALLEST_PENALTY = 10, 1e-6


class Stop(NamedTuple):
    """Where the fit to one penalty has ended.

    Attributes
    ----------
    w, b : ndarray, float
        In the caller's columns; of a softmax ndarrays (n, K) and (K,).
    loss, gradient_norm, decrement : float
    n_iterations, n_evaluations : int
    converged : bool
    message : str
    remedy : str or None
        See `Outcome`.
    """

    w: np.ndarray
    b: Any
    loss: float
    gradient_norm: float
    decrement: float
    n_iterations: int
    n_evaluations: int
    converged: bool
    message: str
    remedy: str | None


class How(NamedTuple):
    """How each fit of a path runs.

    Attributes
    ----------
    methods : callable
        What makes the method of a run.
    tolerance : float
    max_iterations : int
    columns : callable, optional
        The `ColumnStatistics` for a penalty, where they are not to come from the model's own rows and weights.
    """

    methods: Callable[[Task], Method]
    tolerance: float
    max_iterations: int
    columns: Callable[[float], ColumnStatistics] | None = None


def path_steps(objective, l2s, how: How, stops: list[Stop], theta) -> Steps:
    """Fit an objective to each of the penalties, but for the first ones, whose stops are there; append those of others.

    θ is where the path begins, in the caller's columns.
    """
    for number in range(len(stops), len(l2s)):
        if stops:
            theta = objective.theta_of(stops[-1].w, stops[-1].b)
        of_penalty = objective.with_l2(l2s[number])
        columns = None if how.columns is None else how.columns(l2s[number])
        run = Run(of_penalty, how.methods, how.tolerance, theta, columns)
        yield from run.begin()
        outcome = yield from run.minimise(run.start, how.max_iterations, NOBODY)
        stops.append(stop_of(run, outcome))


def stop_of(run, outcome):
    """The `Stop` of a run that has ended."""
    point, (w, b) = outcome.point, run.parameters(outcome.point)
    if np.isfinite(point.theta).all() and not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise ValueError("X: expected columns that are larger, or less far from 0, got a w or b beyond float64")
    return Stop(
        *(w, b, float(point.loss), run.gradient_norm(point), point.decrement, point.iteration, point.n_evaluations),
        *(outcome.converged, outcome.message, outcome.remedy),
    )


def unfinished(objective):
    """The `Stop` of a fit that was not made."""
    w, b = objective.parameters(np.full(objective.n_parameters, np.nan))
    return Stop(w, b, np.nan, np.nan, np.nan, 0, 0, False, "stopped by the callback before this fit", None)


def stops_to_arrays(stops: list[Stop], k):
    """The stops of a path as arrays by name, which end with the path's number k."""
    texts = {"message": [stop.message for stop in stops], "remedy": [stop.remedy or "" for stop in stops]}
    arrays = {name: np.array([getattr(stop, name) for stop in stops]) for name in Stop._fields if name not in texts}
    return {
        f"{name}_{k}": array for name, array in (arrays | {n: np.array(t, np.str_) for n, t in texts.items()}).items()
    }


def stops_from_arrays(arrays, k):
    """The stops of the path number k."""
    columns = [arrays[f"{name}_{k}"] for name in Stop._fields]
    rows = (
        [value if value.ndim else value.item() for value in map(np.asarray, row)] for row in zip(*columns, strict=True)
    )
    return [Stop(*row[:-1], row[-1] or None) for row in rows]


# Of a run that nobody follows
NOBODY = Monitor(None, False, Checkpoint(None, 1, None))


# ---------------------------------------------------------------- paths side by side


def follow_paths(models: Apart, l2s, how: How, theta, monitor: Monitor, description, fingerprint) -> list[list[Stop]]:
    """Take each model down the path of penalties, from θ on, and show the monitor how many fits are done.

    Returns the stops of each model: fewer than there are penalties where the callback has ended the run. `description`
    and `fingerprint` are those of a `Checkpoint`.
    """
    names = [name for k in range(len(models.objectives)) for name in stops_to_arrays([], k)]
    restored = monitor.checkpoint.restore(description, ("start", *names))
    if restored is not None:
        theta = restored["start"]
    if monitor.checkpoint.is_used:
        losses, gradients = zip(*(objective.at_zero() for objective in models.objectives), strict=True)
        monitor.checkpoint.begin(np.array(losses), np.stack(gradients), fingerprint, start=theta)
    stops = [[] if restored is None else stops_from_arrays(restored, k) for k in range(len(models.objectives))]
    paths = {k: path_steps(of_model, l2s, how, stops[k], theta) for k, of_model in enumerate(models.objectives)}
    with progress_bar("fits", len(stops) * len(l2s), enabled=monitor.progress) as advance:
        lockstep(models, paths, _Follower(monitor, stops, len(l2s), advance).after_round)
    return stops


class _Follower:
    """Shows the callback, the progress bar and the checkpoint how many fits are done, after each round."""

    def __init__(self, monitor, stops, n_penalties, advance):
        self._monitor, self._stops, self._advance = monitor, stops, advance
        self._total, self._done = len(stops) * n_penalties, sum(map(len, stops))
        self._warnings = np.geterr()
        self._advance(self._done, None)
        self._monitor.checkpoint.save(0, self._state)

    def after_round(self, running):
        """Follow the fits that have ended; whether the callback stops all others."""
        before, self._done = self._done, sum(map(len, self._stops))
        for number in range(before + 1, self._done + 1):
            self._advance(1, None)
            self._monitor.checkpoint.save(number, self._state)
        is_stopped = self._done > before and self._is_stopped()
        if is_stopped or not running:
            self._monitor.checkpoint.save(self._done, self._state, is_last=True)
        return is_stopped

    def _is_stopped(self):
        if self._monitor.callback is None:
            return False
        with np.errstate(**self._warnings):
            return is_true(self._monitor.callback(Progress(self._done, self._total - self._done)))

    def _state(self):
        return {name: array for k, stops in enumerate(self._stops) for name, array in stops_to_arrays(stops, k).items()}


# ---------------------------------------------------------------- penalties


def check_penalties(name, penalties, objective):
    """Check penalties, different numbers of at least 0, or choose them. Returns float64, in the order of the caller."""
    if penalties is None:
        X, _ = objective.some_rows(SAMPLE_ROWS)
        curvature = 0.25 * float(np.max(column_variances(X), initial=0.0)) or 1.0
        return np.geomspace(curvature, SMALLEST_PENALTY * curvature, N_PENALTIES)
    if isinstance(penalties, (list, tuple)):
        penalties = np.array(penalties)
    if not isinstance(penalties, np.ndarray):
        raise TypeError(
            f"{name}: expected a list or a numpy.ndarray of penalties, got {validation.described(penalties)}"
        )
    validation.check_array(name, penalties)
    if penalties.ndim != 1 or penalties.size == 0:
        raise ValueError(f"{name}: expected shape (P,) with at least one penalty, got {penalties.shape}")
    found = np.array([validation.check_nonnegative(f"{name}[{p}]", value) for p, value in enumerate(penalties)])
    values, counts = np.unique(found, return_counts=True)
    if np.any(counts > 1):
        raise ValueError(f"{name}: expected different penalties, got {values[counts > 1][0]} more than once")
    return found


# Rows that tell the variances from which penalties are chosen
SAMPLE_ROWS = 1024

"""Fits of one model to several penalties, from the largest to the smallest: each begins where the last one ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.solvers.checkpoint import Checkpoint
from jitlogreg.solvers.direction import Method
from jitlogreg.solvers.monitor import Monitor
from jitlogreg.solvers.point import Task
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
    monitor : callable, optional
        The `Monitor` of the fit to the penalty of a number.
    """

    methods: Callable[[Task], Method]
    tolerance: float
    max_iterations: int
    columns: Callable[[float], ColumnStatistics] | None = None
    monitor: Callable[[int], Monitor] | None = None


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
        monitor = NOBODY if how.monitor is None else how.monitor(number)
        outcome = yield from run.minimise(run.start, how.max_iterations, monitor)
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

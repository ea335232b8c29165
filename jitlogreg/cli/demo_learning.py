"""What `jitlogreg demo` learns by gradient descent and by `fit`: the loss at any time, and the quality in the end."""

import math
import sys
import time
import warnings
from typing import Any, NamedTuple

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli.errors import UsageError, optional_module

# Of X. Steps on smaller data are so short that moving a progress bar would take longer
_SLOW_BYTES = 128 * 2**20

_MOST_BINS = 10
_ROWS_PER_BIN = 10


class Learnt(NamedTuple):
    """A run that is over.

    Attributes
    ----------
    result : Descent or Fit
    seconds : list of float
        From the call to each loss.
    losses : list of float
        Before each iteration, and after the last one.
    """

    result: Any
    seconds: list
    losses: list


def descend(split, settings, learning_rate):
    """Run gradient descent on the training rows.

    Parameters
    ----------
    split : Split
    settings : argparse.Namespace
        With `iterations`, `l2` and `target`.
    learning_rate : float

    Returns
    -------
    Learnt

    Raises
    ------
    UsageError
        If the loss is no longer finite.
    """
    progress = sys.stdout.isatty() and split.X.nbytes >= _SLOW_BYTES
    if progress:
        optional_module("rich", "rich")

    def run(n_iterations, **watching):
        shared = {"learning_rate": learning_rate, "l2": settings.l2, "target": settings.target}
        return jlr.gradient_descent(split.X, split.y, n_iterations=n_iterations, **shared, **watching)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the loss is", RuntimeWarning)  # raised below
        run(1)  # compiles
        learnt = _watched(lambda callback: run(settings.iterations, callback=callback, progress=progress))
    if not math.isfinite(learnt.losses[-1]):
        raise UsageError(
            f"--learning-rate: expected a rate at which the loss stays finite, got {learning_rate:g}, at which it does "
            f"not after {learnt.result.n_iterations} steps"
        )
    return learnt


def fit(split, settings):
    """Run `jlr.fit` on the training rows. The parameters and the result are those of `descend`.

    That the minimum is missing is said by the result's message, without a warning.
    """

    def run(callback=None):
        return jlr.fit(split.X, split.y, l2=settings.l2, target=settings.target, callback=callback)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jlr.SeparationWarning)
        run()  # compiles
        return _watched(run)


def _watched(run):
    """The outcome of run(callback), with the time and the loss at each call of the callback."""
    seconds, losses = [], []

    def watch(state):
        seconds.append(time.perf_counter() - start)
        losses.append(state.loss)

    start = time.perf_counter()
    return Learnt(run(watch), seconds, losses)


class Quality(NamedTuple):
    """The quality of predicted probabilities.

    Attributes
    ----------
    accuracy, most_frequent : float
        The share of rows with the right label, and of those with the more frequent one.
    roc : tuple of two ndarray, or None
        The false-positive and true-positive rates; None if all rows have one label.
    roc_area : float or None
    calibration : ndarray, shape (2, n_bins)
        The mean predicted probability of label 1 and the share of label 1, in bins of equal counts by that probability.
    """

    accuracy: float
    most_frequent: float
    roc: tuple[np.ndarray, np.ndarray] | None
    roc_area: float | None
    calibration: np.ndarray


def evaluate(y, a):
    """The quality of probabilities a for labels y.

    Parameters
    ----------
    y : ndarray of float64, shape (m,), m > 0
        0 and 1.
    a : ndarray of float64, shape (m,)

    Returns
    -------
    Quality
    """
    share = y.mean()
    roc = roc_area = None
    order = np.argsort(-a, kind="stable")
    if 0 < share < 1:
        ends = np.append(np.flatnonzero(np.diff(a[order])), len(a) - 1)  # equal probabilities are one point
        hits = np.append(0, np.cumsum(y[order])[ends])
        roc = (np.append(0, ends + 1) - hits) / (len(y) - y.sum()), hits / y.sum()
        roc_area = float(np.trapezoid(roc[1], roc[0]))
    n_bins = min(_MOST_BINS, max(1, len(y) // _ROWS_PER_BIN))
    bins = np.array_split(order[::-1], n_bins)
    calibration = np.array([[values[rows].mean() for rows in bins] for values in (a, y)])
    return Quality(np.mean((a >= 0.5) == y), max(share, 1 - share), roc, roc_area, calibration)


def default_learning_rate(X, l2):
    """1 / L, where L bounds the curvature of the objective.

    Its second derivatives are at most λ/4 + l2, with λ the largest eigenvalue of AᵀA/m and A = [X 1], as σ' ≤ 1/4.
    Steps go downhill below 2 / L, so it is enough that power iteration finds more than half of λ.

    Parameters
    ----------
    X : ndarray of float64, shape (m, n)
    l2 : float

    Returns
    -------
    learning_rate : float
    """
    v = np.random.default_rng(0).standard_normal(X.shape[1] + 1)
    for _ in range(30):
        v /= np.linalg.norm(v)
        z = X @ v[:-1] + v[-1]
        v = np.append(X.T @ z, z.sum()) / len(X)
    return 1 / (np.linalg.norm(v) / 4 + l2)

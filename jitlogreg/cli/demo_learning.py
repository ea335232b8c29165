"""What `jitlogreg demo` learns: by gradient descent, by `fit`, and how far each has come at any time."""

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
            f"the loss is no longer finite after {learnt.result.n_iterations} steps: a smaller --learning-rate may help"
        )
    return learnt


def fit(split, settings):
    """Run `jlr.fit` on the training rows. The parameters and the result are those of `descend`.

    That the minimum is missing is said by the result's message, without a warning.
    """

    def run(**how):
        return jlr.fit(split.X, split.y, l2=settings.l2, target=settings.target, **how)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jlr.SeparationWarning)
        run(max_iterations=2)  # compiles
        return _watched(lambda callback: run(callback=callback))


def _watched(run):
    """The outcome of run(callback), with the time and the loss at each call of the callback."""
    seconds, losses = [], []

    def watch(state):
        seconds.append(time.perf_counter() - start)
        losses.append(state.loss)

    start = time.perf_counter()
    return Learnt(run(watch), seconds, losses)


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

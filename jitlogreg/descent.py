"""Gradient descent, the notes' update rule, on any target."""

import contextlib
import functools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import checks
from jitlogreg.arrays import takes_arrays
from jitlogreg.objective import check_examples, check_weight, evaluate, finish, norm
from jitlogreg.progress import progress_bar
from jitlogreg.targets import choose
from jitlogreg.targets.device_array import like
from jitlogreg.targets.sums import Steps


class Descent(NamedTuple):
    """The outcome of a descent.

    Attributes
    ----------
    w : ndarray, shape (n,)
    b : float
    loss_history : ndarray of float64, shape (n_iterations + 1,)
        The objective before each step, and after the last; `minibatch_descent` has one of its own.
    n_iterations : int
        The steps that were made.
    converged : bool
        Whether the gradient's norm came down to `tolerance`; False where there is none.
    """

    w: np.ndarray
    b: float
    loss_history: np.ndarray
    n_iterations: int
    converged: bool


class State(NamedTuple):
    """What a callback is shown, before the step is made. `w` is a copy."""

    iteration: int
    loss: float
    gradient_norm: float
    w: np.ndarray
    b: float


@takes_arrays
def gradient_descent(
    X: np.ndarray,
    y: np.ndarray,
    *,
    learning_rate: float,
    n_iterations: int,
    w: np.ndarray | None = None,
    b: float = 0.0,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    tolerance: float = 0.0,
    callback: Callable[[State], object] | None = None,
    progress: bool = False,
    target: str | None = None,
) -> Descent:
    """Minimise the objective by n_iterations steps of w := w − α dw, b := b − α db.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1.
    learning_rate : float
        α, finite and at least 0. Steps surely go downhill below 8 / (largest eigenvalue of XᵀX / m, X with a column of
        ones).
    n_iterations : int
        The most steps to make.
    w : ndarray of X's dtype or float64, shape (n,), optional
        Where to start; zeros of X's dtype if left out. Its dtype is that of the whole descent. It is not written to.
    b : float
        Where to start.
    sample_weight : ndarray, shape (m,), optional
    l2 : float
        Penalty of l2/2 ‖w‖².
    tolerance : float
        Stop once the Euclidean norm of [dw, db] is at most this.
    callback : callable, optional
        Called as callback(state) before each step and after the last one, with `iteration`, `loss`, `gradient_norm`,
        `w` and `b`; the descent stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    Descent

    Warns
    -----
    RuntimeWarning
        If the loss is no longer finite; the descent stops there.

    Notes
    -----
    Each step costs one `loss_and_gradient`, and one more closes the history.

    References
    ----------
    System 3 and 6 of the lecture notes.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[-1.0], [1.0], [2.0]]), np.array([0, 1, 1])
    >>> run = jlr.gradient_descent(X, y, learning_rate=0.5, n_iterations=100)
    >>> run.n_iterations, bool(run.loss_history[-1] < 0.1)
    (100, True)
    """
    kernels = choose(target, X)
    checks.matrix(X)
    w = checks.zeros(X) if w is None else checks.weights(w, X).copy()
    b = checks.intercept(b, w.dtype)
    y, sample_weight = checks.examples(X, y, sample_weight, w.dtype)
    learning_rate = w.dtype.type(checks.nonnegative("learning_rate", learning_rate, w.dtype))
    n_iterations = checks.count("n_iterations", n_iterations)
    l2 = checks.nonnegative("l2", l2)
    tolerance = checks.nonnegative("tolerance", tolerance)
    checks.function("callback", callback)

    descend = getattr(kernels, "descend", None) or functools.partial(_descend_here, kernels)
    steps = descend(X, y, w, b, sample_weight, learning_rate, n_iterations, l2, tolerance, callback is not None)
    history: list[float] = []
    with progress_bar("gradient descent", n_iterations, enabled=progress) as advance, contextlib.closing(steps):
        for losses, length, w, b, weight, valid in steps:
            check_examples(weight, valid, y, sample_weight)
            check_weight(weight)
            advance(len(losses) if history else len(losses) - 1, losses[-1])
            history += losses
            loss, iteration, w = losses[-1], len(history) - 1, like(X, w)
            stop = callback is not None and is_true(callback(State(iteration, loss, length, w.copy(), float(b))))
            if not math.isfinite(loss):
                cause = (
                    "a smaller learning_rate may help" if iteration else "X, w or b, or a sum of them, is not finite"
                )
                warnings.warn(
                    f"the loss is {loss} after {iteration} steps: {cause}",
                    RuntimeWarning,
                    stacklevel=3,  # past the wrapper that takes other libraries' arrays
                )
                break
            if length <= tolerance or stop:
                break
    return Descent(w, float(b), np.array(history), iteration, length <= tolerance)


def _descend_here(kernels, X, y, w, b, sample_weight, learning_rate, n_iterations, l2, tolerance, each_step):
    """Descend by evaluations of a target that has no loop of its own, and yield what each step reached."""
    for _ in range(n_iterations + 1):
        sums = evaluate(kernels, X, y, sample_weight, w, b)
        loss, dw, db = finish(sums, w, l2)
        yield Steps([loss], gradient_norm(dw, db), w, b, sums.weight, sums.valid)
        w, b = step(w, b, dw, db, learning_rate)


def gradient_norm(dw, db):
    """The Euclidean norm of [dw, db]."""
    return norm(np.append(dw.astype(np.float64, copy=False), db))


@np.errstate(all="ignore")  # a descent that diverges ends at its loss
def step(w, b, dw, db, learning_rate):
    """w − α dw and b − α db, rounded to w's dtype."""
    return w - learning_rate * dw, b - learning_rate * w.dtype.type(db)


def is_true(answer):
    """Whether a callback returned True itself: what a callback happens to return otherwise does not stop the run."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)

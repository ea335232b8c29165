"""Gradient descent, the notes' update rule, on any target."""

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.interop.device_array import like, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective, check_examples, check_weight, evaluate, finish, norm
from jitlogreg.solvers import checkpoint as checkpoints
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.targets.dispatch import choose
from jitlogreg.targets.base import Steps


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


@accepts_foreign_arrays
def gradient_descent(
    X: np.ndarray | Objective,
    y: np.ndarray | None = None,
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
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 10,
    resume: str | os.PathLike | None = None,
    target: str | None = None,
) -> Descent:
    """Minimise the objective by n_iterations steps of w := w − α dw, b := b − α db.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0; or Objective
        Of an `Objective`, such as one over dask arrays, the data, `l2` and the target are its own; its descent is in
        float64.
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
    checkpoint : path, optional
        A file to keep the run in, before the first step, after every `checkpoint_every` and after the last one. It is
        replaced whole or not at all.
    checkpoint_every : int
        At least 1.
    resume : path, optional
        A checkpoint of the same descent to go on from, to the bits that it would have come to uninterrupted; it may be
        the file that `checkpoint` names. `w` and `b` are not looked at then; `tolerance` and `n_iterations` may differ.
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    Descent

    Raises
    ------
    TypeError, ValueError
        For data that cannot be served exactly, as by `loss_and_gradient`; for a checkpoint that is damaged, or of other
        data, another version, or a descent with other arguments.
    OSError
        If a checkpoint cannot be written or read.

    Warns
    -----
    RuntimeWarning
        If the loss is no longer finite; the descent stops there.

    Notes
    -----
    Each step costs one `loss_and_gradient`, and one more closes the history; `checkpoint` and `resume` cost one each.

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
    if isinstance(X, Objective):
        validation.check_none_beside_objective(y=y, sample_weight=sample_weight, l2=l2 or None, target=target)
        w = np.zeros(X.n_features) if w is None else validation.check_coefficients(w, X).astype(np.float64)
        b = validation.check_initial_intercept(b, w.dtype, X.n_parameters > X.n_features)
        sums_at, name, l2, descend = X.sums_at, X.target, X.l2, None
    else:
        kernels = choose(target, X)
        validation.check_matrix(X)
        w = validation.initial_coefficients(X) if w is None else validation.check_coefficients(w, X).copy()
        b = validation.check_intercept(b, w.dtype)
        y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype)
        sums_at, name = functools.partial(evaluate, kernels, X, y, sample_weight), kernels.__name__.rpartition(".")[2]
        descend = getattr(kernels, "descend", None)
    learning_rate = w.dtype.type(validation.check_nonnegative("learning_rate", learning_rate, w.dtype))
    n_iterations = validation.check_count("n_iterations", n_iterations)
    l2 = validation.check_nonnegative("l2", l2)
    tolerance = validation.check_nonnegative("tolerance", tolerance)
    validation.check_callable("callback", callback)
    checkpoint_every = validation.check_count("checkpoint_every", checkpoint_every, least=1)
    checkpoints.check_path("checkpoint", checkpoint)
    checkpoints.check_path("resume", resume)

    history: list[float] = []
    keep = None
    if checkpoint is not None or resume is not None:
        run = {"call": "gradient_descent", "target": name, "l2": l2}
        run |= {"shape": list(X.shape), "dtypes": f"{X.dtype}, {w.dtype}", "learning_rate": float(learning_rate)}
        first = w, b
        if resume is not None:
            names = "start_loss", "start_gradient", "start_w", "start_b", "w", "b", "history"
            saved = checkpoints.load(resume, run, names)
            first = validation.check_coefficients(like(X, saved["start_w"]), X), w.dtype.type(saved["start_b"])
            w, b = validation.check_coefficients(like(X, saved["w"]), X), w.dtype.type(saved["b"])
            history = saved["history"].tolist()
        loss, dw, db = finish(sums_at(*first), first[0], l2)
        start = {"start_loss": loss, "start_gradient": np.append(on_host(dw).astype(np.float64), db)}
        if resume is not None:
            checkpoints.check_start(resume, saved, **start)
        if len(history) > n_iterations:
            raise ValueError(f"n_iterations is {n_iterations}; accepted are at least the {len(history)} of resume")
        start |= {"start_w": on_host(first[0]), "start_b": first[1]}

        def keep_in_file(w, b, history):
            checkpoints.save(checkpoint, run, start | {"w": on_host(w), "b": b, "history": np.array(history)})

        keep = None if checkpoint is None else keep_in_file

    each_step, iteration = callback is not None or keep is not None, len(history)
    by = learning_rate, n_iterations - iteration, l2
    if descend is None:
        steps = _descend_here(sums_at, w, b, *by)
    else:
        steps = descend(X, y, w, b, sample_weight, *by, tolerance, each_step)
    with progress_bar("gradient descent", n_iterations, enabled=progress) as advance, contextlib.closing(steps):
        for losses, length, w, b, weight, valid in steps:
            check_examples(weight, valid, y, sample_weight)
            check_weight(weight)
            history += losses
            made, iteration = iteration, len(history) - 1
            loss, w = losses[-1], like(X, w)
            advance(iteration - made, loss)
            if keep and iteration % checkpoint_every == 0 and math.isfinite(loss):
                keep(w, b, history[:-1])
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
    if keep and iteration % checkpoint_every and math.isfinite(loss):
        keep(w, b, history[:-1])
    return Descent(w, float(b), np.array(history), iteration, length <= tolerance)


def _descend_here(sums_at, w, b, learning_rate, n_iterations, l2):
    """Descend by evaluations where the target has no loop of its own, and yield what each step reached."""
    for _ in range(n_iterations + 1):
        sums = sums_at(w, b)
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

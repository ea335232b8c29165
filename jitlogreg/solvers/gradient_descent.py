"""Gradient descent: the update rule of the lecture notes, on any target."""

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import outputs, row_passes, validation
from jitlogreg._docs import documented
from jitlogreg.evaluation import check_examples, check_weight, checked_sums, normalize
from jitlogreg.interop.device_array import like, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.norms import norm
from jitlogreg.objective import Objective
from jitlogreg.outputs_objective import OutputsObjective, check_alone
from jitlogreg.solvers.monitor import Monitor, State, is_true
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.targets.base import DescentSettings, Problem, Steps
from jitlogreg.targets.dispatch import choose


class Descent(NamedTuple):
    """The outcome of a descent.

    Attributes
    ----------
    w : ndarray, shape (n,)
        Of a softmax, (n, K).
    b : float
        Of a softmax, an array (K,).
    loss_history : ndarray of float64, shape (n_iterations + 1,)
        The objective before each step, and after the last; `minibatch_descent` has one of its own.
    n_iterations : int
        The steps that were made.
    converged : bool
        Whether the gradient's norm came down to `tolerance`; False where there is none.
    """

    w: np.ndarray
    b: Any
    loss_history: np.ndarray
    n_iterations: int
    converged: bool


@accepts_foreign_arrays
@documented
def gradient_descent(
    X: np.ndarray | Objective,
    y: np.ndarray | None = None,
    *,
    learning_rate: float,
    n_iterations: int,
    w: np.ndarray | None = None,
    b: float = 0.0,
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    l2: float = 0.0,
    link: str = "sigmoid",
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
    X : ndarray or CSR of float32 or float64, shape (m, n), m > 0; or Objective
        An `Objective`, such as one over dask arrays, brings its own data, `l2` and target; its descent is in float64.
    %(y_of_fit)s
    learning_rate : float
        α, finite and at least 0. Every step goes downhill if α is below 8 / (largest eigenvalue of XᵀX / m, X with a
        column of ones).
    n_iterations : int
        The most steps to make.
    w : ndarray of X's dtype or float64, shape (n,) or (n, K), optional
        Where to start; zeros of X's dtype if left out. The whole descent is in its dtype. It is not written to.
    b : float
        Where to start.
    %(sample_weight_of_fit)s
    %(offset_of_fit)s
    %(l2_of_fit)s
    link : {"sigmoid", "softmax"}
        "softmax" descends for one model of K classes, as many as w has columns; without w, K follows from y as in
        `fit`.
    tolerance : float
        Stop once the Euclidean norm of [dw, db] is at most this.
    callback : callable, optional
        Called as callback(state) before each step and after the last one, with `iteration`, `loss`, `gradient_norm`,
        `w` and `b`; the descent stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    checkpoint : path, optional
        A file to save the run in: before the first step, after each `checkpoint_every` and after the last one. It is
        replaced whole or not at all.
    checkpoint_every : int
        At least 1.
    resume : path, optional
        A checkpoint of the same descent to go on from; the run ends bit for bit where an uninterrupted one would. It
        may be the file that `checkpoint` names. `w` and `b` are ignored then; `tolerance` and `n_iterations` may
        differ.
    %(target)s

    Returns
    -------
    Descent

    Raises
    ------
    TypeError, ValueError
        For unsupported data, as by `loss_and_gradient`; for a checkpoint that is damaged, or of other data, another
        version, or a descent with other arguments.
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
        objective = check_alone(X, y=y, sample_weight=sample_weight, offset=offset, l2=l2, link=link, target=target)
        task, w, b = _of_objective(objective, w, b)
    elif outputs.check_link(link) == "softmax":
        task, w, b = _of_classes(X, y, sample_weight, offset, l2, target, w, b)
    else:
        task, w, b = _of_arrays(X, y, sample_weight, offset, l2, target, w, b)
    settings = _Settings(
        w.dtype.type(validation.check_nonnegative("learning_rate", learning_rate, w.dtype)),
        validation.check_count("n_iterations", n_iterations),
        validation.check_nonnegative("l2", task.l2),
        validation.check_nonnegative("tolerance", tolerance),
    )
    monitor = Monitor.checked(callback, progress, checkpoint, checkpoint_every, resume)
    w, b, history = _restored(monitor.checkpoint, task, settings, w, b)
    each_step = monitor.callback is not None or monitor.checkpoint.saves
    steps = _steps(task, settings, w, b, settings.n_iterations - len(history), each_step)
    return _followed(steps, history, task, settings, monitor)


class _Task(NamedTuple):
    """What a descent minimises: data on a target, or an `Objective`.

    Attributes
    ----------
    X : array or Objective
    data : Problem or None
        None where X is an `Objective`.
    l2 : float
    target : str
        The target's name.
    sums_at : callable
        The `Sums` at w and b.
    normalize : callable
        Means from these, w and l2.
    descend : callable
        The target's own loop over steps, if it has one: `Target.descend` at w and b.
    fingerprint : callable
        Makes a number that hardly any other data has.
    """

    X: Any
    data: Problem | None
    l2: float
    target: str
    sums_at: Callable
    normalize: Callable
    descend: Callable
    fingerprint: Callable


class _Settings(NamedTuple):
    """The checked arguments of the update rule; `learning_rate` is in w's dtype."""

    learning_rate: np.floating
    n_iterations: int
    l2: float
    tolerance: float


def _of_objective(objective, w, b):
    """The task that an `Objective` is, and where to start."""
    if isinstance(objective, OutputsObjective):
        if objective.link != "softmax":
            came = f"{objective.n_outputs} independent models"
            raise ValueError(f"X: expected an Objective of one output or of a softmax, got one of {came}")
        w, b = objective.split(objective.initial_theta(w, b))
        described = objective, None, objective.l2, objective.target
        return _Task(*described, objective.sums_at, normalize_classes, _no_loop, objective.fingerprint), w, b
    w = np.zeros(objective.n_features) if w is None else validation.check_coefficients(w, objective).astype(np.float64)
    b = validation.check_initial_intercept(b, w.dtype, objective.has_intercept)
    described = objective, None, objective.l2, objective.target
    return _Task(*described, objective.sums_at, normalize, _no_loop, objective.fingerprint), w, b


def _no_loop(w, b, settings):
    """None: the target takes no steps by itself."""


def _of_arrays(X, y, sample_weight, offset, l2, target, w, b):
    """The task that these arrays are, and where to start."""
    chosen = choose(target, X)
    order, ld = validation.check_matrix(X)
    w = validation.initial_coefficients(X) if w is None else validation.check_coefficients(w, X).copy()
    b = validation.check_intercept(b, w.dtype)
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype)
    data = Problem(X, y, sample_weight, order, ld, None, validation.check_offset(offset, X, w.dtype))
    sums_at, descend = functools.partial(checked_sums, chosen, data), functools.partial(chosen.descend, data)
    fingerprint = functools.partial(row_passes.fingerprint, data)
    return _Task(X, data, l2, chosen.name, sums_at, normalize, descend, fingerprint), w, b


def _of_classes(X, y, sample_weight, offset, l2, target, w, b):
    """The task of a softmax on these arrays, and where to start."""
    chosen = choose(target, X)
    order, ld = validation.check_matrix(X)
    w, b = outputs.initial_model(X, w, b, outputs.number_of_classes(y) if w is None else None)
    y, sample_weight = outputs.check_labels_and_weights(X, y, sample_weight, "softmax", w.shape[1], w.dtype)
    offset = outputs.check_offset(offset, X, w.shape[1], w.dtype)
    data = Problem(X, y, sample_weight, order, ld, None, offset)
    sums_at = functools.partial(outputs.checked_sums, chosen, "softmax", data)
    fingerprint = functools.partial(row_passes.fingerprint, data)
    return _Task(X, None, l2, chosen.name, sums_at, normalize_classes, _no_loop, fingerprint), w, b


def normalize_classes(sums, w, l2):
    """Means with the penalty, dw in w's dtype."""
    means = outputs.normalize(sums, w, l2)
    return means._replace(dw=means.dw.astype(w.dtype, copy=False))


# ---------------------------------------------------------------- checkpoints


def _restored(checkpoint, task, settings, w, b):
    """w, b and the history to go on from: the start, or those of a checkpoint."""
    history = []
    if not checkpoint.is_used:
        return w, b, history
    start = w, b
    restored = checkpoint.restore(_description(task, settings, w.dtype), ("start_w", "start_b", "w", "b", "history"))
    if restored is not None:
        start = _parameters(task.X, restored["start_w"], restored["start_b"], w.dtype)
        w, b = _parameters(task.X, restored["w"], restored["b"], w.dtype)
        history = restored["history"].tolist()
    loss, dw, db = task.normalize(task.sums_at(*start), start[0], settings.l2)
    gradient = np.append(on_host(dw).astype(np.float64), db)
    checkpoint.begin(loss, gradient, task.fingerprint, start_w=on_host(start[0]), start_b=start[1])
    if len(history) > settings.n_iterations:
        raise ValueError(
            f"n_iterations: expected an integer of at least {len(history)}, the iterations of resume, got "
            f"{settings.n_iterations}"
        )
    return w, b, history


def _description(task, settings, dtype):
    """What must be the same when a descent is resumed."""
    return {
        "call": "gradient_descent",
        "target": task.target,
        "l2": settings.l2,
        "shape": list(task.X.shape),
        "dtypes": f"{task.X.dtype}, {dtype}",
        "learning_rate": float(settings.learning_rate),
    }


def _parameters(X, w, b, dtype):
    """w and b from a checkpoint, w where X lies."""
    if w.ndim == 2:
        return validation.check_coefficients_of_outputs(w, X), b.astype(dtype)
    return validation.check_coefficients(like(X, w), X), dtype.type(b)


def _state(w, b, history):
    """What a checkpoint holds; the loss at w and b is computed anew when the run is resumed."""
    return {"w": on_host(w), "b": b, "history": np.array(history[:-1])}


# ---------------------------------------------------------------- the steps


def _steps(task, settings, w, b, n_iterations, each_step):
    """The `Steps` of a descent as they are made: by the target's own loop, or by evaluations."""
    learning_rate, _, l2, tolerance = settings
    steps = task.descend(w, b, DescentSettings(learning_rate, n_iterations, l2, tolerance, each_step))
    if steps is None:
        return _descend_by_evaluations(task, w, b, learning_rate, n_iterations, l2)
    return steps


def _descend_by_evaluations(task, w, b, learning_rate, n_iterations, l2):
    """Yield what each step reached, where the target has no loop of its own."""
    for _ in range(n_iterations + 1):
        sums = task.sums_at(w, b)
        loss, dw, db = task.normalize(sums, w, l2)
        yield Steps([loss], gradient_norm(dw, db), w, b, sums.weight, sums.valid)
        w, b = step(w, b, dw, db, learning_rate)


def _followed(steps, history, task, settings, monitor):
    """The outcome of a descent, whose steps are checked, recorded and shown as they are made."""
    iteration = len(history)
    bar = progress_bar("gradient descent", settings.n_iterations, enabled=monitor.progress)
    with bar as advance, contextlib.closing(steps):
        for losses, grad_norm, w, b, weight, valid in steps:
            if task.data is not None:
                check_examples(weight, valid, task.data)
            check_weight(weight)
            history += losses
            previous, iteration = iteration, len(history) - 1
            loss, w = losses[-1], like(task.X, w)
            advance(iteration - previous, loss)
            if monitor.checkpoint.saves and math.isfinite(loss):
                monitor.checkpoint.save(iteration, functools.partial(_state, w, b, history))
            stop = monitor.callback is not None and is_true(
                monitor.callback(State(iteration, loss, grad_norm, w.copy(), intercept(b)))
            )
            if not math.isfinite(loss):
                _warn_not_finite(loss, iteration)
            if not math.isfinite(loss) or grad_norm <= settings.tolerance or stop:
                break
    if math.isfinite(loss):
        monitor.checkpoint.save(iteration, functools.partial(_state, w, b, history), is_last=True)
    return Descent(w, intercept(b), np.array(history), iteration, grad_norm <= settings.tolerance)


def intercept(b):
    """b as callers get it: a Python float, or a copy of K of them."""
    return b.copy() if isinstance(b, np.ndarray) else float(b)


def _warn_not_finite(loss, iteration):
    cause = "a smaller learning_rate may help" if iteration else "X, w, b or offset, or a sum of them, is not finite"
    warnings.warn(
        f"the loss is {loss} after {iteration} steps: {cause}",
        RuntimeWarning,
        stacklevel=5,  # past this, _followed, gradient_descent, and the wrapper that takes other libraries' arrays
    )


def gradient_norm(dw, db):
    """The Euclidean norm of [dw, db]."""
    return norm(np.append(dw.astype(np.float64, copy=False), db))


@np.errstate(all="ignore")  # a descent that diverges ends at its loss
def step(w, b, dw, db, learning_rate):
    """w − α dw and b − α db, rounded to w's dtype."""
    return w - learning_rate * dw, b - learning_rate * w.dtype.type(db)

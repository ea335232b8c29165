"""Mini-batch descent: a step for each batch, from arrays, from files larger than memory, from streams."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import outputs, validation
from jitlogreg._docs import documented
from jitlogreg.evaluation import LossAndGradient, checked_sums, normalize
from jitlogreg.interop.device_array import DeviceArray, like, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.solvers.batches import as_examples, batch_stream, number_of_classes
from jitlogreg.solvers.gradient_descent import Descent, gradient_norm, intercept, normalize_classes, step
from jitlogreg.solvers.monitor import State, is_true
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.targets.base import Problem, Target
from jitlogreg.targets.dispatch import choose


@documented
def minibatch_descent(
    blocks: Iterable | Callable[[], Iterable],
    *,
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    n_features: int | None = None,
    learning_rate: float | Callable[[int], float],
    n_epochs: int = 1,
    block_size: int | None = None,
    shuffle: int | np.random.Generator | None = None,
    l2: float = 0.0,
    link: str = "sigmoid",
    w: np.ndarray | None = None,
    b: float = 0.0,
    callback: Callable[[State], object] | None = None,
    progress: bool = False,
    target: str | None = None,
) -> Descent:
    """Make a step w := w − α dw, b := b − α db for each batch, n_epochs times over all batches.

    dw = 1/S Σᵢ sᵢ dzᵢ xᵢ + l2 w and db = 1/S Σᵢ sᵢ dzᵢ are the gradient of the batch's own objective: i runs over its
    examples, S = Σ sᵢ.

    Parameters
    ----------
    blocks : tuple, iterable or callable
        (X, y), (X, y, sample_weight) or (X, y, sample_weight, offset): arrays as `gradient_descent` takes them, or
        memory-mapped files; the last two may be None. They are cut into batches of `block_size` rows, of which the last
        may have fewer. Batches are views: only the y, sample_weight and offset of a batch are copied, and only if they
        have another dtype than w.

        Or an iterable of batches, each of this form and of any number of rows. A batch is read when its turn comes, and
        not kept. Several epochs need an iterable that can be iterated again, such as a list. Or a
        function without arguments that returns such an iterable, and is called at the beginning of each epoch.

        All batches have the same number of columns, the same dtype of X, and arrays of the same library.
    sample_weight, offset : ndarray, shape (m,), optional
        Those of the arrays (X, y), cut as they are: as if (X, y, sample_weight, offset) had been given. Batches that
        are not cut from arrays carry their own. Of a softmax, `offset` may also have the shape (m, K).
    n_features : int, optional
        The number of columns that the batches must have; by default that of the first.
    learning_rate : float or callable
        α, finite and at least 0; or a function of the step's number, counted from 0 over all epochs, that returns it.
    n_epochs : int
        How often to go over all batches, at least 1.
    block_size : int, optional
        Rows of a batch that is cut from arrays, 16,384 if left out. Fewer rows make more steps in an epoch, and cost
        more.
    shuffle : int or numpy.random.Generator, optional
        A seed, or a generator: each epoch then takes every batch once, in a random order of its own. Rows stay together
        in their batches, so that memory and files are read a batch at a time: shuffle rows that are sorted, by label
        for example, beforehand. Batches that are not cut from arrays must be a sequence (`len(blocks)`, `blocks[i]`).
    %(l2_of_fit)s
        It counts in full for every batch.
    link : {"sigmoid", "softmax"}
        "softmax" descends for one model of K classes, as many as w has columns. Without w, batches that are cut from
        arrays tell K as in `fit`; others need a w.
    w : ndarray of X's dtype or float64, shape (n,) or (n, K), optional
        Where to start; zeros of X's dtype if left out. The whole descent is in its dtype. It is not written to.
    b : float
        Where to start.
    callback : callable, optional
        Called as callback(state) before each step, with `iteration`, `w`, `b`, and the `loss` and `gradient_norm` of
        the batch; the descent stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    %(target)s

    Returns
    -------
    Descent
        `loss_history` has the objective of each batch, penalty included, at the w and b before that batch's step:
        `n_iterations` numbers, and one more if the descent stopped at a batch without making its step. They are of
        different examples, so only their trend falls. `converged` is always False: the gradient over all examples would
        tell, and it is not computed.

    Raises
    ------
    TypeError, ValueError
        For unsupported data, as by `gradient_descent`: the message begins with the batch's number, in the order of
        `blocks`, from 0, and with its rows if arrays are cut. For an epoch without batches, and for batches without any
        example. For a sample_weight or an offset beside batches that are not arrays (X, y).
    TargetUnavailableError
        If the target cannot run here.

    Warns
    -----
    RuntimeWarning
        If the loss of a batch is no longer finite, where the descent stops, or w and b after the last step.

    Notes
    -----
    An example of weight 0 counts as left out. So a batch without rows, or with weights that are all 0, makes no step,
    is not counted and not shown to the callback.

    A step costs one `loss_and_gradient` of its batch, so an epoch reads each number of X once. w and b have the same
    bits on any number of threads, and every time that a seed is given.

    References
    ----------
    System 3 and 6 of the lecture notes, for a part of the examples at a time.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> y = X[:, 0] > X[:, 1]
    >>> run = jlr.minibatch_descent((X, y), learning_rate=1.0, n_epochs=10, block_size=100, shuffle=0)
    >>> run.n_iterations, run.loss_history.shape, bool(jlr.loss(X, y, run.w, run.b) < 0.15)
    (100, (100,), True)
    """
    rate_at = _schedule(learning_rate)
    n_features = None if n_features is None else validation.check_count("n_features", n_features)
    n_epochs, l2 = validation.check_count("n_epochs", n_epochs, least=1), validation.check_nonnegative("l2", l2)
    validation.check_callable("callback", callback)
    if target is not None:
        choose(target)
    rng = validation.check_random_state("shuffle", shuffle)
    is_softmax = outputs.check_link(link) == "softmax"
    if not is_softmax:
        b = validation.check_intercept(b, np.dtype(np.float64))
    stream = batch_stream(blocks, {"sample_weight": sample_weight, "offset": offset}, block_size, n_epochs, rng, target)
    n_outputs = 1 if not is_softmax else number_of_classes(blocks) if w is None else None

    descent = _MiniBatchDescent(w, b, link, n_outputs, n_features, l2, target)
    with progress_bar("mini-batch descent", stream.n_batches, enabled=progress) as advance:
        for number, batch in stream.numbered:
            try:
                evaluated = descent.evaluate(batch)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{stream.label(number)}: {error}") from error
            del batch  # before the next one is made
            if evaluated is not None:
                is_stopped = descent.record(evaluated, callback)
                if not math.isfinite(evaluated.loss):
                    _warn(f"the loss of {stream.label(number)} is {evaluated.loss} after {descent.n_iterations} steps")
                if is_stopped or not math.isfinite(evaluated.loss):
                    break
                descent.step(evaluated, rate_at)
            advance(1, descent.history[-1] if descent.history else math.nan)
        else:
            if not descent.history:
                raise ValueError("blocks: expected at least one example of positive weight, got none")
            if not descent.is_finite():
                _warn(f"w or b is not finite after {descent.n_iterations} steps")
    return descent.outcome()


def _warn(what):
    warnings.warn(f"{what}: a smaller learning_rate may help, if X and offset are finite", RuntimeWarning, stacklevel=3)


def _schedule(learning_rate):
    """The function of a step's number and of w's dtype that gives α in that dtype."""
    if callable(learning_rate):
        return lambda i, dtype: dtype.type(validation.check_nonnegative(f"learning_rate({i})", learning_rate(i), dtype))
    validation.check_nonnegative("learning_rate", learning_rate)
    return lambda i, dtype: dtype.type(validation.check_nonnegative("learning_rate", learning_rate, dtype))


class _MiniBatchDescent:
    """Where a descent stands: its parameters, the losses so far, and the number of steps.

    The first batch decides the target, the library of the arrays, and the dtypes.
    """

    def __init__(self, w, b, link, n_outputs, n_features, l2, target):
        self._start = {"w": w, "b": b, "link": link, "n_outputs": n_outputs, "n_features": n_features, "target": target}
        self._l2, self._target = l2, target
        self._setup = self.w = self.b = None
        self.history = []
        self.n_iterations = 0

    def evaluate(self, batch):
        """The `LossAndGradient` of a batch, on the host; None where no example has weight.

        Raises
        ------
        TypeError, ValueError
            For a batch that is not supported.
        """
        X, y, weights, offset = as_examples(batch)
        if self._setup is None:
            self._setup = _set_up(X, **self._start)
            self.w, self.b = self._setup.host_w, self._setup.b
        where = self._setup, self.w, self.b
        means = _means(X, y, sample_weight=weights, offset=offset, where=where, l2=self._l2, target=self._target)
        return LossAndGradient(*means) if means else None

    def record(self, evaluated, callback):
        """Append the loss, and show the state to the callback. Returns whether that stops the descent."""
        self.history.append(evaluated.loss)
        if callback is None:
            return False
        grad_norm = gradient_norm(evaluated.dw, evaluated.db)
        state = State(self.n_iterations, evaluated.loss, grad_norm, self.w.copy(), intercept(self.b))
        return is_true(callback(_in_library(self._setup.w, state)))

    def step(self, evaluated, rate_at):
        """Make a step along a batch's gradient."""
        rate = rate_at(self.n_iterations, self.w.dtype)
        self.w, self.b = step(self.w, self.b, evaluated.dw, evaluated.db, rate)
        self.n_iterations += 1

    def is_finite(self):
        """Whether w and b are."""
        return np.isfinite(self.w).all() and np.isfinite(self.b).all()

    def outcome(self):
        """The `Descent`."""
        return _in_library(
            self._setup.w, Descent(self.w, intercept(self.b), np.array(self.history), self.n_iterations, False)
        )


# ---------------------------------------------------------------- one batch


class _Setup(NamedTuple):
    """What the first batch decides: the target, where X lies, its dtype; w, in X's library and on the host; and b."""

    target: Target
    memory: str
    dtype: np.dtype
    w: Any
    host_w: np.ndarray
    b: Any


@accepts_foreign_arrays
def _set_up(X, *, w=None, b, link, n_outputs, n_features, target):
    chosen = choose(target, X)
    validation.check_matrix(X)
    if n_features is not None:
        validation.check_columns(X, n_features, X.dtype, "n_features says")
    if link == "softmax":
        w, b = outputs.initial_model(X, w, b, n_outputs)
    else:
        w = validation.initial_coefficients(X) if w is None else validation.check_coefficients(w, X).copy()
        b = validation.check_intercept(b, w.dtype)
    return _Setup(chosen, _memory(X), X.dtype, w, on_host(w), b)


@accepts_foreign_arrays
def _means(X, y, *, sample_weight=None, offset=None, where, l2, target):
    """The loss, dw and db of a batch; nothing where no example has weight. In a list: the wrapper leaves that alone."""
    setup, w, b = where
    order, ld = validation.check_matrix(X)
    if _memory(X) != setup.memory:
        raise TypeError(f"X: expected {setup.memory}, as in the batches before, got {_memory(X)}")
    validation.check_columns(X, len(w), setup.dtype, "in the batches before")
    if w.ndim == 2:
        described = "softmax", w.shape[1], w.dtype
        y, sample_weight = outputs.check_labels_and_weights(X, y, sample_weight, *described, may_be_empty=True)
        problem = Problem(X, y, sample_weight, order, ld, None, outputs.check_offset(offset, X, *described[1:]))
        sums = outputs.checked_sums(setup.target, "softmax", problem, w, b)
        return list(normalize_classes(sums, w, l2)) if sums.weight != 0 else []
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype, may_be_empty=True)
    problem = Problem(X, y, sample_weight, order, ld, None, validation.check_offset(offset, X, w.dtype))
    sums = checked_sums(setup.target, problem, like(X, w), b)
    return list(normalize(sums, w, l2)) if sums.weight != 0 else []


def _memory(X):
    return f"the memory of a GPU, of {X.library.title}" if type(X) is DeviceArray else "the memory of the CPU"


@accepts_foreign_arrays
def _in_library(X, result):
    """A result whose w lies where X does."""
    return result._replace(w=like(X, result.w))

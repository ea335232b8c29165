"""Mini-batch descent: a step for each block of rows, from arrays, from files larger than memory, from streams."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.interop.device_array import DeviceArray, like, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import evaluate, finish
from jitlogreg.solvers.batches import feed, parts
from jitlogreg.solvers.gradient_descent import Descent, State, gradient_norm, is_true, step
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.targets.dispatch import choose


def minibatch_descent(
    blocks: Iterable | Callable[[], Iterable],
    *,
    sample_weight: np.ndarray | None = None,
    n_features: int | None = None,
    learning_rate: float | Callable[[int], float],
    n_epochs: int = 1,
    block_size: int | None = None,
    shuffle: int | np.random.Generator | None = None,
    l2: float = 0.0,
    w: np.ndarray | None = None,
    b: float = 0.0,
    callback: Callable[[State], object] | None = None,
    progress: bool = False,
    target: str | None = None,
) -> Descent:
    """Make a step w := w − α dw, b := b − α db for each block of rows, n_epochs times over all blocks.

    dw = 1/S Σᵢ sᵢ dzᵢ xᵢ + l2 w and db = 1/S Σᵢ sᵢ dzᵢ are the gradient of the block's own objective: i runs over its
    examples, S = Σ sᵢ.

    Parameters
    ----------
    blocks : tuple, iterable or callable
        (X, y) or (X, y, sample_weight): arrays as `gradient_descent` takes them, or memory-mapped files. They are cut
        into blocks of `block_size` rows, of which the last may have fewer. Blocks are views: nothing is copied but the
        y and sample_weight of a block that have another dtype than w.

        Or an iterable of blocks, each (X, y) or (X, y, sample_weight) of any number of rows, which are read when their
        turn comes and not kept; for several epochs one that can be iterated again, such as a list. Or a function
        without arguments that returns such an iterable, and is called at the beginning of each epoch.

        All blocks have the same number of columns, the same dtype of X, and arrays of the same library.
    sample_weight : ndarray, shape (m,), optional
        The weights of the arrays (X, y), cut as they are: as if (X, y, sample_weight) had been given. Blocks that are
        not cut from arrays carry their own.
    n_features : int, optional
        The number of columns that the blocks must have; by default that of the first.
    learning_rate : float or callable
        α, finite and at least 0; or a function of the step's number, counted from 0 over all epochs, that returns it.
    n_epochs : int
        How often to go over all blocks, at least 1.
    block_size : int, optional
        Rows in a block where arrays are cut, 16,384 if left out. Fewer rows make more steps in an epoch, and cost more.
    shuffle : int or numpy.random.Generator, optional
        A seed, or where to draw from: each epoch then takes the blocks in a random order of its own, each once. Rows
        stay together in their blocks, so that memory and files are read a block at a time: shuffle rows that are
        sorted, by label say, beforehand. Blocks that are not cut from arrays must be a sequence (`len(blocks)`,
        `blocks[i]`).
    l2 : float
        Penalty of l2/2 ‖w‖², in full for every block.
    w : ndarray of X's dtype or float64, shape (n,), optional
        Where to start; zeros of X's dtype if left out. Its dtype is that of the whole descent. It is not written to.
    b : float
        Where to start.
    callback : callable, optional
        Called as callback(state) before each step, with `iteration`, `loss` and `gradient_norm`, which are the block's,
        `w` and `b`; the descent stops if it returns True.
    progress : bool
        Show a progress bar (needs the package rich).
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    Descent
        `loss_history` has the objective of each block, penalty included, at the w and b before that block's step:
        `n_iterations` numbers, and one more where the descent stopped at a block without making its step. They are of
        different examples, so they fall by trend alone. `converged` is always False: what tells of convergence is the
        gradient over all examples, which is not computed.

    Raises
    ------
    TypeError, ValueError
        For data that cannot be served exactly, as by `gradient_descent`: the message begins with the block's number, in
        the order of `blocks`, from 0, and where arrays are cut with its rows. For an epoch without blocks, for blocks
        none of which has an example. For a sample_weight beside blocks that are not arrays (X, y).
    TargetUnavailableError
        If the target cannot run here.

    Warns
    -----
    RuntimeWarning
        If the loss of a block is no longer finite, where the descent stops, or w and b after the last step.

    Notes
    -----
    An example of weight 0 counts as left out. So a block without rows, or with weights that are all 0, makes no step,
    is not counted and not shown to the callback.

    A step costs one `loss_and_gradient` of its block, so an epoch reads each number of X once. w and b are the same to
    the bit on any number of threads, and every time that a seed is given.

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
    rate_at = _rates(learning_rate)
    n_features = None if n_features is None else validation.check_count("n_features", n_features)
    n_epochs, l2 = validation.check_count("n_epochs", n_epochs, least=1), validation.check_nonnegative("l2", l2)
    b = validation.check_intercept(b, np.dtype(np.float64))
    validation.check_callable("callback", callback)
    if target is not None:
        choose(target)
    rng = validation.check_random_state("shuffle", shuffle)
    numbered, n_steps, name = feed(blocks, sample_weight, block_size, n_epochs, rng, target)

    start: Any = None  # what the first block settles
    history: list[float] = []
    iteration = 0
    with progress_bar("mini-batch descent", n_steps, enabled=progress) as advance:
        for number, block in numbered:
            try:
                X, y, weights = parts(block)
                if start is None:
                    start = _start(X, w=w, n_features=n_features, target=target)
                    at, b = start.at, validation.check_intercept(b, start.at.dtype)
                means = _means(X, y, sample_weight=weights, where=(start, at, b), l2=l2, target=target)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name(number)}: {error}") from error
            del block, X, y, weights  # before the next one is made
            if means:
                loss, dw, db = means
                history.append(loss)
                stop = callback is not None and is_true(
                    callback(_in_library(start.w, State(iteration, loss, gradient_norm(dw, db), at.copy(), float(b))))
                )
                if not math.isfinite(loss):
                    _warn(f"the loss of {name(number)} is {loss} after {iteration} steps")
                    break
                if stop:
                    break
                at, b = step(at, b, dw, db, rate_at(iteration, at.dtype))
                iteration += 1
            advance(1, history[-1] if history else math.nan)
        else:
            if not history:
                raise ValueError("blocks has no example of positive weight; accepted is at least one")
            if not (np.isfinite(at).all() and math.isfinite(b)):
                _warn(f"w or b is not finite after {iteration} steps")
    return _in_library(start.w, Descent(at, float(b), np.array(history), iteration, False))


def _warn(what):
    warnings.warn(f"{what}: a smaller learning_rate may help, if X is finite", RuntimeWarning, stacklevel=3)


def _rates(learning_rate):
    """The function of a step's number and of w's dtype that gives α in that dtype."""
    if callable(learning_rate):
        return lambda i, dtype: dtype.type(validation.check_nonnegative(f"learning_rate({i})", learning_rate(i), dtype))
    validation.check_nonnegative("learning_rate", learning_rate)
    return lambda i, dtype: dtype.type(validation.check_nonnegative("learning_rate", learning_rate, dtype))


# ---------------------------------------------------------------- one block


class _Start(NamedTuple):
    """What the first block settles: the target; where X lies, and its dtype; w, in the library of X and on the host."""

    kernels: Any
    memory: str
    dtype: np.dtype
    w: Any
    at: np.ndarray


@accepts_foreign_arrays
def _start(X, *, w=None, n_features, target):
    kernels = choose(target, X)
    validation.check_matrix(X)
    if n_features is not None:
        validation.check_columns(X, n_features, X.dtype, "n_features says")
    w = validation.initial_coefficients(X) if w is None else validation.check_coefficients(w, X).copy()
    return _Start(kernels, _memory(X), X.dtype, w, on_host(w))


@accepts_foreign_arrays
def _means(X, y, *, sample_weight=None, where, l2, target):
    """The loss, dw and db of a block, in a list, which is given back as it is; an empty one where no weight is."""
    start, w, b = where
    validation.check_matrix(X)
    if _memory(X) != start.memory:
        raise TypeError(f"X lies in {_memory(X)}; accepted is {start.memory}, as in the blocks before")
    validation.check_columns(X, w.size, start.dtype, "in the blocks before")
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype, may_be_empty=True)
    sums = evaluate(start.kernels, X, y, sample_weight, like(X, w), b)
    return list(finish(sums, w, l2)) if sums.weight != 0 else []


def _memory(X):
    return f"the memory of a GPU, of {X.library.title}" if type(X) is DeviceArray else "the memory of the CPU"


@accepts_foreign_arrays
def _in_library(X, result):
    """A result whose w lies where X does."""
    return result._replace(w=like(X, result.w))

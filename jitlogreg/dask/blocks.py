"""What a task computes of one block of rows, on one thread; and how the blocks' sums are added.

θ is [w, b], with 0 for a b that is not there; of K outputs it is (n + 1, K). A block's result is a vector, or any other
object.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import outputs, row_passes, softmax_passes, validation
from jitlogreg.evaluation import check_examples
from jitlogreg.interop.device_array import on_host
from jitlogreg.targets.base import Problem, layout
from jitlogreg.targets.csr import CSR, as_csr
from jitlogreg.targets.dispatch import one_thread


class Work(NamedTuple):
    """What is done with each block.

    Attributes
    ----------
    function : callable
        Of a target, a problem and θ.
    bind : callable
        Makes the target and the problem from the block's arrays.
    target : str
        Its name.
    n : int
        The columns that each block must have.
    weight_scale : float or ndarray, shape (K, 1)
        What weights are multiplied by.
    """

    function: Callable
    bind: Callable
    target: str
    n: int
    weight_scale: Any


def of_block(work, number, theta, *arrays):
    """A function's result for a block, in a list, or in an array, where its rounding error may follow.

    The arrays are X, y, weights and offsets; the last two may be None.
    """
    try:
        with one_thread():
            target, data = work.bind(*(served(array) for array in arrays), target=work.target)
            if data.X.shape[1] != work.n:
                raise ValueError(f"X: expected {work.n} columns, as declared, got shape {data.X.shape}")
            if np.any(work.weight_scale != 1):
                data = data._replace(sample_weight=data.sample_weight * work.weight_scale)
            found = work.function(target, data, theta)
            return found[np.newaxis] if isinstance(found, np.ndarray) else [found]
    except (TypeError, ValueError) as error:
        raise type(error)(f"block {number}: {error}") from error


def served(array):
    """An array itself, or a copy if the kernels would refuse its strides or its alignment after a transfer."""
    if not isinstance(array, np.ndarray):
        return array
    if not array.flags.aligned or (array.ndim == 2 and layout(array.shape, array.strides, array.itemsize) is None):
        return array.copy(order="K" if array.flags.forc else "C")
    return array


def add_up(parts):
    """The sum of the parts. Each is a vector, and its rounding error if that is known."""
    high, low = np.zeros((2, parts[0].shape[1]))
    with np.errstate(all="ignore"):
        for more, *lost in parts:
            total = high + more
            back = total - high
            low += (high - (total - back)) + (more - back)
            for x in lost:
                low += x
            high = total
    return np.stack([high, low])


def every(step, *arrays):
    """Every k-th example of a block, in copies, since a view would keep its whole block alive."""
    X, *of_examples = arrays
    X = as_csr(X)
    rows = X[::step] if type(X) is CSR else on_host(X[::step]).copy()
    return [rows, *(None if array is None else on_host(array[::step]).copy() for array in of_examples)]


def largest_weight(target, data, theta):
    """The largest weight; of models with weights of their own, that of each."""
    return np.max(on_host(data.sample_weight), axis=-1, initial=0.0)


# ---------------------------------------------------------------- one output


def bind(target, data, theta, check_finite):
    """The rows, Σ s, Σ s (½ − y), and the sums at θ = 0; labels, weights and X are checked."""
    sums = target.sums(data, theta[:-1], 0.0, True)
    check_examples(sums.weight, sums.valid, data)
    imbalance = sums.db
    if data.offset is not None:
        y, s = on_host(data.y), data.sample_weight
        imbalance = float(np.sum((0.5 - y) if s is None else on_host(s) * (0.5 - y)))
    _check_finite(data, sums, check_finite)
    return np.concatenate([[data.X.shape[0], sums.weight, imbalance, sums.loss, sums.db], sums.dw])


def _check_finite(data, sums, check_finite):
    if check_finite and not np.isfinite(sums.loss).all():
        validation.check_finite(on_host(data.X))
    if check_finite and data.offset is not None:
        offset = on_host(data.offset)
        validation.check_finite_offset(offset.T)


def loss(target, data, theta, frame):
    """The loss alone."""
    return np.array([target.sums(data._replace(frame=frame), theta[:-1], theta[-1], False).loss])


def gradient(target, data, theta, frame):
    """The loss, db and dw."""
    sums = target.sums(data._replace(frame=frame), theta[:-1], theta[-1], True)
    return np.concatenate([[sums.loss, sums.db], sums.dw])


def hessian_vector(target, data, theta, frame):
    """The products of the Hessian at the first of two θ with the second."""
    at, v = theta
    return np.append(*target.hessian_vector_sums(data._replace(frame=frame), at[:-1], at[-1], v))


def hessian(target, data, theta, frame):
    """The Hessian, raveled."""
    return target.hessian_sums(data._replace(frame=frame), theta[:-1], theta[-1]).ravel()


def smallest_doubt(target, data, theta, enough):
    """The least doubt; θ is that of the columns as they are."""
    return row_passes.smallest_doubt(target, _on_host(data), theta[:-1], float(theta[-1]), enough)


def root(target, data, theta, frame, has_b):
    """The triangular factor of the weighted rows."""
    theta = theta if has_b else theta[:-1]
    return row_passes.add_weighted_rows(target, _on_host(data, frame), theta, np.zeros((len(theta), len(theta))))


def _on_host(data, frame=None):
    X, y, s, offset = (
        None if array is None else on_host(array) for array in (data.X, data.y, data.sample_weight, data.offset)
    )
    return Problem.of(X, y, s, frame, offset)


# ---------------------------------------------------------------- K outputs


def bind_outputs(target, data, theta, link, check_finite):
    """The rows, Σ s, the sums at θ = 0, and of a softmax the classes' weights; everything is checked."""
    sums = target.sums_of_outputs(link, data, theta[:-1], theta[-1], True)
    outputs.check_examples(sums, link, data)
    _check_finite(data, sums, check_finite)
    of_classes = softmax_passes.class_weights(data, theta.shape[1]) if link == "softmax" else []
    parts = [data.X.shape[0]], np.atleast_1d(sums.weight), np.atleast_1d(sums.loss), sums.db, sums.dw.ravel()
    return np.concatenate([*parts, of_classes])


def sums_of_outputs(target, data, theta, link, frame, with_gradient):
    """The losses, and with a gradient also db and dw."""
    sums = target.sums_of_outputs(link, data._replace(frame=frame), theta[:-1], theta[-1], with_gradient)
    return np.concatenate([np.atleast_1d(sums.loss), *((sums.db, sums.dw.ravel()) if with_gradient else ())])


def hessian_vector_of_outputs(target, data, theta, link, frame):
    """The products of the Hessian at the first of two θ with the second."""
    at, v = theta
    of_problem = link, data._replace(frame=frame)
    return np.concatenate(
        [part.ravel() for part in target.hessian_vector_sums_of_outputs(*of_problem, at[:-1], at[-1], v[:-1], v[-1])]
    )


def softmax_hessian(target, data, theta, frame):
    """The Hessian, raveled."""
    return softmax_passes.hessian_sums(target, data._replace(frame=frame), theta[:-1], theta[-1]).ravel()


def softmax_shared_hessian(target, data, theta, frame):
    """The block of the Hessian that all classes share, raveled."""
    return softmax_passes.shared_hessian_sums(target, data._replace(frame=frame), theta[:-1], theta[-1]).ravel()


def softmax_doubt(target, data, theta, frame):
    """The least doubt."""
    return softmax_passes.smallest_doubt(target, data._replace(frame=frame), theta[:-1], theta[-1])


def softmax_root(target, data, theta, frame, has_b):
    """The triangular factor of the weighted rows."""
    p = theta[: len(theta) - (not has_b)].size
    problem = data._replace(y=None, frame=frame)
    return softmax_passes.add_weighted_rows(target, problem, theta[:-1], theta[-1], np.zeros((p, p)))

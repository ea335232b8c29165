"""One operation for K outputs on one X, timed as those of one output are, and beside one output."""

import functools
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import cases
from jitlogreg.cli.numpy_baseline import (
    numpy_forward,
    numpy_models_loss_and_gradient,
    numpy_softmax,
    numpy_softmax_loss_and_gradient,
    rounding_of_forward,
    rounding_of_gradient,
)

_NUMPY = {
    ("forward", "sigmoid"): lambda X, y, W, b: (numpy_forward(X, W, b),),
    ("forward", "softmax"): lambda X, y, W, b: (numpy_softmax(X, W, b),),
    ("loss_and_gradient", "sigmoid"): numpy_models_loss_and_gradient,
    ("loss_and_gradient", "softmax"): numpy_softmax_loss_and_gradient,
}


class Outputs(NamedTuple):
    """How many outputs, and of which link."""

    n_outputs: int
    link: str


def rows_of_outputs(outputs, operation, m, n, dtype, order, targets, rounds, peers=None):
    """Time one operation for K outputs on one X in NumPy, each target and each peer.

    Parameters
    ----------
    outputs : Outputs
    peers : dict of str to callable, optional
        As `outputs_peers.installed` returns them.

    Returns
    -------
    list of dict
        As `cases.rows_of_case` returns them, with `outputs`, `link` and `times_one`, the time over that of the first
        target for one output, in the same rounds.

    Raises
    ------
    WrongAnswerError
        If the answer of NumPy or a target is off by more than rounding errors.
    """
    data = example(outputs, m, n, dtype, order)
    one = data[0], np.equal(data[1], 0).astype(dtype), data[2][:, 0].copy(), float(data[3][0])
    calls = _own_calls(outputs.link, operation, data, targets)
    answer = expected(outputs.link, operation, *data)
    others = {name: prepare(operation, outputs.link, *data) for name, prepare in (peers or {}).items()}
    common = {"operation": operation, "shape": [m, n], "dtype": dtype, "order": order}
    of_one = cases.own_calls(operation, *one, targets[:1])[targets[0]]
    cases.check_own(common, {targets[0]: of_one}, cases.expected(operation, *one))
    common |= {"outputs": outputs.n_outputs, "link": outputs.link}
    cases.check_own(common, calls, answer)
    arrays = cases.bytes_read(operation, *data)
    return cases.timed_rows(common, arrays, calls, others, answer, rounds, of_one)


def example(outputs, m, n, dtype, order):
    """X as for one output, labels or classes, W and b, with margins of deviation 1."""
    X, y, _, _ = cases.example(m, n, dtype, order)
    K, rng = outputs.n_outputs, np.random.default_rng(1)
    W = rng.standard_normal((n, K), dtype) / X.dtype.type(np.sqrt(n))
    return X, rng.integers(0, K, m) if outputs.link == "softmax" else y, W, rng.standard_normal(K, dtype)


def _own_calls(link, operation, data, targets):
    numpy = _NUMPY[operation, link]
    calls = {"NumPy": lambda: numpy(*data)}
    return calls | {target: functools.partial(_by_target, link, operation, data, target) for target in targets}


def _by_target(link, operation, data, target):
    X, y, W, b = data
    if operation == "forward":
        return (jlr.forward(X, W, b, link=link, target=target),)
    return jlr.loss_and_gradient(X, y, W, b, link=link, target=target)


def expected(link, operation, X, y, W, b):
    """The reference's answer, and bounds on the rounding errors in X's dtype."""
    wide = X, y, W.astype(np.float64), b.astype(np.float64)
    right = _by_target(link, operation, wide, "reference")
    if operation == "forward":
        return right, (rounding_of_forward(X, W, b, link=link),)
    return right, rounding_of_gradient(X, W, b, link=link)

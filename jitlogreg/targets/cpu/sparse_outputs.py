"""A softmax of sparse rows: margins, and then sums, of one class after another, and the step of all classes between.

X is read once for the margins of a class, and once for its sums; the margins and residuals of all take m · K numbers.
Independent models need nothing from here: they run one after another.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Calls(NamedTuple):
    """What a softmax of sparse rows is made of: functions of the target."""

    activate: Callable
    activate_outputs: Callable
    softmax_sums: Callable
    weighted_rows: Callable


def activate(calls, function, problem, W, b, out):
    """Write a function of the margins of each row to `out`, shape (m, K), and return it."""
    return calls.activate_outputs(function, *_of_margins(calls, problem, W, b), out)


def sums(calls, problem, W, b, with_gradient):
    """The `Sums` of a softmax."""
    residuals = np.empty((len(problem.X), W.shape[1]), W.dtype) if with_gradient else None
    found = calls.softmax_sums(*_of_margins(calls, problem, W, b), residuals)
    return found._replace(dw=_weighted_rows(calls, problem, residuals) if with_gradient else np.zeros(W.shape))


def products(calls, problem, model, along):
    """The products of the Hessian at (W, b) with (V, c): Σ s·hₖ·x and Σ s·hₖ, hₖ = aₖ (uₖ − Σⱼ aⱼuⱼ)."""
    a = activate(calls, "softmax", problem, *model, np.empty((len(problem.X), model[0].shape[1])))
    u = _margins(calls, problem._replace(offset=None), *along)
    u -= u[np.argmax(a, axis=1), np.arange(len(a))]  # from the likeliest class, whose share loses the digits
    h = a * (u.T - np.sum(a * u.T, axis=1, keepdims=True))
    if problem.sample_weight is not None:
        h *= problem.sample_weight[:, np.newaxis]
    return _weighted_rows(calls, problem, h), np.sum(h, axis=0)


def _margins(calls, problem, W, b):
    """Z = XW + b + offset, shape (K, m)."""
    Z = np.empty((W.shape[1], len(problem.X)), W.dtype)
    for k, z in enumerate(Z):
        calls.activate("margin", problem.of_model(k), np.ascontiguousarray(W[:, k]), b[k], z)
    return Z


def _of_margins(calls, problem, W, b):
    """A problem without columns whose offsets are the margins; and its coefficients."""
    Z = _margins(calls, problem, W, b)
    no_columns = problem._replace(X=np.empty((len(problem.X), 0), W.dtype), order="C", offset=Z)
    return no_columns, np.empty((0, W.shape[1]), W.dtype), np.zeros(W.shape[1], W.dtype)


def _weighted_rows(calls, problem, weights):
    """Σ weightsᵢₖ xᵢ, shape (n, K)."""
    columns = [calls.weighted_rows(problem, np.ascontiguousarray(of_class)) for of_class in weights.T]
    return np.stack(columns, axis=1)

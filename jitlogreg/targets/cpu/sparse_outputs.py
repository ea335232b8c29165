"""A softmax of sparse rows: margins, and then sums, of one class after another, and the step of all classes between.

X is read once for the margins of a class, and once for its sums; the margins and residuals of all take m · K numbers.
Independent models need nothing from here: they run one after another.
"""

import numpy as np


def activate(target, function, problem, W, b, out):
    """Write a function of the margins of each row to `out`, shape (m, K), and return it."""
    return target.activate_outputs(function, *_of_margins(target, problem, W, b), out)


def sums(target, problem, W, b, with_gradient):
    """The `Sums` of a softmax."""
    residuals = np.empty((len(problem.X), W.shape[1]), W.dtype) if with_gradient else None
    found = target.softmax_sums(*_of_margins(target, problem, W, b), residuals)
    return found._replace(dw=_weighted_rows(target, problem, residuals) if with_gradient else np.zeros(W.shape))


def products(target, problem, model, along):
    """The products of the Hessian at (W, b) with (V, c): Σ s·hₖ·x and Σ s·hₖ, hₖ = aₖ (uₖ − Σⱼ aⱼuⱼ)."""
    a = activate(target, "softmax", problem, *model, np.empty((len(problem.X), model[0].shape[1])))
    u = _margins(target, problem._replace(offset=None), *along)
    u -= u[np.argmax(a, axis=1), np.arange(len(a))]  # from the likeliest class, whose share loses the digits
    h = a * (u.T - np.sum(a * u.T, axis=1, keepdims=True))
    if problem.sample_weight is not None:
        h *= problem.sample_weight[:, np.newaxis]
    return _weighted_rows(target, problem, h), np.sum(h, axis=0)


def _margins(target, problem, W, b):
    """Z = XW + b + offset, shape (K, m)."""
    Z = np.empty((W.shape[1], len(problem.X)), W.dtype)
    for k, z in enumerate(Z):
        target.activate("margin", problem.of_model(k), np.ascontiguousarray(W[:, k]), b[k], z)
    return Z


def _of_margins(target, problem, W, b):
    """A problem without columns whose offsets are the margins; and its coefficients."""
    Z = _margins(target, problem, W, b)
    no_columns = problem._replace(X=np.empty((len(problem.X), 0), W.dtype), order="C", offset=Z)
    return no_columns, np.empty((0, W.shape[1]), W.dtype), np.zeros(W.shape[1], W.dtype)


def _weighted_rows(target, problem, weights):
    """Σ weightsᵢₖ xᵢ, shape (n, K)."""
    columns = [target.weighted_rows(problem, np.ascontiguousarray(of_class)) for of_class in weights.T]
    return np.stack(columns, axis=1)

"""Passes over the examples of a softmax, one row block at a time: what targets have no kernels for.

Each takes a problem of NumPy arrays, in its frame if it has one, W (n, K) and b (K,) in float64.
"""

import math

import numpy as np

from jitlogreg.targets.csr import CSR

# Rows whose probabilities are computed at a time
ROWS = 1 << 14


def hessian_sums(target, problem, W, b):
    """Σ s (diag(a) − aaᵀ) ⊗ [x, 1][x, 1]ᵀ, shape (n + 1, K, n + 1, K); from K (K + 1) / 2 reads of X."""
    n, K = W.shape
    sums = np.zeros((n + 1, K, n + 1, K))
    for block, A in _probabilities(target, problem, W, b):
        s = 1.0 if block.sample_weight is None else block.sample_weight
        for k in range(K):
            others = [A[:, j] for j in range(K) if j != k]
            sums[:, k, :, k] += _moments(target, block, s * A[:, k] * np.add.reduce(others))
            for j in range(k):
                moments = _moments(target, block, s * A[:, k] * A[:, j])
                sums[:, k, :, j] -= moments
                sums[:, j, :, k] -= moments
    return sums


def shared_hessian_sums(target, problem, W, b):
    """Σ s c [x, 1][x, 1]ᵀ, c the mean of aₖ (1 − aₖ) over the classes, shape (n + 1, n + 1); from two reads of X."""
    sums = np.zeros((len(W) + 1, len(W) + 1))
    for block, A in _probabilities(target, problem, W, b):
        s = 1.0 if block.sample_weight is None else block.sample_weight
        sums += _moments(target, block, s * np.mean(A * (1 - A), axis=1))
    return sums


def _moments(target, block, weights):
    """Σ weights·[x, 1][x, 1]ᵀ."""
    n = block.X.shape[1]
    # the Hessian of one model at 0 has the weights s/4
    of_rows = block._replace(y=None, sample_weight=4.0 * weights, offset=None)
    return target.hessian_sums(of_rows, np.zeros(n), 0.0)


def add_weighted_rows(target, problem, W, b, R):
    """Update a triangular factor R by rows whose products with themselves are the summands of the Hessian; return it.

    R has the parameters of W and b raveled, or of W alone, and then no row has a 1. About 2 m K p² flops on one thread.
    """
    from jitlogreg import linear_algebra  # and with it Numba

    (n, K), p = W.shape, len(R)
    for block, A in _probabilities(target, problem, W, b):
        X = block.X.toarray() if type(block.X) is CSR else block.X
        X = X if block.frame is None else block.frame.columns(X)
        X = np.append(X.astype(np.float64), np.ones((len(X), p // K - n)), axis=1)
        s = np.ones(len(X)) if block.sample_weight is None else block.sample_weight
        roots = np.sqrt(A)
        for c in range(K):  # diag(a) − aaᵀ = BBᵀ with B = diag(√a) − a√aᵀ
            B = -A * roots[:, c : c + 1]
            B[:, c] += roots[:, c]
            rows = (np.sqrt(s)[:, np.newaxis] * X)[:, :, np.newaxis] * B[:, np.newaxis, :]
            linear_algebra.add_rows(R, np.ascontiguousarray(rows.reshape(len(X), p)))
    return R


def smallest_doubt(target, problem, W, b):
    """The least of sᵢ aᵢₖ over examples with weight and classes that are not theirs; inf if there are none."""
    least = math.inf
    for block, A in _probabilities(target, problem, W, b):
        if block.y.ndim == 1:
            A[np.arange(len(A)), block.y.astype(np.intp)] = math.inf
        else:
            A = np.where(block.y.T > 0, math.inf, A)
        s = block.sample_weight
        if s is not None:
            A = A[s > 0] * s[s > 0][:, np.newaxis]
        least = min(least, float(np.min(A, initial=math.inf)))
    return least


def class_weights(problem, K):
    """Σ sᵢ yᵢₖ of each class, shape (K,)."""
    y, s = problem.y, problem.sample_weight
    if y.ndim == 2:
        return np.sum(y if s is None else y * s, axis=1)
    return np.bincount(y.astype(np.intp), s, K)


def _probabilities(target, problem, W, b):
    """Row blocks of the problem, and the probabilities (rows, K) of their classes."""
    for first in range(0, len(problem.X), ROWS):
        block = problem.rows(slice(first, first + ROWS))
        out = np.empty((block.X.shape[0], W.shape[1]))
        yield block, target.activate_outputs("softmax", block, W, b, out)

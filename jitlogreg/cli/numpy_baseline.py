"""The same mathematics as a NumPy user writes it, and bounds on how far two implementations may differ."""

import numpy as np

from jitlogreg.cli.errors import WrongAnswerError


def numpy_forward(X, w, b):
    """σ(Xw + b) in X's dtype. Both tails use one exponential, and nothing overflows."""
    z = X @ w + b
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def numpy_loss_and_gradient(X, y, w, b):
    """J, dw, db in X's dtype, without a loop over the examples. X is read twice, z about a dozen times."""
    z = X @ w + b
    e = np.exp(-np.abs(z))
    a = np.where(z < 0, e, 1) / (1 + e)
    loss = np.mean(np.log1p(e) + np.maximum(z, 0) - y * z)
    dz = a - y
    return loss, X.T @ dz / len(y), np.mean(dz)


def numpy_softmax(X, W, b):
    """The softmax of each row of XW + b, in X's dtype."""
    Z = X @ W + b
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def numpy_models_loss_and_gradient(X, y, W, b):
    """J, dw and db of K models with the same labels, by two matrix products."""
    Z, y = X @ W + b, y[:, np.newaxis]
    E = np.exp(-np.abs(Z))
    losses = np.mean(np.log1p(E) + np.maximum(Z, 0) - y * Z, axis=0)
    dZ = np.where(Z < 0, E, 1) / (1 + E) - y
    return losses, X.T @ dZ / len(y), np.mean(dZ, axis=0)


def numpy_softmax_loss_and_gradient(X, y, W, b):
    """J, dw and db of a softmax, likewise; y has the classes' numbers."""
    Z, of_class = X @ W + b, (np.arange(len(y)), y)
    Z -= Z.max(axis=1, keepdims=True)
    E = np.exp(Z)
    totals = E.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(totals[:, 0]) - Z[of_class])
    dZ = E / totals
    dZ[of_class] -= 1
    return loss, X.T @ dZ / len(y), np.mean(dZ, axis=0)


def rounding_of_forward(X, w, b, link="sigmoid"):
    """A bound on the rounding errors of a, like a, in X's dtype: γ = (n + 16) u relative to 1 + Σ|xⱼwⱼ| + |b|.

    Of a softmax, the largest of an example's classes counts, twice, and K is added to n.
    """
    unit = np.finfo(X.dtype).eps / 2
    return (_terms(w, link) + 16) * unit * np.concatenate([size for _, size in _sizes(X, w, b, link)])


def rounding_of_gradient(X, w, b, one_by_one=False, link="sigmoid"):
    """A bound on the rounding errors of J, dw and db, in X's dtype.

    The bounds are relative to the mean of 1 + Σ|xⱼwⱼ| + |b|, for dw times |xⱼ|. A sum of m terms in any order is within
    8 √m u of the sum of their sizes, with probability 1 − 3e-14 (Higham and Mary 2019, theorem 2.4, λ = 8). A margin is
    within γ, as above. If terms are added one by one and repeat, so do their rounding errors, and only m u is certain.
    """
    m = len(X)
    factor = ((m if one_by_one else 8 * np.sqrt(m)) + _terms(w, link) + 16) * np.finfo(X.dtype).eps / 2
    loss, dw = 0.0, 0.0
    for rows, size in _sizes(X, w, b, link):
        loss += size.sum(axis=0)
        dw += rows.T @ size
    return factor * loss / m, factor * dw / m, factor * loss / m


def check_answer(name, answer, expected, bounds):
    """Check that each result is within its bound of the reference's.

    Raises
    ------
    WrongAnswerError
        If one is not, or is NaN.
    """
    worst = times_rounding(answer, expected, bounds)
    if worst:
        raise WrongAnswerError(
            f"{name}: expected the reference's answer within rounding, got one off by {worst:.3g} times the bound"
        )


def times_rounding(answer, expected, bounds):
    """The largest error in units of its bound; 0 if all errors are within their bounds."""
    worst = [0.0]
    for got, right, bound in zip(answer, expected, bounds, strict=True):
        error = np.abs(np.asarray(got, np.float64) - np.asarray(right, np.float64))
        if not np.all(error <= bound):
            worst.append(np.max(error / bound))
    return float(np.max(worst))


def _sizes(X, w, b, link):
    """|X| and 1 + Σ|xⱼwⱼ| + |b| of each row, block by block, since |X| as a whole would double the memory.

    The softmax's loss may change by twice what its largest margin does, and its residuals by less.
    """
    for start in range(0, len(X), 65536):
        rows = np.abs(X[start : start + 65536].astype(np.float64))
        size = 1 + rows @ np.abs(w.astype(np.float64)) + np.abs(np.asarray(b, np.float64))
        yield rows, 2 * size.max(axis=1, keepdims=True) if link == "softmax" else size


def _terms(w, link):
    """How many terms the longest sum of an example has."""
    return sum(w.shape) if link == "softmax" else len(w)

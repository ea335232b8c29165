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


def rounding_of_forward(X, w, b):
    """A bound on the rounding errors of a, shape (m,), in X's dtype: γ = (n + 16) u relative to 1 + Σ|xⱼwⱼ| + |b|."""
    unit = np.finfo(X.dtype).eps / 2
    return (X.shape[1] + 16) * unit * np.concatenate([size for _, size in _sizes(X, w, b)])


def rounding_of_gradient(X, w, b, one_by_one=False):
    """A bound on the rounding errors of J, dw and db, in X's dtype.

    The bounds are relative to the mean of 1 + Σ|xⱼwⱼ| + |b|, for dw times |xⱼ|. A sum of m terms in any order is within
    8 √m u of the sum of their sizes, with probability 1 − 3e-14 (Higham and Mary 2019, theorem 2.4, λ = 8). A margin is
    within γ, as above. If terms are added one by one and repeat, so do their rounding errors, and only m u is certain.
    """
    m, n = X.shape
    factor = ((m if one_by_one else 8 * np.sqrt(m)) + n + 16) * np.finfo(X.dtype).eps / 2
    loss, dw = 0.0, np.zeros(n)
    for rows, size in _sizes(X, w, b):
        loss += size.sum()
        dw += size @ rows
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


def _sizes(X, w, b):
    """|X| and 1 + Σ|xⱼwⱼ| + |b| of each row, block by block, since |X| as a whole would double the memory."""
    for start in range(0, len(X), 65536):
        rows = np.abs(X[start : start + 65536].astype(np.float64))
        yield rows, 1 + rows @ np.abs(w.astype(np.float64)) + abs(float(b))

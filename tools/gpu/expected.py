"""What a target must give, computed on the host in wider numbers, and by how much it may be off.

The bounds are those of the accuracy contract in CONTRIBUTING.md; u is the rounding unit of w's dtype.
"""

from types import SimpleNamespace

import numpy as np

ROWS_AT_ONCE = 1 << 20  # numbers of X that are widened at once


class OffError(AssertionError):
    """A result is not what it must be."""


def unit(dtype):
    """u: 2⁻⁵³ of float64, 2⁻²⁴ of float32."""
    return float(np.finfo(dtype).eps) / 2


def margins(X, w, b):
    """z = Xw + b in wider numbers, and the bound on what a target's may be off."""
    wide = _wide(w.dtype)
    w_wide, w_size = w.astype(wide), np.abs(w.astype(np.float64))
    z, size = np.empty(len(X), wide), np.empty(len(X))
    for rows in _blocks(X):
        z[rows] = X[rows].astype(wide) @ w_wide
        size[rows] = np.abs(X[rows].astype(np.float64)) @ w_size
    n = X.shape[1]
    bound = (n / 8 + 16) * unit(w.dtype) * (size + abs(float(b))) + n * float(np.finfo(w.dtype).smallest_subnormal)
    return z + wide(b), bound


def activations(X, w, b):
    """σ(z) and log σ(z) in float64, each with its bound: 2 ulp, and what the margin's error moves."""
    z, delta = margins(X, w, b)
    e = np.exp(-np.abs(z))
    activated = np.where(z < 0, e, 1) / (1 + e)
    logarithm = np.minimum(z, 0) - np.log1p(e)
    return (
        (activated, ulps(activated, w.dtype, 2) + delta / 4),
        (logarithm, ulps(logarithm, w.dtype, 2) + delta),
    )


def objective(X, y, w, b=0.0, sample_weight=None, l2=0.0):
    """J, dw and db, and the bound on each.

    A margin's error δ moves a loss by at most (|dz| + δ) δ, its derivative being dz, and a residual by δ/4; an
    example's own rounding, at most 8 u, adds to the 32 u of the sums, and so does that of S; finishing takes a few
    roundings more.
    """
    z, delta = margins(X, w, b)
    wide, u = z.dtype.type, unit(w.dtype)
    y, w = y.astype(wide), w.astype(wide)
    s = np.ones(len(y), wide) if sample_weight is None else sample_weight.astype(wide)
    e = np.exp(-np.abs(z))
    near, far, log = 1 / (1 + e), e / (1 + e), np.log1p(e)
    upper, lower = np.where(z < 0, far, near), np.where(z < 0, near, far)
    losses = log + (1 - y) * np.maximum(z, 0) + y * np.maximum(-z, 0)
    dz, size = (1 - y) * upper - y * lower, (1 - y) * upper + y * lower
    relative = (32 + 32 + 8 + 8) * u
    off_loss = s * ((np.abs(dz) + delta) * delta + relative * losses)
    off_dz = s * (delta / 4 + relative * size)
    dw, off_dw = over_rows(X, s * dz, off_dz)
    S = s.sum()
    value = SimpleNamespace(loss=(s @ losses) / S + l2 / 2 * (w @ w), dw=dw / S + l2 * w, db=(s @ dz) / S)
    bound = SimpleNamespace(
        loss=off_loss.sum() / S + 8 * u * l2 * (w @ w),
        dw=off_dw / float(S) + 8 * u * l2 * np.abs(w),
        db=off_dz.sum() / S,
    )
    return value, bound


def product(X, w, b, v, sample_weight=None, l2=0.0):
    """The Hessian's product with v, whose last number is the intercept's, and the bound on it.

    The curvature's derivative is itself at most, so a margin's error δ moves it by e^δ − 1 of itself; xv + c is off as
    a margin is. The curvature is within 4 ulp, and may be flushed to 0 below the smallest normal number; the sums, S
    and finishing are as in `objective`.
    """
    (z, delta), (along, tau), u = margins(X, w, b), margins(X, v[:-1], v[-1]), unit(w.dtype)
    wide = z.dtype.type
    s = np.ones(len(z), wide) if sample_weight is None else sample_weight.astype(wide)
    e, size = np.exp(-np.abs(z)), np.abs(along)
    curvature, penalty = e / (1 + e) ** 2, wide(l2) * np.append(v[:-1].astype(wide), wide(0))
    off = s * curvature * (np.expm1(delta) * (size + tau) + tau + (32 + 32 + 8 + 8) * u * size)
    off += s * float(np.finfo(w.dtype).tiny) * size
    h = s * curvature * along
    of_w, off_w = over_rows(X, h, off)
    value, bound = np.append(of_w, h.sum()), np.append(off_w, float(off.sum()))
    return value / s.sum() + penalty, bound / float(s.sum()) + 8 * u * np.abs(penalty)


def within(what, got, value, bound):
    """Raise OffError, which names the worst number, unless each is within its bound of its value."""
    got, value, bound = (np.atleast_1d(np.asarray(array)) for array in (got, value, bound))
    if got.shape != value.shape:
        raise OffError(f"{what} has shape {got.shape}; expected is {value.shape}")
    off = np.abs(got - value)
    wrong = ~(off <= bound)  # NaN is wrong
    if wrong.any():
        excess = np.where(np.isnan(off), np.inf, off / np.maximum(bound, 1e-300))
        i = int(np.argmax(np.where(wrong, excess, 0)))
        raise OffError(
            f"{what}[{i}] is {float(got[i])!r}; expected is {float(value[i])!r} within {float(bound[i]):.3g} "
            f"({int(wrong.sum())} of {len(got)} are off)"
        )


def same_bits(what, got, wanted):
    """Raise OffError unless two arrays or numbers are equal in every bit."""
    got, wanted = np.atleast_1d(np.asarray(got)), np.atleast_1d(np.asarray(wanted))
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        raise OffError(f"{what} is {got.dtype}{got.shape} and {wanted.dtype}{wanted.shape}; expected is the same")
    if got.tobytes() != wanted.tobytes():
        different = np.flatnonzero(got.view(f"u{got.itemsize}") != wanted.view(f"u{got.itemsize}"))
        i = int(different[0])
        raise OffError(
            f"{what}[{i}] is {got[i]!r} and {wanted[i]!r}; expected are the same bits ({len(different)} differ)"
        )


def _wide(dtype):
    """Numbers in which a host's own rounding does not count beside the bound."""
    return np.float64 if dtype == np.float32 else np.longdouble


def over_rows(X, terms, off):
    """Σ terms·x, and Σ off·|x|, of terms for each row, or for each row and output."""
    shape = X.shape[1:] + terms.shape[1:]
    total, bound = np.zeros(shape, terms.dtype), np.zeros(shape)
    for rows in _blocks(X):
        total += X[rows].T.astype(terms.dtype) @ terms[rows]
        bound += np.abs(X[rows].T.astype(np.float64)) @ off[rows].astype(np.float64)
    return total, bound


def _blocks(X):
    rows = max(1, ROWS_AT_ONCE // max(1, X.shape[1]))
    return [slice(first, first + rows) for first in range(0, len(X), rows)]


def ulps(exact, dtype, count):
    """So many ulp of a result; below the smallest normal number it may be flushed to 0."""
    exact = np.abs(np.asarray(exact, np.float64))
    tiny = float(np.finfo(dtype).tiny)
    spacing = 2 * unit(dtype) * 2.0 ** np.floor(np.log2(np.maximum(exact, tiny)))
    return np.where(exact < tiny, tiny, count * spacing)

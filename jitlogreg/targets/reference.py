"""The notes' formulas, as plainly as they can be written: the oracle of the compiled targets, right and slow.

Two spellings. The for-loops are the notes' own, to the letter, over lists or arrays; they say where they saturate. The
NumPy functions are the target: float64 whatever the dtype of X, both tails kept, m × n temporaries and all.
"""

import math

import numpy as np

from jitlogreg.targets.base import Sums
from jitlogreg.targets.csr import CSR

# ---------------------------------------------------------------- the notes' for-loops


def dot_loop(u, v):
    """Σⱼ uⱼ vⱼ, by a for-loop over elements."""
    total = 0.0
    for j in range(len(u)):
        total += u[j] * v[j]
    return total


def forward_loop(x, w, b):
    """a = σ(z) = 1 / (1 + e⁻ᶻ), z = wᵀx + b, of one example.

    e⁻ᶻ overflows below z = −709 (OverflowError), and a rounds to 1 from z = 37 on.
    """
    z = dot_loop(w, x) + b
    return 1 / (1 + math.exp(-z))


def loss_loop(a, y):
    """L(a, y) = −(y log a + (1 − y) log(1 − a)), in nats, of one example.

    Where a has rounded to 0 or 1 there is no logarithm to take (ValueError).
    """
    return -(y * math.log(a) + (1 - y) * math.log(1 - a))


def example_loop(x, y, w, b):
    """One example through the graph: L, dw, db, by da = −y/a + (1 − y)/(1 − a) and dz = da · a (1 − a).

    Where a has rounded to 0 or 1 the division fails (ZeroDivisionError), though dz = a − y would not.
    """
    a = forward_loop(x, w, b)
    da = -y / a + (1 - y) / (1 - a)
    dz = da * a * (1 - a)
    return loss_loop(a, y), [xj * dz for xj in x], dz


def gradient_loop(X, y, w, b):
    """J, dw, db over m examples, by the notes' two nested for-loops: over examples and over features."""
    m, n = len(X), len(w)
    J, dw, db = 0.0, [0.0] * n, 0.0
    for i in range(m):
        a = forward_loop(X[i], w, b)
        J += loss_loop(a, y[i])
        dz = a - y[i]
        for j in range(n):
            dw[j] += X[i][j] * dz
        db += dz
    return J / m, [dwj / m for dwj in dw], db / m


def step_loop(X, y, w, b, learning_rate):
    """One step of gradient descent by for-loops: w := w − α dw, b := b − α db. Returns J before the step, w, b."""
    J, dw, db = gradient_loop(X, y, w, b)
    return J, [w[j] - learning_rate * dw[j] for j in range(len(w))], b - learning_rate * db


# ---------------------------------------------------------------- the target: NumPy in float64

name = "reference"

# NaN and infinity are computed with, whatever the caller's np.errstate is
_ieee = np.errstate(all="ignore")


def hold(array):
    """The array itself."""
    return array


def dot(u, v):
    """Σⱼ uⱼ vⱼ, as a Python float."""
    return float(np.dot(u.astype(np.float64), v.astype(np.float64)))


@_ieee
def activate(function, problem, w, b, out):
    """Write a function of the margins to `out`: σ(Xw + b) for "sigmoid"."""
    out[:] = _ACTIVATIONS[function](_margins(problem, w, b))
    return out


@_ieee
def residuals(problem, w, b, out):
    """Write s·dz to `out`, dz = σ(Xw + b) − y."""
    out[:] = _weights(problem) * _residuals(_margins(problem, w, b), problem.y.astype(np.float64))
    return out


@_ieee
def sums(problem, w, b, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    X, y, s = _columns(problem), problem.y.astype(np.float64), _weights(problem)
    z = _margins(problem, w, b)
    misfit = np.where(z < 0, y, 1 - y)
    # the choice keeps 0 · inf out: a right answer at an infinite margin costs nothing
    loss = np.logaddexp(0, -np.abs(z)) + np.where(misfit == 0, 0, misfit * np.abs(z))
    dz = _residuals(z, y)
    dw = X.T @ (s * dz) if with_gradient else np.zeros(X.shape[1])
    valid = bool(np.all((y >= 0) & (y <= 1)) and np.all(s >= 0))
    return Sums(float(np.sum(s * loss)), dw, float(np.sum(s * dz)), float(np.sum(s)), valid)


@_ieee
def activate_outputs(function, problem, W, b, out):
    """Write a function of the K margins of each row to `out`: of each alone, or their softmax or its logarithm."""
    Z = _margins_of_outputs(problem, W, b)
    out[:] = _ROW_ACTIVATIONS[function](Z) if function in _ROW_ACTIVATIONS else _ACTIVATIONS[function](Z)
    return out


@_ieee
def sums_of_outputs(link, problem, W, b, with_gradient):
    """`sums` of K independent models, one after another; or of a softmax."""
    outputs = W.shape[1]
    if link == "sigmoid":
        parts = [sums(problem.of_model(k), W[:, k], b[k], with_gradient) for k in range(outputs)]
        loss, dw, db, weight, valid = zip(*parts, strict=True)
        return Sums(np.array(loss), np.stack(dw, axis=1), np.array(db), np.array(weight), all(valid))
    X, y, s = _columns(problem), problem.y.astype(np.float64), _weights(problem)
    y = y.T if y.ndim == 2 else np.equal.outer(y, np.arange(outputs)).astype(np.float64)
    Z = _margins_of_outputs(problem, W, b)
    loss = -np.sum(np.where(y > 0, y * _log_softmax(Z), 0), axis=1)
    dz = s[:, np.newaxis] * (_softmax(Z) - y)
    dw = X.T @ dz if with_gradient else np.zeros(W.shape)
    return Sums(float(np.sum(s * loss)), dw, np.sum(dz, axis=0), float(np.sum(s)), bool(np.all(s >= 0)))


@_ieee
def hessian_vector_sums_of_outputs(link, problem, W, b, V, c):
    """`hessian_vector_sums` of K outputs along V (n, K) and c (K,)."""
    X, s = _columns(problem), problem.sample_weight
    Z, U = _margins_of_outputs(problem, W, b), X @ V + c
    if link == "sigmoid":
        upper, lower = _both_tails(Z)
        H = upper * lower * U
    else:
        A = _softmax(Z)
        H = A * (U - np.sum(A * U, axis=1, keepdims=True))
    H = H if s is None else H * (s.T if s.ndim == 2 else s[:, np.newaxis]).astype(np.float64)
    return X.T @ H, np.sum(H, axis=0)


def means(problem, w, b, l2, dw):
    """None: the means come from `sums`."""


def bind(problem, l2):
    """None: nothing would be saved."""


@_ieee
def hessian_vector_sums(problem, w, b, v):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    X = _columns(problem)
    upper, lower = _both_tails(_margins(problem, w, b))
    h = _weights(problem) * (upper * lower) * (X @ v[:-1] + v[-1])
    return X.T @ h, float(np.sum(h))


@_ieee
def hessian_sums(problem, w, b):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    X = _columns(problem)
    upper, lower = _both_tails(_margins(problem, w, b))
    with_ones = np.append(X, np.ones((len(X), 1)), axis=1)
    return with_ones.T @ ((_weights(problem) * (upper * lower))[:, np.newaxis] * with_ones)


def descend(problem, w, b, settings):
    """None: the host takes the steps."""


def _columns(problem):
    """X in float64, in the problem's frame."""
    X = problem.X.toarray() if type(problem.X) is CSR else problem.X
    if problem.frame is not None:
        X = problem.frame.columns(X)
    return X.astype(np.float64)


def _weights(problem):
    """s, in float64."""
    s = problem.sample_weight
    return np.ones(len(problem.X)) if s is None else s.astype(np.float64)


def _margins(problem, w, b):
    """z = Xw + b + offset"""
    z = _columns(problem) @ w.astype(np.float64) + float(b)
    return z if problem.offset is None else z + problem.offset.astype(np.float64)


def _margins_of_outputs(problem, W, b):
    """Z = XW + b + offset, one row per example."""
    Z = _columns(problem) @ W.astype(np.float64) + b.astype(np.float64)
    if problem.offset is None:
        return Z
    offset = problem.offset.astype(np.float64)
    return Z + (offset.T if offset.ndim == 2 else offset[:, np.newaxis])


def _residuals(z, y):
    """dz = (1 − y) σ(z) − y σ(−z): σ(z) − y without cancellation."""
    upper, lower = _both_tails(z)
    return (1 - y) * upper - y * lower


def _both_tails(z):
    """σ(z) and σ(−z)"""
    e = np.exp(-np.abs(z))
    near, far = 1 / (1 + e), e / (1 + e)
    return np.where(z < 0, far, near), np.where(z < 0, near, far)


_ACTIVATIONS = {"sigmoid": lambda z: _both_tails(z)[0], "log_sigmoid": lambda z: -np.logaddexp(0, -z)}


def _softmax(Z):
    """aₖ = e^zₖ / Σ e^zⱼ of each row."""
    e = np.exp(_below_largest(Z))
    return e / np.sum(e, axis=1, keepdims=True)


def _log_softmax(Z):
    """log aₖ = zₖ − log Σ e^zⱼ of each row."""
    D = _below_largest(Z)
    return D - np.log(np.sum(np.exp(D), axis=1, keepdims=True))


def _below_largest(Z):
    """zₖ − maxⱼ zⱼ: an infinite largest margin is 0 below itself."""
    largest = np.max(Z, axis=1, keepdims=True)
    return np.where(largest == Z, 0, Z - largest)


_ROW_ACTIVATIONS = {"softmax": _softmax, "log_softmax": _log_softmax}

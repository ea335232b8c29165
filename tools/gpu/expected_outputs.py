"""What a target must give of K outputs, and of examples with an offset, as `expected.py` has it for one output.

An offset is one more column of X, whose coefficient is 1. Means and their bounds are those of each model alone; of a
softmax they follow from each example's margins by the same reasoning, where the largest error of a row's margins counts
for all its classes.
"""

from types import SimpleNamespace

import numpy as np

from gpu.expected import margins, objective, over_rows, product, ulps, unit


def with_offset(X, w, offset):
    """X and w with the offset as one more column; the last of a gradient is then to be left out."""
    if offset is None:
        return X, w
    return np.column_stack([X, offset]), np.append(w, np.ones(1, w.dtype))


def models(data):
    """J, dw and db of each model, and the bound on each, of what `outputs.example` makes."""
    found = [_one_model(data, k) for k in range(data.W.shape[1])]
    return tuple(
        SimpleNamespace(
            loss=np.array([part.loss for part in parts]),
            dw=np.stack([part.dw[: len(data.W)] for part in parts], axis=1),
            db=np.array([part.db for part in parts]),
        )
        for parts in zip(*found, strict=True)
    )


def _one_model(data, k):
    X, w = with_offset(data.X, data.W[:, k], _of(data.offset, k))
    return objective(X, _of(data.y, k), w, data.b[k], _of(data.s, k))


def products_of_models(data):
    """The product of each model's Hessian with its column of V and c, means of rows (n + 1, K), and the bound on it."""
    n, found = len(data.W), []
    for k in range(data.W.shape[1]):
        X, w = with_offset(data.X, data.W[:, k], _of(data.offset, k))
        v = np.append(data.V[:, k], np.append(np.zeros(len(w) - n, w.dtype), data.c[k]))
        parts = product(X, w, data.b[k], v, _of(data.s, k))
        found.append([np.append(part[:n], part[-1]) for part in parts])
    return tuple(np.stack(parts, axis=1) for parts in zip(*found, strict=True))


def _of(array, k):
    return array if array is None or array.ndim == 1 else array[k]


# ---------------------------------------------------------------- softmax


def _rows(data, W, b, offset):
    """The margins (m, K) in wider numbers, and the largest error of each row (m, 1)."""
    found = [
        margins(*with_offset(data.X, np.ascontiguousarray(W[:, k]), _of(offset, k)), b[k]) for k in range(W.shape[1])
    ]
    z, delta = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    return z, delta.max(axis=1, keepdims=True)


def _softmax(z):
    below = z - z.max(axis=1, keepdims=True)
    e = np.exp(below)
    total = e.sum(axis=1, keepdims=True)
    return e / total, below - np.log(total)


def softmax_activations(data):
    """The softmax and its logarithm, each with its bound: 4 ulp, and what the margins' errors move."""
    z, delta = _rows(data, data.W, data.b, data.offset)
    a, logarithm = _softmax(z)
    dtype = data.W.dtype
    return (a, ulps(a, dtype, 4) + a * np.expm1(2 * delta)), (logarithm, ulps(logarithm, dtype, 4) + 2 * delta)


def softmax(data):
    """J, dw and db, and the bound on each: K terms make a loss, beside what `expected.objective` counts."""
    z, delta = _rows(data, data.W, data.b, data.offset)
    (a, logarithm), (m, K) = _softmax(z), z.shape
    s = np.ones(m, z.dtype) if data.s is None else data.s.astype(z.dtype)
    y = data.y.T if data.y.ndim == 2 else np.equal.outer(data.y, np.arange(K))
    y, S = y.astype(z.dtype), s.sum()
    losses, dz, size = -np.sum(y * logarithm, axis=1), a - y, (1 - y) * a + y * (1 - a)
    relative = (32 + 32 + 8 + 8 + K) * unit(data.W.dtype)
    off_dz = s[:, np.newaxis] * (a * np.expm1(2 * delta) + relative * size)
    dw, off_dw = over_rows(data.X, s[:, np.newaxis] * dz, off_dz)
    off_loss = s @ ((2 * delta[:, 0] + relative * y.sum(axis=1)) + relative * losses)
    value = SimpleNamespace(loss=s @ losses / S, dw=dw / S, db=s @ dz / S)
    return value, SimpleNamespace(loss=off_loss / S, dw=off_dw / float(S), db=off_dz.sum(axis=0) / S)


def product_of_softmax(data):
    """The Hessian's product with V and c, means of rows (n + 1, K), and the bound on it."""
    (z, delta), (u, tau) = _rows(data, data.W, data.b, data.offset), _rows(data, data.V, data.c, None)
    a, _ = _softmax(z)
    s = np.ones((len(z), 1), z.dtype) if data.s is None else data.s.astype(z.dtype)[:, np.newaxis]
    largest, S = np.abs(u).max(axis=1, keepdims=True), s.sum()
    h = s * a * (u - np.sum(a * u, axis=1, keepdims=True))
    relative = (32 + 32 + 8 + 8 + z.shape[1]) * unit(data.W.dtype)
    off = s * a * ((2 * np.expm1(4 * delta) + 2 * relative) * largest + 2 * tau)
    of_w, off_w = over_rows(data.X, h, off)
    value, bound = np.vstack([of_w, h.sum(axis=0)]), np.vstack([off_w, off.sum(axis=0)])
    return value / S, bound / float(S)

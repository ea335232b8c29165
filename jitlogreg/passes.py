"""Passes over the examples some rows at a time, in NumPy: what a fit needs seldom, and no target has a kernel for."""

import math

import numpy as np

# Rows at once: their temporaries fit a cache where X has up to some 30 columns
ROWS = 8192

# Rows whose activations fit L2
DOUBTED = 1 << 16

# Numbers of rows at once that are factored, and the fewest such rows for each parameter
FACTORED, FACTORED_ROWS = 1 << 12, 4


def smallest_doubt(kernels, X, y, sample_weight, w, b, enough):
    """The `least_doubt` at w and b of NumPy arrays, which are read once."""
    least, a = math.inf, np.empty(min(len(y), DOUBTED))
    for rows in _slices(X, DOUBTED):
        labels, s = y[rows], None if sample_weight is None else sample_weight[rows]
        least = min(least, least_doubt(kernels.forward(X[rows], w, b, a[: len(labels)]), labels, s, enough))
    return least


def least_doubt(a, y, sample_weight, enough):
    """The least of s·(1 − a) over examples of label 1, and of s·a over those of label 0, that have weight; else inf.

    Where it is more than `enough`, any number between. It is rounded as 1 − a is: what is below 1e-16 of s may come out
    as 0. a is written over.
    """
    doubt = np.abs(np.subtract(y, a, out=a), out=a)
    if sample_weight is not None:
        doubt *= sample_weight
    least = float(doubt.min(initial=math.inf))
    if least > enough:  # whatever soft labels and weights of 0 have added to it
        return least
    settled = (y == 0) | (y == 1)
    if sample_weight is not None:
        settled &= sample_weight > 0
    return float(np.min(doubt, where=settled, initial=math.inf))


@np.errstate(all="ignore")
def add_weighted_rows(kernels, X, sample_weight, theta, frame, R):
    """Add to a triangular factor the rows √(s·σ(z)σ(−z)) [x, 1], of a frame's columns if there is one.

    θ = [w, b], or [w], and then the rows have no 1. Returns R.
    """
    from jitlogreg.linear_algebra import add_rows, joined  # and with it Numba

    p, n = len(theta), X.shape[1]
    at = theta if frame is None else frame.to_caller(theta)
    w, b = at[:n].copy(), float(at[n]) if p > n else 0.0

    def factor(rows):
        x = X[rows]
        curvature = kernels.forward(x, w, b, np.empty(len(x))) * kernels.forward(x, -w, -b, np.empty(len(x)))
        if sample_weight is not None:
            curvature *= sample_weight[rows]
        weighted = np.ones((len(x), p))
        weighted[:, :n] = x if frame is None else frame.columns(x)
        weighted *= np.sqrt(curvature)[:, np.newaxis]
        of_rows = np.zeros((p, p))
        add_rows(of_rows, weighted)
        return of_rows

    return joined(map(factor, _slices(X, max(FACTORED_ROWS * p, FACTORED // p))), R)


def _slices(X, count):
    return [slice(first, first + count) for first in range(0, X.shape[0], count)]

"""The time of a fit to the minimum: by columns as they are, by columns in a frame of their own, and by rows."""

import numpy as np

from .cases import calls_per_sample, library

# Small data, for which "auto" takes Newton's method, and large data, for which it takes L-BFGS
SHAPES = [(569, 30), (200_000, 28)]
KINDS = ["ordinary", "far off", "nearly the same"]

# What a fit takes of the time of an evaluation, at least
EVALUATIONS = 12


def columns(kind, shape):
    """X and y of a model, and the same X in columns of mean 0 and deviation 1."""
    (m, n), rng = shape, np.random.default_rng(0)
    standard = rng.normal(size=shape)
    X = standard.copy()
    if kind == "far off":
        X += 1e6
    elif kind == "nearly the same":
        X[:, 1] = X[:, 0] + 1e-6 * standard[:, 1]
    z = standard @ (rng.normal(size=n) / np.sqrt(n))
    return X, (rng.uniform(size=m) < 1 / (1 + np.exp(-z))) * 1.0, standard


class Fit:
    params = (KINDS, SHAPES)
    param_names = ("columns", "shape")
    rounds, repeat, warmup_time, timeout = 2, (4, 8, 0.2), 0.02, 240

    def setup(self, kind, shape):
        if getattr(self, "ready_for", None) == (kind, shape):
            return
        jlr = library()
        if not hasattr(jlr, "fit"):
            raise NotImplementedError("this commit has no fit")
        X, y, standard = columns(kind, shape)
        fitted = jlr.fit(X, y)
        # the slope along the columns of the model, which are combinations of those of X
        slope = standard.T @ (jlr.forward(X, fitted.w, fitted.b) - y) / len(y)
        if not (fitted.converged and np.abs(slope).max() < 1e-5):
            raise AssertionError(f"not at the minimum: {fitted.message}")
        self.number = calls_per_sample(X.nbytes, EVALUATIONS)
        self.call, self.ready_for = lambda: jlr.fit(X, y), (kind, shape)

    def time_call(self, kind, shape):
        self.call()

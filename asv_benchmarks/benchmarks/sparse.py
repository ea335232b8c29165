"""The time of loss and gradient of sparse X, and of a fit to it, on the CPU."""

import numpy as np

from .cases import INTERCEPT, calls_per_sample, check, library

# Rows, columns and stored numbers of a row: one-hot categories; counts; more columns than numbers
SHAPES = [(100_000, 1_000, 10), (50_000, 5_000, 60), (5_000, 200_000, 20)]
TRIED = 50  # rows whose answer is compared with the reference's, which are dense there

# What a fit takes of the time of an evaluation, at least
EVALUATIONS = 12


def example(jlr, shape, dtype):
    """A CSR whose rows have as many numbers each, in columns in no order, and w."""
    (m, n, stored), rng = shape, np.random.default_rng(0)
    data = rng.normal(size=m * stored).astype(dtype)
    X = jlr.CSR(data, rng.integers(0, n, m * stored, np.int32), np.arange(m + 1, dtype=np.int32) * stored, (m, n))
    return X, (rng.normal(size=n) / np.sqrt(stored)).astype(dtype)


class _Sparse:
    rounds, repeat, warmup_time, timeout = 2, (4, 8, 0.2), 0.05, 240

    def setup(self, *parameters):
        if getattr(self, "ready_for", None) == parameters:
            return
        jlr = library()
        if not hasattr(jlr, "CSR"):
            raise NotImplementedError("this commit has no sparse X")
        self.prepare(jlr, *parameters)
        self.ready_for = parameters


class SparseLossAndGradient(_Sparse):
    params = (SHAPES, ["float64", "float32"])
    param_names = ("shape", "dtype")

    def prepare(self, jlr, shape, dtype):
        X, w = example(jlr, shape, dtype)
        m = len(X)
        y = np.random.default_rng(1).integers(0, 2, m)

        def call(rows=m, target="cpu"):
            return jlr.loss_and_gradient(X[:rows], y[:rows], w, INTERCEPT, target=target)

        check(call(TRIED), call(TRIED, "reference"), np.dtype(dtype))
        self.number = calls_per_sample(sum(array.nbytes for array in X.arrays))
        self.call = call

    def time_call(self, shape, dtype):
        self.call()


class SparseFit(_Sparse):
    params = (SHAPES[:1],)
    param_names = ("shape",)

    def prepare(self, jlr, shape):
        X, w = example(jlr, shape, "float64")
        y = np.random.default_rng(1).uniform(size=len(X)) < jlr.forward(X, w)
        fitted = jlr.fit(X, y, l2=1e-4)
        slope = jlr.gradient(X, y, fitted.w, fitted.b, l2=1e-4, target="cpu").dw
        if not (fitted.converged and np.abs(slope).max() < 1e-6):
            raise AssertionError(f"not at the minimum: {fitted.message}")
        self.number = calls_per_sample(sum(array.nbytes for array in X.arrays), EVALUATIONS)
        self.call = lambda: jlr.fit(X, y, l2=1e-4)

    def time_call(self, shape):
        self.call()

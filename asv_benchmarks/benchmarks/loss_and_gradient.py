"""One evaluation of the objective and its gradient: the call that training is made of."""

import time

import numpy as np

import jitlogreg as jlr

# From the first-level cache to memory: 20 KB, 220 KB, 4 MB, 45 MB in float64
SHAPES = [(128, 20), (1_000, 28), (2_000, 256), (200_000, 28)]
PARAMETERS = (["cpu", "reference"], ["float64", "float32"], ["C", "F"], SHAPES)


def plain_numpy(X, y, w, b):
    """What a NumPy user writes: two products with X."""
    z = X @ w + b
    dz = 1 / (1 + np.exp(-z)) - y
    return np.mean(np.logaddexp(0, z) - y * z), X.T @ dz / len(y), np.mean(dz)


class LossAndGradient:
    """The time of a call, and that time over NumPy's, measured in the same moment."""

    params = PARAMETERS
    param_names = ("target", "dtype", "order", "shape")

    def setup(self, target, dtype, order, shape):
        # asv calls this before every sample; only new parameters are worth new data and a check
        if getattr(self, "ready_for", None) == (target, dtype, order, shape):
            return
        rng = np.random.default_rng(0)
        self.X = np.asarray(rng.normal(size=shape), dtype, order=order)
        self.w = (rng.normal(size=shape[1]) / np.sqrt(shape[1])).astype(dtype)
        self.y = (rng.uniform(size=shape[0]) < 0.5).astype(dtype)
        self.target = target
        check(self.call(), plain_numpy(self.X.astype(np.float64), self.y, self.w.astype(np.float64), 0.1), dtype)
        # enough calls in a sample that the clock does not matter: 10 ms of an optimistic 10 GB/s
        self.number = max(1, int(1e8 / max(self.X.nbytes, 1e5)))
        self.ready_for = (target, dtype, order, shape)

    def call(self):
        return jlr.loss_and_gradient(self.X, self.y, self.w, 0.1, target=self.target)

    def time_call(self, target, dtype, order, shape):
        self.call()

    def track_time_over_numpy(self, target, dtype, order, shape):
        ratios = [
            seconds(self.call, self.number) / seconds(lambda: plain_numpy(self.X, self.y, self.w, 0.1), self.number)
            for _ in range(7)
        ]
        return float(np.median(ratios))

    track_time_over_numpy.unit = "time of NumPy"


def check(result, expected, dtype):
    """A wrong fast kernel fails instead of winning."""
    off = 1e-12 if dtype == "float64" else 1e-4
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=off, atol=off)


def seconds(function, number):
    """The time of `number` calls."""
    start = time.perf_counter()
    for _ in range(number):
        function()
    return time.perf_counter() - start

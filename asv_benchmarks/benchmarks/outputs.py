"""The time of loss and gradient of K outputs from one read of X, on the CPU."""

import inspect

import numpy as np

from .cases import check, library

ROWS, COLUMNS = 100_000, 64
TRIED = 500  # rows whose answer is compared with the reference's


class SeveralOutputs:
    params = (["sigmoid", "softmax"], [4, 16, 100], ["float64", "float32"])
    param_names = ("link", "outputs", "dtype")
    rounds, repeat, warmup_time, number = 2, (4, 8, 0.2), 0.05, 1

    def setup(self, link, outputs, dtype):
        if getattr(self, "ready_for", None) == (link, outputs, dtype):
            return
        jlr, rng = library(), np.random.default_rng(0)
        if "link" not in inspect.signature(jlr.loss_and_gradient).parameters:
            raise NotImplementedError("this commit has one output")
        X = rng.normal(size=(ROWS, COLUMNS)).astype(dtype)
        W = (rng.normal(size=(COLUMNS, outputs)) / COLUMNS**0.5).astype(dtype)
        y = rng.integers(0, outputs if link == "softmax" else 2, ROWS)

        def call(rows=ROWS, target="cpu"):
            return jlr.loss_and_gradient(X[:rows], y[:rows], W, link=link, target=target)

        check(call(TRIED), call(TRIED, "reference"), np.dtype(dtype))
        self.call, self.ready_for = call, (link, outputs, dtype)

    def time_loss_and_gradient(self, link, outputs, dtype):
        self.call()

"""The time of fits that share reads of X: cross-validation, bootstrap, and many targets, on the CPU."""

import numpy as np

from .cases import library

ROWS, COLUMNS, TARGETS = 40_000, 28, 8


class Selection:
    params = (["cross_validate", "bootstrap", "targets"],)
    param_names = ("work",)
    rounds, repeat, warmup_time, number = 2, (3, 6, 2.0), 0.05, 1

    def setup(self, work):
        if getattr(self, "ready_for", None) == work:
            return
        jlr, rng = library(), np.random.default_rng(0)
        if not hasattr(jlr, "cross_validate"):
            raise NotImplementedError("this commit has fits one by one")
        X = rng.normal(size=(ROWS, COLUMNS))
        Y = (rng.uniform(size=(ROWS, TARGETS)) < 1 / (1 + np.exp(-X @ rng.normal(size=(COLUMNS, TARGETS)) / 4))).astype(
            float
        )
        y, s = np.ascontiguousarray(Y[:, 0]), (np.arange(ROWS) % 3 != 0).astype(float)
        self.call = {
            "cross_validate": lambda: jlr.cross_validate(X, y, [1e-1, 1e-2, 1e-3, 1e-4], folds=np.arange(ROWS) % 3),
            "bootstrap": lambda: jlr.bootstrap(X, y, n_resamples=30),
            "targets": lambda: jlr.fit(X, Y),
        }[work]
        found = self.call()
        if work == "cross_validate":
            alone = jlr.fit(X, y, l2=1e-2, sample_weight=s)
            score = -jlr.loss(X, y, alone.w, alone.b, sample_weight=1 - s)
            assert abs(found.scores[1, 0] - score) < 1e-9
        else:
            alone = jlr.fit(X, y) if work == "targets" else jlr.fit(X, y, sample_weight=drawn(0))
            assert np.allclose(found.w[:, 0], alone.w, rtol=1e-6, atol=1e-8)
        self.ready_for = work

    def time_work(self, work):
        self.call()


def drawn(number):
    """How often each row is in a resample."""
    return np.bincount(np.random.default_rng([0, number]).integers(0, ROWS, ROWS), minlength=ROWS).astype(float)

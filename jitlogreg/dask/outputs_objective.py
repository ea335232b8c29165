"""The objective of K outputs over dask arrays."""

import functools
import math

import numpy as np

from jitlogreg import outputs, outputs_objective, validation
from jitlogreg.dask import blocks
from jitlogreg.dask.arrays import target_name
from jitlogreg.dask.objective import Objective
from jitlogreg.norms import power_of_two_over
from jitlogreg.targets.base import Sums


class OutputsObjective(Objective, outputs_objective.OutputsObjective):
    """What `jitlogreg.dask.Objective` makes for more than one output; see there."""

    def __init__(
        self,
        X,
        y,
        *,
        sample_weight=None,
        l2=0.0,
        fit_intercept=True,
        check_finite=True,
        link="sigmoid",
        n_outputs=1,
        offset=None,
        target=None,
    ):
        self.link, self.n_outputs = outputs.check_link(link), validation.check_count("n_outputs", n_outputs, 1)
        outputs.check_outputs(link, n_outputs, "n_outputs")
        X = self._gather(X, y, sample_weight, offset, n_outputs)
        self._describe(X, target_name(target, X), l2, fit_intercept)
        self._gauge = None
        self._bind_block = functools.partial(outputs_objective.bind, link=link, n_outputs=n_outputs, may_be_empty=True)
        self._bind(check_finite)
        if sample_weight is not None and not outputs.is_in_range(self._at_zero, np.dtype(np.float64)):
            largest = np.max(self._of_each_block(blocks.largest_weight, self._zero()), axis=0)
            scales = np.array([power_of_two_over(float(of_model)) for of_model in np.atleast_1d(largest)])
            self._weight_scale = scales[:, np.newaxis] if np.ndim(largest) else float(scales[0])
            self._bind(check_finite)
        outputs.check_weights(self.total_weight)
        self.imbalance = 0.5 if link == "softmax" and self.missing_classes() is not None else 0.0

    def _bind(self, check_finite):
        """Check all blocks, and take their sums at θ = 0."""
        bind = functools.partial(blocks.bind_outputs, link=self.link, check_finite=bool(check_finite))
        rows, *numbers = self._add_up(bind, self._zero())
        self._check_rows(rows)
        K, n = self.n_outputs, self.n_features
        models = 1 if self.link == "softmax" else K
        weight, loss, db, dw, self._of_classes = np.split(np.array(numbers), np.cumsum([models, models, K, n * K]))
        if self.link == "softmax":
            weight, loss = float(weight[0]), float(loss[0])
        self.total_weight, self._at_zero = weight, Sums(loss, dw.reshape(n, K), db, weight, True)

    def _zero(self):
        return np.zeros((self.n_features + 1, self.n_outputs))

    def sample(self, rows):
        """As for data in memory, without flat directions if this is."""
        part = super().sample(rows)
        if part is not None:
            part._gauge = self._gauge
        return part

    def model(self, k):
        """Raise ValueError: models share reads of X in memory alone."""
        came = f"one of {self.n_outputs} independent models over dask arrays"
        raise ValueError(f"X: expected an Objective of one output or of a softmax, got {came}")

    def smallest_doubt(self, theta, enough=math.inf):
        """As for data in memory."""
        of_block = functools.partial(blocks.softmax_doubt, frame=self.frame)
        return min(self._of_each_block(of_block, np.vstack(self._model(self._matrix(theta)))))

    def root(self, theta):
        """As for data in memory. Each block is factored by itself, and the factors are joined in pairs."""
        from jitlogreg.linear_algebra import joined

        of_block = functools.partial(blocks.softmax_root, frame=self.frame, has_b=self.has_intercept)
        factors = self._of_each_block(of_block, np.vstack(self._model(self._matrix(theta))))
        return joined(factors, self._root_of_penalty())

    def _sums(self, W, b, with_gradient):
        of_block = functools.partial(self._framed(blocks.sums_of_outputs), link=self.link, with_gradient=with_gradient)
        numbers = self._add_up(of_block, np.vstack([W, b]))
        K, models = self.n_outputs, 1 if self.link == "softmax" else self.n_outputs
        loss = float(numbers[0]) if self.link == "softmax" else numbers[:models]
        if not with_gradient:
            return Sums(loss, np.zeros(W.shape), np.zeros(K), self.total_weight, True)
        db, dw = numbers[models : models + K], numbers[models + K :].reshape(W.shape)
        return Sums(loss, dw, db, self.total_weight, True)

    def _hessian_vector_sums(self, W, b, V, c):
        of_block = functools.partial(self._framed(blocks.hessian_vector_of_outputs), link=self.link)
        numbers = self._add_up(of_block, np.stack([np.vstack([W, b]), np.vstack([V, c])]))
        return numbers[: W.size].reshape(W.shape), numbers[W.size :]

    def _hessian_sums(self, W, b):
        rows, K = self.n_features + 1, self.n_outputs
        return self._add_up(self._framed(blocks.softmax_hessian), np.vstack([W, b])).reshape(rows, K, rows, K)

    def _shared_hessian_sums(self, W, b):
        sums = self._add_up(self._framed(blocks.softmax_shared_hessian), np.vstack([W, b]))
        return sums.reshape(self.n_features + 1, -1)

    def class_weights(self):
        """Σ sᵢ yᵢₖ of each class."""
        return self._of_classes


Objective._of_outputs = OutputsObjective

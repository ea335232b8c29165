"""The `Objective` of K outputs: K independent models, or one softmax, of θ = [W, b] raveled."""

import copy
import math

import numpy as np

from jitlogreg import outputs, row_passes, softmax_passes, validation
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import HESSIAN_COLUMNS, Objective, held, hold_problem
from jitlogreg.targets.base import Problem
from jitlogreg.targets.csr import CSR
from jitlogreg.targets.dispatch import choose, has_hessian

# The most classes for a Hessian, whose blocks take a read of X each: K (K + 1) / 2 of them
HESSIAN_CLASSES = 64


class OutputsObjective(Objective):
    """What `Objective` makes for more than one output; see there."""

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
        self._target, self._data = bind(X, y, sample_weight, offset, link=link, n_outputs=n_outputs, target=target)
        self._describe(self._data.X, self._target.name, l2, fit_intercept)
        self._gauge = None
        self._problem = hold_problem(self._target, self._data)
        sums = self._sums_at_zero()
        outputs.check_examples(sums, link, self._data)
        s = self._data.sample_weight
        if s is not None and not outputs.is_in_range(sums, s.dtype):
            self._data = self._data._replace(sample_weight=outputs.rescaled(s))
            self._problem = hold_problem(self._target, self._data)
            sums = self._sums_at_zero()
        outputs.check_weights(sums.weight)
        self.total_weight, self._at_zero = sums.weight, sums
        # a class without weight has an intercept that falls for ever, as where there is but one class
        self.imbalance = 0.5 if link == "softmax" and self.missing_classes() is not None else 0.0
        if check_finite and not np.isfinite(sums.loss).all():  # 0 times NaN or infinity is NaN
            validation.check_finite(self._data.X)
        if check_finite:
            validation.check_finite_offset(offset)

    def _describe(self, X, target, l2, fit_intercept):
        link, n_outputs = self.link, self.n_outputs
        super()._describe(X, target, 0.0, fit_intercept)
        self.link, self.n_outputs = link, n_outputs
        self.l2 = self.penalty = outputs.check_penalty(l2, self.link, self.n_outputs)
        self.n_parameters *= self.n_outputs
        is_small = self.n_parameters <= HESSIAN_COLUMNS and n_outputs <= HESSIAN_CLASSES
        self.has_hessian = self.link == "softmax" and has_hessian(target) and is_small
        is_narrow = self.n_features <= HESSIAN_COLUMNS
        self.has_shared_hessian = self.link == "softmax" and has_hessian(target) and is_narrow

    def __call__(self, theta):
        """The objective, or of independent models the objectives (K,), and the gradient at θ."""
        theta = validation.check_vector("theta", theta, self.n_parameters, "as n_parameters says")
        return self.from_sums(self.sums_of(theta), theta)

    def sums_of(self, theta):
        """The sums at θ, which no penalty enters."""
        return self._sums(*self._model(self._matrix(theta)), True)

    def from_sums(self, sums, theta):
        """The objective and the raveled gradient, with the gauge's part, from the sums at θ."""
        T = self._matrix(theta)
        result = outputs.normalize(sums, T[: self.n_features], self.penalty)
        gradient = np.empty_like(T)
        gradient[: self.n_features] = result.dw
        gradient[self.n_features :] = result.db
        loss = result.loss
        if self._gauge is not None:
            totals = self._gauge * np.sum(T, axis=1)
            loss += 0.5 * float(np.sum(totals * np.sum(T, axis=1)))
            gradient += totals[:, np.newaxis]
        return loss, gradient.reshape(-1)

    def loss(self, theta):
        """The objective at θ; of independent models (K,)."""
        T = self._matrix(validation.check_vector("theta", theta, self.n_parameters, "as n_parameters says"))
        W, b = self._model(T)
        return outputs.normalize(self._sums(W, b, False), W, self.penalty).loss

    def hessian_vector(self, theta, v):
        """The Hessian at θ times a vector."""
        T, V = (
            self._matrix(validation.check_vector(name, value, self.n_parameters, "as n_parameters says"))
            for name, value in (("theta", theta), ("v", v))
        )
        of_w, of_b = self._hessian_vector_sums(*self._model(T), *self._model(V))
        product = np.empty_like(T)
        product[: self.n_features] = of_w / self.total_weight + self.penalty * V[: self.n_features]
        product[self.n_features :] = of_b / self.total_weight
        if self._gauge is not None:
            product += (self._gauge * np.sum(V, axis=1))[:, np.newaxis]
        return product.reshape(-1)

    def hessian(self, theta):
        """The Hessian of a softmax at θ; from K (K + 1) / 2 reads of X."""
        if not self.has_hessian:
            raise ValueError(
                f"n_outputs: expected a softmax of at most {HESSIAN_CLASSES} classes and {HESSIAN_COLUMNS} parameters "
                f"for a Hessian, got {self.n_outputs} and {self.n_parameters} of link {self.link!r}: hessian_vector "
                "has no limit"
            )
        T = self._matrix(validation.check_vector("theta", theta, self.n_parameters, "as n_parameters says"))
        sums = self._hessian_sums(*self._model(T))[: len(T), :, : len(T)]
        hessian = sums.reshape(self.n_parameters, self.n_parameters) / self.total_weight
        diagonal = hessian.reshape(-1)[:: self.n_parameters + 1].reshape(T.shape)
        diagonal[: self.n_features] += self.penalty
        if self._gauge is not None:
            of_gauge = hessian.reshape(sums.shape)
            for j, strength in enumerate(self._gauge):
                of_gauge[j, :, j, :] += strength
        return hessian

    @classmethod
    def of_weights(cls, one, weights):
        """Independent models that differ from an `Objective` in their weights (K, m) alone. Nothing is read."""
        models = object.__new__(cls)
        models.link, models.n_outputs = "sigmoid", len(weights)
        models._target, models._gauge, models._at_zero = one._target, None, None
        models._data = one._data._replace(sample_weight=weights)
        models._problem = one._problem._replace(sample_weight=held(one._target, weights))
        models._describe(one._data.X, one.target, one.l2, one.has_intercept)
        models.total_weight, models.imbalance = np.sum(weights, axis=1), 0.0
        return models

    def reweighted(self, weights):
        """A softmax that differs from this one in its weights (m,) alone. Nothing is read."""
        other = copy.copy(self)
        other._data = self._data._replace(sample_weight=weights)
        other._problem = self._problem._replace(sample_weight=held(self._target, weights))
        other._at_zero, other.total_weight = None, float(np.sum(weights))
        other.imbalance = 0.5 if other.missing_classes() is not None else 0.0
        return other

    def model(self, k):
        """The `Objective` of one of the independent models, with the bits that it has alone."""
        one = object.__new__(Objective)
        one._target, one._data, one._problem = self._target, self._data.of_model(k), self._problem.of_model(k)
        l2 = float(self.l2 if np.ndim(self.l2) == 0 else self.l2[k])
        one._describe(self._data.X, self.target, l2, self.has_intercept)
        one.total_weight = float(self.total_weight[k])
        if self._at_zero is not None:
            one._at_zero = self._at_zero.of_model(k)
            one.imbalance = one._imbalance(one._at_zero.db / one.total_weight)
        else:
            one.imbalance = row_passes.imbalance(one._data.y, one._data.sample_weight) if self.has_intercept else 0.0
        return one

    # ---------------------------------------------------------------- for solvers

    def shared_hessian(self, theta):
        """The mean of a softmax's diagonal blocks of the Hessian over the classes; their penalty is a block's own."""
        T = self._matrix(theta)
        sums = self._shared_hessian_sums(*self._model(T))
        hessian = sums[: len(T), : len(T)] / self.total_weight
        hessian.reshape(-1)[:: len(T) + 1][: self.n_features] += np.ravel(self.penalty)
        return hessian

    def initial_theta(self, w, b):
        """θ in the caller's columns, from w (n, K) or None, and b (K,) or a number."""
        T = np.zeros((self.n_parameters // self.n_outputs, self.n_outputs))
        if w is not None:
            W = validation.check_coefficients_of_outputs(w, self)
            if W.shape[1] != self.n_outputs:
                raise ValueError(f"w: expected {self.n_outputs} columns, one per class, got {W.shape[1]}")
            T[: self.n_features] = W
        b = outputs.check_intercepts(b, self.n_outputs, T.dtype)
        if self.has_intercept:
            T[self.n_features] = b
        elif np.any(b):
            raise ValueError(f"b: expected 0 with fit_intercept=False, got {b}")
        return T.reshape(-1)

    def balanced(self, theta):
        """θ of the same probabilities whose parameters sum to 0 over the classes."""
        T = self._matrix(theta)
        return (T - np.mean(T, axis=1, keepdims=True)).reshape(-1)

    def split(self, theta):
        """W and b of θ."""
        W, b = self._model(self._matrix(theta))
        return W.copy(), b.copy()

    def sums_at(self, w, b):
        """The sums for a step of a descent, with db = 0 if there is no intercept."""
        sums = self._sums(w, b, True)
        return sums if self.has_intercept else sums._replace(db=np.zeros(self.n_outputs))

    def at_zero(self):
        """The objective and its gradient at θ = 0, which are known from the check of X."""
        zero = np.zeros(self.n_parameters)
        return self(zero) if self._at_zero is None else self.from_sums(self._at_zero, zero)

    def in_frame(self, columns):
        """The same objective as a function of θ in a frame's columns."""
        framed = copy.copy(self)
        framed.frame, framed._at_zero = columns, None
        framed._into_frame(columns)
        framed.penalty = self.l2 * (columns.scale * columns.scale)[:, np.newaxis] if np.any(self.l2) else 0.0
        return framed if self._gauge is None else framed.gauged()

    def parameters(self, theta):
        """W and b in the caller's columns. Of a softmax, their free sums over the classes are 0 to the last digit."""
        T = self._matrix(theta)
        if self.frame is not None:
            T = np.stack([self.frame.to_caller(of_class) for of_class in T.T], axis=1)
        W, b = (part.copy() for part in self._model(T))
        if self.link == "softmax":
            b -= np.mean(b)
            if not np.any(self.l2):
                W -= np.mean(W, axis=1, keepdims=True)
        return W, b

    def theta_of(self, w, b):
        """θ from W and b, in the caller's columns."""
        return (np.vstack([w, b]) if self.has_intercept else w).reshape(-1)

    def from_caller(self, theta):
        """θ in the columns of the frame."""
        if self.frame is None:
            return theta
        return np.stack([self.frame.from_caller(of_class) for of_class in self._matrix(theta).T], axis=1).reshape(-1)

    def gradient_to_caller(self, gradient):
        """The gradient in the caller's columns."""
        if self.frame is None:
            return gradient
        G = self._matrix(gradient)
        return np.stack([self.frame.gradient_to_caller(of_class) for of_class in G.T], axis=1).reshape(-1)

    def per_parameter(self, of_columns):
        """What is known of each column, for each parameter; 1 for an intercept."""
        return np.repeat(np.append(of_columns, np.ones(int(self.has_intercept))), self.n_outputs)

    def smallest_doubt(self, theta, enough=math.inf):
        """The least of sᵢ aᵢₖ over examples with weight and classes that are not theirs."""
        return softmax_passes.smallest_doubt(self._target, self._problem, *self._model(self._matrix(theta)))

    def missing_classes(self):
        """A direction along which a softmax falls for ever, as classes without weight have an intercept; or None."""
        is_missing = self.class_weights() == 0
        if not (self.has_intercept and np.any(is_missing)):
            return None
        T = np.zeros((self.n_parameters // self.n_outputs, self.n_outputs))
        T[-1] = np.where(is_missing, -1.0, 0.0)
        return T.reshape(-1)

    def _penalty_of_each(self):
        T = np.zeros((self.n_parameters // self.n_outputs, self.n_outputs))
        T[: self.n_features] = self.penalty
        return T.reshape(-1)

    def root(self, theta):
        """The triangular R with RᵀR = S H of a softmax. One read of X, and about 2 m K p² flops on one thread."""
        return self._root_of_rows(*self._model(self._matrix(theta)), self._root_of_penalty())

    def _root_of_penalty(self):
        from jitlogreg.linear_algebra import add_rows  # and with it Numba

        T = np.zeros((self.n_parameters // self.n_outputs, self.n_outputs))
        T[: self.n_features] = np.sqrt(self.total_weight * self.penalty)
        R = np.diag(T.reshape(-1))
        if self._gauge is not None:
            rows = np.zeros((len(T), *T.shape))
            rows[np.arange(len(T)), np.arange(len(T))] = np.sqrt(self.total_weight * self._gauge)[:, np.newaxis]
            add_rows(R, rows.reshape(len(T), self.n_parameters))
        return R

    def gauged(self):
        """A softmax with a penalty on what does not change its probabilities: the sums of parameters over the classes.

        The minimum is the same, without the directions along which the objective is flat. Where no Hessian is formed
        these do no harm, and it stays as it is.
        """
        if not self.has_hessian:
            return self
        other = copy.copy(self)
        X = self.some_rows(64)[0]
        squares = np.append(row_passes.mean_squares(X, self.frame), 1.0)[: self.n_parameters // self.n_outputs]
        squares = np.where(np.isfinite(squares) & (squares > 0), squares, 1.0)
        other._gauge = squares / self.n_outputs
        return other

    # ---------------------------------------------------------------- what an objective over other data does otherwise

    def _sums(self, w, b, with_gradient):
        return self._target.sums_of_outputs(self.link, self._problem, w, b, with_gradient)

    def _hessian_vector_sums(self, W, b, V, c):
        return self._target.hessian_vector_sums_of_outputs(self.link, self._problem, W, b, V, c)

    def _hessian_sums(self, w, b):
        return softmax_passes.hessian_sums(self._target, self._problem, w, b)

    def _shared_hessian_sums(self, w, b):
        return softmax_passes.shared_hessian_sums(self._target, self._problem, w, b)

    def _root_of_rows(self, W, b, R):
        return softmax_passes.add_weighted_rows(self._target, self._problem, W, b, R)

    def _sums_at_zero(self):
        return self._sums(*self._model(self._matrix(np.zeros(self.n_parameters))), True)

    def class_weights(self):
        """Σ sᵢ yᵢₖ of each class."""
        return softmax_passes.class_weights(self._data, self.n_outputs)

    # ---------------------------------------------------------------- θ as a matrix

    def _matrix(self, theta):
        """θ as (n + 1, K), or (n, K) without an intercept."""
        return theta.reshape(self.n_parameters // self.n_outputs, self.n_outputs)

    def _model(self, T):
        """W and b."""
        b = T[self.n_features] if self.has_intercept else np.zeros(self.n_outputs)
        return T[: self.n_features], b


def check_alone(objective, *, l2, link, fit_intercept=True, **others):
    """The objective, which a solver was given in place of data, if it serves that and no argument says what it has."""
    defaults = {"l2": l2 if np.any(l2) else None, "link": None if link == "sigmoid" else link}
    defaults["fit_intercept"] = None if fit_intercept else fit_intercept
    validation.check_none_beside_objective(**others, **defaults)
    return objective


@accepts_foreign_arrays
def bind(X, y, sample_weight=None, offset=None, *, link, n_outputs, target=None, may_be_empty=False):
    """The target, and the problem of the checked data, whose labels and weights are float64."""
    chosen = choose(target, X)
    order, ld = validation.check_matrix(X)
    X = X.without_ones() if type(X) is CSR else X
    float64 = np.dtype(np.float64)
    y, s = outputs.check_labels_and_weights(X, y, sample_weight, link, n_outputs, float64, may_be_empty)
    offset = outputs.check_offset(offset, X, n_outputs, float64)
    return [chosen, Problem(X, y, s, order, ld, None, offset)]


Objective._of_outputs = OutputsObjective

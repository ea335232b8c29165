"""The kernels as an estimator of scikit-learn: `LogisticRegression`, for two classes or more and the L2 penalty."""

import math
import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np

from jitlogreg.api import forward, log_forward
from jitlogreg.evaluation import check_weight
from jitlogreg.norms import power_of_two_over
from jitlogreg.solvers.arguments import SOLVERS, Options
from jitlogreg.solvers.fit import Fit, fit_quietly
from jitlogreg.targets.base import layout
from jitlogreg.targets.csr import CSR

try:
    from scipy.sparse import issparse
    from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_array, compute_class_weight
    from sklearn.utils._param_validation import Hidden, Interval, StrOptions
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "jitlogreg.sklearn needs the package scikit-learn, 1.7 or later: pip install 'jitlogreg[sklearn]'"
    ) from error

# Other dtypes are converted to float64, as in scikit-learn
FLOATS = [np.float64, np.float32]

# Solvers of scikit-learn that look for the same minimum, and which one does here
SAME_MINIMUM = {"newton-cholesky": "newton", "newton-cg": "auto", "sag": "auto", "saga": "auto"}

# If rounding ends a run, the λ up to which there is no warning: the mean loss is within 5e-13 of its minimum
FLAT = 1e-6


class LogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression with an L2 penalty, after scikit-learn's estimator of this name.

    It minimises C Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + ½ ‖w‖², where L is the log loss and sᵢ the weight of an example, with the
    weight of its class. The intercept is not penalised. This is C S times the J of `jitlogreg.fit`, with
    l2 = 1 / (C S) and S = Σ sᵢ. More than two classes are those of a softmax.

    Parameters
    ----------
    penalty : {"l2", None}
        Deprecated, as in scikit-learn 1.8: leave it out, and use C=np.inf instead of None.
    C : float
        The inverse of the penalty's strength, above 0. np.inf means no penalty.
    tol : float
        The fit stops once Newton's decrement λ = √(gᵀH⁻¹g) of J is at most this: the `tolerance` of `jitlogreg.fit`. λ
        has no units, while scikit-learn's "lbfgs" bounds the largest element of ∇J, by default 1e-4, in units of X.
        With 1e-10, two fits to the same data in another order or from another start agree to 1e-7 of the largest
        coefficient, except on ill-conditioned data. A run also ends if no step lowers J by more than its rounding
        error.
    fit_intercept : bool
        Whether there is an intercept; it is 0 otherwise.
    class_weight : dict or "balanced", optional
        Weights of the classes, {label: weight}, which multiply the weights of the examples; "balanced" means
        S / (K · the class's sum of weights) for K classes.
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        That of `jitlogreg.fit`: "auto" is "newton" if the data is small, else "lbfgs". Names of scikit-learn's for the
        same minimum are taken too: "newton-cholesky" as "newton"; "newton-cg", "sag" and "saga" as "auto".
    max_iter : int
        The most iterations. A `ConvergenceWarning` says that they were not enough, or that there is no minimum, as
        with C=np.inf if a plane separates the classes.
    warm_start : bool
        Whether the next fit begins where the last one ended.
    n_jobs : int, optional
        Deprecated, as in scikit-learn 1.8, and without effect: Numba sets the number of threads.
    target : {"cpu", "cuda", "reference"}, optional
        Where the kernels run; see `jitlogreg.use_target`.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The labels, sorted. Of two classes, coefficients and margins are those of the second.
    coef_ : ndarray of X's dtype, shape (1, n) or (K, n)
        w. The fit itself computes in float64.
    intercept_ : ndarray of X's dtype, shape (1,) or (K,)
        b; of more than two classes they sum to 0.
    n_iter_ : ndarray of int32, shape (1,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n,)
        Only if X had column names.

    Notes
    -----
    X may be anything that scikit-learn converts to a dense matrix. float32 and float64 arrays are not copied, in C
    order or in F order, while scikit-learn's estimator copies the latter. A view without a unit stride is copied.
    Negative weights are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from jitlogreg.sklearn import LogisticRegression
    >>> X, y = np.array([[-1.0], [0.5], [2.0], [0.1]]), np.array(["no", "yes", "yes", "no"])
    >>> model = LogisticRegression(C=2.5).fit(X, y)
    >>> model.coef_.round(4), model.intercept_.round(4)
    (array([[1.3267]]), array([-0.478]))
    >>> model.predict(np.array([[1000.0]])), model.predict_log_proba(np.array([[1000.0]])).round(2)
    (array(['yes'], dtype='<U3'), array([[-1326.24,     0.  ]]))
    """

    _parameter_constraints: ClassVar[dict] = {
        "penalty": [StrOptions({"l2"}), None, Hidden(StrOptions({"deprecated"}))],
        "C": [Interval(Real, 0, None, closed="right")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions({*SOLVERS, *SAME_MINIMUM})],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
        "target": [str, None],
    }

    def __init__(
        self,
        penalty="deprecated",
        *,
        C=1.0,
        tol=1e-10,
        fit_intercept=True,
        class_weight=None,
        solver="auto",
        max_iter=100,
        warm_start=False,
        n_jobs=None,
        target=None,
    ):
        self.penalty = penalty
        self.C = C
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.target = target

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, offset=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix, shape (m, n)
        y : array-like, shape (m,)
            Labels of two classes or more: strings, numbers or booleans.
        sample_weight : array-like, shape (m,), optional
            At least 0, not all of them 0.
        offset : array-like, shape (m,) or, of more than two classes, (m, K), optional
            A known part of each margin, which is added to z. Whoever predicts gives it again.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If scikit-learn refuses the data, or if there is but one class.
        """
        C = _inverse_strength(self.penalty, self.C)
        if self.n_jobs is not None:
            _warn(
                "'n_jobs' has no effect since 1.8 and will be removed in 1.10. "
                f"You provided 'n_jobs={self.n_jobs}', please leave it unspecified.",
                FutureWarning,
            )
        X, y = validate_data(self, as_scipy(X), y, dtype=FLOATS, accept_sparse="csr")
        X = _with_unit_stride(X)
        classes, encoded = _encoded(y)
        weights = _weights(self.class_weight, classes, X, y, encoded, sample_weight)
        l2 = _penalty(C, len(y), weights)
        link = "sigmoid" if len(classes) == 2 else "softmax"
        w, b = self._start(X.shape[1], 1 if len(classes) == 2 else len(classes))
        solver = SAME_MINIMUM.get(self.solver, self.solver)
        options = Options.checked(solver=solver, tolerance=self.tol, max_iterations=self.max_iter)
        fitted, remedy = fit_quietly(
            X,
            encoded,
            options,
            l2=l2,
            link=link,
            sample_weight=weights,
            offset=_checked_offset(offset, X, len(classes)),
            fit_intercept=self.fit_intercept,
            w=w,
            b=b,
            target=self.target,
        )
        if remedy is not None:
            _warn(f"{fitted.message}{'; with a finite C it has one' * (remedy == 'penalty')}.", ConvergenceWarning)
        elif not _is_settled(fitted, self.max_iter):
            _warn(
                f"{self.solver} failed to converge after {fitted.n_iterations} iteration(s): {fitted.message}. "
                + ("Increase the number of iterations (max_iter)." if fitted.n_iterations >= self.max_iter else ""),
                ConvergenceWarning,
            )
        self.classes_ = classes
        self.coef_ = np.ascontiguousarray(np.atleast_2d(fitted.w.T), X.dtype)
        self.intercept_ = np.atleast_1d(fitted.b).astype(X.dtype)
        self.n_iter_ = np.array([fitted.n_iterations], np.int32)
        return self

    def decision_function(self, X, *, offset=None):
        """The margins z = Xw + b. Of two classes, the second is more likely above 0; of more, that of the largest z.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix, shape (m, n)
        offset : array-like, shape (m,) or, of more than two classes, (m, K), optional
            Added to the margins, as in `fit`.

        Returns
        -------
        ndarray, shape (m,) or (m, K)
            In float32 if both X and the coefficients are, else in float64.
        """
        check_is_fitted(self)
        X = validate_data(self, as_scipy(X), reset=False, dtype=FLOATS, accept_sparse="csr")
        if issparse(X):
            CSR.of_scipy(X).check_structure()  # SciPy's product would read wherever an index points
        one = len(self.coef_) == 1
        z = X @ (self.coef_[0] if one else self.coef_.T) + (self.intercept_[0] if one else self.intercept_)
        if offset is None:
            return z
        offset = _checked_offset(offset, X, len(self.classes_)).astype(z.dtype)
        return z + (offset[:, np.newaxis] if z.ndim > offset.ndim else offset)

    def predict(self, X, *, offset=None):
        """The more likely class of each example.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix, shape (m, n)
        offset : array-like, optional
            As in `decision_function`.

        Returns
        -------
        ndarray, shape (m,)
            Elements of `classes_`; the first at a margin of exactly 0, or of equal margins.
        """
        z = self.decision_function(X, offset=offset)
        return self.classes_[np.argmax(z, axis=1) if z.ndim == 2 else (z > 0).astype(int)]

    def predict_proba(self, X, *, offset=None):
        """The probabilities of the classes, for given margins within 2 ulp, or within 4 of more than two classes.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix, shape (m, n)
        offset : array-like, optional
            As in `decision_function`.

        Returns
        -------
        ndarray, shape (m, K)
            In the order of `classes_`.
        """
        return self._of_classes(forward, X, offset)

    def predict_log_proba(self, X, *, offset=None):
        """The logarithms of the probabilities of the classes, finite and with the same bounds at every given margin.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix, shape (m, n)
        offset : array-like, optional
            As in `decision_function`.

        Returns
        -------
        ndarray, shape (m, K)
            In nats, in the order of `classes_`.
        """
        return self._of_classes(log_forward, X, offset)

    def _of_classes(self, call, X, offset):
        """A call's results at the margins −z and z, or of a softmax.

        X is read once, for z, which is then a matrix of its own.
        """
        z = self.decision_function(X, offset=offset)
        if z.ndim == 2:
            return call(z, np.eye(z.shape[1], dtype=z.dtype), link="softmax", target=self.target)
        z = z[:, np.newaxis]
        one = np.ones(1, z.dtype)
        return np.column_stack([call(z, -one, target=self.target), call(z, one, target=self.target)])

    def _start(self, n, models):
        """The start of the fit: w in float64, or None, and b."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None, 0.0
        if self.coef_.shape != (models, n):
            raise ValueError(f"coef_: expected shape ({models}, {n}) for a warm start, got {self.coef_.shape}")
        w, b = self.coef_.astype(np.float64), self.intercept_.astype(np.float64)
        if models > 1:
            return np.ascontiguousarray(w.T), b if self.fit_intercept else 0.0
        return w[0], float(b[0]) if self.fit_intercept else 0.0


def _inverse_strength(penalty, C):
    """C, or inf if the deprecated `penalty` is None."""
    if penalty == "deprecated":
        return C
    _warn(
        "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this warning, leave 'penalty' "
        "set to its default value, and use C=np.inf instead of penalty=None.",
        FutureWarning,
    )
    if penalty is not None:
        return C
    if C != 1.0:
        _warn("Setting penalty=None will ignore the C parameter", UserWarning)
    return math.inf


def as_scipy(X):
    """A CSR as a csr_array of SciPy; anything else is returned as it is."""
    return X.to_scipy() if type(X) is CSR else X


def _with_unit_stride(X):
    """X itself, or a copy if the kernels would refuse it."""
    if issparse(X):
        return X
    if layout(X.shape, X.strides, X.itemsize) is None or not X.flags.aligned:
        return np.array(X, order="C")
    return X


def _encoded(y):
    """The classes, and the index of each example's class."""
    check_classification_targets(y)
    classes, encoded = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
            f"{classes[0]!r}"
        )
    return classes, encoded


def _weights(class_weight, classes, X, y, encoded, sample_weight):
    """The weights of the examples times those of their classes; None if neither is given."""
    if sample_weight is None and class_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if class_weight is None:
        return weights
    of_classes = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=weights)
    if not np.all(of_classes >= 0):
        raise ValueError(f"class_weight: expected weights of at least 0, got {class_weight!r}")
    return weights * of_classes[encoded]


def _checked_offset(offset, X, K):
    """Offsets in float64, (m,) or of more than two classes also (m, K); or None."""
    if offset is None:
        return None
    offset = check_array(offset, ensure_2d=False, dtype=np.float64, input_name="offset")
    m = X.shape[0]
    if offset.shape != (m,) and (K == 2 or offset.shape != (m, K)):
        expected = f"({m},)" + f" or ({m}, {K})" * (K > 2)
        raise ValueError(f"offset: expected shape {expected}, got {offset.shape}")
    return offset


def _penalty(C, m, weights):
    """The l2 of `jitlogreg.fit`, 1 / (C S). The sum of weights may overflow float64, so it is scaled."""
    scale = 1.0 if weights is None else power_of_two_over(float(weights.max()))
    total = float(m if weights is None else np.sum(weights * scale))
    check_weight(total)
    l2 = scale / total / C
    if l2 == math.inf:
        raise ValueError(f"C: expected a number whose inverse is finite, got {C}")
    return l2


def _is_settled(fitted: Fit, max_iter):
    return fitted.converged or (fitted.n_iterations < max_iter and fitted.decrement <= FLAT)


def _warn(message, category):
    warnings.warn(message, category, stacklevel=2)

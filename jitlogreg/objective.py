"""`Objective`: J(w, b) as a function of θ = [w, b], bound to its data."""

import copy
import math
from typing import ClassVar

import numpy as np

from jitlogreg import row_passes, validation
from jitlogreg._docs import documented
from jitlogreg.evaluation import WEIGHT_RANGE, check_examples, check_weight, normalize, rescaled
from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.pickling import packed, unpacked
from jitlogreg.targets.base import Problem, layout
from jitlogreg.targets.csr import CSR
from jitlogreg.targets.dispatch import choose, has_hessian

# The most columns for a Hessian, which then has 32 MB; each of some threads needs 48 MB to add it up
HESSIAN_COLUMNS = 2000


@documented
class Objective:
    """J of `loss` as a function of θ = [w, b], bound to its data.

    J(θ) = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ. Binding checks the data and chooses the target. A call
    computes in float64, whatever dtype X has. It allocates little but its result, and several threads may make calls.

    Parameters
    ----------
    %(X)s
        m must be positive. X is not copied, and must not change while the objective is in use.
    %(y)s
    %(sample_weight)s
    %(l2)s
    fit_intercept : bool
        Whether θ ends with b; b is 0 otherwise.
    check_finite : bool
        Whether to refuse an X that contains NaN or infinity.
    link : {"sigmoid", "softmax"}
        With more than one output: K independent models, or one model of K classes.
    n_outputs : int
        K. θ is then (n + 1, K), raveled in C order, the rows of w before that of b; (n, K) without an intercept. A call
        returns the losses (K,) of independent models, and one loss of a softmax.
    %(offset_of_fit)s
    %(target)s

    Attributes
    ----------
    n_features, n_parameters : int
        n; and n + 1, or n without an intercept, times the number of outputs.
    shape, dtype : tuple of int, numpy.dtype
        Those of X.
    l2 : float
    target : str
        Where it runs.
    link, n_outputs : str, int
    has_hessian : bool
        Whether the target has a kernel for the Hessian, and X at most 2,000 columns. Of a softmax, at most 64 classes
        and 2,000 parameters; never of independent models.

    Raises
    ------
    %(raises)s

    Notes
    -----
    Binding costs one evaluation. A call costs about 4mn flops and one read of X; `hessian_vector` costs about 6mn and
    one read, `hessian` about mn² and one read. Accuracy is that of `loss_and_gradient` in float64.

    Pickles and deep copies give the same bits, in other processes too. They contain the numbers in X's order, without
    gaps. Of a `numpy.memmap` that is not copy-on-write, and of its views, they contain the file's name: the file is
    mapped again, read-only, and ValueError is raised if it has been written in the meantime. `copy.copy` shares the
    arrays. An objective on a GPU cannot be pickled, which raises TypeError.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[-1.0], [0.5], [2.0], [0.1]]), np.array([0, 1, 1, 0])
    >>> objective = jlr.Objective(X, y, l2=0.1)
    >>> loss, gradient = objective(np.zeros(objective.n_parameters))
    >>> round(loss, 6), gradient
    (0.693147, array([-0.425,  0.   ]))
    >>> objective.hessian_vector(np.zeros(2), np.array([1.0, 0.0]))
    array([0.42875, 0.1    ])
    >>> objective.hessian(np.zeros(2))
    array([[0.42875, 0.1    ],
           [0.1    , 0.25   ]])
    """

    # what makes an objective of more than one output, once it is there
    _of_outputs: ClassVar[type | None] = None

    def __new__(
        cls,
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
        """An objective of this class, or of its subclass for more than one output."""
        of_outputs = vars(cls).get("_of_outputs")
        return object.__new__(of_outputs if of_outputs and (link != "sigmoid" or n_outputs != 1) else cls)

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
        self._target, self._data = bind(X, y, sample_weight, offset, target=target)
        self._describe(self._data.X, self._target.name, l2, fit_intercept)
        self._problem = hold_problem(self._target, self._data)
        sums = self._sums_at_zero()
        check_examples(sums.weight, sums.valid, self._data)
        if self._data.sample_weight is not None and not WEIGHT_RANGE[0] <= sums.weight <= WEIGHT_RANGE[1]:
            self._data = self._data._replace(sample_weight=rescaled(self._data.sample_weight))
            self._problem = hold_problem(self._target, self._data)
            sums = self._sums_at_zero()
        check_weight(sums.weight)
        self.total_weight, self._at_zero = sums.weight, sums
        self.imbalance = self._imbalance(sums.db / sums.weight)
        self._bound = self._target.bind(self._problem, self.l2)
        if check_finite and not math.isfinite(sums.loss):  # 0 times NaN or infinity is NaN
            validation.check_finite(on_host(self._data.X))
        if check_finite:
            validation.check_finite_offset(offset)

    def _imbalance(self, db):
        """∂J/∂b at θ = 0 without the offset, given that with the offset."""
        if not self.has_intercept:
            return 0.0
        y, s, offset = self._data.y, self._data.sample_weight, self._data.offset
        return db if offset is None else row_passes.imbalance(on_host(y), None if s is None else on_host(s))

    def __getnewargs__(self):
        return None, None  # for copies and pickles, whose data is in the state

    def __copy__(self):
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self):
        if not isinstance(self._problem.X, (np.ndarray, CSR)):
            raise TypeError(
                "target: expected one that computes in the memory of the CPU to pickle or deep-copy an Objective, "
                f"got {self.target!r}: its arrays are on a GPU"
            )
        made_anew = {"_problem": None, "_target": None, "_bound": self._bound is not None}
        return packed({**self.__dict__, "_data": tuple(self._data), **made_anew})

    def __setstate__(self, state):
        self.__dict__.update(unpacked(state), _target=choose(state["target"]))
        X, y, sample_weight, _, _, frame, offset = self._data
        self._data = Problem.of(X, y, sample_weight, frame, offset)
        self._problem = hold_problem(self._target, self._data)
        self._bound = self._target.bind(self._problem, self.l2) if self._bound else None

    def _describe(self, X, target, l2, fit_intercept):
        self.l2 = validation.check_nonnegative("l2", l2)
        self.target, self.shape, self.dtype = target, X.shape, X.dtype
        self.n_features, self.has_intercept = X.shape[1], bool(fit_intercept)
        self.n_parameters = self.n_features + self.has_intercept
        self.link, self.n_outputs = "sigmoid", 1
        self.has_hessian = has_hessian(target) and self.n_features <= HESSIAN_COLUMNS
        self.has_shared_hessian = False
        self.has_mean_curvature = isinstance(X, (np.ndarray, CSR))
        self.n_numbers = X.nnz if type(X) is CSR else X.shape[0] * X.shape[1]
        self._bound = self._at_zero = self.frame = None
        self.penalty = self.l2

    def __call__(self, theta):
        """The objective and its gradient at θ.

        Parameters
        ----------
        theta : ndarray of float64, shape (n_parameters,)

        Returns
        -------
        loss : float
        gradient : ndarray of float64, shape (n_parameters,)
        """
        theta = validation.check_vector("theta", theta, self.n_parameters, "as n_parameters says")
        if self._bound is None:
            return self.from_sums(self.sums_of(theta), theta)
        gradient = np.empty(self.n_parameters)
        return self._bound(theta, gradient), gradient

    def sums_of(self, theta):
        """The sums at θ, which no penalty enters."""
        return self._sums(*self.split(theta), True)

    def from_sums(self, sums, theta):
        """The objective and its gradient at θ, from the sums there."""
        gradient = np.empty(self.n_parameters)
        result = normalize(sums, theta[: self.n_features], self.penalty, gradient[: self.n_features])
        if self.has_intercept:
            gradient[self.n_features] = result.db
        return result.loss, gradient

    def at_zero(self):
        """The objective and its gradient at θ = 0, which are known from the check of X."""
        if self._at_zero is None:
            return self(np.zeros(self.n_parameters))
        return self.from_sums(self._at_zero, np.zeros(self.n_parameters))

    def loss(self, theta):
        """The objective at θ, a float."""
        w, b = self._split("theta", theta)
        return normalize(self._sums(w, b, False), w, self.penalty, with_gradient=False).loss

    def gradient(self, theta):
        """The gradient at θ, an ndarray of float64, shape (n_parameters,)."""
        return self(theta)[1]

    def hessian_vector(self, theta, v):
        """The Hessian at θ times a vector: 1/S Σᵢ sᵢ σ(zᵢ)σ(−zᵢ) (xᵢ·v + c) [xᵢ, 1] + l2 [v, 0].

        Parameters
        ----------
        theta, v : ndarray of float64, shape (n_parameters,)
            c is the last number of v.

        Returns
        -------
        ndarray of float64, shape (n_parameters,)
        """
        w, b = self._split("theta", theta)
        v = validation.check_vector("v", v, self.n_parameters, "as n_parameters says")
        along = v if self.has_intercept else np.append(v, 0.0)
        return self.product_from_sums(*self._hessian_vector_sums(w, b, along), v)

    def product_from_sums(self, of_w, of_b, v):
        """The Hessian times v, from the sums of that product."""
        product = np.empty(self.n_parameters)
        product[: self.n_features] = of_w / self.total_weight + self.penalty * v[: self.n_features]
        if self.has_intercept:
            product[self.n_features] = of_b / self.total_weight
        return product

    def hessian(self, theta):
        """The Hessian at θ: 1/S Σᵢ sᵢ σ(zᵢ)σ(−zᵢ) [xᵢ, 1][xᵢ, 1]ᵀ + l2 diag(1, …, 1, 0).

        One read of X, and about mn² flops.

        Parameters
        ----------
        theta : ndarray of float64, shape (n_parameters,)

        Returns
        -------
        ndarray of float64, shape (n_parameters, n_parameters)
            Symmetric to the bit.

        Raises
        ------
        ValueError
            If X has more than 2,000 columns.
        TargetUnavailableError
            If the target is "cuda", which has no kernel for it yet.
        """
        w, b = self._split("theta", theta)
        if self.n_features > HESSIAN_COLUMNS:
            raise ValueError(
                f"X: expected at most {HESSIAN_COLUMNS} columns for a Hessian, got {self.n_features}: hessian_vector "
                "and the solver 'lbfgs' have no limit"
            )
        hessian = self._hessian_sums(w, b)[: self.n_parameters, : self.n_parameters] / self.total_weight
        diagonal = hessian.reshape(-1)[:: self.n_parameters + 1]
        diagonal[: self.n_features] += self.penalty
        return hessian

    def shared_hessian(self, theta):
        """The Hessian at θ: that of one output is shared by all."""
        return self.hessian(theta)

    def sample(self, rows):
        """The objective of every k-th example, of at least `rows` if there are as many; None if all weights are 0.

        X in C order is not copied.
        """
        X, y, s, *_, offset = self._data
        step = max(1, self.shape[0] // rows)
        part = copy.copy(self)
        part._bound = part._at_zero = None
        if step > 1:
            X = X[::step]
            y, s, offset = (None if v is None else np.ascontiguousarray(v[..., ::step]) for v in (y, s, offset))
            if type(X) is not CSR and layout(X.shape, X.strides, X.itemsize) is None:
                X = np.ascontiguousarray(X)
            part._data = Problem.of(X, y, s, self.frame, offset)
            part._problem = hold_problem(self._target, part._data)
            part.shape, part.total_weight = X.shape, float(len(X)) if s is None else np.sum(s, axis=-1)
        return part if np.all(part.total_weight > 0) else None

    def some_rows(self, count):
        """Every k-th row of X, about `count` of them, and their weights or None, as NumPy arrays; of a CSR, a CSR."""
        step = max(1, self.shape[0] // count)
        X, _, s, _ = self._rows_on_host(slice(None, None, step))
        return X, s

    def fingerprint(self):
        """A checksum that hardly any other data has."""
        return row_passes.fingerprint(self._data)

    def row_blocks(self):
        """Iterate over the examples some rows at a time: X, y, weights, and offsets or None, as NumPy arrays."""
        is_sparse = type(self._data.X) is CSR
        rows = max(1, min(row_passes.ROWS, row_passes.DENSE_NUMBERS // self.shape[1])) if is_sparse else row_passes.ROWS
        for first in range(0, self.shape[0], rows):
            X, y, s, offset = self._rows_on_host(slice(first, first + rows))
            X = X.toarray() if is_sparse else X
            yield X, y, np.ones(len(X)) if s is None else s, offset

    def _rows_on_host(self, which):
        """Some rows of X, y, the weights, and offsets, or None, as NumPy arrays."""
        X, y, s, *_, offset = self._data
        return [
            array.rows(which).to_numpy() if type(array) is DeviceArray else None if array is None else array[at]
            for array, at in ((X, which), (y, (..., which)), (s, (..., which)), (offset, (..., which)))
        ]

    def in_frame(self, columns):
        """The same objective as a function of θ in a frame's columns: its w is divided by the frame's scales."""
        framed = copy.copy(self)
        framed.frame, framed._bound, framed._at_zero = columns, None, None
        framed._into_frame(columns)
        # 0 · inf would be NaN
        framed.penalty = np.zeros(self.n_features) if self.l2 == 0 else self.l2 * columns.scale * columns.scale
        return framed

    def with_l2(self, l2):
        """The same objective with another penalty, in the caller's columns."""
        other = copy.copy(self)
        other.l2 = other.penalty = l2
        other._bound = None
        return other

    @property
    def sample_weight(self):
        """The weights, or None."""
        return self._data.sample_weight

    def with_weights(self, weights):
        """Independent models that differ from this one in their weights (K, m) alone. Nothing is read."""
        return self._of_outputs.of_weights(self, weights)

    # θ in the caller's columns and in those of the frame

    def theta_of(self, w, b):
        """θ from w and b, in the caller's columns."""
        return np.append(w, b)[: self.n_parameters]

    def split(self, theta):
        """w and b of θ, in its own columns."""
        return split(theta, self.n_features)

    def parameters(self, theta):
        """w and b in the caller's columns."""
        w, b = split(theta if self.frame is None else self.frame.to_caller(theta), self.n_features)
        return w.copy(), b

    def from_caller(self, theta):
        """θ in the columns of the frame."""
        return theta if self.frame is None else self.frame.from_caller(theta)

    def gradient_to_caller(self, gradient):
        """The gradient in the caller's columns."""
        return gradient if self.frame is None else self.frame.gradient_to_caller(gradient)

    def per_parameter(self, of_columns):
        """What is known of each column, for each parameter; 1 for an intercept."""
        return np.append(of_columns, np.ones(self.n_parameters - self.n_features))

    def _into_frame(self, columns):
        self._data, self._problem = self._data._replace(frame=columns), self._problem._replace(frame=columns)

    def smallest_doubt(self, theta, enough=math.inf):
        """The least of sᵢ σ(−z) over examples of label 1 and of sᵢ σ(z) over those of label 0, if they have weight.

        It is inf if there are none. Above `enough` it may be any number between `enough` and the least. Costs one read
        of X. Below about 1e-16 of the sum of weights it may be 0.
        """
        w, b = split(theta if self.frame is None else self.frame.to_caller(theta), self.n_features)
        if isinstance(self._problem.X, (np.ndarray, CSR)):
            return row_passes.smallest_doubt(self._target, self._data, w, b, enough)
        of_examples = {name: getattr(self._data, name) for name in ("y", "sample_weight")}
        of_examples = {name: None if array is None else on_host(array) for name, array in of_examples.items()}
        problem, y = self._problem._replace(**of_examples, frame=None), of_examples["y"]
        return row_passes.least_doubt(self._target.residuals(problem, w, b, np.empty(len(y))), problem, enough)

    def sums_at(self, w, b):
        """The sums for a step of a descent, with db = 0 if there is no intercept."""
        sums = self._sums(w, b, True)
        return sums if self.has_intercept else sums._replace(db=0.0)

    # what an objective over other data does otherwise

    def _sums(self, w, b, with_gradient):
        return self._target.sums(self._problem, w, b, with_gradient)

    def _hessian_vector_sums(self, w, b, v):
        return self._target.hessian_vector_sums(self._problem, w, b, v)

    def _hessian_sums(self, w, b):
        return self._target.hessian_sums(self._problem, w, b)

    def _sums_at_zero(self):
        return self._sums(np.zeros(self.n_features), 0.0, True)

    def mean_curvature(self):
        """The diagonal of the Hessian at 0, without weights and offsets. One read of X."""
        outputs = max(self.n_outputs, 2)  # the curvature of a softmax of K classes is (K − 1)/K², and that of a model ¼
        squares = self.per_parameter(row_passes.mean_squares(self._data.X, self.frame))
        return squares * (outputs - 1) / outputs**2 + self._penalty_of_each()

    def _penalty_of_each(self):
        """The penalty of each parameter."""
        return np.append(np.broadcast_to(self.penalty, self.n_features), np.zeros(int(self.has_intercept)))

    def root(self, theta):
        """The triangular R with RᵀR = S H, where H is the Hessian at θ. It is factored from the rows, not from H.

        One read of X, and about 2mn² flops on one thread.
        """
        return row_passes.add_weighted_rows(self._target, self._data, theta, self._root_of_penalty())

    def _root_of_penalty(self):
        R = np.zeros((self.n_parameters, self.n_parameters))
        diagonal = R.reshape(-1)[:: self.n_parameters + 1]
        diagonal[: self.n_features] = np.sqrt(self.total_weight * self.penalty)
        return R

    def _split(self, name, theta):
        theta = validation.check_vector(name, theta, self.n_parameters, "as n_parameters says")
        return theta[: self.n_features], float(theta[self.n_features]) if self.has_intercept else 0.0


@accepts_foreign_arrays
def bind(X, y, sample_weight=None, offset=None, *, target=None, may_be_empty=False):
    """The target, and the problem of the checked data, whose labels and weights are float64."""
    chosen = choose(target, X)
    order, ld = validation.check_matrix(X)
    X = X.without_ones() if type(X) is CSR else X
    y, s = validation.check_labels_and_weights(X, y, sample_weight, np.dtype(np.float64), may_be_empty)
    return [chosen, Problem(X, y, s, order, ld, None, validation.check_offset(offset, X, np.dtype(np.float64)))]


def hold_problem(target, data):
    """The problem, with its arrays where the target's calls find them."""
    return data._replace(**{name: held(target, getattr(data, name)) for name in ("X", "y", "sample_weight", "offset")})


def held(target, array):
    """An array where the target's calls find it; None stays None."""
    return None if array is None else target.hold(array)


def split(theta, n):
    """w, a view, and b, 0 if θ has none."""
    return theta[:n], float(theta[n]) if len(theta) > n else 0.0

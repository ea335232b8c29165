"""The objective J(w, b) and its gradient from sums over the examples, and `Objective`, which is bound to its data."""

import copy
import math
from typing import NamedTuple

import numpy as np

from jitlogreg import passes, validation
from jitlogreg._docs import documented
from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.pickling import packed, unpacked
from jitlogreg.targets.dispatch import TargetUnavailableError, choose
from jitlogreg.targets.base import layout
from jitlogreg.targets.base import Sums

# The most columns for a Hessian, which then has 32 MB; each of some threads needs 48 MB to add it up
HESSIAN_COLUMNS = 2000

# Sums of weights for which products with a weight stay in range whenever the mean does: for float64, and for float32
WEIGHT_RANGE, WEIGHT_RANGE_32 = (2.0**-512, 2.0**512), (2.0**-64, 2.0**64)


class Gradient(NamedTuple):
    """∂J/∂w, shape (n,) in w's dtype, and ∂J/∂b, a Python float."""

    dw: np.ndarray
    db: float


class LossAndGradient(NamedTuple):
    """J in nats per example, a Python float; ∂J/∂w, shape (n,) in w's dtype; ∂J/∂b, a Python float."""

    loss: float
    dw: np.ndarray
    db: float


def evaluate(kernels, X, y, sample_weight, w, b, with_gradient=True) -> Sums:
    """The sums over the examples, with a check of the labels and weights that the target has read.

    If the sums overflow or vanish, they are computed again with the weights times a power of two. The means stay the
    same.

    Raises
    ------
    ValueError
        If a label is outside [0, 1], or a weight is negative or not finite.
    """
    sums = kernels.sums(X, y, w, b, sample_weight, with_gradient)
    check_examples(sums.weight, sums.valid, y, sample_weight)
    if sample_weight is None or _within_range(sample_weight.dtype, sums.weight, sums.loss, sums.db, sums.dw):
        return sums
    return kernels.sums(X, y, w, b, rescaled(sample_weight), with_gradient)


def _within_range(dtype, weight, loss, db, dw):
    """Whether weighted sums in a dtype are in range, or zero because all weights are."""
    least, most = WEIGHT_RANGE if dtype.itemsize == 8 else WEIGHT_RANGE_32
    in_range = weight == 0 or least <= weight <= most
    return in_range and math.isfinite(loss) and math.isfinite(db) and bool(np.isfinite(on_host(dw)).all())


def rescaled(sample_weight):
    """Weights times the power of two that brings the largest between 1 and 2. Results depend only on their ratios."""
    on_cpu = on_host(sample_weight)
    _, exponent = math.frexp(float(on_cpu.max(initial=0.0)))
    scaled = np.ldexp(on_cpu, 1 - exponent)  # ldexp, since the power itself may be out of the dtype's range
    return sample_weight.from_numpy(scaled) if type(sample_weight) is DeviceArray else scaled


def power_of_two_over(largest):
    """The power of two that brings a number between 1 and 2, or as near as float64 can."""
    _, exponent = math.frexp(largest)
    return 2.0 ** min(1 - exponent, 1023)


def loss_and_gradient(kernels, X, y, sample_weight, w, b, l2, out) -> LossAndGradient:
    """`evaluate` and `finish` in one: a target may have both in one call for small data, sooner by 2 µs."""
    if hasattr(kernels, "loss_and_gradient"):
        dw = np.empty(w.shape, w.dtype) if out is None else out
        result = kernels.loss_and_gradient(X, y, w, b, sample_weight, l2, dw)
        if result is not None:
            loss, db, weight, valid = result
            check_examples(weight, valid, y, sample_weight)
            if sample_weight is None or _within_range(sample_weight.dtype, weight, loss, db, dw):
                check_weight(weight)
                return LossAndGradient(loss, dw, db)
    return finish(evaluate(kernels, X, y, sample_weight, w, b), w, l2, out)


def check_examples(weight, valid, y, sample_weight):
    """Raise ValueError for the first bad label or weight, if the target found one or the sum of weights overflows."""
    if not valid or not weight < math.inf:
        validation.check_values(y, sample_weight)


def check_weight(weight):
    """Raise ValueError if the sum of weights is not positive and finite."""
    if not 0 < weight < math.inf:
        raise ValueError(f"sample_weight: expected a sum that is positive and finite, got {weight}")


@np.errstate(all="ignore")
def finish(sums, w, l2, dw_out=None, with_gradient=True) -> LossAndGradient:
    """Means from sums, with the penalty: J = ΣsL/S + l2/2 ‖w‖², dw = Σs·dz·x/S + l2 w, db = Σs·dz/S.

    They are computed in float64 and rounded to w's dtype at the end; the intercept is not penalised. With a gradient,
    dw is in w's memory. In a frame l2 is an array with one penalty per column.

    Raises
    ------
    ValueError
        If the weights sum to 0 or overflow.
    """
    check_weight(sums.weight)
    dw = sums.dw / sums.weight
    loss = sums.loss / sums.weight
    if np.ndim(l2):
        dw += l2 * w
        loss += 0.5 * float(np.sum(l2 * w * w))
    elif l2:
        w_wide = on_host(w).astype(np.float64, copy=False)
        dw += l2 * w_wide
        loss += 0.5 * l2 * float(np.sum(w_wide * w_wide))  # pairwise; the order of a BLAS dot is unknown
    if not with_gradient:
        dw_out = dw
    elif type(w) is DeviceArray:
        dw = dw.astype(w.dtype, copy=False)
        dw_out = w.from_numpy(dw) if dw_out is None else dw_out.assign(dw)
    elif dw_out is None:
        dw_out = dw.astype(w.dtype, copy=False)
    else:
        dw_out[:] = dw
    return LossAndGradient(loss, dw_out, sums.db / sums.weight)


def norm(gradient):
    """The Euclidean norm, scaled if a square would overflow or vanish."""
    with np.errstate(all="ignore"):
        square = float(np.add.reduce(gradient * gradient))
    if 1e-250 < square < 1e250:
        return math.sqrt(square)
    largest = float(np.abs(gradient).max(initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    with np.errstate(all="ignore"):
        scaled = gradient / largest
        return largest * math.sqrt(float(np.sum(scaled * scaled)))


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
    %(target)s

    Attributes
    ----------
    n_features, n_parameters : int
        n; and n + 1, or n without an intercept.
    shape, dtype : tuple of int, numpy.dtype
        Those of X.
    l2 : float
    target : str
        Where it runs.
    has_hessian : bool
        Whether the target has a kernel for the Hessian, and X at most 2,000 columns.

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

    def __init__(self, X, y, *, sample_weight=None, l2=0.0, fit_intercept=True, check_finite=True, target=None):
        self._kernels, *given = bound(X, y, sample_weight, target=target)
        self._given = tuple(given)
        self._X, self._y, self._s = (_held(self._kernels, array) for array in given)
        self._describe(self._X, self._kernels.__name__.rpartition(".")[2], l2, fit_intercept)
        sums = self._kernels.sums(self._X, self._y, np.zeros(self.n_features), 0.0, self._s, True)
        check_examples(sums.weight, sums.valid, self._y, self._s)
        if self._s is not None and not WEIGHT_RANGE[0] <= sums.weight <= WEIGHT_RANGE[1]:
            self._given = *given[:2], rescaled(given[2])
            self._s = _held(self._kernels, self._given[2])
            sums = self._kernels.sums(self._X, self._y, np.zeros(self.n_features), 0.0, self._s, True)
        check_weight(sums.weight)
        self.total_weight, self._at_zero = sums.weight, sums
        self.imbalance = sums.db / sums.weight if self._has_b else 0.0
        if hasattr(self._kernels, "small_objective"):
            self._small = self._kernels.small_objective(self._X, self._y, self._s, self.l2)
        if check_finite and not math.isfinite(sums.loss):  # 0 times NaN or infinity is NaN
            validation.check_finite(on_host(self._X))

    def __copy__(self):
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self):
        if self.target == "cuda":
            raise TypeError(
                "target: expected 'cpu' or 'reference' to pickle or deep-copy an Objective, got 'cuda': its arrays "
                "are on a GPU"
            )
        # the function for small data contains addresses
        return packed({**self.__dict__, "_kernels": None, "_small": self._small is not None})

    def __setstate__(self, state):
        self.__dict__.update(unpacked(state), _kernels=choose(state["target"]))
        is_small, self._small = self._small, None
        if is_small:
            self._small = self._kernels.small_objective(self._X, self._y, self._s, self.l2)

    def _describe(self, X, target, l2, fit_intercept):
        self.l2 = validation.check_nonnegative("l2", l2)
        self.target, self.shape, self.dtype = target, X.shape, X.dtype
        self.n_features, self._has_b = X.shape[1], bool(fit_intercept)
        self.n_parameters = self.n_features + self._has_b
        self.has_hessian = target != "cuda" and self.n_features <= HESSIAN_COLUMNS
        self._small = self._at_zero = self.frame = None
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
        gradient = np.empty(self.n_parameters)
        if self._small is not None:
            theta = validation.check_vector("theta", theta, self.n_parameters, "as n_parameters says")
            return self._small(theta, gradient), gradient
        w, b = self._split("theta", theta)
        return self._finished(self._sums(w, b, True), w, gradient)

    def _finished(self, sums, w, gradient):
        result = finish(sums, w, self.penalty, gradient[: self.n_features])
        if self._has_b:
            gradient[self.n_features] = result.db
        return result.loss, gradient

    def at_zero(self):
        """The objective and its gradient at θ = 0, which are known from the check of X."""
        if self._at_zero is None:
            return self(np.zeros(self.n_parameters))
        return self._finished(self._at_zero, np.zeros(self.n_features), np.empty(self.n_parameters))

    def loss(self, theta):
        """The objective at θ, a float."""
        w, b = self._split("theta", theta)
        return finish(self._sums(w, b, False), w, self.penalty, with_gradient=False).loss

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
        along = v if self._has_b else np.append(v, 0.0)
        of_w, of_b = self._hessian_vector_sums(w, b, along)
        product = np.empty(self.n_parameters)
        product[: self.n_features] = of_w / self.total_weight + self.penalty * v[: self.n_features]
        if self._has_b:
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
        if self.target == "cuda":
            raise TargetUnavailableError(
                "target: expected 'cpu' or 'reference' for a Hessian, got 'cuda', which has none yet"
            )
        hessian = self._hessian_sums(w, b)[: self.n_parameters, : self.n_parameters] / self.total_weight
        diagonal = hessian.reshape(-1)[:: self.n_parameters + 1]
        diagonal[: self.n_features] += self.penalty
        return hessian

    def sample(self, rows):
        """The objective of every k-th example, of at least `rows` if there are as many; None if all weights are 0.

        X in C order is not copied.
        """
        step = max(1, len(self._y) // rows)
        part = copy.copy(self)
        part._small = part._at_zero = None
        if step > 1:
            part._X, part._y = self._X[::step], np.ascontiguousarray(self._y[::step])
            if layout(part._X.shape, part._X.strides, part._X.itemsize) is None:
                part._X = np.ascontiguousarray(part._X)
            if self._s is not None:
                part._s = np.ascontiguousarray(self._s[::step])
            part.shape, part._given = part._X.shape, (part._X, part._y, part._s)
            part.total_weight = float(len(part._y)) if part._s is None else float(np.sum(part._s))
        return part if part.total_weight > 0 else None

    def some_rows(self, count):
        """Every k-th row of X, about `count` of them, and their weights or None, as NumPy arrays."""
        step = max(1, self.shape[0] // count)
        X, _, s = self._rows_on_host(slice(None, None, step))
        return X, s

    def row_blocks(self):
        """Iterate over the examples some rows at a time: X, y and weights, as NumPy arrays."""
        for first in range(0, self.shape[0], passes.ROWS):
            X, y, s = self._rows_on_host(slice(first, first + passes.ROWS))
            yield X, y, np.ones(len(y)) if s is None else s

    def in_frame(self, columns):
        """The same objective as a function of θ in a frame's columns: its w is divided by the frame's scales."""
        framed = copy.copy(self)
        framed.frame, framed._small, framed._at_zero = columns, None, None
        # 0 · inf would be NaN
        framed.penalty = np.zeros(self.n_features) if self.l2 == 0 else self.l2 * columns.scale * columns.scale
        return framed

    def smallest_doubt(self, theta, enough=math.inf):
        """The least of sᵢ σ(−z) over examples of label 1 and of sᵢ σ(z) over those of label 0, if they have weight.

        It is inf if there are none. Above `enough` it may be any number between `enough` and the least. Costs one read
        of X. Below about 1e-16 of the sum of weights it may be 0.
        """
        w, b = split(theta if self.frame is None else self.frame.to_caller(theta), self.n_features)
        if self.target == "cuda":
            y, s = (None if array is None else on_host(array) for array in self._given[1:])
            return passes.least_doubt(self._kernels.forward(self._X, w, b, np.empty(len(y))), y, s, enough)
        return passes.smallest_doubt(self._kernels, *self._given, w, b, enough)

    def _rows_on_host(self, which):
        """Some rows of X, y and the weights, or None, as NumPy arrays."""
        return [
            array.rows(which).to_numpy() if type(array) is DeviceArray else None if array is None else array[which]
            for array in self._given
        ]

    def sums_at(self, w, b):
        """The sums for a step of a descent, with db = 0 if there is no intercept."""
        sums = self._sums(w, b, True)
        return sums if self._has_b else sums._replace(db=0.0)

    def _sums(self, w, b, with_gradient):
        return self._kernels.sums(self._X, self._y, w, b, self._s, with_gradient, self.frame)

    def _hessian_vector_sums(self, w, b, v):
        return self._kernels.hessian_vector_sums(self._X, w, b, v, self._s, self.frame)

    def _hessian_sums(self, w, b):
        return self._kernels.hessian_sums(self._X, w, b, self._s, self.frame)

    def root(self, theta):
        """The triangular R with RᵀR = S H, where H is the Hessian at θ. It is factored from the rows, not from H.

        One read of X, and about 2mn² flops on one thread.
        """
        return self._add_weighted_rows(theta, self._root_of_penalty())

    def _root_of_penalty(self):
        R = np.zeros((self.n_parameters, self.n_parameters))
        diagonal = R.reshape(-1)[:: self.n_parameters + 1]
        diagonal[: self.n_features] = np.sqrt(self.total_weight * self.penalty)
        return R

    def _add_weighted_rows(self, theta, R):
        X, _, s = self._given
        return passes.add_weighted_rows(self._kernels, X, s, theta, self.frame, R)

    def _split(self, name, theta):
        theta = validation.check_vector(name, theta, self.n_parameters, "as n_parameters says")
        return theta[: self.n_features], float(theta[self.n_features]) if self._has_b else 0.0


@accepts_foreign_arrays
def bound(X, y, sample_weight=None, *, target=None, may_be_empty=False):
    """The target and the checked data."""
    kernels = choose(target, X)
    validation.check_matrix(X)
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, np.dtype(np.float64), may_be_empty)
    return [kernels, X, y, sample_weight]


def _held(kernels, array):
    """An array in the target's memory, or None."""
    return kernels.hold(array) if array is not None and hasattr(kernels, "hold") else array


def split(theta, n):
    """w, a view, and b, 0 if θ has none."""
    return theta[:n], float(theta[n]) if len(theta) > n else 0.0

"""What a target is: the one page to read before writing another.

A target is a module that offers what `Target` says. It is given a `Problem`, which has been validated, and coefficients
w (n,) and b of one dtype; it gives back sums over the examples, not means. Division by Σ s, the penalty and the
intercept come once, in `targets.normalize`: so Dask, mini-batches and the plain call share one core.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from jitlogreg.targets.csr import CSR
from jitlogreg.targets.frame import Frame

# ---------------------------------------------------------------- X in memory

UNSUPPORTED, C, F = -1, 0, 1


@functools.lru_cache
def layout(shape, strides, itemsize):
    """A matrix's order and leading dimension; None where it has no unit stride, or its rows or columns overlap.

    Returns
    -------
    order : {"C", "F"}
        "C" where the features of an example are adjacent in memory, "F" where a feature's values are.
    ld : int
        The leading dimension: elements from one row (C) or one column (F) to the next.
    """
    order, ld = classify_layout(*shape, *strides, itemsize)
    return None if order == UNSUPPORTED else ("CF"[order], ld)


def classify_layout(m, n, row_stride, column_stride, itemsize):
    """What `layout` gives, of plain integers and in such, so that it compiles. Strides are in bytes."""
    if m * n == 0:
        return C, n
    if (n <= 1 or column_stride == itemsize) and (m <= 1 or row_stride >= n * itemsize):
        return C, row_stride // itemsize if m > 1 else n
    if (m <= 1 or row_stride == itemsize) and (n <= 1 or column_stride >= m * itemsize):
        return F, column_stride // itemsize if n > 1 else m
    return UNSUPPORTED, 0


# ---------------------------------------------------------------- what a target is given, and gives back


class Problem(NamedTuple):
    """The data of a call, validated.

    Attributes
    ----------
    X : ndarray, DeviceArray or CSR of float32 or float64, shape (m, n)
    y : ndarray or DeviceArray of w's dtype, shape (m,), contiguous; or None
        None where no labels are needed. Of K independent models also (K, m); of a softmax the numbers of classes (m,),
        or probabilities (K, m).
    sample_weight : like y, or None
        Of a softmax (m,).
    order : {"C", "F", "CSR"}
    ld : int
        The leading dimension of X; 0 of a CSR.
    frame : Frame, optional
        X stands for its columns in this frame.
    offset : like y, or None
        What is added to each example's margin; of K outputs also (K, m).
    """

    X: Any
    y: Any
    sample_weight: Any
    order: str
    ld: int
    frame: Frame | None = None
    offset: Any = None

    @classmethod
    def of(cls, X, y=None, sample_weight=None, frame=None, offset=None):
        """The problem of checked arrays."""
        order, ld = ("CSR", 0) if type(X) is CSR else layout(X.shape, X.strides, X.itemsize)
        return cls(X, y, sample_weight, order, ld, frame, offset)

    def of_model(self, k):
        """The problem of model k, with its own labels, weights and offsets, or those that all models share."""
        y, s, offset = (
            array if array is None or array.ndim == 1 else array[k]
            for array in (self.y, self.sample_weight, self.offset)
        )
        return self._replace(y=y, sample_weight=s, offset=offset)

    def rows(self, which):
        """The problem of some rows, a slice, of NumPy arrays; contiguous but for X."""
        y, s, offset = (
            None if array is None else np.ascontiguousarray(array[..., which])
            for array in (self.y, self.sample_weight, self.offset)
        )
        return Problem.of(self.X[which], y, s, self.frame, offset)


class Sums(NamedTuple):
    """Sums over examples: they add up over blocks of rows.

    Attributes
    ----------
    loss : float
        Σ sᵢ Lᵢ, in nats. Of K independent models, an array (K,).
    dw : ndarray of float64, shape (n,)
        Σ sᵢ dzᵢ xᵢ; zeros where no gradient was asked for. Of K outputs, shape (n, K).
    db : float
        Σ sᵢ dzᵢ. Of K outputs, an array (K,).
    weight : float
        Σ sᵢ. Of K independent models, an array (K,).
    valid : bool
        Whether every label lay in [0, 1] and no weight was negative: a target looks at them as they pass.
    """

    loss: Any
    dw: np.ndarray
    db: Any
    weight: Any
    valid: bool

    def of_model(self, k):
        """Those of one of K independent models."""
        loss, dw, db, weight, valid = self
        return Sums(float(loss[k]), np.ascontiguousarray(dw[:, k]), float(db[k]), float(weight[k]), valid)


class DescentSettings(NamedTuple):
    """What a target that descends by itself is told.

    Attributes
    ----------
    learning_rate : scalar of the descent's dtype
    n_iterations : int
    l2, tolerance : float
    each_step : bool
        Whether every step is to be reported.
    """

    learning_rate: np.floating
    n_iterations: int
    l2: float
    tolerance: float
    each_step: bool


class Steps(NamedTuple):
    """What a target that descends by itself has reached.

    Attributes
    ----------
    losses : list of float
        Of each step since the last such report; the last is that of `w` and `b`.
    gradient_norm : float
    w : ndarray of the descent's dtype, shape (n,)
    b : scalar of the descent's dtype
    weight : float
        Σ sᵢ.
    valid : bool
        Whether every label lay in [0, 1] and no weight was negative.
    """

    losses: list
    gradient_norm: float
    w: np.ndarray
    b: np.floating
    weight: float
    valid: bool


# ---------------------------------------------------------------- the protocol


class Target(Protocol):
    """Where kernels run. `mypy` holds every target to this, and so does a test."""

    name: str
    """What `target=` calls it."""

    def hold(self, array: Any) -> Any:
        """An array where the target's calls find it, for as long as somebody keeps what this returns."""

    def dot(self, u: Any, v: Any) -> float:
        """Σⱼ uⱼ vⱼ of two vectors, computed in float64."""

    def activate(self, function: str, problem: Problem, w: Any, b: Any, out: Any) -> Any:
        """Write a function of the margins, one of `pointwise.ACTIVATIONS`, to `out`, and return it."""

    def residuals(self, problem: Problem, w: Any, b: Any, out: Any) -> Any:
        """Write s·(σ(Xw + b) − y) to `out`, a NumPy array, and return it."""

    def sums(self, problem: Problem, w: Any, b: Any, with_gradient: bool) -> Sums:
        """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""

    def activate_outputs(self, function: str, problem: Problem, W: Any, b: Any, out: Any) -> Any:
        """Write a function of the K margins xW + b of each row to `out`, shape (m, K), and return it.

        One of `pointwise.ACTIVATIONS`, of each margin; or "softmax" or "log_softmax".
        """

    def sums_of_outputs(self, link: str, problem: Problem, W: Any, b: Any, with_gradient: bool) -> Sums:
        """`sums` of K independent models (link "sigmoid") or of K classes ("softmax"), of W (n, K) and b (K,)."""

    def hessian_vector_sums_of_outputs(
        self, link: str, problem: Problem, W: Any, b: Any, V: Any, c: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """`hessian_vector_sums` along V (n, K) and c (K,): Σ s·hₖ·x (n, K) and Σ s·hₖ (K,), with u = xV + c.

        hₖ = σ(zₖ)σ(−zₖ)·uₖ of independent models, aₖ (uₖ − Σⱼ aⱼuⱼ) of a softmax.
        """

    def hessian_vector_sums(self, problem: Problem, w: Any, b: Any, v: Any) -> tuple[np.ndarray, float]:
        """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""

    def hessian_sums(self, problem: Problem, w: Any, b: Any) -> np.ndarray:
        """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1).

        A target that `dispatch.has_hessian` does not name raises TargetUnavailableError.
        """

    def means(self, problem: Problem, w: Any, b: Any, l2: float, dw: Any) -> tuple[float, float, float, bool] | None:
        """`sums` and their normalization in one: loss, db, Σ s and `valid`, with the gradient written to dw.

        Means are taken, and dw is written, if the examples are valid and Σ s is positive and finite. None if the target
        has no such call.
        """

    def bind(self, problem: Problem, l2: float) -> Callable[[np.ndarray, np.ndarray], float] | None:
        """`means` as a function of θ = [w, b] or [w] and of where the gradient goes, which returns the loss.

        All is float64. None if the target has no such call, or nothing is saved by it.
        """

    def descend(self, problem: Problem, w: Any, b: Any, settings: "DescentSettings") -> Iterator[Steps] | None:
        """Gradient descent that stays on the target's device; None if the target has no such loop."""

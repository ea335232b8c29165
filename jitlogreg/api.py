"""The public calls: check, choose the target, call it, finish.

Every call takes X (m, n), one example per row, and reads it once; but a loss with its gradient reads X of 4096 columns
and more in F order twice on the CPU. For all of them:

- X is an ndarray or memmap, float32 or float64, C- or F-ordered or a view with one unit stride, taken as it is:
  no more than the up to seven rows that do not fill a group of eight are copied, and those in F order alone.
- Results come as what X is. PyTorch tensors on the CPU are taken as the arrays that they are. Arrays on a GPU of CuPy,
  PyTorch and Numba are taken where they lie, on the library's current stream, and the call runs there. The other arrays
  must be of X's library and on its device. y and sample_weight of another dtype are converted on the device; through
  the host, if they have to be rounded, or are Numba's, whose arrays know neither that nor a contiguous copy.
- NumPy arrays beside target="cuda" are copied: each call sends all of X over the bus to the GPU, at a fraction of the
  speed at which either memory is read. What is used more than once belongs there before.
- w (n,) has X's dtype, or is float64 beside a float32 X: then x is widened in registers and everything is float64.
- b is a real scalar, rounded to w's dtype.
- TypeError is raised for a type or dtype, ValueError for a shape, stride or value that cannot be served exactly, and
  `TargetUnavailableError` for a target that cannot run here. Nothing that is passed is changed, apart from `out`.

u is the rounding unit of w's dtype, 2⁻⁵³ or 2⁻²⁴. The margin z = Xw + b is within (n/8 + 16) u (Σ|xⱼwⱼ| + |b|).
"""

import numpy as np

from jitlogreg import objective, validation
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Gradient, LossAndGradient, evaluate, finish
from jitlogreg.targets.dispatch import choose


@accepts_foreign_arrays
def forward(
    X: np.ndarray, w: np.ndarray, b: float = 0.0, *, out: np.ndarray | None = None, target: str | None = None
) -> np.ndarray:
    """The probability of label 1: a = σ(Xw + b), σ(z) = 1 / (1 + e⁻ᶻ).

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n)
        One example per row; in C or F order, or a view with one unit stride. m = 0 and n = 0 are served.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
        The intercept.
    out : ndarray of w's dtype, shape (m,), optional
        Written to and returned; contiguous, sharing no memory with an input.
    target : {"cpu", "cuda", "reference"}, optional
        Where to run; the enclosing `use_target`, the environment, or where X lives, if left out.

    Returns
    -------
    a : ndarray of w's dtype, shape (m,)

    Raises
    ------
    TypeError
        For a type or dtype that cannot be served exactly.
    ValueError
        For a shape, a stride or a value that cannot; the message says which would.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    Within 2 ulp of σ of the margin, in both tails, down to the smallest normal number; 0 below. A NaN margin gives NaN.
    Costs about 2mn flops and one read of X, mn numbers.

    References
    ----------
    Systems 2 and 6 of the lecture notes: A = σ(wᵀX + b).

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X = np.array([[1.0, 2.0], [-3.0, 0.5]])
    >>> jlr.forward(X, np.array([0.5, 0.25]), 0.0).round(6)
    array([0.731059, 0.201813])
    """
    return choose(target, X).forward(*_forward_arguments(X, w, b, out))


@accepts_foreign_arrays
def log_forward(
    X: np.ndarray, w: np.ndarray, b: float = 0.0, *, out: np.ndarray | None = None, target: str | None = None
) -> np.ndarray:
    """The logarithm of the probability of label 1, in nats: log σ(Xw + b).

    Finite wherever it is representable, where log(forward(…)) is −inf from a margin of −709 (float64) or −88 (float32)
    and has lost its digits long before 0. The logarithm of the probability of label 0 is `log_forward(X, -w, -b)`.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n)
        One example per row; in C or F order, or a view with one unit stride. m = 0 and n = 0 are served.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
        The intercept.
    out : ndarray of w's dtype, shape (m,), optional
        Written to and returned; contiguous, sharing no memory with an input.
    target : {"cpu", "cuda", "reference"}, optional
        Where to run; the enclosing `use_target`, the environment, or where X lives, if left out.

    Returns
    -------
    log_a : ndarray of w's dtype, shape (m,)

    Raises
    ------
    TypeError
        For a type or dtype that cannot be served exactly.
    ValueError
        For a shape, a stride or a value that cannot; the message says which would.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    Within 2 ulp of log σ of the margin: min(z, 0) − log(1 + e^−|z|). Costs about 2mn flops and one read of X.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> jlr.log_forward(np.array([[700.0], [-700.0]]), np.array([1.0]))
    array([-9.85967654e-305, -7.00000000e+002])
    """
    return choose(target, X).log_forward(*_forward_arguments(X, w, b, out))


@accepts_foreign_arrays
def loss(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    target: str | None = None,
) -> float:
    """The objective J(w, b), in nats per example.

    J = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ, L(y, a) = −(y log a + (1 − y) log(1 − a)).

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0
        One example per row; in C or F order, or a view with one unit stride.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1; soft labels are allowed. Converted once where the dtype is not w's, which costs m numbers.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
        The intercept. It is not penalised.
    sample_weight : ndarray of bool, integer or float, shape (m,), optional
        Finite and at least 0, with a positive sum; 1 each if left out.
    l2 : float
        Penalty, at least 0.
    target : {"cpu", "cuda", "reference"}, optional
        Where to run; the enclosing `use_target`, the environment, or where X lives, if left out.

    Returns
    -------
    J : float

    Raises
    ------
    TypeError
        For a type or dtype that cannot be served exactly.
    ValueError
        For a shape, a stride or a value that cannot; the message says which would.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    Each example's loss is within 2 ulp for labels 0 and 1, within 4 ulp for others; their sum within 32 u Σ|terms|.
    Costs about 2mn flops and one read of X.

    References
    ----------
    System 3 of the lecture notes, with weights and a penalty.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([1, 0])
    >>> round(jlr.loss(X, y, np.zeros(2)), 6)  # log 2
    0.693147
    """
    kernels = choose(target, X)
    w, b, l2 = _parameters(X, w, b, l2)
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype)
    sums = evaluate(kernels, X, y, sample_weight, w, b, with_gradient=False)
    return finish(sums, w, l2, with_gradient=False).loss


@accepts_foreign_arrays
def gradient(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> Gradient:
    """The derivatives of the objective: dw = 1/S Σᵢ sᵢ dzᵢ xᵢ + l2 w and db = 1/S Σᵢ sᵢ dzᵢ, dz = a − y.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0
        One example per row; in C or F order, or a view with one unit stride.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1; soft labels are allowed. Converted once where the dtype is not w's, which costs m numbers.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
        The intercept. It is not penalised.
    sample_weight : ndarray of bool, integer or float, shape (m,), optional
        Finite and at least 0, with a positive sum; 1 each if left out.
    l2 : float
        Penalty, at least 0.
    out : ndarray of w's dtype, shape (n,), optional
        Receives dw and is returned as it; contiguous, sharing no memory with an input. Unchanged if the call raises.
    target : {"cpu", "cuda", "reference"}, optional
        Where to run; the enclosing `use_target`, the environment, or where X lives, if left out.

    Returns
    -------
    Gradient
        dw of w's dtype, shape (n,), and db, a Python float.

    Raises
    ------
    TypeError
        For a type or dtype that cannot be served exactly.
    ValueError
        For a shape, a stride or a value that cannot; the message says which would.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    dz is within 2 ulp for labels 0 and 1, and within 4 ulp of its larger term for others; each sum is within
    32 u Σ|terms|. Costs about 4mn flops and one read of X from memory, or two in F order from 4096 columns on.

    References
    ----------
    System 6 of the lecture notes: dw = 1/m X dZᵀ, db = 1/m Σ dz.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([1, 0])
    >>> jlr.gradient(X, y, np.zeros(2))
    Gradient(dw=array([-1.   , -0.375]), db=0.0)
    """
    return Gradient(*_loss_and_gradient(X, y, w, b, sample_weight, l2, out, target)[1:])


@accepts_foreign_arrays
def loss_and_gradient(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> LossAndGradient:
    """The objective and its derivatives from one read of X: J of `loss`, dw and db of `gradient`.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (m, n), m > 0
        One example per row; in C or F order, or a view with one unit stride.
    y : ndarray of bool, integer or float, shape (m,)
        Labels from 0 to 1; soft labels are allowed. Converted once where the dtype is not w's, which costs m numbers.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
        The intercept. It is not penalised.
    sample_weight : ndarray of bool, integer or float, shape (m,), optional
        Finite and at least 0, with a positive sum; 1 each if left out.
    l2 : float
        Penalty, at least 0.
    out : ndarray of w's dtype, shape (n,), optional
        Receives dw and is returned as it; contiguous, sharing no memory with an input. Unchanged if the call raises.
    target : {"cpu", "cuda", "reference"}, optional
        Where to run; the enclosing `use_target`, the environment, or where X lives, if left out.

    Returns
    -------
    LossAndGradient
        loss, a Python float, in nats per example; dw of w's dtype, shape (n,); db, a Python float.

    Raises
    ------
    TypeError
        For a type or dtype that cannot be served exactly.
    ValueError
        For a shape, a stride or a value that cannot; the message says which would.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    The same numbers, to the bit, as `loss` and `gradient`, and so the same bounds. Costs about 4mn flops and one read
    of X from memory: a block of rows serves the margins and the update while it lies in cache. In F order from 4096
    columns on a block would fit no cache, and X is read twice.

    References
    ----------
    Systems 3 and 6 of the lecture notes.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X, y = np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([1, 0])
    >>> result = jlr.loss_and_gradient(X, y, np.zeros(2), l2=0.1)
    >>> round(result.loss, 6), result.dw, result.db
    (0.693147, array([-1.   , -0.375]), 0.0)
    """
    return _loss_and_gradient(X, y, w, b, sample_weight, l2, out, target)


def _loss_and_gradient(X, y, w, b, sample_weight, l2, out, target) -> LossAndGradient:
    kernels = choose(target, X)
    inputs = X, y, w, sample_weight
    w, b, l2 = _parameters(X, w, b, l2)
    y, sample_weight = validation.check_labels_and_weights(X, y, sample_weight, w.dtype)
    if out is not None:
        names = "X", "y", "w", "sample_weight"
        validation.prepare_out(out, w.shape, w.dtype, dict(zip(names, inputs, strict=True)))
    return objective.loss_and_gradient(kernels, X, y, sample_weight, w, b, l2, out)


def _forward_arguments(X, w, b, out):
    validation.check_matrix(X)
    inputs = {"X": X, "w": w}
    w = validation.check_coefficients(w, X)
    b = validation.check_intercept(b, w.dtype)
    return X, w, b, validation.prepare_out(out, X.shape[:1], w.dtype, inputs)


def _parameters(X, w, b, l2):
    validation.check_matrix(X)
    w = validation.check_coefficients(w, X)
    return w, validation.check_intercept(b, w.dtype), validation.check_nonnegative("l2", l2)

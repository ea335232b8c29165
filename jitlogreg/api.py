"""The public calls: check, choose the target, call it, normalize.

Every call takes X (m, n), one example per row, and reads it once. Only a loss with its gradient reads X twice on the
CPU, if X is in F order and has 4096 columns or more. For all of them:

- X is an ndarray or memmap of float32 or float64, in C or F order or a view with one unit stride. It is not copied,
  except in F order the up to seven rows that do not fill a group of eight.
- Results have X's array type. PyTorch tensors on the CPU are viewed as arrays. CuPy, PyTorch and Numba arrays on a GPU
  are used in place, and the call runs there, on the library's current stream. The other arrays must belong to X's
  library and lie on its device. y, sample_weight and offset of another dtype are converted on the device. They are
  converted through the host if they must be rounded, or if they are Numba's, whose arrays have neither conversions nor
  contiguous copies.
- NumPy arrays are copied for target="cuda": each call sends all of X to the GPU, at a fraction of the bandwidth of
  either memory. Move data that is used more than once to the GPU first.
- w (n,) has X's dtype, or is float64 beside a float32 X. Then x is widened in registers, and everything is float64.
- b is a real scalar, rounded to w's dtype.
- An unsupported type or dtype raises TypeError, an unsupported shape, stride or value ValueError, and a target that
  cannot run here `TargetUnavailableError`. No argument is changed, except `out`.

u is the unit roundoff of w's dtype, 2⁻⁵³ or 2⁻²⁴. The margin z = Xw + b, plus an offset o, is within
(n/8 + 16) u (Σ|xⱼwⱼ| + |b| + |o|).
"""

import numpy as np

from jitlogreg import evaluation, outputs, validation
from jitlogreg._docs import documented
from jitlogreg.evaluation import Gradient, LossAndGradient
from jitlogreg.interop.device_array import DeviceArray
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.targets.dispatch import choose


@accepts_foreign_arrays
@documented
def forward(
    X: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    link: str = "sigmoid",
    offset: np.ndarray | None = None,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> np.ndarray:
    """The probability of label 1: a = σ(Xw + b), σ(z) = 1 / (1 + e⁻ᶻ).

    Parameters
    ----------
    %(X)s
        m = 0 and n = 0 are allowed.
    %(w)s
    %(b)s
    %(link)s
    %(offset)s
    %(out)s
    %(target)s

    Returns
    -------
    a : ndarray of w's dtype, shape (m,) or (m, K)
        Of K outputs σ of each margin, or with link="softmax" aₖ = exp(zₖ) / Σⱼ exp(zⱼ), whose rows sum to 1.

    Raises
    ------
    %(raises)s

    Notes
    -----
    Within 2 ulp of σ of the margin, and within 4 ulp of the softmax of the margins, in both tails, down to the smallest
    normal number; 0 below, where shares of other classes may be lost too. A NaN margin gives NaN. Costs about 2mnK
    flops and one read of X, which is mn numbers.

    References
    ----------
    Systems 2 and 6 of the lecture notes: A = σ(wᵀX + b).

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X = np.array([[1.0, 2.0], [-3.0, 0.5]])
    >>> jlr.forward(X, np.array([0.5, 0.25]), 0.0).round(6)
    array([0.731059, 0.201813])
    >>> jlr.forward(X, np.array([[1.0, 0.0, 0.5], [0.0, 0.5, 0.0]]), link="softmax").round(6)
    array([[0.383652, 0.383652, 0.232697],
           [0.031977, 0.82471 , 0.143313]])
    """
    return _activated(X, w, b, link, offset, "sigmoid", out, target)


@accepts_foreign_arrays
@documented
def log_forward(
    X: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    link: str = "sigmoid",
    offset: np.ndarray | None = None,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> np.ndarray:
    """The logarithm of the probability of label 1, in nats: log σ(Xw + b).

    It is finite wherever a number can represent it. log(forward(…)) is −inf below a margin of −709 (float64) or −88
    (float32), and loses its digits toward 0 much earlier. The logarithm of the probability of label 0 is
    `log_forward(X, -w, -b)`.

    Parameters
    ----------
    %(X)s
        m = 0 and n = 0 are allowed.
    %(w)s
    %(b)s
    %(link)s
    %(offset)s
    %(out)s
    %(target)s

    Returns
    -------
    log_a : ndarray of w's dtype, shape (m,) or (m, K)
        Of K outputs log σ of each margin, or with link="softmax" zₖ − log Σⱼ exp(zⱼ).

    Raises
    ------
    %(raises)s

    Notes
    -----
    Within 2 ulp of log σ of the margin: min(z, 0) − log(1 + e^−|z|). Of a softmax within 4 ulp, but that shares of
    other classes below the smallest normal number may be lost. Costs about 2mnK flops and one read of X.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> jlr.log_forward(np.array([[700.0], [-700.0]]), np.array([1.0]))
    array([-9.85967654e-305, -7.00000000e+002])
    """
    return _activated(X, w, b, link, offset, "log_sigmoid", out, target)


@accepts_foreign_arrays
@documented
def loss(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    link: str = "sigmoid",
    offset: np.ndarray | None = None,
    target: str | None = None,
) -> float:
    """The objective J(w, b), in nats per example.

    J = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ, L(y, a) = −(y log a + (1 − y) log(1 − a)).

    Parameters
    ----------
    %(X)s
        m must be positive; n = 0 is allowed.
    %(y)s
        Another dtype than w's is converted once, which takes m numbers of memory.
    %(w)s
    %(b)s
    %(sample_weight)s
    %(l2)s
    %(link)s
    %(offset)s
    %(target)s

    Returns
    -------
    J : float
        Of K independent models an array (K,).

    Raises
    ------
    %(raises)s

    Notes
    -----
    Each example's loss is within 2 ulp for labels 0 and 1, and within 4 ulp for others and of a softmax of class
    numbers; their sum is within 32 u Σ|terms|. Costs about 2mnK flops and one read of X.

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
    chosen = choose(target, X)
    if _has_outputs(w, link):
        arguments = {"X": X, "y": y, "w": w, "b": b, "sample_weight": sample_weight, "offset": offset}
        return outputs.loss_and_gradient(chosen, arguments, link, l2, None, with_gradient=False).loss
    problem, w, b = validation.check_problem(X, y, w, b, sample_weight, offset)
    l2 = validation.check_nonnegative("l2", l2)
    sums = evaluation.checked_sums(chosen, problem, w, b, with_gradient=False)
    return evaluation.normalize(sums, w, l2, with_gradient=False).loss


@accepts_foreign_arrays
@documented
def gradient(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    link: str = "sigmoid",
    offset: np.ndarray | None = None,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> Gradient:
    """The derivatives of the objective: dw = 1/S Σᵢ sᵢ dzᵢ xᵢ + l2 w and db = 1/S Σᵢ sᵢ dzᵢ, dz = a − y.

    Parameters
    ----------
    %(X)s
        m must be positive; n = 0 is allowed.
    %(y)s
        Another dtype than w's is converted once, which takes m numbers of memory.
    %(w)s
    %(b)s
    %(sample_weight)s
    %(l2)s
    %(link)s
    %(offset)s
    %(out_dw)s
    %(target)s

    Returns
    -------
    Gradient
        dw of w's dtype and shape, and db, a Python float; of K outputs an array (K,).

    Raises
    ------
    %(raises)s

    Notes
    -----
    dz is within 2 ulp for labels 0 and 1, and within 4 ulp of its larger term for others and of a softmax; each sum is
    within 32 u Σ|terms|. Costs about 4mnK flops and one read of X from memory; two in F order from 4096 columns on.

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
    return Gradient(*_loss_and_gradient(X, y, w, b, sample_weight, l2, link, offset, out, target)[1:])


@accepts_foreign_arrays
@documented
def loss_and_gradient(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    b: float = 0.0,
    *,
    sample_weight: np.ndarray | None = None,
    l2: float = 0.0,
    link: str = "sigmoid",
    offset: np.ndarray | None = None,
    out: np.ndarray | None = None,
    target: str | None = None,
) -> LossAndGradient:
    """The objective and its derivatives from one read of X: J of `loss`, dw and db of `gradient`.

    Parameters
    ----------
    %(X)s
        m must be positive; n = 0 is allowed.
    %(y)s
        Another dtype than w's is converted once, which takes m numbers of memory.
    %(w)s
    %(b)s
    %(sample_weight)s
    %(l2)s
    %(link)s
    %(offset)s
    %(out_dw)s
    %(target)s

    Returns
    -------
    LossAndGradient
        loss, a Python float, in nats per example; dw of w's dtype and shape; db, a Python float. Of K outputs db is an
        array (K,), and so is the loss of independent models.

    Raises
    ------
    %(raises)s

    Notes
    -----
    The results have the same bits as those of `loss` and `gradient`, and so the same bounds. Costs about 4mnK flops and
    one read of X from memory: a block of rows is used for the margins and for the gradient while it is in cache. In F
    order with 4096 columns or more, no such block fits a cache, and X is read twice.

    Each of K independent models has the bits of one alone; on X so wide that tasks own columns (from 32,768 columns of
    float64 on in C order, from 4,096 on in F order) they run one after another.

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
    return _loss_and_gradient(X, y, w, b, sample_weight, l2, link, offset, out, target)


def _activated(X, w, b, link, offset, name, out, target):
    chosen = choose(target, X)
    if _has_outputs(w, link):
        return outputs.activate(chosen, X, w, b, link, offset, name == "log_sigmoid", out)
    return chosen.activate(name, *validation.check_forward(X, w, b, offset, out))


def _loss_and_gradient(X, y, w, b, sample_weight, l2, link, offset, out, target) -> LossAndGradient:
    chosen = choose(target, X)
    if _has_outputs(w, link):
        arguments = {"X": X, "y": y, "w": w, "b": b, "sample_weight": sample_weight, "offset": offset}
        return outputs.loss_and_gradient(chosen, arguments, link, l2, out)
    problem, coefficients, b = validation.check_problem(X, y, w, b, sample_weight, offset)
    l2 = validation.check_nonnegative("l2", l2)
    if out is not None:
        inputs = {"X": X, "y": y, "w": w, "sample_weight": sample_weight, "offset": offset}
        validation.prepare_out(out, coefficients.shape, coefficients.dtype, inputs)
    return evaluation.loss_and_gradient(chosen, problem, coefficients, b, l2, out)


def _has_outputs(w, link):
    """Whether w has a column for each of K outputs; the link is checked where it has not."""
    if type(w) in (np.ndarray, DeviceArray) and w.ndim == 2:
        return True
    if link != "sigmoid":
        outputs.check_link_of_one(link)
    return False

"""K outputs from one read of X: checks, a target's sums, and their means, for W (n, K) and b (K,).

Each output is an independent model (link "sigmoid"), or one class of a softmax (link "softmax"). Labels and weights of
single models are kept with one row per model, (K, m), as targets read them.

Where X lies on a GPU, all that lies beside it comes to the host for its checks, and the target copies it there again.
"""

import math

import numpy as np

from jitlogreg import validation
from jitlogreg.evaluation import WEIGHT_RANGE, WEIGHT_RANGE_32, LossAndGradient
from jitlogreg.interop.device_array import DeviceArray, like, on_host
from jitlogreg.targets.base import Problem
from jitlogreg.targets.normalize import mean, penalized_gradient, penalized_loss

LINKS = ("sigmoid", "softmax")

# The activations of a link, and their logarithms, by the names that targets know them by
ACTIVATIONS = {("sigmoid", False): "sigmoid", ("sigmoid", True): "log_sigmoid"} | {
    ("softmax", False): "softmax",
    ("softmax", True): "log_softmax",
}

_ENCODE = ": np.unique(y, return_inverse=True)[1] makes class numbers"

# Examples whose probabilities are checked at a time
_ROWS = 1 << 16


def activate(target, X, W, b, link, offset, log, out):
    """σ(XW + b) of each model, or the softmax of each row; or its logarithm. Shape (m, K)."""
    inputs = {"X": X, "w": W, "offset": offset}
    W, b, offset = map(on_host, (W, b, offset))
    problem, coefficients, b = _check_model(X, W, b, link)
    problem = problem._replace(offset=check_offset(offset, X, coefficients.shape[1], coefficients.dtype))
    out = validation.prepare_out(out, (X.shape[0], coefficients.shape[1]), coefficients.dtype, inputs)
    return target.activate_outputs(ACTIVATIONS[link, log], problem, coefficients, b, out)


def loss_and_gradient(target, arguments, link, l2, out, with_gradient=True) -> LossAndGradient:
    """The objective of each model, or of the softmax, and its gradient.

    Parameters
    ----------
    target : Target
    arguments : dict
        X, y, w, b, sample_weight and offset, as the caller gave them.
    """
    X, others = arguments["X"], ("y", "w", "b", "sample_weight", "offset")
    y, W, b, sample_weight, offset = (on_host(arguments[name]) for name in others)
    problem, coefficients, b = _check_model(X, W, b, link)
    outputs = coefficients.shape[1]
    y, s = check_labels_and_weights(X, y, sample_weight, link, outputs, coefficients.dtype)
    l2 = check_penalty(l2, link, outputs)
    if out is not None:
        inputs = {name: arguments[name] for name in ("X", "y", "w", "sample_weight", "offset")}
        validation.prepare_out(out, coefficients.shape, coefficients.dtype, inputs)
    offset = check_offset(offset, X, outputs, coefficients.dtype)
    problem = problem._replace(y=y, sample_weight=s, offset=offset)
    sums = checked_sums(target, link, problem, coefficients, b, with_gradient)
    result = normalize(sums, coefficients, l2)
    loss, dw, db = result.loss, result.dw.astype(coefficients.dtype, copy=False), result.db
    if out is None:
        return LossAndGradient(like(X, loss), like(X, dw), like(X, db))
    if type(out) is DeviceArray:
        out.assign(dw)
    else:
        out[:] = dw
    return LossAndGradient(like(X, loss), out, like(X, db))


# ---------------------------------------------------------------- evaluation


def checked_sums(target, link, problem, W, b, with_gradient=True):
    """The sums over the examples, with a check of what the target has read; see `evaluation.checked_sums`."""
    sums = target.sums_of_outputs(link, problem, W, b, with_gradient)
    check_examples(sums, link, problem)
    s = problem.sample_weight
    if s is None or is_in_range(sums, s.dtype):
        return sums
    return target.sums_of_outputs(link, problem._replace(sample_weight=rescaled(s)), W, b, with_gradient)


def check_examples(sums, link, problem):
    """Raise ValueError for the first bad label or weight, if the target found one or a sum of weights overflows."""
    y, s = problem.y, problem.sample_weight
    if not sums.valid:
        validation.check_structure(problem.X)
    if not sums.valid or not np.all(sums.weight < math.inf):
        validation.check_values(None if link == "softmax" else y.T, None if s is None else s.T)


def is_in_range(sums, dtype):
    """Whether weighted sums in a dtype are in range, or zero because all weights are."""
    least, most = WEIGHT_RANGE if dtype.itemsize == 8 else WEIGHT_RANGE_32
    in_range = (sums.weight == 0) | ((least <= np.asarray(sums.weight)) & (sums.weight <= most))
    return bool(np.all(in_range)) and all(np.isfinite(part).all() for part in (sums.loss, sums.dw, sums.db))


def rescaled(sample_weight):
    """Weights times powers of two, one for each model. Results depend only on the ratios within a model."""
    _, exponent = np.frexp(sample_weight.max(axis=-1, keepdims=True, initial=0.0))
    return np.ldexp(sample_weight, 1 - exponent)


def check_weights(weights):
    """Raise ValueError if a sum of weights is not positive and finite."""
    for k, weight in enumerate(np.atleast_1d(weights)):
        if not 0 < weight < math.inf:
            of_output = f" for output {k}" if np.ndim(weights) else ""
            raise ValueError(f"sample_weight: expected a sum that is positive and finite, got {weight}{of_output}")


@np.errstate(all="ignore")
def normalize(sums, W, l2) -> LossAndGradient:
    """Means from sums, with the penalty: those of `evaluation.normalize` for each output, dw in float64.

    In a frame l2 is an array with a row for each column of X.
    """
    check_weights(sums.weight)
    loss, dw, db = (mean(total, sums.weight) for total in (sums.loss, sums.dw, sums.db))
    if np.any(l2):
        wide, per_model = W.astype(np.float64, copy=False), np.ndim(loss) > 0
        in_frame = np.ndim(l2) == 2
        weighted = l2 * wide if in_frame else wide
        squares = np.sum(np.ascontiguousarray((weighted * wide).T), axis=1)  # in the order of one model alone
        loss = penalized_loss(loss, 1.0 if in_frame else l2, squares if per_model else float(np.sum(squares)))
        dw = penalized_gradient(dw, l2, wide)
    return LossAndGradient(loss, dw, db)


# ---------------------------------------------------------------- checks


def check_link(link):
    """Check the name of a link."""
    if not isinstance(link, str) or link not in LINKS:
        raise ValueError(f"link: expected one of {', '.join(map(repr, LINKS))}, got {link!r}")
    return link


def check_link_of_one(link):
    """Check the link beside a w of one dimension."""
    if check_link(link) != "sigmoid":
        raise ValueError(
            f"link: expected 'sigmoid' beside w of shape (n,), got {link!r}: w of shape (n, K) has K classes"
        )


def check_outputs(link, outputs, name="w"):
    """Check the number of outputs."""
    least, what = (2, "classes") if link == "softmax" else (1, "column")
    if outputs < least:
        raise ValueError(f"{name}: expected at least {least} {what} for link={link!r}, got {outputs}")


def _check_model(X, W, b, link):
    """Check X, W and b. Return a problem without labels, and both in W's dtype."""
    check_link(link)
    order, ld = validation.check_matrix(X)
    W = validation.check_coefficients_of_outputs(W, X)
    check_outputs(link, W.shape[1])
    return Problem(X, None, None, order, ld), W, check_intercepts(b, W.shape[1], W.dtype)


def check_offset(offset, X, outputs, dtype):
    """Check offset, unless it is None: (m,) or (m, K). Return it in W's dtype, (m,) or with one row per model."""
    return None if offset is None else validation.check_per_output("offset", offset, (X.shape[0], outputs), dtype)


def number_of_classes(y):
    """K of a softmax, from class numbers or the columns of probabilities; checks little else."""
    validation.check_array("y", y)
    if y.ndim == 2:
        if y.shape[1] < 2:
            raise ValueError(f"y: expected at least 2 columns, one per class, got shape {y.shape}")
        return y.shape[1]
    if y.dtype.kind not in "biu" or y.size == 0:
        came = f"{y.dtype}" if y.size else f"shape {y.shape}"
        raise TypeError(
            f"y: expected class numbers, integers from 0 on, or probabilities of shape (m, K), got {came}{_ENCODE}"
        )
    i = int(np.argmax(y))
    if y[i] >= len(y) > 1:
        raise ValueError(f"y[{i}]: expected a class below {len(y)}, the number of examples, got {y[i]}{_ENCODE}")
    return max(2, int(y[i]) + 1)


def initial_model(X, W, b, outputs):
    """The start of a softmax's descent: copies of W and b, or zeros of X's dtype for so many classes."""
    W = np.zeros((X.shape[1], outputs), X.dtype) if W is None else validation.check_coefficients_of_outputs(W, X).copy()
    check_outputs("softmax", W.shape[1])
    return W, check_intercepts(b, W.shape[1], W.dtype)


def check_intercepts(b, outputs, dtype):
    """Check b: real numbers (K,), or one for all outputs. Return them in W's dtype."""
    if isinstance(b, (list, tuple)):
        came = validation.described(b)
        raise TypeError(f"b: expected a real number or a numpy.ndarray, got {came}: np.asarray(b) makes one")
    if not isinstance(b, np.ndarray):
        return np.full(outputs, validation.check_intercept(b, dtype), dtype)
    if b.shape != (outputs,):
        raise ValueError(f"b: expected shape ({outputs},), one intercept per column of w, got {b.shape}")
    if b.dtype.kind not in "iuf":
        raise TypeError(f"b: expected real numbers, got dtype {b.dtype}")
    return np.array([validation.check_intercept(number, dtype) for number in b], dtype)


def check_penalty(l2, link, outputs):
    """Check l2: a number, or for independent models also an array (K,)."""
    if isinstance(l2, (list, tuple)):
        raise TypeError(
            f"l2: expected a number or a numpy.ndarray, got {validation.described(l2)}: np.asarray(l2) makes one"
        )
    if not isinstance(l2, np.ndarray):
        return validation.check_nonnegative("l2", l2)
    if link == "softmax" or l2.shape != (outputs,):
        expected = "a number" if link == "softmax" else f"a number or an array of shape ({outputs},)"
        raise ValueError(f"l2: expected {expected}, got an array of shape {l2.shape}")
    return np.array([validation.check_nonnegative("l2", number) for number in l2])


def check_labels_and_weights(X, y, sample_weight, link, outputs, dtype, may_be_empty=False):
    """Check labels and weights. Return both in W's dtype, (m,) or with one row per model."""
    if not may_be_empty:
        validation.check_some_rows(X)
    m = X.shape[0]
    shape = m, outputs
    y = validation.check_per_output("y", y, shape, dtype) if link == "sigmoid" else _check_classes(y, shape, dtype)
    if sample_weight is not None:
        shape = m, outputs if link == "sigmoid" else None
        sample_weight = validation.check_per_output("sample_weight", sample_weight, shape, dtype)
    return y, sample_weight


def _check_classes(y, shape, dtype):
    """Class numbers (m,), or probabilities (m, K) whose rows sum to 1, in W's dtype; the latter one row per class."""
    m, outputs = shape
    validation.check_array("y", y)
    if y.shape == (m, outputs):
        _check_probabilities(y, outputs, dtype)
        return np.ascontiguousarray(y.T, dtype)
    if y.shape != (m,):
        raise ValueError(f"y: expected shape ({m},) of classes or ({m}, {outputs}) of probabilities, got {y.shape}")
    if y.dtype.kind not in "biu":
        expected = f"integers from 0 to {outputs - 1}, or shape ({m}, {outputs})"
        raise TypeError(f"y: expected {expected}, got {y.dtype}{_ENCODE}")
    wrong = (y < 0) | (y >= outputs) if y.dtype.kind != "b" else np.zeros(m, bool)
    if wrong.any():
        i = int(np.argmax(wrong))
        expected = f"a class from 0 to {outputs - 1}, as there are {outputs} outputs"
        raise ValueError(f"y[{i}]: expected {expected}, got {y[i]}{_ENCODE}")
    return y.astype(dtype)


def _check_probabilities(y, outputs, dtype):
    least_precise = max(np.finfo(d).eps for d in (dtype, y.dtype) if d.kind == "f")
    tolerance = 2 * least_precise * outputs  # 4 u K
    for first in range(0, len(y), _ROWS):
        block = y[first : first + _ROWS].astype(np.float64)
        totals = block.sum(axis=1)
        wrong = ~((block >= 0).all(axis=1) & (np.abs(totals - 1) <= tolerance))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(f"y[{first + i}]: expected probabilities of at least 0 that sum to 1, got {y[first + i]}")

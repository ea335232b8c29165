"""Margins, sums over examples and the gradient against exact arithmetic, and the roundings that the code allows them.

Every case is built so that what is right can be known exactly: products are split into two numbers without an error
(Dekker, 1971), and `math.fsum` rounds once. `measure.py` writes what this finds to docs/accuracy.md.
"""

import importlib
import math

import mpmath
import numpy as np

import jitlogreg as jlr
from jitlogreg.simd import LANES
from jitlogreg.targets.base import Problem
from jitlogreg.targets.cpu.column_major import ROWS_AT_ONCE
from jitlogreg.targets.cpu.column_panels import STRIPS_AT_ONCE
from jitlogreg.targets.cpu.epilogue import SEGMENT, SEGMENTS
from jitlogreg.targets.cpu.partition import Partition, partition

PAIRS = [("float64", "float64"), ("float32", "float32"), ("float32", "float64")]
COLUMNS = (1, 2, 3, 8, 28, 129, 1_000, 4_097, 100_000)
ROWS = (1, 7, 64, 1_000, 100_003, 10_000_000)
ARRANGEMENTS = (
    *("random", "growing", "shrinking", "one large first", "one large last", "cancelling", "scales 1e±12"),
    "always rounded down",
)


def unit(dtype):
    """u: 2⁻⁵³ of float64, 2⁻²⁴ of float32."""
    return float(np.finfo(dtype).eps) / 2


def numbers(arrangement, shape, rng, u, period):
    """Float64 numbers in an order that is hard on a sum along the last axis.

    u is the rounding unit of the sum, period the terms that an accumulator takes before it is emptied.
    """
    if arrangement == "always rounded down":  # each is a little less than what would change the sum that it is added to
        few = np.full(shape, 0.99 * u)
        for lane in range(min(LANES, shape[-1])):
            few[..., lane::period] = 1
        return few
    normal = rng.normal(size=shape)
    if arrangement == "growing":
        return np.sort(np.abs(normal), axis=-1) * np.logspace(-12, 0, shape[-1])
    if arrangement == "shrinking":
        return numbers("growing", shape, rng, u, period)[..., ::-1]
    if arrangement in ("one large first", "one large last"):
        normal *= 1e-8
        normal[..., 0 if arrangement.endswith("first") else -1] = 1e8
        return normal
    if arrangement == "cancelling":  # large ones that take each other away, and small ones that are left
        half = shape[-1] // 2
        normal[..., half : 2 * half] = -normal[..., :half] * 1e12
        normal[..., :half] *= 1e12
        normal[..., ::3] += 1
        return normal
    if arrangement == "scales 1e±12":
        return normal * 10.0 ** rng.uniform(-12, 12, shape)
    return normal


# ---------------------------------------------------------------- margins


def roundings_of_margins(n, order, itemsize, call):
    """The most roundings that one term of a margin meets, counted from the loops of the CPU's kernels.

    itemsize is that of X; call is "forward" or "sums". In C order a lane takes a term for every eight columns (for
    every 32 where rows are sequential, and a few left over), then lanes are joined in three halvings; in F order eight
    columns are a tree. Column panels have that for their own columns, and one more for each panel.
    """
    halvings, forward = LANES.bit_length() - 1, call == "forward"
    panel = Partition(*partition(1, n, itemsize, order == "F", forward)).panel or n
    of_parts = -(-n // panel)
    if order == "F":
        return panel // LANES + halvings + 1 + panel % LANES + 1 + of_parts
    if panel < n:
        return -(-panel // LANES) + halvings + 1 + of_parts
    together = -(-n // LANES) + halvings + 1
    sequential = n // (4 * LANES) + 4 + 2 + halvings + 1
    return max(together, sequential)


def exact_margins(X, w, b):
    """Each row of X times w, plus b, as lists of float64 whose exact sum it is."""
    X, w = X.astype(np.float64), w.astype(np.float64)
    high = X * w
    low = _product_error(X, np.broadcast_to(w, X.shape), high)
    return [[*high[i], *low[i], float(b)] for i in range(len(X))]


def _product_error(x, y, product):
    """x y − product, exactly, where nothing overflows or underflows (Dekker)."""
    x_high, x_low = _halves(x)
    y_high, y_low = _halves(y)
    return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _halves(x):
    shifted = x * (2.0**27 + 1)
    high = shifted - (shifted - x)
    return high, x - high


def computed_margins(X, w, b, call):
    """The margins that a call has computed, to the bit: far from 0, log σ(z) is z, and so is the loss.

    All is scaled by a power of two first, which changes no bit but those of the exponent, so that margins are large.
    `call` is "forward" (`log_forward`) or "sums" (`loss`, of one example at a time by its weight).
    """
    scale = w.dtype.type(2.0 ** (40 if w.dtype == np.float32 else 300))
    w, b = w * scale, float(b) * float(scale)
    if call == "forward":
        z = np.minimum(jlr.log_forward(X, w, b).astype(np.float64), 0)
        minus = np.minimum(jlr.log_forward(X, -w, -b).astype(np.float64), 0)
        margins = np.where(z < minus, z, -minus)
    else:
        margins = np.empty(len(X))
        for i in range(len(X)):
            only = np.zeros(len(X), w.dtype)
            only[i] = 1
            ones = np.ones(len(X), w.dtype)
            of_1, of_0 = (jlr.loss(X, y, w, b, sample_weight=only) for y in (ones, 0 * ones))
            margins[i] = -of_1 if of_1 > of_0 else of_0
    if np.any((np.abs(margins) < 1e3) & (margins != 0)):
        raise ArithmeticError("a margin is too small to be read back")
    return margins / float(scale)


def margin_error(n, dtypes, order, arrangement, call="forward", m=11, seed=0):
    """The largest error of a margin in units of u (Σ|xⱼwⱼ| + |b|)."""
    rng = np.random.default_rng([seed, n])
    X = np.asarray(numbers(arrangement, (m, n), rng, unit(dtypes[1]), n), dtypes[0], order=order)
    down = arrangement == "always rounded down"
    w = np.ones(n, dtypes[1]) if down else rng.normal(size=n).astype(dtypes[1])
    b = 0.0 if down else float(np.dtype(dtypes[1]).type(0.3))
    worst = 0.0
    for z, parts in zip(computed_margins(X, w, b, call), exact_margins(X, w, b), strict=True):
        size = math.fsum(abs(part) for part in parts[:n]) + abs(b)
        worst = max(worst, abs(math.fsum([*parts, -z])) / (unit(dtypes[1]) * size))
    return worst


# ---------------------------------------------------------------- sums over examples


def roundings_of_sums(what, order):
    """The most roundings that one term of a sum over examples meets before a compensated total takes it.

    Two more come with the term itself (its residual's or loss's 2 ulp count as four) and one with the total.
    """
    halvings = LANES.bit_length() - 1
    if what == "dw":
        if order == "F":
            return ROWS_AT_ONCE // LANES + halvings
        # two chains of four rows in a group of eight, their sum, and one for each group of a segment
        return LANES // 2 + 1 + SEGMENT // LANES
    if what == "dw, wide":
        return LANES // 2 + 1 + STRIPS_AT_ONCE
    lane = SEGMENT // LANES
    if what == "loss":  # of the product of 1 + e: two in each step, a tree of segments, the lanes, the logarithm
        tree = 2 * (SEGMENTS.bit_length() - 1)
        return 2 * lane + tree + 2 * halvings + 1
    return lane + SEGMENTS + halvings  # db, and Σs


def sum_errors(m, dtypes, order, arrangement, target="cpu", n=3, seed=0, margins=False):
    """The errors of Σ sL, Σ s·dz·x, Σ s·dz and Σ s in units of u Σ|terms|, given the margins.

    With margins of 0 each residual is ±1/2, so every term is a number of w's dtype and all sums are exact; else terms
    come from long double, which is exact enough for float32 and float64 alike.
    """
    rng = np.random.default_rng([seed, m])
    kernels = importlib.import_module(f"jitlogreg.targets.{target}")
    u, period = unit(dtypes[1]), ROWS_AT_ONCE if order == "F" else SEGMENT
    columns = np.stack([numbers(arrangement, (m,), rng, u, period) for _ in range(n)])
    X = np.asarray(columns.T, dtypes[0], order=order)
    w = np.zeros(n, dtypes[1])
    if margins:
        X[:, 0] = rng.uniform(-30, 30, m)
        w[0] = 1
    y = (rng.uniform(size=m) < (0 if arrangement == "always rounded down" else 0.5)).astype(dtypes[1])
    s = np.abs(numbers(arrangement, (m,), rng, u, period)).astype(dtypes[1]) if margins else None
    sums = kernels.sums(Problem.of(X, y, s), w, w.dtype.type(0), True)
    wide = np.longdouble if margins else np.float64
    z, label = X[:, 0].astype(wide) if margins else np.zeros(m), y.astype(wide)
    with np.errstate(all="ignore"):
        e = np.exp(-np.abs(z))
        dz = np.where((z < 0) == (label == 1), 1, e) / (1 + e) * np.where(label == 1, -1, 1)
        loss = np.log1p(e) + np.where(label == 1, np.maximum(-z, 0), np.maximum(z, 0))
    weight = np.ones(m) if s is None else s.astype(wide)
    errors = {
        "loss": _error(sums.loss, weight * loss, u),
        "db": _error(sums.db, weight * dz, u),
        "Σs": _error(sums.weight, weight, u),
    }
    errors["dw"] = max(_error(sums.dw[j], weight * dz * X[:, j].astype(wide), u) for j in range(n))
    return errors


def _error(got, terms, u):
    size = np.sum(np.abs(terms))
    if size == 0:
        return 0.0 if got == 0 else math.inf
    if terms.dtype == np.float64:
        difference = math.fsum([*terms.tolist(), -float(got)])
    else:
        difference = np.sum(terms) - np.longdouble(got)
    return float(abs(difference) / size / u)


# ---------------------------------------------------------------- the gradient is the derivative of the loss


def gradient_error(dtypes, order, target="cpu", m=40, n=4, scale=1.0, seed=0):
    """The largest error of dw and db beside the derivative of J, as a share of what the contract allows.

    J is written as the definition has it, with logarithms of the probabilities of both labels, and differentiated by
    mpmath's finite differences in 80 digits. What is allowed is u Σ sᵢ (32 |dzᵢ| + δᵢ/4) |xᵢⱼ| / S, where a margin may
    be off by δᵢ u and |dzᵢ| is the sum of its two terms, and 4 u of the penalty's share.
    """
    rng = np.random.default_rng(seed)
    X = np.asarray(scale * rng.normal(size=(m, n)), dtypes[0], order=order)
    w, b = rng.normal(size=n).astype(dtypes[1]), 0.25
    y, s = rng.uniform(size=m).astype(dtypes[1]), rng.uniform(0, 3, m).astype(dtypes[1])
    y[: m // 2] = y[: m // 2] > 0.5
    l2 = 0.125
    dw, db = jlr.gradient(X, y, w, b, sample_weight=s, l2=l2, target=target)
    with mpmath.workdps(80):
        rows = [[mpmath.mpf(float(x)) for x in row] for row in X]
        labels, weights = ([mpmath.mpf(float(v)) for v in values] for values in (y, s))
        theta = [mpmath.mpf(float(v)) for v in [*w, b]]

        def objective(parameters):
            total = mpmath.mpf(0)
            for x, label, weight in zip(rows, labels, weights, strict=True):
                z = sum((p * v for p, v in zip(parameters, x, strict=False)), parameters[-1])
                of_1, of_0 = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))  # 1 − a would round to 0
                total -= weight * (label * mpmath.log(of_1) + (1 - label) * mpmath.log(of_0))
            return total / sum(weights) + mpmath.mpf(l2) / 2 * sum(p * p for p in parameters[:-1])

        step, derivatives = mpmath.mpf(10) ** -25, []
        for j in range(n + 1):
            ahead, behind = list(theta), list(theta)
            ahead[j] += step
            behind[j] -= step
            derivatives.append((objective(ahead) - objective(behind)) / (2 * step))
    X, y, w, s = (array.astype(np.float64) for array in (X, y, w, s))
    u, S = unit(dtypes[1]), s.sum()
    z = X @ w + b
    far = (n / 8 + 16) * (np.abs(X) @ np.abs(w) + abs(b))
    size = (1 - y) / (1 + np.exp(-z)) + y / (1 + np.exp(z))
    terms = s * (32 * size + far / 4) / S
    allowed = [*(np.abs(X).T @ terms + 4 * l2 * np.abs(w)), terms.sum()]
    cases = zip([*dw, db], derivatives, allowed, strict=True)
    return max(float(abs(mpmath.mpf(float(got)) - exact)) / (u * most) for got, exact, most in cases)

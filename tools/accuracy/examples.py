"""The per-example functions, what each is called and bounded by, and their results at infinities and NaN.

`float32.py` and `float64.py` look for the margins where each is worst.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from jitlogreg import pointwise
from jitlogreg.simd import LANES, ones, where, zeros
from jitlogreg.targets.cpu.pointers import pointer_to
from jitlogreg.targets.cpu.vectors import load, splat, store


class Function(NamedTuple):
    """What is tried, the label that it is tried with, and its bound in ulp."""

    name: str
    label: str
    bound: int


FUNCTIONS = (
    Function("exp(−|z|)", "", 2),
    Function("log1p(|z|), |z| ≤ 1", "", 2),
    Function("σ(z)", "", 2),
    Function("log σ(z)", "", 2),
    Function("loss", "0", 2),
    Function("loss", "1", 2),
    Function("residual", "0", 2),
    Function("residual", "1", 2),
    Function("loss", "soft", 4),
    Function("residual", "soft", 4),
)
COUNT, LOG1P, SOFT_LOSS = len(FUNCTIONS), 1, 8

# Soft labels where something could cancel or vanish: every fourth margin has one of these, the others one at random
LABELS = np.array([0.5, 0.25, 0.75, 0.1, 0.999, 1e-30, 2.0**-24, 1 - 2.0**-24])


class Worst(NamedTuple):
    """The worst error of a function in ulp, the margin and the label where it was found, and how many were tried."""

    ulps: float
    margin: float
    label: float
    tried: int


@numba.njit(error_model="numpy")
def own_values(z, y, out):
    """`out[f, i]` is the package's result of FUNCTIONS[f] for margin z[i] and label y[i].

    Eight at a time, as on the CPU: the number of margins is a multiple of eight.
    """
    like = splat(z.dtype.type(0))
    zero, one = zeros(like), ones(like)
    zp, yp, count = pointer_to(z.ctypes.data, z.dtype.type(0)), pointer_to(y.ctypes.data, z.dtype.type(0)), z.size
    op = pointer_to(out.ctypes.data, z.dtype.type(0))
    for i in range(0, count, LANES):
        v = load(zp, i, like)
        size = abs(v)
        store(op, i, pointwise.exp_nonpositive(-size))
        store(op, count + i, pointwise.log1p_unit(where(size > one, zero, size)))
        store(op, 2 * count + i, pointwise.sigmoid(v))
        store(op, 3 * count + i, pointwise.log_sigmoid(v))
        loss, dz = pointwise.loss_and_residual(v, zero)
        store(op, 4 * count + i, loss)
        store(op, 6 * count + i, dz)
        loss, dz = pointwise.loss_and_residual(v, one)
        store(op, 5 * count + i, loss)
        store(op, 7 * count + i, dz)
        loss, dz = pointwise.loss_and_residual(v, load(yp, i, like))
        store(op, 8 * count + i, loss)
        store(op, 9 * count + i, dz)


def label_tried(f, soft):
    """The label that FUNCTIONS[f] was given, where the soft one was this."""
    label = FUNCTIONS[f].label
    return float(soft) if label == "soft" else float(label or 0)


def special_values(dtype):
    """Whether ±inf and NaN give what the contract says: a list of what does not, empty if all is well."""
    inf, nan = math.inf, math.nan
    z = np.array([inf, -inf, nan, -nan, 0.0, -0.0], dtype)
    z, wrong = np.resize(z, LANES), []
    for label in (0.0, 0.25, 1.0):
        own = np.empty((COUNT, LANES), dtype)
        own_values(z, np.full(LANES, label, dtype), own)
        expected = {
            2: [1, 0, nan, nan, 0.5, 0.5],
            3: [0, -inf, nan, nan, *[-math.log(2)] * 2],
            8: [inf if label < 1 else 0, inf if label > 0 else 0, nan, nan, *[math.log(2)] * 2],
            9: [1 - label, -label, nan, nan, *[0.5 - label] * 2],
        }
        for f, values in expected.items():
            wanted = np.resize(np.array(values, dtype), LANES)
            same = np.isclose(own[f], wanted, rtol=4 * np.finfo(dtype).eps, atol=0, equal_nan=True)
            wrong += [f"{FUNCTIONS[f].name} at {z[i]}: {own[f, i]}" for i in np.flatnonzero(~same)]
    return wrong

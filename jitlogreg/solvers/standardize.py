"""The centre and the spread of the columns, and whether a fit must compute in them.

They come from some rows: a centre need not be the mean, nor a scale the deviation, to take from a column the digits
that all its values share. What they decide is how much is lost to rounding, not where the minimum lies.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.targets.frame import Frame

# Rows that are looked at: the mean of so many is within a tenth of the deviation
ROWS = 1024

# From a centre of so many deviations on, columns are centred. A Hessian scaled to ones on its diagonal has the
# condition 4 · 1024² then, of which Newton's steps keep nine digits
FAR = 1024.0

# Between these a column's unit is left as it is: squares of its values, and their reciprocals, are far from float64's
# limits
UNITS = 2.0**-64, 2.0**64

# Powers of two beyond which a scale would leave float64
LARGEST_EXPONENT = 1000


class Standard(NamedTuple):
    """What the columns look like.

    Attributes
    ----------
    frame : Frame
    size : ndarray of float64, shape (n,)
        The root mean square of each column.
    spread : ndarray of float64, shape (n,)
        The deviation of each column in the frame, between ½ and 2 unless a penalty weighs more; 1 where it is 0.
    matters : bool
        Whether plain columns would lose too many digits.
    """

    frame: Frame
    size: np.ndarray
    spread: np.ndarray
    matters: bool


@np.errstate(all="ignore")
def standard(X, sample_weight, *, l2, has_intercept):
    """The `Standard` of some rows and their weights, or None for equal ones."""
    X = np.array(X, dtype=np.float64, order="C")
    share = np.full(len(X), 1 / len(X)) if sample_weight is None else sample_weight / np.max(sample_weight, initial=0.0)
    if not np.isfinite(share).all():  # none of these rows has weight
        share = np.ones(len(X))
    share = (share / np.sum(share))[:, np.newaxis]
    mean = np.where(X.max(axis=0) == X.min(axis=0), X[0], _mean(X, share))  # of equal numbers, but for rounding
    centre = mean if has_intercept else np.zeros_like(mean)
    deviation = _root_mean_square(X - centre, share)
    unit = np.hypot(deviation, 2 * math.sqrt(l2))  # the curvature of a loss is ¼
    unit = np.where(unit > 0, unit, np.abs(mean))
    scale = np.ldexp(1.0, -_exponents(unit))
    far = np.abs(centre) > FAR * deviation
    odd = (unit > 0) & ((unit < UNITS[0]) | (unit > UNITS[1]))
    spread = deviation * scale
    return Standard(
        Frame.of(centre, scale),
        np.hypot(mean, deviation),
        np.where(spread > 0, spread, 1.0),
        bool(np.any(far | odd)),
    )


def _exponents(unit):
    """The power of two that is next to each unit; 0 for 0."""
    nearest = np.rint(np.log2(np.where(unit > 0, unit, 1.0)))
    return np.clip(nearest, -LARGEST_EXPONENT, LARGEST_EXPONENT).astype(np.intp)


def _mean(X, share):
    largest = np.abs(X).max(axis=0, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    return largest * np.sum(share * (X / largest), axis=0)


def _root_mean_square(X, share):
    largest = np.abs(X).max(axis=0, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    return largest * np.sqrt(np.sum(share * np.square(X / largest), axis=0))

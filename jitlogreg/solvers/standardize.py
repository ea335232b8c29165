"""The centre and the spread of the columns, and whether a fit must compute in them.

They come from some rows: a centre need not be the mean, nor a scale the deviation, to take from a column the digits
that all its values share. What they decide is how much is lost to rounding, not where the minimum lies.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.targets.frame import Frame

# Rows that are looked at: the mean of so many is within half a deviation, and to look takes 40 µs with 30 columns
ROWS = 64

# The deviation, for a mean of 1, that the roundings of a mean of equal numbers may look like
SAME = 2.0**-40

# Deviations of which nothing over- or underflows
SQUARES = 1e-140, 1e140

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
    mean, centre, deviation = _moments(X, _shares(len(X), sample_weight), has_intercept)
    if not np.all((deviation > SQUARES[0]) & (deviation < SQUARES[1]) & (deviation > SAME * np.abs(mean))):
        largest = np.abs(X).max(axis=0, initial=0.0)
        largest = np.where(largest > 0, largest, 1.0)
        moments = _moments(X / largest, _shares(len(X), sample_weight), has_intercept)
        mean, centre, deviation = (largest * moment for moment in moments)
        # the mean of equal numbers is theirs, but for rounding
        is_constant = X.max(axis=0) == X.min(axis=0)
        mean = np.where(is_constant, X[0], mean)
        if has_intercept:
            centre, deviation = mean, np.where(is_constant, 0.0, deviation)
    unit = _hypotenuse(deviation, 2 * math.sqrt(l2)) if l2 else deviation  # the curvature of a loss is ¼
    unit = np.where(unit > 0, unit, np.abs(mean))
    # a column that is the same in these rows may differ in others; if not, its Hessian has no Cholesky factor
    far = (deviation > 0) & (np.abs(centre) > FAR * deviation)
    odd = (unit > 0) & ((unit < UNITS[0]) | (unit > UNITS[1]))
    scale = np.ldexp(1.0, -_exponents(unit))
    spread = deviation * scale
    return Standard(
        Frame.of(centre, scale),
        _hypotenuse(np.abs(mean), deviation),
        np.where(spread > 0, spread, 1.0),
        bool(np.any(far | odd)),
    )


def _shares(m, sample_weight):
    """Each row's share of the weight, shape (m, 1); equal ones where none of these rows has any."""
    if sample_weight is None or not np.any(sample_weight > 0):
        return np.full((m, 1), 1 / m)
    shares = sample_weight / np.max(sample_weight)
    return (shares / np.sum(shares))[:, np.newaxis]


def _moments(X, shares, has_intercept):
    """The mean of each column; the centre, which is 0 without an intercept; and the deviation from that."""
    mean = np.sum(shares * X, axis=0)
    centre = mean if has_intercept else np.zeros_like(mean)
    off = X - centre
    return mean, centre, np.sqrt(np.sum(shares * off * off, axis=0))


def _exponents(unit):
    """The power of two that is next to each unit; 0 for 0."""
    fraction, exponent = np.frexp(np.where(unit > 0, unit, 1.0))
    return np.clip(exponent - (fraction < math.sqrt(0.5)), -LARGEST_EXPONENT, LARGEST_EXPONENT)


def _hypotenuse(a, b):
    """√(a² + b²) of numbers of at least 0, by operations that round alike everywhere, as libm's hypot does not."""
    longer = np.maximum(a, b)
    share = np.minimum(a, b) / np.where(longer > 0, longer, 1.0)
    return longer * np.sqrt(1 + share * share)

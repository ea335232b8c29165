"""The centre and the spread of the columns, and whether a fit must compute in a frame of them.

They come from a few rows. A centre need not be the mean, nor a scale the deviation, to remove the digits that all
values of a column share. They decide how much is lost to rounding, not where the minimum is.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.targets.csr import CSR
from jitlogreg.targets.frame import Frame

# Rows that are read: the mean of so many is within half a deviation, and reading them takes 40 µs with 30 columns
ROWS = 64

# A deviation below this share of the mean may be nothing but the roundings of a mean of equal numbers
MIN_RELATIVE_DEVIATION = 2.0**-40

# Squares of deviations in this range neither overflow nor underflow
SAFE_DEVIATIONS = 1e-140, 1e140

# Columns whose centre is more deviations from 0 are centred. A Hessian scaled to a unit diagonal then has the condition
# 4 · 1024², of which Newton's steps keep nine digits
MAX_CENTRE = 1024.0

# Columns of a unit in this range are not scaled: squares of their values, and reciprocals of these, are far from
# float64's limits
UNSCALED_UNITS = 2.0**-64, 2.0**64

# The largest exponent of a scale: larger ones would leave float64
MAX_EXPONENT = 1000


class ColumnStatistics(NamedTuple):
    """What the columns look like.

    Attributes
    ----------
    frame : Frame
    rms : ndarray of float64, shape (n,)
        The root mean square of each column.
    spread : ndarray of float64, shape (n,)
        The deviation of each column in the frame, between ½ and 2 unless a penalty weighs more; 1 where it is 0.
    needs_frame : bool
        Whether the columns as they are would lose too many digits.
    """

    frame: Frame
    rms: np.ndarray
    spread: np.ndarray
    needs_frame: bool


@np.errstate(all="ignore")
def column_statistics(X, sample_weight, *, l2, has_intercept):
    """The `ColumnStatistics` of some rows and their weights, or None for equal weights."""
    if type(X) is CSR:
        return _of_sparse(X, sample_weight, l2=l2, has_intercept=has_intercept)
    X = np.array(X, dtype=np.float64, order="C")
    mean, centre, deviation = _robust_moments(X, _weight_shares(len(X), sample_weight), has_intercept)
    unit = _hypotenuse(deviation, 2 * math.sqrt(l2)) if l2 else deviation  # the curvature of a loss is ¼
    unit = np.where(unit > 0, unit, np.abs(mean))
    # a column that is constant in these rows may vary in others; if not, its Hessian has no Cholesky factor
    is_far = (deviation > 0) & (np.abs(centre) > MAX_CENTRE * deviation)
    is_odd = (unit > 0) & ((unit < UNSCALED_UNITS[0]) | (unit > UNSCALED_UNITS[1]))
    scale = np.ldexp(1.0, -_nearest_exponent(unit))
    spread = deviation * scale
    return ColumnStatistics(
        Frame.of(centre, scale),
        _hypotenuse(np.abs(mean), deviation),
        np.where(spread > 0, spread, 1.0),
        bool(np.any(is_far | is_odd)),
    )


def _of_sparse(X, sample_weight, **described):
    """The statistics of the columns that have numbers in these rows. Others are 0 there, and stay as they are."""
    n, found = X.shape[1], np.unique(X.stored()[1])
    dense = X.of_columns(found).toarray()
    some = column_statistics(dense, sample_weight, **described)
    centre, scale, rms, spread = np.zeros(n), np.ones(n), np.zeros(n), np.ones(n)
    centre[found], scale[found], rms[found], spread[found] = some.frame.centre, some.frame.scale, some.rms, some.spread
    return ColumnStatistics(Frame.of(centre, scale), rms, spread, some.needs_frame)


def column_variances(X):
    """The variance of each column of some rows; of a CSR, of those columns that have numbers there."""
    if type(X) is CSR:
        X = X.of_columns(np.unique(X.stored()[1])).toarray()
    return np.var(X.astype(np.float64), axis=0)


def _weight_shares(m, sample_weight):
    """Each row's share of the weight, shape (m, 1); equal shares where none of these rows has any."""
    if sample_weight is None or not np.any(sample_weight > 0):
        return np.full((m, 1), 1 / m)
    shares = sample_weight / np.max(sample_weight)
    return (shares / np.sum(shares))[:, np.newaxis]


def _robust_moments(X, shares, has_intercept):
    """The moments of each column, from columns divided by their largest value where squares would leave float64."""
    mean, centre, deviation = _moments(X, shares, has_intercept)
    is_safe = (deviation > SAFE_DEVIATIONS[0]) & (deviation < SAFE_DEVIATIONS[1])
    if np.all(is_safe & (deviation > MIN_RELATIVE_DEVIATION * np.abs(mean))):
        return mean, centre, deviation
    largest = np.abs(X).max(axis=0, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    mean, centre, deviation = (largest * moment for moment in _moments(X / largest, shares, has_intercept))
    # the mean of equal numbers is their value, but for rounding
    is_constant = X.max(axis=0) == X.min(axis=0)
    mean = np.where(is_constant, X[0], mean)
    if has_intercept:
        centre, deviation = mean, np.where(is_constant, 0.0, deviation)
    return mean, centre, deviation


def _moments(X, shares, has_intercept):
    """The mean of each column; the centre, which is 0 without an intercept; and the deviation from the centre."""
    mean = np.sum(shares * X, axis=0)
    centre = mean if has_intercept else np.zeros_like(mean)
    off = X - centre
    return mean, centre, np.sqrt(np.sum(shares * off * off, axis=0))


def _nearest_exponent(unit):
    """The exponent of the power of two nearest to each unit; 0 for 0."""
    fraction, exponent = np.frexp(np.where(unit > 0, unit, 1.0))
    return np.clip(exponent - (fraction < math.sqrt(0.5)), -MAX_EXPONENT, MAX_EXPONENT)


def _hypotenuse(a, b):
    """√(a² + b²) of numbers of at least 0, by operations that round alike on every CPU; libm's hypot does not."""
    longer = np.maximum(a, b)
    ratio = np.minimum(a, b) / np.where(longer > 0, longer, 1.0)
    return longer * np.sqrt(1 + ratio * ratio)

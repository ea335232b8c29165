"""Passes over the examples in NumPy, one row block at a time: a fit rarely needs them, and no target has kernels."""

import math
import zlib

import numpy as np

from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.targets.csr import CSR

# Rows of a block: their temporaries fit a cache where X has up to about 30 columns
ROWS = 8192

# Numbers of a block of sparse rows that is made dense, and of one that stays sparse
DENSE_NUMBERS, SPARSE_NUMBERS = 1 << 22, 1 << 18

# Rows of a block whose activations fit L2
FORWARD_ROWS = 1 << 16

# Numbers of X that a fingerprint looks at
FINGERPRINT_NUMBERS = 1 << 15

# What roundings leave of a bound
BELOW_BOUND = 0.99

# Rows of a block that is factored: so many numbers in all, but no fewer than so many rows for each parameter
QR_NUMBERS, QR_ROWS_PER_PARAMETER = 1 << 12, 4


def smallest_doubt(target, data, w, b, enough):
    """The `least_doubt` at w and b of a problem in NumPy arrays, as its columns are; they are read once."""
    data, least, room = data._replace(frame=None), math.inf, np.empty(min(len(data.y), FORWARD_ROWS))
    for rows in _row_blocks(data.X, FORWARD_ROWS):
        block = data.rows(rows)
        least = min(least, least_doubt(target.residuals(block, w, b, room[: len(block.y)]), block, enough))
    return least


def least_doubt(residuals, data, enough):
    """The smallest |residual| of examples with weight and a label of 0 or 1; inf if there are none.

    That is s·σ(−z) for label 1 and s·σ(z) for label 0. Any number above `enough` where the smallest is larger than
    `enough`. The residuals are overwritten.
    """
    doubt = np.abs(residuals, out=residuals)
    least = float(doubt.min(initial=math.inf))
    if least > enough:  # soft labels and weights of 0 may be among these, and only lower the minimum
        return least
    is_hard = (data.y == 0) | (data.y == 1)
    if data.sample_weight is not None:
        is_hard &= data.sample_weight > 0
    return float(np.min(doubt, where=is_hard, initial=math.inf))


def fingerprint(data):
    """A checksum of some rows of X, and of the labels, weights and offsets of all examples."""
    X, found = data.X, 0
    m, n = X.shape
    some = slice(None, None, max(1, m // max(16, FINGERPRINT_NUMBERS // max(n, 1))))
    rows = X.rows(some).to_numpy() if type(X) is DeviceArray else X[some]
    for array in (*(rows.arrays if type(X) is CSR else (rows,)), data.y, data.sample_weight, data.offset):
        if array is not None:
            found = zlib.crc32(np.ascontiguousarray(on_host(array)).tobytes(), found)
    return found


def smallest_doubts(target, data, W, b):
    """The smallest doubt of each of K independent models, in a problem's frame if it has one. One read of X."""
    least, K = np.full(len(b), math.inf), len(b)
    for rows in _row_blocks(data.X, max(1, FORWARD_ROWS // K)):
        block = data.rows(rows)
        opposite = block if block.offset is None else block._replace(offset=-block.offset)
        upper, lower = (
            target.activate_outputs("sigmoid", problem, *at, np.empty((len(block.X), K)))
            for problem, at in ((block, (W, b)), (opposite, (-W, -b)))
        )
        y, s = block.y, block.sample_weight
        doubts = np.where(y == 1, lower.T, np.where(y == 0, upper.T, math.inf))
        if s is not None:
            doubts = np.where(s > 0, s * doubts, math.inf)
        least = np.minimum(least, np.min(doubts, axis=1, initial=math.inf))
    return least.tolist()


class RowNorms:
    """The largest norm of a row: it bounds all margins, |x·w + b| ≤ |c·w + b| + R ‖d∘w‖, R the largest ‖(x − c)/d‖.

    c and d are about the means and the deviations of the columns. Finding R takes one read of X.
    """

    def __init__(self, X):
        self._X, self._largest = X, None

    @property
    def can_be_known(self):
        """Whether X is in NumPy's memory."""
        return isinstance(self._X, np.ndarray)

    @property
    def are_known(self):
        """Whether X has been read."""
        return self._largest is not None

    @np.errstate(all="ignore")
    def largest_margins(self, W, b):
        """A bound on |z| of each of K models, without offsets."""
        if self._largest is None:
            some = self._X[:: max(1, len(self._X) // ROWS)].astype(np.float64)
            self._centre, deviation = np.mean(some, axis=0), np.std(some, axis=0)
            self._deviation = np.where(deviation > 0, deviation, 1.0)
            squares = [self._largest_square(self._X[rows]) for rows in _row_blocks(self._X, ROWS)]
            self._largest = math.sqrt(np.max(squares))
        norms = np.sqrt(np.sum((self._deviation[:, np.newaxis] * W) ** 2, axis=0))
        return np.abs(self._centre @ W + b) + self._largest * norms

    def _largest_square(self, rows):
        standardized = (rows - self._centre) / self._deviation
        return float(np.max(np.einsum("ij,ij->i", standardized, standardized), initial=0.0))


@np.errstate(all="ignore")
def least_possible_doubts(row_norms, data, W, b):
    """A number below the smallest doubt of each of K independent models, (K,), from a bound on their margins."""
    margins = row_norms.largest_margins(W, b)
    if data.offset is not None:
        margins = margins + np.max(np.abs(data.offset), axis=-1)
    weight = 1.0 if data.sample_weight is None else _least_above_zero(data.sample_weight)
    return weight * BELOW_BOUND / (1.0 + np.exp(margins))


def _least_above_zero(weights):
    """The smallest weight above 0 along the last axis, or 0 if there is none.

    As the bit patterns of nonnegative numbers are in their order, 0 less 1 is the largest: 25 times as fast as a mask.
    """
    one = np.uint64(1)
    least = [np.min(s.view(np.uint64) - one) + one for s in np.atleast_2d(weights)]  # row by row, which L2 holds
    return np.array(least).view(np.float64).reshape(weights.shape[:-1])


def mean_squares(X, frame=None):
    """The mean square of each column, in a frame if one is given; of a CSR as if no row had a column twice."""
    if type(X) is CSR:
        return _mean_squares_of_sparse(X, frame)
    squares = np.zeros(X.shape[1])
    for rows in _row_blocks(X, max(1, DENSE_NUMBERS // max(X.shape[1], 1))):
        columns = X[rows].astype(np.float64) if frame is None else frame.columns(X[rows])
        squares += np.sum(columns * columns, axis=0)
    return squares / max(len(X), 1)


def _mean_squares_of_sparse(X, frame):
    (m, n), squares = X.shape, np.zeros(X.shape[1])
    centre = np.zeros(n) if frame is None else frame.centre
    for rows in _row_blocks(X, max(1, SPARSE_NUMBERS * m // max(X.nnz, 1))):
        numbers, columns = X[rows].stored()
        off = numbers - centre[columns]
        squares += np.bincount(columns, off * off - centre[columns] ** 2, n)
    squares = squares / m + centre * centre
    return squares if frame is None else squares * frame.scale**2


def imbalance(y, sample_weight):
    """Σ s (½ − y) / Σ s: ∂J/∂b where all margins are 0."""
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    return float(np.sum(s * (0.5 - y))) / float(np.sum(s))


@np.errstate(all="ignore")
def add_weighted_rows(target, data, theta, R):
    """Update a triangular factor R by the rows √(s·σ(z)σ(−z)) [x, 1], in a problem's frame if it has one.

    θ = [w, b], or [w], and then the rows have no 1. Returns R.
    """
    from jitlogreg.linear_algebra import add_rows, joined  # and with it Numba

    frame, data = data.frame, data._replace(y=None, frame=None)
    p, n = len(theta), data.X.shape[1]
    theta_of_x = theta if frame is None else frame.to_caller(theta)
    w, b = theta_of_x[:n].copy(), float(theta_of_x[n]) if p > n else 0.0

    def factor(rows):
        block = data.rows(rows)
        x, m = block.X.toarray() if type(block.X) is CSR else block.X, len(block.X)
        opposite = block if block.offset is None else block._replace(offset=-block.offset)
        curvature = target.activate("sigmoid", block, w, b, np.empty(m))
        curvature *= target.activate("sigmoid", opposite, -w, -b, np.empty(m))
        if block.sample_weight is not None:
            curvature *= block.sample_weight
        weighted = np.ones((m, p))
        weighted[:, :n] = x if frame is None else frame.columns(x)
        weighted *= np.sqrt(curvature)[:, np.newaxis]
        block_factor = np.zeros((p, p))
        add_rows(block_factor, weighted)
        return block_factor

    return joined(map(factor, _row_blocks(data.X, max(QR_ROWS_PER_PARAMETER * p, QR_NUMBERS // p))), R)


def _row_blocks(X, count):
    return [slice(first, first + count) for first in range(0, X.shape[0], count)]

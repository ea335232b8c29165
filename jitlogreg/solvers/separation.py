"""Whether there is a minimum at all: separated classes have none without a penalty.

A direction d = [w, c] in which no example fits worse and at least one fits better, (2y − 1)(x·w + c) ≥ 0 for labels 0
and 1 and x·w + c = 0 for soft ones, is a proof: the objective falls along it for ever.

Source: Albert & Anderson, On the existence of maximum likelihood estimates in logistic regression models, Biometrika
71, 1984: complete and quasi-complete separation.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.solvers.point import UNIT

# Where classes are separated, some example has s·p ≤ S λ², p being the probability of the label that it has not. λ is
# known to a factor, whose square this is
MARGIN = 64.0

# The probability of the wrong label of an example that is as good as settled
SETTLED = 1e-6

# The imbalance, of ½ at most, that one class has but for rounding
ONE_SIDED = 0.5 * (1 - 1e-9)

# The widest gaps between the examples' p that are tried for the border between those that a direction must leave where
# they are and those that it may move
BORDERS = 4

# Numbers of standardized columns that are kept for the next pass over them
KEPT = 1 << 22

# Of a matrix with ones on its diagonal: eigenvalues below this are 0
NULL = 1e-10

# Corrections by which a direction comes to leave its examples where they are, to the last digits
CORRECTIONS = 3


class SeparationWarning(RuntimeWarning):
    """The data has no minimum: classes are separated, or there is but one."""


class Separation(NamedTuple):
    """What keeps an objective from having a minimum.

    Attributes
    ----------
    kind : {"complete", "quasi-complete", "one class", "one class with weight"}
    direction : ndarray of float64, shape (p,)
        A proof, in the columns of the frame: θ may go along it for ever, and the objective falls.
    """

    kind: str
    direction: np.ndarray

    def described(self):
        """In words."""
        return {
            "complete": "a plane separates the classes (complete separation)",
            "quasi-complete": "a plane separates the classes but for examples on it (quasi-complete separation)",
            "one class": "all examples are of one class",
            "one class with weight": "all examples with weight are of one class",
        }[self.kind]


def is_possible(objective, point):
    """Whether λ leaves room for a separation: some example must be as good as settled. One read of X.

    Where all columns are penalised the intercept alone may grow without end, and only if there is one class. Short of
    the end of a run λ leaves room always, and an example counts as settled that is so by itself.
    """
    if not math.isfinite(point.decrement) or (np.all(objective.penalty > 0) and abs(objective.imbalance) < ONE_SIDED):
        return False
    most = MARGIN * objective.total_weight * max(point.decrement, UNIT) ** 2
    if not point.converged:
        most = min(most, SETTLED * objective.total_weight / objective.shape[0])
    return objective.smallest_doubt(point.theta, most) <= most


@np.errstate(all="ignore")
def find(objective, point, frame):
    """The `Separation` of an objective's examples, or None where no proof is found.

    Columns are looked at in the frame. Reads X a few times.
    """
    examples = _Examples(objective, frame)
    theta, step = point.theta, (point.steps[-1] if len(point.steps) else point.theta)
    if objective.frame is None:
        theta, step = frame.from_caller(theta), frame.from_caller(step)
    free = (
        objective.penalty == 0 if np.ndim(objective.penalty) else np.full(objective.n_features, objective.penalty == 0)
    )
    free = np.append(free, np.ones(objective.n_parameters - objective.n_features, dtype=bool))
    doubts = np.concatenate([rows.doubts(theta) for rows in examples])
    for border in _borders(doubts):
        for direction in _directions(examples, border, theta, (step, theta), free):
            separated = _proof(examples, direction)
            if separated is not None:
                return Separation(_kind(examples, separated), direction)
    return None


class _Examples:
    """The `_Rows` of an objective, some at a time and over again; those of small data are made once."""

    def __init__(self, objective, frame):
        self._objective, self._frame = objective, frame
        small = objective.shape[0] * objective.n_parameters <= KEPT
        self._kept = list(self._made()) if small else None

    def __iter__(self):
        return self._made() if self._kept is None else iter(self._kept)

    def _made(self):
        for X, y, s in self._objective.row_blocks():
            yield _Rows(X, y, s, self._frame, self._objective.n_parameters)


class _Rows:
    """Some examples of positive weight: columns in a frame with a 1 behind them, and labels."""

    def __init__(self, X, y, s, frame, n_parameters):
        weighs = s > 0
        self.both_classes = np.array([np.any(y < 1), np.any(y > 0)])
        self.y = y[weighs]
        self.Z = np.ones((len(self.y), n_parameters))
        self.Z[:, : X.shape[1]] = frame.columns(X[weighs])
        self.is_soft = (self.y > 0) & (self.y < 1)

    def doubts(self, theta):
        """The probability of the label that an example has not; 1 for soft labels."""
        z = self.Z @ theta
        against = np.where(self.y == 1, -z, z)
        return np.where(self.is_soft, 1.0, np.exp(-np.logaddexp(0, -against)))


def _borders(doubts):
    """Probabilities above which an example must stay where it is, the likeliest first; inf where none must."""
    levels = np.sort(np.log(np.maximum(doubts, 1e-300)))
    gaps = np.diff(levels)
    widest = np.argsort(-gaps, kind="stable")[:BORDERS]
    return [math.inf, *(math.exp((levels[k] + levels[k + 1]) / 2) for k in widest if gaps[k] > 1)]


def _directions(examples, border, theta, towards, free):
    """Vectors near those of `towards` that move no example above the border, and no penalised parameter."""

    def staying():
        return (rows.Z[rows.doubts(theta) > border][:, free] for rows in examples)

    A = sum((Z.T @ Z for Z in staying()), np.zeros((int(free.sum()),) * 2))
    diagonal = np.sqrt(np.diag(A))
    unit = np.where(diagonal > 0, diagonal, 1.0)
    values, vectors = np.linalg.eigh(A / unit / unit[:, np.newaxis])
    null, rest = vectors[:, values <= NULL], vectors[:, values > NULL]
    for vector in towards:
        # in parameters times their unit
        d = null @ (null.T @ (vector[free] * unit))
        for _ in range(CORRECTIONS):
            moved = sum((Z.T @ (Z @ (d / unit)) for Z in staying()), np.zeros(len(unit))) / unit
            d = d - rest @ ((rest.T @ moved) / values[values > NULL])
        # what rounding leaves of a number that is 0 would move examples that have nothing else to move by
        d[np.abs(d) < UNIT * np.max(np.abs(d), initial=0.0)] = 0.0
        direction = np.zeros(len(free))
        direction[free] = d / unit
        yield direction


def _proof(examples, direction):
    """How many examples a direction separates strictly and how many it leaves; None if it is no proof."""
    n = len(direction)
    strictly = left = 0
    for rows in examples:
        moved = rows.Z @ direction
        nothing = (n / 8 + 16) * UNIT * (np.abs(rows.Z) @ np.abs(direction))
        moved = np.where(np.abs(moved) <= nothing, 0.0, moved)
        better = np.where(rows.y == 1, moved, -moved)
        if np.any(better < 0) or np.any(rows.is_soft & (moved != 0)) or not np.isfinite(moved).all():
            return None
        strictly += int(np.sum(better > 0))
        left += int(np.sum(better == 0))
    return (strictly, left) if strictly else None


def _kind(examples, separated):
    labels = np.concatenate([rows.y for rows in examples])
    if np.all(labels == 0) or np.all(labels == 1):
        with_all = np.any([rows.both_classes for rows in examples], axis=0).all()
        return "one class with weight" if with_all else "one class"
    return "complete" if separated[1] == 0 else "quasi-complete"

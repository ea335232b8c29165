"""Whether there is a minimum at all: separated classes have none without a penalty.

A direction d = [w, c] proves that there is none if no example fits worse along it and at least one fits better:
(2y − 1)(x·w + c) ≥ 0 for labels 0 and 1, and x·w + c = 0 for soft labels. The objective falls along d for ever.

The doubt of an example is the probability that the model gives to the wrong label.

Of a softmax, d has a column for each class, and every example of class c must not fit worse against any other class k:
x·(d_c − d_k) ≥ 0. Each such pair counts as an example of label 1 below; where both classes have a share, as a soft one.

Source: Albert & Anderson, On the existence of maximum likelihood estimates in logistic regression models, Biometrika
71, 1984: complete and quasi-complete separation.
"""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.solvers.point import UNIT_ROUNDOFF
from jitlogreg.solvers.requests import Doubt
from jitlogreg.solvers.solver_objective import SolverObjective

# Where classes are separated, some example has s·p ≤ S λ², where p is its doubt. λ is known within a factor, whose
# square this is
DECREMENT_UNCERTAINTY = 64.0

# An example with no more doubt is settled
SETTLED = 1e-6

# The imbalance is ½ if there is but one class; this leaves room for rounding
ONE_CLASS_IMBALANCE = 0.5 * (1 - 1e-9)

# So many thresholds are tried between examples that a direction must not move and those that it may move: the widest
# gaps between the logarithms of the doubts; and before them the gap next to the likeliest examples that is at least an
# eighth as wide
MAX_THRESHOLDS = 4

# Standardized data of up to so many numbers is kept for the next pass
MAX_KEPT = 1 << 22

# The most parameters of a softmax for which a proof is looked for, and the most numbers of its pairs of classes, each
# of which is read some ten times
MAX_PARAMETERS, MAX_NUMBERS_OF_PAIRS = 500, 1 << 27

# The most parameters of any objective for which a proof is looked for: its matrix then has 128 MB
MAX_PARAMETERS_OF_ONE = 4000

# Eigenvalues below this are 0, of a matrix with a unit diagonal
NULL_EIGENVALUE = 1e-10

# Steps of iterative refinement, after which a direction moves none of the examples that it must not move
REFINEMENTS = 3


class SeparationWarning(RuntimeWarning):
    """The data has no minimum: classes are separated, or there is but one."""


class Separation(NamedTuple):
    """What keeps an objective from having a minimum.

    Attributes
    ----------
    kind : {"complete", "quasi-complete", "one class", "one class with weight", "missing class"}
    direction : ndarray of float64, shape (p,)
        The proof, in the columns of the frame: the objective falls along it for ever.
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
            "missing class": "a class has no examples with weight",
        }[self.kind]


def is_possible(objective, point):
    """Whether λ leaves room for a separation: some example must be settled. One read of X.

    If all columns are penalised, only the intercept can grow without end, and only if there is but one class. Before
    the end of a run λ always leaves room; an example then counts as settled by its doubt alone.
    """
    if not math.isfinite(point.decrement):
        return False
    is_one_class = abs(objective.imbalance) >= ONE_CLASS_IMBALANCE
    if np.all(objective.penalty > 0) and not is_one_class:
        return False
    if is_one_class and objective.n_outputs > 1:
        return True  # a class without examples: no example of another need be settled
    threshold = DECREMENT_UNCERTAINTY * objective.total_weight * max(point.decrement, UNIT_ROUNDOFF) ** 2
    if not point.converged:
        threshold = min(threshold, SETTLED * objective.total_weight / objective.shape[0])
    return (yield Doubt(objective, point.theta, threshold)) <= threshold


@np.errstate(all="ignore")
def find(objective, point, frame):
    """The `Separation` of an objective's examples, or None if no proof is found. Reads X a few times.

    The search is in the columns of the frame.
    """
    if objective.n_parameters > MAX_PARAMETERS_OF_ONE:
        return None
    if objective.n_outputs > 1:
        direction = objective.missing_classes()
        if direction is not None:
            return Separation("missing class", direction)
        pairs = objective.shape[0] * (objective.n_outputs - 1)
        if objective.n_parameters > MAX_PARAMETERS or pairs * objective.n_parameters > MAX_NUMBERS_OF_PAIRS:
            return None
    examples = _Examples(objective, frame)
    theta, step = point.theta, (point.s_history[-1] if len(point.s_history) else point.theta)
    if objective.frame is None:
        framed = objective.in_frame(frame)
        theta, step = framed.from_caller(theta), framed.from_caller(step)
    is_free = _unpenalised(objective)
    doubts = np.concatenate([rows.doubts(theta) for rows in examples])
    for threshold in _thresholds(doubts):
        for direction in _candidate_directions(examples, threshold, theta, (step, theta), is_free):
            counts = _strict_and_unmoved(examples, direction)
            if counts is not None:
                return Separation(_kind(objective, examples, n_unmoved=counts[1]), direction)
    return None


def _unpenalised(objective):
    """Which parameters have no penalty: those that may grow without end."""
    n, outputs = objective.n_features, objective.n_outputs
    is_free = np.broadcast_to(np.equal(objective.penalty, 0), (n, outputs) if outputs > 1 else n).reshape(-1)
    return np.append(is_free, np.ones(objective.n_parameters - len(is_free), dtype=bool))


class _Examples:
    """The `_Rows` of an objective, one row block at a time and again for each pass. Those of small data are kept."""

    def __init__(self, objective: SolverObjective, frame):
        self._objective, self._frame = objective, frame
        pairs = objective.shape[0] * max(1, objective.n_outputs - 1)
        is_small = pairs * objective.n_parameters <= MAX_KEPT
        self._kept = list(self._row_blocks()) if is_small else None

    def __iter__(self):
        return self._row_blocks() if self._kept is None else iter(self._kept)

    def _row_blocks(self):
        objective = self._objective
        n, p, outputs = objective.n_features, objective.n_parameters, objective.n_outputs
        for X, y, s, offset in self._objective.row_blocks():
            has_weight = s > 0
            columns = self._frame.columns(X[has_weight])
            if outputs > 1:
                columns = np.append(columns, np.ones((len(columns), p // outputs - n)), axis=1)
                of_classes = None if offset is None or offset.ndim == 1 else offset[:, has_weight]
                yield from _pairs_of_classes(columns, y[..., has_weight], of_classes, outputs)
            else:
                Z = np.ones((len(columns), p))
                Z[:, :n] = columns
                of_rows = 0.0 if offset is None else offset[has_weight]
                yield _Rows(Z, y[has_weight], of_rows, np.array([np.any(y < 1), np.any(y > 0)]))


def _pairs_of_classes(Z, y, offset, outputs):
    """Each example of a softmax beside each class that is not its own, as `_Rows` of label 1."""
    rows = max(1, MAX_KEPT // (Z.shape[1] * outputs * outputs))
    for first in range(0, len(Z), rows):
        of_rows, labels = Z[first : first + rows], y[..., first : first + rows]
        shares = labels
        if labels.ndim == 2:
            labels = np.argmax(labels, axis=0)
        labels, every = labels.astype(np.intp), np.arange(len(of_rows))
        pairs = np.zeros((outputs - 1, len(of_rows), Z.shape[1], outputs))
        is_soft, offsets = np.zeros((outputs - 1, len(of_rows)), dtype=bool), np.zeros((outputs - 1, len(of_rows)))
        for shift in range(1, outputs):
            others = (labels + shift) % outputs
            pairs[shift - 1, every, :, labels] = of_rows
            pairs[shift - 1, every, :, others] = -of_rows
            if shares.ndim == 2:
                is_soft[shift - 1] = shares[others, every] > 0
            if offset is not None:
                of_block = offset[:, first : first + rows]
                offsets[shift - 1] = of_block[labels, every] - of_block[others, every]
        pairs = pairs.reshape(-1, Z.shape[1] * outputs)
        found = _Rows(pairs, np.ones(len(pairs)), offsets.reshape(-1), np.array([True, True]))
        found.is_soft = is_soft.reshape(-1)
        yield found


class _Rows:
    """Some examples of positive weight: Z, what their parameters are multiplied by, y and offsets."""

    def __init__(self, Z, y, offset, has_each_class):
        self.Z, self.y, self.offset, self.has_each_class = Z, y, offset, has_each_class
        self.is_soft = (y > 0) & (y < 1)

    def doubts(self, theta):
        """The probability of the wrong label; 1 for soft labels."""
        z = self.Z @ theta + self.offset
        against = np.where(self.y == 1, -z, z)
        return np.where(self.is_soft, 1.0, np.exp(-np.logaddexp(0, -against)))


def _thresholds(doubts):
    """Doubts above which a direction must not move an example, the likeliest first; inf where it may move all."""
    levels = np.sort(np.log(np.maximum(doubts, 1e-300)))
    gaps = np.diff(levels)
    widest = np.argsort(-gaps, kind="stable")[:MAX_THRESHOLDS].tolist()
    # where examples lie evenly, the border is the gap next to the likeliest ones, half as wide as others or less
    nearest = np.flatnonzero(8 * gaps >= np.max(gaps, initial=0.0))[-1:].tolist()
    widest = list(dict.fromkeys(nearest + widest))
    return [math.inf, *(math.exp((levels[k] + levels[k + 1]) / 2) for k in widest if gaps[k] > 1)]


def _candidate_directions(examples, threshold, theta, towards, is_free):
    """The projections of `towards` on the directions that move no example above the threshold.

    They leave penalised parameters at 0.
    """

    def fixed():
        return (rows.Z[rows.doubts(theta) > threshold][:, is_free] for rows in examples)

    A = sum((Z.T @ Z for Z in fixed()), np.zeros((int(is_free.sum()),) * 2))
    diagonal = np.sqrt(np.diag(A))
    unit = np.where(diagonal > 0, diagonal, 1.0)
    values, vectors = np.linalg.eigh(A / unit / unit[:, np.newaxis])
    null, rest = vectors[:, values <= NULL_EIGENVALUE], vectors[:, values > NULL_EIGENVALUE]
    for vector in towards:
        # in parameters times their unit
        d = null @ (null.T @ (vector[is_free] * unit))
        for _ in range(REFINEMENTS):
            moved = sum((Z.T @ (Z @ (d / unit)) for Z in fixed()), np.zeros(len(unit))) / unit
            d = d - rest @ ((rest.T @ moved) / values[values > NULL_EIGENVALUE])
        # what rounding leaves of a component that is 0 would move examples that nothing else moves
        d[np.abs(d) < UNIT_ROUNDOFF * np.max(np.abs(d), initial=0.0)] = 0.0
        direction = np.zeros(len(is_free))
        direction[is_free] = d / unit
        yield direction


def _strict_and_unmoved(examples, direction):
    """How many examples a direction separates strictly, and how many it does not move; None if it is no proof."""
    n = len(direction)
    n_strict = n_unmoved = 0
    for rows in examples:
        moved = rows.Z @ direction
        rounding = (n / 8 + 16) * UNIT_ROUNDOFF * (np.abs(rows.Z) @ np.abs(direction))
        moved = np.where(np.abs(moved) <= rounding, 0.0, moved)
        better = np.where(rows.y == 1, moved, -moved)
        if np.any(better < 0) or np.any(rows.is_soft & (moved != 0)) or not np.isfinite(moved).all():
            return None
        n_strict += int(np.sum(better > 0))
        n_unmoved += int(np.sum(better == 0))
    return (n_strict, n_unmoved) if n_strict else None


def _kind(objective, examples, n_unmoved):
    if objective.n_outputs > 1:
        return "complete" if n_unmoved == 0 else "quasi-complete"
    labels = np.concatenate([rows.y for rows in examples])
    if np.all(labels == 0) or np.all(labels == 1):
        has_both = np.any([rows.has_each_class for rows in examples], axis=0).all()
        return "one class with weight" if has_both else "one class"
    return "complete" if n_unmoved == 0 else "quasi-complete"

"""The minimum that `fit` looks for, in 80 bits, and whether there is one: what its answers are measured against.

It shares nothing with the package. All is told of the total, F = S J = Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + S l2/2 ‖w‖²: a
loss of 1e-6 there is one of a millionth of a nat of all data's log-likelihood, however many examples there are.

Columns are centred on their weighted mean c, where there is an intercept, and divided by a power of two d:
z = Zu + a with u = d·w and a = b + c·w. Any number near the middle would do for c, so it may be rounded, and X − c is
exact where the offset is large. Without a penalty Newton's method runs on an orthonormal basis of [1, Z]: columns that
are nearly collinear cost nothing there, and dependent ones drop out.
"""

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

WIDE = np.longdouble
EPS = np.finfo(WIDE).eps
# Intel's 80 bits: a mantissa of 64, exponents to 10^±4932, so that nothing here overflows
IS_WIDE = np.finfo(WIDE).nmant == 63

# What a quadratic would still gain. A step for less than the first is not taken, for less than the second taken whole,
# and others may be halved or doubled
ENOUGH, SURELY_QUADRATIC = 1e-27, 1e-8
MOST_STEPS = 300
TRIALS = 80

# A curvature is at least this share of the residual. Examples far on the wrong side have none, and would spoil what a
# QR decomposition knows of the others
LEAST_CURVATURE = 1e-8

# Rounding of the margins that `lost` puts up with, in nats of the total; above, margins are computed as fractions
ROUNDING = 1e-10


class Problem(NamedTuple):
    """The examples that have weight: X as it was, and in 80 bits Z, c, d, y, s."""

    X: np.ndarray
    Z: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float
    has_b: bool


class Exact(NamedTuple):
    """The minimum.

    Attributes
    ----------
    w, b : ndarray of longdouble, longdouble
        Where it is; of several places, the one of the least ‖w‖. Where there is none, where the search has ended.
    u, a : ndarray of longdouble, longdouble
        The same for centred and scaled columns.
    loss : longdouble
        F there.
    exists : bool or None
        Whether there is one; None where that could not be proved.
    steps : int
    problem : Problem
    """

    w: np.ndarray
    b: np.longdouble
    u: np.ndarray
    a: np.longdouble
    loss: np.longdouble
    exists: bool | None
    steps: int
    problem: Problem


@np.errstate(under="ignore")
def exact_fit(X, y, sample_weight=None, l2=0.0, fit_intercept=True, near=None):
    """The minimum of F, and whether it exists. Without a penalty the search may begin at w and b that are `near` it."""
    problem = _centred(X, y, sample_weight, l2, fit_intercept)
    z = None if near is None else _margins(problem, np.asarray(near[0], WIDE), near[1])
    u, a, loss, steps, exists = _penalised(problem) if l2 else _free(problem, z)
    b = _of_fraction(_fraction(a) - _shift(problem.centre, u / problem.scale))
    w = u / problem.scale
    return Exact(w, b, u, a, loss, exists, steps, problem)


@np.errstate(under="ignore")
def lost(exact, w, b=0.0):
    """F(w, b) − F at the minimum, a float, for any finite numbers w and b."""
    problem = exact.problem
    w = np.asarray(w, WIDE)
    if not (np.isfinite(w).all() and np.isfinite(b)):
        return math.inf
    z = _margins(problem, w, b)
    penalty = problem.s.sum() * problem.l2 / 2 * (w @ w)
    return float(_losses(z, problem.y, problem.s) + penalty - exact.loss)


# ---------------------------------------------------------------- columns and margins


def _centred(X, y, sample_weight, l2, has_b):
    s = np.ones(len(y), WIDE) if sample_weight is None else np.asarray(sample_weight).astype(WIDE)
    used = s > 0
    X, y, s = np.asarray(X)[used], np.asarray(y)[used].astype(WIDE), s[used]
    wide = X.astype(WIDE)
    # numbers of float64, from which those near them differ by numbers of 80 bits: nothing is rounded
    centre = (s @ wide / s.sum()).astype(np.float64).astype(WIDE) if has_b else np.zeros(X.shape[1], WIDE)
    constant = (wide == wide[0]).all(axis=0) & has_b
    centre = np.where(constant, wide[0], centre)
    Z = wide - centre
    exponents = np.frexp(np.sqrt(np.mean(Z * Z, axis=0)))[1]
    scale = np.ldexp(np.ones_like(centre), exponents)
    return Problem(X, Z / scale, centre, scale, y, s, WIDE(l2), bool(has_b))


def _margins(problem, w, b):
    """Xw + b. Where the rounding of 80 bits could move F, they are exact until they are added up."""
    u = w * problem.scale
    size = np.abs(problem.Z) @ np.abs(u)
    if EPS * (len(w) + 2) * (problem.s @ size) <= ROUNDING:
        return problem.Z @ u + _of_fraction(_fraction(b) + _shift(problem.centre, w))
    return exact_margins(problem.X, w, b)


def exact_margins(X, w, b):
    """Xw + b, exact, and rounded once to 80 bits."""
    (rows, unit_of_rows), (weights, unit_of_weights) = _integers(X), _integers(w)
    unit, b = unit_of_rows * unit_of_weights, _fraction(b)
    return np.array([_of_fraction(total * unit + b) for total in rows @ weights], WIDE)


def _integers(array):
    """Integers of Python, and the power of two that an array is them times."""
    mantissas, exponents = np.frexp(np.asarray(array).astype(WIDE))
    least = int(exponents[mantissas != 0].min(initial=0))
    upper = np.floor(np.ldexp(mantissas, 32))
    lower = np.ldexp(np.ldexp(mantissas, 32) - upper, 32)
    whole = (upper.astype(np.int64).astype(object) << 32) + lower.astype(np.int64).astype(object)
    shifts = np.where(mantissas != 0, exponents - least, 0)
    return whole << shifts.astype(object), Fraction(2) ** (least - 64)


def _shift(centre, w):
    """c·w, a fraction."""
    return sum((_fraction(c) * _fraction(of) for c, of in zip(centre, w, strict=True)), Fraction(0))


def _fraction(number):
    return Fraction(*number.as_integer_ratio()) if isinstance(number, np.generic) else Fraction(number)


def _of_fraction(number):
    """A fraction in 80 bits, within one unit in the last place."""
    if number == 0:
        return WIDE(0)
    up = 80 - (abs(number.numerator).bit_length() - number.denominator.bit_length())
    whole = (number.numerator << max(up, 0)) // (number.denominator << max(-up, 0))
    upper, lower = divmod(whole, 2**40)
    return np.ldexp(WIDE(upper) * WIDE(2**40) + WIDE(lower), -up)


# ---------------------------------------------------------------- the loss and its derivatives


def _losses(z, y, s):
    upper = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))  # −log σ(−z)
    lower = np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z)))
    return s @ ((1 - y) * upper + y * lower)


def _residuals(z, y, s):
    """s ∂L/∂z, and the curvature s σ(z) σ(−z)."""
    small = np.exp(-np.abs(z))
    up, down = np.where(z > 0, 1, small) / (1 + small), np.where(z > 0, small, 1) / (1 + small)
    return s * ((1 - y) * up - y * down), s * up * down


def _newton(M, P, y, s, theta=None):
    """Where Σ s L(y, σ(Mθ)) + ‖Pθ‖²/2 is least: θ, its value, the residuals there, and how many steps it took.

    A step is twice as long as long as that helps: where classes are all but separable, θ has far to go.
    """
    theta = np.zeros(M.shape[1], WIDE) if theta is None else theta
    z = M @ theta
    value = _losses(z, y, s) + np.sum((P @ theta) ** 2) / 2
    for step in range(MOST_STEPS):
        residual, curvature = _residuals(z, y, s)
        gradient = M.T @ residual + P.T @ (P @ theta)
        root = np.sqrt(np.maximum(curvature, LEAST_CURVATURE * np.abs(residual)))
        root = np.maximum(root, np.finfo(WIDE).tiny)
        wanted = np.append(-residual / root, -(P @ theta))
        direction = least_squares(np.vstack([root[:, None] * M, P]), wanted)
        gain = -(gradient @ direction) / 2
        if gain <= ENOUGH:
            return theta, value, residual, step
        along = M @ direction
        length = 1 if gain <= SURELY_QUADRATIC else _length(theta, direction, z, along, value, gain, P, y, s)
        if length == 0:
            break
        theta, z = theta + length * direction, z + length * along
        value = _losses(z, y, s) + np.sum((P @ theta) ** 2) / 2
    return theta, value, residual, MOST_STEPS


def _length(theta, direction, z, along, value, gain, P, y, s):
    def at(length):
        return _losses(z + length * along, y, s) + np.sum((P @ (theta + length * direction)) ** 2) / 2

    length, reached = 1, at(1)
    if reached <= value - 1e-4 * gain:
        for _ in range(TRIALS):
            further = at(2 * length)
            if not further < reached:
                return length
            length, reached = 2 * length, further
        return length
    for _ in range(TRIALS):
        length /= 2
        if at(length) <= value - 1e-4 * length * gain:
            return length
    return 0


# ---------------------------------------------------------------- the two searches


def _penalised(problem):
    """u, a, the loss, the steps, and whether there is a minimum: in columns of a like size, penalty included."""
    Z, scale, y, s = problem.Z, problem.scale, problem.y, problem.s
    n, weight = Z.shape[1], problem.s.sum()
    penalty = np.sqrt(weight * problem.l2) / scale
    size = np.sqrt(s @ (Z * Z) + penalty**2)
    M, P = Z / size, np.diag(penalty / size)
    if problem.has_b:
        M, P = np.column_stack([np.ones(len(y), WIDE), M]), np.column_stack([np.zeros(n, WIDE), P])
    theta, loss, _, steps = _newton(M, P, y, s)
    a, u = (theta[0], theta[1:]) if problem.has_b else (WIDE(0), theta)
    one_class = problem.has_b and ((y == 0).all() or (y == 1).all())
    return u / size, a, loss, steps, False if one_class else True if steps < MOST_STEPS else None


def _free(problem, z):
    """The same without a penalty, beginning at margins z."""
    y, s = problem.y, problem.s
    A = np.column_stack([np.ones(len(y), WIDE), problem.Z]) if problem.has_b else problem.Z
    Q, R, order = orthonormal(A, first=int(problem.has_b))
    Q = _refined(Q, R, A[:, order])
    none = np.zeros((0, Q.shape[1]), WIDE)
    v, loss, residual, steps = _newton(Q, none, y, s, None if z is None else Q.T @ z)
    theta = _least_norm(R, v, order, problem)
    a, u = (theta[0], theta[1:]) if problem.has_b else (WIDE(0), theta)
    exists = (
        True if steps < MOST_STEPS and overlap(problem, Q, R, order, residual) else _exists(problem, Q, R, order, v)
    )
    return u, a, loss, steps, exists


def _least_norm(R, v, order, problem):
    """θ of [1, Z] with Rθ = v and the least ‖w‖. Any multiple of what changes no margin may be added, so none does."""
    rank, p = R.shape
    theta = np.zeros(p, WIDE)
    theta[order[:rank]] = back(R[:, :rank], v)
    if rank == p:
        return theta
    null = np.zeros((p, p - rank), WIDE)
    for k in range(p - rank):
        null[order[:rank], k] = -back(R[:, :rank], R[:, rank + k])
        null[order[rank + k], k] = 1
    of_w = np.append(np.zeros(int(problem.has_b), WIDE), 1 / problem.scale)
    return theta + null @ least_squares(of_w[:, None] * null, -of_w * theta)


# ---------------------------------------------------------------- is there a minimum?


def overlap(problem, Q, R, order, residual):
    """Whether numbers like these residuals prove that no direction is downhill for ever.

    Without a penalty there is a minimum unless some t = [1, Z]θ ≠ 0 has no tᵢ on its label's wrong side, and none other
    than 0 where a label is soft. Numbers λ with the residuals' signs and [1, Z]ᵀλ = 0 exclude that: Σ|λᵢtᵢ| would be 0,
    and so would t, as long as the rows where λ is not 0 have full rank. The residuals are such numbers but for
    rounding: they are changed by as small a share as [1, Z]ᵀλ = 0 asks for, until hardly any change is left to make.
    """
    rank, within = len(R), residual
    for _ in range(4):
        gradient = _gradient(problem, within)[order[:rank]]
        rows = np.abs(within)[:, None] * Q
        its_q, its_r, its_order = orthonormal(rows)
        if its_q.shape[1] < rank:
            return False
        share = its_q @ _forth(its_r, _forth(R[:, :rank], gradient)[its_order])
        worst = np.abs(share).max(initial=0)
        if not worst < 0.5 or worst < 1e-6:
            return bool(worst < 1e-6)
        within = within - np.abs(within) * share
    return False


def _gradient(problem, residual):
    """[1, Z]ᵀ times the residuals, in fractions, and rounded once."""
    (rows, unit), (of, unit_of) = _integers(problem.X), _integers(residual)
    total = sum(of.tolist()) * unit_of
    sums = [int(column) * unit * unit_of for column in of @ rows]
    centres, scales = map(_fraction, problem.centre), map(_fraction, problem.scale)
    moved = [(z - c * total) / d for z, c, d in zip(sums, centres, scales, strict=True)]
    return np.array([_of_fraction(z) for z in [total] * problem.has_b + moved], WIDE)


def _exists(problem, Q, R, order, v):
    """Whether there is a minimum, where the search has not proved it; None where nothing proves or refutes it."""
    y = problem.y
    side = np.where(y == 1, 1, np.where(y == 0, -1, 0)).astype(int)
    for t, direction in itertools.chain([(side * (Q @ v), v)], _candidates(Q, side)):
        if t.min(initial=0) < -1e-6 * np.abs(t).max(initial=0):
            continue
        theta = np.zeros(R.shape[1], WIDE)
        theta[order[: len(direction)]] = back(R[:, : len(direction)], direction)
        of_w, of_b = theta[-len(problem.scale) :] / problem.scale, theta[0] if problem.has_b else WIDE(0)
        along = [_fraction(of) for of in of_w]
        if problem.has_b:
            along.append(_fraction(of_b) - _shift(problem.centre, of_w))
        for active in (0, 1e-10, 1e-7):
            if separates(problem.X, side, along, np.abs(t) <= active * np.abs(t).max(initial=0)):
                return False
    # whatever the weights, as long as they are positive
    even = np.ones(len(y), WIDE)
    _, _, residual, steps = _newton(Q, np.zeros((0, Q.shape[1]), WIDE), y, even)
    return True if steps < MOST_STEPS and overlap(problem, Q, R, order, residual) else None


def _candidates(Q, side):
    """A direction in which no example moves to the wrong side: the largest Σ tᵢ with 0 ≤ tᵢ ≤ 1, a linear programme."""
    rows = np.asarray(Q * np.sqrt(WIDE(len(Q))), float)
    hard = side != 0
    moves = side[hard, None] * rows[hard]
    zero = {"A_eq": rows[~hard], "b_eq": np.zeros((~hard).sum())} if not hard.all() else {}
    found = linprog(
        -moves.sum(axis=0),
        A_ub=np.vstack([-moves, moves]),
        b_ub=np.repeat([0.0, 1.0], hard.sum()),
        bounds=(None, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        **zero,
    )
    if found.status == 0 and -found.fun > 0.5:  # a direction that moves any example can be stretched to move one by 1
        v = found.x.astype(WIDE)
        yield side * (Q @ v), v


def separates(X, side, direction, active):
    """Whether this direction, moved to where active rows and soft labels are at 0, has all others on their side.

    The direction is one of [w, b], or of w alone; all is in fractions.
    """
    rows, unit = _integers(X)
    if len(direction) > X.shape[1]:
        rows = np.column_stack([rows, np.full(len(X), 1, object)])
        direction = [*(of * unit for of in direction[:-1]), direction[-1]]
    moved = _within_null_space(rows[active | (side == 0)], direction)
    common = math.lcm(*(of.denominator for of in moved))
    t = side * (rows @ np.array([int(of * common) for of in moved], object))
    return bool((t >= 0).all() and (t > 0).any())


def _within_null_space(rows, direction):
    """The direction, with those of its numbers changed that make every row's product with it 0."""
    pivots = {}
    for row in {tuple(row) for row in rows.tolist()}:
        rest = [Fraction(of) for of in row]
        for at, pivot in pivots.items():
            if rest[at]:
                rest = [mine - rest[at] * theirs for mine, theirs in zip(rest, pivot, strict=True)]
        at = max(range(len(rest)), key=lambda j: abs(rest[j] * direction[j]))
        if not rest[at]:
            at = next((j for j, of in enumerate(rest) if of), None)
        if at is None:
            continue
        rest = [of / rest[at] for of in rest]
        for other, pivot in pivots.items():
            pivots[other] = [theirs - pivot[at] * mine for theirs, mine in zip(pivot, rest, strict=True)]
        pivots[at] = rest
    moved = list(direction)
    for at, pivot in pivots.items():
        moved[at] = -sum((of * direction[j] for j, of in enumerate(pivot) if j not in pivots), Fraction(0))
    return moved


# ---------------------------------------------------------------- linear algebra, which NumPy has in 64 bits alone


def _triangular(A, more, first=0):
    """Householder's QR decomposition with column pivoting, in place: R, the order of columns, rank and reflectors.

    Pivots are chosen by how much of a column is left, relative to what it was; `first` columns stay where they are.
    """
    m, p = A.shape
    order, was, reflectors = np.arange(p), np.sqrt(np.sum(A * A, axis=0)), []
    tolerance = 4 * EPS * p * np.sqrt(WIDE(max(m, 1)))
    was[was == 0] = np.inf
    for k in range(min(m, p)):
        left = np.sqrt(np.sum(A[k:, k:] * A[k:, k:], axis=0)) / was[order[k:]]
        chosen = k if k < first else k + int(np.argmax(left))
        if left[chosen - k] <= tolerance:
            return A[:k], order, reflectors
        A[:, [k, chosen]], order[[k, chosen]] = A[:, [chosen, k]], order[[chosen, k]]
        v = A[k:, k].copy()
        v[0] += np.copysign(np.sqrt(v @ v), v[0])
        v /= np.sqrt(v @ v)
        A[k:, k:] -= 2 * np.outer(v, v @ A[k:, k:])
        A[k + 1 :, k] = 0
        more[k:] -= 2 * v * (v @ more[k:])
        reflectors.append(v)
    return A[: min(m, p)], order, reflectors


def least_squares(A, wanted):
    """x with the least ‖Ax − wanted‖; columns that depend on others get 0."""
    more = wanted.astype(WIDE)
    R, order, reflectors = _triangular(A.astype(WIDE), more)
    rank, x = len(reflectors), np.zeros(A.shape[1], WIDE)
    x[order[:rank]] = back(R[:rank, :rank], more[:rank])
    return x


def orthonormal(A, first=0):
    """Q, R and the order of columns, A[:, order] = QR, with as many columns of Q as A has independent ones."""
    m = len(A)
    R, order, reflectors = _triangular(A.astype(WIDE), np.zeros(m, WIDE), first)
    Q = np.eye(m, len(reflectors), dtype=WIDE)
    for k in range(len(reflectors) - 1, -1, -1):
        v = reflectors[k]
        Q[k:] -= 2 * np.outer(v, v @ Q[k:])
    return Q, R[: len(reflectors)], order


def _refined(Q, R, A):
    """Q with QR = A but for roundings of Q's own: the first one spans A's columns but for R's condition times those."""
    rank, sizes = len(R), np.abs(np.diag(R))
    if rank == 0 or sizes.max() < 1e4 * sizes.min():
        return Q
    (of_q, unit_of_q), (of_r, unit_of_r), (of_a, unit_of_a) = (
        _integers(Q),
        _integers(R[:, :rank]),
        _integers(A[:, :rank]),
    )
    off = of_a * unit_of_a - (of_q @ of_r) * (unit_of_q * unit_of_r)
    off = np.array([[_of_fraction(x) for x in row] for row in off], WIDE)
    for k in range(rank):
        off[:, k] = (off[:, k] - off[:, :k] @ R[:k, k]) / R[k, k]
    return Q + off


def _forth(R, wanted):
    """x with Rᵀx = wanted, R being triangular."""
    return back(R.T[::-1, ::-1], wanted[::-1])[::-1]


def back(R, wanted):
    """x with Rx = wanted, R being triangular."""
    x = np.zeros(len(wanted), WIDE)
    for k in range(len(wanted) - 1, -1, -1):
        x[k] = (wanted[k] - R[k, k + 1 :] @ x[k + 1 :]) / R[k, k]
    return x

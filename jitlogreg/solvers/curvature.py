"""The Hessian at a point, factored: steps, and what they tell of the distance to the minimum.

With H = AᵀA, coordinates Aθ are those in which H is the unit matrix: a step s becomes As, a gradient A⁻ᵀg, and
Newton's step is −A⁻¹A⁻ᵀg. Its decrement λ = √(gᵀH⁻¹g) has no units: λ²/2 is about how far the mean loss is above its
minimum, and √S λ bounds how far a coefficient is from its limit, in standard errors.

Source: Boyd & Vandenberghe, Convex Optimization, 2004, section 9.5; Golub & Van Loan, Matrix Computations, 2013, 5.4
(orthogonal factors with pivoting), 5.5 (rank deficiency).
"""

import math

import numpy as np

from jitlogreg.objective import norm
from jitlogreg.solvers.point import UNIT, length

# The least pivot of a Hessian scaled to ones on its diagonal from which its Cholesky factor is good: steps keep as many
# digits as a pivot has above 2⁻⁵³
PIVOT = 2.0**-32

# What is left of a column of length 1 where it depends on others: some roundings of the factorisation
DEPENDENT = 2.0**-44

# The part of a gradient outside the columns' space that rounding explains
MISSED = 1e-4

# The size of such a part, of columns of deviation 1, that is nothing but rounding: a mean is within 32 u
ROUNDED = 64 * UNIT

# The share of the largest part from which on a column takes part in a dependence, or in a separation
TAKES_PART = 1e-6


class Cholesky:
    """H by its Cholesky factor, scaled to ones on its diagonal: the columns' units do not matter.

    A parameter without curvature stays where it is.
    """

    is_unit, dependent = True, ()

    def __init__(self, hessian):
        from jitlogreg import linear_algebra  # and with it Numba

        self._algebra = linear_algebra
        self._diagonal = np.sqrt(hessian.reshape(-1)[:: len(hessian) + 1])
        self._flat = np.flatnonzero(~(self._diagonal > 0))
        self._scale = 1.0 / self._diagonal
        self._scale[self._flat] = 0.0
        self._R = hessian * self._scale * self._scale[:, np.newaxis]
        self._R.reshape(-1)[:: len(hessian) + 1] = 1.0
        self.is_sound = linear_algebra.cholesky(self._R) >= PIVOT

    def of_gradient(self, gradient):
        """A⁻ᵀg."""
        x = self._scale * gradient
        self._algebra.solve_transposed(self._R, x)
        return x

    def of_step(self, step):
        """As."""
        x = self._diagonal * step
        self._algebra.multiply(self._R, x)
        return x

    def to_step(self, x):
        """A⁻¹x."""
        x = x.copy()
        self._algebra.solve(self._R, x)
        return self._scale * x

    def misses(self, gradient):
        """Whether the gradient has a part along which H is 0."""
        return len(self._flat) > 0 and bool(np.any(gradient[self._flat] != 0))

    def noise(self, size):
        """The λ that rounding may hide: next to nothing, as the factor is sound."""
        return 0.0


class Root:
    """H by a triangular factor of the rows themselves, which has the root of H's condition.

    Columns are taken in the order in which most is left of them. Where those that are left depend on the others, steps
    are those of least norm in columns divided by their `spread`, and `dependent` has the numbers of all that take part.
    """

    is_sound = is_unit = True

    def __init__(self, R, weight, spread):
        from jitlogreg import linear_algebra

        self._algebra, self._spread = linear_algebra, spread
        R = R / (np.sqrt(weight) * spread)
        lengths = np.sqrt(np.sum(R * R, axis=0))
        unit = np.where(lengths > 0, lengths, 1.0)
        self._order = np.arange(len(R))
        pivoted = R / unit
        linear_algebra.pivoted_qr(pivoted, self._order)
        rank = int(np.sum(np.abs(np.diag(pivoted)) > DEPENDENT))
        # unit lengths have told the rank; the norm that is to be least is that of the parameters times their spread
        self._R = np.ascontiguousarray(pivoted[:rank] * unit[self._order])
        self.dependent, self._basis = (), None
        if rank < len(R):
            self.dependent = self._dependent(rank)
            # Rᵀ = QT, so H = QTTᵀQᵀ, and each row of Q is T⁻ᵀ times that of Rᵀ
            self._basis = self._R.T.copy()
            self._R = np.zeros((rank, rank))
            linear_algebra.add_rows(self._R, self._basis.copy())
            for row in self._basis:
                linear_algebra.solve_transposed(self._R, row)

    def _dependent(self, rank):
        """The numbers of the columns beyond the rank, and of those that they depend on."""
        within, found = np.ascontiguousarray(self._R[:, :rank]), set(self._order[rank:].tolist())
        for share in self._R.T[rank:].copy():
            self._algebra.solve(within, share)
            taking_part = np.abs(share) > TAKES_PART * np.max(np.abs(share), initial=0.0)
            found |= set(self._order[:rank][taking_part].tolist())
        return tuple(sorted(found))

    def of_gradient(self, gradient):
        """A⁻ᵀg."""
        x = (gradient / self._spread)[self._order]
        if self._basis is None:
            self._algebra.solve_transposed(self._R, x)
        else:
            x = _transposed_times(self._basis, x)
            self._algebra.solve(self._R, x)
        return x

    def of_step(self, step):
        """As."""
        x = (step * self._spread)[self._order]
        if self._basis is None:
            self._algebra.multiply(self._R, x)
        else:
            x = _transposed_times(self._basis, x)
            self._algebra.multiply_transposed(self._R, x)
        return x

    def to_step(self, x):
        """A⁻¹x, or the least step that comes nearest to it."""
        x = x.copy()
        if self._basis is None:
            self._algebra.solve(self._R, x)
        else:
            self._algebra.solve_transposed(self._R, x)
            x = np.sum(self._basis * x, axis=1)
        step = np.empty_like(x)
        step[self._order] = x
        return step / self._spread

    def misses(self, gradient):
        """Whether the gradient has a part along which H is 0, beyond what rounding makes."""
        if self._basis is None:
            return False
        x = (gradient / self._spread)[self._order]
        rest = x - np.sum(self._basis * _transposed_times(self._basis, x), axis=1)
        return bool(np.max(np.abs(rest), initial=0.0) > max(MISSED * np.max(np.abs(x), initial=0.0), ROUNDED))

    def noise(self, size):
        """The λ that the rounding of a gradient may hide, its terms being of this size: 2⁻⁵³ ‖A⁻ᵀ diag(size)‖.

        Beside the minimum in 80 bits what was hidden came to at most three times that.
        """
        lengths = [norm(self.of_gradient(unit)) for unit in np.diag(size)]
        return UNIT * norm(np.array(lengths))


def newton_step(model, gradient):
    """−H⁻¹g."""
    return -model.to_step(model.of_gradient(gradient))


def decrement(model, gradient):
    """λ by a model of H; inf where it misses a part of the gradient."""
    if model.misses(gradient):
        return math.inf
    return length(model.of_gradient(gradient))


def _transposed_times(Q, x):
    return np.sum(Q * x[:, np.newaxis], axis=0)


def factored(objective, theta, spread):
    """The Hessian of an objective at θ, factored as its condition asks for."""
    model = Cholesky(objective.hessian(theta))
    if model.is_sound:
        return model
    return Root(objective.root(theta), objective.total_weight, spread)

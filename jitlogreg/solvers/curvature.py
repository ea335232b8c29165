"""The factored Hessian: steps, and what they tell of the distance to the minimum.

With H = AᵀA, A transforms to preconditioned coordinates, in which H is the unit matrix: a step s becomes As, a gradient
g becomes A⁻ᵀg, and Newton's step is −A⁻¹A⁻ᵀg. Its decrement λ = √(gᵀH⁻¹g) has no units: λ²/2 is about how far the mean
loss is above its minimum, and √S λ bounds how far a coefficient is from its limit, in standard errors.

Source: Boyd & Vandenberghe, Convex Optimization, 2004, section 9.5; Golub & Van Loan, Matrix Computations, 2013, 5.4
(QR factorisation with column pivoting), 5.5 (rank deficiency).
"""

import math

import numpy as np

from jitlogreg.norms import norm
from jitlogreg.solvers.point import UNIT_ROUNDOFF, fast_norm
from jitlogreg.solvers.requests import Hessian, Root, SharedHessian

# A Cholesky factor is usable if no pivot is smaller, of a Hessian scaled to a unit diagonal: steps keep as many digits
# as a pivot has above 2⁻⁵³
MIN_PIVOT = 2.0**-32

# A column depends on others if no more than this is left of its length of 1: some roundings of the factorisation
RANK_TOLERANCE = 2.0**-44

# The share of a gradient outside the columns' space that rounding explains
NULL_SPACE_TOLERANCE = 1e-4

# The size of such a part that is nothing but rounding, of columns of deviation 1: a mean is within 32 u
NULL_SPACE_ROUNDING = 64 * UNIT_ROUNDOFF

# A column takes part in a dependence, or in a separation, if its share is more than this part of the largest
MIN_SHARE = 1e-6


class Cholesky:
    """H by its Cholesky factor, after scaling to a unit diagonal: the columns' units do not matter.

    A parameter without curvature stays where it is.
    """

    has_unit_hessian, dependent = True, ()

    def __init__(self, hessian):
        from jitlogreg import linear_algebra  # and with it Numba

        self._algebra = linear_algebra
        self._root_diagonal = np.sqrt(hessian.reshape(-1)[:: len(hessian) + 1])
        self._flat = np.flatnonzero(~(self._root_diagonal > 0))
        self._scale = 1.0 / self._root_diagonal
        self._scale[self._flat] = 0.0
        self._R = hessian * self._scale * self._scale[:, np.newaxis]
        self._R.reshape(-1)[:: len(hessian) + 1] = 1.0
        self.is_well_conditioned = linear_algebra.cholesky(self._R) >= MIN_PIVOT

    def transform_gradient(self, gradient):
        """A⁻ᵀg."""
        x = self._scale * gradient
        self._algebra.solve_transposed(self._R, x)
        return x

    def transform_step(self, step):
        """As."""
        x = self._root_diagonal * step
        self._algebra.multiply(self._R, x)
        return x

    def recover_step(self, x):
        """A⁻¹x."""
        x = x.copy()
        self._algebra.solve(self._R, x)
        return self._scale * x

    def has_null_space_part(self, gradient):
        """Whether the gradient has a part along which H is 0."""
        return len(self._flat) > 0 and bool(np.any(gradient[self._flat] != 0))

    def noise_floor(self, rms):
        """The λ that rounding may hide: next to nothing, as the factor is well conditioned."""
        return 0.0


class SharedCholesky:
    """H with one block for all outputs on its diagonal and nothing else, by that block's Cholesky factor.

    θ is a matrix, raveled, with a column for each output. Of a softmax the blocks are nearly alike where classes are of
    like size; and what is the same for all classes stays so.
    """

    has_unit_hessian, dependent = True, ()

    def __init__(self, hessian):
        self._block, self._rows = Cholesky(hessian), len(hessian)
        self.is_well_conditioned = self._block.is_well_conditioned

    def _each(self, function, x):
        columns = np.ascontiguousarray(x.reshape(self._rows, -1).T)
        return np.stack([function(column) for column in columns], axis=1).reshape(-1)

    def transform_gradient(self, gradient):
        """A⁻ᵀg."""
        return self._each(self._block.transform_gradient, gradient)

    def transform_step(self, step):
        """As."""
        return self._each(self._block.transform_step, step)

    def recover_step(self, x):
        """A⁻¹x."""
        return self._each(self._block.recover_step, x)

    def has_null_space_part(self, gradient):
        """Whether the gradient has a part along which H is 0."""
        columns = np.ascontiguousarray(gradient.reshape(self._rows, -1).T)
        return any(self._block.has_null_space_part(column) for column in columns)

    def noise_floor(self, rms):
        """The λ that rounding may hide: next to nothing, as the factor is well conditioned."""
        return 0.0


class NoModel:
    """The caller's coordinates, where nothing tells better ones."""

    has_unit_hessian, dependent = False, ()

    def transform_gradient(self, gradient):
        """g."""
        return gradient

    def transform_step(self, step):
        """s."""
        return step

    def recover_step(self, x):
        """x."""
        return x

    def has_null_space_part(self, gradient):
        """False."""
        return False

    def noise_floor(self, rms):
        """0: nothing is known of it."""
        return 0.0


class Diagonal(NoModel):
    """Coordinates in which the columns have about the same curvature, from the diagonal of H, or what is near it."""

    def __init__(self, diagonal):
        self._root = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))

    def transform_gradient(self, gradient):
        """D^(−½) g."""
        return gradient / self._root

    def transform_step(self, step):
        """D^½ s."""
        return step * self._root

    def recover_step(self, x):
        """D^(−½) x."""
        return x / self._root


class PivotedQR:
    """H by a QR factorisation of the weighted rows with column pivoting: its condition is the root of H's.

    Columns that depend on others end the factorisation. Steps are then those of least norm in columns divided by their
    `spread`, and `dependent` has the numbers of all parameters that take part.
    """

    is_well_conditioned = has_unit_hessian = True

    def __init__(self, R, weight, spread):
        from jitlogreg import linear_algebra

        self._algebra, self._spread = linear_algebra, spread
        R = R / (np.sqrt(weight) * spread)
        lengths = np.sqrt(np.sum(R * R, axis=0))
        unit = np.where(lengths > 0, lengths, 1.0)
        self._order = np.arange(len(R))
        pivoted = R / unit
        linear_algebra.pivoted_qr(pivoted, self._order)
        rank = int(np.sum(np.abs(np.diag(pivoted)) > RANK_TOLERANCE))
        # unit lengths have told the rank; the norm to be minimised is that of the parameters times their spread
        self._R = np.ascontiguousarray(pivoted[:rank] * unit[self._order])
        self.dependent, self._basis = (), None
        if rank < len(R):
            self.dependent = self._dependent_columns(rank)
            self._complete_orthogonally(rank)

    def _dependent_columns(self, rank):
        """The numbers of the columns beyond the rank, and of those that they depend on."""
        leading, found = np.ascontiguousarray(self._R[:, :rank]), set(self._order[rank:].tolist())
        for shares in self._R.T[rank:].copy():
            self._algebra.solve(leading, shares)
            takes_part = np.abs(shares) > MIN_SHARE * np.max(np.abs(shares), initial=0.0)
            found |= set(self._order[:rank][takes_part].tolist())
        return tuple(sorted(found))

    def _complete_orthogonally(self, rank):
        """The complete orthogonal decomposition of R of less than full rank, by a second QR factorisation.

        Rᵀ = QT, so H = QTTᵀQᵀ. Each row of Q is T⁻ᵀ times that of Rᵀ.
        """
        self._basis = self._R.T.copy()
        self._R = np.zeros((rank, rank))
        self._algebra.add_rows(self._R, self._basis.copy())
        for row in self._basis:
            self._algebra.solve_transposed(self._R, row)

    def transform_gradient(self, gradient):
        """A⁻ᵀg."""
        x = (gradient / self._spread)[self._order]
        if self._basis is None:
            self._algebra.solve_transposed(self._R, x)
        else:
            x = _transposed_times(self._basis, x)
            self._algebra.solve(self._R, x)
        return x

    def transform_step(self, step):
        """As."""
        x = (step * self._spread)[self._order]
        if self._basis is None:
            self._algebra.multiply(self._R, x)
        else:
            x = _transposed_times(self._basis, x)
            self._algebra.multiply_transposed(self._R, x)
        return x

    def recover_step(self, x):
        """A⁻¹x, or the step of least norm that comes nearest to it."""
        x = x.copy()
        if self._basis is None:
            self._algebra.solve(self._R, x)
        else:
            self._algebra.solve_transposed(self._R, x)
            x = np.sum(self._basis * x, axis=1)
        step = np.empty_like(x)
        step[self._order] = x
        return step / self._spread

    def has_null_space_part(self, gradient):
        """Whether the gradient has a part along which H is 0, beyond what rounding explains."""
        if self._basis is None:
            return False
        x = (gradient / self._spread)[self._order]
        rest = x - np.sum(self._basis * _transposed_times(self._basis, x), axis=1)
        explained = max(NULL_SPACE_TOLERANCE * np.max(np.abs(x), initial=0.0), NULL_SPACE_ROUNDING)
        return bool(np.max(np.abs(rest), initial=0.0) > explained)

    def noise_floor(self, rms):
        """The λ that the rounding of a gradient may hide, its terms being of this size: 2⁻⁵³ ‖A⁻ᵀ diag(rms)‖.

        Against the minimum in 80 bits, what was hidden came to at most three times that.
        """
        norms = [norm(self.transform_gradient(column)) for column in np.diag(rms)]
        return UNIT_ROUNDOFF * norm(np.array(norms))


def newton_step(model, gradient):
    """−H⁻¹g."""
    return -model.recover_step(model.transform_gradient(gradient))


def decrement(model, gradient):
    """λ by a model of H; inf where H is 0 along a part of the gradient."""
    if model.has_null_space_part(gradient):
        return math.inf
    return fast_norm(model.transform_gradient(gradient))


def _transposed_times(Q, x):
    return np.sum(Q * x[:, np.newaxis], axis=0)


def factorize(objective, theta, spread):
    """The Hessian of an objective at θ, factored as its condition requires."""
    model = Cholesky((yield Hessian(objective, theta)))
    if model.is_well_conditioned:
        return model
    return PivotedQR((yield Root(objective, theta)), objective.total_weight, spread)


def factorize_shared(objective, theta):
    """The block of the Hessian at θ that the outputs share, factored; no model where its condition forbids that."""
    shared = SharedCholesky((yield SharedHessian(objective, theta)))
    return shared if shared.is_well_conditioned else NoModel()

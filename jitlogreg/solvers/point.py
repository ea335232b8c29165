"""What a run minimises, and the point at which it stands."""

import math
from typing import NamedTuple

import numpy as np

from jitlogreg.norms import norm
from jitlogreg.solvers.solver_objective import SolverObjective

# u of float64
UNIT_ROUNDOFF = 2.0**-53

# The share of the tolerance at which λ needs no further step
NEGLIGIBLE = 1e-3


class Task(NamedTuple):
    """What a run minimises, and how far.

    Attributes
    ----------
    objective : SolverObjective
    tolerance : float
        Bounds the Newton decrement.
    gtol : float
        Bounds the gradient's norm: the stopping criterion of gradient descent.
    rms : ndarray of float64, shape (p,)
        The root mean square of the column that each component of θ multiplies: it tells how far margins are rounded.
    spread : ndarray of float64, shape (p,)
        The standard deviation of that column.
    """

    objective: SolverObjective
    tolerance: float
    gtol: float
    rms: np.ndarray
    spread: np.ndarray

    @property
    def negligible_decrement(self):
        """The λ that needs no further step: a thousandth of the tolerance, in standard errors of as many examples."""
        return NEGLIGIBLE * self.tolerance / math.sqrt(max(1, self.objective.shape[0]))

    def loss_rounding(self, point):
        """A bound on the rounding of the loss at a point: 32 u for the mean, and the errors of the margins."""
        margins = float(np.sum(np.abs(point.theta) * self.rms))
        return UNIT_ROUNDOFF * (64 * abs(point.loss) + 8 * margins)


class Point(NamedTuple):
    """A point of a run, with all that the next one depends on: a run resumed from it ends with the same bits.

    Attributes
    ----------
    iteration, n_evaluations : int
    theta, gradient : ndarray of float64, shape (p,)
    loss, gradient_norm : float
    s_history, y_history : ndarray of float64, shape (k, p)
        The last steps s in θ, and the changes y of the gradient along them.
    preconditioner_theta : ndarray of float64, shape (p,) or (0,)
        The θ whose Hessian preconditions the directions.
    step_size : float
        The last step's multiple of its direction.
    best_norm : float
        The smallest gradient norm so far: rounding makes the last norms rise and fall.
    n_stalled : int
        Iterations in a row without progress: the loss fell by no more than its rounding, and the gradient's norm stayed
        at or above `best_norm`.
    decrement : float
        λ = √(gᵀH⁻¹g), by the model of H that led here; inf where none did.
    previous_decrement : float
        λ at the point before, by the same model.
    n_unconfirmed : int
        How often a model placed the minimum within the tolerance and the next gradient did not confirm it.
    converged : bool
    """

    iteration: int
    n_evaluations: int
    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    gradient_norm: float
    s_history: np.ndarray
    y_history: np.ndarray
    preconditioner_theta: np.ndarray
    step_size: float
    best_norm: float
    n_stalled: int
    decrement: float
    previous_decrement: float
    n_unconfirmed: int
    converged: bool


def number_or_array(restored):
    """A field of a point, from an array of a checkpoint."""
    return restored if restored.ndim else restored.item()


def initial_point(theta, loss, gradient):
    """The point from which a run starts."""
    gradient_norm, no_history = norm(gradient), np.empty((0, len(theta)))
    return Point(
        iteration=0,
        n_evaluations=1,
        theta=theta,
        loss=loss,
        gradient=gradient,
        gradient_norm=gradient_norm,
        s_history=no_history,
        y_history=no_history,
        preconditioner_theta=np.empty(0),
        step_size=0.0,
        best_norm=gradient_norm,
        n_stalled=0,
        decrement=np.inf,
        previous_decrement=np.inf,
        n_unconfirmed=0,
        converged=False,
    )


def fast_norm(v):
    """`norm`, 2 µs faster: the caller must ignore NumPy's warnings."""
    square = dot(v, v)
    return math.sqrt(square) if 1e-250 < square < 1e250 else norm(v)


def dot(u, v):
    """Σ uⱼvⱼ by pairwise summation: the order of a BLAS dot product differs between CPUs."""
    return float(np.add.reduce(u * v))

"""What a method proposes at a point, and what a method is."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from jitlogreg.solvers.point import Point
from jitlogreg.solvers.requests import Steps


class Direction(NamedTuple):
    """A search direction at a point, and how near the minimum is by the same model of the Hessian.

    Attributes
    ----------
    step : ndarray of float64, shape (p,)
        The direction, scaled as the method's full step.
    step_size : float
        The multiple of `step` that the line search tries first.
    point : Point
        The point to go on from, with the θ at which the model was made.
    decrement : float
        λ there; inf where it is not known.
    decrement_of : callable or None
        λ of another gradient, by the same model.
    noise_floor : callable or None
        The λ that rounding may hide from the model, given the root mean squares of the columns.
    is_exact : bool
        Whether the model is H itself at this point, not H of a sample of the rows or of earlier steps.
    accepted_decrement : float or None
        The λ that a step by another model may leave and still end the run, where that is known.
    stop_without_step : bool
        Whether the run ends here, without the step.
    """

    step: np.ndarray
    step_size: float
    point: Point
    decrement: float = np.inf
    decrement_of: Callable[[np.ndarray], float] | None = None
    noise_floor: Callable[[np.ndarray], float] | None = None
    is_exact: bool = False
    accepted_decrement: float | None = None
    stop_without_step: bool = False


class Method(Protocol):
    """Newton's method, L-BFGS or steepest descent: what makes directions.

    Attributes
    ----------
    name : str
        What the progress bar shows.
    stops_by_norm : bool
        Whether the gradient's norm decides when the run has converged.
    memory : int
        The pairs (s, y) that a point keeps.
    max_unconfirmed : int
        How many unconfirmed ends make the method take the Hessian itself in place of a model.
    dependent : tuple of int
        The parameters that the last Hessian could not tell apart.

    Both functions are generators: see `requests`.
    """

    name: str
    stops_by_norm: bool
    memory: int
    max_unconfirmed: int

    @property
    def dependent(self) -> tuple[int, ...]:
        """The parameters that the last Hessian could not tell apart."""

    def is_well_conditioned_at(self, theta: np.ndarray) -> Steps:
        """Whether the method can work in the caller's columns: the Hessian at θ has a usable Cholesky factor."""

    def direction(self, point: Point) -> Steps:
        """The direction from a point."""

"""What a solver proposes at a point."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg.solvers.point import Point


class Direction(NamedTuple):
    """Where to go from a point, and how near the minimum is by the same model of the Hessian.

    Attributes
    ----------
    step : ndarray of float64, shape (p,)
    length : float
        The multiple of the step to try first.
    point : Point
        As it is to be kept, with what the model was made at.
    decrement : float
        λ there; inf where nothing is known of it.
    decrement_of : callable or None
        λ of another gradient, by the same model.
    noise : callable or None
        The λ that rounding may hide from that model, given the size of the columns.
    is_exact : bool
        Whether the model is of H itself at this point, and not of a sample of the rows or of steps gone before.
    may_leave : float or None
        The λ that a step by another model may leave for the run to end, where that is known.
    ends_here : bool
        Whether the run ends without the step.
    """

    step: np.ndarray
    length: float
    point: Point
    decrement: float = np.inf
    decrement_of: Callable[[np.ndarray], float] | None = None
    noise: Callable[[np.ndarray], float] | None = None
    is_exact: bool = False
    may_leave: float | None = None
    ends_here: bool = False

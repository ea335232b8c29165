"""What a run asks of its objective, so that one read of X may answer many runs.

Functions of solvers that need X are generators. They yield a request and are sent its answer; `completed` answers one
run after another, and `lockstep` many at once.
"""

import contextlib
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np

from jitlogreg.solvers.solver_objective import SolverObjective


class Evaluation(NamedTuple):
    """The loss and the gradient at θ."""

    objective: SolverObjective
    theta: np.ndarray

    def answer(self):
        """From the objective."""
        return self.objective(self.theta)


class Product(NamedTuple):
    """The Hessian at θ times v."""

    objective: SolverObjective
    theta: np.ndarray
    v: np.ndarray

    def answer(self):
        """From the objective."""
        return self.objective.hessian_vector(self.theta, self.v)


class Hessian(NamedTuple):
    """The Hessian at θ."""

    objective: SolverObjective
    theta: np.ndarray

    def answer(self):
        """From the objective."""
        return self.objective.hessian(self.theta)


class SharedHessian(NamedTuple):
    """The block of the Hessian at θ that all outputs share."""

    objective: SolverObjective
    theta: np.ndarray

    def answer(self):
        """From the objective."""
        return self.objective.shared_hessian(self.theta)


class MeanCurvature(NamedTuple):
    """About the diagonal of the Hessian, from each column's mean square."""

    objective: SolverObjective

    def answer(self):
        """From the objective."""
        return self.objective.mean_curvature()


class Root(NamedTuple):
    """`SolverObjective.root` at θ."""

    objective: SolverObjective
    theta: np.ndarray

    def answer(self):
        """From the objective."""
        return self.objective.root(self.theta)


class Doubt(NamedTuple):
    """`SolverObjective.smallest_doubt` at θ."""

    objective: SolverObjective
    theta: np.ndarray
    enough: float

    def answer(self):
        """From the objective."""
        return self.objective.smallest_doubt(self.theta, self.enough)


Request = Evaluation | Product | Hessian | SharedHessian | MeanCurvature | Root | Doubt

# What asks; it returns a result of its own in the end
Steps = Generator[Request, Any, Any]


@np.errstate(all="ignore")
def completed(steps: Steps, asked: list[Request] | None = None):
    """Answer what steps ask, until they end; what they return. Requests are appended to `asked`, if that is given."""
    with contextlib.closing(steps):
        try:
            request = next(steps)
            while True:
                if asked is not None:
                    asked.append(request)
                request = steps.send(request.answer())
        except StopIteration as end:
            return end.value

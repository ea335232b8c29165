"""What the arguments of a fit mean: how it runs, what it minimises, where it starts, and by which method."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import outputs, validation
from jitlogreg.interop.device_array import on_host
from jitlogreg.objective import Objective
from jitlogreg.outputs_objective import OutputsObjective, check_alone
from jitlogreg.solvers.direction import Method
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.monitor import Monitor
from jitlogreg.solvers.newton import Newton
from jitlogreg.solvers.newton_cg import NewtonCG
from jitlogreg.solvers.point import Task
from jitlogreg.solvers.steepest_descent import SteepestDescent


def _newton(task):
    """Newton's method: by conjugate gradients where no Hessian can be formed."""
    return Newton(task) if task.objective.has_hessian else NewtonCG(task)


METHODS: dict[str, Callable[[Task], Method]] = {
    "newton": _newton,
    "lbfgs": LBFGS,
    "gradient_descent": SteepestDescent,
}
SOLVERS = ("auto", *METHODS)

# "auto" takes Newton's method up to this m (n + 1)²: below it arithmetic does not dominate the time of an iteration
MAX_NEWTON_COST = 1e7

# "auto" takes conjugate gradients where X is too wide for a Hessian and has fewer numbers for each column than this:
# the vectors of L-BFGS would then take longer than X. 36 numbers a column, in 10,504 sparse rows, took 2.9 s instead of
# 6.2 s; 570 took 3.5 s instead of 3.3 s (Zen 5, two cores)
FEW_NUMBERS = 100


class Options(NamedTuple):
    """How a fit runs: the arguments of `fit` beside the data and the start, once they are checked."""

    solver: str
    tolerance: float
    max_iterations: int
    monitor: Monitor

    @classmethod
    def checked(
        cls,
        *,
        solver,
        tolerance,
        max_iterations,
        callback=None,
        progress=False,
        checkpoint=None,
        checkpoint_every=10,
        resume=None,
    ):
        """The options from arguments of `fit`.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
        """
        if solver not in SOLVERS:
            raise ValueError(f"solver: expected {', '.join(map(repr, SOLVERS))}, got {solver!r}")
        return cls(
            solver,
            validation.check_nonnegative("tolerance", tolerance),
            validation.check_count("max_iterations", max_iterations),
            Monitor.checked(callback, progress, checkpoint, checkpoint_every, resume),
        )


def objective_of(X: np.ndarray | Objective, y, *, link, target, **described) -> Objective:
    """X itself if it is an `Objective`, else the objective of these arrays; of a softmax without flat directions."""
    if isinstance(X, Objective):
        objective = check_alone(X, y=y, link=link, target=target, **described)
    else:
        make: type[Objective] = OutputsObjective
        if outputs.check_link(link) == "softmax":
            n_outputs = outputs.number_of_classes(y)
        elif isinstance(y, np.ndarray) and y.ndim == 2:
            n_outputs = y.shape[1]
            if n_outputs == 0:
                raise ValueError(f"y: expected at least one column, got shape {y.shape}")
        else:
            make, n_outputs = Objective, 1
        objective = make(X, y, link=link, n_outputs=n_outputs, target=target, **described)
    return objective.gauged() if objective.link == "softmax" else objective


def objective_in_memory(X, y, **described) -> Objective:
    """The objective of one model, of arrays in memory, whose rows others weigh."""
    if isinstance(X, Objective):
        raise TypeError("X: expected a numpy.ndarray, got an Objective: weights are laid on the rows themselves")
    validation.check_in_memory(X)
    objective = objective_of(X, y, **described)
    if isinstance(objective, OutputsObjective) and objective.link != "softmax":
        raise ValueError(f"y: expected labels of one model, got those of {objective.n_outputs}")
    return objective


def initial_theta(X, w, b, objective):
    """Where the run starts, as one vector."""
    if isinstance(objective, OutputsObjective):
        return objective.balanced(objective.initial_theta(w, b))
    n_parameters = objective.n_parameters
    w = np.zeros(X.shape[1]) if w is None else on_host(validation.check_coefficients(w, X)).astype(np.float64)
    b = validation.check_initial_intercept(b, w.dtype, n_parameters > len(w))
    return np.append(w, b)[:n_parameters]


def description_of(call, objective, **more):
    """What must be the same when a run of a call is resumed: its objective's data, and arguments by name."""
    description = {
        "call": call,
        **more,
        "target": objective.target,
        "shape": list(objective.shape),
        "dtype": objective.dtype.name,
        "fit_intercept": objective.has_intercept,
    }
    if isinstance(objective, OutputsObjective):
        description |= {"link": objective.link, "n_outputs": objective.n_outputs}
    return description


def chosen_solver(solver, objective):
    """The solver itself where "auto" was asked for."""
    if solver != "auto":
        return solver
    if objective.has_hessian:
        return "newton" if objective.shape[0] * objective.n_parameters**2 <= MAX_NEWTON_COST else "lbfgs"
    if objective.has_shared_hessian or not objective.has_mean_curvature:
        return "lbfgs"
    return "newton" if objective.n_numbers < FEW_NUMBERS * objective.n_features else "lbfgs"

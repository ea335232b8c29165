"""The fits of a bootstrap: to all rows, and from there to resamples of them, in groups side by side."""

import functools
from typing import NamedTuple

import numpy as np

from jitlogreg.row_passes import RowNorms
from jitlogreg.solvers.arguments import METHODS, chosen_solver, description_of
from jitlogreg.solvers.curvature import factorize
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.lockstep import Apart, SideBySide, lockstep
from jitlogreg.solvers.monitor import Progress, is_true
from jitlogreg.solvers.path import NOBODY, How, Stop, path_steps, stops_from_arrays, stops_to_arrays
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.requests import Request, completed
from jitlogreg.solvers.run import Run
from jitlogreg.solvers.standardize import ROWS, column_statistics

# Resamples that are fitted side by side, and how many at least and at most: their weights, 8 bytes a row, take no more
# memory than X where that has as many columns of float64
FEWEST, MOST = 8, 32


# ---------------------------------------------------------------- all rows


class Whole:
    """The fit to all rows, from which resamples begin, and its Hessian, which preconditions theirs.

    Attributes
    ----------
    objective, framed : Objective
        In the caller's columns, and in those in which the fit computes.
    w, b : ndarray, float
        Of a softmax ndarrays (n, K) and (K,).
    model : factored Hessian or None
        At the minimum, in the columns of `framed`; None where a Hessian is not formed.
    n_reads : int
    """

    def __init__(self, objective, options):
        self.objective, has_b = objective, objective.has_intercept
        self.columns = column_statistics(*objective.some_rows(ROWS), l2=objective.l2, has_intercept=has_b)
        methods = METHODS[chosen_solver(options.solver, objective)]
        run = Run(objective, methods, options.tolerance, np.zeros(objective.n_parameters), self.columns)
        alone = Apart([objective])
        lockstep(alone, {0: run.begin()})
        outcome = lockstep(alone, {0: run.minimise(run.start, options.max_iterations, NOBODY)})[0]
        if outcome.remedy is not None:
            raise ValueError(f"y: expected data whose objective has a minimum, got none: {outcome.message}")
        if not outcome.converged:
            raise ValueError(
                f"max_iterations: expected enough for the fit to all rows, which has ended: {outcome.message}"
            )
        self.w, self.b = run.parameters(outcome.point)
        self.framed, self.model = run.objective, None
        asked: list[Request] = []
        if objective.has_hessian:
            self.model = completed(factorize(self.framed, outcome.point.theta, run.spread), asked)
        self.n_reads = alone.n_reads + len(asked)

    def method(self, task):
        """The method of a resample's run."""
        return _Preconditioned(task, self.model, in_frame=self.framed.frame is not None)


class _Preconditioned(LBFGS):
    """L-BFGS, preconditioned by the Hessian of all rows at their minimum, if there is one."""

    def __init__(self, task, model, in_frame):
        super().__init__(task, model)
        self._in_frame = in_frame

    def is_well_conditioned_at(self, theta):
        """Whether the fit to all rows has needed no frame."""
        yield from ()
        return not self._in_frame


# ---------------------------------------------------------------- resamples


class Draws(NamedTuple):
    """Which resamples are drawn: `n_resamples` of them, from the number `first` on."""

    seed: int
    first: int
    n_resamples: int


def drawn(m, seed, number):
    """How often each row is drawn into a resample, as uint8, or wider if some row is drawn more often."""
    rows = np.random.default_rng([seed, number]).integers(0, m, m)
    counts = np.bincount(rows, minlength=m)
    return counts.astype(np.min_scalar_type(counts.max()))


def fit_resamples(whole: Whole, draws: Draws, options) -> tuple[list[Stop], int]:
    """A `Stop` for each resample until the callback ends that, and how often X was read for them."""
    objective, monitor = whole.objective, options.monitor
    solver = chosen_solver(options.solver, objective)
    first = {"seed": draws.seed, "first_resample": draws.first}
    description = description_of("bootstrap", objective, solver=solver, l2=objective.l2, **first)
    restored = monitor.checkpoint.restore(description, stops_to_arrays([], 0))
    monitor.checkpoint.begin(*objective.at_zero(), objective.fingerprint)
    stops = [] if restored is None else stops_from_arrays(restored, 0)[: draws.n_resamples]
    state = functools.partial(stops_to_arrays, stops, 0)
    size, n_reads, groups, is_stopped = min(max(FEWEST, objective.n_features), MOST), 0, 0, False
    how = How(whole.method, options.tolerance, options.max_iterations, lambda l2: whole.columns)
    row_norms = RowNorms(objective._data.X)
    with progress_bar("resamples", draws.n_resamples, enabled=monitor.progress) as advance:
        advance(len(stops), None)
        monitor.checkpoint.save(0, state)
        while len(stops) < draws.n_resamples and not is_stopped:
            numbers = range(draws.first + len(stops), draws.first + min(len(stops) + size, draws.n_resamples))
            of_group, reads = _fit_group(whole, how, draws.seed, numbers, row_norms)
            stops += of_group
            n_reads, groups = n_reads + reads, groups + 1
            advance(len(numbers), None)
            monitor.checkpoint.save(groups, state)
            if monitor.callback is not None:
                is_stopped = is_true(monitor.callback(Progress(len(stops), draws.n_resamples - len(stops))))
    monitor.checkpoint.save(groups, state, is_last=True)
    return stops, n_reads


def _models(objective, seed, numbers, row_norms):
    """The models of the resamples of these numbers."""
    weights = np.empty((len(numbers), objective.shape[0]))
    for k, number in enumerate(numbers):
        weights[k] = drawn(objective.shape[0], seed, number)
    if objective.sample_weight is not None:
        weights *= objective.sample_weight
    if objective.link == "softmax":
        return Apart([objective.reweighted(s) for s in weights])
    return SideBySide(objective.with_weights(weights), row_norms)


def _fit_group(whole, how, seed, numbers, row_norms):
    """The stops of the resamples of these numbers, and how often X was read. Their weights are gone when this ends."""
    objective, found = whole.objective, [[] for _ in numbers]
    models = _models(objective, seed, numbers, row_norms)
    start = objective.theta_of(whole.w, whole.b)
    paths = {k: path_steps(model, [objective.l2], how, found[k], start) for k, model in enumerate(models.objectives)}
    lockstep(models, paths)
    return [stop for (stop,) in found], models.n_reads

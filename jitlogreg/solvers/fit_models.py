"""`fit` of independent models of one X, in lockstep."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import outputs, validation
from jitlogreg.solvers.checkpoint import Checkpoint
from jitlogreg.solvers.direction import Method
from jitlogreg.solvers.lockstep import SideBySide, lockstep
from jitlogreg.solvers.monitor import Monitor, State, is_true
from jitlogreg.solvers.point import Point, Task, number_or_array
from jitlogreg.solvers.progress import progress_bar
from jitlogreg.solvers.run import Outcome, Run


class FitOfModels(NamedTuple):
    """What the runs of K models have come to.

    Attributes
    ----------
    runs : list of Run
    outcomes : list of Outcome
    n_reads : int
    """

    runs: list[Run]
    outcomes: list[Outcome]
    n_reads: int


def fit_models(objective, methods: Callable[[Task], Method], options, description, *, w, b) -> FitOfModels:
    """Fit the models of an objective side by side.

    Parameters
    ----------
    objective : OutputsObjective
        Of independent models.
    methods : callable
        What makes the method of a run.
    options : Options
    description : dict
        What must be the same when the fit is resumed.
    w, b : optional
        Where to start: (n, K), and (K,) or a number.
    """
    models, monitor = SideBySide(objective), options.monitor
    names = [f"{field}_{k}" for k in range(objective.n_outputs) for field in Point._fields]
    restored = monitor.checkpoint.restore(description, ("start", *names))
    start = _start(objective, w, b) if restored is None else restored["start"]
    runs = [
        Run(of_model, methods, options.tolerance, theta)
        for of_model, theta in zip(models.objectives, start, strict=True)
    ]
    lockstep(models, {k: run.begin() for k, run in enumerate(runs)})
    losses, gradients = np.array([run.start.loss for run in runs]), np.stack([run.start.gradient for run in runs])
    monitor.checkpoint.begin(losses, gradients, objective.fingerprint, start=start)
    points = [run.start if restored is None else _point(restored, k) for k, run in enumerate(runs)]
    with progress_bar("models", len(runs), enabled=monitor.progress) as advance:
        follower = _Follower(monitor, runs, points, advance)
        steps = {
            k: run.minimise(point, options.max_iterations, follower.of_model(k))
            for k, (run, point) in enumerate(zip(runs, points, strict=True))
        }
        outcomes = lockstep(models, steps, follower.after_round)
    return FitOfModels(runs, [outcomes[k] for k in range(len(runs))], models.n_reads)


def _start(objective, w, b):
    """θ of each model, one per row."""
    n, K, has_b = objective.n_features, objective.n_outputs, objective.has_intercept
    theta = np.zeros((K, n + has_b))
    if w is not None:
        W = validation.check_coefficients_of_outputs(w, objective)
        if W.shape[1] != K:
            raise ValueError(f"w: expected {K} columns, one per column of y, got {W.shape[1]}")
        theta[:, :n] = W.T
    b = outputs.check_intercepts(b, K, theta.dtype)
    if has_b:
        theta[:, n] = b
    elif np.any(b):
        raise ValueError(f"b: expected 0 with fit_intercept=False, got {b}")
    return theta


def _point(restored, k):
    return Point(*(number_or_array(restored[f"{field}_{k}"]) for field in Point._fields))


class _Follower:
    """Shows the callback, the progress bar and the checkpoint where all models stand, after each round."""

    def __init__(self, monitor, runs, points, advance):
        self._monitor, self._runs, self._points, self._advance = monitor, runs, list(points), advance
        self._rounds, self._running, self._is_stopped = 0, len(runs), False

    def of_model(self, k):
        """The monitor of one model's run."""
        callback = None if self._monitor.callback is None else lambda state: self._is_stopped
        return Monitor(callback, False, _Trace(self._points, k))

    def after_round(self, running):
        """Follow the models that still run."""
        losses = [point.loss for point in self._points]
        self._advance(self._running - len(running), float(np.mean(losses)))
        self._running = len(running)
        self._monitor.checkpoint.save(self._rounds, self._state, is_last=not running)
        self._rounds += 1
        if self._monitor.callback is not None and running:
            self._is_stopped = is_true(self._monitor.callback(self._shown()))

    def _state(self):
        return {
            f"{field}_{k}": value for k, point in enumerate(self._points) for field, value in point._asdict().items()
        }

    def _shown(self):
        parameters = [run.parameters(point) for run, point in zip(self._runs, self._points, strict=True)]
        norms = [run.gradient_norm(point) for run, point in zip(self._runs, self._points, strict=True)]
        return State(
            max(point.iteration for point in self._points),
            np.array([point.loss for point in self._points]),
            np.array(norms),
            np.stack([w for w, _ in parameters], axis=1),
            np.array([b for _, b in parameters]),
        )


class _Trace(Checkpoint):
    """Stands where a run alone has its checkpoint, and keeps the point at which its next iteration begins."""

    def __init__(self, points, k):
        super().__init__(None, 1, None)
        self._points, self._k = points, k

    def save(self, iteration, make_state, *, is_last=False):
        """Keep the point."""
        self._points[self._k] = Point(**make_state())

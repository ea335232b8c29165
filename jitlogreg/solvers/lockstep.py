"""Many runs at once, on independent models of one X: one read of X answers all that wait for the same kind of answer.

Each model has its own labels, weights, offset and penalty, and takes its own way to its own end. What one run asks does
not depend on the others, and neither do the bits of an answer; so a model has the bits that it has alone. One that has
converged asks no more, and what is left costs less.
"""

import contextlib
from typing import Any

import numpy as np

from jitlogreg import row_passes
from jitlogreg.solvers.requests import Doubt, Evaluation, Product, Request, Steps


class Apart:
    """Models whose reads of X nobody shares: one alone, or softmax models.

    Parameters
    ----------
    objectives : list of SolverObjective

    Attributes
    ----------
    objectives : list of SolverObjective
    n_reads : int
        How often X was read; a sample's Hessian, which reads few rows, does not count.
    """

    def __init__(self, objectives):
        self.objectives, self._last = objectives, {}
        self.n_reads = sum(objective._at_zero is not None for objective in objectives)  # by the check of the data

    def answer(self, waiting):
        """The answers to some or all of the requests, by the numbers of the models that wait for them."""
        return {k: self._answer(k, request) for k, request in waiting.items()}

    def _answer(self, k, request):
        objective = request.objective
        if type(request) is not Evaluation:
            self.n_reads += objective.shape[0] == self.objectives[k].shape[0]
            return request.answer()
        sums = self._known(k, request)
        if sums is None:
            self.n_reads += 1
            sums = objective.sums_of(request.theta)
            self._keep(k, request, sums)
        return objective.from_sums(sums, request.theta)

    def _keep(self, k, request, sums):
        """Keep the sums of a model's last θ: the next penalty begins there."""
        self._last[k] = request.theta, request.objective.frame, sums

    def _known(self, k, request):
        """The sums at the model's last θ if that is asked for, or None."""
        theta, frame, sums = self._last.get(k, (None, None, None))
        is_known = theta is not None and frame is request.objective.frame and np.array_equal(theta, request.theta)
        return sums if is_known else None


class SideBySide(Apart):
    """Independent models of one X, whose evaluations share reads of it.

    Parameters
    ----------
    objective : OutputsObjective
        Of independent models; `objectives` are those of each alone.
    row_norms : RowNorms, optional
        Of X, from an earlier group of models.
    """

    def __init__(self, objective, row_norms=None):
        super().__init__([objective.model(k) for k in range(objective.n_outputs)])
        self._target, self._problem = objective._target, objective._problem
        self._row_norms = row_passes.RowNorms(objective._data.X) if row_norms is None else row_norms
        self._taken = None, None
        self.n_reads = int(objective._at_zero is not None)

    def answer(self, waiting):
        """The answers to some of the requests, by the numbers of the models that wait for them.

        First come those that no read answers for others too; then those of one kind and frame, from one read. So models
        whose ways differ meet again for the next read.
        """
        apart, kinds = {}, {kind: {} for kind in _TOGETHER}
        for k, request in waiting.items():
            kind, frame = type(request), request.objective.frame
            if kind not in kinds or (kind is Evaluation and self._known(k, request) is not None):
                apart[k] = self._answer(k, request)
            else:
                of_frame = None if frame is None else frame.packed.tobytes()
                kinds[kind].setdefault(of_frame, {})[k] = request
        if apart:
            return apart
        kind, frames = next((kind, frames) for kind, frames in kinds.items() if frames)
        requests = next(iter(frames.values()))
        problem = self._problem_of(tuple(requests))
        problem = problem._replace(frame=next(iter(requests.values())).objective.frame)
        return dict(zip(requests, _TOGETHER[kind](self, problem, requests), strict=True))

    def _problem_of(self, numbers):
        """The data of some models, in rows side by side. What was taken last is kept; for all models nothing is."""
        if numbers == tuple(range(len(self.objectives))):
            return self._problem
        if self._taken[0] != numbers:
            self._taken = None, None  # before as much memory is taken again
            rows = list(numbers)
            of_models = {
                name: array if array is None or array.ndim == 1 else np.ascontiguousarray(array[rows])
                for name, array in (
                    ("y", self._problem.y),
                    ("sample_weight", self._problem.sample_weight),
                    ("offset", self._problem.offset),
                )
            }
            self._taken = numbers, self._problem._replace(**of_models)
        return self._taken[1]

    # ---------------------------------------------------------------- answers to many

    def _evaluations(self, problem, requests):
        self.n_reads += 1
        sums = self._target.sums_of_outputs("sigmoid", problem, *_columns(requests, "theta"), True)
        for j, (k, request) in enumerate(requests.items()):
            own = sums.of_model(j)
            self._keep(k, request, own)
            yield request.objective.from_sums(own, request.theta)

    def _products(self, problem, requests):
        self.n_reads += 1
        of_w, of_b = self._target.hessian_vector_sums_of_outputs(
            "sigmoid", problem, *_columns(requests, "theta"), *_columns(requests, "v")
        )
        for j, request in enumerate(requests.values()):
            yield request.objective.product_from_sums(np.ascontiguousarray(of_w[:, j]), float(of_b[j]), request.v)

    def _doubts(self, problem, requests):
        at, enough = _columns(requests, "theta"), np.array([request.enough for request in requests.values()])
        if problem.frame is None and self._row_norms.can_be_known:
            self.n_reads += not self._row_norms.are_known
            least = row_passes.least_possible_doubts(self._row_norms, problem, *at)
            if np.all(least > enough):
                return least.tolist()
        self.n_reads += 1
        return row_passes.smallest_doubts(self._target, problem, *at)


# In the order in which they are answered
_TOGETHER = {Evaluation: SideBySide._evaluations, Product: SideBySide._products, Doubt: SideBySide._doubts}


def _columns(requests, name):
    """W (n, K) and b (K,) of what requests have by this name."""
    parts = [request.objective.split(getattr(request, name)) for request in requests.values()]
    return np.stack([w for w, _ in parts], axis=1), np.array([b for _, b in parts])


@np.errstate(all="ignore")
def lockstep(models: Apart, steps: dict[int, Steps], after_round=None):
    """Run the steps of some models to their ends. Returns what they return, by the models' numbers.

    `after_round`, a function of the numbers of the models that still run, is called after each round of answers; they
    run no further if it returns True.
    """
    results: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        for of_model in steps.values():
            stack.enter_context(contextlib.closing(of_model))
        answers, waiting = dict.fromkeys(steps), dict[int, Request]()
        while answers:
            for k, answer in answers.items():
                waiting.pop(k, None)
                try:
                    waiting[k] = steps[k].send(answer)
                except StopIteration as end:
                    results[k] = end.value
            if after_round is not None and after_round(list(waiting)):
                break
            answers = models.answer(waiting) if waiting else {}
    return results

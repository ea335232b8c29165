"""Many runs at once, on independent models of one X: one read of X answers all that wait for the same kind of answer.

Each model has its own labels, weights, offset and penalty, and takes its own way to its own end. What one run asks does
not depend on the others, and neither do the bits of an answer; so a model has the bits that it has alone. One that has
converged asks no more, and what is left costs less.
"""

import contextlib

import numpy as np

from jitlogreg import row_passes
from jitlogreg.solvers.requests import Doubt, Evaluation, Product, Steps


class Models:
    """Independent models of one X.

    Parameters
    ----------
    objective : OutputsObjective
        Of independent models.

    Attributes
    ----------
    objectives : list of Objective
        That of each model, as it would be alone.
    n_reads : int
        How often X was read; a sample's Hessian, which reads few rows, does not count.
    """

    def __init__(self, objective):
        self.objectives = [objective.model(k) for k in range(objective.n_outputs)]
        self._target, self._problem = objective._target, objective._problem
        self._taken = None, None
        self._last: dict = {}
        self.n_reads = 1  # by the check of the data

    def answer(self, waiting):
        """The answers to requests, by the numbers of the models that wait for them."""
        answers, groups = {}, {}
        for k, request in waiting.items():
            answer_all = _TOGETHER.get(type(request))
            if answer_all is None:
                answers[k] = request.answer()
                self.n_reads += request.objective.shape[0] == self._problem.X.shape[0]
            elif type(request) is Evaluation and self._is_known(k, request):
                answers[k] = self._from_sums(request, self._last[k][2])
            else:
                frame = request.objective.frame
                key = answer_all, None if frame is None else frame.packed.tobytes()
                groups.setdefault(key, {})[k] = request
        for (answer_all, _), requests in groups.items():
            numbers, requests = tuple(requests), list(requests.values())
            problem = self._problem_of(numbers)._replace(frame=requests[0].objective.frame)
            answers |= zip(numbers, answer_all(self, numbers, problem, requests), strict=True)
            self.n_reads += 1
        return answers

    def _problem_of(self, numbers):
        """The data of some models, in rows side by side. What was taken last is kept."""
        if self._taken[0] != numbers:
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

    def _evaluations(self, numbers, problem, requests):
        """Losses and gradients. The sums of each model's last θ are kept: the next penalty begins there."""
        sums = self._target.sums_of_outputs("sigmoid", problem, *_columns(requests, "theta"), True)
        for j, (k, request) in enumerate(zip(numbers, requests, strict=True)):
            self._last[k] = request.theta, problem.frame, sums.of_model(j)
            yield self._from_sums(request, self._last[k][2])

    def _is_known(self, k, request):
        theta, frame, _ = self._last.get(k, (None, None, None))
        return theta is not None and frame is request.objective.frame and np.array_equal(theta, request.theta)

    def _from_sums(self, request, sums):
        return request.objective.from_sums(sums, request.theta)

    def _products(self, numbers, problem, requests):
        of_w, of_b = self._target.hessian_vector_sums_of_outputs(
            "sigmoid", problem, *_columns(requests, "theta"), *_columns(requests, "v")
        )
        for j, request in enumerate(requests):
            yield request.objective.product_from_sums(np.ascontiguousarray(of_w[:, j]), float(of_b[j]), request.v)

    def _doubts(self, numbers, problem, requests):
        return row_passes.smallest_doubts(self._target, problem, *_columns(requests, "theta"))


_TOGETHER = {Evaluation: Models._evaluations, Product: Models._products, Doubt: Models._doubts}


def _columns(requests, name):
    """W (n, K) and b (K,) of what requests have by this name."""
    parts = [request.objective.split(getattr(request, name)) for request in requests]
    return np.stack([w for w, _ in parts], axis=1), np.array([b for _, b in parts])


@np.errstate(all="ignore")
def lockstep(models: Models, steps: dict[int, Steps], after_round=None):
    """Run the steps of some models to their ends. Returns what they return, by the models' numbers.

    `after_round`, a function of the numbers of the models that still run, is called after each round of answers.
    """
    results, waiting = {}, {}
    with contextlib.ExitStack() as stack:
        for of_model in steps.values():
            stack.enter_context(contextlib.closing(of_model))
        answers = dict.fromkeys(steps)
        while answers:
            waiting = {}
            for k, answer in answers.items():
                try:
                    waiting[k] = steps[k].send(answer)
                except StopIteration as end:
                    results[k] = end.value
            if after_round is not None:
                after_round(list(waiting))
            answers = models.answer(waiting)
    return results

"""One step of gradient descent in the notes' for-loops, NumPy and each target, compared and timed."""

import statistics
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli.numpy_baseline import check_answer, numpy_loss_and_gradient, rounding_of_gradient
from jitlogreg.cli.timing import in_turn
from jitlogreg.targets.reference import step_loop

# How many elements of X the for-loops process: tenths of a second
_LOOP_NUMBERS = 500_000


class Timing(NamedTuple):
    """Medians: the seconds of one step, the speed-up over the for-loops, and the bytes of X per time in GB/s."""

    name: str
    seconds: float
    speedup: float
    gb_per_s: float
    remark: str = ""


def time_steps(X, y, learning_rate, targets, rounds):
    """Time one step in for-loops, NumPy and each target, once they agree.

    Parameters
    ----------
    X : ndarray of float64, shape (m, n)
    y : ndarray of float64, shape (m,)
    learning_rate : float
    targets : list of str
    rounds : int

    Returns
    -------
    timings : list of Timing
        The for-loops first. If X is large they process its first rows, and their time is scaled; a remark says so.

    Raises
    ------
    WrongAnswerError
        If two of them differ by more than rounding errors.
    """
    m, n = X.shape
    # margins of at most 1: if a rounds to 1, the notes' loss takes the logarithm of 0
    w = np.linspace(-1, 1, n)
    w /= max(np.abs(X @ w).max(), 1e-300)
    m_loop = min(m, max(1, _LOOP_NUMBERS // n))
    X_list, y_list, w_list = X[:m_loop].tolist(), y[:m_loop].tolist(), w.tolist()

    def by_loops():
        return step_loop(X_list, y_list, w_list, 0.0, learning_rate)

    def by(evaluate, rows):
        loss, dw, db = evaluate(X[:rows], y[:rows], w, 0.0)
        return loss, w - learning_rate * dw, 0.0 - learning_rate * db

    evaluations = {"NumPy": numpy_loss_and_gradient}
    for target in targets:
        evaluations[f"jitlogreg {target}"] = lambda *data, target=target: jlr.loss_and_gradient(*data, target=target)

    _check("the for-loops", by_loops(), X[:m_loop], y[:m_loop], w, learning_rate, one_by_one=True)
    for name, evaluate in evaluations.items():
        _check(name, by(evaluate, m), X, y, w, learning_rate)

    calls = [by_loops, *(lambda evaluate=evaluate: by(evaluate, m) for evaluate in evaluations.values())]
    seconds = in_turn(calls, rounds)
    seconds[0] *= m / m_loop
    timings = [
        Timing(
            name,
            statistics.median(own),
            statistics.median(seconds[0] / own),
            X.nbytes / statistics.median(own) / 1e9,
        )
        for name, own in zip(["Python for-loops", *evaluations], seconds, strict=True)
    ]
    if m_loop < m:
        timings[0] = timings[0]._replace(remark=f" (first {m_loop} of {m} rows, scaled)")
    return timings


def _check(name, step, X, y, w, learning_rate, one_by_one=False):
    loss, dw, db = jlr.loss_and_gradient(X, y, w, target="reference")
    expected = loss, w - learning_rate * dw, -learning_rate * db
    of_loss, of_dw, of_db = rounding_of_gradient(X, w, 0.0, one_by_one)
    of_update = np.finfo(np.float64).eps * (np.abs(w) + np.abs(expected[1]))
    check_answer(name, step, expected, (of_loss, learning_rate * of_dw + of_update, learning_rate * of_db))

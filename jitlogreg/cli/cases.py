"""One operation on one X, timed in NumPy, the targets and other libraries once their answers are right."""

import statistics

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import bandwidth
from jitlogreg.cli.numpy_baseline import (
    check_answer,
    numpy_forward,
    numpy_loss_and_gradient,
    rounding_of_forward,
    rounding_of_gradient,
    times_rounding,
)
from jitlogreg.cli.timing import in_turn

OPERATIONS = ("loss_and_gradient", "forward")


def rows_of_case(operation, m, n, dtype, order, targets, rounds, peers=None):
    """Time one operation on one X in NumPy, each target and each peer.

    Parameters
    ----------
    operation : {"loss_and_gradient", "forward"}
    m, n : int
    dtype : {"float64", "float32"}
    order : {"C", "F"}
    targets : list of str
    rounds : int
    peers : dict of str to callable, optional
        As `peers.installed` returns them.

    Returns
    -------
    list of dict
        With `operation`, `shape`, `dtype`, `order`, `implementation`, `seconds`, `gb_per_s`, `percent_of_limit`,
        `speedup` (over NumPy), `times_ours` (the time over that of the first target) and `remark`. The first is the
        limit: the faster of two ways to read the same bytes, round by round.

    Raises
    ------
    WrongAnswerError
        If the answer of NumPy or a target is off by more than rounding errors. For a peer, its remark says so.
    """
    data = example(m, n, dtype, order)
    calls = own_calls(operation, *data, targets)
    answer = expected(operation, *data)
    others = {name: prepare(operation, *data) for name, prepare in (peers or {}).items()}
    common = {"operation": operation, "shape": [m, n], "dtype": dtype, "order": order}
    check_own(common, calls, answer)
    return timed_rows(common, bytes_read(operation, *data), calls, others, answer, rounds)


def bytes_read(operation, X, y, w, _):
    """The arrays that an operation reads once."""
    return (X, w) if operation == "forward" else (X, y, w)


def check_own(common, calls, answer):
    """Check what calls return.

    Raises
    ------
    WrongAnswerError
    """
    m, n = common["shape"]
    of_outputs = f" K = {common['outputs']}" if "outputs" in common else ""
    for name, call in calls.items():
        on = f"{m}x{n}{of_outputs} {common['dtype']} {common['order']}"
        check_answer(f"{common['operation']} of {name}, {on}", call(), *answer)


def timed_rows(common, arrays, calls, others, answer, rounds, of_one=None):
    """Time the limit, then calls by name, NumPy's and those of targets, then others.

    Parameters
    ----------
    common : dict
        What all rows have.
    arrays : sequence of ndarray
        What is read.
    calls, others : dict of str to callable
        The answers of others are compared with the right one: the remark says how far they are off.
    answer : pair of tuples
        The right results, and bounds on their rounding errors.
    rounds : int
    of_one : callable, optional
        The same for one output, to which `times_one` relates the times.

    Returns
    -------
    list of dict
        As `rows_of_case` describes it.
    """
    remarks = {name: _remark(times_rounding(call(), *answer)) for name, call in others.items()}
    first_target = list(calls)[1]
    calls = calls | others
    readers = bandwidth.readers(*arrays)
    seconds = in_turn([*readers, *calls.values(), *([of_one] if of_one else [])], rounds)
    limit, own_of_one = np.min(seconds[: len(readers)], axis=0), seconds[-1]
    of_calls = seconds[len(readers) : len(readers) + len(calls)]
    seconds = {"limit": limit, **dict(zip(calls, of_calls, strict=True))}
    n_bytes = sum(array.nbytes for array in arrays)
    return [
        common
        | {
            "implementation": name,
            "seconds": statistics.median(own),
            "gb_per_s": n_bytes / statistics.median(own) / 1e9,
            "percent_of_limit": 100 * statistics.median(limit / own),
            "speedup": statistics.median(seconds["NumPy"] / own),
            "times_ours": statistics.median(own / seconds[first_target]),
            "remark": remarks.get(name, ""),
        }
        | ({"times_one": statistics.median(own / own_of_one)} if of_one else {})
        for name, own in seconds.items()
    ]


def example(m, n, dtype, order):
    """Random X, y, w, b with margins of deviation 1, as in trained models."""
    rng = np.random.default_rng(0)
    shape = (m, n) if order == "C" else (n, m)
    X = rng.standard_normal(shape, dtype)
    X = X if order == "C" else X.T
    w = rng.standard_normal(n, dtype) / X.dtype.type(np.sqrt(n))
    return X, rng.integers(0, 2, m).astype(dtype), w, 0.25


def own_calls(operation, X, y, w, b, targets):
    """Functions without arguments, by name: of NumPy, then of each target. They return tuples of results."""
    if operation == "forward":
        calls = {"NumPy": lambda: (numpy_forward(X, w, b),)}
        return calls | {target: lambda target=target: (jlr.forward(X, w, b, target=target),) for target in targets}
    data = X, y, w, b
    calls = {"NumPy": lambda: numpy_loss_and_gradient(*data)}
    return calls | {target: lambda target=target: jlr.loss_and_gradient(*data, target=target) for target in targets}


def expected(operation, X, y, w, b):
    """The reference's answer, and bounds on the rounding errors in X's dtype."""
    if operation == "forward":
        return (jlr.forward(X, w.astype(np.float64), b, target="reference"),), (rounding_of_forward(X, w, b),)
    right = jlr.loss_and_gradient(X, y, w.astype(np.float64), b, target="reference")
    return right, rounding_of_gradient(X, w, b)


def _remark(times):
    return f"answer off by {times:.3g} x rounding" if times else ""

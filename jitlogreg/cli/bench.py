"""Time the kernels against NumPy and against the speed at which this machine reads memory."""

import functools
import json
import statistics

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import bandwidth, options
from jitlogreg.cli.errors import UsageError
from jitlogreg.cli.machine import machine, print_load, versions
from jitlogreg.cli.spellings import (
    check_answer,
    numpy_forward,
    numpy_loss_and_gradient,
    rounding_of_forward,
    rounding_of_gradient,
)
from jitlogreg.cli.tables import print_table
from jitlogreg.cli.timing import in_turn
from jitlogreg.targets import choose
from jitlogreg.targets.reference import dot_loop

# The notes' vectors
_DOT_LENGTH = 1_000_000
_OPERATIONS = ("loss_and_gradient", "forward")


def add_options(parser):
    """Add the options of `jitlogreg bench`."""
    parser.add_argument(
        "--shapes",
        type=options.shapes,
        default="1000x20,1000000x28,50000x256",
        help="shapes of X, rows x columns (%(default)s)",
    )
    parser.add_argument(
        "--dtype",
        type=options.one_or_more("float64", "float32"),
        default="float64,float32",
        help="dtypes of X (%(default)s)",
    )
    parser.add_argument(
        "--order", type=options.one_or_more("C", "F"), default="C,F", help="memory orders of X (%(default)s)"
    )
    parser.add_argument("--operation", choices=_OPERATIONS, default=_OPERATIONS[0], help="what to time (%(default)s)")
    parser.add_argument(
        "--rounds", type=options.positive_integer, default=5, help="how often each is timed (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the machine and the versions")
    options.add_target_option(parser, "time this target alone, beside NumPy; as does the variable JITLOGREG_TARGET")


def run(options_):
    """Measure, and print tables or JSON."""
    targets = options.selected_targets(options_.target)
    here = machine()
    if not here["threads"]:
        raise UsageError(f"Numba has no threads to run on: {here['threading_layer']}")
    dot = dot_rows(targets, options_.rounds)
    if not options_.json:
        _print_dot(dot)
    rows = []
    for m, n in options_.shapes:
        of_shape = [
            row
            for dtype in options_.dtype
            for order in options_.order
            for row in rows_of_case(options_.operation, m, n, dtype, order, targets, options_.rounds)
        ]
        rows += of_shape
        if not options_.json:
            _print_rows(f"{options_.operation}, {m} x {n}", of_shape)
    if options_.json:
        print(json.dumps({"machine": here, "versions": versions(), "dot": dot, "rows": rows}, indent=2))
    else:
        print()
        print("GB/s: bytes of X, y and w, each counted once, over the time.")
        print(
            "% of read: of the GB/s at which the threads read the same X and add it up (from 1 MiB on; below it, one)."
        )
        print(f"Medians of {options_.rounds} rounds, in which everything takes its turn.")
        print_load(here["load"])


def dot_rows(targets, rounds):
    """Time the notes' dot product of two random vectors, by a for-loop, by NumPy and by each target.

    Returns
    -------
    list of dict
        With `implementation`, `seconds`, `gb_per_s`, `speedup` (over the for-loop) and `result`.
    """
    u, v = np.random.default_rng(0).random((2, _DOT_LENGTH))
    u_list, v_list = u.tolist(), v.tolist()  # a for-loop takes twice as long over an array
    calls = {"Python for-loop": lambda: dot_loop(u_list, v_list), "NumPy": lambda: float(np.dot(u, v))}
    calls |= {target: functools.partial(choose(target).dot, u, v) for target in targets}
    results = {name: call() for name, call in calls.items()}
    bound = 8 * np.sqrt(_DOT_LENGTH) * np.finfo(float).eps / 2 * float(u @ v)
    for name, result in results.items():
        check_answer(f"the dot product of {name}", [result], [results["Python for-loop"]], [2 * bound])
    seconds = in_turn(list(calls.values()), rounds)
    return [
        {
            "implementation": name,
            "seconds": statistics.median(own),
            "gb_per_s": (u.nbytes + v.nbytes) / statistics.median(own) / 1e9,
            "speedup": statistics.median(seconds[0] / own),
            "result": results[name],
        }
        for name, own in zip(calls, seconds, strict=True)
    ]


def rows_of_case(operation, m, n, dtype, order, targets, rounds):
    """Time one operation on one X, by NumPy and by each target, once their answers agree.

    Returns
    -------
    list of dict
        With `operation`, `shape`, `dtype`, `order`, `implementation`, `seconds`, `gb_per_s`, `percent_of_read` and
        `speedup` (over NumPy). The first is the read that the percentages refer to.
    """
    X, y, w, b = _example(m, n, dtype, order)
    if operation == "forward":
        data = (X, w)
        calls = {"NumPy": lambda: numpy_forward(X, w, b)}
        calls |= {target: lambda target=target: jlr.forward(X, w, b, target=target) for target in targets}
        results = {name: (call(),) for name, call in calls.items()}
        expected = (jlr.forward(X, w.astype(np.float64), b, target="reference"),)
        bounds = (rounding_of_forward(X, w, b),)
    else:
        data = (X, y, w)
        calls = {"NumPy": lambda: numpy_loss_and_gradient(X, y, w, b)}
        calls |= {target: lambda target=target: jlr.loss_and_gradient(X, y, w, b, target=target) for target in targets}
        results = {name: call() for name, call in calls.items()}
        expected = jlr.loss_and_gradient(X, y, w.astype(np.float64), b, target="reference")
        bounds = rounding_of_gradient(X, w, b)
    for name, result in results.items():
        check_answer(f"{operation} of {name}, {m}x{n} {dtype} {order}", result, expected, bounds)

    calls = {"read": lambda: bandwidth.read(X), **calls}
    seconds = dict(zip(calls, in_turn(list(calls.values()), rounds), strict=True))
    n_bytes = dict.fromkeys(calls, sum(array.nbytes for array in data)) | {"read": X.nbytes}
    rates = {name: n_bytes[name] / own for name, own in seconds.items()}
    return [
        {
            "operation": operation,
            "shape": [m, n],
            "dtype": dtype,
            "order": order,
            "implementation": name,
            "seconds": statistics.median(own),
            "gb_per_s": n_bytes[name] / statistics.median(own) / 1e9,
            "percent_of_read": 100 * statistics.median(rates[name] / rates["read"]),
            "speedup": statistics.median(seconds["NumPy"] / own),
        }
        for name, own in seconds.items()
    ]


def _example(m, n, dtype, order):
    """Random X, y, w, b with margins of deviation 1, as trained models have them."""
    rng = np.random.default_rng(0)
    shape = (m, n) if order == "C" else (n, m)
    X = rng.standard_normal(shape, dtype)
    X = X if order == "C" else X.T
    w = rng.standard_normal(n, dtype) / X.dtype.type(np.sqrt(n))
    return X, rng.integers(0, 2, m).astype(dtype), w, 0.25


def _print_dot(rows):
    print_table(
        ("<dot product of", ">ms", ">GB/s", ">speed-up", ">result"),
        [
            (
                row["implementation"],
                f"{1e3 * row['seconds']:.3f}",
                f"{row['gb_per_s']:.2f}",
                f"{row['speedup']:.1f}",
                f"{row['result']:.6f}",
            )
            for row in rows
        ],
        title=f"Two random vectors of {_DOT_LENGTH} elements; speed-up over the for-loop",
    )


def _print_rows(title, rows):
    print()
    print_table(
        ("<dtype", "<order", "<by", ">ms", ">GB/s", ">% of read", ">x NumPy"),
        [
            (
                row["dtype"],
                row["order"],
                row["implementation"],
                f"{1e3 * row['seconds']:.3f}",
                f"{row['gb_per_s']:.2f}",
                f"{row['percent_of_read']:.0f}",
                f"{row['speedup']:.2f}",
            )
            for row in rows
        ],
        title=title,
    )

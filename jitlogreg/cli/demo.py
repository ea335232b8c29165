"""Learn from real data by gradient descent, and time one step in for-loops, NumPy and compiled kernels."""

import math
import sys
import warnings
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import data, options, picture
from jitlogreg.cli.demo_timing import time_steps
from jitlogreg.cli.errors import UsageError, optional_module
from jitlogreg.cli.machine import load, print_load
from jitlogreg.cli.tables import print_table

# Data below this size stays in the caches, where a step takes little more than the call: it is also timed repeated
_LARGE = 128 * 2**20
_ROUNDS = 5


def add_options(parser):
    """Add the options of `jitlogreg demo`."""
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="a .npz or .csv file to learn from; scikit-learn's breast-cancer data if left out",
    )
    parser.add_argument(
        "--label", metavar="NAME", help="the array or column of FILE that holds the labels, of two values"
    )
    parser.add_argument(
        "--iterations", type=options.positive_integer, default=500, help="steps of gradient descent (%(default)s)"
    )
    parser.add_argument(
        "--learning-rate",
        type=options.positive_number,
        help="1 / the objective's largest possible curvature if left out",
    )
    parser.add_argument(
        "--l2", type=options.nonnegative_number, default=0.0, help="penalty of l2/2 |w|^2 (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=options.nonnegative_integer, default=0, help="draws the rows that are held out (%(default)s)"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="jitlogreg-demo.png",
        help="where the picture goes: .png, .pdf or .svg (%(default)s)",
    )
    options.add_target_option(
        parser, "learn by this target, cpu if left out, and time it alone beside NumPy; as does JITLOGREG_TARGET"
    )


def run(options_):
    """Learn, print the result, time a step, and draw."""
    targets = options.selected_targets(options_.target)
    picture.check("--output", options_.output)
    if (options_.data is None) != (options_.label is None):
        raise UsageError("--data FILE and --label NAME: expected both or neither, got one")
    examples = data.breast_cancer() if options_.data is None else data.load(options_.data, options_.label)
    split = data.split(examples, options_.seed)
    m, n = examples.X.shape
    print(f"{examples.name}: {m} rows, {n} columns; {len(split.y_held_out)} of the rows held out")
    print(
        f"labels: 0 is {examples.classes[0]}, 1 is {examples.classes[1]} ({100 * examples.y.mean():.1f} % of the rows)"
    )

    learning_rate = options_.learning_rate or default_learning_rate(split.X, options_.l2)
    descent = _descend(split, learning_rate, options_)
    a = jlr.forward(split.X_held_out, descent.w, descent.b, target=options_.target)
    print(f"{descent.n_iterations} steps of gradient descent, learning rate {learning_rate:.4g}, l2 {options_.l2:g}")
    print(f"loss before {descent.loss_history[0]:.6f}, after {descent.loss_history[-1]:.6f} nats per example")
    right = np.mean((a >= 0.5) == split.y_held_out)
    more_frequent = max(split.y_held_out.mean(), 1 - split.y_held_out.mean())
    print(
        f"accuracy on held-out rows {100 * right:.2f} % (always the more frequent label: {100 * more_frequent:.2f} %)"
    )

    before = load()
    tables = _time(split, learning_rate, targets)
    print()
    print_load(before)
    picture.draw(options_.output, descent.loss_history, examples.name, tables)
    print(f"picture: {Path(options_.output).resolve()}")


def default_learning_rate(X, l2):
    """1 / L, where L bounds the curvature of the objective.

    Its second derivatives are at most λ/4 + l2, with λ the largest eigenvalue of AᵀA/m and A = [X 1], as σ' ≤ 1/4.
    Steps go downhill below 2 / L, so it is enough that power iteration finds more than half of λ.

    Parameters
    ----------
    X : ndarray of float64, shape (m, n)
    l2 : float

    Returns
    -------
    learning_rate : float
    """
    v = np.random.default_rng(0).standard_normal(X.shape[1] + 1)
    for _ in range(30):
        v /= np.linalg.norm(v)
        z = X @ v[:-1] + v[-1]
        v = np.append(X.T @ z, z.sum()) / len(X)
    return 1 / (np.linalg.norm(v) / 4 + l2)


def _descend(split, learning_rate, options_):
    progress = sys.stdout.isatty()
    if progress:
        optional_module("rich", "rich")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the loss is", RuntimeWarning)  # raised below
        descent = jlr.gradient_descent(
            split.X,
            split.y,
            learning_rate=learning_rate,
            n_iterations=options_.iterations,
            l2=options_.l2,
            progress=progress,
            target=options_.target,
        )
    if not math.isfinite(descent.loss_history[-1]):
        raise UsageError(
            f"the loss is no longer finite after {descent.n_iterations} steps: a smaller --learning-rate may help"
        )
    return descent


def _time(split, learning_rate, targets):
    X, y = split.X, split.y
    tables = {}
    copies = math.ceil(_LARGE / X.nbytes)
    if copies > 1:
        print()
        print(f"The {len(y)} rows are few: they stay in the caches, and the overhead of a call counts.")
        print(f"So each is timed on them, and on the same rows {copies} times over.")
    for repeated in sorted({1, copies}):
        rows = np.tile(X, (repeated, 1)), np.tile(y, repeated)
        size = f"{len(rows[0])} x {X.shape[1]}" + (f", the rows {repeated} times" if repeated > 1 else "")
        tables[size] = time_steps(*rows, learning_rate, targets, _ROUNDS)
        print()
        print_table(
            ("<one step by", ">ms", ">speed-up", ">GB/s"),
            [
                (one.name + one.remark, f"{1e3 * one.seconds:.3f}", f"{one.speedup:.1f}", f"{one.gb_per_s:.2f}")
                for one in tables[size]
            ],
            title=f"{size}; speed-up over the for-loops, GB/s: bytes of X over the time",
        )
    return tables

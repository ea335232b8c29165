"""Learn from a file or from built-in data, draw loss, ROC curve and calibration, and time one step."""

import math
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import data, options, picture
from jitlogreg.cli.demo_learning import default_learning_rate, descend, evaluate, fit
from jitlogreg.cli.demo_timing import time_steps
from jitlogreg.cli.errors import UsageError
from jitlogreg.cli.machine import load, print_load
from jitlogreg.cli.next_steps import next_steps
from jitlogreg.cli.tables import print_table

# Data below this size stays in the caches, where a step takes little more than the call: it is also timed repeated
_LARGE = 128 * 2**20
_ROUNDS = 5


def add_options(parser):
    """Add the options of `jitlogreg demo`."""
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="a .csv, .parquet, .npz or .svm file to learn from; scikit-learn's breast-cancer data if left out",
    )
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="the column or array of FILE that holds the labels, of two values; guessed if left out",
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
    if options_.label is not None and options_.data is None:
        raise UsageError(f"--label: expected --data FILE beside it, got {options_.label} alone")
    examples = data.breast_cancer() if options_.data is None else data.load(options_.data, options_.label)
    split = data.split(examples, options_.seed)
    _print_data(examples, split)

    learning_rate = options_.learning_rate or default_learning_rate(split.X, options_.l2)
    descent, fitted = descend(split, options_, learning_rate), fit(split, options_)
    _print_runs(descent, fitted, f"learning rate {learning_rate:.4g}, l2 {options_.l2:g}")
    a = jlr.forward(split.X_held_out, descent.result.w, descent.result.b, target=options_.target)
    quality = evaluate(split.y_held_out, a)
    _print_quality(quality)

    before = load()
    tables = _time(split, learning_rate, targets)
    print()
    print_load(before)
    runs = {"gradient descent": descent, "jlr.fit": fitted}
    picture.draw(options_.output, examples, runs, quality, tables)
    print(f"picture: {Path(options_.output).resolve()}")
    print()
    print("What to try next:")
    for line in next_steps(options_, examples, split, descent.result, fitted.result):
        print(f"  {line}")


def _print_data(examples, split):
    m, n = examples.X.shape
    print(f"{examples.name}: {m} rows, {n} columns; {len(split.y_held_out)} of the rows held out")
    for note in examples.notes:
        print(note)
    print(
        f"labels: 0 is {examples.classes[0]}, 1 is {examples.classes[1]} ({100 * examples.y.mean():.1f} % of the rows)"
    )


def _print_runs(descent, fitted, settings):
    before, after = descent.losses[0], descent.losses[-1]
    print(f"{descent.result.n_iterations} steps of gradient descent in {_duration(descent)}, {settings}")
    print(f"loss before {before:.6f}, after {after:.6f} nats per example")
    result = fitted.result
    print(f"jlr.fit: loss {result.loss:.6f} after {result.n_iterations} iterations in {_duration(fitted)}")
    print(f"  {result.message}")


def _duration(learnt):
    seconds = learnt.seconds[-1]
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _print_quality(quality):
    print(
        f"accuracy on held-out rows {100 * quality.accuracy:.2f} % "
        f"(always the more frequent label: {100 * quality.most_frequent:.2f} %)"
    )
    area = "none, as they all have one label" if quality.roc is None else f"{quality.roc_area:.4f}"
    print(f"area under the ROC curve on held-out rows: {area}")


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

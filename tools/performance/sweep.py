"""Sweep `loss_and_gradient` over the number of columns and the size of X: results/sweep.json, and a picture.

    python tools/performance/sweep.py                            # a minute or two on two cores, and 3 GB of memory
    python tools/performance/sweep.py --from results/sweep.json  # draw again
    python tools/performance/sweep.py --quick                    # small sizes, a few seconds

Only Numba's threads take part, and the next call takes up those that wait: none has to come to rest in between.
"""

import argparse
import datetime
import json
import math
import statistics
import sys
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import bandwidth
from jitlogreg.cli.machine import machine, versions
from jitlogreg.cli.numpy_baseline import check_answer, rounding_of_gradient
from jitlogreg.cli.timing import in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import FIGURES

DTYPES, ORDERS = ("float64", "float32"), ("C", "F")
# The columns of HIGGS, a data set of 11 million collisions that classifiers are often timed on
COLUMNS = 28
# Random numbers are drawn once; a larger X repeats them
DRAWN = 2**22
# Bytes of X that the reference checks
CHECKED = 2**19


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="draw this file's figures alone")
    parser.add_argument("--quick", action="store_true", help="few columns, small sizes")
    parser.add_argument("--size", type=float, metavar="MB", help="of X while n changes (256; 1 if quick)")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        fixed = int(2**20 * (options.size or (1 if options.quick else 256)))
        results = measure(shapes_by_columns(fixed, options.quick), shapes_by_size(options.quick), options.rounds)
        (FIGURES / "sweep.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(pictures.PICTURES / "sweep.svg", results)


def shapes_by_columns(n_bytes, quick):
    """From the bytes of a number to shapes (m, n) of one size: every n to 64, powers of two and their neighbours."""
    powers = [2**k for k in range(7, 13)]
    columns = (
        [1, 2, 3, 8, 9] if quick else [*range(1, 65), *(n for power in powers for n in (power - 1, power, power + 1))]
    )
    return lambda itemsize: [(max(1, n_bytes // (itemsize * n)), n) for n in columns]


def shapes_by_size(quick):
    """From the bytes of a number to shapes of growing size: powers of two, and half-steps where caches end."""
    sizes = [2**14, 2**17, 2**20] if quick else [2**k for k in range(14, 32)] + [3 * 2**k for k in range(18, 26)]
    return lambda itemsize: [(max(1, size // (itemsize * COLUMNS)), COLUMNS) for size in sorted(sizes)]


def measure(by_columns, by_size, rounds):
    here = machine()
    rows = []
    for dtype in DTYPES:
        itemsize = np.dtype(dtype).itemsize
        shapes = {"columns": by_columns(itemsize), "size": by_size(itemsize)}
        everything = [shape for some in shapes.values() for shape in some]
        rng = np.random.default_rng(0)
        numbers = np.resize(rng.standard_normal(DRAWN, dtype), max(m * n for m, n in everything))
        labels = rng.integers(0, 2, max(m for m, _ in everything)).astype(dtype)
        for order in ORDERS:
            print(dtype, order, file=sys.stderr)
            rows += [
                row(sweep, *example(numbers, labels, m, n, order), order, rounds)
                for sweep, some in shapes.items()
                for m, n in some
            ]
    return {
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "machine": here,
        "versions": versions(),
        "rows": rows,
    }


def example(numbers, labels, m, n, order):
    X = numbers[: m * n].reshape((m, n) if order == "C" else (n, m))
    w = np.random.default_rng(n).standard_normal(n, numbers.dtype) / numbers.dtype.type(np.sqrt(n))
    return X if order == "C" else X.T, labels[:m], w


def row(sweep, X, y, w, order, rounds):
    check(X, y, w, order)
    calls = [*bandwidth.readers(X, y, w), lambda: jlr.loss_and_gradient(X, y, w, 0.25, target="cpu")]
    *reads, own = in_turn(calls, rounds, wait=False)
    limit = np.min(reads, axis=0)
    return {
        "sweep": sweep,
        "shape": list(X.shape),
        "dtype": X.dtype.name,
        "order": order,
        "seconds": statistics.median(own),
        "limit_gb_per_s": (X.nbytes + y.nbytes + w.nbytes) / statistics.median(limit) / 1e9,
        "percent_of_limit": 100 * statistics.median(limit / own),
    }


def check(X, y, w, order):
    """The answer on the first rows against the reference's, and that on all against those of two parts together."""
    m, n = X.shape
    name = f"cpu, {m}x{n} {X.dtype} {order}"
    few = min(m, max(1, CHECKED // (X.itemsize * n)))
    bounds = rounding_of_gradient(X[:few], w, 0.25)
    expected = jlr.loss_and_gradient(X[:few], y[:few], w.astype(np.float64), 0.25, target="reference")
    check_answer(name, evaluate(X[:few], y[:few], w), expected, bounds)
    if few < m:
        cut = m // 3
        parts = evaluate(X[:cut], y[:cut], w), evaluate(X[cut:], y[cut:], w)
        together = [(cut * first + (m - cut) * second) / m for first, second in zip(*parts, strict=True)]
        # the roundings of a sum grow with the root of its length
        wider = [2 * math.sqrt(m / few) * bound for bound in bounds]
        check_answer(name, evaluate(X, y, w), together, wider)


def evaluate(X, y, w):
    return jlr.loss_and_gradient(X, y, w, 0.25, target="cpu")


def draw(path, results):
    size = next(nbytes(row) for row in results["rows"] if row["sweep"] == "columns")
    settings = {
        "columns": ("columns of X", f"X of {in_units(size)}, by columns", lambda row: row["shape"][1]),
        "size": ("size of X", f"X of {COLUMNS} columns, by size", nbytes),
    }
    with pictures.drawing(path, 11, 4.6) as figure:
        panels = figure.subplots(1, 2, sharey=True, width_ratios=(1.3, 1))
        for panel, (sweep, (label, title, place)) in zip(panels, settings.items(), strict=True):
            draw_lines(panel, [row for row in results["rows"] if row["sweep"] == sweep], place)
            panel.axhline(100, color=pictures.INK, linewidth=0.8)
            panel.set(xlabel=label, title=title)
            panel.set_xscale("log", base=2)
            panel.grid()
        panels[0].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[1].xaxis.set_major_formatter(lambda value, _: in_units(value))
        panels[1].tick_params("x", labelsize=8)
        panels[0].set_ylabel("% of the speed at which memory is read")
        panels[0].set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=4)


def draw_lines(panel, rows, place):
    """A line for each dtype and order."""
    for dtype, colour in zip(DTYPES, (pictures.OWN, pictures.SECOND), strict=True):
        for order, style in zip(ORDERS, ("-", "--"), strict=True):
            line = [row for row in rows if (row["dtype"], row["order"]) == (dtype, order)]
            points = [place(row) for row in line], [row["percent_of_limit"] for row in line]
            panel.plot(*points, style, color=colour, marker=".", markersize=4, label=f"{dtype}, {order} order")


def nbytes(row):
    m, n = row["shape"]
    return m * n * np.dtype(row["dtype"]).itemsize


def in_units(value):
    """Bytes as 16 KB, 64 MB or 2 GB: powers of 1024."""
    power = min(3, max(1, round(math.log2(max(value, 1))) // 10))
    return f"{value / 1024**power:.3g} {('KB', 'MB', 'GB')[power - 1]}"


if __name__ == "__main__":
    main()

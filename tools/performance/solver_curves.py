"""Measure how the loss falls with time, beside other libraries' solvers: results/solver_curves.json, and a picture.

    python tools/performance/solver_curves.py                                    # some minutes on two cores
    python tools/performance/solver_curves.py --from results/solver_curves.json  # draw again

A point is a whole run that ends after so many iterations, from new: no solver is slowed by looking at it. What is drawn
is the distance to the least loss that any of them reached.
"""

import argparse
import functools
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import FIGURES, provenance

from performance.solver_table import DATA, ours, reached, sklearn

RESULTS = FIGURES / "solver_curves.json"
SETS = ["1,000,000 x 28", "200,000 x 200"]
SOLVERS = {
    "jitlogreg": ours,
    "scikit-learn lbfgs": functools.partial(sklearn, "lbfgs", "sklearn.linear_model"),
    "scikit-learn newton-cholesky": functools.partial(sklearn, "newton-cholesky", "sklearn.linear_model"),
    "scikit-learn newton-cg": functools.partial(sklearn, "newton-cg", "sklearn.linear_model"),
    "oneDAL lbfgs": functools.partial(sklearn, "lbfgs", "sklearnex.linear_model"),
}
ITERATIONS = [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50]
TOLERANCE = 1e-12  # so that the number of iterations ends a run
PATIENCE = 20  # seconds for one solver on one set
REACHED = 1e-12  # of the loss: where it ends for float64


def curve(solve, data, rounds):
    """Iterations, seconds and losses of runs of growing length."""
    start, points = time.perf_counter(), []
    for iterations in ITERATIONS:
        run = functools.partial(solve, data, TOLERANCE, iterations)
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            answer = run()
            seconds.append(time.perf_counter() - began)
        points.append((iterations, statistics.median(seconds), reached(data, answer)[0]))
        stands = len(points) > 1 and abs(points[-1][2] - points[-2][2]) < REACHED / 10
        if stands or time.perf_counter() - start > PATIENCE:
            break
    return points


def measure(rounds):
    rows = []
    for name in SETS:
        data = DATA[name]()
        for solver, solve in SOLVERS.items():
            try:
                solve(data, TOLERANCE, 1)  # compiles, and starts threads
            except ImportError:
                print(f"{solver} is not installed", file=sys.stderr)
                continue
            rows.append({"data": name, "solver": solver, "points": curve(solve, data, rounds)})
            print(name, solver, rows[-1]["points"][-1], file=sys.stderr)
    return provenance() | {"rows": rows}


def draw(path, results):
    here = results["machine"]
    with pictures.drawing(path, 10, 4) as figure:
        for panel, name in zip(figure.subplots(1, len(SETS), sharey=True), SETS, strict=True):
            rows = [row for row in results["rows"] if row["data"] == name]
            least = min(loss for row in rows for _, _, loss in row["points"])
            for row in rows:
                own = {"linewidth": 3, "zorder": 3} if row["solver"] == "jitlogreg" else {}
                seconds = [s for _, s, _ in row["points"]]
                above = [max(loss - least, REACHED) for _, _, loss in row["points"]]
                panel.plot(seconds, above, marker="o", markersize=3, label=row["solver"], **own)
            panel.set(title=name, xscale="log", yscale="log", xlabel="seconds")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.grid()
        figure.axes[0].set_ylabel("loss above the minimum, nats per example")
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        where = f"{here['cpu']}, {here['threads']} threads, {results['date']}"
        figure.suptitle(where, fontsize=9, color=pictures.FAINT, x=1, ha="right")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="draw this file's figures alone")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        warnings.simplefilter("ignore")  # of runs that end before they have converged
        results = measure(options.rounds)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(pictures.PICTURES / "solvers.svg", results)


if __name__ == "__main__":
    main()

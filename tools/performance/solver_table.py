"""Time `fit` beside other libraries' solvers, to the same gradient: results/solvers.json, a table in docs/solvers.md.

    python tools/performance/solver_table.py  # a quarter of an hour on two cores
    python tools/performance/solver_table.py --from results/solvers.json
    python tools/performance/solver_table.py --only "digits.*"

Every solver goes on until the gradient's norm is at most 1e-6 · max(1, its norm at 0), by the loosest of its own
tolerances that does: that is found out before anything is timed, and a solver that none gets there is told so. What is
installed of scikit-learn, scikit-learn-intelex and statsmodels is timed.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli.timing import in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

RESULTS, PAGE = FIGURES / "solvers.json", DOCS / "solvers.md"
MARKER = "solvers: tools/performance/solver_table.py"

GRADIENT = 1e-6
LOSS = 1e-9  # the most by which two objectives may differ and count as the same
TOLERANCES = [10.0**-k for k in range(2, 13)]
PATIENCE = 60  # seconds in which a solver must find its tolerance
SOLVERS = ["lbfgs", "newton-cg", "newton-cholesky", "liblinear"]


class Data(NamedTuple):
    """Examples, labels and the penalty."""

    X: np.ndarray
    y: np.ndarray
    l2: float


def synthetic(m, n):
    """Columns that share a part, and labels of a model with margins of a standard deviation of about two."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, n))
    X += 0.3 * rng.normal(size=(m, 1))
    z = X @ (2 * rng.normal(size=n) / np.sqrt(n)) + 0.5
    return Data(X, (rng.uniform(size=m) < 1 / (1 + np.exp(-z))).astype(np.float64), 0.0)


def of_sklearn(name, standardised):
    """A small data set; the penalty is that of scikit-learn's default, C = 1."""
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if standardised:
        deviation = X.std(axis=0)
        X = (X - X.mean(axis=0)) / np.where(deviation == 0, 1, deviation)
    return Data(np.ascontiguousarray(X), (y % 2).astype(np.float64), 1 / len(y))


DATA = {
    "1,000,000 x 28": functools.partial(synthetic, 1_000_000, 28),
    "200,000 x 200": functools.partial(synthetic, 200_000, 200),
    "breast cancer, standardised": functools.partial(of_sklearn, "breast_cancer", True),
    "breast cancer, raw": functools.partial(of_sklearn, "breast_cancer", False),
    "digits, odd or even, standardised": functools.partial(of_sklearn, "digits", True),
    "digits, odd or even, raw": functools.partial(of_sklearn, "digits", False),
}


# ---------------------------------------------------------------- the solvers: data, tolerance → w, b


def ours(data, tolerance, max_iterations=1000):
    fitted = jlr.fit(data.X, data.y, l2=data.l2, tolerance=tolerance, max_iterations=max_iterations)
    return fitted.w, fitted.b


def sklearn(solver, module, data, tolerance, max_iterations=10_000):
    # liblinear refuses an infinite C, and scikit-learn-intelex leaves one to scikit-learn
    unpenalized = 1e15 if solver == "liblinear" or module.startswith("sklearnex") else np.inf
    estimator = importlib.import_module(module).LogisticRegression(
        C=1 / (data.l2 * len(data.y)) if data.l2 else unpenalized,
        tol=tolerance,
        solver=solver,
        max_iter=max_iterations,
        # liblinear penalises the intercept too: like this by a millionth of what a weight costs
        intercept_scaling=1e3 if solver == "liblinear" and data.l2 else 1,
    )
    estimator.fit(data.X, data.y)
    return estimator.coef_[0], float(estimator.intercept_[0])


def statsmodels(method, data, tolerance):
    import statsmodels.api as sm

    arguments = {"newton": {"tol": tolerance}, "lbfgs": {"pgtol": tolerance, "factr": 1.0}}[method]
    with_ones = np.column_stack([data.X, np.ones(len(data.y))])
    result = sm.Logit(data.y, with_ones).fit(method=method, maxiter=1000, disp=0, warn_convergence=False, **arguments)
    return result.params[:-1], float(result.params[-1])


def peers(data):
    """Functions of data and a tolerance, by name, of what is installed and has this penalty."""
    found = {}
    for solver in SOLVERS:
        found[f"scikit-learn {solver}"] = functools.partial(sklearn, solver, "sklearn.linear_model")
    if importlib.util.find_spec("sklearnex"):
        for solver in ("lbfgs", "newton-cg"):
            found[f"oneDAL {solver}"] = functools.partial(sklearn, solver, "sklearnex.linear_model")
    if importlib.util.find_spec("statsmodels") and not data.l2:
        for method in ("newton", "lbfgs"):
            found[f"statsmodels {method}"] = functools.partial(statsmodels, method)
    return found


# ---------------------------------------------------------------- measuring


def reached(data, answer):
    """The objective and the gradient's norm, by this package: the reference would take seconds for each."""
    w, b = answer
    loss, dw, db = jlr.loss_and_gradient(data.X, data.y, np.asarray(w, np.float64), b, l2=data.l2)
    return loss, float(np.linalg.norm(np.append(dw, db)))


def loosest(solve, data, enough):
    """The loosest tolerance that brings the gradient down, and what it reaches then; None where none does in time."""
    start = time.perf_counter()
    for tolerance in TOLERANCES:
        if time.perf_counter() - start > PATIENCE:
            return None
        try:
            loss, norm = reached(data, solve(data, tolerance))
        except Exception as error:
            print(f"  {type(error).__name__}: {error}", file=sys.stderr)
            return None
        if norm <= enough:
            return tolerance, loss, norm
    return None


def measure(name, rounds):
    """A row for each solver."""
    data = DATA[name]()
    _, zero = reached(data, (np.zeros(data.X.shape[1]), 0.0))
    enough = GRADIENT * max(1.0, zero)
    calls, rows = {}, []
    for solver, solve in {"jitlogreg": ours, **peers(data)}.items():
        found = loosest(solve, data, enough)
        print(f"  {solver}: {found}", file=sys.stderr)
        rows.append({"data": name, "solver": solver, "reached": found is not None})
        if found is not None:
            rows[-1] |= dict(zip(("tolerance", "loss", "gradient_norm"), found, strict=True))
            calls[solver] = functools.partial(solve, data, found[0])
    seconds = dict(zip(calls, in_turn(list(calls.values()), rounds), strict=True))
    least = min(row["loss"] for row in rows if row["reached"])
    for row in rows:
        if row["reached"]:
            times = seconds[row["solver"]]
            row["seconds"] = float(np.median(times))
            row["times_ours"] = float(np.median(times / seconds["jitlogreg"]))
            row["same_minimum"] = row["loss"] - least <= LOSS
    return rows


def tables(results):
    lines = []
    for name in dict.fromkeys(row["data"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["data"] == name]
        cells = [
            [
                row["solver"],
                digits(1e3 * row["seconds"]) if row["reached"] else "not reached",
                digits(row["times_ours"]) if row["reached"] else "",
                f"{row['gradient_norm']:.1e}" if row["reached"] else "",
                ("" if row["same_minimum"] else "1e-9 above") if row["reached"] else "",
            ]
            for row in rows
        ]
        lines += [f"**{name}**", "", table(["solver", "ms", "x jitlogreg", "gradient's norm", ""], cells), ""]
    return "\n".join([*lines, measured_on(results)])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the table from this file's figures alone")
    parser.add_argument("--only", default="", help="a regular expression: the data to measure")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        warnings.simplefilter("ignore")  # of solvers that a loose tolerance leaves unconverged
        more = {}
        for package in ("scikit-learn", "scikit-learn-intelex", "statsmodels"):
            try:
                more[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                print(f"{package} is not installed", file=sys.stderr)
        results = provenance(more) | {"rows": []}
        for name in DATA:
            if re.search(options.only, name):
                print(name, file=sys.stderr)
                results["rows"] += measure(name, options.rounds)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, tables(results)), encoding="utf-8")


if __name__ == "__main__":
    main()

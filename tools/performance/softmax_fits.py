"""Time softmax fits beside scikit-learn's solvers: results/softmax_fits.json, a table in docs/performance.md.

    python tools/performance/softmax_fits.py  # a quarter of an hour on two cores
    python tools/performance/softmax_fits.py --from results/softmax_fits.json
    python tools/performance/softmax_fits.py --only digits

Every solver goes on until Newton's decrement λ = √(gᵀH⁻¹g) of the same objective is at most 1e-6, by the loosest of its
own tolerances that does, and on the faster of one thread of the BLAS and all. Both are found out before anything is
timed; then the solvers take turns in one process. Set OMP_WAIT_POLICY=passive where other processes need the cores.
"""

import argparse
import functools
import importlib.metadata
import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

RESULTS, PAGE, MARKER = FIGURES / "softmax_fits.json", DOCS / "performance.md", "outputs: fits"

OWN = "jitlogreg"
# scikit-learn's, and how many iterations they take at least
SOLVERS = {"lbfgs": 10, "newton-cg": 4, "newton-cholesky": 4, "saga": 30}
DECREMENT = 1e-6
TOLERANCES = [10.0**-k for k in range(5, 12)]
PATIENCE = 90  # seconds in which a solver must find its tolerance
LARGEST_HESSIAN = 4e9  # bytes
ROUNDS = 3
LOSS = 1e-9  # the most by which two objectives may differ and count as the same


class Data(NamedTuple):
    """Examples, the numbers of their classes, and the penalty."""

    X: np.ndarray
    y: np.ndarray
    l2: float


def synthetic(m, n, K):
    """X, W and b as outputs_table.py draws them, and labels drawn from their softmax; scikit-learn's default C = 1."""
    rng = np.random.default_rng(n)
    X, W, b = rng.standard_normal((m, n)), rng.standard_normal((n, K)) / n**0.5, rng.standard_normal(K)
    up_to = np.cumsum(jlr.forward(X, W, b, link="softmax"), axis=1)
    return Data(X, np.sum(rng.uniform(size=(m, 1)) > up_to[:, :-1], axis=1), 1 / m)


def images():
    """scikit-learn's digits, raw, with the same penalty."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return Data(np.ascontiguousarray(X), y, 1 / len(y))


DATA = {
    "60,000 x 784 x 10": functools.partial(synthetic, 60_000, 784, 10),
    "500,000 x 54 x 7": functools.partial(synthetic, 500_000, 54, 7),
    # on 20,000 rows a fit takes more than two minutes on two cores that others use
    "5,000 x 1,000 x 100": functools.partial(synthetic, 5_000, 1_000, 100),
    "digits, 1,797 x 64 x 10": images,
}


# ---------------------------------------------------------------- the solvers: data → W, b and the iterations


def ours(data):
    fitted = jlr.fit(data.X, data.y, link="softmax", l2=data.l2, tolerance=DECREMENT, max_iterations=1000)
    return fitted.w, fitted.b, fitted.n_iterations


def sklearn(solver, data, tolerance, max_iterations, threads=None):
    from sklearn.linear_model import LogisticRegression

    C = 1 / (data.l2 * len(data.y))
    with threadpool_limits(threads):
        fitted = LogisticRegression(C=C, tol=tolerance, solver=solver, max_iter=max_iterations).fit(data.X, data.y)
    return fitted.coef_.T, fitted.intercept_, int(np.max(fitted.n_iter_))


# ---------------------------------------------------------------- how far a solver has come


def decrement(objective, theta):
    """√(gᵀH⁻¹g) at θ by conjugate gradients, which approach it from below.

    The Hessian is singular, since the same number added to all intercepts changes nothing; the gradient has no part in
    that direction but for rounding, which is taken out of it.
    """
    gradient = objective(theta)[1].copy()
    gradient[-objective.n_outputs :] -= np.mean(gradient[-objective.n_outputs :])
    solution, residual, direction = np.zeros_like(gradient), gradient.copy(), gradient.copy()
    square = residual @ residual
    enough = 1e-8 * square
    for _ in range(10 * len(theta)):
        if square <= enough:
            break
        image = objective.hessian_vector(theta, direction)
        step = square / (direction @ image)
        solution += step * direction
        residual -= step * image
        before, square = square, residual @ residual
        direction = residual + square / before * direction
    return float(np.sqrt(gradient @ solution))


def reached(objective, answer):
    """The objective and the decrement at W and b."""
    W, b = answer[:2]
    theta = np.append(W, b[np.newaxis], axis=0).reshape(-1)
    return objective.loss(theta), decrement(objective, theta)


def loosest(solve, data, objective, least_iterations):
    """The loosest tolerance with which a solver of scikit-learn reaches the decrement: its part of the row."""
    of_one = _seconds(lambda: solve(data, TOLERANCES[0], 1))
    if of_one < 1:  # of which an import may have been a part
        of_one = _seconds(lambda: solve(data, TOLERANCES[0], 1))
    if of_one * least_iterations > PATIENCE:
        return {"reached": False, "reason": f"not tried: an iteration takes {digits(of_one, 2)} s"}
    start, least = time.perf_counter(), np.inf
    for tolerance in TOLERANCES:
        answer = solve(data, tolerance, max(1, int(PATIENCE / of_one)))
        loss, found = reached(objective, answer)
        least = min(least, found)
        print(f"    {tolerance:g}: {found:.2g}, {time.perf_counter() - start:.1f} s", file=sys.stderr)
        if found <= DECREMENT:
            of_answer = {"decrement": found, "loss": loss, "iterations": answer[2]}
            return {"reached": True, "tolerance": tolerance} | of_answer
        if time.perf_counter() - start > PATIENCE:
            break
    return {"reached": False, "reason": f"not reached: λ = {least:.0e}"}


# ---------------------------------------------------------------- measuring


def measure(name, rounds):
    """A row for each solver."""
    data = DATA[name]()
    K = int(data.y.max()) + 1
    objective = jlr.Objective(data.X, data.y, link="softmax", n_outputs=K, l2=data.l2)
    answer, calls = ours(data), {}
    loss, found = reached(objective, answer)
    rows = [{"reached": False, "reason": f"not reached: λ = {found:.0e}"}]
    if found <= DECREMENT:
        rows = [{"reached": True, "decrement": found, "loss": loss, "iterations": answer[2]}]
        calls[OWN] = functools.partial(ours, data)
    for solver, least_iterations in SOLVERS.items():
        solve = functools.partial(sklearn, solver, threads=1)
        print(f"  {solver}", file=sys.stderr)
        if solver == "newton-cholesky" and 8 * objective.n_parameters**2 > LARGEST_HESSIAN:
            size = 8 * objective.n_parameters**2 / 1e9
            rows.append({"reached": False, "reason": f"not tried: its Hessian takes {size:.0f} GB"})
            continue
        rows.append(loosest(solve, data, objective, least_iterations))
        if rows[-1]["reached"]:
            solve = functools.partial(sklearn, solver, data, rows[-1]["tolerance"], 100_000)
            of_threads = [functools.partial(solve, threads=threads) for threads in (1, None)]
            calls[f"scikit-learn {solver}"] = min(of_threads, key=_seconds)
    for row, solver in zip(rows, (OWN, *(f"scikit-learn {solver}" for solver in SOLVERS)), strict=True):
        row |= {"data": name, "solver": solver}
    _add_times(rows, calls, rounds)
    return rows


def _add_times(rows, calls, rounds):
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.3)  # threads of a BLAS spin before they sleep
            seconds[name].append(_seconds(call))
    least = min((row["loss"] for row in rows if row["reached"]), default=None)
    for row in (row for row in rows if row["reached"]):
        if row["loss"] - least > LOSS:
            raise SystemExit(f"{row['solver']} on {row['data']} has another minimum")
        times = np.array(seconds[row["solver"]])
        row["seconds"] = float(np.median(times))
        row["times_ours"] = float(np.median(times / seconds[OWN])) if OWN in seconds else None


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# ---------------------------------------------------------------- the page


def text(results):
    """What stands in the page."""
    cells = []
    for row in results["rows"]:
        if row["reached"]:
            ratio = digits(row["times_ours"]) if row["times_ours"] else ""
            of_run = digits(row["seconds"]), ratio, row["iterations"], f"{row['decrement']:.0e}"
        else:
            of_run = row["reason"], "", "", ""
        cells.append([row["data"], row["solver"], *of_run])
    heads = ["m x n x K", "solver", "s", "x jitlogreg", "iterations", "λ"]
    return f"{table(heads, cells)}\n\n{measured_on(results)}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the table from this file's figures alone")
    parser.add_argument("--only", default="", help="a regular expression: the data to measure; others are kept")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        warnings.simplefilter("ignore")  # of solvers that a loose tolerance or few iterations leave unconverged
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if options.only and RESULTS.exists() else []
        results = provenance({"scikit-learn": importlib.metadata.version("scikit-learn")}) | {"rows": []}
        for name in DATA:
            if re.search(options.only, name):
                print(name, file=sys.stderr)
                results["rows"] += measure(name, options.rounds)
            else:
                results["rows"] += [row for row in kept if row["data"] == name]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, text(results)), encoding="utf-8")


if __name__ == "__main__":
    main()

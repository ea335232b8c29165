"""Time sparse rows beside SciPy, MKL and scikit-learn: results/sparse.json, and tables in docs/performance.md.

    python tools/performance/sparse_table.py                      # half an hour on two cores
    python tools/performance/sparse_table.py --parts evaluations  # these anew, beside what is kept
    python tools/performance/sparse_table.py --from results/sparse.json

Loss and gradient are timed beside the two products alone that SciPy takes for them, and beside MKL's (see
mkl_sparse.py), once the answers agree. A fit is timed beside scikit-learn's solvers, each with the loosest power of ten
of its tolerance that brings the objective to within 1e-8 of the minimum, in a process of its own that is given up after
some minutes.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse

import jitlogreg as jlr
from jitlogreg.cli.bandwidth import readers
from jitlogreg.cli.timing import in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

from performance import mkl_sparse

RESULTS, PAGE, MARKER = FIGURES / "sparse.json", DOCS / "performance.md", "sparse rows"

ROUNDS = 9
NEAR_MINIMUM, SECONDS_OF_A_FIT = 1e-8, 150.0
SOLVERS = ("lbfgs", "newton-cg", "saga", "liblinear")


def zipf(m, n, k):
    """Rows of k draws of columns by Zipf's law; what falls together adds up."""
    rng = np.random.default_rng(3)
    shares = np.arange(1, n + 1) ** -1.05
    columns = np.minimum(np.searchsorted(np.cumsum(shares / np.sum(shares)), rng.random(m * k)), n - 1)
    X = sparse.csr_array((rng.random(m * k), columns.astype(np.int32), np.arange(0, m * k + 1, k, np.int32)), (m, n))
    X.sum_duplicates()
    return X


def one_hot(m, k, levels):
    """Rows of k categories, each with one of so many levels."""
    columns = np.random.default_rng(3).integers(0, levels, (m, k)) + levels * np.arange(k)
    indptr = np.arange(0, m * k + 1, k, np.int32)
    return sparse.csr_array((np.ones(m * k), columns.astype(np.int32).ravel(), indptr), (m, k * levels))


def text(n=130_000):
    """The n-grams of four letters of docstrings, hashed to so many columns, and whether they are scikit-learn's."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    documents, labels = [], []
    for label, package in enumerate(("scipy", "sklearn")):
        folder = Path(importlib.metadata.distribution(package.replace("sklearn", "scikit-learn")).locate_file(package))
        for path in sorted(folder.rglob("*.py")):
            parts = path.read_text(encoding="utf-8", errors="ignore").split('"""')[1::2]
            documents += parts
            labels += [label] * len(parts)
    counts = HashingVectorizer(analyzer="char", ngram_range=(4, 4), n_features=n, norm=None, alternate_sign=False)
    return TfidfTransformer().fit_transform(counts.transform(documents)).tocsr(), np.array(labels)


def labels_of(X, scale):
    """Labels of a model whose margins have a mean of 0."""
    rng = np.random.default_rng(0)
    z = X @ (rng.standard_normal(X.shape[1]) * scale)
    return (rng.uniform(size=len(z)) < 1 / (1 + np.exp(np.mean(z) - z))).astype(int)


SHAPES = {
    "Zipf, 75 a row": (lambda: zipf(500_000, 50_000, 75), 1.0, 1e-6),
    "Zipf, 15 a row": (lambda: zipf(2_000_000, 1_000_000, 15), 1.0, 1e-6),
    "one-hot, ten of 4": (lambda: one_hot(5_000_000, 10, 4), 0.3, 1e-7),
}


# ---------------------------------------------------------------- evaluations


def evaluation(name):
    """Loss and gradient beside SciPy's and MKL's two products, and the limit of reading X once."""
    make, scale, _ = SHAPES[name]
    X = make()
    m, n = X.shape
    y, w = labels_of(X, scale).astype(float), np.random.default_rng(1).standard_normal(n) / 10
    transposed, rows = X.T, jlr.CSR.of_scipy(X).without_ones()
    found, residuals = jlr.loss_and_gradient(rows, y, w, 0.1), jlr.forward(X, w, 0.1) - y
    if not np.allclose(found.dw, transposed @ residuals / m, rtol=0, atol=1e-12):
        raise SystemExit(f"{name}: SciPy has another gradient")
    calls = {
        "ours": lambda: jlr.loss_and_gradient(rows, y, w, 0.1),
        "SciPy": lambda: (X @ w, transposed @ residuals),
        **{f"limit {k}": read for k, read in enumerate(readers(*rows.arrays))},
    }
    library = mkl_sparse.load()
    if library is not None:
        products = mkl_sparse.Products(library, X)
        if not np.allclose(products.times(w), X @ w):
            raise SystemExit(f"{name}: MKL has other margins")
        calls["MKL"] = lambda: (products.times(w), products.transposed_times(residuals))
    for call in calls.values():
        call()
    seconds = dict(zip(calls, in_turn(list(calls.values()), ROUNDS), strict=True))
    limit = min(np.median(seconds[call]) for call in seconds if call.startswith("limit"))
    row = {"name": name, "shape": [m, n], "nnz": int(X.nnz), "reads_data": rows.data is not None}
    row["seconds"] = float(np.median(seconds["ours"]))
    row["share_of_limit"] = float(limit / row["seconds"])
    row["times_ours"] = {
        peer: float(np.median(seconds[peer] / seconds["ours"])) for peer in ("SciPy", "MKL") if peer in seconds
    }
    print(row, flush=True)
    return row


# ---------------------------------------------------------------- fits


def fits(name):
    """A fit beside scikit-learn's solvers."""
    if name == "text":
        (X, y), l2 = text(), 1e-5
    else:
        make, scale, l2 = SHAPES[name]
        X = make()
        y = labels_of(X, scale)
    jlr.fit(X[:500], y[:500], l2=l2, max_iterations=3)  # compiled
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        fitted = jlr.fit(X, y, l2=l2, max_iterations=1000)
        seconds.append(time.perf_counter() - start)
    if not fitted.converged:
        raise SystemExit(f"{name}: {fitted.message}")
    objective = jlr.loss(X, y, fitted.w, fitted.b, l2=l2)
    row = {"name": name, "shape": list(X.shape), "nnz": int(X.nnz), "l2": l2, "seconds": float(np.median(seconds))}
    row |= {"n_reads": fitted.n_reads, "peers": {}}
    for solver in SOLVERS:
        row["peers"][solver] = peer_fit(solver, X, y, l2, objective)
    print(row, flush=True)
    return row


def peer_fit(solver, X, y, l2, objective):
    """The seconds and the tolerance of a solver of scikit-learn's, or None if it takes too long."""
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=_peer_fit, args=(solver, X, y, l2, objective, queue))
    process.start()
    process.join(4 * SECONDS_OF_A_FIT)
    is_done = not process.is_alive()
    process.kill()
    return queue.get() if is_done and not queue.empty() else None


def _peer_fit(solver, X, y, l2, objective, queue):
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore")
    for tol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        model = LogisticRegression(C=1 / (l2 * X.shape[0]), solver=solver, tol=tol, max_iter=10_000)
        if solver == "liblinear":
            model.set_params(intercept_scaling=100.0)  # which it penalises too
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        excess = jlr.loss(X, y, model.coef_[0].copy(), float(model.intercept_[0]), l2=l2) - objective
        if excess <= NEAR_MINIMUM:
            queue.put({"seconds": seconds, "tol": tol, "excess": float(excess)})
            return
        if seconds > SECONDS_OF_A_FIT:
            return


# ---------------------------------------------------------------- memory


def memory():
    """The most that an evaluation and a fit take beyond X, over the number of columns, for 2,000,000 numbers."""
    rows = []
    for n in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        rng = np.random.default_rng(0)
        X = jlr.CSR(rng.random(2_000_000), rng.integers(0, n, 2_000_000), np.arange(0, 2_000_001, 20), (100_000, n))
        y, w = (rng.random(100_000) < 0.5).astype(float), np.zeros(n)
        jlr.loss_and_gradient(X, y, w)
        tracemalloc.start()
        jlr.loss_and_gradient(X, y, w)
        of_call = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append({"n": n, "of_call": of_call, "of_w": 8 * n, "of_X": sum(array.nbytes for array in X.arrays)})
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------- pages


def tables(results):
    """What stands in the page."""
    evaluations = [
        [
            *(row["name"], shape(row), f"{row['nnz'] / 1e6:.1f}", "yes" if row["reads_data"] else "no"),
            *(digits(1e3 * row["seconds"]), f"{row['share_of_limit']:.2f}"),
            *(digits(row["times_ours"][peer], 2) if peer in row["times_ours"] else "" for peer in ("SciPy", "MKL")),
        ]
        for row in results["evaluations"]
    ]
    head = ["rows", "m x n", "M numbers", "reads data", "ms", "share of the read limit", "x SciPy", "x MKL"]
    fitted = [
        [
            *(row["name"], shape(row), digits(row["seconds"]), row["n_reads"]),
            *(_times(row, row["peers"].get(solver)) for solver in SOLVERS),
        ]
        for row in results["fits"]
    ]
    head_of_fits = ["rows", "m x n", "s", "reads of X", *(f"x {solver}" for solver in SOLVERS)]
    megabytes = [
        [f"{row['n']:,}", *(digits(row[name] / 1e6) for name in ("of_call", "of_w", "of_X"))]
        for row in results["memory"]
    ]
    head_of_memory = ["n", "MB of loss and gradient", "MB of w", "MB of X"]
    parts = (head, evaluations), (head_of_fits, fitted), (head_of_memory, megabytes)
    return "\n\n".join(("", *(table(*part) for part in parts if part[1]), measured_on(results), ""))


def shape(row):
    """m x n."""
    return f"{row['shape'][0]:,} x {row['shape'][1]:,}"


def _times(row, peer):
    return "not reached" if peer is None else digits(peer["seconds"] / row["seconds"], 2)


MEASURED = {
    "evaluations": lambda: [evaluation(name) for name in SHAPES],
    "fits": lambda: [fits(name) for name in ("text", *SHAPES)],
    "memory": memory,
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables anew")
    parser.add_argument("--parts", nargs="+", choices=MEASURED, default=list(MEASURED), help="what to measure")
    options = parser.parse_args(argv)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        versions = {name: importlib.metadata.version(name) for name in ("scipy", "scikit-learn")}
        results = {part: [] for part in MEASURED} | kept | {part: MEASURED[part]() for part in options.parts}
        results |= provenance(versions)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, tables(results)), encoding="utf-8")


if __name__ == "__main__":
    main()

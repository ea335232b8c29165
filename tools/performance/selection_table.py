"""Time cross-validation, bootstrap and many targets: results/selection.json, and tables in docs/performance.md.

    python tools/performance/selection_table.py  # three minutes on two cores
    python tools/performance/selection_table.py --memory  # that of the bootstrap alone, beside the times of before
    python tools/performance/selection_table.py --from results/selection.json

Each is timed beside our own fits one by one, and the cross-validation beside scikit-learn's, once their answers agree.
Fits one by one start where the penalty before has ended, as the others do. The memory is that of NumPy's arrays, as
tracemalloc sees it.
"""

import argparse
import importlib.metadata
import json
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.solvers.folds import fold_numbers
from jitlogreg.solvers.resamples import drawn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

RESULTS, PAGE = FIGURES / "selection.json", DOCS / "performance.md"

ROUNDS = 3
PENALTIES, FOLDS = 10, 5
CROSS_VALIDATIONS = ((1_000_000, 28), (100_000, 256))
BOOTSTRAP, RESAMPLES = (100_000, 28), 200
TARGETS, OUTPUTS = (200_000, 64), 20


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables anew")
    parser.add_argument("--memory", action="store_true", help="measure the memory of the bootstrap, and keep the times")
    options = parser.parse_args(argv)
    if options.source or options.memory:
        results = json.loads(Path(options.source or RESULTS).read_text(encoding="utf-8"))
    if options.memory:
        results["memory"] = memory()
    elif not options.source:
        versions = {"scikit-learn": importlib.metadata.version("scikit-learn")}
        rows = [*map(cross_validation, CROSS_VALIDATIONS), bootstrap(), targets()]
        results = provenance(versions) | {"rows": rows, "memory": memory()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "selection", text(results)), encoding="utf-8")


def examples(m, n, outputs=1):
    """X in C order, and labels drawn from models of its columns."""
    rng = np.random.default_rng([m, n])
    X = rng.standard_normal((m, n))
    z = X @ (rng.standard_normal((n, outputs)) / n**0.5)
    return X, (rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z))).astype(float)


def in_turns(calls, rounds):
    """The seconds of each call, (calls, rounds), taken in turns."""
    seconds = np.empty((len(calls), rounds))
    for k in range(rounds):
        for j, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[j, k] = time.perf_counter() - start
    return seconds


def described(work, shape, n_reads, loop_reads, ours, others):
    """A row of the results: seconds, and how many times as long the others take."""
    row = {"work": work, "shape": list(shape), "n_reads": int(n_reads), "reads_one_by_one": int(loop_reads)}
    row["seconds"] = float(np.median(ours))
    row["times_ours"] = {name: float(np.median(seconds / ours)) for name, seconds in others.items()}
    print(row, flush=True)
    return row


def cross_validation(shape):
    """Penalties and folds beside fits one by one, and beside LogisticRegressionCV."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import PredefinedSplit

    X, y = examples(*shape)
    y = y[:, 0]
    l2s = np.geomspace(1e-1, 1e-6, PENALTIES)
    numbers, _ = fold_numbers(FOLDS, X, y, 0)
    weights = [(numbers != fold).astype(float) for fold in range(FOLDS)]
    reads = []

    def one_by_one():
        reads.clear()
        scores = np.empty((PENALTIES, FOLDS))
        for fold, s in enumerate(weights):
            w, b = np.zeros(X.shape[1]), 0.0
            for p, l2 in enumerate(l2s):
                fitted = jlr.fit(X, y, l2=l2, sample_weight=s, w=w, b=b)
                w, b = fitted.w, fitted.b
                reads.append(fitted.n_reads + 1)  # and one for the score
                scores[p, fold] = -jlr.loss(X, y, w, b, sample_weight=1 - s)
        return scores

    rows_of_fold = len(X) * (FOLDS - 1) / FOLDS
    theirs = LogisticRegressionCV(
        Cs=1 / (l2s * rows_of_fold), max_iter=1000, cv=PredefinedSplit(numbers), scoring="neg_log_loss", refit=True,
        l1_ratios=(0,), use_legacy_attributes=False,
    )  # fmt: skip
    ours = jlr.cross_validate(X, y, l2s, folds=numbers)
    if not np.allclose(ours.scores, one_by_one(), rtol=0, atol=1e-9):
        raise SystemExit("cross-validation: fits one by one have other scores")
    for theirs.tol in (1e-4, 1e-5, 1e-6, 1e-7):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = np.max(np.abs(np.squeeze(theirs.fit(X, y).scores_).T - ours.scores))
        if difference <= 1e-6:
            break
    else:
        raise SystemExit(f"cross-validation: scikit-learn's scores differ by {difference}")
    seconds = in_turns([lambda: jlr.cross_validate(X, y, l2s, folds=numbers), one_by_one], ROUNDS)
    of_theirs = in_turns([lambda: jlr.cross_validate(X, y, l2s, folds=numbers), lambda: theirs.fit(X, y)], 1)
    others = {"one by one": seconds[1], "scikit-learn": seconds[0] * of_theirs[1, 0] / of_theirs[0, 0]}
    work = f"{PENALTIES} penalties, {FOLDS} folds"
    return described(work, shape, ours.n_reads, sum(reads), seconds[0], others) | {"their_tol": theirs.tol}


def bootstrap():
    """Resamples beside fits one by one."""
    X, y = examples(*BOOTSTRAP)
    y = y[:, 0]
    reads = []

    def one_by_one():
        reads.clear()
        w = np.empty((X.shape[1], RESAMPLES))
        for r in range(RESAMPLES):
            fitted = jlr.fit(X, y, sample_weight=drawn(len(X), 0, r))
            reads.append(fitted.n_reads)
            w[:, r] = fitted.w
        return w

    ours = jlr.bootstrap(X, y, n_resamples=RESAMPLES)
    if not np.allclose(ours.w, one_by_one(), rtol=0, atol=1e-5):  # λ of 1e-6 leaves 2e-6
        raise SystemExit("bootstrap: fits one by one have other coefficients")
    seconds = in_turns([lambda: jlr.bootstrap(X, y, n_resamples=RESAMPLES), one_by_one], ROUNDS)
    others = {"one by one": seconds[1]}
    return described(f"{RESAMPLES} resamples", BOOTSTRAP, ours.n_reads, sum(reads), seconds[0], others)


def memory():
    """The most memory that the bootstrap takes beyond X, and what the weights of all resamples at once would take."""
    X, y = examples(*BOOTSTRAP)
    y = y[:, 0]
    jlr.bootstrap(X[:1000], y[:1000], n_resamples=2)  # modules and compiled code come now
    tracemalloc.start()
    try:
        jlr.bootstrap(X, y, n_resamples=RESAMPLES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    row = {"work": f"{RESAMPLES} resamples", "shape": list(BOOTSTRAP), "peak_bytes": peak, "X_bytes": X.nbytes}
    row["all_weights_bytes"] = 8 * len(X) * RESAMPLES
    print(row, flush=True)
    return provenance() | row


def targets():
    """Columns of labels beside fits one by one."""
    X, Y = examples(*TARGETS, OUTPUTS)
    columns = [np.ascontiguousarray(Y[:, k]) for k in range(OUTPUTS)]
    together, alone = jlr.fit(X, Y), [jlr.fit(X, y) for y in columns]
    if not all(np.array_equal(together.w[:, k], of_model.w) for k, of_model in enumerate(alone)):
        raise SystemExit("targets: a model alone and beside others differ")
    seconds = in_turns([lambda: jlr.fit(X, Y), lambda: [jlr.fit(X, y) for y in columns]], ROUNDS)
    loop = sum(of_model.n_reads for of_model in alone)
    others = {"one by one": seconds[1]}
    return described(f"{OUTPUTS} targets", TARGETS, together.n_reads, loop, seconds[0], others)


def text(results):
    """The table of the page."""
    heads = ["work", "m x n", "s", "reads of X", "one by one", "x one by one", "x scikit-learn"]
    rows = [
        [
            row["work"],
            "{:,} x {:,}".format(*row["shape"]),
            *(digits(row["seconds"]), str(row["n_reads"]), str(row["reads_one_by_one"])),
            f"{row['times_ours']['one by one']:.1f}",
            f"{row['times_ours']['scikit-learn']:.1f}" if "scikit-learn" in row["times_ours"] else "",
        ]
        for row in results["rows"]
    ]
    of_memory = results["memory"]
    megabytes = [digits(of_memory[f"{name}_bytes"] / 1e6) for name in ("peak", "all_weights", "X")]
    row = [of_memory["work"], "{:,} x {:,}".format(*of_memory["shape"]), *megabytes]
    heads_of_memory = ["work", "m x n", "MB beyond X", "MB of m x R doubles", "MB of X"]
    tables = (table(heads, rows), measured_on(results), table(heads_of_memory, [row]), measured_on(of_memory))
    return "\n\n".join(tables)


if __name__ == "__main__":
    main()

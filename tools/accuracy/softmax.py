"""Measure the error of a softmax, given its margins: results/softmax_accuracy.json, a table in docs/accuracy.md.

    python tools/accuracy/softmax.py  # a minute
    python tools/accuracy/softmax.py --from results/softmax_accuracy.json

Rows of K margins: near each other, apart, far apart, one ahead of the others, and all shifted. The truth is computed
in 80 bits, so long double must be that wide.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, measured_on, provenance, replaced, table

RESULTS, PAGE = FIGURES / "softmax_accuracy.json", DOCS / "accuracy.md"
MARKER = "accuracy: softmax"

CLASSES = (2, 3, 10, 100, 1000)
NUMBERS = 400_000  # margins of each kind for the probabilities
ROWS = 2_000  # of each kind for losses and residuals, which are computed row by row
NAMES = {"softmax": "softmax", "log_softmax": "its logarithm", "loss": "the loss", "residual": "the residuals"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the table from this file's results alone")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    elif np.finfo(np.longdouble).nmant < 63:
        raise SystemExit("long double: expected at least 64 bits of precision")
    else:
        results = provenance() | {"rows": measure()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), MARKER, text(results)), encoding="utf-8")


def measure():
    """A row for each dtype and number of classes: the largest error of each function in ulp."""
    rows = []
    for dtype in (np.float64, np.float32):
        for K in CLASSES:
            worst = dict.fromkeys(NAMES, 0.0)
            for Z in margins(dtype, K):
                for name, error in errors(Z).items():
                    worst[name] = max(worst[name], error)
            rows.append({"dtype": np.dtype(dtype).name, "classes": K, "ulps": worst})
            print(rows[-1], flush=True)
    return rows


def margins(dtype, K):
    """Rows of margins, a kind at a time."""
    rng, largest = np.random.default_rng(K), 300.0 if dtype == np.float64 else 30.0
    m = max(50, NUMBERS // K)
    for scale in (1e-3, 1.0, largest / 10):
        yield (rng.standard_normal((m, K)) * scale).astype(dtype)
    ahead = rng.standard_normal((m, K))
    ahead[np.arange(m), rng.integers(0, K, m)] += rng.uniform(0, largest, m)
    yield ahead.astype(dtype)
    yield (rng.uniform(-1, 1, (m, K)) + rng.uniform(-largest, largest, (m, 1))).astype(dtype)


def errors(Z):
    """The largest error of each function on rows of margins, in ulp."""
    m, K = Z.shape
    a, log_a, others = exact(Z)
    one = np.eye(K, dtype=Z.dtype)
    found = {
        "softmax": ulps(jlr.forward(Z, one, link="softmax"), a),
        "log_softmax": ulps(jlr.log_forward(Z, one, link="softmax"), log_a),
        "loss": 0.0,
        "residual": 0.0,
    }
    for i in range(0, m, max(1, m * K // ROWS)):
        label = np.array([i % K])
        result = jlr.loss_and_gradient(Z[i : i + 1], label, one, link="softmax")
        residuals = a[i].copy()
        residuals[label] = -others[i, label]
        found["loss"] = max(found["loss"], ulps(np.asarray(result.loss, Z.dtype), -log_a[i, label[0]]))
        found["residual"] = max(found["residual"], ulps(result.db.astype(Z.dtype), residuals))
    return found


def exact(Z):
    """The softmax of each row, its logarithm, and 1 minus it, in 80 bits."""
    Z = Z.astype(np.longdouble)
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    beside = e.copy()
    beside[np.arange(len(Z)), Z.argmax(axis=1)] = 0
    others = beside.sum(axis=1, keepdims=True)
    # of the likeliest class all others; of another one the likeliest, and the others but itself
    not_own = np.where(beside == 0, others, 1 + (others - e))
    return e / (1 + others), Z - Z.max(axis=1, keepdims=True) - np.log1p(others), not_own / (1 + others)


def ulps(got, exact):
    """The largest error in units of the last place, of results that are normal numbers."""
    dtype = got.dtype
    normal = np.abs(exact) >= 1e3 * np.finfo(dtype).smallest_normal  # where no share of another class is flushed
    if not np.any(normal):
        return 0.0
    size = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    return float(np.max(np.where(normal, np.abs(got.astype(np.longdouble) - exact) / size, 0)))


def text(results):
    """The table."""
    rows = [
        [row["dtype"], f"{row['classes']:,}", *(f"{row['ulps'][name]:.2f}" for name in NAMES)]
        for row in results["rows"]
    ]
    return f"{table(['dtype', 'K', *NAMES.values()], rows)}\n\n{measured_on(results)}"


if __name__ == "__main__":
    main()

"""Time `read_libsvm` beside scikit-learn's reader: results/libsvm.json, and a table in docs/performance.md.

python tools/performance/libsvm_reader.py  # a minute, and a quarter of a GB in the folder for temporary files
python tools/performance/libsvm_reader.py --from results/libsvm.json
"""

import argparse
import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

RESULTS, PAGE = FIGURES / "libsvm.json", DOCS / "performance.md"

ROUNDS = 3
COLUMNS, ENTRIES = 2000, 75
# So many rows differ; a file repeats them
DISTINCT = 2000

# Memory that is touched and given back before a reader is timed: more than its result takes
FREE_BYTES = 2**28

# Numbers as text, and how many rows have them
FILES = {
    "6 decimals": (lambda x: f"{x:.6f}", 100_000),
    "one-hot, `index:1`": (lambda x: "1", 200_000),
    "shortest, some 17 digits": (repr, 60_000),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the table anew")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        versions = {"scikit-learn": importlib.metadata.version("scikit-learn")}
        results = provenance(versions) | {"rows": [measured(name, *kind) for name, kind in FILES.items()]}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "libsvm", text(results)), encoding="utf-8")


def measured(name, spelled, n_rows):
    """A row of the results: a file, the seconds of both readers, and the median of their ratios."""
    from sklearn.datasets import load_svmlight_file

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "data.svm")
        n_bytes = write(path, spelled, n_rows)
        readers = lambda: jlr.read_libsvm(path), lambda: load_svmlight_file(path)
        check_equal(name, *(read() for read in readers))
        seconds = np.array([[timed(read) for read in readers] for _ in range(ROUNDS)])
    row = {"file": name, "rows": n_rows, "entries": ENTRIES, "bytes": n_bytes}
    row["seconds"], row["seconds_sklearn"] = np.median(seconds, axis=0).tolist()
    row["times_ours"] = float(np.median(seconds[:, 1] / seconds[:, 0]))
    print(row, flush=True)
    return row


def write(path, spelled, n_rows):
    """Write a file of random rows. Return its bytes."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(min(DISTINCT, n_rows)):
        indices = np.sort(rng.choice(COLUMNS, ENTRIES, replace=False)) + 1
        pairs = zip(indices.tolist(), rng.standard_normal(ENTRIES).tolist(), strict=True)
        lines.append(" ".join([rng.choice(["-1", "1"]), *(f"{index}:{spelled(x)}" for index, x in pairs)]) + "\n")
    some = "".join(lines).encode()
    with Path(path).open("wb") as file:
        return sum(file.write(some) for _ in range(n_rows // len(lines)))


def timed(read):
    """The seconds of a reader, once there is free memory that a virtual machine need not ask its host for."""
    np.ones(FREE_BYTES // 8)
    start = time.perf_counter()
    read()
    return time.perf_counter() - start


def check_equal(name, ours, theirs):
    (X, y), (their_X, their_y) = ours, theirs
    arrays = (X.data, X.indices, X.indptr, y), (their_X.data, their_X.indices, their_X.indptr, their_y)
    if not all(map(np.array_equal, *arrays)):
        raise SystemExit(f"{name}: the readers disagree")


def text(results):
    """The table of the page."""
    heads = ["numbers", "rows x numbers", "MB", "s", "MB/s", "x scikit-learn"]
    rows = [
        [
            row["file"],
            f"{row['rows']:,} x {row['entries']}",
            f"{row['bytes'] / 1e6:.0f}",
            digits(row["seconds"]),
            f"{row['bytes'] / 1e6 / row['seconds']:.0f}",
            f"{row['times_ours']:.1f}",
        ]
        for row in results["rows"]
    ]
    return f"{table(heads, rows)}\n\n{measured_on(results)}"


if __name__ == "__main__":
    main()

"""Break one token of a kernel at a time, and see whether the tests notice.

    python tools/mutants.py                            # all: seconds for each, minutes for each that survives
    python tools/mutants.py --only 3 17                # by number
    python tools/mutants.py --from docs/mutants.json   # the table in docs/reliability.md alone
    python tools/mutants.py --list

Each mutant is a copy of the tree with one change. The tests of its file run on it, those that fail soonest first, until
one fails. What survives them all is either told in SURVIVORS why it changes nothing, or is a test that is missing: then
this exits with 1.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pages import DOCS, measured_on, provenance, replaced, table

RESULTS, PAGE = DOCS / "mutants.json", DOCS / "reliability.md"
ROOT = Path(__file__).resolve().parent.parent
_CPU = "jitlogreg/targets/cpu/"
_PANELS = _CPU + "column_panels.py"


class Mutant(NamedTuple):
    """A file, what stands there once, and what is put in its place."""

    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(*change)
    for change in (
        # signs
        (
            "jitlogreg/pointwise.py",
            "e = exp_nonpositive(-abs(z))\n    return where",
            "e = exp_nonpositive(abs(z))\n    return where",
        ),
        ("jitlogreg/pointwise.py", "exact = fma(-k, _log2_high(x), x)", "exact = fma(k, _log2_high(x), x)"),
        ("jitlogreg/pointwise.py", "lost = fma(-k, _log2_low(x), exact - r)", "lost = fma(k, _log2_low(x), exact - r)"),
        ("jitlogreg/pointwise.py", "return ones(e) - t, fma(-e, t, e)", "return ones(e) - t, fma(e, t, e)"),
        ("jitlogreg/pointwise.py", "return log1p_unit(e) + linear, dz", "return log1p_unit(e) - linear, dz"),
        ("jitlogreg/pointwise.py", "left = fma(-s, d, e) - s *", "left = fma(-s, d, e) + s *"),
        ("jitlogreg/pointwise.py", "left * (ones(e) - s)) + (s + s)", "left * (ones(e) + s)) + (s + s)"),
        ("jitlogreg/pointwise.py", "size = fma(misfit, upper, -fit * lower)", "size = fma(misfit, upper, fit * lower)"),
        ("jitlogreg/pointwise.py", "where(negative, -size, size)", "where(negative, size, size)"),
        (
            "jitlogreg/pointwise.py",
            "return total, (a - (total - part)) + (b - part)",
            "return total, (a - (total - part)) - (b - part)",
        ),
        # comparisons, and what is chosen
        (
            "jitlogreg/pointwise.py",
            "return where(z < zeros(z), lower, upper)",
            "return where(z > zeros(z), lower, upper)",
        ),
        (
            "jitlogreg/pointwise.py",
            "where(misfit > zeros(z), misfit * abs(z)",
            "where(misfit < zeros(z), misfit * abs(z)",
        ),
        ("jitlogreg/pointwise.py", "misfit = where(negative, y, not_y)", "misfit = where(negative, not_y, y)"),
        (
            "jitlogreg/pointwise.py",
            "return where(z < zeros(z), z, zeros(z)) -",
            "return where(z > zeros(z), z, zeros(z)) -",
        ),
        ("jitlogreg/pointwise.py", "return where(x < _log_smallest(x), zeros(x), value)", "return value"),
        # constants
        ("jitlogreg/pointwise.py", "0.6931471805599453,", "0.6931471805599454,"),
        ("jitlogreg/pointwise.py", "0.693147182}", "0.693147123}"),
        ("jitlogreg/pointwise.py", "2.3190468138462996e-17", "2.3190468138462996e-16"),
        ("jitlogreg/pointwise.py", '"float32": -1.90465421e-9', '"float32": 1.90465421e-9'),
        ("jitlogreg/pointwise.py", '"float64": 1.4426950408889634', '"float64": 1.5426950408889634'),
        ("jitlogreg/pointwise.py", "1.5 * 2**52 + 1023", "1.5 * 2**52 + 1022"),
        ("jitlogreg/pointwise.py", "-708.3964185322641", "-707.3964185322641"),
        ("jitlogreg/pointwise.py", "0.008333333333330038", "0.008333333333330138"),
        ("jitlogreg/pointwise.py", "0.400075606", "0.400075706"),
        ("jitlogreg/pointwise.py", "0.16164045611943532", "0.16164045611943533"),
        # bounds, remainders and indices
        (
            _CPU + "row_major.py",
            "    if whole < n:\n        j, rest = whole, n - whole\n        v, of =",
            "    if whole < 0:\n        j, rest = whole, n - whole\n        v, of =",
        ),
        (
            _CPU + "row_major.py",
            "i1, i2, i3 = i + leading, i + 2 * leading, i + 3 * leading",
            "i1, i2, i3 = i + leading, i + 2 * leading, i + 2 * leading",
        ),
        (_CPU + "row_major.py", "whole = n // step * step", "whole = (n - 1) // step * step"),
        (
            _CPU + "row_major.py",
            "for j in range(whole, vectors, LANES):",
            "for j in range(whole, vectors - LANES, LANES):",
        ),
        (_CPU + "row_major.py", "    if vectors < n:\n", "    if vectors > n:\n"),
        (_CPU + "row_major.py", "a2 = _one_dot(x, i + 2 * leading", "a2 = _one_dot(x, i + 3 * leading"),
        (
            _CPU + "row_major.py",
            "fma(first, w0, fma(second, w1, b))",
            "fma(first, w1, fma(second, w0, b))",
        ),
        (_CPU + "row_major.py", "sum_each(a0, a1, zero, zero", "sum_each(a1, a0, zero, zero"),
        (_CPU + "row_major.py", "a4, a5, a6, a7) + b)", "a4, a5, a6, a7) - b)"),
        (
            _CPU + "row_major.py",
            "p = fma(standardized(load(x, i6 + j, like), of), d6, p)",
            "p = fma(standardized(load(x, i6 + j, like), of), d5, p)",
        ),
        (
            _CPU + "row_major.py",
            "q = fma(standardized(load_first(x, i7 + j, rest, like), of), d7, q)",
            "q = fma(standardized(load_first(x, i7 + j, rest, like), of), d7, p)",
        ),
        (
            _CPU + "row_major.py",
            "    for r in range(rows):\n        row = i + r * leading\n        put",
            "    for r in range(1, rows):\n        row = i + r * leading\n        put",
        ),
        (_CPU + "row_major.py", "        if rest > 0:\n", "        if rest > 1:\n"),
        (
            _CPU + "column_major.py",
            "    for j in range(whole, n):\n        column",
            "    for j in range(whole, n - 1):\n        column",
        ),
        (
            _CPU + "column_major.py",
            "    for j in range(whole, n):\n        total",
            "    for j in range(whole, n - 1):\n        total",
        ),
        (_CPU + "column_major.py", "ROWS_AT_ONCE = 128", "ROWS_AT_ONCE = 1024"),
        (
            _CPU + "column_major.py",
            "s = fma(standardized(load(x, i5 + r, b), of5), w5,",
            "s = fma(standardized(load(x, i5 + r, b), of5), w4,",
        ),
        (_CPU + "column_major.py", "load(z, r, b) + ((p + q) + (s + t))", "load(z, r, b) + ((p + q) + (s - t))"),
        (_CPU + "column_major.py", "total + ((p + q) + (s + t))", "total + ((p + q) + (s - t))"),
        (_CPU + "column_major.py", "count = min(ROWS_AT_ONCE, rows - r)", "count = min(ROWS_AT_ONCE, rows)"),
        (_CPU + "column_major.py", "last = i + (n - 1) * leading", "last = i + (n - 2) * leading"),
        (
            _CPU + "column_major.py",
            "a3 = fma(standardized(load(x, i3 + r, like), of3), d, a3)",
            "a3 = fma(standardized(load(x, i2 + r, like), of3), d, a3)",
        ),
        (_CPU + "epilogue.py", "p = fma(p, e, p + e)", "p = fma(p, e, e)"),
        (_CPU + "epilogue.py", "SEGMENT = 64", "SEGMENT = 512"),
        (
            _CPU + "epilogue.py",
            "invalid = where(yi * (one - yi) >= zero, invalid, one)",
            "invalid = where(yi * (one + yi) >= zero, invalid, one)",
        ),
        (_CPU + "epilogue.py", "where(si >= zero, invalid, one), one)", "where(si >= -one, invalid, one), one)"),
        (_CPU + "epilogue.py", "weight += splat(float(rows) / LANES)", "weight += splat(float(rows - 1) / LANES)"),
        (_CPU + "epilogue.py", "loss += widen(si) * widen(loss_i)", "loss += widen(loss_i)"),
        (_CPU + "epilogue.py", "    for i in range(k, SEGMENTS):\n", "    for i in range(k + 1, SEGMENTS):\n"),
        (_CPU + "epilogue.py", "    half = SEGMENTS // 2\n", "    half = SEGMENTS // 4\n"),
        (_CPU + "epilogue.py", "held[1] + db, held[2] + weight", "held[1] - db, held[2] + weight"),
        (_CPU + "compensated.py", "put(low, k, get(low, k) + lost)", "put(low, k, get(low, k) - lost)"),
        (_CPU + "compensated.py", "store(low, j, load(low, j, wide) + lost)", "store(low, j, load(low, j, wide))"),
        (_CPU + "compensated.py", "store(g, j, zeros(like))", "store(g, j, load(g, j, like))"),
        (
            _CPU + "chunks.py",
            "min((chunk + 1) * blocks // chunks * block, m)",
            "min((chunk + 1) * blocks // chunks * block, m - 8)",
        ),
        (
            _CPU + "drivers.py",
            "        for r in range(count - pad, count):\n",
            "        for r in range(count - pad + 1, count):\n",
        ),
        (_CPU + "drivers.py", "+ (lost + load(low_part, j, like))", "+ lost"),
        (_CPU + "drivers.py", "last = width if first + 2 * ADDED_AT_ONCE > width", "last = width if True"),
        (_CPU + "drivers.py", "        if math.isfinite(get(high, j)):", "        if True:"),
        (_CPU + "drivers.py", "            if segments == SEGMENTS or", "            if segments == SEGMENTS + 1 or"),
        (
            _CPU + "drivers.py",
            "    for j in range(whole, stop, LANES):\n",
            "    for j in range(whole, stop - LANES, LANES):\n",
        ),
        (_CPU + "drivers.py", "if f_order is None and pending == 0:", "if f_order is None and pending < 0:"),
        (_CPU + "remainder.py", "            put(tail, r, 1)\n", "            put(tail, r, 0)\n"),
        (_CPU + "remainder.py", "if r < count:", "if r <= count:"),
        (_PANELS, "for panel in range(t.panels):", "for panel in range(1, t.panels):"),
        (_PANELS, "row + t.strip >= t.m", "row + t.strip > t.m"),
        (
            _PANELS,
            "    for r in range(count, full):\n        put(z, r, 0)  #",
            "    for r in range(0):\n        put(z, r, 0)  #",
        ),
        (_PANELS, "put(high, j, get(high, j) + get(low, j))", "put(high, j, get(high, j) - get(low, j))"),
        (_PANELS, "examples = examples // LANES * LANES", "examples = examples // LANES * LANES - LANES"),
        (_PANELS, "n, offset(dz, whole), count - whole,", "n, dz, count - whole,"),
        (_PANELS, "for block in range(blocks):", "for block in range(1, blocks):"),
        (_CPU + "pointers.py", 'builder.icmp_signed("<", lane', 'builder.icmp_signed("<=", lane'),
        (
            _CPU + "partition.py",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most)",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most) + 1",
        ),
        (
            _CPU + "__init__.py",
            "return (0, 0) if sample_weight is None else",
            "return (0, 0) if sample_weight is not None else",
        ),
        ("jitlogreg/objective.py", "loss += 0.5 * l2", "loss += l2"),
        ("jitlogreg/objective.py", "dw += l2 * w_wide", "dw -= l2 * w_wide"),
        ("jitlogreg/objective.py", "loss = sums.loss / sums.weight", "loss = sums.loss / sums.weight + 1e-15"),
        ("jitlogreg/objective.py", "if not 0 < weight < math.inf:", "if not 0 <= weight < math.inf:"),
        (
            "jitlogreg/objective.py",
            "return LossAndGradient(loss, dw_out, sums.db / sums.weight)",
            "return LossAndGradient(loss, dw_out, sums.db)",
        ),
        ("jitlogreg/objective.py", "if not valid or not", "if not valid and not"),
    )
]

# Why a mutant that no test notices changes nothing that was promised, by what it puts in place
SURVIVORS: dict[str, str] = {}

# The tests that run, soonest to fail first: of single files, and of all
_NAMES = "sums_keep or infinite_sums or padding or dot_product or larger_than_float32"
_SHAPES = "513x3 or 9x3 or 21x9 or 21x33 or 12345x2 or 1001x130 or 5x3001 or 139x4105"
_FIRST = {
    "jitlogreg/pointwise.py": [["tests/test_pointwise.py"]],
    "jitlogreg/objective.py": [["tests/test_validation.py", "-k", "not reference and sum"]],
    _CPU + "epilogue.py": [["tests/test_validation.py", "-k", "cpu and (outside_the_unit or negative_and_nonfinite)"]],
}
_LATER = [
    *(["tests/test_kernels.py", "-k", f"not reference and ({tests})"] for tests in (_NAMES, _SHAPES)),
    ["tests/test_accuracy.py", "-k", "cpu and (adversarial or derivative) or derived"],
    ["tests/test_golden.py", "-k", "are_golden"],
    ["tests/test_nonfinite.py", "tests/test_targets.py", "tests/test_bits.py", "-k", "cpu or number_of_threads"],
    ["tests/test_validation.py", "-k", "cpu and (labels or weights)"],
    ["tests/test_kernels.py", "-k", "not reference"],
]


def survives(mutant, folder, show=lambda text: None):
    """Whether all tests pass on a copy of the tree, in a folder, with this one change, or with none."""
    tree = Path(folder) / "tree"
    if tree.exists():
        shutil.rmtree(tree)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
    if mutant is not None:
        _change(tree / mutant.file, mutant)
    environment = os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(Path(folder) / "cache")}
    for tests in [*(_FIRST.get(mutant.file, []) if mutant else []), *_LATER]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=900)
        except subprocess.TimeoutExpired:
            show("a hang")
            return False
        if done.returncode == 5:
            raise ValueError(f"{tests} are no tests")
        if done.returncode != 0:
            show(next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "a crash"))
            return False
    return True


def _change(path, mutant):
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has {mutant.old!r} {source.count(mutant.old)} times; accepted is once")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="tell the mutants by number")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="these alone; others keep their figures")
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables from this file's figures alone")
    options = parser.parse_args(argv)
    chosen = range(len(MUTANTS)) if options.only is None else options.only
    if options.list:
        for k in chosen:
            print(k, *MUTANTS[k], sep="\t")
        return
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if options.only else []
        results = provenance() | {"rows": merged(kept, measure(chosen, options.only))}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(page, "reliability: mutants", text(results)), encoding="utf-8")
    unexplained = [row for row in results["rows"] if not row["noticed_by"] and row["new"] not in SURVIVORS]
    for row in unexplained:
        print(f"survives, and no reason is known: {row}", file=sys.stderr)
    if unexplained:
        raise SystemExit(1)


def measure(chosen, some):
    """A row for each mutant: which test noticed it, or none."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if not some and not survives(None, folder, print):
            raise SystemExit("the tests fail without any change")
        for k in chosen:
            start, noticed_by = time.perf_counter(), []
            survives(MUTANTS[k], folder, noticed_by.append)
            rows.append(MUTANTS[k]._asdict() | {"noticed_by": " ".join(noticed_by)})
            print(f"{k}\t{time.perf_counter() - start:.0f} s\t{rows[-1]}", flush=True)
    return rows


def merged(old, new):
    """The rows of all mutants there are, new ones before old ones."""
    by_change = {(row["file"], row["old"], row["new"]): row for row in [*old, *new]}
    return [by_change[mutant] for mutant in MUTANTS if mutant in by_change]


def text(results):
    """Counts by file, and the survivors with the reason why they change nothing."""
    rows = results["rows"]
    files = dict.fromkeys(row["file"] for row in rows)
    counts = [[file, *_counts([row for row in rows if row["file"] == file])] for file in files]
    parts = [table(["file", "mutants", "noticed"], [*counts, ["together", *_counts(rows)]])]
    survivors = [row for row in rows if not row["noticed_by"]]
    if survivors:
        changes = [[f"`{' '.join(row[key].split())}`" for key in ("old", "new")] for row in survivors]
        cells = [[*change, SURVIVORS.get(row["new"], "?")] for change, row in zip(changes, survivors, strict=True)]
        parts.append(table(["not noticed", "is now", "why it changes nothing"], cells))
    return "\n\n".join([*parts, measured_on(results)])


def _counts(rows):
    return len(rows), sum(bool(row["noticed_by"]) for row in rows)


if __name__ == "__main__":
    main()

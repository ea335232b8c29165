"""Break one token of a kernel at a time, and see whether the tests notice.

    python tools/mutants/run.py                              # all: seconds for each, minutes for each that survives
    python tools/mutants/run.py --only 3 17                  # by number
    python tools/mutants/run.py --from results/mutants.json  # the table in docs/reliability.md alone
    python tools/mutants/run.py --list

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, ROOT, measured_on, provenance, replaced, table

from mutants.changes import CPU, MUTANTS, OFFSET_FILES, OUTPUTS_FILES, SELECTION_FILES

RESULTS, PAGE = FIGURES / "mutants.json", DOCS / "reliability.md"

# Why a mutant that no test notices changes nothing that was promised, by what it puts in place
SURVIVORS: dict[str, str] = {}

# The tests that run, soonest to fail first: of single files, and of all
_NAMES = "sums_keep or infinite_sums or padding or dot_product or larger_than_float32"
_SHAPES = "513x3 or 9x3 or 21x9 or 21x33 or 12345x2 or 1001x130 or 5x3001 or 139x4105"
_FIRST = {
    "jitlogreg/pointwise.py": [["tests/test_pointwise.py"]],
    "jitlogreg/evaluation.py": [["tests/test_validation.py", "-k", "not reference and sum"]],
    CPU + "epilogue.py": [["tests/test_validation.py", "-k", "cpu and (outside_the_unit or negative_and_nonfinite)"]],
    **{file: [["tests/test_offset.py", "-k", "one_alone"], ["tests/test_outputs.py"]] for file in OUTPUTS_FILES},
    **{
        file: [["tests/test_selection.py"], ["tests/test_bootstrap.py"], ["tests/test_lockstep.py"]]
        for file in SELECTION_FILES
    },
    **{file: [["tests/test_offset.py", "-k", "fits or fitted or behind or hessian_is"]] for file in OFFSET_FILES},
    "jitlogreg/solvers/curvature.py": [["tests/test_softmax_fit.py", "-k", "many_parameters"]],
    **{
        file: [["tests/test_csr.py", "-k", "gathered or some_are_1 or wherever or a_softmax"]]
        for file in ("jitlogreg/targets/csr.py", CPU + "sparse_outputs.py")
    },
    **{
        CPU + f"sparse_{name}.py": [["tests/test_sparse_fuzz.py", "-k", "within"], ["tests/test_csr.py"]]
        for name in ("rows", "matrix")
    },
}
_LATER = [
    *(["tests/test_kernels.py", "-k", f"not reference and ({tests})"] for tests in (_NAMES, _SHAPES)),
    ["tests/test_accuracy.py", "-k", "cpu and (adversarial or derivative) or derived"],
    ["tests/test_golden.py", "-k", "are_golden"],
    ["tests/test_nonfinite.py", "tests/test_targets.py", "tests/test_bits.py", "-k", "cpu or number_of_threads"],
    ["tests/test_validation.py", "-k", "cpu and (labels or weights)"],
    ["tests/test_kernels.py", "-k", "not reference"],
    ["tests/test_outputs.py"],
    ["tests/test_offset.py"],
    ["tests/test_softmax_fit.py"],
    ["tests/test_selection.py"],
    ["tests/test_bootstrap.py"],
    ["tests/test_lockstep.py"],
    ["tests/test_csr.py"],
    ["tests/test_sparse_fuzz.py"],
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

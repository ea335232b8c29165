"""What tools/compare.py finds: regressions planted one at a time, innocent changes, and the same commit twice.

Each is committed in a scratch clone and compared with the commit it was made from. What was found is kept in
docs/plants.json, one by one, and what is there is not measured again; the table in docs/benchmarking.md follows from it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time

import compare
import planted
from pages import DOCS, provenance, replaced, table

RESULTS, PAGE = DOCS / "plants.json", DOCS / "benchmarking.md"
BEGIN = "what is found"
WORDS = {compare.NO_DIFFERENCE: "no difference", compare.SLOWER: "slower", compare.FASTER: "faster"}


def changes():
    """Name, kind and replacements of everything that is tried."""
    for name, edits in planted.SLOWER.items():
        yield name, "slower", edits
    for name in planted.SAME:
        yield name, "same", []
    for name, edits in planted.INNOCENT.items():
        yield name, "innocent", edits


def plant(clone, base, edits):
    """The commit in the clone that has the edits. Of text that is not there nothing can be planted."""
    compare.git(clone, "checkout", "-q", "--detach", base)
    for name, old, new in edits:
        path = clone / name
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"{name} has no {old!r}: tools/planted.py is behind")
        path.write_text(text.replace(old, new), encoding="utf-8")
    if edits:
        compare.git(clone, "-c", "user.name=plants", "-c", "user.email=plants@localhost", "commit", "-qam", "planted")
    return compare.git(clone, "rev-parse", "HEAD", text=True).strip()


def page(kept):
    """The table, and what it sums up to."""
    rows, counts = [], {}
    for name, kind, _ in changes():
        if name not in kept["found"]:
            continue
        found = kept["found"][name]
        told = found["slower"] or found["faster"]
        most = max(told, key=lambda n: abs(1 - found["ratio"][n]), default=None)
        figure = f"{found['ratio'][most]:.2f}" if most else ""
        rows.append(
            [
                name,
                WORDS.get(found["status"], "not measured"),
                len(told),
                f"`{most}`" if most else "",
                figure,
                round(found["seconds"]),
            ]
        )
        right, total = counts.get(kind, (0, 0))
        wanted = compare.SLOWER if kind == "slower" else compare.NO_DIFFERENCE
        counts[kind] = right + (found["status"] == wanted), total + 1
    head = ["change", "answer", "benchmarks told", "most of all", "times as long, or as much", "s"]
    titles = {
        "slower": "regressions told",
        "innocent": "innocent changes passed",
        "same": "comparisons of a commit with itself passed",
    }
    told = "; ".join(f"{right} of {total} {titles[kind]}" for kind, (right, total) in counts.items())
    where = f"Measured on {kept['date']}: {kept['machine']['cpu']}, {kept['machine']['threads']} threads, load {kept['load']}; base {kept['base'][:8]}."
    return f"{told}.\n\n{table(head, rows)}\n\n{where}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the commit to plant in; that of docs/plants.json, else HEAD, if left out")
    parser.add_argument("--only", action="append", help="measure this change, even if it is in docs/plants.json")
    parser.add_argument("--write", action="store_true", help="only write the page from docs/plants.json")
    options = parser.parse_args(arguments)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"found": {}}
    if not options.write:
        from jitlogreg.cli.machine import load

        name = options.base or kept.get("base", "HEAD")
        base = compare.git(compare.ROOT, "rev-parse", f"{name}^{{commit}}", text=True).strip()
        kept = {"found": {}, "load": load(), **kept, **provenance(), "base": base}
        clone = compare.ROOT / ".asv" / "plants"
        shutil.rmtree(clone, ignore_errors=True)
        clone.parent.mkdir(exist_ok=True)
        subprocess.run(["git", "clone", "-q", "--shared", str(compare.ROOT), str(clone)], check=True)
        for name, kind, edits in changes():
            if name in kept["found"] if options.only is None else name not in options.only:
                continue
            start = time.perf_counter()
            result = compare.compare(clone, base, plant(clone, base, edits), log=lambda line: None)
            seconds = time.perf_counter() - start
            ratio = {n: round(statistics.median(first + again), 3) for n, (first, again) in result["ratios"].items()}
            kept["found"][name] = {key: result[key] for key in ("status", "line", "slower", "faster")}
            kept["found"][name] |= {"ratio": ratio, "launches": result["ratios"], "seconds": round(seconds, 1)}
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(f"{kind}: {name}: {result['line']} ({seconds:.0f} s)", flush=True)
        shutil.rmtree(clone)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(text, BEGIN, page(kept)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

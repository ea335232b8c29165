"""What `compare.py` finds: regressions planted one at a time, innocent changes, and the same commit twice.

Each is committed in a scratch clone and compared with the commit it was made from. What was found is kept in
results/plants.json, one by one, and not measured again; the table in docs/how-to/track-speed.md follows from it.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from jitlogreg.cli.machine import load

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, measured_on, provenance, replaced, table

from performance import compare, planted

RESULTS, PAGE = FIGURES / "plants.json", DOCS / "how-to" / "track-speed.md"
PLACE = "what is found: tools/performance/plants.py"
WORDS = ["no difference", "slower", "could not be measured", "faster"]  # by exit status
KINDS = {
    "slower": "regressions reported",
    "same": "comparisons of a commit with itself passed",
    "innocent": "innocent changes passed",
}


def changes():
    """Name, kind and replacements of everything that is tried."""
    for name, edits in planted.SLOWER.items():
        yield name, "slower", edits
    for name in planted.SAME:
        yield name, "same", []
    for name, edits in planted.INNOCENT.items():
        yield name, "innocent", edits


def edited(text, old, new):
    """The text with every `old` replaced, of which there must be one."""
    if old not in text:
        raise SystemExit(f"nothing can be planted, tools/performance/planted.py is behind: there is no {old!r}")
    return text.replace(old, new)


def plant(clone, base, edits):
    """The commit in the clone that has the edits."""
    compare.git(clone, "checkout", "-q", "--detach", base)
    for name, old, new in edits:
        path = clone / name
        path.write_text(edited(path.read_text(encoding="utf-8"), old, new), encoding="utf-8")
    if edits:
        compare.git(clone, "-c", "user.name=plants", "-c", "user.email=plants@localhost", "commit", "-qam", "planted")
    return compare.git(clone, "rev-parse", "HEAD", text=True).strip()


def try_change(clone, base, edits):
    """What the comparison says of it, as it is kept."""
    start = time.perf_counter()
    result = compare.compare(clone, base, plant(clone, base, edits), log=lambda line: None)
    ratio = {name: round(statistics.median(first + again), 3) for name, (first, again) in result["ratios"].items()}
    found = {key: result[key] for key in ("status", "line", "slower", "faster")}
    seconds = round(time.perf_counter() - start, 1)
    return found | {"ratio": ratio, "launches": result["ratios"], "seconds": seconds, "load": load()}


def page(kept):
    """The table, and what it sums up to."""
    rows, right, total = [], Counter(), Counter()
    for name, kind, _ in changes():
        if name not in kept["found"]:
            continue
        found = kept["found"][name]
        ratio, reported = found["ratio"], found["slower"] + found["faster"]
        most = max(reported, key=lambda n: abs(math.log(ratio[n])), default=None)
        of_most = (f"`{most}`", f"{ratio[most]:.2f}") if most else ("", "")
        rows.append(
            [name, WORDS[found["status"]], len(reported), *of_most, round(found["seconds"]), found.get("load", "")]
        )
        total[kind] += 1
        right[kind] += found["status"] == (compare.SLOWER if kind == "slower" else compare.NO_DIFFERENCE)
    summary = "; ".join(f"{right[kind]} of {total[kind]} {KINDS[kind]}" for kind in KINDS if total[kind])
    head = ["change", "verdict", "benchmarks reported", "the largest change", "ratio", "seconds", "load"]
    return f"{summary}.\n\n{table(head, rows)}\n\n{measured_on(kept)} In commit {kept['base'][:8]}."


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the commit to plant in; that of results/plants.json, else HEAD, if left out")
    parser.add_argument("--only", action="append", help="measure this change, even if it is in results/plants.json")
    parser.add_argument("--write", action="store_true", help="only write the page from results/plants.json")
    options = parser.parse_args(arguments)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"found": {}}
    if not options.write:
        measure(kept, options.base or kept.get("base", "HEAD"), options.only)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(text, PLACE, page(kept)), encoding="utf-8")


def measure(kept, base, only):
    """Try what is missing, or what `only` names, and keep each when it is found."""
    base = compare.git(compare.ROOT, "rev-parse", f"{base}^{{commit}}", text=True).strip()
    kept |= {**provenance(), "base": base}
    clone = compare.ROOT / ".asv" / "plants"
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(exist_ok=True)
    subprocess.run(["git", "clone", "-q", "--shared", str(compare.ROOT), str(clone)], check=True)
    for name, kind, edits in changes():
        if name in kept["found"] if only is None else name not in only:
            continue
        found = kept["found"][name] = try_change(clone, base, edits)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        print(f"{kind}: {name}: {found['line']} ({found['seconds']:.0f} s)", flush=True)
    shutil.rmtree(clone)


if __name__ == "__main__":
    main()

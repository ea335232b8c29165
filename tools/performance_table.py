"""Measure `loss_and_gradient` beside the peers: figures into docs/performance.json, and as a table into README.md.

    python tools/performance_table.py                          # some ten minutes on two cores
    python tools/performance_table.py --from docs/performance.json
    python tools/performance_table.py --shapes 64x8:C 1000x20:C,F --rounds 3

Each shape is measured in a process of its own, by `jitlogreg bench`, so that no memory is left from the one before.
Every peer should be installed: `pip install '.[peers]'`.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "docs" / "performance.json"
BEGIN, END = "<!-- performance table: tools/performance_table.py -->", "<!-- end of the performance table -->"

SHAPES = ["5000000x28:C,F", "500000x256:C,F", "60000x2048:C,F", "100x200000:C", "4000000x2:C,F", "1000x20:C", "64x8:C"]
OTHERS = ["NumPy", "scikit-learn", "PyTorch", "JAX", "oneDAL"]
HEAD = ["X", "order", "dtype", "ms", "GB/s", "limit, GB/s", "% of limit", *(f"x {other}" for other in OTHERS)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the table from this file's figures alone")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="ROWSxCOLUMNS:ORDERS", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=11, help="(%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        results = measure(options.shapes, options.rounds)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    README.write_text(replaced(README.read_text(encoding="utf-8"), table(results)), encoding="utf-8")


def measure(shapes, rounds):
    """What `jitlogreg bench` says of each shape, put together, with the first one's load: later ones are our own."""
    runs = []
    for shape in shapes:
        print(shape, file=sys.stderr)
        size, _, orders = shape.partition(":")
        command = [sys.executable, "-m", "jitlogreg", "bench", "--peers", "--json", "--target", "cpu"]
        command += ["--shapes", size, "--order", orders or "C", "--rounds", str(rounds)]
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout))
    return {
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "machine": runs[0]["machine"],
        "versions": runs[0]["versions"],
        "left_out": runs[0]["left_out"],
        "rows": [row for run in runs for row in run["rows"]],
    }


def table(results):
    """The table in Markdown, what was measured on, and what is to be said of single figures."""
    cases = {}
    for row in results["rows"]:
        cases.setdefault((*row["shape"], row["order"], row["dtype"]), {})[row["implementation"]] = row
    lines = [HEAD, ["--", "--", "--", *["--:"] * (len(HEAD) - 3)]]
    lines += [cells(case, rows) for case, rows in cases.items()]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *notes(results)])


def cells(case, rows):
    m, n, order, dtype = case
    own, limit = rows["cpu"], rows["limit"]
    return [
        f"{m} x {n}",
        order,
        dtype,
        digits(1e3 * own["seconds"]),
        digits(own["gb_per_s"]),
        digits(limit["gb_per_s"]),
        f"{own['percent_of_limit']:.0f}",
        *(ratio(rows.get(other)) for other in OTHERS),
    ]


def ratio(row):
    if row is None:
        return ""
    return digits(row["times_ours"]) + ("*" if row["remark"] else "")


def digits(value):
    """Three significant digits, written out."""
    return f"{value:.{max(0, 2 - exponent(value))}f}"


def exponent(value):
    return int(f"{value:.2e}".partition("e")[2])


def notes(results):
    here = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield (
        f"Measured on {results['date']}: {here['cpu']}, {here['threads']} threads, {here['system']}; {versions}. "
        f"Medians of {results['rounds']} rounds."
    )
    if results["left_out"]:
        yield f"Not installed there: {', '.join(results['left_out'])}."
    if (here["load"] or 0) > 0.5:
        yield f"The load was {here['load']} before: other processes may have slowed some of this."
    for row in results["rows"]:
        if row["remark"]:
            m, n = row["shape"]
            yield f"\\* {row['implementation']}, {m} x {n}, {row['order']}, {row['dtype']}: {row['remark']}."


def replaced(text, new):
    """The text with what stands between the markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README} has no {BEGIN} with {END} after it")
    return f"{before}{begin}\n\n{new}\n\n{end}{after}"


if __name__ == "__main__":
    main()

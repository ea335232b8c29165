"""Measure `loss_and_gradient` beside the peers: figures by machine, and tables in two pages of docs/.

    python tools/performance/peer_table.py          # this machine anew: half an hour on two cores
    python tools/performance/peer_table.py --write  # the tables alone, from results/performance/*.json
    python tools/performance/peer_table.py --shapes 64x8:C 1000x20:C,F  # these anew, beside what is kept of this CPU

Each shape is measured in a process of its own, by `jitlogreg bench`, so that no memory is left from the one before. A
cell within 3 % of its best peer is measured again, and the medians of both are kept. Every peer should be installed:
`pip install '.[peers]'`.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages
from pages import DOCS, FIGURES, ROOT, digits, replaced

PAGE, MARKER = DOCS / "performance.md", "performance: peers"
READS_PAGE, READS_MARKER = DOCS / "explanation" / "one-read.md", "one read: peers"
RESULTS = FIGURES / "performance"

# Narrow, medium and wide, from memory, from a shared cache, and small
SHAPES = [
    *("5000000x28:C,F", "2000000x28:C,F", "500000x256:C,F", "60000x2048:C,F", "100x200000:C,F", "4000000x2:C,F"),
    *(
        "1000000x64:C,F",
        "100000x512:C,F",
        "20000x4096:C,F",
        "8000x8192:C,F",
        "3000x300:C,F",
        "1000x1000:C,F",
        "20000x50:C,F",
    ),
    *("1000x20:C,F", "64x8:C,F"),
]
# What the page on reads shows: X that no cache holds
READS = [[5_000_000, 28], [500_000, 256], [60_000, 2048]]
OTHERS = ["NumPy", "scikit-learn", "PyTorch", "JAX", "oneDAL"]
HEAD = ["X", "order", "dtype", "ms", "GB/s", "limit, GB/s", "% of limit", *(f"x {other}" for other in OTHERS)]
# A ratio so close to 1 is measured again
CLOSE = 0.03


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables from the kept figures alone")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="ROWSxCOLUMNS:ORDERS", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    options = parser.parse_args(argv)
    if not options.write:
        results = measure(options.shapes, options.rounds)
        kept = RESULTS / f"{results['machine']['cpu']}.json"
        if options.shapes != SHAPES and kept.exists():
            results["rows"] = put_in(json.loads(kept.read_text(encoding="utf-8"))["rows"], results["rows"])
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    machines = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    for path, marker, new in ((PAGE, MARKER, text(machines)), (READS_PAGE, READS_MARKER, reads_text(machines))):
        page = path.read_text(encoding="utf-8")
        path.write_text(replaced(page, marker, new), encoding="utf-8")


def measure(shapes, rounds):
    """What `jitlogreg bench` says of each shape, put together, with the first one's load: later ones are our own."""
    runs = [bench(shape, rounds) for shape in shapes]
    rows = [row for run in runs for row in run["rows"]]
    for case in close_cases(rows):
        m, n, order, dtype = case
        again = bench(f"{m}x{n}:{order}", rounds, "--dtype", dtype)["rows"]
        of_case = [row for row in rows if key(row) == case]
        for row, other in zip(of_case, again, strict=True):
            for figure in ("seconds", "gb_per_s", "percent_of_limit", "speedup", "times_ours"):
                row[figure] = statistics.median((row[figure], other[figure]))
    return {
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "machine": runs[0]["machine"],
        "versions": runs[0]["versions"],
        "left_out": runs[0]["left_out"],
        "rows": rows,
    }


def put_in(kept, rows):
    """The kept rows, with those of the cases that were measured anew in their places, or behind."""
    cases = by_case(kept) | by_case(rows)
    return [row for case in cases.values() for row in case.values()]


def bench(shape, rounds, *more):
    """What `jitlogreg bench` says of a shape."""
    print(shape, *more, file=sys.stderr)
    size, _, orders = shape.partition(":")
    command = [sys.executable, "-m", "jitlogreg", "bench", "--peers", "--json", "--target", "cpu", *more]
    command += ["--shapes", size, "--order", orders or "C", "--rounds", str(rounds)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)


def key(row):
    return *row["shape"], row["order"], row["dtype"]


def by_case(rows):
    """The rows of each case, by implementation."""
    cases = {}
    for row in rows:
        cases.setdefault(key(row), {})[row["implementation"]] = row
    return cases


def best_peer(rows):
    """The fastest other implementation of a case: its row."""
    return min((rows[other] for other in OTHERS if other in rows), key=lambda row: row["times_ours"])


def close_cases(rows):
    return [case for case, own in by_case(rows).items() if abs(best_peer(own)["times_ours"] - 1) <= CLOSE]


def text(machines):
    """The tables of all machines."""
    return "\n\n".join(map(section, machines))


def section(results):
    """One machine's part of docs/performance.md."""
    here = results["machine"]
    smallest = min(by_case(results["rows"]).items(), key=lambda item: best_peer(item[1])["times_ours"])
    (m, n, order, dtype), rows = smallest
    peer = best_peer(rows)
    below = sum(best_peer(own)["times_ours"] < 1 for own in by_case(results["rows"]).values())
    told = (
        f"Of {len(by_case(results['rows']))} cells {below} are below 1.0 x their best peer; the smallest is "
        f"{m} x {n}, {order}, {dtype}: {peer['times_ours']:.2f} x {peer['implementation']}."
    )
    return f"### {here['cpu']}, {here['threads']} threads\n\n{told}\n\n{table(results)}"


def reads_text(machines):
    """For large X in C order, how many reads of X fit into the time of each implementation, by machine."""
    names = ["cpu", "oneDAL", *(other for other in OTHERS if other != "oneDAL")]
    lines = [
        [f"{m} x {n}", dtype, results["machine"]["cpu"], *(reads(rows.get(name)) for name in names)]
        for results in machines
        for (m, n, order, dtype), rows in by_case(results["rows"]).items()
        if order == "C" and [m, n] in READS
    ]
    return pages.table(["X", "dtype", "CPU", "jitlogreg", *names[1:]], lines)


def reads(row):
    return "" if row is None else f"{100 / row['percent_of_limit']:.1f}"


def table(results):
    """The table in Markdown, what was measured on, and what is to be said of single figures."""
    lines = [cells(case, rows) for case, rows in by_case(results["rows"]).items()]
    return "\n".join([pages.table(HEAD, lines), "", *notes(results)])


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


def notes(results):
    here = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield (
        f"Measured on {results['date']}: {here['cpu']}, {here['threads']} threads, {here['system']}, "
        f"profile {here.get('profile', 'of the code itself')}; {versions}. "
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


if __name__ == "__main__":
    main()

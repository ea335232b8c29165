"""What each shipped tuning profile makes of this machine: shares of the read limit, as a table in docs/performance.md.

    python tools/performance/profile_table.py          # in a few minutes, into results/profiles/<cpu>.json and the page
    python tools/performance/profile_table.py --write  # the page alone, from results/profiles/*.json

All profiles take turns in one process with a plain read of the same bytes. The bits of each are compared first. The
page shows sweeps over single hints and distances too, results/profiles/sweeps/*.json, from which a profile was chosen.
"""

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import bandwidth
from jitlogreg.cli.machine import machine
from jitlogreg.cli.timing import in_turn
from jitlogreg.targets.cpu import profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages

PAGE, RESULTS = pages.DOCS / "performance.md", pages.FIGURES / "profiles"

COLUMNS = (8, 28, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
SMALL = ((20_000, 50), (3_000, 300), (1_000, 1_000), (1_000, 100), (1_000, 20))
# Bytes of a large X
LARGE = 160 << 20


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the page from the kept figures alone")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    options = parser.parse_args(argv)
    if not options.write:
        results = measure(options.rounds)
        kept = RESULTS / f"{results['machine']['cpu']}.json"
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    tables = [table(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]
    tables += [sweep(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("sweeps/*.json"))]
    text = pages.replaced(PAGE.read_text(encoding="utf-8"), "profiles: measured", "\n\n".join(tables))
    PAGE.write_text(text, encoding="utf-8")


def measure(rounds):
    here, rows = machine(), []
    for dtype in ("float64", "float32"):
        itemsize = np.dtype(dtype).itemsize
        numbers = np.resize(np.random.default_rng(0).standard_normal(1 << 22, dtype), LARGE // itemsize)
        large = [(numbers.size // n // 8 * 8, n) for n in COLUMNS]
        for order in "CF":
            for m, n in (*large, *SMALL):
                rows += measured(numbers[: m * n], m, n, order, rounds)
                print(dtype, order, m, n, {row["operation"]: row["shares"] for row in rows[-2:]}, flush=True)
    return {"date": datetime.date.today().isoformat(), "rounds": rounds, "machine": here, "rows": rows}


def measured(numbers, m, n, order, rounds):
    """The shares of the limit of both operations, by profile."""
    X = numbers.reshape((m, n) if order == "C" else (n, m))
    X = X if order == "C" else X.T
    y, w = (np.arange(m) % 3 == 0).astype(X.dtype), (np.ones(n) / np.sqrt(n)).astype(X.dtype)
    operations = {
        "loss_and_gradient": lambda: jlr.loss_and_gradient(X, y, w, 0.1, target="cpu"),
        "forward": lambda: jlr.forward(X, w, 0.1, target="cpu"),
    }
    rows = []
    for name, call in operations.items():
        calls = [by(tuned, call) for tuned in profile.SHIPPED.values()]
        if len({bits(call()) for call in calls}) != 1:
            raise SystemExit(f"{name}, {m}x{n} {order}: a profile changes the bits")
        *reads, own = np.split(in_turn([*bandwidth.readers(X, y, w), *calls], rounds, wait=False), (1, 2))
        limit = np.minimum(*reads)[0]
        shares = {cpu: statistics.median(limit / one) for cpu, one in zip(profile.SHIPPED, own, strict=True)}
        rows.append(
            {
                "operation": name,
                "shape": [m, n],
                "order": order,
                "dtype": X.dtype.name,
                "shares": {cpu: round(share, 3) for cpu, share in shares.items()},
            }
        )
    return rows


def by(tuned, call):
    def call_by():
        profile.use(tuned)
        return call()

    return call_by


def bits(result):
    parts = result if isinstance(result, tuple) else (result,)
    return b"".join(np.asarray(part).tobytes() for part in parts)


def table(results):
    """Columns by profile, rows by shape: loss and gradient, and behind a slash the forward pass."""
    here, names = results["machine"], list(profile.SHIPPED)
    lines = []
    for gradient, forward in zip(results["rows"][::2], results["rows"][1::2], strict=True):
        m, n = gradient["shape"]
        cells = [f"{gradient['shares'][cpu]:.2f} / {forward['shares'][cpu]:.2f}" for cpu in names]
        lines.append([f"{m} x {n}", gradient["order"], gradient["dtype"], *cells])
    worst = min(results["rows"], key=default_over_best)
    m, n = worst["shape"]
    told = (
        f"The default's smallest share of the best profile's speed: {default_over_best(worst):.2f} "
        f"({worst['operation']}, {m} x {n}, {worst['order']}, {worst['dtype']})."
    )
    when = f"{results['date']}: {here['cpu']}, {here['threads']} threads, medians of {results['rounds']} rounds."
    return f"{pages.table(['X', 'order', 'dtype', *names], lines)}\n\n{told} {when}"


def sweep(results):
    """Columns by variant, such as t0_4 for the hint t0 and 4 KB, rows by order, dtype and columns of X."""
    here, names = results["machine"], list(next(iter(results["shares"].values())))
    head = [name.replace("_", ", ") + (" KB" if "_" in name else "") for name in names]
    lines = []
    for case, shares in results["shares"].items():
        order, dtype, columns = case.split()
        cells = [f"{gradient:.2f} / {forward:.2f}" for gradient, forward in shares.values()]
        lines.append([order, {"f8": "float64", "f4": "float32"}[dtype], columns, *cells])
    told = f"{here['cpu']}, {here['threads']} threads, {results['date']}: {results['told']}."
    return f"{pages.table(['order', 'dtype', 'columns', *head], lines)}\n\n{told}"


def default_over_best(row):
    return row["shares"]["default"] / max(row["shares"].values())


if __name__ == "__main__":
    main()

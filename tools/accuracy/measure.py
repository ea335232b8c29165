"""Measure the accuracy contract: figures into results/accuracy.json, and as tables into docs/accuracy.md.

    python tools/accuracy/measure.py                                           # a quarter of an hour on one core
    python tools/accuracy/measure.py --step 1009 --count 300000 --rows 100003  # less of everything, in a minute
    python tools/accuracy/measure.py --from results/accuracy.json              # the tables alone

It tries all 2³² margins of float32. It stops with an error, and writes nothing, where a bound does not hold. Peers that
should stand beside need to be installed: `pip install '.[peers]'`.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

from accuracy import examples, float32, float64, peers, sums

RESULTS, PAGE = FIGURES / "accuracy.json", DOCS / "accuracy.md"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables from this file's figures alone")
    parser.add_argument("--step", type=int, default=1, help="every so many float32 margins (%(default)s)")
    parser.add_argument("--count", type=int, default=10_000_000, help="float64 margins (%(default)s)")
    parser.add_argument("--rows", type=int, default=sums.ROWS[-1], help="rows of the longest sums (%(default)s)")
    parser.add_argument("--columns", type=int, default=sums.COLUMNS[-1], help="of the longest rows (%(default)s)")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        results = measure(options.step, options.count, options.rows, options.columns)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables(results).items():
        page = replaced(page, f"accuracy: {name}", text)
    PAGE.write_text(page, encoding="utf-8")


def measure(step=1, count=10_000_000, rows=sums.ROWS[-1], columns=sums.COLUMNS[-1]):
    """All figures, once every bound has been seen to hold."""
    by_peers, versions, left_out = peers.worst_cases()
    return {
        **provenance(versions),
        "left_out": left_out,
        "examples": measure_examples(step, count),
        "margins": measure_margins(columns),
        "sums": measure_sums(rows),
        "gradient": measure_gradient(),
        "peers": [
            {"peer": peer, "dtype": dtype, "what": what, **_case(worst), "far_from": _number(far)}
            for peer, dtype, what, worst, far in by_peers
        ],
    }


def measure_examples(step, count):
    rows = []
    for dtype in ("float32", "float64"):
        if dtype == "float32":
            worst, _ = float32.scan(step, _show(dtype))
        else:
            worst = float64.scan(count, _show(dtype))
        for function, case in zip(examples.FUNCTIONS, worst, strict=True):
            _require(case.ulps <= function.bound, f"{function} of {dtype}: {case}")
            rows.append({"what": function.name, "of": function.label, "dtype": dtype, "bound": function.bound})
            rows[-1] |= _case(case)
        _require(not examples.special_values(dtype), examples.special_values(dtype))
    return rows


def measure_margins(columns=sums.COLUMNS[-1]):
    rows = []
    for dtypes in sums.PAIRS:
        for order in "CF":
            for n in [n for n in sums.COLUMNS if n <= columns]:
                errors = {
                    (call, arrangement): sums.margin_error(n, dtypes, order, arrangement, call)
                    for call in ("forward", "sums")
                    for arrangement in sums.ARRANGEMENTS
                }
                case = max(errors, key=errors.get)
                itemsize = np.dtype(dtypes[0]).itemsize
                derived = max(sums.roundings_of_margins(n, order, itemsize, call) for call in ("forward", "sums"))
                bound = n / 8 + 16
                _require(errors[case] <= derived <= bound, f"margins of {n} columns, {dtypes}, {order}: {errors[case]}")
                rows.append({"dtypes": dtypes, "order": order, "n": n, "measured": errors[case], "case": case[1]})
                rows[-1] |= {"derived": derived, "bound": bound}
    return rows


def measure_sums(longest=sums.ROWS[-1]):
    rows = []
    for dtypes in sums.PAIRS:
        for order in "CF":
            worst = {}
            for m in [m for m in sums.ROWS if m <= longest]:
                for arrangement in sums.ARRANGEMENTS if m < 1_000_000 else ("scales 1e±12", "always rounded down"):
                    for margins in (False, True):
                        errors = sums.sum_errors(m, dtypes, order, arrangement, margins=margins)
                        for what, error in errors.items():
                            _require(error <= 32, f"{what} of {m} rows, {dtypes}, {order}, {arrangement}: {error}")
                            worst[what] = max(worst.get(what, (-1,)), (error, m, arrangement))
                print(f"sums: {dtypes} {order} {m}", file=sys.stderr)
            for what, (error, m, arrangement) in worst.items():
                derived = sums.roundings_of_sums(what, order)
                rows.append({"dtypes": dtypes, "order": order, "what": what, "measured": error, "derived": derived})
                rows[-1] |= {"m": m, "case": arrangement}
    return rows


def measure_gradient():
    rows = []
    for dtypes in sums.PAIRS:
        error = max(sums.gradient_error(dtypes, order, scale=scale) for order in "CF" for scale in (1, 8, 64))
        _require(error <= 1, f"gradient, {dtypes}: {error}")
        rows.append({"dtypes": dtypes, "measured": error})
    return rows


def _require(holds, message):
    if not holds:
        raise ArithmeticError(f"a bound does not hold: {message}")


def _case(worst):
    return {name: _number(value) for name, value in worst._asdict().items()}


def _number(value):
    """JSON has no infinity."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _show(what):
    return lambda share: print(f"\r{what}: {share:.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the page


def tables(results):
    """What goes into the page, by the names of its markers."""
    return {
        "examples": examples_table(results["examples"]),
        "margins": margins_table(results["margins"]),
        "sums": sums_table(results["sums"]),
        "gradient": gradient_table(results["gradient"]),
        "peers": peers_table(results),
        "measured": measured_on(results),
    }


def examples_table(rows):
    head = ["what", "label", "dtype", "bound, ulp", "worst, ulp", "at margin", "label there", "margins tried"]
    return table(head, [_example_cells(row) for row in rows])


def _example_cells(row):
    label = repr(row["label"]) if row["of"] == "soft" else ""
    where = [repr(row["margin"]), label, f"{row['tried']:,}".replace(",", " ")]
    return [row["what"], row["of"], row["dtype"], row["bound"], digits(float(row["ulps"]), 4), *where]


def margins_table(rows):
    head = ["X / w", "order", "columns", "measured", "derived", "bound", "worst arrangement"]
    cells = [
        [
            " / ".join(row["dtypes"]),
            row["order"],
            row["n"],
            digits(row["measured"]),
            row["derived"],
            f"{row['bound']:g}",
            row["case"],
        ]
        for row in rows
    ]
    return table(head, cells)


def sums_table(rows):
    head = ["X / w", "order", "sum", "measured", "derived", "bound", "rows", "worst arrangement"]
    cells = []
    for row in rows:
        cells.append([" / ".join(row["dtypes"]), row["order"], row["what"], digits(row["measured"]), row["derived"]])
        cells[-1] += [32, row["m"], row["case"]]
    return table(head, cells)


def gradient_table(rows):
    cells = [[" / ".join(row["dtypes"]), digits(row["measured"])] for row in rows]
    return table(["X / w", "largest error, of what is allowed"], cells)


def peers_table(results):
    head = ["library", "dtype", "what", "worst, ulp", "at margin", "label there", f"off by {peers.FAR} ulp from |z| ="]
    cells = []
    for row in results["peers"]:
        far, label = float(row["far_from"]), f"{row['label']:.0f}" if row["what"] in ("loss", "residual") else ""
        cells.append([row["peer"], row["dtype"], row["what"], digits(float(row["ulps"])), digits(row["margin"]), label])
        cells[-1].append("" if math.isinf(far) else digits(far))
    text = table(head, cells)
    return f"{text}\n\nNot installed there: {', '.join(results['left_out'])}." if results["left_out"] else text


if __name__ == "__main__":
    main()

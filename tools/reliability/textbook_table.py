"""Fit the textbook regressions of tests/textbook at the defaults: a table in docs/reliability.md.

    pip install statsmodels                     # which one of the data sets is in
    python tools/reliability/textbook_table.py  # some seconds

A solver agrees if every coefficient comes out as printed, to the last digit.
"""

import sys
from pathlib import Path

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, ROOT, measured_on, provenance, replaced, table

sys.path.insert(0, str(ROOT / "tests"))

import textbook

PAGE = DOCS / "reliability.md"
SOLVERS = ("auto", "newton", "lbfgs")


def main():
    for package in filter(None, map(textbook.needs, textbook.names())):
        raise SystemExit(f"needs {package}")
    text = f"{textbook_table(map(textbook.load, textbook.names()))}\n\n{measured_on(provenance())}"
    page = replaced(PAGE.read_text(encoding="utf-8"), "reliability: textbook", text)
    PAGE.write_text(page, encoding="utf-8")


def textbook_table(cases):
    """A row for each case, and one that counts."""
    rows, agreed, tried = [], dict.fromkeys(SOLVERS, 0), 0
    for case in cases:
        tried += 1
        seen = {solver: misses(case, solver) for solver in SOLVERS}
        for solver in SOLVERS:
            agreed[solver] += not seen[solver]
        rows.append([case.title, case.source, *case.X.shape, printed_digits(case), *map(verdict, seen.values())])
    rows.append(["together", f"{tried} regressions", "", "", "", *(f"{agreed[solver]} agree" for solver in SOLVERS)])
    return table(["regression", "printed by", "m", "n", "digits", *SOLVERS], rows)


def misses(case, solver):
    """The numbers that a solver at its defaults does not bring out as printed."""
    fitted = jlr.fit(
        case.X, case.y, solver=solver, l2=case.l2, sample_weight=case.sample_weight, fit_intercept=case.fit_intercept
    )
    return textbook.misses(case, fitted.w, fitted.b)


def printed_digits(case):
    """The fewest and the most significant digits that are printed."""
    counts = [textbook.digits(text) for _, text in case.printed()]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def verdict(missed):
    if not missed:
        return "every digit"
    return f"{len(missed)} off, by {max(missed.values()):.3g} units of the last digit at most"


if __name__ == "__main__":
    main()

"""What the scripts that write pages of docs/ share: tables, where they stand in a page, and what they belong to.

A script that is run has its own folder on `sys.path` alone, and puts this one there first: so it finds this module, and
the modules of each folder by the folder's name.
"""

import datetime
import re
from pathlib import Path

from jitlogreg.cli.machine import machine, versions

ROOT = Path(__file__).resolve().parents[1]
DOCS, FIGURES = ROOT / "docs", ROOT / "results"


def provenance(more_versions=None):
    """The date, the machine and the versions that a measurement belongs to, as JSON takes them."""
    here = machine()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {name: here[name] for name in ("cpu", "system", "threads")},
        "versions": versions() | (more_versions or {}),
    }


def measured_on(results):
    """One line that says when, where and with what."""
    here = results["machine"]
    with_what = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"Measured on {results['date']}: {here['cpu']}, {here['threads']} threads, {here['system']}; {with_what}."


def table(head, rows):
    """A table in Markdown; numbers are to the right."""
    numeric = [all(_is_numeric(row[k]) for row in rows) for k in range(len(head))]
    lines = [head, ["--:" if right else "--" for right in numeric], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)


def _is_numeric(cell):
    return not isinstance(cell, str) or re.fullmatch(r"-?[\d.e+ -]*|inf", cell) is not None


def digits(value, count=3):
    """A number with so many significant digits, written out if it is neither large nor small."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{count - 1}e}" if abs(value) != float("inf") else "inf"
    exponent = int(f"{value:.{count - 1}e}".partition("e")[2])
    return f"{value:.{max(0, count - 1 - exponent)}f}"


def replaced(text, name, new):
    """A page's text with what stands between the markers of this name replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"the page has no {begin} with {end} after it")
    return f"{before}{begin}\n\n{new}\n\n{end}{after}"

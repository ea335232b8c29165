"""Docstrings that share entries are complete when `help()` shows them, and every link of a page leads somewhere."""

import inspect
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from performance import peer_picture

import jitlogreg as jlr
from jitlogreg import _docs

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

DOCUMENTED = [jlr.forward, jlr.log_forward, jlr.loss, jlr.gradient, jlr.loss_and_gradient, jlr.Objective]


@pytest.mark.parametrize("described", DOCUMENTED, ids=lambda described: described.__name__)
def test_every_parameter_is_described_once_and_in_order(described):
    doc = inspect.getdoc(described)
    assert "%(" not in doc
    section = doc.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    assert re.findall(r"^(\w+) : ", section, re.MULTILINE) == list(inspect.signature(described).parameters)
    assert all(len(line) <= 120 for line in doc.splitlines())


def test_an_entry_is_indented_as_its_placeholder():
    @_docs.documented
    def function():
        """Summary of 5 %(l2)s.

        %(l2)s
            More.
        """

    text = inspect.getdoc(function)
    assert text.splitlines()[0] == "Summary of 5 %(l2)s."
    assert text.splitlines()[2:] == [*_docs.ENTRIES["l2"].strip().splitlines(), "    More."]


def test_an_unknown_entry_raises():
    def function():
        """
        %(nothing)s
        """

    with pytest.raises(KeyError, match="nothing"):
        _docs.documented(function)


def test_without_docstrings():
    code = "import jitlogreg as jlr; print(jlr.loss.__doc__, jlr.Objective.__doc__)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None"]


# ---------------------------------------------------------------- links between pages


def pages():
    """Every page in Markdown that is kept in the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*.md")])


def anchors(text):
    """The anchors that a forge, and MyST likewise, give to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    """The links of a page to a file that is not there, or to a heading that its page does not have."""
    found = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue  # another site's
        path, _, anchor = link.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# What it is, and is not\n\n```sh\n# no heading\n```\n", encoding="utf-8")
    page = tmp_path / "page.md"
    right = "# Here\n\n[a](other.md) [b](other.md#what-it-is-and-is-not) [c](#here) [d](https://example.org/x.md)\n"
    page.write_text(right, encoding="utf-8")
    assert broken_links(page) == []
    page.write_text(
        right + "[e](gone.md) [f](other.md#no-heading) [g](#there)\n```\n[h](code.md)\n```\n", encoding="utf-8"
    )
    assert broken_links(page) == ["gone.md", "other.md#no-heading", "#there"]


# ---------------------------------------------------------------- figures that README repeats


README = (ROOT / "README.md").read_text(encoding="utf-8")


def measured(name):
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def test_readme_has_the_measured_speed():
    found = re.search(
        r"(\d+) % of the\s+bandwidth for ([\d,]+) × (\d+) .*?(\d\.\d) to (\d\.\d) times", README, re.DOTALL
    )
    share, m, n, least, most = (float(number.replace(",", "")) for number in found.groups())
    ours = peer_picture.cases(measured("performance/znver5.json"))
    assert share == round(ours[m, n, "float64"]["cpu"]["percent_of_limit"])
    times = [
        min(row["times_ours"] for name, row in case.items() if name not in ("cpu", "limit")) for case in ours.values()
    ]
    assert (least, most) == (round(min(times), 1), round(max(times), 1))


def test_readme_has_the_cases_that_are_slower():
    found = re.search(r"In (\d+) of \[(\d+) measured cases\].*?at most (\d+) %", README, re.DOTALL)
    count, cases, most = map(int, found.groups())
    best = {}
    for row in measured("performance/znver5.json")["rows"]:
        if row["implementation"] not in ("cpu", "limit"):
            case = (*row["shape"], row["order"], row["dtype"])
            best[case] = min(row["times_ours"], best.get(case, 1e9))
    assert (count, cases) == (sum(times < 1 for times in best.values()), len(best))
    assert most == math.ceil(100 * (1 / min(best.values()) - 1))


def test_readme_has_the_measured_digits():
    worst = [row for row in measured("accuracy.json")["examples"] if row["bound"] == 2]
    assert all(row["ulps"] <= 2 for row in worst)
    assert "within 2 ulp, tried at each of the 2³² float32\n  numbers and at ten million of float64" in README
    assert {row["tried"] for row in worst if row["dtype"] == "float32"} == {2**32}
    assert {round(row["tried"] / 1e6) for row in worst if row["dtype"] == "float64"} == {10}
    fuzz = measured("fit_fuzz.json")["kinds"]["together"]
    assert fuzz["fits"] == int(re.search(r"([\d,]+) random fits", README)[1].replace(",", ""))
    assert fuzz["faults"] == 0

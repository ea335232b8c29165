"""The pictures of docs/: drawn from stored results, and readable in the light and the dark mode."""

import json
import re
from xml.etree import ElementTree

import drawings
import pictures
import pytest
from accuracy import margins
from pages import DOCS, FIGURES
from performance import history, outputs_table, peer_picture, solver_curves, sweep

NAMES = sorted(path.stem for path in (DOCS / "pictures").glob("*.svg"))


def stored(name):
    return json.loads((FIGURES / name).read_text(encoding="utf-8"))


DRAWN = {
    "peers": lambda path: peer_picture.draw(path, stored("performance/znver5.json")),
    "accuracy": lambda path: margins.draw(path, stored("margins.json")),
    "sweep": lambda path: sweep.draw(path, stored("sweep.json")),
    "history": lambda path: history.draw(stored("history.json"), path),
    "solvers": lambda path: solver_curves.draw(path, stored("solver_curves.json")),
    "outputs": lambda path: outputs_table.draw(path, stored("outputs.json")),
    "one-read": drawings.one_read,
    "cpu-kernel": drawings.cpu_kernel,
    "reduction": drawings.reduction,
}


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_stored_results_make_the_picture(name, tmp_path):
    drawn = []
    for _ in range(2):
        DRAWN[name](tmp_path / f"{name}.svg")
        drawn.append((tmp_path / f"{name}.svg").read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]
    kept = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert texts(drawn[0]) == texts(kept)


@pytest.mark.parametrize("name", NAMES)
def test_every_colour_has_one_for_the_dark_mode(name):
    svg = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    dark = re.search(r"prefers-color-scheme: dark\) \{ :root \{(.*?)\}", svg).group(1)
    assert dict(re.findall(r"--(\w+): (#\w+);", dark)) == {
        name: colours[1] for name, colours in pictures.COLOURS.items()
    }
    used = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg)) - {"none"}
    assert used
    assert {colour for colour in used if not colour.startswith("var(--")} == set()


def test_the_fastest_is_on_top_and_has_its_time(tmp_path):
    DRAWN["peers"](tmp_path / "peers.svg")
    shown = texts((tmp_path / "peers.svg").read_text(encoding="utf-8"))
    rows = [row for row in stored("performance/znver5.json")["rows"] if row["implementation"] == peer_picture.OWN]
    for shape, dtype in peer_picture.CASES:
        (row,) = [r for r in rows if (r["shape"], r["dtype"], r["order"]) == (shape, dtype, "C")]
        assert f"{1e3 * row['seconds']:.3g} ms" in shown
        assert f"{shape[0]:,} × {shape[1]}, {dtype}" in shown

"""The one style of all pictures in docs/pictures: SVG files that follow the reader's light or dark mode.

Scripts draw with matplotlib, in the colours below. Each colour is written as a CSS variable, whose value for the dark
mode stands in the file as well. Every picture has a background of its own, so it is readable on any page.
"""

import contextlib
import io

import matplotlib
from matplotlib.figure import Figure
from pages import DOCS

PICTURES = DOCS / "pictures"

# In the light mode, and in the dark one
COLOURS = {
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9198a1"),
    "grid": ("#d8dee4", "#30363d"),
    "own": ("#1a5fb4", "#62a0ea"),
    "peer": ("#9aa4ae", "#6e7681"),
    "second": ("#c64600", "#ffa348"),
    "third": ("#1d7f4f", "#5ad08f"),
    "fourth": ("#813d9c", "#cf8ee0"),
    "fifth": ("#8a6d00", "#e2c044"),
    "shade": ("#dbe8f8", "#16304f"),
}
PAPER, INK, FAINT, GRID, OWN, PEER, SECOND, THIRD, FOURTH, FIFTH, SHADE = (light for light, _ in COLOURS.values())

_FONT = "DejaVu Sans"  # by whose widths matplotlib lays text out: it is wider than what readers have
_FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

_STYLE = {
    "font.family": _FONT,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.prop_cycle": matplotlib.cycler(color=[OWN, SECOND, THIRD, FOURTH, FIFTH, PEER]),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
}


@contextlib.contextmanager
def drawing(path, width, height):
    """A figure of so many inches, to draw on; it is saved at the end."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": path.stem}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    path.parent.mkdir(exist_ok=True)
    path.write_text(_themed(buffer.getvalue()), encoding="utf-8")


def _themed(svg):
    """The same drawing with its colours as variables."""
    for name, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{name}, {light})")
    svg = svg.replace(f"'{_FONT}'", _FONTS)
    variables = "".join(f"--{name}: {dark}; " for name, (_, dark) in COLOURS.items())
    style = f"<style>@media (prefers-color-scheme: dark) {{ :root {{ {variables}}} }}</style>"
    start = svg.index("<defs>")
    return "\n".join(line.rstrip() for line in f"{svg[:start]}{style}\n {svg[start:]}".splitlines()) + "\n"

"""The picture that `jitlogreg bench --plot` draws, and what it shares with that of `jitlogreg demo`."""

import math
from pathlib import Path

from jitlogreg.cli.errors import UsageError, optional_module

_FORMATS = (".png", ".pdf", ".svg")
_COLUMNS = 3


def check(option, path):
    """Refuse a path that cannot be written, before any work is done.

    Raises
    ------
    UsageError
        Its message begins with the option that gave the path.
    """
    optional_module("matplotlib", "matplotlib")
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{option}: expected a file name that ends in {' or '.join(_FORMATS)}, got {path}")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: expected a file in a folder that exists, got {path}")


def draw_shares(path, rows):
    """Write a picture of the share of the limit that each implementation reaches, with a panel for each shape.

    Parameters
    ----------
    path : str
    rows : list of dict
        As `rows_of_case` returns them, all of one operation.
    """
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    cases = list(dict.fromkeys((row["dtype"], row["order"]) for row in rows))
    names = list(dict.fromkeys(row["implementation"] for row in rows if row["implementation"] != "limit"))
    columns = min(_COLUMNS, len(shapes))
    lines = math.ceil(len(shapes) / columns)
    figure = figure_of(1.5 + 4.2 * columns, lines * (1 + 0.17 * len(names) * (len(cases) + 1)) + 0.8)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for panel, shape in zip(panels, shapes, strict=False):
        here = [row for row in rows if tuple(row["shape"]) == shape]
        for k, (dtype, order) in enumerate(cases):
            bars = [row for row in here if (row["dtype"], row["order"]) == (dtype, order)][1:]
            places = [names.index(row["implementation"]) + offset(k, len(cases)) for row in bars]
            shares = [row["percent_of_limit"] for row in bars]
            drawn = panel.barh(places, shares, 0.8 / len(cases), label=f"{dtype}, {order} order")
            notes = [f"{row['percent_of_limit']:.0f} %, {1e3 * row['seconds']:.3g} ms" for row in bars]
            panel.bar_label(drawn, notes, padding=3, fontsize=7)
        panel.axvline(100, color="black", linewidth=0.8)
        panel.set(title=f"{shape[0]} x {shape[1]}", xlabel="% of the limit")
        panel.set_xlim(0, 1.45 * max(100, *(row["percent_of_limit"] for row in here)))  # room for the numbers
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    for panel in panels:
        panel.set_visible(False)
    first = figure.axes[0]
    first.set_yticks(range(len(names)), names)
    first.invert_yaxis()
    figure.suptitle(f"{rows[0]['operation']}: share of the speed at which the same bytes are read", fontsize=11)
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower right", ncols=len(cases), fontsize=8)
    save(figure, "--plot", path)


def figure_of(width, height):
    """An empty figure, in inches."""
    return optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def save(figure, option, path):
    """Write a figure to the path that an option gave.

    Raises
    ------
    UsageError
    """
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise UsageError(f"cannot write {option} {path}: {error.strerror}") from error


def offset(k, count):
    """The offset of the k-th of `count` bars, which together are 0.8 wide, from their middle."""
    return (k - (count - 1) / 2) * 0.8 / count

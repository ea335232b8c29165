"""The pictures that `jitlogreg demo` and `jitlogreg bench --plot` write."""

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


def draw(path, loss_history, title, tables):
    """Write a picture of a descent and of the times of one step.

    Parameters
    ----------
    path : str
    loss_history : ndarray
    title : str
    tables : dict of str to list of Timing
        Groups of bars, by the data that was timed; every group has the same implementations.
    """
    figure = _figure(11, 4.2)
    curve, bars = figure.subplots(1, 2, width_ratios=(1, 1.25))

    curve.plot(range(len(loss_history)), loss_history, color="#1f4e79")
    curve.set(title=title, xlabel="steps", ylabel="loss (nats per example)")
    curve.xaxis.get_major_locator().set_params(integer=True)
    curve.grid(alpha=0.3)

    for group, (label, timings) in enumerate(tables.items()):
        places = [row + _offset(group, len(tables)) for row in range(len(timings))]
        drawn = bars.barh(places, [1e3 * t.seconds for t in timings], 0.8 / len(tables), label=label)
        bars.bar_label(drawn, [_note(timing) for timing in timings], padding=3, fontsize=8)
    names = [timing.name for timing in timings]
    bars.set(title="one step of gradient descent", xlabel="time (ms)", xscale="log")
    bars.set_yticks(range(len(names)), names)
    bars.invert_yaxis()
    shortest, longest = (pick(t.seconds for group in tables.values() for t in group) for pick in (min, max))
    room = (longest / shortest) ** 0.4  # for the numbers beside the longest bars
    bars.set_xlim(1e3 * shortest / 3, 1e3 * longest * max(room, 10))
    bars.grid(axis="x", alpha=0.3)
    bars.set_axisbelow(True)
    figure.legend(loc="outside lower right", ncols=len(tables), fontsize=8)
    _save(figure, "--output", path)


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
    figure = _figure(1.5 + 4.2 * columns, lines * (1 + 0.17 * len(names) * (len(cases) + 1)) + 0.8)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for panel, shape in zip(panels, shapes, strict=False):
        here = [row for row in rows if tuple(row["shape"]) == shape]
        for k, (dtype, order) in enumerate(cases):
            bars = [row for row in here if (row["dtype"], row["order"]) == (dtype, order)][1:]
            places = [names.index(row["implementation"]) + _offset(k, len(cases)) for row in bars]
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
    _save(figure, "--plot", path)


def _figure(width, height):
    return optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def _save(figure, option, path):
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise UsageError(f"cannot write {option} {path}: {error.strerror}") from error


def _offset(k, count):
    """The offset of the k-th of `count` bars, which together are 0.8 wide, from their middle."""
    return (k - (count - 1) / 2) * 0.8 / count


def _note(timing):
    digits = ".0f" if timing.seconds >= 0.1 else ".3g"
    scaled = ", scaled" if timing.remark else ""
    return f"{1e3 * timing.seconds:{digits}} ms, {timing.speedup:{'.0f' if timing.speedup >= 100 else '.3g'}}x{scaled}"

"""The pictures that `jitlogreg demo` and `jitlogreg bench --plot` write."""

import math
from pathlib import Path

from jitlogreg.cli.errors import UsageError, optional_module

_FORMATS = (".png", ".pdf", ".svg")
_COLUMNS = 3
_DESCENT, _FIT = "#1a5fb4", "#c64600"
_LONGEST_NAME = 30


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


def draw(path, examples, runs, quality, tables):
    """Write a picture of two runs, of the predictions on held-out rows, and of the times of one step.

    Parameters
    ----------
    path : str
    examples : Data
    runs : dict of str to Learnt
        By the name of the method; the first is that of the predictions.
    quality : Quality
    tables : dict of str to list of Timing
        Groups of bars, by the data that was timed; every group has the same implementations.
    """
    figure = _figure(11, 8.4)
    (losses, bars), (roc, calibration) = figure.subplots(2, 2)
    figure.suptitle(examples.name, parse_math=False)
    _draw_losses(losses, runs)
    _draw_times(bars, tables)
    name = next(iter(runs))
    _draw_roc(roc, quality, name)
    _draw_calibration(calibration, quality, name, _shortened(examples.classes[1]))
    _save(figure, "--output", path)


def draw_shares(path, rows):
    """Write a picture of the share of the limit that each implementation reaches, by shape and number of outputs.

    Parameters
    ----------
    path : str
    rows : list of dict
        As `rows_of_case` returns them, all of one operation.
    """
    shapes = list(dict.fromkeys(_title(row) for row in rows))
    cases = list(dict.fromkeys((row["dtype"], row["order"]) for row in rows))
    names = list(dict.fromkeys(row["implementation"] for row in rows if row["implementation"] != "limit"))
    columns = min(_COLUMNS, len(shapes))
    lines = math.ceil(len(shapes) / columns)
    figure = _figure(1.5 + 4.2 * columns, lines * (1 + 0.17 * len(names) * (len(cases) + 1)) + 0.8)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for panel, shape in zip(panels, shapes, strict=False):
        here = [row for row in rows if _title(row) == shape]
        for k, (dtype, order) in enumerate(cases):
            bars = [row for row in here if (row["dtype"], row["order"]) == (dtype, order)][1:]
            places = [names.index(row["implementation"]) + _offset(k, len(cases)) for row in bars]
            shares = [row["percent_of_limit"] for row in bars]
            drawn = panel.barh(places, shares, 0.8 / len(cases), label=f"{dtype}, {order} order")
            notes = [f"{row['percent_of_limit']:.0f} %, {1e3 * row['seconds']:.3g} ms" for row in bars]
            panel.bar_label(drawn, notes, padding=3, fontsize=7)
        panel.axvline(100, color="black", linewidth=0.8)
        panel.set(title=shape, xlabel="% of the limit")
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


def _title(row):
    m, n = row["shape"]
    return f"{m} x {n}" + (f", {row['link']}, K = {row['outputs']}" if "outputs" in row else "")


def _draw_losses(panel, runs):
    longest = max(learnt.seconds[-1] for learnt in runs.values())
    scale, unit = (1, "s") if longest >= 1 else (1e3, "ms")
    for (name, learnt), color in zip(runs.items(), (_DESCENT, _FIT), strict=True):
        n = learnt.result.n_iterations
        times = [scale * seconds for seconds in learnt.seconds]
        marker = "." if len(times) <= 100 else None  # more would hide the line
        panel.plot(times, learnt.losses, marker=marker, color=color, label=f"{name}, {n} iterations")
    panel.set(title="loss against time", xlabel=f"time ({unit})", ylabel="loss (nats per example)", xscale="log")
    shortest = min(learnt.seconds[0] for learnt in runs.values())
    if longest < 100 * shortest:  # powers of ten alone might be one tick
        panel.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        panel.minorticks_off()
    _label_plainly(panel)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def _draw_times(panel, tables):
    for group, (label, timings) in enumerate(tables.items()):
        places = [row + _offset(group, len(tables)) for row in range(len(timings))]
        drawn = panel.barh(places, [1e3 * t.seconds for t in timings], 0.8 / len(tables), label=label)
        panel.bar_label(drawn, [_note(timing) for timing in timings], padding=3, fontsize=8)
    names = [timing.name for timing in timings]
    panel.set(title="one step of gradient descent", xlabel="time (ms)", xscale="log")
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.xaxis.get_major_locator().set_params(numticks=7)
    panel.minorticks_off()
    _label_plainly(panel)
    shortest, longest = (pick(t.seconds for group in tables.values() for t in group) for pick in (min, max))
    room = (longest / shortest) ** 0.4  # for the numbers beside the longest bars
    panel.set_xlim(1e3 * shortest / 3, 1e3 * longest * max(room, 10))
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=len(tables), fontsize=8)


def _draw_roc(panel, quality, name):
    panel.set(title=f"ROC curve on held-out rows, {name}", xlabel="false-positive rate", ylabel="true-positive rate")
    if quality.roc is None:
        panel.text(0.5, 0.5, "none: all held-out rows have one label", ha="center", va="center")
    else:
        panel.plot(*quality.roc, color=_DESCENT, label=f"area {quality.roc_area:.4f}")
    _finish_unit_square(panel, "no better than chance")


def _draw_calibration(panel, quality, name, label_1):
    predicted, observed = quality.calibration
    bins = f"{len(predicted)} bin{'s' * (len(predicted) > 1)} of equal counts"
    panel.plot(predicted, observed, marker="o", markersize=4, color=_DESCENT, label=bins)
    panel.set_title(f"calibration on held-out rows, {name}")
    panel.set_xlabel(f"mean predicted probability of {label_1}", parse_math=False)
    panel.set_ylabel(f"share of {label_1}", parse_math=False)
    _finish_unit_square(panel, "perfectly calibrated")


def _finish_unit_square(panel, diagonal):
    panel.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle="--", zorder=1, label=diagonal)
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right", fontsize=8)


def _label_plainly(panel):
    """0.01 and 100 on a logarithmic axis in place of powers of ten."""
    panel.xaxis.set_major_formatter("{x:g}")


def _shortened(name):
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _note(timing):
    digits = ".0f" if timing.seconds >= 0.1 else ".3g"
    scaled = ", scaled" if timing.remark else ""
    return f"{1e3 * timing.seconds:{digits}} ms, {timing.speedup:{'.0f' if timing.speedup >= 100 else '.3g'}}x{scaled}"


def _figure(width, height):
    return optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def _save(figure, option, path):
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise UsageError(f"{option}: expected a file that can be written, got {path}: {error.strerror}") from error


def _offset(k, count):
    """The offset of the k-th of `count` bars, which together are 0.8 wide, from their middle."""
    return (k - (count - 1) / 2) * 0.8 / count

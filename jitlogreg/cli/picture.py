"""The picture that `jitlogreg demo` writes."""

from jitlogreg.cli.errors import optional_module

FORMATS = (".png", ".pdf", ".svg")


def draw(path, loss_history, title, tables):
    """Write a picture of a descent, and of the times of one of its steps.

    Parameters
    ----------
    path : str
    loss_history : ndarray
    title : str
    tables : dict of str to list of Timing
        Groups of bars, by what they were timed on; every group has the same spellings.
    """
    figure = optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(11, 4.2), layout="constrained")
    curve, bars = figure.subplots(1, 2, width_ratios=(1, 1.25))

    curve.plot(range(len(loss_history)), loss_history, color="#1f4e79")
    curve.set(title=title, xlabel="steps", ylabel="loss (nats per example)")
    curve.xaxis.get_major_locator().set_params(integer=True)
    curve.grid(alpha=0.3)

    height = 0.8 / len(tables)
    for group, (label, timings) in enumerate(tables.items()):
        places = [row + (group - (len(tables) - 1) / 2) * height for row in range(len(timings))]
        drawn = bars.barh(places, [1e3 * t.seconds for t in timings], height, label=label)
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
    figure.savefig(path, dpi=130)


def _note(timing):
    digits = ".0f" if timing.seconds >= 0.1 else ".3g"
    scaled = ", scaled" if timing.remark else ""
    return f"{1e3 * timing.seconds:{digits}} ms, {timing.speedup:{'.0f' if timing.speedup >= 100 else '.3g'}}x{scaled}"

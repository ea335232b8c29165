"""Draw README's picture, docs/pictures/peers.svg, from results/performance: one read of X beside its peers.

    python tools/performance/peer_picture.py
    python tools/performance/peer_picture.py --from results/performance/znver5.json

The second names the file that the first takes.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import FIGURES

# X that no cache holds, in the order that most data has
CASES = [([5_000_000, 28], "float64"), ([500_000, 256], "float64"), ([500_000, 256], "float32")]
OWN, LIMIT = "cpu", "limit"

CPUS = {"znver5": "AMD Zen 5"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, default=FIGURES / "performance" / "znver5.json")
    parser.add_argument("--output", type=Path, default=pictures.PICTURES / "peers.svg")
    options = parser.parse_args(argv)
    draw(options.output, json.loads(options.source.read_text(encoding="utf-8")))


def draw(path, results):
    here = results["machine"]
    with pictures.drawing(path, 9, 3.4) as figure:
        drawn = cases(results)
        for panel, (m, n, dtype) in zip(figure.subplots(1, len(drawn), sharex=True), drawn, strict=True):
            draw_case(panel, sorted(drawn[m, n, dtype].values(), key=lambda row: row["seconds"]))
            panel.set_title(f"{m:,} × {n}, {dtype}")
        where = f"{CPUS.get(here['cpu'], here['cpu'])}, {here['threads']} threads, {results['date']}"
        label = (
            f"% of the memory's bandwidth, longer is better; beside it the time of one loss with its gradient ({where})"
        )
        figure.supxlabel(label, color=pictures.FAINT, fontsize=9)


def cases(results):
    """The rows of each case that is drawn, by implementation."""
    return {
        (*shape, dtype): {
            row["implementation"]: row
            for row in results["rows"]
            if (row["shape"], row["dtype"], row["order"]) == (shape, dtype, "C")
        }
        for shape, dtype in CASES
    }


def draw_case(panel, rows):
    """The share of the limit that each implementation reaches, the fastest on top."""
    timed = [row for row in rows if row["implementation"] != LIMIT]
    names = ["jitlogreg" if row["implementation"] == OWN else row["implementation"] for row in timed]
    colours = [pictures.OWN if row["implementation"] == OWN else pictures.PEER for row in timed]
    bars = panel.barh(names, [row["percent_of_limit"] for row in timed], color=colours, height=0.7)
    for bar, row in zip(bars, timed, strict=True):
        share, middle = row["percent_of_limit"], bar.get_y() + bar.get_height() / 2
        place = {"x": share - 4, "ha": "right", "color": pictures.PAPER} if share > 60 else {"x": share + 4}
        panel.text(y=middle, s=f"{1e3 * row['seconds']:.3g} ms", va="center", fontsize=9, **place)
    panel.axvline(100, color=pictures.FAINT, linewidth=1, linestyle=":")
    panel.set_xlim(0, 110)
    panel.set_xticks([0, 50, 100])
    panel.invert_yaxis()
    panel.tick_params("y", length=0)
    panel.spines["left"].set_visible(False)
    for label, row in zip(panel.get_yticklabels(), timed, strict=True):
        label.set_fontweight("bold" if row["implementation"] == OWN else "normal")


if __name__ == "__main__":
    main()

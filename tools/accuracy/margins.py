"""Measure the error of one example's loss along the margin, here and elsewhere; draw docs/pictures/accuracy.svg.

    python tools/accuracy/margins.py                              # a minute
    python tools/accuracy/margins.py --from results/margins.json  # draw again

Margins are on the side of the label, where the loss is small. The numbers are the worst of each of many short ranges.
"""

import argparse
import importlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import FIGURES, provenance

from accuracy.float64 import approximate, long_ulps
from accuracy.peers import PEERS, WHAT

RESULTS = FIGURES / "margins.json"
# exp(−z) is a normal number up to here
EDGES = {"float32": 87.0, "float64": 708.0}
RANGES, IN_RANGE = 48, 32
# Above this no digit is right, and infinity is drawn as this
ALL_LOST = {"float32": 2.0**24, "float64": 2.0**53}
NAMES = {"NumPy, as the formula is written": "NumPy, by the formula"}
LEFT_OUT = ("SciPy",)  # it has no loss
# Lines that may lie on each other are told apart by their dashes as well
LINES = {
    "jitlogreg": {"color": pictures.OWN, "linewidth": 3},
    "NumPy, as the formula is written": {"color": pictures.PEER},
    "scikit-learn": {"color": pictures.SECOND, "linestyle": "--"},
    "oneDAL": {"color": pictures.THIRD, "linewidth": 2.5},
    "PyTorch": {"color": pictures.FOURTH, "linestyle": "-."},
    "JAX": {"color": pictures.FIFTH, "linestyle": ":", "linewidth": 2.5},
}


def measure():
    rows = []
    for name, (module, _, compute) in PEERS.items():
        if name in LEFT_OUT:
            continue
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        for dtype, edge in EDGES.items():
            limits = np.geomspace(0.05, edge, RANGES + 1)
            z = np.random.default_rng(0).uniform(limits[:-1, None], limits[1:, None], (RANGES, IN_RANGE))
            z = z.astype(dtype).ravel()
            worst = errors_of_loss(compute, z).reshape(RANGES, IN_RANGE).max(axis=1)
            worst = np.minimum(worst, ALL_LOST[dtype])
            rows.append({"peer": name, "dtype": dtype, "margins": limits[1:].tolist(), "ulps": worst.tolist()})
    return provenance() | {"rows": rows}


def errors_of_loss(compute, z):
    """In ulp of each margin's exact loss, for label 1."""
    place = WHAT["loss"][1]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results, terms, e = approximate(z, 0 * z)
        got = np.asarray(compute(z)["loss"][1])
        ulps = long_ulps(place, got, results[place], terms[place], e, z.dtype)
    return np.where(np.isfinite(ulps), ulps, np.inf).astype(np.float64)


def draw(path, results):
    with pictures.drawing(path, 10, 4) as figure:
        panels = figure.subplots(1, len(EDGES))
        for panel, (dtype, lost) in zip(panels, ALL_LOST.items(), strict=True):
            for row in (row for row in results["rows"] if row["dtype"] == dtype):
                ulps = np.maximum(row["ulps"], 0.1)
                panel.plot(row["margins"], ulps, label=NAMES.get(row["peer"], row["peer"]), **LINES[row["peer"]])
            panel.axhline(lost, color=pictures.FAINT, linewidth=1, linestyle=":")
            panel.annotate(
                "no digit is right", (0.02, lost), xycoords=("axes fraction", "data"), va="bottom", fontsize=9
            )
            panel.set(title=f"loss of one example, {dtype}", xscale="log", yscale="log", xlabel="margin")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.grid()
        panels[0].set_ylabel("worst error, in ulp")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="draw this file's figures alone")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        results = measure()
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(pictures.PICTURES / "accuracy.svg", results)


if __name__ == "__main__":
    main()

"""Time K outputs from one read of X: results/outputs.json, tables in docs/performance.md, docs/pictures/outputs.svg.

    python tools/performance/outputs_table.py  # five minutes on two cores
    python tools/performance/outputs_table.py --from results/outputs.json

K independent models are timed beside one, and the loss and gradient of a softmax beside other libraries'; calls are
timed in turns, once their answers agree. What is installed of the peers is timed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import jitlogreg as jlr
from jitlogreg.cli import outputs_peers, peers
from jitlogreg.cli.timing import in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

RESULTS, PAGE, PICTURE = FIGURES / "outputs.json", DOCS / "performance.md", pictures.PICTURES / "outputs.svg"

ROUNDS = 9
MODELS = (2, 4, 8, 16, 32)
SHAPES = ((2_000_000, 28), (800_000, 64), (400_000, 128), (200_000, 256), (50_000, 1000))
SOFTMAX = ((60_000, 784, 10), (500_000, 54, 7), (20_000, 1_000, 100))
OPERATION = "loss_and_gradient", "softmax"
OWN = "jitlogreg"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables and the picture anew")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        others = peers.versions(outputs_peers.installed(*OPERATION))
        results = provenance(others) | {"models": models(), "softmax": softmax()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables(results).items():
        page = replaced(page, f"outputs: {name}", text)
    PAGE.write_text(page, encoding="utf-8")
    draw(PICTURE, results)


# ---------------------------------------------------------------- K models beside one


def models():
    """A row for each X: the time of one model, and by K the median of the ratios to it."""
    rows = []
    for dtype in (np.float64, np.float32):
        for order in "CF":
            for m, n in SHAPES:
                rows.append(_models_on(m, n, order, dtype))
                print(rows[-1], flush=True)
    return rows


def _models_on(m, n, order, dtype):
    rng = np.random.default_rng(n)
    X = np.asarray(rng.standard_normal((m, n)), dtype, order=order)
    y, W = (np.arange(m) % 3 == 0).astype(dtype), (rng.standard_normal((n, max(MODELS))) / n**0.5).astype(dtype)
    one = jlr.loss_and_gradient(X, y, W[:, 0].copy())
    calls = [lambda: jlr.loss_and_gradient(X, y, W[:, 0].copy())]
    for K in MODELS:
        of_models = np.ascontiguousarray(W[:, :K])
        together = jlr.loss_and_gradient(X, y, of_models)
        if not np.array_equal(together.dw[:, 0], one.dw):
            raise SystemExit(f"{m} x {n}: one model alone and in a block of {K} differ")
        calls.append(lambda of_models=of_models: jlr.loss_and_gradient(X, y, of_models))
    seconds = in_turn(calls, ROUNDS, wait=False)
    ratios = np.median(seconds / seconds[0], axis=1)
    return {
        "shape": [m, n],
        "order": order,
        "dtype": np.dtype(dtype).name,
        "seconds": float(np.median(seconds[0])),
        "times_one": {str(K): float(ratio) for K, ratio in zip(MODELS, ratios[1:], strict=True)},
    }


# ---------------------------------------------------------------- a softmax beside its peers


def softmax():
    """A row for each shape, dtype and implementation."""
    rows = []
    for m, n, K in SOFTMAX:
        for dtype in (np.float64, np.float32):
            of_case = _softmax_on(m, n, K, dtype)
            print(of_case, flush=True)
            rows += of_case
    return rows


def _softmax_on(m, n, K, dtype):
    rng = np.random.default_rng(n)
    X, y = rng.standard_normal((m, n)).astype(dtype), rng.integers(0, K, m)
    W, b = (rng.standard_normal((n, K)) / n**0.5).astype(dtype), rng.standard_normal(K).astype(dtype)
    calls = {OWN: lambda: jlr.loss_and_gradient(X, y, W, b, link="softmax")}
    calls |= {name: prepare(*OPERATION, X, y, W, b) for name, prepare in outputs_peers.installed(*OPERATION).items()}
    expected = jlr.loss_and_gradient(X.astype(np.float64), y, W.astype(np.float64), b.astype(float), link="softmax")
    close = 1e-4 if dtype == np.float32 else 1e-9
    for name, call in calls.items():
        loss, dw, _ = call()
        if not (np.allclose(loss, expected.loss, rtol=close) and np.allclose(dw, expected.dw, rtol=close, atol=close)):
            raise SystemExit(f"{name} on {m} x {n} x {K} in {np.dtype(dtype).name} gives another answer")
    seconds = in_turn(list(calls.values()), ROUNDS)
    ratios = np.median(seconds / seconds[0], axis=1)
    common = {"shape": [m, n, K], "dtype": np.dtype(dtype).name}
    return [
        common | {"implementation": name, "seconds": float(np.median(of_call)), "times_ours": float(ratio)}
        for name, of_call, ratio in zip(calls, seconds, ratios, strict=True)
    ]


# ---------------------------------------------------------------- the page


def tables(results):
    """The texts of the page, by the names of their places."""
    heads = ["m x n", "order", "dtype", "one model, ms", *(f"K = {K}" for K in MODELS)]
    of_models = [
        [
            "{:,} x {:,}".format(*row["shape"]),
            *(row["order"], row["dtype"], digits(1e3 * row["seconds"])),
            *(f"{row['times_one'][str(K)]:.2f}" for K in MODELS),
        ]
        for row in results["models"]
    ]
    of_softmax = [
        [
            "{:,} x {:,} x {:,}".format(*row["shape"]),
            *(row["dtype"], row["implementation"], digits(1e3 * row["seconds"]), f"{row['times_ours']:.2f}"),
        ]
        for row in results["softmax"]
    ]
    return {
        "models": f"{table(heads, of_models)}\n\n{measured_on(results)}",
        "softmax": table(["m x n x K", "dtype", "", "ms", "x jitlogreg"], of_softmax),
    }


def draw(path, results):
    """The time of K models over that of one, by K."""
    rows = [row for row in results["models"] if row["order"] == "C"]
    with pictures.drawing(path, 8, 3.2) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for panel, dtype in zip(panels, ("float64", "float32"), strict=True):
            panel.plot(MODELS, MODELS, color=pictures.FAINT, linestyle=":", label="one after another")
            for row in (row for row in rows if row["dtype"] == dtype):
                times = [row["times_one"][str(K)] for K in MODELS]
                panel.plot(MODELS, times, marker=".", label=f"{row['shape'][1]:,} columns")
            panel.set(title=f"C order, {dtype}", xscale="log", yscale="log", xlabel="K")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.set_xticks(MODELS)
            panel.set_yticks([1, 2, 5, 10, 20])
            panel.minorticks_off()
            panel.grid()
        panels[0].set_ylabel("time of K models over that of one")
        panels[1].legend(frameon=False, fontsize=9)


if __name__ == "__main__":
    main()

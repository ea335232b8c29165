"""Draw the pictures of docs/from-notes-to-kernels.md: docs/pictures/tutorial-*.svg.

python tools/tutorial.py
"""

import contextlib

import numba
import numpy as np
import pictures
from pages import digits

import jitlogreg as jlr
from jitlogreg.cli.timing import in_turn
from jitlogreg.targets.reference import gradient_loop

STEPS, LEARNING_RATE = 100, 0.5
# Rows of 28 columns for the timing: 22 MB, which no core's own cache holds
TIMED = 100_000, 28
LOOP_ROWS = 500  # of which the for-loops do their share: all would take seconds


def two_clouds():
    """The page's 200 points."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 2).astype(float)
    return rng.normal(size=(200, 2)) + np.outer(2 * y - 1, [1.0, 0.5]), y


def draw_loss(X, y):
    run = jlr.gradient_descent(X, y, learning_rate=LEARNING_RATE, n_iterations=STEPS)
    with _axes("loss") as axes:
        axes.plot(run.loss_history)
        axes.axhline(jlr.fit(X, y).loss, color=pictures.PEER, linestyle="--", label="the minimum, by fit")
        title = "The loss falls with every step"
        axes.set(xlabel="steps of gradient descent", ylabel="J, nats per example", title=title)
        axes.legend()
    return run


def draw_boundary(X, y, run):
    low, high = X.min(axis=0) - 0.5, X.max(axis=0) + 0.5
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 100) for a, b in zip(low, high, strict=True))), axis=-1)
    a = jlr.forward(grid.reshape(-1, 2), run.w, run.b).reshape(100, 100)
    levels, widths = [0.1, 0.5, 0.9], [0.5, 1.5, 0.5]
    with _axes("boundary") as axes:
        for label, marker in ((0, "o"), (1, "^")):
            axes.scatter(*X[y == label].T, marker=marker, s=18, label=f"y = {label}")
        lines = axes.contour(grid[..., 0], grid[..., 1], a, levels=levels, colors=pictures.INK, linewidths=widths)
        axes.clabel(lines, fmt="a = %.1f")
        axes.set(xlabel="x₁", ylabel="x₂", title="Where a = σ(w₁x₁ + w₂x₂ + b) is a half")
        axes.legend()


def numpy_twice(X, y, w, b):
    """J, dw and db as the notes vectorise them."""
    z = X @ w + b
    a = 1 / (1 + np.exp(-z))
    dz = a - y
    return np.mean(-(y * np.log(a) + (1 - y) * np.log(1 - a))), X.T @ dz / len(y), dz.mean()


def on_one_thread(call):
    def one():
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            call()
        finally:
            numba.set_num_threads(threads)

    return one


def draw_times():
    rng = np.random.default_rng(0)
    X, w, b = rng.normal(size=TIMED), rng.normal(size=TIMED[1]) / 6, 0.1
    y = (rng.uniform(size=TIMED[0]) < 0.5) * 1.0
    some = X[:LOOP_ROWS].tolist(), y[:LOOP_ROWS].tolist(), w.tolist(), b
    X32, y32, w32 = (array.astype(np.float32) for array in (X, y, w))
    for loss, dw, db in (numpy_twice(X, y, w, b), jlr.loss_and_gradient(X, y, w, b)):
        expected = jlr.loss_and_gradient(X, y, w, b, target="reference")
        np.testing.assert_allclose([loss, db, *dw], [expected.loss, expected.db, *expected.dw], rtol=1e-9, atol=1e-12)
    calls = {
        "for-loops": lambda: gradient_loop(*some),
        "NumPy": lambda: numpy_twice(X, y, w, b),
        "kernel, one thread": on_one_thread(lambda: jlr.loss_and_gradient(X, y, w, b)),
        f"kernel, {numba.get_num_threads()} threads": lambda: jlr.loss_and_gradient(X, y, w, b),
        "the same in float32": lambda: jlr.loss_and_gradient(X32, y32, w32, b),
    }
    seconds = np.median(in_turn(list(calls.values()), 7), axis=1)
    seconds[0] *= TIMED[0] / LOOP_ROWS
    with _axes("times") as axes:
        bars = axes.barh(list(calls), 1e3 * seconds)
        axes.bar_label(bars, [f"{digits(1e3 * s)} ms" for s in seconds], padding=3)
        axes.set(xscale="log", xlabel="ms for J, dw and db", title=f"{TIMED[0]:,} examples of {TIMED[1]} features")
        axes.invert_yaxis()
        axes.margins(x=0.3)
    return dict(zip(calls, seconds.tolist(), strict=True))


@contextlib.contextmanager
def _axes(name):
    with pictures.drawing(pictures.PICTURES / f"tutorial-{name}.svg", 6, 3.6) as figure:
        yield figure.subplots()


def main():
    X, y = two_clouds()
    draw_boundary(X, y, draw_loss(X, y))
    for name, seconds in draw_times().items():
        print(f"{name}: {1e3 * seconds:.3g} ms")


if __name__ == "__main__":
    main()

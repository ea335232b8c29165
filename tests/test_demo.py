"""What `jitlogreg demo` measures on held-out rows, draws, and proposes next."""

import itertools
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import jitlogreg as jlr
from jitlogreg.cli import data, demo, demo_learning, demo_timing, next_steps, picture
from jitlogreg.cli.demo_timing import Timing

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little to time."""
    monkeypatch.setattr(demo, "_LARGE", 2**10)
    monkeypatch.setattr(demo, "_ROUNDS", 1)
    monkeypatch.setattr(demo_timing, "_LOOP_NUMBERS", 1000)


def examples(m=80, noise=0.3):
    """Rows of which the first column decides, mostly."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, 3))
    return X, (X[:, 0] + noise * rng.standard_normal(m) > 0).astype(np.float64)


def test_the_guess_is_printed(run, tmp_path):
    rows = [f"{k},{k % 3 % 2},text {k}" for k in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["a,ill,note", *rows]), encoding="utf-8")
    arguments = ("--target", "reference", "--iterations", "2", "--output", str(tmp_path / "a.svg"))
    lines = run("demo", "--data", str(tmp_path / "a.csv"), *arguments).splitlines()
    assert lines[:4] == [
        "a.csv: 40 rows, 1 columns; 10 of the rows held out",
        "label: column ill, the only one of two values; --label NAME chooses another",
        "left out, as text of one value or of more than 20: note",
        "labels: 0 is 0, 1 is 1 (32.5 % of the rows)",
    ]
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<?xml")


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("call", ["gradient_descent", "fit"])
def test_each_loss_has_its_time_after_the_compilation(monkeypatch, call):
    X, y = examples(noise=1.0)
    log, ticks = [], itertools.count(100)
    right = getattr(jlr, call)

    def called(*arguments, **keywords):
        log.append(call)
        return right(*arguments, **keywords)

    clock = SimpleNamespace(perf_counter=lambda: (log.append("clock"), next(ticks))[1])
    monkeypatch.setattr(demo_learning, "time", clock)
    monkeypatch.setattr(jlr, call, called)
    settings = SimpleNamespace(iterations=6, l2=0.1, target="reference")
    split = data.Split(X, y, X, y)
    if call == "fit":
        learnt = demo_learning.fit(split, settings)
        assert learnt.losses[-1] == learnt.result.loss == right(X, y, l2=0.1, target="reference").loss
    else:
        learnt = demo_learning.descend(split, settings, 0.5)
        expected = right(X, y, learning_rate=0.5, n_iterations=6, l2=0.1, target="reference")
        np.testing.assert_array_equal(learnt.losses, expected.loss_history)
    n = learnt.result.n_iterations
    assert len(learnt.losses) == n + 1 > 3
    assert learnt.seconds == list(range(1, n + 2))
    assert log == [call, "clock", call] + ["clock"] * (n + 1)


def test_separated_classes_are_told_without_a_warning():
    X, y = examples(noise=0.0)
    settings = SimpleNamespace(iterations=6, l2=0.0, target="reference")
    learnt = demo_learning.fit(data.Split(X, y, X, y), settings)
    assert not learnt.result.converged
    assert "a plane separates the classes" in learnt.result.message


# ---------------------------------------------------------------- held-out rows


def test_quality_on_held_out_rows():
    rng = np.random.default_rng(5)
    a = rng.uniform(size=40)
    y = (rng.uniform(size=40) < a).astype(float)
    quality = demo_learning.evaluate(y, a)
    assert quality.accuracy == np.mean((a >= 0.5) == (y == 1))
    assert quality.most_frequent == max(y.mean(), 1 - y.mean())
    pairs = a[y == 1][:, None] > a[y == 0]
    assert quality.roc_area == pytest.approx(pairs.mean())
    by_probability = np.argsort(a).reshape(4, 10)
    np.testing.assert_allclose(quality.calibration, [a[by_probability].mean(axis=1), y[by_probability].mean(axis=1)])


def test_equal_probabilities_are_one_point_of_the_roc_curve():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(6)
    a, y = rng.integers(0, 6, 50) / 5, rng.integers(0, 2, 50).astype(float)
    quality = demo_learning.evaluate(y, a)
    np.testing.assert_allclose(quality.roc, metrics.roc_curve(y, a, drop_intermediate=False)[:2])
    assert quality.roc_area == pytest.approx(metrics.roc_auc_score(y, a))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_held_out_rows_of_one_label_have_no_roc_curve(label):
    quality = demo_learning.evaluate(np.full(3, label), np.array([0.2, 0.3, 0.7]))
    assert (quality.roc, quality.roc_area, quality.most_frequent) == (None, None, 1)
    np.testing.assert_allclose(quality.calibration, [[0.4], [label]])


# ---------------------------------------------------------------- the picture


def drawn(monkeypatch, *, name="a.csv", seconds=0.5, label=1.0, times=(1e-6, 1e-5, 1e-4)):
    """The figure of made-up results."""
    X, y = examples()
    figures = []
    monkeypatch.setattr(picture, "_save", lambda figure, option, path: figures.append(figure))
    given = data.Data(name, X, y, ("no", "a name $ that is $ too long for the label of an axis"), ["a", "b", "c"])
    result = SimpleNamespace(n_iterations=2)
    runs = {
        "gradient descent": demo_learning.Learnt(result, [0.1 * seconds, 0.5 * seconds, seconds], [0.7, 0.5, 0.4]),
        "jlr.fit": demo_learning.Learnt(result, [0.2 * seconds, 0.3 * seconds, 0.4 * seconds], [0.7, 0.3, 0.2]),
    }
    quality = demo_learning.evaluate(np.where(np.arange(80) % 2, label, 1.0), np.linspace(0, 1, 80))
    names = ("Python for-loops", "NumPy", "jitlogreg reference")
    tables = {
        f"{size} x 3": [
            Timing(by, size * t, 1000 * t, 1.0, " (scaled)") for by, t in zip(names, reversed(times), strict=True)
        ]
        for size in (1, 10_000)
    }
    picture.draw("a.png", given, runs, quality, tables)
    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    return figure


def lines_of(panel):
    return {line.get_label(): line.get_xydata() for line in panel.lines}


def test_the_picture_shows_losses_roc_calibration_and_times(monkeypatch):
    losses, bars, roc, calibration = drawn(monkeypatch, label=0.0).axes
    assert losses.get_xlabel() == "time (ms)"
    assert losses.get_ylabel() == "loss (nats per example)"
    lines = lines_of(losses)
    np.testing.assert_allclose(lines["gradient descent, 2 iterations"], [[50, 0.7], [250, 0.5], [500, 0.4]])
    np.testing.assert_allclose(lines["jlr.fit, 2 iterations"], [[100, 0.7], [150, 0.3], [200, 0.2]])
    assert [round(bar.get_width(), 9) for bar in bars.patches] == [0.1, 0.01, 0.001, 1000, 100, 10]
    assert bars.get_xlabel() == "time (ms)"
    assert (roc.get_xlabel(), roc.get_ylabel()) == ("false-positive rate", "true-positive rate")
    areas = [label for label in lines_of(roc) if label.startswith("area ")]
    assert areas == ["area 0.4875"]
    corner = lines_of(roc)["area 0.4875"][:3]  # of 40 rows of each label, the first is of label 0
    np.testing.assert_allclose(corner, [[0, 0], [1 / 40, 0], [1 / 40, 1 / 40]])
    assert calibration.get_xlabel() == "mean predicted probability of a name $ that is $ too long fo..."
    points = lines_of(calibration)["8 bins of equal counts"]
    np.testing.assert_allclose(points[:, 1], 0.5)
    np.testing.assert_allclose(points[:, 0], np.linspace(0, 1, 80).reshape(8, 10).mean(axis=1))
    for panel in (roc, calibration):
        np.testing.assert_array_equal(panel.lines[-1].get_xydata(), [[0, 0], [1, 1]])
        assert panel.lines[-1].get_linestyle() == "--"


def test_long_runs_are_drawn_in_seconds(monkeypatch):
    losses = drawn(monkeypatch, seconds=20.0).axes[0]
    assert losses.get_xlabel() == "time (s)"
    np.testing.assert_allclose(lines_of(losses)["gradient descent, 2 iterations"][:, 0], [2, 10, 20])


def test_one_label_in_the_held_out_rows_leaves_the_roc_panel_empty(monkeypatch):
    roc = drawn(monkeypatch, label=1.0).axes[2]
    assert [text.get_text() for text in roc.texts] == ["none: all held-out rows have one label"]


@pytest.mark.parametrize("times", [(1e-6, 1e-5, 1e-4), (1e-7, 1e-4, 100.0), (2e-3, 2.1e-3, 2.2e-3)])
@pytest.mark.parametrize("seconds", [1.2e-3, 0.5, 2000.0])
def test_nothing_in_the_picture_overlaps(monkeypatch, times, seconds):
    figure = drawn(monkeypatch, name="$a$ name_of_a file {with} signs.csv", label=0.0, times=times, seconds=seconds)
    renderer = figure.canvas.get_renderer()
    everything = [figure._suptitle]
    for panel in figure.axes:
        everything += [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            assert len(shown) >= 2
            everything += [tick.label1 for tick in shown if tick.label1.get_text()]
    legends = [figure.axes[1].get_legend()]
    boxes = [(str(item), item.get_window_extent(renderer)) for item in (*everything, *legends)]
    boxes = [(name, box) for name, box in boxes if box.width > 0]
    width, height = figure.canvas.get_width_height()
    outside = [name for name, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    overlapping = [(a, b) for (a, one), (b, other) in itertools.combinations(boxes, 2) if one.overlaps(other)]
    assert (outside, overlapping) == ([], [])


# ---------------------------------------------------------------- what to try next


def seen(X, y, *, l2=0.0, iterations=500, memory=None, monkeypatch=None, **given):
    """What is proposed for these examples."""
    if memory is not None:
        monkeypatch.setattr(next_steps, "memory", lambda: memory)
    settings = SimpleNamespace(data="a.csv", label=None, l2=l2, iterations=iterations, seed=0, target="reference")
    settings.__dict__.update(given)
    examples_ = data.Data("a.csv", X, y, ("no", "yes"), [f"c{j}" for j in range(X.shape[1])])
    split = data.split(examples_, 0)
    rate = demo_learning.default_learning_rate(split.X, l2)
    descent, fitted = demo_learning.descend(split, settings, rate), demo_learning.fit(split, settings)
    lines = next_steps.next_steps(settings, examples_, split, descent.result, fitted.result)
    assert 2 <= len(lines) <= 3
    return lines


def test_nothing_seen_leaves_two_lines():
    X, y = examples(noise=1.0)
    lines = seen(X, y, iterations=5000)
    assert [line.partition(":")[0] for line in lines] == ["Other held-out rows", "In Python"]
    assert "jitlogreg demo --data a.csv --seed 1 " in lines[0]


def test_a_descent_that_is_not_at_the_minimum_is_seen():
    X, y = examples(noise=1.0)
    split = data.split(data.Data("a.csv", X, y, ("no", "yes"), ["a", "b", "c"]), 0)
    rate = demo_learning.default_learning_rate(split.X, 0.0)
    excess = jlr.gradient_descent(split.X, split.y, learning_rate=rate, n_iterations=3).loss_history[-1]
    excess -= jlr.fit(split.X, split.y).loss
    first, *_ = seen(X, y, iterations=3)
    assert f"ended {excess:.2g} above the minimum" in first
    assert "jitlogreg demo --data a.csv --iterations 30 comes closer" in first
    first, *_ = seen(X, y, iterations=3, l2=0.25, label="it's ill", data="my file.csv")
    assert "jitlogreg demo --data 'my file.csv' --label 'it'\"'\"'s ill' --l2 0.25 --iterations 30 comes" in first


def test_a_missing_minimum_is_seen_and_a_penalty_makes_one():
    X, y = examples(noise=0.0)
    first, *_ = seen(X, y, iterations=3)
    assert first.startswith("jlr.fit found no minimum: jitlogreg demo --data a.csv --l2 0.01 adds")
    assert not any("no minimum" in line for line in seen(X, y, iterations=3, l2=0.01))


@pytest.mark.parametrize(("rows_of_1", "rare"), [(4, "yes"), (76, "no"), (8, None), (72, None)])
def test_rare_labels_are_seen(rows_of_1, rare):
    X, _ = examples()
    y = (np.random.default_rng(2).permutation(80) < rows_of_1).astype(float)
    lines = [line for line in seen(X, y, l2=0.1) if "of the rows are" in line]
    assert [line.partition(":")[0] for line in lines] == ([f"Only 5 % of the rows are {rare}"] if rare else [])


def test_constant_columns_are_seen():
    X, y = examples(noise=1.0)
    X[:, 1] = 0.1
    assert "Columns without effect, as they are constant in the training rows: c1" in seen(X, y, l2=0.1)


def test_at_most_three_lines_are_proposed():
    X, _ = examples()
    X[:, 1] = 0.1
    y = (np.arange(80) % 20 == 0).astype(float)
    first, second, third = seen(X, y, iterations=3)
    assert "The descent ended" in first
    assert "Only 5 %" in second
    assert "Columns without effect" in third


@pytest.mark.parametrize(("memory", "is_large"), [(80 * 24 * 4, True), (80 * 24 * 6, False)])
def test_data_that_takes_much_memory_is_seen(monkeypatch, memory, is_large):
    X, y = examples(noise=1.0)
    first, *_ = seen(X, y, l2=0.1, memory=memory, monkeypatch=monkeypatch)
    assert ("jitlogreg.dask" in first) == is_large


def test_what_follows_a_run_works(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITLOGREG_TARGET", "reference")
    X, y = examples(noise=1.0)
    np.savetxt("it's a file.csv", np.c_[X, y], delimiter=",", header="a,b,c,ill", comments="")
    text = run("demo", "--data", "it's a file.csv", "--iterations", "3")
    lines = text.partition("\nWhat to try next:\n")[2].splitlines()
    assert len(lines) == 3
    commands = [line.partition(": jitlogreg ")[2] for line in lines[:2]]
    for command, expected in zip(commands, ("30 steps of gradient descent", "500 steps"), strict=True):
        words = shlex.split(command)
        again = run(*itertools.takewhile(lambda word: word not in ("comes", "shows"), words))
        assert "it's a file.csv: 80 rows, 3 columns" in again
        assert expected in again
    assert (ROOT / "docs/how-to/fit-and-descend.md").is_file()
    assert (ROOT / "docs/how-to/data-beyond-memory.md").is_file()

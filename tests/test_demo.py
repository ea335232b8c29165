"""What `jitlogreg demo` measures on held-out rows, draws, and proposes next."""

import itertools
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import jitlogreg as jlr
from jitlogreg import cli
from jitlogreg.cli import data, demo, demo_learning, demo_picture, demo_timing, held_out
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
    quality = held_out.evaluate(y, a)
    assert quality.accuracy == np.mean((a >= 0.5) == (y == 1))
    assert quality.most_frequent == max(y.mean(), 1 - y.mean())
    pairs = a[y == 1][:, None] > a[y == 0]
    assert quality.roc_area == pytest.approx(pairs.mean())
    false_positives, true_positives = quality.roc
    assert np.trapezoid(true_positives, false_positives) == pytest.approx(pairs.mean())
    by_probability = np.argsort(a).reshape(4, 10)
    assert quality.n_bins == 4
    np.testing.assert_allclose(quality.calibration, [a[by_probability].mean(axis=1), y[by_probability].mean(axis=1)])


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_held_out_rows_of_one_label_have_no_roc_curve(label):
    quality = held_out.evaluate(np.full(3, label), np.array([0.2, 0.3, 0.7]))
    assert (quality.roc, quality.roc_area, quality.most_frequent) == (None, None, 1)
    np.testing.assert_allclose(quality.calibration, [[0.4], [label]])


# ---------------------------------------------------------------- the picture


def drawn(monkeypatch, *, name="a.csv", seconds=0.5, label=1.0, times=(1e-6, 1e-5, 1e-4)):
    """The figure of made-up results."""
    X, y = examples()
    figures = []
    monkeypatch.setattr(demo_picture, "save", lambda figure, option, path: figures.append(figure))
    given = data.Data(name, X, y, ("no", "a name $ that is $ too long for the label of an axis"))
    result = SimpleNamespace(n_iterations=2)
    runs = {
        "gradient descent": demo_learning.Learnt(result, [0.1 * seconds, 0.5 * seconds, seconds], [0.7, 0.5, 0.4]),
        "jlr.fit": demo_learning.Learnt(result, [0.2 * seconds, 0.3 * seconds, 0.4 * seconds], [0.7, 0.3, 0.2]),
    }
    quality = held_out.evaluate(np.where(np.arange(80) % 2, label, 1.0), np.linspace(0, 1, 80))
    names = ("Python for-loops", "NumPy", "jitlogreg reference")
    tables = {
        f"{size} x 3": [
            Timing(by, size * t, 1000 * t, 1.0, " (scaled)") for by, t in zip(names, reversed(times), strict=True)
        ]
        for size in (1, 10_000)
    }
    demo_picture.draw("a.png", given, runs, quality, tables)
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


def proposals(text):
    """The commands below the last heading."""
    lines = text.partition("\nWhat to try next:\n")[2].splitlines()
    assert 4 <= len(lines) <= 6
    assert all(line.startswith("  ") and line.count("  # ") == 1 for line in lines)
    return [line[2:].partition("  # ")[0] for line in lines]


def follow(commands, run, namespace):
    """Run the proposed demos and Python, and parse what takes long. Give back what has run."""
    followed = []
    for command in commands:
        words = shlex.split(command)
        if words[:2] == ["jitlogreg", "demo"]:
            followed.append(run(*words[1:], "--target", "reference", "--output", "next.png"))
        elif words[0] == "jitlogreg":
            cli._parser().parse_args(words[1:])
        elif words[:2] == ["python", "-c"]:
            exec(words[2], {})
        elif command.startswith("docs/"):
            assert (ROOT / command).is_file()
        else:
            exec(f"import jitlogreg as jlr; {command}", namespace)
    return followed


def test_what_follows_the_built_in_data_works(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITLOGREG_TARGET", "reference")
    commands = proposals(run("demo", "--iterations", "2"))
    (of_file,) = follow(commands, run, {})
    assert "cancer.npz: 569 rows, 30 columns" in of_file
    assert {"jitlogreg tune", "jitlogreg bench"} < set(commands)
    assert "Fit(" in run_python(commands[-2])


def run_python(command):
    printed = []
    exec(shlex.split(command)[2], {"print": printed.append})
    return str(printed[0])


@pytest.mark.parametrize(
    ("noise", "options", "expected"),
    [
        (0.0, (), "--l2 0.01"),
        (1.0, ("--iterations", "3"), "--iterations 30"),
        (1.0, ("--iterations", "3", "--l2", "0.25"), "--l2 0.25 --iterations 30"),
        (1.0, ("--iterations", "300", "--seed", "4"), "--seed 5"),
    ],
)
def test_what_follows_a_file_works(run, tmp_path, monkeypatch, noise, options, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JITLOGREG_TARGET", "reference")
    X, y = examples(noise=noise)
    np.savetxt("it's a file.csv", np.c_[X, y], delimiter=",", header="a,b,c,is ill", comments="")
    commands = proposals(run("demo", "--data", "it's a file.csv", *options))
    assert shlex.split(commands[0])[:-2] >= ["jitlogreg", "demo", "--data", "it's a file.csv", "--label", "is ill"][:-2]
    assert commands[0].endswith(f" --label 'is ill' {expected}")
    namespace = {"X": X, "y": y}
    (again,) = follow(commands, run, namespace)
    assert "it's a file.csv: 80 rows, 3 columns" in again
    assert namespace["fitted"].w.shape == (3,)

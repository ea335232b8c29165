import itertools
import json
import struct
import subprocess
import sys

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.cli import (
    bandwidth,
    bench,
    cases,
    data,
    demo,
    demo_learning,
    demo_timing,
    machine,
    numpy_baseline,
    outputs_cases,
    timing,
)
from jitlogreg.cli.errors import UsageError, WrongAnswerError

TARGETS = ["cpu", "reference"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Commands of seconds in tenths of a second."""
    monkeypatch.delenv("JITLOGREG_TARGET", raising=False)
    monkeypatch.setattr(demo, "_LARGE", 2**20)
    monkeypatch.setattr(demo, "_ROUNDS", 1)
    monkeypatch.setattr(demo_timing, "_LOOP_NUMBERS", 30_000)
    monkeypatch.setattr(bench, "_DOT_LENGTH", 10_000)
    monkeypatch.setattr(timing, "_WAKING", 1e-3)


def examples(m=80, n=3):
    """Rows of which the first column decides, mostly."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, n))
    return X, (X[:, 0] + 0.3 * rng.standard_normal(m) > 0).astype(np.int64)


def numbers(line):
    """The numbers at the end of a line of a table."""
    parsed = []
    for word in reversed(line.split()):
        try:
            parsed.insert(0, float(word))
        except ValueError:
            break
    return parsed


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


# ---------------------------------------------------------------- info


def test_info_tells_versions_targets_and_machine(run):
    lines = run("info").splitlines()
    pairs = {line.split()[0]: line.split()[-1] for line in lines if line}
    assert pairs["jitlogreg"] == jlr.__version__
    assert pairs["numpy"] == np.__version__
    text = "\n".join(lines)
    for words in ("SIMD width", "fused multiply-add", "threading layer", "cache folder", "llvmlite", "python", "numba"):
        assert words in text
    for name, target in jlr.targets().items():
        line = next(line for line in lines if line.split()[:1] == [name])
        assert ("yes" if target.available else "no") in line.split()
        assert (target.device or target.reason) in line


def test_info_of_one_target(run, fail):
    text = run("info", "--target", "reference")
    assert "reference" in text
    assert "cuda" not in text
    if not jlr.targets()["cuda"].available:
        assert jlr.targets()["cuda"].reason in fail("info", "--target", "cuda")


def test_machine_is_described_in_plain_values():
    here = machine.machine()
    json.dumps(here)
    assert here["simd_bits"] in (128, 256, 512)
    assert here["threading_layer"] in ("omp", "tbb", "workqueue")
    assert here["threads"] >= 1


@pytest.mark.parametrize(
    ("processor", "features", "simd"),
    [
        ("x86_64", {"avx512f": True, "avx2": True, "avx": True, "fma": True}, (512, True)),
        ("x86_64", {"avx512f": False, "avx2": True, "avx": True, "fma": True}, (256, True)),
        ("x86_64", {"avx": True, "fma": False}, (256, False)),
        ("AMD64", {"sse2": True}, (128, False)),
        # of a 64-bit ARM LLVM may list nothing: under emulation, or where it does not know the processor
        ("aarch64", {"neon": True}, (128, True)),
        ("aarch64", {}, (128, True)),
        ("arm64", {}, (128, True)),
        ("ARM64", {}, (128, True)),  # as Windows spells it
    ],
)
def test_vectors_and_fused_multiply_adds_of_other_processors(monkeypatch, processor, features, simd):
    monkeypatch.setattr(machine.platform, "machine", lambda: processor)
    monkeypatch.setattr(machine.llvmlite.binding, "get_host_cpu_features", lambda: features)
    assert machine.simd() == simd


# ---------------------------------------------------------------- demo


@pytest.mark.parametrize("target", TARGETS)
def test_demo_learns_times_and_draws(run, tmp_path, target):
    picture = tmp_path / "picture.png"
    text = run("demo", "--target", target, "--iterations", "60", "--output", str(picture))
    lines = text.splitlines()
    before, after = (
        float(word) for word in text.partition("loss before ")[2].split()[:3:2] for word in [word.strip(",")]
    )
    assert before == pytest.approx(np.log(2), abs=1e-6)
    assert after < 0.2
    accuracy = float(text.partition("accuracy on held-out rows ")[2].split()[0])
    assert 93 < accuracy <= 100
    assert "569 rows, 30 columns; 142 of the rows held out" in text
    tables = [i for i, line in enumerate(lines) if line.startswith("one step by")]
    assert len(tables) == 2
    for table in tables:
        rows = lines[table + 1 : table + 4]
        names = ["Python for-loops", "NumPy", f"jitlogreg {target}"]
        assert [row.startswith(name) for row, name in zip(rows, names, strict=True)] == [True] * 3
        for row in rows:
            ms, speedup, _ = numbers(row)
            assert ms > 0
            assert speedup > 0
        assert numbers(rows[0])[1] == 1
    assert "(first 1000 of " in lines[tables[1] + 1]
    assert "scaled)" in lines[tables[1] + 1]
    assert "\x1b" not in text
    assert text.isascii()
    assert f"picture: {picture}" in lines
    assert min(png_size(picture)) > 400
    assert picture.stat().st_size > 20_000


def test_demo_draws_what_was_learnt(run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(demo.picture, "draw", lambda *arguments: drawn.append(arguments))
    run("demo", "--target", "reference", "--iterations", "7", "--l2", "0.5", "--output", str(tmp_path / "a.png"))
    ((_, examples, runs, quality, tables),) = drawn
    learnt_from = data.split(data.breast_cancer(), 0)
    rate = demo.default_learning_rate(learnt_from.X, 0.5)
    descent = jlr.gradient_descent(
        learnt_from.X, learnt_from.y, learning_rate=rate, n_iterations=7, l2=0.5, target="reference"
    )
    fitted = jlr.fit(learnt_from.X, learnt_from.y, l2=0.5, target="reference")
    by_descent, by_fit = runs["gradient descent"], runs["jlr.fit"]
    np.testing.assert_array_equal(by_descent.losses, descent.loss_history)
    assert (np.diff(by_descent.losses) < 0).all()
    assert (by_fit.losses[0], by_fit.losses[-1]) == (by_descent.losses[0], fitted.loss)
    a = jlr.forward(learnt_from.X_held_out, descent.w, descent.b, target="reference")
    assert quality.accuracy == np.mean((a > 0.5) == learnt_from.y_held_out)
    assert examples.name == "Wisconsin breast cancer"
    assert list(tables) == ["427 x 30", "4697 x 30, the rows 11 times"]


def test_split_is_seeded_and_standardised_by_the_kept_rows_alone():
    X, y = examples()
    X[:, 1] = 0.1  # its deviation would come out as 1e-17
    X[:, 2] = np.arange(80)
    given = data.Data("given", X, y.astype(float), ("0", "1"), ["a", "b", "c"])
    first, again, other = data.split(given, 0), data.split(given, 0), data.split(given, 1)
    np.testing.assert_array_equal(first.X, again.X)
    assert not np.array_equal(first.y, other.y)
    assert (len(first.y), len(first.y_held_out)) == (60, 20)
    np.testing.assert_allclose(first.X.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(first.X.std(axis=0)[[0, 2]], 1)
    np.testing.assert_allclose(first.X[:, 1], 0, atol=1e-15)
    steps_between = np.diff(np.sort(np.concatenate([first.X[:, 2], first.X_held_out[:, 2]])))
    np.testing.assert_allclose(steps_between, steps_between[0])  # one map for both, and every row once


def test_numbers_too_large_to_standardise_are_refused():
    X, y = examples()
    with pytest.raises(UsageError, match="too large"):
        data.split(data.Data("given", X * 1e300, y.astype(float), ("0", "1"), ["a", "b", "c"]), 0)


@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_default_learning_rate_is_the_inverse_of_the_largest_curvature(l2):
    X, _ = examples(200, 5)
    A = np.column_stack([X + 1, np.ones(200)])
    curvature = np.linalg.eigvalsh(A.T @ A / 200)[-1] / 4 + l2
    assert demo.default_learning_rate(X + 1, l2) == pytest.approx(1 / curvature, rel=0.05)


# ---------------------------------------------------------------- bench

SMALL_BENCH = ("--shapes", "300x5,40x70", "--rounds", "2")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", ["loss_and_gradient", "forward"])
def test_bench_prints_json(run, target, operation):
    result = json.loads(run("bench", *SMALL_BENCH, "--json", "--target", target, "--operation", operation))
    assert set(result) == {"machine", "versions", "left_out", "dot", "rows"}
    assert result["left_out"] == []
    assert result["versions"]["jitlogreg"] == jlr.__version__
    cases = {(*row["shape"], row["dtype"], row["order"], row["implementation"]) for row in result["rows"]}
    assert len(cases) == len(result["rows"]) == 2 * 2 * 2 * 3
    for row in result["rows"]:
        keys = {
            "operation",
            "shape",
            "dtype",
            "order",
            "implementation",
            "seconds",
            "gb_per_s",
            "percent_of_limit",
            "speedup",
            "times_ours",
            "remark",
        }
        assert set(row) == keys
        assert row["operation"] == operation
        assert 0 < row["seconds"] < 1
        assert row["remark"] == ""
        if row["implementation"] == "limit":
            assert row["percent_of_limit"] == 100
        if row["implementation"] == "NumPy":
            assert row["speedup"] == 1
        if row["implementation"] == target:
            assert row["times_ours"] == 1
        m, n = row["shape"]
        count = m * n + n + (m if operation == "loss_and_gradient" else 0)
        n_bytes = count * np.dtype(row["dtype"]).itemsize
        assert row["gb_per_s"] == pytest.approx(n_bytes / row["seconds"] / 1e9)
    assert [row["implementation"] for row in result["dot"]] == ["Python for-loop", "NumPy", target]
    assert all(row["result"] == pytest.approx(2500, rel=0.05) for row in result["dot"])


def test_medians_are_of_ratios_within_a_round(monkeypatch):
    numpy, reference = [10.0, 20.0, 20.0], [2.0, 8.0, 4.0]
    reads = [1.0, 9.0, 4.0], [3.0, 2.0, 5.0]  # in each round the faster is the limit: 1, 2, 4
    monkeypatch.setattr(cases, "in_turn", lambda calls, rounds: np.array([*reads, numpy, reference]))
    rows = cases.rows_of_case("loss_and_gradient", 50, 4, "float64", "C", ["reference"], 3)
    assert [row["implementation"] for row in rows] == ["limit", "NumPy", "reference"]
    assert [row["seconds"] for row in rows] == [2, 20, 4]
    assert [row["speedup"] for row in rows] == [10, 1, 5]
    assert [row["times_ours"] for row in rows] == [0.5, 5, 1]
    assert [row["percent_of_limit"] for row in rows] == [100, 10, 50]
    assert rows[2]["gb_per_s"] == pytest.approx((50 * 4 + 50 + 4) * 8 / 4 / 1e9)

    monkeypatch.setattr(bench, "in_turn", lambda calls, rounds: np.array([numpy, reads[0], reference]))
    assert [row["speedup"] for row in bench.dot_rows(["reference"], 3)] == [1, 5, 5]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", ["loss_and_gradient", "forward"])
@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_bench_times_several_outputs_beside_one(run, target, operation, link):
    arguments = (
        "bench",
        *SMALL_BENCH,
        "--target",
        target,
        "--operation",
        operation,
        "--outputs",
        "2,5",
        "--link",
        link,
    )
    rows = json.loads(run(*arguments, "--json"))["rows"]
    cases = {(*row["shape"], row["outputs"], row["dtype"], row["order"], row["implementation"]) for row in rows}
    assert len(cases) == len(rows) == 2 * 2 * 2 * 2 * 3
    assert {row["outputs"] for row in rows} == {2, 5}
    for row in rows:
        assert (row["operation"], row["link"]) == (operation, link)
        assert row["times_one"] > 0
        (m, n), K, itemsize = row["shape"], row["outputs"], np.dtype(row["dtype"]).itemsize
        of_labels = 8 if link == "softmax" else itemsize
        n_bytes = (m * n + n * K) * itemsize + (m * of_labels if operation == "loss_and_gradient" else 0)
        assert row["gb_per_s"] == pytest.approx(n_bytes / row["seconds"] / 1e9)
    text = run(*arguments, "--dtype", "float64", "--order", "C")
    assert text.isascii()
    of_link = "classes of a softmax" if link == "softmax" else "models"
    assert f"{operation}, 300 x 5, 2 {of_link}" in text.splitlines()
    heads = [line.split() for line in text.splitlines() if line.startswith("dtype")]
    assert [head[-2:] for head in heads] == [["x", "one"]] * 4
    assert all(len(numbers(line)) == 5 for line in text.splitlines() if line.startswith("float64"))


def test_times_of_several_outputs_are_over_that_of_one_in_the_same_round(monkeypatch):
    times = [[1.0, 9.0, 4.0], [3.0, 2.0, 5.0], [10.0, 20.0, 20.0], [2.0, 8.0, 4.0], [1.0, 2.0, 4.0]]
    monkeypatch.setattr(cases, "in_turn", lambda calls, rounds: np.array(times)[: len(calls)])
    outputs = outputs_cases.Outputs(3, "softmax")
    rows = outputs_cases.rows_of_outputs(outputs, "loss_and_gradient", 50, 4, "float64", "C", ["reference"], 3)
    assert [row["implementation"] for row in rows] == ["limit", "NumPy", "reference"]
    assert [row["times_one"] for row in rows] == [1, 10, 2]
    assert [row["speedup"] for row in rows] == [10, 1, 5]
    assert [row["percent_of_limit"] for row in rows] == [100, 10, 50]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outputs", "0"], "--outputs: expected an integer of at least 1, got '0'"),
        (["--outputs", "4,"], "--outputs: expected an integer of at least 1, got ''"),
        (["--outputs", "4,1", "--link", "softmax"], "--outputs: expected at least 2 classes of a softmax, got 1"),
        (["--link", "softmax"], "--link: expected --outputs K beside softmax"),
    ],
)
def test_a_wrong_number_of_outputs_is_told(fail, arguments, message):
    assert message in fail("bench", *SMALL_BENCH, *arguments)


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_wrong_answers_for_several_outputs_are_not_timed(fail, monkeypatch, link, wrong):
    right = outputs_cases._NUMPY["loss_and_gradient", link]

    def with_an_error(X, *data):
        results = list(right(X, *data))
        error = np.zeros(np.shape(results[wrong]))
        error.reshape(-1)[-1] = 1e-11 if X.dtype == np.float64 else 1e-3
        results[wrong] = results[wrong] + error
        return results

    monkeypatch.setitem(outputs_cases._NUMPY, ("loss_and_gradient", link), with_an_error)
    for dtype in ("float64", "float32"):
        several = ("--dtype", dtype, "--outputs", "3", "--link", link)
        message = fail("bench", *SMALL_BENCH, *several, "--target", "reference", status=1)
        assert "loss_and_gradient of NumPy, 300x5 K = 3 " in message


def test_one_output_beside_several_is_checked(fail, monkeypatch):
    right = cases.jlr.loss_and_gradient

    def wrong(X, y, w, b, **named):
        loss, dw, db = right(X, y, w, b, **named)
        return loss, dw, db + (1e-3 if w.dtype == np.float32 and w.ndim == 1 else 0)

    monkeypatch.setattr(cases.jlr, "loss_and_gradient", wrong)
    message = fail("bench", *SMALL_BENCH, "--outputs", "3", "--target", "reference", "--dtype", "float32", status=1)
    assert "loss_and_gradient of reference, 300x5 float32" in message


def test_bench_prints_tables(run):
    text = run("bench", *SMALL_BENCH, "--dtype", "float32", "--order", "F", "--target", "reference")
    assert text.isascii()
    assert "\x1b" not in text
    lines = text.splitlines()
    titles = [line for line in lines if line.startswith("loss_and_gradient, ")]
    assert titles == ["loss_and_gradient, 300 x 5", "loss_and_gradient, 40 x 70"]
    rows = [line for line in lines if line.startswith("float32")]
    assert [row.split()[:3] for row in rows] == [["float32", "F", by] for by in ("limit", "NumPy", "reference")] * 2
    assert all(len(numbers(row)) == 4 for row in rows)
    assert numbers(rows[1])[3] == 1


def test_bench_takes_the_target_of_the_environment(run, fail, monkeypatch):
    monkeypatch.setenv("JITLOGREG_TARGET", "reference")
    result = json.loads(run("bench", "--shapes", "9x2", "--rounds", "1", "--json"))
    assert {row["implementation"] for row in result["rows"]} == {"limit", "NumPy", "reference"}
    monkeypatch.setenv("JITLOGREG_TARGET", "gpu")
    assert "JITLOGREG_TARGET: expected one of 'cpu', 'cuda', 'reference', got 'gpu'" in fail("bench")


@pytest.mark.parametrize("wrong", ["loss", "dw", "db"])
def test_wrong_answers_are_not_timed(fail, monkeypatch, wrong):
    right = cases.numpy_loss_and_gradient

    def with_an_error(X, y, w, b):
        loss, dw, db = right(X, y, w, b)
        error = 1e-11 if X.dtype == np.float64 else 1e-3
        if wrong == "dw":
            dw[-1] += error
        return loss + error * (wrong == "loss"), dw, db + error * (wrong == "db")

    monkeypatch.setattr(cases, "numpy_loss_and_gradient", with_an_error)
    for dtype in ("float64", "float32"):
        message = fail("bench", *SMALL_BENCH, "--dtype", dtype, "--target", "reference", status=1)
        assert "loss_and_gradient of NumPy, 300x5" in message
        assert "times the bound" in message


def test_for_loops_over_a_part_are_scaled(monkeypatch):
    X, y = examples(20_000, 3)
    monkeypatch.setattr(demo_timing, "in_turn", lambda calls, rounds: np.array([[1.0], [0.5], [0.25]]))
    loops, numpy, reference = demo_timing.time_steps(X, y.astype(float), 0.1, ["reference"], 1)
    assert loops == ("Python for-loops", 2, 1, 480_000 / 2 / 1e9, " (first 10000 of 20000 rows, scaled)")
    assert numpy == ("NumPy", 0.5, 4, 480_000 / 0.5 / 1e9, "")
    assert (reference.name, reference.speedup) == ("jitlogreg reference", 8)


def test_wrong_steps_are_not_timed(monkeypatch):
    X, y = examples()
    monkeypatch.setattr(demo_timing, "step_loop", lambda X, y, w, b, learning_rate: (0.7, w, b))
    with pytest.raises(WrongAnswerError, match="the for-loops"):
        demo_timing.time_steps(X, y.astype(float), 0.1, ["reference"], 1)


@pytest.mark.parametrize(("load", "remark"), [(None, ""), (0.3, ""), (1.5, "The load was 1.5 before: ")])
def test_a_busy_machine_is_told(capsys, load, remark):
    machine.print_load(load)
    printed = capsys.readouterr().out
    assert printed.startswith(remark)
    assert bool(printed) == bool(remark)


def test_a_threading_layer_that_cannot_be_loaded_is_told(run, fail, monkeypatch):
    def refuse(*arrays):
        raise ValueError("No threading layer could be loaded.\nHINT:\npip install tbb")

    monkeypatch.setattr(bandwidth, "readers", refuse)
    text = run("info")
    assert "No threading layer could be loaded. HINT: pip install tbb" in text
    assert "0 of" in text
    assert "No threading layer could be loaded. HINT: pip install tbb" in fail("bench")


# ---------------------------------------------------------------- what the commands rest on


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_spelling_agrees_with_the_reference_at_every_margin(dtype):
    X = np.linspace(-900, 900, 1001, dtype=dtype)[:, None]
    y = (np.arange(1001) % 3 == 0).astype(dtype)
    w = np.ones(1, dtype)
    expected = jlr.loss_and_gradient(X, y, w.astype(float), 0.5, target="reference")
    got = numpy_baseline.numpy_loss_and_gradient(X, y, w, 0.5)
    numpy_baseline.check_answer("NumPy", got, expected, numpy_baseline.rounding_of_gradient(X, w, 0.5))
    a = numpy_baseline.numpy_forward(X, w, 0.5)
    assert a.dtype == got[1].dtype == dtype
    np.testing.assert_allclose(a, jlr.forward(X, w, 0.5, target="reference"), rtol=1e-5, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_numpy_spellings_of_several_outputs_agree_with_the_reference_at_every_margin(dtype, link):
    X = np.linspace(-900, 900, 1001, dtype=dtype)[:, None]
    W, b = np.array([[1, -0.5, 0.01]], dtype), np.array([0.5, 0, -1], dtype)
    y = np.arange(1001) % 3 if link == "softmax" else (np.arange(1001) % 3 == 0).astype(dtype)
    for operation in ("loss_and_gradient", "forward"):
        answer = outputs_cases._NUMPY[operation, link](X, y, W, b)
        right, bounds = outputs_cases.expected(link, operation, X, y, W, b)
        numpy_baseline.check_answer("NumPy", answer, right, bounds)
        assert answer[-1].dtype == dtype


def test_rounding_of_a_softmax_is_that_of_its_largest_margin():
    X, W, b = np.ones((10_000, 2)), np.array([[1.0, 2, 0], [1, 0, 0]]), np.array([0.0, 3, 0])
    for bound in numpy_baseline.rounding_of_gradient(X, W, b, link="softmax"):
        np.testing.assert_allclose(bound, (8 * 100 + 2 + 3 + 16) * 2.0**-53 * 2 * 6)
    of_models = numpy_baseline.rounding_of_gradient(X, W, b)
    np.testing.assert_allclose(of_models[0], (8 * 100 + 2 + 16) * 2.0**-53 * np.array([3, 6, 1]))
    assert [np.shape(bound) for bound in of_models] == [(3,), (2, 3), (3,)]


def test_rounding_explains_little():
    X = np.ones((10_000, 2))
    for bound in numpy_baseline.rounding_of_gradient(X, np.ones(2), 1.0):
        np.testing.assert_allclose(bound, (8 * 100 + 2 + 16) * 2.0**-53 * 4)
    np.testing.assert_allclose(numpy_baseline.rounding_of_forward(X[:3], np.ones(2), 1.0), [18 * 2.0**-53 * 4] * 3)


def test_nan_is_no_answer():
    with pytest.raises(WrongAnswerError):
        numpy_baseline.check_answer("a", [np.array([1.0, np.nan])], [np.ones(2)], [np.ones(2)])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 511, 100_003, 1_000_003])
def test_every_spelling_reads_every_word_of_every_array(size):
    rng = np.random.default_rng(0)
    arrays = rng.random(size, np.float32), rng.random(size // 3), rng.random(5)
    words = [array[: array.nbytes // 8 * 8 // array.itemsize].view(np.uint64) for array in arrays]
    expected = sum(int(word.sum(dtype=np.uint64)) for word in words) % 2**64
    assert [read() for read in bandwidth.readers(*arrays)] == [expected, expected]


def test_reading_takes_both_orders():
    X = np.random.default_rng(0).random((30, 7))
    first, second = ({read() for read in bandwidth.readers(array)} for array in (X, np.asfortranarray(X)))
    assert len(first) == 1
    assert first == second


class Clock:
    """In place of `time`: it goes on while somebody sleeps, and not otherwise."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return 0.0

    def sleep(self, seconds):
        self.now += seconds


def test_calls_take_turns_and_short_ones_wake_their_threads(monkeypatch):
    clock, record, shortest = Clock(), [], 2**-9  # 2 ms, of which sums are exact
    monkeypatch.setattr(timing, "_WAKING", 2.5 * shortest)
    monkeypatch.setattr(timing, "time", clock)
    seconds = timing.in_turn([lambda k=k: (record.append(k), clock.sleep(shortest * (k + 1)))[0] for k in range(3)], 4)
    turns = [(k, len(list(calls))) for k, calls in itertools.groupby(record)][3:]  # after three trials of each
    assert [k for k, _ in turns] == [0, 1, 2] * 4
    assert max(count for k, count in turns if k == 0) > 2
    assert all((count > 1) == (k < 2) for k, count in turns)
    assert seconds.tolist() == [[shortest * (k + 1)] * 4 for k in range(3)]


# ---------------------------------------------------------------- terminals, and packages that are not there


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")


def test_tables_are_drawn_on_a_terminal(run, monkeypatch):
    on_a_terminal(monkeypatch)
    assert "│" in run("info")


@pytest.mark.parametrize("command", [("info",), ("bench", *SMALL_BENCH)])
def test_numpy_and_numba_are_enough_for_info_and_bench(run, monkeypatch, command):
    on_a_terminal(monkeypatch)
    for name in ("rich", "rich.console", "rich.table", "rich.text", "sklearn", "sklearn.datasets", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    text = run(*command, "--target", "reference")
    assert text.isascii()
    assert "reference" in text


@pytest.mark.parametrize(
    ("module", "package"),
    [("rich", "rich"), ("matplotlib", "matplotlib"), ("sklearn.datasets", "scikit-learn")],
)
def test_demo_says_how_to_install_what_it_lacks(fail, monkeypatch, tmp_path, module, package):
    on_a_terminal(monkeypatch)
    monkeypatch.setattr(demo_learning, "_SLOW_BYTES", 0)  # shows a progress bar
    monkeypatch.setitem(sys.modules, module, None)
    message = fail("demo", "--target", "reference", "--iterations", "2", "--output", str(tmp_path / "a.png"))
    assert f"the package {package}: pip install 'jitlogreg[demo]'" in message


def test_python_m_jitlogreg():
    done = subprocess.run([sys.executable, "-m", "jitlogreg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == jlr.__version__
    done = subprocess.run([sys.executable, "-m", "jitlogreg", "bench", "--rounds", "x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "argument --rounds: expected an integer of at least 1, got 'x'" in done.stderr


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "{info,demo,bench,tune,compile}"),
        (["train"], "invalid choice: 'train'"),
        (["info", "--verbose"], "unrecognized arguments: --verbose"),
        (["info", "--target", "gpu"], "invalid choice: 'gpu'"),
        (["bench", "--shapes", "10"], "argument --shapes: expected ROWSxCOLUMNS, such as 1000x20, got '10'"),
        (["bench", "--shapes", "10x0"], "expected ROWSxCOLUMNS, such as 1000x20, got '10x0'"),
        (["bench", "--dtype", "float16"], "expected a comma-separated list of float64, float32, got 'float16'"),
        (["bench", "--order", "C,C"], "expected a comma-separated list of C, F, got 'C,C'"),
        (["bench", "--rounds", "0"], "expected an integer of at least 1, got '0'"),
        (["bench", "--operation", "fit"], "invalid choice: 'fit'"),
        (["bench", "--shapes", "1000000000000x1000", "--target", "reference"], "llocate"),
        (["demo", "--iterations", "1.5"], "expected an integer of at least 1, got '1.5'"),
        (["demo", "--learning-rate", "0"], "expected a finite number above 0, got '0'"),
        (["demo", "--learning-rate", "nan"], "expected a finite number above 0, got 'nan'"),
        (["demo", "--l2", "-1"], "expected a finite number of at least 0, got '-1'"),
        (["demo", "--seed", "-1"], "expected an integer of at least 0, got '-1'"),
        (["demo", "--output", "picture.gif"], "--output: expected a file name that ends in .png or .pdf or .svg"),
        (["demo", "--output", "no/such.png"], "--output: expected a file in a folder that exists, got no/such.png"),
        (["demo", "--label", "y"], "--label: expected --data FILE beside it, got y alone"),
        (
            ["demo", "--data", "a.txt"],
            "--data: expected a .npz, .csv, .parquet, .pq, .svm, .svmlight or .libsvm file, got a.txt",
        ),
        (
            ["demo", "--data", "none.npz", "--label", "y"],
            "--data: expected a file that can be read, got none.npz: No such file",
        ),
        (
            ["demo", "--data", "none.csv", "--label", "y"],
            "--data: expected a file that can be read, got none.csv: No such file",
        ),
    ],
)
def test_bad_options_are_refused(fail, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments[:1] == ["demo"] and "--target" not in arguments:
        arguments = [*arguments, "--target", "reference"]
    assert message in fail(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_run_is_refused(fail):
    if jlr.targets()["cuda"].available:
        pytest.skip("CUDA is available here")
    for command in ("info", "demo", "bench"):
        assert "target 'cuda' is not available" in fail(command, "--target", "cuda")


def test_a_loss_that_overflows_is_told(fail, tmp_path):
    output = tmp_path / "a.png"
    message = fail("demo", "--target", "reference", "--learning-rate", "1e308", "--output", str(output))
    assert "--learning-rate: expected a rate at which the loss stays finite, got 1e+308" in message
    assert not output.exists()


def test_output_that_cannot_be_written_is_told(fail, tmp_path):
    (tmp_path / "a.png").mkdir()
    arguments = ("demo", "--target", "reference", "--iterations", "1")
    assert "--output: expected a file that can be written, got " in fail(
        *arguments, "--output", str(tmp_path / "a.png")
    )

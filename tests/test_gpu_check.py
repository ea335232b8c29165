"""The check on a GPU, without one: what it would check, how it judges, what it writes; and that no failure stops it."""

import contextlib
import importlib
import json
import os
import random
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import exact_margins, example_bound, expected_objective, make_data, margin_bound

import jitlogreg as jlr
from jitlogreg.gpu_check import expected, groups, predictions, record, sanitizer, shapes, streams, timing, values, views
from jitlogreg.gpu_check import page as pages

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
command = importlib.import_module("jitlogreg.gpu_check.__main__")
machine = importlib.import_module("jitlogreg.gpu_check.machine")
targets = importlib.import_module("jitlogreg.targets")  # the function of that name hides it
driver, plan = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("driver", "plan"))

ROOT = Path(__file__).parent.parent
H100 = predictions.h100()
NO_GPU = bool(jlr.targets()["cuda"].reason)
without_gpu = pytest.mark.skipif(not NO_GPU, reason="there is a GPU here")


def recorded(items, deadline=float("inf")):
    records = []
    record.run(items, records.append, deadline)
    return records


def failures(items):
    return {r["name"]: r["failure"] for r in recorded(items) if "failure" in r}


# ---------------------------------------------------------------- which matrices


@pytest.mark.parametrize(("x_dtype", "w_dtype"), shapes.DTYPES)
@pytest.mark.parametrize("order", shapes.ORDERS)
def test_every_regime_is_met_on_both_sides_of_its_edges(x_dtype, w_dtype, order):
    cases = shapes.cases(H100, x_dtype, w_dtype, order)
    columns = {case.n for case in cases}
    assert columns >= set(shapes.COLUMNS)
    regimes = [case.regime.split("-")[0] for case in cases]
    everything = {"C": {"warps", "blocks", "panels"}, "F": {"columns", "panels"}}[order]
    assert set(regimes) == everything
    # one matrix of each regime before the second of any
    assert set(regimes[: 2 * len(everything)]) == everything
    planned = [
        shapes._planned(H100, *(int(t[5:]) // 8 for t in (x_dtype, w_dtype)), order, 1 << 40, n)
        for n in range(16, 20_001, 16)
    ]
    for before, after, n in zip(planned, planned[1:], range(16, 20_001, 16), strict=False):
        if before.regime != after.regime:
            assert {n, n + 1} <= columns


def test_enough_rows_that_every_block_comes_back_for_more():
    for case in shapes.cases(H100, "float32", "float32", "C"):
        p = shapes._planned(H100, 4, 4, "C", case.m, case.n)
        full = shapes._planned(H100, 4, 4, "C", 1 << 40, case.n)
        if case.m in shapes.FEW_ROWS:
            continue
        assert p.blocks == full.blocks
        if p.regime == "panels":
            assert case.m > 2 * p.panel
        else:
            assert shapes._planned(H100, 4, 4, "C", case.m // 2, case.n).blocks == full.blocks
            assert shapes._planned(H100, 4, 4, "C", case.m // 2 - 3, case.n).blocks < full.blocks
        assert case.m * case.n <= shapes.MOST_NUMBERS + 3 * 100_000
    assert {case.m for case in shapes.cases(H100, "float32", "float32", "C")} >= set(shapes.FEW_ROWS)


def test_quick_is_less_and_meets_every_regime():
    every, quick = (shapes.cases(H100, "float64", "float64", "C", quick) for quick in (False, True))
    assert len(quick) < len(every) / 2
    assert {case.regime.split("-")[0] for case in quick} == {"warps", "blocks", "panels"}
    assert len({case.name for case in every}) == len(every)


# ---------------------------------------------------------------- how it judges


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_expected_is_what_the_other_tests_expect(dtypes, order, weighted):
    data = make_data(60, 7, dtypes, order, soft=True, weighted=weighted)
    arguments = data.X, data.y, data.w, data.b, data.sample_weight, 0.3
    value, bound = expected.objective(*arguments)
    wanted, allowed = expected_objective(*arguments)
    for name in ("loss", "dw", "db"):
        np.testing.assert_allclose(np.float64(getattr(value, name)), getattr(wanted, name), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(np.float64(getattr(bound, name)), getattr(allowed, name), rtol=1e-9)
    z, delta = expected.margins(data.X, data.w, data.b)
    np.testing.assert_allclose(np.float64(z), exact_margins(data.X, data.w, data.b), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(delta, margin_bound(data.X, data.w, data.b), rtol=1e-12)
    exact = 1 / (1 + np.exp(-np.float64(z))), -np.logaddexp(0, -np.float64(z))
    for (got, allowed), wanted, slope in zip(
        expected.activations(data.X, data.w, data.b), exact, (0.25, 1), strict=True
    ):
        np.testing.assert_allclose(np.float64(got), wanted, rtol=1e-13)
        np.testing.assert_allclose(allowed, example_bound(wanted, data.w.dtype) + slope * delta, rtol=0.5)


def test_rows_are_widened_a_block_at_a_time(monkeypatch):
    data = make_data(60, 7)
    value, bound = expected.objective(data.X, data.y, data.w)
    monkeypatch.setattr(expected, "ROWS_AT_ONCE", 50)
    again, same = expected.objective(data.X, data.y, data.w)
    np.testing.assert_allclose(np.float64(again.dw), np.float64(value.dw), rtol=1e-14)
    np.testing.assert_allclose(same.dw, bound.dw)


def test_what_is_off_is_named():
    exact = np.array([1.0, 2.0, 3.0])
    expected.within("dw", exact + 1e-9, exact, np.full(3, 2e-9))
    for wrong in (2 + 1e-3, np.nan, np.inf):
        with pytest.raises(expected.OffError, match=r"dw\[1\] is .* expected is 2.0 within 1e-06 \(1 of 3"):
            expected.within("dw", np.array([1.0, wrong, 3.0]), exact, np.full(3, 1e-6))
    with pytest.raises(expected.OffError, match="shape"):
        expected.within("dw", exact[:2], exact, np.full(3, 1e-6))
    expected.same_bits("dw", exact, exact.copy())
    for other in (np.nextafter(exact, 9), exact.astype(np.float32), np.array([1.0, 2.0])):
        with pytest.raises(expected.OffError, match="dw"):
            expected.same_bits("dw", other, exact)
    with pytest.raises(expected.OffError, match=r"\[0\] is .*-0.0.* \(1 differ"):
        expected.same_bits("db", -0.0, 0.0)


# ---------------------------------------------------------------- the checks, on the CPU

FEW = [
    shapes.Case(m, n, x_dtype, w_dtype, order, "any", True)
    for x_dtype, w_dtype in shapes.DTYPES
    for order in shapes.ORDERS
    for m, n in ((1, 1), (33, 28), (2000, 257))
]


@pytest.fixture
def few(monkeypatch):
    """A few small matrices in place of those that a GPU is given."""
    given = lambda device, x, w, order, quick: [c for c in FEW if (c.x_dtype, c.w_dtype, c.order) == (x, w, order)]  # noqa: E731
    monkeypatch.setattr(values, "cases", given)


def all_values(target):
    for x_dtype, w_dtype in shapes.DTYPES:
        for order in shapes.ORDERS:
            yield from values.values(target, H100, x_dtype, w_dtype, order)


def test_the_cpu_passes(few):
    assert failures(all_values("cpu")) == {}


def test_the_cpu_keeps_the_rest_of_the_contract(monkeypatch):
    monkeypatch.setattr(values, "MEDIUM", (("C", 28), ("F", 28), ("C", 200)))
    assert failures(values.contract("cpu")) == {}


def test_the_cpu_descends_as_it_does(monkeypatch):
    monkeypatch.setattr(values, "MEDIUM", (("C", 28), ("F", 28), ("C", 200)))
    assert failures(values.descents("cpu")) == {}


def wrong_target(monkeypatch, **functions):
    """The reference with functions of its own in place of some, under the name "cuda"."""
    module = targets._module("reference")
    wrong = {name: getattr(module, name) for name in ("forward", "log_forward", "sums")} | functions
    of_name = targets._module
    fake = lambda name: SimpleNamespace(**wrong) if name == "cuda" else of_name(name)  # noqa: E731
    monkeypatch.setattr(targets, "_module", fake)


def off_by(name, amount):
    reference = targets._module("reference")

    def sums(*arguments):
        right = reference.sums(*arguments)
        return right._replace(**{name: getattr(right, name) * (1 + amount)})

    return sums


@pytest.mark.parametrize("name", ["forward", "log_forward"])
def test_activations_that_are_a_little_off_fail(few, monkeypatch, name):
    def off(X, w, b, out):
        out[:] = getattr(targets._module("reference"), name)(X, w, b, out) * out.dtype.type(1.001)
        return out

    wrong_target(monkeypatch, **{name: off})
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all(f"OffError: {name}[" in failure for failure in found.values())


@pytest.mark.parametrize("name", ["loss", "dw", "db"])
def test_a_target_that_is_a_little_off_fails(few, monkeypatch, name):
    wrong_target(monkeypatch, sums=off_by(name, 0.05))
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all(f"OffError: {name}" in failure for failure in found.values())


def test_a_right_target_of_the_same_kind_passes(few, monkeypatch):
    wrong_target(monkeypatch)
    monkeypatch.setattr(values, "same_bits", lambda *arguments: None)  # NumPy's loss alone is not that of both
    assert failures(all_values("cuda")) == {}


def test_a_target_whose_runs_differ_fails(few, monkeypatch):
    reference, drawn = targets._module("reference"), random.Random(0)

    def sums(*arguments):
        right = reference.sums(*arguments)
        return right._replace(db=right.db * (1 + drawn.choice([0, 2**-52])))

    wrong_target(monkeypatch, sums=sums)
    monkeypatch.setattr(values, "within", lambda *arguments: None)
    assert any("db of another run" in failure for failure in failures(all_values("cuda")).values())


def test_a_forward_that_leaves_an_output_unwritten_fails(few, monkeypatch):
    def forward(X, w, b, out):
        out[:-1] = targets._module("reference").forward(X[:-1], w, b, np.empty(len(X) - 1, out.dtype))
        return out

    wrong_target(monkeypatch, forward=forward)
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all("forward[" in failure and "is nan" in failure for failure in found.values())


def test_a_target_that_lets_everything_pass_fails(monkeypatch):
    def sums(*arguments):
        return targets._module("reference").sums(*arguments)._replace(valid=True)

    wrong_target(monkeypatch, sums=sums)
    monkeypatch.setattr(values, "MEDIUM", (("C", 5),))
    found = failures(values.contract("cuda"))
    assert set(found) >= {"a label of 1.5 is refused, C, n = 5", "a weight of -1.0 is refused"}
    assert all("was not refused" in found[name] for name in found if "label of 1.5" in name)


def test_a_descent_that_a_callback_changes_fails(monkeypatch):
    def descend(X, y, w, b, s, rate, n_iterations, l2, tolerance, each_step):
        rate = rate * (1 + 1e-3 * each_step)
        return importlib.import_module("jitlogreg.descent")._descend_here(
            targets._module("reference"), X, y, w, b, s, w.dtype.type(rate), n_iterations, l2, tolerance, each_step
        )

    wrong_target(monkeypatch, descend=descend)
    monkeypatch.setattr(values, "MEDIUM", (("C", 5),))
    found = failures(item for item in values.descents("cuda") if "callback" in item[0])
    assert len(found) == 2


# ---------------------------------------------------------------- on the simulated device


@pytest.fixture
def simulated(monkeypatch):
    pytest.importorskip("greenlet", reason="greenlet, which the simulator needs, is not installed")
    simulator = importlib.import_module("simulator")
    device = simulator.Driver(plan.Device(2, 1 << 16, 1 << 17, 1 << 14), random.Random(0).shuffle)
    for name in (name for name in dir(device) if not name.startswith("_")):
        monkeypatch.setattr(driver, name, getattr(device, name), raising=False)
    for name in ("WARP_THREADS", "NARROW_THREADS"):
        monkeypatch.setattr(plan, name, 64)
    plan.plan.cache_clear()
    yield device
    plan.plan.cache_clear()


def test_the_kernels_pass_wherever_a_matrix_lies(simulated):
    items = list(views.views({"C": (28,), "F": (7,)}, rows=37, places=((0, 0), (4, 0), (1, 3))))
    assert len(items) == 6
    assert failures(items) == {}


def test_kernels_that_read_or_write_beside_a_matrix_fail(simulated, monkeypatch):
    cuda = importlib.import_module("jitlogreg.targets.cuda")
    forward, sums = cuda.forward, cuda.sums

    def writes_one_more(X, w, b, out):
        simulated.memory.view(out.address, out.dtype)[X.shape[0]] = 0
        return forward(X, w, b, out)

    def takes_rows_for_adjacent(X, *others):
        adjacent = views.view(X.address, X.shape, (X.shape[1] * X.itemsize, X.itemsize), X.dtype)
        return sums(adjacent, *others)

    items = list(views.views({"C": (5,)}, rows=7, places=((0, 0), (1, 3))))
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "forward", writes_one_more)
        assert all("behind an output" in failure for failure in failures(items).values())
        assert len(failures(items)) == 3
    monkeypatch.setattr(cuda, "sums", takes_rows_for_adjacent)
    assert all("at 1 with 3 between" in failure for failure in failures(items).values())
    assert len(failures(items)) == 3


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_timed_is_what_the_target_does(simulated, monkeypatch, order):
    memory = importlib.import_module("cuda.bindings.driver")
    monkeypatch.setattr(memory, "cuMemGetInfo", lambda: (0, 1 << 40, 1 << 40))
    monkeypatch.setattr(timing, "BLOCK_BYTES", 1 << 10)
    with timing.matrix(5, "float32", order, 4 * 5 * 96) as data, timing.kernels(data) as calls:
        assert data.X.shape == (96, 5)
        assert data.size == 4 * 5 * 96
        data.copy()
        for call in calls.values():
            call()
        host = {name: views.fetch(getattr(data, name).address, getattr(data, name).size, np.float32) for name in "Xyw"}
        X = host["X"].reshape((96, 5), order=order)
        assert len(np.unique(X)) > 200
        wanted = jlr.gradient(X, host["y"], host["w"], data.b, target="reference").dw
        np.testing.assert_allclose(data.answer(), wanted, rtol=1e-4, atol=1e-6)
    assert simulated.memory._allocations == {}  # all was given back


# ---------------------------------------------------------------- one after the other, whatever happens


def test_a_failing_item_stops_no_other():
    def absent():
        raise record.AbsentError("it is not here")

    records = recorded([("a", lambda: 1 / 0), ("b", absent), ("c", lambda: {"x": 1}), ("d", lambda: None)])
    assert [r["name"] for r in records] == ["a", "b", "c", "d"]
    assert records[0]["failure"] == "ZeroDivisionError: division by zero"
    assert records[1]["left_out"] == "it is not here"
    assert records[2]["figures"] == {"x": 1}
    assert set(records[3]) == {"name", "seconds"}


def test_what_there_is_no_time_for_is_left_out_by_name():
    done = []
    records = recorded([("a", lambda: done.append(1)), ("b", lambda: done.append(2))], time.monotonic() - 1)
    assert done == []
    assert [(r["name"], r["left_out"]) for r in records] == [("a", "no time was left"), ("b", "no time was left")]


def fake_process(monkeypatch, code):
    popen = groups.subprocess.Popen
    monkeypatch.setattr(groups.subprocess, "Popen", lambda c, **options: popen([sys.executable, "-c", code], **options))


def test_a_group_runs_in_a_process_of_its_own(monkeypatch):
    fake_process(monkeypatch, 'print("noise"); print(\'{"name": "a", "seconds": 1.5}\'); print("[1]")')
    records = []
    groups.run_in_process("any", [], records.append, time.monotonic() + 60)
    assert records == [{"name": "a", "seconds": 1.5}]


def test_a_process_that_dies_is_a_failure_after_what_it_had_found(monkeypatch):
    fake_process(
        monkeypatch,
        'import os; print(\'{"name": "a", "seconds": 1}\', flush=True); print("illegal address", flush=True); '
        "os.abort()",
    )
    records = []
    groups.run_in_process("any", [], records.append, time.monotonic() + 60)
    assert records[0]["name"] == "a"
    assert "ended with status -6" in records[1]["failure"]
    assert "illegal address" in records[1]["failure"]


def test_a_process_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(groups, "GRACE", 1.5)
    fake_process(monkeypatch, "import time; time.sleep(600)")
    records = []
    start = time.monotonic()
    groups.run_in_process("any", [], records.append, time.monotonic())
    assert time.monotonic() - start < 60
    assert "it hung" in records[0]["failure"]


@without_gpu
def test_without_a_gpu_it_says_so_and_gives_up(capsys):
    assert command.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"The CUDA target cannot run here: .+\.\n", said.err)
    records = []
    groups.run_in_process("contract", [], records.append, time.monotonic() + 60)
    assert "ended with status 2" in records[0]["failure"]
    assert "cannot run here" in records[0]["failure"]


def test_every_group_has_a_name_and_items():
    names = [*groups.checks(H100), *groups.timings()]
    assert len(set(names)) == len(names) == 6 + 8 + 5
    for name, items in {**groups.checks(H100), **groups.timings()}.items():
        first = next(iter(items("cpu")))
        assert isinstance(first[0], str), name
        assert callable(first[1]), name


def test_a_library_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    records = recorded(streams.streams("cupy"))
    assert len(records) == 4
    assert all("cupy is not installed" in r["left_out"] for r in records)


# ---------------------------------------------------------------- compute-sanitizer


def tool(folder, script):
    path = folder / "compute-sanitizer"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ('echo \'{"name": "a", "seconds": 1}\'', {"checked": 1}),
        ('echo "========= Invalid __global__ read"; exit 99', "ended with status 99: ========= Invalid"),
        ('echo \'{"name": "a", "seconds": 1, "failure": "off"}\'', "off"),
        ('echo \'{"name": "a", "seconds": 1, "left_out": "no time"}\'', "nothing was checked"),
    ],
)
def test_what_the_sanitizer_says(tmp_path, monkeypatch, script, outcome):
    tool(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (result,) = recorded(sanitizer.items("memcheck"))
    if isinstance(outcome, dict):
        assert result["figures"] == outcome
    else:
        assert outcome in result["failure"]


def test_the_sanitizer_is_looked_for_in_the_toolkit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setattr(sanitizer.Path, "glob", lambda self, pattern: iter(()))
    assert "left_out" in recorded(sanitizer.items("racecheck"))[0]
    (tmp_path / "cuda" / "bin").mkdir(parents=True)
    tool(tmp_path / "cuda" / "bin", "exit 0")
    assert sanitizer.find() == str(tmp_path / "cuda" / "bin" / "compute-sanitizer")


# ---------------------------------------------------------------- timing


def test_times_are_medians_of_rounds_in_turn(monkeypatch):
    events = importlib.import_module("cuda.bindings.driver")
    ok, clock, called = events.CUresult.CUDA_SUCCESS, [0.0], []
    times, made = {}, iter(range(10))

    def work(name, seconds):
        def call():
            called.append(name)
            clock[0] += seconds() if callable(seconds) else seconds

        return call

    for name, function in {
        "cuEventCreate": lambda flags: (ok, next(made)),
        "cuEventRecord": lambda event, stream: (times.__setitem__(event, clock[0]), (ok,))[1],
        "cuEventSynchronize": lambda event: (ok,),
        "cuEventElapsedTime": lambda start, stop: (ok, 1e3 * (times[stop] - times[start])),
    }.items():
        monkeypatch.setattr(events, name, function)
    slow_once = iter([0.01] * 5 + [0.5] + [0.01] * 50)
    seconds = timing.in_turn({"a": work("a", lambda: next(slow_once)), "b": work("b", 1e-4)}, 9)
    assert seconds == {"a": pytest.approx(0.01), "b": pytest.approx(1e-4)}
    rounds = "".join(called).replace("b" * 20, "B")
    assert rounds.endswith("aB" * 9)


# ---------------------------------------------------------------- what it writes


def timed(n, order, dtype, which, seconds, **more):
    figures = {"m": 100, "bytes": 4e9, "seconds": seconds, "off": {}, "left_out": {}, **more}
    return {
        "group": f"timings {dtype} {order}",
        "name": f"{n} {order} {dtype}, {which}",
        "seconds": 3.0,
        "figures": figures,
    }


def report(*records):
    return {
        "date": "2031-02-03",
        "device": {"name": "H1000", "multiprocessors": 999},
        "versions": {"numpy": "9.8"},
        "options": ["--quick"],
        "records": list(records),
    }


TIMED = [
    timed(
        28,
        "C",
        "float32",
        "ready",
        {"kernels": 2e-3, "forward": 1.8e-3, "copy": 1.9e-3, "two gemv": 4e-3, "public call": 2.5e-3},
    ),
    timed(
        28,
        "C",
        "float32",
        "compiled",
        {"kernels": 4e-3, "forward": 3e-3, "copy": 4e-3, "jax.jit": 12e-3},
        left_out={"torch.compile": "no triton"},
    ),
]
OTHERS = [
    {"group": "contract", "name": "NaN in X", "seconds": 1.0},
    {"group": "contract", "name": "no rows", "seconds": 1.0, "failure": "OffError: a | b"},
    {"group": "cupy", "name": "a stream", "seconds": 0.0, "left_out": "cupy is not installed"},
    {"group": "small", "name": "descent, 1000 x 20 float32", "seconds": 1.0, "figures": {"microseconds a step": 7.25}},
]


def cells(text, first):
    """The table in Markdown whose first heading is this: a dict for each row."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def test_the_page_has_every_figure():
    text = pages.page(report(*TIMED, *OTHERS))
    assert "Not yet run" not in text
    assert "`python -m jitlogreg.gpu_check --quick` on 2031-02-03" in text
    assert "5 checks and timings done, **1 failed**, 1 left out" in text
    assert "- contract: no rows: OffError: a | b" in text
    assert "- cupy: a stream: cupy is not installed" in text
    assert "- torch.compile: no triton" in text
    assert "numpy 9.8" in text
    assert {"device": "name", "": "H1000"} in cells(text, "device")
    (row,) = cells(text, "n")
    assert {
        key: row[key]
        for key in ("n", "dtype", "order", "GB/s", "of copy", "asked", "forward", "x gemv", "x jax", "call, ms")
    } == {
        "n": "28",
        "dtype": "float32",
        "order": "C",
        "GB/s": "2000",
        "of copy": "0.95",  # of the pass that is timed beside what is ready, as the ratio to JAX is of the other
        "asked": "0.90",
        "forward": "1.06",
        "x gemv": "2.00",
        "x jax": "3.00",
        "call, ms": "2.50",
    }
    assert row["x torch"] == ""
    assert row["predicted"] == f"{predictions.predicted(28, 'float32', 'C').share:.2f}"
    assert cells(text, "what") == [{"what": "descent, 1000 x 20 float32", "microseconds": "7.25 microseconds a step"}]
    assert {r["group"]: (r["done"], r["failed"], r["left out"]) for r in cells(text, "group")} == {
        "timings float32 C": ("2", "0", "0"),
        "contract": ("2", "1", "0"),
        "cupy": ("0", "0", "1"),
        "small": ("1", "0", "0"),
    }
    assert "## Predictions" in text


def test_the_page_of_a_run_that_found_nothing():
    text = pages.page(report())
    assert "No timing was made." in text
    assert pages.table(report()) == ["0 done, 0 failed, 0 left out"]


def test_the_table_is_compact():
    lines = pages.table(report(*TIMED, *OTHERS))
    assert lines[0].split()[:4] == ["n", "dtype", "order", "GB/s"]
    assert lines[1].split()[:5] == ["28", "float32", "C", "2000", "0.95"]
    assert lines[-1] == "5 done, 1 failed, 1 left out"


@pytest.fixture
def pretended(monkeypatch):
    """A GPU that there is not, and groups that find what they are told to."""
    monkeypatch.setattr(targets, "_reason_of_cuda", lambda: "")
    monkeypatch.setattr(jlr, "targets", lambda: {"cuda": targets.TargetInfo(True, "", "H1000")})
    monkeypatch.setattr(driver, "facts", lambda ordinal: H100)
    monkeypatch.setattr(machine, "device", lambda: {"name": "H1000"})
    found, asked = {}, []

    def run(name, options, emit, deadline):
        asked.append((name, options, deadline - time.monotonic()))
        for one in found.get(name, [{"name": "all", "seconds": 0.1}]):
            if isinstance(one, BaseException):
                raise one
            emit(one)

    monkeypatch.setattr(command.run_groups, "__defaults__", (run,))
    return SimpleNamespace(found=found, asked=asked)


def test_the_command_runs_every_group_and_writes_the_page(pretended, tmp_path, capsys):
    output = tmp_path / "new" / "gpu.md"
    assert command.main(["--output", str(output), "--quick", "--seconds", "100"]) == 0
    assert {name for name, _, _ in pretended.asked} == {*groups.checks(H100), *groups.timings()}
    assert all(options == ["--quick"] for _, options, _ in pretended.asked)
    # checks have half of the time, and the timings share what is left
    assert all(seconds <= 50 for name, _, seconds in pretended.asked if name in groups.checks(H100))
    assert [round(s) for name, _, s in pretended.asked if name in groups.timings()] == [20, 25, 33, 50, 100]
    said = capsys.readouterr().out
    assert "ok       contract: all" in said
    assert said.endswith(f"19 done, 0 failed, 0 left out\nwritten to {output}\n")
    assert "**0 failed**" in output.read_text(encoding="utf-8")


def test_a_failure_shows_in_the_exit_status_and_on_the_page(pretended, tmp_path, capsys):
    pretended.found["torch"] = [{"name": "stream", "seconds": 1, "failure": "OffError: dw"}]
    assert command.main(["--output", str(tmp_path / "gpu.md")]) == 1
    assert "- torch: stream: OffError: dw" in (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "FAILED   torch: stream  OffError: dw" in capsys.readouterr().out


def test_an_interrupted_run_leaves_what_it_found(pretended, tmp_path):
    pretended.found["small"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        command.main(["--output", str(tmp_path / "gpu.md")])
    assert "14 checks and timings done" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_one_group_prints_records(pretended, capsys, monkeypatch):
    monkeypatch.setattr(groups, "checks", lambda device, quick: {"one": lambda target: [(target, lambda: None)]})
    assert command.main(["--group", "one"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["name"] == "cuda"
    with pytest.raises(KeyError):
        command.main(["--group", "none"])


# ---------------------------------------------------------------- predictions


def test_the_page_in_docs_is_what_the_script_writes():
    """Once a GPU was had the page holds measurements, which nobody can make anew here."""
    written = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    if "**Not yet run on a GPU.**" not in written:
        assert "Written by `python -m jitlogreg.gpu_check" in written
        return
    rows = cells(written, "n")
    registers = {(int(row["n"]), row["dtype"], row["order"]): int(row["registers"]) for row in rows}
    assert written == pages.page(registers=registers), "python tools/gpu_predictions.py writes it anew"


def test_what_falls_short_is_said():
    for row in cells(pages.page(), "n"):
        short = float(row["of copy"]) < float(row["asked"])
        assert (row[""] == "falls short") == short, row


def test_predictions_follow_from_bytes_and_reads():
    for case in pages.CASES:
        p = predictions.predicted(*case)
        assert 0 < p.share <= 1
        assert p.needed == pytest.approx(3.35e12 / 132 * 700e-9)
        if p.regime == "panels":  # once from memory and once from the cache
            assert p.share < 1 / (1 + predictions.COPY * 3.35 / 5.5)
    # half of the bandwidth asks for half of the bytes in flight
    slow = predictions.Machine("slow", 3.35e12 / 2, 5.5e12)
    for case in pages.CASES:
        assert predictions.predicted(*case, machine=slow).share >= predictions.predicted(*case).share
    assert predictions.step_of_descent(1000, 20, "float32") < predictions.step_of_descent(100_000, 28, "float32")


def test_measurements_are_not_overwritten_by_predictions(tmp_path, monkeypatch):
    script = importlib.import_module("gpu_predictions")
    monkeypatch.setattr(script, "registers", lambda: dict.fromkeys(pages.CASES, 99))
    script.main(["--output", str(tmp_path / "gpu.md")])
    script.main(["--output", str(tmp_path / "gpu.md")])
    assert {row["registers"] for row in cells((tmp_path / "gpu.md").read_text(encoding="utf-8"), "n")} == {"99"}
    (tmp_path / "gpu.md").write_text(pages.page(report(*TIMED)), encoding="utf-8")
    with contextlib.suppress(OSError), pytest.raises(SystemExit, match="measurements"):
        script.main(["--output", str(tmp_path / "gpu.md")])

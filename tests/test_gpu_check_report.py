"""The check on a GPU, without one: that no failure stops it, what it times, and what it writes."""

import contextlib
import importlib
import json
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpu import check, groups, machine, predicted_page, predictions, record, sanitizer, streams, timing
from gpu import page as pages

import jitlogreg as jlr

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
targets = importlib.import_module("jitlogreg.targets.dispatch")
driver = importlib.import_module("jitlogreg.targets.cuda.driver")

ROOT = Path(__file__).parent.parent
H100 = predictions.h100()
without_gpu = pytest.mark.skipif(jlr.targets()["cuda"].available, reason="there is a GPU here")


def recorded(items, deadline=float("inf")):
    records = []
    record.run(items, records.append, deadline)
    return records


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
    groups.run_in_process("any", [], records.append, time.monotonic() + 3600)
    assert records == [{"name": "a", "seconds": 1.5}]


def test_a_process_that_dies_is_a_failure_after_what_it_had_found(monkeypatch):
    fake_process(
        monkeypatch,
        'import os; print(\'{"name": "a", "seconds": 1}\', flush=True); print("illegal address", flush=True); '
        "os.abort()",
    )
    records = []
    groups.run_in_process("any", [], records.append, time.monotonic() + 3600)
    assert records[0]["name"] == "a"
    assert "ended with status -6" in records[1]["failure"]
    assert "illegal address" in records[1]["failure"]


def test_a_process_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(groups, "GRACE", 1.5)
    fake_process(monkeypatch, "import time; time.sleep(600)")  # to whose end it would be no failure
    records = []
    groups.run_in_process("any", [], records.append, time.monotonic())
    assert "it hung" in records[0]["failure"]


@without_gpu
def test_without_a_gpu_it_says_so_and_gives_up(capsys):
    assert check.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"The CUDA target cannot run here: .+\.\n", said.err)
    records = []
    groups.run_in_process("contract", [], records.append, time.monotonic() + 3600)
    assert "ended with status 2" in records[0]["failure"]
    assert "cannot run here" in records[0]["failure"]


def test_every_group_has_a_name_and_items():
    names = [*groups.checks(H100), *groups.timings()]
    assert len(set(names)) == len(names) == 6 + 8 + 3 + 5
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
        {
            "kernels": 2e-3,
            "forward": 1.8e-3,
            "hessian_vector": 2.5e-3,
            "copy": 1.9e-3,
            "two gemv": 4e-3,
            "public call": 2.5e-3,
        },
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
    assert "`python tools/gpu/check.py --quick` on 2031-02-03" in text
    assert "5 checks and timings done, **1 failed**, 1 left out" in text
    assert "- contract: no rows: OffError: a | b" in text
    assert "- cupy: a stream: cupy is not installed" in text
    assert "- torch.compile: no triton" in text
    assert "numpy 9.8" in text
    assert {"device": "name", "": "H1000"} in cells(text, "device")
    (row,) = cells(text, "n")
    assert {
        key: row[key]
        for key in ("n", "dtype", "order", "GB/s", "of copy", "asked", "forward", "H v", "x gemv", "x jax", "call, ms")
    } == {
        "n": "28",
        "dtype": "float32",
        "order": "C",
        "GB/s": "2000",
        "of copy": "0.95",  # of the pass that is timed beside what is ready, as the ratio to JAX is of the other
        "asked": "0.90",
        "forward": "1.06",
        "H v": "0.76",
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
    monkeypatch.setattr(driver, "device_properties", lambda ordinal: H100)
    monkeypatch.setattr(machine, "device", lambda: {"name": "H1000"})
    found, asked = {}, []

    def run(name, options, emit, deadline):
        asked.append((name, options, deadline - time.monotonic()))
        for one in found.get(name, [{"name": "all", "seconds": 0.1}]):
            if isinstance(one, BaseException):
                raise one
            emit(one)

    monkeypatch.setattr(check.run_groups, "__defaults__", (run,))
    return SimpleNamespace(found=found, asked=asked)


def test_the_command_runs_every_group_and_writes_the_page(pretended, tmp_path, capsys):
    output = tmp_path / "new" / "gpu.md"
    assert check.main(["--output", str(output), "--quick", "--seconds", "100"]) == 0
    assert {name for name, _, _ in pretended.asked} == {*groups.checks(H100), *groups.timings()}
    assert all(options == ["--quick"] for _, options, _ in pretended.asked)
    # checks have half of the time, and the timings share what is left
    assert all(seconds <= 50 for name, _, seconds in pretended.asked if name in groups.checks(H100))
    assert [round(s) for name, _, s in pretended.asked if name in groups.timings()] == [20, 25, 33, 50, 100]
    said = capsys.readouterr().out
    assert "ok       contract: all" in said
    assert said.endswith(f"22 done, 0 failed, 0 left out\nwritten to {output}\n")
    assert "**0 failed**" in output.read_text(encoding="utf-8")


def test_a_failure_shows_in_the_exit_status_and_on_the_page(pretended, tmp_path, capsys):
    pretended.found["torch"] = [{"name": "stream", "seconds": 1, "failure": "OffError: dw"}]
    assert check.main(["--output", str(tmp_path / "gpu.md")]) == 1
    assert "- torch: stream: OffError: dw" in (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "FAILED   torch: stream  OffError: dw" in capsys.readouterr().out


def test_an_interrupted_run_leaves_what_it_found(pretended, tmp_path):
    pretended.found["small"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        check.main(["--output", str(tmp_path / "gpu.md")])
    assert "17 checks and timings done" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_one_group_prints_records(pretended, capsys, monkeypatch):
    monkeypatch.setattr(groups, "checks", lambda device, quick: {"one": lambda target: [(target, lambda: None)]})
    assert check.main(["--group", "one"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["name"] == "cuda"
    with pytest.raises(KeyError):
        check.main(["--group", "none"])


# ---------------------------------------------------------------- predictions


def test_the_page_in_docs_is_what_the_script_writes():
    """Once a GPU was had the page holds measurements, which nobody can make anew here."""
    written = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    if "**Not yet run on a GPU.**" not in written:
        assert "Written by `python tools/gpu/check.py" in written
        return
    rows = cells(written, "n")
    registers = {(int(row["n"]), row["dtype"], row["order"]): int(row["registers"]) for row in rows}
    assert written == pages.page(registers=registers), "python tools/gpu/predicted_page.py writes it anew"


def test_what_falls_short_is_said():
    for row in cells(pages.page(), "n"):
        short = float(row["of copy"]) < float(row["asked"])
        assert (row[""] == "falls short") == short, row


def test_predictions_follow_from_bytes_and_reads():
    for case in pages.CASES:
        p = predictions.predicted(*case)
        assert 0 < p.share <= 1
        assert p.needed == pytest.approx(3.35e12 / 132 * 700e-9)
        if p.regime == "l2_panels":  # once from memory and once from the cache
            assert p.share < 1 / (1 + predictions.COPY * 3.35 / 5.5)
    # half of the bandwidth asks for half of the bytes in flight
    slow = predictions.Machine("slow", 3.35e12 / 2, 5.5e12)
    for case in pages.CASES:
        assert predictions.predicted(*case, machine=slow).share >= predictions.predicted(*case).share
    assert predictions.step_of_descent(1000, 20, "float32") < predictions.step_of_descent(100_000, 28, "float32")


def test_measurements_are_not_overwritten_by_predictions(tmp_path, monkeypatch):
    monkeypatch.setattr(predicted_page, "registers", lambda: dict.fromkeys(pages.CASES, 99))
    predicted_page.main(["--output", str(tmp_path / "gpu.md")])
    predicted_page.main(["--output", str(tmp_path / "gpu.md")])
    assert {row["registers"] for row in cells((tmp_path / "gpu.md").read_text(encoding="utf-8"), "n")} == {"99"}
    (tmp_path / "gpu.md").write_text(pages.page(report(*TIMED)), encoding="utf-8")
    with contextlib.suppress(OSError), pytest.raises(SystemExit, match="measurements"):
        predicted_page.main(["--output", str(tmp_path / "gpu.md")])

"""tools/performance/compare.py: what it says of two commits, and by which exit status."""

import json
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from test_tools import ROOT, TOOLS, load

import jitlogreg as jlr

# Answers as tools/performance/compare_worker.py does; what it answers stands in its folder: seconds, or what goes wrong
FAKE_WORKER = """
import json, os, pathlib, sys, time
says = json.loads(pathlib.Path("says.json").read_text())
for line in sys.stdin:
    action, *name = json.loads(line)
    if action == "describe":
        value = {"value": {n: {"samples": 3, "launches": None, "factor": None} for n in says}}
    elif action == "setup":
        ready = says[name[0]]
        if ready == "dies":
            sys.exit(3)
        if ready == "hangs":
            pathlib.Path(f"{os.getpid()} hangs").touch()
            time.sleep(600)
        value = {"error": ready, "trace": ""} if isinstance(ready, str) else {"value": ready is not None}
        now = ready
    else:
        value = {"value": now}
    print(json.dumps(value), flush=True)
"""


@pytest.fixture
def compare(monkeypatch, tmp_path):
    tool = load("compare")
    (tmp_path / "worker.py").write_text(FAKE_WORKER)
    monkeypatch.setattr(tool, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(tool, "install", lambda repository, commit, cache: tmp_path / commit)
    return tool


def run(compare, capsys, folder, base, head, *more):
    for name, says in (("base", base), ("head", head)):
        (folder / name).mkdir()
        (folder / name / "says.json").write_text(json.dumps(says))
    status = compare.main(["base", "head", "--all", *more])
    return status, capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("head", "status", "line"),
    [
        ({"a": 1.0, "b": 2.0}, 0, "no difference: 2 benchmarks"),
        ({"a": 1.09, "b": 2.0}, 0, "no difference: 2 benchmarks"),
        ({"a": 1.0, "b": 3.0}, 1, "slower: 1 of 2, b by a factor of 1.5"),
        ({"a": 2.0, "b": 3.0}, 1, "slower: 2 of 2, a by a factor of 2"),
        ({"a": 0.5, "b": 3.0}, 1, "slower: 1 of 2, b by a factor of 1.5; faster: 1"),
        ({"a": 0.5, "b": 2.0}, 3, "faster: 1 of 2, a by a factor of 2"),
        (
            {"a": "AssertionError: off", "b": 2.0},
            2,
            "could not be measured: 1 of 2 failed, a: head: AssertionError: off",
        ),
        ({"a": "dies", "b": 2.0}, 2, "could not be measured: 1 of 2 failed, a: head: the process ended with status 3"),
        ({"a": None, "b": 2.0}, 2, "could not be measured: 1 of 2 failed, a: it runs with the base, and is not *"),
        ({"a": "E: off", "b": 3.0}, 2, "could not be measured: 1 of 2 failed, a: head: E: off; slower: 1"),
    ],
)
def test_one_line_and_the_exit_status_say_it(compare, capsys, tmp_path, head, status, line):
    found, said = run(compare, capsys, tmp_path, {"a": 1.0, "b": 2.0}, head)
    assert (found, said[: len(line.rstrip("*"))]) == (status, line.rstrip("*"))
    assert line.endswith("*") or said == line


def test_who_hangs_is_not_waited_for(compare, capsys, tmp_path, monkeypatch):
    class Timer(threading.Timer):
        """Counts from when the worker hangs: on a busy machine it takes any time to start."""

        def run(self):
            hangs = tmp_path / "head" / f"{self.function.__self__.pid} hangs"
            while not (hangs.exists() or self.finished.wait(0.01)):
                pass
            super().run()

    monkeypatch.setattr(compare.threading, "Timer", Timer)
    monkeypatch.setattr(compare, "PATIENCE", 0.5)
    status, line = run(compare, capsys, tmp_path, {"a": 1.0}, {"a": "hangs"})
    assert (status, line) == (2, "could not be measured: 1 of 1 failed, a: head: the process ended with status -9")


def test_what_the_base_lacks_is_no_matter(compare, capsys, tmp_path):
    assert (
        run(compare, capsys, tmp_path, {"a": None, "b": 2.0}, {"a": 9.0, "b": 2.0})[1] == "no difference: 1 benchmarks"
    )


def test_nothing_in_common_is_no_measurement(compare, capsys, tmp_path):
    assert run(compare, capsys, tmp_path, {"a": None}, {"a": 9.0})[0] == compare.NOT_MEASURED


def test_nothing_selected_is_no_measurement(compare, capsys, tmp_path):
    status, line = run(compare, capsys, tmp_path, {"a": 1.0}, {"a": 1.0}, "--only", "nothing")
    assert (status, line) == (2, "could not be measured: no benchmark matches 'nothing'")


def test_the_factor_is_the_callers(compare, capsys, tmp_path):
    assert run(compare, capsys, tmp_path, {"a": 1.0}, {"a": 1.5}, "--factor", "1.6")[0] == compare.NO_DIFFERENCE


def test_all_launches_must_agree_and_a_second_look_too(compare):
    assert [compare.changed(r, 1.1) for r in ([1.2, 1.3, 1.06], [1.2, 1.3, 1.0], [1.08, 1.09, 1.5])] == [1, 0, 0]
    assert [compare.changed(r, 1.1) for r in ([0.8, 0.9, 0.94], [0.8, 0.9, 1.0])] == [-1, 0]
    first = [1.2, 1.3, 1.2]
    cases = {"yes": (first, [1.2, 1.15, 1.3]), "no": (first, [1.0, 1.2, 1.3]), "other": (first, [0.5] * 3)}
    found = compare.directions(cases, dict.fromkeys(cases, 1.1), {})
    assert found == {"yes": 1, "no": 0, "other": 0}
    assert compare.directions({"never confirmed": (first, [])}, {"never confirmed": 1.1}, {}) == {"never confirmed": 0}


def test_samples_are_taken_in_turn(compare):
    order = []

    class Asked:
        def __init__(self, name):
            self.name = name

        def ask(self, word):
            order.append(self.name)
            return {"base": 2.0, "head": 3.0}[self.name]

    assert compare.in_turn(Asked("base"), Asked("head"), 3, 0) == 1.5
    assert order == ["base", "head", "head", "base", "base", "head"]


def test_what_does_not_build_is_told_from_slower(monkeypatch, tmp_path, capsys):
    compare = load("compare")
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        (tmp_path / "pyproject.toml").write_text("this is no toml")
        compare.git(tmp_path, *words)
    where = ["--repository", str(tmp_path)]
    assert compare.main(["HEAD", *where]) == compare.NOT_MEASURED
    assert capsys.readouterr().out.splitlines()[-1] == "could not be measured: HEAD cannot be built"
    assert compare.main(["nowhere", *where]) == compare.NOT_MEASURED
    assert "has no commit nowhere" in capsys.readouterr().out


def test_an_accident_is_no_slowness():
    command = [sys.executable, str(TOOLS / "compare.py"), "HEAD", "--only", "("]  # no regular expression
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "could not be measured" in done.stdout


# ---------------------------------------------------------------- the real benchmarks


@pytest.fixture
def suite(monkeypatch):
    """The modules of asv_benchmarks, imported as asv does."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # what importing them sets is taken back
    monkeypatch.syspath_prepend(str(ROOT / "asv_benchmarks"))
    worker = load("compare_worker")
    names = {name: kind for name, kind, _, _ in worker.cases()}
    yield SimpleNamespace(names=names, cases=sys.modules["benchmarks.cases"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_the_selection_has_what_it_is_for(suite):
    chosen = [name for name in suite.names if re.search(load("compare").NARROW, name)]
    assert len(chosen) == 15
    for part in ("LossAndGradient", "Forward", "Memory", "OtherThreads", "Import", "FirstCall.track_compiled"):
        assert any(part in name for name in chosen), part
    assert len(suite.names) == 7 * 48 + 5 * 2 + 1 + 6 * 2 + 1 + 2 * 4


@pytest.mark.parametrize("operation", ["forward", "loss", "gradient", "loss_and_gradient", "gradient_descent"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_benchmark_checks_the_answer_first(suite, monkeypatch, operation, dtype):
    cases = suite.cases
    data = cases.example((2 * cases.TILE, 3), dtype, "F")
    cases.checked_call(operation, "cpu", data)()
    right = getattr(jlr, operation)

    def half(X, *arrays, target, **options):  # fast, and wrong
        if target == "reference" or operation == "forward":
            result = right(X, *arrays, target=target, **options)
            return result if target == "reference" else result * np.float32(1 - 1e-3)
        arrays = [a[: len(X) // 2] if np.shape(a) == (len(X),) else a for a in arrays]
        return right(X[: len(X) // 2], *arrays, target=target, **options)

    monkeypatch.setattr(jlr, operation, half)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        cases.checked_call(operation, "cpu", data)


def test_what_a_commit_lacks_is_not_applicable(suite, monkeypatch):
    data = suite.cases.example((16, 3), "float64", "C")
    monkeypatch.delattr(jlr, "gradient_descent")
    monkeypatch.delattr(jlr, "Objective", raising=False)
    for operation in ("gradient_descent", "hessian_vector"):
        with pytest.raises(NotImplementedError, match="this commit has no"):
            suite.cases.checked_call(operation, "cpu", data)


def test_without_a_gpu_cuda_is_not_applicable(suite, monkeypatch):
    data = suite.cases.example((16, 3), "float64", "C")
    monkeypatch.setattr(suite.cases.ctypes, "CDLL", lambda name: None)  # a driver
    monkeypatch.setattr(jlr, "targets", lambda: {"cuda": SimpleNamespace(available=False, reason="none of it")})
    with pytest.raises(NotImplementedError, match="none of it"):
        suite.cases.checked_call("loss", "cuda-copied", data)


@pytest.mark.slow
def test_a_commit_is_as_fast_as_itself(capsys):
    compare = load("compare")
    status = compare.main(
        ["HEAD", "HEAD", "--only", r"LossAndGradient.*'cpu', 'float64', 'C', \(128|Memory.track.*'loss'"]
    )
    assert (status, capsys.readouterr().out.splitlines()[-1]) == (compare.NO_DIFFERENCE, "no difference: 3 benchmarks")


# ---------------------------------------------------------------- plants.py, history.py


@pytest.fixture
def plants():
    return load("plants")


def test_everything_can_still_be_planted(plants):
    names = [name for name, _, _ in plants.changes()]
    assert len(set(names)) == len(names) == 9 + 5 + 5
    for _, _, edits in plants.changes():
        texts = {}
        for file, old, new in edits:
            before = texts.get(file) or (ROOT / file).read_text(encoding="utf-8")
            texts[file] = plants.edited(before, old, new)
            assert texts[file] != before
        for file, text in texts.items():
            compile(text, file, "exec")
    with pytest.raises(SystemExit, match="behind"):
        plants.edited("this", "that", "")


def test_a_plant_is_a_commit_of_its_own(plants, tmp_path):
    git = plants.compare.git
    (tmp_path / "a.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    base = git(tmp_path, "rev-parse", "HEAD", text=True).strip()
    planted = plants.plant(tmp_path, base, [("a.py", "1", "2")])
    assert (git(tmp_path, "show", f"{planted}:a.py"), git(tmp_path, "rev-parse", f"{planted}^").decode().strip()) == (
        b"x = 2\n",
        base,
    )
    assert plants.plant(tmp_path, base, []) == base


def test_the_page_shows_what_was_found(plants):
    kept = json.loads(plants.RESULTS.read_text(encoding="utf-8"))
    text = plants.PAGE.read_text(encoding="utf-8")
    assert plants.replaced(text, plants.PLACE, plants.page(kept)) == text
    found = {
        "status": 1,
        "slower": ["a", "b"],
        "faster": [],
        "ratio": {"a": 1.2, "b": 2.345},
        "seconds": 9.6,
        "load": 3,
    }
    other = found | {"status": 0, "slower": []}
    some = kept | {"found": {"a scalar exp": found, "a copy of y": other, "comments in kernels": other}}
    page = plants.page(some)
    assert "1 of 2 regressions reported; 1 of 1 innocent changes passed." in page
    assert "| a scalar exp | slower | 2 | `b` | 2.35 | 10 | 3 |" in page
    assert "| a copy of y | no difference | 0 |  |  | 10 | 3 |" in page


@pytest.fixture
def history(monkeypatch, tmp_path):
    tool = load("history")
    monkeypatch.setattr(tool.pictures, "PICTURES", tmp_path)
    monkeypatch.setattr(tool, "FIGURES", tmp_path)
    return tool


def test_history_is_drawn_from_what_asv_kept(history, tmp_path):
    git = ["git", "-C", str(ROOT), "rev-list", "-3", "--topo-order", "HEAD"]
    newest, middle, oldest = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    machine = tmp_path / "results" / "here"
    machine.mkdir(parents=True)
    (machine / "machine.json").write_text("{}")
    columns = ["result", "params", "version"]
    for commit, numbers in ((newest, [4.0, None]), (oldest, [1.0, 2.0]), (middle, [3.0, float("nan")])):
        row = [numbers, [["'cpu'"], ["'C'", "'F'"]], "v"]
        kept = {"commit_hash": commit, "result_columns": columns, "results": {"A.time_b": row}}
        (machine / f"{commit[:8]}-env.json").write_text(json.dumps(kept))
    history.main(["--results", str(tmp_path / "results")])
    kept = json.loads((tmp_path / "history.json").read_text())
    assert kept["commits"] == [commit[:8] for commit in (oldest, middle, newest)]
    assert kept["lines"] == {"A.time_b('cpu', 'C')": [1.0, 3.0, 4.0], "A.time_b('cpu', 'F')": [2.0, None, None]}
    assert b"<svg" in (tmp_path / "history.svg").read_bytes()
    (tmp_path / "history.svg").unlink()
    history.main(["--from", str(tmp_path / "history.json")])
    assert (tmp_path / "history.svg").exists()


def test_no_results_no_picture(history, tmp_path):
    with pytest.raises(SystemExit, match="has no results"):
        history.main(["--results", str(tmp_path)])

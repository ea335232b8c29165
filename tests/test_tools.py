"""The scripts that measure for the docs."""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accuracy import softmax
from pages import replaced

import jitlogreg as jlr
from jitlogreg.cli.errors import WrongAnswerError
from jitlogreg.targets.cpu import profile

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools" / "performance"


def load(name):
    """A script of its own, whatever a test puts into it."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- peer_table.py


@pytest.fixture
def tool(monkeypatch, tmp_path):
    tool = load("peer_table")
    for name, marker in (("PAGE", tool.MARKER), ("READS_PAGE", tool.READS_MARKER)):
        path = tmp_path / f"{name}.md"
        marked = f"<!-- {marker} -->\nold\n<!-- end of {marker} -->"
        path.write_text(f"# before\n\n{marked}\n\nafter\n", encoding="utf-8")
        monkeypatch.setattr(tool, name, path)
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "performance")
    tool.RESULTS.mkdir()
    return tool


def results(**changes):
    def row(implementation, seconds, times_ours, remark=""):
        return {
            "operation": "loss_and_gradient",
            "shape": [1000, 20],
            "dtype": "float64",
            "order": "F",
            "implementation": implementation,
            "seconds": seconds,
            "gb_per_s": 0.16 / seconds / 1e3,
            "percent_of_limit": 0.2 / seconds / 1e3,
            "speedup": 1.0,
            "times_ours": times_ours,
            "remark": remark,
        }

    machine = {"cpu": "znver4", "threads": 2, "system": "Linux x86_64", "load": 0.1}
    rows = [row("limit", 2e-6, 0.5), row("NumPy", 5e-5, 12.34), row("cpu", 4e-6, 1.0), row("JAX", 1e-4, 250.2, "off")]
    return {
        "date": "2031-02-03",
        "rounds": 7,
        "machine": machine,
        "versions": {"numpy": "9.8", "jax": "7.6"},
        "left_out": ["oneDAL"],
        "rows": rows,
    } | changes


def test_the_table_is_written_between_the_markers(tool):
    (tool.RESULTS / "znver4.json").write_text(json.dumps(results()))
    tool.main(["--write"])
    written = tool.PAGE.read_text(encoding="utf-8")
    before, _, rest = written.partition(f"<!-- {tool.MARKER} -->")
    between, _, after = rest.partition(f"<!-- end of {tool.MARKER} -->")
    assert (before, after) == ("# before\n\n", "\n\nafter\n")
    assert "old" not in between
    lines = between.strip().splitlines()
    assert lines[0] == "### znver4, 2 threads"
    assert lines[2] == (
        "Of 1 cells 0 are below 1.0 x their best peer; the smallest is 1000 x 20, F, float64: 12.34 x NumPy."
    )
    lines = lines[4:]
    heads, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], lines[2]))
    assert dict(zip(heads, cells, strict=True)) == {
        "X": "1000 x 20",
        "order": "F",
        "dtype": "float64",
        "ms": "0.00400",
        "GB/s": "40.0",
        "limit, GB/s": "80.0",
        "% of limit": "50",
        "x NumPy": "12.3",
        "x scikit-learn": "",
        "x PyTorch": "",
        "x JAX": "250*",
        "x oneDAL": "",
    }
    for words in (
        "2031-02-03",
        "znver4",
        "numpy 9.8, jax 7.6",
        "7 rounds",
        "Not installed there: oneDAL.",
        "\\* JAX, ",
    ):
        assert words in between
    assert "load" not in between
    tool.main(["--write"])
    assert tool.PAGE.read_text(encoding="utf-8") == written


def test_reads_of_large_x_by_machine(tool, monkeypatch):
    monkeypatch.setattr(tool, "READS", [[1000, 20]])
    in_c_order = [row | {"order": "C"} for row in results()["rows"]]
    in_c_order[2] |= {"percent_of_limit": 40.0}
    lines = tool.reads_text([results(rows=in_c_order), results()]).splitlines()
    assert lines[0] == "| X | dtype | CPU | jitlogreg | oneDAL | NumPy | scikit-learn | PyTorch | JAX |"
    assert [cell.strip() for cell in lines[2].split("|")[1:6]] == ["1000 x 20", "float64", "znver4", "2.5", ""]
    assert len(lines) == 3


def test_what_was_busy_is_told(tool):
    assert "The load was 1.5 before" in tool.table(results(machine=results()["machine"] | {"load": 1.5}))
    assert "The load" not in tool.table(results(machine=results()["machine"] | {"load": None}))


def test_a_page_without_markers_is_left_alone(tool):
    page = tool.PAGE
    page.write_text("# nothing\n")
    (tool.RESULTS / "znver4.json").write_text(json.dumps(results()))
    with pytest.raises(SystemExit, match="performance: peers"):
        tool.main(["--write"])
    assert page.read_text() == "# nothing\n"


def test_shapes_are_measured_by_bench_and_put_together(tool, monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        busy = results()["machine"] | {"load": 0.9 if len(commands) == 2 else 0.2}
        return SimpleNamespace(stdout=json.dumps(results(machine=busy) | {"dot": []}))

    monkeypatch.setattr(tool.subprocess, "run", run)
    tool.main(["--shapes", "5x4", "6x3:C,F", "--rounds", "2"])
    kept = json.loads((tool.RESULTS / "znver4.json").read_text())
    assert len(kept["rows"]) == 8
    assert kept["machine"]["load"] == 0.2
    assert [command[-6:] for command in commands] == [
        ["--shapes", "5x4", "--order", "C", "--rounds", "2"],
        ["--shapes", "6x3", "--order", "C,F", "--rounds", "2"],
    ]
    assert "| 1000 x 20 | F |" in tool.PAGE.read_text(encoding="utf-8")


def test_a_cell_close_to_its_best_peer_is_measured_again(tool, monkeypatch):
    factors, commands = iter((1.02, 1.06)), []

    def run(command, **options):
        commands.append(command)
        found = results()
        found["rows"][1]["times_ours"] = next(factors)
        return SimpleNamespace(stdout=json.dumps(found | {"dot": []}))

    monkeypatch.setattr(tool.subprocess, "run", run)
    tool.main(["--shapes", "1000x20:F", "--rounds", "2"])
    assert commands[1][-8:] == ["--dtype", "float64", "--shapes", "1000x20", "--order", "F", "--rounds", "2"]
    kept = json.loads((tool.RESULTS / "znver4.json").read_text())
    assert kept["rows"][1]["times_ours"] == pytest.approx(1.04)


def test_shapes_that_are_named_take_the_places_of_the_kept_ones(tool, monkeypatch):
    other = [row | {"shape": [9, 9]} for row in results()["rows"]]
    (tool.RESULTS / "znver4.json").write_text(json.dumps(results(rows=other + results()["rows"])))
    fresh = [row | {"seconds": 2 * row["seconds"]} for row in results()["rows"]]
    monkeypatch.setattr(
        tool.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=json.dumps(results(rows=fresh) | {"dot": []}))
    )
    tool.main(["--shapes", "1000x20:F", "--rounds", "2"])
    assert json.loads((tool.RESULTS / "znver4.json").read_text())["rows"] == other + fresh
    for row in fresh:
        row["shape"] = [7, 7]
    tool.main(["--shapes", "7x7:F", "--rounds", "2"])
    assert len(json.loads((tool.RESULTS / "znver4.json").read_text())["rows"]) == 12


def test_the_real_command_measures(tool):
    tool.main(["--shapes", "9x2", "--rounds", "1"])
    (kept,) = (json.loads(path.read_text()) for path in tool.RESULTS.iterdir())
    names = {row["implementation"] for row in kept["rows"]}
    assert {"limit", "NumPy", "cpu", "scikit-learn"} <= names
    assert kept["rounds"] == 1
    assert set(kept["left_out"]) | names >= set(tool.OTHERS)


def test_the_pages_show_the_kept_figures():
    tool = load("peer_table")
    machines = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tool.RESULTS.glob("*.json"))]
    for path, marker, text in (
        (tool.PAGE, tool.MARKER, tool.text(machines)),
        (tool.READS_PAGE, tool.READS_MARKER, tool.reads_text(machines)),
    ):
        page = path.read_text(encoding="utf-8")
        assert tool.replaced(page, marker, text) == page


# ---------------------------------------------------------------- profile_table.py


@pytest.fixture
def profiles(monkeypatch, tmp_path):
    tool = load("profile_table")
    monkeypatch.setattr(tool, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tool, "RESULTS", tmp_path)
    tool.PAGE.write_text("before\n<!-- profiles: measured -->\nold\n<!-- end of profiles: measured -->\nafter\n")
    return tool


def test_the_table_of_profiles_tells_where_the_default_is_worst(profiles):
    shares = {"znver5": 0.5, "znver4": 0.8, "cascadelake": 0.4, "default": 0.6}
    rows = [
        {"operation": operation, "shape": [9, 2], "order": "C", "dtype": "float64", "shares": shares}
        for operation in ("loss_and_gradient", "forward")
    ]
    found = {"date": "2031-02-03", "rounds": 3, "machine": {"cpu": "z80", "threads": 2}, "rows": rows}
    (profiles.RESULTS / "z80.json").write_text(json.dumps(found))
    profiles.main(["--write"])
    written = profiles.PAGE.read_text()
    assert "| 9 x 2 | C | float64 | 0.50 / 0.50 | 0.80 / 0.80 | 0.40 / 0.40 | 0.60 / 0.60 |" in written
    assert "best profile's speed: 0.75 (loss_and_gradient, 9 x 2, C, float64)" in written
    assert "old" not in written


def test_profiles_are_measured_once_their_bits_are_equal(profiles, monkeypatch):
    numbers = np.arange(64.0) % 5 - 2
    before = profile.current()
    rows = profiles.measured(numbers, 8, 8, "F", rounds=1)
    assert [row["operation"] for row in rows] == ["loss_and_gradient", "forward"]
    assert all(set(row["shares"]) == set(profile.SHIPPED) for row in rows)
    monkeypatch.setattr(profiles, "bits", lambda result: object())
    with pytest.raises(SystemExit, match="a profile changes the bits"):
        profiles.measured(numbers, 8, 8, "F", rounds=1)
    profile.use(before)


def test_the_page_shows_the_kept_profiles():
    tool = load("profile_table")
    page = tool.PAGE.read_text(encoding="utf-8")
    for path in tool.RESULTS.glob("*.json"):
        assert tool.table(json.loads(path.read_text(encoding="utf-8"))) in page


# ---------------------------------------------------------------- sweep.py


@pytest.fixture
def sweep(monkeypatch, tmp_path):
    sweep = load("sweep")
    monkeypatch.setattr(sweep.pictures, "PICTURES", tmp_path)
    monkeypatch.setattr(sweep, "FIGURES", tmp_path)
    monkeypatch.setattr(sweep, "DRAWN", 2**10)
    return sweep


def test_a_quick_sweep_measures_and_draws(sweep, tmp_path):
    sweep.main(["--quick", "--size", "0.02", "--rounds", "1"])
    kept = json.loads((tmp_path / "sweep.json").read_text())
    cases = {(row["sweep"], row["dtype"], row["order"], *row["shape"]) for row in kept["rows"]}
    assert len(cases) == len(kept["rows"]) == 4 * 8
    assert {row["shape"][1] for row in kept["rows"] if row["sweep"] == "columns"} == {1, 2, 3, 8, 9}
    for row in kept["rows"]:
        assert row["percent_of_limit"] > 0
        assert row["seconds"] > 0
        if row["sweep"] == "columns":
            assert 0.9 * 0.02 * 2**20 < sweep.nbytes(row) <= 0.02 * 2**20
    first = (tmp_path / "sweep.svg").read_bytes()
    assert b"<svg" in first
    (tmp_path / "sweep.svg").unlink()
    sweep.main(["--from", str(tmp_path / "sweep.json")])
    assert (tmp_path / "sweep.svg").read_bytes() == first


def test_the_full_sweep_goes_through_columns_and_sizes(sweep):
    shapes = sweep.shapes_by_columns(2**26, False)(8)
    columns = [n for _, n in shapes]
    assert columns[:64] == list(range(1, 65))
    assert columns[64:67] == [127, 128, 129]
    assert columns[-3:] == [4095, 4096, 4097]
    assert all(2**26 - 8 * n < 8 * m * n <= 2**26 for m, n in shapes)
    sizes = [4 * m * n for m, n in sweep.shapes_by_size(False)(4)]
    assert sizes == sorted(set(sizes))
    assert 16_000 < sizes[0] <= 2**14
    assert 2**31 - 4 * 28 < sizes[-1] <= 2**31


def test_the_sweep_takes_the_faster_read(sweep, monkeypatch):
    monkeypatch.setattr(sweep, "in_turn", lambda calls, rounds, wait: np.array([[1.0, 9, 4], [3, 2, 5], [2, 8, 4]]))
    X, y, w = sweep.example(np.ones(12), np.ones(4), 4, 3, "F")
    row = sweep.row("size", X, y, w, "F", 3)
    assert (row["seconds"], row["percent_of_limit"]) == (4, 50)
    assert row["limit_gb_per_s"] == pytest.approx((12 + 4 + 3) * 8 / 2 / 1e9)


@pytest.mark.parametrize("wrong", [32, 1000])  # the rows that the reference checks; all
def test_the_sweep_checks_what_it_times(sweep, monkeypatch, wrong):
    monkeypatch.setattr(sweep, "CHECKED", 2**10)
    right = sweep.evaluate
    numbers = np.random.default_rng(0).standard_normal(4000)
    X, y, w = sweep.example(numbers, np.ones(1000), 1000, 4, "C")
    sweep.check(X, y, w, "C")

    def evaluate(rows, labels, weights):
        loss, dw, db = right(rows, labels, weights)
        return loss, dw, db + (1e-6 if len(rows) == wrong else 0)

    monkeypatch.setattr(sweep, "evaluate", evaluate)
    with pytest.raises(WrongAnswerError, match="cpu, 1000x4 float64 C"):
        sweep.check(X, y, w, "C")


def test_sizes_are_told_in_units(sweep):
    assert [sweep.in_units(value) for value in (2**14, 2**20, 3 * 2**25, 2**31, 512)] == [
        "16 KB",
        "1 MB",
        "96 MB",
        "2 GB",
        "0.5 KB",
    ]


@pytest.mark.parametrize(("name", "option"), [("peer_table", "--write"), ("sweep", "--from")])
def test_help(name, option):
    command = [sys.executable, str(TOOLS / f"{name}.py"), "--help"]
    assert option in subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ---------------------------------------------------------------- solver_table.py


def test_solvers_get_the_loosest_tolerance_that_reaches_the_gradient():
    tool = load("solver_table")
    rng = np.random.default_rng(0)
    data = tool.Data(rng.normal(size=(200, 3)), (rng.uniform(size=200) < 0.5) * 1.0, 0.01)
    tolerance, loss, norm = tool.loosest(tool.ours, data, 1e-6)
    assert norm <= 1e-6
    assert tool.reached(data, tool.ours(data, 10 * tolerance))[1] > 1e-6
    assert loss == tool.reached(data, tool.ours(data, tolerance))[0]
    assert tool.loosest(lambda data, tolerance: (np.ones(3), 0.0), data, 1e-6) is None


def test_the_table_of_solvers_tells_what_falls_short():
    tool = load("solver_table")
    reached = {"reached": True, "tolerance": 1e-6, "loss": 0.5, "gradient_norm": 1e-7}
    rows = [
        {"data": "d", "solver": "jitlogreg", **reached, "seconds": 0.002, "times_ours": 1.0, "same_minimum": True},
        {"data": "d", "solver": "far", **reached, "seconds": 0.5, "times_ours": 250.0, "same_minimum": False},
        {"data": "d", "solver": "lost", "reached": False},
    ]
    here = {"date": "2031-02-03", "machine": {"cpu": "c", "threads": 2, "system": "s"}, "versions": {"numpy": "9"}}
    lines = tool.tables(here | {"rows": rows}).splitlines()
    assert lines[4:7] == [
        "| jitlogreg | 2.00 | 1.00 | 1.0e-07 |  |",
        "| far | 500 | 250 | 1.0e-07 | 1e-9 above |",
        "| lost | not reached |  |  |  |",
    ]


# ---------------------------------------------------------------- libsvm_reader.py


def test_the_table_of_libsvm_files_is_that_of_the_results():
    libsvm_reader = load("libsvm_reader")
    results = json.loads(libsvm_reader.RESULTS.read_text(encoding="utf-8"))
    page = libsvm_reader.PAGE.read_text(encoding="utf-8")
    assert replaced(page, "libsvm", libsvm_reader.text(results)) == page


def test_readers_of_libsvm_files_are_timed_once_they_agree(monkeypatch, capsys):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    libsvm_reader, theirs = load("libsvm_reader"), datasets.load_svmlight_file
    monkeypatch.setattr(libsvm_reader, "DISTINCT", 3)
    row = libsvm_reader.measured("repr", repr, 6)
    assert (row["rows"], row["entries"]) == (6, libsvm_reader.ENTRIES)
    assert min(row["seconds"], row["seconds_sklearn"], row["times_ours"]) > 0

    def other(path):
        X, y = theirs(path)
        X.data[-1] = np.nextafter(X.data[-1], 0)
        return X, y

    monkeypatch.setattr(datasets, "load_svmlight_file", other)
    with pytest.raises(SystemExit, match=r"^repr: the readers disagree$"):
        libsvm_reader.measured("repr", repr, 6)


# ---------------------------------------------------------------- outputs_table.py


def test_the_tables_of_several_outputs_are_those_of_the_results():
    outputs_table = load("outputs_table")
    results = json.loads(outputs_table.RESULTS.read_text(encoding="utf-8"))
    page = outputs_table.PAGE.read_text(encoding="utf-8")
    for name, text in outputs_table.tables(results).items():
        assert replaced(page, f"outputs: {name}", text) == page


def test_the_table_of_folds_and_resamples_is_that_of_the_results():
    selection_table = load("selection_table")
    results = json.loads(selection_table.RESULTS.read_text(encoding="utf-8"))
    page = selection_table.PAGE.read_text(encoding="utf-8")
    assert replaced(page, "selection", selection_table.text(results)) == page


@pytest.mark.filterwarnings("ignore")
def test_folds_and_resamples_are_timed_beside_fits_one_by_one(monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    selection_table = load("selection_table")
    for name, value in {"PENALTIES": 2, "FOLDS": 2, "RESAMPLES": 4, "OUTPUTS": 3, "ROUNDS": 1}.items():
        monkeypatch.setattr(selection_table, name, value)
    monkeypatch.setattr(selection_table, "BOOTSTRAP", (300, 3))
    monkeypatch.setattr(selection_table, "TARGETS", (300, 3))
    row = selection_table.cross_validation((400, 3))
    assert row["n_reads"] > 0
    assert set(row["times_ours"]) == {"one by one", "scikit-learn"}
    assert selection_table.bootstrap()["reads_one_by_one"] > 4
    assert selection_table.targets()["times_ours"]["one by one"] > 0
    row = selection_table.memory()
    assert row["all_weights_bytes"] == 300 * 4 * 8
    assert row["peak_bytes"] > row["all_weights_bytes"]  # so few rows take less than all else


def test_several_outputs_are_timed_beside_their_peers(monkeypatch, capsys):
    outputs_table = load("outputs_table")
    monkeypatch.setattr(outputs_table, "SHAPES", [(200, 3)])
    monkeypatch.setattr(outputs_table, "SOFTMAX", [(200, 3, 4)])
    monkeypatch.setattr(outputs_table, "MODELS", (2, 3))
    monkeypatch.setattr(outputs_table, "ROUNDS", 1)
    found = outputs_table.models()
    assert [(row["order"], row["dtype"]) for row in found] == [
        (order, dtype) for dtype in ("float64", "float32") for order in "CF"
    ]
    assert all(set(row["times_one"]) == {"2", "3"} for row in found)
    assert {row["implementation"] for row in outputs_table.softmax()} >= {outputs_table.OWN}
    assert capsys.readouterr().out


def test_a_peer_with_another_answer_is_not_timed(monkeypatch):
    outputs_table = load("outputs_table")

    def wrong(operation, link, X, y, W, b):
        return lambda: (0.0, W, b)

    monkeypatch.setattr(outputs_table.outputs_peers, "installed", lambda operation, link: {"wrong": wrong})
    with pytest.raises(SystemExit, match="wrong on 50 x 3 x 4 in float64 gives another answer"):
        outputs_table._softmax_on(50, 3, 4, np.float64)


# ---------------------------------------------------------------- softmax_fits.py


def test_the_decrement_of_a_softmax_is_that_of_its_hessian():
    fits = load("softmax_fits")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 3)), np.arange(80) % 4
    objective = jlr.Objective(X, y, link="softmax", n_outputs=4, l2=0.01)
    theta = rng.normal(size=16)
    gradient = objective(theta)[1]
    inverse = np.linalg.pinv(objective.hessian(theta), rcond=1e-10)  # singular along equal intercepts
    expected = np.sqrt(gradient @ inverse @ gradient)
    assert fits.decrement(objective, theta) == pytest.approx(expected, rel=1e-6)
    assert fits.reached(objective, (theta.reshape(4, 4)[:3], theta[12:]))[1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore")  # of solvers that a loose tolerance leaves unconverged
def test_softmax_fits_take_the_loosest_tolerance_that_reaches_the_decrement(monkeypatch):
    fits = load("softmax_fits")
    data = fits.synthetic(300, 3, 4)
    assert set(data.y) == {0, 1, 2, 3}
    objective = jlr.Objective(data.X, data.y, link="softmax", n_outputs=4, l2=data.l2)
    solve = functools.partial(fits.sklearn, "lbfgs", threads=1)
    monkeypatch.setattr(fits, "_seconds", lambda call: call() and 1e-4)
    found = fits.loosest(solve, data, objective, 10)
    assert found["reached"]
    assert found["decrement"] <= fits.DECREMENT
    if found["tolerance"] != fits.TOLERANCES[0]:
        assert fits.reached(objective, solve(data, 10 * found["tolerance"], 1000))[1] > fits.DECREMENT
    assert fits.reached(objective, fits.ours(data))[1] <= fits.DECREMENT

    def nowhere(data, tolerance, max_iterations):
        return np.ones((3, 4)), np.zeros(4), 1

    assert "not reached: λ = " in fits.loosest(nowhere, data, objective, 10)["reason"]
    monkeypatch.setattr(fits, "_seconds", lambda call: 20.0)
    assert fits.loosest(nowhere, data, objective, 10)["reason"] == "not tried: an iteration takes 20 s"


def test_softmax_fits_with_another_minimum_are_not_told():
    fits = load("softmax_fits")
    rows = [
        {"solver": solver, "data": "d", "reached": True, "loss": loss}
        for solver, loss in ((fits.OWN, 0.5), ("far", 0.5 + 1e-8))
    ]
    with pytest.raises(SystemExit, match="far on d has another minimum"):
        fits._add_times(rows, {row["solver"]: lambda: None for row in rows}, 1)


def test_the_table_of_softmax_fits_is_that_of_the_results():
    fits = load("softmax_fits")
    results = json.loads(fits.RESULTS.read_text(encoding="utf-8"))
    page = fits.PAGE.read_text(encoding="utf-8")
    assert replaced(page, fits.MARKER, fits.text(results)) == page
    assert all(row["decrement"] <= fits.DECREMENT for row in results["rows"] if row["reached"])


# ---------------------------------------------------------------- accuracy/softmax.py


def test_the_errors_of_a_softmax_are_measured_and_told(monkeypatch):
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than float64")
    monkeypatch.setattr(softmax, "NUMBERS", 600)
    monkeypatch.setattr(softmax, "ROWS", 60)
    monkeypatch.setattr(softmax, "CLASSES", (3, 20))
    rows = softmax.measure()
    assert [(row["dtype"], row["classes"]) for row in rows] == [
        (dtype, K) for dtype in ("float64", "float32") for K in (3, 20)
    ]
    assert all(0 < error <= 4 for row in rows for error in row["ulps"].values())
    results = json.loads(softmax.RESULTS.read_text(encoding="utf-8"))
    page = softmax.PAGE.read_text(encoding="utf-8")
    assert replaced(page, softmax.MARKER, softmax.text(results)) == page
    assert max(error for row in results["rows"] for error in row["ulps"].values()) <= 4


def test_an_error_of_a_softmax_is_seen():
    Z = np.array([[0.1, 0.2, 0.3]])
    a = softmax.exact(Z)[0].astype(np.float64)
    assert softmax.ulps(a, softmax.exact(Z)[0]) <= 0.5
    assert softmax.ulps(a * (1 + 8 * np.finfo(float).eps), softmax.exact(Z)[0]) > 4

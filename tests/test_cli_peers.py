"""`jitlogreg bench --peers` and `--plot`."""

import json
import sys

import numpy as np
import pytest

from jitlogreg.cli import bench, cases, outputs_cases, outputs_peers, peers, picture, timing
from jitlogreg.cli.errors import WrongAnswerError
from jitlogreg.cli.numpy_baseline import times_rounding

SMALL = ("bench", "--shapes", "300x5", "--rounds", "2", "--target", "reference")
# what a library warns of on import or on use is its own affair
pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.delenv("JITLOGREG_TARGET", raising=False)
    monkeypatch.setattr(bench, "_DOT_LENGTH", 1000)
    monkeypatch.setattr(timing, "_WAKING", 1e-3)


@pytest.fixture
def scikit_learn_alone(monkeypatch):
    for module in ("daal4py", "torch", "jax"):
        monkeypatch.setitem(sys.modules, module, None)


def by_name(rows):
    return {row["implementation"]: row for row in rows}


def off_by(excess):
    """A peer that is off in dw by so many times what rounding explains."""

    def prepare(operation, X, y, w, b):
        right, bounds = cases.expected(operation, X, y, w, b)
        answer = [np.array(value, np.float64) for value in right]
        answer[1][2] += excess * bounds[1][2]
        return lambda: answer

    return prepare


@pytest.mark.parametrize("name", peers.NAMES)
@pytest.mark.parametrize("operation", cases.OPERATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 5), (3, 1)])
def test_every_peer_is_right_in_the_dtype_of_x(name, operation, dtype, order, shape):
    prepare = peers.installed().get(name)
    if prepare is None:
        pytest.skip(f"{name} is not installed")
    data = cases.example(*shape, dtype, order)
    call = prepare(operation, *data)
    answer = call()
    assert times_rounding(answer, *cases.expected(operation, *data)) == 0
    arrays = answer if operation == "forward" else answer[1:2]
    assert {np.asarray(array).dtype for array in arrays} == {np.dtype(dtype)}
    for first, again in zip([np.array(value) for value in answer], call(), strict=True):  # nothing is added up
        np.testing.assert_allclose(first, again, rtol=1e-4)


@pytest.mark.parametrize("name", peers.NAMES)
@pytest.mark.parametrize("operation", cases.OPERATIONS)
@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_peer_is_right_for_several_outputs(name, operation, link, dtype, order):
    prepare = outputs_peers.installed(operation, link).get(name)
    if prepare is None:
        pytest.skip(f"{name} is not installed or has no such outputs")
    data = outputs_cases.example(outputs_cases.Outputs(4, link), 300, 5, dtype, order)
    call = prepare(operation, link, *data)
    answer, right = call(), outputs_cases.expected(link, operation, *data)
    assert times_rounding(answer, *right) == 0
    assert [np.shape(got) for got in answer] == [np.shape(expected) for expected in right[0]]
    for first, again in zip([np.array(value) for value in answer], call(), strict=True):
        np.testing.assert_allclose(first, again, rtol=1e-4)


def test_peers_without_several_outputs_are_named(run, monkeypatch):
    def right(operation, link, X, y, W, b):
        return lambda: outputs_cases.expected(link, operation, X, y, W, b)[0]

    has = {"scikit-learn": (right, {("forward", "softmax")}), "JAX": (right, {("forward", "sigmoid")})}
    monkeypatch.setattr(outputs_peers, "_PEERS", has)
    monkeypatch.setattr(peers, "installed", lambda: dict.fromkeys(("scikit-learn", "PyTorch", "JAX")))
    monkeypatch.setattr(peers, "versions", lambda names: {})
    of_outputs = (*SMALL, "--peers", "--outputs", "3", "--operation", "forward", "--dtype", "float64", "--order", "C")
    lines = run(*of_outputs).splitlines()
    assert "left out, not installed or without this for K outputs: scikit-learn, oneDAL, PyTorch" in lines
    start = lines.index("forward, 300 x 5, 3 models")
    assert [line.split()[2] for line in lines[start + 2 : start + 6]] == ["limit", "NumPy", "reference", "JAX"]
    assert lines[start + 1].split()[-7:] == ["x", "NumPy", "x", "one", "x", "ours", "remark"]
    result = json.loads(run(*of_outputs, "--link", "softmax", "--json"))
    assert result["left_out"] == ["oneDAL", "PyTorch", "JAX"]
    assert by_name(result["rows"])["scikit-learn"]["remark"] == ""


def test_every_peer_has_a_version():
    assert all(version[0].isdigit() for version in peers.versions(peers.installed()).values())


def test_peers_are_imported_when_they_are_asked_for(run, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: pytest.fail("imported"))
    run(*SMALL)


def test_peers_that_are_not_installed_are_named(run, scikit_learn_alone):
    text = run(*SMALL, "--peers", "--dtype", "float64", "--order", "C")
    lines = text.splitlines()
    assert "left out, not installed: oneDAL, PyTorch, JAX" in lines
    start = lines.index("loss_and_gradient, 300 x 5")
    assert lines[start + 1].split()[-5:] == ["x", "NumPy", "x", "ours", "remark"]
    rows = [line.split()[2] for line in lines[start + 2 : start + 6]]
    assert rows == ["limit", "NumPy", "reference", "scikit-learn"]
    result = json.loads(run(*SMALL, "--peers", "--json"))
    assert result["left_out"] == ["oneDAL", "PyTorch", "JAX"]
    assert "scikit-learn" in result["versions"]
    assert "torch" not in result["versions"]


def test_without_peers_there_is_neither_their_column_nor_their_line(run, scikit_learn_alone):
    text = run(*SMALL)
    assert "left out" not in text
    assert "x ours" not in text
    assert "remark" not in text


def test_a_peer_whose_answer_is_off_stays_and_says_so(run, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: {"scikit-learn": off_by(3.1), "JAX": off_by(0.9)})
    monkeypatch.setattr(peers, "versions", lambda names: {})
    rows = json.loads(run(*SMALL, "--peers", "--json"))["rows"]
    assert {row["remark"] for row in rows if row["implementation"] != "scikit-learn"} == {""}
    assert {row["remark"] for row in rows if row["implementation"] == "scikit-learn"} == {
        "answer off by 3.1 x rounding"
    }
    line = next(line for line in run(*SMALL, "--peers").splitlines() if "scikit-learn" in line)
    assert line.endswith("  answer off by 3.1 x rounding")


def test_an_answer_of_our_own_that_is_off_is_not_timed(fail, monkeypatch):
    right = cases.jlr.loss_and_gradient

    def wrong(X, y, w, b, target):
        loss, dw, db = right(X, y, w, b, target=target)
        return loss, dw, db + (1e-3 if w.dtype == np.float32 else 0)

    monkeypatch.setattr(cases.jlr, "loss_and_gradient", wrong)
    message = fail(*SMALL, "--peers", "--dtype", "float32", status=1)
    assert "loss_and_gradient of reference, 300x5" in message


def test_nan_is_off():
    assert np.isnan(times_rounding([1.0, np.array([np.nan, 1])], [1.0, np.ones(2)], [1.0, np.ones(2)]))
    with pytest.raises(WrongAnswerError):
        cases.check_answer("a", [np.nan], [1.0], [1.0])
    assert cases._remark(np.nan) == "answer off by nan x rounding"


def test_peers_ratios_are_medians_of_rounds(monkeypatch):
    times = [[1.0, 9.0], [3.0, 2.0], [10.0, 20.0], [2.0, 8.0], [4.0, 4.0]]  # two reads, NumPy, reference, the peer
    monkeypatch.setattr(cases, "in_turn", lambda calls, rounds: np.array(times))
    rows = cases.rows_of_case("loss_and_gradient", 50, 4, "float64", "C", ["reference"], 2, {"JAX": off_by(0)})
    assert list(by_name(rows)) == ["limit", "NumPy", "reference", "JAX"]
    row = by_name(rows)["JAX"]
    assert (row["times_ours"], row["speedup"], row["percent_of_limit"]) == (1.25, 3.75, 37.5)


# ---------------------------------------------------------------- the picture


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_the_picture_is_drawn(run, tmp_path, name, head):
    text = run(
        *SMALL[:2], "40x3,300x5,9x2,8x2", "--rounds", "1", "--target", "reference", "--plot", str(tmp_path / name)
    )
    assert f"picture: {tmp_path / name}" in text.splitlines()
    assert (tmp_path / name).read_bytes().startswith(head)


def test_the_picture_has_a_bar_for_every_row_but_the_limits(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(picture, "_save", lambda figure, option, path: figures.append((figure, option, path)))
    rows = [
        {
            "operation": "forward",
            "shape": [m, 4],
            "dtype": dtype,
            "order": "C",
            "implementation": name,
            "seconds": m / 1000,
            "percent_of_limit": share,
        }
        for m in (10, 20)
        for dtype in ("float64", "float32")
        for name, share in (("limit", 100), ("NumPy", m), ("cpu", 4 * m))
    ]
    picture.draw_shares("a.png", rows)
    ((figure, option, path),) = figures
    assert (option, path) == ("--plot", "a.png")
    assert [panel.get_title() for panel in figure.axes] == ["10 x 4", "20 x 4"]
    for panel, m in zip(figure.axes, (10, 20), strict=True):
        assert [bar.get_width() for bar in panel.patches] == [m, 4 * m, m, 4 * m]
        assert f"{4 * m} %, {m} ms" in [text.get_text() for text in panel.texts]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["NumPy", "cpu"]

    picture.draw_shares("a.png", [row | {"outputs": K, "link": "softmax"} for K in (3, 8) for row in rows])
    titles = [panel.get_title() for panel in figures[1][0].axes][:4]
    assert titles == [f"{m} x 4, softmax, K = {K}" for K in (3, 8) for m in (10, 20)]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.gif", "--plot: expected a file name that ends in .png or .pdf or .svg, got a.gif"),
        ("no/a.png", "--plot: expected a file in a folder that exists, got no/a.png"),
    ],
)
def test_a_picture_that_could_not_be_written_is_refused_before_measuring(fail, monkeypatch, path, message):
    monkeypatch.setattr(bench, "machine", lambda: pytest.fail("measured"))
    assert message in fail(*SMALL, "--plot", path)


def test_a_picture_needs_matplotlib(fail, monkeypatch):
    monkeypatch.setattr(bench, "machine", lambda: pytest.fail("measured"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "the package matplotlib" in fail(*SMALL, "--plot", "a.png")


def test_a_picture_that_cannot_be_written_is_told(fail, tmp_path):
    (tmp_path / "a.png").mkdir()
    assert "--plot: expected a file that can be written, got " in fail(
        *SMALL, "--json", "--plot", str(tmp_path / "a.png")
    )

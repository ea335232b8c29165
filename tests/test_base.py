"""What a target is given and offers; which views of memory are taken as they are, which refused for their strides."""

import importlib
import inspect

import numpy as np
import pytest
from calls import CALLS, W, X, Y, call, read_only, refuses
from conftest import margin_bound
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import jitlogreg as jlr
from jitlogreg.targets.base import Problem, Target, layout
from jitlogreg.targets.dispatch import NAMES

on_each_target = pytest.mark.usefixtures("target")

# What each target offers, by name, and the parameters of it in order
PROTOCOL = {
    name: list(inspect.signature(function).parameters)[1:]
    for name, function in vars(Target).items()
    if inspect.isfunction(function) and not name.startswith("_")
}

REQUIRED = inspect.Parameter("any", inspect.Parameter.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_offers_what_the_protocol_says(name):
    if name == "cuda":
        pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    module = importlib.import_module(f"jitlogreg.targets.{name}")
    assert module.name == name
    assert len(PROTOCOL) == 13
    for function, parameters in PROTOCOL.items():
        found = inspect.signature(getattr(module, function)).parameters
        assert list(found) == parameters, function
        # by position or by name, and none may be left out
        assert {(p.kind, p.default) for p in found.values()} == {(REQUIRED.kind, REQUIRED.default)}


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_problem_knows_how_its_matrix_lies_in_memory(order):
    whole = np.zeros((20, 30), order=order)
    for matrix in (whole, whole[3:9, 5:11]):
        problem = Problem.of(matrix)
        assert problem.X is matrix
        assert (problem.order, problem.ld) == (order, 30 if order == "C" else 20)
        assert (problem.y, problem.sample_weight, problem.frame) == (None, None, None)


# ---------------------------------------------------------------- views of memory

WIDE = np.arange(24.0 * 12).reshape(24, 12)


@on_each_target
@pytest.mark.parametrize(
    "view",
    [
        WIDE[::-1],
        WIDE[:, ::-1],
        WIDE[::-1, ::-1],
        WIDE[:, ::2],
        WIDE[::2, ::2],
        WIDE.T[:, ::-1],
        WIDE.T[::2],
        np.broadcast_to(WIDE[:1], (24, 12)),
        np.broadcast_to(WIDE[:, :1], (24, 12)),
        as_strided(WIDE, (10, 5), (8, 8)),
        as_strided(WIDE, (10, 5), (32, 8)),
        as_strided(WIDE, (10, 5), (8, 72)),
        as_strided(WIDE, (10, 5), (24, 16)),
    ],
    ids=lambda view: f"{view.shape} {view.strides}",
)
def test_strides_without_a_unit_or_with_an_overlap_are_refused(view):
    m, n = view.shape
    refuses(ValueError, "strides", str(view.strides), "np.ascontiguousarray(X)", X=view, y=np.ones(m), w=np.ones(n))


def same_as_a_copy(view, w):
    copy, seed = np.array(view), view.tobytes()
    a, expected = jlr.forward(view, w), jlr.forward(copy, w)
    assert np.all(np.abs(a - expected) <= margin_bound(copy, w) + 4 * np.finfo(w.dtype).eps)
    y = np.ones(len(view))
    if len(view):
        result, expected = jlr.loss_and_gradient(view, y, w), jlr.loss_and_gradient(copy, y, w)
        np.testing.assert_allclose(result.dw, expected.dw, rtol=1e-5, atol=1e-5)
        assert result.loss == pytest.approx(expected.loss, rel=1e-5)
    assert view.tobytes() == seed


@on_each_target
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "cut",
    [
        lambda a: a[:, 1:9],
        lambda a: a[10:90],
        lambda a: a[::2],
        lambda a: a[3::5, 2:],
        lambda a: a.T,
        lambda a: a.T[1:9],
        lambda a: a.T[:, ::3],
        lambda a: np.asfortranarray(a)[10:20, ::2],
        lambda a: a[:1],
        lambda a: a[:1, ::2],
        lambda a: a[7:8].T,
        lambda a: a[:, 3:4],
        lambda a: a[::3, 3:4],
        lambda a: a[:1, :1],
        lambda a: a[:0],
        lambda a: a[:, :0],
        lambda a: as_strided(a, (1, 4), (-8, a.itemsize)),
        lambda a: as_strided(a, (4, 1), (a.itemsize, 3)),
    ],
)
def test_views_are_taken_as_they_are(cut, dtype):
    whole = np.random.default_rng(1).normal(size=(100, 12)).astype(dtype)
    view = cut(whole)
    for array in (view, read_only(view)):
        same_as_a_copy(array, np.linspace(-1, 1, view.shape[1]).astype(dtype))


@on_each_target
def test_read_only_inputs_are_taken():
    for name in CALLS:
        expected = call(name, sample_weight=Y + 1)
        frozen = {"X": read_only(X), "y": read_only(Y), "w": read_only(W), "sample_weight": read_only(Y + 1)}
        np.testing.assert_equal(call(name, **frozen), expected)


@on_each_target
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_maps_are_taken(tmp_path, mode):
    X.tofile(tmp_path / "X")
    Y.tofile(tmp_path / "y")
    mapped = np.memmap(tmp_path / "X", X.dtype, mode, shape=X.shape)
    labels = np.memmap(tmp_path / "y", Y.dtype, mode)
    for name in CALLS:
        np.testing.assert_equal(call(name, X=mapped, y=labels), call(name))
        np.testing.assert_equal(call(name, X=mapped[2:7], y=labels[2:7]), call(name, X=X[2:7], y=Y[2:7]))


@on_each_target
def test_strided_vectors_are_taken():
    def spaced(vector):
        return np.repeat(vector, 3)[::3]

    def reverse(vector):
        return vector[::-1].copy()[::-1]

    for name in CALLS:
        expected = call(name, sample_weight=Y + 1)
        for view in (spaced, reverse):
            np.testing.assert_equal(call(name, y=view(Y), w=view(W), sample_weight=view(Y + 1)), expected)


@on_each_target
@given(
    m=st.integers(0, 5),
    n=st.integers(0, 5),
    down=st.integers(-12, 12),
    across=st.integers(-12, 12),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_any_view_equals_its_copy_or_is_refused_for_its_strides(m, n, down, across, dtype):
    memory = np.random.default_rng(2).normal(size=200).astype(dtype)
    step = memory.itemsize
    start = 100  # the farthest element lies 4 · 12 + 4 · 12 from it, on either side
    view = as_strided(memory[start:], (m, n), (down * step, across * step))
    rows = (n <= 1 or across == 1) and (m <= 1 or (down >= n and down > 0))
    columns = (m <= 1 or down == 1) and (n <= 1 or (across >= m and across > 0))
    if rows or columns or m * n == 0:
        same_as_a_copy(view, np.linspace(-1, 1, n).astype(dtype))
        kind, leading = layout(view.shape, view.strides, view.itemsize)
        flat = memory[start:]
        for i in range(m):
            for j in range(n):
                assert flat[i * leading + j if kind == "C" else j * leading + i] == view[i, j]
    else:
        with pytest.raises(ValueError, match="strides"):
            jlr.forward(view, np.ones(n, dtype))

"""Hard situations: threads on every threading layer, forks, Ctrl-C, and compiled code on disk that is not as it was."""

import json
import os

import pages
import pytest
from reliability import cache, measure

LAYERS = measure.LAYERS
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
NEEDS_ANOTHER_USER = pytest.mark.skipif(not cache.can_be_another_user(), reason="needs a user who may not write")
slow = pytest.mark.slow


@pytest.fixture
def layer(request):
    if not measure.can_run_on(request.param):
        pytest.skip(f"Numba has no threading layer {request.param} here")
    return request.param


def test_numbas_own_layer_can_be_had_everywhere():
    assert measure.can_run_on("workqueue")


@pytest.mark.parametrize("calls", [50, pytest.param(1000, marks=slow)])
@pytest.mark.parametrize("layer", LAYERS, indirect=True)
def test_eight_threads_call_at_once(layer, calls):
    seen = measure.stress("threads", layer, "--threads", "8", "--calls", str(calls))
    assert measure.is_well("threads", seen), seen
    assert (seen["finished"], seen["calls"], seen["wrong"]) == (8, 8 * calls, 0)
    assert seen["layer"] == layer


@NEEDS_FORK
@pytest.mark.parametrize("layer", ["omp", *(pytest.param(layer, marks=slow) for layer in LAYERS[1:])], indirect=True)
def test_children_and_then_their_parent_give_the_same_bits(layer):
    seen = measure.stress("fork", layer)
    assert measure.is_well("fork", seen), seen
    assert {"os.fork", "multiprocessing", "the parent after them"} <= set(seen["same"])
    assert seen["layer"] == layer


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("layer", LAYERS, indirect=True)
def test_ctrl_c_ends_a_descent_within_one_step(layer):
    seen = measure.stress("interrupt", layer)
    assert measure.is_well("interrupt", seen), seen
    assert seen["interrupted"] == 20


@pytest.mark.parametrize(
    ("situation", "seen"),
    [
        ("threads", {"died": "exit -6"}),
        ("threads", {"wrong": 1, "finished": 8}),
        ("fork", {"same": {"os.fork": False}}),
        ("interrupt", {"interrupted": 3, "missed": 0, "invalid states": 0, "most steps after": 2}),
    ],
)
def test_what_is_not_well_is_told(situation, seen):
    assert not measure.is_well(situation, seen)


# ---------------------------------------------------------------- compiled code on disk


@pytest.fixture(scope="module")
def answer():
    return cache.right_answer()


@pytest.fixture
def small_answer(tiny_package, monkeypatch):
    """That of a small kernel, in a package that every situation then takes for this one."""
    monkeypatch.setattr(cache, "PACKAGE", tiny_package.package)
    monkeypatch.setattr(cache, "PROGRAM", tiny_package.program)
    return cache.right_answer()


@NEEDS_ANOTHER_USER
@pytest.mark.parametrize("of", ["small_answer", pytest.param("answer", marks=slow)])
def test_a_read_only_installation_warns_once_and_works(request, of):
    answer = request.getfixturevalue(of)
    assert cache.read_only(answer) == {"right": 2, "of": 2, "warnings": [1, 1], "written": 0}


@slow
def test_eight_processes_start_at_once_on_a_cold_cache(answer):
    assert cache.cold(answer, 8) == {"right": 16, "of": 16, "complaints": 0}


@slow
def test_damaged_files_are_compiled_anew(answer):
    seen = cache.damaged(answer)
    assert (seen["right"], seen["complaints"]) == (seen["of"], 0)
    assert seen["mended"] == seen["files"] > 0


@slow
def test_two_versions_side_by_side_share_nothing(answer):
    assert cache.versions(answer) == {"right": 4, "of": 4, "shared files": 0}


# ---------------------------------------------------------------- the page


def test_the_page_shows_the_kept_figures():
    kept = json.loads(measure.RESULTS.read_text(encoding="utf-8"))
    page = measure.PAGE.read_text(encoding="utf-8")
    for name, text in measure.tables(kept).items():
        assert pages.replaced(page, f"reliability: {name}", text) == page
    assert set(kept["layers"]) == set(measure.LAYERS)
    assert kept["layers"]["omp"]["threads"]["calls"] == 8000
    assert set(kept["tests"]) == set(measure.TESTS)
    assert kept["tests"]["tests/test_fuzz.py"]["cases"] >= 20_000


def test_nothing_is_written_where_something_goes_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "reliability.json")
    monkeypatch.setattr(measure, "stress", lambda *a: {"died": "exit -6"})
    with pytest.raises(RuntimeError, match=r"threads on .*exit -6"):
        measure.main(["--skip-tests"])
    assert not list(tmp_path.iterdir())

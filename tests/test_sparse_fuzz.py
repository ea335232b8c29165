"""Random sparse matrices against sums in 80 bits; and whether the fuzz would notice."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from reliability import sparse_cases, sparse_fuzz
from reliability.sparse_cases import ALL_KINDS, KINDS, MALFORMED

import jitlogreg as jlr

pytestmark = pytest.mark.skipif(not sparse_fuzz.IS_WIDE, reason="needs a long double of 80 bits")
SOUND = list(KINDS)


@pytest.mark.parametrize("count", [12 * len(ALL_KINDS), pytest.param(7_000, marks=pytest.mark.slow)])
def test_sparse_and_dense_results_are_within_their_bounds(count):
    faults = [of for of in sparse_fuzz.outcomes(list(ALL_KINDS), count) if of.complaint]
    assert not faults, "\n".join(f"--case '{of.kind}:{of.seed}': {of.complaint}" for of in faults[:20])


def test_cases_are_of_every_kind():
    made = [sparse_cases.make(kind, seed) for kind in SOUND for seed in range(60)]
    matrices = [case.X for case in made]
    assert {X.dtype.name for X in matrices} == {"float32", "float64"}
    assert {(X.dtype.name, case.w.dtype.name) for X, case in zip(matrices, made, strict=True)} >= {
        ("float32", "float32"),
        ("float32", "float64"),
    }
    assert {X.indices.dtype.name for X in matrices} == {"int32", "int64"}
    assert {len(X) == 0 for X in matrices} == {X.shape[1] == 0 for X in matrices} == {True, False}
    assert any(X.data is None for X in matrices)
    assert any(X.indptr[0] > 0 for X in matrices)
    assert any(np.any(X.data == 0) for X in matrices if X.data is not None)
    rows = [X.indices[X.indptr[i] : X.indptr[i + 1]] for X in matrices for i in range(min(len(X), 20))]
    assert any(len(row) == 0 for row in rows)
    assert any(np.any(np.diff(row) < 0) for row in rows)
    assert any(len(np.unique(row)) < len(row) for row in rows)
    assert max(len(X) for X in matrices) > 3_000
    assert all(np.any(case.sample_weight > 0) for case in made if case.sample_weight is not None)


def broken(**calls):
    """The package with some of its calls in place of others."""
    package = {name: getattr(jlr, name) for name in ("forward", "loss_and_gradient", "Objective")}
    return SimpleNamespace(**package | calls)


def off(result, name, by):
    """A result in which one number is moved by some of its own size."""
    number = np.array(getattr(result, name))
    number.flat[0] *= 1 + by
    return result._replace(**{name: number[()]})


@pytest.mark.parametrize(("name", "by"), [("dw", 2e-14), ("loss", 1e-13), ("db", 1e-12)])
def test_a_sum_that_is_a_little_off_is_a_fault(name, by):
    package = broken(loss_and_gradient=lambda *given, **named: off(jlr.loss_and_gradient(*given, **named), name, by))
    found = [sparse_fuzz.run("sums alone", seed, package) for seed in range(0, 60, 3)]  # of float64
    assert any(f"sparse: {name} is off by" in of.complaint for of in found)
    assert not any(sparse_fuzz.run("sums alone", seed).complaint for seed in range(0, 60, 3))


def test_a_forward_pass_that_is_a_little_off_is_a_fault():
    package = broken(forward=lambda *given, **named: jlr.forward(*given, **named) * (1 - 1e-15))
    found = [sparse_fuzz.run("tall", seed, package) for seed in range(0, 60, 3)]
    assert any("sparse: forward is off by" in of.complaint and "dense: forward is" in of.complaint for of in found)


@pytest.mark.parametrize("wrong", [0.5, np.nan])
def test_what_takes_a_malformed_matrix_is_at_fault(wrong):
    outcome = sparse_fuzz.run(MALFORMED, 0, broken(forward=lambda X, *given, **named: np.full(len(X), wrong)))
    assert outcome.complaint == "forward: took it"


def test_another_error_is_a_fault():
    def raising(error):
        def call(*given, **named):
            raise error

        return call

    outcome = sparse_fuzz.run(MALFORMED, 0, broken(Objective=raising(IndexError("5"))))
    assert outcome.complaint == "Objective: raised IndexError: 5"
    outcome = sparse_fuzz.run(MALFORMED, 0, broken(forward=raising(ValueError("y: expected …"))))
    assert outcome.complaint == "forward: raised ValueError: y: expected …"
    outcome = sparse_fuzz.run("tall", 5, broken(loss_and_gradient=raising(ValueError("X: expected …"))))
    assert outcome.complaint.startswith("sparse: raised ValueError: X: expected …; dense: raised")


def test_a_result_that_is_not_finite_or_too_short_is_outside_every_bound():
    of = SimpleNamespace(exact=np.ones(2), bound=np.ones(2))
    assert sparse_fuzz.share(np.array([1.5, 1.0]), of) == 0.5
    assert sparse_fuzz.share(np.array([1.0, np.nan]), of) == sparse_fuzz.share(np.ones(3), of) == np.inf


def test_one_case_is_told_and_nothing_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sparse_fuzz, "RESULTS", tmp_path / "sparse_fuzz.json")
    assert sparse_fuzz.main(["--case", "sums alone:3", "--write"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"sparse: dw 0\.\d+ of its bound", said)
    assert "complaint: none" in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        sparse_fuzz.main(["--case", "tall"])
    assert "--case: expected a kind of any, magnitudes" in capsys.readouterr().err


def test_the_figures_and_the_page_are_written(monkeypatch, tmp_path, capsys):
    page = tmp_path / "reliability.md"
    page.write_text(sparse_fuzz.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sparse_fuzz, "PAGE", page)
    monkeypatch.setattr(sparse_fuzz, "RESULTS", tmp_path / "sparse_fuzz.json")
    assert sparse_fuzz.main(["--cases", "14", "--write"]) == 0
    assert "14 matrices, 2 of them malformed: 0 faults" in capsys.readouterr().out
    kept = json.loads(sparse_fuzz.RESULTS.read_text(encoding="utf-8"))
    assert kept["kinds"]["together"]["matrices"] == 14
    written = page.read_text(encoding="utf-8")
    assert sparse_fuzz.text(kept) in written
    assert sparse_fuzz.main(["--from", str(sparse_fuzz.RESULTS)]) == 0
    assert page.read_text(encoding="utf-8") == written


def test_the_page_shows_the_kept_figures():
    page = sparse_fuzz.PAGE.read_text(encoding="utf-8")
    kept = json.loads(sparse_fuzz.RESULTS.read_text(encoding="utf-8"))
    assert sparse_fuzz.page_with(kept, page) == page
    assert set(kept["kinds"]) == {*ALL_KINDS, "together"}
    assert kept["kinds"]["together"]["faults"] == 0

"""The script that breaks the kernels to see whether the tests notice."""

import json

import pages
import pytest
from mutants import run
from mutants.changes import MUTANTS, Mutant


def test_every_mutant_is_one_change_of_what_stands_there():
    assert len(MUTANTS) == len(set(MUTANTS)) >= 40
    for mutant in MUTANTS:
        source = (run.ROOT / mutant.file).read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, mutant
        assert mutant.new != mutant.old


def test_a_broken_copy_is_noticed_and_the_tree_is_left_as_it_is(monkeypatch, tmp_path):
    few = [["tests/test_pointwise.py", "-k", "infinities and float64"]]
    monkeypatch.setattr(run, "_FIRST", {})
    monkeypatch.setattr(run, "_LATER", few)
    mutant = Mutant("jitlogreg/pointwise.py", "where(negative, -size, size)", "where(negative, size, size)")
    before = (run.ROOT / mutant.file).read_bytes()
    told = []
    assert run.survives(None, tmp_path)
    assert not run.survives(mutant, tmp_path, told.append)
    assert "test_infinities" in told[0]
    assert (run.ROOT / mutant.file).read_bytes() == before
    with pytest.raises(ValueError, match="0 times; accepted is once"):
        run.survives(mutant._replace(old="not there"), tmp_path)


def test_new_figures_go_before_old_ones():
    one, two = ({**mutant._asdict(), "noticed_by": "then"} for mutant in MUTANTS[:2])
    gone = one | {"old": "no longer there"}
    assert run.merged([two, one, gone], [one | {"noticed_by": "now"}]) == [one | {"noticed_by": "now"}, two]


def test_every_survivor_has_a_reason_and_the_page_shows_all():
    kept = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    assert len(kept["rows"]) >= 40
    for row in kept["rows"]:
        assert row["noticed_by"] or row["new"] in run.SURVIVORS
    page = run.PAGE.read_text(encoding="utf-8")
    assert pages.replaced(page, "reliability: mutants", run.text(kept)) == page

"""The script that breaks the kernels to see whether the tests notice."""

import json

import mutants
import pages
import pytest


def test_every_mutant_is_one_change_of_what_stands_there():
    assert len(mutants.MUTANTS) == len(set(mutants.MUTANTS)) >= 40
    for mutant in mutants.MUTANTS:
        source = (mutants.ROOT / mutant.file).read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, mutant
        assert mutant.new != mutant.old


def test_a_broken_copy_is_noticed_and_the_tree_is_left_as_it_is(monkeypatch, tmp_path):
    few = [["tests/test_pointwise.py", "-k", "infinities and float64"]]
    monkeypatch.setattr(mutants, "_FIRST", {})
    monkeypatch.setattr(mutants, "_LATER", few)
    mutant = mutants.Mutant("jitlogreg/pointwise.py", "where(negative, -size, size)", "where(negative, size, size)")
    before = (mutants.ROOT / mutant.file).read_bytes()
    told = []
    assert mutants.survives(None, tmp_path)
    assert not mutants.survives(mutant, tmp_path, told.append)
    assert "test_infinities" in told[0]
    assert (mutants.ROOT / mutant.file).read_bytes() == before
    with pytest.raises(ValueError, match="0 times; accepted is once"):
        mutants.survives(mutant._replace(old="not there"), tmp_path)


def test_new_figures_go_before_old_ones():
    one, two = ({**mutant._asdict(), "noticed_by": "then"} for mutant in mutants.MUTANTS[:2])
    gone = one | {"old": "no longer there"}
    assert mutants.merged([two, one, gone], [one | {"noticed_by": "now"}]) == [one | {"noticed_by": "now"}, two]


def test_every_survivor_has_a_reason_and_the_page_shows_all():
    kept = json.loads(mutants.RESULTS.read_text(encoding="utf-8"))
    assert len(kept["rows"]) >= 40
    for row in kept["rows"]:
        assert row["noticed_by"] or row["new"] in mutants.SURVIVORS
    page = mutants.PAGE.read_text(encoding="utf-8")
    assert pages.replaced(page, "reliability: mutants", mutants.text(kept)) == page

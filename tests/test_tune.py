"""`jitlogreg tune`: what is stored, said and chosen. How fast anything is, no test asks."""

import json

import pytest

from jitlogreg.cli import tuner
from jitlogreg.cli.tuner import Ratio, Tuner
from jitlogreg.targets.cpu import profile

FASTER, SAME, LUCKY = Ratio(1.5, 1.4), Ratio(1.0, 0.9), Ratio(1.5, 0.9)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of compiled code of its own, and the profile in force put back afterwards."""
    monkeypatch.setattr(profile, "cache_folder", lambda: tmp_path)
    before = profile.current()
    yield tmp_path
    profile.use(before)


@pytest.fixture
def quick(monkeypatch):
    """Little data, and measurements that are made up: `compare` answers what the test puts into the list."""
    answers = []
    monkeypatch.setattr(tuner, "LARGE", 1 << 25)
    monkeypatch.setattr(tuner, "SHOWN", ("28 C", "20x50 F"))

    def compare(case, profiles, rounds=7):
        return [SAME, *[answers[0] if answers else SAME for _ in profiles[1:]]]

    monkeypatch.setattr(tuner, "compare", compare)
    return answers


def test_it_stores_what_it_found(folder, quick, run):
    told = run("tune")
    file = folder / f"profile-{profile.cpu_name()}.json"
    assert f"stored in {file}" in told
    assert json.loads(file.read_text())["cpu"] == profile.cpu_name()
    assert profile.stored().source.startswith("measured by jitlogreg tune on 20")


def test_a_dry_run_stores_nothing(folder, quick, run):
    assert "not stored" in run("tune", "--dry-run")
    assert list(folder.iterdir()) == []


def test_json_is_one_object(folder, quick, run):
    quick.append(FASTER)
    found = json.loads(run("tune", "--json"))
    assert found["cpu"] == profile.cpu_name()
    assert found["gains"] == {"149796x28 C": 1.5, "20x50 F": 1.5}
    assert set(found["profile"]) == {"c_order", "f_order", "serial_below"}
    assert found["stored"] == str(profile.path())
    assert found["skipped"] == []


def test_nothing_is_kept_that_is_slower_as_a_whole(folder, quick, run):
    before = profile.current().settings()
    quick.append(Ratio(0.9, 0.9))
    found = json.loads(run("tune", "--json"))
    assert found["profile"] == before
    assert set(found["gains"].values()) == {1.0}


def test_reset_removes_what_is_stored(folder, quick, run):
    run("tune")
    assert run("tune", "--reset") == f"removed {profile.path()}\n"
    assert list(folder.iterdir()) == []
    assert run("tune", "--reset") == f"nothing was stored in {profile.path()}\n"
    assert json.loads(run("tune", "--reset", "--json")) == {"removed": None}


@pytest.mark.parametrize("option", [(), ("--reset",)])
def test_where_nothing_can_be_stored_it_says_so_at_once(monkeypatch, fail, option):
    monkeypatch.setattr(profile, "cache_folder", lambda: None)
    assert "no folder of compiled code is writable; set NUMBA_CACHE_DIR" in fail("tune", *option, status=1)


def test_a_folder_that_has_become_read_only(folder, quick, fail, monkeypatch):
    def refuse(found):
        raise PermissionError("read-only")

    monkeypatch.setattr(profile, "store", refuse)
    assert "the profile cannot be stored: read-only" in fail("tune", status=1)


def test_options_that_exclude_each_other(folder, fail):
    assert "--reset and --dry-run: expected at most one, got both" in fail("tune", "--reset", "--dry-run")


@pytest.mark.parametrize("command", ["tune", "info"])
def test_an_unknown_profile_in_the_environment(folder, fail, monkeypatch, command):
    monkeypatch.setenv(profile.ENVIRONMENT_VARIABLE, "pentium")
    monkeypatch.setattr(profile, "_in_force", None)
    assert "JITLOGREG_PROFILE: expected one of 'znver5'" in fail(command)


def test_info_says_which_profile_runs_and_why(folder, run, monkeypatch):
    lines = [line for line in run("info").splitlines() if line.startswith("profile ")]
    assert lines == [f"profile          {profile.current().cpu} ({profile.current().source})"]


# ---------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(("answer", "taken"), [(FASTER, True), (SAME, False), (LUCKY, False)])
def test_a_candidate_must_be_faster_in_most_turns(quick, answer, taken):
    found = Tuner()
    before = found.found
    quick.append(answer)
    found._hint("c_order", (28,))
    assert (found.found.c_order.hint != before.c_order.hint) == taken


def test_the_limit_is_the_size_from_which_on_nothing_is_better(monkeypatch, quick):
    found = Tuner()
    better_from = 8192

    def compare(case, profiles, rounds=7):
        columns = int(case.name.split()[0].partition("x")[2])
        return [SAME, FASTER if columns >= better_from else SAME]

    monkeypatch.setattr(tuner, "compare", compare)
    found._limit("c_order", "gradient_below")
    assert found.found.c_order.gradient_below == 8 * better_from
    better_from = 1 << 20
    found._limit("c_order", "gradient_below")
    assert found.found.c_order.gradient_below == profile.NO_LIMIT


def test_what_takes_too_long_keeps_its_value(quick, monkeypatch):
    monkeypatch.setattr(tuner, "SEARCH", -1)
    monkeypatch.setattr(tuner, "SECONDS", -1)
    found = Tuner()
    settings, skipped = found.run(lambda name: None)
    assert settings.settings() == found.before.settings()
    assert skipped == [name for name, _ in found.steps]
    assert found.gains() == {}


def test_a_comparison_puts_the_profile_back():
    before = profile.current()
    seen = []
    case = tuner.Case("no work", lambda: seen.append(profile.current()))
    other = Tuner()._with("c_order", distance=1)
    ratios = tuner.compare(case, (before, other), rounds=1)
    assert len(ratios) == 2
    assert seen[:2] == [before, before]  # an untimed call before each
    assert other in seen
    assert profile.current() is before

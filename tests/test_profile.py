"""Which tuning profile is in force, and what becomes of a stored one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.targets.cpu import profile

CPU = profile.cpu_name()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of compiled code of its own, and no profile in force."""
    monkeypatch.setattr(profile, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv(profile.ENVIRONMENT_VARIABLE, raising=False)
    before = profile.current()
    monkeypatch.setattr(profile, "_in_force", None)
    yield tmp_path
    profile.use(before)


def measured(**changes):
    content = {
        "cpu": CPU,
        "c_order": profile.Prefetch("t1", 12_345, 1 << 14, 1 << 15, 99),
        "f_order": profile.Prefetch("t0", 0, 1 << 18, 1 << 19, 77),
        "serial_below": 1 << 17,
        "source": "measured by a test",
    }
    return profile.Profile(**(content | changes))


@pytest.mark.parametrize("cpu", profile.SHIPPED)
def test_a_shipped_profile_can_be_named(folder, monkeypatch, cpu):
    monkeypatch.setenv(profile.ENVIRONMENT_VARIABLE, cpu)
    profile.store(measured())  # the name goes before what is stored
    assert profile.current().settings() == profile.SHIPPED[cpu].settings()
    assert profile.current().source == f"{cpu}, as JITLOGREG_PROFILE says"


def test_an_unknown_name_raises_and_lists_the_shipped_ones(folder, monkeypatch):
    monkeypatch.setenv(profile.ENVIRONMENT_VARIABLE, "pentium")
    with pytest.raises(ValueError, match=r"^JITLOGREG_PROFILE: expected one of 'znver5', .*'default', got 'pentium'"):
        jlr.loss(np.ones((2, 1)), np.ones(2), np.ones(1), target="cpu")


def test_a_cpu_that_none_is_shipped_for_has_the_default(folder, monkeypatch):
    monkeypatch.setattr(profile, "cpu_name", lambda: "unheard-of")
    assert profile.current() is profile.SHIPPED["default"]


@pytest.mark.parametrize("cpu", [cpu for cpu in profile.SHIPPED if cpu != "default"])
def test_a_cpu_has_its_shipped_one(folder, monkeypatch, cpu):
    monkeypatch.setattr(profile, "cpu_name", lambda: cpu)
    assert profile.current() is profile.SHIPPED[cpu]


def test_what_is_stored_comes_back(folder):
    file = profile.store(measured())
    assert file == folder / f"profile-{CPU}.json"
    assert list(folder.iterdir()) == [file]  # nothing is left of the writing
    found = profile.current()
    assert found.settings() == measured().settings()
    assert found.source == f"measured by a test, in {file}"


def damaged(**changes):
    content = {"version": profile.VERSION, "cpu": CPU, "source": "a test", **measured().settings()}
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        (damaged()[: damaged().index("f_order") - 3], "Expecting"),
        ("[]", "list indices"),
        ("{}", "KeyError: 'version'"),
        (damaged(version=0), "version: expected 1, got 0"),
        (damaged(cpu="z80"), f"cpu: expected {CPU}, this CPU, got z80"),
        (damaged(serial_below=-1), "serial_below: expected an integer from 0 to 2**62 - 1, got -1"),
        (
            damaged(f_order=measured().f_order._asdict() | {"cached": 1.5}),
            "cached: expected an integer from 0 to 2**62 - 1, got 1.5",
        ),
        (damaged(serial_below=True), "serial_below: expected an integer from 0 to 2**62 - 1, got True"),
        (damaged(c_order=damaged()), "string indices"),
        (damaged(c_order=measured().c_order._asdict() | {"hint": "t9"}), ", got 't9'"),
        (damaged(f_order={"hint": "t0"}), "KeyError: 'distance'"),
    ],
)
def test_a_stored_profile_that_is_no_good_is_ignored_with_one_warning(folder, text, why):
    profile.path().write_text(text)
    with pytest.warns(RuntimeWarning, match="the tuning profile .* is ignored") as told:
        found = profile.current()
    assert len(told) == 1
    assert why in str(told[0].message)
    assert found is profile.SHIPPED.get(CPU, profile.SHIPPED["default"])
    assert profile.current() is found  # and is not read again


def test_compiled_code_reads_the_profile_in_force(folder):
    with profile.using(measured()):
        assert profile.numbers.tolist() == [1 << 17, 12_345, 1 << 14, 1 << 15, 99, 0, 1 << 18, 1 << 19, 77]


def test_using_one_ends_where_an_error_does(folder):
    before = profile.current()
    with pytest.raises(KeyError), profile.using(measured()):
        raise KeyError
    assert profile.current() is before
    assert profile.numbers[profile.SERIAL_BELOW] == before.serial_below


PROGRAM = """
import numpy as np, jitlogreg as jlr
from numba import njit
X, y, w = np.ones((64, 3)), np.ones(64), np.ones(3)
@njit
def loss(X, y, w):
    return jlr.loss(X, y, w)
assert loss(X, y, w) == jlr.loss(X, y, w, target="cpu")
from jitlogreg.targets.cpu import profile
print(profile.current().cpu)
"""


@pytest.mark.slow  # the default's kernels are compiled where they are not this CPU's
def test_a_process_of_another_profile_computes_the_same():
    environment = os.environ | {profile.ENVIRONMENT_VARIABLE: "default"}
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "default\n"


# ---------------------------------------------------------------- how far ahead


def offset(m, n, itemsize=8, f_order=False, cached=0, distance=4096, below=1 << 20, block=64, panel=0):
    return profile.prefetch_offset(m, n, itemsize, n, f_order, block, panel, cached, distance, below)


def test_how_far_ahead_c_order_prefetches():
    assert offset(1000, 28) == 34 * 28 + 512
    assert offset(1000, 28, itemsize=4) == 34 * 28 + 1024


def test_what_stays_in_a_cache_is_not_prefetched():
    assert offset(1000, 28, cached=8 * 28_000) == 0
    assert offset(1000, 28, cached=8 * 28_000 - 1) > 0


def test_long_rows_are_not_prefetched():
    assert offset(1000, 512, below=4096) == 0
    assert offset(1000, 511, below=4096) > 0
    assert offset(8, 200_000, panel=128, below=4096) > 0  # of a panel, the row is short


def test_large_blocks_of_f_order_are_not_prefetched():
    assert offset(1000, 16, f_order=True, below=64 * 8 * 16) == 0
    assert offset(1000, 15, f_order=True, below=64 * 8 * 16) == 64

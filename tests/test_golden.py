"""The bits are those of the file on every CPU, whatever the profile: tools/reliability/golden_bits.py has the data."""

import dataclasses
import json

import numpy as np
import pytest
from reliability import golden_bits

import jitlogreg as jlr
from jitlogreg.targets.cpu import profile
from jitlogreg.targets.cpu.pointers import HINTS

GOLDEN = json.loads(golden_bits.GOLDEN.read_text(encoding="utf-8"))
NOTHING, EVERYTHING = 0, profile.NO_LIMIT


@pytest.fixture(autouse=True)
def _on_the_cpu():
    with jlr.use_target("cpu"):
        yield


@pytest.mark.parametrize("case", golden_bits.all_cases())
def test_bits_are_golden(case):
    assert golden_bits.bits(case) == GOLDEN[case]


def test_the_file_has_these_cases_alone():
    assert set(GOLDEN) == set(golden_bits.all_cases())
    assert set(golden_bits.small_cases()) <= set(GOLDEN)


def with_settings(hint, distance, prefetched_below, cached, serial_below):
    prefetch = profile.Prefetch(hint, distance, prefetched_below, prefetched_below, cached)
    return profile.Profile("a test's", prefetch, prefetch, serial_below, "a test")


def hint_in_force(order):
    return getattr(profile.current(), f"{order.lower()}_order").hint


# what differs at run time: everything at either end
@pytest.mark.parametrize("serial_below", [NOTHING, EVERYTHING])
@pytest.mark.parametrize("cached", [NOTHING, EVERYTHING])
@pytest.mark.parametrize(("distance", "prefetched_below"), [(0, EVERYTHING), (1 << 26, EVERYTHING), (4096, NOTHING)])
@pytest.mark.parametrize("dtypes", golden_bits.DTYPES)
@pytest.mark.parametrize("shape", ["1001x37 C", "1001x37 F", "5000x256 F", "21x4100 F", "11x33000 C", "1001x37 CSR"])
def test_no_number_of_a_profile_changes_a_bit(shape, dtypes, distance, prefetched_below, cached, serial_below):
    hint = hint_in_force("C" if shape.endswith("CSR") else shape[-1])  # whose kernels are compiled
    case = f"{shape} {dtypes}"
    with profile.using(with_settings(hint, distance, prefetched_below, cached, serial_below)):
        assert golden_bits.bits(case) == GOLDEN[case]


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize(
    "order",
    ["F", pytest.param("C", marks=pytest.mark.slow)],  # a kernel of C order takes five seconds to compile
)
def test_no_hint_changes_a_bit(order, hint):
    case = f"1001x37 {order} float64/float64"
    X, y, w = data(case)
    expected = jlr.loss_and_gradient(X, y, w), jlr.forward(X, w)
    with profile.using(with_settings(hint, 4096, EVERYTHING, NOTHING, NOTHING)):
        found = jlr.loss_and_gradient(X, y, w), jlr.forward(X, w)
    assert golden_bits.digest(*expected[0], expected[1]) == golden_bits.digest(*found[0], found[1])


def data(case):
    shape, order, _ = case.split()
    m, n = map(int, shape.split("x"))
    X = np.array(golden_bits.numbers(m * n, 1).reshape(m, n), order=order)
    return X, golden_bits.numbers(m, 3) > 0, golden_bits.numbers(n, 2)


def test_the_hint_is_part_of_the_machine_code():
    from jitlogreg.targets.cpu.kernels import kernel

    addresses = {kernel("sigmoid", np.dtype(float), np.dtype(float), "F", hint) for hint in HINTS}
    assert len(addresses) == len(HINTS)


def test_a_case_that_differs_is_named(monkeypatch, capsys, tmp_path):
    golden = GOLDEN["7x3 C float64/float64"]
    wrong = {"7x3 C float64/float64": golden | {"loss": "0"}, "1x1 C float64/float64": GOLDEN["1x1 C float64/float64"]}
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(wrong))
    monkeypatch.setattr(golden_bits, "GOLDEN", path)
    assert golden_bits.main([]) == 1
    out, err = capsys.readouterr()
    assert err == "differs: 7x3 C float64/float64\n"
    assert out == "1 of 2 cases have the golden bits\n"


def test_profiles_are_told_apart_by_identity():
    one = profile.current()
    assert one == one
    assert one != dataclasses.replace(one)

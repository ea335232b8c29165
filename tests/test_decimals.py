"""Decimal text as float64: against Python's float(), by way of a LIBSVM file."""

import random

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg import decimals, libsvm_reader


@pytest.fixture
def read(tmp_path):
    """Read text by way of a file."""

    def read(text):
        (tmp_path / "data.svm").write_text(text, encoding="ascii")
        return jlr.read_libsvm(tmp_path / "data.svm")

    return read


def _decimals(rng, count):
    """Decimals of all kinds, by what is hard about them."""

    def digits(least, most):
        return "".join(rng.choices("0123456789", k=rng.randint(least, most)))

    bits = np.frombuffer(rng.randbytes(8 * count), np.int64)
    anything = bits.view(np.float64)[np.isfinite(bits.view(np.float64))]
    yield "six digits", [f"{rng.gauss(0, 10):.6f}" for _ in range(count)]
    yield "16 digits", [f"{rng.gauss(0, 10):.16g}" for _ in range(count)]
    yield "17 digits", [f"{x:.17g}" for x in anything.tolist()]
    yield "the shortest that tell", list(map(repr, anything.tolist()))
    yield "denormals", [f"{x:.17g}" for x in (bits & (2**52 - 1)).view(np.float64).tolist()]
    yield "up to 19 digits", [f"{digits(1, 19)}e{rng.randint(-345, 310)}" for _ in range(count)]
    yield "of any length", [f"-{digits(0, 15)}.{digits(1, 15)}E{rng.randint(-340, 320):+d}" for _ in range(count)]
    yield "leading zeros", [f"0.{'0' * rng.randint(0, 30)}{digits(1, 18)}" for _ in range(count)]
    halfway = [(rng.getrandbits(53) | 1 << 52) * 2 + 1 << rng.randint(0, 8) for _ in range(count)]
    yield "halfway, or beside it", [str(x + rng.randint(-1, 1)) for x in halfway]
    halves = [f"{rng.getrandbits(52) | 1 << 51}.{rng.choice(['5', '50', '75', '25'])}" for _ in range(count)]
    yield "halves, and quarters", halves


def check_decimals(read, count, most_undecided):
    rng = random.Random(0)
    for kind, texts in _decimals(rng, count):
        X, _ = read("1 " + " ".join(f"1:{text}" for text in texts))
        expected = np.array([float(text) for text in texts])
        wrong = np.flatnonzero(X.data.view(np.int64) != expected.view(np.int64))
        assert [(kind, texts[k], X.data[k]) for k in wrong[:5]] == []
        assert len(X.data) > 0.9 * count
        most_undecided(kind, len(texts))


@pytest.fixture
def undecided(monkeypatch):
    """Count what is left to float(), and compare with what may be."""
    counts = []
    decide = libsvm_reader.Reader._decide

    def counting(self):
        counts.append(int(self.state["undecided_count"]))
        decide(self)

    monkeypatch.setattr(libsvm_reader.Reader, "_decide", counting)
    most = {
        "six digits": 0,
        "16 digits": 0,
        "17 digits": 0.003,
        "the shortest that tell": 0.003,
        "leading zeros": 0.003,
    }

    def check(kind, count):
        assert sum(counts) <= most.get(kind, 1) * count, kind
        counts.clear()

    return check


def test_decimals_are_what_float_makes_of_them(read, undecided):
    check_decimals(read, 20_000, undecided)


@pytest.mark.slow
def test_millions_of_decimals_are_what_float_makes_of_them(read, undecided):
    check_decimals(read, 1_000_000, undecided)


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-0", "+0.0", "0e999999999999999999999", "-0e-400", "00000000000000000000000000000"),
        *("1e22", "1e23", "9007199254740993", "9007199254740992e22", "1.", ".5", "1.e5", "-.5E-3", "+1"),
        *("4.9e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072011e-308"),
        *("2.2250738585072014e-308", "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308"),
        *(
            "1e309",
            "-1e309",
            "1e-400",
            "1e99999999999999999999999",
            "1e-99999999999999999999999",
            "1e00000000000000003",
        ),
        *(
            "123456789012345678",
            "1234567890123456789",
            "999999999999999999999999999999",
            "1" + 400 * "0",
            "." + 400 * "1",
        ),
        *("9223372036854775807", "18446744073709551616", "10000000000000000000000e-22", "1.000000000000000000000001"),
        *("nan", "NaN", "-nan", "inf", "-INF", "+Infinity", "infinity"),
    ],
)
def test_odd_decimals_are_what_float_makes_of_them(read, text):
    X, y = read(f"{text} 1:{text} 2:1")
    expected = np.array([float(text)]).view(np.int64)
    assert X.data[:1].view(np.int64) == expected
    assert y.view(np.int64) == expected
    assert X.data[1] == 1


def test_leading_bits_of_powers():
    for q in range(decimals.LEAST_POWER, decimals.MOST_POWER + 1):
        bits, power = decimals.leading_bits(q), 5 ** abs(q)
        assert bits.bit_length() == 128
        if q >= 0:
            assert 0 <= (power << 128) - (bits << power.bit_length()) < 1 << power.bit_length()
        else:
            above = bits * power - (1 << (127 + power.bit_length()))
            assert (0 < above <= power) if q >= -27 else (-power < above <= 0)

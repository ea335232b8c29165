"""The accuracy contract at every margin, for long rows and long sums, and that its page shows what was measured."""

import json
import math
from fractions import Fraction

import numpy as np
import pages
import pytest
from accuracy import examples, float32, float64, measure, peers, sums
from test_pointwise import evaluate

import jitlogreg as jlr
from jitlogreg.targets.base import Problem
from jitlogreg.targets.dispatch import choose

NEEDS_LONG_DOUBLE = pytest.mark.skipif(not float64.HAS_LONG_DOUBLE, reason="needs a long double wider than float64")


def within_bounds(worst):
    for function, case in zip(examples.FUNCTIONS, worst, strict=True):
        assert 0 < case.ulps <= function.bound, (function, case)


# ---------------------------------------------------------------- one example


def test_a_stride_of_all_float32_margins():
    worst, nans = float32.scan(4099)
    within_bounds(worst)
    assert worst[0].tried == -(-(2**32) // 4099)
    assert nans > 4000


@pytest.mark.slow
def test_every_float32_margin():
    worst, nans = float32.scan()
    within_bounds(worst)
    assert worst[0].tried == 2**32
    assert nans == 2 * (2**23 - 1)


@NEEDS_LONG_DOUBLE
@pytest.mark.parametrize("count", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_float64_margins_over_the_whole_range(count):
    worst = float64.scan(count)
    within_bounds(worst)
    assert worst[0].tried >= count


def test_the_margins_tried_are_of_every_kind():
    z = float64.margins(50_000)
    size, tiny = np.abs(z), np.finfo(np.float64).tiny
    powers = 2.0 ** np.arange(-1074, 1024)
    for values in (powers, np.nextafter(powers, np.inf)[:-1], np.nextafter(powers, 0)[1:]):
        assert np.isin(values, z).all()
        assert np.isin(-values, z).all()
    assert {0.0, -0.0} <= set(z[z == 0].tolist())
    assert np.signbit(z[z == 0]).any()
    for count in (np.sum((size > 0) & (size < tiny)), np.sum((size > 700) & (size < 760)), np.sum(size > 1e3)):
        assert count > 1000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_and_nan(dtype):
    assert examples.special_values(dtype) == []


@NEEDS_LONG_DOUBLE
@pytest.mark.parametrize("off", [3, -3])
def test_an_error_of_three_ulp_is_seen(off):
    z, y = np.array([-3.0, 0.5, 40.0, 300.0]), np.array([0.0, 0.25, 0.5, 1.0])
    own = np.empty((examples.COUNT, 8))
    examples.own_values(np.tile(z, 2), np.tile(y, 2), own)
    results, terms, e = float64.approximate(z, y)
    for f in range(examples.COUNT):
        bad = own[f, :4] + off * np.spacing(terms[f].astype(np.float64))
        seen = float64.long_ulps(f, bad, results[f], terms[f], e, np.float64)
        for i in range(4):
            if terms[f][i] > 0:
                assert 1.4 < seen[i] < 6.5, (f, i)  # a result of 1 has two last places
                assert float64.settled(f, z[i], y[i], bad[i]) == pytest.approx(seen[i], abs=0.01)
    assert float64.long_ulps(2, np.full(4, np.nan), results[2], terms[2], e, np.float64).tolist() == [np.inf] * 4


def test_an_error_of_float32_is_seen():
    for f in range(examples.COUNT):
        right = np.float32(0.3)
        assert float32.ulps(right, float(right), float(right), 1.0, False) == 0
        wrong = right + 3 * np.spacing(right)
        assert float32.ulps(wrong, float(right), float(right), 1.0, f >= 8) == pytest.approx(3)
    assert float32.ulps(np.float32(np.nan), 0.3, 0.3, 1.0, False) == np.inf
    assert float32.ulps(np.float32(0), 1e-39, 1e-39, 1e-39, False) == 0
    assert float32.ulps(np.float32(0), 2e-38, 2e-38, 2e-38, False) > 1e5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_public_calls_give_the_bits_of_the_formulas(dtype, order):
    size = np.dtype(dtype).itemsize
    z = (np.arange(100_005, dtype=f"u{size}") * (2 ** (8 * size) // 100_005)).view(dtype)
    z = z[np.isfinite(z)]
    z = z[: len(z) // 8 * 8]
    X = np.zeros((len(z) - 3, 3), dtype, order=order)  # not a multiple of eight: the last rows are read in another way
    X[:, 1] = z[:-3]
    w = np.array([0, 1, 0], dtype)
    for name, call in (("sigmoid", jlr.forward), ("log_sigmoid", jlr.log_forward)):
        np.testing.assert_array_equal(call(X, w, target="cpu"), evaluate(name, z)[:-3])


# ---------------------------------------------------------------- margins, sums, gradient


@pytest.mark.parametrize("call", ["forward", "sums"])
@pytest.mark.parametrize("arrangement", sums.ARRANGEMENTS)
@pytest.mark.parametrize("n", [3, 28, 129, 1_000])
def test_margins_of_adversarial_rows(target, dtypes, order, n, arrangement, call):
    dtypes = tuple(dtype.name for dtype in dtypes)
    error = sums.margin_error(n, dtypes, order, arrangement, call)
    assert error <= n / 8 + 16
    if target == "cpu":
        derived = sums.roundings_of_margins(n, order, np.dtype(dtypes[0]).itemsize, call)
        assert error <= derived <= n / 8 + 16


@pytest.mark.parametrize("call", ["forward", "sums"])
@pytest.mark.parametrize(
    "arrangement",
    ["cancelling", *(pytest.param(name, marks=pytest.mark.slow) for name in ("scales 1e±12", "always rounded down"))],
)
def test_margins_of_the_longest_rows(dtypes, order, arrangement, call):
    dtypes = tuple(dtype.name for dtype in dtypes)
    with jlr.use_target("cpu"):
        error = sums.margin_error(100_000, dtypes, order, arrangement, call, m=3)
    assert error <= sums.roundings_of_margins(100_000, order, np.dtype(dtypes[0]).itemsize, call) <= 12_516


def test_exact_margins_are_exact():
    x, w = np.array([[1 + 2.0**-30, 1e8 + 1]]), np.array([1 + 2.0**-31, -(1e-8 + 2.0**-70)])
    (parts,) = sums.exact_margins(x, w, 0.25)
    assert sum(map(Fraction, parts)) == sum(
        Fraction(a) * Fraction(b) for a, b in zip(x[0].tolist(), w.tolist(), strict=True)
    ) + Fraction(1, 4)


@NEEDS_LONG_DOUBLE
@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.parametrize("arrangement", sums.ARRANGEMENTS)
@pytest.mark.parametrize("m", [1, 7, 200, 20_003])
def test_sums_in_adversarial_order(target, dtypes, order, m, arrangement, margins):
    if target == "reference" and (m > 200 or dtypes[1] == np.float64):
        pytest.skip("the reference adds up in the order of NumPy and its BLAS")
    names = tuple(dtype.name for dtype in dtypes)
    errors = sums.sum_errors(m, names, order, arrangement, target, margins=margins)
    assert set(errors) == {"loss", "dw", "db", "Σs"}
    for what, error in errors.items():
        assert error <= 32, what


@pytest.mark.slow
@NEEDS_LONG_DOUBLE
@pytest.mark.parametrize(("arrangement", "margins"), [("scales 1e±12", True), ("always rounded down", False)])
def test_the_longest_sums(dtypes, order, arrangement, margins):
    names = tuple(dtype.name for dtype in dtypes)
    errors = sums.sum_errors(10_000_000, names, order, arrangement, n=1 + margins, margins=margins)
    assert max(errors.values()) <= 32


def test_the_derived_roundings_leave_room_for_the_terms_own():
    for what in ("dw", "dw, wide", "db", "Σs", "loss"):
        for order in "CF":
            assert sums.roundings_of_sums(what, order) + (5 if what != "loss" else 1) <= 32, (what, order)


@pytest.mark.parametrize("scale", [1, 8, 64])
def test_the_gradient_is_the_derivative_of_the_loss_to_the_last_digits(target, dtypes, order, scale):
    names = tuple(dtype.name for dtype in dtypes)
    assert sums.gradient_error(names, order, target, m=20, n=3, scale=scale) <= 1


def test_a_gradient_that_is_wrong_in_its_last_digits_is_seen(monkeypatch):
    def wrong(*arguments, **named):
        dw, db = right(*arguments, **named)
        return dw * (1 + 4e-14), db

    right = jlr.gradient
    monkeypatch.setattr(jlr, "gradient", wrong)
    assert sums.gradient_error(("float64", "float64"), "C") > 1


# ---------------------------------------------------------------- peers, and the page


@NEEDS_LONG_DOUBLE
def test_peers_stand_beside_ours(monkeypatch):
    monkeypatch.setattr(peers, "margins", lambda dtype: np.arange(-40, 40).astype(dtype))
    monkeypatch.setitem(peers.PEERS, "nobody", ("no_such_module", "no-such-package", None))
    rows, versions, left_out = peers.worst_cases()
    assert "nobody" in left_out
    assert {"jitlogreg", "numpy"} <= set(versions)
    ours = [row for row in rows if row[0] == "jitlogreg"]
    assert {row[1:3] for row in ours} == {(dtype, what) for dtype in ("float32", "float64") for what in peers.WHAT}
    for _, _, _, worst, far in ours:
        assert worst.ulps <= 2
        assert far == math.inf
    formula = {row[1:3]: row[3:] for row in rows if row[0].startswith("NumPy")}
    assert formula["float64", "loss"][0].ulps == math.inf
    assert formula["float32", "log σ"][1] < 20


@NEEDS_LONG_DOUBLE
def test_a_small_run_writes_the_page(monkeypatch, tmp_path):
    page = tmp_path / "accuracy.md"
    page.write_text(measure.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(measure, "PAGE", page)
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "accuracy.json")
    monkeypatch.setattr(peers, "PEERS", {"jitlogreg": peers.PEERS["jitlogreg"]})
    monkeypatch.setattr(sums, "COLUMNS", (1, 9))
    monkeypatch.setattr(sums, "ROWS", (1, 100))
    measure.main(["--step", "1000003", "--count", "20000"])
    written = page.read_text(encoding="utf-8")
    assert "| float64 / float64 | F | 9 |" in written
    measure.main(["--from", str(tmp_path / "accuracy.json")])
    assert page.read_text(encoding="utf-8") == written


@pytest.mark.parametrize("spoiled", ["float64.scan", "sums.margin_error", "sums.sum_errors"])
def test_nothing_is_written_where_a_bound_does_not_hold(monkeypatch, spoiled):
    bad = {
        "float64.scan": lambda *a: [examples.Worst(4.5, 1.0, 0.0, 1)] * examples.COUNT,
        "sums.margin_error": lambda n, *a: n / 8 + 17,
        "sums.sum_errors": lambda *a, **k: {"dw": 33.0},
    }
    module, name = spoiled.split(".")
    monkeypatch.setattr(getattr(measure, module), name, bad[spoiled])
    measured = {"float64.scan": lambda: measure.measure_examples(10**7, 1)}.get(
        spoiled, measure.measure_margins if "margin" in spoiled else measure.measure_sums
    )
    with pytest.raises(ArithmeticError, match="a bound does not hold"):
        measured()


def test_the_page_shows_the_kept_figures_of_a_whole_run():
    kept = json.loads(measure.RESULTS.read_text(encoding="utf-8"))
    page = measure.PAGE.read_text(encoding="utf-8")
    for name, text in measure.tables(kept).items():
        assert pages.replaced(page, f"accuracy: {name}", text) == page
    for row in kept["examples"]:
        assert row["ulps"] <= row["bound"]
        assert row["tried"] == 2**32 if row["dtype"] == "float32" else row["tried"] >= 10**7
    assert {row["n"] for row in kept["margins"]} == set(sums.COLUMNS)
    assert {row["peer"] for row in kept["peers"]} >= {"jitlogreg", "scikit-learn", "oneDAL", "PyTorch"}


def test_a_page_without_markers_is_left_alone():
    with pytest.raises(SystemExit, match="accuracy: sums"):
        pages.replaced("nothing", "accuracy: sums", "new")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.234, "1.23"), (12345.6, "12346"), (1.5e37, "1.50e+37"), (math.inf, "inf")]
)
def test_digits(value, text):
    assert pages.digits(value) == text


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
def test_a_sum_over_a_long_block_of_a_product_keeps_its_bound(order, x_dtype):
    m, block = 16_384, 4096 // np.dtype(x_dtype).itemsize
    # each term after a block's first would be rounded away in the lane that has the first
    s = np.where(np.arange(m) % block < 8, 1.0, 2.0**-53 * (1 - 2.0**-30))
    problem = Problem.of(np.zeros((m, 2), x_dtype, order), None, s)
    _, got = choose("cpu").hessian_vector_sums(problem, np.zeros(2), 0.0, np.array([0.0, 0.0, 4.0]))
    exact = math.fsum(s)  # σ(0)σ(−0) · 4 = 1
    assert abs(got - exact) <= 32 * 2.0**-53 * exact

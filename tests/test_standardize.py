"""Columns seen from their own centre, in their own unit: when that is needed, and what the targets make of it."""

import functools
import math
from fractions import Fraction

import numba
import numpy as np
import pytest
from conftest import expected_objective, expected_product, make_data, unit
from numpy.testing import assert_allclose, assert_array_equal

import jitlogreg as jlr
from jitlogreg.evaluation import normalize
from jitlogreg.solvers import run
from jitlogreg.solvers.standardize import MAX_CENTRE, ROWS, UNSCALED_UNITS, column_statistics
from jitlogreg.targets import cpu, reference
from jitlogreg.targets.base import Problem
from jitlogreg.targets.frame import Frame, turned_hessian_vector_sums, turned_sums

TURNED = turned_sums, turned_hessian_vector_sums


def look(X, s=None, *, l2=0.0, has_intercept=True):
    """At rows; a vector is one column."""
    X = np.asarray(X, dtype=float)
    return column_statistics(X if X.ndim == 2 else X[:, np.newaxis], s, l2=l2, has_intercept=has_intercept)


def signs(m=100):
    """Half of them −1, half of them 1: a column of mean 0 and deviation 1."""
    return np.where(np.arange(m) % 2, 1.0, -1.0)


# ---------------------------------------------------------------- what a column looks like


@pytest.mark.parametrize(
    ("offset", "needs_frame"), [(0, False), (MAX_CENTRE - 1, False), (MAX_CENTRE + 1, True), (-MAX_CENTRE - 1, True)]
)
def test_a_column_far_from_zero_needs_a_frame(offset, needs_frame):
    for deviation in (1.0, 3e-5, 3e5):
        found = look(deviation * (signs() + offset))
        assert found.needs_frame == needs_frame
        assert_allclose(found.frame.centre, deviation * offset, rtol=1e-14, atol=1e-14 * deviation)
        assert_allclose(found.rms, deviation * math.hypot(1, offset), rtol=1e-14)


@pytest.mark.parametrize(
    ("deviation", "needs_frame"),
    [
        (1.0, False),
        (0.9 * UNSCALED_UNITS[1], False),
        (1.1 * UNSCALED_UNITS[0], False),
        (2 * UNSCALED_UNITS[1], True),
        (UNSCALED_UNITS[0] / 2, True),
    ],
)
def test_a_column_of_an_odd_unit_needs_a_frame(deviation, needs_frame):
    assert look(deviation * signs()).needs_frame == needs_frame
    assert look(deviation * signs(), has_intercept=False).needs_frame == needs_frame


@pytest.mark.parametrize("deviation", [1.0, 1.4, 1.5, 0.7, 3e-200, 1e-9, 5e200, 1e-300])
@pytest.mark.parametrize("has_intercept", [True, False])
def test_scales_are_powers_of_two_that_bring_a_column_near_one(deviation, has_intercept):
    found = look(deviation * signs(), has_intercept=has_intercept)
    mantissa, _ = math.frexp(found.frame.scale[0])
    assert mantissa == 0.5
    assert 0.5 <= found.spread[0] <= 2
    assert_allclose(found.spread, deviation * found.frame.scale, rtol=1e-13)
    assert found.needs_frame == (not 1e-18 < deviation < 1e18)


@pytest.mark.parametrize("value", [5.0, 0.1, 7.3, -1e9, 3e-310, 1e300, 5e-324])
@pytest.mark.parametrize("m", [1, 3, 100, 256, 300])
def test_a_constant_column_has_its_value_for_a_centre_and_no_spread(value, m):
    found = look(np.full(m, value))
    # in other rows it may be another; if not, no Cholesky factor says so
    assert found.needs_frame == (not 1e-18 < abs(value) < 1e18)
    assert found.frame.centre == value
    assert found.spread == 1
    assert np.isfinite(found.frame.scale).all()
    assert_array_equal(found.frame.columns(np.full((m, 1), value)), 0)


def test_without_an_intercept_a_constant_column_is_like_any_other():
    found = look(np.full(50, 1e9), has_intercept=False)
    assert not found.needs_frame
    assert found.frame.centre == 0
    assert 0.5 <= found.spread <= 2


@pytest.mark.parametrize("has_intercept", [True, False])
def test_a_column_of_zeros_needs_no_frame(has_intercept):
    found = look(np.zeros(50), has_intercept=has_intercept)
    assert not found.needs_frame
    assert (found.frame.centre, found.frame.scale, found.spread, found.rms) == (0, 1, 1, 0)


def test_without_an_intercept_nothing_is_centred():
    found = look(signs() + 1e9, has_intercept=False)
    assert not found.needs_frame
    assert found.frame.centre == 0
    assert_allclose(found.spread, (1e9 + 1e-9) * found.frame.scale, rtol=1e-12)


def test_a_penalty_that_weighs_more_than_the_column_is_its_unit():
    plain, penalised = look(1e-30 * signs()), look(1e-30 * signs(), l2=1.0)
    assert plain.needs_frame
    assert not penalised.needs_frame
    assert penalised.frame.scale == 0.5  # a curvature of l2 is that of a column of 2 √l2
    assert penalised.spread == 0.5e-30
    assert look(signs(), l2=1e-12).frame.scale == 1
    assert look(signs() * 1e30, l2=1.0).frame.scale == look(signs() * 1e30).frame.scale


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e200, 1e308])
def test_columns_at_the_limits_of_numbers(size):
    column = size * signs() * np.where(np.arange(100) % 4 < 2, 1.0, 0.5)
    found = look(np.c_[column, signs()])
    assert found.needs_frame
    assert np.isfinite([*found.frame.centre, *found.frame.scale, *found.spread, *found.rms]).all()
    assert 0.5 <= found.spread[1] <= 2
    if 1e-300 < size < 1e301:  # scales end at 2^±1000
        assert 0.5 <= found.spread[0] <= 2
        assert_allclose(found.frame.columns(np.c_[column, signs()])[:, 0], column * found.frame.scale[0])


def test_rows_count_as_much_as_their_weight():
    X, s = np.array([0.0, 10.0, 4.0]), np.array([1.0, 3.0, 0.0])
    found = look(X, s)
    assert_allclose(found.frame.centre, 7.5)
    assert_allclose(found.spread / found.frame.scale, math.sqrt(18.75))
    for factor in (2.0**-1000, 5e-324, 1e300):
        other = look(X, s * factor)
        assert_array_equal(other.frame.packed, found.frame.packed)
        assert_array_equal(other.spread, found.spread)


def test_where_none_of_the_rows_has_weight_they_count_alike():
    X = np.array([0.0, 10.0, 4.0, -6.0])
    assert_array_equal(look(X, np.zeros(4)).frame.packed, look(X).frame.packed)


def test_a_run_looks_at_some_of_the_rows(monkeypatch):
    seen = []
    monkeypatch.setattr(
        run, "column_statistics", lambda X, s, **given: seen.append((X, s)) or column_statistics(X, s, **given)
    )
    data = make_data(2000, 3, weighted=True)
    jlr.fit(data.X, data.y, sample_weight=data.sample_weight, max_iterations=0)
    ((X, s),) = seen
    assert_array_equal(X, data.X[:: 2000 // ROWS])
    assert_array_equal(s, data.sample_weight[:: 2000 // ROWS])


# ---------------------------------------------------------------- a frame


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 20])
def test_a_frame_is_packed_by_eights(n):
    centre, scale = np.arange(1.0, n + 1), np.ldexp(1.0, np.arange(n))
    packed = Frame.of(centre, scale).packed.reshape(-1, 2, 8)
    assert_array_equal(packed[:, 0].ravel()[:n], centre)
    assert_array_equal(packed[:, 1].ravel()[:n], scale)
    assert_array_equal(packed[:, 0].ravel()[n:], 0)
    assert_array_equal(packed[:, 1].ravel()[n:], 0)


@pytest.mark.parametrize("with_b", [True, False])
def test_parameters_go_there_and_back(with_b):
    rng = np.random.default_rng(0)
    seen = Frame.of(rng.normal(size=5) if with_b else np.zeros(5), np.ldexp(1.0, [0, 3, -7, 20, -1]))
    theta, X = rng.normal(size=5 + with_b), rng.normal(size=(20, 5))
    back = seen.from_caller(seen.to_caller(theta))
    assert_array_equal(back[:5], theta[:5])
    assert_allclose(back, theta, rtol=1e-9)
    # the same margins, and the gradient of the same function
    caller = seen.to_caller(theta)
    z = seen.columns(X) @ theta[:5] + (theta[5] if with_b else 0)
    assert_allclose(X @ caller[:5] + (caller[5] if with_b else 0), z, rtol=1e-12, atol=1e-12)
    dz = rng.normal(size=20)
    gradient = np.append(seen.columns(X).T @ dz, [dz.sum()] if with_b else [])
    wanted = np.append(X.T @ dz, [dz.sum()] if with_b else [])
    assert_allclose(seen.gradient_to_caller(gradient), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_a_frame_are_rounded_once(dtype):
    X = (1e9 + np.random.default_rng(0).normal(size=(50, 2)) * 1e3).astype(dtype)
    seen = Frame.of(np.array([1e9 + 1 / 3, 0.1]), np.array([2.0**-10, 2.0**70]))
    for row, wide in zip(X, seen.columns(X), strict=True):
        for x, centre, scale, found in zip(row, seen.centre, seen.scale, wide, strict=True):
            exact = (Fraction(float(x)) - Fraction(centre)) * Fraction(scale)
            assert abs(Fraction(found) - exact) <= Fraction(unit(np.float64)) * abs(exact)


# ---------------------------------------------------------------- the kernels in a frame

# Tails of rows and of columns, two columns side by side, rows whose margins are sequential, several chunks
SHAPES = [(45, 7), (8, 8), (7, 3), (1, 1), (65, 33), (200, 2), (203, 2), (3, 300), (90, 70), (1003, 28)]


def offset_data(m, n, dtype, order, *, weighted=False, far=1e9, seed=0):
    """Columns at ±`far`, as far as the dtype tells their values apart, and the frame that brings them near."""
    data = make_data(m, n, (dtype, np.float64), "C", soft=True, weighted=weighted, seed=seed)
    rng = np.random.default_rng([seed, n])
    centre = far * rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1, n)
    deviation = 2.0 ** rng.integers(-3, 4, n) * (1 if dtype == np.float64 else 2.0**8)
    data.X = np.asarray(data.X * deviation + centre, dtype, order=order)
    data.frame = Frame.of(centre, 1 / deviation)
    data.w = data.w / math.sqrt(n)
    data.near = data.frame.columns(data.X)
    return data


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def within(found, wanted, bound):
    assert np.all(np.abs(found - wanted) <= bound)


def check_sums(kernels, data, X=None):
    """All sums in a frame, within their bounds of those of columns that are rounded once."""
    X = data.X if X is None else X
    problem = Problem.of(X, data.y, data.sample_weight, data.frame)
    sums = kernels.sums(problem, data.w, data.b, True)
    found = normalize(sums, data.w, 0.0)
    value, bound = expected_objective(data.near, data.y, data.w, data.b, data.sample_weight)
    within(found.loss, value.loss, bound.loss)
    within(found.dw, value.dw, bound.dw)
    within(found.db, value.db, bound.db)
    alone = kernels.sums(problem, data.w, data.b, False)
    assert normalize(alone, data.w, 0.0, with_gradient=False).loss == pytest.approx(value.loss, abs=bound.loss)
    v = np.random.default_rng(1).normal(size=X.shape[1] + 1)
    of_w, of_b = kernels.hessian_vector_sums(problem, data.w, data.b, v)
    value, bound = expected_product(data.near, data.w, data.b, v, data.sample_weight)
    within(np.append(of_w, of_b) / sums.weight, value, bound)
    if X.shape[1] <= 100:
        hessian = kernels.hessian_sums(problem, data.w, data.b) / sums.weight
        if kernels is cpu:
            assert_array_equal(hessian, hessian.T)
        with_ones = np.c_[data.near, np.ones(len(X))]
        size = np.abs(with_ones).T @ np.abs(with_ones) / 4 * (3 if data.sample_weight is not None else 1)
        within(hessian @ v, value, bound + 64 * unit(np.float64) * (size @ np.abs(v)))


@pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_of_columns_far_from_zero(kernels, dtype, order, shape, weighted):
    check_sums(kernels, offset_data(*shape, dtype, order, weighted=weighted))


@pytest.mark.parametrize("shape", [(45, 7), (203, 2), (90, 70)], ids=str)
def test_sums_of_views(dtype, order, shape):
    data = offset_data(*shape, dtype, "C", weighted=True)
    m, n = shape
    wide = np.full((m + 3, n + 5), np.nan, dtype, order=order)
    wide[2 : m + 2, 3 : n + 3] = data.X
    check_sums(cpu, data, wide[2 : m + 2, 3 : n + 3])
    spaced = np.full((2 * m, n) if order == "C" else (m, 2 * n), np.nan, dtype, order=order)
    every_other = spaced[::2] if order == "C" else spaced[:, ::2]
    every_other[...] = data.X
    check_sums(cpu, data, every_other)


@pytest.mark.parametrize("shape", [(45, 7), (200, 2), (90, 70), (1003, 28)], ids=str)
def test_a_frame_that_changes_nothing_changes_no_bit(order, dtype, shape):
    data = make_data(*shape, (dtype, np.float64), order, weighted=True)
    n = shape[1]
    same, v = Frame.of(np.zeros(n), np.ones(n)), np.linspace(-1, 1, n + 1)
    problems = [Problem.of(data.X, data.y, data.sample_weight, seen) for seen in (None, same)]
    plain, framed = (cpu.sums(problem, data.w, data.b, True) for problem in problems)
    assert_array_equal(framed.dw, plain.dw)
    assert framed._replace(dw=None) == plain._replace(dw=None)
    assert_array_equal(*(cpu.hessian_sums(problem, data.w, data.b) for problem in problems))
    products = [cpu.hessian_vector_sums(problem, data.w, data.b, v) for problem in problems]
    assert_array_equal(*(np.append(*product) for product in products))


@pytest.mark.parametrize("shape", [(45, 7), (1003, 28)], ids=str)
def test_powers_of_two_change_the_sums_by_as_much(order, shape):
    data, scale = make_data(*shape, order=order), np.ldexp(1.0, np.arange(shape[1]) * 9 - 90)
    seen = Frame.of(np.zeros(shape[1]), 1 / scale)
    plain = cpu.sums(Problem.of(data.X, data.y), data.w, data.b, True)
    framed = cpu.sums(Problem.of(data.X * scale, data.y, None, seen), data.w, data.b, True)
    assert_array_equal(framed.dw, plain.dw)
    assert (framed.loss, framed.db) == (plain.loss, plain.db)


def test_many_rows_on_any_number_of_threads(order):
    data = offset_data(30_001, 28, np.float64, order, weighted=True)
    arguments = Problem.of(data.X, data.y, data.sample_weight, data.frame), data.w, data.b
    v = np.linspace(-1, 1, 29)

    def found():
        sums = cpu.sums(*arguments, True)
        of_w, of_b = cpu.hessian_vector_sums(*arguments, v)
        return np.concatenate([sums.dw, [sums.loss, sums.db, of_b], of_w, cpu.hessian_sums(*arguments).ravel()])

    before, many = numba.get_num_threads(), found()
    numba.set_num_threads(1)
    try:
        assert_array_equal(found(), many)
    finally:
        numba.set_num_threads(before)
    wanted = reference.sums(*arguments, True)
    assert_allclose(many[:28], wanted.dw, rtol=0, atol=1e-12 * np.abs(data.near).sum(axis=0).max())
    assert_allclose(many[28:30], [wanted.loss, wanted.db], rtol=0, atol=1e-12 * wanted.loss)
    assert_allclose(many[-29 * 29 :], reference.hessian_sums(*arguments).ravel(), rtol=0, atol=1e-12 * 30_001)


# ---------------------------------------------------------------- where a target takes columns as they are


def check_turned(sums, hessian_vector_sums, data, relative):
    """Sums in a frame to a relative error that its centre costs."""
    given = Problem.of(data.X, data.y, data.sample_weight, data.frame), data.w, data.b
    found, wanted = sums(*given, True), reference.sums(*given, True)
    size = relative * np.abs(data.near).sum(axis=0).max()
    assert_allclose(found.dw, wanted.dw, rtol=0, atol=size)
    assert_allclose([found.loss, found.db], [wanted.loss, wanted.db], rtol=0, atol=size)
    assert sums(*given, False).loss == pytest.approx(wanted.loss, abs=size)
    v = np.random.default_rng(1).normal(size=data.X.shape[1] + 1)
    of_w, of_b = hessian_vector_sums(*given, v)
    wanted_w, wanted_b = reference.hessian_vector_sums(*given, v)
    size *= np.abs(data.near @ v[:-1]).max() + 1
    assert_allclose(np.append(of_w, of_b), np.append(wanted_w, wanted_b), rtol=0, atol=size)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_target_without_frames(order, dtype, weighted):
    plain = (reference.sums, reference.hessian_vector_sums)
    turned = [functools.partial(turn, call) for turn, call in zip(TURNED, plain, strict=True)]
    check_turned(*turned, offset_data(60, 5, dtype, order, weighted=weighted, far=1e3), 1e-11)


@pytest.mark.parametrize(("shape", "order"), [((11, 33_000), "C"), ((21, 4_100), "F")], ids=str)
def test_column_panels_take_columns_as_they_are(shape, order):
    data = offset_data(*shape, np.float64, order, weighted=True, far=100.0)
    check_turned(cpu.sums, cpu.hessian_vector_sums, data, 1e-10)


@pytest.mark.parametrize("order", ["C", "F"])
def test_wide_data_far_from_zero_is_fitted(order):
    m, n = (21, 4_100) if order == "F" else (11, 33_000)
    near = np.random.default_rng(0).normal(size=(m, n))
    y = (np.arange(m) % 2).astype(float)
    wanted, fitted = (
        jlr.fit(np.asarray(near + shift, order=order), y, l2=1.0, tolerance=1e-8) for shift in (0.0, 2048.0)
    )
    assert wanted.converged
    assert fitted.converged
    assert_allclose(fitted.loss, wanted.loss, rtol=1e-9)
    assert_allclose(fitted.w, wanted.w, rtol=0, atol=1e-6 * np.abs(wanted.w).max())


# ---------------------------------------------------------------- an objective in a frame


@pytest.mark.parametrize("has_b", [True, False])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_an_objective_in_a_frame_is_the_same_function(target, order, has_b, l2):
    data = make_data(60, 4, order=order, weighted=True)
    rng = np.random.default_rng(5)
    seen = Frame.of(rng.normal(size=4) if has_b else np.zeros(4), np.ldexp(1.0, [0, 3, -2, 1]))
    plain = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=l2, fit_intercept=has_b)
    framed, (theta, v) = plain.in_frame(seen), rng.normal(size=(2, 4 + has_b))
    caller = seen.to_caller(theta)
    loss, gradient = framed(theta)
    assert loss == pytest.approx(plain(caller)[0], rel=1e-13)
    assert framed.loss(theta) == pytest.approx(loss, rel=1e-14)
    assert_allclose(seen.gradient_to_caller(gradient), plain(caller)[1], rtol=1e-11, atol=1e-13)
    loss, gradient = framed.at_zero()
    assert loss == pytest.approx(plain.at_zero()[0], rel=1e-13)
    assert_allclose(seen.gradient_to_caller(gradient), plain.at_zero()[1], rtol=1e-11, atol=1e-13)
    # curvature along v is that along its caller's direction
    along = seen.to_caller(v)
    assert v @ framed.hessian_vector(theta, v) == pytest.approx(along @ plain.hessian_vector(caller, along), rel=1e-11)
    if framed.has_hessian:
        assert_allclose(framed.hessian(theta) @ v, framed.hessian_vector(theta, v), rtol=1e-11, atol=1e-13)
        R = framed.root(theta)
        assert_allclose(R.T @ R / framed.total_weight, framed.hessian(theta), rtol=1e-11, atol=1e-13)
    assert framed.smallest_doubt(theta) == pytest.approx(plain.smallest_doubt(caller), rel=1e-11)
    part, whole = framed.sample(20), plain.sample(20)
    assert part(theta)[0] == pytest.approx(whole(caller)[0], rel=1e-12)
    assert plain.frame is None  # nothing has changed


def test_the_smallest_doubt_is_that_of_examples_with_weight_and_a_label_of_0_or_1(target):
    X, y = np.array([[0.0], [2.0], [-3.0], [50.0], [-40.0]]), np.array([1.0, 1.0, 0.0, 1.0, 0.5])
    s = np.array([1.0, 2.0, 5.0, 0.0, 1.0])
    doubts = s / (1 + np.exp([0.0, 2.0, 3.0, 50.0, 0.0]))
    objective = jlr.Objective(X, y, sample_weight=s)
    assert objective.smallest_doubt(np.array([1.0, 0.0])) == pytest.approx(doubts[2], rel=1e-12)
    alone = jlr.Objective(X[:3], y[:3])
    assert alone.smallest_doubt(np.array([1.0, 0.0])) == pytest.approx(1 / (1 + np.exp(3)), rel=1e-12)
    assert jlr.Objective(X[4:], y[4:]).smallest_doubt(np.zeros(2)) == math.inf

"""Weights and columns at the limits of numbers: what has a value gets it."""

import importlib

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr

SOLVERS = ["newton", "lbfgs", "gradient_descent"]
SIZES = [5e-324, 1e-300, 1e-160, 1e160, 1e300, 1e308]


def soft(m=60, n=3, **given):
    data = make_data(m, n, **given)
    data.y = (data.y * 0.8 + 0.1).astype(data.y.dtype)
    return data


def both(data, s, **given):
    return jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=s, **given)


def close(found, wanted, relative=1e-12):
    assert found.loss == pytest.approx(wanted.loss, rel=relative)
    np.testing.assert_allclose(found.dw, wanted.dw, rtol=0, atol=relative * np.abs(wanted.dw).max())
    assert found.db == pytest.approx(wanted.db, rel=relative, abs=relative)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("size", SIZES)
def test_means_by_equal_weights_of_any_size(target, order, size):
    data = soft(order=order)
    s = np.full(60, size)
    close(both(data, s), both(data, None))
    close(both(data, s, l2=0.3), both(data, None, l2=0.3))
    assert jlr.loss(data.X, data.y, data.w, data.b, sample_weight=s) == pytest.approx(both(data, None).loss, rel=1e-12)
    gradient = jlr.gradient(data.X, data.y, data.w, data.b, sample_weight=s)
    np.testing.assert_allclose(gradient.dw, both(data, None).dw, rtol=1e-9)


def test_weights_of_very_different_size(target):
    data = soft()
    s = np.where(np.arange(60) % 3 == 0, 1e150, 1e-150)
    some = data.X[::3], data.y[::3]
    close(both(data, s), jlr.loss_and_gradient(*some, data.w, data.b))
    s = np.where(np.arange(60) % 3 == 0, 1e-150, 5e-324)
    close(both(data, s), jlr.loss_and_gradient(*some, data.w, data.b))


@pytest.mark.parametrize("size", SIZES)
def test_an_objective_by_weights_of_any_size(target, size):
    data = soft()
    objective, wanted = (jlr.Objective(data.X, data.y, sample_weight=s, l2=0.1) for s in (np.full(60, size), None))
    theta, v = np.append(data.w, data.b), np.arange(4.0)
    loss, gradient = objective(theta)
    assert loss == pytest.approx(wanted(theta)[0], rel=1e-12)
    assert objective.loss(theta) == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(gradient, wanted(theta)[1], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(objective.hessian_vector(theta, v), wanted.hessian_vector(theta, v), rtol=1e-9)
    if objective.has_hessian:
        np.testing.assert_allclose(objective.hessian(theta), wanted.hessian(theta), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", SIZES)
def test_a_fit_by_weights_of_any_size(target, solver, size):
    data = soft()
    found = jlr.fit(data.X, data.y, solver=solver, sample_weight=np.full(60, size))
    wanted = jlr.fit(data.X, data.y, solver=solver)
    assert found.converged
    assert found.n_iterations == wanted.n_iterations
    np.testing.assert_allclose(found.w, wanted.w, rtol=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_fit_by_weights_of_very_different_size(solver):
    data = soft()
    s = np.where(np.arange(60) % 3 == 0, 1e150, 1e-150)
    found, wanted = jlr.fit(data.X, data.y, solver=solver, sample_weight=s), jlr.fit(data.X[::3], data.y[::3])
    assert found.converged
    np.testing.assert_allclose(found.w, wanted.w, rtol=1e-5)


def test_weights_that_are_all_zero_are_refused_still():
    data = soft()
    for call in (jlr.loss_and_gradient, jlr.gradient, jlr.loss):
        with pytest.raises(ValueError, match=r"sample_weight: expected a sum that is positive and finite, got 0\.0"):
            call(data.X, data.y, data.w, sample_weight=np.zeros(60))
    with pytest.raises(ValueError, match=r"sample_weight\[3\]: expected a finite weight of at least 0, got inf"):
        both(data, np.where(np.arange(60) == 3, np.inf, 1e308))


# ---------------------------------------------------------------- float32


@pytest.fixture
def large():
    """A gradient of 1e25, which float32 has, from products of 1e39, which it has not."""
    data = soft(dtypes=(np.float32, np.float32))
    data.X = (data.X * np.float32(1e25)).astype(np.float32)
    data.w, data.b = np.zeros(3, np.float32), 0.0
    data.sample_weight = np.full(60, 1e14, np.float32)
    return data


@pytest.mark.parametrize("m", [60, 3_000])
def test_weighted_sums_beyond_float32_whose_means_are_within(target, m):
    data = soft(m, dtypes=(np.float32, np.float32))
    X, w = (data.X * np.float32(1e25)).astype(np.float32), np.zeros(3, np.float32)
    s = np.full(m, 1e14, np.float32)
    found = jlr.loss_and_gradient(X, data.y, w, sample_weight=s)
    wanted = X.astype(float).T @ (0.5 - data.y.astype(float)) / m
    assert found.dw.dtype == np.float32
    np.testing.assert_allclose(found.dw, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_array_equal(jlr.gradient(X, data.y, w, sample_weight=s).dw, found.dw)
    assert found.loss == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("weight", [1.5e-45, 1e-40, 1e-30, 1e30, 3e38])
def test_weights_at_the_ends_of_float32(target, weight):
    data = soft(dtypes=(np.float32, np.float32))
    wanted = jlr.loss_and_gradient(data.X, data.y, data.w, data.b)
    found = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=np.full(60, weight, np.float32))
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    np.testing.assert_allclose(found.dw, wanted.dw, atol=1e-6)


def test_an_objective_of_large_float32(target, large):
    objective = jlr.Objective(large.X, large.y, sample_weight=large.sample_weight)
    wanted = large.X.astype(float).T @ (0.5 - large.y.astype(float)) / 60
    _, gradient = objective(np.zeros(4))
    np.testing.assert_allclose(gradient[:3], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_fit_of_large_float32(target, large, solver):
    found = jlr.fit(large.X, large.y, sample_weight=large.sample_weight, solver=solver)
    wanted = jlr.fit(large.X.astype(float) / 1e25, large.y.astype(float), solver=solver)
    assert found.converged
    assert found.n_iterations == wanted.n_iterations
    np.testing.assert_allclose(found.w * 1e25, wanted.w, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_the_same_over_blocks(large, solver):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    wanted = jlr.fit(large.X.astype(float) / 1e25, large.y.astype(float), solver=solver)
    for weights in (large.sample_weight, np.full(60, 1e308), np.full(60, 5e-324)):
        blocks = [da.from_array(array, chunks=(17, *array.shape[1:])) for array in (large.X, large.y)]
        objective = over_blocks.Objective(*blocks, sample_weight=weights)
        found = jlr.fit(objective, solver=solver)
        assert found.converged
        np.testing.assert_allclose(found.w * 1e25, wanted.w, rtol=1e-6)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-9)


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e290])
def test_columns_whose_squares_leave_float64(target, solver, scale):
    data = soft()
    wanted = jlr.fit(data.X, data.y, solver="newton", tolerance=1e-10)
    for scales in (np.full(3, scale), np.array([1.0, scale, 1.0]), np.array([1.0, scale, 1 / scale])):
        found = jlr.fit(data.X * scales, data.y, solver=solver)
        assert found.converged
        np.testing.assert_allclose(found.w * scales, wanted.w, rtol=1e-4)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-9)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_weights_and_columns_at_once(solver, scale):
    data = soft()
    wanted = jlr.fit(data.X, data.y, solver=solver)
    for size in (1e-300, 1e300):
        found = jlr.fit(data.X * scale, data.y, solver=solver, sample_weight=np.full(60, size))
        assert found.converged
        np.testing.assert_allclose(found.w * scale, wanted.w, rtol=1e-6)


def test_coefficients_beyond_float64_are_refused():
    data = soft()
    with pytest.raises(
        ValueError, match="X: expected columns that are larger, or less far from 0, got a w or b beyond float64"
    ):
        jlr.fit(data.X * 1e-310, data.y)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_penalty_on_columns_of_any_size(solver):
    data = soft()
    for scale in (1e-200, 1e200):
        scales = np.array([1.0, scale, 1.0])
        found = jlr.fit(data.X * scales, data.y, solver=solver, l2=0.1)
        assert found.converged
        # of tiny columns nothing is made, and of large ones all, for nothing
        X = data.X[:, ::2].copy() if scale < 1 else data.X
        theta = np.append(found.w * scales, found.b)
        if scale < 1:
            alone = jlr.fit(X, data.y, l2=0.1, tolerance=1e-10)
            np.testing.assert_allclose(theta[[0, 2, 3]], [*alone.w, alone.b], rtol=1e-6)
            assert abs(theta[1]) < 1e-100
        else:
            a = 1 / (1 + np.exp(-np.c_[X, np.ones(60)] @ theta))
            slope = np.c_[X, np.ones(60)].T @ (a - data.y) / 60 + 0.1 * np.array([theta[0], 0, theta[2], 0])
            np.testing.assert_allclose(slope, 0, atol=1e-6)

"""What units, zeros and weights of the data change in a fit: nothing but roundings; and what its numbers promise."""

import importlib

import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import make_data
from hypothesis import given, settings

import jitlogreg as jlr

SOLVERS = ["newton", "lbfgs", "gradient_descent"]
QUICK = ["newton", "lbfgs"]
seeds = st.integers(0, 2**32 - 1)


def drawn(seed, *, weighted=False, extra=0):
    """Some 30 to 200 examples of 1 to 12 features, with noise enough that nothing is separated."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(60, 200)), int(rng.integers(1, 7))
    data = make_data(m, n, weighted=weighted, seed=seed % 1000)
    data.y = (rng.uniform(size=m) < 1 / (1 + np.exp(-data.X @ (0.5 * data.w)))) * 0.9 + 0.05
    data.rng, data.n = rng, n
    return data


def same_but_for_units(found, wanted, scale):
    """The same course, and coefficients that differ by roundings."""
    assert found.converged
    assert wanted.converged
    assert found.n_iterations == wanted.n_iterations
    size = np.abs(wanted.w).max()
    np.testing.assert_allclose(found.w * scale, wanted.w, rtol=1e-7, atol=1e-7 * size)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-12)


# ---------------------------------------------------------------- units and zeros


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds, fit_intercept=st.booleans())
@settings(max_examples=25)
def test_powers_of_two_as_units_change_nothing(solver, seed, fit_intercept):
    data = drawn(seed)
    scale = np.ldexp(1.0, data.rng.integers(-60, 61, data.n))
    wanted = jlr.fit(data.X, data.y, solver=solver, fit_intercept=fit_intercept)
    found = jlr.fit(data.X * scale, data.y, solver=solver, fit_intercept=fit_intercept)
    same_but_for_units(found, wanted, scale)


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds, fit_intercept=st.booleans())
@settings(max_examples=25)
def test_units_change_roundings_alone(solver, seed, fit_intercept):
    data = drawn(seed)
    scale = 10.0 ** data.rng.uniform(-200, 200, data.n)
    wanted = jlr.fit(data.X, data.y, solver=solver, fit_intercept=fit_intercept)
    found = jlr.fit(data.X * scale, data.y, solver=solver, fit_intercept=fit_intercept)
    same_but_for_units(found, wanted, scale)


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds)
@settings(max_examples=25)
def test_the_zero_of_a_column_is_anywhere(solver, seed):
    data = drawn(seed)
    # values that stay what they are when they are moved
    X = np.round(data.X * 2**20) / 2**20
    offset = np.round(10.0 ** data.rng.uniform(0, 9, data.n)) * data.rng.choice([-1, 1], data.n)
    wanted = jlr.fit(X, data.y, solver=solver)
    found = jlr.fit(X + offset, data.y, solver=solver)
    same_but_for_units(found, wanted, 1.0)
    size = 1 + np.sum(np.abs(offset * wanted.w))
    assert found.b == pytest.approx(wanted.b - offset @ wanted.w, abs=1e-7 * size)


@pytest.mark.parametrize("solver", QUICK)
def test_far_columns_of_odd_units(solver):
    data = drawn(3)
    X = np.round(data.X * 2**20) / 2**20
    scale = np.ldexp(1.0, np.arange(data.n) * 150 - 300)
    wanted = jlr.fit(X, data.y, solver=solver)
    same_but_for_units(jlr.fit((X + 2.0**30) * scale, data.y, solver=solver), wanted, scale)


# ---------------------------------------------------------------- columns that depend on each other


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds)
@settings(max_examples=15)
def test_duplicates_share_their_weight(solver, seed):
    data = drawn(seed)
    wanted = jlr.fit(data.X, data.y, solver=solver)
    found = jlr.fit(np.c_[data.X, data.X[:, :1], data.X[:, :1]], data.y, solver=solver)
    assert found.converged
    size = np.abs(wanted.w).max()
    np.testing.assert_allclose(found.w[[0, -1, -2]], wanted.w[0] / 3, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(found.w[1:-2], wanted.w[1:], rtol=0, atol=1e-6 * size)
    assert f"columns 0, {data.n}, {data.n + 1} of X depend on each other" in found.message


@pytest.mark.parametrize("solver", QUICK)
@pytest.mark.parametrize("m", [100, 5_000, 40_000])
@pytest.mark.parametrize("levels", [2, 3, 10, 40])
def test_a_dummy_for_every_level_beside_an_intercept(solver, m, levels):
    rng = np.random.default_rng([m, levels])
    level = np.sort(np.r_[np.arange(levels), rng.integers(0, levels, m - levels)])
    X = (level[:, np.newaxis] == np.arange(levels)) * 1.0
    y = rng.uniform(0.2, 0.8, m)
    fitted = jlr.fit(X, y, solver=solver)
    assert fitted.converged
    # in each level the mean of the labels is met
    share = X.T @ y / X.sum(axis=0)
    np.testing.assert_allclose(fitted.w + fitted.b, np.log(share / (1 - share)), rtol=0, atol=1e-6)
    assert np.abs(fitted.w).max() < 10
    assert "depend on each other" in fitted.message


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds, power=st.integers(-500, 500))
@settings(max_examples=25)
def test_weights_times_a_power_of_four_change_no_bit(solver, seed, power):
    # the Hessian is summed from rows times the root of their weight, which other factors round
    data = drawn(seed)
    s = data.rng.uniform(1, 2, len(data.y))
    wanted = jlr.fit(data.X, data.y, solver=solver, sample_weight=s)
    found = jlr.fit(data.X, data.y, solver=solver, sample_weight=s * 4.0**power)
    assert found._replace(w=found.w.tobytes(), n_reads=0) == wanted._replace(w=wanted.w.tobytes(), n_reads=0)


@pytest.mark.parametrize("solver", QUICK)
@given(seed=seeds, factor=st.floats(1e-290, 1e290))
@settings(max_examples=25)
def test_weights_times_a_factor_change_roundings_alone(solver, seed, factor):
    data = drawn(seed)
    s = data.rng.uniform(0.5, 3, len(data.y))
    wanted = jlr.fit(data.X, data.y, solver=solver, sample_weight=s)
    same_but_for_units(jlr.fit(data.X, data.y, solver=solver, sample_weight=s * factor), wanted, 1.0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_weight_of_two_is_an_example_twice(solver):
    data = drawn(1)
    s = np.where(np.arange(len(data.y)) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(len(data.y)), s.astype(int))
    found = jlr.fit(data.X, data.y, solver=solver, sample_weight=s, max_iterations=1000)
    wanted = jlr.fit(data.X[twice], data.y[twice], solver=solver, max_iterations=1000)
    np.testing.assert_allclose(found.w, wanted.w, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- λ


def decrement_at(X, y, fitted, l2=0.0, sample_weight=None, fit_intercept=True):
    """√(gᵀH⁻¹g) there, from columns that are centred and scaled, in NumPy."""
    z = X @ fitted.w + fitted.b
    near = (X - X.mean(axis=0)) if fit_intercept else X
    deviation = np.sqrt(np.mean(near**2, axis=0))
    Z = np.c_[near / deviation, np.ones(len(X))] if fit_intercept else near / deviation
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    a = 1 / (1 + np.exp(-z))
    ridge = np.append(l2 / deviation**2, np.zeros(Z.shape[1] - X.shape[1]))
    gradient = Z.T @ (s * (a - y)) / s.sum() + ridge * np.append(
        fitted.w * deviation, np.zeros(len(ridge) - X.shape[1])
    )
    H = Z.T @ ((s * a * (1 - a))[:, np.newaxis] * Z) / s.sum() + np.diag(ridge)
    return np.sqrt(gradient @ np.linalg.solve(H, gradient))


@pytest.mark.parametrize("solver", QUICK)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_decrement_is_what_the_hessian_says(solver, tolerance, offset):
    for seed in range(10):
        data = drawn(seed, weighted=True)
        for further in ({}, {"l2": 0.1}, {"sample_weight": data.sample_weight}):
            X = np.asarray(data.X) + offset
            fitted = jlr.fit(X, data.y, solver=solver, tolerance=tolerance, **further)
            assert fitted.converged
            assert fitted.decrement <= tolerance
            noise = 1e-14 * (1 + offset)
            assert decrement_at(X, data.y, fitted, **further) <= 2 * tolerance + noise
            # what is told is what there was before the last step at most, or within a factor of two of what there is
            assert decrement_at(X, data.y, fitted, **further) <= 2 * fitted.decrement + noise


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_decrement_of_gradient_descent(offset):
    data = drawn(5)
    fitted = jlr.fit(data.X + offset, data.y, solver="gradient_descent", max_iterations=1000)
    assert fitted.converged
    assert fitted.decrement == pytest.approx(decrement_at(data.X + offset, data.y, fitted), rel=1e-2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_that_is_cut_short_tells_its_decrement_or_that_it_is_not_known(solver):
    data = drawn(2)
    for count in range(4):
        fitted = jlr.fit(data.X, data.y, solver=solver, max_iterations=count, tolerance=1e-12)
        if not fitted.converged and np.isfinite(fitted.decrement):
            assert fitted.decrement >= decrement_at(data.X, data.y, fitted) / 3


@pytest.mark.parametrize("solver", QUICK)
def test_the_loss_is_as_near_its_minimum_as_the_decrement_says(solver):
    for seed in range(10):
        data = drawn(seed)
        least = jlr.fit(data.X, data.y, tolerance=1e-10).loss
        fitted = jlr.fit(data.X, data.y, solver=solver, tolerance=1e-3)
        assert fitted.loss - least <= fitted.decrement**2 + 1e-15


# ---------------------------------------------------------------- runs in a frame go on, and over blocks


@pytest.fixture
def framed():
    """Columns far from 0, of odd units, two of which are nearly the same."""
    data = make_data(300, 6, seed=5)
    data.X[:, 5] = data.X[:, 0] + 1e-7 * data.X[:, 5]
    data.X = (data.X + 1e6) * np.array([1.0, 0.2, 1e-30, 2.0, 5.0, 1.0])
    return data


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("stopped_at", [0, 1, 3, 6])
def test_a_run_in_a_frame_goes_on_to_the_same_bits(target, tmp_path, framed, solver, stopped_at):
    arguments = {"solver": solver, "tolerance": 1e-9, "max_iterations": 12, "l2": 0.0}
    wanted = jlr.fit(framed.X, framed.y, **arguments)
    path = tmp_path / "run.npz"

    def fail(state):
        if state.iteration == stopped_at:
            raise KeyboardInterrupt

    if wanted.n_iterations > stopped_at:
        with pytest.raises(KeyboardInterrupt):
            jlr.fit(framed.X, framed.y, **arguments, checkpoint=path, checkpoint_every=2, callback=fail)
        found = jlr.fit(framed.X, framed.y, **arguments, resume=path)
        assert found._replace(w=found.w.tobytes(), n_reads=0) == wanted._replace(w=wanted.w.tobytes(), n_reads=0)
    whole = jlr.fit(framed.X, framed.y, **arguments, checkpoint=path)
    assert whole._replace(w=whole.w.tobytes(), n_reads=0) == wanted._replace(w=wanted.w.tobytes(), n_reads=0)
    ended = jlr.fit(framed.X, framed.y, **arguments, resume=path)
    assert ended._replace(w=ended.w.tobytes(), n_reads=0) == wanted._replace(w=wanted.w.tobytes(), n_reads=0)


def test_the_callback_sees_the_callers_columns(framed):
    seen = []
    fitted = jlr.fit(framed.X, framed.y, callback=seen.append)
    assert seen[-1].w.tobytes() == fitted.w.tobytes()
    assert seen[-1].b == fitted.b
    assert seen[-1].gradient_norm == fitted.gradient_norm
    # gradients of columns of 5e6 are those of near ones times as much
    gradient = jlr.gradient(framed.X, framed.y, fitted.w, fitted.b, target="reference")
    assert fitted.gradient_norm <= 1e-6 * 1e7
    assert np.isfinite(gradient.dw).all()


@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")
@pytest.mark.parametrize("solver", QUICK)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_fit_over_blocks_is_that_in_memory(framed, solver, weighted):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    s = np.random.default_rng(0).uniform(0.5, 2, 300) if weighted else None
    rows = 70
    X, y = da.from_array(framed.X, chunks=(rows, 6)), da.from_array(framed.y, chunks=rows)
    objective = over_blocks.Objective(X, y, sample_weight=None if s is None else da.from_array(s, chunks=rows))
    found = jlr.fit(objective, solver=solver)
    wanted = jlr.fit(framed.X, framed.y, solver=solver, sample_weight=s)
    assert found.converged
    assert wanted.converged
    assert found.loss == pytest.approx(wanted.loss, abs=1e-10)  # from margins in which 6e6 cancels
    np.testing.assert_allclose(found.w[1:5], wanted.w[1:5], rtol=1e-6)
    # the two that are nearly the same are told apart to seven digits less
    np.testing.assert_allclose(found.w[[0, 5]], wanted.w[[0, 5]], rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")
def test_over_blocks_dependent_columns_and_separation_are_found():
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    data = drawn(4)
    X = np.c_[data.X, data.X[:, 0]]
    objective = over_blocks.Objective(da.from_array(X, chunks=(20, data.n + 1)), data.y)
    fitted = jlr.fit(objective)
    assert fitted.converged
    assert f"columns 0, {data.n} of X depend on each other" in fitted.message
    assert fitted.w[0] == pytest.approx(fitted.w[-1], rel=1e-6)
    separated = (data.X[:, 0] > 0.3) * 1.0
    with pytest.warns(jlr.SeparationWarning, match="complete separation"):
        jlr.fit(over_blocks.Objective(da.from_array(X, chunks=(20, data.n + 1)), separated))

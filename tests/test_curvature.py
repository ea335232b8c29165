"""The factored Hessian: what its coordinates mean, and what is made of columns that depend on each other."""

import math

import mpmath
import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg.solvers.curvature import (
    MIN_PIVOT,
    Cholesky,
    PivotedQR,
    SharedCholesky,
    decrement,
    factorize,
    newton_step,
)
from jitlogreg.solvers.requests import completed

U = 2.0**-53


def rows_of(p, m=60, seed=0):
    return np.random.default_rng([seed, p]).normal(size=(m, p))


def qr_of(rows, weight=1.0, spread=None):
    """A `PivotedQR` of the Hessian rowsᵀrows / weight."""
    spread = np.ones(rows.shape[1]) if spread is None else spread
    return PivotedQR(np.linalg.qr(rows, mode="r"), weight, spread)


def dense(model, p):
    """A, by its columns."""
    return np.array([model.transform_step(e) for e in np.eye(p)]).T


MODELS = {
    "cholesky": lambda rows: Cholesky(rows.T @ rows),
    "qr": qr_of,
    "qr with spread": lambda rows: qr_of(rows, spread=np.geomspace(0.5, 2, rows.shape[1])),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def make_model(request):
    return request.param


# ---------------------------------------------------------------- coordinates


@pytest.mark.parametrize("p", [1, 2, 5, 70])
def test_in_preconditioned_coordinates_the_hessian_is_the_unit_matrix(make_model, p):
    rows = rows_of(p, 2 * p + 10)
    rows *= 10.0 ** np.linspace(-3, 3, p)
    model, H = make_model(rows), rows.T @ rows
    assert model.is_well_conditioned
    A, size = dense(model, p), np.sqrt(np.diag(H))
    np.testing.assert_allclose(A.T @ A / size / size[:, np.newaxis], H / size / size[:, np.newaxis], atol=1e-13 * p)
    rng = np.random.default_rng(1)
    for step in rng.normal(size=(5, p)) / size:
        x = model.transform_step(step)
        np.testing.assert_allclose(model.recover_step(x) * size, step * size, rtol=0, atol=1e-11)
        gradient = H @ step
        # A⁻ᵀg = As where g = Hs
        np.testing.assert_allclose(model.transform_gradient(gradient), x, rtol=0, atol=1e-11 * np.linalg.norm(x))
        np.testing.assert_allclose(newton_step(model, gradient) * size, -step * size, rtol=0, atol=1e-10)
        assert decrement(model, gradient) == pytest.approx(math.sqrt(step @ gradient), rel=1e-10)
        assert not model.has_null_space_part(gradient)


def test_no_call_writes_to_what_it_is_given(make_model):
    rows, v = rows_of(4), np.arange(1.0, 5.0)
    model = make_model(rows)
    v.flags.writeable = False
    for call in (model.transform_gradient, model.transform_step, model.recover_step):
        np.testing.assert_array_equal(call(v), call(v))


@pytest.mark.parametrize("weight", [1e-200, 0.5, 1e200])
def test_a_qr_factor_is_of_the_mean(weight):
    rows = rows_of(3)
    A = dense(qr_of(rows * np.sqrt(weight), weight), 3)
    np.testing.assert_allclose(A.T @ A, rows.T @ rows, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("power", [-500, -30, 30, 500])
def test_units_change_no_bit_of_a_factor(power):
    rows, scale = rows_of(4), np.ldexp(1.0, [0, power, 0, -power])
    H = rows.T @ rows
    plain, scaled = Cholesky(H), Cholesky(H * scale * scale[:, np.newaxis])
    assert plain.is_well_conditioned == scaled.is_well_conditioned
    g = np.arange(1.0, 5.0)
    np.testing.assert_array_equal(plain.transform_gradient(g), scaled.transform_gradient(g * scale))
    np.testing.assert_array_equal(newton_step(plain, g), newton_step(scaled, g * scale) * scale)
    assert decrement(plain, g) == decrement(scaled, g * scale)


# ---------------------------------------------------------------- what the Hessian does not have


@np.errstate(divide="ignore", invalid="ignore")
def test_a_parameter_without_curvature_stays_where_it_is():
    H = np.diag([4.0, 0.0, 1.0])
    H[0, 2] = H[2, 0] = 1.0
    model = Cholesky(H)
    assert model.is_well_conditioned
    step = newton_step(model, np.array([1.0, 0.0, 2.0]))
    assert step[1] == 0
    np.testing.assert_allclose(step[[0, 2]], -np.linalg.solve(H[::2, ::2], [1.0, 2.0]), rtol=1e-14)
    assert not model.has_null_space_part(np.array([1.0, 0.0, 2.0]))
    assert model.has_null_space_part(np.array([1.0, 1e-300, 2.0]))
    assert decrement(model, np.array([1.0, 1e-300, 2.0])) == math.inf


@pytest.mark.parametrize(
    ("pivot", "is_well_conditioned"), [(4 * MIN_PIVOT, True), (MIN_PIVOT / 4, False), (0.0, False)]
)
def test_a_factor_is_well_conditioned_if_its_smallest_pivot_keeps_digits(pivot, is_well_conditioned):
    off = math.sqrt(1 - pivot)
    assert Cholesky(np.array([[1.0, off], [off, 1.0]])).is_well_conditioned == is_well_conditioned


def test_the_condition_decides_the_factorisation():
    data = make_data(100, 3)
    objective, theta = jlr.Objective(data.X, data.y, target="reference"), np.array([0.1, -0.2, 0.3, 0.0])
    assert type(completed(factorize(objective, theta, np.ones(4)))) is Cholesky
    X = np.c_[data.X, data.X[:, 0] + 1e-7 * np.sin(data.X[:, 1])]
    objective, theta = jlr.Objective(X, data.y, target="reference"), np.append(theta, 0.0)
    model = completed(factorize(objective, theta, np.ones(5)))
    assert type(model) is PivotedQR
    assert model.dependent == ()
    A = dense(model, 5)
    np.testing.assert_allclose(A.T @ A, objective.hessian(theta), atol=1e-14)


# ---------------------------------------------------------------- columns that depend on each other


def dependent(m=60):
    """Columns 0 to 4, of which 1 is twice column 3, and 4 the sum of 0 and 2; 5 depends on nothing."""
    rows = rows_of(6, m)
    rows[:, 1], rows[:, 4] = 2 * rows[:, 3], rows[:, 0] + rows[:, 2]
    return rows


def test_columns_that_depend_on_each_other_are_named():
    assert qr_of(dependent()).dependent == (0, 1, 2, 3, 4)
    rows = rows_of(4)
    assert qr_of(rows).dependent == ()
    rows[:, 2] = 3 * rows[:, 1]
    assert qr_of(rows).dependent == (1, 2)
    rows[:, 3] = 0
    assert qr_of(rows).dependent == (1, 2, 3)


@pytest.mark.parametrize("spread", [np.ones(6), np.array([0.5, 1, 2, 1.3, 0.7, 1.0])], ids=["alike", "unlike"])
def test_steps_along_dependent_columns_are_those_of_least_norm(spread):
    rows = dependent()
    model, H = qr_of(rows, spread=spread), rows.T @ rows
    gradient = rows.T @ np.random.default_rng(2).normal(size=len(rows))
    step = newton_step(model, gradient)
    # of all s with Hs = −g the one whose multiples by the spread are least
    wanted = -np.linalg.pinv(H / spread / spread[:, np.newaxis], rcond=1e-10, hermitian=True) @ (gradient / spread)
    np.testing.assert_allclose(step, wanted / spread, rtol=0, atol=1e-11)
    np.testing.assert_allclose(H @ step, -gradient, rtol=0, atol=1e-10)
    assert decrement(model, gradient) == pytest.approx(math.sqrt(-step @ gradient), rel=1e-10)
    x = model.transform_step(step)
    np.testing.assert_allclose(model.recover_step(x), step, rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.transform_gradient(gradient), -x, rtol=0, atol=1e-11)


def test_duplicates_share():
    rows = rows_of(3)
    rows[:, 2] = rows[:, 0]
    step = newton_step(qr_of(rows), rows.T @ np.ones(len(rows)))
    assert step[0] == pytest.approx(step[2], rel=1e-12)


def test_a_gradient_outside_the_columns_has_a_part_in_the_null_space():
    rows = dependent()
    model, gradient = qr_of(rows), rows.T @ np.ones(len(rows))
    along = np.array([0.0, 1.0, 0.0, -2.0, 0.0, 0.0])  # which no row tells apart
    assert not model.has_null_space_part(gradient)
    assert not model.has_null_space_part(gradient * (1 + 1e-10 * np.arange(6)))  # rounding
    for part, misses in ((1e-5, False), (1e-2, True)):
        outside = gradient + part * np.abs(gradient).max() * along
        assert model.has_null_space_part(outside) == misses
        assert (decrement(model, outside) == math.inf) == misses
    assert not qr_of(rows_of(3)).has_null_space_part(np.ones(3))


def test_a_gradient_of_rounding_has_no_part_in_the_null_space():
    model, along = qr_of(dependent()), np.array([0.0, 1.0, 0.0, -2.0, 0.0, 0.0])
    assert not model.has_null_space_part(2.0**-50 * along)
    assert decrement(model, 2.0**-50 * along) < 1e-15
    assert model.has_null_space_part(2.0**-40 * along)


def test_nothing_but_zeros():
    model = qr_of(np.zeros((5, 3)))
    assert model.dependent == (0, 1, 2)
    np.testing.assert_array_equal(newton_step(model, np.zeros(3)), 0)
    assert decrement(model, np.zeros(3)) == 0
    assert decrement(model, np.ones(3)) == math.inf


@pytest.mark.parametrize("epsilon", [1e-6, 1e-8, 1e-10, 1e-12])
def test_columns_that_are_nearly_the_same_are_told_apart(epsilon):
    rows = rows_of(4)
    rows[:, 3] = rows[:, 0] + epsilon * rows[:, 3]
    gradient = rows.T @ np.random.default_rng(2).normal(size=len(rows))
    model = qr_of(rows)
    assert model.dependent == ()
    with mpmath.workdps(60):
        A = mpmath.matrix(rows.tolist())
        solution = mpmath.lu_solve(A.T * A, mpmath.matrix(gradient.tolist()))
        size = mpmath.sqrt(sum(g * s for g, s in zip(gradient.tolist(), solution, strict=True)))
        step = -np.array([float(s) for s in solution])
        size = float(size)
    # what rounding changes in the rows is u, and their condition about 4/ε; the gradient's own rounding counts twice
    relative = 100 * U / epsilon
    np.testing.assert_allclose(newton_step(model, gradient), step, rtol=relative, atol=relative * np.abs(step).max())
    assert decrement(model, gradient) == pytest.approx(size, rel=relative)


def test_columns_that_are_the_same_but_for_rounding_are_the_same():
    rows = rows_of(4)
    rows[:, 3] = (rows[:, 0] * 3 + rows[:, 1] / 3) / 7
    assert qr_of(rows).dependent == (0, 1, 3)


def test_units_do_not_decide_what_depends():
    rows = rows_of(4)
    rows[:, 3] = rows[:, 0] + 1e-8 * rows[:, 3]
    assert qr_of(rows * np.array([1.0, 1e-12, 1e12, 1.0])).dependent == ()
    assert qr_of(dependent() * 10.0 ** np.arange(-9, 9, 3)).dependent == (0, 1, 2, 3, 4)


def test_a_column_takes_part_from_a_millionth_on():
    for part, dependent in ((1e-7, (0, 3)), (1e-5, (0, 1, 3))):
        rows = rows_of(4)
        rows[:, 3] = rows[:, 0] + part * rows[:, 1]
        assert qr_of(rows).dependent == dependent


def test_a_shared_block_is_that_of_each_output():
    rows, outputs = 4, 3
    block = some_block(rows)
    model, alone = SharedCholesky(block), Cholesky(block)
    G = np.random.default_rng(1).normal(size=(rows, outputs))
    step = newton_step(model, G.reshape(-1)).reshape(rows, outputs)
    np.testing.assert_allclose(block @ step, -G, atol=1e-12)
    for k in range(outputs):
        np.testing.assert_array_equal(
            model.transform_step(G.reshape(-1)).reshape(rows, -1)[:, k], alone.transform_step(G[:, k])
        )
    assert decrement(model, G.reshape(-1)) == pytest.approx(np.sqrt(np.sum(G * np.linalg.solve(block, G))))
    flat = block.copy()
    flat[2], flat[:, 2] = 0, 0
    with np.errstate(divide="ignore"):
        assert decrement(SharedCholesky(flat), G.reshape(-1)) == math.inf


def some_block(rows):
    half = np.random.default_rng(0).normal(size=(rows, rows))
    return half @ half.T + np.eye(rows)

"""`Objective`: the calls' numbers from data that is bound once, and products with the Hessian."""

import importlib
import threading

import mpmath
import numba
import numpy as np
import pytest
from conftest import expected_objective, make_data, unit

import jitlogreg as jlr

SHAPES = [(40, 5), (8, 8), (7, 3), (1, 1), (65, 33), (200, 2), (3, 300), (500, 28), (2, 40_000)]


def bound(data, **arguments):
    return jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, **arguments)


def theta_of(data):
    return np.append(data.w.astype(np.float64), data.b)


@pytest.fixture(params=["f64", "f32"])
def dtypes(request):
    """θ is float64, whatever X is."""
    return np.dtype(request.param.replace("f", "float")), np.dtype(np.float64)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_call_gives_the_loss_and_the_gradient(target, dtypes, order, weighted):
    data = make_data(dtypes=dtypes, order=order, weighted=weighted)
    loss, gradient = bound(data, l2=0.1)(theta_of(data))
    value, bounds = expected_objective(data.X, data.y, data.w, data.b, data.sample_weight, 0.1)
    assert abs(loss - value.loss) <= bounds.loss
    assert np.all(np.abs(gradient - np.append(value.dw, value.db)) <= np.append(bounds.dw, bounds.db))
    same = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=data.sample_weight, l2=0.1)
    assert (loss, gradient.tolist()) == (same.loss, [*same.dw.tolist(), same.db])
    objective = bound(data, l2=0.1)
    assert objective.loss(theta_of(data)) == loss
    np.testing.assert_array_equal(objective.gradient(theta_of(data)), gradient)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("shape", [*SHAPES, (60_000, 4), (3, 0)], ids=str)
def test_small_and_large_data_give_the_bits_of_the_call(dtypes, order, shape, l2, weighted):
    data = make_data(*shape, dtypes, order, soft=True, weighted=weighted)
    w, b, s = np.linspace(-1, 1, shape[1]), 0.25, data.sample_weight
    same = jlr.loss_and_gradient(data.X, data.y, w, b, sample_weight=s, l2=l2, target="cpu")
    objective = bound(data, l2=l2, target="cpu")
    loss, gradient = objective(np.append(w, b))
    assert (loss, gradient.tobytes()) == (same.loss, np.append(same.dw, same.db).tobytes())
    without = jlr.loss_and_gradient(data.X, data.y, w, sample_weight=s, l2=l2, target="cpu")
    loss, gradient = bound(data, l2=l2, fit_intercept=False, target="cpu")(w)
    assert (loss, gradient.tobytes()) == (without.loss, without.dw.tobytes())


def test_without_an_intercept(target, data):
    objective = jlr.Objective(data.X, data.y, fit_intercept=False)
    assert objective.n_parameters == 5
    w = data.w.astype(np.float64)
    loss, gradient = objective(w)
    wanted = jlr.loss_and_gradient(data.X, data.y, w, 0.0)
    assert (loss, gradient.tolist()) == (wanted.loss, wanted.dw.tolist())
    v = np.arange(5.0)
    with_b = jlr.Objective(data.X, data.y).hessian_vector(np.append(w, 0.0), np.append(v, 0.0))
    np.testing.assert_array_equal(objective.hessian_vector(w, v), with_b[:5])


# ---------------------------------------------------------------- the Hessian


def exact_product(data, theta, v, l2):
    """H v with 40 digits, and Σ|terms| of each component."""
    s = np.ones(len(data.X)) if data.sample_weight is None else data.sample_weight
    with mpmath.workdps(40):
        rows = [[mpmath.mpf(float(x)) for x in row] + [mpmath.mpf(1)] for row in data.X]
        curvatures = []
        for row, weight in zip(rows, s, strict=True):
            a = 1 / (1 + mpmath.exp(-mpmath.fdot(row, theta.tolist())))
            curvatures.append(mpmath.mpf(float(weight)) * a * (1 - a) * mpmath.fdot(row, v.tolist()))
        total = mpmath.fsum(float(weight) for weight in s)
        products, sizes = [], []
        for j in range(len(theta)):
            terms = [h * row[j] / total for h, row in zip(curvatures, rows, strict=True)]
            penalty = l2 * v[j] if j < len(theta) - 1 else 0.0
            products.append(float(mpmath.fsum(terms) + penalty))
            sizes.append(float(mpmath.fsum(map(abs, terms)) + abs(penalty)))
    return np.array(products), np.array(sizes)


@pytest.mark.parametrize(("m", "n"), SHAPES[:-2])
@pytest.mark.parametrize("weighted", [False, True])
def test_products_with_the_hessian(target, dtypes, order, m, n, weighted):
    data = make_data(m, n, dtypes, order, weighted=weighted)
    rng = np.random.default_rng(3)
    theta, v = theta_of(data) / np.sqrt(n), rng.normal(size=n + 1)
    got = bound(data, l2=0.1).hessian_vector(theta, v)
    wanted, size = exact_product(data, theta, v, 0.1)
    margins = np.abs(np.c_[data.X, np.ones(m)]) @ np.abs(theta)
    along = np.abs(np.c_[data.X, np.ones(m)]) @ np.abs(v)
    # a margin's error moves the curvature by as much of itself at most; that of xv + c is of Σ|xⱼvⱼ| + |c|
    relative = (32 + 32 + 8 + (n / 8 + 16) * margins.max()) * unit(np.float64)
    s = np.ones(m) if data.sample_weight is None else data.sample_weight
    cancelled = (np.abs(np.c_[data.X, np.ones(m)]).T @ (s * along)) / s.sum() * (n / 8 + 16) * unit(np.float64)
    assert np.all(np.abs(got - wanted) <= relative * size + cancelled)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_products_are_those_of_the_reference(dtypes, order, m, n):
    data = make_data(m, n, dtypes, order, weighted=True)
    theta, v = theta_of(data) / np.sqrt(n), np.random.default_rng(3).normal(size=n + 1)
    got, wanted = (bound(data, target=target).hessian_vector(theta, v) for target in ("cpu", "reference"))
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize(("m", "n"), [*SHAPES[:-1], (128, 7), (300, 70)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_hessian_itself(dtypes, order, m, n, weighted):
    data = make_data(m, n, dtypes, order, weighted=weighted)
    theta, objective = theta_of(data) / np.sqrt(n), bound(data, l2=0.1, target="cpu")
    got, wanted = objective.hessian(theta), bound(data, l2=0.1, target="reference").hessian(theta)
    with_ones, s = np.c_[data.X, np.ones(m)].astype(np.float64), data.sample_weight
    s = np.ones(m) if s is None else s
    upper = 1 / (1 + np.exp(-with_ones @ theta))
    size = np.abs(with_ones).T @ ((s / s.sum() * upper * (1 - upper))[:, np.newaxis] * np.abs(with_ones))
    # that of the margins moves each term by as much of itself; 32 u of the sums, of S, and 16 of a term, twice over
    off = 2 * (32 + 32 + 16 + (n / 8 + 16) * (np.abs(with_ones) @ np.abs(theta)).max()) * unit(np.float64)
    np.testing.assert_array_less(np.abs(got - wanted), off * (size + 0.1 * np.eye(n + 1)) + 1e-300)
    np.testing.assert_array_equal(got, got.T)
    without = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=0.1, fit_intercept=False, target="cpu")
    at_zero = np.append(theta[:-1], 0.0)
    np.testing.assert_array_equal(without.hessian(theta[:-1]), objective.hessian(at_zero)[:n, :n])


def test_the_hessian_of_views(order):
    data = make_data(200, 30, order=order)
    theta, expected = np.linspace(-0.2, 0.2, 11), data.X[7:190, 3:13].copy()
    got = jlr.Objective(data.X[7:190, 3:13], data.y[7:190], target="cpu").hessian(theta)
    wanted = jlr.Objective(expected, data.y[7:190], target="reference").hessian(theta)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("hessian_of", ["cpu", "reference"])
def test_what_is_not_finite_makes_a_hessian_of_nan(hessian_of):
    X, y = np.array([[1.0], [np.inf], [2.0]]), np.array([0.0, 1.0, 1.0])
    hessian = jlr.Objective(X, y, check_finite=False, target=hessian_of).hessian(np.zeros(2))
    assert np.all(np.isnan(hessian))


def test_too_many_columns_for_a_hessian():
    objective = jlr.Objective(np.zeros((1, 2001)), np.zeros(1))
    with pytest.raises(ValueError, match="X: expected at most 2000 columns for a Hessian, got 2001: hessian_vector"):
        objective.hessian(np.zeros(2002))


def test_the_hessian_is_symmetric_and_the_slope_of_the_gradient(target):
    data = make_data(60, 6, weighted=True)
    objective, theta = bound(data, l2=0.3), theta_of(data)
    H = np.array([objective.hessian_vector(theta, e) for e in np.eye(7)])
    np.testing.assert_allclose(H, H.T, rtol=1e-12, atol=1e-15)
    if hasattr(importlib.import_module(f"jitlogreg.targets.{target}"), "hessian_sums"):
        np.testing.assert_allclose(objective.hessian(theta), H, rtol=1e-12, atol=1e-15)
    step = 1e-6
    for j, e in enumerate(np.eye(7)):
        slope = (objective.gradient(theta + step * e) - objective.gradient(theta - step * e)) / (2 * step)
        np.testing.assert_allclose(H[j], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", ["C", "F"])
def test_threads_change_no_bit_of_a_product_or_of_the_hessian(order):
    data = make_data(60_000, 28, order=order)
    objective, v = jlr.Objective(data.X, data.y, target="cpu"), np.random.default_rng(3).normal(size=29)
    many, hessian = objective.hessian_vector(theta_of(data), v), objective.hessian(theta_of(data))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(objective.hessian_vector(theta_of(data), v), many)
        np.testing.assert_array_equal(objective.hessian(theta_of(data)), hessian)
    finally:
        numba.set_num_threads(threads)


def test_far_margins_do_not_overflow(target):
    X, y = np.array([[700.0], [-700.0], [0.5]]), np.array([0.0, 1.0, 1.0])
    product = jlr.Objective(X, y).hessian_vector(np.array([10.0, 0.0]), np.array([1.0, 1.0]))
    a = 1 / (1 + np.exp(-5.0))
    np.testing.assert_allclose(product, a * (1 - a) * 1.5 * np.array([0.5, 1.0]) / 3, rtol=1e-13)


# ---------------------------------------------------------------- with others


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "Newton-CG"])
def test_scipy_minimises_it(target, data, method):
    optimize = pytest.importorskip("scipy.optimize")
    objective = jlr.Objective(data.X, data.y, l2=0.1)
    second = {} if method == "L-BFGS-B" else {"hessp": objective.hessian_vector}
    tight = {"L-BFGS-B": {"gtol": 1e-9, "ftol": 1e-15}, "trust-ncg": {"gtol": 1e-9}, "Newton-CG": {"xtol": 1e-12}}
    found = optimize.minimize(objective, np.zeros(6), jac=True, method=method, options=tight[method], **second)
    assert np.linalg.norm(objective.gradient(found.x)) < 1e-6


def test_several_threads_may_call(data):
    objective, theta = jlr.Objective(data.X, data.y, target="cpu"), theta_of(data)
    wanted, wrong = objective(theta), []

    def work():
        for _ in range(200):
            loss, gradient = objective(theta)
            if loss != wanted[0] or gradient.tobytes() != wanted[1].tobytes():
                wrong.append(loss)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------- what is refused


def test_data_is_checked_when_it_is_bound(target, data):
    with pytest.raises(ValueError, match=r"y\[3\]: expected a label from 0 to 1, got 2\.0"):
        jlr.Objective(data.X, np.where(np.arange(40) == 3, 2.0, data.y))
    with pytest.raises(ValueError, match=r"sample_weight: expected a sum that is positive and finite, got 0\.0"):
        jlr.Objective(data.X, data.y, sample_weight=np.zeros(40))
    with pytest.raises(ValueError, match="l2: expected a finite number of at least 0, got -1"):
        jlr.Objective(data.X, data.y, l2=-1)
    with pytest.raises(TypeError, match=r"X: expected a numpy.ndarray, got a list"):
        jlr.Objective(data.X.tolist(), data.y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_unless_told_not_to(target, data, value):
    data.X[17, 2] = value
    with pytest.raises(ValueError, match=r"X\[17, 2\]: expected a finite number, got -?(nan|inf): check_finite=False"):
        jlr.Objective(data.X, data.y)
    loss, _ = jlr.Objective(data.X, data.y, check_finite=False)(np.zeros(6))
    assert np.isnan(loss)


@pytest.mark.parametrize("theta", [np.zeros(5), np.zeros((6, 1)), np.float64(1)])
def test_parameters_of_another_shape_are_refused(data, theta):
    objective = jlr.Objective(data.X, data.y)
    with pytest.raises((ValueError, TypeError), match="theta: "):
        objective(theta)
    with pytest.raises((ValueError, TypeError), match="v: "):
        objective.hessian_vector(np.zeros(6), theta)


def test_parameters_of_another_kind_are_taken_as_float64(data):
    objective = jlr.Objective(data.X, data.y)
    wanted = objective(np.ones(6))[0]
    assert objective(np.ones(6, np.int64))[0] == objective(np.ones(12)[::2])[0] == wanted

"""`fit`: every solver to the minimum, from hard data too, and why a run ended."""

import importlib

import numpy as np
import pytest
from conftest import make_data
from quadratic import Quadratic

import jitlogreg as jlr
from jitlogreg.solvers import lbfgs
from jitlogreg.solvers.solver_objective import SolverObjective
from jitlogreg.solvers.standardize import column_statistics

SOLVERS = ["newton", "lbfgs", "gradient_descent"]
MANY = {"newton": 100, "lbfgs": 200, "gradient_descent": 20_000}


@pytest.fixture(params=SOLVERS)
def solver(request):
    return request.param


def gradient_norm(X, y, fitted, **arguments):
    _, dw, db = jlr.loss_and_gradient(X, y, fitted.w, fitted.b, target="reference", **arguments)
    return np.linalg.norm(np.append(dw.astype(np.float64), db))


def separated(how):
    return pytest.warns(jlr.SeparationWarning, match=f"the objective has no minimum: .*{how}")


def minimum(X, y, *, l2=0.0, sample_weight=None):
    """w and b by Newton's method in plain NumPy."""
    Z, s = np.c_[X, np.ones(len(X))].astype(np.float64), np.ones(len(X)) if sample_weight is None else sample_weight
    theta, ridge = np.zeros(Z.shape[1]), np.diag(np.append(np.full(X.shape[1], l2), 0.0))
    for _ in range(50):
        a = 1 / (1 + np.exp(-Z @ theta))
        gradient = Z.T @ (s * (a - y)) / s.sum() + ridge @ theta
        theta -= np.linalg.solve(Z.T @ ((s * a * (1 - a))[:, np.newaxis] * Z) / s.sum() + ridge, gradient)
    return theta[:-1], theta[-1]


# ---------------------------------------------------------------- to the minimum


@pytest.mark.parametrize("weighted", [False, True])
def test_every_solver_finds_the_minimum(target, solver, dtypes, order, weighted):
    data = make_data(80, 4, dtypes, order, weighted=weighted, soft=True)
    weights = None if data.sample_weight is None else data.sample_weight.astype(np.float64)
    w, b = minimum(data.X, data.y, l2=0.05, sample_weight=weights)
    fitted = jlr.fit(
        data.X, data.y, solver=solver, l2=0.05, sample_weight=data.sample_weight, tolerance=1e-9, max_iterations=500
    )
    assert fitted.converged
    assert fitted.w.dtype == np.float64
    # ‖θ − θ*‖ ≤ ‖∇J‖ / (least eigenvalue of H), which l2 and the intercept's curvature keep above 0.01
    np.testing.assert_allclose(fitted.w, w, atol=1e-7)
    np.testing.assert_allclose(fitted.b, b, atol=1e-7)
    theta = np.append(fitted.w, fitted.b)
    objective = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=0.05)
    assert fitted.loss == objective(theta)[0]
    assert fitted.gradient_norm == pytest.approx(np.linalg.norm(objective(theta)[1]), rel=1e-12)


def test_without_an_intercept(solver):
    data = make_data(200, 3)
    fitted = jlr.fit(data.X, data.y, solver=solver, fit_intercept=False, max_iterations=MANY[solver])
    assert fitted.converged
    assert fitted.b == 0
    assert np.linalg.norm(jlr.gradient(data.X, data.y, fitted.w).dw) <= 1e-6


def test_newton_takes_the_fewest_iterations():
    data = make_data(500, 10)
    counts = [jlr.fit(data.X, data.y, solver=solver, max_iterations=MANY[solver]).n_iterations for solver in SOLVERS]
    assert counts[0] < 10
    assert counts[0] <= counts[1] <= counts[2]


def test_auto_takes_newton_for_small_data_and_lbfgs_for_large():
    data = make_data(200, 3)
    runs = {solver: jlr.fit(data.X, data.y, solver=solver) for solver in ("auto", "newton")}
    np.testing.assert_array_equal(runs["auto"].w, runs["newton"].w)
    data = make_data(1000, 120)
    runs = {solver: jlr.fit(data.X, data.y, solver=solver, l2=0.1) for solver in ("auto", "lbfgs")}
    np.testing.assert_array_equal(runs["auto"].w, runs["lbfgs"].w)


def test_more_columns_than_a_hessian_may_have():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 2100)), (rng.uniform(size=30) < 0.5) * 1.0
    fitted = jlr.fit(X, y, l2=0.1, solver="lbfgs")
    assert fitted.converged
    assert gradient_norm(X, y, fitted, l2=0.1) <= 1e-6 * max(1, np.linalg.norm(jlr.gradient(X, y, np.zeros(2100)).dw))
    by_conjugate_gradients = jlr.fit(X, y, l2=0.1, solver="newton")
    assert by_conjugate_gradients.converged
    assert by_conjugate_gradients.n_iterations < fitted.n_iterations
    np.testing.assert_allclose(by_conjugate_gradients.w, fitted.w, rtol=0, atol=1e-6)


def test_a_sample_of_large_data_in_either_order(order, monkeypatch):
    monkeypatch.setattr(lbfgs, "SAMPLE_ROWS", 300)
    rng = np.random.default_rng(1)
    X = np.asarray(rng.normal(size=(3000, 5)) * 10.0 ** np.arange(-4, 6, 2), order=order)
    y = (rng.uniform(size=3000) < 1 / (1 + np.exp(-(X / 10.0 ** np.arange(-4, 6, 2)) @ np.arange(5.0)))) * 1.0
    weights = rng.uniform(0, 2, 3000)
    fitted = jlr.fit(X, y, solver="lbfgs", sample_weight=weights)
    assert fitted.converged
    assert fitted.n_iterations < 20  # without the sample's scales it takes hundreds


def test_a_sample_without_weight_is_left_alone(monkeypatch):
    monkeypatch.setattr(lbfgs, "SAMPLE_ROWS", 100)
    data = make_data(300, 3)
    weights = (np.arange(300) % 3 > 0) * 1.0  # every third row is the sample
    fitted = jlr.fit(data.X, data.y, solver="lbfgs", sample_weight=weights, max_iterations=300)
    assert fitted.converged
    kept = weights > 0
    w, b = minimum(data.X[kept], data.y[kept])
    np.testing.assert_allclose(np.append(fitted.w, fitted.b), np.append(w, b), atol=1e-4)


def test_a_warm_start(solver):
    data = make_data(200, 3)
    cold = jlr.fit(data.X, data.y, solver=solver, tolerance=1e-9, max_iterations=MANY[solver])
    w = cold.w.copy()
    warm = jlr.fit(data.X, data.y, solver=solver, w=w, b=cold.b)
    # the step that tells λ is taken: gradient descent takes none
    assert (warm.n_iterations, warm.n_evaluations, warm.converged) == (
        (0, 1, True) if solver[0] == "g" else (1, 2, True)
    )
    np.testing.assert_array_equal(w, cold.w)
    np.testing.assert_allclose(warm.w, w, atol=1e-7)
    assert warm.w is not w


# ---------------------------------------------------------------- hard data


def test_separable_classes(solver):
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    with separated("complete separation"):
        fitted = jlr.fit(X, y, solver=solver, max_iterations=MANY[solver])
    assert not fitted.converged
    assert np.isfinite(fitted.w).all()
    assert np.isfinite(fitted.loss)
    assert ((jlr.forward(X, fitted.w, fitted.b) > 0.5) == y).all()


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone(solver, label):
    data = make_data(50, 3)
    with separated("all examples are of one class"):
        fitted = jlr.fit(data.X, np.full(50, label), solver=solver)
    assert not fitted.converged
    assert (fitted.b > 0) == label


@pytest.mark.parametrize("kind", ["duplicate", "constant", "zero", "all three"])
def test_columns_that_tell_nothing_new(solver, kind):
    data = make_data(300, 3)
    extra = {"duplicate": data.X[:, :2], "constant": np.full((300, 1), 3.0), "zero": np.zeros((300, 1))}
    X = np.c_[(data.X, *(extra.values() if kind == "all three" else [extra[kind]]))]
    fitted = jlr.fit(X, data.y, solver=solver, max_iterations=MANY[solver])
    assert fitted.converged
    alone = jlr.fit(data.X, data.y, solver="newton", tolerance=1e-10)
    assert fitted.loss == pytest.approx(alone.loss, abs=1e-8)
    assert np.abs(fitted.w).max() < 10  # shared, not two large numbers that cancel


@pytest.mark.parametrize("quick", ["newton", "lbfgs"])
def test_columns_of_wildly_different_scales(quick):
    data = make_data(400, 5)
    scales = 10.0 ** np.array([-8, -3, 0, 4, 8])
    fitted = jlr.fit(data.X * scales, data.y, solver=quick)
    plain = jlr.fit(data.X, data.y, solver="newton", tolerance=1e-10)
    assert fitted.converged
    assert fitted.loss == pytest.approx(plain.loss, rel=1e-9)
    # a gradient of 1e8 at the start leaves a tolerance of 100: the loss is flat there, the weights less so
    np.testing.assert_allclose(fitted.w * scales, plain.w, rtol=1e-2)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_numbers_whose_squares_leave_float64(solver, scale):
    data = make_data(50, 2)
    fitted = jlr.fit(data.X * scale, data.y, solver=solver)
    assert np.isfinite(fitted.loss)
    assert np.isfinite(fitted.w).all()
    assert fitted.converged or fitted.message


def test_a_start_far_off(solver):
    data = make_data(200, 3)
    fitted = jlr.fit(data.X, data.y, solver=solver, w=np.full(3, -500.0), b=300.0, max_iterations=MANY[solver])
    assert fitted.converged
    assert gradient_norm(data.X, data.y, fitted) < 1e-3


@pytest.mark.parametrize("b", [900.0, -1e9])
def test_a_start_at_which_no_example_bends_the_loss(solver, b):
    data = make_data(200, 3)
    fitted = jlr.fit(data.X, data.y, solver=solver, w=np.array([5e3, -700.0, 1e6]), b=b, max_iterations=MANY[solver])
    assert fitted.converged
    alone = jlr.fit(data.X, data.y, solver="newton")
    assert fitted.loss == pytest.approx(alone.loss, abs=1e-8)


def test_a_start_beyond_all_numbers():
    fitted = jlr.fit(np.full((3, 2), 1e200), np.array([0, 1, 0]), w=np.full(2, 1e200))
    assert (fitted.n_iterations, fitted.converged) == (0, False)
    assert fitted.message == "the loss is nan at the start: X, w, b or offset, or a sum of them, is not finite"


def test_a_tolerance_below_what_rounding_allows(solver):
    data = make_data(100, 3)
    fitted = jlr.fit(data.X, data.y, solver=solver, tolerance=0.0, max_iterations=MANY[solver])
    # gradient descent has the loss alone to go by, which is flat to 2⁻⁵³ within √2⁻⁵³ of the minimum
    assert fitted.gradient_norm < (1e-7 if solver == "gradient_descent" else 1e-12)
    assert fitted.converged == (fitted.gradient_norm == 0)
    assert fitted.converged or fitted.message.startswith(("no step lowers the loss further", "max_iterations"))


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("mean", [0, 10, 200])
def test_a_run_ends_once_rounding_alone_moves_it(solver, mean):
    data = make_data(500, 5)
    enough = jlr.fit(data.X + mean, data.y, solver=solver, tolerance=1e-10)
    fitted = jlr.fit(data.X + mean, data.y, solver=solver, tolerance=0.0)
    assert enough.converged
    assert fitted.message.startswith("no step lowers the loss")
    assert fitted.n_iterations <= enough.n_iterations + 20  # 100 if each fall of a norm counts that rose before
    assert fitted.gradient_norm < 1e-10


def test_numpy_may_raise_at_what_the_caller_does(solver):
    data = make_data(60, 3)
    with np.errstate(all="raise"):
        assert jlr.fit(data.X * 1e160, data.y, solver=solver, l2=1e-300).message


def test_nothing_to_fit():
    fitted = jlr.fit(np.zeros((3, 0)), np.array([0, 1, 1]), fit_intercept=False)
    assert (fitted.w.shape, fitted.b, fitted.n_iterations, fitted.converged) == ((0,), 0.0, 0, True)
    assert jlr.fit(np.zeros((3, 0)), np.array([0, 1, 1])).b == pytest.approx(np.log(2))


# ---------------------------------------------------------------- how a run ends


def test_no_more_iterations_than_asked_for(solver):
    data = make_data(100, 5)
    for count in (0, 1, 2):
        fitted = jlr.fit(data.X, data.y, solver=solver, max_iterations=count, tolerance=0)
        assert (fitted.n_iterations, fitted.converged) == (count, False)
        assert fitted.message.startswith(f"max_iterations={count} is reached: ")


def test_the_callback_sees_every_iteration_and_may_stop(solver):
    data, seen = make_data(100, 5), []

    def watch(state):
        seen.append(state)
        state.w[:] = np.nan  # a copy
        return state.iteration == 2

    fitted = jlr.fit(data.X, data.y, solver=solver, callback=watch, tolerance=0)
    assert [state.iteration for state in seen] == [0, 1, 2]
    assert (fitted.n_iterations, fitted.converged) == (2, False)
    assert fitted.message.startswith("stopped by the callback")
    assert seen[-1].loss == fitted.loss < seen[1].loss < seen[0].loss
    assert np.isfinite(fitted.w).all()
    same = jlr.fit(data.X, data.y, solver=solver, callback=lambda state: None, tolerance=0, max_iterations=2)
    np.testing.assert_array_equal(same.w, fitted.w)


def test_a_callback_that_raises_ends_the_run(solver):
    data = make_data(100, 5)

    def fail(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jlr.fit(data.X, data.y, solver=solver, callback=fail)


def test_progress(capsys, solver):
    data = make_data(100, 5)
    jlr.fit(data.X, data.y, solver=solver, progress=True)
    assert solver.replace("_", " ") in capsys.readouterr().err


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    data = make_data(50, 3)
    fitted = jlr.fit(torch.from_numpy(data.X), torch.from_numpy(data.y))
    assert isinstance(fitted.w, torch.Tensor)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit(solver, threads):
    numba = pytest.importorskip("numba")
    data = make_data(20_000, 20)
    wanted = jlr.fit(data.X, data.y, solver=solver, max_iterations=12, target="cpu")
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        fitted = jlr.fit(data.X, data.y, solver=solver, max_iterations=12, target="cpu")
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(fitted.w, wanted.w)


# ---------------------------------------------------------------- what solvers need of an objective


def test_every_objective_is_one_for_solvers(target):
    data = make_data(40, 3)
    objective = jlr.Objective(data.X, data.y)
    assert isinstance(objective, SolverObjective)
    framed = objective.in_frame(column_statistics(data.X, None, l2=0.0, has_intercept=True).frame)
    assert isinstance(framed, SolverObjective)
    assert isinstance(objective.sample(10), SolverObjective)


def test_an_objective_over_chunks_is_one_for_solvers():
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_chunks = importlib.import_module("jitlogreg.dask")
    data = make_data(40, 3)
    objective = over_chunks.Objective(da.from_array(data.X, chunks=(20, 3)), data.y)
    assert isinstance(objective, SolverObjective)
    assert isinstance(objective.sample(10), SolverObjective)


def test_an_objective_that_lacks_something_is_none():
    assert not isinstance(Quadratic(np.eye(2), np.ones(2)), SolverObjective)


# ---------------------------------------------------------------- what is refused


def test_what_fit_refuses(data):
    X, y = data.X, data.y
    with pytest.raises(ValueError, match="solver: expected 'auto', 'newton', 'lbfgs', 'gradient_descent', got 'sag'"):
        jlr.fit(X, y, solver="sag")
    with pytest.raises(ValueError, match=r"tolerance: expected a finite number of at least 0, got -1\.0"):
        jlr.fit(X, y, tolerance=-1)
    with pytest.raises(TypeError, match="max_iterations: expected an integer, got a float"):
        jlr.fit(X, y, max_iterations=2.5)
    with pytest.raises(TypeError, match="callback: expected a function, got an int"):
        jlr.fit(X, y, callback=3)
    with pytest.raises(ValueError, match=r"b: expected 0 with fit_intercept=False, got 1\.0"):
        jlr.fit(X, y, b=1.0, fit_intercept=False)
    with pytest.raises(ValueError, match=r"w: expected shape \(\d+,\), one coefficient per column of X, got \(4,\)"):
        jlr.fit(X, y, w=np.zeros(4, X.dtype))
    with pytest.raises(ValueError, match=r"y\[0\]: expected a label from 0 to 1, got 2\.0"):
        jlr.fit(X, np.full(40, 2.0))


def test_inputs_are_left_as_they_are(solver):
    data = make_data(60, 4, weighted=True)
    w = np.full(4, 0.1)
    before = [array.copy() for array in (data.X, data.y, data.sample_weight, w)]
    for array in (data.X, data.y, data.sample_weight, w):
        array.flags.writeable = False
    jlr.fit(data.X, data.y, sample_weight=data.sample_weight, w=w, b=0.1, solver=solver)
    for array, copy in zip((data.X, data.y, data.sample_weight, w), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_fit_that_starts_at_no_number_says_so():
    data = make_data(40, 5)
    data.X[3, 2] = np.nan
    fitted = jlr.fit(jlr.Objective(data.X, data.y, check_finite=False))
    assert fitted.message == "the loss is nan at the start: X, w, b or offset, or a sum of them, is not finite"
    with pytest.raises(ValueError, match=r"X\[3, 2\]: expected a finite number, got nan: check_finite=False lets"):
        jlr.fit(data.X, data.y)

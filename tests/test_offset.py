"""Offsets: a known part of each margin, in every call, objective and solver, against mpmath and fits in 80 bits."""

import copy
import importlib
import pickle

import mpmath
import numpy as np
import pytest
from calls import refuses
from conftest import make_data, margin_bound

import jitlogreg as jlr
from jitlogreg.solvers.separation import SeparationWarning

mpmath.mp.dps = 40

# targets with kernels of K outputs and a Hessian
TARGETS = ["cpu", "reference"]


@pytest.fixture(params=TARGETS)
def target(request):
    with jlr.use_target(request.param):
        yield request.param


def offsets(m, K=None, dtype=np.float64, seed=0):
    return (2 * np.random.default_rng([seed, m]).normal(size=(m, K) if K else m)).astype(dtype)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_those_of_exact_margins(dtypes, order, target, weighted):
    data = make_data(21, 4, dtypes, order, weighted=weighted)
    offset = offsets(21, dtype=dtypes[1])
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=data.sample_weight, offset=offset)
    X, w, y, o = ([mpmath.mpf(float(v)) for v in array.ravel()] for array in (data.X, data.w, data.y, offset))
    s = [mpmath.mpf(1)] * 21 if data.sample_weight is None else [mpmath.mpf(float(v)) for v in data.sample_weight]
    z = [mpmath.fdot(X[4 * i : 4 * i + 4], w) + data.b + o[i] for i in range(21)]
    a = [1 / (1 + mpmath.exp(-zi)) for zi in z]
    losses = [-mpmath.log(ai if yi else 1 - ai) for ai, yi in zip(a, y, strict=True)]
    dz = [ai - yi for ai, yi in zip(a, y, strict=True)]
    u = np.finfo(dtypes[1]).eps / 2
    sizes = np.abs(data.X) @ np.abs(data.w) + abs(data.b) + np.abs(offset)
    tolerance = float(40 * u * np.sum([float(si) * (1 + sizes[i]) for i, si in enumerate(s)]) / float(sum(s)))
    assert got.loss == pytest.approx(float(mpmath.fdot(s, losses) / sum(s)), abs=tolerance)
    assert got.db == pytest.approx(float(mpmath.fdot(s, dz) / sum(s)), abs=tolerance)
    for j in range(4):
        column = X[j::4]
        wanted = mpmath.fsum(si * d * x for si, d, x in zip(s, dz, column, strict=True)) / sum(s)
        assert got.dw[j] == pytest.approx(float(wanted), abs=tolerance * float(max(map(abs, column))))


@pytest.mark.parametrize("shape", [(9, 3), (1030, 28), (40, 4200), (11, 40_000)], ids=str)
def test_an_offset_is_a_column_whose_coefficient_is_1(dtypes, order, shape):
    m, n = shape
    data = make_data(m, n, dtypes, order, soft=True)
    w, offset = data.w / np.sqrt(n).astype(dtypes[1]), offsets(m, dtype=dtypes[0]).astype(dtypes[1])
    wider = np.asarray(np.column_stack([data.X, offset.astype(dtypes[0])]), order=order)
    beside = np.append(w, 1).astype(dtypes[1])
    tolerance = float(np.max(margin_bound(data.X, w, data.b) + 32 * np.finfo(dtypes[1]).eps * np.abs(offset)))
    for call in (jlr.forward, jlr.log_forward):
        a = call(data.X, w, data.b, offset=offset)
        np.testing.assert_allclose(a, call(wider, beside, data.b), rtol=2 * tolerance, atol=2 * tolerance)
    got = jlr.loss_and_gradient(data.X, data.y, w, data.b, offset=offset)
    wanted = jlr.loss_and_gradient(wider, data.y, beside, data.b)
    np.testing.assert_allclose(got.dw, wanted.dw[:-1], rtol=0, atol=4 * tolerance * np.max(np.abs(data.X)))
    assert (got.loss, got.db) == pytest.approx((wanted.loss, wanted.db), rel=4 * tolerance, abs=4 * tolerance)


def test_an_offset_decides_where_margins_are_far(target):
    X, w = np.zeros((3, 1)), np.ones(1)
    offset = np.array([-800.0, 0.0, 800.0])
    assert jlr.log_forward(X, w, offset=offset).tolist() == pytest.approx([-800, -np.log(2), 0])
    assert jlr.loss(X, np.array([1, 0, 0]), w, offset=offset) == pytest.approx((800 + np.log(2) + 800) / 3)
    assert np.isnan(jlr.forward(X, w, offset=np.array([np.nan, 0, 0]))[0])


@pytest.mark.parametrize("shape", [(300, 28), (37, 5), (40, 4200), (11, 40_000)], ids=str)
def test_each_model_with_its_offset_has_the_bits_of_one_alone(dtypes, order, shape):
    m, n = shape
    data, K = make_data(m, n, dtypes, order, soft=True), 3
    rng = np.random.default_rng(1)
    W, b = (rng.normal(size=(n, K)) / np.sqrt(n)).astype(dtypes[1]), rng.normal(size=K).astype(dtypes[1])
    for offset in (offsets(m, K), offsets(m)):
        result = jlr.loss_and_gradient(data.X, data.y, W, b, offset=offset)
        a = jlr.forward(data.X, W, b, offset=offset)
        for k in range(K):
            own = offset if offset.ndim == 1 else offset[:, k].copy()
            one = jlr.loss_and_gradient(data.X, data.y, W[:, k].copy(), b[k], offset=own)
            assert (result.loss[k], result.db[k]) == (one.loss, one.db)
            assert result.dw[:, k].tobytes() == one.dw.tobytes()
            assert a[:, k].tobytes() == jlr.forward(data.X, W[:, k].copy(), b[k], offset=own).tobytes()


def test_an_offset_of_a_softmax_is_added_to_the_margins_of_its_classes(target):
    rng = np.random.default_rng(2)
    X, W, offset, classes = rng.normal(size=(70, 5)), rng.normal(size=(5, 3)), offsets(70, 3), rng.integers(0, 3, 70)
    wider, beside = np.hstack([X, offset]), np.vstack([W, np.eye(3)])
    got = jlr.loss_and_gradient(X, classes, W, link="softmax", offset=offset)
    wanted = jlr.loss_and_gradient(wider, classes, beside, link="softmax")
    np.testing.assert_allclose(got.dw, wanted.dw[:5], atol=1e-14)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-14)
    shared = jlr.log_forward(X, W, link="softmax", offset=offsets(70))
    np.testing.assert_allclose(shared, jlr.log_forward(X, W, link="softmax"), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_an_offset_of_another_dtype_is_converted(data, dtype, target):
    offset = offsets(40).astype(dtype)
    converted = jlr.forward(data.X, data.w, offset=offset.astype(data.w.dtype))
    assert np.array_equal(jlr.forward(data.X, data.w, offset=offset), converted)


def test_bad_offsets_are_refused():
    refuses(ValueError, "(12,)", offset=np.zeros(11))
    refuses(ValueError, "(12,)", offset=np.zeros((12, 1)))
    refuses(TypeError, "numpy.ndarray", offset=[0.0] * 12)
    refuses(TypeError, "real numbers", offset=np.zeros(12, complex))
    X, w = np.zeros((2, 1), np.float32), np.zeros(1, np.float32)
    with pytest.raises(ValueError, match=r"^offset\[1\]: expected a number within float32, .* got 1e\+300"):
        jlr.forward(X, w, offset=np.array([0, 1e300]))
    with pytest.raises(ValueError, match=r"^offset: expected shape \(2,\) or \(2, 3\), got \(2, 2\)"):
        jlr.forward(X, np.zeros((1, 3), np.float32), offset=np.zeros((2, 2)))
    out = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="shares memory with offset"):
        jlr.forward(X, w, offset=out, out=out)


# ---------------------------------------------------------------- objectives


@pytest.mark.parametrize("K", [1, 3])
def test_the_hessian_is_the_derivative_of_the_gradient(target, K):
    rng = np.random.default_rng(3)
    X, offset = rng.normal(size=(60, 3)), offsets(60, K if K > 1 else None)
    described = {"link": "softmax", "n_outputs": 3} if K > 1 else {}
    objective = jlr.Objective(X, rng.integers(0, max(K, 2), 60), offset=offset, l2=0.1, **described)
    theta, v = rng.normal(size=(2, objective.n_parameters))
    step = 1e-5
    slope = (objective.gradient(theta + step * v) - objective.gradient(theta - step * v)) / (2 * step)
    np.testing.assert_allclose(objective.hessian_vector(theta, v), slope, atol=1e-9)
    np.testing.assert_allclose(objective.hessian(theta) @ v, slope, atol=1e-9)
    R = objective.root(theta)
    np.testing.assert_allclose(R.T @ R / objective.total_weight, objective.hessian(theta), atol=1e-12)


def test_copies_and_pickles_keep_the_offset():
    data = make_data(50, 3)
    objective = jlr.Objective(data.X, data.y, offset=offsets(50))
    theta = np.arange(4.0)
    for twin in (copy.copy(objective), copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        assert twin(theta)[1].tobytes() == objective(theta)[1].tobytes()


def test_an_objective_refuses_an_offset_that_is_not_finite():
    data, offset = make_data(9, 2), offsets(9)
    offset[4] = np.inf
    with pytest.raises(ValueError, match=r"^offset\[4\]: expected a finite number, got inf"):
        jlr.Objective(data.X, data.y, offset=offset)
    jlr.Objective(data.X, data.y, offset=offset, check_finite=False)


# ---------------------------------------------------------------- solvers


def exact(X, y, offset, l2):
    """θ of the minimum by Newton's method in 80 bits on centred columns, steps solved in 64."""
    centre = X.mean(axis=0)
    Z = np.column_stack([X - centre, np.ones(len(X))]).astype(np.longdouble)
    penalty, theta = np.diag([l2] * X.shape[1] + [0]), np.zeros(X.shape[1] + 1, np.longdouble)
    for _ in range(50):
        a = 1 / (1 + np.exp(-(Z @ theta + offset)))
        gradient = Z.T @ (a - y) / len(y) + penalty @ theta
        hessian = (Z.T * (a * (1 - a))) @ Z / len(y) + penalty
        theta = theta - np.linalg.solve(hessian.astype(float), gradient.astype(float))
    return np.append(theta[:-1], theta[-1] - centre @ theta[:-1]).astype(float)


def drawn(m=400, n=4, shift=0.0):
    rng = np.random.default_rng(4)
    X, offset = rng.normal(size=(m, n)) + shift, offsets(m)
    z = (X - shift) @ rng.normal(size=n) + offset + 0.5
    return X, (rng.uniform(size=m) < 1 / (1 + np.exp(-z))).astype(float), offset


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize(("shift", "l2"), [(0.0, 0.0), (0.0, 0.1), (1e6, 0.0)])
def test_fits_find_the_minimum(target, solver, shift, l2):
    X, y, offset = drawn(shift=shift)
    fitted, wanted = jlr.fit(X, y, offset=offset, solver=solver, l2=l2), exact(X, y, offset, l2)
    assert fitted.converged
    np.testing.assert_allclose(fitted.w, wanted[:-1], rtol=1e-7)
    assert fitted.b == pytest.approx(wanted[-1], rel=1e-7)
    without = jlr.fit(X, y, solver=solver, l2=l2)
    assert np.max(np.abs(without.w - wanted[:-1])) > 0.05


def test_a_constant_offset_moves_the_intercept_alone():
    X, y, _ = drawn()
    plain, moved = jlr.fit(X, y, tolerance=1e-10), jlr.fit(X, y, offset=np.full(400, 1.5), tolerance=1e-10)
    np.testing.assert_allclose(moved.w, plain.w, rtol=1e-9)
    assert moved.b == pytest.approx(plain.b - 1.5, rel=1e-9)


def test_dependent_columns_are_told_beside_an_offset():
    X, y, offset = drawn()
    fitted = jlr.fit(np.column_stack([X, X[:, 1]]), y, offset=offset)
    wanted = exact(X, y, offset, 0.0)
    assert "columns 1, 4 of X depend" in fitted.message
    assert fitted.w[1] + fitted.w[4] == pytest.approx(wanted[1], rel=1e-7)


def test_separation_is_seen_behind_an_offset():
    X = np.linspace(-1, 1, 40)[:, np.newaxis]
    y = (X[:, 0] > 0).astype(int)
    against = -30 * X[:, 0]
    with pytest.warns(SeparationWarning, match="complete separation"):
        assert not jlr.fit(X, y, offset=against).converged
    with pytest.warns(SeparationWarning, match="complete separation"):
        assert not jlr.fit(X, y, link="softmax", offset=np.column_stack([-against, against])).converged
    with pytest.warns(SeparationWarning, match="one class"):
        assert not jlr.fit(X, np.ones(40), offset=offsets(40), l2=0.1).converged


def test_examples_on_the_border_are_told_behind_an_offset():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.repeat([0.0, -1.0, 1.0], [40, 10, 10]), rng.normal(size=60)])
    y = np.append(rng.uniform(size=40) < 0.6, X[40:, 0] > 0).astype(int)
    along = 20 * X[:, 1]  # it moves the column's coefficient by -20, and no margin
    with pytest.warns(SeparationWarning, match=r"quasi-complete.*column 0"):
        assert not jlr.fit(X, y, offset=along).converged
    with pytest.warns(SeparationWarning, match="quasi-complete"):
        assert not jlr.fit(X, y, link="softmax", offset=np.column_stack([-along, along])).converged


def test_one_class_is_seen_behind_an_offset_that_balances_it():
    offset = np.where(np.arange(40) % 2, 3.0, -3.0)
    with pytest.warns(SeparationWarning, match="all examples are of one class"):
        jlr.fit(make_data(40, 2).X, np.zeros(40), offset=offset, l2=1.0)


def test_a_softmax_with_offsets_is_fitted():
    rng = np.random.default_rng(5)
    X, offset = rng.normal(size=(300, 3)), offsets(300, 3)
    classes = np.argmax(X @ rng.normal(size=(3, 3)) + offset + rng.gumbel(size=(300, 3)), axis=1)
    fitted = jlr.fit(X, classes, link="softmax", offset=offset)
    wider = jlr.Objective(np.hstack([X, offset]), classes, link="softmax", n_outputs=3)
    theta = np.vstack([fitted.w, np.eye(3), fitted.b]).reshape(-1)
    gradient = wider.gradient(theta).reshape(7, 3)[[0, 1, 2, 6]]
    assert fitted.converged
    assert np.max(np.abs(gradient)) < 1e-9


def test_descents_take_an_offset(target):
    X, y, offset = drawn()
    run = jlr.gradient_descent(X, y, offset=offset, learning_rate=1.0, n_iterations=3000, tolerance=1e-9)
    assert run.converged
    np.testing.assert_allclose(run.w, exact(X, y, offset, 0.0)[:-1], rtol=1e-6)
    one = jlr.gradient_descent(X, y, offset=offset, learning_rate=0.5, n_iterations=4)
    batch = jlr.minibatch_descent((X, y), offset=offset, learning_rate=0.5, n_epochs=4, block_size=400)
    assert batch.w.tobytes() == one.w.tobytes()
    cut = [(X[i : i + 100], y[i : i + 100], None, offset[i : i + 100]) for i in range(0, 400, 100)]
    arrays = jlr.minibatch_descent((X, y, None, offset), learning_rate=0.5, block_size=100)
    assert arrays.w.tobytes() == jlr.minibatch_descent(cut, learning_rate=0.5).w.tobytes()


def test_mini_batches_of_a_softmax_are_those_of_a_descent(target):
    rng = np.random.default_rng(6)
    X, classes, offset = rng.normal(size=(90, 3)), rng.integers(0, 3, 90), offsets(90, 3)
    one = jlr.gradient_descent(X, classes, link="softmax", offset=offset, learning_rate=0.5, n_iterations=3)
    batch = jlr.minibatch_descent(
        (X, classes, None, offset), link="softmax", learning_rate=0.5, n_epochs=3, block_size=90
    )
    assert (batch.w.tobytes(), batch.b.tobytes()) == (one.w.tobytes(), one.b.tobytes())
    cut = [(X[i : i + 30], classes[i : i + 30], None, offset[i : i + 30]) for i in (0, 30, 60)]
    of_list = jlr.minibatch_descent(cut, link="softmax", w=np.zeros((3, 3)), learning_rate=0.5)
    arrays = jlr.minibatch_descent((X, classes), offset=offset, link="softmax", learning_rate=0.5, block_size=30)
    assert of_list.w.tobytes() == arrays.w.tobytes()
    with pytest.raises(ValueError, match=r"^w: expected shape \(n, K\), which tells K"):
        jlr.minibatch_descent(cut, link="softmax", learning_rate=0.5)
    with pytest.raises(ValueError, match=r"^offset: expected None beside batches that are cut already"):
        jlr.minibatch_descent(cut, offset=offset, learning_rate=0.5)


def test_a_checkpoint_of_another_offset_is_refused(tmp_path):
    X, y, offset = drawn()
    jlr.fit(X, y, offset=offset, max_iterations=2, checkpoint=tmp_path / "run.npz")
    resumed = jlr.fit(X, y, offset=offset, resume=tmp_path / "run.npz")
    assert resumed.w.tobytes() == jlr.fit(X, y, offset=offset).w.tobytes()
    with pytest.raises(ValueError, match=r"^resume: expected a run on the same X"):
        jlr.fit(X, y, offset=-offset, resume=tmp_path / "run.npz")


def test_an_objective_has_its_own_offset():
    X, y, offset = drawn()
    with pytest.raises(TypeError, match=r"^offset: expected no value beside an Objective"):
        jlr.fit(jlr.Objective(X, y), offset=offset)


# ---------------------------------------------------------------- integrations


def test_the_estimator_takes_an_offset():
    estimators = pytest.importorskip("jitlogreg.sklearn", reason="scikit-learn is not installed")
    X, y, offset = drawn()
    model = estimators.LogisticRegression(C=np.inf).fit(X, y, offset=offset)
    np.testing.assert_allclose(model.coef_[0], exact(X, y, offset, 0.0)[:-1], rtol=1e-7)
    z = X @ model.coef_[0] + model.intercept_[0] + offset
    np.testing.assert_allclose(model.decision_function(X, offset=offset), z, rtol=1e-13)
    np.testing.assert_allclose(model.predict_proba(X, offset=offset)[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-12)
    assert np.array_equal(model.predict(X, offset=offset), (z > 0).astype(float))
    three = np.digitize(z, [-1, 1])
    of_classes = offsets(400, 3)
    model = estimators.LogisticRegression().fit(X, three, offset=of_classes)
    z = X @ model.coef_.T + model.intercept_ + of_classes
    assert np.array_equal(model.predict(X, offset=of_classes), np.argmax(z, axis=1))
    with pytest.raises(ValueError, match=r"^offset: expected shape \(400,\) or \(400, 3\), got \(399,\)"):
        model.predict(X, offset=offset[1:])


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_blocks_take_offsets_and_outputs(link):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    rng = np.random.default_rng(7)
    X, offset, s = rng.normal(size=(500, 4)), offsets(500, 3), rng.uniform(1, 2, size=500)
    y = rng.integers(0, 3, 500) if link == "softmax" else rng.integers(0, 2, size=(500, 3))
    described = {"link": link, "n_outputs": 3, "l2": 0.1}
    plain = jlr.Objective(X, y, sample_weight=s, offset=offset, **described)
    cut = [da.from_array(array, chunks=(130, *array.shape[1:])) for array in (X, y, s, offset)]
    blocks = over_blocks.Objective(cut[0], cut[1], sample_weight=cut[2], offset=cut[3], **described)
    theta, v = rng.normal(size=(2, plain.n_parameters))
    for got, wanted in zip(blocks(theta), plain(theta), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(blocks.loss(theta), plain.loss(theta), rtol=1e-13)
    np.testing.assert_allclose(blocks.hessian_vector(theta, v), plain.hessian_vector(theta, v), rtol=1e-11)
    again = pickle.loads(pickle.dumps(blocks))
    assert again(theta)[1].tobytes() == blocks(theta)[1].tobytes()
    W, b = rng.normal(size=(4, 3)), rng.normal(size=3)
    a = over_blocks.forward(cut[0], W, b, link=link, offset=cut[3])
    assert a.compute().tobytes() == jlr.forward(X, W, b, link=link, offset=offset).tobytes()
    if link == "softmax":
        for solver in ("newton", "lbfgs"):
            fitted, wanted = jlr.fit(blocks, solver=solver), jlr.fit(plain, solver=solver)
            assert fitted.converged
            np.testing.assert_allclose(fitted.w, wanted.w, atol=1e-7)
        np.testing.assert_allclose(blocks.hessian(theta), plain.hessian(theta), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(blocks.shared_hessian(theta), plain.shared_hessian(theta), rtol=1e-10)
    tiny = over_blocks.Objective(cut[0], cut[1], sample_weight=cut[2] * 1e-300, offset=cut[3], **described)
    np.testing.assert_allclose(tiny(theta)[1], plain(theta)[1], rtol=1e-12)


def test_blocks_with_an_offset_have_the_minimum_of_all():
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    X, y, offset = drawn()
    cut = [da.from_array(array, chunks=(90, *array.shape[1:])) for array in (X, y, offset)]
    fitted = jlr.fit(over_blocks.Objective(cut[0], cut[1], offset=cut[2]))
    np.testing.assert_allclose(fitted.w, exact(X, y, offset, 0.0)[:-1], rtol=1e-7)
    one_class = over_blocks.Objective(cut[0], cut[1] * 0, offset=cut[2])
    assert one_class.imbalance == 0.5

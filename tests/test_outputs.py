"""K outputs from one read of X: models with the bits of one alone, softmax against mpmath, and what is refused."""

import re

import mpmath
import numpy as np
import pytest
from calls import read_only, snapshot
from conftest import margin_bound

import jitlogreg as jlr
from jitlogreg.targets.base import Problem
from jitlogreg.targets.cpu import plan, profile
from jitlogreg.targets.cpu.outputs import chunks

mpmath.mp.dps = 40

# the targets that run everywhere; tests/test_cuda_outputs.py is about the third
TARGETS = ["cpu", "reference"]

SHAPES = [(1, 3), (9, 1), (37, 5), (300, 28), (523, 64), (129, 0), (700, 2), (70, 131)]


@pytest.fixture(params=TARGETS)
def target(request):
    with jlr.use_target(request.param):
        yield request.param


def models(m, n, K, dtypes=(np.float64, np.float64), order="C", seed=0):
    """X, W, b, labels and weights of K models, and classes."""
    rng = np.random.default_rng([seed, m, n, K])
    X = np.asarray(rng.normal(size=(m, n)), dtypes[0], order=order)
    W, b = rng.normal(size=(n, K)).astype(dtypes[1]), rng.normal(size=K).astype(dtypes[1])
    y, s = rng.uniform(size=(m, K)) < 0.5, rng.uniform(0.1, 3, size=(m, K))
    return X, W, b, y.astype(dtypes[1]), s.astype(dtypes[1]), rng.integers(0, K, m)


# ---------------------------------------------------------------- independent models


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("K", [1, 2, 3, 6, 9])
def test_each_model_has_the_bits_of_one_alone(dtypes, order, shape, K):
    X, W, b, y, s, _ = models(*shape, K, dtypes, order)
    l2 = np.linspace(0, 1, K)
    cases = [(y, s, l2), (y[:, 0], None, 0.5), (y, s[:, 0], 0.0), (y[:, 0], s, 0.0)]
    for labels, weights, penalty in cases:
        result = jlr.loss_and_gradient(X, labels, W, b, sample_weight=weights, l2=penalty)
        assert result.loss.shape == result.db.shape == (K,)
        assert result.dw.shape == W.shape
        assert (result.dw.dtype, result.loss.dtype) == (W.dtype, np.float64)
        for k in range(K):
            one = jlr.loss_and_gradient(
                X,
                labels if labels.ndim == 1 else labels[:, k].copy(),
                W[:, k].copy(),
                b[k],
                sample_weight=weights if weights is None or weights.ndim == 1 else weights[:, k].copy(),
                l2=penalty if np.ndim(penalty) == 0 else penalty[k],
            )
            assert (result.loss[k], result.db[k]) == (one.loss, one.db)
            assert result.dw[:, k].tobytes() == one.dw.tobytes()
        assert np.array_equal(jlr.loss(X, labels, W, b, sample_weight=weights, l2=penalty), result.loss)
    for call in (jlr.forward, jlr.log_forward):
        a = call(X, W, b)
        assert (a.shape, a.dtype, a.flags.c_contiguous) == ((len(X), K), W.dtype, True)
        for k in range(K):
            assert a[:, k].tobytes() == call(X, W[:, k].copy(), b[k]).tobytes()


def test_models_beyond_column_panels_have_the_bits_of_one_alone(order):
    n = 40_000 if order == "C" else 4200
    X, W, b, y, *_ = models(40, n, 2, order=order)
    result = jlr.loss_and_gradient(X, y, W, b)
    for k in range(2):
        one = jlr.loss_and_gradient(X, y[:, k].copy(), W[:, k].copy(), b[k])
        assert (result.loss[k], result.db[k]) == (one.loss, one.db)
        assert result.dw[:, k].tobytes() == one.dw.tobytes()
    T, V = np.vstack([W, b]), np.vstack([W[::-1], b])
    product = jlr.Objective(X, y, n_outputs=2).hessian_vector(T.reshape(-1), V.reshape(-1)).reshape(T.shape)
    for k in range(2):
        one = jlr.Objective(X, y[:, k].copy()).hessian_vector(T[:, k].copy(), V[:, k].copy())
        assert product[:, k].tobytes() == one.tobytes()


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_any_number_of_threads_and_any_wave_gives_the_same_bits(link, monkeypatch):
    import numba

    X, W, b, _, _, classes = models(40_000, 20, 3)
    y = classes if link == "softmax" else (classes == 1).astype(float)
    before = numba.get_num_threads()
    results = []
    for wave_bytes in (chunks.WAVE_BYTES, 1):
        monkeypatch.setattr(chunks, "WAVE_BYTES", wave_bytes)
        plan.make_outputs_plan.cache_clear()
        record = plan_of(X, W).record
        assert (record["wave"] < record["parts"]) == (wave_bytes == 1)
        for threads in {1, before}:
            numba.set_num_threads(threads)
            results.append(jlr.loss_and_gradient(X, y, W, b, link=link))
    numba.set_num_threads(before)
    plan.make_outputs_plan.cache_clear()
    for result in results[1:]:
        assert np.array_equal(result.loss, results[0].loss)
        assert result.dw.tobytes() == results[0].dw.tobytes()
        assert result.db.tobytes() == results[0].db.tobytes()


def plan_of(X, W):
    """The plan of a softmax's gradient, as a record."""
    from types import SimpleNamespace

    from jitlogreg.targets.cpu.problem import PROBLEM

    problem = Problem.of(X)
    made = plan.make_outputs_plan(
        "outputs_softmax_loss",
        *(X.shape, W.shape[1], problem.order, problem.ld, X.dtype, W.dtype, True, False, profile.current()),
    )
    return SimpleNamespace(record=made.record.view(PROBLEM)[0], numbers=made.numbers)


def test_memory_is_bounded_however_many_tasks_there_are():
    X, W = np.broadcast_to(0.0, (1, 1)), np.empty((1000, 100))
    X = np.lib.stride_tricks.as_strided(np.zeros(1), (200_000, 1000), (8000, 8))
    found = plan_of(X, W)
    assert found.record["parts"] > 100
    assert found.numbers * 8 < chunks.WAVE_BYTES + 40 * W.nbytes


# ---------------------------------------------------------------- softmax


def exact_softmax(z):
    """Probabilities, their logarithms, and 1 minus them, of margins z, in mpmath."""
    z = [mpmath.mpf(float(v)) for v in z]
    largest = max(z)
    e = [mpmath.exp(v - largest) for v in z]
    total, first = mpmath.fsum(e), z.index(largest)
    others = [mpmath.fsum(e[:k] + e[k + 1 :]) / total for k in range(len(e))]
    log_total = mpmath.log1p(mpmath.fsum(e[:first] + e[first + 1 :]))
    return [v / total for v in e], [v - largest - log_total for v in z], others


def ulps(got, exact, dtype):
    smallest = np.finfo(dtype).smallest_normal
    size = max(abs(np.asarray(float(exact), dtype)), smallest)
    return float(abs(mpmath.mpf(float(got)) - exact) / np.spacing(size))


def margins(dtype, K):
    """Rows of margins: near each other, far apart, large, equal, and with a class that all but vanishes."""
    rng = np.random.default_rng(K)
    largest = 700 if dtype == np.float64 else 80
    rows = [rng.normal(size=(60, K)) * scale for scale in (1e-3, 1, 10, largest / 4)]
    shifted = rng.uniform(-1, 1, size=(60, K)) + rng.uniform(-largest, largest, size=(60, 1))
    peaked = rng.normal(size=(60, K))
    peaked[:, 0] += rng.uniform(0, largest, size=60)
    return np.concatenate([*rows, shifted, peaked, np.zeros((1, K)), np.full((1, K), 0.1)]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [2, 3, 10, 300])
def test_softmax_and_its_logarithm_are_within_four_ulp(dtype, K):
    Z = margins(dtype, K)[:: max(1, K // 10)]
    a, log_a = (
        call(Z, np.eye(K, dtype=dtype), link="softmax", target="cpu") for call in (jlr.forward, jlr.log_forward)
    )
    for i, z in enumerate(Z):
        exact, log_exact, _ = exact_softmax(z)
        for k in range(K):
            if exact[k] >= np.finfo(dtype).smallest_normal:
                assert ulps(a[i, k], exact[k], dtype) <= 4, (z, k)
            assert ulps(log_a[i, k], log_exact[k], dtype) <= 4, (z, k)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [2, 3, 10])
def test_loss_and_residuals_of_a_softmax_are_within_four_ulp(dtype, K):
    Z, W = margins(dtype, K), np.eye(K, dtype=dtype)
    for z in Z[::3]:
        exact, log_exact, others = exact_softmax(z)
        for label in range(K):
            result = jlr.loss_and_gradient(z[np.newaxis], np.array([label]), W, link="softmax", target="cpu")
            if -log_exact[label] >= np.finfo(dtype).smallest_normal:
                assert ulps(result.loss, -log_exact[label], dtype) <= 4, (z, label)
            for k in range(K):
                residual = -others[k] if k == label else exact[k]
                if abs(residual) >= np.finfo(dtype).smallest_normal:
                    assert ulps(result.db[k], residual, dtype) <= 4, (z, label, k)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("K", [2, 3, 5, 9])
def test_softmax_agrees_with_the_reference(dtypes, order, shape, K):
    X, W, b, _, s, classes = models(*shape, K, dtypes, order)
    probabilities = np.random.default_rng(1).dirichlet(np.ones(K), len(X)).astype(dtypes[1])
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    u = float(np.finfo(dtypes[1]).eps)
    bound = 8 * u + max(float(np.max(margin_bound(X, W[:, k], b[k]), initial=0)) for k in range(K))
    for y in (classes, probabilities):
        for weights in (None, s[:, 0]):
            got, expected = (
                jlr.loss_and_gradient(X, y, W, b, link="softmax", sample_weight=weights, l2=0.1, target=name)
                for name in ("cpu", "reference")
            )
            total = len(X) if weights is None else weights.sum()
            size = max(1.0, np.max(np.abs(X), initial=0))
            most = 40 * size * bound * (len(X) if weights is None else weights.sum()) / total
            assert got.loss == pytest.approx(expected.loss, rel=64 * u, abs=4 * bound)
            np.testing.assert_allclose(got.dw, expected.dw, rtol=64 * u, atol=most)
            np.testing.assert_allclose(got.db, expected.db, rtol=64 * u, atol=most)
            assert jlr.loss(X, y, W, b, link="softmax", sample_weight=weights, l2=0.1) == got.loss


def test_a_softmax_of_two_classes_is_the_model_of_their_difference(target):
    X, W, b, _, _, classes = models(200, 4, 2)
    two = jlr.loss_and_gradient(X, classes, W, b, link="softmax")
    one = jlr.loss_and_gradient(X, classes, W[:, 1] - W[:, 0], float(b[1] - b[0]))
    assert two.loss == pytest.approx(one.loss, rel=1e-13)
    np.testing.assert_allclose(two.dw[:, 1], one.dw, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(two.dw[:, 0], -one.dw, rtol=1e-11, atol=1e-15)


def test_probabilities_that_are_one_hot_are_the_class_numbers(target):
    X, W, b, _, _, classes = models(130, 6, 4)
    numbers, one_hot = (
        jlr.loss_and_gradient(X, y, W, b, link="softmax") for y in (classes, np.eye(4, dtype=np.uint8)[classes])
    )
    assert one_hot.loss == pytest.approx(numbers.loss, rel=1e-14)
    np.testing.assert_array_equal(one_hot.dw, numbers.dw)


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ([np.inf, 0, 0], [1, 0, 0]),
        ([0, -np.inf, 0], [0.5, 0, 0.5]),
        ([np.inf, np.inf, 0], [0.5, 0.5, 0]),
        ([np.inf] * 3, [1 / 3] * 3),
        ([-np.inf] * 3, [1 / 3] * 3),
        ([np.nan, 0, 0], [np.nan] * 3),
        ([0, 0, np.nan], [np.nan] * 3),
    ],
)
def test_infinite_and_missing_margins(target, b, expected):
    X, W, b = np.zeros((9, 2)), np.zeros((2, 3)), np.array(b, float)
    np.testing.assert_allclose(jlr.forward(X, W, b, link="softmax"), [expected] * 9, rtol=1e-15)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(jlr.log_forward(X, W, b, link="softmax"), np.log([expected] * 9), rtol=1e-15)
        losses = -np.log(expected)
    for label in range(3):
        loss, _, db = jlr.loss_and_gradient(X, np.full(9, label), W, b, link="softmax")
        np.testing.assert_allclose(loss, losses[label], rtol=1e-15, atol=0)
        np.testing.assert_allclose(db, np.array(expected) - (np.arange(3) == label), rtol=1e-14)


def test_a_forward_pass_of_no_rows(target):
    X, W, b, *_ = models(0, 3, 4)
    for link in ("sigmoid", "softmax"):
        assert jlr.forward(X, W, b, link=link).shape == (0, 4)


# ---------------------------------------------------------------- arguments


def test_out_receives_the_result_and_no_input_changes(target, dtypes, order):
    X, W, b, y, s, classes = models(50, 3, 4, dtypes, order)
    arrays = [X, W, b, y, s, classes]
    before = [snapshot(array) for array in arrays]
    arrays = [read_only(array) for array in arrays]
    X, W, b, y, s, classes = arrays
    a = np.empty((50, 4), W.dtype)
    assert jlr.forward(X, W, b, link="softmax", out=a) is a
    assert np.array_equal(a, jlr.forward(X, W, b, link="softmax"))
    for labels, link in ((y, "sigmoid"), (classes, "softmax")):
        dw = np.empty_like(W)
        result = jlr.loss_and_gradient(X, labels, W, b, link=link, out=dw)
        assert result.dw is dw
        assert np.array_equal(dw, jlr.gradient(X, labels, W, b, link=link).dw)
    assert [snapshot(array) for array in arrays] == [(*state[:4], False) for state in before]


@pytest.mark.parametrize("change", [np.asfortranarray, lambda W: np.repeat(W, 2, axis=1)[:, ::2], np.fliplr])
def test_coefficients_may_lie_in_memory_as_they_like(change):
    X, W, b, _, _, classes = models(60, 5, 3)
    strided = change(W)
    expected = jlr.loss_and_gradient(X, classes, strided.copy(), b, link="softmax")
    result = jlr.loss_and_gradient(X, classes, strided, b, link="softmax")
    assert result.loss == expected.loss
    assert np.array_equal(result.dw, expected.dw)


def test_one_intercept_serves_all_outputs(target):
    X, W, *_ = models(30, 3, 4)
    assert np.array_equal(jlr.forward(X, W, 0.5), jlr.forward(X, W, np.full(4, 0.5)))
    assert np.array_equal(jlr.forward(X, W), jlr.forward(X, W, np.zeros(4)))


def test_weights_out_of_range_are_scaled_by_model(target):
    X, W, b, y, s, _ = models(40, 3, 2)
    extreme = s * np.array([1e-320, 1e300])
    result = jlr.loss_and_gradient(X, y, W, b, sample_weight=extreme)
    one = jlr.loss_and_gradient(X, y[:, 1].copy(), W[:, 1].copy(), b[1], sample_weight=s[:, 1].copy())
    assert np.isfinite(result.loss).all()
    assert result.loss[1] == pytest.approx(one.loss, rel=1e-12)


X, W, B, Y, S, CLASSES = models(12, 3, 4)
HOT, AT = np.eye(4)[CLASSES], np.arange(48).reshape(12, 4)
NEGATIVE = np.where(np.arange(12) == 5, -1.0, 1.0)
OF_MODELS = {"link": "sigmoid", "y": Y}
NO_SUM = "sample_weight: expected a sum that is positive and finite, got 0.0"


@pytest.mark.parametrize(
    ("exception", "said", "arguments"),
    [
        (ValueError, "link: expected one of 'sigmoid', 'softmax', got 'probit'", {"link": "probit"}),
        (ValueError, "link: expected 'sigmoid' beside w of shape (n,), got 'softmax'", {"w": W[:, 0]}),
        (ValueError, "w: expected at least 2 classes for link='softmax', got 1", {"w": W[:, :1], "b": 0.0}),
        (ValueError, "w: expected at least 2 classes for link='softmax', got 0", {"w": W[:, :0], "b": 0.0}),
        (ValueError, "w: expected at least 1 column for", {"w": W[:, :0], "b": 0.0, "link": "sigmoid"}),
        (ValueError, "w: expected shape (3, K), one row per column of X, got (2, 4)", {"w": W[:2]}),
        (TypeError, "w: expected float64 beside X of float64, got float32", {"w": W.astype(np.float32)}),
        (ValueError, "b: expected shape (4,), one intercept per column of w, got (3,)", {"b": B[:3]}),
        (TypeError, "b: expected real numbers, got dtype complex128", {"b": B + 0j}),
        (TypeError, "y: expected integers from 0 to 3, or shape (12, 4), got float64: np.unique", {"y": CLASSES * 1.0}),
        (ValueError, "y[0]: expected a class from 0 to 3, as there are 4 outputs, got 4", {"y": np.full(12, 4)}),
        (ValueError, "y[0]: expected a class from 0 to 3, as there are 4 outputs, got -1", {"y": np.full(12, -1)}),
        (ValueError, "y: expected shape (12,) of classes or (12, 4) of probabilities, got (12, 3)", {"y": HOT[:, :3]}),
        (ValueError, "y: expected shape (12,) of classes", {"y": CLASSES[:5]}),
        (ValueError, "y[0]: expected probabilities of at least 0 that sum to 1, got [", {"y": HOT * 0.9}),
        (ValueError, "y[0]: expected probabilities of at least 0", {"y": HOT - 0.25 + HOT[:, ::-1] * 0.25}),
        (ValueError, "y[3, 1]: expected a label from 0 to 1, got 2.0", OF_MODELS | {"y": np.where(AT == 13, 2.0, Y)}),
        (ValueError, "sample_weight: expected shape (12,), got (12, 4)", {"sample_weight": S}),
        (ValueError, "sample_weight[5]: expected a finite weight of at least 0", {"sample_weight": NEGATIVE}),
        (ValueError, NO_SUM, {"sample_weight": np.zeros(12)}),
        (ValueError, f"{NO_SUM} for output 2", OF_MODELS | {"sample_weight": S * [1, 1, 0, 1]}),
        (ValueError, "l2: expected a number, got an array of shape (4,)", {"l2": np.zeros(4)}),
        (ValueError, "l2: expected a number or an array of shape (4,), got an array", OF_MODELS | {"l2": np.zeros(3)}),
        (
            ValueError,
            "l2: expected a finite number of at least 0, got -1",
            OF_MODELS | {"l2": np.array([0, 0, -1.0, 0])},
        ),
        (ValueError, "out: expected shape (3, 4), got (4, 3)", {"out": np.empty((4, 3))}),
        (ValueError, "out: expected a contiguous array", {"out": np.empty((4, 3)).T}),
        (ValueError, "X: expected at least one row", {"X": X[:0], "y": CLASSES[:0]}),
    ],
)
def test_what_is_refused(target, exception, said, arguments):
    arguments = {"X": X, "y": CLASSES, "w": W, "b": B, "link": "softmax"} | arguments
    with pytest.raises(exception, match="^" + re.escape(said)):
        jlr.loss_and_gradient(**arguments)


@pytest.mark.parametrize("row", [0, 17, 69])
def test_a_bad_label_of_any_row_and_model_is_found(target, row):
    X, W, b, y, s, _ = models(70, 64, 3)
    y[row, 1], s[row, 2] = 1.5, -1.0
    with pytest.raises(ValueError, match=rf"^y\[{row}, 1\]: expected a label from 0 to 1, got 1.5"):
        jlr.loss_and_gradient(X, y, W, b)
    with pytest.raises(ValueError, match=rf"^sample_weight\[{row}, 2\]: expected a finite weight"):
        jlr.loss(X, np.abs(y) > 1, W, b, sample_weight=s)
    with pytest.raises(ValueError, match=rf"^sample_weight\[{row}\]: expected a finite weight"):
        jlr.loss(X, np.arange(70) % 3, W, b, sample_weight=s[:, 2].copy(), link="softmax")

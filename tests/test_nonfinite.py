"""NaN and infinity are computed with."""

import math

import numpy as np
import pytest
from calls import CALLS, W, X, call

pytestmark = pytest.mark.usefixtures("target")


def one(name, x, w=1.0, *, y=0.0, b=0.0, dtypes=(np.float64, np.float64)):
    """A call on one example of one feature."""
    return call(name, X=np.array([[x]], dtypes[0]), w=np.array([w], dtypes[1]), y=np.array([y]), b=b)


@pytest.mark.parametrize(
    ("x", "w", "b"),
    [
        (math.nan, 1, 0),
        (1, math.nan, 0),
        (1, 1, math.nan),
        (math.nan, 0, 0),
        (math.inf, 0, 0),
        (0, math.inf, 0),
        (math.inf, 1, -math.inf),
    ],
)
def test_a_nan_margin_gives_nan(x, w, b, dtypes):
    assert np.isnan(one("forward", x, w, b=b, dtypes=dtypes)).all()
    assert np.isnan(one("log_forward", x, w, b=b, dtypes=dtypes)).all()
    for y in (0.0, 0.5, 1.0):
        loss, dw, db = one("loss_and_gradient", x, w, b=b, y=y, dtypes=dtypes)
        assert math.isnan(one("loss", x, w, b=b, y=y, dtypes=dtypes))
        assert np.isnan([loss, *dw, db]).all()


@pytest.mark.parametrize(("x", "w", "b"), [(math.inf, 1, 0), (-1, -math.inf, 0), (0, 1, math.inf), (math.inf, 1, -1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_margin_has_its_limits(x, w, b, sign, dtypes):
    x, b = sign * x, sign * b
    side = float(sign > 0)
    assert one("forward", x, w, b=b, dtypes=dtypes) == [side]
    assert one("log_forward", x, w, b=b, dtypes=dtypes) == [0 if sign > 0 else -math.inf]
    for y in (0.0, 0.25, 1.0):
        loss, _, db = one("loss_and_gradient", x, w, b=b, y=y, dtypes=dtypes)
        assert loss == one("loss", x, w, b=b, y=y, dtypes=dtypes) == (0 if y == side else math.inf)
        assert db == side - y


def test_a_residual_of_zero_times_infinity_is_nan(dtypes):
    assert np.isnan(one("gradient", math.inf, y=1.0, dtypes=dtypes).dw).all()
    assert one("gradient", math.inf, y=0.0, dtypes=dtypes).dw == [math.inf]
    assert one("gradient", -math.inf, y=1.0, dtypes=dtypes).dw == [math.inf]


def test_one_bad_example_stays_in_its_place(dtypes, order):
    bad = np.array(X, dtypes[0], order=order)
    bad[4, 1] = math.nan
    w = W.astype(dtypes[1])
    a = call("forward", X=bad, w=w)
    assert np.isnan(a[4])
    np.testing.assert_allclose(np.delete(a, 4), np.delete(call("forward", w=w.astype(float)), 4), rtol=1e-5)
    result = call("loss_and_gradient", X=bad, w=w)
    assert np.isnan([result.loss, *result.dw, result.db]).all()


def test_an_infinite_loss_of_weight_zero_is_nan():
    at = {"X": np.array([[math.inf], [1.0]]), "y": np.zeros(2), "w": np.ones(1)}
    assert call("loss", **at) == math.inf
    assert math.isnan(call("loss", sample_weight=np.array([0.0, 1.0]), **at))


def test_the_penalty_of_infinite_weights_is_infinite_and_none_without_l2():
    at = {"X": np.ones((1, 1)), "y": np.ones(1), "w": np.array([math.inf])}
    assert call("loss", **at) == 0
    assert call("loss", l2=1.0, **at) == math.inf


@pytest.mark.parametrize("errors", ["raise", "warn"])
def test_extreme_numbers_raise_no_floating_point_errors(errors, dtypes, order):
    values = [0.0, 1e-40, -1e-30, 1.0, 50, -104, 800, -800, 1e30, -1e30, math.inf, -math.inf, math.nan]
    extreme = np.array([[x, scale] for x in values for scale in (0.0, 1.0)], dtypes[0], order=order)
    m = len(extreme)
    at = {"X": extreme, "w": np.array([1, 1e-20], dtypes[1]), "b": 1e-60}
    labels = [np.zeros(m), np.ones(m), np.full(m, 0.3), np.full(m, 1e-300)]
    for name in set(CALLS) - {"gradient_descent"}:
        for y in labels:
            with np.errstate(all="ignore"):
                expected = call(name, y=y, sample_weight=np.full(m, 1e-20), l2=1e-9, **at)
            with np.errstate(all=errors):
                result = call(name, y=y, sample_weight=np.full(m, 1e-20), l2=1e-9, **at)
            np.testing.assert_equal(result, expected)

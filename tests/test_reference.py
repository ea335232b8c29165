"""The oracle against oracles of its own: the graph, mpmath, and its two spellings against each other."""

import math

import mpmath
import numpy as np
import pytest
from conftest import example_bound, expected_objective, make_data

import jitlogreg as jlr
from jitlogreg.graph import Variable, derivatives, exp, log
from jitlogreg.targets import reference
from jitlogreg.targets.base import Problem

MARGINS = np.concatenate(
    [
        np.linspace(-800, 800, 321),
        np.random.default_rng(3).uniform(-50, 50, 200),
        [0.0, -0.0, 1e-300, -1e-300, 1e-9, -1e-9, 36.9, -36.9, -708.3, -708.5, -744.4, -745.2, 745.2],
    ]
)


@pytest.fixture(autouse=True, scope="module")
def _many_digits():
    with mpmath.workdps(400):  # exp(−800) beside 1
        yield


def sigma(z):
    return 1 / (1 + mpmath.exp(-mpmath.mpf(float(z))))


def off_by(result, exact):
    """|result − exact| of an mpmath number, as a float64."""
    return np.array([float(abs(mpmath.mpf(float(r)) - e)) for r, e in zip(result, exact, strict=True)])


def as_floats(exact):
    return np.array([float(e) for e in exact])


# ---------------------------------------------------------------- the notes' for-loops


def test_the_dot_loop_adds_the_products():
    assert reference.dot_loop([1, 2, 3], [4, 5, 6]) == 32
    assert reference.dot_loop([], []) == 0
    u, v = np.random.default_rng(0).uniform(size=(2, 100_000))
    assert reference.dot_loop(u, v) == pytest.approx(reference.dot(u, v), rel=1e-11)
    assert reference.dot(u, v) == pytest.approx(25_000, rel=0.01)


def test_dot_is_a_python_float_summed_in_float64():
    u = np.array([1e8, 1, -1e8], np.float32)
    assert type(reference.dot(u, np.ones(3, np.float32))) is float
    assert reference.dot(u, np.ones(3, np.float32)) == 1


def test_one_example_through_the_loops_is_the_graph():
    x, y, w, b = [1.5, -0.5], 1.0, [0.4, -0.8], 0.1
    w1, w2, intercept = Variable(w[0]), Variable(w[1]), Variable(b)
    a = 1 / (1 + exp(-(w1 * x[0] + w2 * x[1] + intercept)))
    L = -(y * log(a) + (1 - y) * log(1 - a))
    dL = derivatives(L)
    loss, dw, db = reference.example_loop(x, y, w, b)
    assert reference.forward_loop(x, w, b) == pytest.approx(a.value, rel=1e-15)
    assert loss == reference.loss_loop(a.value, y) == pytest.approx(L.value, rel=1e-15)
    assert [*dw, db] == pytest.approx([dL[w1], dL[w2], dL[intercept]], rel=1e-14)
    assert db == pytest.approx(a.value - y, rel=1e-14)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("as_lists", [False, True])
def test_the_loops_over_examples_equal_numpy(soft, as_lists):
    data = make_data(30, 4, soft=soft)
    X, y, w = (array.tolist() if as_lists else array for array in (data.X, data.y, data.w))
    J, dw, db = reference.gradient_loop(X, y, w, data.b)
    result = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="reference")
    assert pytest.approx(result.loss, rel=1e-13) == J
    assert dw == pytest.approx(result.dw, rel=1e-12)
    assert db == pytest.approx(result.db, rel=1e-12)


def test_the_mean_over_examples_is_that_of_single_ones():
    data = make_data(7, 3)
    singles = [reference.example_loop(x, y, data.w, data.b) for x, y in zip(data.X, data.y, strict=True)]
    J, dw, db = reference.gradient_loop(data.X, data.y, data.w, data.b)
    assert pytest.approx(np.mean([single[0] for single in singles])) == J
    assert dw == pytest.approx(np.mean([single[1] for single in singles], axis=0))
    assert db == pytest.approx(np.mean([single[2] for single in singles]))


def test_step_loop_makes_the_notes_step():
    X, y, w, b = [[1.0, 2.0], [-3.0, 0.5]], [1, 0], [0.5, -0.25], 0.125
    J, dw, db = reference.gradient_loop(X, y, w, b)
    assert reference.step_loop(X, y, w, b, 0.5) == (J, [w[0] - 0.5 * dw[0], w[1] - 0.5 * dw[1]], b - 0.5 * db)
    assert (w, b) == ([0.5, -0.25], 0.125)


def test_steps_by_loops_are_gradient_descent():
    data = make_data(20, 3)
    w, b, history = [0.0] * 3, 0.0, []
    for _ in range(5):
        J, w, b = reference.step_loop(data.X, data.y, w, b, 0.3)
        history.append(J)
    run = jlr.gradient_descent(data.X, data.y, learning_rate=0.3, n_iterations=5, target="reference")
    assert run.w == pytest.approx(w, rel=1e-12)
    assert run.b == pytest.approx(b, rel=1e-12)
    assert run.loss_history[:-1] == pytest.approx(history, rel=1e-12)


# ---------------------------------------------------------------- where the loops saturate


def test_the_forward_loop_overflows_below_minus_709():
    assert 0 < reference.forward_loop([1.0], [-709.0], 0.0) < 1e-307
    with pytest.raises(OverflowError):
        reference.forward_loop([1.0], [-710.0], 0.0)


def test_the_forward_loop_rounds_to_1_from_37_on():
    assert reference.forward_loop([1.0], [36.0], 0.0) < 1
    assert reference.forward_loop([1.0], [37.0], 0.0) == 1


@pytest.mark.parametrize("a", [0.0, 1.0])
@pytest.mark.parametrize("y", [0, 1])
def test_the_loss_loop_has_no_logarithm_of_0(a, y):
    with pytest.raises(ValueError, match=r"math domain|positive"):
        reference.loss_loop(a, y)


@pytest.mark.parametrize("y", [0, 1])
def test_the_example_loop_divides_by_0_where_a_rounds_to_1(y):
    with pytest.raises(ZeroDivisionError):
        reference.example_loop([1.0], y, [37.0], 0.0)
    a, (loss, _, db) = reference.forward_loop([1.0], [36.0], 0.0), reference.example_loop([1.0], y, [36.0], 0.0)
    assert math.isfinite(loss)
    assert db == pytest.approx(a - y, rel=1e-12, abs=1e-15)


def test_the_gradient_loop_saturates_where_its_loss_does():
    with pytest.raises(ValueError, match=r"math domain|positive"):
        reference.gradient_loop([[1.0]], [1], [37.0], 0.0)


# ---------------------------------------------------------------- the NumPy spelling, against mpmath


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_forward_keeps_both_tails(dtype):
    z = MARGINS.astype(dtype)
    a = reference.activate("sigmoid", Problem.of(z[:, None]), np.ones(1, dtype), dtype(0), np.empty(len(z), dtype))
    exact = [sigma(v) for v in z]
    assert (off_by(a, exact) <= example_bound(as_floats(exact), dtype)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_forward_is_finite_and_keeps_both_tails(dtype):
    z = MARGINS.astype(dtype)
    log_a = reference.activate(
        "log_sigmoid", Problem.of(z[:, None]), np.ones(1, dtype), dtype(0), np.empty(len(z), dtype)
    )
    exact = [-mpmath.log1p(mpmath.exp(-mpmath.mpf(float(v)))) for v in z]
    assert np.isfinite(log_a).all()
    assert (off_by(log_a, exact) <= example_bound(as_floats(exact), dtype)).all()


def single_sums(y, s=None):
    one = np.ones(1)
    weights = None if s is None else np.array([s])
    return [reference.sums(Problem.of(np.array([[z]]), np.array([y]), weights), one, 0.0, True) for z in MARGINS]


@pytest.mark.parametrize("y", [0.0, 1.0, 0.5, 0.3, 1e-20, 1 - 2**-53, 5e-324])
def test_losses_and_residuals_keep_both_tails(y):
    results, label = single_sums(y), mpmath.mpf(y)
    ulps = 2 if y in (0, 1) else 4
    losses = [
        (1 - label) * mpmath.log1p(mpmath.exp(mpmath.mpf(z))) + label * mpmath.log1p(mpmath.exp(-mpmath.mpf(z)))
        for z in map(float, MARGINS)
    ]
    assert (off_by([r.loss for r in results], losses) <= example_bound(as_floats(losses), np.float64, ulps)).all()
    terms = [((1 - label) * sigma(z), label * sigma(-z)) for z in MARGINS]
    bound = example_bound(as_floats(max(pair) for pair in terms), np.float64, ulps)
    assert (off_by([r.db for r in results], [above - below for above, below in terms]) <= bound).all()


def test_a_weight_multiplies_every_sum():
    for plain, weighted in zip(single_sums(0.3), single_sums(0.3, 2.0), strict=True):
        assert weighted.loss == 2 * plain.loss
        assert weighted.db == 2 * plain.db
        np.testing.assert_array_equal(weighted.dw, 2 * plain.dw)
        assert (plain.weight, weighted.weight) == (1, 2)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_objective_and_gradient_are_those_of_exact_margins(dtypes, order, soft, weighted, l2):
    d = make_data(25, 6, dtypes, order, soft=soft, weighted=weighted)
    value, bound = expected_objective(d.X, d.y, d.w, d.b, d.sample_weight, l2)
    result = jlr.loss_and_gradient(d.X, d.y, d.w, d.b, sample_weight=d.sample_weight, l2=l2, target="reference")
    assert abs(result.loss - value.loss) <= bound.loss
    assert (np.abs(result.dw - value.dw) <= bound.dw).all()
    assert abs(result.db - value.db) <= bound.db


def test_sums_of_a_block_without_weight_are_zero():
    data = make_data(4, 2)
    sums = reference.sums(Problem.of(data.X, data.y, np.zeros(4)), data.w, data.b, True)
    assert (sums.loss, sums.db, sums.weight, sums.valid) == (0, 0, 0, True)
    assert (sums.dw == 0).all()


def test_sums_without_a_gradient_are_the_same_otherwise():
    data = make_data(4, 2)
    problem = Problem.of(data.X, data.y)
    with_gradient, without = (reference.sums(problem, data.w, data.b, flag) for flag in (True, False))
    assert (without.loss, without.weight, without.valid) == (
        with_gradient.loss,
        with_gradient.weight,
        with_gradient.valid,
    )
    assert without.dw.shape == (2,)
    assert (without.dw == 0).all()


@pytest.mark.parametrize(
    ("y", "s", "valid"),
    [
        ([0.0, 1.0], None, True),
        ([0.0, 1.5], None, False),
        ([-0.1, 1.0], None, False),
        ([0.0, math.nan], None, False),
        ([0.0, 1.0], [1.0, 0.0], True),
        ([0.0, 1.0], [1.0, -1.0], False),
        ([0.0, 1.0], [1.0, math.nan], False),
    ],
)
def test_sums_say_whether_labels_and_weights_are_valid(y, s, valid):
    weights = None if s is None else np.array(s)
    assert reference.sums(Problem.of(np.ones((2, 1)), np.array(y), weights), np.ones(1), 0.0, True).valid is valid


def test_float32_is_computed_with_in_float64():
    d = make_data(50, 30, (np.float32, np.float32))
    wide = [array.astype(np.float64) for array in (d.X, d.y, d.w)]
    a = jlr.forward(d.X, d.w, target="reference")
    np.testing.assert_array_equal(a, jlr.forward(wide[0], wide[2], target="reference").astype(np.float32))
    narrow = jlr.loss_and_gradient(d.X, d.y, d.w, target="reference")
    exact = jlr.loss_and_gradient(*wide, target="reference")
    assert (narrow.loss, narrow.db) == (exact.loss, exact.db)
    np.testing.assert_array_equal(narrow.dw, exact.dw.astype(np.float32))

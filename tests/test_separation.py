"""Separated classes: found where they are, proved in exact arithmetic, and not suspected where they are not."""

import linecache
import warnings
from fractions import Fraction

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg.solvers import separation

SOLVERS = ["newton", "lbfgs", "gradient_descent"]
# along an exponential gradient descent goes ever more slowly
MANY = {"newton": 100, "lbfgs": 300, "gradient_descent": 20_000}
TOLERANCES = {"newton": 1e-6, "lbfgs": 1e-6, "gradient_descent": 1e-3}


@pytest.fixture(params=SOLVERS)
def solver(request):
    return request.param


def fit(X, y, solver="newton", **given):
    """A fit, and whether it warned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usual = {"max_iterations": MANY[solver], "tolerance": TOLERANCES[solver]}
        fitted = jlr.fit(X, y, solver=solver, **{**usual, **given})
    assert all(warning.category is jlr.SeparationWarning for warning in caught)
    assert len(caught) <= 1
    if not caught:
        return fitted, False
    assert str(caught[0].message) == fitted.message
    assert not fitted.converged
    assert np.isfinite(fitted.w).all()
    assert np.isfinite(fitted.loss)
    return fitted, True


def is_separated(found, how):
    fitted, warned = found
    assert warned, fitted
    assert how in fitted.message
    return fitted


def converges(found):
    fitted, warned = found
    assert not warned, fitted
    assert fitted.converged, fitted
    return fitted


def dummies(levels, count):
    return (levels[:, np.newaxis] == np.arange(count)) * 1.0


def with_levels(counts, ones, extra=0, seed=0):
    """Dummy columns of levels with so many rows, of which so many have label 1, and columns that tell nothing."""
    levels = np.repeat(np.arange(len(counts)), counts)
    y = np.concatenate([np.arange(count) < one for count, one in zip(counts, ones, strict=True)]) * 1.0
    more = np.random.default_rng(seed).normal(size=(len(y), extra))
    return np.c_[dummies(levels, len(counts)), more], y


# ---------------------------------------------------------------- what is separated


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_plane_between_the_classes(solver, fit_intercept, offset):
    data = make_data(60, 3)
    w, b = np.array([1.0, -2.0, 0.5]), (0.3 if fit_intercept else 0.0)
    y = (data.X @ w + b > 0) * 1.0
    X = data.X + (offset if fit_intercept else 0.0)
    fitted = is_separated(fit(X, y, solver, fit_intercept=fit_intercept), "(complete separation)")
    assert ((jlr.forward(X, fitted.w, fitted.b) > 0.5) == (y > 0.5)).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_level_of_one_class(solver, fit_intercept, offset):
    # all levels have both classes but the second, and the columns beside tell nothing
    X, y = with_levels([20, 7, 20], [9, 7, 12], extra=2)
    X[:, 3:] += offset if fit_intercept else 0.0
    is_separated(fit(X, y, solver, fit_intercept=fit_intercept), "(quasi-complete separation)")


def test_several_levels_of_one_class(solver):
    X, y = with_levels([10, 4, 3, 12, 1], [5, 4, 0, 7, 1], extra=2)
    is_separated(fit(X, y, solver), "(quasi-complete separation)")


def test_a_level_of_one_example(solver):
    X, y = with_levels([30, 1], [13, 1])
    is_separated(fit(X, y, solver), "(quasi-complete separation)")


def test_examples_on_the_border(solver):
    X = np.array([[-2.0], [-1.0], [0.0], [0.0], [0.0], [1.0], [2.0]])
    is_separated(fit(X, np.array([0, 0, 0, 1, 1, 1, 1.0]), solver), "(quasi-complete separation)")
    # a soft label lies on it
    is_separated(fit(X[[0, 1, 2, 5, 6]], np.array([0, 0, 0.3, 1, 1]), solver), "(quasi-complete separation)")


def test_soft_labels_on_either_side_separate_nothing(solver):
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    converges(fit(X, np.array([0, 0.01, 0.99, 1]), solver))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class(solver, label):
    data = make_data(50, 3)
    is_separated(fit(data.X, np.full(50, label), solver), "all examples are of one class")
    is_separated(fit(data.X + 1e7, np.full(50, label), solver), "all examples are of one class")


def test_one_class_without_an_intercept_may_have_a_minimum(solver):
    X = np.array([[-2.0], [-1.0], [1.0], [2.0], [4.0]])
    converges(fit(X, np.ones(5), solver, fit_intercept=False))
    is_separated(fit(np.abs(X), np.ones(5), solver, fit_intercept=False), "all examples are of one class")


def test_a_class_without_weight_is_none(solver):
    data = make_data(60, 3)
    weights = (data.y > 0.5) * 2.0
    is_separated(fit(data.X, data.y, solver, sample_weight=weights), "all examples with weight are of one class")
    # and examples without weight stand in no plane's way
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1, 0.0])
    is_separated(fit(X, y, solver, sample_weight=np.array([1, 1, 1, 1, 0.0])), "(complete separation)")
    converges(fit(X, y, solver, sample_weight=np.array([1, 1, 1, 1, 0.1])))


def test_more_columns_than_rows():
    data = make_data(30, 60)
    for solver in ("newton", "lbfgs"):
        is_separated(fit(data.X, data.y, solver), "(complete separation)")


def test_a_start_far_out(solver):
    X, y = with_levels([20, 7, 20], [9, 7, 12])
    for w in (30.0, 300.0, 1e6):
        is_separated(fit(X, y, solver, w=np.array([0, w, 0])), "(quasi-complete separation)")
    data = make_data(60, 3)
    y = (data.X @ np.array([1.0, -2.0, 0.5]) > 0) * 1.0
    for size in (100.0, 1000.0, 1e6):
        is_separated(fit(data.X, y, solver, w=size * np.array([1.0, -2.0, 0.5])), "(complete separation)")


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_in_any_unit(scale):
    X, y = with_levels([20, 7, 20], [9, 7, 12], extra=2)
    for solver in ("newton", "lbfgs"):
        is_separated(fit(X * scale ** np.arange(-2, 3), y, solver), "(quasi-complete separation)")


def test_in_many_blocks_of_rows(monkeypatch):
    monkeypatch.setattr("jitlogreg.row_passes.ROWS", 64)
    X, y = with_levels([200, 70, 200], [90, 70, 120], extra=2)
    is_separated(fit(X, y), "(quasi-complete separation)")
    is_separated(fit(X, X[:, 0]), "(complete separation)")
    weights = np.repeat([1.0, 2.0], 235)
    is_separated(fit(X, y, sample_weight=weights), "(quasi-complete separation)")
    is_separated(fit(X, y, sample_weight=y), "with weight are of one class")


# ---------------------------------------------------------------- what is not


@pytest.mark.parametrize("l2", [1e-6, 1e-2])
def test_a_penalty_makes_a_minimum(l2):
    X, y = with_levels([20, 7, 20], [9, 7, 12], extra=2)
    for solver in ("newton", "lbfgs"):
        converges(fit(X, y, solver, l2=l2))
        converges(fit(X, X[:, 0], solver, l2=l2))
    converges(fit(X, y, "gradient_descent", l2=1e-2))


def test_a_penalty_does_not_keep_the_intercept_of_one_class(solver):
    data = make_data(50, 3)
    is_separated(fit(data.X, np.ones(50), solver, l2=0.1), "all examples are of one class")
    converges(fit(data.X, np.ones(50), solver, l2=0.1, fit_intercept=False))


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6])
def test_classes_that_overlap_a_little_converge(gap):
    X = np.array([[-2.0], [-1.0], [gap / 2], [-gap / 2], [1.0], [2.0]])
    y = np.array([0, 0, 0, 1, 1, 1.0])
    for solver in ("newton", "lbfgs"):
        fitted = converges(fit(X, y, solver, max_iterations=1000))
        # far out, where only the two in the middle count: the slope there tells w
        theta = np.append(fitted.w, fitted.b)
        assert np.linalg.norm(jlr.Objective(X, y).gradient(theta)) < 1e-6


@pytest.mark.parametrize("wrong", [1, 3])
def test_a_few_wrong_labels_among_many_converge(wrong):
    data = make_data(2000, 4)
    y = (data.X @ np.array([1.0, -2.0, 0.5, 0.0]) > 0) * 1.0
    y[:wrong] = 1 - y[:wrong]
    for solver in ("newton", "lbfgs"):
        converges(fit(data.X, y, solver, max_iterations=1000))


def test_a_level_with_one_example_of_the_other_class_converges():
    X, y = with_levels([2000, 700, 2000], [900, 699, 1200], extra=2)
    for solver in ("newton", "lbfgs"):
        fitted = converges(fit(X, y, solver))
    assert fitted.w[1] > 5


def test_certain_examples_beside_uncertain_ones_converge(solver):
    # margins of some hundred on one side, but no plane
    rng = np.random.default_rng(0)
    X = np.append(rng.normal(size=100), [50.0, -50.0, 80.0])[:, np.newaxis]
    y = np.append(rng.uniform(size=100) < 1 / (1 + np.exp(-3 * X[:100, 0])), [1, 0, 1]) * 1.0
    converges(fit(X, y, solver))


# ---------------------------------------------------------------- the warning


def warned_at():
    with pytest.warns(jlr.SeparationWarning) as caught:
        jlr.fit(np.array([[-1.0], [1.0]]), np.array([0, 1]))
    return caught


def test_the_warning_points_at_the_caller():
    (warning,) = warned_at()
    assert warning.filename == __file__
    assert "jlr.fit(np.array([[-1.0]" in linecache.getline(__file__, warning.lineno)
    assert "with l2 above 0 it has one" in str(warning.message)
    assert issubclass(jlr.SeparationWarning, RuntimeWarning)


# ---------------------------------------------------------------- the proof


def certificate(X, y, direction):
    """How many examples the direction separates strictly, in exact arithmetic; None if it is no proof."""
    strictly = 0
    for row, label in zip(X, y, strict=True):
        moved = sum(x * d for x, d in zip(exact(row, len(direction)), direction, strict=True))
        fits = moved if label == 1 else -moved
        if fits < 0 or (0 < label < 1 and moved != 0):
            return None
        strictly += fits > 0
    return strictly or None


def exact(row, count):
    """A row of X as fractions, with a 1 behind it where there is an intercept."""
    return [Fraction(float(x)) for x in row] + [Fraction(1)] * (count - len(row))


def in_fractions(X, separated, frame):
    """A direction in the caller's columns, as it is meant: examples that it moves by a rounding do not move.

    It is projected by fractions on what is orthogonal to these.
    """
    d = [Fraction(float(v)) for v in separated.direction]
    of_w = [v * Fraction(float(scale)) for v, scale in zip(d, frame.scale, strict=False)]
    centred = sum(Fraction(float(centre)) * v for centre, v in zip(frame.centre, of_w, strict=True))
    d = of_w + [v - centred for v in d[len(of_w) :]]
    largest, staying = max(map(abs, d)), []
    for row in X:
        rest = exact(row, len(d))
        if abs(sum(x * v for x, v in zip(rest, d, strict=True))) > Fraction(1, 10**12) * largest:
            continue
        for other in staying:
            share = sum(x * v for x, v in zip(rest, other, strict=True)) / sum(v * v for v in other)
            rest = [x - share * v for x, v in zip(rest, other, strict=True)]
        if any(rest):
            staying.append(rest)
    for other in staying:
        share = sum(x * v for x, v in zip(d, other, strict=True)) / sum(v * v for v in other)
        d = [x - share * v for x, v in zip(d, other, strict=True)]
    return d


def small_data(seed):
    """Integer columns and dummies of some dozens of examples, about half of them separated."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(8, 60))
    levels = rng.integers(0, 4, m)
    X = np.c_[dummies(levels, 4)[:, : rng.integers(1, 5)], rng.integers(-3, 4, (m, rng.integers(0, 3)))].astype(float)
    z = X @ rng.normal(size=X.shape[1]) + rng.normal()
    y = (z + rng.normal(size=m) * rng.choice([0.2, 1.0, 3.0]) > 0) * 1.0
    return X, y


def separable(X, y, fit_intercept=True):
    """Whether some direction fits no example worse and one better, by a linear programme; or all labels agree."""
    optimize = pytest.importorskip("scipy.optimize")
    Z = (2 * y - 1)[:, np.newaxis] * (np.c_[X, np.ones(len(X))] if fit_intercept else X)
    # maximise Σ Zd with 0 ≤ Zd, d within a box
    found = optimize.linprog(-Z.sum(axis=0), A_ub=-Z, b_ub=np.zeros(len(Z)), bounds=[(-1, 1)] * Z.shape[1])
    return -found.fun > 1e-7


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_linear_programme_agrees(fit_intercept):
    counts = {True: 0, False: 0}
    for seed in range(120):
        X, y = small_data(seed)
        wanted = separable(X, y, fit_intercept)
        counts[wanted] += 1
        solver = SOLVERS[seed % 2]
        fitted, warned = fit(X, y, solver, fit_intercept=fit_intercept, max_iterations=1000)
        assert warned == wanted, (seed, solver, fitted)
        assert fitted.converged == (not wanted), (seed, solver, fitted)
    assert min(counts.values()) > 30


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_what_is_found_is_a_proof_in_exact_arithmetic(monkeypatch, fit_intercept):
    found, find = [], separation.find

    def watched(objective, point, frame):
        found.append((find(objective, point, frame), frame))
        return found[-1][0]

    monkeypatch.setattr(separation, "find", watched)
    proved = 0
    for seed in range(120):
        X, y = small_data(seed)
        found.clear()
        fit(X, y, fit_intercept=fit_intercept)
        if not found or found[0][0] is None:
            continue
        ((separated, frame),) = found
        strictly = certificate(X, y, in_fractions(X, separated, frame))
        assert strictly is not None, seed
        if "one class" not in separated.kind:
            assert (separated.kind == "complete") == (strictly == len(y)), seed
        proved += 1
    assert proved > 30


@pytest.mark.parametrize("l2", [0.0, 1.0])
@pytest.mark.parametrize("weight", [1e14, 1e16, 1e20])
def test_an_example_that_outweighs_all_others_separates_nothing(l2, weight):
    # λ is small long before the others count
    data = make_data(300, 2)
    weights = np.ones(300)
    weights[0] = weight
    fitted = jlr.fit(data.X, data.y, sample_weight=weights, l2=l2)
    exact = jlr.fit(data.X, data.y, sample_weight=weights, l2=l2, tolerance=1e-13)
    assert fitted.converged
    assert fitted.b == pytest.approx(exact.b, rel=1e-4)


def test_few_columns_that_separate_are_named():
    data = make_data(200, 4)
    level = np.zeros((200, 1))
    level[:15], data.y[:15] = 1, 1
    found = fit(np.hstack([data.X[:, :2], level, data.X[:, 2:]]), data.y, "newton")
    is_separated(found, "quasi-complete separation), along column 2 of X")


@pytest.mark.parametrize("spread", [np.linspace(-1, 1, 20), np.linspace(-3, 3, 8)])
@pytest.mark.parametrize("weight_of_offset", [0.0, 20.0])
@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_a_border_beside_examples_that_lie_evenly(method, spread, weight_of_offset):
    rng = np.random.default_rng(0)
    X = np.column_stack([np.append(np.zeros(40), spread), rng.normal(size=40 + len(spread))])
    y = np.append(rng.uniform(size=40) < 0.6, spread > 0).astype(int)
    fitted, is_told = fit(X, y, method, offset=weight_of_offset * X[:, 1])
    assert is_told
    assert "quasi-complete" in fitted.message

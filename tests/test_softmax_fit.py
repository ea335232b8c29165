"""Softmax fits: printed coefficients, the minimum in 80 bits, what a softmax leaves open, data without a minimum."""

import re

import numpy as np
import pytest
from textbook import FOLDER

import jitlogreg as jlr
from jitlogreg.solvers.separation import SeparationWarning

TARGETS = ["cpu", "reference"]


@pytest.fixture(params=TARGETS)
def target(request):
    with jlr.use_target(request.param):
        yield request.param


def examples(m=300, n=4, K=3, seed=0):
    """Examples drawn from a softmax of their own."""
    rng = np.random.default_rng([seed, m, n, K])
    X = rng.normal(size=(m, n)) * np.exp(rng.normal(size=n)) + rng.normal(size=n)
    Z = X @ rng.normal(size=(n, K)) / n + rng.normal(size=K)
    return X, np.argmax(Z + rng.gumbel(size=Z.shape), axis=1)


def contrasts(fitted, base=0):
    """Coefficients of each class less those of a base, as textbooks have them: rows of [b, w]."""
    T = np.vstack([fitted.b, fitted.w])
    return np.delete(T - T[:, base : base + 1], base, axis=1).T


# ---------------------------------------------------------------- printed coefficients

# Satisfaction with housing in Copenhagen (Madsen 1976), low, medium and high; Venables & Ripley, Modern Applied
# Statistics with S, 2002, 7.3. Frequencies by contact (low, high), type (tower, apartment, atrium, terrace), and
# influence (low, medium, high)
HOUSING = np.array(
    [
        *((21, 21, 28), (34, 22, 36), (10, 11, 36), (61, 23, 17), (43, 35, 40), (26, 18, 54)),
        *((13, 9, 10), (8, 8, 12), (6, 7, 9), (18, 6, 7), (15, 13, 13), (7, 5, 11)),
        *((14, 19, 37), (17, 23, 40), (3, 5, 23), (78, 46, 43), (48, 45, 86), (15, 25, 62)),
        *((20, 23, 20), (10, 22, 24), (7, 10, 21), (57, 23, 13), (31, 21, 13), (5, 6, 13)),
    ]
)

# summary(multinom(Sat ~ Infl + Type + Cont, weights = Freq)) there: intercept, influence medium and high, type
# apartment, atrium and terrace, contact high; the residual deviance
HOUSING_PRINTED = [
    [-0.4192316, 0.4464003, 0.6649367, -0.4356851, 0.1313663, -0.6665728, 0.3608513],
    [-0.1387453, 0.7348626, 1.6126294, -0.7356261, -0.4079808, -1.4123333, 0.4818236],
]
HOUSING_DEVIANCE = 3470.084

# What alligators of four lakes mainly eat: fish, invertebrates, reptiles, birds, others; Agresti, Categorical Data
# Analysis, 2002, tables 7.1 and 7.2. Rows: Hancock, Oklawaha, Trafford, George, each of at most 2.3 m and of more
ALLIGATORS = np.array(
    [
        *((23, 4, 2, 2, 8), (7, 0, 1, 3, 5), (5, 11, 1, 0, 3), (13, 8, 6, 1, 0)),
        *((5, 11, 2, 1, 5), (8, 7, 6, 3, 5), (16, 19, 1, 2, 3), (17, 1, 0, 1, 3)),
    ]
)
ALLIGATORS_PRINTED = [  # against fish: intercept, size of at most 2.3 m, Hancock, Oklawaha, Trafford
    [-1.55, 1.46, -1.66, 0.94, 1.12],
    [-3.31, -0.35, 1.24, 2.46, 2.94],
    [-2.09, -0.63, 0.70, -0.65, 1.09],
    [-1.90, 0.33, 0.83, 0.01, 1.52],
]
ALLIGATORS_DEVIANCE = 17.1  # of the saturated model's; 17.08 in the text


def of_frequencies(rows, frequencies):
    """X, y and weights: a row for each cell of a table."""
    cells, K = frequencies.shape
    return np.repeat(rows, K, axis=0), np.tile(np.arange(K), cells), frequencies.reshape(-1).astype(float)


def test_housing_in_copenhagen(target):
    contact, kind, influence = np.unravel_index(np.arange(24), (2, 4, 3))
    levels = [influence == 1, influence == 2, kind == 1, kind == 2, kind == 3, contact == 1]
    X, y, s = of_frequencies(np.column_stack(levels).astype(float), HOUSING)
    assert s.sum() == 1681
    fitted = jlr.fit(X, y, link="softmax", sample_weight=s)
    assert fitted.converged
    # nnet stops at a relative change of 1e-8 of the deviance
    np.testing.assert_allclose(contrasts(fitted), HOUSING_PRINTED, atol=1e-4)
    assert 2 * s.sum() * fitted.loss == pytest.approx(HOUSING_DEVIANCE, abs=5.1e-4)


def test_what_alligators_eat(target):
    lake, size = np.unravel_index(np.arange(8), (4, 2))
    X, y, s = of_frequencies(np.column_stack([size == 0, lake == 0, lake == 1, lake == 2]).astype(float), ALLIGATORS)
    assert s.sum() == 219
    fitted = jlr.fit(X, y, link="softmax", sample_weight=s)
    assert fitted.converged
    np.testing.assert_allclose(contrasts(fitted), ALLIGATORS_PRINTED, atol=5.1e-3)
    totals = ALLIGATORS.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        saturated = np.nansum(ALLIGATORS * np.log(ALLIGATORS / totals))
    assert 2 * (s.sum() * fitted.loss + saturated) == pytest.approx(ALLIGATORS_DEVIANCE, abs=0.05)


# Stata 11's mlogit: each class against the first; selfLR and so on as in `X` below, the intercept last
ANES_PRINTED = np.reshape(
    [
        *(
            -0.01153598,
            0.29771435,
            -0.024945,
            0.08249144,
            0.00519655,
            -0.37340167,
            -0.08875065,
            0.39166864,
            -0.02289784,
        ),
        *(0.18104276, 0.04787398, -2.2509132, -0.1059667, 0.57345051, -0.01485121, -0.00715242, 0.05757516, -3.6655835),
        *(-0.0915567, 1.2787718, -0.00868135, 0.19982796, 0.08449838, -7.6138431, -0.0932846, 1.3469616, -0.01790407),
        *(0.21693885, 0.08095841, -7.0604782, -0.14088069, 2.0700801, -0.00943265, 0.3219257, 0.10889408, -12.105751),
    ],
    (6, 6),
)
ANES_LOG_LIKELIHOOD = -1461.922747312


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_party_identification(solver):
    popul, *others, party = np.loadtxt(FOLDER / "anes96.csv", delimiter=",", comments="#", skiprows=3).T
    X, y = np.column_stack([np.log(popul + 0.1), *others]), party.astype(int)
    assert X.shape == (944, 5)
    fitted = jlr.fit(X, y, link="softmax", solver=solver)
    assert fitted.converged
    np.testing.assert_allclose(np.roll(contrasts(fitted), -1, axis=1), ANES_PRINTED, rtol=1e-6, atol=5.1e-9)
    # ours is higher, by 6.4e-8: Stata keeps the logarithm in single precision
    assert -944 * fitted.loss == pytest.approx(ANES_LOG_LIKELIHOOD, abs=1e-7)


# ---------------------------------------------------------------- the minimum, in 80 bits

needs_extended = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64")


def exact_minimum(X, y, K, l2, fitted):
    """θ (n + 1, K) at the minimum: Newton's steps from a fit, gradients in 80 bits, the Hessian in float64."""
    A = np.append(X, np.ones((len(X), 1)), axis=1).astype(np.longdouble)
    T = np.vstack([fitted.w, fitted.b]).astype(np.longdouble)
    Y, penalty = np.eye(K)[y], np.full((A.shape[1], 1), l2, np.longdouble)
    penalty[-1] = 0
    for _ in range(6):
        Z = A @ T
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        P = E / E.sum(axis=1, keepdims=True)
        G = A.T @ (P - Y) / len(X) + penalty * T
        p = np.asarray(P, float)
        W = np.einsum("ik,kl->ikl", p, np.eye(K)) - p[:, :, None] * p[:, None, :]
        B = np.asarray(A, float)
        H = np.einsum("ia,ikl,ib->akbl", B, W, B, optimize=True).reshape(T.size, T.size) / len(X)
        free = np.diag(np.asarray(penalty[:, 0] == 0, float))  # what changes no probability and has no penalty
        H += np.diag(np.repeat(np.asarray(penalty[:, 0], float), K)) + np.kron(free, np.full((K, K), 1.0 / K))
        T = T - np.linalg.solve(H, np.asarray(G, float).reshape(-1)).reshape(T.shape)
    assert np.abs(G).max() < 1e-17
    return T


@needs_extended
@pytest.mark.parametrize("solver", ["newton", "lbfgs", "gradient_descent"])
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("K", [2, 3, 5])
def test_a_fit_that_says_converged_is_at_the_minimum(solver, l2, K):
    X, y = examples(K=K)
    if solver == "gradient_descent":  # which columns in other units would keep busy
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    fitted = jlr.fit(X, y, link="softmax", solver=solver, l2=l2, tolerance=1e-6, max_iterations=3000)
    assert fitted.converged, fitted.message
    T = exact_minimum(X, y, K, l2, fitted)
    most = 1e-4 if solver == "gradient_descent" else 1e-9
    np.testing.assert_allclose(np.vstack([fitted.w, fitted.b]), T.astype(float), rtol=most, atol=most)


@needs_extended
def test_columns_far_from_zero_and_in_odd_units_lose_no_digits():
    X, y = examples()
    shift, unit = np.array([1e6, 0, -3e5, 1e3]), np.array([1.0, 1e-80, 1.0, 1e6])
    plain = jlr.fit(X, y, link="softmax", tolerance=1e-9)
    moved = jlr.fit((X * unit + shift), y, link="softmax", tolerance=1e-9)
    assert moved.converged
    kept = [0, 2, 3]  # of the column in units of 1e-80 nothing is left beside no shift: its products are the same
    assert moved.loss == pytest.approx(plain.loss, rel=1e-9)
    np.testing.assert_allclose((moved.w * unit[:, np.newaxis])[kept], plain.w[kept], rtol=1e-4)


def test_nearly_dependent_columns_and_duplicates():
    X, y = examples(n=3)
    doubled = np.column_stack([X, X[:, 0]])
    fitted, plain = (jlr.fit(data, y, link="softmax") for data in (doubled, X))
    assert fitted.converged
    assert "columns 0, 3 of X depend on each other" in fitted.message
    assert fitted.loss == pytest.approx(plain.loss, rel=1e-9)
    np.testing.assert_allclose(fitted.w[0] + fitted.w[3], plain.w[0], rtol=1e-5)


# ---------------------------------------------------------------- what a softmax leaves open


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_parameters_sum_to_zero_over_the_classes(target, l2):
    X, y = examples()
    fitted = jlr.fit(X, y, link="softmax", l2=l2)
    assert (fitted.w.shape, fitted.b.shape) == ((4, 3), (3,))
    assert abs(fitted.b.sum()) < 1e-14
    np.testing.assert_allclose(fitted.w.sum(axis=1), 0, atol=1e-9)
    objective = jlr.Objective(X, y, l2=l2, link="softmax", n_outputs=3)
    loss, gradient = objective(np.vstack([fitted.w, fitted.b]).reshape(-1))
    assert loss == pytest.approx(fitted.loss, rel=1e-14)
    assert np.linalg.norm(gradient) < 1e-8


def test_a_softmax_of_two_classes_is_the_model_of_their_difference(target):
    X, y = examples(K=2)
    two, one = jlr.fit(X, y, link="softmax", l2=0.1), jlr.fit(X, y, l2=0.05)
    # ‖w₁‖² + ‖w₂‖² = ‖w₂ − w₁‖² / 2 where w₁ = −w₂
    np.testing.assert_allclose(two.w[:, 1] - two.w[:, 0], one.w, rtol=1e-8)
    assert two.b[1] - two.b[0] == pytest.approx(one.b, rel=1e-8)
    assert two.loss == pytest.approx(one.loss, rel=1e-12)


def test_probabilities_as_labels_have_the_minimum_of_weighted_classes(target):
    X, _ = examples(m=80)
    P = np.random.default_rng(3).dirichlet(np.ones(3), 80)
    soft = jlr.fit(X, P, link="softmax", l2=0.01)
    hard = jlr.fit(
        np.repeat(X, 3, axis=0), np.tile(np.arange(3), 80), link="softmax", l2=0.01, sample_weight=P.reshape(-1)
    )
    assert soft.converged
    np.testing.assert_allclose(soft.w, hard.w, rtol=1e-7, atol=1e-10)


def test_a_fit_starts_where_it_is_told(target):
    X, y = examples()
    fitted = jlr.fit(X, y, link="softmax", l2=0.1)
    again = jlr.fit(X, y, link="softmax", l2=0.1, w=fitted.w, b=fitted.b)
    assert again.n_iterations <= 1
    assert again.loss == pytest.approx(fitted.loss, rel=1e-14)
    without = jlr.fit(X, y, link="softmax", l2=0.1, fit_intercept=False)
    assert np.array_equal(without.b, np.zeros(3))


def test_a_start_out_of_balance_is_one_of_the_same_probabilities(target):
    X, y = examples()
    W, b = np.random.default_rng(0).normal(size=(4, 3)) + 5, np.array([1.0, 2.0, 6.0])
    start = jlr.fit(X, y, link="softmax", w=W, b=b, max_iterations=0)
    np.testing.assert_allclose(start.w, W - W.mean(axis=1, keepdims=True), atol=1e-14)
    np.testing.assert_allclose(start.b, b - 3, atol=1e-14)
    assert start.loss == pytest.approx(jlr.loss(X, y, W, b, link="softmax"), rel=1e-12)


def test_a_fit_that_is_resumed_ends_with_the_same_bits(tmp_path):
    X, y = examples(m=2000, n=6)
    path = tmp_path / "run.npz"
    whole = jlr.fit(X, y, link="softmax", solver="lbfgs", tolerance=1e-9)
    jlr.fit(X, y, link="softmax", solver="lbfgs", max_iterations=4, checkpoint=path)
    resumed = jlr.fit(X, y, link="softmax", solver="lbfgs", tolerance=1e-9, resume=path)
    assert resumed.w.tobytes() == whole.w.tobytes()
    with pytest.raises(ValueError, match="resume"):
        jlr.fit(X, y % 2, link="softmax", solver="lbfgs", resume=path)


def test_the_read_that_checks_the_data_is_the_first_evaluation(target):
    X, y = examples()
    for l2 in (0.0, 0.1):
        for objective in (jlr.Objective(X, y, link="softmax", n_outputs=3, l2=l2),):
            for of_solver in (objective, objective.gauged(), objective.sample(100)):
                known, computed = of_solver.at_zero(), of_solver(np.zeros(15))
                assert known[0] == computed[0]
                assert np.array_equal(known[1], computed[1])


def test_a_callback_sees_matrices(target):
    X, y = examples()
    seen = []
    jlr.fit(X, y, link="softmax", l2=0.1, callback=lambda state: seen.append((state.w.shape, state.b.shape)))
    assert set(seen) == {((4, 3), (3,))}


# ---------------------------------------------------------------- gradient descent


def descended(X, y, W, b, l2, steps, rate):
    """The update rule by NumPy: W, b and the losses."""
    losses, Y = [], np.eye(W.shape[1])[y]
    for k in range(steps + 1):
        Z = X @ W + b
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        losses.append(-np.mean(np.log(np.sum(P * Y, axis=1))) + l2 / 2 * np.sum(W * W))
        if k < steps:
            W, b = W - rate * (X.T @ (P - Y) / len(X) + l2 * W), b - rate * np.mean(P - Y, axis=0)
    return W, b, losses


def test_a_descent_of_a_softmax_follows_the_update_rule(target, order):
    X, y = examples()
    X = np.asarray(X, order=order)
    W, b = np.random.default_rng(0).normal(size=(4, 3)), np.array([0.1, 0.2, 0.3])
    run = jlr.gradient_descent(X, y, learning_rate=0.05, n_iterations=20, l2=0.1, w=W, b=b, link="softmax")
    expected = descended(X, y, W, b, 0.1, 20, 0.05)
    np.testing.assert_allclose(run.w, expected[0], rtol=1e-10)
    np.testing.assert_allclose(run.b, expected[1], rtol=1e-10)
    np.testing.assert_allclose(run.loss_history, expected[2], rtol=1e-12)
    of_objective = jlr.gradient_descent(
        jlr.Objective(X, y, l2=0.1, link="softmax", n_outputs=3), learning_rate=0.05, n_iterations=20, w=W, b=b
    )
    assert np.array_equal(of_objective.w, run.w)


def test_a_descent_of_a_softmax_is_in_the_dtype_of_w_and_can_be_resumed(tmp_path):
    X, y = examples()
    X = X.astype(np.float32)
    settings = {"learning_rate": 0.05, "link": "softmax"}
    whole = jlr.gradient_descent(X, y, n_iterations=12, **settings)
    assert (whole.w.dtype, whole.b.dtype, whole.w.shape) == (np.float32, np.float32, (4, 3))
    assert np.all(np.diff(whole.loss_history) < 0)
    path, seen = tmp_path / "run.npz", []
    jlr.gradient_descent(X, y, n_iterations=5, checkpoint=path, callback=lambda s: seen.append(s.b.shape), **settings)
    resumed = jlr.gradient_descent(X, y, n_iterations=12, resume=path, **settings)
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.loss_history.tobytes() == whole.loss_history.tobytes()
    assert seen == [(3,)] * 6


# ---------------------------------------------------------------- no minimum


def separated(kind):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(90, 2))
    corner = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
    y = np.arange(90) % 3
    if kind == "complete":
        return X + corner[y], y
    # the last class alone is far away; the others overlap
    return X + np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 30.0]])[y], y


@pytest.mark.parametrize(("kind", "said"), [("complete", "complete separation"), ("one class", "separation")])
def test_separated_classes_have_no_minimum(target, kind, said):
    X, y = separated(kind)
    with pytest.warns(SeparationWarning, match=said):
        fitted = jlr.fit(X, y, link="softmax")
    assert not fitted.converged
    assert jlr.fit(X, y, link="softmax", l2=1e-3).converged


def test_a_class_without_examples_has_no_minimum(target):
    X, y = examples(K=3)
    with pytest.warns(SeparationWarning, match="a class has no examples with weight"):
        fitted = jlr.fit(X, np.where(y == 1, 3, y), link="softmax", l2=0.1)
    assert not fitted.converged
    assert jlr.fit(X, np.where(y == 1, 3, y), link="softmax", l2=0.1, fit_intercept=False).converged


def test_a_class_that_some_value_of_a_column_excludes_has_no_minimum(target):
    x = np.repeat([0.0, 1.0], 4)[:, np.newaxis]
    with pytest.warns(SeparationWarning, match="quasi-complete separation"):
        fitted = jlr.fit(x, np.array([0, 1, 2, 0, 0, 1, 1, 0]), link="softmax")
    assert not fitted.converged
    with pytest.warns(SeparationWarning):  # labels 0 and 2 alone, without an intercept
        jlr.fit(1 + x, np.arange(8) % 2 * 2, link="softmax", fit_intercept=False)


def test_soft_labels_that_leave_a_class_out_have_no_minimum(target):
    P = np.array([[0.5, 0.5, 0], [0.2, 0.8, 0], [0.9, 0.1, 0], [1, 0, 0]])
    with pytest.warns(SeparationWarning, match="a class has no examples with weight"):
        jlr.fit(np.array([[0.0], [1], [3], [2]]), P, link="softmax")
    P = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    X = np.random.default_rng(1).normal(size=(60, 2))
    X[:3] += 20
    P[:3] = [0.4, 0.6, 0]  # far off, where the third class has no share: it may be left out there, but not elsewhere
    assert jlr.fit(X, P, link="softmax").converged


def test_many_classes_take_no_search_of_their_pairs(target):
    X, y = examples(m=400, K=150)
    y[y == 1] = 0
    with pytest.warns(SeparationWarning, match="a class has no examples"):
        assert not jlr.fit(X, np.append(y[:-1], 149), link="softmax", max_iterations=5).converged
    objective = jlr.Objective(X, y % 150, link="softmax", n_outputs=150)
    assert not objective.has_hessian
    with pytest.raises(ValueError, match="n_outputs: expected a softmax of at most 64 classes and 2000 parameters"):
        objective.hessian(np.zeros(objective.n_parameters))


# ---------------------------------------------------------------- extremes


@pytest.mark.parametrize("scale", [1e-308, 1e-160, 1e160, 1e308])
def test_only_the_ratios_of_weights_count(target, scale):
    X, y = examples()
    plain, scaled = (
        jlr.fit(X, y, link="softmax", l2=0.1, sample_weight=np.full(300, weight)) for weight in (1.0, scale)
    )
    assert scaled.converged
    np.testing.assert_allclose(scaled.w, plain.w, rtol=1e-9)


def test_the_weights_of_one_model_leave_another_alone(target):
    X, y = examples()
    labels, s = np.eye(3)[y], np.full((300, 3), 1.0) * [1, 1e200, 1e-200]
    plain, scaled = (
        jlr.Objective(X, labels, link="sigmoid", n_outputs=3, sample_weight=weights) for weights in (None, s)
    )
    theta, v = np.random.default_rng(0).normal(size=(2, 15))
    np.testing.assert_allclose(scaled.hessian_vector(theta, v), plain.hessian_vector(theta, v), rtol=1e-12)
    np.testing.assert_allclose(scaled(theta)[1], plain(theta)[1], rtol=1e-11)


@pytest.mark.parametrize("l2", [1e-12, 1e-18, 1e-22, 1e-50])
def test_a_tiny_penalty_has_the_minimum_of_none(target, l2):
    X, y = examples()
    plain = jlr.fit(X, y, link="softmax", tolerance=1e-9)
    start = {"w": 100 + np.random.default_rng(0).normal(size=(4, 3)), "b": np.array([1.0, 2.0, 3.0])}
    for given in ({}, start):
        fitted = jlr.fit(X, y, link="softmax", l2=l2, tolerance=1e-9, **given)
        assert fitted.converged
        np.testing.assert_allclose(fitted.w, plain.w, rtol=1e-7, atol=1e-9)


def test_columns_in_extreme_units_have_the_minimum_of_their_own_penalty():
    X, y = examples()
    units = np.array([1e-150, 1e150, 1.0, 1e6])
    fitted = jlr.fit(X * units, y, link="softmax", l2=0.01)
    assert fitted.converged
    # of the second and the last column the penalty weighs nothing, of the first it leaves nothing
    without = jlr.fit(X[:, 1:] * [1, 1, 1e6], y, link="softmax", l2=0.01)
    assert fitted.loss <= without.loss
    np.testing.assert_allclose(fitted.w[0] * units[0], 0, atol=1e-100)


def test_without_columns_and_intercept_there_is_nothing_to_fit(target):
    fitted = jlr.fit(np.zeros((20, 0)), np.arange(20) % 4, link="softmax", fit_intercept=False)
    assert fitted.converged
    assert fitted.loss == pytest.approx(np.log(4))


# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_derivatives_of_an_objective_are_those_of_its_values(target, link, fit_intercept):
    X, y = examples()
    labels = y if link == "softmax" else np.eye(3)[y]
    objective = jlr.Objective(X, labels, l2=0.1, link=link, n_outputs=3, fit_intercept=fit_intercept)
    assert objective.n_parameters == (5 if fit_intercept else 4) * 3
    rng = np.random.default_rng(0)
    theta, v = 0.3 * rng.normal(size=(2, objective.n_parameters))
    step = 1e-5
    above, below = objective(theta + step * v), objective(theta - step * v)
    gradient = objective.gradient(theta)
    by_model = (gradient * v).reshape(-1, 3).sum(axis=0)
    expected = by_model if link == "sigmoid" else by_model.sum()
    np.testing.assert_allclose((above[0] - below[0]) / (2 * step), expected, rtol=1e-7)
    difference = (above[1] - below[1]) / (2 * step)
    np.testing.assert_allclose(objective.hessian_vector(theta, v), difference, rtol=1e-6, atol=1e-9)
    assert np.array_equal(objective.loss(theta), objective(theta)[0])
    if link == "softmax":
        H = objective.hessian(theta)
        np.testing.assert_allclose(H, H.T, rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(H @ v, objective.hessian_vector(theta, v), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("order", ["C", "F"])
def test_products_of_independent_models_have_the_bits_of_one_alone(order):
    X, y = examples(m=150)
    X = np.asarray(X, order=order)
    labels = np.eye(3)[y]
    together = jlr.Objective(X, labels, link="sigmoid", n_outputs=3)
    rng = np.random.default_rng(0)
    T, V = rng.normal(size=(2, 5, 3))
    product = together.hessian_vector(T.reshape(-1), V.reshape(-1)).reshape(5, 3)
    for k in range(3):
        alone = jlr.Objective(X, labels[:, k].copy()).hessian_vector(T[:, k].copy(), V[:, k].copy())
        assert product[:, k].tobytes() == alone.tobytes()


def test_pickles_of_an_objective_give_the_same_bits():
    import copy
    import pickle

    X, y = examples()
    for link, labels in (("softmax", y), ("sigmoid", np.eye(3)[y])):
        objective = jlr.Objective(X, labels, link=link, n_outputs=3, sample_weight=np.linspace(1, 2, len(y)))
        theta = np.linspace(-1, 1, objective.n_parameters)
        for other in (pickle.loads(pickle.dumps(objective)), copy.copy(objective), copy.deepcopy(objective)):
            assert np.array_equal(other.gradient(theta), objective.gradient(theta))


@pytest.mark.parametrize(
    ("exception", "said", "call"),
    [
        (ValueError, "n_outputs: expected at least 2 classes", lambda X, y: jlr.Objective(X, y, link="softmax")),
        (ValueError, "n_outputs: expected an integer of at least 1", lambda X, y: jlr.Objective(X, y, n_outputs=0)),
        (ValueError, "link: expected one of", lambda X, y: jlr.Objective(X, y, link="log", n_outputs=2)),
        (TypeError, "y: expected class numbers", lambda X, y: jlr.fit(X, y * 1.0, link="softmax")),
        (
            ValueError,
            "y[299]: expected a class below 300",
            lambda X, y: jlr.fit(X, np.append(y[1:], 999), link="softmax"),
        ),
        (ValueError, "y: expected at least 2 columns", lambda X, y: jlr.fit(X, y[:, None] * 0 + 1.0, link="softmax")),
        (
            TypeError,
            "b: expected a real number or a numpy.ndarray",
            lambda X, y: jlr.fit(X, y, link="softmax", b=[1, 2]),
        ),
        (ValueError, "w: expected 3 columns", lambda X, y: jlr.fit(X, y, link="softmax", w=np.zeros((4, 2)))),
        (ValueError, "b: expected 0", lambda X, y: jlr.fit(X, y, link="softmax", b=1.0, fit_intercept=False)),
        (ValueError, "link: expected one of", lambda X, y: jlr.fit(X, y, link="probit")),
        (
            ValueError,
            "X: expected an Objective of one output or of a softmax",
            lambda X, y: jlr.gradient_descent(
                jlr.Objective(X, (y == 1) * 1, n_outputs=2), learning_rate=1, n_iterations=1
            ),
        ),
        (
            ValueError,
            "y[0]: expected a class from 0 to 1",
            lambda X, y: jlr.gradient_descent(
                X, y * 0 + 2, w=np.zeros((4, 2)), link="softmax", learning_rate=1, n_iterations=1
            ),
        ),
        (
            ValueError,
            "theta: expected shape (15,)",
            lambda X, y: jlr.Objective(X, y, link="softmax", n_outputs=3)(np.zeros(5)),
        ),
        (
            ValueError,
            "X[0, 1]: expected a finite number",
            lambda X, y: jlr.Objective(np.where(X[0, 1] == X, np.inf, X), y, link="softmax", n_outputs=3),
        ),
    ],
)
def test_what_is_refused(exception, said, call):
    with pytest.raises(exception, match="^" + re.escape(said)):
        call(*examples())


def test_many_parameters_of_correlated_columns(target):
    """No Hessian is formed of 2,430 parameters: a block that the classes share preconditions L-BFGS."""
    rng = np.random.default_rng(0)
    m, n, K = 4000, 80, 30
    X = rng.normal(size=(m, n)) @ (np.diag(np.geomspace(1, 1e-3, n)) @ np.linalg.qr(rng.normal(size=(n, n)))[0])
    classes = np.argmax(X @ rng.normal(size=(n, K)) / 2 + rng.gumbel(size=(m, K)), axis=1)
    fitted = jlr.fit(X, classes, link="softmax", l2=1e-5)
    assert fitted.converged
    assert fitted.n_iterations < 60
    # Newton's decrement, by the Hessian in NumPy
    Z = np.column_stack([X, np.ones(m)])
    A = np.exp(Z @ np.vstack([fitted.w, fitted.b]))
    A /= A.sum(axis=1, keepdims=True)
    G = Z.T @ (A - np.eye(K)[classes]) / m
    G[:n] += 1e-5 * fitted.w
    H = np.empty((K, n + 1, K, n + 1))
    for j in range(K):
        for k in range(K):
            H[j, :, k] = (Z * (A[:, j] * ((j == k) - A[:, k]))[:, np.newaxis]).T @ Z / m
        H[j, np.arange(n), j, np.arange(n)] += 1e-5
    g = G.T.reshape(-1)
    step = np.linalg.lstsq(H.reshape(len(g), -1), g, rcond=1e-12)[0]
    assert np.sqrt(g @ step) < 1e-6


def test_newtons_method_of_many_parameters_takes_conjugate_gradients():
    rng = np.random.default_rng(0)
    X, classes = rng.normal(size=(60, 80)), np.arange(60) % 30
    fitted = jlr.fit(X, classes, link="softmax", l2=0.1, solver="newton")
    assert fitted.converged
    np.testing.assert_allclose(fitted.w, jlr.fit(X, classes, link="softmax", l2=0.1).w, rtol=0, atol=1e-6)

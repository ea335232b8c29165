"""Directions and the line search, on functions whose answer is known."""

import numpy as np
import pytest

from jitlogreg import minimise


class Quadratic:
    """½ (θ − c)ᵀA(θ − c), and what `beyond` gives wherever a number of θ is above `limit`."""

    has_hessian = False

    def __init__(self, A, c, limit=np.inf, beyond=np.nan):
        self.A, self.c, self.limit, self.beyond = A, c, limit, beyond
        self.n_parameters = len(c)
        self.seen = []

    def __call__(self, theta):
        self.seen.append(theta)
        if np.any(theta > self.limit):
            return self.beyond, np.full_like(theta, np.nan)
        off = theta - self.c
        return 0.5 * off @ self.A @ off, self.A @ off

    def hessian_vector(self, theta, v):
        return self.A @ v


def some_matrix(p, seed=0):
    half = np.random.default_rng(seed).normal(size=(p, p))
    return half @ half.T + np.eye(p)


def run(function, solver, count):
    direction_at = minimise.directions(function, solver)
    points = [minimise.start(function, np.zeros(function.n_parameters))]
    while len(points) <= count and points[-1].gradient_norm > 1e-10:
        following = minimise.following(function, direction_at, points[-1])
        if following is None:
            break
        points.append(following)
    return points


def test_two_loops_are_the_inverse_that_bfgs_updates():
    p = 5
    function = Quadratic(some_matrix(p), np.ones(p))
    point = run(function, "lbfgs", 4)[-1]
    assert len(point.steps) == 4
    s, y = point.steps[-1], point.slopes[-1]
    H = np.eye(p) * (s @ y) / (y @ y)
    for s, y in zip(point.steps, point.slopes, strict=True):
        V = np.eye(p) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    direction, length, _ = minimise.directions(function, "lbfgs")(point)
    assert length == 1
    np.testing.assert_allclose(direction, -H @ point.gradient, rtol=1e-9)


def test_no_more_pairs_than_its_memory():
    # 40 eigenvalues from 1 to 10,000 keep it busy
    points = run(Quadratic(np.diag(np.geomspace(1, 1e4, 40)), np.ones(40)), "lbfgs", 25)
    assert len(points) > 20
    assert max(len(point.steps) for point in points) == minimise.MEMORY
    np.testing.assert_array_equal(points[-1].steps[-1], points[-1].theta - points[-2].theta)
    np.testing.assert_array_equal(points[-1].slopes[-1], points[-1].gradient - points[-2].gradient)


def test_a_first_step_along_the_gradient_goes_to_the_minimum_there():
    function = Quadratic(some_matrix(4), np.arange(4.0))
    first = run(function, "lbfgs", 1)[1]
    assert first.n_evaluations == 2
    assert abs(first.gradient @ function.seen[-1]) <= 1e-9 * first.gradient_norm * np.linalg.norm(first.theta)


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
def test_what_is_not_finite_is_stepped_back_from(beyond):
    function = Quadratic(np.array([[1e-4]]), np.array([0.9]), limit=1.0, beyond=beyond)
    function.hessian_vector = lambda theta, v: v * 1e-9  # so that the first step goes far beyond
    points = run(function, "gradient_descent", 50)
    assert max(theta.max() for theta in function.seen) > 1
    np.testing.assert_allclose(points[-1].theta, 0.9, atol=1e-4)


def test_where_no_step_goes_lower_there_is_no_next_point():
    function = Quadratic(np.eye(2), np.ones(2))
    direction_at = minimise.directions(function, "lbfgs")
    lost = minimise.start(function, np.zeros(2))._replace(gradient=np.full(2, np.nan))
    assert minimise.following(function, direction_at, lost) is None
    worn = minimise.start(function, np.zeros(2))._replace(standing=minimise.STANDSTILL)
    assert minimise.following(function, direction_at, worn) is None


def test_a_run_that_stands_still_ends():
    class Flat(Quadratic):
        def __call__(self, theta):
            return 1.0, np.array([1.0, 0.0, 0.0])  # neither goes down

    points = run(Flat(np.eye(3), np.ones(3)), "gradient_descent", 50)
    assert len(points) <= 1 + minimise.STANDSTILL


@pytest.mark.parametrize(
    "hessian",
    [
        np.ones((30, 30)),
        np.array([[1.0, 1.0 + 1e-6], [1.0 + 1e-6, 1.0]]),  # rounding may leave an eigenvalue below 0
        np.diag([1e-300, 1.0, 1e300]),
        np.diag([0.0, 4.0]),
    ],
)
def test_inverses_of_singular_matrices_go_downhill(hessian):
    solve = minimise.inverse(hessian)
    v = np.sqrt(np.diag(hessian))
    x = solve(v)
    assert np.all(np.isfinite(x))
    assert v @ x > 0
    if hessian[0, 0] == 0:
        np.testing.assert_allclose(x, [0, 0.5])


def test_inverses_of_regular_matrices_are_theirs():
    scale = 10.0 ** np.linspace(-9, 9, 20)
    A = some_matrix(20) * np.outer(scale, scale)
    np.testing.assert_allclose(minimise.inverse(A)(A @ (1 / scale)), 1 / scale, rtol=1e-8)

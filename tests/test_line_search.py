"""From a point to the next, on functions whose minimum is known, and when a run has come to its end."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from quadratic import Quadratic, run, some_matrix, start, task_of

from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.line_search import C1, C2, PATIENCE, following
from jitlogreg.solvers.newton import by_conjugate_gradients
from jitlogreg.solvers.steepest_descent import GradientDescent, cauchy_length


def going(step, *, length=1.0, **described):
    """A method that always proposes this step."""
    return SimpleNamespace(memory=1, direction=lambda point: Direction(step, length, point, **described))


# ---------------------------------------------------------------- the search


def test_a_first_step_along_the_gradient_goes_to_the_minimum_there():
    function = Quadratic(some_matrix(4), np.arange(4.0))
    first = run(function, GradientDescent, 1)[1]
    assert first.n_evaluations == 2
    assert abs(first.gradient @ function.seen[-1]) <= 1e-9 * first.gradient_norm * np.linalg.norm(first.theta)


def test_a_first_step_without_curvature_goes_a_distance_of_one():
    function = Quadratic(np.eye(2), [3.0, 4.0])
    function.hessian_vector = lambda theta, v: np.zeros(2)
    assert cauchy_length(function, start(function)) == pytest.approx(1 / 5)
    assert cauchy_length(function, start(function, np.array([3.0, 4.0]))) == 1


@pytest.mark.parametrize("length", [1e-6, 0.1, 1.0, 1.9, 50.0, 1e9])
def test_a_step_meets_the_conditions_of_wolfe(length):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    step = -before.gradient / (before.gradient @ function.A @ before.gradient) * before.gradient_norm**2
    after = following(task_of(function), going(step, length=length), before)
    slope = step @ before.gradient
    assert after.loss <= before.loss + C1 * after.length * slope
    assert step @ after.gradient >= C2 * slope
    assert after.n_evaluations == 1 + len(function.seen[1:])
    np.testing.assert_array_equal(after.theta, before.theta + after.length * step)


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
def test_what_is_not_finite_is_stepped_back_from(beyond):
    function = Quadratic(np.array([[1e-4]]), np.array([0.9]), limit=1.0, beyond=beyond)
    function.hessian_vector = lambda theta, v: v * 1e-9  # so that the first step goes far beyond
    points = run(function, GradientDescent, 50)
    assert max(theta.max() for theta in function.seen) > 1
    np.testing.assert_allclose(points[-1].theta, 0.9, atol=1e-4)


def test_a_direction_that_goes_up_is_replaced_by_the_gradients():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    after = following(task_of(function), going(before.gradient), before)
    assert after.loss < before.loss
    along = after.theta - before.theta
    np.testing.assert_allclose(along / np.linalg.norm(along), -before.gradient / before.gradient_norm, rtol=1e-12)


# ---------------------------------------------------------------- where a run ends


def test_where_no_step_goes_lower_there_is_no_next_point():
    function = Quadratic(np.eye(2), np.ones(2))
    task = task_of(function)
    lost = start(function)._replace(gradient=np.full(2, np.nan))
    assert following(task, LBFGS(task), lost) is None
    worn = start(function)._replace(standing=PATIENCE)
    assert following(task, GradientDescent(task), worn) is None
    # a model of the Hessian is replaced by the Hessian first
    step = following(task, LBFGS(task), worn)
    np.testing.assert_allclose(step.theta, function.c)
    assert following(task, LBFGS(task), worn._replace(unverified=LBFGS.most_unverified)) is None


def test_a_run_that_is_stuck_above_the_loss_at_zero_begins_anew_there():
    function = Quadratic(np.eye(2), np.ones(2))
    task = task_of(function)
    stuck = start(function, np.full(2, 9.0))._replace(standing=PATIENCE, iteration=7, n_evaluations=20)
    again = following(task, GradientDescent(task), stuck)
    assert (again.iteration, again.n_evaluations, again.standing) == (8, 21, 0)
    np.testing.assert_array_equal(again.theta, 0)
    # from which nothing leads back
    assert following(task, GradientDescent(task), again._replace(standing=PATIENCE)) is None


@pytest.mark.parametrize("make_method", [GradientDescent, LBFGS])
def test_a_run_that_stands_still_ends(make_method):
    class Flat(Quadratic):
        def __call__(self, theta):
            return 1.0, np.array([1.0, 0.0, 0.0])  # neither goes down

    points = run(Flat(np.eye(3), np.ones(3)), make_method, 50)
    assert len(points) <= 1 + (2 if make_method is LBFGS else 1) * PATIENCE  # of a model and of the Hessian


def test_the_step_that_tells_the_decrement_is_taken():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function, np.ones(3) + 1e-8)
    newton = -np.linalg.solve(function.A, before.gradient)
    after = following(
        task_of(function, 1e-6), going(newton, decrement=1e-7, decrement_of=lambda gradient: 1e-16), before
    )
    assert after.converged
    assert after.iteration == 1
    np.testing.assert_array_equal(after.theta, before.theta + newton)
    assert (after.decrement, after.before) == (1e-16, 1e-7)


def test_a_last_step_that_goes_up_is_not_taken():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    uphill = going(before.gradient, decrement=1e-7, decrement_of=lambda gradient: 1e-8, is_exact=True)
    after = following(task_of(function, 1e-6), uphill, before)
    assert after.converged
    assert (after.iteration, after.n_evaluations, after.decrement) == (0, 2, 1e-7)
    np.testing.assert_array_equal(after.theta, before.theta)


def test_a_last_step_of_newtons_that_leaves_more_is_not_taken():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    worse = going(-1e-3 * before.gradient, decrement=1e-7, decrement_of=lambda gradient: 2e-7, is_exact=True)
    after = following(task_of(function, 1e-6), worse, before)
    assert (after.converged, after.iteration, after.decrement) == (True, 0, 1e-7)


@pytest.mark.parametrize(("left", "borne_out"), [(1e-8, True), (2e-8, True), (5e-8, False), (2e-7, False)])
def test_an_end_that_the_next_gradient_does_not_bear_out_is_none(left, borne_out):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=1e-7, decrement_of=lambda gradient: left)
    after = following(task_of(function, 1e-6), model, before)
    assert after.converged == borne_out
    assert after.unverified == (0 if borne_out else 1)
    assert after.iteration == 1


@pytest.mark.parametrize(("left", "borne_out"), [(1.5e-8, True), (1.6e-8, False)])
def test_next_to_nothing_bears_out_an_end(left, borne_out):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=1e-9, decrement_of=lambda gradient: left)
    assert following(task_of(function, 1e-6), model, before).converged == borne_out


def test_a_decrement_above_its_tolerance_is_no_end():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=2e-6, decrement_of=lambda gradient: 2e-9)
    after = following(task_of(function, 1e-6), model, before)
    assert not after.converged
    assert (after.decrement, after.before) == (2e-9, 2e-6)


def test_a_step_that_leaves_nothing_needs_no_other():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    # a thousandth of the tolerance, over the root of a hundred examples
    assert task.negligible == pytest.approx(1e-10)
    towards = functools.partial(going, -np.linalg.solve(function.A, before.gradient), is_exact=True)
    for left, arrived in ((0.9e-10, True), (1.1e-10, False), (1e-8, False)):
        after = following(task, towards(decrement=1.0, decrement_of=lambda gradient, left=left: left), before)
        assert after.converged == arrived


def test_a_step_with_a_hessian_from_before_may_leave_so_much():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    for left, arrived in ((0.9e-9, True), (1.1e-9, False)):
        towards = going(
            -1e-3 * before.gradient, decrement=1e-7, decrement_of=lambda gradient, left=left: left, may_leave=1e-9
        )
        after = following(task, towards, before)
        assert after.converged == arrived
        assert after.unverified == (0 if arrived else 1)


def test_where_rounding_hides_the_rest_a_run_ends_without_having_converged():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    for noise, hides in ((0.9e-6, False), (1.1e-6, True)):
        towards = going(
            -1e-3 * before.gradient,
            decrement=1e-7,
            decrement_of=lambda gradient: 1e-9,
            noise=lambda size, noise=noise: noise,
            is_exact=True,
        )
        after = following(task, towards, before)
        assert after.converged != hides
        if hides:
            assert (after.iteration, after.decrement) == (0, noise)


def test_at_the_minimum_there_is_no_step_to_take():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function, np.ones(3))
    after = following(task_of(function), going(np.zeros(3), decrement=0.0), before)
    assert (after.converged, after.iteration, after.n_evaluations) == (True, 0, 1)


def test_a_run_may_end_without_its_step():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    after = following(task_of(function), going(-before.gradient, ends_here=True), before)
    assert (after.converged, after.iteration, after.n_evaluations) == (True, 0, 1)


# ---------------------------------------------------------------- gradient descent, and conjugate gradients


def test_gradient_descent_asks_for_the_decrement_where_the_gradient_is_small():
    function = Quadratic(np.diag([1.0, 1e-6]), np.ones(2))
    task = task_of(function, 1e-5)
    far = GradientDescent(task).direction(start(function))
    assert far.decrement == np.inf
    near = start(function, np.array([1.0, 0.0]))  # the gradient is 1e-6, and λ = √1e-6
    found = GradientDescent(task).direction(near)
    assert found.decrement == pytest.approx(1e-3)
    assert not found.ends_here
    # not asked anew before the gradient is half of that
    assert GradientDescent(task).direction(found.point).decrement == np.inf
    assert GradientDescent(task_of(function, 1e-3)).direction(near).ends_here


@pytest.mark.parametrize("p", [1, 5, 40])
def test_the_decrement_by_conjugate_gradients(p):
    A = some_matrix(p)
    function = Quadratic(A, np.random.default_rng(p).normal(size=p))
    point = start(function)
    wanted = np.sqrt(point.gradient @ np.linalg.solve(A, point.gradient))
    found = by_conjugate_gradients(task_of(function), point, np.array)
    assert found.decrement == pytest.approx(wanted, rel=0.05)  # it grows towards its limit, and is known to half of 0.1
    assert found.decrement <= wanted * (1 + 1e-12)
    assert found.is_exact
    exact = by_conjugate_gradients(task_of(function), point, functools.partial(np.linalg.solve, A))
    assert exact.decrement == pytest.approx(wanted, rel=1e-10)
    np.testing.assert_allclose(exact.step, -np.linalg.solve(A, point.gradient), rtol=1e-9, atol=1e-12)


def test_conjugate_gradients_take_a_product_for_each_curvature(monkeypatch):
    monkeypatch.setattr("jitlogreg.solvers.newton.ENOUGH", 1e-8)
    function = Quadratic(np.diag([1.0, 1.0, 50.0, 3000.0, 50.0]), np.ones(5))
    products, by_matrix = [], function.hessian_vector
    function.hessian_vector = lambda theta, v: products.append(v) or by_matrix(theta, v)
    point = start(function)._replace(gradient=np.array([1.0, 1.0, 7.0, 55.0, 7.0]))
    found = by_conjugate_gradients(task_of(function), point, np.array)
    assert len(products) == 3
    assert found.decrement == pytest.approx(np.sqrt(2 + 2 * 49 / 50 + 55**2 / 3000), rel=1e-10)


def test_conjugate_gradients_know_nothing_where_there_is_no_curvature():
    function = Quadratic(np.zeros((3, 3)), np.ones(3))
    point = start(function)._replace(gradient=np.ones(3))
    assert by_conjugate_gradients(task_of(function), point, np.array).decrement == np.inf
    at_rest = by_conjugate_gradients(task_of(function), point._replace(gradient=np.zeros(3)), np.array)
    assert at_rest.decrement == 0

"""From one point to the next, on functions whose minimum is known, and where a run ends."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from quadratic import (
    Quadratic,
    cauchy_step_size,
    direction,
    newton_cg_direction,
    next_point,
    run,
    some_matrix,
    start,
    task_of,
)

from jitlogreg.solvers.direction import Direction
from jitlogreg.solvers.lbfgs import LBFGS
from jitlogreg.solvers.line_search import C1, C2, PATIENCE
from jitlogreg.solvers.steepest_descent import SteepestDescent


def going(step, *, step_size=1.0, **described):
    """A method that always proposes this step."""

    def direction(point):
        yield from ()
        return Direction(step, step_size, point, **described)

    return SimpleNamespace(memory=1, direction=direction)


# ---------------------------------------------------------------- the search


def test_a_first_step_along_the_gradient_goes_to_the_minimum_there():
    function = Quadratic(some_matrix(4), np.arange(4.0))
    first = run(function, SteepestDescent, 1)[1]
    assert first.n_evaluations == 2
    assert abs(first.gradient @ function.seen[-1]) <= 1e-9 * first.gradient_norm * np.linalg.norm(first.theta)


def test_a_first_step_without_curvature_goes_a_distance_of_one():
    function = Quadratic(np.eye(2), [3.0, 4.0])
    function.hessian_vector = lambda theta, v: np.zeros(2)
    assert cauchy_step_size(function, start(function)) == pytest.approx(1 / 5)
    assert cauchy_step_size(function, start(function, np.array([3.0, 4.0]))) == 1


@pytest.mark.parametrize("step_size", [1e-6, 0.1, 1.0, 1.9, 50.0, 1e9])
def test_a_step_meets_the_wolfe_conditions(step_size):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    step = -before.gradient / (before.gradient @ function.A @ before.gradient) * before.gradient_norm**2
    after = next_point(task_of(function), going(step, step_size=step_size), before)
    slope = step @ before.gradient
    assert after.loss <= before.loss + C1 * after.step_size * slope
    assert step @ after.gradient >= C2 * slope
    assert after.n_evaluations == 1 + len(function.seen[1:])
    np.testing.assert_array_equal(after.theta, before.theta + after.step_size * step)


@pytest.mark.parametrize("beyond", [np.nan, np.inf])
def test_the_line_search_backtracks_from_what_is_not_finite(beyond):
    function = Quadratic(np.array([[1e-4]]), np.array([0.9]), limit=1.0, beyond=beyond)
    function.hessian_vector = lambda theta, v: v * 1e-9  # so that the first step goes far beyond
    points = run(function, SteepestDescent, 50)
    assert max(theta.max() for theta in function.seen) > 1
    np.testing.assert_allclose(points[-1].theta, 0.9, atol=1e-4)


def test_a_direction_that_goes_up_is_replaced_by_the_gradients():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    after = next_point(task_of(function), going(before.gradient), before)
    assert after.loss < before.loss
    along = after.theta - before.theta
    np.testing.assert_allclose(along / np.linalg.norm(along), -before.gradient / before.gradient_norm, rtol=1e-12)


# ---------------------------------------------------------------- where a run ends


def test_where_no_step_goes_lower_there_is_no_next_point():
    function = Quadratic(np.eye(2), np.ones(2))
    task = task_of(function)
    lost = start(function)._replace(gradient=np.full(2, np.nan))
    assert next_point(task, LBFGS(task), lost) is None
    worn = start(function)._replace(n_stalled=PATIENCE)
    assert next_point(task, SteepestDescent(task), worn) is None
    # a model of the Hessian is replaced by the Hessian first
    step = next_point(task, LBFGS(task), worn)
    np.testing.assert_allclose(step.theta, function.c)
    assert next_point(task, LBFGS(task), worn._replace(n_unconfirmed=LBFGS.max_unconfirmed)) is None


def test_a_run_that_is_stuck_above_the_loss_at_zero_begins_anew_there():
    function = Quadratic(np.eye(2), np.ones(2))
    task = task_of(function)
    stuck = start(function, np.full(2, 9.0))._replace(n_stalled=PATIENCE, iteration=7, n_evaluations=20)
    again = next_point(task, SteepestDescent(task), stuck)
    assert (again.iteration, again.n_evaluations, again.n_stalled) == (8, 21, 0)
    np.testing.assert_array_equal(again.theta, 0)
    # from which nothing leads back
    assert next_point(task, SteepestDescent(task), again._replace(n_stalled=PATIENCE)) is None


@pytest.mark.parametrize("make_method", [SteepestDescent, LBFGS])
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
    after = next_point(
        task_of(function, 1e-6), going(newton, decrement=1e-7, decrement_of=lambda gradient: 1e-16), before
    )
    assert after.converged
    assert after.iteration == 1
    np.testing.assert_array_equal(after.theta, before.theta + newton)
    assert (after.decrement, after.previous_decrement) == (1e-16, 1e-7)


def test_a_last_step_that_goes_up_is_not_taken():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    uphill = going(before.gradient, decrement=1e-7, decrement_of=lambda gradient: 1e-8, is_exact=True)
    after = next_point(task_of(function, 1e-6), uphill, before)
    assert after.converged
    assert (after.iteration, after.n_evaluations, after.decrement) == (0, 2, 1e-7)
    np.testing.assert_array_equal(after.theta, before.theta)


def test_a_last_step_of_newtons_that_leaves_more_is_not_taken():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    worse = going(-1e-3 * before.gradient, decrement=1e-7, decrement_of=lambda gradient: 2e-7, is_exact=True)
    after = next_point(task_of(function, 1e-6), worse, before)
    assert (after.converged, after.iteration, after.decrement) == (True, 0, 1e-7)


@pytest.mark.parametrize(("left", "confirmed"), [(1e-8, True), (2e-8, True), (5e-8, False), (2e-7, False)])
def test_an_end_that_the_next_gradient_does_not_confirm_is_none(left, confirmed):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=1e-7, decrement_of=lambda gradient: left)
    after = next_point(task_of(function, 1e-6), model, before)
    assert after.converged == confirmed
    assert after.n_unconfirmed == (0 if confirmed else 1)
    assert after.iteration == 1


@pytest.mark.parametrize(("left", "confirmed"), [(1.5e-8, True), (1.6e-8, False)])
def test_next_to_nothing_confirms_an_end(left, confirmed):
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=1e-9, decrement_of=lambda gradient: left)
    assert next_point(task_of(function, 1e-6), model, before).converged == confirmed


def test_a_decrement_above_its_tolerance_is_no_end():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    model = going(-1e-3 * before.gradient, decrement=2e-6, decrement_of=lambda gradient: 2e-9)
    after = next_point(task_of(function, 1e-6), model, before)
    assert not after.converged
    assert (after.decrement, after.previous_decrement) == (2e-9, 2e-6)


def test_a_step_that_leaves_nothing_needs_no_other():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    # a thousandth of the tolerance, over the root of a hundred examples
    assert task.negligible_decrement == pytest.approx(1e-10)
    towards = functools.partial(going, -np.linalg.solve(function.A, before.gradient), is_exact=True)
    for left, arrived in ((0.9e-10, True), (1.1e-10, False), (1e-8, False)):
        after = next_point(task, towards(decrement=1.0, decrement_of=lambda gradient, left=left: left), before)
        assert after.converged == arrived


def test_a_step_with_a_hessian_from_before_may_leave_so_much():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    for left, arrived in ((0.9e-9, True), (1.1e-9, False)):
        towards = going(
            -1e-3 * before.gradient,
            decrement=1e-7,
            decrement_of=lambda gradient, left=left: left,
            accepted_decrement=1e-9,
        )
        after = next_point(task, towards, before)
        assert after.converged == arrived
        assert after.n_unconfirmed == (0 if arrived else 1)


def test_where_rounding_hides_the_rest_a_run_ends_without_having_converged():
    function = Quadratic(some_matrix(3), np.ones(3))
    before, task = start(function), task_of(function, 1e-6)
    for noise, hides in ((0.9e-6, False), (1.1e-6, True)):
        towards = going(
            -1e-3 * before.gradient,
            decrement=1e-7,
            decrement_of=lambda gradient: 1e-9,
            noise_floor=lambda rms, noise=noise: noise,
            is_exact=True,
        )
        after = next_point(task, towards, before)
        assert after.converged != hides
        if hides:
            assert (after.iteration, after.decrement) == (0, noise)


def test_at_the_minimum_there_is_no_step_to_take():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function, np.ones(3))
    after = next_point(task_of(function), going(np.zeros(3), decrement=0.0), before)
    assert (after.converged, after.iteration, after.n_evaluations) == (True, 0, 1)


def test_a_run_may_end_without_its_step():
    function = Quadratic(some_matrix(3), np.ones(3))
    before = start(function)
    after = next_point(task_of(function), going(-before.gradient, stop_without_step=True), before)
    assert (after.converged, after.iteration, after.n_evaluations) == (True, 0, 1)


# ---------------------------------------------------------------- gradient descent, and conjugate gradients


def test_gradient_descent_asks_for_the_decrement_where_the_gradient_is_small():
    function = Quadratic(np.diag([1.0, 1e-6]), np.ones(2))
    task = task_of(function, 1e-5)
    far = direction(SteepestDescent(task), start(function))
    assert far.decrement == np.inf
    near = start(function, np.array([1.0, 0.0]))  # the gradient is 1e-6, and λ = √1e-6
    found = direction(SteepestDescent(task), near)
    assert found.decrement == pytest.approx(1e-3)
    assert not found.stop_without_step
    # not asked anew before the gradient is half of that
    assert direction(SteepestDescent(task), found.point).decrement == np.inf
    assert direction(SteepestDescent(task_of(function, 1e-3)), near).stop_without_step


@pytest.mark.parametrize("p", [1, 5, 40])
def test_the_decrement_by_conjugate_gradients(p):
    A = some_matrix(p)
    function = Quadratic(A, np.random.default_rng(p).normal(size=p))
    point = start(function)
    wanted = np.sqrt(point.gradient @ np.linalg.solve(A, point.gradient))
    found = newton_cg_direction(task_of(function), point, np.array)
    assert found.decrement == pytest.approx(wanted, rel=0.05)  # it grows towards its limit, and is known to half of 0.1
    assert found.decrement <= wanted * (1 + 1e-12)
    assert found.is_exact
    exact = newton_cg_direction(task_of(function), point, functools.partial(np.linalg.solve, A))
    assert exact.decrement == pytest.approx(wanted, rel=1e-10)
    np.testing.assert_allclose(exact.step, -np.linalg.solve(A, point.gradient), rtol=1e-9, atol=1e-12)


def test_conjugate_gradients_take_a_product_for_each_curvature(monkeypatch):
    monkeypatch.setattr("jitlogreg.solvers.newton_cg.CG_TOLERANCE", 1e-8)
    function = Quadratic(np.diag([1.0, 1.0, 50.0, 3000.0, 50.0]), np.ones(5))
    products, by_matrix = [], function.hessian_vector
    function.hessian_vector = lambda theta, v: products.append(v) or by_matrix(theta, v)
    point = start(function)._replace(gradient=np.array([1.0, 1.0, 7.0, 55.0, 7.0]))
    found = newton_cg_direction(task_of(function), point, np.array)
    assert len(products) == 3
    assert found.decrement == pytest.approx(np.sqrt(2 + 2 * 49 / 50 + 55**2 / 3000), rel=1e-10)


def test_conjugate_gradients_know_nothing_where_there_is_no_curvature():
    function = Quadratic(np.zeros((3, 3)), np.ones(3))
    point = start(function)._replace(gradient=np.ones(3))
    assert newton_cg_direction(task_of(function), point, np.array).decrement == np.inf
    at_rest = newton_cg_direction(task_of(function), point._replace(gradient=np.zeros(3)), np.array)
    assert at_rest.decrement == 0

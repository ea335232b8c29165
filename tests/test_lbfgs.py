"""L-BFGS: its recursion, its memory, and what it does if its model misjudges the end."""

import numpy as np
import pytest
from conftest import make_data
from quadratic import Quadratic, WithHessian, direction, next_point, run, some_matrix, start, task_of

import jitlogreg as jlr
from jitlogreg.solvers.lbfgs import FIRST_SAMPLED_ITERATION, LBFGS, MAX_UNCONFIRMED, MEMORY


def bfgs(point, first):
    """The inverse that BFGS makes of the steps of a point, by its formula."""
    H = first
    for s, y in zip(point.s_history, point.y_history, strict=True):
        V = np.eye(len(s)) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H


# ---------------------------------------------------------------- the recursion


def test_two_loops_are_the_inverse_that_bfgs_updates():
    p = 5
    function = Quadratic(some_matrix(p), np.ones(p))
    point = run(function, LBFGS, 4)[-1]
    assert len(point.s_history) == 4
    s, y = point.s_history[-1], point.y_history[-1]
    H = bfgs(point, np.eye(p) * (s @ y) / (y @ y))
    found = direction(LBFGS(task_of(function)), point)
    assert found.step_size == 1
    np.testing.assert_allclose(found.step, -H @ point.gradient, rtol=1e-9)
    assert found.decrement == pytest.approx(np.sqrt(point.gradient @ H @ point.gradient), rel=1e-9)
    other = np.arange(5.0)
    assert found.decrement_of(other) == pytest.approx(np.sqrt(other @ H @ other), rel=1e-9)


def test_with_a_sample_they_begin_with_its_hessian():
    p = 12
    A, sampled = some_matrix(p), some_matrix(p, seed=1)
    function = WithHessian(A, np.ones(p), sampled=sampled)
    point = run(function, LBFGS, FIRST_SAMPLED_ITERATION + 3)[-1]
    assert len(point.s_history) == FIRST_SAMPLED_ITERATION + 3
    H = bfgs(point, np.linalg.inv(sampled))
    found = direction(LBFGS(task_of(function)), point)
    np.testing.assert_allclose(found.step, -H @ point.gradient, rtol=1e-8)
    assert found.decrement == pytest.approx(np.sqrt(point.gradient @ H @ point.gradient), rel=1e-9)
    assert function.hessians == 0


def test_columns_that_are_nearly_the_same_cancel_nothing():
    scale = np.geomspace(1, 1e-6, 10)  # eigenvalues down to 1e-12
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    A = (Q * scale**2) @ Q.T
    A = (A + A.T) / 2
    points = run(WithHessian(A, np.ones(10), sampled=2 * A), LBFGS, 30, 1e-9)
    assert points[-1].converged
    off = points[-1].theta - 1
    assert np.sqrt(off @ A @ off) <= 1e-9


def test_no_more_pairs_than_its_memory():
    # 40 eigenvalues from 1 to 10,000 keep it busy
    points = run(Quadratic(np.diag(np.geomspace(1, 1e4, 40)), np.ones(40)), LBFGS, 25)
    assert len(points) > 20
    assert max(len(point.s_history) for point in points) == MEMORY
    np.testing.assert_array_equal(points[-1].s_history[-1], points[-1].theta - points[-2].theta)
    np.testing.assert_array_equal(points[-1].y_history[-1], points[-1].gradient - points[-2].gradient)


def test_pairs_without_curvature_are_dropped():
    class Falling(Quadratic):
        def __call__(self, theta):
            return -float(np.sum(theta)), -np.ones(3)

    points = run(Falling(np.eye(3), np.zeros(3)), LBFGS, 2)
    assert len(points[-1].s_history) == 0


# ---------------------------------------------------------------- where the model misjudges the end


class Misjudged(LBFGS):
    """A model that overestimates the Hessian so much that the end seems near: λ is 5e-5."""

    def direction(self, point):
        found = yield from super().direction(point)
        if found.is_exact:
            return found
        root = found.decrement / 5e-5
        return found._replace(
            step=found.step / root**2,
            decrement=found.decrement / root,
            decrement_of=lambda gradient: found.decrement_of(gradient) / root,
        )


@pytest.mark.parametrize("objective", [WithHessian, Quadratic])
def test_an_end_that_the_model_misjudges_is_not_called_converged(objective):
    A = some_matrix(20)
    function = objective(A, np.ones(20))
    points = run(function, Misjudged, MAX_UNCONFIRMED, 1e-4)
    assert [point.n_unconfirmed for point in points] == list(range(MAX_UNCONFIRMED + 1))
    assert not any(point.converged for point in points)
    points = run(function, Misjudged, 40, 1e-4)
    assert points[-1].converged
    off = points[-1].theta - 1
    assert np.sqrt(off @ A @ off) <= 1e-4


def test_an_unconfirmed_end_leads_to_newtons_direction():
    A = some_matrix(20)
    function = WithHessian(A, np.ones(20), sampled=some_matrix(20, seed=1))
    point = run(function, LBFGS, 2)[-1]
    for n_unconfirmed, is_exact in ((MAX_UNCONFIRMED - 1, False), (MAX_UNCONFIRMED, True)):
        found = direction(LBFGS(task_of(function)), point._replace(n_unconfirmed=n_unconfirmed))
        assert found.is_exact == is_exact
        assert function.hessians == is_exact
    np.testing.assert_allclose(found.step, -np.linalg.solve(A, point.gradient), rtol=1e-9)


def test_without_a_hessian_it_leads_to_conjugate_gradients():
    A = some_matrix(6)
    function = Quadratic(A, np.ones(6))
    point = run(function, LBFGS, 3)[-1]._replace(n_unconfirmed=MAX_UNCONFIRMED)
    found = direction(LBFGS(task_of(function)), point)
    assert found.is_exact
    wanted = np.sqrt(point.gradient @ np.linalg.solve(A, point.gradient))
    assert found.decrement == pytest.approx(wanted, rel=0.05)


def test_a_part_of_the_gradient_that_the_sample_misses_counts_as_unverified():
    # the sample has no curvature along the last parameter
    sampled = np.diag(np.append(np.arange(1.0, 12.0), 0.0))
    function, sample = (WithHessian(A, np.ones(12)) for A in (np.diag(np.arange(1.0, 13.0)), sampled))
    sample.total_weight, sample.root = 1.0, lambda theta: np.sqrt(sampled)
    function.sample = lambda rows: sample
    task, point = task_of(function, 1e-8), start(function)._replace(iteration=FIRST_SAMPLED_ITERATION)
    with np.errstate(all="ignore"):
        assert direction(LBFGS(task), point).decrement == np.inf
        assert next_point(task, LBFGS(task), point).n_unconfirmed == 1


def test_the_last_step_is_newtons_where_the_hessian_is_cheap():
    for p, ends_exactly in ((8, True), (9, False)):
        function = WithHessian(some_matrix(p), np.ones(p), sampled=some_matrix(p) + 0.1 * some_matrix(p, seed=1))
        points = run(function, LBFGS, 40, 1e-6)
        assert points[-1].converged
        assert (function.hessians > 0) == ends_exactly
    # the sample has all rows
    whole = WithHessian(some_matrix(9), np.ones(9), sampled=some_matrix(9) + 0.1 * some_matrix(9, seed=1), rows=500)
    run(whole, LBFGS, 40, 1e-6)
    assert whole.hessians > 0


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_sample_of_other_rows_misleads_no_fit(monkeypatch, share):
    # every third row, which is the sample, has little of the second column
    monkeypatch.setattr("jitlogreg.solvers.lbfgs.SAMPLE_ROWS", 100)
    monkeypatch.setattr("jitlogreg.solvers.lbfgs.SAMPLE_ROWS_PER_PARAMETER", 1)
    data = make_data(300, 10)
    data.X[::3, 1] *= share
    fitted = jlr.fit(data.X, data.y, solver="lbfgs")
    wanted = jlr.fit(data.X, data.y, solver="newton", tolerance=1e-10)
    assert fitted.converged
    assert fitted.loss <= wanted.loss + 1e-12

"""Gradient descent: the update rule, what it records, when it stops."""

import inspect
import math
import sys

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr

pytestmark = pytest.mark.usefixtures("target")


def descend(data, n_iterations=8, learning_rate=0.5, **settings):
    return jlr.gradient_descent(data.X, data.y, learning_rate=learning_rate, n_iterations=n_iterations, **settings)


def same(run, other):
    np.testing.assert_array_equal(run.w, other.w)
    np.testing.assert_array_equal(run.loss_history, other.loss_history)
    assert run[3:] == other[3:]
    assert run.b == other.b


# ---------------------------------------------------------------- the update rule


def test_steps_are_those_of_a_numpy_loop(data, dtypes):
    X, y = data.X.astype(np.float64), data.y.astype(np.float64)
    w, b, losses = np.zeros(5), 0.0, []
    for _ in range(9):
        z = X @ w + b
        losses.append(np.mean((1 - y) * np.logaddexp(0, z) + y * np.logaddexp(0, -z)))
        previous = w, b
        dz = 1 / (1 + np.exp(-z)) - y
        w, b = w - 0.5 * (X.T @ dz) / len(y), b - 0.5 * np.mean(dz)
    run = descend(data, w=np.zeros(5, dtypes[1]))
    precision = 1e-12 if dtypes[1] == np.float64 else 1e-5
    np.testing.assert_allclose(run.w, previous[0], rtol=precision, atol=precision)
    assert run.b == pytest.approx(previous[1], rel=precision, abs=precision)
    np.testing.assert_allclose(run.loss_history, losses, rtol=precision)


@pytest.mark.parametrize("learning_rate", [0.1, 1, np.float32(0.3), 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.25])
def test_steps_are_taken_in_the_dtype_of_w_from_loss_and_gradient(dtypes, order, learning_rate, weighted, l2):
    data = make_data(30, 4, dtypes, order, weighted=weighted)
    of = data.w.dtype.type
    w, b, losses = data.w, of(data.b), []
    for _ in range(5):
        loss, dw, db = jlr.loss_and_gradient(data.X, data.y, w, b, sample_weight=data.sample_weight, l2=l2)
        losses.append(loss)
        last = w, b
        w, b = w - of(learning_rate) * dw, b - of(learning_rate) * of(db)
    weights = {"sample_weight": data.sample_weight, "l2": l2}
    run = descend(data, 4, learning_rate, w=data.w, b=data.b, **weights)
    np.testing.assert_array_equal(run.w, last[0])
    assert run.b == last[1]
    np.testing.assert_array_equal(run.loss_history, losses)


def test_results_have_the_promised_types(data, dtypes):
    run = descend(data, w=data.w)
    assert isinstance(run, jlr.Descent)
    assert (run.w.dtype, run.w.shape, run.loss_history.dtype) == (dtypes[1], (5,), np.float64)
    assert (type(run.b), type(run.n_iterations), type(run.converged)) == (float, int, bool)
    assert run.b == dtypes[1].type(run.b)


def test_the_start_is_zero_in_the_dtype_of_x_if_left_out(data, dtypes):
    run = descend(data)
    assert run.w.dtype == dtypes[0]
    same(run, descend(data, w=np.zeros(5, dtypes[0]), b=0.0))
    assert run.loss_history[0] == pytest.approx(math.log(2), rel=1e-6)


def test_a_run_goes_on_from_where_another_ended(data):
    whole = descend(data, 10, w=data.w)
    first = descend(data, 4, w=data.w)
    second = descend(data, 6, w=first.w, b=first.b)
    np.testing.assert_array_equal(second.w, whole.w)
    assert second.b == whole.b
    np.testing.assert_array_equal(np.append(first.loss_history[:-1], second.loss_history), whole.loss_history)


def test_a_weight_of_two_is_an_example_given_twice():
    data = make_data()
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    weighted = descend(data, sample_weight=weights)
    data.X, data.y = np.concatenate([data.X, data.X[:10]]), np.concatenate([data.y, data.y[:10]])
    repeated = descend(data)
    np.testing.assert_allclose(weighted.w, repeated.w, rtol=1e-12)
    np.testing.assert_allclose(weighted.loss_history, repeated.loss_history, rtol=1e-12)


def test_a_weight_of_zero_is_an_example_left_out():
    data = make_data()
    weighted = descend(data, sample_weight=np.arange(40) < 25)
    data.X, data.y = data.X[:25], data.y[:25]
    np.testing.assert_allclose(weighted.w, descend(data).w, rtol=1e-12)


def test_the_penalty_shrinks_w_and_spares_b():
    data = make_data()
    free, penalised = descend(data, 200), descend(data, 200, l2=1.0)
    assert np.linalg.norm(penalised.w) < np.linalg.norm(free.w)
    data.X = np.zeros_like(data.X)
    assert descend(data, 200, l2=1.0).b == descend(data, 200).b != 0


# ---------------------------------------------------------------- history and stopping


@pytest.mark.parametrize("n_iterations", [0, 1, 7, np.int64(3)])
def test_history_holds_the_loss_before_each_step_and_after_the_last(data, n_iterations):
    run = descend(data, n_iterations, w=data.w, l2=0.1)
    assert run.n_iterations == n_iterations
    assert run.loss_history.shape == (n_iterations + 1,)
    assert not run.converged
    assert run.loss_history[0] == jlr.loss(data.X, data.y, data.w, l2=0.1)
    assert run.loss_history[-1] == jlr.loss(data.X, data.y, run.w, run.b, l2=0.1)


def test_without_steps_the_start_is_returned_as_a_new_array(data):
    run = descend(data, 0, w=data.w, b=data.b)
    np.testing.assert_array_equal(run.w, data.w)
    assert run.b == data.b
    assert not np.shares_memory(run.w, data.w)


def norms(data, n_iterations, **settings):
    seen = []
    descend(data, n_iterations, callback=lambda state: seen.append(state.gradient_norm), **settings)
    return seen


def test_the_norm_is_that_of_the_whole_gradient(data):
    gradient = jlr.gradient(data.X, data.y, data.w, l2=0.5)
    expected = np.linalg.norm([*gradient.dw.astype(np.float64), gradient.db])
    assert norms(data, 0, w=data.w, l2=0.5) == [pytest.approx(expected, rel=1e-14)]


def test_the_descent_stops_at_the_first_norm_within_tolerance(data):
    seen = norms(data, 30)
    first = 12
    assert all(norm > seen[first] for norm in seen[:first])
    run = descend(data, 30, tolerance=seen[first])
    assert run.converged
    assert run.n_iterations == first
    assert len(run.loss_history) == first + 1
    np.testing.assert_array_equal(run.w, descend(data, first).w)
    assert descend(data, 30, tolerance=np.nextafter(seen[first], 0)).n_iterations > first


def test_convergence_in_the_last_place_counts(data):
    seen = norms(data, 5)
    assert descend(data, 5, tolerance=seen[5]).converged
    assert not descend(data, 4, tolerance=seen[5]).converged


def test_a_start_within_tolerance_makes_no_step(data):
    run = descend(data, tolerance=100)
    assert (run.n_iterations, run.converged, len(run.loss_history)) == (0, True, 1)


def test_a_gradient_of_zero_has_converged_at_any_tolerance():
    run = jlr.gradient_descent(np.zeros((2, 1)), np.array([0, 1]), learning_rate=1, n_iterations=5)
    assert (run.n_iterations, run.converged) == (0, True)


def test_a_gradient_whose_square_vanishes_has_not_converged():
    run = jlr.gradient_descent(np.array([[1e-200], [-1e-200]]), np.array([0, 1]), learning_rate=1, n_iterations=5)
    assert (run.n_iterations, run.converged) == (5, False)


def test_a_norm_whose_square_overflows_is_finite():
    seen = []
    X, y = np.array([[3e200, 4e200]]), np.array([1])
    with np.errstate(all="raise"):
        jlr.gradient_descent(
            X, y, learning_rate=1e-300, n_iterations=0, callback=lambda s: seen.append(s.gradient_norm)
        )
    assert seen == [pytest.approx(2.5e200)]


# ---------------------------------------------------------------- divergence


@pytest.mark.parametrize("errors", ["warn", "raise"])
def test_a_loss_that_is_not_finite_ends_the_descent_with_a_warning(dtypes, errors):
    data = make_data(dtypes=dtypes)
    data.X *= 1000
    states = []
    largest = float(np.finfo(dtypes[1]).max)
    with np.errstate(all=errors), pytest.warns(RuntimeWarning, match="learning_rate") as caught:
        run = descend(data, 50, largest / 2, w=np.zeros_like(data.w), callback=states.append, tolerance=1e-3)
    assert caught[0].filename == __file__
    assert 0 < run.n_iterations < 50
    assert not run.converged
    assert np.isfinite(run.loss_history[:-1]).all()
    assert not math.isfinite(run.loss_history[-1])
    assert len(states) == len(run.loss_history) == run.n_iterations + 1


@pytest.mark.parametrize(("x", "loss"), [(math.nan, math.nan), (-math.inf, math.inf)])
def test_a_start_that_is_not_finite_ends_there(x, loss):
    with pytest.warns(RuntimeWarning, match=f"{loss} after 0 steps"):
        run = jlr.gradient_descent(np.array([[x]]), np.ones(1), w=np.ones(1), learning_rate=1, n_iterations=5)
    assert (run.n_iterations, run.converged, run.w) == (0, False, 1)
    np.testing.assert_array_equal(run.loss_history, [loss])


def test_a_step_by_a_gradient_that_is_not_finite_is_the_last():
    X, y = np.array([[math.inf], [1.0]]), np.array([1, 0])  # right at an infinite margin: loss 0, residual 0 · inf
    with pytest.warns(RuntimeWarning, match="nan after 1 steps"):
        run = jlr.gradient_descent(X, y, w=np.ones(1), learning_rate=1, n_iterations=5)
    assert run.n_iterations == 1
    assert np.isnan(run.w).all()


# ---------------------------------------------------------------- callbacks


def test_a_callback_sees_every_state(data, dtypes):
    states = []
    run = descend(data, 6, w=data.w, b=data.b, callback=states.append)
    assert [state.iteration for state in states] == list(range(7))
    np.testing.assert_array_equal([state.loss for state in states], run.loss_history)
    np.testing.assert_array_equal(states[0].w, data.w)
    np.testing.assert_array_equal(states[-1].w, run.w)
    assert (states[0].b, states[-1].b) == (data.b, run.b)
    for state in states:
        assert state.w.dtype == dtypes[1]
        assert {type(state.loss), type(state.gradient_norm), type(state.b)} == {float}
        assert state.loss == jlr.loss(data.X, data.y, state.w, state.b)


def test_a_callback_that_writes_to_its_state_changes_nothing(data):
    def scribble(state):
        state.w[:] = math.nan

    before = data.w.copy()
    same(descend(data, w=data.w, callback=scribble), descend(data, w=data.w))
    np.testing.assert_array_equal(data.w, before)


def test_a_callback_that_writes_to_the_start_changes_nothing(data):
    start = data.w.copy()

    def scribble(state):
        start[:] = 0

    same(descend(data, w=start, callback=scribble), descend(data, w=data.w))


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops_the_descent(data, answer):
    run = descend(data, callback=lambda state: answer if state.iteration == 3 else None)
    assert (run.n_iterations, run.converged, len(run.loss_history)) == (3, False, 4)
    np.testing.assert_array_equal(run.w, descend(data, 3).w)


@pytest.mark.parametrize("answer", [None, False, 1, "yes", [0], np.ones(2), 0.5], ids=repr)
def test_other_answers_do_not_stop_the_descent(data, answer):
    assert descend(data, callback=lambda state: answer).n_iterations == 8


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ZeroDivisionError])
def test_exceptions_of_a_callback_propagate_and_change_nothing(data, exception):
    states = []

    def interrupt(state):
        states.append(state)
        if state.iteration == 2:
            raise exception("stop here")

    arrays = data.X, data.y, data.w
    before = [array.tobytes() for array in arrays]
    with pytest.raises(exception, match="stop here"):
        descend(data, w=data.w, callback=interrupt)
    assert [array.tobytes() for array in arrays] == before
    np.testing.assert_array_equal(states[-1].w, descend(data, 2, w=data.w).w)


# ---------------------------------------------------------------- progress


def test_progress_is_shown_and_changes_nothing(capsys):
    pytest.importorskip("rich")
    data = make_data()
    run = descend(data, 5, progress=True)
    shown = capsys.readouterr().err
    assert "gradient descent" in shown
    assert "5/5" in shown
    same(run, descend(data, 5))
    assert capsys.readouterr() == ("", "")


def test_progress_of_an_interrupted_run_closes_its_bar():
    pytest.importorskip("rich")

    def interrupt(state):
        raise KeyboardInterrupt

    for _ in range(2):  # rich refuses a second bar while one is live
        with pytest.raises(KeyboardInterrupt):
            descend(make_data(), progress=True, callback=interrupt)


def test_progress_without_rich_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"rich.*pip install"):
        descend(make_data(), progress=True)
    assert descend(make_data()).n_iterations == 8


# ---------------------------------------------------------------- the call itself


def test_everything_but_the_data_is_given_by_name():
    kinds = {p.name: p.kind for p in inspect.signature(jlr.gradient_descent).parameters.values()}
    positional = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == ["X", "y"]
    assert list(kinds) == [
        *("X", "y", "learning_rate", "n_iterations", "w", "b", "sample_weight"),
        *("offset", "l2", "link", "tolerance", "callback", "progress"),
        *("checkpoint", "checkpoint_every", "resume", "target"),
    ]


def test_the_target_is_chosen_once(data, monkeypatch, target):
    def switch(state):
        monkeypatch.setenv("JITLOGREG_TARGET", "cuda")

    monkeypatch.setenv("JITLOGREG_TARGET", target)
    assert descend(data, callback=switch).n_iterations == 8

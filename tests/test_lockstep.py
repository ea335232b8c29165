"""Models of one X fitted side by side: the bits of each alone, few reads, checkpoints, and those without a minimum."""

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg import row_passes
from jitlogreg.solvers.separation import SeparationWarning
from jitlogreg.targets.base import Problem
from jitlogreg.targets.dispatch import choose


def models(m=300, n=4, K=5, order="C", shift=0.0, seed=0):
    """X, and labels, weights and offsets of K models."""
    rng = np.random.default_rng([seed, m, n, K])
    X = np.asarray(rng.normal(size=(m, n)) + shift, order=order)
    z = (X - shift) @ rng.normal(size=(n, K)) / np.sqrt(n)
    return X, (rng.uniform(size=(m, K)) < 1 / (1 + np.exp(-z))).astype(float), rng.uniform(size=(m, K)), z / 4


def assert_same(together, k, alone):
    """Everything about model k is what it is alone, to the bit."""
    assert together.w[:, k].tobytes() == alone.w.tobytes()
    for name in ("b", "loss", "gradient_norm", "n_iterations", "n_evaluations", "converged", "message", "decrement"):
        assert getattr(together, name)[k] == getattr(alone, name), name


def of_model(array, k):
    return array if np.ndim(array) < 2 else array[:, k].copy()


CASES = [
    {"m": 300, "n": 4, "K": 5},
    {"m": 12_000, "n": 28, "K": 3},
    {"m": 12_000, "n": 28, "K": 3, "order": "F"},
    {"m": 700, "n": 6, "K": 4, "shift": 1e6},  # computed in frames
    {"m": 90, "n": 3, "K": 1},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
def test_each_model_has_the_bits_that_it_has_alone(case, solver):
    X, Y, S, offset = models(**case)
    l2 = np.linspace(0, 0.1, Y.shape[1])
    for given in ({}, {"sample_weight": S}, {"sample_weight": S[:, 0].copy(), "offset": offset}):
        together = jlr.fit(X, Y, l2=l2, solver=solver, **given)
        assert together.w.shape == (X.shape[1], Y.shape[1])
        assert all(together.converged)
        for k in range(Y.shape[1]):
            own = {name: of_model(array, k) for name, array in given.items()}
            assert_same(together, k, jlr.fit(X, Y[:, k].copy(), l2=l2[k], solver=solver, **own))


def test_a_model_does_not_depend_on_those_beside_it():
    X, Y, *_ = models(2000, 20, 6)
    whole = jlr.fit(X, Y)
    for chosen in ([4, 1], [2], [5, 0, 3, 1]):
        part = jlr.fit(X, Y[:, chosen])
        assert part.w.tobytes() == np.ascontiguousarray(whole.w[:, chosen]).tobytes()


def test_any_number_of_threads_gives_the_same_bits():
    import numba

    X, Y, *_ = models(12_000, 28, 4)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = jlr.fit(X, Y)
    finally:
        numba.set_num_threads(before)
    assert jlr.fit(X, Y).w.tobytes() == one.w.tobytes()


def test_an_evaluation_of_all_is_one_read():
    X, Y, *_ = models(24_000, 28, 8)
    together = jlr.fit(X, Y, solver="lbfgs")
    alone = [jlr.fit(X, Y[:, k].copy(), solver="lbfgs").n_reads for k in range(8)]
    assert together.n_reads <= max(alone) + 3
    assert sum(alone) > 6 * together.n_reads


def test_starts_are_taken():
    X, Y, *_ = models()
    w, b = np.ones((4, 5)), np.arange(5.0)
    together = jlr.fit(X, Y, w=w, b=b, max_iterations=0)
    np.testing.assert_array_equal(together.w, w)
    np.testing.assert_array_equal(together.b, b)
    assert_same(together, 2, jlr.fit(X, Y[:, 2].copy(), w=w[:, 2].copy(), b=2.0, max_iterations=0))
    with pytest.raises(ValueError, match=r"^w: expected 5 columns, one per column of y, got 2"):
        jlr.fit(X, Y, w=np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"^b: expected 0 with fit_intercept=False"):
        jlr.fit(X, Y, b=1.0, fit_intercept=False)


def test_an_objective_of_models_is_fitted_too():
    X, Y, *_ = models()
    objective = jlr.Objective(X, Y, n_outputs=5, l2=0.1, fit_intercept=False)
    assert jlr.fit(objective).w.tobytes() == jlr.fit(X, Y, l2=0.1, fit_intercept=False).w.tobytes()
    with pytest.raises(ValueError, match=r"^X: expected an Objective of one output or of a softmax, got one of 5"):
        jlr.gradient_descent(objective, learning_rate=0.1, n_iterations=1)


def test_models_without_a_minimum_are_named():
    X = np.linspace(-1, 1, 40)[:, np.newaxis]
    Y = np.column_stack([np.arange(40) % 3 == 0, X[:, 0] > 0, np.ones(40)]).astype(float)
    with pytest.warns(SeparationWarning, match=r"^2 of 3 outputs have no minimum; output 1: .*complete separation"):
        fitted = jlr.fit(X, Y)
    assert fitted.converged.tolist() == [True, False, False]
    assert "one class" in fitted.message[2]
    assert fitted.message[1].endswith("with l2 above 0 it has one")


# ---------------------------------------------------------------- who follows them


def test_a_run_that_is_stopped_and_resumed_ends_as_a_whole_one(tmp_path):
    X, Y, S, _ = models(12_000, 28, 4)
    path, whole, seen = tmp_path / "run.npz", jlr.fit(X, Y, sample_weight=S), []

    def stop(state):
        seen.append(state)
        return len(seen) == 3

    part = jlr.fit(X, Y, sample_weight=S, checkpoint=path, checkpoint_every=1, callback=stop)
    assert not any(part.converged)
    assert all(message.startswith("stopped by the callback") for message in part.message)
    assert (seen[0].w.shape, seen[0].b.shape, seen[0].loss.shape) == ((28, 4), (4,), (4,))
    rest = jlr.fit(X, Y, sample_weight=S, resume=path)
    for k in range(4):
        assert_same(rest, k, jlr.fit(X, Y[:, k].copy(), sample_weight=S[:, k].copy()))
    assert rest.w.tobytes() == whole.w.tobytes()
    again = jlr.fit(X, Y, sample_weight=S, resume=path, checkpoint=path)
    assert jlr.fit(X, Y, sample_weight=S, resume=path).w.tobytes() == again.w.tobytes()
    with pytest.raises(ValueError, match=r"^resume: expected a run on the same X"):
        jlr.fit(X, 1 - Y, sample_weight=S, resume=path)
    with pytest.raises(ValueError, match=r"^resume: expected a run whose n_outputs is 3"):
        jlr.fit(X, Y[:, :3], resume=path)


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupted_run_resumes_from_its_file(tmp_path, at):
    X, Y, *_ = models(3000, 12, 3)
    path, calls = tmp_path / "run.npz", []

    def interrupt(state):
        calls.append(state)
        if len(calls) > at:
            raise KeyboardInterrupt

    before = X.copy(), Y.copy()
    with pytest.raises(KeyboardInterrupt):
        jlr.fit(X, Y, checkpoint=path, checkpoint_every=1, callback=interrupt)
    assert np.array_equal(before[0], X)
    assert np.array_equal(before[1], Y)
    assert jlr.fit(X, Y, resume=path).w.tobytes() == jlr.fit(X, Y).w.tobytes()


def test_the_norms_of_rows_bound_every_doubt_from_below():
    rng = np.random.default_rng(3)
    for shift in (0.0, 1e3):
        X, Y, S, offset = models(500, 6, 7, shift=shift)
        S = np.ascontiguousarray(np.where(rng.uniform(size=S.shape) < 0.3, 0.0, S).T)
        W, b = rng.normal(size=(6, 7)) * 10.0 ** rng.integers(-3, 1, 7), rng.normal(size=7)
        b -= shift * np.sum(W, axis=0)
        for s, off in ((None, None), (S, np.ascontiguousarray(offset.T)), (S[0].copy(), offset[:, 0].copy())):
            data = Problem.of(X, np.ascontiguousarray(Y.T), s, None, off)
            below = row_passes.least_possible_doubts(row_passes.RowNorms(X), data, W, b)
            exact = np.array(row_passes.smallest_doubts(choose("cpu"), data, W, b))
            assert np.all(below <= exact)
            assert np.all(below > 0)
            assert np.max(below / exact) > 0.01  # the bound is of use


def test_one_read_answers_for_the_doubts_of_all_resamples():
    X, Y, *_ = models(4000, 8, 1)
    Y = np.where(np.random.default_rng(0).uniform(size=Y.shape) < 0.3, 1 - Y, Y)
    few, many = (jlr.bootstrap(X, Y[:, 0], n_resamples=count).n_reads for count in (8, 16))
    per_group = 6  # evaluations of the start, and of about four steps
    assert many - few <= per_group


def test_models_that_stand_elsewhere_meet_for_the_next_read():
    X, Y, *_ = models(24_000, 28, 4)
    l2s = np.geomspace(1e-1, 1e-5, 6)
    together = jlr.cross_validate(X, Y[:, 0], l2s, solver="lbfgs")
    of_all_rows = jlr.fit_path(X, Y[:, 0], l2s=l2s, solver="lbfgs")
    assert together.n_reads <= of_all_rows.n_reads + 4

"""Who follows a path, a cross-validation and a bootstrap: callbacks, interrupts, and files to resume from."""

import functools
import re
import warnings

import numpy as np
import pytest
from test_selection import L2S, examples

import jitlogreg as jlr
from jitlogreg.solvers import path as paths
from jitlogreg.solvers import resamples

DATA = X, y = examples(300)[:2]

CALLS = {
    "path": functools.partial(jlr.fit_path, l2s=L2S),
    "path of a softmax": functools.partial(jlr.fit_path, l2s=L2S, link="softmax"),
    "folds": functools.partial(jlr.cross_validate, l2s=L2S, folds=3),
    "folds of a softmax": functools.partial(jlr.cross_validate, l2s=L2S, folds=3, link="softmax"),
    "resamples": functools.partial(jlr.bootstrap, n_resamples=40),
    "resamples of a softmax": functools.partial(jlr.bootstrap, n_resamples=20, link="softmax"),
}


@pytest.fixture(params=CALLS)
def call(request):
    return functools.partial(CALLS[request.param], *DATA)


def bits(result):
    """All that a call returns but how often X was read."""
    values = result._asdict() | {"n_reads": 0}
    return {
        name: bits(value) if hasattr(value, "_asdict") else np.asarray(value).tobytes()
        for name, value in values.items()
    }


def stopping(at, seen):
    """A callback that stops the run once so many fits are done."""

    def callback(state):
        seen.append(state)
        return state.n_done >= at

    return callback


def stopped(call, at, seen, **options):
    with pytest.warns(RuntimeWarning, match=r"^stopped by the callback: "):
        return call(callback=stopping(at, seen), **options)


def test_a_callback_sees_how_many_fits_are_done(call):
    seen = []
    assert bits(call(callback=seen.append)) == bits(call())
    done, left = np.array(seen).T
    assert len(set(done + left)) == 1
    assert np.all(np.diff(done) > 0)
    assert left[-1] == 0
    assert done[0] <= 8


def test_a_callback_that_returns_no_true_stops_nothing(call):
    assert bits(call(callback=lambda state: 1)) == bits(call())


def test_a_run_that_is_stopped_and_resumed_has_the_same_bits(call, tmp_path):
    file, seen, rest = tmp_path / "run.npz", [], []
    stopped(call, 2, seen, checkpoint=file)
    assert seen[-1].n_left > 0
    whole = call()
    resumed = call(resume=file, callback=rest.append)
    assert bits(resumed) == bits(whole)
    assert resumed.n_reads < whole.n_reads
    assert rest[0].n_done > seen[-1].n_done


@pytest.mark.parametrize("at", [1, 9])
def test_an_interrupted_run_resumes_from_its_file(call, tmp_path, at):
    file, calls = tmp_path / "run.npz", []

    def interrupt(state):
        calls.append(state)
        if state.n_done >= at or state.n_left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(checkpoint=file, checkpoint_every=1, callback=interrupt)
    with np.load(file) as kept:
        done = sum(len(kept[name]) for name in kept.files if name.startswith("converged_"))
    assert done == calls[-1].n_done
    assert bits(call(resume=file)) == bits(call())


def test_a_file_is_there_from_the_start(call, tmp_path):
    file, whole, at_start = tmp_path / "run.npz", bits(call()), []
    call(checkpoint=file, checkpoint_every=1000, callback=lambda state: at_start.append(file.read_bytes()))
    file.write_bytes(at_start[0])
    seen = []
    assert bits(call(resume=file, callback=seen.append)) == whole
    assert seen[0].n_done <= 8


def test_warnings_name_the_caller_s_line(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(callback=stopping(1, []))
    assert [warning.filename for warning in caught] == [__file__]


def test_a_callback_has_the_caller_s_error_state(call):
    seen = []
    with np.errstate(divide="call", over="raise"):
        call(callback=lambda state: seen.append(np.geterr()))
    assert {(state["divide"], state["over"]) for state in seen} == {("call", "raise")}


# ---------------------------------------------------------------- what a run that was stopped returns


def test_penalties_without_a_fit_are_nan():
    path, whole = stopped(functools.partial(CALLS["path"], X, y), 2, []), CALLS["path"](X, y)
    made = L2S >= 0.1
    assert path.converged.tolist() == made.tolist()
    assert path.w[:, made].tobytes() == whole.w[:, made].tobytes()
    for name in ("w", "b", "loss", "gradient_norm", "decrement"):
        assert np.isnan(getattr(path, name)[..., ~made]).all(), name
    assert path.n_iterations[~made].tolist() == [0, 0]


@pytest.mark.parametrize("scoring", ["log_loss", "accuracy", lambda y, a, s: float(np.mean(a))])
def test_scores_without_a_fit_are_nan_and_no_penalty_is_chosen(scoring):
    call, seen = functools.partial(CALLS["folds"], X, y, scoring=scoring), []
    found, whole = stopped(call, 7, seen), call()
    made = np.isfinite(found.scores)
    assert 3 <= made.sum() <= seen[-1].n_done < 16
    assert found.scores[made].tobytes() == whole.scores[made].tobytes()
    assert np.isnan([found.best_l2, found.one_se_l2, found.fit.b, found.fit.loss]).all()
    assert np.isnan(found.fit.w).all()
    assert not found.fit.converged
    assert found.fit.message.startswith("stopped by the callback")


def test_a_fold_without_any_fit_is_not_said_to_have_one_class():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = jlr.cross_validate(30 * X, y, L2S, folds=(np.arange(300) < 12) * 1, callback=stopping(1, []))
    assert np.isnan(found.scores).all(axis=0).tolist() == [True, False]
    assert [str(warning.message) for warning in caught] == [
        "stopped by the callback: 2 of 12 fits are made, and no penalty is chosen"
    ]


def test_resamples_without_a_fit_are_not_counted():
    found, whole = stopped(functools.partial(CALLS["resamples"], X, y), 20, []), CALLS["resamples"](X, y)
    assert np.isnan(found.w).all(axis=0).tolist() == [False] * 24 + [True] * 16
    assert np.isnan(found.b).tolist() == [False] * 24 + [True] * 16
    assert found.w[:, :24].tobytes() == whole.w[:, :24].tobytes()
    few = jlr.bootstrap(X, y, n_resamples=24)
    assert found.w_interval.tobytes() == few.w_interval.tobytes()
    assert found.b_interval.tobytes() == few.b_interval.tobytes()


def test_the_last_fit_cannot_be_stopped(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bits(call(callback=lambda state: state.n_left == 0)) == bits(call())


# ---------------------------------------------------------------- resuming


class KilledError(Exception):
    """Stands for a process that ends."""


def killed_after(requests, monkeypatch):
    """Make every path end with an error after so many requests in all."""
    steps, seen = paths.path_steps, []

    def path_steps(*arguments):
        path, answer = steps(*arguments), None
        while True:
            try:
                request = path.send(answer)
            except StopIteration:
                return
            seen.append(request)
            if len(seen) > requests:
                raise KilledError
            answer = yield request

    for module in (paths, resamples):
        monkeypatch.setattr(module, "path_steps", path_steps)


@pytest.mark.parametrize(
    ("name", "solver", "requests"),
    [("path", "lbfgs", 12), ("folds", "lbfgs", 60), ("folds of a softmax", "lbfgs", 60), ("resamples", "auto", 100)],
)
def test_a_run_that_is_killed_resumes_to_the_same_bits(tmp_path, monkeypatch, name, solver, requests):
    call, file = functools.partial(CALLS[name], *DATA, solver=solver), tmp_path / "run.npz"
    whole = call()
    with monkeypatch.context() as patch:
        killed_after(requests, patch)
        with pytest.raises(KilledError):
            call(checkpoint=file, checkpoint_every=1)
    rest = call(resume=file)
    assert bits(rest) == bits(whole)
    assert rest.n_reads < whole.n_reads


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("path", {"l2s": L2S[:2]}, r"expected a run whose l2s is \[1\.0, 0\.01\]"),
        ("path", {"solver": "gradient_descent"}, r"expected a run whose solver is 'gradient_descent'"),
        ("folds", {"l2s": L2S[:2]}, r"expected a run whose l2s is \[1\.0, 0\.01\]"),
        ("folds", {"solver": "lbfgs"}, r"expected a run whose solver is 'lbfgs'"),
        ("folds", {"link": "softmax"}, r"expected a run whose link is 'softmax'"),
        ("resamples", {"seed": 1}, r"expected a run whose seed is 1"),
        ("resamples", {"first_resample": 40}, r"expected a run whose first_resample is 40"),
    ],
)
def test_another_run_is_refused(tmp_path, name, other, message):
    call, file = functools.partial(CALLS[name], *DATA), tmp_path / "run.npz"
    call(checkpoint=file)
    with pytest.raises(ValueError, match=rf"^resume: {message}"):
        call(resume=file, **other)


def test_a_path_resumes_from_where_it_began(tmp_path):
    call, file = functools.partial(CALLS["path"], X, y, solver="lbfgs"), tmp_path / "run.npz"
    w = np.full(5, 0.5)
    with pytest.raises(KeyboardInterrupt):
        call(w=w, b=0.25, checkpoint=file, checkpoint_every=1000, callback=interrupt)
    assert bits(call(resume=file)) == bits(call(w=w, b=0.25))
    assert bits(call()) != bits(call(w=w, b=0.25))


def interrupt(state):
    raise KeyboardInterrupt


def test_progress_shows_the_fits(capsys):
    pytest.importorskip("rich", reason="rich is not installed")
    for name, shown in (("path", "fits"), ("folds", "fits"), ("resamples", "resamples")):
        CALLS[name](X, y, progress=True)
        assert re.search(shown, capsys.readouterr().err)

"""`fit` on data of every kind, against the minimum in 80 bits; and whether that and the fuzz can be trusted."""

import itertools
import json
import re
import warnings
from types import SimpleNamespace

import exact_fit
import mpmath
import numpy as np
import pages
import pytest
from exact_fit import WIDE, lost
from reliability import fit_fuzz
from reliability.fit_fuzz import FAULT, GOOD, HONEST

import jitlogreg as jlr

pytestmark = pytest.mark.skipif(not exact_fit.IS_WIDE, reason="needs a long double of 80 bits")
slow = pytest.mark.slow
KINDS = list(fit_fuzz.KINDS)


@pytest.mark.parametrize("count", [3 * len(KINDS), pytest.param(2_000, marks=slow)])
def test_fit_is_at_the_minimum_or_says_that_it_is_not(count):
    outcomes = fit_fuzz.outcomes(KINDS, count)
    print(f"tried {count} cases")
    faults = [f"--case '{outcome.kind}:{outcome.seed}': {outcome.reason}" for outcome in outcomes if is_fault(outcome)]
    assert not faults, "\n".join([f"{len(faults)} of {count}, see tools/reliability/fit_fuzz.py with", *faults[:20]])


def is_fault(outcome):
    return outcome.verdict == FAULT


# ---------------------------------------------------------------- is it the minimum?


def centred_problem(seed=0, m=60, n=3, **more):
    rng = np.random.default_rng(seed)
    data = fit_fuzz.plain(rng, m, n)._replace(**more)
    return rng, data


SOLVABLE = ["plain", "offset", "scale", "scales", "collinear", "weights", "wide", "float32", "powers", "tiny or huge"]
SOLVABLE += ["counts", "penalised", "no intercept"]


@pytest.mark.parametrize("count", [1, pytest.param(20, marks=slow)])
@pytest.mark.parametrize("kind", SOLVABLE)
def test_a_hundred_digits_find_the_same_minimum(kind, count):
    made = (fit_fuzz.make(kind, seed)[0] for seed in range(10_000))
    truths = (exact_fit.exact_fit(*data) for data in made if 100 < data.X.size < 1000 and has_one_minimum(data))
    for truth in itertools.islice((truth for truth in truths if truth.exists), count):
        with mpmath.workdps(100):
            loss, gain = newton_step(truth)
            assert abs(number(truth.loss) - loss) < (1e-8 if kind == "powers" else 1e-10)
            assert 0 <= gain < 1e-14


def has_one_minimum(data):
    return data.l2 or len(exact_fit.orthonormal(data.X.astype(WIDE))[1]) == data.X.shape[1]


def newton_step(truth):
    """F where the search has ended, of the data as it was given, and what Newton's method would still gain there."""
    problem = truth.problem
    centres, scales = numbers(problem.centre), numbers(problem.scale)
    rows = [
        [(number(x) - c) / d for x, c, d in zip(row, centres, scales, strict=True)] + [mpmath.mpf(1)] * problem.has_b
        for row in problem.X
    ]
    theta = numbers(truth.u) + [number(truth.a)] * problem.has_b
    y, s = numbers(problem.y), numbers(problem.s)
    penalty = [sum(s) * number(problem.l2) / d**2 for d in scales] + [mpmath.mpf(0)] * problem.has_b
    loss = sum(p / 2 * t**2 for p, t in zip(penalty, theta, strict=True))
    gradient = mpmath.matrix([p * t for p, t in zip(penalty, theta, strict=True)])
    hessian = mpmath.diag(penalty)
    for row, label, weight in zip(rows, y, s, strict=True):
        z = mpmath.fdot(row, theta)
        up, down = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
        loss -= weight * ((1 - label) * mpmath.log(down) + label * mpmath.log(up))
        for i, x in enumerate(row):
            gradient[i] += weight * ((1 - label) * up - label * down) * x
            for j, other in enumerate(row):
                hessian[i, j] += weight * up * down * x * other
    step = mpmath.lu_solve(hessian, -gradient)
    return loss, -mpmath.fdot(gradient, step) / 2


def numbers(array):
    return [number(of) for of in array]


def number(of):
    above, below = of.as_integer_ratio()
    return mpmath.mpf(above) / below


def test_duplicate_columns_share_their_weight():
    _, data = centred_problem()
    alone = exact_fit.exact_fit(data.X, data.y)
    X = np.column_stack([data.X, data.X[:, 0], -2 * data.X[:, 1], np.ones(60)])
    truth = exact_fit.exact_fit(X, data.y)
    np.testing.assert_allclose(float(truth.loss), float(alone.loss), rtol=1e-15)
    halves = [alone.w[0] / 2, alone.w[1] / 5, alone.w[2], alone.w[0] / 2, -2 * alone.w[1] / 5, 0]
    np.testing.assert_allclose(truth.w.astype(float), np.array(halves, float), rtol=1e-14, atol=1e-17)


def test_examples_without_weight_take_no_part():
    rng, data = centred_problem()
    s = np.where(np.arange(60) < 40, rng.uniform(0.1, 3, 60), 0.0)
    some = exact_fit.exact_fit(data.X, data.y, s, 0.1)
    alone = exact_fit.exact_fit(data.X[:40], data.y[:40], s[:40], 0.1)
    assert some.loss == alone.loss
    np.testing.assert_array_equal(some.w, alone.w)


# ---------------------------------------------------------------- is there one?


STEPS = np.arange(1.0, 21)[:, None]


@pytest.mark.parametrize(
    ("exists", "X", "y", "more"),
    [
        (False, np.r_[-STEPS, STEPS], np.repeat([0, 1], 20), {}),
        (True, np.r_[-STEPS, STEPS], np.repeat([0, 1], 20), {"l2": 1e-8}),
        (False, np.r_[1 - STEPS, STEPS - 1], np.repeat([0, 1], 20), {}),  # both classes at 0
        (True, np.r_[1 - STEPS, STEPS - 1 - 1e-9], np.repeat([0, 1], 20), {}),
        (False, np.r_[1 - STEPS, STEPS - 1 + 1e-9], np.repeat([0, 1], 20), {}),
        (True, np.r_[-STEPS, STEPS], np.repeat([1e-9, 1], 20), {}),
        (False, STEPS, np.ones(20), {}),
        (False, STEPS, np.ones(20), {"l2": 1.0}),  # the intercept is free
        (False, STEPS, np.ones(20), {"fit_intercept": False}),
        (True, STEPS, np.ones(20), {"fit_intercept": False, "l2": 1.0}),
        (True, STEPS - 10.5, np.ones(20), {"fit_intercept": False}),
        (False, STEPS == 7, (STEPS[:, 0] == 7) | (STEPS[:, 0] % 2 == 0), {}),
        (True, STEPS == 7, STEPS[:, 0] % 2, {"sample_weight": STEPS[:, 0] != 7}),  # a column of zeros
        (True, np.ones((20, 2)), STEPS[:, 0] % 2, {}),
    ],
)
@pytest.mark.parametrize("shift", [0, 1e6])
def test_whether_there_is_a_minimum(exists, X, y, more, shift):
    if more.get("fit_intercept", True):
        X = np.round((X + shift) * 2**30) / 2**30  # exact: what overlaps by 1e-9 still does
    assert exact_fit.exact_fit(np.asarray(X, float), np.asarray(y, float), **more).exists is exists


def test_a_direction_separates_by_less_than_float64_can_tell():
    X = np.array([[1e17, 1.0], [1e17, 0.0], [3.0, 0.0]])
    side = np.array([1, -1, 0])
    none = np.zeros(3, bool)
    assert exact_fit.separates(X, side, numbers_of([0, 1]), none)
    assert not exact_fit.separates(X, side, numbers_of([0, -1]), none)
    assert not exact_fit.separates(X[:2], side[:2], numbers_of([1e-17, 0]), none[:2])  # to both sides
    # moved to where the soft label's row is at 0
    assert exact_fit.separates(X, side, numbers_of([1e-3, 1]), none)


def numbers_of(values):
    return [exact_fit.Fraction(value) for value in values]


# ---------------------------------------------------------------- what an answer has lost


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e9])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_a_perturbed_answer_has_lost_the_quadratic_form(shift, l2):
    rng, data = centred_problem(1, l2=l2)
    X, y, s = data.X + shift, data.y, rng.uniform(0.1, 3, 60)
    truth = exact_fit.exact_fit(X, y, s, l2)
    assert abs(lost(truth, truth.w.astype(float), float(truth.b))) < 1e-11
    of_w, of_a = rng.normal(size=3) * 1e-3, 1e-3
    b = truth.b - truth.problem.centre @ of_w.astype(WIDE) + of_a
    z = ((X - shift) @ truth.w.astype(float)) + float(truth.b + shift * truth.w.sum())
    moves = (X - truth.problem.centre.astype(float)) @ of_w + of_a
    wanted = s @ (moves**2 / (1 + np.exp(z)) / (1 + np.exp(-z))) / 2 + s.sum() * l2 / 2 * (of_w @ of_w)
    assert lost(truth, truth.w.astype(float) + of_w, float(b)) == pytest.approx(wanted, rel=1e-2)
    assert lost(truth, np.full(3, np.inf), 0.0) == np.inf


@pytest.mark.parametrize("size", [2.0**10, 2.0**40, 2.0**80])
def test_margins_are_exact_where_80_bits_are_too_few(size):
    _, data = centred_problem()
    X = np.round(data.X * 2**20) / 2**20
    X[:, 2] = X[:, 0] + X[:, 1]
    truth = exact_fit.exact_fit(X, data.y)
    assert lost(truth, [size, size, -size], 0.125) == pytest.approx(lost(truth, [0, 0, 0], 0.125), abs=1e-9)


def test_a_sum_of_fractions_is_rounded_once():
    X, w = np.array([[1e200, 1.0, -1e200], [0.1, -0.0, 1e-200]]), np.array([3.0, 0.1, 3.0])
    wanted = [WIDE(0.1) + WIDE(0.5), WIDE(3) * WIDE(0.1) + WIDE(0.5) + WIDE(3e-200)]
    np.testing.assert_array_equal(exact_fit.exact_margins(X, w, 0.5), np.array(wanted))


# ---------------------------------------------------------------- would the fuzz notice?


def answering(w_times=1.0, converged=True, category=None):
    """A `fit` that finds the minimum where there is one, but for a factor."""

    def fit(X, y, *, solver, **more):
        if category:
            warnings.warn("the classes may be separable", category, stacklevel=2)
        truth = exact_fit.exact_fit(X, y, **more)
        ended = converged if truth.exists else False
        return SimpleNamespace(
            w=truth.w.astype(float) * w_times,
            b=float(truth.b),
            converged=ended,
            n_iterations=1,
            message="ended: here",
        )

    return fit


SOME = [(kind, seed) for kind in KINDS if kind not in ("rare", "wide") for seed in range(2)]


def test_the_minimum_itself_is_good():
    assert {fit_fuzz.run(*case, answering()).verdict for case in SOME} == {GOOD}


def test_what_is_wrong_is_told():
    assert fit_fuzz.run("plain", 0, answering(1.01)).verdict == FAULT
    assert fit_fuzz.run("plain", 0, answering(1.01)).reason == "converged elsewhere"
    assert fit_fuzz.run("plain", 0, answering(1.01, converged=False)).verdict == HONEST
    assert fit_fuzz.run("plain", 0, answering(1.01, converged=False)).reason == "ended"
    assert fit_fuzz.run("plain", 0, answering(np.nan)).lost == np.inf
    outcome = fit_fuzz.run("plain", 0, answering(category=RuntimeWarning))
    assert (outcome.verdict, outcome.reason) == (FAULT, "warned: RuntimeWarning: the classes may be separable")

    def fit(X, y, **more):
        raise ZeroDivisionError("by 0")

    outcome = fit_fuzz.run("plain", 0, fit)
    assert (outcome.verdict, outcome.reason, outcome.lost) == (FAULT, "raised ZeroDivisionError: by 0", None)

    def says_converged(X, y, **more):
        return SimpleNamespace(w=np.ones(X.shape[1]), b=0.0, converged=True, n_iterations=1, message="")

    outcome = fit_fuzz.run("separated", 0, says_converged)
    assert (outcome.verdict, outcome.reason) == (FAULT, "converged where there is no minimum")


def test_a_warning_of_separable_classes_is_counted(monkeypatch):
    class SeparationWarning(RuntimeWarning):
        pass

    monkeypatch.setattr(jlr, "SeparationWarning", SeparationWarning, raising=False)
    outcomes = [fit_fuzz.run(kind, 0, answering(category=SeparationWarning)) for kind in ("separated", "plain")]
    assert [(outcome.verdict, outcome.warned) for outcome in outcomes] == [(GOOD, True), (GOOD, True)]
    together = fit_fuzz.summary(outcomes)["together"]
    assert (together["warned"], together["false_alarms"], together["no_minimum"]) == (1, 1, 1)


def test_a_truth_that_is_not_the_minimum_is_noticed(monkeypatch):
    right = exact_fit.exact_fit
    monkeypatch.setattr(exact_fit, "exact_fit", lambda *data: (of := right(*data))._replace(loss=of.loss + 1e-5))
    with pytest.raises(ArithmeticError, match="the truth is not the minimum"):
        fit_fuzz.run("plain", 0)


# ---------------------------------------------------------------- cases, and what is written of them


def test_cases_are_the_same_for_ever_and_of_many_forms():
    made = [(kind, seed, *fit_fuzz.make(kind, seed)) for kind in KINDS for seed in range(12)]
    for kind, seed, data, solver in made[::5]:
        again, its_solver = fit_fuzz.make(kind, seed)
        np.testing.assert_array_equal(data.X, again.X)
        np.testing.assert_array_equal(data.y, again.y)
        assert (solver, data.l2) == (its_solver, again.l2)
    assert {solver for *_, solver in made} == set(fit_fuzz.SOLVERS)
    assert {data.X.dtype.name for *_, data, _ in made} == {"float32", "float64"}
    assert {data.X.flags.c_contiguous for *_, data, _ in made if data.X.shape[1] > 1} == {True, False}
    assert all(np.isfinite(data.X).all() for *_, data, _ in made)
    assert fit_fuzz.cases(["a", "b"], 3, 2) == [("a", 2_000_000), ("b", 2_000_000), ("a", 2_000_001)]


def test_one_case_is_told_and_nothing_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit_fuzz, "RESULTS", tmp_path / "fit_fuzz.json")
    assert fit_fuzz.main(["--case", "tiny or huge:1", "--write"]) == 0
    said = capsys.readouterr().out
    assert "there is a minimum" in said
    assert "fit: converged=" in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        fit_fuzz.main(["--case", "offset"])
    assert re.search("--case: expected a kind of plain, offset, .*, got ''", capsys.readouterr().err)


def test_the_figures_and_the_page_are_written(monkeypatch, tmp_path, capsys):
    page = tmp_path / "reliability.md"
    page.write_text(fit_fuzz.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(fit_fuzz, "PAGE", page)
    monkeypatch.setattr(fit_fuzz, "RESULTS", tmp_path / "fit_fuzz.json")
    arguments = ["--kind", "plain", "--cases", "2", "--processes", "1"]
    assert fit_fuzz.main([*arguments, "--output", str(tmp_path / "same.json"), "--write"]) == 0
    assert "| plain | 2 | 2 | 0 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
    kept = json.loads(fit_fuzz.RESULTS.read_text(encoding="utf-8"))
    assert kept == json.loads((tmp_path / "same.json").read_text(encoding="utf-8"))
    assert kept["kinds"]["together"]["fits"] == 2
    written = page.read_text(encoding="utf-8")
    assert fit_fuzz.text(kept) in written
    assert fit_fuzz.main(["--from", str(fit_fuzz.RESULTS)]) == 0
    assert page.read_text(encoding="utf-8") == written


def test_the_page_shows_the_kept_figures():
    page = fit_fuzz.PAGE.read_text(encoding="utf-8")
    if not fit_fuzz.RESULTS.exists():
        assert pages.replaced(page, "reliability: fits", "Not measured yet.") == page
        return
    kept = json.loads(fit_fuzz.RESULTS.read_text(encoding="utf-8"))
    assert fit_fuzz.page_with(kept, page) == page
    assert set(kept["kinds"]) == {*KINDS, "together"}


@slow
def test_two_processes_come_to_what_one_comes_to(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert fit_fuzz.outcomes(["plain", "separated"], 30, 3, 2) == fit_fuzz.outcomes(["plain", "separated"], 30, 3)

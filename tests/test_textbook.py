"""`fit` at its default arguments, against coefficients printed in books, manuals and other programs' tests."""

import numpy as np
import pytest
import textbook

import jitlogreg as jlr

SOLVERS = ["auto", "newton", "lbfgs"]


@pytest.fixture(params=textbook.names())
def case(request):
    if textbook.needs(request.param):
        pytest.skip(f"needs {textbook.needs(request.param)}")
    return textbook.load(request.param)


def fit(case, solver):
    """What the defaults make of a case."""
    return jlr.fit(
        case.X,
        case.y,
        solver=solver,
        l2=case.l2,
        sample_weight=case.sample_weight,
        fit_intercept=case.fit_intercept,
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_printed_digit(case, solver):
    fitted = fit(case, solver)
    assert textbook.misses(case, fitted.w, fitted.b) == {}
    assert fitted.converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_printed_likelihood(case, solver):
    fitted = fit(case, solver)
    agrees_with_what_is_printed(case, fitted.loss - case.l2 / 2 * fitted.w @ fitted.w)


def test_the_data_are_right(case):
    w, b, loss = textbook.newton(case)
    # Stata has its own rounding in the thirteenth digit
    assert textbook.misses(case, w, b, tie=1e-11) == {}
    agrees_with_what_is_printed(case, loss)


def agrees_with_what_is_printed(case, loss):
    if case.deviance is not None:
        assert textbook.agrees(textbook.deviance(case, loss), case.deviance)
    if case.log_likelihood is not None:
        total = len(case.y) if case.sample_weight is None else case.sample_weight.sum()
        assert textbook.agrees(-total * loss, case.log_likelihood)


def test_a_wrong_digit_would_be_noticed():
    case = textbook.load("auto")
    w, b, _ = textbook.newton(case)
    assert textbook.misses(case, w + np.array([6e-8, 0]), b).keys() == {"weight"}
    assert textbook.misses(case, w, b - 1e-5).keys() == {"intercept"}
    assert not textbook.agrees(1.00051, "1.000")
    assert textbook.agrees(1.0005, "1.000")


def test_every_case_says_where_it_comes_from():
    cases = [textbook.load(name) for name in textbook.names() if not textbook.needs(name)]
    assert all(case.source and case.title for case in cases)
    assert len(cases) >= 22
    assert sum(case.l2 > 0 for case in cases) >= 2

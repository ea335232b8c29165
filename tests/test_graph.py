"""The computation graph: the notes' numbers, finite differences, and what a graph may look like."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jitlogreg.graph import Variable, derivatives, exp, log


def test_the_notes_example():
    a, b, c = Variable(5), Variable(3), Variable(2)
    u = b * c
    v = a + u
    J = 3 * v
    assert (u.value, v.value, J.value) == (6, 11, 33)
    dJ = derivatives(J)
    assert (dJ[J], dJ[v], dJ[a], dJ[u], dJ[b], dJ[c]) == (1, 3, 3, 3, 6, 9)


def test_logistic_regression_on_one_example():
    x1, x2, w1, w2, b, y = 1.5, -0.5, Variable(0.4), Variable(-0.8), Variable(0.1), 1.0
    z = w1 * x1 + w2 * x2 + b
    a = 1 / (1 + exp(-z))
    L = -(y * log(a) + (1 - y) * log(1 - a))
    dL = derivatives(L)
    sigma = 1 / (1 + math.exp(-1.1))
    assert z.value == pytest.approx(1.1)
    assert a.value == pytest.approx(sigma)
    assert L.value == pytest.approx(-math.log(sigma))
    assert dL[a] == pytest.approx(-y / sigma + (1 - y) / (1 - sigma))
    assert dL[z] == pytest.approx(sigma - y)
    assert dL[w1] == pytest.approx(x1 * (sigma - y))
    assert dL[w2] == pytest.approx(x2 * (sigma - y))
    assert dL[b] == pytest.approx(sigma - y)


OPERATORS = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x / y": lambda x, y: x / y,
    "-x": lambda x, y: -x,
    "exp": lambda x, y: exp(x),
    "log": lambda x, y: log(x),
    "2 + x": lambda x, y: 2 + x,
    "x + 2": lambda x, y: x + 2,
    "2 - x": lambda x, y: 2 - x,
    "x - 2": lambda x, y: x - 2,
    "2 * x": lambda x, y: 2 * x,
    "x * 2": lambda x, y: x * 2,
    "2 / x": lambda x, y: 2 / x,
    "x / 2": lambda x, y: x / 2,
    "x reused": lambda x, y: x * x * x + x / y - x,
    "all": lambda x, y: log(x * x + exp(y) / (1 + x * x)) - 3 * y / (2 + exp(-x)),
}
MODERATE = st.floats(0.1, 8) | st.floats(-8, -0.1)


@pytest.mark.parametrize("f", OPERATORS.values(), ids=OPERATORS)
@given(x=MODERATE, y=MODERATE)
def test_derivatives_equal_finite_differences(f, x, y):
    def value(x, y):
        return f(Variable(x), Variable(y)).value

    try:
        variables = Variable(x), Variable(y)
        result = derivatives(f(*variables))
        h = 1e-5
        numeric = (value(x + h, y) - value(x - h, y)) / (2 * h), (value(x, y + h) - value(x, y - h)) / (2 * h)
    except ValueError:
        assume(False)  # no logarithm there
    size = 1 + abs(value(x, y))
    # central differences: h² f'''/6 of truncation, u |f| / h of rounding; no third derivative here is beyond 10⁵
    for variable, expected in zip(variables, numeric, strict=True):
        assert result.get(variable, 0.0) == pytest.approx(expected, rel=1e-5, abs=1e-5 * size)


@pytest.mark.parametrize(
    ("f", "python"),
    [
        (lambda x: 2 - x, lambda x: 2 - x),
        (lambda x: 2 / x, lambda x: 2 / x),
        (lambda x: x - 2, lambda x: x - 2),
        (lambda x: x / 2, lambda x: x / 2),
        (exp, math.exp),
        (log, math.log),
    ],
)
def test_values_are_those_of_python(f, python):
    assert f(Variable(0.3)).value == python(0.3)


def test_a_reused_variable_gathers_what_every_use_sends():
    x = Variable(3)
    assert derivatives(x * x)[x] == 6
    assert derivatives(x + x)[x] == 2
    assert derivatives(x - x)[x] == 0
    assert derivatives(x / x)[x] == 0
    square = x * x
    assert derivatives(square * square)[x] == 4 * 3**3


def test_a_node_used_early_and_late_waits_for_both():
    x = Variable(2)
    u = x * 3
    v = exp(u * 0) + u
    J = v * u
    assert derivatives(J)[u] == pytest.approx(2 * 6 + 1)
    assert derivatives(J)[x] == pytest.approx(3 * (2 * 6 + 1))


def test_variables_of_equal_value_are_apart():
    x, y = Variable(2), Variable(2)
    dJ = derivatives(x * x * y)
    assert (dJ[x], dJ[y]) == (8, 4)


def test_variables_that_play_no_part_have_no_derivative():
    x, y = Variable(1), Variable(2)
    assert y not in derivatives(x + 1)
    assert derivatives(x) == {x: 1.0}


def test_deep_graphs_need_no_recursion():
    x = Variable(1.0)
    total = Variable(0.0)
    for _ in range(20_000):
        total = total + x
    assert derivatives(total)[x] == 20_000


def test_a_graph_with_many_paths_is_walked_once_a_node():
    x = Variable(1.0)
    doubled = x
    for _ in range(60):  # 2⁶⁰ paths
        doubled = doubled + doubled
    assert derivatives(doubled)[x] == 2.0**60


def test_derivatives_can_be_asked_for_again():
    x = Variable(3)
    J = x * x
    assert derivatives(J) == derivatives(J)


@pytest.mark.parametrize("number", [2, True, np.float32(2), np.int64(2), Fraction(2)], ids=repr)
def test_every_real_number_is_an_operand(number):
    x = Variable(3)
    assert derivatives(x * number)[x] == float(number)
    assert (number + x).value == 3 + float(number)


@pytest.mark.parametrize("operand", ["2", None, 1j, [2.0], np.ones(2)], ids=repr)
@pytest.mark.parametrize(
    "operator",
    [
        lambda x, y: x + y,
        lambda x, y: y + x,
        lambda x, y: x - y,
        lambda x, y: y - x,
        lambda x, y: x * y,
        lambda x, y: y * x,
        lambda x, y: x / y,
        lambda x, y: y / x,
        lambda x, y: exp(y),
        lambda x, y: log(y),
    ],
)
def test_other_operands_are_refused(operator, operand):
    with pytest.raises(
        TypeError, match=f"^operand: expected a Variable or a real number, got {type(operand).__name__}"
    ):
        operator(Variable(1), operand)


@pytest.mark.parametrize("value", ["2", None, 1j, [2.0], np.ones(1), np.ones(2)], ids=repr)
def test_a_variable_holds_a_real_number(value):
    with pytest.raises(TypeError, match=r"^value: expected a real number, got "):
        Variable(value)


@pytest.mark.parametrize("J", [3.0, None, "J"])
def test_derivatives_are_of_a_variable(J):
    with pytest.raises(TypeError, match=f"^J: expected a Variable, got {type(J).__name__}"):
        derivatives(J)


def test_what_has_no_value_raises():
    with pytest.raises(ZeroDivisionError):
        Variable(1) / 0
    with pytest.raises(ValueError, match=r"math domain|positive"):
        log(Variable(-1))
    with pytest.raises(ValueError, match=r"math domain|positive"):
        log(0)
    with pytest.raises(OverflowError):
        exp(Variable(1000))


def test_a_variable_shows_its_value():
    assert repr(Variable(2)) == "Variable(2.0)"

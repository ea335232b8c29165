"""A computation graph with reverse-mode derivatives: the notes' first system.

Expressions of + − × ÷, exp and log over `Variable`s build the graph as they are computed, forward, left to right;
`derivatives` walks it backward, right to left, by the chain rule.

Examples
--------
The notes' J(a, b, c) = 3 (a + b c):

>>> from jitlogreg.graph import Variable, derivatives
>>> a, b, c = Variable(5.0), Variable(3.0), Variable(2.0)
>>> u = b * c
>>> v = a + u
>>> J = 3 * v
>>> u.value, v.value, J.value
(6.0, 11.0, 33.0)
>>> dJ = derivatives(J)
>>> dJ[v], dJ[a], dJ[u], dJ[b], dJ[c]
(3.0, 3.0, 3.0, 6.0, 9.0)
"""

import math
import numbers


class Variable:
    """A node of the graph: a number, and how it came from its parents.

    Parameters
    ----------
    value : float
    parents : sequence of (Variable, float)
        What it was computed from, each with the derivative of this value in that parent's. None for an input.
    """

    __slots__ = ("parents", "value")
    __array_ufunc__ = None  # an array beside a Variable is refused, not spread into an array of nodes

    def __init__(self, value, parents=()):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"a value is of type {type(value).__qualname__}; accepted are real numbers")
        self.value = float(value)
        self.parents = tuple(parents)

    def __repr__(self):
        return f"Variable({self.value!r})"

    def __add__(self, other):
        other = _variable(other)
        return Variable(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __neg__(self):
        return Variable(-self.value, [(self, -1.0)])

    def __sub__(self, other):
        other = _variable(other)
        return Variable(self.value - other.value, [(self, 1.0), (other, -1.0)])

    def __mul__(self, other):
        other = _variable(other)
        return Variable(self.value * other.value, [(self, other.value), (other, self.value)])

    def __truediv__(self, other):
        other = _variable(other)
        quotient = self.value / other.value
        return Variable(quotient, [(self, 1 / other.value), (other, -quotient / other.value)])

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return _variable(other) - self

    def __rtruediv__(self, other):
        return _variable(other) / self


def exp(x):
    """eˣ; its derivative is itself."""
    x = _variable(x)
    value = math.exp(x.value)
    return Variable(value, [(x, value)])


def log(x):
    """The natural logarithm; its derivative is 1/x."""
    x = _variable(x)
    return Variable(math.log(x.value), [(x, 1 / x.value)])


def derivatives(J):
    """dJ/dv of every variable v that J was computed from, J itself included.

    Parameters
    ----------
    J : Variable

    Returns
    -------
    dict of Variable to float
        Called `dvar` in the notes: dJ[v] is `dv`. Variables are told apart by identity, not by value.

    Notes
    -----
    Each node passes what it has received to its parents, times its own derivative in them, once all that use it have
    passed theirs: the reverse of an order in which parents come first. Costs two flops an edge.
    """
    if not isinstance(J, Variable):
        raise TypeError(f"J is of type {type(J).__qualname__}; accepted is a Variable")
    received = {J: 1.0}
    for node in reversed(_parents_first(J)):
        for parent, local in node.parents:
            received[parent] = received.get(parent, 0.0) + received[node] * local
    return received


def _parents_first(J):
    """Every node that J rests on, each after its parents. A stack, not recursion: graphs of sums grow deep."""
    order, seen, stack = [], set(), [(J, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    return order


def _variable(x):
    if isinstance(x, Variable):
        return x
    if isinstance(x, numbers.Real):
        return Variable(x)
    raise TypeError(f"an operand is of type {type(x).__qualname__}; accepted are Variable and real numbers")

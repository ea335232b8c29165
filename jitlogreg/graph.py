"""A computation graph with reverse-mode derivatives: the notes' first system.

Expressions of + − × ÷, exp and log over `Variable`s build the graph while they are computed, forward. `derivatives`
walks it backward by the chain rule.

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
    """A node of the graph: a number, and how it was computed from its parents.

    Parameters
    ----------
    value : float
    parents : sequence of (Variable, float)
        The operands, each with the derivative of this value with respect to it. Empty for an input.
    """

    __slots__ = ("parents", "value")
    __array_ufunc__ = None  # an array operand raises TypeError instead of becoming an array of nodes

    def __init__(self, value, parents=()):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"value: expected a real number, got {type(value).__qualname__}")
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
    """dJ/dv of every variable v that J depends on, J itself included.

    Parameters
    ----------
    J : Variable

    Returns
    -------
    dict of Variable to float
        dJ[v] is the `dv` of the notes. Variables are compared by identity, not by value.

    Notes
    -----
    Nodes are visited in reverse topological order. Each adds its own derivative, times the local one, to those of its
    parents. Costs two flops per edge.
    """
    if not isinstance(J, Variable):
        raise TypeError(f"J: expected a Variable, got {type(J).__qualname__}")
    received = {J: 1.0}
    for node in reversed(_parents_first(J)):
        for parent, local in node.parents:
            received[parent] = received.get(parent, 0.0) + received[node] * local
    return received


def _parents_first(J):
    """Every node that J depends on, in topological order. A stack instead of recursion: graphs of sums are deep."""
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
    raise TypeError(f"operand: expected a Variable or a real number, got {type(x).__qualname__}")

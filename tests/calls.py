"""The public calls under one roof: made with good arguments save those that a test replaces."""

import inspect
import re

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr

CALLS = {
    f.__name__: f
    for f in (jlr.forward, jlr.log_forward, jlr.loss, jlr.gradient, jlr.loss_and_gradient, jlr.gradient_descent)
}
FORWARDS = ("forward", "log_forward")
MEANS = tuple(name for name in CALLS if name not in FORWARDS)
REQUIRED = {"learning_rate": 0.1, "n_iterations": 2}
X, Y, W = (getattr(make_data(12, 3), name) for name in ("X", "y", "w"))
# where the platform has floats wider than float64
LONG = [np.longdouble] if np.finfo(np.longdouble).max > np.finfo(np.float64).max else []
X32, W32 = X.astype(np.float32), W.astype(np.float32)


def parameters(name):
    return inspect.signature(CALLS[name]).parameters


def call(name, **arguments):
    """A call with X, Y, W where nothing else is given."""
    given_or_default = {"X": X, "y": Y, "w": W, **REQUIRED, **arguments}
    return CALLS[name](**{key: given_or_default[key] for key in parameters(name) if key in given_or_default})


def snapshot(array):
    """All memory behind an array, and how the array looks at it."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner.tobytes(), array.dtype, array.shape, array.strides, array.flags.writeable


def refuses(exception, *fragments, calls=CALLS, **arguments):
    """Every call that takes the first argument blames it, says what it expected, and leaves all arguments unchanged."""
    blamed = next(iter(arguments))
    takers = [name for name in calls if blamed in parameters(name)]
    assert takers
    for name in takers:
        arrays = [a for a in (X, Y, W, *arguments.values()) if isinstance(a, np.ndarray)]
        before = [snapshot(array) for array in arrays]
        with pytest.raises(exception) as caught:
            call(name, **arguments)
        assert type(caught.value) is exception, name
        assert re.match(rf"{blamed}(\[\d+\])?: expected .*, got ", str(caught.value)), (name, caught.value)
        for fragment in fragments:
            assert fragment in str(caught.value), (name, fragment)
        assert [snapshot(array) for array in arrays] == before, name


def read_only(array):
    array = array.view()
    array.flags.writeable = False
    return array

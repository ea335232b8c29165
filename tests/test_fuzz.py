"""Arguments of every kind, good and bad: the reference's answer, or the documented error, and nothing is changed.

A case is a call with good arguments, some of which are then made in another way: another layout, another dtype, another
type. Each way says whether it is still good, or which error it must raise. That verdict is this file's own: it asks
none of the package's checks.
"""

import functools
import re
import sys
import warnings
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
from calls import CALLS, FORWARDS, parameters, snapshot
from conftest import TARGETS, margin_bound, unit
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import jitlogreg as jlr

GOOD = None


class Subclass(np.ndarray):
    pass


class Frame:
    """Stands in for a data frame."""

    def __init__(self, array):
        self.array = array

    def to_numpy(self):
        return self.array

    __array__ = to_numpy


def sparse(array):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    return scipy_sparse.csc_matrix(np.atleast_2d(np.asarray(array, np.float64)))


def sparse_rows(array):
    """Every number stored, zeros among them, which are NaN beside an infinity as in a dense X."""
    m, n = array.shape
    return jlr.CSR(array.ravel(), np.tile(np.arange(n), m), np.arange(m + 1) * n, (m, n))


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    shifted = raw[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


def frozen(array):
    array = array.copy("K")
    array.flags.writeable = False
    return array


# ---------------------------------------------------------------- ways to make an argument

# No array any more, or none of real numbers in this machine's form
NO_ARRAY = {
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()),
    "masked": lambda a: np.ma.masked_array(a),
    "masked, one value": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 0),
    "a subclass": lambda a: a.view(Subclass),
    "a data frame": Frame,
    "sparse columns": sparse,
    "a number": lambda a: 0.5,
    "text": lambda a: "0.5",
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a.astype(complex),
    "strings": lambda a: a.astype("U5"),
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "records": lambda a: np.zeros(a.shape, [("x", "f8")]),
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
}


def bad_types(array):
    for name, make in NO_ARRAY.items():
        if name == "misaligned" and array.size == 0:
            continue  # no number lies anywhere
        yield name, (lambda make=make: make(array)), TypeError


def ways_of_x(X, w, rng):
    m, n = X.shape
    yield "as it is", lambda: X, GOOD
    yield "in F order", lambda: np.asfortranarray(X), GOOD
    yield "read-only", lambda: frozen(X), GOOD
    yield "every third row", lambda: np.repeat(X, 3, axis=0)[::3], GOOD
    yield "columns of a wider one", lambda: np.pad(X, ((0, 0), (2, 3)), constant_values=np.nan)[:, 2 : n + 2], GOOD
    yield "rows of a taller one, in F order", lambda: np.asfortranarray(np.pad(X, ((1, 2), (0, 0))))[1 : m + 1], GOOD
    yield "transposed twice", lambda: np.ascontiguousarray(X.T).T, GOOD
    yield "sparse rows", lambda: sparse_rows(X), GOOD
    yield from bad_types(X)
    yield "None", lambda: None, TypeError
    for dtype in (np.int64, np.float16, np.bool_):
        yield f"of {dtype.__name__}", lambda dtype=dtype: X.astype(dtype), TypeError
    if X.dtype == np.float32 and w.dtype == np.float32:
        yield "of float64 beside w of float32", lambda: X.astype(np.float64), TypeError
    for shape in ((m * n,), (m, n, 1), (1, m, n)):
        yield f"of {len(shape)} dimensions", lambda shape=shape: X.reshape(shape), ValueError
    yield "with a column more", lambda: np.pad(X, ((0, 0), (0, 1))), ValueError
    yield "with a row more", lambda: np.pad(X, ((0, 1), (0, 0))), (ValueError, "forward is good")
    down, across = (int(step) for step in rng.integers(-2 * n - 3, 2 * n + 4, 2))
    if rng.uniform() < 0.5:
        down, across = (down, 1) if rng.uniform() < 0.5 else (1, int(rng.integers(-2 * m - 3, 2 * m + 4)))
    yield "with any strides", lambda: strided(X, down, across), GOOD if servable(m, n, down, across) else ValueError
    for step in (slice(None, None, -1), slice(None, None, 2)):
        view = np.repeat(X, 2, axis=1)[:, step][:, :n] if step.step == 2 else X[:, ::-1]
        verdict = GOOD if view.size == 0 or n == 1 or m == 1 == n else ValueError
        if m == 1 and view.strides[1] >= 1 * X.itemsize and n > 1:
            verdict = GOOD  # one row with a stride is a column order of one row
        yield f"columns by {step.step}", lambda view=view: view, verdict


def servable(m, n, down, across):
    """One unit stride, and another that is positive and lets nothing overlap."""
    rows = (n <= 1 or across == 1) and (m <= 1 or (down >= n and down > 0))
    columns = (m <= 1 or down == 1) and (n <= 1 or (across >= m and across > 0))
    return m * n == 0 or rows or columns


def strided(X, down, across):
    """A view with these strides in numbers, of memory that holds what X does where it can."""
    m, n = X.shape
    reach = abs(down) * m + abs(across) * n + 1
    memory = np.resize(X if X.size else np.zeros(1, X.dtype), 2 * reach + 1)
    step = X.itemsize
    return as_strided(memory[reach:], (m, n), (down * step, across * step))


def ways_of_w(w, X, rng):
    yield "as it is", lambda: w, GOOD
    yield "reversed", lambda: w[::-1].copy()[::-1], GOOD
    yield "every second", lambda: np.repeat(w, 2)[::2], GOOD
    yield "of one number, again and again", lambda: np.broadcast_to(w[:1], w.shape) if w.size else w, GOOD
    yield "with a NaN", lambda: np.where(np.arange(w.size) == w.size // 2, np.nan, w).astype(w.dtype), GOOD
    yield "with an infinity", lambda: np.where(np.arange(w.size) == 0, np.inf, w).astype(w.dtype), GOOD
    yield from bad_types(w)
    yield "of integers", lambda: w.astype(np.int32), TypeError
    yield "of float16", lambda: w.astype(np.float16), TypeError
    if X.dtype == np.float64:
        yield "of float32 beside X of float64", lambda: w.astype(np.float32), TypeError
    yield "one longer", lambda: np.append(w, w.dtype.type(1)), ValueError
    yield "in three dimensions", lambda: w[:, None, None], ValueError
    yield "in three dimensions, the last its own", lambda: w[None, None], ValueError


def ways_of_y(y, w, rng):
    hard = (y > 0.5).astype(w.dtype)
    yield "as it is", lambda: y, GOOD
    yield "every second", lambda: np.repeat(y, 2)[::2], GOOD
    for dtype in (np.bool_, np.int8, np.uint64, np.float16, np.float32, np.float64):
        yield f"hard, of {dtype.__name__}", lambda dtype=dtype: hard.astype(dtype), GOOD
    yield from bad_types(y)
    yield "None", lambda: None, TypeError
    yield "one longer", lambda: np.append(y, y.dtype.type(1)), ValueError
    yield "a column", lambda: y[:, None], ValueError
    if y.size:
        at = np.arange(y.size) == rng.integers(y.size)
        yield "of -1 and 1", lambda: np.where(at, -1, 2 * hard - 1), ValueError
        yield "of integers -1 and 1", lambda: np.where(at, -1, 2 * hard - 1).astype(np.int64), ValueError
        for value in (np.nan, np.inf, -1e-9, 1.001, 2):
            yield f"with {value}", lambda value=value: np.where(at, value, y), ValueError
            yield f"with {value}, in w's dtype", lambda value=value: np.where(at, value, y).astype(w.dtype), ValueError


def ways_of_sample_weight(s, w, rng):
    yield "left out", lambda: None, GOOD
    yield "as it is", lambda: s, GOOD
    yield "backwards", lambda: s[::-1].copy()[::-1], GOOD
    for dtype in (np.bool_, np.int16, np.uint8, np.float32, np.float64):
        yield f"ones of {dtype.__name__}", lambda dtype=dtype: np.ones(s.size, dtype), GOOD
    yield from bad_types(s)
    yield "one longer", lambda: np.append(s, s.dtype.type(1)), ValueError
    yield "zeros", lambda: np.zeros_like(s), ValueError
    if s.size:
        at = np.arange(s.size) == rng.integers(s.size)
        for value in (np.nan, np.inf, -np.inf, -1e-9, -1):
            yield f"with {value}", lambda value=value: np.where(at, value, s), ValueError
            yield f"with {value}, in w's dtype", lambda value=value: np.where(at, value, s).astype(w.dtype), ValueError
        if w.dtype == np.float32:
            yield "beyond float32", lambda: np.where(at, 1e39, s.astype(np.float64)), ValueError


def ways_of_b(b, w):
    for value in (b, 0, 1, np.float32(0.5), np.int8(-2), np.inf, -np.inf, np.nan):
        yield repr(value), lambda value=value: value, GOOD
    for value in (True, None, "0.5", 1j, [0.5], np.array([0.5])):
        yield repr(value), lambda value=value: value, TypeError
    yield "10**400", lambda: 10**400, ValueError
    if w.dtype == np.float32:
        yield "1e39", lambda: 1e39, ValueError


def ways_of_l2():
    for value in (0.0, 0.5, 3, np.float32(0.25)):
        yield repr(value), lambda value=value: value, GOOD
    for value in (True, None, "1", 1j, [1.0]):
        yield repr(value), lambda value=value: value, TypeError
    for value in (-0.1, np.nan, np.inf):
        yield repr(value), lambda value=value: value, ValueError


def ways_of_out(size, w, X):
    yield "left out", lambda: None, GOOD
    yield "an array", lambda: np.full(size, 0.5, w.dtype), GOOD
    yield "in other memory", lambda: np.full(size + 3, 0.5, w.dtype)[2:-1], GOOD
    yield "of another dtype", lambda: np.full(size, 0.5, np.float32 if w.dtype == np.float64 else np.float64), TypeError
    yield "a list", lambda: [0.5] * size, TypeError
    yield "one longer", lambda: np.full(size + 1, 0.5, w.dtype), ValueError
    yield "a column", lambda: np.full((size, 1), 0.5, w.dtype), ValueError
    yield "read-only", lambda: frozen(np.full(size, 0.5, w.dtype)), ValueError
    if size > 1:
        yield "backwards", lambda: np.full(size, 0.5, w.dtype)[::-1], ValueError
        yield "every second", lambda: np.full(2 * size, 0.5, w.dtype)[::2], ValueError


# ---------------------------------------------------------------- a case


@st.composite
def cases(draw):
    name = draw(st.sampled_from(sorted(CALLS)))
    x_dtype, w_dtype = draw(st.sampled_from([("f8", "f8"), ("f4", "f4"), ("f4", "f8")]))
    m = draw(st.sampled_from([0, 1, 2, 3, 7, 8, 9, 17, 64, 65, 130]))
    n = draw(st.sampled_from([0, 1, 2, 3, 7, 8, 9, 17, 33, 130]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = (rng.normal(size=(m, n)) * 10.0 ** rng.integers(-3, 3)).astype(x_dtype)
    if draw(st.booleans()) and X.size and draw(st.booleans()):
        X[rng.integers(m), rng.integers(n)] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42]))
    w = rng.normal(size=n).astype(w_dtype)
    y, s = rng.uniform(size=m).astype(w_dtype), rng.uniform(0.1, 3, m).astype(w_dtype)
    ways = {
        "X": list(ways_of_x(X, w, rng)),
        "w": list(ways_of_w(w, X, rng)),
        "y": list(ways_of_y(y, w, rng)),
        "sample_weight": list(ways_of_sample_weight(s, w, rng)),
        "b": list(ways_of_b(0.25, w)),
        "l2": list(ways_of_l2()),
        "out": list(ways_of_out(m if name in FORWARDS else n, w, X)),
    }
    taken = [argument for argument in ways if argument in parameters(name)]
    # mostly good ones, or the first bad one would hide all others
    spoiled = draw(st.lists(st.sampled_from(taken), max_size=2, unique=True))
    arguments, told, expected = {}, {}, set()
    for argument in taken:
        good = [way for way in ways[argument] if way[2] is GOOD]
        told[argument], make, verdict = draw(st.sampled_from(ways[argument] if argument in spoiled else good))
        if isinstance(verdict, tuple):
            verdict = GOOD if name in FORWARDS and argument == "X" else verdict[0]
            if verdict is GOOD and "out" in taken:
                told[argument], make, verdict = ways["X"][0]
        with np.errstate(all="ignore"):  # NaN in another dtype
            arguments[argument] = make()
        if verdict is not GOOD:
            expected.add(verdict)
    if m == 0 and name not in FORWARDS:
        expected.add(ValueError)
    target = draw(st.sampled_from(TARGETS))
    if target == "cuda" and told["X"] == "sparse rows":
        expected.add(TypeError)
    return SimpleNamespace(name=name, arguments=arguments, told=told, expected=expected, target=target)


def check(case):
    arguments = dict(case.arguments)
    if case.name == "gradient_descent":
        arguments |= {"learning_rate": 0.1, "n_iterations": 2}
    before = {name: snapshot(value) for name, value in arguments.items() if isinstance(value, np.ndarray)}
    result = error = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a descent that is not finite
        try:
            result = CALLS[case.name](**arguments, target=case.target)
        except (TypeError, ValueError) as caught:
            error = caught
        else:
            before.pop("out", None)
        assert {name: snapshot(arguments[name]) for name in before} == before
        if error is None:
            assert not case.expected, (case.told, result)
            compare(case.name, arguments, result)
    if error is not None:
        assert type(error) in case.expected, (case.told, error)
        assert re.match(r"\w+(\[\d+\])?: expected .*, got ", str(error)), (case.told, error)


def compare(name, arguments, result):
    """With the reference's answer to the same values in plain arrays, within the bounds."""
    X, w = arguments["X"], arguments.get("w")
    X = X.toarray() if isinstance(X, jlr.CSR) else np.array(X, order="C")
    w = np.array(w) if w is not None else np.zeros(X.shape[1], X.dtype)
    plain = {key: value for key, value in arguments.items() if key not in ("X", "w", "out")}
    plain = {key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in plain.items()}
    wanted = CALLS[name](X=X, w=w, **plain, target="reference")
    with np.errstate(all="ignore"):
        margins = margin_bound(X, w, float(arguments["b"]))
    delta = float(np.max(np.where(np.isfinite(margins), margins, 0), initial=0))
    u, size = unit(w.dtype), float(np.max(np.abs(X[np.isfinite(X)]), initial=0).astype(float))
    if name in FORWARDS:
        close(result, wanted, relative=8 * u + 2 * delta, absolute=2 * delta + 1e-37)
        assert (result is arguments["out"]) or arguments["out"] is None
        return
    slack = 200 * u + 2 * delta
    if name == "gradient_descent":
        if len(result.loss_history) != len(wanted.loss_history):  # a gradient below the smallest normal number may be 0
            assert max(result.loss_history[-1], wanted.loss_history[-1]) < np.finfo(w.dtype).tiny
        steps = min(len(result.loss_history), len(wanted.loss_history))
        close(result.loss_history[:steps], wanted.loss_history[:steps], 8 * slack, 8 * slack * (1 + size) ** 2)
        close(result.w, wanted.w, 8 * slack, 8 * slack * (1 + size) ** 2)
        return
    got, right = (value if isinstance(value, tuple) else (value,) for value in (result, wanted))
    for mine, other in zip(got, right, strict=True):
        close(mine, other, slack, slack * (1 + size))
    if arguments.get("out") is not None:
        assert result.dw is arguments["out"]


def close(got, wanted, relative, absolute):
    np.testing.assert_allclose(
        np.asarray(got, np.float64), np.asarray(wanted, np.float64), rtol=relative, atol=absolute, equal_nan=True
    )


def fuzz(examples, phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink)):
    tried, served = [], []

    @hypothesis.settings(max_examples=examples, phases=phases)
    @hypothesis.given(cases())
    def run(case):
        tried.append(1)
        if not case.expected:
            served.append(1)
        check(case)

    run()
    return len(tried), len(served)


@pytest.mark.parametrize("examples", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_the_references_answer_or_the_documented_error(examples):
    tried, served = fuzz(examples)
    print(f"tried {tried} cases, of them {served} good ones")
    assert tried >= examples
    assert tried / 10 < served < tried * 9 / 10


def test_a_wrong_answer_and_a_wrong_error_are_seen(monkeypatch):
    @functools.wraps(jlr.loss)
    def wrong(**named):
        return jlr.loss(**named) * (1.001 if named["target"] == "cpu" else 1)

    @functools.wraps(jlr.forward)
    def lenient(w, **named):
        return jlr.forward(w=np.asarray(w, named["X"].dtype) if isinstance(w, list) else w, **named)

    monkeypatch.setattr(sys.modules[__name__], "TARGETS", ["cpu"])
    for name, call in (("loss", wrong), ("forward", lenient)):
        with monkeypatch.context() as changed:
            changed.setitem(CALLS, name, call)
            with pytest.raises((AssertionError, ExceptionGroup)):
                fuzz(3_000, [hypothesis.Phase.generate])

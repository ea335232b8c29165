"""The public calls of K outputs in the caller's own compiled code: the bits of Python's calls, and what is refused."""

import numpy as np
import pytest
from calls import read_only
from numba import njit, prange
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

import jitlogreg as jlr

jlr.overloads.register()  # as the entry point does where the package is installed

# Small, beyond a wave's segment, in panels of C order and of F order, of one row or column, and of none
SHAPES = [(45, 7, 3), (2_001, 28, 5), (19, 40_000, 2), (1, 5, 2), (9, 1, 9), (3, 0, 2)]


def calls_of(link):
    """Every call with a link; those of compiled code take it as a literal."""

    def every_call(X, y, w, b, sample_weight, l2, offset, dw, a):
        both = jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, link=link, offset=offset)
        into = jlr.gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, link=link, offset=offset, out=dw)
        loss = jlr.loss(X, y, w, b, sample_weight=sample_weight, l2=l2, link=link, offset=offset)
        forward = jlr.forward(X, w, b, link=link, offset=offset, out=a)
        return both, into, loss, forward, jlr.log_forward(X, w, b, link=link, offset=offset)

    return every_call


CALLS = {link: calls_of(link) for link in ("sigmoid", "softmax")}
compiled = {link: njit(function) for link, function in CALLS.items()}


def make_outputs(m, n, K, link, dtypes=(np.float64, np.float64), order="C", own=True, seed=0):
    """Arguments of a call up to `offset`: with numbers of each model's `own`, or as little as a call may have."""
    rng = np.random.default_rng([seed, m, n, K])
    X = np.asarray(rng.normal(size=(m, n)), dtypes[0], order=order)
    W = rng.normal(size=(n, K)).astype(dtypes[1])
    y = rng.uniform(size=(m, K))
    if link == "softmax":
        y = y / y.sum(axis=1, keepdims=True) if own else rng.integers(0, K, m)
    elif not own:
        y = y[:, 0].astype(dtypes[1])
    if not own:
        return X, y, W, 0.25, None, 0.5, None
    s = rng.uniform(0, 3, (m, K) if link == "sigmoid" else m).astype(dtypes[1])
    l2 = rng.uniform(size=K) if link == "sigmoid" else 0.5
    return X, y, W, rng.normal(size=K), s, l2, rng.normal(size=(m, K))


def parts(results):
    both, into, loss, a, log_a = results
    return both.loss, both.dw, both.db, into.dw, into.db, loss, a, log_a


def assert_equal_bits(function, link, *arguments):
    X, _, W, *_ = arguments
    outputs = [(np.empty(W.shape, W.dtype), np.empty((len(X), W.shape[1]), W.dtype)) for _ in range(2)]
    with jlr.use_target("cpu"), np.errstate(all="ignore"):
        expected = CALLS[link](*arguments, *outputs[0])
    with jlr.use_target("reference"):  # which compiled code does not ask
        results = function(*arguments, *outputs[1])
    for one, other in zip(parts(results), parts(expected), strict=True):
        assert type(one) is type(other)
        one, other = np.asarray(one), np.asarray(other)
        assert (one.dtype, one.shape, one.flags.c_contiguous) == (other.dtype, other.shape, True)
        assert one.tobytes() == other.tobytes()
    assert (type(results[0]), type(results[1])) == (jlr.LossAndGradient, jlr.Gradient)
    assert results[1].dw.ctypes.data == outputs[1][0].ctypes.data
    assert results[3].ctypes.data == outputs[1][1].ctypes.data


F32, F64 = np.float32, np.float64
PAIRS = {"f64/f64": (F64, F64), "f32/f32": (F32, F32), "f32/f64": (F32, F64)}


def case(name, order, own):
    """Dtypes of X and w, the order, and whether models have numbers of their own; half are slow but for float64."""
    few = name == "f64/f64" or own == (order == "C")
    slow = [] if few else pytest.mark.slow
    return pytest.param(PAIRS[name], order, own, id=f"{name}-{order}-{'own' if own else 'shared'}", marks=slow)


CASES = [case(name, order, own) for name in PAIRS for order in "CF" for own in (False, True)]


@pytest.mark.parametrize("link", CALLS)
@pytest.mark.parametrize(("dtypes", "order", "own"), CASES)
def test_the_bits_are_those_of_the_python_call(dtypes, order, own, link):
    for shape in SHAPES:
        assert_equal_bits(compiled[link], link, *make_outputs(*shape, link, dtypes, order, own))


@pytest.mark.parametrize("link", CALLS)
def test_any_view_gives_the_same(link):
    for m, n, K in ((45, 7, 3), (19, 40_000, 2)):
        X, y, W, b, s, l2, offset = make_outputs(m, n, K, link)
        wide = np.full((m + 3, 2 * K), np.nan)
        wide[2 : m + 2, ::2] = offset
        y = np.asfortranarray(y)  # as kernels read it
        views = read_only(y), read_only(W[::-1]), b[::-1], s[::-1], l2, read_only(wide[2 : m + 2, ::2])
        assert_equal_bits(compiled[link], link, X, *views)
        across = np.lib.stride_tricks.as_strided(offset, (m, K), (offset.strides[0], 0))  # all models' is the first's
        assert_equal_bits(compiled[link], link, X, y[:, ::-1], W[:, ::-1], b, s, l2, across)


@njit(parallel=True)
def models_on_threads(X, y, W, b, s, l2, offset, a):
    both = jlr.loss_and_gradient(X, y, W, b, sample_weight=s, l2=l2, offset=offset)
    return both, jlr.forward(X, W, b, offset=offset, out=a)


@njit(parallel=True)
def classes_on_threads(X, y, W, b, s, l2, offset, a):
    both = jlr.loss_and_gradient(X, y, W, b, sample_weight=s, l2=l2, link="softmax", offset=offset)
    return both, jlr.forward(X, W, b, link="softmax", offset=offset, out=a)


@pytest.mark.parametrize(("link", "function"), [("sigmoid", models_on_threads), ("softmax", classes_on_threads)])
@pytest.mark.parametrize("order", ["C", pytest.param("F", marks=pytest.mark.slow)])
def test_on_threads_the_bits_are_the_same(link, function, order):
    for m, n, K in ((40_001, 28, 3), *SHAPES):
        arguments = make_outputs(m, n, K, link, order=order)
        (both, a), out = function(*arguments, np.empty((m, K))), np.empty((m, K))
        with jlr.use_target("cpu"):
            expected, _ = function.py_func(*arguments, out)
        assert a.tobytes() == out.tobytes()
        for one, other in zip(both, expected, strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert all("do_scheduling" in text for text in function.inspect_llvm().values())


def test_a_penalty_of_many_classes_and_of_some_models():
    # a sum of more than 128 squares is one of halves; a penalty of one model takes part in all means
    assert_equal_bits(compiled["softmax"], "softmax", *make_outputs(9, 3, 300, "softmax"))
    X, y, W, b, s, _, offset = make_outputs(9, 3, 300, "sigmoid")
    for most in (0.0, 1.0):
        W[1, 0], X[:, 1] = 1e200, 0
        assert_equal_bits(compiled["sigmoid"], "sigmoid", X, y, W, b, s, np.linspace(0, most, 300), offset)


def test_infinities_and_nan_are_computed_with():
    for link, function in compiled.items():
        X, y, W, b, s, l2, offset = make_outputs(9, 3, 3, link)
        X[0, 0], X[1, 1], offset[2, 0], offset[3, 1] = np.inf, np.nan, -np.inf, np.nan
        outputs = np.empty((3, 3)), np.empty((9, 3))
        with jlr.use_target("cpu"), np.errstate(all="ignore"):
            expected = parts(CALLS[link](X, y, W, b, s, l2, offset, *outputs))
        np.testing.assert_equal(parts(function(X, y, W, b, s, l2, offset, *outputs)), expected)


@njit
def with_labels(X, y, w, b, sample_weight, l2, offset):
    return jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, offset=offset)


@njit
def with_classes(X, y, w, b, sample_weight, l2, offset):
    return jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, link="softmax", offset=offset)


# a caller is compiled for each
@pytest.mark.parametrize(
    ("dtype", "w_dtype"),
    [
        *(("uint64", "float32"), ("float64", "float32"), ("float32", "float64"), ("bool", "float64")),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("int8", "float32"), ("uint64", "float64"))),
    ],
)
def test_other_dtypes(dtype, w_dtype):
    X, _, W, _, _, _, _ = make_outputs(45, 7, 2, "sigmoid", (w_dtype, w_dtype))
    y = np.random.default_rng(0).uniform(size=(45, 2)) < 0.5
    y[:, 1] = ~y[:, 0]
    y, s = y.astype(dtype), np.arange(90).reshape(45, 2).astype(dtype)
    numbers = np.array([1, 3]).astype(dtype if dtype != "bool" else "int64")
    if dtype == "uint64":
        s += np.uint64(2**60 + 2**36 + 1)  # rounded to float32 by way of float64 it would become another number
        numbers = numbers + np.uint64(2**40)
    labels = y[:, 1].astype("int8" if y.dtype.kind == "f" else dtype)
    for function, arguments in (
        (with_labels, (X, y, W, numbers, s, numbers, y)),
        (with_classes, (X, y, W, numbers, s[:, 0], 2, y)),
        (with_classes, (X, labels, W, numbers, s[:, 0], 2, y)),
    ):
        with jlr.use_target("cpu"):
            np.testing.assert_equal(function(*arguments), function.py_func(*arguments))


# ---------------------------------------------------------------- in loops


@njit(parallel=True)
def losses_of_blocks(X, y, w, size, out):
    for k in prange(len(out)):
        rows = slice(k * size, (k + 1) * size)
        out[k] = jlr.loss(X[rows].copy(), y[rows].copy(), w * 1.0)  # of copies that nothing else holds


@njit(parallel=True)
def gradients_of_classes(X, y, w, size, out):
    for k in prange(len(out)):
        rows = slice(k * size, (k + 1) * size)
        jlr.gradient(X[rows], y[rows], w, link="softmax", out=out[k])


@pytest.mark.parametrize("shape", [(64 * 97, 28, 3), (64, 33_000, 2)], ids=["rows", "panels"])
def test_within_a_loop_on_threads(shape):
    X, y, W, *_ = make_outputs(*shape, "sigmoid")
    classes = y.argmax(axis=1)
    losses, gradients = np.empty((4, shape[2])), np.empty((4, *W.shape))
    losses_of_blocks(X, y, W, shape[0] // 4, losses)
    gradients_of_classes(X, classes, W, shape[0] // 4, gradients)
    for k, rows in enumerate(np.split(np.arange(shape[0]), 4)):
        assert losses[k].tobytes() == jlr.loss(X[rows], y[rows], W, target="cpu").tobytes()
        dw = jlr.gradient(X[rows], classes[rows], W, link="softmax", target="cpu").dw
        assert gradients[k].tobytes() == dw.tobytes()


@njit
def descent(X, y, W, steps):
    b = np.zeros(W.shape[1])
    for _ in range(steps):
        _, dw, db = jlr.loss_and_gradient(X, y, W, b, l2=0.1, link="softmax")
        W, b = W - 0.5 * dw, b - 0.5 * db
    return W


@njit(parallel=True)
def of_temporary_arrays(X, y, W, s):
    dw = jlr.gradient(X * 1.0, y * 1.0, W * 1.0, W[0] * 1.0, sample_weight=s * 1.0, l2=W[1] ** 2, offset=y * 0.5).dw
    return dw * 2.0


@pytest.fixture
def count_allocations():
    _nrt_python.memsys_enable_stats()
    yield
    _nrt_python.memsys_disable_stats()


@pytest.mark.usefixtures("count_allocations")
def test_memory_is_given_back_and_not_before():
    X, y, W, _, s, _, _ = make_outputs(3_001, 28, 3, "sigmoid")
    results = []
    for function, arguments in ((descent, (X, y.argmax(axis=1), W, 3)), (of_temporary_arrays, (X, y, W, s))):
        function(*arguments)
        before = rtsys.get_allocation_stats()
        results.append(function(*arguments))
        after = rtsys.get_allocation_stats()
        assert after.alloc - before.alloc == after.free - before.free + 1, "the one array of the result is left"
    with jlr.use_target("cpu"):
        assert results[0].tobytes() == descent.py_func(X, y.argmax(axis=1), W, 3).tobytes()
        assert results[1].tobytes() == of_temporary_arrays.py_func(X, y, W, s).tobytes()


# ---------------------------------------------------------------- what is refused


@njit
def sigmoid(X, y, w, b=0.0, sample_weight=None, l2=0.0, offset=None, out=None):
    return jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, offset=offset, out=out)


@njit
def softmax(X, y, w, b=0.0, sample_weight=None, l2=0.0, offset=None, out=None):
    return jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, link="softmax", offset=offset, out=out)


LINKS = {"sigmoid": sigmoid, "softmax": softmax}


def good(link, dtype=np.float64):
    y = np.ones((4, 2), dtype) if link == "sigmoid" else np.array([0, 1, 1, 0])
    return {"X": np.ones((4, 3), dtype), "y": y, "w": np.ones((3, 2), dtype)}


@pytest.mark.parametrize(
    ("link", "name", "value"),
    [
        ("sigmoid", "w", np.ones((3, 2), np.float32)),
        ("sigmoid", "w", np.ones((3, 2, 1))),
        ("sigmoid", "y", np.ones((4, 2, 1))),
        ("sigmoid", "y", np.ones((4, 2), complex)),
        ("sigmoid", "b", np.ones((1, 2))),
        ("sigmoid", "b", np.ones(2, bool)),
        ("sigmoid", "l2", np.ones(2, complex)),
        ("sigmoid", "offset", np.ones((4, 2, 1))),
        ("sigmoid", "out", np.ones(3)),
        ("sigmoid", "out", np.ones((3, 2), np.float32)),
        ("softmax", "y", np.ones(4)),
        ("softmax", "sample_weight", np.ones((4, 2))),
        ("softmax", "l2", np.ones(2)),
        ("softmax", "w", np.ones(3)),
    ],
)
def test_types_are_refused_when_the_caller_is_compiled(link, name, value):
    blamed = "link" if np.ndim(value) == 1 and name == "w" else name
    with pytest.raises(TypingError, match=f"{blamed}: expected .*, got "):
        LINKS[link](**good(link) | {name: value})


def test_a_link_is_a_literal():
    X, W = np.ones((2, 1)), np.ones((1, 2))
    said = "link: expected the literal 'sigmoid' or 'softmax' in compiled code, got "
    with pytest.raises(TypingError, match=said + "'probit'"):
        njit(lambda X, w: jlr.forward(X, w, link="probit"))(X, W)
    with pytest.raises(TypingError, match=said + "a value of type unicode_type"):
        njit(lambda X, w, link: jlr.forward(X, w, link=link))(X, W, "softmax")


MEMORY = np.ones(60)
SHARED = MEMORY[6:12].reshape(3, 2)


@pytest.mark.parametrize(
    ("link", "message", "changes"),
    [
        ("sigmoid", "X: expected a unit stride", {"X": np.ones((8, 6))[::2, ::2]}),
        ("sigmoid", "X: expected at least one row", {"X": np.ones((0, 3)), "y": np.ones((0, 2))}),
        ("sigmoid", r"w: expected shape \(n, K\)", {"w": np.ones((4, 2))}),
        ("sigmoid", "w: expected at least 1 column", {"w": np.ones((3, 0)), "y": np.ones(4)}),
        ("softmax", "w: expected at least 1 column, or with link='softmax' 2", {"w": np.ones((3, 1))}),
        ("sigmoid", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.ones((4, 3))}),
        ("sigmoid", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.ones((4, 1))}),
        ("sigmoid", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.ones((4, 0))}),
        ("sigmoid", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.ones(3)}),
        ("sigmoid", "y: expected labels from 0 to 1", {"y": np.array([[0, 1], [1, 1.5], [0, 0], [0, 1]])}),
        ("sigmoid", "y: expected labels from 0 to 1", {"y": np.array([[0, 1], [1, 2], [0, 0], [0, 1]])}),
        ("softmax", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.zeros(3, int)}),
        ("softmax", r"y: expected shape \(m,\) or \(m, K\)", {"y": np.ones((4, 3)) / 3}),
        ("softmax", "y: expected classes from 0 to K - 1", {"y": np.array([0, 1, 2, 0])}),
        ("softmax", "y: expected classes from 0 to K - 1", {"y": np.array([0, 1, -1, 0])}),
        ("softmax", "y: expected classes from 0 to K - 1", {"y": np.array([0, 1, 2**63, 0], np.uint64)}),
        ("softmax", "y: expected probabilities", {"y": np.full((4, 2), 0.5 + 1e-8)}),
        ("softmax", "y: expected probabilities", {"y": np.full((4, 2), 0.5 + 1e-6, np.float32)}),
        ("softmax", "y: expected probabilities", {"y": np.array([[0.5, 0.5]] * 3 + [[1.5, -0.5]])}),
        ("softmax", "y: expected probabilities", {"y": np.array([[0.5, 0.5]] * 3 + [[1.0, np.nan]])}),
        ("softmax", "y: expected probabilities", {"y": np.ones((4, 2), bool)}),
        ("sigmoid", r"b: expected shape \(K,\)", {"b": np.ones(3)}),
        ("sigmoid", r"l2: expected a number or an array of shape \(K,\)", {"l2": np.ones(3)}),
        ("sigmoid", "l2: expected a finite number of at least 0", {"l2": np.array([0.5, -1])}),
        ("softmax", "l2: expected a finite number of at least 0", {"l2": np.nan}),
        ("sigmoid", r"sample_weight: expected shape \(m,\), or of .* \(m, K\)", {"sample_weight": np.ones((4, 3))}),
        ("softmax", r"sample_weight: expected shape \(m,\)", {"sample_weight": np.ones(3)}),
        ("sigmoid", "sample_weight: expected finite weights", {"sample_weight": np.array([[1, 1]] * 3 + [[1, -1.0]])}),
        ("softmax", "sample_weight: expected finite weights", {"sample_weight": np.array([1, 1, np.inf, 1])}),
        ("sigmoid", "sample_weight: expected a positive and finite", {"sample_weight": np.ones((4, 1)) * [1.0, 0]}),
        ("softmax", "sample_weight: expected a positive and finite sum", {"sample_weight": np.zeros(4)}),
        # labels are checked before sums of weights are
        (
            "sigmoid",
            "y: expected labels",
            {"y": np.array([[1, 1]] * 3 + [[1, 1.5]]), "sample_weight": np.ones((4, 1)) * [0, 1.0]},
        ),
        ("sigmoid", r"offset: expected shape \(m,\) or \(m, K\)", {"offset": np.ones((4, 3))}),
        ("softmax", r"offset: expected shape \(m,\) or \(m, K\)", {"offset": np.ones(5)}),
        ("sigmoid", "out: expected the shape of the result", {"out": np.ones((2, 3))}),
        ("sigmoid", "out: expected a contiguous array", {"out": np.ones((2, 3)).T}),
        ("sigmoid", "out: expected a contiguous array", {"out": np.ones((3, 4))[:, ::2]}),
        ("sigmoid", "out: expected .* no memory", {"out": SHARED, "X": MEMORY[:12].reshape(4, 3)}),
        ("sigmoid", "out: expected .* no memory", {"out": SHARED, "w": MEMORY[11:35].reshape(3, 8)[:, :2]}),
        ("sigmoid", "out: expected .* no memory", {"out": SHARED, "w": MEMORY[2:8].reshape(3, 2)[::-1, ::-1]}),
        ("sigmoid", "out: expected .* no memory", {"out": SHARED, "y": MEMORY[:16].reshape(2, 8)[:, 1::2].T}),
        ("sigmoid", "out: expected .* no memory", {"out": SHARED, "sample_weight": MEMORY[8:16].reshape(4, 2)}),
        ("softmax", "out: expected .* no memory", {"out": SHARED, "offset": MEMORY[4:12].reshape(4, 2)}),
    ],
)
def test_values_are_refused_when_it_runs(link, message, changes):
    out = changes.setdefault("out", np.full((3, 2), 0.5))
    before = [(array, array.copy()) for array in changes.values() if isinstance(array, np.ndarray)]
    arguments = good(link) | changes
    if arguments["w"].shape != out.shape and "out" not in message:
        out = arguments["out"] = None
    with pytest.raises((ValueError, TypeError), match=r"^\w+(\[.*\])?: expected .*, got "), jlr.use_target("cpu"):
        LINKS[link].py_func(**arguments)
    with pytest.raises(ValueError, match=f"^{message}.*, got "):
        LINKS[link](**arguments)
    for array, copy in before:
        np.testing.assert_array_equal(array, copy)


def test_out_between_the_numbers_of_an_input_is_taken():
    memory = np.full((12, 20), 0.25)
    arguments = good("sigmoid") | {"w": memory[:3, ::8][:, :2], "y": memory[:4, 1::8][:, :2]}
    out = memory.reshape(-1)[2:8].reshape(3, 2)
    assert sigmoid(**arguments, out=out).dw.tolist() == out.tolist()
    assert (memory.reshape(-1)[8:] == 0.25).all()


def test_nothing_is_written_where_a_later_model_is_refused():
    X, y, W, *_ = make_outputs(4, 40_000, 2, "sigmoid")  # in panels: one model after another
    y[3, 1] = 2
    out = np.zeros(W.shape)
    with pytest.raises(ValueError, match="y: expected labels from 0 to 1"):
        sigmoid(X, y, W, out=out)
    assert not out.any()


def test_what_float32_cannot_hold_is_refused():
    for link, function in LINKS.items():
        for value in (2.0**128 - 2.0**103, -1e39):
            with pytest.raises(ValueError, match=r"b: expected a number within float32.*, got one beyond it"):
                function(**good(link, np.float32), b=np.array([0, value]), offset=np.zeros((4, 2)))
            offset = np.array([[0, 0], [0, value], [0, 0], [0, 0]])
            with pytest.raises(ValueError, match=r"offset: expected numbers within float32.*, got a value beyond it"):
                function(**good(link, np.float32), b=np.zeros(2), offset=offset)
    X, W, beyond = np.ones((4, 2_100), np.float32, order="F"), np.ones((2_100, 2), np.float32), np.full((4, 2), 1e39)
    out = np.zeros((4, 2), np.float32)
    with pytest.raises(ValueError, match="offset: expected numbers within float32"):
        njit(lambda X, w, offset, out: jlr.forward(X, w, offset=offset, out=out))(X, W, beyond, out)
    assert not out.any()

"""Bad input is refused with a message that helps; good input is taken as it is; neither is changed."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
from conftest import make_data, margin_bound
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import jitlogreg as jlr
from jitlogreg import checks
from jitlogreg.targets.layout import layout

pytestmark = pytest.mark.usefixtures("target")

CALLS = {
    f.__name__: f
    for f in (jlr.forward, jlr.log_forward, jlr.loss, jlr.gradient, jlr.loss_and_gradient, jlr.gradient_descent)
}
FORWARDS = ("forward", "log_forward")
MEANS = tuple(name for name in CALLS if name not in FORWARDS)
REQUIRED = {"learning_rate": 0.1, "n_iterations": 2}
X, Y, W = (getattr(make_data(12, 3), name) for name in ("X", "y", "w"))
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
    memory = as_strided(owner, owner.shape, owner.strides, writeable=False) if owner.dtype.hasobject else owner
    return memory.tobytes(), array.dtype, array.shape, array.strides, array.flags.writeable


def refuses(exception, *fragments, calls=CALLS, **arguments):
    """Every call that takes the first argument raises, says these things of it, and leaves all arguments unchanged."""
    blamed = next(iter(arguments))
    takers = [name for name in calls if blamed in parameters(name)]
    assert takers
    for name in takers:
        arrays = [a for a in (X, Y, W, *arguments.values()) if isinstance(a, np.ndarray)]
        before = [snapshot(array) for array in arrays]
        with pytest.raises(exception) as caught:
            call(name, **arguments)
        assert type(caught.value) is exception, name
        for fragment in (blamed, "accepted", *fragments):
            assert fragment in str(caught.value), (name, fragment)
        assert [snapshot(array) for array in arrays] == before, name


# ---------------------------------------------------------------- types


class Table:
    """Stands in for a data frame."""

    def to_numpy(self):
        raise AssertionError("converted behind the caller's back")


class Sparse:
    """Stands in for a sparse matrix."""

    def toarray(self):
        raise AssertionError("converted behind the caller's back")


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize("argument", ["X", "y", "w", "sample_weight", "out"])
@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda a: a.tolist(), ["list", "np.asarray({})"]),
        (lambda a: tuple(a.tolist()), ["tuple", "np.asarray({})"]),
        (lambda a: np.ma.masked_array(a, a > 0), ["MaskedArray", "{}.filled(value)"]),
        (lambda a: np.ma.masked_array(a), ["MaskedArray", "{}.filled(value)"]),
        (lambda a: a.view(np.matrix), ["matrix", "np.asarray({})"]),
        (lambda a: a.view(Subclass), ["Subclass", "np.asarray({})"]),
        (lambda a: Sparse(), ["Sparse", "{}.toarray()"]),
        (lambda a: Table(), ["Table", "{}.to_numpy()"]),
        (lambda a: memoryview(a), ["memoryview", "numpy.ndarray"]),
        (lambda a: "0.5", ["str", "numpy.ndarray"]),
        (lambda a: 0.5, ["float", "numpy.ndarray"]),
        (lambda a: np.float64(0.5), ["numpy.float64", "numpy.ndarray"]),
    ],
)
def test_only_ndarrays_are_arrays(argument, make, fragments):
    array = {"X": X, "y": Y, "w": W, "sample_weight": Y, "out": np.zeros(12)}[argument]
    refuses(TypeError, *(fragment.format(argument) for fragment in fragments), **{argument: make(array)})


def test_sparse_matrices_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        refuses(TypeError, kind.__name__, "X.toarray()", X=kind(X))


@pytest.mark.parametrize("argument", ["X", "y"])
def test_none_is_no_array(argument):
    refuses(TypeError, "None", "numpy.ndarray", **{argument: None})


def test_none_is_no_weight_vector():
    refuses(TypeError, "None", "numpy.ndarray", w=None, calls=[name for name in CALLS if name != "gradient_descent"])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float16, np.longdouble])
def test_x_of_another_number_type_is_refused(dtype):
    refuses(TypeError, str(np.dtype(dtype)), "float32 and float64", X=X.astype(dtype))


@pytest.mark.parametrize("argument", ["X", "y", "w", "sample_weight", "out"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, object, "U3", "M8[s]"])
def test_what_is_not_a_real_number_is_refused(argument, dtype):
    array = np.zeros((12, 3) if argument == "X" else 3 if argument == "w" else 12, dtype)
    refuses(TypeError, str(array.dtype), "real numbers", **{argument: array})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.longdouble, np.int64, np.bool_])
def test_w_of_another_dtype_beside_float64_is_refused(dtype):
    refuses(TypeError, str(np.dtype(dtype)), "X of float64", "is float64", w=W.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, np.int32])
def test_w_of_another_dtype_beside_float32_is_refused(dtype):
    refuses(TypeError, str(np.dtype(dtype)), "X of float32", "float32 or float64", w=W.astype(dtype), X=X32)


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    shifted = raw[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


@pytest.mark.parametrize("argument", ["X", "y", "w", "sample_weight", "out"])
@pytest.mark.parametrize("spoil", [byte_swapped, misaligned])
def test_bytes_in_another_order_or_place_are_refused(argument, spoil):
    array = {"X": X, "y": Y, "w": W, "sample_weight": Y, "out": np.zeros(12)}[argument]
    refuses(TypeError, "byte-swapped or misaligned", f"{argument}.astype('float64')", **{argument: spoil(array)})


def test_rows_that_start_off_the_number_size_are_refused():
    records = np.zeros(12, [("x", np.float32, 3), ("flag", np.uint8)])
    refuses(TypeError, "misaligned", X=records["x"], w=W32)


# ---------------------------------------------------------------- scalars


@pytest.mark.parametrize("argument", ["b", "l2", "learning_rate", "tolerance"])
@pytest.mark.parametrize(
    "value",
    [True, np.True_, 1j, np.complex64(1), None, "0.5", [0.5], np.array(0.5), np.array([0.5])],
    ids=repr,
)
def test_only_real_numbers_are_scalars(argument, value):
    kind = "None" if value is None else type(value).__name__
    refuses(TypeError, kind, "real number", **{argument: value})


@pytest.mark.parametrize("b", [1, np.int8(1), np.float16(1), np.float32(1), np.longdouble(1), Fraction(1)], ids=repr)
def test_every_real_number_is_an_intercept(b):
    np.testing.assert_array_equal(call("forward", b=b), call("forward", b=1.0))


def test_the_intercept_is_rounded_to_the_dtype_of_w():
    b = 1 + 2.0**-30
    np.testing.assert_array_equal(call("forward", X=X32, w=W32, b=b), call("forward", X=X32, w=W32, b=1.0))
    assert (call("forward", X=X32, b=b) != call("forward", X=X32, b=1.0)).any()


@pytest.mark.parametrize("b", [1e39, -1e39, 10**400, np.longdouble("1e4000")], ids=repr)
def test_an_intercept_that_overflows_float32_is_refused(b):
    refuses(ValueError, "float32", b=b, X=X32, w=W32)


@pytest.mark.parametrize(
    "b", [10**400, np.longdouble("-1e4000"), Fraction(10**400)], ids=["int", "longdouble", "Fraction"]
)
def test_an_intercept_that_overflows_float64_is_refused(b):
    refuses(ValueError, "float64", b=b)


def test_an_intercept_that_rounds_to_the_largest_float32_is_taken():
    assert checks.intercept(3.4028235e38, np.dtype(np.float32)) == np.finfo(np.float32).max


@pytest.mark.parametrize("argument", ["l2", "learning_rate", "tolerance"])
@pytest.mark.parametrize("value", [-1e-300, -1, math.nan, math.inf, -math.inf, 10**400])
def test_negative_and_nonfinite_settings_are_refused(argument, value):
    refuses(ValueError, "at least 0" if value != 10**400 else "float64", **{argument: value})


def test_a_learning_rate_that_overflows_float32_is_refused():
    refuses(ValueError, "float32", learning_rate=1e39, X=X32, w=W32)


@pytest.mark.parametrize("n_iterations", [1.0, True, np.True_, "3", None, np.array(3)], ids=repr)
def test_a_number_of_iterations_is_an_integer(n_iterations):
    refuses(TypeError, "integer", n_iterations=n_iterations)


def test_a_negative_number_of_iterations_is_refused():
    refuses(ValueError, "-1", "at least 0", n_iterations=-1)


@pytest.mark.parametrize("callback", [True, 3, "print"])
def test_a_callback_can_be_called(callback):
    refuses(TypeError, type(callback).__name__, callback=callback)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize("shape", [(), (3,), (12, 3, 1), (1, 12, 3)])
def test_x_has_two_dimensions(shape):
    refuses(ValueError, str(shape), "(m, n)", X=np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 1), (1, 3), (0,)])
def test_w_has_one_number_a_column(shape):
    refuses(ValueError, str(shape), "(3,)", w=np.zeros(shape))


@pytest.mark.parametrize("argument", ["y", "sample_weight"])
@pytest.mark.parametrize("shape", [(), (1,), (11,), (13,), (12, 1), (1, 12), (0,)])
def test_labels_and_weights_have_one_number_a_row(argument, shape):
    refuses(ValueError, str(shape), "(12,)", **{argument: np.ones(shape)})


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_over_no_examples_is_refused(name):
    refuses(ValueError, "(0, 3)", "row", X=np.zeros((0, 3)), y=np.zeros(0), calls=[name])


@pytest.mark.parametrize("name", FORWARDS)
def test_no_examples_have_no_probabilities(name, dtypes):
    result = call(name, X=np.zeros((0, 3), dtypes[0]), w=np.zeros(3, dtypes[1]))
    assert result.shape == (0,)
    assert result.dtype == dtypes[1]


def test_without_features_the_margin_is_the_intercept(dtypes, order):
    empty = np.zeros((12, 0), dtypes[0], order=order)
    nothing = np.zeros(0, dtypes[1])
    a = 1 / (1 + math.exp(-0.5))
    np.testing.assert_allclose(call("forward", X=empty, w=nothing, b=0.5), np.full(12, a), rtol=1e-6)
    result = call("loss_and_gradient", X=empty, w=nothing, b=0.5)
    assert result.dw.shape == (0,)
    assert result.db == pytest.approx(a - Y.mean(), rel=1e-6)
    assert result.loss == pytest.approx(np.mean(np.where(Y, -np.log(a), -np.log(1 - a))), rel=1e-6)
    assert call("gradient_descent", X=empty, w=nothing).n_iterations == 2


# ---------------------------------------------------------------- strides

WIDE = np.arange(24.0 * 12).reshape(24, 12)


@pytest.mark.parametrize(
    "view",
    [
        WIDE[::-1],
        WIDE[:, ::-1],
        WIDE[::-1, ::-1],
        WIDE[:, ::2],
        WIDE[::2, ::2],
        WIDE.T[:, ::-1],
        WIDE.T[::2],
        np.broadcast_to(WIDE[:1], (24, 12)),
        np.broadcast_to(WIDE[:, :1], (24, 12)),
        as_strided(WIDE, (10, 5), (8, 8)),
        as_strided(WIDE, (10, 5), (32, 8)),
        as_strided(WIDE, (10, 5), (8, 72)),
        as_strided(WIDE, (10, 5), (24, 16)),
    ],
    ids=lambda view: f"{view.shape} {view.strides}",
)
def test_strides_without_a_unit_or_with_an_overlap_are_refused(view):
    m, n = view.shape
    refuses(ValueError, "strides", str(view.strides), "np.ascontiguousarray(X)", X=view, y=np.ones(m), w=np.ones(n))


def same_as_a_copy(view, w):
    copy, seed = np.array(view), view.tobytes()
    a, expected = jlr.forward(view, w), jlr.forward(copy, w)
    assert np.all(np.abs(a - expected) <= margin_bound(copy, w) + 4 * np.finfo(w.dtype).eps)
    y = np.ones(len(view))
    if len(view):
        result, expected = jlr.loss_and_gradient(view, y, w), jlr.loss_and_gradient(copy, y, w)
        np.testing.assert_allclose(result.dw, expected.dw, rtol=1e-5, atol=1e-5)
        assert result.loss == pytest.approx(expected.loss, rel=1e-5)
    assert view.tobytes() == seed


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "cut",
    [
        lambda a: a[:, 1:9],
        lambda a: a[10:90],
        lambda a: a[::2],
        lambda a: a[3::5, 2:],
        lambda a: a.T,
        lambda a: a.T[1:9],
        lambda a: a.T[:, ::3],
        lambda a: np.asfortranarray(a)[10:20, ::2],
        lambda a: a[:1],
        lambda a: a[:1, ::2],
        lambda a: a[7:8].T,
        lambda a: a[:, 3:4],
        lambda a: a[::3, 3:4],
        lambda a: a[:1, :1],
        lambda a: a[:0],
        lambda a: a[:, :0],
        lambda a: as_strided(a, (1, 4), (-8, a.itemsize)),
        lambda a: as_strided(a, (4, 1), (a.itemsize, 3)),
    ],
)
def test_views_are_taken_as_they_are(cut, dtype):
    whole = np.random.default_rng(1).normal(size=(100, 12)).astype(dtype)
    view = cut(whole)
    for array in (view, read_only(view)):
        same_as_a_copy(array, np.linspace(-1, 1, view.shape[1]).astype(dtype))


def read_only(array):
    array = array.view()
    array.flags.writeable = False
    return array


def test_read_only_inputs_are_taken():
    for name in CALLS:
        expected = call(name, sample_weight=Y + 1)
        frozen = {"X": read_only(X), "y": read_only(Y), "w": read_only(W), "sample_weight": read_only(Y + 1)}
        np.testing.assert_equal(call(name, **frozen), expected)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_maps_are_taken(tmp_path, mode):
    X.tofile(tmp_path / "X")
    Y.tofile(tmp_path / "y")
    mapped = np.memmap(tmp_path / "X", X.dtype, mode, shape=X.shape)
    labels = np.memmap(tmp_path / "y", Y.dtype, mode)
    for name in CALLS:
        np.testing.assert_equal(call(name, X=mapped, y=labels), call(name))
        np.testing.assert_equal(call(name, X=mapped[2:7], y=labels[2:7]), call(name, X=X[2:7], y=Y[2:7]))


def test_strided_vectors_are_taken():
    def spaced(vector):
        return np.repeat(vector, 3)[::3]

    def reverse(vector):
        return vector[::-1].copy()[::-1]

    for name in CALLS:
        expected = call(name, sample_weight=Y + 1)
        for view in (spaced, reverse):
            np.testing.assert_equal(call(name, y=view(Y), w=view(W), sample_weight=view(Y + 1)), expected)


@given(
    m=st.integers(0, 5),
    n=st.integers(0, 5),
    down=st.integers(-12, 12),
    across=st.integers(-12, 12),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_any_view_equals_its_copy_or_is_refused_for_its_strides(m, n, down, across, dtype):
    memory = np.random.default_rng(2).normal(size=200).astype(dtype)
    step = memory.itemsize
    start = 100  # the farthest element lies 4 · 12 + 4 · 12 from it, on either side
    view = as_strided(memory[start:], (m, n), (down * step, across * step))
    rows = (n <= 1 or across == 1) and (m <= 1 or (down >= n and down > 0))
    columns = (m <= 1 or down == 1) and (n <= 1 or (across >= m and across > 0))
    if rows or columns:
        same_as_a_copy(view, np.linspace(-1, 1, n).astype(dtype))
        kind, leading = layout(view)
        flat = memory[start:]
        for i in range(m):
            for j in range(n):
                assert flat[i * leading + j if kind == "C" else j * leading + i] == view[i, j]
    elif m * n > 0:
        with pytest.raises(ValueError, match="strides"):
            jlr.forward(view, np.ones(n, dtype))


# ---------------------------------------------------------------- labels and weights


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.longdouble])
@pytest.mark.parametrize("value", [-0.25, 1.5, math.nan, math.inf, -math.inf])
def test_labels_outside_the_unit_interval_are_refused(dtype, value, dtypes):
    y = Y.astype(dtype)
    y[[7, 9]] = value
    refuses(ValueError, f"y[7] is {y[7]!s}", "from 0 to 1", y=y, X=X.astype(dtypes[0]), w=W.astype(dtypes[1]))


@pytest.mark.parametrize(("dtype", "value"), [(np.int64, 2), (np.int64, -1), (np.int8, -128), (np.uint8, 255)])
def test_integer_labels_other_than_0_and_1_are_refused(dtype, value):
    y = Y.astype(dtype)
    y[0] = value
    refuses(ValueError, f"y[0] is {value}", "from 0 to 1", y=y)


@pytest.mark.parametrize("value", [1 + 1e-12, -1e-50])
def test_labels_are_judged_before_they_are_rounded(value):
    y = Y.copy()
    y[11] = value
    refuses(ValueError, f"y[11] is {value}", y=y, X=X32, w=W32)


@pytest.mark.parametrize("value", [np.nextafter(1, 2), -np.finfo(np.float64).smallest_subnormal])
def test_labels_beyond_the_interval_by_the_least_are_refused(value):
    refuses(ValueError, "y[0]", y=np.full(12, value))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble])
def test_labels_and_weights_of_every_real_dtype_are_taken(dtype, dtypes):
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1])}
    ones = np.ones(12, dtype)
    for name in MEANS:
        np.testing.assert_equal(call(name, y=Y.astype(dtype), sample_weight=ones, **at), call(name, **at))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.longdouble])
@pytest.mark.parametrize("value", [-1e-5, -1, math.nan, math.inf, -math.inf])
def test_negative_and_nonfinite_weights_are_refused(dtype, value, dtypes):
    s = np.ones(12, dtype)
    s[[5, 8]] = value
    accepted = "finite weights of at least 0"
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1])}
    refuses(ValueError, f"sample_weight[5] is {s[5]!s}", accepted, sample_weight=s, **at)


def test_negative_integer_weights_are_refused():
    refuses(ValueError, "sample_weight[0] is -1", sample_weight=np.full(12, -1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_weights_that_sum_to_zero_are_refused(dtype):
    refuses(ValueError, "sums to 0.0", "positive and finite", sample_weight=np.zeros(12, dtype))
    refuses(ValueError, "sums to 0.0", sample_weight=np.zeros(12, dtype), X=X32, w=W32)


def test_a_weight_that_overflows_in_conversion_is_refused():
    s = np.ones(12)
    s[3] = 1e39
    refuses(ValueError, "sample_weight[3] is 1e+39", "float32", sample_weight=s, X=X32, w=W32)
    call("loss", sample_weight=s, X=X32)
    s = s.astype(np.longdouble)
    s[3] = np.longdouble("1e4000")
    refuses(ValueError, "sample_weight[3] is 1e+4000", "float64", sample_weight=s)


def test_weights_whose_sum_overflows_are_refused():
    refuses(ValueError, "sums to inf", "finite", sample_weight=np.full(12, 1e308))


def test_a_bad_label_is_told_before_a_bad_sum_of_weights():
    refuses(ValueError, "y[0] is 2.0", y=np.full(12, 2.0), sample_weight=np.zeros(12))


# ---------------------------------------------------------------- out


def outputs(name):
    return {"out": np.full(12 if name in FORWARDS else 3, 0.5)}


OUT_CALLS = [name for name in CALLS if "out" in parameters(name)]


@pytest.mark.parametrize("name", OUT_CALLS)
def test_out_is_written_and_returned(name, dtypes, order):
    at = {"X": np.asarray(X, dtypes[0], order=order), "w": W.astype(dtypes[1])}
    expected = call(name, **at)
    out = np.full(12 if name in FORWARDS else 3, 0.5, dtypes[1])
    result = call(name, out=out, **at)
    assert (result if name in FORWARDS else result.dw) is out
    np.testing.assert_equal(result, expected)


@pytest.mark.parametrize("name", OUT_CALLS)
class TestOut:
    def test_of_another_dtype_is_refused(self, name):
        for dtype in (np.float32, np.int64, np.bool_, np.longdouble):
            out = outputs(name)["out"].astype(dtype)
            refuses(TypeError, str(out.dtype), "float64", out=out, calls=[name])
        out = outputs(name)["out"]
        refuses(TypeError, "float64", "float32", out=out, X=X32, w=W32, calls=[name])

    def test_of_another_shape_is_refused(self, name):
        out = outputs(name)["out"]
        for wrong in (out[1:], np.append(out, 0), out[:, None], out[None], out[0:0], np.array(0.5)):
            refuses(ValueError, str(wrong.shape), str(out.shape), out=wrong, calls=[name])

    def test_that_is_not_contiguous_is_refused(self, name):
        out = outputs(name)["out"]
        for view in (np.repeat(out, 2)[::2], out[::-1], np.broadcast_to(out[:1], out.shape)):
            refuses(ValueError, "contiguous", out=view, calls=[name])

    def test_that_is_read_only_is_refused(self, name):
        refuses(ValueError, "writable", out=read_only(outputs(name)["out"]), calls=[name])

    def test_that_shares_memory_with_an_input_is_refused(self, name):
        memory = np.full(60, 0.25)
        size = len(outputs(name)["out"])
        inputs = {
            "X": memory[10:46].reshape(12, 3),
            "w": memory[10:13],
            "y": memory[10:22],
            "sample_weight": memory[10:22],
        }
        strided = {"w": memory[9:15:2], "y": memory[9:33:2], "sample_weight": memory[9:33:2]}
        for array, value in [*inputs.items(), *strided.items()]:
            if array in parameters(name):
                refuses(
                    ValueError,
                    f"shares memory with {array}",
                    out=memory[11 : 11 + size],
                    **{array: value},
                    calls=[name],
                )

    def test_between_the_elements_of_an_input_is_taken(self, name):
        memory = np.full((12, 20), 0.25)
        size = len(outputs(name)["out"])
        apart = memory[:, :3]
        assert call(name, X=apart, out=memory[0, 4 : 4 + size]) is not None

    def test_that_shares_memory_with_labels_of_another_dtype_is_refused(self, name):
        memory = np.zeros(12)
        for array in {"y", "sample_weight"} & set(parameters(name)):
            other = memory.view(np.float32)[:12]
            refuses(ValueError, f"shares memory with {array}", out=memory[:3], **{array: other}, calls=[name])

    def test_is_unchanged_when_the_call_raises(self, name):
        bad = {"X": X[:, ::2], "w": W[:2], "b": 1j, "y": Y + 1, "sample_weight": -Y - 1, "l2": -1.0}
        for argument, value in bad.items():
            if argument in parameters(name):
                out = outputs(name)["out"]
                with pytest.raises((TypeError, ValueError)):
                    call(name, out=out, **{argument: value})
                assert (out == 0.5).all()


# ---------------------------------------------------------------- what is passed is not changed


@pytest.mark.parametrize("name", CALLS)
def test_nothing_that_is_passed_is_changed(name, dtypes, order):
    arguments = {
        "X": np.array(X, dtypes[0], order=order),
        "y": Y.copy(),
        "w": W.astype(dtypes[1]),
        "sample_weight": Y + 1,
    }
    before = [snapshot(array) for array in arguments.values()]
    call(name, **arguments)
    assert [snapshot(array) for array in arguments.values()] == before


@pytest.mark.parametrize("name", CALLS)
def test_results_are_new_arrays(name):
    result = call(name)
    arrays = [a for a in (result if isinstance(result, tuple) else [result]) if isinstance(a, np.ndarray)]
    for array in arrays:
        assert array.flags.writeable
        assert not any(np.shares_memory(array, given_array) for given_array in (X, Y, W))


def test_results_have_the_promised_types(dtypes):
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1]), "l2": 1, "b": 1}
    assert call("forward", **at).dtype == call("log_forward", **at).dtype == dtypes[1]
    assert type(call("loss", **at)) is float
    gradient, both = call("gradient", **at), call("loss_and_gradient", **at)
    assert isinstance(gradient, jlr.Gradient)
    assert isinstance(both, jlr.LossAndGradient)
    assert gradient.dw.dtype == both.dw.dtype == dtypes[1]
    assert {type(gradient.db), type(both.loss), type(both.db)} == {float}


# ---------------------------------------------------------------- NaN and infinity are computed with


def one(name, x, w=1.0, *, y=0.0, b=0.0, dtypes=(np.float64, np.float64)):
    """A call on one example of one feature."""
    return call(name, X=np.array([[x]], dtypes[0]), w=np.array([w], dtypes[1]), y=np.array([y]), b=b)


@pytest.mark.parametrize(
    ("x", "w", "b"),
    [
        (math.nan, 1, 0),
        (1, math.nan, 0),
        (1, 1, math.nan),
        (math.nan, 0, 0),
        (math.inf, 0, 0),
        (0, math.inf, 0),
        (math.inf, 1, -math.inf),
    ],
)
def test_a_nan_margin_gives_nan(x, w, b, dtypes):
    assert np.isnan(one("forward", x, w, b=b, dtypes=dtypes)).all()
    assert np.isnan(one("log_forward", x, w, b=b, dtypes=dtypes)).all()
    for y in (0.0, 0.5, 1.0):
        loss, dw, db = one("loss_and_gradient", x, w, b=b, y=y, dtypes=dtypes)
        assert math.isnan(one("loss", x, w, b=b, y=y, dtypes=dtypes))
        assert np.isnan([loss, *dw, db]).all()


@pytest.mark.parametrize(("x", "w", "b"), [(math.inf, 1, 0), (-1, -math.inf, 0), (0, 1, math.inf), (math.inf, 1, -1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_margin_has_its_limits(x, w, b, sign, dtypes):
    x, b = sign * x, sign * b
    side = float(sign > 0)
    assert one("forward", x, w, b=b, dtypes=dtypes) == [side]
    assert one("log_forward", x, w, b=b, dtypes=dtypes) == [0 if sign > 0 else -math.inf]
    for y in (0.0, 0.25, 1.0):
        loss, _, db = one("loss_and_gradient", x, w, b=b, y=y, dtypes=dtypes)
        assert loss == one("loss", x, w, b=b, y=y, dtypes=dtypes) == (0 if y == side else math.inf)
        assert db == side - y


def test_a_residual_of_zero_times_infinity_is_nan(dtypes):
    assert np.isnan(one("gradient", math.inf, y=1.0, dtypes=dtypes).dw).all()
    assert one("gradient", math.inf, y=0.0, dtypes=dtypes).dw == [math.inf]
    assert one("gradient", -math.inf, y=1.0, dtypes=dtypes).dw == [math.inf]


def test_one_bad_example_stays_in_its_place(dtypes, order):
    bad = np.array(X, dtypes[0], order=order)
    bad[4, 1] = math.nan
    w = W.astype(dtypes[1])
    a = call("forward", X=bad, w=w)
    assert np.isnan(a[4])
    np.testing.assert_allclose(np.delete(a, 4), np.delete(call("forward", w=w.astype(float)), 4), rtol=1e-5)
    result = call("loss_and_gradient", X=bad, w=w)
    assert np.isnan([result.loss, *result.dw, result.db]).all()


def test_an_infinite_loss_of_weight_zero_is_nan():
    at = {"X": np.array([[math.inf], [1.0]]), "y": np.zeros(2), "w": np.ones(1)}
    assert call("loss", **at) == math.inf
    assert math.isnan(call("loss", sample_weight=np.array([0.0, 1.0]), **at))


def test_the_penalty_of_infinite_weights_is_infinite_and_none_without_l2():
    at = {"X": np.ones((1, 1)), "y": np.ones(1), "w": np.array([math.inf])}
    assert call("loss", **at) == 0
    assert call("loss", l2=1.0, **at) == math.inf


@pytest.mark.parametrize("errors", ["raise", "warn"])
def test_extreme_numbers_raise_no_floating_point_errors(errors, dtypes, order):
    values = [0.0, 1e-40, -1e-30, 1.0, 50, -104, 800, -800, 1e30, -1e30, math.inf, -math.inf, math.nan]
    extreme = np.array([[x, scale] for x in values for scale in (0.0, 1.0)], dtypes[0], order=order)
    m = len(extreme)
    at = {"X": extreme, "w": np.array([1, 1e-20], dtypes[1]), "b": 1e-60}
    labels = [np.zeros(m), np.ones(m), np.full(m, 0.3), np.full(m, 1e-300)]
    for name in set(CALLS) - {"gradient_descent"}:
        for y in labels:
            with np.errstate(all="ignore"):
                expected = call(name, y=y, sample_weight=np.full(m, 1e-20), l2=1e-9, **at)
            with np.errstate(all=errors):
                result = call(name, y=y, sample_weight=np.full(m, 1e-20), l2=1e-9, **at)
            np.testing.assert_equal(result, expected)


# ---------------------------------------------------------------- targets by name


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cpu ", 0, b"cpu"])
def test_an_unknown_target_is_refused(name):
    refuses(ValueError, repr(name), "'cpu', 'cuda', 'reference'", target=name)
    with pytest.raises(ValueError, match=r"target is .*accepted"), jlr.use_target(name):
        pass


@pytest.mark.parametrize("unhashable", [["cpu"], {"cpu": 1}, np.array(["cpu", "cuda"])], ids=["list", "dict", "array"])
def test_a_target_that_is_no_name_is_refused(unhashable):
    refuses(ValueError, "accepted", target=unhashable)

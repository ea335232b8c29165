"""Bad input is refused with a message that helps, and stays as it was."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from calls import CALLS, FORWARDS, LONG, MEANS, W32, X32, W, X, Y, call, refuses

import jitlogreg as jlr
from jitlogreg import validation

pytestmark = pytest.mark.usefixtures("target")


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


def test_sparse_matrices_but_for_csr_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csc_matrix, sparse.csc_array, sparse.coo_array):
        refuses(TypeError, "or a csr_array of SciPy", kind.__name__, "X.tocsr()", X=kind(X))
    refuses(TypeError, "csr_array", "y.toarray()", y=sparse.csr_array(X))


@pytest.mark.parametrize("argument", ["X", "y"])
def test_none_is_no_array(argument):
    refuses(TypeError, "None", "numpy.ndarray", **{argument: None})


def test_none_is_no_weight_vector():
    refuses(TypeError, "None", "numpy.ndarray", w=None, calls=[name for name in CALLS if name != "gradient_descent"])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float16, *LONG])
def test_x_of_another_number_type_is_refused(dtype):
    said = f"X: expected float32 or float64, got {np.dtype(dtype)}: X.astype('float64') converts it"
    refuses(TypeError, said, X=X.astype(dtype))


@pytest.mark.parametrize("argument", ["X", "y", "w", "sample_weight", "out"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, object, "U3", "M8[s]"])
def test_what_is_not_a_real_number_is_refused(argument, dtype):
    array = np.zeros((12, 3) if argument == "X" else 3 if argument == "w" else 12, dtype)
    refuses(TypeError, f": expected real numbers, got dtype {array.dtype}", **{argument: array})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, *LONG, np.int64, np.bool_])
def test_w_of_another_dtype_beside_float64_is_refused(dtype):
    said = f"w: expected float64 beside X of float64, got {np.dtype(dtype)}: w.astype('float64') converts it"
    refuses(TypeError, said, w=W.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float16, *LONG, np.int32])
def test_w_of_another_dtype_beside_float32_is_refused(dtype):
    said = f"w: expected float32 or float64 beside X of float32, got {np.dtype(dtype)}: w.astype('float32') converts it"
    refuses(TypeError, said, w=W.astype(dtype), X=X32)


def byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    shifted = raw[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


@pytest.mark.parametrize("argument", ["X", "y", "w", "sample_weight", "out"])
@pytest.mark.parametrize(("spoil", "came"), [(byte_swapped, "a byte-swapped"), (misaligned, "a misaligned")])
def test_bytes_in_another_order_or_place_are_refused(argument, spoil, came):
    array = {"X": X, "y": Y, "w": W, "sample_weight": Y, "out": np.zeros(12)}[argument]
    refuses(TypeError, f"got {came} array: {argument}.astype('float64') makes", **{argument: spoil(array)})


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


@pytest.mark.parametrize("b", [1e39, -1e39, 10**400, *(of("1e4000") for of in LONG)], ids=repr)
def test_an_intercept_that_overflows_float32_is_refused(b):
    refuses(ValueError, "float32", b=b, X=X32, w=W32)


@pytest.mark.parametrize("b", [10**400, Fraction(10**400), *(of("-1e4000") for of in LONG)], ids=repr)
def test_an_intercept_that_overflows_float64_is_refused(b):
    refuses(ValueError, "float64", b=b)


def test_an_intercept_that_rounds_to_the_largest_float32_is_taken():
    assert validation.check_intercept(3.4028235e38, np.dtype(np.float32)) == np.finfo(np.float32).max


@pytest.mark.parametrize("argument", ["l2", "learning_rate", "tolerance"])
@pytest.mark.parametrize("value", [-1e-300, -1, math.nan, math.inf, -math.inf, 10**400])
def test_negative_and_nonfinite_settings_are_refused(argument, value):
    said = "expected a finite number of at least 0, got" if value != 10**400 else "float64"
    refuses(ValueError, said, **{argument: value})


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
    refuses(ValueError, f"X: expected shape (m, n), one example per row, got {shape}", X=np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 1, 1), (0,)])
def test_w_has_one_number_a_column(shape):
    refuses(ValueError, f"expected shape (3,), one coefficient per column of X, got {shape}", w=np.zeros(shape))


@pytest.mark.parametrize("argument", ["y", "sample_weight"])
@pytest.mark.parametrize("shape", [(), (1,), (11,), (13,), (12, 1), (1, 12), (0,)])
def test_labels_and_weights_have_one_number_a_row(argument, shape):
    refuses(ValueError, "expected shape (12,), one ", f" per row of X, got {shape}", **{argument: np.ones(shape)})


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_over_no_examples_is_refused(name):
    refuses(ValueError, "at least one row", "got shape (0, 3)", X=np.zeros((0, 3)), y=np.zeros(0), calls=[name])


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


# ---------------------------------------------------------------- labels and weights


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, *LONG])
@pytest.mark.parametrize("value", [-0.25, 1.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrong", [(3, 7), (9, 11)], ids=["of eight", "of the remainder"])
def test_labels_outside_the_unit_interval_are_refused(dtype, value, wrong, dtypes):
    y = Y.astype(dtype)
    y[list(wrong)] = value
    said = f"y[{wrong[0]}]: expected a label from 0 to 1, got {value}"
    refuses(ValueError, said, y=y, X=X.astype(dtypes[0]), w=W.astype(dtypes[1]))


@pytest.mark.parametrize(("dtype", "value"), [(np.int64, 2), (np.int64, -1), (np.int8, -128), (np.uint8, 255)])
def test_integer_labels_other_than_0_and_1_are_refused(dtype, value):
    y = Y.astype(dtype)
    y[0] = value
    refuses(ValueError, f"y[0]: expected a label from 0 to 1, got {value}", y=y)


@pytest.mark.parametrize("value", [1 + 1e-12, -1e-50])
def test_labels_are_judged_before_they_are_rounded(value):
    y = Y.copy()
    y[11] = value
    refuses(ValueError, f"y[11]: expected a label from 0 to 1, got {value}", y=y, X=X32, w=W32)


def test_labels_that_are_no_numbers_are_told_how_to_become_some():
    said = "y: expected real numbers, got dtype <U3: y == label makes labels of one of two classes, "
    refuses(TypeError, said, y=np.where(Y == 1, "yes", "no"))


@pytest.mark.parametrize("value", [np.nextafter(1, 2), -np.finfo(np.float64).smallest_subnormal])
def test_labels_beyond_the_interval_by_the_least_are_refused(value):
    refuses(ValueError, "y[0]", y=np.full(8, value), X=X[:8])


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float32, np.float64, *LONG])
def test_labels_and_weights_of_every_real_dtype_are_taken(dtype, dtypes):
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1])}
    ones = np.ones(12)  # without weights the losses are summed in another way, to other last bits
    for name in MEANS:
        taken = call(name, y=Y.astype(dtype), sample_weight=ones.astype(dtype), **at)
        np.testing.assert_equal(taken, call(name, sample_weight=ones, **at))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, *LONG])
@pytest.mark.parametrize("value", [-1e-5, -1, math.nan, math.inf, -math.inf])
def test_negative_and_nonfinite_weights_are_refused(dtype, value, dtypes):
    s = np.ones(12, dtype)
    s[[5, 8]] = value
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1])}
    refuses(ValueError, f"[5]: expected a finite weight of at least 0, got {s[5]!s}", sample_weight=s, **at)


def test_negative_integer_weights_are_refused():
    said = "sample_weight[0]: expected a finite weight of at least 0, got -1"
    refuses(ValueError, said, sample_weight=np.full(12, -1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_weights_that_sum_to_zero_are_refused(dtype):
    refuses(ValueError, "expected a sum that is positive and finite, got 0.0", sample_weight=np.zeros(12, dtype))
    refuses(ValueError, "a sum that is positive and finite, got 0.0", sample_weight=np.zeros(12, dtype), X=X32, w=W32)


def test_a_weight_that_overflows_in_conversion_is_refused():
    s = np.ones(12)
    s[3] = 1e39
    said = "[3]: expected a number within float32, the dtype of w, got 1e+39"
    refuses(ValueError, said, sample_weight=s, X=X32, w=W32)
    call("loss", sample_weight=s, X=X32)
    for wider in LONG:
        s = np.ones(12, wider)
        s[3] = wider("1e4000")
        refuses(ValueError, "[3]: expected a number within float64, the dtype of w, got 1e+4000", sample_weight=s)


@pytest.mark.parametrize("weight", [1e308, 5e-324])
def test_weights_whose_sum_is_beyond_float64_or_subnormal_are_served(weight):
    wanted = jlr.loss_and_gradient(X, Y, W)
    got = jlr.loss_and_gradient(X, Y, W, sample_weight=np.full(12, weight))
    assert got.loss == pytest.approx(wanted.loss, rel=1e-14)
    np.testing.assert_allclose(got.dw, wanted.dw, rtol=1e-12, atol=1e-15)


def test_a_bad_label_is_told_before_a_bad_sum_of_weights():
    refuses(ValueError, "y[0]: expected a label from 0 to 1, got 2.0", y=np.full(12, 2.0), sample_weight=np.zeros(12))


# ---------------------------------------------------------------- targets by name


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cpu ", 0, b"cpu"])
def test_an_unknown_target_is_refused(name):
    said = f"target: expected one of 'cpu', 'cuda', 'reference', got {name!r}"
    refuses(ValueError, said, target=name)
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"), jlr.use_target(name):
        pass


@pytest.mark.parametrize("unhashable", [["cpu"], {"cpu": 1}, np.array(["cpu", "cuda"])], ids=["list", "dict", "array"])
def test_a_target_that_is_no_name_is_refused(unhashable):
    refuses(ValueError, repr(unhashable), target=unhashable)


def test_weights_that_float32_would_make_zero_are_refused():
    X, y, w = np.ones((3, 1), np.float32), np.ones(3), np.ones(1, np.float32)
    with pytest.raises(ValueError, match=r"^sample_weight\[1\]: expected a number within float32, .*, got 1e-46$"):
        jlr.loss(X, y, w, sample_weight=np.array([1.0, 1e-46, 0.0]))
    assert jlr.loss(X, y, w, sample_weight=np.array([1.0, 1e-40, 0.0])) > 0

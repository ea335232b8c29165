"""The checks of inputs.

Every message has one form, `{argument}: expected {what}, got {what}`, and may end with a hint on how to convert.
"""

import math
import numbers
from types import SimpleNamespace

import numpy as np

from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.interop.libraries import library_of
from jitlogreg.targets.base import Problem, layout
from jitlogreg.targets.csr import CSR

FLOATS = FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)


def check_problem(X, y, w, b, sample_weight, offset=None):
    """Check what a loss and its gradient are asked of. Return the problem, w and b, all in w's dtype."""
    order, ld = check_matrix(X)
    w = check_coefficients(w, X)
    b = check_intercept(b, w.dtype)
    y, sample_weight = check_labels_and_weights(X, y, sample_weight, w.dtype)
    offset = None if offset is None else check_offset(offset, X, w.dtype)
    return Problem(X, y, sample_weight, order, ld, None, offset), w, b


def check_forward(X, w, b, offset, out):
    """Check what activations are asked of. Return the problem, w, b, and `out`, which is allocated if it is None."""
    order, ld = check_matrix(X)
    coefficients = check_coefficients(w, X)
    b = check_intercept(b, coefficients.dtype)
    problem = Problem(X, None, None, order, ld, None, check_offset(offset, X, coefficients.dtype))
    out = prepare_out(out, X.shape[:1], coefficients.dtype, {"X": X, "w": w, "offset": offset})
    return problem, coefficients, b, out


def check_matrix(X):
    """Check X: an ndarray or memmap (m, n) of float32 or float64, with one unit stride and no overlap.

    Return its order and leading dimension.
    """
    if type(X) is CSR:
        return "CSR", 0
    check_array("X", X)
    check_float_dtype("X", X)
    if X.ndim != 2:
        raise ValueError(f"X: expected shape (m, n), one example per row, got {X.shape}")
    found = layout(X.shape, X.strides, X.itemsize)
    if found is None:
        copy = X.library.to_contiguous.format(name="X") if type(X) is DeviceArray else "np.ascontiguousarray(X)"
        raise ValueError(
            f"X: expected one stride of {X.itemsize} bytes and another that is positive and lets nothing overlap, "
            f"got strides {X.strides}: {copy} makes such a copy"
        )
    return found


def check_coefficients(w, X):
    """Check w: an ndarray (n,) of X's dtype, or of float64. Return it contiguous."""
    check_array("w", w)
    _check_dtype_of_coefficients(w, X)
    _check_length("w", w, X.shape[1], "one coefficient per column of X")
    return _contiguous(w)


def _check_dtype_of_coefficients(w, X):
    if w.dtype is not X.dtype and w.dtype != X.dtype and not (w.dtype == np.float64 and X.dtype == np.float32):
        expected = "float64" if X.dtype == np.float64 else "float32 or float64"
        hint = _in_dtype("w", w, X.dtype.name)
        raise TypeError(f"w: expected {expected} beside X of {X.dtype}, got {w.dtype}: {hint} converts it")


def check_coefficients_of_outputs(W, X):
    """Check w of K outputs: an ndarray (n, K) of X's dtype, or of float64."""
    check_array("w", W)
    _check_dtype_of_coefficients(W, X)
    if W.ndim != 2 or W.shape[0] != X.shape[1]:
        raise ValueError(f"w: expected shape ({X.shape[1]}, K), one row per column of X, got {W.shape}")
    return W


def initial_coefficients(X):
    """The default start of a descent: zeros, one per column, of X's dtype and in X's memory."""
    start = np.zeros(X.shape[1], X.dtype)
    return X.from_numpy(start) if type(X) is DeviceArray else start


def check_intercept(b, dtype):
    """Check b: a real scalar. Return it rounded to w's dtype."""
    return _check_real("b", b, dtype)


def check_initial_intercept(b, dtype, fit_intercept):
    """Check the start of b, which must be 0 without an intercept. Return it rounded to w's dtype."""
    b = check_intercept(b, dtype)
    if not fit_intercept and b != 0:
        raise ValueError(f"b: expected 0 with fit_intercept=False, got {b}")
    return b


def check_some_rows(X):
    """Raise ValueError if X has no rows."""
    if X.shape[0] == 0:
        raise ValueError(f"X: expected at least one row to take a mean over, got shape {X.shape}")


def check_row_count(name, array, m):
    """Check an ndarray (m,) or (m, K) that is to be cut as X is."""
    check_array(name, array)
    if array.shape[:1] != (m,):
        _check_length(name, array, m, _PER_ROW[name])


_PER_ROW = {
    "y": "one label per row of X",
    "sample_weight": "one weight per row of X",
    "offset": "one number per row of X",
}


def check_labels_and_weights(X, y, sample_weight, dtype, may_be_empty=False):
    """Check y, and sample_weight unless it is None: ndarrays (m,) of bool, integer or float.

    m must be positive unless `may_be_empty`. Return both contiguous and in w's dtype. Values are checked here only if
    they are converted. Otherwise the target checks them while it computes.
    """
    if not may_be_empty:
        check_some_rows(X)
    check_array("y", y)
    _check_length("y", y, X.shape[0], _PER_ROW["y"])
    if sample_weight is None:
        return _per_row("y", y, dtype), None
    check_array("sample_weight", sample_weight)
    _check_length("sample_weight", sample_weight, X.shape[0], _PER_ROW["sample_weight"])
    return _per_row("y", y, dtype), _per_row("sample_weight", sample_weight, dtype)


def check_offset(offset, X, dtype):
    """Check offset, unless it is None: an ndarray (m,) of real numbers. Return it contiguous and in w's dtype."""
    if offset is None:
        return None
    check_array("offset", offset)
    _check_length("offset", offset, X.shape[0], _PER_ROW["offset"])
    return _per_row("offset", offset, dtype)


def check_per_output(name, array, shape, dtype):
    """Check labels, weights or offsets of K outputs: (m,), or (m, K) unless K is None.

    Return them in w's dtype; of (m, K) the transposed array, with one row per output.
    """
    m, outputs = shape
    check_array(name, array)
    if array.shape != (m,) and (outputs is None or array.shape != (m, outputs)):
        both = "" if outputs is None else f" or ({m}, {outputs})"
        raise ValueError(f"{name}: expected shape ({m},){both}, got {array.shape}")
    array = array if array.dtype == dtype else _converted(name, array, dtype)
    return _contiguous(array.T)


def check_structure(X):
    """Raise ValueError for the first fault of indptr or indices, if X is sparse."""
    if type(X) is CSR:
        X.check_structure()


def check_values(y, sample_weight):
    """Raise ValueError for the first label outside [0, 1], or the first weight that is negative or not finite."""
    if y is not None:
        _check_label_values(on_host(y))
    if sample_weight is not None:
        _check_weight_values(on_host(sample_weight))


def prepare_out(out, shape, dtype, inputs):
    """Check `out`, or allocate it if it is None.

    It must have this shape and dtype, be contiguous and writable, and share no memory with an input. `inputs` are the
    arrays as the caller passed them: a copy of one shares nothing.
    """
    if out is None:
        X = inputs["X"]
        return X.empty(shape, dtype) if type(X) is DeviceArray else np.empty(shape, dtype)
    check_array("out", out)
    if out.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, the dtype of w, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if not out.flags.c_contiguous:
        raise ValueError("out: expected a contiguous array, got one that is not contiguous")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")
    for name, array in inputs.items():
        if array is not None and _share_memory(out, array):
            raise ValueError(
                f"out: expected an array that shares no memory with an input, got one that shares memory with {name}"
            )
    return out


def check_vector(name, value, length, meaning):
    """Check a vector of parameters: an ndarray (length,) of real numbers. Return it contiguous and in float64."""
    if type(value) is not np.ndarray or value.dtype != FLOATS[0] or not value.flags.c_contiguous:
        check_array(name, value)
        value = np.ascontiguousarray(value, FLOATS[0])
    _check_length(name, value, length, meaning)
    return value


def check_in_memory(X):
    """Raise TypeError for an X on a GPU."""
    if type(X) is DeviceArray:
        raise TypeError(
            f"X: expected a numpy.ndarray, got a {X.library.kind}: {X.library.to_cpu.format(name='X')} makes one"
        )


def check_finite_offset(offset):
    """Raise ValueError for the first element of an offset (m,) or (m, K), or None, that is not finite."""
    if offset is not None:
        offset = on_host(offset)
        _refuse_first("offset", offset, ~np.isfinite(offset), "a finite number")


def check_finite(X):
    """Raise ValueError for the first element of X that is not finite. Works on some rows at a time, to save memory."""
    if type(X) is CSR:
        X.check_finite()
        return
    step = max(1, (1 << 20) // max(X.shape[1], 1))
    for first in range(0, X.shape[0], step):
        wrong = ~np.isfinite(X[first : first + step])
        if wrong.any():
            i, j = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            raise ValueError(
                f"X[{first + i}, {j}]: expected a finite number, got {X[first + i, j]}: "
                "check_finite=False lets an Objective take it"
            )


def check_none_beside_objective(**arguments):
    """Raise TypeError for an argument that is not None although X is an Objective, which has its own."""
    for name, value in arguments.items():
        if value is not None:
            came = repr(value) if isinstance(value, (bool, numbers.Real, str)) else described(value)
            raise TypeError(f"{name}: expected no value beside an Objective, which has its own, got {came}")


def check_nonnegative(name, value, dtype=FLOATS[0]):
    """Check a real scalar that is finite and at least 0. Return it rounded to the dtype, as a Python float."""
    value = float(_check_real(name, value, dtype))
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value}")
    return value


def check_count(name, value, least=0):
    """Check an integer of at least `least`. Return it as a Python int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an integer, got {described(value)}")
    if value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value}")
    return int(value)


def check_random_state(name, value):
    """Check None, a seed or a numpy.random.Generator. Return the Generator, or None."""
    if value is None or isinstance(value, np.random.Generator):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected None, an integer or a numpy.random.Generator, got {described(value)}")
    return np.random.default_rng(check_count(name, value))


def check_columns(X, n, dtype, source):
    """Check that a batch has n columns of this dtype; `source` says in words where n and the dtype come from."""
    if X.shape[1] != n or X.dtype != dtype:
        raise (ValueError if X.dtype == dtype else TypeError)(
            f"X: expected {n} columns of {dtype}, as {source}, got {X.shape[1]} of {X.dtype}"
        )


def check_callable(name, value):
    """Check a function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function, got {described(value)}")


# ---------------------------------------------------------------- shared by the checks above


def check_array(name, value):
    """Check an ndarray, memmap or `DeviceArray` of real numbers, aligned and in native byte order."""
    # the common case, 0.3 us sooner: what NumPy makes itself has these very dtypes, in native byte order
    if type(value) is np.ndarray and (value.dtype is FLOAT64 or value.dtype is FLOAT32) and value.flags.aligned:
        return
    if type(value) is not np.ndarray and type(value) is not np.memmap and type(value) is not DeviceArray:
        if name == "X" and hasattr(value, "tocsr"):
            hint = "X.tocsr() makes the latter"
            raise TypeError(f"X: expected a numpy.ndarray, or a csr_array of SciPy, got {described(value)}: {hint}")
        hint = f": np.asarray({name}) makes one" if isinstance(value, (list, tuple)) else _conversion(name, value)
        raise TypeError(f"{name}: expected a numpy.ndarray, got {described(value)}{hint}")
    if value.dtype.kind not in "biuf":
        hint = ""
        if name == "y":
            hint = ": y == label makes labels of one of two classes, np.unique(y, return_inverse=True)[1] class numbers"
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}{hint}")
    if not value.dtype.isnative or not value.flags.aligned:
        copy = _in_dtype(name, value, value.dtype.newbyteorder("=").name)
        came = "a misaligned array" if value.dtype.isnative else "a byte-swapped array"
        raise TypeError(f"{name}: expected an aligned array in native byte order, got {came}: {copy} makes such a copy")


def _conversion(name, value):
    """A hint on how to convert a value to an ndarray, or nothing."""
    library = library_of(value)
    if library is not None:
        return f": {library.to_ndarray.format(name=name)} makes one"
    if hasattr(value, "to_dask_array") or hasattr(value, "__dask_graph__"):
        return ": jitlogreg.dask.Objective takes dask arrays, and fit and gradient_descent take that"
    if isinstance(value, np.ma.MaskedArray):
        return f": {name}.filled(value) makes one"
    for method in ("toarray", "to_numpy", "numpy"):
        if hasattr(value, method):
            return f": {name}.{method}() makes one"
    return f": np.asarray({name}) makes one" if isinstance(value, np.ndarray) else ""


def described(value):
    """A value's type with its article, for a message: "a list", "a numpy.ndarray"."""
    if value is None:
        return "None"
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"


def check_float_dtype(name, array):
    """Raise TypeError for an array whose dtype is neither float32 nor float64."""
    if array.dtype is not FLOAT64 and array.dtype not in FLOATS:
        hint = _in_dtype(name, array, "float64")
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}: {hint} converts it")


def _check_length(name, array, length, meaning):
    if array.shape != (length,):
        raise ValueError(f"{name}: expected shape ({length},), {meaning}, got {array.shape}")


def _check_real(name, value, dtype):
    """Check a real scalar. Return it rounded to the dtype: a NumPy scalar, or a Python float as it is for float64."""
    # the common cases, up to 2 µs faster: there is nothing to round, or rounding cannot raise NumPy's warnings
    if type(value) is float:
        if dtype.itemsize == 8:
            return value
        if value == 0 or 1e-30 < abs(value) < 1e30:
            return dtype.type(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a real number, got {described(value)}")
    try:
        with np.errstate(all="ignore"):
            number = dtype.type(value)
    except OverflowError:  # integers and fractions beyond float64
        number = dtype.type(math.inf)
    if np.isinf(number) and abs(value) != math.inf:
        raise ValueError(f"{name}: expected a number within {dtype.name}, got {value!s}")
    return number


def _per_row(name, array, dtype):
    if array.dtype is dtype or array.dtype == dtype:
        return _contiguous(array)
    if type(array) is not DeviceArray:
        return _converted(name, array, dtype)
    if array.dtype.kind != "f" or array.dtype.itemsize < dtype.itemsize:
        return array.astype(dtype)  # exact: a bad value stays bad, and the kernel finds it
    return array.from_numpy(_converted(name, array.to_numpy(), dtype))


def _converted(name, array, dtype):
    """Labels, weights or offsets in another dtype. The conversion must not overflow, nor a weight vanish."""
    if name in _VALUE_CHECKS and array.dtype.kind != "b":
        _VALUE_CHECKS[name](array)
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if array.dtype.itemsize > dtype.itemsize:
        wrong = np.isfinite(array) & ~np.isfinite(converted)
        if name == "sample_weight":
            wrong |= (converted == 0) & (array != 0)  # the example would silently be left out
        _refuse_first(name, array, wrong, f"a number within {dtype.name}, the dtype of w")
    return converted


def _check_label_values(y):
    _refuse_first("y", y, ~((y >= 0) & (y <= 1)), "a label from 0 to 1")


def _check_weight_values(sample_weight):
    wrong = ~((sample_weight >= 0) & (sample_weight < np.inf))
    _refuse_first("sample_weight", sample_weight, wrong, "a finite weight of at least 0")


_VALUE_CHECKS = {"y": _check_label_values, "sample_weight": _check_weight_values}


def _refuse_first(name, array, wrong, expected):
    if wrong.any():
        at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise ValueError(f"{name}[{', '.join(map(str, at))}]: expected {expected}, got {array[at]!s}")


# ---------------------------------------------------------------- the same for ndarrays and for DeviceArrays


def _contiguous(array):
    if type(array) is np.ndarray and array.flags.c_contiguous:
        return array
    return array.contiguous() if type(array) is DeviceArray else np.ascontiguousarray(array)


def _share_memory(a, b):
    if type(b) is CSR:
        return any(_share_memory(a, array) for array in b.arrays)
    if type(a) is DeviceArray:
        a, b = _addresses(a), _addresses(b)
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def _addresses(array):
    """A NumPy array over the addresses of a `DeviceArray`, to test for overlap; reading it would crash."""
    interface = {
        "version": 3,
        "shape": array.shape,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "data": (array.address, True),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def _in_dtype(name, array, dtype):
    """The expression that copies an array to another dtype, for a message."""
    if type(array) is DeviceArray:
        return array.library.to_dtype.format(name=name, dtype=dtype)
    return f"{name}.astype({dtype!r})"

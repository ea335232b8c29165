"""Every check of an input, and its message: which argument, what came, what would be accepted."""

import math
import numbers
from types import SimpleNamespace

import numpy as np

from jitlogreg.interop.device_array import DeviceArray, on_host
from jitlogreg.interop.libraries import library_of
from jitlogreg.targets.layout import layout

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def matrix(X):
    """Check X: an ndarray or memmap (m, n), float32 or float64, one unit stride and no overlap."""
    _array("X", X)
    float_dtype("X", X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; accepted is (m, n), one example per row")
    if layout(X.shape, X.strides, X.itemsize) is None:
        copy = X.library.to_contiguous.format(name="X") if type(X) is DeviceArray else "np.ascontiguousarray(X)"
        raise ValueError(
            f"X has strides {X.strides} at {X.itemsize} bytes a number; accepted is one stride of {X.itemsize} and "
            f"another that is positive and lets no rows or columns overlap: {copy} makes such a copy"
        )


def weights(w, X):
    """Check w: an ndarray (n,) of X's dtype, or of float64. Returns it contiguous."""
    _array("w", w)
    if w.dtype != X.dtype and not (w.dtype == np.float64 and X.dtype == np.float32):
        accepted = "float64" if X.dtype == np.float64 else "float32 or float64"
        hint = _in_dtype("w", w, X.dtype.name)
        raise TypeError(f"w has dtype {w.dtype} beside X of {X.dtype}; accepted is {accepted}: {hint}")
    _length("w", w, X.shape[1], "n, the columns of X")
    return _contiguous(w)


def zeros(X):
    """Where a descent starts if it is not told: zeros, one a column, of X's dtype, where X is."""
    start = np.zeros(X.shape[1], X.dtype)
    return X.from_numpy(start) if type(X) is DeviceArray else start


def intercept(b, dtype):
    """Check b: a real scalar. Returns it rounded to w's dtype."""
    return _real("b", b, dtype)


def start_of_intercept(b, dtype, fit_intercept):
    """Check where b starts: at 0 if there is none."""
    b = intercept(b, dtype)
    if not fit_intercept and b != 0:
        raise ValueError(f"b is {b} and fit_intercept is False; accepted is then 0")
    return b


def rows(X, y, sample_weight, may_be_empty=False):
    """Check all but the values of y, and of sample_weight unless it is None: ndarrays (m,), m > 0 unless m may be 0."""
    if X.shape[0] == 0 and not may_be_empty:
        raise ValueError(f"X has shape {X.shape}; accepted is at least one row where a mean is asked for")
    _array("y", y)
    _length("y", y, X.shape[0], "m, the rows of X")
    if sample_weight is not None:
        _array("sample_weight", sample_weight)
        _length("sample_weight", sample_weight, X.shape[0], "m, the rows of X")


def examples(X, y, sample_weight, dtype, may_be_empty=False):
    """Check y, and sample_weight unless it is None: ndarrays (m,) of bool, integer or float, m > 0 unless it may be 0.

    Returns both in w's dtype, contiguous. Values are looked at only where they are converted; a target looks at them
    otherwise, as they pass.
    """
    rows(X, y, sample_weight, may_be_empty)
    y = _per_row("y", y, dtype, _refuse_labels)
    if sample_weight is not None:
        sample_weight = _per_row("sample_weight", sample_weight, dtype, _refuse_weights)
    return y, sample_weight


def refuse_values(y, sample_weight):
    """Raise ValueError for the first label outside [0, 1], or the first weight that is negative or not finite."""
    _refuse_labels(on_host(y))
    if sample_weight is not None:
        _refuse_weights(on_host(sample_weight))


def output(out, shape, dtype, inputs):
    """Check `out`, or make it: of this shape and dtype, contiguous, writable, sharing no memory with an input.

    The inputs are those that were passed: a copy that was made of one shares nothing.
    """
    if out is None:
        X = inputs["X"]
        return X.empty(shape, dtype) if type(X) is DeviceArray else np.empty(shape, dtype)
    _array("out", out)
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}; accepted is {dtype}, the dtype of w")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; accepted is {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError("out is not contiguous or not writable; accepted is an array that is both")
    for name, array in inputs.items():
        if array is not None and _share_memory(out, array):
            raise ValueError(f"out shares memory with {name}; accepted is an array of its own")
    return out


def vector(name, value, length, meaning):
    """Check a vector of parameters: an ndarray (length,) of real numbers. Returns it in float64, contiguous."""
    if type(value) is not np.ndarray or value.dtype != FLOATS[0] or not value.flags.c_contiguous:
        _array(name, value)
        value = np.ascontiguousarray(value, FLOATS[0])
    _length(name, value, length, meaning)
    return value


def finite(X):
    """Raise ValueError for the first number of X that is not finite; some rows at a time, which take a copy."""
    step = max(1, (1 << 20) // max(X.shape[1], 1))
    for first in range(0, X.shape[0], step):
        wrong = ~np.isfinite(X[first : first + step])
        if wrong.any():
            i, j = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            raise ValueError(
                f"X[{first + i}, {j}] is {X[first + i, j]}; accepted are finite numbers; "
                "Objective takes others with check_finite=False"
            )


def left_out_beside_objective(**arguments):
    """Raise TypeError for an argument that is not None: X is an Objective, which has its own."""
    for name, value in arguments.items():
        if value is not None:
            raise TypeError(
                f"{name} is given, and X is an Objective, which has its own; accepted is X with nothing beside it"
            )


def nonnegative(name, value, dtype=FLOATS[0]):
    """Check a real scalar that is finite and at least 0. Returns it rounded to the dtype, as a Python float."""
    value = float(_real(name, value, dtype))
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; accepted is a finite number of at least 0")
    return value


def count(name, value, least=0):
    """Check an integer of at least so many. Returns it as a Python int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {described(value)}; accepted is an integer")
    if value < least:
        raise ValueError(f"{name} is {value}; accepted is an integer of at least {least}")
    return int(value)


def randomness(name, value):
    """Check None, a seed or a Generator of NumPy's. Returns the Generator, or None."""
    if value is None or isinstance(value, np.random.Generator):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {described(value)}; accepted are None, an integer and a numpy.random.Generator")
    return np.random.default_rng(count(name, value))


def columns(X, n, dtype, source):
    """Check that a block has n columns of this dtype; `source` says in words where they come from."""
    if X.shape[1] != n or X.dtype != dtype:
        raise (ValueError if X.dtype == dtype else TypeError)(
            f"X has {X.shape[1]} columns of {X.dtype}; accepted are {n} of {dtype}, as {source}"
        )


def function(name, value):
    """Check something that can be called, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} is {described(value)}; accepted is a function")


# ---------------------------------------------------------------- shared by the checks above


def _array(name, value):
    if type(value) is not np.ndarray and type(value) is not np.memmap and type(value) is not DeviceArray:
        hint = f": np.asarray({name}) makes one" if isinstance(value, (list, tuple)) else _conversion(name, value)
        raise TypeError(f"{name} is {described(value)}; accepted is a numpy.ndarray{hint}")
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {value.dtype}; accepted are real numbers")
    if not value.dtype.isnative or not value.flags.aligned:
        copy = _in_dtype(name, value, value.dtype.newbyteorder("=").name)
        raise TypeError(
            f"{name} is byte-swapped or misaligned; accepted is native byte order, aligned: {copy} makes such a copy"
        )


def _conversion(name, value):
    """How to make an ndarray of what came, where it has a way of its own."""
    library = library_of(value)
    if library is not None:
        return f": {library.to_ndarray.format(name=name)} makes one"
    if hasattr(value, "to_dask_array") or hasattr(value, "__dask_graph__"):
        return "; of dask arrays jitlogreg.dask.Objective makes what fit and gradient_descent take"
    if isinstance(value, np.ma.MaskedArray):
        return f": {name}.filled(value) makes one"
    for method in ("toarray", "to_numpy", "numpy"):
        if hasattr(value, method):
            return f": {name}.{method}() makes one"
    return f": np.asarray({name}) makes one" if isinstance(value, np.ndarray) else ""


def described(value):
    """What came, by its type, for a message."""
    kind = type(value)
    return "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "of type ")


def float_dtype(name, array):
    """Raise TypeError for an array of another dtype than float32 and float64."""
    if array.dtype not in FLOATS:
        hint = _in_dtype(name, array, "float64")
        raise TypeError(f"{name} has dtype {array.dtype}; accepted are float32 and float64: {hint}")


def _length(name, array, length, meaning):
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}; accepted is ({length},): {meaning}")


def _real(name, value, dtype):
    """A real scalar, rounded to the dtype: a NumPy scalar, or the Python float that came."""
    # the common cases, up to 2 µs sooner: nothing to round, or far from where rounding raises NumPy's warnings
    if type(value) is float:
        if dtype.itemsize == 8:
            return value
        if value == 0 or 1e-30 < abs(value) < 1e30:
            return dtype.type(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.floating, np.integer)):
        raise TypeError(f"{name} is {described(value)}; accepted is a real number")
    try:
        with np.errstate(all="ignore"):
            number = dtype.type(value)
    except OverflowError:  # integers and fractions beyond float64
        number = dtype.type(math.inf)
    if np.isinf(number) and abs(value) != math.inf:
        raise ValueError(f"{name} is {value!s}; accepted are numbers within {dtype.name}")
    return number


def _per_row(name, array, dtype, refuse):
    if array.dtype == dtype:
        return _contiguous(array)
    if type(array) is not DeviceArray:
        return _converted(name, array, dtype, refuse)
    if array.dtype.kind != "f" or array.dtype.itemsize < dtype.itemsize:
        return array.astype(dtype)  # nothing is lost: what is wrong stays wrong, and the kernel sees it
    return array.from_numpy(_converted(name, array.to_numpy(), dtype, refuse))


def _converted(name, array, dtype, refuse):
    """Labels or weights in another dtype, once they are known to be good in theirs and to have come through."""
    if array.dtype.kind != "b":
        refuse(array)
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if array.dtype.itemsize > dtype.itemsize:
        wrong = ~np.isfinite(converted)
        if name == "sample_weight":
            wrong |= (converted == 0) & (array != 0)  # the example would be left out unseen
        _refuse_first(name, array, wrong, f"numbers within {dtype.name}, the dtype of w")
    return converted


def _refuse_labels(y):
    _refuse_first("y", y, ~((y >= 0) & (y <= 1)), "labels from 0 to 1")


def _refuse_weights(sample_weight):
    wrong = ~((sample_weight >= 0) & (sample_weight < np.inf))
    _refuse_first("sample_weight", sample_weight, wrong, "finite weights of at least 0")


def _refuse_first(name, array, wrong, accepted):
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"{name}[{i}] is {array[i]!s}; accepted are {accepted}")


# ---------------------------------------------------------------- where a DeviceArray is asked in other words


def _contiguous(array):
    return array.contiguous() if type(array) is DeviceArray else np.ascontiguousarray(array)


def _share_memory(a, b):
    if type(a) is DeviceArray:
        a, b = _addresses(a), _addresses(b)
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def _addresses(array):
    """A NumPy array that lies where a `DeviceArray` does: good for asking about that, and not to be read."""
    interface = {
        "version": 3,
        "shape": array.shape,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "data": (array.address, True),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def _in_dtype(name, array, dtype):
    """How a copy in another dtype is spelled."""
    if type(array) is DeviceArray:
        return array.library.to_dtype.format(name=name, dtype=dtype)
    return f"{name}.astype({dtype!r})"

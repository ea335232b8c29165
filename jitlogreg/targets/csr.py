"""Sparse rows: the numbers of a matrix that are not 0, row after row."""

import sys
from collections.abc import Iterator

import numpy as np

_DTYPES = np.dtype(np.float32), np.dtype(np.float64)
_INDEX_DTYPES = np.dtype(np.int32), np.dtype(np.int64)

# Numbers whose indices are looked at in one go
_CHECKED_AT_ONCE = 1 << 16


class CSR:
    """A sparse matrix (m, n) in compressed sparse rows: an X for every call.

    Row i has the numbers ``data[indptr[i] : indptr[i + 1]]`` in the columns ``indices[indptr[i] : indptr[i + 1]]``.
    Columns need not be sorted; numbers of the same row and column add up, as SciPy means them. What is not stored is
    left out of every sum: unlike a stored 0 it stays 0 beside an infinite or NaN coefficient.

    Parameters
    ----------
    data : ndarray of float32 or float64, shape (k,); or None
        None says that all numbers are 1, in float64, and spares kernels to read them.
    indices : ndarray of int32 or int64, shape (k,)
        Columns, from 0 to n − 1.
    indptr : ndarray of int32 or int64, shape (m + 1,)
        From 0 to k, never falling.
    shape : tuple of int
        (m, n)

    Attributes
    ----------
    dtype : numpy.dtype
        Of the numbers.

    Raises
    ------
    TypeError
        If an array is none, or of another dtype.
    ValueError
        If lengths disagree. What the indices are is looked at by the kernels, as they read them: a column out of range,
        or an indptr that falls, raises ValueError there and reads nothing outside the arrays.

    Notes
    -----
    The arrays are taken as they are, never copied. A slice of rows, ``X[10:90]``, shares them; one with a step copies.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> X = jlr.CSR(np.array([1.0, 2.0, -3.0]), np.array([0, 2, 1]), np.array([0, 2, 3]), (2, 3))
    >>> X.toarray()
    array([[ 1.,  0.,  2.],
           [ 0., -3.,  0.]])
    >>> jlr.forward(X, np.array([0.5, 1.0, 0.25]), 0.0).round(6)
    array([0.731059, 0.047426])
    """

    __slots__ = ("_words", "data", "dtype", "indices", "indptr", "shape")
    ndim = 2

    def __init__(self, data, indices, indptr, shape):
        self.shape = _checked_shape(shape)
        m = self.shape[0]
        for name, array in (("indices", indices), ("indptr", indptr)):
            _check_array(name, array, _INDEX_DTYPES, "int32 or int64")
        self.dtype = np.dtype(np.float64)
        if data is not None:
            _check_array("data", data, _DTYPES, "float32 or float64")
            self.dtype = data.dtype
            if len(data) != len(indices):
                raise ValueError(f"data: expected shape ({len(indices)},), one number per index, got {data.shape}")
        if len(indptr) != m + 1:
            raise ValueError(f"indptr: expected shape ({m + 1},), one more than X has rows, got {indptr.shape}")
        self.data, self.indices, self.indptr = data, indices, indptr
        self._words = None

    @classmethod
    def of_scipy(cls, X):
        """The same matrix as a csr_array or csr_matrix of SciPy, whose arrays it shares."""
        if X.dtype not in _DTYPES:
            raise TypeError(f"X: expected float32 or float64, got {X.dtype}: X.astype('float64') converts it")
        return cls(X.data, X.indices, X.indptr, X.shape)

    @property
    def nnz(self) -> int:
        """How many numbers the rows have, stored zeros among them."""
        return int(self.indptr[-1]) - int(self.indptr[0])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Those that have the numbers and where they belong."""
        return tuple(array for array in (self.data, self.indices, self.indptr) if array is not None)

    @property
    def words(self) -> np.ndarray:
        """What kernels read of it: three addresses, the bytes of a number of indptr, and how many indices there are."""
        if self._words is None:
            addresses = (0 if array is None else array.ctypes.data for array in (self.data, self.indices, self.indptr))
            self._words = np.array([*addresses, self.indptr.itemsize, len(self.indices)], np.int64)
        return self._words

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<CSR {self.shape} of {self.dtype}, {self.nnz} stored>"

    def __reduce__(self):
        first, last = int(self.indptr[0]), int(self.indptr[-1])
        data = None if self.data is None else self.data[first:last]
        return CSR, (data, self.indices[first:last], self.indptr - self.indptr.dtype.type(first), self.shape)

    def __getitem__(self, rows):
        """Some rows: a slice, which shares the arrays if its step is 1; or their numbers, which copies."""
        m, n = self.shape
        if not isinstance(rows, slice):
            if isinstance(rows, tuple) or np.ndim(rows) != 1:
                raise TypeError(
                    "X: expected a slice of rows, their numbers or a mask in the brackets of a CSR, got "
                    f"{type(rows).__name__}: X.toarray() makes a matrix that takes any"
                )
            rows = np.asarray(rows)
            return self._gathered(np.arange(m)[rows if rows.size else rows.astype(np.intp)])
        start, stop, step = rows.indices(m)
        if step != 1:
            return self._gathered(np.arange(start, stop, step))
        stop = max(start, stop)
        return CSR(self.data, self.indices, self.indptr[start : stop + 1], (stop - start, n))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("X: expected a numpy.ndarray, got a CSR: X.toarray() makes one, X.to_scipy() a csr_array")

    def to_scipy(self):
        """The same matrix as a csr_array of SciPy, which shares the arrays if `data` is not None."""
        from scipy import sparse  # which nothing else here needs

        first, last = int(self.indptr[0]), int(self.indptr[-1])
        data = np.ones(last - first) if self.data is None else self.data[first:last]
        indptr = self.indptr - self.indptr.dtype.type(first)
        return sparse.csr_array((data, self.indices[first:last], indptr), self.shape)

    def _gathered(self, rows):
        starts = self.indptr[rows].astype(np.int64)
        lengths = self.indptr[rows + 1] - starts
        indptr = np.append(0, np.cumsum(lengths))
        places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        data = None if self.data is None else self.data[places]
        return CSR(data, self.indices[places], indptr.astype(self.indptr.dtype), (len(rows), self.shape[1]))

    def of_columns(self, which) -> "CSR":
        """The columns of these numbers alone, which must rise and have all that are stored."""
        first, last = int(self.indptr[0]), int(self.indptr[-1])
        indices = np.searchsorted(which, self.indices[first:last])
        data = None if self.data is None else self.data[first:last]
        indptr = self.indptr - self.indptr.dtype.type(first)
        return CSR(data, indices, indptr, (self.shape[0], len(which)))

    def merged(self) -> "CSR":
        """The same matrix, in which no row has a column twice."""
        numbers, columns = self.stored()
        places = self.row_numbers() * max(self.shape[1], 1) + columns
        found, of_number = np.unique(places, return_inverse=True)
        data = np.bincount(of_number, numbers, len(found)).astype(self.dtype)
        rows, columns = np.divmod(found, max(self.shape[1], 1))
        return CSR(data, columns, np.searchsorted(rows, np.arange(self.shape[0] + 1)), self.shape)

    def row_numbers(self) -> np.ndarray:
        """The row of each stored number."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    def stored(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the rows, in float64, and their columns."""
        which = slice(int(self.indptr[0]), int(self.indptr[-1]))
        columns = self.indices[which]
        data = np.ones(len(columns)) if self.data is None else self.data[which].astype(np.float64, copy=False)
        return data, columns

    def toarray(self) -> np.ndarray:
        """The dense matrix, a new array in C order."""
        self.check_structure()
        dense = np.zeros(self.shape, self.dtype)
        data, columns = self.stored()
        np.add.at(dense, (self.row_numbers(), columns), data.astype(self.dtype, copy=False))
        return dense

    def without_ones(self) -> "CSR":
        """The same matrix without `data` where that is all ones."""
        if self.data is None or self.dtype != np.float64 or not all(np.all(part == 1) for part in self._parts()):
            return self
        return CSR(None, self.indices, self.indptr, self.shape)

    def _parts(self) -> Iterator[np.ndarray]:
        """The stored numbers, some at a time; indptr may be wrong."""
        first, last = max(int(self.indptr[0]), 0), min(int(self.indptr[-1]), len(self.indices))
        for k in range(first, last, _CHECKED_AT_ONCE):
            yield self.data[k : min(k + _CHECKED_AT_ONCE, last)]

    def check_structure(self) -> None:
        """Raise ValueError for the first fault of indptr or of the indices."""
        indptr, count, n = self.indptr, len(self.indices), self.shape[1]
        outside = (indptr < 0) | (indptr > count)
        _refuse_first("indptr", indptr, outside, f"a number from 0 to {count}, the length of indices")
        falls = np.append(False, indptr[1:] < indptr[:-1])
        _refuse_first("indptr", indptr, falls, "no less than the number before it")
        for first in range(int(indptr[0]), int(indptr[-1]), _CHECKED_AT_ONCE):
            part = self.indices[first : min(first + _CHECKED_AT_ONCE, int(indptr[-1]))]
            _refuse_first("indices", part, (part < 0) | (part >= n), f"a column from 0 to {n - 1}", first)

    def check_finite(self) -> None:
        """Raise ValueError for the first stored number that is not finite."""
        if self.data is not None:
            for k, part in enumerate(self._parts()):
                first = max(int(self.indptr[0]), 0) + k * _CHECKED_AT_ONCE
                hint = ": check_finite=False lets an Objective take it"
                _refuse_first("data", part, ~np.isfinite(part), "a finite number", first, hint)


def as_csr(X):
    """A csr_array or csr_matrix of SciPy as a CSR that shares its arrays; anything else is returned as it is."""
    scipy_sparse = sys.modules.get("scipy.sparse")  # such a matrix exists only if that is imported
    if scipy_sparse is not None and isinstance(X, (scipy_sparse.csr_array, scipy_sparse.csr_matrix)):
        return CSR.of_scipy(X)
    return X


def concatenated(parts):
    """Rows of several matrices in one: of CSRs, or of arrays."""
    if not isinstance(parts[0], CSR):
        return np.concatenate(parts)
    numbers, columns = zip(*(part.stored() for part in parts), strict=True)
    ends = np.cumsum([0, *(part.nnz for part in parts)])
    starts = [part.indptr[:-1].astype(np.int64) - part.indptr[0] + end for part, end in zip(parts, ends, strict=False)]
    dtype, shape = parts[0].dtype, (sum(map(len, parts)), parts[0].shape[1])
    return CSR(
        np.concatenate(numbers).astype(dtype),
        np.concatenate(columns),
        np.append(np.concatenate(starts), ends[-1]),
        shape,
    )


def _refuse_first(name, array, wrong, expected, first=0, hint=""):
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(f"{name}[{first + k}]: expected {expected}, got {array[k]}{hint}")


def _check_array(name, array, dtypes, expected):
    if not isinstance(array, np.ndarray):
        came = "None" if array is None else f"a {type(array).__module__}.{type(array).__qualname__}"
        raise TypeError(f"{name}: expected a numpy.ndarray, got {came.replace('builtins.', '')}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {array.shape}")
    if array.dtype not in dtypes or not array.dtype.isnative:
        raise TypeError(
            f"{name}: expected {expected}, got {array.dtype}: {name}.astype({str(dtypes[-1])!r}) converts it"
        )
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name}: expected a contiguous, aligned array: np.ascontiguousarray({name}) makes one")


def _checked_shape(shape):
    try:
        m, n = shape
        m, n = m.__index__(), n.__index__()
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"shape: expected two integers, got {shape!r}") from None
    if min(m, n) < 0:
        raise ValueError(f"shape: expected numbers of at least 0, got {shape!r}")
    return m, n

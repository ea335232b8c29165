"""The matrices of sparse_fuzz.py: sparse ones of many kinds, with the arguments of the calls, and malformed ones."""

import zlib
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr

DTYPES = [("float64", "float64"), ("float32", "float32"), ("float32", "float64")]


class Case(NamedTuple):
    """A matrix, and the arguments of the calls."""

    X: jlr.CSR
    y: np.ndarray
    sample_weight: np.ndarray | None
    offset: np.ndarray | None
    w: np.ndarray
    b: float
    l2: float


def random_csr(rng, m, n, density, *, index, repeats):
    """Numbers of 0 to some orders of magnitude: in each row in order, in none, or with columns more than once.

    Some rows are empty, and some numbers are stored zeros. Rows may be cut away, so that indptr begins above 0.
    """
    cut = int(rng.integers(0, 4))
    rows = m + cut
    if repeats:
        counts = rng.binomial(n, density, rows)
        columns = rng.integers(0, max(n, 1), counts.sum())
    else:
        stored = rng.uniform(size=(rows, n)) < density
        counts, columns = stored.sum(axis=1), np.nonzero(stored)[1]
        if rng.uniform() < 0.5:
            row_numbers = np.repeat(np.arange(rows), counts)
            columns = columns[np.lexsort((rng.uniform(size=len(columns)), row_numbers))]
    kept = rng.uniform(size=rows) < rng.choice([1.0, 0.8])
    columns, counts = columns[np.repeat(kept, counts)], counts * kept
    data = rng.normal(size=len(columns)) * (rng.uniform(size=len(columns)) > 0.1)
    indptr = np.append(0, np.cumsum(counts))
    return jlr.CSR(data, columns.astype(index), indptr.astype(index), (rows, n))[cut:]


def arguments(rng, X, dtypes, *, spread=0.0, w=None):
    """The case of a matrix; columns, and coefficients against them, are times powers of ten up to ± `spread`."""
    (m, n), (x_dtype, w_dtype) = X.shape, dtypes
    exponents = rng.uniform(-spread, spread, n)
    if X.data is not None:
        data = (X.data * 10.0 ** exponents[X.indices]).astype(x_dtype)
        X = jlr.CSR(data, X.indices, X.indptr, X.shape)
    if w is None:
        per_row = max(1.0, X.nnz / max(m, 1))
        off = rng.uniform(-spread, spread, n) * rng.integers(2)
        w = rng.normal(size=n) * 10.0 ** (rng.uniform(-2, 1.5) + off - exponents) / np.sqrt(per_row)
    y = rng.uniform(size=m)
    y = y if rng.uniform() < 0.3 else (y < 0.5) * 1.0
    s = 10.0 ** rng.uniform(-3, 3, m) * (rng.uniform(size=m) < 0.9) if m and rng.uniform() < 0.5 else None
    if s is not None:
        s[rng.integers(m)] = 1.0
    offset = rng.normal(size=m) * 10.0 ** rng.uniform(-1, 2) if rng.uniform() < 0.3 else None
    y, s, offset, w = (None if array is None else array.astype(w_dtype) for array in (y, s, offset, w))
    b = float(np.dtype(w_dtype).type(rng.normal() * rng.integers(2)))
    return Case(X, y, s, offset, w, b, float(10.0 ** rng.uniform(-6, 0)) * int(rng.integers(2)))


def size(rng, most):
    """From 0 to `most`, small ones often."""
    return int(rng.integers(0, most + 1)) if rng.uniform() < 0.5 else int((most + 1) ** rng.uniform()) - 1


def any_shape(rng, dtypes, index, rows=300, columns=300, **more):
    """0 to some hundred rows and columns, of any density from 0 to 1."""
    density = rng.uniform() if rng.uniform() < 0.5 else 10.0 ** rng.uniform(-3, 0)
    density = float(rng.choice([density, density, density, 0.0, 1.0]))
    made = random_csr(
        rng, size(rng, rows), size(rng, columns), density, index=index, repeats=bool(rng.uniform() < 0.25)
    )
    return arguments(rng, made, dtypes, **more)


def magnitudes(rng, dtypes, index):
    """Columns times powers of ten up to 1e±100, in float32 up to 1e±12, and some coefficients times others.

    There is no penalty: ‖w‖² would overflow.
    """
    case = any_shape(rng, dtypes, index, spread=rng.uniform(1, 12 if "float32" in dtypes else 100))
    return case._replace(l2=0.0)


def tall(rng, dtypes, index):
    """Up to 6,000 rows of up to 12 columns: several tasks."""
    return any_shape(rng, dtypes, index, 6_000, 12)


def wide(rng, dtypes, index):
    """Up to 20 rows of up to 5,000 columns: one task, and long rows."""
    return any_shape(rng, dtypes, index, 20, 5_000)


def ones(rng, dtypes, index):
    """All numbers are 1, and are not stored."""
    case = any_shape(rng, ("float64", "float64"), index)
    return case._replace(X=jlr.CSR(None, case.X.indices, case.X.indptr, case.X.shape))


def sums_alone(rng, dtypes, index):
    """w = 0, so that residuals are exact and dw has the errors of its sums alone; columns of many orders."""
    case = tall(rng, dtypes, index)
    exponents = rng.uniform(-12, 12, len(case.X.indices))  # of each number
    data = (case.X.data * 10.0**exponents).astype(case.X.dtype)
    X = jlr.CSR(data, case.X.indices, case.X.indptr, case.X.shape)
    y = (case.y > 0.5).astype(case.y.dtype)
    return case._replace(X=X, y=y, offset=None, w=np.zeros_like(case.w), b=0.0)


KINDS = {
    "any": any_shape,
    "magnitudes": magnitudes,
    "tall": tall,
    "wide": wide,
    "ones": ones,
    "sums alone": sums_alone,
}
MALFORMED = "malformed"
ALL_KINDS = (*KINDS, MALFORMED)


def make(kind, seed):
    """The case of a kind and a seed; the same for ever, as long as the kind is."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    dtypes, index = DTYPES[seed % 3], (np.int32, np.int64)[seed // 3 % 2]
    if kind != MALFORMED:
        return KINDS[kind](rng, dtypes, index)
    case = any_shape(rng, dtypes, index)
    while len(case.X) == 0:
        case = any_shape(rng, dtypes, index)
    return case._replace(X=spoiled(rng, case.X))


def spoiled(rng, X):
    """A copy of X with one fault in what its rows use of its index arrays."""
    indices, indptr, count = X.indices.copy(), X.indptr.copy(), len(X.indices)
    extremes = np.iinfo(indices.dtype)
    if X.nnz > 0 and rng.uniform() < 0.5:
        outside = [-1, X.shape[1], X.shape[1] + 1, extremes.max, extremes.max - 1, extremes.min, extremes.min + 1]
        indices[rng.integers(int(indptr[0]), int(indptr[-1]))] = rng.choice(outside)
        return jlr.CSR(X.data, indices, indptr, X.shape)
    k = int(rng.integers(len(indptr)))
    outside = [-1, count + 1, extremes.max, extremes.max - 1, extremes.min, extremes.min + 1]
    falls = [int(indptr[k - 1]) - 1] if k > 0 and indptr[k - 1] > 0 else []
    indptr[k] = rng.choice([*outside, *falls])
    return jlr.CSR(X.data, indices, indptr, X.shape)

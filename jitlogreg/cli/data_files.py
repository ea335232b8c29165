"""The files that `jitlogreg demo` reads: arrays (.npz), tables (.csv, .parquet) and sparse rows (.svm)."""

import csv
import importlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jitlogreg.cli.errors import UsageError
from jitlogreg.cli.machine import memory
from jitlogreg.libsvm import read_libsvm

# A column of text with more values than this is no category, as its first rows mostly tell
MOST_VALUES = 20
PEEK_ROWS = 200

# Numbers, 1 GiB of them, that sparse rows may become: the demo standardises columns, and then none is sparse
MOST_DENSE = 2**27

_MISSING = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None"]

_BEYOND_MEMORY = "jitlogreg.dask and minibatch_descent take more, as docs/how-to/data-beyond-memory.md says"


class Contents(NamedTuple):
    """What a file holds, before the labels are chosen.

    Attributes
    ----------
    kind : {"array", "column"}
        What the file calls the things that may be labels.
    names : list of str
    columns : list of ndarray or None
        One for each name: numbers, where NaN is a missing one, or strings, where None or "" is. None where there is
        text of more than MOST_VALUES values, or what only unpickling would tell.
    X : ndarray, shape (m, n), or None
        The examples; None where they are `columns` without the labels.
    """

    kind: str
    names: list
    columns: list
    X: np.ndarray | None = None


def read(path):
    """Read a file.

    Parameters
    ----------
    path : str

    Returns
    -------
    Contents

    Raises
    ------
    UsageError
        If the file cannot be read, or is larger than memory, or what would read it is not installed.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet, ".pq": _read_parquet}
    of_libsvm = dict.fromkeys((".svm", ".svmlight", ".libsvm"), _read_libsvm)
    suffix = Path(path).suffix.lower()
    if suffix in (".gz", ".bz2", ".xz"):
        reader = of_libsvm.get(Path(path).with_suffix("").suffix.lower())
    else:
        reader = (readers | of_libsvm).get(suffix)
    if reader is None:
        raise UsageError(f"--data: expected a .npz, .csv, .parquet, .pq, .svm, .svmlight or .libsvm file, got {path}")
    try:
        size = Path(path).stat().st_size
        if size > (memory() or size):
            raise MemoryError
        return reader(path)
    except MemoryError as error:
        raise UsageError(f"--data: expected a file that fits in memory, got {path}: {_BEYOND_MEMORY}") from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"--data: expected a file that can be read, got {path}: {reason}") from error


# ---------------------------------------------------------------- arrays


def _read_npz(path):
    with Path(path).open("rb") as file:  # np.load would not close a file that is no archive
        try:
            archive = np.load(file, allow_pickle=False)
        except ValueError as error:  # NumPy would have it unpickled
            raise ValueError("it is no archive of arrays") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array, and no archive of named ones")
        arrays = {name: _array(archive, name) for name in archive.files}
    matrices = [name for name, array in arrays.items() if array is not None and array.ndim == 2]
    name = "X" if "X" in arrays else matrices[0] if len(matrices) == 1 else None
    if name is None:
        raise ValueError(f"it holds {len(matrices)} arrays of two dimensions, of which none is named X")
    X = arrays.pop(name)
    if X is None or X.ndim != 2 or X.dtype.kind not in "biuf":
        found = "Python objects" if X is None else f"{X.dtype} of shape {X.shape}"
        raise ValueError(f"its array {name} should hold numbers and have two dimensions, but holds {found}")
    labels = {other: array for other, array in arrays.items() if array is None or array.shape == X.shape[:1]}
    return Contents("array", list(labels), list(labels.values()), X)


def _array(archive, name):
    """An array, or None if only unpickling would tell what it holds."""
    try:
        return archive[name]
    except ValueError:
        return None


def _read_libsvm(path):
    try:
        X, y = read_libsvm(path)
    except ValueError as error:  # which says what is wrong with the file, and where
        raise UsageError(f"--data: {str(error).removeprefix('path: ')}") from error
    m, n = X.shape
    if m * n > MOST_DENSE:
        raise UsageError(
            f"--data: expected sparse rows that have at most {MOST_DENSE} elements, as the demo makes them dense, got "
            f"{m} x {n}: jitlogreg.read_libsvm reads them in Python"
        )
    return Contents("array", ["label"], [y], X.toarray())


# ---------------------------------------------------------------- tables


def _read_csv(path):
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t", key=file.readline().count)
        file.seek(0)
        # by readline, as a file that is iterated over does not tell where it stands
        rows = filter(None, csv.reader(iter(file.readline, ""), delimiter=delimiter))
        first, start = [cell.strip() for cell in next(rows, [])], file.tell()
        second = [cell.strip() for cell in next(rows, [])]
        is_named = _are_names(first, second)
        if not (second if is_named else first):
            raise ValueError("it has no rows")
        file.seek(start if is_named else 0)
        columns = _columns(
            lambda pandas: _csv_by_pandas(pandas, file, delimiter),
            lambda polars: _csv_by_polars(polars, file, delimiter),
        )
        if columns is None:
            columns = list(enumerate(_csv_by_numpy(file, delimiter).T))
    names = first if is_named else [f"column_{j + 1}" for j in range(len(first))]
    if len(columns) != len(names):
        raise ValueError(f"its first line has {len(names)} columns, another one {len(columns)}")
    return Contents("column", names, [column for _, column in columns])


def _are_names(first, second):
    """Whether the first line has names: there is no number in it, or a name stands above a number."""
    above = zip(first, second, strict=False)
    return not any(map(_is_number, first)) or any(
        _is_number(below) and not _is_number(cell) and cell not in _MISSING for cell, below in above
    )


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv_by_pandas(pandas, file, delimiter):
    missing = {"na_values": _MISSING, "keep_default_na": False}
    # low memory would type a long column piece by piece
    return pandas.read_csv(file, sep=delimiter, header=None, skipinitialspace=True, low_memory=False, **missing)


def _csv_by_polars(polars, file, delimiter):
    rows = io.BytesIO(file.read().lstrip("\r\n").encode())
    frame = polars.read_csv(rows, separator=delimiter, has_header=False, infer_schema=False)
    return frame.filter(~polars.all_horizontal(polars.all().is_null()))  # blank lines


def _csv_by_numpy(file, delimiter):
    try:
        return np.loadtxt(file, delimiter=delimiter, quotechar='"', comments=None, ndmin=2)
    except ValueError as error:
        reason = str(error).partition(";")[0].rstrip(".")  # what follows is advice on NumPy's arguments
        raise ValueError(f"{reason}: NumPy alone reads no text and no missing values, pip install pandas") from error


def _read_parquet(path):
    columns = _columns(lambda pandas: pandas.read_parquet(path), lambda polars: polars.read_parquet(path))
    if columns is None:
        raise UsageError(
            f"--data: expected pandas with pyarrow, or Polars, to read {path}, got neither: pip install pandas pyarrow"
        )
    return Contents("column", [name for name, _ in columns], [column for _, column in columns])


def _columns(read_by_pandas, read_by_polars):
    """Names and columns of a table, by whichever library is installed, or None.

    Raises
    ------
    ValueError
        In place of the libraries' own errors.
    """
    for name, read, columns in (
        ("pandas", read_by_pandas, _columns_of_pandas),
        ("polars", read_by_polars, _columns_of_polars),
    ):
        try:
            library = importlib.import_module(name)
            return list(columns(library, read(library)))
        except ImportError:  # pandas raises it where pyarrow is missing
            continue
        except MemoryError:
            raise
        except Exception as error:  # each library has classes of its own
            reason, *_ = str(error).splitlines() or [type(error).__name__]  # advice on their arguments may follow
            raise ValueError(reason) from error
    return None


def _columns_of_pandas(pandas, frame):
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        if not pandas.api.types.is_numeric_dtype(column):
            yield str(name), _categories(column.astype(object).where(column.notna(), None))
        else:
            yield str(name), column.to_numpy(np.float64, na_value=np.nan)


def _columns_of_polars(polars, frame):
    for column in frame.get_columns():
        if column.dtype == polars.String:  # of a .csv, numbers too
            column = column.str.strip_chars()
            column = column.set(column.is_in(_MISSING), None)
            numbers = column.cast(polars.Float64, strict=False)
            column = numbers if numbers.null_count() == column.null_count() else column
        if column.dtype.is_numeric() or column.dtype == polars.Boolean:
            yield column.name, column.cast(polars.Float64).to_numpy()
        else:
            yield column.name, _categories(column)


def _categories(series):
    """The strings of a series, with None for missing ones; or None, if there are too many."""
    if len(set(map(str, series.head(PEEK_ROWS)))) > MOST_VALUES + 1:  # None among them
        return None
    return np.array([None if value is None else str(value).strip() for value in series], object)

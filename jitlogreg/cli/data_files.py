"""The files that `jitlogreg demo` reads: arrays (.npz) and tables (.csv, .parquet)."""

import contextlib
import csv
import importlib
import itertools
import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jitlogreg.cli.errors import UsageError

# So many rows of a table tell which columns hold text, and which may have two values
PEEK_ROWS = 200

# Spellings of a missing number, in lower case
_MISSING = {"", "?", "na", "n/a", "nan", "none", "null"}


class Contents(NamedTuple):
    """What a file holds, before the labels are chosen.

    Attributes
    ----------
    kind : {"array", "column"}
        What the file calls the things that may be labels.
    names : list of str
    columns : list of ndarray or None
        One for each name: float64, or strings, where "" is a missing one. None: strings of more than two values.
    X : ndarray, shape (m, n), or None
        The examples; None where they are those of `columns` that hold numbers.
    """

    kind: str
    names: list
    columns: list
    X: np.ndarray | None = None


def read(path, label):
    """Read a file.

    Parameters
    ----------
    path : str
    label : str or None
        The array or the column of labels, if it is known.

    Returns
    -------
    Contents
        Every column of a table. Of arrays, the labels; or those with one dimension, if `label` is None.

    Raises
    ------
    UsageError
        If the file cannot be read, or what would read it is not installed.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet, ".pq": _read_parquet}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise UsageError(f"--data: expected a .npz, .csv, .parquet or .pq file, got {path}")
    try:
        return reader(path, label)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if "pickle" in str(reason):  # NumPy advises to unpickle it
            reason = "expected a file of arrays, got another or one that holds Python objects"
        raise UsageError(f"cannot read {path}: {reason}") from error


def listed(names, spell=str):
    """At most eight names, to fit on one line."""
    shown = ", ".join(map(spell, names[:8]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 8 else shown or "none"


# ---------------------------------------------------------------- arrays


def _read_npz(path, label):
    with Path(path).open("rb") as file:  # np.load would not close a file that is no archive
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("expected an archive of named arrays, got a single array")
        if label is not None and label not in archive.files:
            raise ValueError(f"expected an array {label!r}, got the arrays {listed(archive.files)}")
        if "X" in archive.files:
            name, X = "X", archive["X"]
        else:
            matrices = [(name, array) for name, array in _arrays(archive) if array.ndim == 2]
            if len(matrices) != 1:
                raise ValueError(f"expected an array 'X' or one array of two dimensions, got {len(matrices)} of these")
            name, X = matrices[0]
        if label is not None:
            return Contents("array", [label], [archive[label]], X)
        others = {other: array for other, array in _arrays(archive) if other != name and array.shape == X.shape[:1]}
        return Contents("array", list(others), list(others.values()), X)


def _arrays(archive):
    """Names and arrays, without those that hold Python objects."""
    for name in archive.files:
        with contextlib.suppress(ValueError):
            yield name, archive[name]


# ---------------------------------------------------------------- tables


def _check_named_once(names, label):
    if label is not None and names.count(label) != 1:
        raise ValueError(f"expected one column {label!r}, got {names.count(label)} in the columns {listed(names)}")


def _read_csv(path, label):
    with Path(path).open(encoding="utf-8-sig", newline="") as lines:
        delimiter = max(",;\t", key=lines.readline().count)
        lines.seek(0)
        first_rows = [row for row in itertools.islice(csv.reader(lines, delimiter=delimiter), PEEK_ROWS) if row]
        _check_widths(first_rows)
        cells = [[cell.strip() for cell in column] for column in zip(*first_rows, strict=True)]
        is_named = _has_names(cells, label)
        names = [column[0] if is_named else f"column_{j + 1}" for j, column in enumerate(cells)]
        _check_named_once(names, label)
        if len(first_rows) <= is_named:
            raise ValueError("expected at least one row, got none")
        lines.seek(0)
        if is_named:
            next(row for row in csv.reader(lines, delimiter=delimiter) if row)
        return Contents(
            "column", names, _parsed(lines, delimiter, [column[is_named:] for column in cells], names, label)
        )


def _check_widths(rows):
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"line {number}: expected {len(rows[0])} columns, as the first line has, got {len(row)}")


def _has_names(columns, label):
    """Whether the first line names the columns.

    It does if the label's name is in it, no number is, or a column of numbers begins with anything else.
    """
    first = [column[0] for column in columns]
    return (
        label in first
        or not any(map(_is_number, first))
        or any(
            not _is_number(column[0]) and column[0].lower() not in _MISSING and _holds_numbers(column[1:])
            for column in columns
        )
    )


def _holds_numbers(cells):
    """Whether all cells are numbers, apart from missing ones."""
    present = [cell for cell in cells if cell.lower() not in _MISSING]
    return bool(present) and all(map(_is_number, present))


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parsed(lines, delimiter, first_cells, names, label):
    """The columns of the lines that are left. `first_cells` are the first cells of each."""
    is_text = [not any(map(_is_number, cells)) for cells in first_cells]
    codes = {
        j: {}
        for j, cells in enumerate(first_cells)
        if names[j] == label or (label is None and is_text[j] and len(set(cells)) <= 2)
    }
    converters = {j: lambda text: 0.0 for j in range(len(names)) if is_text[j]}
    for j, known in codes.items():
        converters[j] = lambda text, known=known: known.setdefault(text.strip(), len(known))
    try:
        table = np.loadtxt(lines, delimiter=delimiter, quotechar='"', comments=None, ndmin=2, converters=converters)
    except ValueError as error:
        raise ValueError(_explained(error, names)) from error
    columns = [None if is_text[j] else table[:, j] for j in range(len(names))]
    for j, known in codes.items():
        columns[j] = _numbers_if_all_are(list(known))[table[:, j].astype(int)]
    return columns


def _explained(error, names):
    """NumPy's message about a cell, with the column's name."""
    found = re.match(r"could not convert string (.*) to float64 at row (\d+), column (\d+)", str(error), re.DOTALL)
    if found is None:
        return str(error).partition(";")[0]  # what follows is advice on NumPy's arguments
    text, row, column = found.groups()
    return f"row {int(row) + 1}, column {names[int(column) - 1]}: expected a number, got {text}"


def _numbers_if_all_are(texts):
    try:
        return np.array([float(text) for text in texts])  # "1" and "1.0" are one label
    except ValueError:
        return np.array(texts)


def _read_parquet(path, label):
    Path(path).stat()  # raises an error that says why, as not every library does
    names, columns = [], []
    for name, values in _parquet_columns(path):
        if not isinstance(values, np.ndarray):
            is_wanted = name == label or (label is None and len(set(map(str, values.head(PEEK_ROWS)))) <= 2)
            values = np.array(["" if value is None else str(value) for value in values]) if is_wanted else None
        names.append(name)
        columns.append(values)
    _check_named_once(names, label)
    return Contents("column", names, columns)


def _parquet_columns(path):
    """Names and columns by pandas or Polars, whichever is installed: float64 arrays, or series with None for missing.

    Raises
    ------
    UsageError
        If neither can read it.
    ValueError
        In place of the libraries' own errors.
    """
    found = "neither: pip install pandas pyarrow"
    for columns_by in (_columns_by_pandas, _columns_by_polars):
        try:
            return list(columns_by(path))
        except ModuleNotFoundError:
            continue
        except ImportError:
            found = "pandas alone: pip install pyarrow"
        except (OSError, MemoryError):
            raise
        except Exception as error:  # each library has classes of its own
            raise ValueError(str(error)) from error
    raise UsageError(f"cannot read {path}: expected pandas with pyarrow, or Polars, to be installed, got {found}")


def _columns_by_pandas(path):
    pandas = importlib.import_module("pandas")
    frame = pandas.read_parquet(path)
    for position, name in enumerate(frame.columns):
        column = frame.iloc[:, position]
        if pandas.api.types.is_numeric_dtype(column):
            yield str(name), column.to_numpy(np.float64, na_value=np.nan)
        else:
            yield str(name), column.astype(object).where(column.notna(), None)


def _columns_by_polars(path):
    polars = importlib.import_module("polars")
    for column in polars.read_parquet(path).get_columns():
        is_number = column.dtype.is_numeric() or column.dtype == polars.Boolean
        yield column.name, column.cast(polars.Float64).to_numpy() if is_number else column

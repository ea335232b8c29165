"""The training data of `jitlogreg demo`: scikit-learn's, or a file's."""

import csv
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jitlogreg.cli.errors import UsageError, optional_module


class Data(NamedTuple):
    """Examples with labels 0 and 1.

    Attributes
    ----------
    name : str
    X : ndarray of float64, shape (m, n)
        Finite.
    y : ndarray of float64, shape (m,)
        0 and 1, both present.
    classes : tuple of two str
        The names of label 0 and of label 1.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]


class Split(NamedTuple):
    """Training rows and held-out rows, standardised in the same way."""

    X: np.ndarray
    y: np.ndarray
    X_held_out: np.ndarray
    y_held_out: np.ndarray


def breast_cancer():
    """The Wisconsin breast-cancer data that scikit-learn carries: 569 tumours, 30 measurements, malignant or benign."""
    bunch = optional_module("sklearn.datasets", "scikit-learn").load_breast_cancer()
    return _checked("Wisconsin breast cancer", bunch.data, bunch.target_names[bunch.target])


def load(path, label):
    """Examples from a file.

    Parameters
    ----------
    path : str
        A file of NumPy arrays (.npz), where `X`, or the only array with two dimensions, holds the examples; nothing in
        it is unpickled. Or a table (.csv) of numbers with a line of column names.
    label : str
        The array or the column of labels, which may be any two values.

    Raises
    ------
    UsageError
        If the file cannot be read, or has other contents.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise UsageError(f"--data: expected a .npz or .csv file, got {path}")
    try:
        X, labels = reader(path, label)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if "pickle" in str(reason):  # NumPy advises to unpickle it
            reason = "expected a file of arrays, got another or one that holds Python objects"
        raise UsageError(f"cannot read {path}: {reason}") from error
    return _checked(Path(path).name, X, labels)


def split(data, seed):
    """Hold out a random quarter of the rows, and scale every column to mean 0 and deviation 1 over the others.

    Raises
    ------
    UsageError
        If there are too few rows, or a deviation is out of float64's range.
    """
    m = len(data.y)
    if m < 4:
        raise UsageError(f"{data.name}: expected at least 4 rows, since a quarter is held out, got {m}")
    order = np.random.default_rng(seed).permutation(m)
    held_out, kept = np.sort(order[: m // 4]), np.sort(order[m // 4 :])
    X = data.X[kept]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = X.mean(axis=0), X.std(axis=0)
        # a constant column has a deviation of rounding errors, not of 0
        deviation[X.min(axis=0) == X.max(axis=0)] = 1
        scaled = (data.X - mean) / deviation
    if not (np.isfinite(deviation).all() and np.isfinite(scaled).all()):
        raise UsageError(
            f"{data.name}: expected columns that can be standardised in float64, got numbers too large or too close "
            "together"
        )
    return Split(scaled[kept], data.y[kept], scaled[held_out], data.y[held_out])


def _read_npz(path, label):
    with Path(path).open("rb") as file:  # np.load would not close a file that is no archive
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("expected an archive of named arrays, got a single array")
        if label not in archive.files:
            raise ValueError(f"expected an array {label!r}, got the arrays {_listed(archive.files)}")
        labels = archive[label]
        if "X" in archive.files:
            return archive["X"], labels
        matrices = [name for name in archive.files if archive[name].ndim == 2]
        if len(matrices) != 1:
            raise ValueError(f"expected an array 'X' or one array of two dimensions, got {len(matrices)} of these")
        return archive[matrices[0]], labels


def _read_csv(path, label):
    with Path(path).open(encoding="utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines), [])
        if names.count(label) != 1:
            raise ValueError(f"expected one column {label!r}, got {names.count(label)} in the columns {_listed(names)}")
        column = names.index(label)
        codes = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no rows: refused below
            table = np.loadtxt(
                lines,
                delimiter=",",
                quotechar='"',
                comments=None,
                ndmin=2,
                converters={column: lambda text: codes.setdefault(text.strip(), len(codes))},
            )
    if not len(table):
        raise ValueError("expected at least one row, got none")
    if table.shape[1] != len(names):
        raise ValueError(f"expected {len(names)} columns, as the first line names, got {table.shape[1]}")
    labels = _numbers_if_all_are(list(codes))[table[:, column].astype(int)]
    return np.delete(table, column, axis=1), labels


def _numbers_if_all_are(texts):
    try:
        return np.array([float(text) for text in texts])  # "1" and "1.0" are one label
    except ValueError:
        return np.array(texts)


def _checked(name, X, labels):
    if X.ndim != 2 or X.shape[1] == 0 or X.dtype.kind not in "biuf":
        raise UsageError(f"{name}: expected X of numbers and shape (m, n), n > 0, got {X.dtype} and shape {X.shape}")
    if labels.shape != X.shape[:1]:
        raise UsageError(f"{name}: expected labels of shape {X.shape[:1]}, one per row of X, got {labels.shape}")
    X = np.ascontiguousarray(X, np.float64)
    if not np.isfinite(X).all():
        n_rows = np.count_nonzero(~np.isfinite(X).all(axis=1))
        raise UsageError(f"{name}: expected finite numbers, got NaN or infinity in {n_rows} of the rows")
    values, codes = np.unique(labels, return_inverse=True)
    if len(values) != 2 or (values.dtype.kind == "f" and np.isnan(values).any()):
        raise UsageError(f"{name}: expected two distinct labels, got {len(values)}: {_listed(values)}")
    return Data(name, X, codes.astype(np.float64), (str(values[0]), str(values[1])))


def _listed(names):
    """At most eight names, to fit on one line."""
    shown = ", ".join(map(str, names[:8]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 8 else shown or "none"

"""The data that `jitlogreg demo` learns from: scikit-learn's, or a file's."""

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
        What was called 0 and what was called 1.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]


class Split(NamedTuple):
    """Rows to learn from and rows held out, standardised alike."""

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
        A file of NumPy arrays (.npz), of which `X`, or the only one with two dimensions, holds the examples; nothing in
        it is unpickled. Or a table (.csv) of numbers, with a line of column names.
    label : str
        The array or the column of labels: any two values.

    Raises
    ------
    UsageError
        If the file cannot be read, or what is in it is not this.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is neither .npz nor .csv")
    try:
        X, labels = reader(path, label)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if "pickle" in str(reason):  # NumPy's advice is to unpickle it
            reason = "it is no file of arrays, or holds Python objects"
        raise UsageError(f"cannot read {path}: {reason}") from error
    return _checked(Path(path).name, X, labels)


def split(data, seed):
    """Hold out a quarter of the rows, drawn at random; bring every column to mean 0 and deviation 1 over the others.

    Raises
    ------
    UsageError
        If there are too few rows, or numbers too large for a deviation in float64.
    """
    m = len(data.y)
    if m < 4:
        raise UsageError(f"{data.name} has {m} rows; a quarter is held out, so 4 are needed")
    order = np.random.default_rng(seed).permutation(m)
    held_out, kept = np.sort(order[: m // 4]), np.sort(order[m // 4 :])
    X = data.X[kept]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = X.mean(axis=0), X.std(axis=0)
        # a constant column has a deviation of rounding errors, not of 0
        deviation[X.min(axis=0) == X.max(axis=0)] = 1
        scaled = (data.X - mean) / deviation
    if not (np.isfinite(deviation).all() and np.isfinite(scaled).all()):
        raise UsageError(f"{data.name} has numbers too large, or too close together, to be standardised in float64")
    return Split(scaled[kept], data.y[kept], scaled[held_out], data.y[held_out])


def _read_npz(path, label):
    with Path(path).open("rb") as file:  # np.load would leave a file open that is no archive
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array, not an archive of named ones")
        if label not in archive.files:
            raise ValueError(f"it has no array {label!r}; its arrays are {_listed(archive.files)}")
        labels = archive[label]
        if "X" in archive.files:
            return archive["X"], labels
        matrices = [name for name in archive.files if archive[name].ndim == 2]
        if len(matrices) != 1:
            raise ValueError(f"it has no array 'X' and {len(matrices)} arrays of two dimensions, where one is needed")
        return archive[matrices[0]], labels


def _read_csv(path, label):
    with Path(path).open(encoding="utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines), [])
        if names.count(label) != 1:
            raise ValueError(f"it has {names.count(label)} columns {label!r}; its columns are {_listed(names)}")
        column = names.index(label)
        codes = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no rows: said below
            table = np.loadtxt(
                lines,
                delimiter=",",
                quotechar='"',
                comments=None,
                ndmin=2,
                converters={column: lambda text: codes.setdefault(text.strip(), len(codes))},
            )
    if not len(table):
        raise ValueError("it has no rows")
    if table.shape[1] != len(names):
        raise ValueError(f"its first line names {len(names)} columns and the next has {table.shape[1]}")
    labels = _numbers_if_all_are(list(codes))[table[:, column].astype(int)]
    return np.delete(table, column, axis=1), labels


def _numbers_if_all_are(texts):
    try:
        return np.array([float(text) for text in texts])  # "1" and "1.0" are one label
    except ValueError:
        return np.array(texts)


def _checked(name, X, labels):
    if X.ndim != 2 or X.shape[1] == 0 or X.dtype.kind not in "biuf":
        raise UsageError(f"{name} has X of shape {X.shape} and {X.dtype}; accepted are numbers of shape (m, n), n > 0")
    if labels.shape != X.shape[:1]:
        raise UsageError(f"{name} has labels of shape {labels.shape} beside X of {X.shape}")
    X = np.ascontiguousarray(X, np.float64)
    if not np.isfinite(X).all():
        raise UsageError(f"{name} has NaN or infinity in {np.count_nonzero(~np.isfinite(X).all(axis=1))} of its rows")
    values, codes = np.unique(labels, return_inverse=True)
    if len(values) != 2 or (values.dtype.kind == "f" and np.isnan(values).any()):
        raise UsageError(f"{name} has labels of {len(values)} distinct values: {_listed(values)}; accepted are two")
    return Data(name, X, codes.astype(np.float64), (str(values[0]), str(values[1])))


def _listed(names):
    """At most eight of them: a message has one line."""
    shown = ", ".join(map(str, names[:8]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 8 else shown or "none"

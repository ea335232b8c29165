"""The training data of `jitlogreg demo`: scikit-learn's, or a file's."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jitlogreg.cli import data_files
from jitlogreg.cli.data_files import MOST_VALUES, PEEK_ROWS
from jitlogreg.cli.errors import UsageError, optional_module

# Names that labels often have, in lower case
_LABEL_NAMES = {"class", "label", "labels", "outcome", "response", "target", "targets", "y"}


class Data(NamedTuple):
    """Examples with labels 0 and 1.

    Attributes
    ----------
    name : str
    X : ndarray of float64, shape (m, n)
        Without infinities. NaN is a missing number.
    y : ndarray of float64, shape (m,)
        0 and 1, both present.
    classes : tuple of two str
        The names of label 0 and of label 1.
    columns : list of str
        The name of each column of X.
    label : str or None
        The array or the column of labels, if they come from a file.
    notes : tuple of str
        What was guessed, coded, filled in or left out, in a line each.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]
    columns: list[str]
    label: str | None = None
    notes: tuple[str, ...] = ()


class Split(NamedTuple):
    """Training rows and held-out rows, standardised in the same way."""

    X: np.ndarray
    y: np.ndarray
    X_held_out: np.ndarray
    y_held_out: np.ndarray


def breast_cancer():
    """The Wisconsin breast-cancer data that scikit-learn carries: 569 tumours, 30 measurements, malignant or benign."""
    bunch = optional_module("sklearn.datasets", "scikit-learn").load_breast_cancer()
    classes = tuple(map(str, bunch.target_names))
    return Data("Wisconsin breast cancer", bunch.data, bunch.target.astype(float), classes, list(bunch.feature_names))


def load(path, label=None):
    """Examples from a file.

    Parameters
    ----------
    path : str
        A file of NumPy arrays (.npz), where `X`, or the only array with two dimensions, holds the examples; nothing in
        it is unpickled. Or a table (.csv, .parquet, .pq), whose other columns are the examples. A .csv may have a line
        of names; else its columns are column_1, column_2 and so on. Or the text of LIBSVM (.svm, .svmlight, .libsvm,
        compressed or not).
    label : str, optional
        The array or the column of labels, which may be any two values; guessed if left out.

    Returns
    -------
    Data
        Rows without a label are left out. Columns of text become columns of 0 and 1, one for each value but the first.

    Raises
    ------
    UsageError
        If the file cannot be read, or has other contents, or no label can be guessed.
    """
    contents = data_files.read(path)
    position, notes = _named(contents, label) if label is not None else _guessed(contents)
    y, classes = _encoded(contents, position)
    has_label = ~np.isnan(y)
    if not has_label.all():
        notes.append(f"rows left out, as they have no label: {np.count_nonzero(~has_label)}")
    if contents.X is None:
        X, columns = _coded(contents, position, notes)
    else:
        X, columns = contents.X, [f"X[:, {j}]" for j in range(contents.X.shape[1])]
    if not columns:
        raise UsageError(f"--data: expected at least one column beside the labels, got none in {path}")
    X = np.ascontiguousarray(X if has_label.all() else X[has_label], np.float64)
    _check_finite(X, columns)
    missing = np.isnan(X).sum(axis=0)
    if missing.any():
        counts = [f"{columns[j]} ({missing[j]})" for j in np.flatnonzero(missing)]
        notes.append(f"missing numbers, which count as the column's mean: {_listed(counts)}")
    return Data(Path(path).name, X, y[has_label], classes, columns, contents.names[position], tuple(notes))


def split(data, seed):
    """Hold out a random quarter of the rows, and scale every column to mean 0 and deviation 1 over the others.

    A missing number becomes its column's mean over these others.

    Raises
    ------
    UsageError
        If there are too few rows, or a deviation is out of float64's range.
    """
    m = len(data.y)
    if m < 4:
        raise UsageError(f"--data: expected at least 4 rows, since a quarter is held out, got {m}")
    order = np.random.default_rng(seed).permutation(m)
    held_out, kept = np.sort(order[: m // 4]), np.sort(order[m // 4 :])
    with np.errstate(over="ignore", invalid="ignore"):
        X = _filled(data.X, data.X[kept])
        mean, deviation = X[kept].mean(axis=0), X[kept].std(axis=0)
        # a constant column has a deviation of rounding errors, not of 0
        deviation[X[kept].min(axis=0) == X[kept].max(axis=0)] = 1
        scaled = (X - mean) / deviation
    if not (np.isfinite(deviation).all() and np.isfinite(scaled).all()):
        raise UsageError(
            "--data: expected columns that can be standardised in float64, got numbers too large or too close together"
        )
    return Split(scaled[kept], data.y[kept], scaled[held_out], data.y[held_out])


# ---------------------------------------------------------------- labels


def _named(contents, label):
    """The position of the labels of that name, and no notes yet."""
    count = contents.names.count(label)
    if count != 1:
        among = f"the {contents.kind}s {_listed(contents.names)}"
        if contents.X is not None:
            among += " that have a value for each row of X"
        raise UsageError(f"--label: expected one {contents.kind} {label}, got {count} among {among}")
    return contents.names.index(label), []


def _guessed(contents):
    """The position of the labels, and a note that says why. Only what has two values and misses none may be them."""
    names, kind = contents.names, contents.kind
    possible = [j for j, column in enumerate(contents.columns) if column is not None and _may_be_labels(column)]
    if not possible:
        raise UsageError(f"--data: expected labels, of two values, got none among the {kind}s {_listed(names)}")
    telling = [j for j in possible if names[j].lower() in _LABEL_NAMES]
    if telling:
        position, reason = telling[0], "for its name and its two values"
    elif possible[-1] == len(names) - 1:
        position, reason = possible[-1], "the last one, of two values"
    elif len(possible) == 1:
        position, reason = possible[0], "the only one of two values"
    else:
        position = possible[0]
        reason = f"the first of several with two values: {_listed([names[j] for j in possible])}"
    return position, [f"label: {kind} {names[position]}, {reason}; --label NAME chooses another"]


def _may_be_labels(column):
    values = _distinct(column, 2)
    return values is not None and len(values) == 2 and not _is_missing(column).any()


def _encoded(contents, position):
    """Labels as 0 and 1, with NaN for a missing one, and the names of both."""
    column = contents.columns[position]
    if column is None:
        found = f"text of more than {MOST_VALUES}" if contents.kind == "column" else "Python objects"
    else:
        values = _distinct(column, len(column))
        if len(values) == 2:
            y = np.where(_is_missing(column), np.nan, column == values[1])
            return y, (_spelled(values[0]), _spelled(values[1]))
        found = f"{len(values)}: {_listed(values, _spelled)}"
    raise UsageError(f"--label: expected {contents.kind} {contents.names[position]} to have two values, got {found}")


def _distinct(column, most):
    """The values that are not missing, in order; None if there are more than `most`."""
    present = column[~_is_missing(column)]
    values = set(present[:PEEK_ROWS].tolist())  # most columns need no more
    if len(values) <= most:
        values = set(present.tolist())
    return sorted(values) if len(values) <= most else None


def _is_missing(column):
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind in "OUS":
        return np.array([not value for value in column.tolist()], bool)
    return np.zeros(len(column), bool)


def _spelled(value):
    """Tables hold whole numbers as floats."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


# ---------------------------------------------------------------- examples


def _coded(contents, position, notes):
    """X of the columns apart from the labels, and their names. What is not taken as it is goes into `notes`."""
    arrays, names, coded, left_out = [], [], [], []
    for j, (name, column) in enumerate(zip(contents.names, contents.columns, strict=True)):
        if j == position:
            continue
        if column is not None and column.dtype.kind == "f":
            arrays.append(column)
            names.append(name)
            continue
        values = [] if column is None else _distinct(column, MOST_VALUES) or []
        if column is None or not _is_missing(column).any():
            values = values[1:]  # a missing value is one too, and then the first
        for value in values:
            arrays.append((column == value).astype(np.float64))
            names.append(f"{name}={value}")
        (coded if values else left_out).append(name)
    if coded:
        notes.append(f"text, with a column of 0 and 1 for each value but the first: {_listed(coded)}")
    if left_out:
        notes.append(f"left out, as text of one value or of more than {MOST_VALUES}: {_listed(left_out)}")
    return np.column_stack(arrays) if arrays else None, names


def _filled(X, kept):
    """X with each NaN replaced by the mean of the numbers that its column has in `kept`, or by 0 if it has none."""
    if not np.isnan(X).any():
        return X
    counts = np.count_nonzero(~np.isnan(kept), axis=0)
    return np.where(np.isnan(X), np.nansum(kept, axis=0) / np.maximum(counts, 1), X)


def _check_finite(X, columns):
    if np.isinf(X).any():
        infinite = [columns[j] for j in np.flatnonzero(np.isinf(X).any(axis=0))]
        raise UsageError(f"--data: expected finite numbers, got infinity in {_listed(infinite)}")


def _listed(names, spell=str):
    """At most eight names, to fit on one line."""
    shown = ", ".join(map(spell, names[:8]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 8 else shown or "none"

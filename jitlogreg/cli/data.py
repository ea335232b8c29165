"""The training data of `jitlogreg demo`: scikit-learn's, or a file's."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jitlogreg.cli import data_files
from jitlogreg.cli.data_files import PEEK_ROWS, listed
from jitlogreg.cli.errors import UsageError, optional_module

# Names that labels often have, in lower case
_LABEL_NAMES = {"class", "label", "labels", "outcome", "response", "target", "targets", "y"}


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
    label : str or None
        The array or the column of labels, if they come from a file.
    notes : tuple of str
        What was guessed or left out, in a line each.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]
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
    y, classes = _encoded("Wisconsin breast cancer", bunch.target_names[bunch.target])
    return Data("Wisconsin breast cancer", _examples("Wisconsin breast cancer", bunch.data, y), y, classes)


def load(path, label=None):
    """Examples from a file.

    Parameters
    ----------
    path : str
        A file of NumPy arrays (.npz), where `X`, or the only array with two dimensions, holds the examples; nothing in
        it is unpickled. Or a table (.csv, .parquet, .pq), whose columns of numbers are the examples. A .csv may have a
        line of names; else its columns are column_1, column_2 and so on.
    label : str, optional
        The array or the column of labels, which may be any two values. Guessed if left out: the one that has two values
        and a name such as label, target, y, class or outcome; else the last column, if it has two values; else the only
        one that has.

    Returns
    -------
    Data

    Raises
    ------
    UsageError
        If the file cannot be read, or has other contents, or no label can be guessed.
    """
    name = Path(path).name
    contents = data_files.read(path, label)
    position = contents.names.index(label) if label is not None else _guessed(name, contents)
    y, classes = _encoded(name, contents.columns[position])
    chosen, notes = contents.names[position], []
    if label is None:
        notes.append(f'label: {contents.kind} "{chosen}" (guessed; --label NAME chooses another)')
    if contents.X is not None:
        return Data(name, _examples(name, contents.X, y), y, classes, chosen, tuple(notes))
    numbers, others = [], []
    for j, column in enumerate(contents.columns):
        if j != position:
            (numbers if _is_numeric(column) else others).append(j)
    if others:
        notes.append(f"left out, as they hold no numbers: {listed([contents.names[j] for j in others])}")
    X = np.column_stack([contents.columns[j] for j in numbers]) if numbers else np.empty((len(y), 0))
    X = _examples(name, X, y, [contents.names[j] for j in numbers])
    return Data(name, X, y, classes, chosen, tuple(notes))


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


# ---------------------------------------------------------------- labels


def _guessed(name, contents):
    """The position of the labels. Only what has two values may be them: then a telling name counts first."""
    kind, names = contents.kind, contents.names
    possible = [j for j, column in enumerate(contents.columns) if _has_two_values(column)]
    if not possible:
        article = "an" if kind == "array" else "a"
        raise UsageError(f"{name}: expected {article} {kind} of two values for the labels, got none in {listed(names)}")
    telling = [j for j in possible if names[j].lower() in _LABEL_NAMES]
    if len(telling) == 1:
        return telling[0]
    if not telling and kind == "column" and possible[-1] == len(names) - 1:  # arrays have no last one
        return possible[-1]
    possible = telling or possible
    if len(possible) > 1:
        several = listed([names[j] for j in possible])
        raise UsageError(f"--label: expected the name of the labels, got none, and they may be any of {several}")
    return possible[0]


def _is_numeric(column):
    return column is not None and column.dtype.kind in "biuf"


def _has_two_values(column):
    """Whether there are two values and none is missing."""
    if column is None or len(np.unique(column[:PEEK_ROWS])) > 2:  # most columns need no more
        return False
    values = np.unique(column)
    return len(values) == 2 and not _is_missing(values).any()


def _is_missing(labels):
    """Which labels are NaN or empty."""
    if labels.dtype.kind == "f":
        return np.isnan(labels)
    return labels == labels.dtype.type() if labels.dtype.kind in "US" else np.zeros(labels.shape, bool)


def _encoded(name, labels):
    """Labels as 0 and 1, and the names of both."""
    n_missing = np.count_nonzero(_is_missing(labels))
    if n_missing:
        raise UsageError(f"{name}: expected a label in every row, got none in {n_missing} of the rows")
    values, codes = np.unique(labels, return_inverse=True)
    if len(values) != 2:
        raise UsageError(f"{name}: expected two distinct labels, got {len(values)}: {listed(values, _spelled)}")
    return codes.astype(np.float64), (_spelled(values[0]), _spelled(values[1]))


def _spelled(value):
    """Tables hold whole numbers as floats."""
    return f"{value:.0f}" if value.dtype.kind == "f" and value.is_integer() else str(value)


# ---------------------------------------------------------------- examples


def _examples(name, X, y, names=None):
    """X as C-ordered float64, if it is a finite matrix with a row for each label."""
    if X.ndim != 2 or X.shape[1] == 0 or X.dtype.kind not in "biuf":
        raise UsageError(f"{name}: expected X of numbers and shape (m, n), n > 0, got {X.dtype} and shape {X.shape}")
    if y.shape != X.shape[:1]:
        raise UsageError(f"{name}: expected labels of shape {X.shape[:1]}, one per row of X, got {y.shape}")
    X = np.ascontiguousarray(X, np.float64)
    is_finite = np.isfinite(X)
    if not is_finite.all():
        n_rows = np.count_nonzero(~is_finite.all(axis=1))
        columns = np.flatnonzero(~is_finite.all(axis=0))
        where = listed(columns if names is None else [names[j] for j in columns])
        raise UsageError(
            f"{name}: expected finite numbers, got NaN or infinity in {n_rows} of the rows, in the columns {where}"
        )
    return X

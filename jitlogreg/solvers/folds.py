"""Folds of a cross-validation: a number for each row."""

import numbers

import numpy as np

from jitlogreg import validation


def fold_numbers(folds, X, y, seed):
    """The fold of each row, an ndarray of int64 (m,), −1 for rows that none leaves out; and how many folds there are.

    Parameters
    ----------
    folds : int, ndarray or splitter
        So many folds, in which classes have the same shares; or the number of each row's fold; or pairs of the rows to
        learn from and to leave out; or what has a method `split(X, y)` that gives these, as scikit-learn's splitters
        do.
    X, y : ndarray
        Checked. Rows of y that are no classes are dealt out at random.
    seed : int
    """
    m = len(X)
    if isinstance(folds, numbers.Integral) and not isinstance(folds, bool):
        count = validation.check_count("folds", folds, least=2)
        if count > m:
            raise ValueError(f"folds: expected at most {m}, the number of rows, got {count}")
        return _dealt_out(y, m, count, np.random.default_rng(validation.check_count("seed", seed))), count
    if hasattr(folds, "split") and not isinstance(folds, (str, type)):
        return _of_splits(folds.split(X, y), X)
    if isinstance(folds, (list, tuple)) and folds and isinstance(folds[0], tuple):
        return _of_splits(folds, X)
    if not isinstance(folds, np.ndarray):
        came = "a class: folds() makes a splitter" if isinstance(folds, type) else validation.described(folds)
        hint = ": np.asarray(folds) makes an array" if isinstance(folds, list) or hasattr(folds, "to_numpy") else ""
        raise TypeError(
            "folds: expected a number of folds, an array with each row's fold, splits into rows to learn from and to "
            f"leave out, or a splitter of scikit-learn's, got {came}{hint}"
        )
    validation.check_array("folds", folds)
    if folds.shape != (m,) or folds.dtype.kind not in "iu":
        raise ValueError(f"folds: expected integers of shape ({m},), got {folds.dtype} of shape {folds.shape}")
    return _checked(folds.astype(np.int64))


def _checked(found):
    """The fold of each row, and how many there are, if each fold has rows, and leaves some to learn from."""
    count = max(int(found.max()) + 1, 1)
    sizes = np.bincount(found[found >= 0], minlength=count)
    came = None
    if np.any(found < -1):
        came = f"{found.min()}"
    elif np.any(sizes == 0):
        came = f"no row in fold {int(np.argmin(sizes))}"
    elif sizes[0] == len(found):
        came = "every row in fold 0"
    if came is not None:
        raise ValueError(f"folds: expected numbers from -1 on, and each fold with rows in it and outside, got {came}")
    return found, count


def _dealt_out(y, m, count, rng):
    """The rows in random order, class after class, dealt out in turn: classes have the same shares to one row."""
    numbers_of_rows = rng.permutation(m)
    if is_classes(y):
        numbers_of_rows = numbers_of_rows[np.argsort(y[numbers_of_rows], kind="stable")]
    found = np.empty(m, np.int64)
    found[numbers_of_rows] = np.arange(m) % count
    return found


def is_classes(y):
    """Whether labels are 0 and 1, or numbers of classes, and not shares of these."""
    return y.ndim == 1 and (y.dtype.kind in "biu" or bool(np.all((y == 0) | (y == 1))))


def _of_splits(splits, X):
    found, count = np.full(len(X), -1), 0
    for train, test in splits:
        train, test = np.asarray(train), np.asarray(test)
        if np.any(found[test] >= 0):
            raise ValueError(f"folds: expected folds that do not overlap, got row {test[found[test] >= 0][0]} twice")
        if len(train) + len(test) != len(X) or np.any(np.isin(test, train)):
            raise ValueError(f"folds: expected each split to have all {len(X)} rows, got {len(train)} and {len(test)}")
        found[test], count = count, count + 1
    return _checked(found)

"""Scores of models on examples that they have not seen, the greater, the better; and the penalty that they choose."""

import numbers

import numpy as np

from jitlogreg.solvers.folds import is_classes
from jitlogreg.targets.base import Problem
from jitlogreg.targets.csr import CSR

NAMES = ("log_loss", "accuracy", "roc_auc", "brier")

# Rows that are gathered at a time
ROWS = 1 << 13


def check_scoring(scoring, y, link):
    """Check the name of a score, or a function, beside the labels that it is for."""
    if not callable(scoring) and (not isinstance(scoring, str) or scoring not in NAMES):
        raise ValueError(f"scoring: expected one of {', '.join(map(repr, NAMES))} or a function, got {scoring!r}")
    if scoring == "roc_auc" and link == "softmax":
        raise ValueError("scoring: expected another score than 'roc_auc' for more than two classes")
    if scoring in ("accuracy", "roc_auc") and not is_classes(y):
        what = "labels 0 and 1" if link == "sigmoid" else "classes"
        raise ValueError(f"scoring: expected 'log_loss', 'brier' or a function beside labels that are no {what}")
    return scoring


def scores_of(target, link, data, rows, models, scoring):
    """The scores of P models on some rows of the data, shape (P,). X is gathered a block of rows at a time.

    Parameters
    ----------
    data : Problem
        Of NumPy arrays.
    rows : ndarray of int
    models : list of (w, b)
        Of one output, or of a softmax.
    scoring : str or callable
        Of labels, probabilities and weights or None.
    """
    blocks = (_gathered(data, rows[first : first + ROWS]) for first in range(0, len(rows), ROWS))
    if scoring == "log_loss":
        return _mean_log_likelihoods(target, link, blocks, models)
    score, probabilities = _SCORES[link].get(scoring, scoring), [[] for _ in models]
    for block in blocks:
        for of_model, a in zip(probabilities, _probabilities(target, link, block, models), strict=True):
            of_model.append(a)
    y, s = (None if array is None else array[..., rows].T for array in (data.y, data.sample_weight))
    return np.array([_number(score(y, np.concatenate(a), s)) for a in probabilities])


def _number(score):
    if isinstance(score, bool) or not isinstance(score, (numbers.Real, np.floating)):
        raise TypeError(f"scoring: expected a function that returns a number, got one that returns {score!r}")
    return float(score)


def _gathered(data, rows):
    y, s, offset = (
        None if array is None else np.ascontiguousarray(array[..., rows])
        for array in (data.y, data.sample_weight, data.offset)
    )
    X = data.X[rows]
    return Problem.of(X if type(X) is CSR else np.ascontiguousarray(X), y, s, None, offset)


def _mean_log_likelihoods(target, link, blocks, models):
    loss, weight = np.zeros((2, len(models)))
    for block in blocks:
        if link == "softmax":
            sums = [target.sums_of_outputs("softmax", block, w, b, False) for w, b in models]
            loss += [of_model.loss for of_model in sums]
            weight += [of_model.weight for of_model in sums]
        else:
            sums = target.sums_of_outputs("sigmoid", block, *_columns(models), False)
            loss, weight = loss + sums.loss, weight + sums.weight
    with np.errstate(invalid="ignore"):  # a fold without weight has no score
        return -loss / weight


def _probabilities(target, link, block, models):
    """The probabilities by each model in turn: (m,), or (m, K) of a softmax."""
    m = block.X.shape[0]
    if link == "softmax":
        for w, b in models:
            yield target.activate_outputs("softmax", block, w, b, np.empty((m, len(b))))
    else:
        W, b = _columns(models)
        yield from np.ascontiguousarray(target.activate_outputs("sigmoid", block, W, b, np.empty((m, len(b)))).T)


def _columns(models):
    return np.stack([w for w, _ in models], axis=1), np.array([b for _, b in models])


# ---------------------------------------------------------------- scores


def _accuracy(y, a, s):
    """The share of examples whose class is the more likely one; at equal probabilities class 0."""
    return np.average((a > 0.5) == (y == 1), weights=s)


def _accuracy_of_classes(y, a, s):
    return np.average(np.argmax(a, axis=1) == y, weights=s)


def _brier(y, a, s):
    """Minus the mean of (a − y)²."""
    return -np.average((a - y) ** 2, weights=s)


def _brier_of_classes(y, a, s):
    """Minus the mean of Σₖ (aₖ − yₖ)²."""
    shares = y if y.ndim == 2 else np.equal.outer(y, np.arange(a.shape[1]))
    return -np.average(np.sum((a - shares) ** 2, axis=1), weights=s)


def roc_auc(y, a, s):
    """The probability that an example of label 1 has a larger a than one of label 0; half of it where they are equal.

    NaN if there is but one label. Source: Hanley & McNeil, Radiology 143, 1982.
    """
    s = np.ones(len(y)) if s is None else s
    order = np.argsort(a, kind="stable")
    a, positive, negative = a[order], (s * (y == 1))[order], (s * (y == 0))[order]
    ends = np.append(np.flatnonzero(np.diff(a)), len(a) - 1)
    positive, negative = (np.diff(np.cumsum(of_class)[ends], prepend=0.0) for of_class in (positive, negative))
    pairs = np.sum(positive) * np.sum(negative)
    below = np.cumsum(negative) - negative / 2
    return np.sum(positive * below) / pairs if pairs > 0 else np.nan


_SCORES = {
    "sigmoid": {"accuracy": _accuracy, "brier": _brier, "roc_auc": roc_auc},
    "softmax": {"accuracy": _accuracy_of_classes, "brier": _brier_of_classes},
}


# ---------------------------------------------------------------- the choice


def mean_and_error(scores):
    """The mean of each penalty's scores over the folds that have one, and its standard error."""
    has_score = np.isfinite(scores)
    count = np.maximum(has_score.sum(axis=1), 1)
    mean = np.where(has_score.any(axis=1), np.sum(np.where(has_score, scores, 0.0), axis=1) / count, -np.inf)
    off = np.where(has_score, scores - np.where(np.isfinite(mean), mean, 0.0)[:, np.newaxis], 0.0)
    return mean, np.sqrt(np.sum(off * off, axis=1) / np.maximum(count - 1, 1) / count)


def choose(l2s, scores):
    """The numbers of the best penalty, and of the largest within one standard error; the larger of equals."""
    mean, error = mean_and_error(scores)
    if not np.isfinite(mean).any():
        raise ValueError("folds: expected a score in some fold, got none")
    best = max(np.flatnonzero(mean == np.max(mean)), key=lambda k: l2s[k])
    within = np.flatnonzero(mean >= mean[best] - error[best])
    return int(best), int(max(within, key=lambda k: l2s[k]))

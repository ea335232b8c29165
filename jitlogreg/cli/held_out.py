"""How well predictions of `jitlogreg demo` fit the held-out rows, by scikit-learn."""

from typing import NamedTuple

import numpy as np

from jitlogreg.cli.errors import optional_module

_MOST_BINS = 10
_ROWS_PER_BIN = 10


class Quality(NamedTuple):
    """The quality of predicted probabilities.

    Attributes
    ----------
    accuracy, most_frequent : float
        The share of rows with the right label, and of those with the more frequent one.
    roc : tuple of two ndarray, or None
        The false-positive and true-positive rates; None if all rows have one label.
    roc_area : float or None
    n_bins : int
        The bins of equal counts into which the predicted probabilities fall.
    calibration : tuple of two ndarray
        The mean predicted probability of label 1 and the share of label 1, for each bin that is not empty.
    """

    accuracy: float
    most_frequent: float
    roc: tuple[np.ndarray, np.ndarray] | None
    roc_area: float | None
    n_bins: int
    calibration: tuple[np.ndarray, np.ndarray]


def check_installed():
    """Raise UsageError if scikit-learn is not installed."""
    return optional_module("sklearn.metrics", "scikit-learn"), optional_module("sklearn.calibration", "scikit-learn")


def evaluate(y, a):
    """The quality of probabilities a for labels y.

    Parameters
    ----------
    y : ndarray of float64, shape (m,), m > 0
        0 and 1.
    a : ndarray of float64, shape (m,)

    Returns
    -------
    Quality
    """
    metrics, calibration = check_installed()
    share = y.mean()
    roc = roc_area = None
    if 0 < share < 1:
        roc, roc_area = metrics.roc_curve(y, a)[:2], float(metrics.roc_auc_score(y, a))
    n_bins = min(_MOST_BINS, max(1, len(y) // _ROWS_PER_BIN))
    observed, predicted = calibration.calibration_curve(y, a, n_bins=n_bins, strategy="quantile", pos_label=1)
    return Quality(np.mean((a >= 0.5) == y), max(share, 1 - share), roc, roc_area, n_bins, (predicted, observed))

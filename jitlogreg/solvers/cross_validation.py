"""`cross_validate`: folds side by side, each going down its own path of penalties."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg._docs import documented
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.outputs_objective import OutputsObjective
from jitlogreg.solvers.arguments import METHODS, Options, chosen_solver, description_of, objective_in_memory
from jitlogreg.solvers.fit import Fit
from jitlogreg.solvers.folds import fold_numbers
from jitlogreg.solvers.lockstep import Apart, SideBySide
from jitlogreg.solvers.monitor import Progress, warn
from jitlogreg.solvers.path import How, Stop, check_penalties, follow_paths, unfinished
from jitlogreg.solvers.scoring import check_scoring, choose, mean_and_error, scores_of
from jitlogreg.solvers.standardize import ROWS, column_statistics


class CrossValidation(NamedTuple):
    """The outcome of `cross_validate`, for P penalties in the order that was given and F folds.

    Attributes
    ----------
    l2s : ndarray of float64, shape (P,)
    scores : ndarray of float64, shape (P, F)
        On the rows that were left out; the greater, the better. NaN where the rows that a fold learns from have one
        class, where a score is not defined, or where the callback has come before the fit.
    best_l2 : float
        The penalty of the best mean score.
    one_se_l2 : float
        The largest penalty whose mean score is within one standard error of the best.
    fit : Fit
        With `best_l2`, to all rows.
    n_reads : int
        How often X was read, the check of the data and the scores included.
    """

    l2s: np.ndarray
    scores: np.ndarray
    best_l2: float
    one_se_l2: float
    fit: Fit
    n_reads: int

    def plot(self, ax=None):
        """Draw the mean scores against the penalties, with their standard errors (needs the package matplotlib).

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure's if left out.

        Returns
        -------
        matplotlib Axes
        """
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("plot needs the package matplotlib: pip install 'jitlogreg[demo]'") from error
        if ax is None:
            _, ax = pyplot.subplots()
        order = np.argsort(self.l2s)
        mean, deviation = mean_and_error(self.scores)
        ax.errorbar(self.l2s[order], mean[order], deviation[order], marker="o", capsize=3, color="#3060a0")
        for l2, style, name in ((self.best_l2, "-", "best"), (self.one_se_l2, "--", "one standard error")):
            if np.isfinite(l2):  # it was chosen
                ax.axvline(l2, linestyle=style, color="#808080", linewidth=1, label=f"{name}: {l2:.3g}")
        folds = self.scores.shape[1]
        ax.set(xlabel="l2", ylabel=f"score, mean of {folds} folds" if folds > 1 else "score")
        ax.set_xscale("log" if np.all(self.l2s > 0) else "symlog", **_linear_below(self.l2s))
        if np.isfinite(self.best_l2):
            ax.legend()
        return ax


def _linear_below(l2s):
    return {} if np.all(l2s > 0) else {"linthresh": float(np.min(l2s[l2s > 0], initial=1.0))}


@accepts_foreign_arrays
@documented
def cross_validate(
    X: np.ndarray,
    y: np.ndarray,
    l2s: np.ndarray | None = None,
    *,
    folds: Any = 5,
    seed: int = 0,
    scoring: Any = "log_loss",
    solver: str = "auto",
    link: str = "sigmoid",
    sample_weight: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    fit_intercept: bool = True,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    callback: Callable[[Progress], object] | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 10,
    resume: str | os.PathLike | None = None,
    target: str | None = None,
) -> CrossValidation:
    """Choose a penalty by scores on rows that the fits have not seen.

    Parameters
    ----------
    X : ndarray or CSR of float32 or float64, shape (m, n), m > 0
        Finite. Folds are weights, and never copies of X.
    %(y_of_fit)s
    l2s : ndarray or list, shape (P,), optional
        Different penalties of at least 0, in any order; ten by default, as in `fit_path`.
    folds : int, ndarray of int, shape (m,), or splitter
        How many folds, each with the same shares of the classes; or the fold of each row, 0 to F − 1, or −1 for a row
        that every fold learns from; or a splitter of scikit-learn's, or its splits, that leave no row out twice.
    seed : int
        Deals the rows out to a number of folds.
    scoring : {"log_loss", "accuracy", "roc_auc", "brier"} or callable
        "log_loss" and "brier" are negated: the greater, the better. A function is called as
        scoring(y, probabilities, sample_weight) for each fold and penalty, with weights or None; probabilities are (m,)
        or of a softmax (m, K).
    solver : {"auto", "newton", "lbfgs", "gradient_descent"}
        As for `fit`.
    link : {"sigmoid", "softmax"}
        As for `fit`. Reads of X are shared by models with one output; folds of a softmax read it each.
    %(sample_weight_of_fit)s
    %(offset_of_fit)s
    fit_intercept : bool
        Whether there is a b; it is 0 otherwise.
    tolerance, max_iterations : float, int
        Those of each fit.
    %(callback_of_fits)s
    progress : bool
        Show how many fits are left (needs the package rich).
    %(checkpoint_of_fits)s
    resume : path, optional
        A checkpoint of the same data, penalties, folds, solver and target to go on from, to the same bits. `scoring`
        may differ.
    %(target)s

    Returns
    -------
    CrossValidation

    Raises
    ------
    %(raises)s

    Warns
    -----
    RuntimeWarning
        If the rows that a fold learns from have one class, it has no score, or a fit has not converged; or if the
        callback has stopped the run. Then scores without a fit are NaN, and no penalty is chosen: `best_l2`,
        `one_se_l2` and what `fit` has are NaN.

    Notes
    -----
    The folds, and all rows, are fitted side by side; each goes from the largest penalty to the smallest and starts
    where it has ended. An evaluation is one read of X for all of them. A fold has the bits that it has without the
    others, on any number of threads.

    References
    ----------
    Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, 7.10: the one-standard-error rule.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> y = (X[:, 0] + rng.normal(size=200) > 0).astype(int)
    >>> found = jlr.cross_validate(X, y, [1.0, 0.1, 0.01, 0.001])
    >>> found.scores.shape, found.best_l2, found.one_se_l2
    ((4, 5), 0.01, 0.01)
    >>> found.fit.converged
    True
    """
    options = Options.checked(
        solver=solver,
        tolerance=tolerance,
        max_iterations=max_iterations,
        callback=callback,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
    )
    described = {"l2": 0.0, "link": link, "fit_intercept": fit_intercept, "target": target}
    whole = objective_in_memory(X, y, sample_weight=sample_weight, offset=offset, **described)
    check_scoring(scoring, y, link)
    if isinstance(whole, OutputsObjective) and (whole.class_weights() == 0).any():
        every, empty = f"0 to {whole.n_outputs - 1}", int(np.argmin(whole.class_weights()))
        raise ValueError(f"y: expected examples with weight of every class, {every}, got none of class {empty}")
    l2s = check_penalties("l2s", l2s, whole)
    numbers, count = fold_numbers(folds, X, y, seed)
    data = whole._data
    models = _models(whole, numbers, count)
    order = np.argsort(-l2s)
    stops = _go_down(models, l2s[order], numbers, whole, options)
    of_penalties = np.argsort(order)
    scores = np.empty((len(l2s), count))
    for fold in range(count):
        rows = np.flatnonzero(numbers == fold)
        fits = [stops[fold][k] if k < len(stops[fold]) else None for k in of_penalties]
        scores[:, fold] = _scores(whole, data, rows, fits, scoring, fold)
    _warn_of_unconverged(stops, l2s[order])
    n_reads = models.n_reads + 2  # the check of the data, and the scores
    if sum(map(len, stops)) < len(stops) * len(l2s):
        return CrossValidation(l2s, scores, np.nan, np.nan, _fit_of(unfinished(whole), n_reads), n_reads)
    chosen, one_se = choose(l2s, scores)
    fit = _fit_of(stops[count][of_penalties[chosen]], n_reads)
    return CrossValidation(l2s, scores, float(l2s[chosen]), float(l2s[one_se]), fit, n_reads)


# ---------------------------------------------------------------- the fits


def _models(whole, numbers, count):
    """The models of the folds, each with the weights of the rows that it learns from, and last that of all rows."""
    data = whole._data
    weights = (
        np.ones((count + 1, len(numbers)))
        if data.sample_weight is None
        else np.tile(data.sample_weight, (count + 1, 1))
    )
    left_out = np.flatnonzero(numbers >= 0)
    weights[numbers[left_out], left_out] = 0.0
    for fold in range(count):
        if not np.any(weights[fold]):
            raise ValueError(f"sample_weight: expected weight in more than one fold, got it all in fold {fold}")
    described = {"fit_intercept": whole.has_intercept, "target": whole.target, "check_finite": False}
    of_rows = None if data.offset is None else data.offset.T
    if whole.link == "softmax":
        described |= {"link": "softmax", "n_outputs": whole.n_outputs, "offset": of_rows}
        y = data.y.T if data.y.ndim == 2 else data.y.astype(np.int64)
        return Apart([Objective(data.X, y, sample_weight=s, **described).gauged() for s in weights])
    return SideBySide(
        OutputsObjective(data.X, data.y, sample_weight=weights.T, n_outputs=count + 1, offset=of_rows, **described)
    )


def _go_down(models, l2s, numbers, whole, options):
    """The stops of each model on its path."""
    solver = chosen_solver(options.solver, models.objectives[0])
    how = How(METHODS[solver], options.tolerance, options.max_iterations, _columns_of_all(whole))
    sizes = np.bincount(numbers + 1).tolist()
    description = description_of("cross_validate", whole, solver=solver, l2s=l2s.tolist(), folds=sizes)
    zero = np.zeros(whole.n_parameters)
    return follow_paths(models, l2s, how, zero, options.monitor, description, whole.fingerprint)


def _columns_of_all(whole):
    """The statistics of the columns for a penalty: those of all rows, so that models of one penalty share a frame."""
    X, sample_weight = whole.some_rows(ROWS)

    @functools.cache
    def columns(l2):
        return column_statistics(X, sample_weight, l2=l2, has_intercept=whole.has_intercept)

    return columns


# ---------------------------------------------------------------- the choice


def _scores(whole, data, rows, fits: list[Stop | None], scoring, fold):
    """The scores of a fold, for each penalty; NaN where there is no fit, or one to one class."""
    scores, made = np.full(len(fits), np.nan), {p: fit for p, fit in enumerate(fits) if fit is not None}
    scored = {p: (fit.w, fit.b) for p, fit in made.items() if fit.remedy != "labels"}
    if scored:
        scores[list(scored)] = scores_of(whole._target, whole.link, data, rows, list(scored.values()), scoring)
    without = int(np.isnan(scores[list(made)]).sum())
    if made and not scored:
        warn(f"fold {fold} has no scores: the rows that it learns from have one class, or lack one")
    elif without:
        warn(f"fold {fold} has no score for {without} of {len(fits)} penalties")
    return scores


def _warn_of_unconverged(stops, l2s):
    """Warn if fits have not converged for another reason than that they learn from one class, or were not made."""
    made, total = sum(map(len, stops)), len(stops) * len(l2s)
    unconverged = [
        (f"fold {fold}" if fold < len(stops) - 1 else "all rows", l2, stop.message)
        for fold, of_fold in enumerate(stops)
        for stop, l2 in zip(of_fold, l2s, strict=False)
        if not stop.converged and stop.remedy != "labels"
    ]
    if unconverged:
        who, l2, message = unconverged[0]
        warn(f"{len(unconverged)} of {made} fits have not converged; {who} at l2={l2:g}: {message}")
    if made < total:
        warn(f"stopped by the callback: {made} of {total} fits are made, and no penalty is chosen")


def _fit_of(stop, n_reads):
    """The `Fit` of a stop."""
    fields = {name: getattr(stop, name) for name in Fit._fields if hasattr(stop, name)}
    return Fit(**fields, n_reads=n_reads)

"""Paths of penalties, cross-validation and bootstrap: against fits one by one, other libraries, and formulas."""

import re

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.objective import Objective
from jitlogreg.solvers import bootstrap as bootstrapping
from jitlogreg.solvers import cross_validation
from jitlogreg.solvers.arguments import Options
from jitlogreg.solvers.folds import fold_numbers
from jitlogreg.solvers.scoring import roc_auc
from jitlogreg.solvers.separation import SeparationWarning

L2S = np.array([0.01, 1.0, 1e-4, 0.1])


def examples(m=600, n=5, seed=0, shift=0.0):
    """X, labels, and weights."""
    rng = np.random.default_rng([seed, m, n])
    X = rng.normal(size=(m, n))
    y = rng.uniform(size=m) < 1 / (1 + np.exp(-X @ rng.normal(size=n) / 2))
    return X + shift, y.astype(int), rng.uniform(0.5, 2, size=m)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_a_path_has_the_minimum_of_each_penalty(solver, shift):
    X, y, s = examples(shift=shift)
    path = jlr.fit_path(X, y, l2s=L2S, solver=solver, sample_weight=s)
    assert path.l2s.tolist() == L2S.tolist()
    assert path.l1s.tolist() == [0] * 4
    assert (path.w.shape, path.b.shape) == ((5, 4), (4,))
    for p, l2 in enumerate(L2S):
        alone = jlr.fit(X, y, l2=l2, sample_weight=s, tolerance=1e-9)
        assert path.converged[p]
        assert path.loss[p] == pytest.approx(alone.loss, rel=1e-12)
        np.testing.assert_allclose(path.w[:, p], alone.w, rtol=1e-6)
        assert path.b[p] == pytest.approx(alone.b, rel=1e-6)


def test_a_fit_begins_with_what_the_one_before_has_read(monkeypatch):
    X, y, _ = examples(30_000)
    reads = []
    for name in ("_sums", "_hessian_sums", "_hessian_vector_sums"):
        read = getattr(Objective, name)
        counted = lambda self, *arguments, read=read: reads.append(self.shape[0]) or read(self, *arguments)  # noqa: E731
        monkeypatch.setattr(Objective, name, counted)
    path = jlr.fit_path(X, y, l2s=L2S, solver="lbfgs")
    assert reads.count(30_000) == path.n_reads
    assert path.n_reads < sum(jlr.fit(X, y, l2=l2, solver="lbfgs").n_evaluations for l2 in L2S)


def test_a_path_of_a_softmax():
    X, y, _ = examples()
    classes = y + (X[:, 0] > 0.3)
    path = jlr.fit_path(X, classes, l2s=[0.1, 0.01], link="softmax")
    assert (path.w.shape, path.b.shape) == ((5, 3, 2), (3, 2))
    for p, l2 in enumerate((0.1, 0.01)):
        np.testing.assert_allclose(path.w[:, :, p], jlr.fit(X, classes, l2=l2, link="softmax").w, atol=1e-7)


def test_penalties_are_chosen_where_none_are_given():
    X, y, _ = examples()
    path = jlr.fit_path(10 * X, y)
    assert path.l2s[0] == pytest.approx(25 * np.max(np.var(X, axis=0)), rel=1e-12)
    assert path.l2s[0] / path.l2s[-1] == pytest.approx(1e6)
    assert path.converged.all()


def test_a_path_says_which_penalties_leave_no_minimum():
    X = np.linspace(-1, 1, 40)[:, np.newaxis]
    with pytest.warns(SeparationWarning, match=r"^1 of 2 penalties leave no minimum; l2=0: .*complete separation"):
        path = jlr.fit_path(X, X[:, 0] > 0, l2s=[0.0, 0.1])
    assert path.converged.tolist() == [False, True]


@pytest.mark.parametrize(
    ("l2s", "message"),
    [
        ([0.1, 0.2, 0.1], r"^l2s: expected different penalties, got 0\.1 more than once"),
        ([0.1, -1.0], r"^l2s\[1\]: expected a finite number of at least 0, got -1"),
        ([], r"^l2s: expected shape \(P,\) with at least one penalty, got \(0,\)"),
        ([[0.1]], r"^l2s: expected shape \(P,\)"),
    ],
)
def test_bad_penalties_are_refused(l2s, message):
    X, y, _ = examples(30)
    for call in (lambda: jlr.fit_path(X, y, l2s=l2s), lambda: jlr.cross_validate(X, y, l2s)):
        with pytest.raises(ValueError, match=message):
            call()


# ---------------------------------------------------------------- cross-validation


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_fits_one_by_one(weighted):
    X, y, s = examples()
    s = s if weighted else None
    numbers = np.arange(600) % 3
    found = jlr.cross_validate(X, y, L2S, folds=numbers, sample_weight=s)
    for fold in range(3):
        train, test = numbers != fold, numbers == fold
        for p, l2 in enumerate(L2S):
            # the penalty is l2/2 beside the mean loss of the rows that the fold learns from
            alone = jlr.fit(X[train], y[train], l2=l2, sample_weight=None if s is None else s[train], tolerance=1e-9)
            left_out = None if s is None else s[test]
            wanted = -jlr.loss(X[test], y[test], alone.w, alone.b, sample_weight=left_out)
            assert found.scores[p, fold] == pytest.approx(wanted, rel=1e-9)
    mean = found.scores.mean(axis=1)
    assert found.best_l2 == L2S[np.argmax(mean)]
    error = found.scores[np.argmax(mean)].std(ddof=1) / np.sqrt(3)
    assert found.one_se_l2 == max(L2S[mean >= mean.max() - error])
    np.testing.assert_allclose(found.fit.w, jlr.fit(X, y, l2=found.best_l2, sample_weight=s).w, rtol=1e-6)


def test_a_fold_has_the_bits_that_it_has_with_others_beside_it():
    X, y, s = examples(2000)
    numbers = np.arange(2000) % 4
    found = jlr.cross_validate(X, y, L2S, folds=numbers, sample_weight=s, solver="lbfgs")
    for fold in range(4):  # the same rows left out, and all others together
        alone = jlr.cross_validate(X, y, L2S, folds=(numbers != fold).astype(int), sample_weight=s, solver="lbfgs")
        assert alone.scores[:, 0].tobytes() == np.ascontiguousarray(found.scores[:, fold]).tobytes()
        assert alone.fit.w.tobytes() == found.fit.w.tobytes() or alone.best_l2 != found.best_l2


@pytest.mark.parametrize("scoring", ["log_loss", "accuracy", "roc_auc", "brier"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_have_scikit_learn_s_values(scoring, weighted):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    X, y, s = examples()
    theirs = {
        "log_loss": lambda y, a, s: -metrics.log_loss(y, a, sample_weight=s),
        "accuracy": lambda y, a, s: metrics.accuracy_score(y, a > 0.5, sample_weight=s),
        "roc_auc": lambda y, a, s: metrics.roc_auc_score(y, a, sample_weight=s),
        "brier": lambda y, a, s: -metrics.brier_score_loss(y, a, sample_weight=s),
    }[scoring]
    given = {"folds": 3, "sample_weight": s if weighted else None}
    ours = jlr.cross_validate(X, y, L2S, scoring=scoring, **given)
    np.testing.assert_allclose(ours.scores, jlr.cross_validate(X, y, L2S, scoring=theirs, **given).scores, rtol=1e-10)


def test_it_chooses_as_scikit_learn_s_does():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    model_selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
    X, y, _ = examples(900)
    folds = model_selection.StratifiedKFold(3, shuffle=True, random_state=0)
    ours = jlr.cross_validate(X, y, L2S, folds=folds)
    # C is 1 / (l2 · rows), and the rows of a fold that are learnt from are two thirds
    theirs = linear_model.LogisticRegressionCV(
        Cs=1 / (L2S * 600), cv=folds, scoring="neg_log_loss", tol=1e-10, max_iter=1000, l1_ratios=(0,),
        use_legacy_attributes=False,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_allclose(ours.scores.T, np.squeeze(theirs.scores_), atol=1e-7)
    assert ours.best_l2 == pytest.approx(1 / (theirs.C_ * 600))


def test_equal_scores_count_half_in_the_area():
    y, a = np.array([0, 1, 0, 1]), np.array([0.2, 0.2, 0.1, 0.9])
    assert roc_auc(y, a, None) == (2 + 1 + 0.5) / 4
    assert roc_auc(y, a, np.array([2.0, 1, 1, 3])) == pytest.approx((3 * 3 + 1 * (1 + 2 / 2)) / (3 * 4))
    assert np.isnan(roc_auc(np.ones(4), a, None))


@pytest.mark.parametrize("scoring", ["log_loss", "accuracy", "brier"])
def test_folds_of_a_softmax(scoring):
    X, y, s = examples(300, 3)
    classes = y + (X[:, 0] > 0.3)
    found = jlr.cross_validate(X, classes, [0.1, 0.01], link="softmax", scoring=scoring, sample_weight=s, folds=3)
    assert found.fit.w.shape == (3, 3)
    numbers, _ = fold_numbers(3, X, classes, 0)
    train, test = numbers != 1, numbers == 1
    alone = jlr.fit(X[train], classes[train], l2=0.01, link="softmax", sample_weight=s[train])
    a = jlr.forward(X[test], alone.w, alone.b, link="softmax")
    own = a[np.arange(len(a)), classes[test]]
    values = {
        "log_loss": np.log(own),
        "accuracy": np.argmax(a, axis=1) == classes[test],
        "brier": -np.sum((a - np.eye(3)[classes[test]]) ** 2, axis=1),
    }[scoring]
    assert found.scores[1, 1] == pytest.approx(np.average(values, weights=s[test]), rel=1e-6)


def test_folds_have_the_same_shares_of_the_classes():
    _, y, _ = examples(103)
    X = np.zeros((103, 1))
    numbers, count = fold_numbers(4, X, y, 7)
    for of_class in (y == 0, y == 1):
        sizes = np.bincount(numbers[of_class], minlength=4)
        assert sizes.max() - sizes.min() <= 1
    assert count == 4
    assert np.bincount(numbers).max() - np.bincount(numbers).min() <= 1
    assert np.array_equal(numbers, fold_numbers(4, X, y, 7)[0])
    assert not np.array_equal(numbers, fold_numbers(4, X, y, 8)[0])


class Splits:
    def __init__(self, *tests, m=6):
        self.tests, self.m = tests, m

    def split(self, X, y):
        return [(np.setdiff1d(np.arange(self.m), test), np.array(test)) for test in self.tests]


@pytest.mark.parametrize(
    ("folds", "exception", "message"),
    [
        (1, ValueError, r"^folds: expected an integer of at least 2, got 1"),
        (7, ValueError, r"^folds: expected at most 6, the number of rows, got 7"),
        ("five", TypeError, r"^folds: expected a number of folds, an array .* or a splitter"),
        ([0, 1, 0, 1, 0, 1], TypeError, r"^folds: .* got a list: np.asarray\(folds\) makes an array"),
        (dict, TypeError, r"^folds: .* got a class: folds\(\) makes a splitter"),
        (np.zeros(6, int), ValueError, r"^folds: expected numbers from 0 on, .* got no row in fold 1"),
        (np.array([0, 2, 0, 2, 0, 2]), ValueError, r"^folds: .* got no row in fold 1"),
        (np.array([0, 1, -1, 0, 1, 0]), ValueError, r"^folds: .* got -1"),
        (np.zeros(5, int), ValueError, r"^folds: expected integers of shape \(6,\)"),
        (Splits([0, 1, 2], [2, 3, 4, 5]), ValueError, r"^folds: expected folds that do not overlap, got row 2 twice"),
        (Splits([0, 1, 2], [3, 4]), ValueError, r"^folds: expected two folds or more that have every row, got row 5"),
        (Splits([0, 1], [2, 3, 4], [5], m=7), ValueError, r"^folds: expected each split to have all 6 rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_folds_are_refused(folds, exception, message):
    X, y = np.arange(6.0)[:, np.newaxis], np.array([0, 1, 0, 1, 1, 0])
    with pytest.raises(exception, match=message):
        jlr.cross_validate(X, y, [0.1], folds=folds)


def test_splits_are_folds():
    X, y, _ = examples(30)
    splits = [(np.arange(10, 30), np.arange(10)), (np.arange(10), np.arange(10, 30))]
    numbers, count = fold_numbers(splits, X, y, 0)
    assert count == 2
    assert np.array_equal(numbers, np.arange(30) >= 10)


def test_a_score_that_is_no_number_is_refused():
    X, y, _ = examples(30)
    with pytest.raises(TypeError, match=r"^scoring: expected a function that returns a number, got one that .* 'a'"):
        jlr.cross_validate(X, y, [0.1], scoring=lambda y, a, s: "a")


def test_fits_that_have_not_converged_are_told():
    X, y, _ = examples(200)
    with pytest.warns(RuntimeWarning, match=r"^12 of 12 fits have not converged; fold 0 at l2=1: max_iterations=1"):
        jlr.cross_validate(X, y, L2S, folds=2, max_iterations=1)
    separable = np.linspace(-1, 1, 40)[:, np.newaxis]
    with pytest.warns(RuntimeWarning, match=r"fits have not converged; .*complete separation"):
        jlr.cross_validate(separable, separable[:, 0] > 0, [0.0, 0.1], folds=2)
    with pytest.raises(ValueError, match=r"^max_iterations: expected enough for the fit to all rows"):
        jlr.bootstrap(X, y, max_iterations=1)


def test_a_class_without_examples_is_named():
    X, y, _ = examples(30)
    with pytest.raises(ValueError, match=r"^y: expected examples .* of every class, 0 to 2, got none of class 0"):
        jlr.cross_validate(X, y + 1, [0.1], link="softmax")


def test_bad_scores_are_refused():
    X, y, _ = examples(30)
    for scoring, link, labels, message in (
        ("f1", "sigmoid", y, r"^scoring: expected one of 'log_loss', .* or a function, got 'f1'"),
        ("roc_auc", "softmax", y, r"^scoring: expected another score than 'roc_auc' for more than two classes"),
        ("accuracy", "sigmoid", y * 0.5, r"^scoring: expected 'log_loss', 'brier' or a function beside labels"),
    ):
        with pytest.raises(ValueError, match=message):
            jlr.cross_validate(X, labels, [0.1], scoring=scoring, link=link)


def test_a_fold_without_a_class_has_no_score():
    X, y = np.arange(12.0)[:, np.newaxis], np.array([0, 1] + [0] * 10)
    folds = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    with pytest.warns(RuntimeWarning, match=r"^fold 0 has no scores: the rows that it learns from have one class"):
        found = jlr.cross_validate(X, y, [0.1, 1.0], folds=folds)
    assert np.isnan(found.scores[:, 0]).all()
    assert np.isfinite(found.scores[:, 1:]).all()
    y[7] = 1
    with pytest.warns(RuntimeWarning, match=r"^fold 1 has no score for 1 of 1 penalties"):
        found = jlr.cross_validate(X, y, [0.1], folds=folds, scoring="roc_auc")
    assert np.isnan(found.scores[0]).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"^sample_weight: expected weight in more than one fold"):
        jlr.cross_validate(X, y, [0.1], folds=folds, sample_weight=(folds == 1).astype(float))


class KilledError(Exception):
    """Stands for a process that ends."""


def killed_after(requests, monkeypatch, module):
    """Make every path end with an error after so many requests in all."""
    steps, seen = module.path_steps, []

    def path_steps(*arguments):
        path, answer = steps(*arguments), None
        while True:
            try:
                request = path.send(answer)
            except StopIteration:
                return
            seen.append(request)
            if len(seen) > requests:
                raise KilledError
            answer = yield request

    monkeypatch.setattr(module, "path_steps", path_steps)


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_a_cross_validation_resumes_to_the_same_bits(tmp_path, monkeypatch, link):
    X, y, _ = examples(300)
    arguments = {"folds": 3, "solver": "lbfgs", "link": link}
    whole, path = jlr.cross_validate(X, y, L2S, **arguments), tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        killed_after(60, patch, cross_validation)
        with pytest.raises(KilledError):
            jlr.cross_validate(X, y, L2S, checkpoint=path, checkpoint_every=1, **arguments)
    rest = jlr.cross_validate(X, y, L2S, resume=path, **arguments)
    assert rest.scores.tobytes() == whole.scores.tobytes()
    assert rest.fit.w.tobytes() == whole.fit.w.tobytes()
    assert rest.n_reads < whole.n_reads
    with pytest.raises(ValueError, match=r"^resume: expected a run whose l2s is"):
        jlr.cross_validate(X, y, L2S[:2], resume=path, **arguments)


def test_a_picture_of_the_scores(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    X, y, _ = examples(100)
    for l2s in (L2S, [0.0, 0.1, 1.0]):
        axes = jlr.cross_validate(X, y, l2s, folds=3).plot()
        assert axes.get_xlabel() == "l2"
        assert re.match("score, mean of 3 folds", axes.get_ylabel())
        axes.figure.savefig(tmp_path / "scores.svg")
        pyplot.close(axes.figure)


# ---------------------------------------------------------------- bootstrap


@pytest.mark.parametrize(("shift", "weighted"), [(0.0, False), (0.0, True), (1e5, False)])
def test_a_resample_is_the_fit_of_its_rows(shift, weighted):
    X, y, s = examples(shift=shift)
    s = s if weighted else None
    found = jlr.bootstrap(X, y, n_resamples=11, seed=3, l2=0.01, sample_weight=s)
    assert (found.w.shape, found.b.shape) == ((5, 11), (11,))
    for r in (0, 5, 10):
        rows = np.random.default_rng([3, r]).integers(0, 600, 600)
        alone = jlr.fit(X[rows], y[rows], l2=0.01, sample_weight=None if s is None else s[rows], tolerance=1e-9)
        np.testing.assert_allclose(found.w[:, r], alone.w, rtol=1e-6)
        assert found.b[r] == pytest.approx(alone.b, rel=1e-6)


def test_a_resample_does_not_depend_on_the_others(monkeypatch):
    X, y, _ = examples()
    many = jlr.bootstrap(X, y, n_resamples=20)
    few = jlr.bootstrap(X, y, n_resamples=3)
    assert few.w.tobytes() == np.ascontiguousarray(many.w[:, :3]).tobytes()
    monkeypatch.setattr(bootstrapping, "FEWEST", 1)
    monkeypatch.setattr(bootstrapping, "MOST", 1)
    assert jlr.bootstrap(X, y, n_resamples=20).w.tobytes() == many.w.tobytes()


def test_percentiles_are_quantiles():
    X, y, _ = examples()
    found = jlr.bootstrap(X, y, n_resamples=50, confidence=0.9)
    np.testing.assert_allclose(found.w_interval, np.quantile(found.w, [0.05, 0.95], axis=1).T, rtol=1e-13)
    np.testing.assert_allclose(found.b_interval, np.quantile(found.b, [0.05, 0.95]), rtol=1e-13)


# with a penalty, what an example pulls at the coefficients has a mean
@pytest.mark.parametrize(("shift", "l2"), [(0.0, 0.0), (1e6, 0.0), (0.0, 0.5)])
def test_the_acceleration_is_that_of_the_jackknife(shift, l2):
    X, y, s = examples(200, 2, shift=shift)
    s = s if l2 == 0 else np.ones(200)
    options = Options.checked(solver="auto", tolerance=1e-9, max_iterations=100)
    whole = bootstrapping._Whole(jlr.Objective(X, y, sample_weight=s, l2=l2), options)
    left_out = [np.arange(200) != i for i in range(200)]
    fits = [jlr.fit(X[rows], y[rows], sample_weight=s[rows], l2=l2, tolerance=1e-9) for rows in left_out]
    off = np.array([np.append(fit.w, fit.b) for fit in fits])
    off = off.mean(axis=0) - off
    wanted = np.sum(off**3, axis=0) / (6 * np.sum(off**2, axis=0) ** 1.5)
    # the infinitesimal jackknife differs by a share of 1/m of each influence
    np.testing.assert_allclose(bootstrapping._accelerations(whole), wanted, atol=5e-4)
    assert np.max(np.abs(wanted)) > 2e-3


def test_bca_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    X, y, _ = examples(150, 1)
    ours = jlr.bootstrap(X, y, n_resamples=999, method="bca")

    def coefficient(rows, axis=-1):
        fitted = [jlr.fit(X[r], y[r]).w[0] for r in np.atleast_2d(np.moveaxis(rows, axis, -1)).astype(int)]
        return np.reshape(fitted, rows.shape[:-1])

    theirs = stats.bootstrap(
        (np.arange(150),), coefficient, method="BCa", n_resamples=999, vectorized=True, rng=np.random.default_rng(1)
    )
    width = ours.w_interval[0, 1] - ours.w_interval[0, 0]
    np.testing.assert_allclose(ours.w_interval[0], theirs.confidence_interval, atol=width / 10)


def test_counts_are_narrow():
    counts = bootstrapping.drawn(1000, 0, 1)
    assert counts.dtype == np.uint8
    assert counts.sum() == 1000
    assert np.array_equal(counts, np.bincount(np.random.default_rng([0, 1]).integers(0, 1000, 1000), minlength=1000))


def test_a_bootstrap_resumes_to_the_same_bits(tmp_path, monkeypatch):
    X, y, _ = examples(300)
    whole, path = jlr.bootstrap(X, y, n_resamples=40), tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        killed_after(100, patch, bootstrapping)
        with pytest.raises(KilledError):
            jlr.bootstrap(X, y, n_resamples=40, checkpoint=path, checkpoint_every=1)
    rest = jlr.bootstrap(X, y, n_resamples=40, resume=path)
    assert rest.w.tobytes() == whole.w.tobytes()
    assert rest.n_reads < whole.n_reads
    with pytest.raises(ValueError, match=r"^resume: expected a run whose seed is 1"):
        jlr.bootstrap(X, y, seed=1, resume=path)


def test_resamples_of_one_class_are_named_and_left_out():
    X, y = np.arange(12.0)[:, np.newaxis], (np.arange(12) == 3).astype(int)
    with pytest.warns(RuntimeWarning, match=r"resamples have no fit that converged, and are not counted: \d"):
        found = jlr.bootstrap(X, y, l2=0.1, n_resamples=20)
    without = np.isnan(found.w[0])
    for r in range(20):
        rows = np.random.default_rng([0, r]).integers(0, 12, 12)
        assert without[r] == (len(set(y[rows])) == 1)
    np.testing.assert_allclose(found.w_interval[0], np.quantile(found.w[0, ~without], [0.025, 0.975]), rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_resamples": 1}, r"^n_resamples: expected an integer of at least 2, got 1"),
        ({"confidence": 1.0}, r"^confidence: expected a number between 0 and 1, got 1"),
        ({"method": "basic"}, r"^method: expected one of 'percentile', 'bca', got 'basic'"),
    ],
)
def test_bad_arguments_of_a_bootstrap_are_refused(arguments, message):
    X, y, _ = examples(30)
    with pytest.raises(ValueError, match=message):
        jlr.bootstrap(X, y, **arguments)
    with pytest.raises(ValueError, match=r"^y: expected data whose objective has a minimum"):
        jlr.bootstrap(np.arange(9.0)[:, np.newaxis], np.arange(9) > 4)


def test_data_that_cannot_be_weighed_is_refused():
    X, y, _ = examples(30)
    objective = jlr.Objective(X, y)
    for call in (lambda: jlr.cross_validate(objective, None, [0.1]), lambda: jlr.bootstrap(objective, None)):
        with pytest.raises(TypeError, match=r"^X: expected a numpy.ndarray, got an Objective"):
            call()
    Y = np.column_stack([y, 1 - y])
    for call in (lambda: jlr.cross_validate(X, Y, [0.1]), lambda: jlr.bootstrap(X, Y), lambda: jlr.fit_path(X, Y)):
        with pytest.raises(ValueError, match=r"^y: expected labels of one model, got those of 2"):
            call()

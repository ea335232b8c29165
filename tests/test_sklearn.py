"""The estimator: what scikit-learn asks of one, and the coefficients that scikit-learn's own gives."""

import importlib
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse

import jitlogreg as jlr

pytest.importorskip("sklearn", "1.7")

from sklearn import config_context, linear_model
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

import jitlogreg.sklearn as module
from jitlogreg.sklearn import FLAT, LogisticRegression
from jitlogreg.solvers.fit import Fit
from jitlogreg.targets.csr import CSR

# The checks of scikit-learn that are expected to fail, each with its reason: none is
EXPECTED_FAILURES: dict[str, str] = {}

X, Y = make_classification(200, 6, n_redundant=0, random_state=0)
LABELS = np.where(Y == 1, "yes", "no")
SAMPLE_WEIGHT = np.random.default_rng(0).uniform(0, 3, size=200)


def data_set(name):
    if name.startswith("cancer"):
        bunch = load_breast_cancer()
        return (scale(bunch.data) if name == "cancer, scaled" else bunch.data), bunch.target
    m, n = map(int, name.split(" x "))
    return make_classification(m, n, random_state=0)


def exact(**parameters):
    """scikit-learn's own, at the minimum as far as float64 goes."""
    return linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **parameters)


# one of the checks gives one class all the weight, and takes an exception for a refusal to fit
@pytest.mark.filterwarnings("ignore:the objective has no minimum:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", [{}, {"solver": "lbfgs"}, {"target": "reference"}], ids=str)
def test_every_check_of_scikit_learn_passes(parameters):
    results = check_estimator(
        LogisticRegression(**parameters), on_skip=None, expected_failed_checks=EXPECTED_FAILURES
    )  # raises where one fails
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    # for want of pandas, or of SCIPY_ARRAY_API=1 in the environment
    assert skipped <= {
        "check_sample_weights_pandas_series",
        "check_classifier_data_not_an_array",
        "check_array_api_input",
    }
    assert len(results) - len(skipped) > 50
    assert "check_sample_weight_equivalence_on_dense_data" in {result["check_name"] for result in results}


def test_tags():
    tags = get_tags(LogisticRegression())
    assert tags.classifier_tags.multi_class
    assert tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.estimator_type == "classifier"


# ---------------------------------------------------------------- the minimum is scikit-learn's

SETTINGS = [
    {},
    {"C": 0.01},
    {"C": 100.0},
    {"fit_intercept": False},
    {"class_weight": "balanced"},
    {"class_weight": {0: 2.0, 1: 0.3}},
]


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["cancer, scaled", "cancer, raw", "100 x 20", "30 x 60", "2000 x 30"])
def test_coefficients_are_those_of_scikit_learn(name, settings, weighted, solver):
    data, y = data_set(name)
    weights = np.random.default_rng(1).uniform(0, 3, size=len(y)) if weighted else None
    expected = exact(**settings).fit(data, y, weights)
    model = LogisticRegression(solver=solver, **settings).fit(data, y, weights)
    # what tol=1e-10 leaves is below 1e-7 here; 1e-6 is what is promised
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-6 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
    np.testing.assert_allclose(model.decision_function(data), expected.decision_function(data), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model.predict(data), expected.predict(data))
    np.testing.assert_allclose(model.predict_proba(data), expected.predict_proba(data), atol=1e-6)
    assert model.coef_.shape == expected.coef_.shape
    assert model.intercept_.shape == expected.intercept_.shape == (1,)


def test_without_a_penalty():
    expected = exact(C=np.inf).fit(X, Y)
    np.testing.assert_allclose(LogisticRegression(C=np.inf).fit(X, Y).coef_, expected.coef_, rtol=1e-6)
    assert np.abs(expected.coef_ - exact().fit(X, Y).coef_).max() > 1e-3


def test_the_strength_of_the_penalty_follows_from_all_weights():
    class_weight = {0: 0.5, 1: 3.0}
    model = LogisticRegression(C=0.7, class_weight=class_weight).fit(X, Y, SAMPLE_WEIGHT)
    s = SAMPLE_WEIGHT * np.where(Y == 1, 3.0, 0.5)
    fitted = jlr.fit(X, Y, sample_weight=s, l2=1 / (0.7 * s.sum()), tolerance=1e-10)
    np.testing.assert_allclose(model.coef_[0], fitted.w, rtol=1e-12)
    assert model.intercept_[0] == pytest.approx(fitted.b, rel=1e-12)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_refits_agree(solver):
    """Examples in another order, or twice in place of a weight of 2, or another start: to 1e-7."""
    model = LogisticRegression(solver=solver, warm_start=True)
    first = model.fit(X, Y).coef_
    order = np.random.default_rng(0).permutation(len(Y))
    scale_of = np.abs(first).max()
    np.testing.assert_allclose(clone(model).fit(X[order], Y[order]).coef_, first, atol=1e-7 * scale_of)
    twice = clone(model).set_params(C=0.5).fit(np.vstack([X, X]), np.append(Y, Y))
    np.testing.assert_allclose(twice.coef_, first, atol=1e-7 * scale_of)
    model.coef_ = model.coef_ + 0.3
    np.testing.assert_allclose(model.fit(X, Y).coef_, first, atol=1e-7 * scale_of)


# ---------------------------------------------------------------- labels and dtypes


@pytest.mark.parametrize(
    ("labels", "kind"), [(("no", "yes"), "U"), ((-1, 1), "i"), ((3.0, 7.0), "f"), ((False, True), "b")], ids=str
)
def test_labels(labels, kind):
    y = np.where(Y == 1, labels[1], labels[0])
    model = LogisticRegression().fit(X, y)
    np.testing.assert_array_equal(model.classes_, labels)
    predicted = model.predict(X)
    assert predicted.dtype.kind == kind
    assert model.score(X, y) == np.mean(predicted == y) > 0.8
    np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(X, Y).coef_)
    np.testing.assert_array_equal(LogisticRegression().fit(X.tolist(), y.tolist()).coef_, model.coef_)


def test_a_class_weight_by_string_labels():
    model = LogisticRegression(class_weight={"no": 1.0, "yes": 5.0}).fit(X, LABELS)
    np.testing.assert_array_equal(model.coef_, LogisticRegression(class_weight={0: 1.0, 1: 5.0}).fit(X, Y).coef_)


def test_float32_stays_float32():
    wide, narrow = LogisticRegression().fit(X, Y), LogisticRegression().fit(X.astype(np.float32), Y)
    for name in ("coef_", "intercept_"):
        assert getattr(narrow, name).dtype == np.float32
        assert getattr(wide, name).dtype == np.float64
    # X itself is rounded by up to 6e-8
    np.testing.assert_allclose(narrow.coef_, wide.coef_, atol=1e-5)
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        assert getattr(narrow, method)(X.astype(np.float32)).dtype == np.float32
        assert getattr(narrow, method)(X).dtype == np.float64
        assert getattr(wide, method)(X.astype(np.float32)).dtype == np.float64
    assert narrow.n_iter_.dtype == np.int32


def test_other_numbers_become_float64():
    integers = np.arange(12).reshape(6, 2) % 5
    y = np.array([0, 1, 0, 1, 1, 0])
    for values in (integers, integers.astype(np.int8), integers.astype(np.float16), integers.astype(">f8")):
        model = LogisticRegression().fit(values, y)
        assert model.coef_.dtype == np.float64
        np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(integers.astype(float), y).coef_)
        assert model.predict_proba(values).dtype == np.float64


@pytest.fixture
def given(monkeypatch):
    """What `jitlogreg.fit` was called with, last."""
    seen = {}

    def fit(X, y, options, **data):
        data |= {"solver": options.solver, "tolerance": options.tolerance, "max_iterations": options.max_iterations}
        seen.update(data, X=X, y=y)
        return jlr.fit(X, y, **data), None

    monkeypatch.setattr(module, "fit_quietly", fit)
    return seen


def test_x_is_not_copied_in_either_order(given):
    wide = np.hstack([X, X])
    for array in (X, np.asfortranarray(X), wide[:, 3:9], X[:150], np.asfortranarray(X)[:150], X.astype(np.float32)):
        before = array.copy()
        array.flags.writeable = False
        LogisticRegression().fit(array, Y[: len(array)])
        assert np.shares_memory(given["X"], array)
        assert given["X"].strides == array.strides
        np.testing.assert_array_equal(array, before)
        if array.base is None:
            array.flags.writeable = True


def test_a_view_without_a_unit_stride_is_copied(given):
    bytes_apart = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    bytes_apart[:] = X
    for array in (np.repeat(X, 2, axis=1)[:, ::2], X[:, ::-1][:, ::-1][::-1], bytes_apart):
        expected = LogisticRegression().fit(np.ascontiguousarray(array), Y).coef_
        np.testing.assert_array_equal(LogisticRegression().fit(array, Y).coef_, expected)
        assert not np.shares_memory(given["X"], array)


def test_what_is_passed_on(given):
    LogisticRegression(solver="lbfgs", tol=1e-3, max_iter=50, fit_intercept=False, target="cpu").fit(X, Y)
    names = ("solver", "tolerance", "max_iterations", "fit_intercept", "target", "sample_weight", "w", "b")
    assert [given[name] for name in names] == ["lbfgs", 1e-3, 50, False, "cpu", None, None, 0.0]


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_keep_their_digits_in_both_tails(dtype):
    model = LogisticRegression().fit(X[:, :1].astype(dtype), Y)
    model.coef_[:], model.intercept_[:] = 1, 0
    z = np.array([-700, -80, -40, -1e-9, 0, 1e-9, 40, 80, 700], dtype)
    logarithms = model.predict_log_proba(z[:, np.newaxis])
    wide = z.astype(np.float64)
    expected = -np.logaddexp(0, np.column_stack([wide, -wide]))
    assert np.isfinite(logarithms).all()
    # below the smallest normal number there may be 0
    np.testing.assert_allclose(logarithms, expected, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)
    assert (logarithms[0, 1], logarithms[-1, 0]) == (-700, -700)
    probabilities = model.predict_proba(z[1:-1, np.newaxis])
    np.testing.assert_allclose(probabilities, np.exp(expected[1:-1]), rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(model.predict(z[:, np.newaxis]), z > 0)


def test_decisions_probabilities_and_labels_are_of_one_mind():
    model = LogisticRegression().fit(X, LABELS)
    z = model.decision_function(X)
    np.testing.assert_allclose(z, X @ model.coef_[0] + model.intercept_[0], rtol=1e-13)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], jlr.forward(X, model.coef_[0], model.intercept_[0]))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-14)
    np.testing.assert_array_equal(model.predict(X), np.where(z > 0, "yes", "no"))
    model.coef_[:], model.intercept_[:] = 0, 0
    assert set(model.predict(X)) == {"no"}


def test_before_the_fit():
    for method in ("decision_function", "predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError):
            getattr(LogisticRegression(), method)(X)


# ---------------------------------------------------------------- how a fit ends


@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "gradient_descent"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_iterations_warn(solver, count):
    model = LogisticRegression(solver=solver, max_iter=count)
    message = rf"{solver} failed to converge after {count} iteration\(s\): max_iterations={count} is reached"
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(X, Y)
    assert model.n_iter_.shape == (1,)
    assert model.n_iter_[0] == count
    if count == 0:
        assert not model.coef_.any()
        np.testing.assert_array_equal(model.predict_proba(X), 0.5)


@pytest.mark.parametrize(
    ("n_iterations", "decrement", "converged", "warned"),
    [
        (5, 1e-11, True, False),
        (5, FLAT, False, False),  # rounding ended it
        (5, 2 * FLAT, False, True),
        (100, 1e-9, False, True),  # it could have gone on
        (0, np.nan, False, True),
    ],
)
def test_who_is_warned(monkeypatch, n_iterations, decrement, converged, warned):
    fitted = Fit(np.zeros(6), 0.0, 0.5, 0.1, n_iterations, 9, converged, "why it ended", decrement, 9)
    monkeypatch.setattr(module, "fit_quietly", lambda *args, **kwargs: (fitted, None))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        LogisticRegression().fit(X, Y)
    assert [warning.category for warning in seen] == [ConvergenceWarning] * warned
    assert all(warning.filename == module.__file__ for warning in seen)


def test_a_tolerance_of_zero_ends_at_what_rounding_allows():
    model = LogisticRegression(tol=0).fit(X, Y)
    assert model.n_iter_[0] < 30
    np.testing.assert_allclose(model.coef_, exact().fit(X, Y).coef_, rtol=1e-9)


def test_warm_start():
    model = LogisticRegression(warm_start=True, solver="lbfgs").fit(X, Y)
    cold = model.n_iter_[0]
    assert model.fit(X, Y).n_iter_[0] == 0 < cold
    np.testing.assert_allclose(
        model.set_params(C=0.5).fit(X, Y).coef_, LogisticRegression(C=0.5).fit(X, Y).coef_, rtol=1e-6
    )
    again = LogisticRegression(solver="lbfgs").fit(X, Y)
    assert again.fit(X, Y).n_iter_[0] == cold


def test_a_warm_start_takes_the_intercept_along():
    model = LogisticRegression(warm_start=True, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y).fit(X, Y)
    with pytest.warns(ConvergenceWarning):
        two = LogisticRegression(max_iter=2).fit(X, Y)
    np.testing.assert_allclose(model.coef_, two.coef_, rtol=1e-12)
    np.testing.assert_allclose(model.intercept_, two.intercept_, rtol=1e-12)
    without = LogisticRegression(warm_start=True).fit(X, Y).set_params(fit_intercept=False).fit(X, Y)
    assert without.intercept_[0] == 0
    np.testing.assert_allclose(without.coef_, LogisticRegression(fit_intercept=False).fit(X, Y).coef_, rtol=1e-6)


def test_a_warm_start_of_other_columns():
    model = LogisticRegression(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"coef_: expected shape \(1, 4\) for a warm start, got \(1, 6\)"):
        model.fit(X[:, :4], Y)


# ---------------------------------------------------------------- what is deprecated, and what is refused


def test_deprecated_parameters_warn_as_scikit_learn_does():
    expected = LogisticRegression().fit(X, Y).coef_
    with pytest.warns(FutureWarning, match=r"'n_jobs' has no effect since 1\.8 .* You provided 'n_jobs=2'"):
        np.testing.assert_array_equal(LogisticRegression(n_jobs=2).fit(X, Y).coef_, expected)
    deprecated = r"'penalty' was deprecated in version 1\.8"
    with pytest.warns(FutureWarning, match=deprecated):
        np.testing.assert_array_equal(LogisticRegression(penalty="l2").fit(X, Y).coef_, expected)
    unpenalised = LogisticRegression(C=np.inf).fit(X, Y).coef_
    with pytest.warns(FutureWarning, match=deprecated):
        np.testing.assert_array_equal(LogisticRegression(penalty=None).fit(X, Y).coef_, unpenalised)
    with pytest.warns(FutureWarning, match=deprecated), pytest.warns(UserWarning, match="ignore the C"):
        np.testing.assert_array_equal(LogisticRegression(penalty=None, C=4.0).fit(X, Y).coef_, unpenalised)


@pytest.mark.parametrize(
    "parameter",
    [
        {"C": 0},
        {"C": -1.0},
        {"C": "1"},
        {"tol": -1e-3},
        {"max_iter": -1},
        {"max_iter": 2.5},
        {"solver": "liblinear"},
        {"penalty": "l1"},
        {"class_weight": "unbalanced"},
        {"fit_intercept": "yes"},
        {"target": 3},
    ],
    ids=str,
)
def test_parameters_that_are_refused(parameter):
    with pytest.raises(ValueError, match=f"The '{next(iter(parameter))}' parameter of LogisticRegression must be "):
        LogisticRegression(**parameter).fit(X, Y)


def test_data_that_is_refused():
    model = LogisticRegression()
    with pytest.raises(ValueError, match=r"needs samples of at least 2 classes in the data, but .* one class: .*'yes'"):
        model.fit(X, np.full(200, "yes"))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(np.where(X > 1, np.nan, X), Y)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix])
@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_rows(make, classes):
    thinned = np.where(np.abs(X) > 0.7, X, 0.0)
    y = np.arange(200) % classes
    offset = np.linspace(-1, 1, 200)
    dense = LogisticRegression().fit(thinned, y, offset=offset)
    model = LogisticRegression().fit(make(thinned), y, offset=offset)
    assert np.allclose(model.coef_, dense.coef_, atol=1e-7)
    for name in ("predict_proba", "predict_log_proba", "decision_function"):
        answers = getattr(model, name)(make(thinned), offset=offset), getattr(dense, name)(thinned, offset=offset)
        assert np.allclose(*answers, atol=1e-6)
    assert np.array_equal(model.predict(make(thinned)), dense.predict(thinned))


def test_a_csr_of_this_package_and_a_broken_one():
    thinned = sparse.csr_array(np.where(np.abs(X) > 0.7, X, 0.0))
    rows = CSR.of_scipy(thinned)
    model = LogisticRegression().fit(rows, Y)
    assert np.array_equal(model.coef_, LogisticRegression().fit(thinned, Y).coef_)
    assert np.array_equal(model.predict_proba(rows), model.predict_proba(thinned))
    thinned.indices[5] = 10**9
    for call in (model.predict, lambda broken: LogisticRegression().fit(broken, Y)):
        with pytest.raises(ValueError, match=r"indices\[5\]: expected a column from 0 to|index"):
            call(thinned)


def test_weights_that_are_refused():
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        LogisticRegression().fit(X, Y, -SAMPLE_WEIGHT)
    with pytest.raises(ValueError, match=r"at least one non-zero|positive and finite, got 0"):
        LogisticRegression().fit(X, Y, np.zeros(200))
    with pytest.raises(ValueError, match=r"sample_weight: expected a sum that is positive and finite, got 0\.0"):
        LogisticRegression(class_weight={0: 0, 1: 0}).fit(X, Y)
    with pytest.raises(ValueError, match=r"sample_weight\.shape == \(199,\)"):
        LogisticRegression().fit(X, Y, SAMPLE_WEIGHT[:-1])


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"target: expected one of .*, got 'tpu'"):
        LogisticRegression(target="tpu").fit(X, Y)


def test_the_target_serves_predictions_too(monkeypatch):
    model = LogisticRegression(target="reference").fit(X, Y)
    np.testing.assert_allclose(model.coef_, LogisticRegression(target="cpu").fit(X, Y).coef_, rtol=1e-9)
    asked = []
    for name in ("forward", "log_forward"):
        call = getattr(jlr, name)
        monkeypatch.setattr(
            module, name, lambda *args, call=call, target: asked.append(target) or call(*args, target=target)
        )
    model.predict_proba(X)
    model.predict_log_proba(X)
    assert asked == ["reference"] * 4


# ---------------------------------------------------------------- together with the rest of scikit-learn


def test_in_a_pipeline_with_data_frames_in_between():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    pipeline.fit(frame, LABELS)
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, list("abcdef"))
    expected = make_pipeline(StandardScaler(), exact()).fit(X, LABELS)
    np.testing.assert_allclose(pipeline.predict_proba(frame), expected.predict_proba(X), atol=1e-7)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({f"column {j}": X[:, j] for j in range(6)})
    y, weights = frames.Series(LABELS.tolist()), frames.Series(SAMPLE_WEIGHT)
    model = LogisticRegression().fit(frame, y, sample_weight=weights)
    np.testing.assert_array_equal(model.feature_names_in_, [f"column {j}" for j in range(6)])
    np.testing.assert_array_equal(model.classes_, ["no", "yes"])
    plain = LogisticRegression().fit(X, LABELS, SAMPLE_WEIGHT)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        model.predict(frame[[f"column {j}" for j in reversed(range(6))]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)


def test_pandas_labels_and_missing_values():
    pandas = pytest.importorskip("pandas")
    for y in (pandas.Series(LABELS, dtype="category"), pandas.Series(Y, dtype="Int64"), pandas.Series(Y == 1)):
        model = LogisticRegression().fit(X, y)
        np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(X, Y).coef_)
    frame = pandas.DataFrame(X).astype("Float64")
    np.testing.assert_allclose(LogisticRegression().fit(frame, Y).coef_, model.coef_, rtol=1e-12)  # in F order
    frame.iloc[3, 2] = pandas.NA
    with pytest.raises(ValueError, match="Input X contains NaN"):
        LogisticRegression().fit(frame, Y)


def test_grid_search_in_two_processes():
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, np.inf]}, n_jobs=2, scoring="neg_log_loss")
    search.fit(X, LABELS)
    alone = GridSearchCV(exact(), {"C": [0.01, 1.0, np.inf]}, scoring="neg_log_loss").fit(X, LABELS)
    assert search.best_params_ == alone.best_params_
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-6)


def test_cross_validation_and_calibration():
    for scoring in ("accuracy", "roc_auc", "neg_brier_score"):
        scores = cross_val_score(LogisticRegression(), X, LABELS == "yes", scoring=scoring)
        np.testing.assert_allclose(scores, cross_val_score(exact(), X, LABELS == "yes", scoring=scoring), rtol=1e-6)
    calibrated = CalibratedClassifierCV(LogisticRegression()).fit(X, LABELS, SAMPLE_WEIGHT)
    expected = CalibratedClassifierCV(exact()).fit(X, LABELS, SAMPLE_WEIGHT)
    # the calibration has a minimiser of its own, with a tolerance of its own
    np.testing.assert_allclose(calibrated.predict_proba(X), expected.predict_proba(X), atol=1e-5)


def test_more_classes_by_one_against_the_rest():
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    model = OneVsRestClassifier(LogisticRegression()).fit(X, y)
    expected = OneVsRestClassifier(exact()).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-6)


def test_clones_and_pickles():
    model = LogisticRegression(C=0.3, class_weight={"no": 1.0, "yes": 2.0}, solver="lbfgs", tol=1e-8)
    assert clone(model).get_params() == model.get_params()
    model.fit(X, LABELS)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert copy.get_params() == model.get_params()
    assert not hasattr(clone(model), "coef_")
    assert "C=0.3" in repr(model)


def test_sample_weights_are_routed():
    with config_context(enable_metadata_routing=True):
        routed = LogisticRegression().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, routed).fit(X, Y, sample_weight=SAMPLE_WEIGHT)
        expected = LogisticRegression().fit(StandardScaler().fit_transform(X), Y, SAMPLE_WEIGHT)
        np.testing.assert_allclose(pipeline[-1].coef_, expected.coef_, rtol=1e-9)
        both = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_validate(both, X, Y, params={"sample_weight": SAMPLE_WEIGHT})["test_score"]
        theirs = exact().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        np.testing.assert_allclose(
            scores, cross_validate(theirs, X, Y, params={"sample_weight": SAMPLE_WEIGHT})["test_score"]
        )


def test_numpy_arrays_while_other_arrays_are_dispatched():
    """In a process of its own, since SciPy reads its environment when it is imported."""
    program = """
import numpy as np
from sklearn import config_context
from sklearn.datasets import make_classification
from jitlogreg.sklearn import LogisticRegression

X, y = make_classification(200, 6, random_state=0)
labels, weights = np.where(y == 1, "yes", "no"), np.linspace(0, 1, 200)
for X, y in ((X, y), (X.astype(np.float32), labels), (X.tolist(), labels.tolist())):
    model = LogisticRegression(class_weight="balanced")
    expected = model.fit(X, y, weights).predict_log_proba(X), model.predict(X), model.coef_
    with config_context(array_api_dispatch=True):
        model.fit(X, y, weights)
        for found, wanted in zip((model.predict_log_proba(X), model.predict(X), model.coef_), expected, strict=True):
            assert type(found) is np.ndarray
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
print("the same")
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("the same\n", 0), done.stderr


# ---------------------------------------------------------------- the module


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "jitlogreg.sklearn")
    with pytest.raises(ImportError, match=r"needs the package scikit-learn, .*: pip install 'jitlogreg\[sklearn\]'"):
        importlib.import_module("jitlogreg.sklearn")


def test_weights_of_classes_below_0_are_refused():
    X, y = make_classification(random_state=0)
    with pytest.raises(ValueError, match=r"^class_weight: expected weights of at least 0, got \{0: -1, 1: 2\}"):
        LogisticRegression(class_weight={0: -1, 1: 2}).fit(X, y)


def test_a_warm_start_with_other_classes_leaves_the_model_as_it_was():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(warm_start=True).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=r"^coef_: expected shape \(1, 4\) for a warm start, got \(3, 4\)"):
        model.fit(X[y < 2], y[y < 2])
    assert np.array_equal(model.classes_, [0, 1, 2])
    assert np.array_equal(model.predict_proba(X), before)


def test_a_tiny_penalty_has_the_minimum_of_none():
    X, y = load_iris(return_X_y=True)
    y = np.where(np.arange(150) % 7 == 0, (y + 1) % 3, y)  # which no hyperplane separates
    expected = LogisticRegression(C=np.inf).fit(X, y).coef_
    for C in (1e12, 1e18):
        np.testing.assert_allclose(LogisticRegression(C=C).fit(X, y).coef_, expected, rtol=1e-6)

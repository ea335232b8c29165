"""Bootstrap: resamples against fits to their rows, and intervals against formulas and SciPy."""

import tracemalloc

import numpy as np
import pytest
from test_selection import examples

import jitlogreg as jlr
from jitlogreg import objective as objectives
from jitlogreg import outputs_objective, row_passes
from jitlogreg.solvers import resamples
from jitlogreg.solvers.arguments import Options
from jitlogreg.solvers.intervals import accelerations

# ---------------------------------------------------------------- resamples


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
    monkeypatch.setattr(resamples, "FEWEST", 1)
    monkeypatch.setattr(resamples, "MOST", 1)
    assert jlr.bootstrap(X, y, n_resamples=20).w.tobytes() == many.w.tobytes()


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_resamples_are_the_same_from_any_number_on(link):
    X, y, _ = examples()
    whole = jlr.bootstrap(X, y, n_resamples=20, link=link, seed=5)
    part = jlr.bootstrap(X, y, n_resamples=9, first_resample=11, link=link, seed=5)
    assert part.w.tobytes() == np.ascontiguousarray(whole.w[..., 11:]).tobytes()
    assert part.b.tobytes() == np.ascontiguousarray(whole.b[..., 11:]).tobytes()


def test_memory_does_not_grow_with_the_resamples():
    X, y, _ = examples(50_000, 16)

    def peak(n_resamples):
        tracemalloc.start()
        try:
            jlr.bootstrap(X, y, n_resamples=n_resamples)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    jlr.bootstrap(X, y, n_resamples=2)  # modules and compiled code come now
    weights = 50_000 * 16 * 8  # of a group, which has as many resamples as X has columns
    of_a_group, of_groups = peak(16), peak(48)
    assert of_a_group < 2.2 * weights
    assert of_groups < of_a_group + 0.5 * weights


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
    whole = resamples.Whole(jlr.Objective(X, y, sample_weight=s, l2=l2), options)
    left_out = [np.arange(200) != i for i in range(200)]
    fits = [jlr.fit(X[rows], y[rows], sample_weight=s[rows], l2=l2, tolerance=1e-9) for rows in left_out]
    off = np.array([np.append(fit.w, fit.b) for fit in fits])
    off = off.mean(axis=0) - off
    wanted = np.sum(off**3, axis=0) / (6 * np.sum(off**2, axis=0) ** 1.5)
    # the infinitesimal jackknife differs by a share of 1/m of each influence
    np.testing.assert_allclose(accelerations(whole), wanted, atol=5e-4)
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
    counts = resamples.drawn(1000, 0, 1)
    assert counts.dtype == np.uint8
    assert counts.sum() == 1000
    assert np.array_equal(counts, np.bincount(np.random.default_rng([0, 1]).integers(0, 1000, 1000), minlength=1000))


def test_resamples_of_one_class_are_named_and_left_out():
    X, y = np.arange(12.0)[:, np.newaxis], (np.arange(12) == 3).astype(int)
    with pytest.warns(RuntimeWarning, match=r"resamples have no fit that converged, and are not counted: \d"):
        found = jlr.bootstrap(X, y, l2=0.1, n_resamples=20)
    without = np.isnan(found.w[0])
    for r in range(20):
        rows = np.random.default_rng([0, r]).integers(0, 12, 12)
        assert without[r] == (len(set(y[rows])) == 1)
    first = int(np.argmax(without[5:])) + 5
    with pytest.warns(RuntimeWarning, match=rf"are not counted: {first}"):
        jlr.bootstrap(X, y, l2=0.1, n_resamples=15, first_resample=5)
    np.testing.assert_allclose(found.w_interval[0], np.quantile(found.w[0, ~without], [0.025, 0.975]), rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_resamples": 1}, r"^n_resamples: expected an integer of at least 2, got 1"),
        ({"first_resample": -1}, r"^first_resample: expected an integer of at least 0, got -1"),
        ({"confidence": 1.0}, r"^confidence: expected a number between 0 and 1, got 1"),
        ({"max_iterations": 1}, r"^max_iterations: expected enough for the fit to all rows"),
        ({"method": "basic"}, r"^method: expected one of 'percentile', 'bca', got 'basic'"),
    ],
)
def test_bad_arguments_of_a_bootstrap_are_refused(arguments, message):
    X, y, _ = examples(200)
    with pytest.raises(ValueError, match=message):
        jlr.bootstrap(X, y, **arguments)
    with pytest.raises(ValueError, match=r"^y: expected data whose objective has a minimum"):
        jlr.bootstrap(np.arange(9.0)[:, np.newaxis], np.arange(9) > 4)


# ---------------------------------------------------------------- softmax


def classes_of(X, y, K=3):
    """Labels of K classes."""
    return y + (X[:, 0] > 0.3) * (K - 2)


@pytest.mark.parametrize(("shift", "weighted", "l2"), [(0.0, False, 0.0), (0.0, True, 0.01), (1e5, False, 0.01)])
def test_a_resample_of_a_softmax_is_the_fit_of_its_rows(shift, weighted, l2):
    X, y, s = examples(shift=shift)
    y, s = classes_of(X - shift, y), s if weighted else None
    found = jlr.bootstrap(X, y, link="softmax", n_resamples=9, seed=3, l2=l2, sample_weight=s)
    assert (found.w.shape, found.b.shape) == ((5, 3, 9), (3, 9))
    assert (found.w_interval.shape, found.b_interval.shape) == ((5, 3, 2), (3, 2))
    for r in (0, 8):
        rows = np.random.default_rng([3, r]).integers(0, 600, 600)
        given = {"link": "softmax", "l2": l2, "sample_weight": None if s is None else s[rows]}
        alone = jlr.fit(X[rows], y[rows], **given, tolerance=1e-9)
        np.testing.assert_allclose(found.w[:, :, r], alone.w, atol=1e-6)
        np.testing.assert_allclose(found.b[:, r], alone.b, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.sum(found.w, axis=1), 0, atol=1e-9)


def test_intervals_of_a_softmax_are_those_of_each_parameter():
    X, y, _ = examples()
    found = jlr.bootstrap(X, classes_of(X, y), link="softmax", n_resamples=30, confidence=0.8)
    ends = np.quantile(found.w, [0.1, 0.9], axis=-1)
    np.testing.assert_allclose(found.w_interval, np.moveaxis(ends, 0, -1), rtol=1e-13)
    np.testing.assert_allclose(found.b_interval, np.quantile(found.b, [0.1, 0.9], axis=-1).T, rtol=1e-13)


def test_a_softmax_of_two_classes_has_half_the_coefficients_of_one_output():
    X, y, _ = examples()
    for method in ("percentile", "bca"):
        one = jlr.bootstrap(X, y, n_resamples=50, method=method)
        two = jlr.bootstrap(X, y, n_resamples=50, method=method, link="softmax")
        for name in ("w", "w_interval", "b", "b_interval"):
            of_class = np.take(getattr(two, name), 1, axis=1 if name.startswith("w") else 0)
            np.testing.assert_allclose(of_class, getattr(one, name) / 2, atol=1e-6)


@pytest.mark.parametrize(("shift", "l2"), [(0.0, 0.0), (1e6, 0.0), (0.0, 0.05)])
def test_the_acceleration_of_a_softmax_is_that_of_the_jackknife(shift, l2):
    X, y, s = examples(200, 2, shift=shift)
    y, offset = classes_of(X - shift, y), np.column_stack([0 * s, s, 1 - s])
    options = Options.checked(solver="auto", tolerance=1e-9, max_iterations=100)
    given = {"l2": l2, "link": "softmax"}
    objective = jlr.Objective(X, y, sample_weight=s, offset=offset, n_outputs=3, **given).gauged()
    left_out = [np.arange(200) != i for i in range(200)]
    fits = [
        jlr.fit(X[rows], y[rows], sample_weight=s[rows], offset=offset[rows], tolerance=1e-9, **given)
        for rows in left_out
    ]
    off = np.array([np.append(fit.w, fit.b) for fit in fits])
    off = off.mean(axis=0) - off
    wanted = np.sum(off**3, axis=0) / (6 * np.sum(off**2, axis=0) ** 1.5)
    found = accelerations(resamples.Whole(objective, options))
    np.testing.assert_allclose(found, wanted, atol=4e-3)
    assert np.max(np.abs(wanted)) > 1e-2


def test_the_acceleration_does_not_depend_on_row_blocks(monkeypatch):
    X, y, s = examples(200, 2)
    offset = np.column_stack([0 * s, s, 1 - s])
    objective = jlr.Objective(X, classes_of(X, y), offset=offset, link="softmax", n_outputs=3).gauged()
    whole = resamples.Whole(objective, Options.checked(solver="auto", tolerance=1e-9, max_iterations=100))
    at_once = accelerations(whole)
    monkeypatch.setattr(row_passes, "ROWS", 48)
    np.testing.assert_allclose(accelerations(whole), at_once, rtol=1e-9)


def test_a_softmax_of_other_weights_is_that_of_its_own():
    X, y, s = examples(300, 3)
    given, theta = {"link": "softmax", "n_outputs": 3, "l2": 0.1}, np.linspace(-1, 1, 12)
    other = jlr.Objective(X, classes_of(X, y), **given).gauged().reweighted(s)
    own = jlr.Objective(X, classes_of(X, y), sample_weight=s, **given).gauged()
    assert other(theta)[0] == own(theta)[0]
    for call in ("gradient", "hessian"):
        np.testing.assert_array_equal(getattr(other, call)(theta), getattr(own, call)(theta))
    np.testing.assert_array_equal(other.at_zero()[1], own.at_zero()[1])


def test_shares_of_classes_have_the_intervals_of_these():
    X, y, _ = examples()
    y = classes_of(X, y)
    for method in ("percentile", "bca"):
        given = {"link": "softmax", "n_resamples": 20, "method": method}
        of_numbers, of_shares = (jlr.bootstrap(X, labels, **given) for labels in (y, np.eye(3)[y]))
        np.testing.assert_allclose(of_shares.w_interval, of_numbers.w_interval, atol=1e-7)


def test_resamples_that_lack_a_class_are_left_out():
    X, y, _ = examples(60, 2)
    y = np.where(np.arange(60) < 2, 2, y)
    with pytest.warns(RuntimeWarning, match=r"resamples have no fit that converged, and are not counted: \d"):
        found = jlr.bootstrap(X, y, link="softmax", l2=0.1, n_resamples=20)
    lacks = [len(set(y[np.random.default_rng([0, r]).integers(0, 60, 60)])) < 3 for r in range(20)]
    assert np.isnan(found.w).all(axis=(0, 1)).tolist() == np.isnan(found.b).all(axis=0).tolist() == lacks
    assert 0 < sum(lacks) < 20


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_without_a_hessian_resamples_have_a_model_of_their_own(monkeypatch, link):
    X, y, _ = examples()
    y = classes_of(X, y) if link == "softmax" else y
    wanted = jlr.bootstrap(X, y, link=link, n_resamples=10)
    for module in (outputs_objective, objectives):
        monkeypatch.setattr(module, "HESSIAN_COLUMNS", 5 if link == "softmax" else 4)
    found = jlr.bootstrap(X, y, link=link, n_resamples=10)
    np.testing.assert_allclose(found.w, wanted.w, atol=1e-6)
    with pytest.raises(ValueError, match=r"^method: expected 'percentile' where Objective.has_hessian is False"):
        jlr.bootstrap(X, y, link=link, method="bca")

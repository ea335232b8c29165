"""Folds and resamples as tasks of a cluster: the bits of the undivided run, on any number of workers."""

import numpy as np
import pytest
from test_selection import L2S, examples

import jitlogreg as jlr

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")


@pytest.fixture(params=[1, 4], scope="module")
def client(request):
    """A client of a cluster of so many workers, all in this process."""
    with (
        distributed.LocalCluster(
            n_workers=request.param, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(request.param, timeout=60)
        yield client


def gathered(client, task, numbers, *arrays):
    """The results of a task for each of some numbers."""
    scattered = client.scatter(arrays, broadcast=True)
    return client.gather([client.submit(task, number, *scattered) for number in numbers])


def one_fold(fold, X, y, numbers):
    return jlr.cross_validate(X, y, L2S, folds=np.where(numbers == fold, 0, -1))


@pytest.mark.parametrize("shift", [0.0, 1e5])  # 1e5: computed in a frame
def test_folds_are_tasks(client, shift):
    X, y, _ = examples(shift=shift)
    numbers = np.arange(len(y)) % 5
    whole = jlr.cross_validate(X, y, L2S, folds=numbers)
    parts = gathered(client, one_fold, range(5), X, y, numbers)
    scores = np.column_stack([part.scores for part in parts])
    assert scores.tobytes() == whole.scores.tobytes()
    best = int(np.argmax(scores.mean(axis=1)))
    assert L2S[best] == whole.best_l2
    path = client.submit(jlr.fit_path, X, y, l2s=L2S, sample_weight=np.ones(len(y))).result()
    assert np.ascontiguousarray(path.w[:, best]).tobytes() == whole.fit.w.tobytes()
    assert path.b[best] == whole.fit.b


def some_resamples(first, X, y):
    return jlr.bootstrap(X, y, n_resamples=10, first_resample=first)


def test_groups_of_resamples_are_tasks(client):
    X, y, _ = examples()
    whole = jlr.bootstrap(X, y, n_resamples=40)
    parts = gathered(client, some_resamples, range(0, 40, 10), X, y)
    w = np.concatenate([part.w for part in parts], axis=-1)
    b = np.concatenate([part.b for part in parts], axis=-1)
    assert w.tobytes() == whole.w.tobytes()
    assert b.tobytes() == whole.b.tobytes()
    ends = np.nanquantile(w, [0.025, 0.975], axis=-1)
    np.testing.assert_allclose(np.moveaxis(ends, 0, -1), whole.w_interval, rtol=1e-13)


def test_a_fold_is_a_path_with_weights_where_no_frame_is_needed():
    X, y, s = examples()
    numbers, seen = np.arange(len(y)) % 3, []

    def scoring(y, a, s):
        seen.append(a)
        return 0.0

    jlr.cross_validate(X, y, L2S, folds=numbers, sample_weight=s, scoring=scoring)
    path = jlr.fit_path(X, y, l2s=L2S, sample_weight=np.where(numbers == 1, 0.0, s))
    a = jlr.forward(X[numbers == 1], path.w, path.b)
    assert np.stack(seen[len(L2S) : 2 * len(L2S)], axis=1).tobytes() == np.ascontiguousarray(a).tobytes()

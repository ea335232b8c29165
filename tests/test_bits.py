"""The same inputs give the same bits: in every process, on any number of threads, in any view, from any caller."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg.targets import cpu

# Small, on all threads, in panels, and with rows that fill no group of eight
SHAPES = [(45, 7), (30_001, 28), (1_003, 2_050), (19, 40_000)]

PROGRAM = """
import hashlib, sys, numba
sys.path.insert(0, {tests!r})
from test_bits import SHAPES, bits, make_data
if {threads}:
    numba.set_num_threads({threads})
digest = hashlib.sha256()
for shape in SHAPES:
    for order in "CF":
        digest.update(bits(make_data(*shape, order=order, soft=True, weighted=True)))
print(digest.hexdigest())
"""


def bits(data, X=None, y=None, w=None):
    """All bits of all calls."""
    X, y, w = data.X if X is None else X, data.y if y is None else y, data.w if w is None else w
    weights = {"sample_weight": data.sample_weight, "l2": 0.5}
    both = jlr.loss_and_gradient(X, y, w, data.b, **weights)
    gradient = jlr.gradient(X, y, w, data.b, **weights)
    numbers = [both.loss, both.db, gradient.db, jlr.loss(X, y, w, data.b, **weights), jlr.loss(X, y, w, data.b)]
    arrays = [both.dw, gradient.dw, jlr.forward(X, w, data.b), jlr.log_forward(X, w, data.b)]
    return b"".join(np.asarray(part).tobytes() for part in [numbers, *arrays])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_run_gives_the_same(target, dtypes, order, shape):
    data = make_data(*shape, dtypes, order, soft=True, weighted=True)
    expected = bits(data)
    for _ in range(2):
        again = make_data(*shape, dtypes, order, soft=True, weighted=True)  # at other addresses
        assert bits(again) == expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(1, 1), (45, 7), (500, 2), (1_000, 20), (70, 300), (3, 0), (60_000, 4)], ids=str)
def test_means_from_the_call_that_sums_have_the_bits_of_others(monkeypatch, dtypes, order, shape, l2, weighted):
    data = make_data(*shape, dtypes, order, soft=True, weighted=weighted)
    arguments, options = (data.X, data.y, data.w, data.b), {"sample_weight": data.sample_weight, "l2": l2}

    def found():
        both = jlr.loss_and_gradient(*arguments, **options, target="cpu")
        gradient = jlr.gradient(*arguments, **options, target="cpu")
        assert both.dw.dtype == data.w.dtype
        assert type(both.loss) is type(both.db) is float
        return both.loss, both.db, both.dw.tobytes(), gradient.db, gradient.dw.tobytes()

    in_one_call = found()
    monkeypatch.setattr(cpu, "means", lambda *_: None)  # as a target says that has no such call
    assert found() == in_one_call


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_any_number_of_threads_gives_the_same(dtypes, order, shape):
    data = make_data(*shape, dtypes, order, soft=True, weighted=True)
    found, before = {}, numba.get_num_threads()
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            with jlr.use_target("cpu"):
                found[threads] = bits(data)
    finally:
        numba.set_num_threads(before)
    assert len(set(found.values())) == 1


def views(X, order):
    """The same values in other memory: rows or columns farther apart, at an odd offset, frozen."""
    m, n = X.shape
    wide = np.full((m + 3, n + 5), np.nan, X.dtype, order=order)
    inner = wide[2 : m + 2, 3 : n + 3]
    inner[...] = X
    yield inner
    spaced = np.full((2 * m, n) if order == "C" else (m, 2 * n), np.nan, X.dtype, order=order)
    every_other = spaced[::2] if order == "C" else spaced[:, ::2]
    every_other[...] = X
    yield every_other
    memory = np.empty(X.size + 1, X.dtype)
    shifted = memory[1:].reshape((m, n), order=order)
    shifted[...] = X
    yield shifted
    frozen = X.copy(order)
    frozen.flags.writeable = False
    yield frozen
    yield (np.ascontiguousarray(X.T) if order == "F" else np.asfortranarray(X.T)).T


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_view_of_the_same_values_gives_the_same(target, dtypes, order, shape):
    data = make_data(*shape, dtypes, order, soft=True, weighted=True)
    if target == "reference" and dtypes[0] == np.float64:
        pytest.skip("NumPy's BLAS may take another way through a view")
    expected = bits(data)
    for view in views(data.X, order):
        assert np.array_equal(view, data.X)
        assert bits(data, view) == expected
    strided_y, strided_w = np.repeat(data.y, 3)[::3], np.repeat(data.w, 2)[::2]
    assert bits(data, y=strided_y, w=strided_w) == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_out_gives_the_same(target, dtypes, order, shape):
    data = make_data(*shape, dtypes, order, soft=True)
    X, y, w, b = data.X, data.y, data.w, data.b
    memory = np.full(len(w) + len(y) + 2, np.nan, w.dtype)
    dw, a = memory[1 : len(w) + 1], memory[len(w) + 1 : -1]  # in the middle of other memory, which stays
    expected = jlr.loss_and_gradient(X, y, w, b)
    got = jlr.loss_and_gradient(X, y, w, b, out=dw)
    assert (got.loss, got.db, dw.tobytes()) == (expected.loss, expected.db, expected.dw.tobytes())
    assert jlr.gradient(X, y, w, b, out=dw).dw.tobytes() == expected.dw.tobytes()
    for call in (jlr.forward, jlr.log_forward):
        assert call(X, w, b, out=a).tobytes() == call(X, w, b).tobytes()
    assert np.isnan(memory[[0, -1]]).all()


# ---------------------------------------------------------------- from other callers


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_thread_gives_the_same(target, order, shape):
    data = make_data(*shape, order=order, soft=True, weighted=True)
    expected = bits(data)
    barrier = threading.Barrier(4)

    def work(_):
        barrier.wait()
        with jlr.use_target(target):
            return bits(data)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(4))) == {expected}


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_joblib_worker_gives_the_same(order, backend):
    joblib = pytest.importorskip("joblib")
    data = [make_data(*shape, order=order, soft=True, weighted=True) for shape in SHAPES]
    expected = [bits(one) for one in data]
    assert joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(bits)(one) for one in data) == expected


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_dask_worker_gives_the_same(order, scheduler):
    dask = pytest.importorskip("dask")
    data = [make_data(*shape, order=order, soft=True, weighted=True) for shape in SHAPES[:2]]
    expected = [bits(one) for one in data]
    tasks = [dask.delayed(bits, pure=False)(dask.delayed(one, traverse=False)) for one in data]
    assert list(dask.compute(*tasks, scheduler=scheduler, num_workers=2)) == expected


def other_process(threads=0, **environment):
    program = PROGRAM.format(tests=str(Path(__file__).parent), threads=threads)
    variables = os.environ | {"JITLOGREG_TARGET": "cpu"} | environment
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()


def test_other_processes_give_the_same():
    digests = {other_process(), other_process(threads=1), other_process(NUMBA_NUM_THREADS="1")}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


@pytest.mark.slow
def test_many_processes_with_many_settings_give_the_same():
    settings = [
        {"NUMBA_NUM_THREADS": "5"},
        {"NUMBA_NUM_THREADS": "16"},
        {"NUMBA_THREADING_LAYER": "workqueue"},
        {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "7"},
        {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "3"},
        {"PYTHONHASHSEED": "1", "MALLOC_PERTURB_": "165"},
    ]
    assert len({other_process(**setting) for setting in settings} | {other_process()}) == 1

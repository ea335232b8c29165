"""Objectives over dask arrays: on any scheduler the same bits, close to the objective in memory, and clear errors."""

import copy
import functools
import importlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr

da = pytest.importorskip("dask.array", reason="dask is not installed")
dask = importlib.import_module("dask")
over_blocks = importlib.import_module("jitlogreg.dask")

pytestmark = pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")

ROWS = 130  # of a block: a thousand rows make seven blocks and the tail of an eighth


def arrays(data, rows=ROWS):
    """X, y and the weights as dask arrays."""
    X = da.from_array(data.X, chunks=(rows, data.X.shape[1]))
    if data.X.flags.f_contiguous:
        X = X.map_blocks(np.asfortranarray)  # Dask's own copies of blocks are in C order
    y, s = (None if v is None else da.from_array(v, chunks=rows) for v in (data.y, data.sample_weight))
    return X, y, s


def pair(data, rows=ROWS, **options):
    """The objective over blocks, and the one in memory."""
    X, y, s = arrays(data, rows)
    return (
        over_blocks.Objective(X, y, sample_weight=s, **options),
        jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, **options),
    )


def everything(objective, seed=0):
    """All that an objective computes, at one θ."""
    theta, v = np.random.default_rng(seed).normal(size=(2, objective.n_parameters))
    loss, gradient = objective(theta)
    answers = [loss, gradient, objective.loss(theta), objective.gradient(theta), objective.hessian_vector(theta, v)]
    return [np.asarray(answer) for answer in [*answers, objective.hessian(theta)]]


def bits(objective):
    return b"".join(answer.tobytes() for answer in everything(objective))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_objective_in_memory_is_met(target, dtypes, order, weighted, fit_intercept):
    data = make_data(1000, 5, dtypes, order, soft=True, weighted=weighted)
    got, wanted = pair(data, l2=0.1, fit_intercept=fit_intercept)
    assert (got.shape, got.dtype, got.target, got.l2) == (wanted.shape, wanted.dtype, target, 0.1)
    assert (got.n_features, got.n_parameters, got.has_hessian) == (5, 5 + fit_intercept, True)
    for mine, memory in zip(everything(got), everything(wanted), strict=True):
        # sums of a thousand terms, and 64 u of the largest that they come to
        np.testing.assert_allclose(mine, memory, rtol=0, atol=64 * 2.0**-53 * max(1, np.abs(memory).max()))


def test_what_is_lost_between_blocks_is_made_good():
    # losses of 2⁵³ and of 1: plain sums would leave out the ones, one after the other
    X = np.zeros((17 * 40, 1))
    X[0] = 2.0**53
    objective = over_blocks.Objective(da.from_array(X, chunks=(1, 1)), np.zeros(len(X)))
    w, b = 1.0, np.log(np.expm1(1.0))  # L(0, σ(b)) = 1
    loss = objective.loss(np.array([w, b])) * len(X)
    assert loss == pytest.approx(2.0**53 + b + len(X) - 1, rel=2.0**-53, abs=0)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 300])
def test_every_number_of_blocks(count):
    data = make_data(count, 3, weighted=True)
    got, wanted = pair(data, rows=1)
    np.testing.assert_allclose(got(np.ones(4))[1], wanted(np.ones(4))[1], rtol=1e-13)


def test_columns_by_the_hundred():
    data = make_data(300, 250)
    got, wanted = pair(data, l2=1.0)
    np.testing.assert_allclose(got(np.ones(251))[1], wanted(np.ones(251))[1], rtol=1e-12)


def test_a_gap_between_columns_costs_a_copy():
    data = make_data(1000, 5)
    wide = np.repeat(data.X, 2, axis=1)[:, ::2]
    X = da.from_array(wide, chunks=(ROWS, 5), asarray=False)
    assert not wide.flags.forc
    got, wanted = over_blocks.Objective(X, data.y), over_blocks.Objective(arrays(data)[0], data.y)
    assert bits(got) == bits(wanted)


# ---------------------------------------------------------------- bits


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_schedulers_give_the_same_bits(order, weighted, processes):
    X, y, s = arrays(make_data(1000, 5, order=order, soft=True, weighted=weighted))

    def of(**settings):
        with dask.config.set(**settings):
            return bits(over_blocks.Objective(X, y, sample_weight=s, l2=0.1))

    expected = of(scheduler="synchronous")
    for workers in (1, 2, 4):
        assert of(scheduler="threads", num_workers=workers) == expected
    assert of(scheduler="processes", pool=processes) == expected


@pytest.fixture(scope="module")
def processes():
    """Two processes, for Dask to use again and again."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("persisted", [False, True], ids=["loaded", "persisted"])
def test_a_cluster_gives_the_same_bits(cluster, order, persisted):
    data = make_data(1000, 5, order=order, soft=True, weighted=True)
    with dask.config.set(scheduler="synchronous"):
        X, y, s = arrays(data)
        expected = bits(over_blocks.Objective(X, y, sample_weight=s))
        fitted = jlr.fit(over_blocks.Objective(X, y, sample_weight=s), solver="lbfgs")
    with cluster.as_current():
        if persisted:
            X, y, s = dask.persist(X, y, s)
        objective = over_blocks.Objective(X, y, sample_weight=s)
        assert bits(objective) == expected
        again = jlr.fit(objective, solver="lbfgs")
    assert again._replace(w=again.w.tobytes()) == fitted._replace(w=fitted.w.tobytes())


WAYS = {f"protocol {p}": functools.partial(pickle.dumps, protocol=p) for p in range(pickle.HIGHEST_PROTOCOL + 1)}
WAYS = {name: lambda value, dumps=dumps: pickle.loads(dumps(value)) for name, dumps in WAYS.items()}
WAYS |= {"copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", WAYS)
def test_an_objective_travels(order, way):
    data = make_data(1000, 5, order=order, soft=True, weighted=True)
    objective = pair(data, l2=0.1, fit_intercept=False)[0]
    other = WAYS[way](objective)
    assert type(other) is over_blocks.Objective
    for name in ("n_features", "n_parameters", "shape", "dtype", "l2", "target", "has_hessian"):
        assert getattr(other, name) == getattr(objective, name)
    assert bits(other) == bits(objective)
    fitted, again = jlr.fit(objective), jlr.fit(other)
    assert again._replace(w=again.w.tobytes()) == fitted._replace(w=fitted.w.tobytes())


def test_an_objective_travels_with_the_functions_of_its_graph_and_blocks_in_their_order(processes):
    data = make_data(1000, 5, order="F")
    views = [da.from_delayed(dask.delayed(data.X[i : i + ROWS]), (min(ROWS, 1000 - i), 5), float) for i in (0, ROWS)]
    X = da.concatenate(views).map_blocks(lambda block: block)
    objective = over_blocks.Objective(X, data.y[: 2 * ROWS])
    in_c_order = over_blocks.Objective(X.map_blocks(np.ascontiguousarray), data.y[: 2 * ROWS])
    assert bits(objective) != bits(in_c_order)  # or this would say nothing
    assert bits(pickle.loads(pickle.dumps(objective))) == bits(objective)
    with dask.config.set(scheduler="synchronous"):
        assert processes.submit(bits, objective).result() == bits(objective)


def test_blocks_of_a_mapped_file_travel_by_its_name(tmp_path):
    data = make_data(1000, 5)
    np.save(tmp_path / "X.npy", data.X)
    views = np.split(np.load(tmp_path / "X.npy", mmap_mode="r"), 4)  # of the whole Dask would make a copy in memory
    X = da.concatenate([da.from_delayed(dask.delayed(view), (250, 5), float) for view in views])
    objective = over_blocks.Objective(X, data.y.astype(bool))
    text = pickle.dumps(objective)
    assert len(text) < data.X.nbytes
    assert bits(pickle.loads(text)) == bits(objective)
    np.save(tmp_path / "X.npy", data.X + 1)
    with pytest.raises(ValueError, match=r"X\.npy: expected the file as it was"):
        pickle.loads(text)


def test_an_objective_of_a_cluster_travels_to_its_clients(cluster):
    data = make_data(1000, 5, soft=True)
    with cluster.as_current():
        X, y = dask.persist(*arrays(data)[:2])
        objective = over_blocks.Objective(X, y)
        text = pickle.dumps(objective)
        wanted = bits(objective)
        del objective
        assert len(text) < data.X.nbytes / 2
        assert bits(pickle.loads(text)) == wanted


def test_blocks_stay_where_they_are(cluster):
    with cluster.as_current():
        X = da.random.default_rng(0).normal(size=(400_000, 28), chunks=(40_000, 28)).persist()
        y = (X[:, 0] > 0).persist()
        objective = over_blocks.Objective(X, y)
        theta = np.zeros(29)
        before = sum(cluster.run(_bytes_that_came).values())
        for _ in range(5):
            objective(theta)
        moved = sum(cluster.run(_bytes_that_came).values()) - before
    # θ to each worker, and from the blocks ten vectors of 31 numbers: a block has 9 MB
    assert 0 < moved < 5 * 20_000


def _bytes_that_came(dask_worker):
    return sum(transfer["total"] for transfer in dask_worker.transfer_incoming_log)


def drawn():
    """An objective whose blocks are drawn anew whenever they are needed, which takes a while."""
    X = da.random.default_rng(0).normal(size=(1_000_000, 10), chunks=(25_000, 10))
    y = X @ np.linspace(-1, 1, 10) > da.random.default_rng(1).logistic(size=1_000_000, chunks=25_000)
    return over_blocks.Objective(X, y)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_fit_survives_killed_workers():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with dask.config.set(scheduler="synchronous"):
        expected = jlr.fit(drawn(), solver="lbfgs", tolerance=1e-9)
    assert expected.n_iterations > 4
    killed = []

    def kill(state):
        if state.iteration in (1, 3):
            killed.append(next(pid for pid in client.run(os.getpid).values() if pid not in killed))
            threading.Timer(0.1, os.kill, (killed[-1], signal.SIGKILL)).start()  # while blocks are worked on

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        fitted = jlr.fit(drawn(), solver="lbfgs", tolerance=1e-9, callback=kill)
        assert not {*client.run(os.getpid).values()} & {*killed}
    assert len(killed) == 2
    assert fitted._replace(w=fitted.w.tobytes()) == expected._replace(w=expected.w.tobytes())


# ---------------------------------------------------------------- threads and memory


def test_a_block_runs_on_the_thread_that_has_it():
    program = """
import dask.array as da, numba, numpy as np
from jitlogreg.dask import Objective
X = da.ones((200_000, 28), chunks=(100_000, 28))
Objective(X, np.ones(200_000))(np.zeros(29))
from numba.np.ufunc import parallel
assert not parallel._is_initialized, "Numba's threads were started"
import jitlogreg as jlr
jlr.loss(np.ones((100_000, 28)), np.ones(100_000), np.zeros(28))
assert parallel._is_initialized, "a call of this size starts them"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_theta_is_in_the_graph_once():
    objective, _ = pair(make_data(1000, 5))
    graphs = []

    def get(graph, keys, **options):
        graphs.append(graph)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=get):
        objective(np.arange(6.0))
    (graph,) = graphs
    found = [value.tolist() for value in graph.values() if isinstance(value, np.ndarray) and value.shape == (6,)]
    assert found == [[0, 1, 2, 3, 4, 5]]


# ---------------------------------------------------------------- solvers


@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "gradient_descent"])
def test_fit(solver):
    data = make_data(1000, 5, soft=True, weighted=True)
    got, wanted = pair(data, l2=0.1)
    fitted = jlr.fit(got, solver=solver, tolerance=1e-9, max_iterations=1000)
    expected = jlr.fit(
        data.X, data.y, sample_weight=data.sample_weight, l2=0.1, solver=solver, tolerance=1e-9, max_iterations=1000
    )
    assert fitted.converged
    np.testing.assert_allclose(fitted.w, expected.w, atol=1e-8)
    assert jlr.fit(wanted, solver=solver, tolerance=1e-9, max_iterations=1000).loss == expected.loss


def test_gradient_descent():
    data = make_data(1000, 5)
    got, wanted = pair(data, l2=0.1)
    run = jlr.gradient_descent(got, learning_rate=0.5, n_iterations=20)
    expected = jlr.gradient_descent(data.X, data.y, learning_rate=0.5, n_iterations=20, l2=0.1)
    np.testing.assert_allclose(run.loss_history, expected.loss_history, rtol=1e-13)
    same = jlr.gradient_descent(wanted, learning_rate=0.5, n_iterations=20)
    assert same.loss_history.tolist() == expected.loss_history.tolist()


def test_scipy():
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    got, wanted = pair(make_data(1000, 5), l2=0.1)
    for method in ("L-BFGS-B", "trust-ncg", "Newton-CG"):
        hessp = {} if method == "L-BFGS-B" else {"hessp": got.hessian_vector}
        found = optimize.minimize(got, np.zeros(6), jac=True, method=method, **hessp)
        np.testing.assert_allclose(wanted.gradient(found.x), 0, atol=1e-4)


def test_runs_go_on_from_their_checkpoints(tmp_path):
    got, _ = pair(make_data(1000, 5, weighted=True))
    path = tmp_path / "run.npz"
    whole = jlr.fit(got, solver="lbfgs", tolerance=1e-9)
    jlr.fit(got, solver="lbfgs", tolerance=1e-9, checkpoint=path, max_iterations=2)
    resumed = jlr.fit(got, solver="lbfgs", tolerance=1e-9, resume=path)
    assert resumed._replace(w=resumed.w.tobytes(), n_reads=0) == whole._replace(w=whole.w.tobytes(), n_reads=0)
    whole = jlr.gradient_descent(got, learning_rate=0.5, n_iterations=9)
    jlr.gradient_descent(got, learning_rate=0.5, n_iterations=4, checkpoint=path)
    resumed = jlr.gradient_descent(got, learning_rate=0.5, n_iterations=9, resume=path)
    assert resumed.loss_history.tobytes() == whole.loss_history.tobytes()
    assert (resumed.w.tobytes(), resumed.b) == (whole.w.tobytes(), whole.b)


def test_the_threads_of_dask_are_used_where_nothing_else_is_chosen():
    data, threads = make_data(1000, 5), set()
    X, y, _ = arrays(data)
    X = X.map_blocks(lambda x: (threads.add(threading.get_ident()), x)[1], dtype=X.dtype, meta=X._meta)
    over_blocks.Objective(X, y)
    assert threads - {threading.get_ident()}


def test_a_sample_is_in_memory():
    data = make_data(1000, 5, weighted=True)
    sample = pair(data, l2=0.1)[0].sample(100)
    assert type(sample) is jlr.Objective
    assert (sample.shape, sample.l2, sample.dtype) == ((7 * 13 + 9, 5), 0.1, np.float64)
    rows = np.concatenate([np.arange(first, min(first + ROWS, 1000), 10) for first in range(0, 1000, ROWS)])
    wanted = jlr.loss(data.X[rows], data.y[rows], data.w, sample_weight=data.sample_weight[rows], l2=0.1)
    assert sample.loss(np.append(data.w, 0)) == wanted
    weights = np.zeros(1000)
    weights[5] = 1
    X, y, _ = arrays(data)
    assert over_blocks.Objective(X, y, sample_weight=weights).sample(100) is None


def test_a_sample_keeps_no_block(monkeypatch):
    sampled, every = [], over_blocks.blocks.every

    def recorded(*arguments):
        found = every(*arguments)
        sampled.extend(array for array in found if array is not None)
        return found

    monkeypatch.setattr(over_blocks.blocks, "every", recorded)
    pair(make_data(1000, 5))[0].sample(100)
    assert len(sampled) == 16
    assert all(array.base is None for array in sampled)


# ---------------------------------------------------------------- the forward pass


@pytest.mark.parametrize("name", ["forward", "log_forward"])
def test_activations_are_lazy(target, dtypes, order, name):
    data = make_data(1000, 5, dtypes, order)
    X, w = arrays(data)[0], data.w.copy()
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("it was computed")):
        a = getattr(over_blocks, name)(X, w, 0.25)
    w[:] = np.nan  # what was passed was copied
    assert (a.chunks, a.dtype) == ((X.chunks[0],), data.w.dtype)
    blocks = [np.asarray(data.X[first : first + ROWS], order=order) for first in range(0, 1000, ROWS)]
    expected = np.concatenate([getattr(jlr, name)(block, data.w, 0.25) for block in blocks])
    got = a.compute()
    assert got.dtype == expected.dtype
    assert got.tobytes() == expected.tobytes()


# ---------------------------------------------------------------- arrays as they come


def test_blocks_of_unknown_lengths():
    data = make_data(1000, 5)
    X, y, _ = arrays(data)
    some = X[:, 0] > 0
    objective = over_blocks.Objective(X[some], y[some])
    chosen = data.X[:, 0] > 0
    assert objective.shape == (chosen.sum(), 5)
    wanted = jlr.Objective(data.X[chosen], data.y[chosen])
    np.testing.assert_allclose(objective(np.ones(6))[1], wanted(np.ones(6))[1], rtol=1e-13)
    np.testing.assert_allclose(over_blocks.forward(X[some], data.w), jlr.forward(data.X[chosen], data.w), rtol=1e-13)


def test_blocks_without_rows():
    data = make_data(1000, 5)
    X = da.concatenate([da.from_array(part, chunks=part.shape) for part in (data.X[:0], data.X[:600], data.X[600:])])
    y = da.from_array(data.y, chunks=1000)
    np.testing.assert_allclose(
        over_blocks.Objective(X, y)(np.ones(6))[1], jlr.Objective(data.X, data.y)(np.ones(6))[1], rtol=1e-13
    )
    y, none = da.from_array(data.y, chunks=ROWS), data.X[:, 0] > 1e9
    with pytest.raises(ValueError, match=r"X: expected at least one row, got shape \(0, 5\)"):
        over_blocks.Objective(arrays(data)[0][da.from_array(none, chunks=ROWS)], y[da.from_array(none, chunks=ROWS)])


def test_a_matrix_without_columns():
    objective = over_blocks.Objective(da.ones((6, 0), chunks=(2, 0)), np.array([0, 0, 0, 1, 1, 1]))
    assert objective(np.zeros(1)) == (pytest.approx(np.log(2)), [0])


def test_y_is_cut_as_x_is():
    data = make_data(1000, 5, weighted=True)
    X = arrays(data)[0]
    expected = bits(pair(data)[0])
    for chunks in (1000, 77):
        y, s = (da.from_array(v, chunks=chunks) for v in (data.y, data.sample_weight))
        assert bits(over_blocks.Objective(X, y, sample_weight=s)) == expected
    assert bits(over_blocks.Objective(X, data.y, sample_weight=data.sample_weight)) == expected
    assert bits(over_blocks.Objective(X, data.y > 0, sample_weight=data.sample_weight)) == expected


def test_data_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frames = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    data = make_data(1000, 5)
    table = pandas.DataFrame(data.X, columns=list("abcde")).assign(y=data.y)
    table = frames.from_pandas(table, npartitions=7)
    objective = over_blocks.Objective(table[list("abcde")], table["y"])
    np.testing.assert_allclose(objective(np.ones(6))[1], jlr.Objective(data.X, data.y)(np.ones(6))[1], rtol=1e-13)


# ---------------------------------------------------------------- what is refused


def refused(error, message, X=None, y=None, **options):
    data = make_data(1000, 5)
    with pytest.raises(error, match=message):
        over_blocks.Objective(arrays(data)[0] if X is None else X, data.y if y is None else y, **options)


def test_arrays_that_do_not_go_together_are_refused():
    X, y, _ = arrays(make_data(1000, 5))
    said = r"X: expected blocks of whole rows, got 3 blocks of columns: X.rechunk\(\{1: -1\}\)"
    refused(ValueError, said, X.rechunk((ROWS, 2)))
    refused(ValueError, r"y: expected shape \(1000,\), one element per row of X, got \(999,\)", y=y[1:])
    refused(ValueError, r"y: expected shape \(m,\), one element per row of X, got \(1000, 1\)", y=y[:, None])
    refused(ValueError, r"X: expected shape \(m, n\) with a known n, got \(1000,\)", X=y)
    said = r"sample_weight: expected shape \(1000,\), one element per row of X, got \(10,\)"
    refused(ValueError, said, sample_weight=np.ones(10))
    refused(TypeError, "X: expected float32 or float64, got int64", X=X.astype(int))
    refused(TypeError, "X: expected a dask array, got a numpy.ndarray", X=np.ones((1000, 5)))
    refused(TypeError, "y: expected a dask array or a numpy.ndarray, got a list", y=[0, 1])
    refused(ValueError, "l2: expected a finite number of at least 0, got -1.0", l2=-1.0)
    refused(ValueError, "target: expected one of .*, got 'gpu'", target="gpu")
    said = "sample_weight: expected a sum that is positive and finite, got 0.0"
    refused(ValueError, said, sample_weight=np.zeros(1000))
    some = X[:, 0] > 0
    refused(ValueError, "y: expected 8 blocks, as X has, or known lengths in both, got 1: ", X[some], np.ones(3))
    refused(ValueError, r"block \d: y: expected shape \(\d+,\), one label per row of X, got \(\d+,\)", X[some], y)


def test_plain_calls_name_the_way_for_dask_arrays():
    data = make_data(40, 5)
    with pytest.raises(
        TypeError, match=r"X: expected a numpy\.ndarray, got a dask.*: jitlogreg\.dask\.Objective takes"
    ):
        jlr.fit(da.from_array(data.X), data.y)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_value_is_refused_by_its_block(scheduler, processes):
    data = make_data(1000, 5)
    X, y, s = data.X.copy(), data.y.copy(), np.ones(1000)
    X[3 * ROWS + 7, 2], y[5 * ROWS + 1], s[ROWS] = np.nan, 2, -1
    with dask.config.set(scheduler=scheduler, pool=processes if scheduler == "processes" else None):
        said = r"block 3: X\[7, 2\]: expected a finite number, got nan"
        refused(ValueError, said, da.from_array(X, chunks=(ROWS, 5)))
        refused(ValueError, r"block 5: y\[1\]: expected a label from 0 to 1, got 2.0", y=y)
        refused(ValueError, r"block 1: sample_weight\[0\]: expected a finite .*, got -1.0", sample_weight=s)
    got = over_blocks.Objective(da.from_array(X, chunks=(ROWS, 5)), data.y, check_finite=False)
    assert np.isnan(got.loss(np.ones(6)))


def test_a_block_that_is_not_what_it_was_declared_to_be():
    X = arrays(make_data(1000, 5))[0]
    said = r"block \d: X: expected 5 columns, as declared, got shape \(\d+, 4\)"
    refused(ValueError, said, X.map_blocks(lambda x: x[:, 1:], dtype=X.dtype, chunks=X.chunks))
    said = r"block \d: X: expected float32 or float64, got int64"
    refused(TypeError, said, X.map_blocks(lambda x: x.astype(int), dtype=X.dtype))


def test_theta_is_checked():
    objective, _ = pair(make_data(1000, 5))
    with pytest.raises(ValueError, match=r"theta: expected shape \(6,\), as n_parameters says, got \(5,\)"):
        objective(np.zeros(5))


def test_without_a_kernel_for_it():
    data = make_data(40, 2001)
    objective, _ = pair(data)
    assert not objective.has_hessian
    with pytest.raises(ValueError, match="X: expected at most 2000 columns for a Hessian, got 2001"):
        objective.hessian(np.zeros(2002))


@pytest.mark.parametrize("call", [jlr.fit, functools.partial(jlr.gradient_descent, learning_rate=1.0, n_iterations=1)])
@pytest.mark.parametrize("argument", ["y", "sample_weight", "l2", "target"])
def test_an_objective_has_its_own_data(call, argument):
    _, objective = pair(make_data(1000, 5))
    value = {"y": np.ones(1000), "sample_weight": np.ones(1000), "l2": 1.0, "target": "cpu"}[argument]
    came = "a numpy.ndarray" if isinstance(value, np.ndarray) else repr(value)
    with pytest.raises(TypeError, match=f"^{argument}: expected no value beside an Objective, .* got {came}"):
        call(objective, **{argument: value})


def test_an_objective_without_an_intercept():
    data = make_data(1000, 5)
    objective = pair(data, fit_intercept=False)[0]
    assert jlr.fit(objective).b == 0
    run = jlr.gradient_descent(objective, learning_rate=0.5, n_iterations=3)
    assert (run.b, len(run.w)) == (0, 5)
    for call in (jlr.fit, functools.partial(jlr.gradient_descent, learning_rate=1.0, n_iterations=1)):
        with pytest.raises(ValueError, match=r"b: expected 0 with fit_intercept=False, got 1\.0"):
            call(objective, b=1.0)

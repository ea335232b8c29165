"""Objectives, and what runs return, go through pickles, copies and pools and come out with the same bits."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg.targets.base import layout

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
# the first is evaluated by a function with its address, the second on Numba's threads
SHAPES = [(40, 5), (30_011, 20)]


def bits(objective):
    """All that an objective computes, at one θ."""
    theta, v = np.random.default_rng(0).normal(size=(2, objective.n_parameters))
    loss, gradient = objective(theta)
    answers = [loss, gradient, objective.loss(theta), objective.hessian_vector(theta, v), objective.hessian(theta)]
    return b"".join(np.asarray(answer).tobytes() for answer in answers)


def by_protocol(protocol):
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


def out_of_band(value):
    """By buffers of the reader's, at odd addresses and not to be written to."""
    buffers = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[memoryview(b"1" + bytes(buffer.raw()))[1:] for buffer in buffers])


WAYS = {f"protocol {p}": by_protocol(p) for p in PROTOCOLS}
WAYS |= {"out of band": out_of_band, "copy": copy.copy, "deepcopy": copy.deepcopy}


def attributes(objective):
    names = ("n_features", "n_parameters", "shape", "dtype", "l2", "target", "has_hessian")
    return [getattr(objective, name) for name in names]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=["small", "large"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_an_objective_comes_out_with_the_same_bits(order, way, shape, weighted):
    data = make_data(*shape, order=order, soft=True, weighted=weighted)
    objective = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=0.1, fit_intercept=weighted)
    before = bits(objective)
    other = WAYS[way](objective)
    assert (other._bound is None) == (objective._bound is None)  # which small data is evaluated by, sooner
    assert other._data.X.flags.aligned
    assert other._data.y.flags.aligned
    del objective, data  # the addresses are those of other arrays
    assert bits(other) == before
    assert bits(WAYS[way](other)) == before


@pytest.mark.parametrize("way", WAYS)
def test_its_attributes_stay(target, data, way):
    objective = jlr.Objective(data.X, data.y, l2=0.25, fit_intercept=False)
    other = WAYS[way](objective)
    assert type(other) is jlr.Objective
    assert attributes(other) == attributes(objective)
    assert bits(other) == bits(objective)


def test_a_copy_shares_the_data_and_a_deep_copy_does_not():
    data = make_data()
    objective = jlr.Objective(data.X, data.y)
    assert copy.copy(objective)._data.X is data.X
    other = copy.deepcopy(objective)
    before = bits(other)
    data.X[:] = 0
    assert bits(other) == before
    assert bits(objective) != before


def test_an_array_that_is_there_twice_travels_once():
    objective = jlr.Objective(*(getattr(make_data(1000, 5, order="F"), name) for name in ("X", "y")))
    size = len(pickle.dumps(objective))
    objective.again = (objective._data.X, (objective._data.X, None)), objective._data.y
    text = pickle.dumps(objective)
    assert len(text) < size + 200
    other = pickle.loads(text)
    assert other.again[0][0] is other.again[0][1][0] is other._data.X
    assert other.again[1] is other._data.y


def test_the_target_is_the_one_that_was_chosen():
    data = make_data()
    with jlr.use_target("reference"):
        text = pickle.dumps(jlr.Objective(data.X, data.y))
    assert pickle.loads(text).target == "reference"
    assert pickle.loads(text)._target.name == "reference"


def test_a_target_that_cannot_run_is_named(monkeypatch):
    data = make_data()
    text = pickle.dumps(jlr.Objective(data.X, data.y, target="reference")).replace(b"reference", b"referenze")
    with pytest.raises(ValueError, match=r"target: expected one of .*, got 'referenze'"):
        pickle.loads(text)


@pytest.mark.parametrize("way", [name for name in WAYS if name != "copy"])
@pytest.mark.parametrize(
    "view",
    [
        lambda X: X[:, 1:9],
        lambda X: X[3:200],
        lambda X: X[::2],
        lambda X: X[:, ::2],
        lambda X: X[:1, ::3],
        lambda X: X[:, 3:4],
        lambda X: X[5:6],
        lambda X: X[:, :0],
    ],
)
def test_a_view_keeps_its_order_and_leaves_the_rest_behind(order, way, view):
    X = view(np.asarray(np.random.default_rng(0).normal(size=(400, 12)), order=order))
    lies = layout(X.shape, X.strides, X.itemsize)
    if lies is None:
        pytest.skip("no stride of one")
    objective = jlr.Objective(X, np.arange(len(X)) % 2 == 0, l2=0.1)
    other = WAYS[way](objective)
    assert bits(other) == bits(objective)
    assert layout(other._data.X.shape, other._data.X.strides, other._data.X.itemsize)[0] == lies[0]
    assert len(pickle.dumps(objective)) < 8 * X.size + 8 * len(X) + 2000


def test_the_sample_of_an_objective_travels():
    data = make_data(1000, 5, weighted=True)
    sample = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight).sample(100)
    assert bits(pickle.loads(pickle.dumps(sample))) == bits(sample)


def test_what_is_held_on_a_gpu_does_not_travel():
    data = make_data()
    objective = jlr.Objective(data.X, data.y)
    objective.target, objective._problem = "cuda", objective._problem._replace(X=object())  # a copy on the device
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(
            TypeError,
            match=r"^target: expected one that computes in the memory of the CPU to pickle or deep-copy an Objective, "
            r"got 'cuda': its arrays are on a GPU$",
        ):
            way(objective)
    assert copy.copy(objective)._data.X is objective._data.X


def test_a_fit_of_what_came_out_is_the_same():
    data = make_data(300, 5)
    objective = jlr.Objective(data.X, data.y, l2=0.1)
    for solver in ("newton", "lbfgs", "gradient_descent"):
        fitted, again = (jlr.fit(o, solver=solver) for o in (objective, pickle.loads(pickle.dumps(objective))))
        assert again._replace(w=again.w.tobytes()) == fitted._replace(w=fitted.w.tobytes())


@pytest.mark.parametrize("way", WAYS)
def test_results_travel(way):
    data = make_data()
    batches = jlr.minibatch_descent((data.X, data.y), learning_rate=0.1)
    descent = jlr.gradient_descent(data.X, data.y, learning_rate=0.1, n_iterations=3)
    both = jlr.loss_and_gradient(data.X, data.y, data.w)
    for result in (jlr.fit(data.X, data.y, l2=0.1), descent, batches, jlr.gradient(data.X, data.y, data.w), both):
        other = WAYS[way](result)
        assert type(other) is type(result)
        for got, wanted in zip(other, result, strict=True):
            assert type(got) is type(wanted)
            np.testing.assert_array_equal(got, wanted)


# ---------------------------------------------------------------- mapped files


def mapped(tmp_path, order="C", mode="r", rows=2000):
    """An objective of mapped files, of numbers and labels, and the one of their contents."""
    data = make_data(rows, 12, order=order)
    np.save(tmp_path / "X.npy", data.X)
    with (tmp_path / "y").open("wb") as file:
        file.write(b"head" + b"\0" * 12)
        data.y.tofile(file)
    X = np.load(tmp_path / "X.npy", mmap_mode=mode)
    y = np.memmap(tmp_path / "y", np.float64, mode, 16, (rows,))
    return data, X, y


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("way", [name for name in WAYS if name != "copy"])
def test_a_mapped_file_travels_by_name(tmp_path, order, mode, way):
    data, X, y = mapped(tmp_path, order, mode)
    objective = jlr.Objective(X, y, l2=0.1)
    assert len(pickle.dumps(objective)) < 2000
    other = WAYS[way](objective)
    assert bits(other) == bits(jlr.Objective(data.X, data.y, l2=0.1)) == bits(objective)
    assert not other._data.X.flags.writeable
    del X, y, objective
    assert len(pickle.dumps(other)) < 2000  # goes on by name
    assert bits(WAYS[way](other)) == bits(other)


@pytest.mark.parametrize(
    "view",
    [
        lambda X: X[:, 1:9],
        lambda X: X[500:1500],
        lambda X: np.asarray(X)[7:][::2],
        lambda X: X[:, 3:].view(np.ndarray)[:, 2:],
        lambda X: X[10:11],
        lambda X: X[:, 5:6],
    ],
)
def test_so_do_views_of_it(tmp_path, order, view):
    data, X, _ = mapped(tmp_path, order)
    X, of_content = view(X), view(data.X)
    if layout(X.shape, X.strides, X.itemsize) is None:
        pytest.skip("no stride of one")
    labels = np.arange(len(X)) % 2
    objective = jlr.Objective(X, labels)
    text = pickle.dumps(objective)
    assert len(text) < 8 * len(X) + 2000
    other = pickle.loads(text)
    np.testing.assert_array_equal(other._data.X, of_content)
    assert (other._data.X.strides, other._data.X.dtype) == (X.strides, X.dtype)
    assert bits(other) == bits(objective) == bits(jlr.Objective(of_content, labels))


def test_what_was_written_through_a_map_arrives(tmp_path):
    _, X, y = mapped(tmp_path, mode="r+")
    X[3] = 0.5
    objective = jlr.Objective(X, y)
    assert bits(pickle.loads(pickle.dumps(objective))) == bits(objective)


def test_copy_on_write_takes_its_numbers_along(tmp_path):
    _, X, y = mapped(tmp_path, mode="c")
    X[3] = 0.5  # which the file does not have
    objective = jlr.Objective(X, y)
    text = pickle.dumps(objective)
    assert len(text) > X.nbytes
    assert bits(pickle.loads(text)) == bits(objective)


def test_a_file_without_a_name_or_no_longer_there_takes_its_numbers_along(tmp_path):
    data, X, y = mapped(tmp_path)
    objective = jlr.Objective(X, y)
    (tmp_path / "X.npy").unlink()
    (tmp_path / "y").unlink()
    assert bits(pickle.loads(pickle.dumps(objective))) == bits(jlr.Objective(data.X, data.y))
    with open(tmp_path / "unnamed", "w+b", buffering=0) as file:  # noqa: PTH123 (as a temporary file has it)
        Z = np.memmap(_Unnamed(file), np.float64, "w+", 0, data.X.shape)
        Z[:] = data.X
    assert Z.filename is None
    assert bits(pickle.loads(pickle.dumps(jlr.Objective(Z, data.y)))) == bits(jlr.Objective(data.X, data.y))


class _Unnamed:
    """A file whose name is a number, as temporary files may have it."""

    def __init__(self, file):
        self._file, self.name = file, 7

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("change", ["longer", "other", "gone"])
def test_a_file_that_was_written_meanwhile_is_refused(tmp_path, change):
    data, X, y = mapped(tmp_path)
    text = pickle.dumps(jlr.Objective(X, y))
    del X, y
    if change == "gone":
        (tmp_path / "X.npy").unlink()
    else:
        np.save(tmp_path / "X.npy", np.vstack([data.X, data.X]) if change == "longer" else -data.X)
    with pytest.raises(OSError if change == "gone" else ValueError, match=r"X\.npy"):
        pickle.loads(text)


# ---------------------------------------------------------------- pools

POOLS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import multiprocessing
import numpy as np
import jitlogreg as jlr

def objectives():
    rng = np.random.default_rng(0)
    for m, n in ((40, 5), (30_011, 20)):
        for order in "CF":
            X = np.asarray(rng.normal(size=(m, n)), order=order)
            yield jlr.Objective(X, X[:, 0] > 0, l2=0.1)

def bits(objective, k):
    theta = np.random.default_rng(k).normal(size=objective.n_parameters)
    loss, gradient = objective(theta)
    return loss.hex(), gradient.tobytes(), objective.hessian_vector(theta, theta).tobytes()

def there(objective, k):
    return bits(objective, k), multiprocessing.current_process().name, objective

if __name__ == "__main__":
    tasks = [(objective, k) for objective in objectives() for k in range(3)]
    wanted = [bits(*task) for task in tasks]
    method = sys.argv[1]
    if method == "threads":
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(bits, *zip(*tasks)))
    elif method == "loky":
        import joblib
        parallel = joblib.Parallel(2, max_nbytes="100K")  # what is larger goes through mapped files of joblib's
        came = parallel(joblib.delayed(there)(*task) for task in tasks)
        got = [bits_there for bits_there, _, _ in came]
        assert [bits(back, k) for (_, _, back), (_, k) in zip(came, tasks)] == wanted
    else:
        with multiprocessing.get_context(method).Pool(2) as pool:
            came = pool.starmap(there, tasks)
        got = [bits_there for bits_there, _, _ in came]
        assert all(name != "MainProcess" for _, name, _ in came)
        assert [bits(back, k) for (_, _, back), (_, k) in zip(came, tasks)] == wanted
    print(len(got), got == wanted)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "threads", "loky"])
def test_pools_give_the_same_bits(tmp_path, method):
    if method == "loky":
        pytest.importorskip("joblib")
    elif method != "threads" and method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method}")
    program = tmp_path / "program.py"
    program.write_text(POOLS, encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": str(Path(jlr.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, program, method], capture_output=True, text=True, check=False, env=variables
    )
    assert (result.returncode, result.stdout.split()) == (0, ["12", "True"]), result.stderr


def test_threads_may_pickle_what_others_evaluate():
    data = make_data(5000, 20)
    objective = jlr.Objective(data.X, data.y)
    wanted, wrong = bits(objective), []

    def check():
        for _ in range(5):
            if bits(pickle.loads(pickle.dumps(objective))) != wanted:
                wrong.append(1)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

"""Mini-batch descent: the steps, where batches come from and in which order, what it records, when it stops."""

import importlib
import inspect
import itertools
import math
import re
import subprocess
import sys
import weakref

import numpy as np
import pytest
from calls import snapshot
from conftest import make_data

import jitlogreg as jlr

pytestmark = pytest.mark.usefixtures("target")


def descend(blocks, learning_rate=0.5, **settings):
    return jlr.minibatch_descent(blocks, learning_rate=learning_rate, **settings)


def cut(data, size=7):
    """Batches of forty examples: five of seven, and one of five."""
    arrays = [data.X, data.y] if data.sample_weight is None else [data.X, data.y, data.sample_weight]
    return [tuple(array[i : i + size] for array in arrays) for i in range(0, len(data.X), size)]


def same(run, other):
    np.testing.assert_array_equal(run.w, other.w)
    np.testing.assert_array_equal(run.loss_history, other.loss_history)
    assert run[3:] == other[3:]
    assert run.b == other.b


@pytest.fixture
def sums_of(monkeypatch, target):
    """The X of every call of the target's kernel for sums."""
    kernels, seen = importlib.import_module(f"jitlogreg.targets.{target}"), []
    sums = kernels.sums

    def watched(problem, *rest):
        seen.append(problem.X)
        return sums(problem, *rest)

    monkeypatch.setattr(kernels, "sums", watched)
    return seen


# ---------------------------------------------------------------- the steps


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_those_of_a_numpy_loop(dtypes, order, weighted):
    data = make_data(40, 5, dtypes, order, weighted=weighted, soft=True)
    w, b, losses = data.w.astype(np.float64), 0.25, []
    for _ in range(3):
        for X, y, *weights in cut(data):
            X, y, s = X.astype(np.float64), y.astype(np.float64), np.asarray([*weights, np.ones(len(y))][0], np.float64)
            z = X @ w + b
            loss = s @ ((1 - y) * np.logaddexp(0, z) + y * np.logaddexp(0, -z)) / s.sum()
            losses.append(loss + 0.05 * w @ w)
            dz = s * (1 / (1 + np.exp(-z)) - y) / s.sum()
            w, b = w - 0.5 * (X.T @ dz + 0.1 * w), b - 0.5 * dz.sum()
    arrays = (data.X, data.y, data.sample_weight)
    run = descend(arrays, n_epochs=3, block_size=7, l2=0.1, w=data.w, b=0.25)
    precision = 1e-12 if dtypes[1] == np.float64 else 1e-5  # eighteen steps, each some roundings off
    np.testing.assert_allclose(run.w, w, rtol=precision, atol=precision)
    assert run.b == pytest.approx(b, rel=precision, abs=precision)
    np.testing.assert_allclose(run.loss_history, losses, rtol=precision)
    assert (run.n_iterations, run.converged) == (18, False)


def test_steps_are_taken_in_the_dtype_of_w_from_loss_and_gradient(dtypes, order):
    data = make_data(40, 5, dtypes, order)
    of = data.w.dtype.type
    w, b, losses = data.w, of(0.1), []
    for X, y in cut(data) + cut(data):
        loss, dw, db = jlr.loss_and_gradient(X, y, w, b, l2=0.25)
        losses.append(loss)
        w, b = w - of(0.3) * dw, b - of(0.3) * of(db)
    run = descend((data.X, data.y), 0.3, n_epochs=2, block_size=7, w=data.w, b=0.1, l2=0.25)
    np.testing.assert_array_equal(run.w, w)
    assert run.b == b
    np.testing.assert_array_equal(run.loss_history, losses)


@pytest.mark.parametrize("learning_rate", [0.1, 1, np.float32(0.3), 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_one_batch_is_one_step_of_gradient_descent(dtypes, order, learning_rate, weighted, started):
    data = make_data(30, 4, dtypes, order, weighted=weighted)
    start = {"w": data.w, "b": data.b, "l2": 0.25} if started else {}
    weights = {"sample_weight": data.sample_weight}
    full = jlr.gradient_descent(data.X, data.y, learning_rate=learning_rate, n_iterations=3, **weights, **start)
    arrays = (data.X, data.y, data.sample_weight)
    run = descend(arrays, learning_rate, n_epochs=3, **start)
    np.testing.assert_array_equal(run.w, full.w)
    assert run.w.dtype == full.w.dtype
    assert run.b == full.b
    np.testing.assert_array_equal(run.loss_history, full.loss_history[:3])


def test_results_have_the_promised_types(data, dtypes):
    run = descend((data.X, data.y), w=data.w, b=0.1)
    assert isinstance(run, jlr.Descent)
    assert (run.w.dtype, run.w.shape, run.loss_history.dtype) == (dtypes[1], (5,), np.float64)
    assert (type(run.b), type(run.n_iterations), type(run.converged)) == (float, int, bool)
    assert run.b == dtypes[1].type(run.b)
    assert descend((data.X, data.y)).w.dtype == dtypes[0]


def test_labels_and_weights_of_other_dtypes_are_converted():
    data = make_data()
    s = np.arange(40) % 3
    run = descend((data.X, data.y.astype(bool), s), block_size=7)
    same(run, descend((data.X, data.y, s.astype(np.float64)), block_size=7))


def test_nothing_of_the_callers_is_written_to(dtypes, order):
    data = make_data(40, 5, dtypes, order, weighted=True)
    arrays = [data.X, data.y, data.sample_weight, data.w]
    before = [snapshot(array) for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    run = descend(tuple(arrays[:3]), n_epochs=2, block_size=7, w=data.w, shuffle=1)
    for array in arrays:
        array.flags.writeable = True
    assert [snapshot(array) for array in arrays] == before
    stopped = descend(tuple(arrays[:3]), w=data.w, callback=lambda state: True)
    assert not np.shares_memory(run.w, data.w)
    assert not np.shares_memory(stopped.w, data.w)


# ---------------------------------------------------------------- arrays


def test_an_epoch_reads_every_row_once_where_it_lies(data, sums_of):
    run = descend((data.X, data.y), n_epochs=2, block_size=7)
    assert len(sums_of) == run.n_iterations == 12
    for epoch in (sums_of[:6], sums_of[6:]):
        assert [len(X) for X in epoch] == [7, 7, 7, 7, 7, 5]
        np.testing.assert_array_equal(np.concatenate(epoch), data.X)
    assert all(np.shares_memory(X, data.X) for X in sums_of)


@pytest.mark.parametrize(("size", "steps"), [(1, 40), (39, 2), (40, 1), (41, 1), (10**30, 1), (np.int64(20), 2)])
def test_a_batch_has_the_rows_that_were_asked_for(size, steps):
    data = make_data()
    assert descend((data.X, data.y), block_size=size).n_iterations == steps


def test_batches_are_of_16384_rows_if_nothing_is_asked_for(sums_of):
    descend((np.zeros((40_000, 1)), np.zeros(40_000)))
    assert [len(X) for X in sums_of] == [16_384, 16_384, 7232]


@pytest.mark.parametrize("kind", [tuple, list])
def test_arrays_and_the_batches_cut_from_them_are_the_same(data, kind):
    whole = descend(kind([data.X, data.y]), n_epochs=2, block_size=7)
    assert whole.n_iterations == 12
    same(descend(kind(map(kind, cut(data))), n_epochs=2), whole)
    same(descend(lambda: iter(cut(data)), n_epochs=2), whole)
    same(descend(lambda: cut(data), n_epochs=2), whole)
    same(descend(itertools.chain(cut(data), cut(data))), whole)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("source", ["arrays", "list", "generator"])
def test_every_source_makes_the_steps_of_a_loop_over_its_batches(dtypes, order, source, weighted):
    data = make_data(40, 5, dtypes, order, weighted=weighted)
    of = data.w.dtype.type
    w, b, losses = data.w, of(0.1), []
    for X, y, *s in cut(data):
        loss, dw, db = jlr.loss_and_gradient(X, y, w, b, sample_weight=s[0] if s else None, l2=0.25)
        losses.append(loss)
        w, b = w - of(0.3) * dw, b - of(0.3) * of(db)
    blocks, size = {
        "arrays": ((data.X, data.y, data.sample_weight), 7),
        "list": (cut(data), None),
        "generator": (iter(cut(data)), None),
    }[source]
    run = descend(blocks, 0.3, block_size=size, w=data.w, b=0.1, l2=0.25)
    np.testing.assert_array_equal(run.w, w)
    np.testing.assert_array_equal(run.loss_history, losses)
    assert run.b == b


def test_weights_beside_the_arrays_are_those_among_them(dtypes, order):
    data = make_data(40, 5, dtypes, order, weighted=True)
    among = descend((data.X, data.y, data.sample_weight), n_epochs=2, block_size=7, shuffle=3)
    for arrays in ((data.X, data.y), [data.X, data.y], (data.X, data.y, None)):
        same(descend(arrays, sample_weight=data.sample_weight, n_epochs=2, block_size=7, shuffle=3), among)
    assert descend((data.X, data.y), n_epochs=2, block_size=7, shuffle=3).loss_history[-1] != among.loss_history[-1]


@pytest.mark.parametrize("blocks", [cut, lambda data: iter(cut(data)), lambda data: lambda: cut(data)])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_beside_batches_are_refused(blocks, weighted):
    data = make_data(weighted=weighted)
    refuses(
        ValueError,
        "^sample_weight: expected None beside batches that are cut already, got",
        blocks(data),
        sample_weight=np.ones(40),
    )


def test_weights_among_the_arrays_and_beside_them_are_refused():
    arrays = make_data(weighted=True)
    both = arrays.X, arrays.y, arrays.sample_weight
    refuses(
        ValueError,
        r"^sample_weight: expected None beside \(X, y, sample_weight\), got",
        both,
        sample_weight=arrays.sample_weight,
    )


@pytest.mark.parametrize(
    ("weights", "exception", "message"),
    [
        (np.ones(39), ValueError, r"^sample_weight: expected shape \(40,\), one weight per row of X, got \(39,\)"),
        ([1.0] * 40, TypeError, "^sample_weight: expected a numpy.ndarray, got a list"),
        (
            np.append(np.ones(39), -1),
            ValueError,
            r"^batch 5 \(rows 35 to 39\): sample_weight\[4\]: expected .*, got -1",
        ),
    ],
)
def test_weights_beside_the_arrays_are_checked(weights, exception, message):
    data = make_data()
    refuses(exception, message, (data.X, data.y), sample_weight=weights, block_size=7)


@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_batches_are_not_taken_for_arrays(count):
    data = make_data()
    blocks = cut(data)[:count]
    same(descend(tuple(blocks)), descend(iter(blocks)))


def test_batches_may_differ_in_rows_order_and_weights():
    data = make_data(weighted=True)
    blocks = [(data.X[:9], data.y[:9]), (np.asfortranarray(data.X[9:40]), data.y[9:] > 0, data.sample_weight[9:])]
    run = descend(blocks)
    middle = descend(blocks[:1])
    same(descend(blocks[1:], w=middle.w, b=middle.b)._replace(n_iterations=2, loss_history=run.loss_history), run)


# ---------------------------------------------------------------- streams


def test_batches_are_read_when_their_turn_comes_and_not_kept():
    data, alive, log = make_data(), [], []

    def blocks():
        for i in range(4):
            assert all(block() is None for block in alive)
            log.append(f"made {i}")
            X = data.X[10 * i : 10 * i + 10].copy()
            alive.append(weakref.ref(X))
            pair = [X, data.y[10 * i : 10 * i + 10]]
            del X
            yield pair.pop(0), pair.pop()

    run = descend(blocks(), callback=lambda state: log.append(f"step {state.iteration}"))
    assert log == [f"{what} {i}" for i in range(4) for what in ("made", "step")]
    same(run, descend((data.X, data.y), block_size=10))


def test_what_a_stopped_descent_has_not_read_can_be_gone_on_with():
    data = make_data()
    whole, stream = descend((data.X, data.y), block_size=7), iter(cut(data))
    first = descend(itertools.islice(stream, 2))
    second = descend(stream, w=first.w, b=first.b)
    np.testing.assert_array_equal(second.w, whole.w)
    np.testing.assert_array_equal(np.append(first.loss_history, second.loss_history), whole.loss_history)


def test_a_generator_is_refused_for_several_epochs_before_it_is_read():
    stream = iter(cut(make_data()))
    with pytest.raises(ValueError, match=r"^blocks: expected .* function .* n_epochs=2, got a list_iterator, which"):
        descend(stream, n_epochs=2)
    assert len(list(stream)) == 6


@pytest.mark.parametrize("blocks", [[], (), iter([]), list], ids=["list", "tuple", "iterator", "function"])
def test_no_batch_at_all_is_refused(blocks):
    with pytest.raises(ValueError, match=r"^blocks: expected at least one batch in epoch 0, got none"):
        descend(blocks)
    if isinstance(blocks, list):
        with pytest.raises(ValueError, match=r"^blocks: expected at least one example of positive weight, got none$"):
            descend(blocks, shuffle=0)


def test_a_function_that_returns_a_spent_generator_is_refused():
    stream = iter(cut(make_data()))
    with pytest.raises(
        ValueError, match=r"^blocks: expected at least one batch in epoch 1, got none: a generator can be read once"
    ):
        descend(lambda: stream, n_epochs=2)


def test_a_function_is_called_once_an_epoch():
    calls = []

    def blocks():
        calls.append(len(calls))
        return iter(cut(make_data()))

    assert descend(blocks, n_epochs=3).n_iterations == 18
    assert calls == [0, 1, 2]


@pytest.mark.parametrize("exception", [ValueError, TypeError, StopAsyncIteration])
def test_exceptions_of_a_stream_propagate_as_they_are(exception):
    def blocks():
        yield cut(make_data())[0]
        raise exception("cannot read")

    with pytest.raises(exception, match=r"^cannot read$"):
        descend(blocks())


# ---------------------------------------------------------------- files larger than memory

IN_LITTLE_MEMORY = """
import resource, sys
import numpy as np
import jitlogreg as jlr

folder, m, n, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
X = np.memmap(f"{folder}/X", np.float64, "r", shape=(m, n))
y = np.memmap(f"{folder}/y", np.int8, "r", shape=(m,))
descend = lambda rows, **more: jlr.minibatch_descent(
    (X[:rows], y[:rows]), learning_rate=0.1, block_size=10_000, target=target, **more)
descend(20_000, shuffle=0)  # what it compiles, and Numba's threads, have memory of their own
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + X.nbytes // 4,) * 2)
try:
    np.array(X)
except MemoryError:
    print("no room for a copy")
run = descend(m, n_epochs=2, shuffle=0)
print(run.n_iterations, len(run.loss_history), float(run.w[0]).hex())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts private memory on Linux alone")
def test_a_file_is_read_in_less_memory_than_it_takes(tmp_path, target):
    m, n = 1_000_000, 28  # 224 MB
    rng = np.random.default_rng(0)
    X = np.memmap(tmp_path / "X", np.float64, "w+", shape=(m, n))
    for i in range(0, m, 50_000):
        X[i : i + 50_000] = rng.normal(size=(50_000, n))
    y = np.memmap(tmp_path / "y", np.int8, "w+", shape=(m,))
    y[:] = X[:, 0] > 0
    try:
        command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path), str(m), str(n), target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run = descend((X, y), 0.1, n_epochs=2, block_size=10_000, shuffle=0)
        assert done.stdout == f"no room for a copy\n200 200 {float(run.w[0]).hex()}\n"
    finally:
        del X, y
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_file_and_the_array_that_it_holds_are_the_same(tmp_path, data):
    for name in ("X", "y"):
        np.save(tmp_path / name, getattr(data, name))
    X, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "y"))
    assert type(X) is np.memmap
    run = descend((X, y), n_epochs=2, block_size=7)
    assert type(run.w) is np.ndarray
    same(run, descend((data.X, data.y), n_epochs=2, block_size=7))


# ---------------------------------------------------------------- the order of batches


class Sequence:
    """Batches that can be indexed and nothing else; `asked` has the indices."""

    def __init__(self, blocks):
        self.blocks, self.asked = blocks, []

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, i):
        if i >= len(self.blocks):
            raise IndexError(i)
        self.asked.append(i)
        return self.blocks[i]


def order_of(shuffle, n_epochs=4):
    blocks = Sequence(cut(make_data(), 2))
    descend(blocks, n_epochs=n_epochs, shuffle=shuffle)
    return np.reshape(blocks.asked, (n_epochs, 20)).tolist()


def test_every_epoch_has_each_batch_once_in_an_order_of_its_own():
    orders = order_of(0)
    assert [sorted(order) for order in orders] == [list(range(20))] * 4
    assert len({tuple(order) for order in [list(range(20)), *orders]}) == 5
    assert order_of(None) == [list(range(20))] * 4


@pytest.mark.parametrize("seed", [0, 7, np.int64(7)])
def test_the_order_follows_from_the_seed(seed):
    assert order_of(seed) == order_of(seed) == order_of(np.random.default_rng(seed))
    assert order_of(seed) != order_of(1)


def test_a_generator_of_random_numbers_goes_on_from_where_it_was():
    rng = np.random.default_rng(3)
    assert order_of(rng, 1) + order_of(rng, 3) == order_of(3)


def test_arrays_are_shuffled_as_the_batches_cut_from_them(data, sums_of):
    whole = descend((data.X, data.y), n_epochs=3, block_size=7, shuffle=5)
    assert sorted(len(X) for X in sums_of[:6]) == [5, 7, 7, 7, 7, 7]
    starts = [int(np.flatnonzero((X[0] == data.X).all(axis=1))[0]) for X in sums_of]
    assert [sorted(starts[i : i + 6]) for i in (0, 6, 12)] == [[0, 7, 14, 21, 28, 35]] * 3
    assert starts[:6] != starts[6:12] or starts[:6] != starts[12:]
    same(descend(cut(data), n_epochs=3, shuffle=5), whole)


@pytest.mark.parametrize(
    "blocks", [iter([]), {1}.union, (block for block in ()), list], ids=["iterator", "function", "generator", "class"]
)
def test_what_cannot_be_indexed_is_not_shuffled(blocks):
    with pytest.raises(
        TypeError,
        match=r"^blocks: expected a sequence of batches.*, as shuffle is given, got .*, which cannot be indexed",
    ):
        descend(blocks, shuffle=0)


# ---------------------------------------------------------------- learning rates


def test_a_schedule_is_asked_for_every_step_of_all_epochs(data):
    asked = []

    def schedule(step):
        asked.append(step)
        return 1 / (1 + step)

    run = descend((data.X, data.y), schedule, n_epochs=2, block_size=20, w=data.w)
    assert asked == [0, 1, 2, 3]
    w, b = data.w, 0.0
    for i, (X, y) in enumerate(cut(data, 20) * 2):
        run_of_batch = descend([(X, y)], 1 / (1 + i), w=w, b=b)
        w, b = run_of_batch.w, run_of_batch.b
    np.testing.assert_array_equal(run.w, w)
    assert run.b == b


@pytest.mark.parametrize("rate", [1, np.float32(0.25), np.int8(0)])
def test_a_schedule_may_return_any_real_number(rate):
    data = make_data()
    same(descend(cut(data), lambda step: rate), descend(cut(data), rate))


@pytest.mark.parametrize(
    ("rate", "exception"),
    [
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_every_rate_is_checked(rate, exception):
    stream = iter(cut(make_data()))
    with pytest.raises(exception, match=r"^learning_rate: expected .*, got "):
        descend(stream, rate)
    assert len(list(stream)) == 6
    states = []
    with pytest.raises(exception, match=r"^learning_rate\(2\): expected .*, got "):
        descend(cut(make_data()), lambda step: rate if step == 2 else 0.1, callback=states.append)
    assert len(states) == 3


def test_a_rate_beyond_the_dtype_of_w_is_refused():
    data = make_data(dtypes=(np.float32, np.float32))
    with pytest.raises(ValueError, match=r"learning_rate: expected a number within float32, got 1e.300"):
        descend((data.X, data.y), 1e300)


# ---------------------------------------------------------------- batches without weight


@pytest.mark.parametrize("where", [0, 2, 6])
@pytest.mark.parametrize("kind", ["no rows", "no weight"])
def test_a_batch_without_weight_makes_no_step(data, where, kind):
    blocks, states = cut(data), []
    empty = (data.X[:0], data.y[:0]) if kind == "no rows" else (data.X, data.y, np.zeros(40))
    blocks.insert(where, empty)
    asked = []
    run = descend(blocks, lambda step: asked.append(step) or 0.5, n_epochs=2, callback=states.append)
    same(run, descend(cut(data), n_epochs=2))
    assert asked == [state.iteration for state in states] == list(range(12))


def test_examples_of_weight_zero_may_fill_a_batch_that_is_cut():
    data = make_data()
    s = np.where(np.arange(40) // 10 == 1, 0.0, 2.0)
    run = descend((data.X, data.y, s), block_size=10)
    kept = s > 0
    same(run, descend((data.X[kept], data.y[kept]), block_size=10))


@pytest.mark.parametrize("shuffle", [None, 0])
def test_batches_none_of_which_has_weight_are_refused(shuffle):
    data = make_data()
    for blocks in ((data.X, data.y, np.zeros(40)), [(data.X[:0], data.y[:0])] * 4):
        with pytest.raises(ValueError, match=r"^blocks: expected at least one example of positive weight, got none$"):
            descend(blocks, shuffle=shuffle, n_epochs=2)


def test_batches_without_weight_are_checked_like_others():
    data = make_data()
    first = (data.X, data.y)
    with pytest.raises(ValueError, match=r"^batch 1: y\[3\]: expected a label from 0 to 1, got 2"):
        descend([first, (data.X, np.where(np.arange(40) == 3, 2.0, data.y), np.zeros(40))])
    with pytest.raises(ValueError, match=r"^batch 1: y: expected shape \(0,\), one label per row of X, got \(1,\)"):
        descend([first, (data.X[:0], data.y[:1])])
    with pytest.raises(
        ValueError, match=r"^batch 1: X: expected 5 columns of float64, as in the batches before, got 4"
    ):
        descend([first, (data.X[:0, :4], data.y[:0])])


# ---------------------------------------------------------------- what is refused


def refuses(exception, message, blocks, **settings):
    with pytest.raises(exception, match=message) as caught:
        descend(blocks, **settings)
    assert type(caught.value) is exception
    assert re.search("expected .*, got ", str(caught.value))


@pytest.mark.parametrize(
    ("exception", "message", "settings"),
    [
        (TypeError, "n_epochs: expected an integer, got a float", {"n_epochs": 2.0}),
        (ValueError, "n_epochs: expected an integer of at least 1, got 0", {"n_epochs": 0}),
        (TypeError, "n_features: expected an integer, got a str", {"n_features": "5"}),
        (ValueError, "n_features: expected an integer of at least 0, got -1", {"n_features": -1}),
        (ValueError, "^batch 0: X: expected 4 columns of float64, as n_features says, got 5", {"n_features": 4}),
        (ValueError, "^block_size: expected None beside batches that are cut already, got 5$", {"block_size": 5}),
        (TypeError, "shuffle: expected None, an integer or a numpy.random.Generator, got a bool", {"shuffle": True}),
        (TypeError, "shuffle: expected .*, got a float", {"shuffle": 0.5}),
        (ValueError, "shuffle: expected an integer of at least 0, got -1", {"shuffle": -1}),
        (TypeError, "shuffle: expected .*, got a numpy.random.*RandomState", {"shuffle": np.random.RandomState(0)}),
        (ValueError, "l2: expected a finite number of at least 0, got -1", {"l2": -1}),
        (TypeError, "l2: expected a real number, got None", {"l2": None}),
        (TypeError, "b: expected a real number, got a str", {"b": "0"}),
        (TypeError, "callback: expected a function, got an int", {"callback": 1}),
        (ValueError, "target: expected one of .*, got 'gpu'", {"target": "gpu"}),
        (TypeError, "^batch 0: w: expected a numpy.ndarray, got a list", {"w": [0.0] * 5}),
        (
            ValueError,
            r"^batch 0: w: expected shape \(5,\), .*, got \(4,\)",
            {"w": np.zeros(4)},
        ),
        (TypeError, "^batch 0: w: expected float64 beside X of float64, got float32", {"w": np.zeros(5, np.float32)}),
    ],
)
def test_bad_settings_are_refused(exception, message, settings):
    refuses(exception, message, cut(make_data()), **settings)


@pytest.mark.parametrize(
    ("size", "exception"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_bad_block_sizes_are_refused(size, exception):
    data = make_data()
    refuses(exception, "^block_size: expected an integer.*, got ", (data.X, data.y), block_size=size)


def test_n_features_is_that_of_the_batches():
    data = make_data()
    same(descend(cut(data), n_features=5), descend(cut(data)))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (None, "^blocks: expected .X, y. or .X, y, sample_weight, offset., or an iterable of batches, .*, got None$"),
        (5, "^blocks: expected .*, got an int$"),
        (lambda: 5, r"^blocks\(\): expected an iterable of batches, .*, got an int$"),
        (np.zeros((4, 2)), "^batch 0: expected .X, y. or .X, y, sample_weight, offset., got a numpy.ndarray$"),
        ([np.zeros((4, 2))], "^batch 0: expected .X, y. .*, got a numpy.ndarray$"),
        ((np.zeros((4, 2)), np.zeros(4), None, None, None), "^batch 0: expected .X, y. .*, got a numpy.ndarray$"),
        ([(np.zeros((4, 2)),)], "^batch 0: expected .X, y. .*, got a tuple with 1 elements$"),
        (
            [(np.zeros((4, 2)), np.zeros(4), None, None, None)],
            "^batch 0: expected .X, y. .*, got a tuple with 5 elements$",
        ),
        ([([[1.0]], [1]), ([[1.0]], [1])], "^batch 0: X: expected a numpy.ndarray, got a list: .*asarray"),
        ([None], "^batch 0: expected .X, y. .*, got None$"),
        (("X", "y"), "^X: expected a numpy.ndarray, got a str"),
        ((np.zeros((4, 2)), None), "^y: expected a numpy.ndarray, got None"),
        ((np.zeros((4, 2)), [0, 1, 1, 0]), "^y: expected a numpy.ndarray, got a list"),
        ((np.zeros((4, 2), int), np.zeros(4)), "^X: expected float32 or float64, got int64"),
        ((np.zeros((4, 2)), np.zeros(4), [1] * 4), "^sample_weight: expected a numpy.ndarray, got a list"),
    ],
)
def test_what_gives_no_batches_is_refused(blocks, message):
    refuses(TypeError, message, blocks)


@pytest.mark.parametrize(
    ("X", "y", "s", "message"),
    [
        ((0, 2), 0, None, r"^X: expected at least one row .*, got shape \(0, 2\)"),
        ((4,), 4, None, r"^X: expected shape \(m, n\), one example per row, got \(4,\)"),
        ((4, 2), 5, None, r"^y: expected shape \(4,\), one label per row of X, got \(5,\)"),
        ((4, 2), 3, None, r"^y: expected shape \(4,\), one label per row of X, got \(3,\)"),
        ((4, 2), 4, 5, r"^sample_weight: expected shape \(4,\), one weight per row of X, got \(5,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_whole(X, y, s, message):
    refuses(ValueError, message, (np.zeros(X), np.zeros(y), None if s is None else np.ones(s)), block_size=2)


@pytest.mark.parametrize("shuffle", [None, 4])
@pytest.mark.parametrize(
    ("change", "exception", "message"),
    [
        (
            lambda X, y: (X[:, :4], y),
            ValueError,
            "X: expected 5 columns of float64, as in the batches before, got 4 of float64",
        ),
        (lambda X, y: (X.astype(np.float32), y), TypeError, "X: expected 5 columns of float64, .*, got 5 of float32"),
        (lambda X, y: (X.astype(int), y), TypeError, "X: expected float32 or float64, got int64"),
        (lambda X, y: (X[0], y), ValueError, "X: expected shape"),
        (lambda X, y: (X[::2, ::2], y), ValueError, "X: expected one stride of 8 bytes and .*, got strides"),
        (lambda X, y: (X, y[1:]), ValueError, "y: expected shape"),
        (lambda X, y: (X, y + 2), ValueError, r"y\[0\]: expected a label from 0 to 1, got [23].0"),
        (
            lambda X, y: (X, y, -np.ones(7)),
            ValueError,
            r"sample_weight\[0\]: expected a finite weight of at least 0, got -1.0",
        ),
        (lambda X, y: (X, y, y[1:]), ValueError, "sample_weight: expected shape"),
        (lambda X, y: X, TypeError, "expected .X, y. .*, got a numpy.ndarray"),
    ],
)
def test_a_bad_batch_is_named_by_its_number(change, exception, message, shuffle):
    blocks = cut(make_data())
    blocks[3] = change(*blocks[3])
    refuses(exception, f"^batch 3: {message}", blocks, shuffle=shuffle)


def test_a_bad_row_of_arrays_is_named_by_its_batch():
    data = make_data()
    for dtype in (np.float64, np.int8):
        y = np.where(np.arange(40) == 37, 2, data.y).astype(dtype)
        said = r"^batch 5 \(rows 35 to 39\): y\[2\]: expected a label from 0 to 1, got 2"
        refuses(ValueError, said, (data.X, y), block_size=7)


def test_a_wide_w_does_not_let_the_dtype_of_batches_change():
    data = make_data()
    blocks = [(data.X.astype(np.float32), data.y), (data.X, data.y)]
    refuses(TypeError, "^batch 1: X: expected 5 columns of float32, .*, got 5 of float64", blocks, w=data.w)


# ---------------------------------------------------------------- callbacks and stopping


def test_a_callback_sees_every_state_before_its_step(data, dtypes):
    states = []
    run = descend((data.X, data.y), n_epochs=2, block_size=20, w=data.w, b=0.1, l2=0.1, callback=states.append)
    assert [state.iteration for state in states] == [0, 1, 2, 3]
    np.testing.assert_array_equal([state.loss for state in states], run.loss_history)
    for state, (X, y) in zip(states, cut(data, 20) * 2, strict=True):
        loss, dw, db = jlr.loss_and_gradient(X, y, state.w, state.b, l2=0.1)
        assert state.loss == loss
        assert state.gradient_norm == pytest.approx(np.linalg.norm([*dw.astype(np.float64), db]), rel=1e-14)
        assert state.w.dtype == dtypes[1]
        assert {type(state.loss), type(state.gradient_norm), type(state.b)} == {float}


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops_before_the_step(data, answer):
    run = descend((data.X, data.y), block_size=7, n_epochs=2, callback=lambda s: answer if s.iteration == 8 else None)
    assert (run.n_iterations, run.converged, len(run.loss_history)) == (8, False, 9)
    same(run._replace(loss_history=run.loss_history[:8]), descend(iter((cut(data) * 2)[:8])))


@pytest.mark.parametrize("answer", [None, False, 1, "yes", np.ones(2)], ids=repr)
def test_other_answers_do_not_stop_the_descent(answer):
    data = make_data()
    assert descend((data.X, data.y), block_size=7, callback=lambda state: answer).n_iterations == 6


def test_a_callback_that_writes_changes_nothing(data):
    start = data.w.copy()

    def scribble(state):
        state.w[:] = math.nan
        start[:] = math.nan

    same(descend(cut(data), w=start, callback=scribble), descend(cut(data), w=data.w))


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError, TypeError])
def test_exceptions_of_a_callback_and_of_a_schedule_propagate_as_they_are(exception):
    def interrupt(state):
        raise exception("stop here")

    with pytest.raises(exception, match=r"^stop here$"):
        descend(cut(make_data()), callback=interrupt)
    with pytest.raises(exception, match=r"^stop here$"):
        descend(cut(make_data()), interrupt)


# ---------------------------------------------------------------- divergence


@pytest.mark.parametrize("errors", ["warn", "raise"])
def test_a_loss_that_is_not_finite_ends_the_descent_with_a_warning(dtypes, errors):
    data, states = make_data(dtypes=dtypes), []
    data.X *= 1000
    rate = float(np.finfo(dtypes[1]).max) / 2
    with np.errstate(all=errors), pytest.warns(RuntimeWarning, match=r"batch \d .*learning_rate") as caught:
        run = descend(
            (data.X, data.y), rate, n_epochs=50, block_size=7, w=np.zeros_like(data.w), callback=states.append
        )
    assert caught[0].filename == __file__
    assert 0 < run.n_iterations < 300
    assert not run.converged
    assert np.isfinite(run.loss_history[:-1]).all()
    assert not math.isfinite(run.loss_history[-1])
    assert len(states) == len(run.loss_history) == run.n_iterations + 1


def test_a_batch_that_is_not_finite_ends_the_descent_there():
    data = make_data()
    data.X[30, 2] = math.nan
    with pytest.warns(RuntimeWarning, match=r"the loss of batch 4 \(rows 28 to 34\) is nan after 4 steps"):
        run = descend((data.X, data.y), block_size=7)
    same(run._replace(loss_history=run.loss_history[:4]), descend((data.X[:28], data.y[:28]), block_size=7))


@pytest.mark.parametrize("x", [math.inf, 1e308])
def test_a_last_step_that_leaves_no_finite_w_is_told(x):
    # at an infinite margin of the right sign the loss is 0 and the residual 0, but 0 · inf is NaN; or w overflows
    X, y, w = np.array([[x]]), np.array([1.0]), np.ones(1) if x == math.inf else np.zeros(1)
    with pytest.warns(RuntimeWarning, match="w or b is not finite after 1 steps") as caught:
        run = descend((X, y), 1e10, w=w)
    assert caught[0].filename == __file__
    assert np.isfinite(run.loss_history).all()
    assert not np.isfinite(run.w).any()


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("blocks", "shown"), [("arrays", "12/12"), ("list", "12/12"), ("function", "12/12"), ("no weight", "14/14")]
)
def test_progress_is_shown_and_changes_nothing(capsys, blocks, shown):
    pytest.importorskip("rich")
    data = make_data()
    of = {
        "arrays": (data.X, data.y),
        "list": cut(data),
        "function": lambda: iter(cut(data)),
        "no weight": [(data.X[:0], data.y[:0]), *cut(data)],
    }[blocks]
    size = {"block_size": 7} if blocks == "arrays" else {}
    run = descend(of, n_epochs=2, progress=True, **size)
    err = capsys.readouterr().err
    assert "mini-batch descent" in err
    assert shown in err
    same(run, descend(of, n_epochs=2, **size))
    assert capsys.readouterr() == ("", "")


def test_progress_of_an_interrupted_run_closes_its_bar():
    pytest.importorskip("rich")

    def interrupt(state):
        raise KeyboardInterrupt

    for _ in range(2):  # rich refuses a second bar while one is live
        with pytest.raises(KeyboardInterrupt):
            descend(cut(make_data()), progress=True, callback=interrupt)


# ---------------------------------------------------------------- the call itself


def test_everything_but_the_batches_is_given_by_name():
    kinds = {p.name: p.kind for p in inspect.signature(jlr.minibatch_descent).parameters.values()}
    assert [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == ["blocks"]
    assert list(kinds) == [
        *("blocks", "sample_weight", "offset", "n_features", "learning_rate", "n_epochs", "block_size", "shuffle"),
        *("l2", "link", "w", "b", "callback", "progress", "target"),
    ]


def test_the_target_is_chosen_once(monkeypatch, target, sums_of):
    def switch(state):
        monkeypatch.setenv("JITLOGREG_TARGET", "cuda")

    monkeypatch.setenv("JITLOGREG_TARGET", target)
    assert descend(cut(make_data()), callback=switch).n_iterations == len(sums_of) == 6


def test_an_objective_is_no_batch():
    data = make_data(40, 5)
    with pytest.raises(TypeError, match=r"^blocks: expected the data itself, .*, got an Objective$"):
        jlr.minibatch_descent(jlr.Objective(data.X, data.y), learning_rate=0.1)

"""Every target over dtypes, orders and shapes: against exact margins, the graph, finite differences, and itself."""

import importlib
import os
import platform
import re
import subprocess
import sys
import threading
import tracemalloc

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
from conftest import exact_margins, example_bound, expected_objective, make_data, margin_bound, unit
from hypothesis import given
from hypothesis import strategies as st

import jitlogreg as jlr
from jitlogreg.graph import Variable, derivatives, exp, log
from jitlogreg.targets.cpu import executor, kernels, row_chunks
from jitlogreg.targets.cpu.epilogue import LOSS_GRADIENT
from jitlogreg.targets.cpu.partition import partition
from jitlogreg.targets.cpu.plan import make_plan

# Rows around a group of eight, a segment and the longest blocks; columns around one vector and two; tall, wide
SHAPES = [
    *((m, 3) for m in (1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1024)),
    *((21, n) for n in (0, 1, 2, 4, 7, 8, 9, 15, 16, 17, 28, 33)),
    (12_345, 2),
    (1_001, 130),
    (5, 3_001),
    (16, 1_024),
]


def assert_matches_exact(data, l2=0.0):
    """Every call within its bound of the objective at exact margins, and equal to the others in every bit."""
    X, y, w, b, s = data.X, data.y, data.w, data.b, data.sample_weight
    value, bound = expected_objective(X, y, w, b, s, l2)
    both = jlr.loss_and_gradient(X, y, w, b, sample_weight=s, l2=l2)
    assert abs(both.loss - value.loss) <= bound.loss
    assert np.all(np.abs(both.dw - value.dw) <= bound.dw + unit(w.dtype) * np.abs(value.dw))
    assert abs(both.db - value.db) <= bound.db
    assert both.dw.dtype == w.dtype
    assert type(both.loss) is type(both.db) is float
    gradient = jlr.gradient(X, y, w, b, sample_weight=s, l2=l2)
    np.testing.assert_array_equal(gradient.dw, both.dw)
    assert gradient.db == both.db
    assert jlr.loss(X, y, w, b, sample_weight=s, l2=l2) == both.loss


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_every_shape(target, dtypes, order, shape):
    weighted, soft = shape[0] % 2 == 1, shape[1] % 2 == 1
    assert_matches_exact(make_data(*shape, dtypes, order, soft=soft, weighted=weighted), l2=0.125 * weighted)


@pytest.fixture
def by_panels(monkeypatch):
    """Every matrix is shared by columns, in F order in strips of 64 rows."""
    few = {"PANEL_ROW_BYTES": 1, "F_PANEL_COLUMNS": 1, "F_PANEL_COLUMNS_TWICE": 1, "F_PANEL": 16, "F_SHORT_STRIP": 64}
    for name, value in few.items():
        monkeypatch.setitem(partition.__globals__, name, value)
    make_plan.cache_clear()
    yield
    make_plan.cache_clear()


# two and three panels of 2048 columns, and more groups of eight rows than the accumulators take at once; in F order
# strips with and without rows that fill no group of eight
@pytest.mark.parametrize(
    "shape", [*SHAPES, (139, 4_105), (64, 700), (193, 20), (600, 3)], ids=lambda shape: f"{shape[0]}x{shape[1]}"
)
@pytest.mark.usefixtures("by_panels")
def test_every_shape_by_panels(dtypes, order, shape):
    for weighted in (False, True):
        with jlr.use_target("cpu"):
            assert_matches_exact(make_data(*shape, dtypes, order, soft=shape[1] % 2 == 1, weighted=weighted))


# the last has more than one group of rows so long that nothing is prefetched, and column panels in F order
@pytest.mark.parametrize("shape", [*SHAPES, (27, 8_197)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_forward_of_every_shape(target, dtypes, order, shape):
    data = make_data(*shape, dtypes, order, soft=True)
    z, off = exact_margins(data.X, data.w, data.b), margin_bound(data.X, data.w, data.b)
    a = jlr.forward(data.X, data.w, data.b)
    log_a = jlr.log_forward(data.X, data.w, data.b)
    assert a.dtype == log_a.dtype == data.w.dtype
    for results, function in ((a, lambda z: 1 / (1 + np.exp(-z))), (log_a, lambda z: -np.logaddexp(0, -z))):
        slack = np.abs(function(z + off) - function(z - off)) + example_bound(function(z), data.w.dtype, 4)
        assert np.all(np.abs(results - function(z)) <= slack)


def test_margins_of_every_size_through_the_public_calls(target, dtypes):
    x_dtype, w_dtype = dtypes
    edge = 80.0 if x_dtype == np.float32 else 700.0
    z = np.concatenate([np.linspace(-edge, edge, 401), [0.0, 1e-30, -1e-30]]).astype(x_dtype)
    X, w, zero = z[:, None], np.ones(1, w_dtype), np.zeros(1, w_dtype)
    a, log_a = jlr.forward(X, w), jlr.log_forward(X, w)
    with mpmath.workdps(40):
        for i, margin in enumerate(z.tolist()):
            upper, lower = (1 / (1 + mpmath.exp(-sign * mpmath.mpf(margin))) for sign in (1, -1))
            losses = [mpmath.log1p(mpmath.exp(sign * mpmath.mpf(margin))) for sign in (1, -1)]
            assert abs(float(a[i]) - upper) <= example_bound(float(upper), w_dtype)
            assert abs(float(log_a[i]) + losses[1]) <= example_bound(float(losses[1]), w_dtype)
            for label, dz in ((0, upper), (1, -lower)):
                both = jlr.loss_and_gradient(X[i : i + 1], np.full(1, label), w)
                assert abs(both.loss - losses[label]) <= example_bound(float(losses[label]), w_dtype)
                assert abs(both.db - dz) <= example_bound(float(dz), w_dtype)
    assert jlr.loss(X, np.zeros(len(z)), zero) == pytest.approx(np.log(2), rel=4 * unit(w_dtype))


def test_the_graph_gives_the_same_derivatives(target):
    data = make_data(7, 3)
    w, b = [Variable(value) for value in data.w], Variable(data.b)
    J = Variable(0.0)
    for x, y in zip(data.X.tolist(), data.y.tolist(), strict=True):
        z = sum((wj * xj for wj, xj in zip(w, x, strict=True)), b)
        a = 1 / (1 + exp(-z))
        J = J - (y * log(a) + (1 - y) * log(1 - a)) / 7
    dJ = derivatives(J)
    loss, dw, db = jlr.loss_and_gradient(data.X, data.y, data.w, data.b)
    assert loss == pytest.approx(J.value, rel=1e-14)
    assert dw == pytest.approx([dJ[wj] for wj in w], rel=1e-13)
    assert db == pytest.approx(dJ[b], rel=1e-13)


def test_the_gradient_is_the_derivative_of_the_loss(target, order):
    data = make_data(33, 4, order=order, soft=True, weighted=True)
    step = 1e-6

    def loss(w, b):
        return jlr.loss(data.X, data.y, w, b, sample_weight=data.sample_weight, l2=0.3)

    dw, db = jlr.gradient(data.X, data.y, data.w, data.b, sample_weight=data.sample_weight, l2=0.3)
    for j in range(4):
        up, down = data.w.copy(), data.w.copy()
        up[j] += step
        down[j] -= step
        assert dw[j] == pytest.approx((loss(up, data.b) - loss(down, data.b)) / (2 * step), abs=1e-8)
    assert db == pytest.approx((loss(data.w, data.b + step) - loss(data.w, data.b - step)) / (2 * step), abs=1e-8)


def test_weight_two_is_a_row_twice_and_weight_zero_no_row(target, data):
    m = len(data.y)
    counts = np.arange(m) % 3
    weighted = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=counts, l2=0.5)
    rows = np.repeat(np.arange(m), counts)
    repeated = jlr.loss_and_gradient(data.X[rows].copy("A"), data.y[rows], data.w, data.b, l2=0.5)
    off = 64 * unit(data.w.dtype)
    assert weighted.loss == pytest.approx(repeated.loss, rel=off)
    assert weighted.dw == pytest.approx(repeated.dw, rel=off, abs=8 * off)
    assert weighted.db == pytest.approx(repeated.db, rel=off, abs=8 * off)


def test_the_order_of_rows_does_not_matter_beyond_the_bound(target, data):
    shuffled = np.random.default_rng(8).permutation(len(data.y))
    value, bound = expected_objective(data.X, data.y, data.w, data.b)
    result = jlr.loss_and_gradient(data.X[shuffled].copy("A"), data.y[shuffled], data.w, data.b)
    assert abs(result.loss - value.loss) <= bound.loss
    assert np.all(np.abs(result.dw - value.dw) <= bound.dw + unit(data.w.dtype) * np.abs(value.dw))


def test_views_and_readonly_arrays_give_the_bits_of_a_copy(target, dtypes):
    rng = np.random.default_rng(9)
    wide = rng.normal(size=(83, 20)).astype(dtypes[0])
    y, w = (rng.uniform(size=83) < 0.5).astype(dtypes[1]), rng.normal(size=8).astype(dtypes[1])
    frozen = np.ascontiguousarray(wide[:, 1:9])
    frozen.flags.writeable = False
    expected = jlr.loss_and_gradient(frozen.copy(), y, w, 0.5)
    for view in (wide[:, 1:9], np.repeat(wide, 2, axis=0)[::2, 1:9], frozen):
        got = jlr.loss_and_gradient(view, y, w, 0.5)
        assert (got.loss, got.db, got.dw.tolist()) == (expected.loss, expected.db, expected.dw.tolist())
    notes = np.ascontiguousarray(wide[:, 1:9].T)  # the notes' (n_x, m)
    from_notes = jlr.loss_and_gradient(notes.T, y, w, 0.5)
    taller = np.asfortranarray(wide)[:, 1:9]
    assert jlr.loss_and_gradient(taller, y, w, 0.5).dw.tolist() == from_notes.dw.tolist()
    assert from_notes.dw == pytest.approx(expected.dw, rel=1e-5)


def test_out_receives_the_same_bits(target, data):
    out = np.full(len(data.w), np.nan, data.w.dtype)
    result = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, l2=0.1, out=out)
    assert result.dw is out
    np.testing.assert_array_equal(out, jlr.gradient(data.X, data.y, data.w, data.b, l2=0.1).dw)
    a = np.full(len(data.y), np.nan, data.w.dtype)
    assert jlr.forward(data.X, data.w, data.b, out=a) is a
    np.testing.assert_array_equal(a, jlr.forward(data.X, data.w, data.b))


@given(m=st.integers(1, 200), n=st.integers(0, 40), seed=st.integers(0, 99), order=st.sampled_from("CF"))
def test_any_shape_on_the_cpu_matches_the_reference(m, n, seed, order):
    data = make_data(m, n, order=order, soft=bool(seed % 2), weighted=bool(seed % 3), seed=seed)
    arguments = {"sample_weight": data.sample_weight, "l2": 0.25}
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cpu", **arguments)
    wanted = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="reference", **arguments)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-13)
    assert got.dw == pytest.approx(wanted.dw, rel=1e-12, abs=1e-13)
    assert got.db == pytest.approx(wanted.db, rel=1e-12, abs=1e-13)


def test_sums_keep_their_bound_where_plain_summation_loses_it():
    # one large value first: a plain float64 sum of the million that follow would lose 1e-16 of it each time
    m = 1_000_000
    X = np.full((m, 1), 1e-8)
    X[0] = 1e8
    y, w = np.zeros(m), np.zeros(1)
    for matrix in (X, np.asfortranarray(X)):
        total = jlr.gradient(matrix, y, w, target="cpu").dw[0] * m
        exact = 0.5 * (1e8 + 1e-8 * (m - 1))
        assert abs(total - exact) <= 32 * unit(np.float64) * exact
        assert abs(total - exact) <= 2 * unit(np.float64) * exact  # what compensation gives, and a plain sum does not


def test_infinite_sums_stay_infinite():
    X = np.ones((200, 3))
    X[77, 1] = np.inf
    for matrix in (X, np.asfortranarray(X)):
        dw = jlr.gradient(matrix, np.zeros(200), np.zeros(3), 1.0, target="cpu").dw
        # 0 · inf is NaN in the margin of row 77, and so in every sum it enters
        assert np.isnan(dw).all()
        dw = jlr.gradient(matrix, np.zeros(200), np.array([0.0, 1.0, 0.0]), target="cpu").dw
        assert dw[1] == np.inf
        assert np.isfinite(dw[[0, 2]]).all()


@pytest.mark.parametrize("m", range(1, 18))
def test_padding_takes_no_part_where_margins_are_infinite(target, order, m):
    X, w = np.ones((m, 2), order=order), np.array([np.inf, 1.0])
    assert jlr.loss_and_gradient(X, np.ones(m), w)[::2] == (0.0, 0.0)
    assert jlr.loss_and_gradient(X, np.zeros(m), np.zeros(2), -np.inf)[::2] == (0.0, 0.0)
    assert jlr.forward(X, -w).tolist() == [0.0] * m


@pytest.mark.parametrize("m", [1, 9, 63, 70])
@pytest.mark.usefixtures("by_panels")
def test_padding_takes_no_part_in_column_panels(order, m):
    with jlr.use_target("cpu"):
        test_padding_takes_no_part_where_margins_are_infinite("cpu", order, m)


@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_sums_may_be_larger_than_float32(target, order):
    weights = np.full(64, 1e38, np.float32)
    y, w = np.zeros(64, np.float32), np.zeros(1, np.float32)
    X = np.asarray(np.linspace(-1, 1, 64)[:, None], np.float32, order=order)
    result = jlr.loss_and_gradient(X, y, w, sample_weight=weights)
    assert result.loss == pytest.approx(np.log(2), rel=1e-6)
    assert result.db == pytest.approx(0.5, rel=1e-6)
    largest = np.full((64, 1), 2e38, np.float32)
    assert jlr.loss(largest, y, np.ones(1, np.float32)) == pytest.approx(2e38, rel=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(200_000, 28), (2_000, 2_048)], ids=str)
def test_no_temporaries_of_the_size_of_the_data(shape, order):
    data = make_data(*shape, order=order, weighted=True)
    X, y, w, s, out = data.X, data.y, data.w, data.sample_weight, np.empty(shape[0])
    for call in (
        lambda: jlr.loss_and_gradient(X, y, w, 0.5, sample_weight=s, target="cpu"),
        lambda: jlr.loss(X, y, w, 0.5, target="cpu"),
        lambda: jlr.forward(X, w, 0.5, out=out, target="cpu"),
    ):
        call()
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6 < X.nbytes


# On the calling thread, on all threads, and in panels; a gradient comes with the means from the same entry point
@pytest.mark.parametrize("function", [jlr.loss_and_gradient, jlr.loss], ids=lambda function: function.__name__)
@pytest.mark.parametrize("shape", [(10_000, 8), (300_000, 8), (64, 40_000)], ids=str)
def test_the_gil_is_released(function, shape):
    """Another thread gets on within a call, though Python asks for the GIL only after the interval set here: never."""
    data, calls = make_data(*shape), 1000
    may_go, went = threading.Semaphore(0), []

    def go():
        for _ in range(calls):
            may_go.acquire()
            went.append(1)

    function(data.X, data.y, data.w, data.b, target="cpu")
    other, interval = threading.Thread(target=go), sys.getswitchinterval()
    sys.setswitchinterval(1e6)
    try:
        other.start()
        # whether the other thread is woken within one short call is up to the system, so there are many
        for _ in range(calls):
            may_go.release()
            before = len(went)
            function(data.X, data.y, data.w, data.b, target="cpu")
            if len(went) > before:
                break
        within_a_call = len(went) > before
    finally:
        sys.setswitchinterval(interval)
        may_go.release(calls)
        other.join()
    assert within_a_call


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(100_003, 9), (3_000, 300), (80, 9_000), (21, 40_000)], ids=str)
def test_threads_forks_and_other_callers_do_not_change_a_bit(shape, order):
    data = make_data(*shape, order=order, weighted=True)

    def bits():
        loss, dw, db = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=data.sample_weight)
        a = jlr.forward(data.X, data.w, data.b)
        return np.concatenate([[loss, db], dw, a]).tobytes()

    with jlr.use_target("cpu"):
        expected = bits()
        threads = numba.get_num_threads()
        try:
            numba.set_num_threads(1)
            assert bits() == expected
        finally:
            numba.set_num_threads(threads)
    found = []

    def work():
        with jlr.use_target("cpu"):
            found.extend(bits() == expected for _ in range(5))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
# Python warns of a fork beside threads, and so does JAX once a test has imported it
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_child_computes_the_same_bits_and_then_the_parent_does():
    data = make_data(100_003, 9)

    def bits():
        loss, dw, db = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cpu")
        return np.array([loss, db, *dw]).tobytes()

    expected = bits()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, bits())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        from_child = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert from_child == expected
    assert bits() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_forked_after_other_parallel_code_and_before_the_target_was_imported_lives():
    program = """
import numba, numpy as np, os, jitlogreg as jlr
@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(x.size):
        s += x[i]
    return s
total(np.ones(1000))
if os.fork() == 0:
    print(jlr.forward(np.zeros((200_000, 8)), np.zeros(8), target="cpu").sum(), flush=True)
    os._exit(0)
print(os.wait()[1])
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["100000.0", "0"]


def test_the_dot_product_is_exact_to_float64_in_both_dtypes(target):
    module = importlib.import_module(f"jitlogreg.targets.{target}")
    for n in (0, 1, 7, 8, 31, 32, 33, 1_000, 100_001):
        for dtype in (np.float64, np.float32):
            rng = np.random.default_rng(n)
            u, v = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
            wide = u.astype(np.longdouble) * v.astype(np.longdouble)
            assert abs(module.dot(u, v) - wide.sum()) <= 64 * unit(np.float64) * np.abs(wide).sum()


def test_strides_weights_and_readonly_arrays_add_no_compiled_variant():
    rng = np.random.default_rng(10)
    kernels.kernel.cache_clear()
    for dtypes in ((np.float64,) * 2, (np.float32,) * 2, (np.float32, np.float64)):
        for order in "CF":
            X = np.asarray(rng.normal(size=(50, 12)), dtypes[0], order=order)
            frozen = X.copy(order)
            frozen.flags.writeable = False
            for matrix in (X, frozen, X[:, 1:9], X[:, :1], X[3:40], X[:1], np.asarray(X[::-1], order=order)):
                m, n = matrix.shape
                if matrix.strides[0 if order == "F" else 1] != X.itemsize:
                    continue
                y, w = np.zeros(m, bool), np.zeros(n, dtypes[1])
                for sample_weight in (None, np.ones(m), np.ones(m, np.int32)):
                    jlr.loss_and_gradient(matrix, y, w, 1, sample_weight=sample_weight, l2=0.1, target="cpu")
                    jlr.loss(matrix, y, w, sample_weight=sample_weight, target="cpu")
                jlr.forward(matrix, w, target="cpu")
                jlr.log_forward(matrix, w, target="cpu")
    # three operations, three pairs of dtypes, two orders; and Σ w² of two dtypes
    assert kernels.kernel.cache_info().currsize == 3 * 3 * 2 + 2


# compiled anew for its assembly
@pytest.mark.parametrize(
    ("dtype", "order"),
    [
        *(("float64", "C"), ("float32", "F")),
        *(pytest.param(*variant, marks=pytest.mark.slow) for variant in (("float64", "F"), ("float32", "C"))),
    ],
)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
def test_the_kernels_are_vectorised(dtype, order):
    """Packed multiply-adds, and nothing of libm, which differs between systems."""
    if not llvmlite.binding.get_host_cpu_features().get("fma"):
        pytest.skip("needs a processor with FMA")
    kernel_types = kernels.kernel_types(np.dtype(dtype), np.dtype(dtype), "t0")
    task = row_chunks.make_task(kernels.LAYOUTS[order], LOSS_GRADIENT, kernels.LAYOUTS[order])
    compiled = numba.njit(error_model="numpy")(task)
    compiled.compile(kernel_types)
    code = compiled.inspect_asm(kernel_types)
    packed = re.findall(rf"vfn?m(?:add|sub)\d+p{'d' if dtype == 'float64' else 's'}\b.*[yz]mm", code)
    assert len(packed) > 40
    named = re.findall(r"\b(?:exp2?|expm1|log2?|log1p|fma|pow)f?\b", code)
    assert named == []


def test_threads_run_the_tasks_of_large_inputs_and_one_call_does_all_of_small_ones(monkeypatch):
    used, execute, run_on_threads = [], executor.execute, executor.run_on_threads
    monkeypatch.setattr(executor, "execute", lambda *call: (used.append(call[1]), execute(*call))[1])
    monkeypatch.setattr(executor, "run_on_threads", lambda *call: (used.append("threads"), run_on_threads(*call))[1])
    if numba.get_num_threads() == 1:
        pytest.skip("needs two threads")
    for m in (100, 100_000):
        jlr.forward(np.zeros((m, 4)), np.zeros(4), target="cpu")
    assert used == [executor.ALL, executor.PREPARE, "threads", executor.FINISH]

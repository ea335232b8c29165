"""The CUDA kernels on the simulated device, through the target and the public calls."""

import functools
import gc
import importlib
import inspect
import re

import numpy as np
import pytest
from conftest import exact_margins, example_bound, expected_objective, expected_product, make_data, margin_bound
from gpu.predictions import h100

import jitlogreg as jlr
from jitlogreg.targets.base import DescentSettings, Problem

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("greenlet", reason="greenlet, which the simulator needs, is not installed")
simulator = importlib.import_module("simulator")
targets = importlib.import_module("jitlogreg.targets.dispatch")
cuda = importlib.import_module("jitlogreg.targets.cuda")
launch, driver, plan, descent_host, compensated = (
    importlib.import_module(f"jitlogreg.targets.cuda.{name}")
    for name in ("launch", "driver", "plan", "descent_host", "compensated")
)

DEVICE = plan.DeviceProperties(n_sms=2, shared_per_block=1 << 16, shared_per_sm=1 << 17, l2_size=1 << 14)

H100 = h100()

# The simulator takes a millisecond per thread: the same kernels in smaller blocks, with limits at fewer columns
SMALL = {
    "WARP_ROW_BYTES": 256,
    "WARP_THREADS": 64,
    "NARROW_THREADS": 64,
    "BLOCK_THREADS": (64,),
    "MAX_VECTORS": {(4, 4): (1, 1), (4, 8): (1, 1), (8, 8): (2, 2)},
    "MAX_COLUMNS": 64,
    "SUB_WARPS": {4: ((48, 128, 32, 32), (64, 64, 8, 16)), 8: ((48, 128, 16, 16), (64, 64, 8, 16))},
    "PANEL_THREADS": 64,
    "C_LOADS": 2,
    "F_SEGMENT": 8,
}

# Numbers of columns for every regime of SMALL and its edges, by order
COLUMNS = {
    "C": {"warp_per_row": (1, 2, 5, 28, 31, 32), "block_per_row": (65, 72, 200), "l2_panels": (266, 264)},
    "F": {"column_major": (2, 7, 28, 32, 33, 48, 61), "l2_panels": (65, 70)},
}

# More rows than two blocks take at once, so that each block loops
ROWS = {
    "warp_per_row": lambda n: 600 if n <= 2 else 300 if n <= 8 else 150,
    "column_major": lambda n: 1100 if n <= 2 else 600 if n <= 8 else 300 if n <= 33 else 150,
    "block_per_row": lambda n: 23,
    "l2_panels": lambda n: 45,
}
SHAPES = [(order, regime, n) for order, regimes in COLUMNS.items() for regime, ns in regimes.items() for n in ns]


@pytest.fixture
def device(monkeypatch):
    """A simulated device for small blocks."""
    for name, value in SMALL.items():
        monkeypatch.setattr(plan, name, value)
    monkeypatch.setattr(plan, "_grid", lambda device, blocks_per_sm, m, rows: max(1, min(2, -(-m // rows))))
    yield from simulator.in_place_of_driver(monkeypatch, DEVICE)


@pytest.fixture
def one_multiprocessor(monkeypatch):
    """One simulated multiprocessor of an H100."""
    yield from simulator.in_place_of_driver(monkeypatch, H100._replace(n_sms=1))


def regime_of(device):
    return device.launched[0].split("-")[0]


def assert_within_bounds(got, data, l2=0.0):
    value, bound = expected_objective(data.X, data.y, data.w, data.b, data.sample_weight, l2)
    assert abs(got.loss - value.loss) <= bound.loss
    assert abs(got.db - value.db) <= bound.db
    assert np.all(np.abs(got.dw - value.dw) <= bound.dw)


def vector_for(data):
    """v followed by c, in w's dtype."""
    return np.random.default_rng(3).normal(size=len(data.w) + 1).astype(data.w.dtype)


def product(data, X=None):
    """The sums of a product with the Hessian; that of the intercept is last."""
    v = vector_for(data)
    of_w, of_b = cuda.hessian_vector_sums(
        Problem.of(data.X if X is None else X, None, data.sample_weight), data.w, data.b, v
    )
    assert (of_w.dtype, type(of_b)) == (np.float64, float)
    return np.append(of_w, of_b)


def assert_product_within_bounds(got, data):
    value, bound = expected_product(data.X, data.w, data.b, vector_for(data), data.sample_weight)
    S = len(data.X) if data.sample_weight is None else data.sample_weight.astype(np.float64).sum()
    assert np.all(np.abs(got / S - value) <= bound)


# ---------------------------------------------------------------- every regime, against exact margins


@pytest.mark.parametrize(("order", "regime", "n"), SHAPES)
def test_loss_and_gradient_are_within_their_bounds(device, dtypes, order, regime, n):
    data = make_data(ROWS[regime](n), n, dtypes, order, soft=True, weighted=True)
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, sample_weight=data.sample_weight, l2=0.1, target="cuda")
    assert (regime_of(device), got.dw.dtype) == (regime, dtypes[1])
    assert_within_bounds(got, data, l2=0.1)


@pytest.mark.parametrize(("order", "regime", "n"), SHAPES)
def test_products_with_the_hessian_are_within_their_bounds(device, dtypes, order, regime, n):
    data = make_data(ROWS[regime](n), n, dtypes, order, weighted=True)
    got = product(data)
    assert device.launched[0].startswith(f"{regime}-curvature-")
    assert_product_within_bounds(got, data)


@pytest.mark.slow
def test_the_edges_of_the_regimes_as_they_are_on_a_device(one_multiprocessor, dtypes, order):
    """In blocks of full size: both sides of each change of kernel, and the longest documented rows."""
    sizes, found, last = [dtype.itemsize for dtype in dtypes], set(), None
    for n in range(1, 100_001):
        p = plan.plan.__wrapped__(H100, 1 << 40, n, *sizes, order, 1, 1)
        kind = p.regime, p.threads, p.constants[1:] if p.regime != "l2_panels" else ()
        if kind != last:
            found |= {n - 1, n}
        last = kind
    assert {1, 16_384 if order == "C" and dtypes[1] == np.float32 == dtypes[0] else 1024} <= found
    # with more columns than every warp of the kernel for long rows takes at once; the longest take a minute in F order
    longest = 100_000 if (order, sizes) == ("C", [4, 4]) else 8_193
    for n in sorted({*found, longest} - {0}):
        data = make_data(35 if n <= 300 else 3, n, dtypes, order, soft=True)
        assert_within_bounds(jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda"), data)


@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 72), ("C", 264), ("F", 28), ("F", 61), ("F", 65)])
@pytest.mark.parametrize("m", [1, 33, *(pytest.param(m, marks=pytest.mark.slow) for m in (2, 31, 64, 97))])
def test_rows_that_do_not_fill_a_tile(device, order, n, m):
    data = make_data(m, n, (np.dtype(np.float32),) * 2, order)
    assert_within_bounds(jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda"), data)
    assert_product_within_bounds(product(data), data)


def test_more_sub_warps_per_row_than_a_warp_has_lanes(device, monkeypatch):
    monkeypatch.setitem(plan.SUB_WARPS, 4, ((64, 512, 8, 1),))
    data = make_data(20, 64, (np.dtype(np.float32),) * 2, "F")
    assert_within_bounds(jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda"), data)
    assert_product_within_bounds(product(data), data)
    assert "-512-8-1-64-1-" in device.launched[0]


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 72), ("C", 264), ("F", 7), ("F", 61), ("F", 65)])
@pytest.mark.parametrize("function", [jlr.forward, jlr.log_forward])
def test_activations_are_within_their_bounds(device, dtypes, order, n, function):
    data = make_data(37, n, dtypes, order)
    got = function(data.X, data.w, data.b, target="cuda")
    z, delta = exact_margins(data.X, data.w, data.b), margin_bound(data.X, data.w, data.b)
    exact = 1 / (1 + np.exp(-z)) if function is jlr.forward else -np.logaddexp(0, -z)
    slope = 0.25 if function is jlr.forward else 1.0
    assert got.dtype == data.w.dtype
    assert np.all(np.abs(got - exact) <= example_bound(exact, data.w.dtype) + slope * delta)


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 72), ("C", 264), ("F", 7), ("F", 61), ("F", 65)])
def test_a_loss_alone_is_that_of_the_gradient_to_the_bit(device, order, n):
    data = make_data(37, n, (np.dtype(np.float32),) * 2, order, weighted=True)
    arguments = data.X, data.y, data.w, data.b
    both = jlr.loss_and_gradient(*arguments, sample_weight=data.sample_weight, target="cuda")
    assert jlr.loss(*arguments, sample_weight=data.sample_weight, target="cuda") == both.loss
    gradient = jlr.gradient(*arguments, sample_weight=data.sample_weight, target="cuda")
    np.testing.assert_array_equal(gradient.dw, both.dw)
    assert gradient.db == both.db


def test_no_rows_and_no_columns(device, dtypes):
    x_dtype, w_dtype = dtypes
    assert jlr.forward(np.empty((0, 3), x_dtype), np.ones(3, w_dtype), target="cuda").shape == (0,)
    assert cuda.sums(Problem.of(np.empty((0, 3), x_dtype), None, None), np.ones(3, w_dtype), 0.0, True).weight == 0
    none = cuda.hessian_vector_sums(
        Problem.of(np.empty((0, 3), x_dtype), None, None), np.ones(3, w_dtype), 0.0, np.ones(4, w_dtype)
    )
    assert (none[0].tolist(), none[1]) == ([0.0] * 3, 0.0)
    y, none = np.array([0, 1, 1], w_dtype), np.empty(0, w_dtype)
    got = jlr.loss_and_gradient(np.empty((3, 0), x_dtype), y, none, 0.5, target="cuda")
    wanted = jlr.loss_and_gradient(np.empty((3, 0), x_dtype), y, none, 0.5, target="reference")
    assert got.dw.shape == (0,)
    assert [got.loss, got.db] == pytest.approx([wanted.loss, wanted.db], rel=1e-6)
    of_w, of_b = cuda.hessian_vector_sums(
        Problem.of(np.empty((3, 0), x_dtype), None, None), none, 0.5, np.full(1, 2, w_dtype)
    )
    assert of_w.shape == (0,)
    assert of_b == pytest.approx(3 * 2 / (1 + np.exp(-0.5)) / (1 + np.exp(0.5)), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1, 31, 1000])
def test_dot(device, dtypes, n):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=n).astype(dtypes[0]), rng.normal(size=n).astype(dtypes[1])
    terms = u.astype(np.float64) * v.astype(np.float64)
    assert abs(cuda.dot(u, v) - terms.sum()) <= 4 * np.finfo(np.float64).eps * np.abs(terms).sum()


def test_the_target_has_the_functions_of_the_others():
    reference = importlib.import_module("jitlogreg.targets.reference")
    for name in (
        *("activate", "bind", "descend", "dot", "hessian_sums", "hessian_vector_sums"),
        *("hold", "means", "residuals", "sums"),
    ):
        assert inspect.signature(getattr(cuda, name)) == inspect.signature(getattr(reference, name))


# ---------------------------------------------------------------- how the kernels add up


@pytest.mark.parametrize(
    ("order", "n", "m"),
    [
        *(("C", n, 300) for n in (1, 5, 32)),
        *(("C", n, 150) for n in (72, 264)),
        *(("F", n, 2100) for n in (1, 2, 5, 9, 28, 65)),
        *(("F", n, 300) for n in (48, 61)),
    ],
)
def test_an_accumulator_takes_64_rows_at_most(device, monkeypatch, order, n, m):
    """Each row adds 1 to the sum of each column, so the number added to a pair is the number of rows in it."""
    monkeypatch.setattr(plan, "NARROW_THREADS", 256)  # as on a device: blocks of up to 2048 rows
    device._properties = DEVICE._replace(l2_size=1 << 21)  # and panels as long
    counts = []

    def fma(x, y, z):
        counts.append(simulator.fma(x, y, z))
        return counts[-1]

    def compensated_add(high, low, x):
        counts.append(x)
        return compensated.compensated_add.py_func(high, low, x)

    monkeypatch.setitem(simulator.REPLACEMENTS, "fma", fma)
    monkeypatch.setitem(simulator.REPLACEMENTS, "compensated_add", compensated_add)
    X, w, y = np.full((m, n), 2, np.float32, order=order), np.zeros(n, np.float32), np.zeros(m, np.float32)
    got = cuda.sums(Problem.of(X, y, None), w, 0.0, True)
    assert got.dw.tolist() == [m] * n
    assert 1 <= max(counts) <= 64


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 72), ("C", 264), ("F", 28), ("F", 61), ("F", 65)])
def test_the_order_of_blocks_changes_no_bit(device, order, n):
    data = make_data(90, n, (np.dtype(np.float32),) * 2, order, soft=True)
    results = {
        (got.loss, got.db, got.dw.tobytes())
        for got in (jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda") for _ in range(2))
    }
    assert len(results) == 1
    assert len({product(data).tobytes() for _ in range(2)}) == 1


@pytest.mark.parametrize("n", [28, 72, 264])
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (0, 2), (2, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_a_matrix_lies_changes_no_bit(device, dtype, n, place):
    """On a device rows may start at any address with any leading dimension, which decides the width of the loads."""
    first, padding = place
    data = make_data(30, n, (np.dtype(dtype),) * 2)
    address = device.allocate((first + 30 * (n + padding)) * data.X.itemsize) + first * data.X.itemsize
    buffer = device.memory.view(address, data.X.dtype)[: 30 * (n + padding) - padding]
    rows = np.lib.stride_tricks.as_strided(buffer, data.X.shape, ((n + padding) * data.X.itemsize, data.X.itemsize))
    rows[...] = data.X
    on_device = _OnDevice(rows.shape, rows.strides, rows.dtype, address)
    got = cuda.sums(Problem.of(on_device, data.y, None), data.w, data.b, True)
    wanted, wanted_product = _of_a_whole_matrix(n, dtype)
    np.testing.assert_array_equal(got.dw, wanted.dw)
    assert (got.loss, got.db) == (wanted.loss, wanted.db)
    load_width = re.sub(r"^(\w+_per_row-\w+-\w+-\w+-\d+|l2_panels.*False)-(\d).*", r"\2", device.launched[0])
    assert load_width == str(launch._load_width(address, data.X.itemsize, n, n + padding))
    np.testing.assert_array_equal(product(data, on_device), wanted_product)


@functools.cache
def _of_a_whole_matrix(n, dtype):
    """The sums and the product of the data that each place is tried with."""
    data = make_data(30, n, (np.dtype(dtype),) * 2)
    return cuda.sums(Problem.of(data.X, data.y, None), data.w, data.b, True), product(data)


@pytest.mark.parametrize("n", [28, 61, 65])
def test_columns_may_lie_anywhere(device, dtypes, n):
    data = make_data(30, n, dtypes, "F")
    address = device.allocate((1 + 37 * n) * data.X.itemsize) + data.X.itemsize
    buffer = device.memory.view(address, data.X.dtype)[: 37 * n]
    columns = buffer.reshape(n, 37)[:, :30].T
    columns[...] = data.X
    on_device = _OnDevice(columns.shape, columns.strides, columns.dtype, address)
    got, wanted = (cuda.sums(Problem.of(X, data.y, None), data.w, data.b, True) for X in (on_device, data.X))
    np.testing.assert_array_equal(got.dw, wanted.dw)
    assert (got.loss, got.db) == (wanted.loss, wanted.db)
    np.testing.assert_array_equal(product(data, on_device), product(data))


class _OnDevice:
    """The attributes of a device array that a target uses."""

    device = stream = 0

    def __init__(self, shape, strides, dtype, address):
        self.shape, self.strides, self.dtype, self.address = shape, strides, dtype, address
        self.itemsize, self.size = dtype.itemsize, int(np.prod(shape))


@pytest.mark.parametrize(("order", "n"), [("C", 4), ("C", 72), ("C", 264), ("F", 7), ("F", 61), ("F", 65)])
def test_indices_have_64_bits(device, order, n):
    """Rows 2³¹ numbers apart, on a device whose memory computes every number when it is read."""

    class ComputedMemory:
        itemsize = 4

        def __len__(self):
            return 1 << 40

        def __getitem__(self, i):
            if isinstance(i, slice):
                return np.array([self[j] for j in range(i.start, i.stop)])
            return np.float32(((i // (1 << 31)) * 3 + i % (1 << 31)) % 5 - 2)

    m, leading_dimension = 5, 1 << 31
    view = device.memory.view
    device.memory.view = lambda address, dtype: ComputedMemory() if address == 1 << 50 else view(address, dtype)
    data = make_data(m, n, (np.dtype(np.float32),) * 2, order)
    i, j = np.indices((m, n))
    far, near = (i, j) if order == "C" else (j, i)
    data.X[...] = (3 * far + near) % 5 - 2
    strides = (4 * leading_dimension, 4) if order == "C" else (4, 4 * leading_dimension)
    on_device = _OnDevice((m, n), strides, np.dtype(np.float32), 1 << 50)
    got = cuda.sums(Problem.of(on_device, data.y, None), data.w, data.b, True)
    wanted = cuda.sums(Problem.of(data.X, data.y, None), data.w, data.b, True)
    np.testing.assert_array_equal(got.dw, wanted.dw)
    np.testing.assert_array_equal(product(data, on_device), product(data))


def test_a_call_runs_on_the_device_and_the_stream_of_x(device, monkeypatch):
    data = make_data(40, 5, weighted=True)
    on_second = []
    for array in (data.X, data.y, data.w, data.sample_weight, np.empty(40)):
        address = device.allocate(array.nbytes)
        device.upload(address, array, 0)
        on_second.append(_OnDevice(array.shape, array.strides, array.dtype, address))
        on_second[-1].device, on_second[-1].stream = 1, 5
    X, y, w, s, out = on_second
    asked = {"ordinal": set(), "stream": set()}

    def recorded(function):
        parameters = inspect.signature(function)

        def call(*arguments, **keywords):
            bound = parameters.bind(*arguments, **keywords).arguments
            for name in asked.keys() & bound.keys():
                asked[name].add(bound[name])
            return function(*arguments, **keywords)

        return call

    for name in (
        "device_properties",
        "current",
        "kernel",
        "launch",
        "acquire_workspace",
        "release_workspace",
        "clear",
        "upload",
        "copy",
        "download",
    ):
        monkeypatch.setattr(driver, name, recorded(getattr(device, name)))
    cuda.sums(Problem.of(X, y, s), w, 0.5, True)
    cuda.hessian_vector_sums(Problem.of(X, None, s), data.w, 0.5, vector_for(data))
    cuda.activate("sigmoid", Problem.of(X), w, 0.5, out)
    list(cuda.descend(Problem.of(X, y, s), w, 0.0, DescentSettings(0.1, 2, 0.0, 0.0, False)))
    assert asked == {"ordinal": {1}, "stream": {5}}


# ---------------------------------------------------------------- labels, weights, and what is not finite


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 72), ("C", 264), ("F", 7), ("F", 61), ("F", 65)])
@pytest.mark.parametrize("wrong", [1.5, -0.25, np.nan])
def test_a_label_that_is_none_is_refused_by_its_place(device, order, n, wrong):
    data = make_data(40, n, order=order)
    data.y[33] = wrong
    with pytest.raises(ValueError, match=r"y\[33\]: expected a label from 0 to 1, got "):
        jlr.loss(data.X, data.y, data.w, target="cuda")


def test_a_weight_that_is_none_is_refused_by_its_place(device):
    data = make_data(40, 5, weighted=True)
    for wrong in (-1.0, np.inf, np.nan):
        data.sample_weight[3] = wrong
        with pytest.raises(ValueError, match=r"sample_weight\[3\]: expected a finite weight of at least 0, got "):
            jlr.loss(data.X, data.y, data.w, sample_weight=data.sample_weight, target="cuda")
    with pytest.raises(ValueError, match=r"sample_weight: expected a sum that is positive and finite, got 0\.0"):
        jlr.loss(data.X, data.y, data.w, sample_weight=np.zeros(40), target="cuda")


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 72), ("F", 7), ("F", 61), ("F", 65)])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_where_the_reference_has_it(device, order, n, value):
    data = make_data(40, n, order=order)
    data.X[17, 2] = value
    with np.errstate(all="ignore"):
        wanted = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="reference")
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda")
    np.testing.assert_allclose(got.dw, wanted.dw, rtol=1e-9)
    np.testing.assert_allclose([got.loss, got.db], [wanted.loss, wanted.db], rtol=1e-9)
    reference = importlib.import_module("jitlogreg.targets.reference")
    of_w, of_b = reference.hessian_vector_sums(Problem.of(data.X, None, None), data.w, data.b, vector_for(data))
    np.testing.assert_allclose(product(data), np.append(of_w, of_b), rtol=1e-9)


# ---------------------------------------------------------------- offsets

EACH_REGIME = [("C", 5), ("C", 72), ("C", 264), ("F", 7), ("F", 61), ("F", 65)]


def with_offset(data):
    """Offsets, and the same data with them as one more column, whose coefficient is 1."""
    offset = np.random.default_rng(5).normal(0, 2, len(data.X)).astype(data.w.dtype)
    fields = vars(data) | {"X": np.column_stack([data.X, offset]), "w": np.append(data.w, np.ones(1, data.w.dtype))}
    return offset, type(data)(**fields)


@pytest.mark.parametrize(("order", "n"), EACH_REGIME)
def test_an_offset_is_a_column_whose_coefficient_is_one(device, dtypes, order, n):
    data = make_data(37, n, dtypes, order, soft=True, weighted=True)
    offset, wider = with_offset(data)
    problem = Problem.of(data.X, data.y, data.sample_weight, offset=offset)
    value, bound = expected_objective(wider.X, wider.y, wider.w, wider.b, wider.sample_weight, 0.0)
    S = data.sample_weight.astype(np.float64).sum()
    for with_gradient in (True, False):
        got = cuda.sums(problem, data.w, data.b, with_gradient)
        assert abs(got.loss / S - value.loss) <= bound.loss
    got = cuda.sums(problem, data.w, data.b, True)
    assert abs(got.db / S - value.db) <= bound.db
    assert np.all(np.abs(got.dw / S - value.dw[:n]) <= bound.dw[:n])
    v = vector_for(data)
    of_w, of_b = cuda.hessian_vector_sums(problem, data.w, data.b, v)
    along = np.insert(v, n, 0)  # the column of offsets is not moved
    value, bound = expected_product(wider.X, wider.w, wider.b, along, wider.sample_weight)
    wanted = np.delete(value, n), np.delete(bound, n)
    assert np.all(np.abs(np.append(of_w, of_b) / S - wanted[0]) <= wanted[1])


@pytest.mark.parametrize(("order", "n"), EACH_REGIME)
def test_activations_and_residuals_with_an_offset(device, dtypes, order, n):
    data = make_data(37, n, dtypes, order, soft=True, weighted=True)
    offset, wider = with_offset(data)
    z, delta = exact_margins(wider.X, wider.w, wider.b), margin_bound(wider.X, wider.w, wider.b)
    problem, out = Problem.of(data.X, data.y, data.sample_weight, offset=offset), np.empty(37, data.w.dtype)
    a = 1 / (1 + np.exp(-z))
    within = example_bound(a, data.w.dtype) + 0.25 * delta
    assert np.all(np.abs(cuda.activate("sigmoid", problem, data.w, data.b, out) - a) <= within)
    u = np.finfo(data.w.dtype).eps
    wanted = data.sample_weight.astype(np.float64) * (a - data.y)
    assert np.all(np.abs(cuda.residuals(problem, data.w, data.b, out) - wanted) <= 3 * (within + 2 * u))


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("F", 65)])
def test_descent_with_an_offset(device, dtypes, order, n):
    data = make_data(40, n, dtypes, order, soft=True)
    offset, _ = with_offset(data)
    problem, w = Problem.of(data.X, data.y, None, offset=offset), data.w
    b = w.dtype.type(data.b)
    (got,) = cuda.descend(problem, w, b, DescentSettings(w.dtype.type(0.5), 2, 0.1, 0.0, False))
    reference = importlib.import_module("jitlogreg.targets.reference")
    losses = []
    for _ in range(3):
        sums = reference.sums(problem, w, b, True)
        losses.append(sums.loss / 40 + 0.05 * float(np.sum(w.astype(np.float64) ** 2)))
        if len(losses) < 3:
            w, b = w - 0.5 * (sums.dw / 40 + 0.1 * w), b - 0.5 * sums.db / 40
    u = np.finfo(data.w.dtype).eps
    np.testing.assert_allclose(got.losses, losses, rtol=100 * u)
    np.testing.assert_allclose(got.w, w, rtol=0, atol=50 * u * np.abs(w).max())


# ---------------------------------------------------------------- descent


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 65), ("C", 264), ("F", 20), ("F", 65)])
def test_descent_takes_the_steps_of_the_reference(device, dtypes, order, n):
    data = make_data(40, n, dtypes, order, soft=True, weighted=True)
    arguments = {"learning_rate": 0.5, "n_iterations": 3, "w": data.w, "b": data.b, "l2": 0.1}
    arguments["sample_weight"] = data.sample_weight
    got = jlr.gradient_descent(data.X, data.y, **arguments, target="cuda")
    wanted = jlr.gradient_descent(data.X, data.y, **arguments, target="reference")
    u = np.finfo(data.w.dtype).eps
    np.testing.assert_allclose(got.w, wanted.w, rtol=0, atol=50 * u * np.abs(wanted.w).max())
    np.testing.assert_allclose(got.loss_history, wanted.loss_history, rtol=100 * u)
    assert (got.n_iterations, got.converged, got.w.dtype) == (3, False, data.w.dtype)
    assert abs(got.b - wanted.b) <= 50 * u


@pytest.mark.parametrize(("order", "n"), [("C", 5), ("C", 65), ("F", 65)])
def test_how_often_the_host_looks_changes_no_bit(device, monkeypatch, order, n):
    data = make_data(40, n, (np.dtype(np.float32),) * 2, order)
    arguments = {"learning_rate": 0.5, "n_iterations": 5, "target": "cuda"}
    runs = [jlr.gradient_descent(data.X, data.y, **arguments)]
    assert len(device.launched) == 1  # no step waits for the host
    seen = []
    runs.append(jlr.gradient_descent(data.X, data.y, **arguments, callback=lambda state: seen.append(state)))
    monkeypatch.setattr(descent_host, "MAX_STEPS", 2)
    runs.append(jlr.gradient_descent(data.X, data.y, **arguments))
    assert len({(run.w.tobytes(), run.b, run.loss_history.tobytes()) for run in runs}) == 1
    assert [state.iteration for state in seen] == [0, 1, 2, 3, 4, 5]
    assert [state.loss for state in seen] == runs[0].loss_history.tolist()
    np.testing.assert_array_equal(seen[-1].w, runs[0].w)


def test_how_often_the_host_looks_changes_not_where_it_stops(device, monkeypatch):
    data = make_data(40, 5, (np.dtype(np.float32),) * 2)
    arguments = {"learning_rate": 0.5, "n_iterations": 50, "tolerance": 0.1, "target": "cuda"}
    runs = [jlr.gradient_descent(data.X, data.y, **arguments, callback=lambda state: None)]
    for most in (4096, 7, 2):
        monkeypatch.setattr(descent_host, "MAX_STEPS", most)
        runs.append(jlr.gradient_descent(data.X, data.y, **arguments))
    assert len({(run.w.tobytes(), run.b, run.loss_history.tobytes(), run.n_iterations) for run in runs}) == 1
    assert runs[0].converged
    assert 2 < runs[0].n_iterations < 50


def test_descent_stops_where_it_is_told_to(device):
    data = make_data(40, 5)
    arguments = {"learning_rate": 0.5, "n_iterations": 50, "target": "cuda"}
    stopped = jlr.gradient_descent(data.X, data.y, **arguments, callback=lambda state: state.iteration == 2)
    assert (stopped.n_iterations, stopped.converged, len(stopped.loss_history)) == (2, False, 3)
    exact = jlr.gradient_descent(data.X, data.y, **arguments, tolerance=0.1)
    same = jlr.gradient_descent(data.X, data.y, learning_rate=0.5, n_iterations=50, tolerance=0.1, target="reference")
    assert exact.converged
    assert exact.n_iterations == same.n_iterations
    none = jlr.gradient_descent(data.X, data.y, learning_rate=0.5, n_iterations=0, target="cuda")
    assert (none.n_iterations, len(none.loss_history), none.w.tolist()) == (0, 1, [0.0] * 5)


def test_descent_that_diverges_ends_with_a_warning(device):
    data = make_data(40, 5)
    data.X[:] *= 1e200
    runs = []
    for target in ("cuda", "reference"):
        with pytest.warns(RuntimeWarning, match="the loss is nan after 1 steps"):
            runs.append(jlr.gradient_descent(data.X, data.y, learning_rate=1e200, n_iterations=9, target=target))
    np.testing.assert_array_equal(runs[0].loss_history, runs[1].loss_history)
    assert runs[0].n_iterations == 1


def test_descent_refuses_labels_and_weights_that_are_none(device):
    data = make_data(40, 5)
    data.y[7] = 2
    with pytest.raises(ValueError, match=r"y\[7\]: expected a label from 0 to 1, got 2\.0"):
        jlr.gradient_descent(data.X, data.y, learning_rate=1, n_iterations=2, target="cuda")
    data.y[7] = 1
    with pytest.raises(ValueError, match=r"sample_weight: expected a sum that is positive and finite, got 0\.0"):
        jlr.gradient_descent(data.X, data.y, learning_rate=1, n_iterations=2, sample_weight=np.zeros(40), target="cuda")


# ---------------------------------------------------------------- memory


def test_copies_are_freed(device):
    data = make_data(40, 5, weighted=True)
    freed = []
    free = driver.free
    driver.free = lambda address: (freed.append(address), free(address))
    jlr.loss_and_gradient(data.X, data.y, data.w, sample_weight=data.sample_weight, target="cuda")
    assert len(freed) == 4  # X, w, y and the weights


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_objective_moves_its_data_once(device, order):
    data = make_data(40, 5, (np.dtype(np.float32), np.dtype(np.float64)), order, weighted=True)
    objective = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=0.1, target="cuda")
    moved = []
    upload = driver.upload
    driver.upload = lambda address, array, stream: (moved.append(array.shape), upload(address, array, stream))
    loss, gradient = objective(np.append(data.w, data.b))
    assert moved == [(5,)]  # w
    wanted = jlr.loss_and_gradient(
        data.X, data.y, data.w, data.b, sample_weight=data.sample_weight, l2=0.1, target="cuda"
    )
    assert (loss, gradient.tolist()) == (wanted.loss, [*wanted.dw.tolist(), wanted.db])
    moved.clear()
    theta, v = np.append(data.w, data.b), np.arange(6.0)
    along = objective.hessian_vector(theta, v)
    assert moved == [(11,)]  # w, v and c
    value, bound = expected_product(data.X, data.w, data.b, v, data.sample_weight, 0.1)
    assert np.all(np.abs(along - value) <= bound)
    assert not objective.has_hessian
    with pytest.raises(
        jlr.TargetUnavailableError, match="target: expected 'cpu' or 'reference' for a Hessian, got 'cuda'"
    ):
        objective.hessian(np.zeros(6))
    freed = []
    free = driver.free
    driver.free = lambda address: (freed.append(address), free(address))
    del objective
    gc.collect()
    assert len(freed) == 3  # X, y and the weights


def test_fit_finds_the_minimum_without_a_hessian(device):
    data = make_data(40, 3, soft=True)
    arguments = {"l2": 0.1, "solver": "lbfgs", "fit_intercept": False, "tolerance": 1e-6}
    got, wanted = (jlr.fit(data.X, data.y, **arguments, target=target) for target in ("cuda", "reference"))
    assert got.converged
    # l2 curves J by 0.1 at least, so where the gradient is 1e-6 the minimum is no further than 1e-5
    np.testing.assert_allclose(got.w, wanted.w, rtol=0, atol=2e-5)


def test_fit_of_columns_that_lie_far_from_zero(device):
    data = make_data(40, 2, soft=True)
    got = jlr.fit(data.X + 1e5, data.y, target="cuda")
    wanted = jlr.fit(data.X, data.y, target="reference")
    assert got.converged
    # sums are turned after they are made, which costs the five digits that the columns share
    np.testing.assert_allclose(got.w, wanted.w, rtol=1e-5)


def test_fit_tells_separated_classes(device):
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    with pytest.warns(jlr.SeparationWarning, match="complete separation"):
        assert not jlr.fit(X, y, target="cuda").converged


@pytest.mark.parametrize("order", ["C", "F"])
def test_views_of_numpy_arrays(device, order):
    wide = make_data(40, 9, order=order)
    X, w = wide.X[3:33, 2:7], wide.w[::2]
    data = make_data(30, 5)
    got = jlr.loss_and_gradient(X, data.y, w, 0.5, target="cuda")
    wanted = jlr.loss_and_gradient(X, data.y, w, 0.5, target="reference")
    np.testing.assert_allclose(got.dw, wanted.dw, rtol=1e-12)
    theta, v = np.append(w, 0.5), np.arange(6.0)
    got, wanted = (jlr.Objective(X, data.y, target=t).hessian_vector(theta, v) for t in ("cuda", "reference"))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    out = np.full(5, np.nan)
    assert jlr.gradient(X, data.y, w, 0.5, target="cuda", out=out).dw is out
    np.testing.assert_allclose(out, jlr.gradient(X, data.y, w, 0.5, target="reference").dw, rtol=1e-12)
    out = np.full(30, np.nan)
    assert jlr.forward(X, w, target="cuda", out=out) is out
    np.testing.assert_allclose(out, jlr.forward(X, w, target="reference"), rtol=1e-12)

"""K outputs on CUDA, on the simulated device: against wider numbers, and what must not change a bit."""

import functools
import importlib
import itertools

import numpy as np
import pytest
from gpu import outputs as gpu_outputs

import jitlogreg as jlr
from jitlogreg.targets.base import Problem
from jitlogreg.targets.frame import Frame

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("greenlet", reason="greenlet, which the simulator needs, is not installed")
simulator = importlib.import_module("simulator")
cuda, reference = (importlib.import_module(f"jitlogreg.targets.{name}") for name in ("cuda", "reference"))
plan, compensated, host, tiles = (
    importlib.import_module(f"jitlogreg.targets.cuda.{name}")
    for name in ("plan", "compensated", "outputs.host", "outputs.tiles")
)

DEVICE = plan.DeviceProperties(n_sms=2, shared_per_block=1 << 16, shared_per_sm=1 << 17, l2_size=1 << 14)

# The simulator takes a millisecond per thread: the same kernel in smaller blocks and tiles, and in panels of few rows
SMALL = {"OUTPUTS_THREADS": 64, "OUTPUTS_BLOCKS": 1, "OUTPUTS_TILE": {4: 32, 8: 16}, "OUTPUTS_LEAST_TILE": 8}

LINKS = "sigmoid", "softmax"
DTYPES = [("float32", "float32"), ("float64", "float64"), ("float32", "float64")]

# Outputs, columns, dtypes and order; all others are slow
QUICK = {
    *((3, 17, dtypes, order) for dtypes, order in itertools.product(DTYPES, "CF")),
    *((outputs, n, DTYPES[0], "C") for outputs, n in ((3, 0), (2, 1), (9, 40))),
}
CASES = [
    pytest.param(*width, dtypes, order, marks=() if (*width, dtypes, order) in QUICK else pytest.mark.slow)
    for width, dtypes, order in itertools.product(((3, 0), (2, 1), (3, 5), (3, 17), (9, 40)), DTYPES, "CF")
]


@pytest.fixture
def device(monkeypatch):
    """A simulated device for small blocks."""
    for name, value in SMALL.items():
        monkeypatch.setattr(plan, name, value)
    yield from simulator.in_place_of_driver(monkeypatch, DEVICE)


def example(m, n, outputs, link, dtypes=(np.float64, np.float64), order="C", **options):
    return gpu_outputs.outputs_example(m, n, outputs, *(np.dtype(d).name for d in dtypes), order, link, **options)


def problem_of(data, X=None, frame=None):
    return Problem.of(data.X if X is None else X, data.y, data.s, frame, data.offset)


def results(link, problem, data):
    """Every number that the sums and the products of some outputs have."""
    sums = cuda.sums_of_outputs(link, problem, data.W, data.b, True)
    of_w, of_b = cuda.hessian_vector_sums_of_outputs(link, problem, data.W, data.b, data.V, data.c)
    assert sums.dw.shape == of_w.shape == data.W.shape
    assert sums.db.shape == of_b.shape == data.b.shape
    return [*map(np.atleast_1d, (sums.loss, sums.weight)), sums.dw, sums.db, of_w, of_b]


# ---------------------------------------------------------------- against wider numbers


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("outputs", "n", "dtypes", "order"), CASES)
def test_everything_is_within_its_bounds(device, link, outputs, n, dtypes, order):
    gpu_outputs.check_outputs(cuda, link, 45, n, outputs, *dtypes, order, per_model=order == "C")
    is_f = order == "F" and n > 1
    assert device.launched[0].startswith(f"outputs-{link}-gradient-{'-'.join(dtypes)}-64-{is_f}-")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("m", [1, 33])
def test_rows_that_do_not_fill_a_tile(device, link, m):
    gpu_outputs.check_outputs(cuda, link, m, 5, 3, "float32", "float32", "C", True)


@pytest.mark.parametrize("link", LINKS)
def test_more_outputs_than_a_tile_has(device, link):
    gpu_outputs.check_outputs(cuda, link, 20, 2, 33, "float32", "float64", "C", True)
    launches = [label for label in device.launched if "-gradient-" in label]
    assert len(launches) == (4 if link == "sigmoid" else 2)  # of two calls


@pytest.mark.slow
@pytest.mark.parametrize("dtypes", DTYPES, ids="/".join)
@pytest.mark.parametrize("order", "CF")
def test_blocks_and_tiles_as_they_are_on_a_device(monkeypatch, dtypes, order):
    # tiles depend on dtypes and order alone: a link for each, so that both have every dtype and every order
    link = "sigmoid" if (order == "C") == (dtypes[0] == "float32") else "softmax"
    for _ in simulator.in_place_of_driver(monkeypatch, DEVICE._replace(n_sms=1, l2_size=1 << 20)):
        for n, outputs in ((20, 3), (130, 20)):
            gpu_outputs.check_outputs(cuda, link, 300, n, outputs, *dtypes, order, True)


@pytest.mark.parametrize("link", LINKS)
def test_without_labels_of_its_own_weights_or_offsets(device, link):
    data = example(40, 5, 3, link, per_model=False)
    data.s, data.offset = None, None
    problem = problem_of(data)
    got, wanted = (t.sums_of_outputs(link, problem, data.W, data.b, True) for t in (cuda, reference))
    for name in ("loss", "dw", "db", "weight"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("link", LINKS)
def test_no_rows(device, link):
    data = example(0, 3, 2, link, per_model=False)
    sums = cuda.sums_of_outputs(link, problem_of(data), data.W, data.b, True)
    assert (sums.dw.tolist(), sums.db.tolist(), np.sum(sums.weight)) == ([[0.0] * 2] * 3, [0.0] * 2, 0.0)
    of_w, of_b = cuda.hessian_vector_sums_of_outputs(link, problem_of(data), data.W, data.b, data.V, data.c)
    assert (of_w.tolist(), of_b.tolist()) == ([[0.0] * 2] * 3, [0.0] * 2)
    assert cuda.activate_outputs(link, problem_of(data), data.W, data.b, np.empty((0, 2))).shape == (0, 2)


# ---------------------------------------------------------------- infinite margins, and what is invalid


@pytest.mark.parametrize("b", [[np.inf, 0, 0], [0, -np.inf, 0], [np.inf, np.inf, 0], [np.nan, 0, 0]])
def test_infinite_and_missing_margins_of_a_softmax(device, b):
    problem, W, b = Problem.of(np.zeros((9, 2)), np.arange(9.0) % 3), np.zeros((2, 3)), np.array(b, float)
    got, wanted = (target.sums_of_outputs("softmax", problem, W, b, True) for target in (cuda, reference))
    np.testing.assert_allclose(got.loss, wanted.loss, rtol=1e-14)
    np.testing.assert_allclose(got.db, wanted.db, rtol=1e-14, atol=1e-15)
    for function in ("softmax", "log_softmax"):
        got, wanted = (t.activate_outputs(function, problem, W, b, np.empty((9, 3))) for t in (cuda, reference))
        np.testing.assert_allclose(got, wanted, rtol=1e-14)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("link", LINKS)
def test_what_is_not_finite_stays_where_the_reference_has_it(device, link, value):
    data = example(40, 5, 3, link)
    data.X[17, 2] = value
    got, wanted = (t.sums_of_outputs(link, problem_of(data), data.W, data.b, True) for t in (cuda, reference))
    for name in ("loss", "dw", "db"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-9)


def test_bad_labels_and_weights_of_any_model_are_found(device):
    data = example(40, 5, 3, "sigmoid")
    assert cuda.sums_of_outputs("sigmoid", problem_of(data), data.W, data.b, False).valid
    for name, wrong in itertools.product(("y", "s"), (-0.25, np.nan)):
        bad = example(40, 2, 3, "sigmoid")
        getattr(bad, name)[2, 33] = wrong
        assert not cuda.sums_of_outputs("sigmoid", problem_of(bad), bad.W, bad.b, False).valid
    data = example(40, 5, 3, "softmax")
    assert cuda.sums_of_outputs("softmax", problem_of(data), data.W, data.b, False).valid
    data.s[33] = -1.0
    assert not cuda.sums_of_outputs("softmax", problem_of(data), data.W, data.b, False).valid


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("link", LINKS)
def test_the_order_of_blocks_changes_no_bit(device, link):
    data = example(90, 20, 3, link, (np.float32, np.float32))
    runs = {b"".join(part.tobytes() for part in results(link, problem_of(data), data)) for _ in range(2)}
    assert len(runs) == 1


def test_which_models_run_beside_each_other_changes_no_bit(device):
    """As many as a launch takes, and others in their place: wider tiles, another group, another column of W."""
    data = example(40, 20, 33, "sigmoid", (np.float32, np.float32))
    of_all = results("sigmoid", problem_of(data), data)
    for which in ([0, 1], [32, 5, 31, 2, 7]):
        some = type(data)(**{name: getattr(data, name)[..., which] for name in ("W", "b", "V", "c")})
        some.X, some.y, some.s, some.offset = data.X, *(a[which].copy() for a in (data.y, data.s, data.offset))
        for got, wanted in zip(results("sigmoid", problem_of(some), some), of_all, strict=True):
            np.testing.assert_array_equal(got, wanted[..., which])


def test_one_model_alone_has_the_bits_of_the_plain_calls(device):
    data = example(70, 5, 1, "sigmoid")
    problem, alone = problem_of(data), problem_of(data).of_model(0)
    w, b = data.W[:, 0].copy(), data.b[0]
    for with_gradient in (True, False):
        got, wanted = (
            cuda.sums_of_outputs("sigmoid", problem, data.W, data.b, with_gradient),
            cuda.sums(alone, w, b, with_gradient),
        )
        assert (got.loss.tolist(), got.db.tolist(), got.weight.tolist()) == (
            [wanted.loss],
            [wanted.db],
            [wanted.weight],
        )
        np.testing.assert_array_equal(got.dw, wanted.dw[:, np.newaxis])
    of_w, of_b = cuda.hessian_vector_sums_of_outputs("sigmoid", problem, data.W, data.b, data.V, data.c)
    wanted_w, wanted_b = cuda.hessian_vector_sums(alone, w, b, np.append(data.V, data.c))
    np.testing.assert_array_equal(of_w, wanted_w[:, np.newaxis])
    assert of_b.tolist() == [wanted_b]
    a = cuda.activate_outputs("log_sigmoid", problem, data.W, data.b, np.empty((70, 1)))
    np.testing.assert_array_equal(a[:, 0], cuda.activate("log_sigmoid", alone, w, b, np.empty(70)))


@pytest.mark.parametrize("n", [5, 40])
def test_an_accumulator_takes_32_rows_or_16_columns_at_most(device, monkeypatch, order, n):
    """Each row adds 1 to the sum of each column, and each column 1 to a margin that the step then puts to 0."""
    device._properties = DEVICE._replace(l2_size=1 << 21)
    terms = {"rows": [], "columns": []}

    def compensated_add(high, low, x):
        terms["rows"].append(x)
        return compensated.compensated_add.py_func(high, low, x)

    def fma(x, y, z):
        terms["columns"].append(simulator.fma(x, y, z))
        return terms["columns"][-1]

    monkeypatch.setitem(simulator.REPLACEMENTS, "compensated_add", compensated_add)
    m = 100
    X, y = np.full((m, n), 2, np.float32, order=order), np.zeros(m, np.float32)
    sums = cuda.sums_of_outputs(
        "sigmoid", Problem.of(X, y), np.zeros((n, 2), np.float32), np.zeros(2, np.float32), True
    )
    assert sums.dw.tolist() == [[m] * 2] * n
    assert 16 <= max(terms["rows"]) <= 32
    monkeypatch.setitem(simulator.REPLACEMENTS, "fma", fma)
    ones = np.ones((n, 2), np.float32)
    cuda.activate_outputs("sigmoid", Problem.of(X), ones / 2, np.zeros(2, np.float32), np.empty((m, 2), np.float32))
    assert max(terms["columns"]) == min(n, 16)


# ---------------------------------------------------------------- frames, memory and the public calls


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_columns_in_a_frame_of_their_own(device, link, outputs):
    data = example(50, 4, max(outputs, 2 if link == "softmax" else 1), link)
    centre, scale = np.array([100.0, -3.0, 0.0, 1e3]), np.array([1.0, 0.5, 4.0, 2.0])
    problem = problem_of(data, data.X / scale + centre, Frame.of(centre, scale))
    for with_gradient in (True, False):
        got, wanted = (t.sums_of_outputs(link, problem, data.W, data.b, with_gradient) for t in (cuda, reference))
        for name in ("loss", "dw", "db", "weight"):
            np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-9, atol=1e-9)
    arguments = link, problem, data.W, data.b, data.V, data.c
    for got, wanted in zip(*(t.hessian_vector_sums_of_outputs(*arguments) for t in (cuda, reference)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("link", LINKS)
def test_copies_are_freed(device, link):
    data = example(40, 5, 3, link)
    results(link, problem_of(data), data)
    cuda.activate_outputs(link, problem_of(data), data.W, data.b, np.empty((40, 3)))
    assert device.memory._allocations == {}


@pytest.mark.parametrize("link", LINKS)
def test_an_objective_moves_its_data_once(device, monkeypatch, link):
    data = example(40, 5, 3, link, per_model=False)
    y = data.y.astype(int) if link == "softmax" else data.y
    objective = jlr.Objective(data.X, y, n_outputs=3, link=link, target="cuda")
    moved, upload = [], device.upload

    def counted(address, array, stream):
        moved.append(array.shape)
        upload(address, array, stream)

    monkeypatch.setattr(importlib.import_module("jitlogreg.targets.cuda.driver"), "upload", counted)
    theta = np.vstack([data.W, data.b]).reshape(-1)
    loss, gradient = objective(theta)
    assert moved == [(6, 3)]
    wanted = jlr.Objective(data.X, y, n_outputs=3, link=link, target="reference")(theta)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-11, atol=1e-14)


def test_public_calls(device):
    data = example(40, 5, 3, "softmax", per_model=False)
    y = data.y.astype(int)
    for call in (jlr.forward, jlr.log_forward):
        got, wanted = (call(data.X, data.W, data.b, link="softmax", target=t) for t in ("cuda", "reference"))
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    run = functools.partial(jlr.loss_and_gradient, data.X, y, data.W, data.b, link="softmax", l2=0.1)
    got, wanted = run(target="cuda"), run(target="reference")
    np.testing.assert_allclose(got.loss, wanted.loss, rtol=1e-12)
    np.testing.assert_allclose(got.dw, wanted.dw, rtol=1e-11, atol=1e-14)


def test_fit_of_a_softmax(device):
    data = example(40, 2, 3, "softmax", per_model=False)
    arguments = {"link": "softmax", "l2": 0.1, "solver": "lbfgs", "tolerance": 1e-6}
    got, wanted = (jlr.fit(data.X, data.y.astype(int), **arguments, target=t) for t in ("cuda", "reference"))
    assert got.converged
    # l2 curves J by 0.1 at least, so where the gradient is 1e-6 the minimum is no further than 1e-5
    np.testing.assert_allclose(got.w, wanted.w, rtol=0, atol=2e-5)

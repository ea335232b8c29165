"""The check on a GPU, without one: what it would check, and how it judges."""

import functools
import importlib
import random
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import exact_margins, example_bound, expected_objective, expected_product, make_data, margin_bound
from gpu import expected, outputs, predictions, record, shapes, timing, values, views

import jitlogreg as jlr
from jitlogreg.targets.base import Problem

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
targets = importlib.import_module("jitlogreg.targets.dispatch")
driver, plan = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("driver", "plan"))

H100 = predictions.h100()


def recorded(items, deadline=float("inf")):
    records = []
    record.run(items, records.append, deadline)
    return records


def failures(items):
    return {r["name"]: r["failure"] for r in recorded(items) if "failure" in r}


# ---------------------------------------------------------------- which matrices


@pytest.mark.parametrize(("x_dtype", "w_dtype"), shapes.DTYPES)
@pytest.mark.parametrize("order", shapes.ORDERS)
def test_every_regime_is_met_on_both_sides_of_its_edges(x_dtype, w_dtype, order):
    cases = shapes.cases(H100, x_dtype, w_dtype, order)
    columns = {case.n for case in cases}
    assert columns >= set(shapes.COLUMNS)
    regimes = [case.regime.split("-")[0] for case in cases]
    everything = {"C": {"warp_per_row", "block_per_row", "l2_panels"}, "F": {"column_major", "l2_panels"}}[order]
    assert set(regimes) == everything
    # one matrix of each regime before the second of any
    assert set(regimes[: 2 * len(everything)]) == everything
    planned = [
        shapes._planned(H100, *(int(t[5:]) // 8 for t in (x_dtype, w_dtype)), order, 1 << 40, n)
        for n in range(16, 20_001, 16)
    ]
    for before, after, n in zip(planned, planned[1:], range(16, 20_001, 16), strict=False):
        if before.regime != after.regime:
            assert {n, n + 1} <= columns


def test_enough_rows_that_every_block_comes_back_for_more():
    for case in shapes.cases(H100, "float32", "float32", "C"):
        p = shapes._planned(H100, 4, 4, "C", case.m, case.n)
        full = shapes._planned(H100, 4, 4, "C", 1 << 40, case.n)
        if case.m in shapes.FEW_ROWS:
            continue
        assert p.blocks == full.blocks
        if p.regime == "l2_panels":
            assert case.m > 2 * p.panel_rows
        else:
            assert shapes._planned(H100, 4, 4, "C", case.m // 2, case.n).blocks == full.blocks
            assert shapes._planned(H100, 4, 4, "C", case.m // 2 - 3, case.n).blocks < full.blocks
        assert case.m * case.n <= shapes.MOST_NUMBERS + 3 * 100_000
    assert {case.m for case in shapes.cases(H100, "float32", "float32", "C")} >= set(shapes.FEW_ROWS)


def test_quick_is_less_and_meets_every_regime():
    every, quick = (shapes.cases(H100, "float64", "float64", "C", quick) for quick in (False, True))
    assert len(quick) < len(every) / 2
    assert {case.regime.split("-")[0] for case in quick} == {"warp_per_row", "block_per_row", "l2_panels"}
    assert len({case.name for case in every}) == len(every)


# ---------------------------------------------------------------- how it judges


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_expected_is_what_the_other_tests_expect(dtypes, order, weighted):
    data = make_data(60, 7, dtypes, order, soft=True, weighted=weighted)
    arguments = data.X, data.y, data.w, data.b, data.sample_weight, 0.3
    value, bound = expected.objective(*arguments)
    wanted, allowed = expected_objective(*arguments)
    for name in ("loss", "dw", "db"):
        np.testing.assert_allclose(np.float64(getattr(value, name)), getattr(wanted, name), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(np.float64(getattr(bound, name)), getattr(allowed, name), rtol=1e-9)
    v = np.random.default_rng(3).normal(size=8).astype(data.w.dtype)
    arguments = data.X, data.w, data.b, v, data.sample_weight, 0.3
    (value, bound), (wanted, allowed) = expected.product(*arguments), expected_product(*arguments)
    np.testing.assert_allclose(np.float64(value), wanted, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.float64(bound), allowed, rtol=1e-9)
    z, delta = expected.margins(data.X, data.w, data.b)
    np.testing.assert_allclose(np.float64(z), exact_margins(data.X, data.w, data.b), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(delta, margin_bound(data.X, data.w, data.b), rtol=1e-12)
    exact = 1 / (1 + np.exp(-np.float64(z))), -np.logaddexp(0, -np.float64(z))
    for (got, allowed), wanted, slope in zip(
        expected.activations(data.X, data.w, data.b), exact, (0.25, 1), strict=True
    ):
        np.testing.assert_allclose(np.float64(got), wanted, rtol=1e-13)
        np.testing.assert_allclose(allowed, example_bound(wanted, data.w.dtype) + slope * delta, rtol=0.5)


def test_rows_are_widened_a_block_at_a_time(monkeypatch):
    data = make_data(60, 7)
    value, bound = expected.objective(data.X, data.y, data.w)
    monkeypatch.setattr(expected, "ROWS_AT_ONCE", 50)
    again, same = expected.objective(data.X, data.y, data.w)
    np.testing.assert_allclose(np.float64(again.dw), np.float64(value.dw), rtol=1e-14)
    np.testing.assert_allclose(same.dw, bound.dw)


def test_what_is_off_is_named():
    exact = np.array([1.0, 2.0, 3.0])
    expected.within("dw", exact + 1e-9, exact, np.full(3, 2e-9))
    for wrong in (2 + 1e-3, np.nan, np.inf):
        with pytest.raises(expected.OffError, match=r"dw\[1\] is .* expected is 2.0 within 1e-06 \(1 of 3"):
            expected.within("dw", np.array([1.0, wrong, 3.0]), exact, np.full(3, 1e-6))
    with pytest.raises(expected.OffError, match="shape"):
        expected.within("dw", exact[:2], exact, np.full(3, 1e-6))
    expected.same_bits("dw", exact, exact.copy())
    for other in (np.nextafter(exact, 9), exact.astype(np.float32), np.array([1.0, 2.0])):
        with pytest.raises(expected.OffError, match="dw"):
            expected.same_bits("dw", other, exact)
    with pytest.raises(expected.OffError, match=r"\[0\] is .*-0.0.* \(1 differ"):
        expected.same_bits("db", -0.0, 0.0)


# ---------------------------------------------------------------- the checks, on the CPU

FEW = [
    shapes.Case(m, n, x_dtype, w_dtype, order, "any", True)
    for x_dtype, w_dtype in shapes.DTYPES
    for order in shapes.ORDERS
    for m, n in ((1, 1), (33, 28), (2000, 257))
]


@pytest.fixture
def few(monkeypatch):
    """A few small matrices in place of those that a GPU is given."""
    given = lambda device, x, w, order, quick: [c for c in FEW if (c.x_dtype, c.w_dtype, c.order) == (x, w, order)]  # noqa: E731
    monkeypatch.setattr(values, "cases", given)


def all_values(target):
    for x_dtype, w_dtype in shapes.DTYPES:
        for order in shapes.ORDERS:
            yield from values.values(target, H100, x_dtype, w_dtype, order)


def test_the_cpu_passes(few):
    assert failures(all_values("cpu")) == {}


def test_the_cpu_keeps_the_rest_of_the_contract(monkeypatch):
    monkeypatch.setattr(values, "MEDIUM", (("C", 28), ("F", 28), ("C", 200)))
    assert failures(values.contract("cpu")) == {}


def test_the_cpu_descends_as_it_does(monkeypatch):
    monkeypatch.setattr(values, "MEDIUM", (("C", 28), ("F", 28), ("C", 200)))
    assert failures(values.descents("cpu")) == {}


@pytest.fixture
def few_outputs(monkeypatch):
    """Small matrices of few outputs, and of one output with an offset."""
    monkeypatch.setattr(outputs, "SHAPES", ((0, 2), (5, 3)))
    monkeypatch.setattr(outputs, "CLASSES", (3, 4))
    monkeypatch.setattr(outputs, "MOST_TERMS", 1 << 10)
    monkeypatch.setattr(outputs, "MEDIUM", (("C", 5), ("F", 7)))


def all_outputs(target):
    yield from outputs.offsets(target)
    for link in ("sigmoid", "softmax"):
        yield from outputs.outputs(target, link, H100)


def test_the_reference_passes_with_outputs_and_offsets(few_outputs):
    assert failures(all_outputs("reference")) == {}


@pytest.mark.parametrize("name", ["loss", "dw", "db"])
def test_sums_of_outputs_that_are_a_little_off_fail(few_outputs, monkeypatch, name):
    reference = targets._module("reference")

    def off(*arguments):
        right = reference.sums_of_outputs(*arguments)
        return right._replace(**{name: getattr(right, name) * 1.01})

    monkeypatch.setattr(outputs, "choose", lambda target: SimpleNamespace(**vars(reference) | {"sums_of_outputs": off}))
    found = failures(outputs.outputs("any", "softmax", H100))
    assert {failure.partition("[")[0] for failure in found.values()} == {f"OffError: {name}"}
    assert len(found) >= 24


def test_an_offset_that_is_lost_fails(few_outputs, monkeypatch):
    reference = targets._module("reference")

    def without_offset(call):
        return lambda *given: call(*(a._replace(offset=None) if isinstance(a, Problem) else a for a in given))

    lost = {name: without_offset(getattr(reference, name)) for name in ("sums", "sums_of_outputs")}
    monkeypatch.setattr(outputs, "choose", lambda target: SimpleNamespace(**vars(reference) | lost))
    assert len(failures(outputs.offsets("any"))) == 6
    assert all("loss" in failure for failure in failures(outputs.outputs("any", "sigmoid", H100)).values())


def wrong_target(monkeypatch, **functions):
    """The reference with functions of its own in place of some, under the name "cuda"."""
    module = targets._module("reference")
    names = "activate", "bind", "descend", "hessian_vector_sums", "hold", "means", "sums"
    wrong = {"name": "cuda", **{name: getattr(module, name) for name in names}} | functions
    of_name = targets._module
    fake = lambda name: SimpleNamespace(**wrong) if name == "cuda" else of_name(name)  # noqa: E731
    monkeypatch.setattr(targets, "_module", fake)


def off_by(name, amount):
    reference = targets._module("reference")

    def sums(*arguments):
        right = reference.sums(*arguments)
        return right._replace(**{name: getattr(right, name) * (1 + amount)})

    return sums


@pytest.mark.parametrize("name", ["forward", "log_forward"])
def test_activations_that_are_a_little_off_fail(few, monkeypatch, name):
    of_name = {"forward": "sigmoid", "log_forward": "log_sigmoid"}[name]

    def off(function, problem, w, b, out):
        out[:] = targets._module("reference").activate(function, problem, w, b, out)
        if function == of_name:
            out *= out.dtype.type(1.001)
        return out

    wrong_target(monkeypatch, activate=off)
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all(f"OffError: {name}[" in failure for failure in found.values())


@pytest.mark.parametrize("name", ["loss", "dw", "db"])
def test_a_target_that_is_a_little_off_fails(few, monkeypatch, name):
    wrong_target(monkeypatch, sums=off_by(name, 0.05))
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all(f"OffError: {name}" in failure for failure in found.values())


@pytest.mark.parametrize("part", [0, 1])
def test_a_product_with_the_hessian_that_is_a_little_off_fails(few, monkeypatch, part):
    def off(*arguments):
        right = targets._module("reference").hessian_vector_sums(*arguments)
        return tuple(value * (1.001 if i == part else 1) for i, value in enumerate(right))

    wrong_target(monkeypatch, hessian_vector_sums=off)
    monkeypatch.setattr(values, "same_bits", lambda *arguments: None)  # NumPy's loss alone is not that of both
    found = failures(all_values("cuda"))
    assert len(found) == len([case for case in FEW if case.w_dtype == "float64"])
    assert all("OffError: hessian_vector[" in failure for failure in found.values())


def test_a_right_target_of_the_same_kind_passes(few, monkeypatch):
    wrong_target(monkeypatch)
    monkeypatch.setattr(values, "same_bits", lambda *arguments: None)  # NumPy's loss alone is not that of both
    assert failures(all_values("cuda")) == {}


def test_a_target_whose_runs_differ_fails(few, monkeypatch):
    reference, drawn = targets._module("reference"), random.Random(0)

    def sums(*arguments):
        right = reference.sums(*arguments)
        return right._replace(db=right.db * (1 + drawn.choice([0, 2**-52])))

    wrong_target(monkeypatch, sums=sums)
    monkeypatch.setattr(values, "within", lambda *arguments: None)
    assert any("db of another run" in failure for failure in failures(all_values("cuda")).values())


def test_a_forward_that_leaves_an_output_unwritten_fails(few, monkeypatch):
    def activate(function, problem, w, b, out):
        without_last, of_others = Problem.of(problem.X[:-1]), np.empty(len(out) - 1, out.dtype)
        out[:-1] = targets._module("reference").activate(function, without_last, w, b, of_others)
        return out

    wrong_target(monkeypatch, activate=activate)
    found = failures(all_values("cuda"))
    assert len(found) == len(FEW)
    assert all("forward[" in failure and "is nan" in failure for failure in found.values())


def test_a_target_that_lets_everything_pass_fails(monkeypatch):
    def sums(*arguments):
        return targets._module("reference").sums(*arguments)._replace(valid=True)

    wrong_target(monkeypatch, sums=sums)
    monkeypatch.setattr(values, "MEDIUM", (("C", 5),))
    found = failures(values.contract("cuda"))
    assert set(found) >= {"a label of 1.5 is refused, C, n = 5", "a weight of -1.0 is refused"}
    assert all("was not refused" in found[name] for name in found if "label of 1.5" in name)


def test_a_descent_that_a_callback_changes_fails(monkeypatch):
    def descend(problem, w, b, settings):
        rate = settings.learning_rate * (1 + 1e-3 * settings.each_step)
        sums_at = functools.partial(targets._module("reference").sums, problem, with_gradient=True)
        return importlib.import_module("jitlogreg.solvers.gradient_descent")._descend_by_evaluations(
            sums_at, w, b, w.dtype.type(rate), settings.n_iterations, settings.l2
        )

    wrong_target(monkeypatch, descend=descend)
    monkeypatch.setattr(values, "MEDIUM", (("C", 5),))
    found = failures(item for item in values.descents("cuda") if "callback" in item[0])
    assert len(found) == 2


# ---------------------------------------------------------------- on the simulated device


@pytest.fixture
def simulated(monkeypatch):
    pytest.importorskip("greenlet", reason="greenlet, which the simulator needs, is not installed")
    simulator = importlib.import_module("simulator")
    device = simulator.Driver(plan.DeviceProperties(2, 1 << 16, 1 << 17, 1 << 14), random.Random(0).shuffle)
    for name in (name for name in dir(device) if not name.startswith("_")):
        monkeypatch.setattr(driver, name, getattr(device, name), raising=False)
    for name in ("WARP_THREADS", "NARROW_THREADS"):
        monkeypatch.setattr(plan, name, 64)
    plan.plan.cache_clear()
    yield device
    plan.plan.cache_clear()


def test_the_kernels_pass_wherever_a_matrix_lies(simulated):
    items = list(views.views({"C": (28,), "F": (7,)}, rows=37, places=((0, 0), (4, 0), (1, 3))))
    assert len(items) == 6
    assert failures(items) == {}


def test_kernels_that_read_or_write_beside_a_matrix_fail(simulated, monkeypatch):
    cuda = importlib.import_module("jitlogreg.targets.cuda")
    activate, sums = cuda.activate, cuda.sums

    def writes_one_more(function, problem, w, b, out):
        simulated.memory.view(out.address, out.dtype)[problem.X.shape[0]] = 0
        return activate(function, problem, w, b, out)

    def takes_rows_for_adjacent(problem, *others):
        X = problem.X
        adjacent = views.view(X.address, X.shape, (X.shape[1] * X.itemsize, X.itemsize), X.dtype)
        return sums(Problem.of(adjacent, problem.y, problem.sample_weight), *others)

    items = list(views.views({"C": (5,)}, rows=7, places=((0, 0), (1, 3))))
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "activate", writes_one_more)
        assert all("behind an output" in failure for failure in failures(items).values())
        assert len(failures(items)) == 3
    monkeypatch.setattr(cuda, "sums", takes_rows_for_adjacent)
    assert all("at 1 with 3 between" in failure for failure in failures(items).values())
    assert len(failures(items)) == 3


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_timed_is_what_the_target_does(simulated, monkeypatch, order):
    memory = importlib.import_module("cuda.bindings.driver")
    monkeypatch.setattr(memory, "cuMemGetInfo", lambda: (0, 1 << 40, 1 << 40))
    monkeypatch.setattr(timing, "BLOCK_BYTES", 1 << 10)
    with timing.matrix(5, "float32", order, 4 * 5 * 96) as data, timing.kernels(data) as calls:
        assert data.X.shape == (96, 5)
        assert data.size == 4 * 5 * 96
        data.copy()
        for call in calls.values():
            call()
        host = {name: views.fetch(getattr(data, name).address, getattr(data, name).size, np.float32) for name in "Xyw"}
        X = host["X"].reshape((96, 5), order=order)
        assert len(np.unique(X)) > 200
        wanted = jlr.gradient(X, host["y"], host["w"], data.b, target="reference").dw
        np.testing.assert_allclose(data.answer(), wanted, rtol=1e-4, atol=1e-6)
    assert simulated.memory._allocations == {}  # all memory was freed

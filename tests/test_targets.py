"""Which target runs, what is imported for it, and that all targets look alike."""

import asyncio
import importlib
import inspect
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import TARGETS

import jitlogreg as jlr
from jitlogreg.targets.base import Problem
from jitlogreg.targets.dispatch import ENVIRONMENT_VARIABLE, NAMES, choose

targets = importlib.import_module("jitlogreg.targets.dispatch")

X, W = np.array([[1.0, 2.0]]), np.array([0.5, 0.25])
UNAVAILABLE = [name for name, info in jlr.targets().items() if not info.available]
needs_two = pytest.mark.skipif(len(TARGETS) < 2, reason="one target alone runs here")


@pytest.fixture(autouse=True)
def _no_choice_from_outside(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def chosen(target=None):
    return choose(target).__name__.removeprefix("jitlogreg.targets.")


# ---------------------------------------------------------------- the order of choices


@needs_two
def test_numpy_arrays_live_on_the_cpu():
    assert chosen() == "cpu"


@needs_two
def test_the_environment_goes_before_the_data(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    assert chosen() == "reference"


@needs_two
def test_the_context_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    with jlr.use_target("cpu"):
        assert chosen() == "cpu"
    assert chosen() == "reference"


@needs_two
def test_the_argument_goes_before_the_context(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "cpu")
    with jlr.use_target("cpu"):
        assert chosen("reference") == "reference"


def test_an_empty_environment_variable_chooses_nothing(monkeypatch):
    default = chosen("cpu") if "cpu" in TARGETS else "cpu"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert chosen() == default


def test_the_choice_is_what_runs(monkeypatch):
    ran = []
    reference = choose("reference")
    monkeypatch.setattr(reference, "activate", lambda function, problem, w, b, out: ran.append(len(problem.X)))
    jlr.forward(X, W, target="reference")
    with jlr.use_target("reference"):
        jlr.forward(X, W)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    jlr.forward(X, W)
    assert ran == [1, 1, 1]


@needs_two
def test_contexts_nest():
    with jlr.use_target("reference"):
        with jlr.use_target("cpu"):
            with jlr.use_target("cpu"):
                pass
            assert chosen() == "cpu"
        assert chosen() == "reference"
    assert chosen() == "cpu"


@needs_two
def test_a_context_ends_with_an_exception_too():
    with pytest.raises(ZeroDivisionError), jlr.use_target("reference"):
        raise ZeroDivisionError
    assert chosen() == "cpu"


@needs_two
def test_threads_do_not_see_each_others_choice():
    both_inside, seen = threading.Barrier(3, timeout=600), {}

    def work(name):
        with jlr.use_target(name):
            both_inside.wait()
            seen[name] = chosen()
            both_inside.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("cpu", "reference")]
    for thread in threads:
        thread.start()
    both_inside.wait()
    outside = chosen()
    both_inside.wait()
    for thread in threads:
        thread.join()
    assert seen == {"cpu": "cpu", "reference": "reference"}
    assert outside == "cpu"


@needs_two
def test_tasks_do_not_see_each_others_choice():
    async def work(name, entered, other_entered):
        with jlr.use_target(name):
            entered.set()
            await other_entered.wait()
            return chosen()

    async def main():
        first, second = asyncio.Event(), asyncio.Event()
        seen = await asyncio.gather(work("cpu", first, second), work("reference", second, first))
        return [*seen, chosen()]

    assert asyncio.run(main()) == ["cpu", "reference", "cpu"]


@needs_two
def test_a_task_starts_with_the_choice_of_its_maker():
    async def child():
        return chosen()

    async def main():
        with jlr.use_target("reference"):
            return await asyncio.create_task(child())

    assert asyncio.run(main()) == "reference"


# ---------------------------------------------------------------- what cannot run


@pytest.mark.parametrize("name", UNAVAILABLE)
class TestUnavailable:
    def refused(self, name):
        return pytest.raises(jlr.TargetUnavailableError, match=f"'{name}'.*{re.escape(jlr.targets()[name].reason)}")

    def test_by_argument(self, name):
        with self.refused(name):
            jlr.forward(X, W, target=name)
        with self.refused(name), jlr.use_target("reference"):
            jlr.gradient_descent(X, np.ones(1), learning_rate=1, n_iterations=1, target=name)

    def test_by_context(self, name):
        entered = False
        with self.refused(name), jlr.use_target(name):
            entered = True
        assert not entered

    def test_by_environment(self, name, monkeypatch):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
        with self.refused(name):
            jlr.loss(X, np.ones(1), W)

    def test_nothing_is_written_to_out(self, name):
        out = np.full(1, 0.5)
        with self.refused(name):
            jlr.forward(X, W, out=out, target=name)
        assert out == [0.5]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("numba_cuda", r"numba-cuda is not installed: pip install 'jitlogreg\[cuda13\]' \(or 'jitlogreg\[cuda12\]'\)"),
        (
            "driver",
            r"no NVIDIA driver was found; an NVIDIA GPU and its driver are needed: https://www\.nvidia\.com/drivers",
        ),
    ],
)
def test_what_cuda_lacks_is_said_with_what_would_help(monkeypatch, missing, said):
    targets._module.cache_clear()
    if missing == "driver":
        pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
        driver = importlib.import_module("jitlogreg.targets.cuda.driver")

        def not_found(flags):
            raise RuntimeError("Failed to dlopen libcuda.so.1")

        monkeypatch.setattr(driver.driver, "cuInit", not_found)
    else:
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    assert re.fullmatch(f"{said}.*", jlr.targets()["cuda"].reason)
    with pytest.raises(jlr.TargetUnavailableError, match=f"target 'cuda' is not available: {said}"):
        jlr.forward(X, W, target="cuda")


def test_an_unavailable_target_is_a_runtime_error():
    assert issubclass(jlr.TargetUnavailableError, RuntimeError)


def test_an_unknown_target_in_the_environment_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "gpu")
    with pytest.raises(ValueError, match=r"^JITLOGREG_TARGET: expected one of 'cpu', 'cuda', 'reference', got 'gpu'"):
        jlr.forward(X, W)
    assert jlr.forward(X, W, target="reference").shape == (1,)


def test_targets_tells_what_runs_and_why_not():
    infos = jlr.targets()
    assert tuple(infos) == NAMES == ("cpu", "cuda", "reference")
    for info in infos.values():
        assert info._fields == ("available", "reason", "device")
        assert type(info.available) is bool
        assert type(info.reason) is type(info.device) is str
        assert bool(info.device) is info.available
        assert bool(info.reason) is not info.available
    assert infos["reference"].available


# ---------------------------------------------------------------- what a target is


def functions_of(name):
    """A target's own public functions, but for the notes' for-loops."""
    module = importlib.import_module(f"jitlogreg.targets.{name}")
    members = inspect.getmembers(module, inspect.isfunction)
    return {
        own: inspect.signature(function)
        for own, function in members
        if function.__module__ == module.__name__ and not own.startswith("_") and not own.endswith("_loop")
    }


@pytest.mark.parametrize("name", TARGETS)
def test_targets_have_the_same_functions_with_equal_signatures(name):
    functions = functions_of(name)
    assert functions == functions_of("reference")
    assert {"activate", "dot", "hessian_vector_sums", "means", "residuals", "sums"} <= set(functions)


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("n", [0, 3, 8])
def test_sums_over_no_examples_are_zero(target, dtypes, n, with_gradient):
    kernels = importlib.import_module(f"jitlogreg.targets.{target}")
    X, w, none = np.zeros((0, n), dtypes[0]), np.ones(n, dtypes[1]), np.zeros(0, dtypes[1])
    loss, dw, db, weight, valid = kernels.sums(Problem.of(X, none, none), w, 0.5, with_gradient)
    assert (loss, db, weight, valid, dw.tolist()) == (0, 0, 0, True, [0.0] * n)
    assert type(kernels.dot(w[:0], w[:0])) is float


def in_a_fresh_process(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_importing_the_package_imports_no_target_and_no_compiler():
    modules = in_a_fresh_process("import sys, jitlogreg; print(*sys.modules)")
    assert "jitlogreg.targets" in modules
    heavy = {"cuda", "numba", "numba_cuda", "llvmlite", "rich", "matplotlib", "sklearn", "scipy"}
    targets = {f"jitlogreg.targets.{name}" for name in NAMES}
    assert not (heavy | targets) & set(modules)


def test_the_reference_runs_without_the_compiler():
    modules = in_a_fresh_process(
        "import sys, numpy as np, jitlogreg as jlr\n"
        "jlr.gradient_descent(np.ones((2, 1)), np.ones(2), learning_rate=1, n_iterations=1, target='reference')\n"
        "print(*sys.modules)"
    )
    assert "jitlogreg.targets.reference" in modules
    assert not {"numba", "jitlogreg.targets.cpu", "jitlogreg.targets.cuda"} & set(modules)


def test_the_cpu_target_says_why_it_cannot_compile(monkeypatch):
    targets._module.cache_clear()  # what has been imported goes on running
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(jlr.TargetUnavailableError, match="NUMBA_DISABLE_JIT"):
        jlr.forward(np.zeros((1, 1)), np.zeros(1), target="cpu")
    assert not jlr.targets()["cpu"].available

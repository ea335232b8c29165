"""What every test shares: targets, dtypes, orders, data, and the tolerances."""

import importlib
import os
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.cli import main

# The tests run in a process for each core, each of which calls kernels on all of Numba's threads. Those of GNU OpenMP
# would spin while they wait, on cores that the other processes need. It is read when Numba first starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# What a process of the tests takes at most, imports of every optional package among it, is two gigabytes
MOST_PROCESSES = 8


def pytest_xdist_auto_num_workers(config):
    """How many processes `-n auto` stands for: one for each core that may be used; none beside this for tests by name.

    Without it pytest-xdist counts cores that two threads share as one, and those that are kept from this process too.
    """
    if any("::" in argument for argument in config.args):
        return 0
    asked = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked else min(cores, MOST_PROCESSES)


# the fixtures below hold for a whole test, so hypothesis may run many examples within one
hypothesis.settings.register_profile(
    "jitlogreg",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("jitlogreg")


def _runs(name):
    try:
        return hasattr(importlib.import_module(f"jitlogreg.targets.{name}"), "sums")
    except ImportError:
        return False


TARGETS = [name for name, info in jlr.targets().items() if info.available and _runs(name)]


@pytest.fixture(params=TARGETS)
def target(request):
    """Each target that runs here, as the choice of every call that names none."""
    with jlr.use_target(request.param):
        yield request.param


@pytest.fixture(params=["f64/f64", "f32/f32", "f32/f64"])
def dtypes(request):
    """The dtypes of X and w that go together."""
    return tuple(np.dtype(name.replace("f", "float")) for name in request.param.split("/"))


@pytest.fixture(params=["C", "F"])
def order(request):
    """Rows or columns adjacent in memory."""
    return request.param


def make_data(m=40, n=5, dtypes=(np.float64, np.float64), order="C", *, soft=False, weighted=False, seed=0):
    """Examples drawn from a model of their own: X, y, w, b, sample_weight (None unless `weighted`)."""
    rng = np.random.default_rng([seed, m, n])
    x_dtype, w_dtype = dtypes
    X = np.asarray(rng.normal(size=(m, n)), x_dtype, order=order)
    w, b = rng.normal(size=n).astype(w_dtype), 0.25
    y = rng.uniform(size=m) if soft else rng.uniform(size=m) < 1 / (1 + np.exp(-(X @ w) - b))
    sample_weight = rng.uniform(0, 3, size=m).astype(w_dtype) if weighted else None
    return SimpleNamespace(X=X, y=y.astype(w_dtype), w=w, b=b, sample_weight=sample_weight)


@pytest.fixture
def data(dtypes, order):
    """Forty examples of five features, in each pair of dtypes and each order."""
    return make_data(dtypes=dtypes, order=order)


@pytest.fixture
def run(capsys):
    """Run a command that succeeds; give back what it printed."""

    def run(*arguments):
        status = main(list(arguments))
        captured = capsys.readouterr()
        assert (status, captured.err) == (0, "")
        return captured.out

    return run


@pytest.fixture
def fail(capsys):
    """Run a command that fails with a status; give back its message, one line."""

    def fail(*arguments, status=2):
        assert main(list(arguments)) == status
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("jitlogreg: ")
        assert "Traceback" not in captured.err
        return captured.err

    return fail


# A module that `tiny_package` adds: an entry point and a kernel are kept on disk, as of the real ones, which take ten
# times as long to compile. Their code comes from pointwise.py too.
TINY = """
import ctypes
import numba
from jitlogreg import pointwise
from jitlogreg.targets.compile import function_pointer, serial

def sigmoid(z):
    return pointwise.sigmoid(z)

entry_point = serial(sigmoid)

def kernel(dtype):
    number = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
    return ctypes.CFUNCTYPE(number, number)(function_pointer(sigmoid, (getattr(numba, dtype),), f"sigmoid_{dtype}"))
"""

TINY_PROGRAM = """
from jitlogreg.targets import tiny
print(tiny.entry_point(0.0))
print(tiny.kernel("float64")(0.0))
"""


@pytest.fixture
def tiny_package(tmp_path):
    """A copy of the package with `TINY` in it, and a program that runs that."""
    package = tmp_path / "installed" / "jitlogreg"
    shutil.copytree(Path(jlr.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "targets" / "tiny.py").write_text(TINY, encoding="utf-8")
    return SimpleNamespace(package=package, program=TINY_PROGRAM)


# ---------------------------------------------------------------- tolerances
#
# All from the accuracy contract of docs and docstrings; u is the rounding unit of w's dtype, in which all is computed.


def unit(dtype):
    """u: 2⁻⁵³ of float64, 2⁻²⁴ of float32."""
    return float(np.finfo(dtype).eps) / 2


def margin_bound(X, w, b=0.0):
    """Of z = Xw + b: (n/8 + 16) u (Σ|xⱼwⱼ| + |b|), and the underflow of n products.

    Eight partial sums take n/8 roundings each; the products, the joining of the partial sums, and b take the sixteen.
    """
    n = len(w)
    size = np.abs(X.astype(np.float64)) @ np.abs(w.astype(np.float64)) + abs(b)
    return (n / 8 + 16) * unit(w.dtype) * size + n * float(np.finfo(w.dtype).smallest_subnormal)


def example_bound(exact, dtype, ulps=2):
    """Of one example's result: 2 ulp (4 for soft labels); below the smallest normal number it may be flushed to 0."""
    exact = np.abs(np.asarray(exact, np.float64))
    tiny = float(np.finfo(dtype).tiny)
    spacing = np.maximum(np.spacing(exact), 2 * unit(dtype) * 2.0 ** np.floor(np.log2(np.maximum(exact, tiny))))
    return np.where(exact < tiny, tiny, ulps * spacing)


def sum_bound(terms, dtype):
    """Of sums over examples, given the margins: 32 u Σ|terms| per component."""
    return 32 * unit(dtype) * np.sum(np.abs(terms), axis=0)


def exact_margins(X, w, b=0.0):
    """z = Xw + b of finite numbers, exact, and rounded once to float64."""
    (rows, unit_of_rows), (weights, unit_of_weights) = _integers(X), _integers(w)
    sums, intercept = rows @ weights, Fraction(float(b))
    return np.array([float(total * unit_of_rows * unit_of_weights + intercept) for total in sums])


def _integers(array):
    """Integers of Python, and the power of two that an array is them times: sums of them take a tenth of the time."""
    mantissas, exponents = np.frexp(array.astype(np.float64))
    least = int(exponents.min(initial=0))
    integers = (mantissas * 2.0**53).astype(np.int64).astype(object) << (exponents - least).astype(object)
    return integers, Fraction(2) ** (least - 53)


def expected_objective(X, y, w, b=0.0, sample_weight=None, l2=0.0):
    """J, dw, db in float64 from exact margins, and a bound on what a target may differ from each.

    A margin's error δ moves a loss by at most (|dz| + δ) δ, its derivative being dz, and a residual by δ/4; an
    example's own rounding, at most 8 u, adds to the 32 u of the sums, and so does that of S; finishing takes a few
    roundings more.
    """
    z, delta, u = exact_margins(X, w, b), margin_bound(X, w, b), unit(w.dtype)
    X, y, w = (array.astype(np.float64) for array in (X, y, w))
    s = np.ones(len(y)) if sample_weight is None else sample_weight.astype(np.float64)
    S = s.sum()
    losses = (1 - y) * np.logaddexp(0, z) + y * np.logaddexp(0, -z)
    upper, lower = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    dz = (1 - y) * upper - y * lower
    size = (1 - y) * upper + y * lower
    value = SimpleNamespace(
        loss=s @ losses / S + l2 / 2 * (w @ w),
        dw=X.T @ (s * dz) / S + l2 * w,
        db=s @ dz / S,
    )
    relative = (32 + 32 + 8 + 8) * u
    off_loss = s * ((np.abs(dz) + delta) * delta + relative * losses)
    off_dz = s * (delta / 4 + relative * size)
    bound = SimpleNamespace(
        loss=off_loss.sum() / S + 8 * u * l2 * (w @ w),
        dw=np.abs(X).T @ off_dz / S + 8 * u * l2 * np.abs(w),
        db=off_dz.sum() / S,
    )
    return value, bound


def expected_product(X, w, b, v, sample_weight=None, l2=0.0):
    """The Hessian's product with v, whose last number is the intercept's, from exact margins; and the bound on it.

    The curvature's derivative is itself at most, so a margin's error δ moves it by e^δ − 1 of itself; xv + c is off as
    a margin is. The curvature is within 4 ulp, and may be flushed to 0 below the smallest normal number; the sums, S
    and finishing are as in `expected_objective`.
    """
    z, delta, u = exact_margins(X, w, b), margin_bound(X, w, b), unit(w.dtype)
    along, tau = exact_margins(X, v[:-1], v[-1]), margin_bound(X, v[:-1], v[-1])
    rows = np.c_[X.astype(np.float64), np.ones(len(X))]
    s = np.ones(len(X)) if sample_weight is None else sample_weight.astype(np.float64)
    curvature, size = 1 / (1 + np.exp(-z)) / (1 + np.exp(z)), np.abs(along)
    penalty = l2 * np.append(v[:-1], 0.0).astype(np.float64)
    off = s * curvature * (np.expm1(delta) * (size + tau) + tau + (32 + 32 + 8 + 8) * u * size)
    off += s * float(np.finfo(w.dtype).tiny) * size
    value = rows.T @ (s * curvature * along) / s.sum() + penalty
    return value, np.abs(rows).T @ off / s.sum() + 8 * u * np.abs(penalty)

"""The per-example functions against mpmath, as numbers and as vectors, and where their coefficients come from."""

import re
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numba import njit

from jitlogreg import pointwise
from jitlogreg.simd import LANES
from jitlogreg.targets.cpu.pointers import pointer_to
from jitlogreg.targets.cpu.vectors import load, splat, store

mpmath.mp.dps = 40


@njit(error_model="numpy")
def each(function, z, y, out):
    """A per-example function number by number."""
    for i in range(z.size):
        if function == 0:
            out[i] = pointwise.exp_nonpositive(z[i])
        elif function == 1:
            out[i] = pointwise.log1p_unit(z[i])
        elif function == 2:
            out[i] = pointwise.sigmoid(z[i])
        elif function == 3:
            out[i] = pointwise.log_sigmoid(z[i])
        elif function == 4:
            out[i] = pointwise.loss_and_residual(z[i], y[i])[0]
        elif function == 5:
            out[i] = pointwise.curvature(z[i])
        else:
            out[i] = pointwise.loss_and_residual(z[i], y[i])[1]


@njit(error_model="numpy")
def eight(function, z, y, out):
    """The same, eight at a time."""
    zero = z.dtype.type(0)
    like = splat(zero)
    zp, yp, op = pointer_to(z.ctypes.data, zero), pointer_to(y.ctypes.data, zero), pointer_to(out.ctypes.data, zero)
    for i in range(0, z.size, LANES):
        v = load(zp, i, like)
        if function == 0:
            store(op, i, pointwise.exp_nonpositive(v))
        elif function == 1:
            store(op, i, pointwise.log1p_unit(v))
        elif function == 2:
            store(op, i, pointwise.sigmoid(v))
        elif function == 3:
            store(op, i, pointwise.log_sigmoid(v))
        elif function == 4:
            store(op, i, pointwise.loss_and_residual(v, load(yp, i, like))[0])
        elif function == 5:
            store(op, i, pointwise.curvature(v))
        else:
            store(op, i, pointwise.loss_and_residual(v, load(yp, i, like))[1])


FUNCTIONS = ["exp_nonpositive", "log1p_unit", "sigmoid", "log_sigmoid", "loss", "curvature", "residual"]


def evaluate(name, z, y=None):
    """The function's values; one number at a time and eight at a time give the same bits, or NaN."""
    y = np.zeros_like(z) if y is None else y
    single, vector = np.empty_like(z), np.empty_like(z)
    each(FUNCTIONS.index(name), z, y, single)
    eight(FUNCTIONS.index(name), z, y, vector)
    np.testing.assert_array_equal(bits(single), bits(vector))
    return vector


def bits(numbers):
    """Their bits as integers, with one NaN for every NaN: LLVM promises neither its sign nor its payload."""
    return np.where(np.isnan(numbers), np.nan, numbers).view(f"i{numbers.itemsize}")


def exact(name, z, y):
    """The same in forty digits."""
    z, y = mpmath.mpf(float(z)), mpmath.mpf(float(y))
    if name == "exp_nonpositive":
        return mpmath.exp(z)
    if name == "log1p_unit":
        return mpmath.log1p(z)
    upper, lower = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
    if name == "sigmoid":
        return upper
    if name == "curvature":
        return upper * lower
    if name == "log_sigmoid":
        return -mpmath.log1p(mpmath.exp(-z))
    if name == "loss":
        return (1 - y) * mpmath.log1p(mpmath.exp(z)) + y * mpmath.log1p(mpmath.exp(-z))
    return (1 - y) * upper - y * lower


def margins(dtype, count=1200, seed=3):
    """Margins of every size, of either sign: near 0, ordinary, where σ rounds to 1, and to where exp(−|z|) is 0."""
    edge = 700 if dtype == "float64" else 85
    rng = np.random.default_rng(seed)
    sizes = [
        rng.uniform(0, 1, count // 4),
        rng.uniform(0, 40, count // 4),
        rng.uniform(0, edge, count // 4),
        10.0 ** rng.uniform(-30, np.log10(edge), count // 4),
    ]
    return (np.concatenate(sizes) * rng.choice([-1, 1], count)).astype(dtype)


def ulps(got, wanted, dtype):
    """The error in units of the last place of the exact result."""
    last_place = float(np.spacing(np.abs(np.array(float(wanted), dtype))))
    return abs(mpmath.mpf(float(got)) - wanted) / last_place


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["exp_nonpositive", "log1p_unit"])
def test_the_two_primitives_are_within_one_ulp(name, dtype):
    z = margins(dtype)
    x = -np.abs(z) if name == "exp_nonpositive" else np.exp(-np.abs(z.astype(np.float64))).astype(dtype)
    worst = max(ulps(got, exact(name, x_, 0), dtype) for x_, got in zip(x, evaluate(name, x), strict=True))
    assert worst <= 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "loss", "residual"])
def test_hard_labels_are_within_two_ulp(name, label, dtype):
    z = margins(dtype)
    y = np.full_like(z, label)
    worst = max(ulps(got, exact(name, z_, label), dtype) for z_, got in zip(z, evaluate(name, z, y), strict=True))
    assert worst <= 2


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs a long double wider than float64")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "loss", "residual"])
def test_the_worst_of_many_margins_is_within_two_ulp(name, dtype):
    z = margins(dtype, count=400_000)
    got = evaluate(name, z)
    wide = z.astype(np.longdouble)
    e = np.exp(-np.abs(wide))
    if name in ("sigmoid", "residual"):  # of label 0, they are the same
        approximate = np.where(z < 0, e, 1) / (1 + e)
    else:
        approximate = np.log1p(e) + np.maximum(wide if name == "loss" else -wide, 0)
    errors = np.abs(np.abs(got) - approximate) / np.spacing(np.abs(got))
    worst = np.argsort(errors)[-200:]
    assert max(ulps(got[i], exact(name, z[i], 0), dtype) for i in worst) <= 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_curvature_is_within_four_ulp(dtype):
    z = margins(dtype)
    worst = max(
        ulps(got, exact("curvature", z_, 0), dtype) for z_, got in zip(z, evaluate("curvature", z), strict=True)
    )
    assert worst <= 4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_soft_labels_are_within_four_ulp(dtype):
    z = margins(dtype)
    y = np.random.default_rng(4).uniform(0, 1, z.size).astype(dtype)
    y[::7] = 10.0 ** np.random.default_rng(5).uniform(-8, -1, y[::7].size)
    losses, residuals = evaluate("loss", z, y), evaluate("residual", z, y)
    for z_, y_, loss, dz in zip(z, y, losses, residuals, strict=True):
        assert ulps(loss, exact("loss", z_, y_), dtype) <= 4
        label = mpmath.mpf(float(y_))
        larger = max((1 - label) * exact("sigmoid", z_, 0), label * exact("sigmoid", -z_, 0))
        last_place = float(np.spacing(np.array(float(larger), dtype)))
        assert abs(mpmath.mpf(float(dz)) - exact("residual", z_, y_)) <= 4 * last_place


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infinities_nan_and_what_lies_below_the_smallest_normal_number(dtype):
    inf, nan = np.inf, np.nan
    largest = np.finfo(dtype).max
    z = np.array([inf, -inf, nan, -nan, largest, -largest, 0.0, -0.0], dtype)
    signalling = z.view(f"i{z.itemsize}")
    signalling[3] += 1  # a NaN whose low bits would reach the exponent
    one = np.ones_like(z)
    np.testing.assert_array_equal(evaluate("sigmoid", z), np.array([1, 0, nan, nan, 1, 0, 0.5, 0.5], dtype))
    np.testing.assert_array_equal(evaluate("log_sigmoid", z)[:6], np.array([0, -inf, nan, nan, 0, -largest], dtype))
    np.testing.assert_array_equal(evaluate("loss", z, one)[:6], np.array([0, inf, nan, nan, 0, largest], dtype))
    np.testing.assert_array_equal(evaluate("loss", z, 0 * one)[:6], np.array([inf, 0, nan, nan, largest, 0], dtype))
    np.testing.assert_array_equal(evaluate("loss", z, one / 2)[:4], np.array([inf, inf, nan, nan], dtype))
    np.testing.assert_array_equal(evaluate("residual", z, one)[:6], np.array([0, -1, nan, nan, 0, -1], dtype))
    np.testing.assert_array_equal(evaluate("residual", z, one / 4)[:4], np.array([0.75, -0.25, nan, nan], dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exp_is_flushed_to_zero_exactly_below_the_smallest_normal_number(dtype):
    tiny = np.finfo(dtype).tiny
    edge = np.array(float(mpmath.log(mpmath.mpf(float(tiny)))), dtype)
    steps = np.concatenate([np.arange(-20, 20) * np.spacing(np.abs(edge)), np.linspace(1e-3, 1, 40)])
    around = edge + steps.astype(dtype)
    for x, got in zip(around, evaluate("exp_nonpositive", around), strict=True):
        wanted = mpmath.exp(mpmath.mpf(float(x)))
        assert ulps(got, wanted, dtype) <= 1 if wanted > float(tiny) * (1 + 1e-4) else got == 0 or got >= tiny
    assert evaluate("exp_nonpositive", np.full(LANES, -1e30, dtype)).tolist() == [0.0] * LANES


def test_the_coefficients_are_those_that_the_script_prints():
    tool = Path(__file__).parent.parent / "tools" / "accuracy" / "fit_polynomials.py"
    printed = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=True).stdout
    numbers = re.findall(r"^ +([0-9.e-]+),?$", printed, flags=re.MULTILINE)
    assert len(numbers) == 10 + 10 + 5 + 4
    source = Path(pointwise.__file__).read_text(encoding="utf-8")
    missing = [number for number in numbers if not re.search(rf"\b{re.escape(number)}\b", source)]
    assert not missing


def test_python_may_call_them():
    program = """
import numpy as np
from jitlogreg import pointwise
one = np.float32(0.5)
print(pointwise.sigmoid(0.5), pointwise.log_sigmoid(0.5), pointwise.curvature(0.5))
print(pointwise.loss_and_residual(0.5, 1.0))
print(pointwise.sigmoid(one), pointwise.exp_nonpositive(-one), pointwise.log1p_unit(0.5), pointwise.two_sum(1.0, 0.5))
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("0.622459331201854")

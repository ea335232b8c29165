"""Try the installed package, outside the checkout and with warnings as errors: check.py runs this."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numba
import numpy as np

import jitlogreg as jlr

EPSILON = {"float64": 2.0**-53, "float32": 2.0**-24}


@numba.njit
def compiled_loss(X, y, w):
    loss, dw, db = jlr.loss_and_gradient(X, y, w, 0.25)
    return loss, dw, db


def main():
    package = Path(jlr.__file__).parent
    check(package.is_relative_to(sys.prefix), f"expected the installed package, got {package}")
    check((package / "py.typed").is_file(), "expected py.typed in the package, got none")
    installed = importlib.metadata.version("jitlogreg")
    check(installed == jlr.__version__, f"expected version {jlr.__version__} in the metadata, got {installed}")
    for dtype, order in (("float64", "C"), ("float32", "F")):
        agrees_with_the_reference(dtype, order)
    X, y, _ = example("float64", "C")
    fitted = jlr.fit(X, y, l2=0.1)
    check(fitted.converged, f"expected a fit that converges, got: {fitted.message}")
    runs_on_the_command_line()


def example(dtype, order):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(size=(2000, 12)), dtype, order=order)
    return X, (rng.random(2000) < 0.5).astype(np.int8), np.linspace(-1, 1, 12).astype(dtype)


def agrees_with_the_reference(dtype, order):
    """Compare the call, and the same call in a compiled function, with the NumPy formulas."""
    X, y, w = example(dtype, order)
    expected = jlr.loss_and_gradient(X, y, w, 0.25, target="reference")
    called = jlr.loss_and_gradient(X, y, w, 0.25, target="cpu")
    compiled = compiled_loss(X, y, w)
    for name, right, one, other in zip(("loss", "dw", "db"), expected, called, compiled, strict=True):
        # a mean over terms of the order of 1, whose margins are below 30: their errors are far below this bound
        difference = np.max(np.abs(np.asarray(one, np.float64) - right))
        check(difference <= 64 * EPSILON[dtype], f"{name} of {dtype}: expected the reference's, got {difference} off")
        check(np.array_equal(one, other), f"{name} of {dtype}: expected the same bits from @njit, got others")


def runs_on_the_command_line():
    command = shutil.which("jitlogreg", path=sysconfig.get_path("scripts"))
    check(command, "jitlogreg info: expected the command beside Python, got none")
    strict = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([command, "info"], capture_output=True, text=True, errors="replace", env=strict)
    check(done.returncode == 0, f"jitlogreg info: expected exit status 0, got {done.returncode}: {done.stderr}")
    check(jlr.__version__ in done.stdout, f"jitlogreg info: expected the version, got {done.stdout}")


def check(condition, message):
    if not condition:
        raise SystemExit(message)


if __name__ == "__main__":
    main()

"""`jitlogreg compile`: what it has compiled, later processes only load."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.cli import compile as compile_
from jitlogreg.cli import kernel_list
from jitlogreg.solvers.standardize import column_statistics
from jitlogreg.targets.cpu import kernels, plan

FIT = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np, jitlogreg as jlr
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 5)), np.arange(200) % 2
jlr.fit(X, y, l2=0.1)
print(jlr.forward(X, np.zeros(5))[0])
"""

OUTPUTS = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np, jitlogreg as jlr
rng = np.random.default_rng(0)
X, W = rng.standard_normal((200, 5)), rng.standard_normal((5, 3))
print(jlr.loss_and_gradient(X, np.arange(200) % 2, W).loss[0], jlr.forward(X, W, link="softmax")[0, 0])
jlr.fit(X, np.arange(200) % 3, link="softmax", l2=0.1)
"""


def jitlogreg(folder, *arguments):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.slow
def test_a_fit_compiles_nothing_after_it(tmp_path):
    cold = jitlogreg(tmp_path / "cold", "-c", FIT)
    assert "compiling loss_gradient_float64_float64_C" in cold.stderr
    assert "compiled loss_gradient_float64_float64_C" in cold.stderr
    printed = jitlogreg(tmp_path / "warm", "-m", "jitlogreg", "compile", "--dtype", "float64", "--order", "C").stdout
    assert "loss_gradient float64 float64 C" in printed
    assert "float32" not in printed
    warm = jitlogreg(tmp_path / "warm", "-c", FIT)
    assert (warm.stdout, warm.stderr) == (cold.stdout, "")
    of_outputs = jitlogreg(tmp_path / "warm", "-c", OUTPUTS)
    assert of_outputs.stderr == ""
    assert of_outputs.stdout == jitlogreg(tmp_path / "cold", "-c", OUTPUTS).stdout


KERNEL = inspect.signature(kernels.kernel.__wrapped__)


def variant(*arguments, **named):
    """The arguments of `kernels.kernel`, its defaults with them."""
    bound = KERNEL.bind(*arguments, **named)
    bound.apply_defaults()
    return bound.args


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtypes", [("float64", "float64"), ("float32", "float32"), ("float32", "float64")])
def test_the_kernels_of_several_outputs_are_those_that_calls_take(monkeypatch, dtypes, order):
    taken = set()

    def recorded(*arguments, **named):
        taken.add(variant(*arguments, **named))
        return kernels.kernel(*arguments, **named)

    monkeypatch.setattr(plan, "kernel", recorded)
    plan.make_outputs_plan.cache_clear()
    x_dtype, w_dtype = map(np.dtype, dtypes)
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((90, 2)), x_dtype, order=order)
    W, classes = rng.standard_normal((2, 3)).astype(w_dtype), np.arange(90) % 3
    for link, y in (("sigmoid", classes > 0), ("softmax", classes)):
        jlr.loss_and_gradient(X, y, W, link=link)
        jlr.forward(X, W, link=link)
        jlr.log_forward(X, W, link=link)
        if w_dtype == np.float64:
            objective = jlr.Objective(X, y, link=link, n_outputs=3)
            objective.hessian_vector(np.zeros(9), np.ones(9))
            frame = column_statistics(X, None, l2=0.0, has_intercept=True).frame
            objective.in_frame(frame).hessian_vector(np.zeros(9), np.ones(9))
    if w_dtype == np.float64:
        for solver in ("newton", "lbfgs"):
            far = X + x_dtype.type(1000)  # of which columns are standardized
            jlr.fit(far, classes, link="softmax", solver=solver)
            jlr.fit(far, np.equal.outer(classes, range(3)).astype(float), solver=solver)
    listed = {
        variant(*make.args) for _, make in kernel_list.kernels_for([x_dtype], [order]) if make.func is kernels.kernel
    }
    of_outputs = {kernel for kernel in listed if kernel[0].startswith("outputs_") and kernel[2] == w_dtype}
    assert {kernel for kernel in taken if kernel[0].startswith("outputs_")} == of_outputs


def test_kernels_of_several_outputs_may_be_left_out(run, monkeypatch, tmp_path):
    monkeypatch.setattr(compile_, "cache_folder", lambda: tmp_path)
    asked = []
    monkeypatch.setattr(kernel_list, "kernel", lambda operation, *_: asked.append(operation))
    monkeypatch.setattr(kernel_list, "plain_kernel", lambda *_: None)
    monkeypatch.setattr(kernel_list, "_ENTRY_POINTS", ())
    of_outputs = set(kernels.OUTPUTS_EPILOGUES)
    run("compile")
    assert of_outputs < set(asked)
    asked.clear()
    run("compile", "--outputs", "one")
    assert set(asked) == set(kernels.EPILOGUES)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--dtype", "float16"], "float16"),
        (["--order", "K"], "K"),
        (["--outputs", "two"], "two"),
        (["--width", "8"], "--width"),
    ],
)
def test_what_is_no_option_is_told(tmp_path, arguments, named):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        jitlogreg(tmp_path, "-m", "jitlogreg", "compile", *arguments)
    assert refused.value.returncode == 2
    assert named in refused.value.stderr

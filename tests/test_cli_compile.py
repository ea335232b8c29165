"""`jitlogreg compile`: what it has compiled, later processes only load."""

import os
import subprocess
import sys

import pytest

FIT = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np, jitlogreg as jlr
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 5)), np.arange(200) % 2
jlr.fit(X, y, l2=0.1)
print(jlr.forward(X, np.zeros(5))[0])
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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--dtype", "float16"], "float16"), (["--order", "K"], "K"), (["--width", "8"], "--width")],
)
def test_what_is_no_option_is_told(tmp_path, arguments, named):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        jitlogreg(tmp_path, "-m", "jitlogreg", "compile", *arguments)
    assert refused.value.returncode == 2
    assert named in refused.value.stderr

"""The CUDA target through the interface of NVIDIA's driver, on a stub library in place of the driver."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("nvidia.cu13", reason="the wheels cuda-toolkit[nvrtc,nvvm,nvjitlink,nvcc] are not installed")
compiler = shutil.which("cc")
HERE = Path(__file__).parent


@pytest.mark.skipif(not compiler or sys.platform != "linux", reason="needs a C compiler on Linux")
def test_a_session_through_the_drivers_interface(tmp_path):
    """Contexts, memory, machine code, launches and their arguments, as the driver would receive them."""
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "driver_stub.c", "-ldl"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(HERE.parent)}
    run = subprocess.run(
        [sys.executable, HERE / "on_stub.py"], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    for launched in ("warp_per_row", "block_per_row", "column_major", "reduce"):
        assert f"('{launched}', False)" in run.stdout
    for launched in ("l2_panels", "descent"):
        assert f"('{launched}', True)" in run.stdout

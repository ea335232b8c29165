"""The target under NVIDIA's compute-sanitizer, where that is installed: reads and writes out of bounds, and races."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gpu import views
from gpu.expected import OffError
from gpu.record import CHECK, AbsentError

# A matrix of each regime, few rows: under the tool everything takes a hundred times as long
COLUMNS = {"C": (3, 28, 700, 17000), "F": (28, 300, 1100)}
ROWS = 70
ERROR_STATUS = 99
SECONDS = 240


def find():
    """The tool, on PATH or in a folder of the CUDA toolkit; None where there is none."""
    found = shutil.which("compute-sanitizer")
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), *Path("/usr/local").glob("cuda*")]
    places = [Path(root) / inner for root in roots if root for inner in ("bin", "compute-sanitizer")]
    places += [wheel / "bin" for folder in sys.path for wheel in Path(folder or ".").glob("nvidia/*")]
    for place in places:
        found = found or shutil.which("compute-sanitizer", path=str(place))
    return found


def subset():
    """The items that run under the tool."""
    return views.views(COLUMNS, ROWS, ((0, 0), (1, 3)))


def items(tool):
    """One item: the subset under a tool of the sanitizer."""
    yield f"compute-sanitizer {tool}", functools.partial(check, tool)


def check(tool):
    """Run the subset in a process under the sanitizer."""
    found = find()
    if found is None:
        raise AbsentError("compute-sanitizer is neither on PATH nor in a folder of the CUDA toolkit")
    command = [found, "--tool", tool, "--error-exitcode", str(ERROR_STATUS), sys.executable]
    command += [str(CHECK), "--group", "subset", "--seconds", str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=2 * SECONDS)
    said = run.stdout + run.stderr
    if run.returncode != 0 or '"failure"' in said:
        lines = [line for line in said.splitlines() if line.startswith("=") or '"failure"' in line]
        raise OffError(f"ended with status {run.returncode}: {' / '.join(lines[-12:])}")
    checked = said.count('"seconds"') - said.count('"left_out"')
    if checked == 0:
        raise OffError("nothing was checked")
    return {"checked": checked}

"""Where compiled code is kept, what makes it stale, and what happens where it cannot be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jitlogreg

PACKAGE = Path(jitlogreg.__file__).parent

PROGRAM = """
import numpy as np, jitlogreg as jlr
print(jlr.forward(np.array([[0.0]]), np.array([0.0]), target="cpu")[0])
print(jlr.forward(np.array([[0.0]]), np.array([0.0]), target="cpu")[0])
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, and a function that runs the program on it with a cache of its own."""
    root = tmp_path / "installed"
    shutil.copytree(PACKAGE, root / "jitlogreg", ignore=shutil.ignore_patterns("__pycache__"))

    def run(program=PROGRAM, **environment):
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "JITLOGREG_"))}
        variables |= {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(tmp_path / "cache")} | environment
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True)

    run.package, run.cache = root / "jitlogreg", tmp_path / "cache"
    return run


def compiled(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


def test_an_edit_of_any_source_makes_compiled_code_stale(copy):
    assert copy().stdout.split() == ["0.5", "0.5"]
    first = compiled(copy.cache)
    assert first
    assert copy().stdout.split() == ["0.5", "0.5"]
    assert compiled(copy.cache) == first  # nothing was compiled again
    scalar = copy.package / "scalar.py"
    source = scalar.read_text(encoding="utf-8")
    edited = source.replace("return where(z < zeros(z), lower, upper)", "return where(z < zeros(z), lower, -upper)")
    assert edited != source
    scalar.write_text(edited, encoding="utf-8")
    assert copy().stdout.split() == ["-0.5", "-0.5"]


def test_damaged_files_are_compiled_again(copy):
    copy()
    for path in copy.cache.rglob("*.nb[ic]"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if path.suffix == ".nbc" else b"garbage")
    result = copy()
    assert result.stdout.split() == ["0.5", "0.5"]
    assert result.stderr == ""


def test_where_nothing_can_be_kept_it_warns_once_and_works(copy):
    result = copy(NUMBA_CACHE_DIR=str(Path(os.devnull) / "nowhere"))
    assert result.stdout.split() == ["0.5", "0.5"]
    assert result.stderr.count("RuntimeWarning") == 1
    assert "set NUMBA_CACHE_DIR to a folder of your own" in result.stderr


def test_two_copies_that_share_a_folder_do_not_share_code(copy, tmp_path):
    copy()
    first = set(compiled(copy.cache))
    other = tmp_path / "other"
    shutil.copytree(copy.package, other / "jitlogreg", ignore=shutil.ignore_patterns("__pycache__"))
    assert copy(PYTHONPATH=str(other)).stdout.split() == ["0.5", "0.5"]
    assert len(set(compiled(copy.cache)) - first) == len(first)


def test_without_a_setting_the_folder_is_beside_the_sources(copy):
    folder = copy("from jitlogreg.targets.compile import cache_folder; print(cache_folder())", NUMBA_CACHE_DIR="")
    assert Path(folder.stdout.strip()) == copy.package / "__pycache__"


def test_no_fallback_to_a_shared_folder(copy):
    program = "from jitlogreg.targets import compile; print(*compile._cache_folders(), sep='\\n')"
    folders = copy(program, NUMBA_CACHE_DIR="", HOME="/home/someone", XDG_CACHE_HOME="").stdout.split()
    assert len(folders) == 2
    assert folders[1].startswith("/home/someone/.cache/jitlogreg-")

"""Where compiled code is kept, what makes it stale, and what happens where it cannot be kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = """
import numpy as np, jitlogreg as jlr
print(jlr.forward(np.array([[0.0]]), np.array([0.0]), target="cpu")[0])
print(jlr.forward(np.array([[0.0]]), np.array([0.0]), target="cpu")[0])
"""


@pytest.fixture
def copy(tiny_package, tmp_path):
    """A copy of the package, and a function that runs a program on it with a cache of its own."""

    def command(program, *arguments, **environment):
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "JITLOGREG_"))}
        variables |= {"PYTHONPATH": str(tiny_package.package.parent), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        variables |= environment
        return {"args": [sys.executable, "-c", program, *arguments], "env": variables, "cwd": tmp_path, "text": True}

    def run(program=tiny_package.program, **environment):
        return subprocess.run(**command(program, **environment), capture_output=True, check=True)

    run.command, run.package, run.cache = command, tiny_package.package, tmp_path / "cache"
    return run


def compiled(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


@pytest.mark.parametrize("of", ["a small kernel", pytest.param("a public call", marks=pytest.mark.slow)])
def test_an_edit_of_any_source_makes_compiled_code_stale(copy, tiny_package, of):
    program = PUBLIC if of == "a public call" else tiny_package.program
    assert copy(program).stdout.split() == ["0.5", "0.5"]
    first = compiled(copy.cache)
    assert len(first) == 2
    assert copy(program).stdout.split() == ["0.5", "0.5"]
    assert compiled(copy.cache) == first  # nothing was compiled again
    scalar = copy.package / "scalar.py"
    source = scalar.read_text(encoding="utf-8")
    edited = source.replace("return where(z < zeros(z), lower, upper)", "return where(z < zeros(z), lower, -upper)")
    assert edited != source
    scalar.write_text(edited, encoding="utf-8")
    assert copy(program).stdout.split() == ["-0.5", "-0.5"]


def test_damaged_files_are_compiled_again(copy):
    copy()
    for path in copy.cache.rglob("*.nb[ic]"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if path.suffix == ".nbc" else b"garbage")
    result = copy()
    assert result.stdout.split() == ["0.5", "0.5"]
    assert result.stderr == ""


def test_a_flipped_bit_is_noticed(copy):
    """Machine code with a flipped bit may do anything: of six such files one made the process crash."""
    copy()
    for path in compiled(copy.cache):
        content = bytearray(path.read_bytes())
        code = content.find(b"\x7fELF")
        content[code + (len(content) - code) // 3 if code >= 0 else len(content) // 2] ^= 1
        path.write_bytes(content)
    damaged = compiled(copy.cache)
    result = copy()
    assert (result.stdout.split(), result.stderr) == (["0.5", "0.5"], "")
    assert all(compiled(copy.cache)[path] > time for path, time in damaged.items())


def test_code_of_other_sources_behind_a_new_index_is_not_run(copy):
    """As a process finds it that starts when another, after an upgrade, has written the index and not yet the code."""
    copy()
    old = {path.name: path.read_bytes() for path in compiled(copy.cache)}
    scalar = copy.package / "scalar.py"
    source = scalar.read_text(encoding="utf-8")
    scalar.write_text(source.replace("(z < zeros(z), lower, upper)", "(z < zeros(z), lower, -upper)"), encoding="utf-8")
    assert copy().stdout.split() == ["-0.5", "-0.5"]
    for path in compiled(copy.cache):
        path.write_bytes(old[path.name])
    assert copy().stdout.split() == ["-0.5", "-0.5"]


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


def test_processes_that_start_at_once_on_a_cold_cache(copy):
    program = "import sys; from jitlogreg.targets import tiny; print(tiny.kernel(sys.argv[1])(tiny.entry_point(-9e9)))"
    commands = [copy.command(program, dtype) for dtype in ("float32", "float64") * 2]
    for _ in range(2):  # cold, and then from what they left
        running = [subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
        assert [process.communicate() for process in running] == [("0.5\n", "")] * 4


def test_code_of_another_function_is_not_run(copy):
    program = """
from jitlogreg.targets import tiny
for dtype in ("float32", "float64"):
    print(tiny.kernel(dtype)(0.0))
"""
    copy(program)
    wide, narrow = (next(copy.cache.rglob(f"*_{name}-*.nbc")) for name in ("float64", "float32"))
    shutil.copy(narrow, wide)
    assert copy(program).stdout.split() == ["0.5", "0.5"]


def test_a_folder_that_others_may_write_to_is_not_used(copy):
    copy()
    (folder,) = copy.cache.iterdir()
    folder.chmod(0o777)
    result = copy()
    assert result.stdout.split() == ["0.5", "0.5"]
    assert "no folder to keep compiled kernels in" in result.stderr


def test_a_user_without_a_home_is_served(copy):
    program = """
import pathlib
def no_home(cls=None):
    raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = no_home
from jitlogreg.targets.compile import _cache_folders
print(len(list(_cache_folders())))
"""
    assert copy(program, NUMBA_CACHE_DIR="", XDG_CACHE_HOME="relative").stdout.split() == ["1"]

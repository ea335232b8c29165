"""Where compiled code is kept, what makes it stale, and what happens where it cannot be kept."""

import compileall
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
    scalar = copy.package / "pointwise.py"
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
    scalar = copy.package / "pointwise.py"
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


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")
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


# ---------------------------------------------------------------- from a zip, and without sources


STAMP = "from jitlogreg.targets.compile import sources_stamp; print(sources_stamp())"


def without_sources(package):
    """Leave compiled modules alone, beside where their sources were."""
    assert compileall.compile_dir(package, quiet=1, legacy=True, force=True)
    for path in package.rglob("*.py"):
        path.unlink()
    for path in list(package.rglob("__pycache__")):
        shutil.rmtree(path)


def zipped(package):
    return shutil.make_archive(str(package.parent.with_name("zipped")), "zip", package.parent)


def bytecode(package):
    without_sources(package)
    return str(package.parent)


def zipped_bytecode(package):
    without_sources(package)
    return zipped(package)


@pytest.fixture(params=[zipped, bytecode, zipped_bytecode])
def packed(request, copy, tmp_path):
    """Makes the package another form of itself, after an edit of a source. Gives what Python is to look in for it."""
    sources = tmp_path / "sources"
    shutil.copytree(copy.package, sources)

    def pack(file="pointwise.py", old="", new=""):
        shutil.rmtree(copy.package)
        shutil.copytree(sources, copy.package)
        source = (copy.package / file).read_text(encoding="utf-8")
        assert old in source
        (copy.package / file).write_text(source.replace(old, new) if old else source, encoding="utf-8")
        return request.param(copy.package)

    return pack


@pytest.mark.parametrize("of", ["a small kernel", pytest.param("a public call", marks=pytest.mark.slow)])
def test_it_runs_in_any_form_and_code_is_kept_until_a_source_changes(copy, tiny_package, packed, of):
    program = PUBLIC if of == "a public call" else tiny_package.program
    path = packed()
    for _ in range(2):
        result = copy(program, PYTHONPATH=path)
        assert (result.stdout.split(), result.stderr) == (["0.5", "0.5"], "")
        kept = compiled(copy.cache)
        assert len(kept) == 2
    assert packed() == path  # written anew, at another time
    assert copy(program, PYTHONPATH=path).stdout.split() == ["0.5", "0.5"]
    assert compiled(copy.cache) == kept
    packed("pointwise.py", "(z < zeros(z), lower, upper)", "(z < zeros(z), lower, -upper)")
    assert copy(program, PYTHONPATH=path).stdout.split() == ["-0.5", "-0.5"]


def test_without_a_setting_a_zip_keeps_code_in_the_users_cache(copy, tmp_path):
    path = zipped(copy.package)
    shutil.rmtree(copy.package)
    variables = {"PYTHONPATH": path, "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "of the user")}
    for _ in range(2):
        result = copy(**variables)
        assert (result.stdout.split(), result.stderr) == (["0.5", "0.5"], "")
    (folder,) = (tmp_path / "of the user").iterdir()
    assert folder.name.startswith("jitlogreg-")
    assert len(compiled(folder)) == 2
    assert not copy.package.exists()


def test_a_version_with_the_same_sources_but_its_number_has_another_stamp(copy, packed):
    path = packed()
    first = copy(STAMP, PYTHONPATH=path).stdout
    packed("_version.py", "__version__ = ", "__version__ = 'x' + ")
    assert copy(STAMP, PYTHONPATH=path).stdout != first


EDIT_ALL = """
import importlib, pathlib, py_compile, sys
from jitlogreg.targets.compile import PACKAGE, sources_stamp

def stamp():
    importlib.invalidate_caches()
    sources_stamp.cache_clear()
    return sources_stamp()

sources, form, first = pathlib.Path(sys.argv[1]), sys.argv[2], stamp()
names = "_version.py decimals.py libsvm_kernel.py linear_algebra.py pointwise.py simd.py cli/bandwidth.py"
files = [sources / name for name in names.split()]
for path in [*files, *sources.glob("njit/*.py"), *sources.glob("targets/**/*.py")]:
    target = PACKAGE / path.relative_to(sources)
    if form == "bytecode":
        target = target.with_suffix(".pyc")
    before = target.read_bytes()
    path.write_text(path.read_text(encoding="utf-8") + "\\n_edited = 1", encoding="utf-8")
    if form == "bytecode":
        py_compile.compile(str(path), str(target), doraise=True)
    else:
        target.write_bytes(path.read_bytes())
    if stamp() == first:
        print("unnoticed:", target)
    target.write_bytes(before)
    assert stamp() == first
print("tried")
"""


@pytest.mark.parametrize("form", ["sources", "bytecode"])
def test_an_edit_of_each_module_changes_the_stamp(copy, tmp_path, form):
    shutil.copytree(copy.package, tmp_path / "edited")
    if form == "bytecode":
        without_sources(copy.package)
    command = copy.command(EDIT_ALL, str(tmp_path / "edited"), form)
    result = subprocess.run(**command, capture_output=True, check=True)
    assert (result.stdout, result.stderr) == ("tried\n", "")


def test_the_stamp_of_bytecode_is_that_of_what_it_does(copy, tmp_path):
    other, scalar = tmp_path / "elsewhere" / "jitlogreg", copy.package / "pointwise.py"
    a_set = "\n\ndef _vowel(x):\n    return x in {'a', 'e', 'i', 'o', 'u'}\n"  # in an order of its own in each process
    scalar.write_text(scalar.read_text(encoding="utf-8") + a_set, encoding="utf-8")
    shutil.copytree(copy.package, other)
    for path in other.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    without_sources(copy.package)
    without_sources(other)
    here = copy(STAMP, PYTHONHASHSEED="1").stdout
    assert copy(STAMP, PYTHONPATH=str(other.parent), PYTHONHASHSEED="2").stdout == here


@pytest.mark.parametrize(
    "broken",
    [
        "pkgutil.iter_modules = lambda *arguments: iter(())",
        "importlib.machinery.SourceFileLoader.get_source = lambda *arguments: 1 / 0",
        "importlib.machinery.SourceFileLoader.get_source = lambda *arguments: None\n"
        "import jitlogreg.targets\n"
        "importlib.machinery.SourceFileLoader.get_code = lambda *arguments: None",
    ],
    ids=["unlisted", "unreadable", "neither source nor bytecode"],
)
def test_where_sources_cannot_be_read_no_code_on_disk_is_taken_for_theirs(copy, broken):
    program = f"""
import importlib.machinery, pkgutil
import numba, jitlogreg.targets.compile
{broken}
from jitlogreg.targets.compile import sources_stamp
print(sources_stamp())
"""
    stamps = []
    for _ in range(2):
        result = copy(program)
        assert result.stderr.count("RuntimeWarning: jitlogreg: the sources of the kernels cannot be read") == 1
        stamps.append(result.stdout)
    assert stamps[0] != stamps[1]


def test_a_frozen_application_keeps_code_by_its_executable_and_in_the_users_cache(copy, tmp_path):
    program = """
import hashlib, os, pathlib, sys
sys.frozen, sys.executable = True, os.path.abspath("app")
from jitlogreg.targets import compile
(folder,) = compile._cache_folders()
print(folder == pathlib.Path(os.environ["XDG_CACHE_HOME"])
    / ("jitlogreg-" + hashlib.sha256(str(pathlib.Path("app").resolve()).encode()).hexdigest()[:16]))
"""
    assert copy(program, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "user")).stdout.split() == ["True"]

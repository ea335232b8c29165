"""What PyInstaller makes of an application that uses the package, without flags."""

import importlib.metadata
import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from test_architecture import MODULES, PACKAGE, imports

import jitlogreg as jlr
from jitlogreg.__pyinstaller import get_hook_dirs

FIRST = """
import numpy as np
import jitlogreg as jlr
from numba import njit

@njit
def loss(X, y, w):
    return jlr.loss(X, y, w)

X = np.array([[0.5, 1.0], [1.5, -1.0], [-1.0, 2.0], [-2.0, -0.5]])
w = np.array([0.8, -0.1])
print(jlr.forward(X, w, 0.1).round(4).tolist())
print(jlr.forward(X, w, 0.1, target="reference").round(4).tolist())
print(loss(X, np.array([1, 1, 0, 0]), w) == jlr.loss(X, np.array([1, 1, 0, 0]), w))
"""


@pytest.fixture
def hook(monkeypatch):
    """What the hook says, where PyInstaller is a stand-in."""
    for name in ("PyInstaller", "PyInstaller.utils", "PyInstaller.utils.hooks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["PyInstaller.utils.hooks"].copy_metadata = lambda name: [(f"metadata of {name}", ".")]
    (folder,) = get_hook_dirs()
    return runpy.run_path(str(Path(folder) / "hook-jitlogreg.py"))


def test_every_module_of_the_targets_is_found_by_following_imports(hook):
    found, ahead = set(), ["", *(name.removeprefix("jitlogreg.") for name in hook["hiddenimports"])]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [*imports(MODULES[name])[0], *([name.rpartition(".")[0]] if name else [])]
    needed = {name for name in MODULES if name.startswith(("targets.cpu", "targets.reference"))}
    assert needed | {"njit.overloads", "pointwise"} <= found


def test_the_metadata_are_taken_along(hook):
    assert hook["datas"] == [("metadata of jitlogreg", ".")]


def test_the_entry_point_leads_to_the_hook():
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("installed without its project file")
    entries = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["pyinstaller40"]
    entry = importlib.metadata.EntryPoint("hook-dirs", entries["hook-dirs"], "pyinstaller40")
    assert [path.name for path in Path(*entry.load()()).glob("hook-*")] == ["hook-jitlogreg.py"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--onedir", "--onefile"])
def test_an_application_runs_that_was_built_without_flags(tmp_path, form):
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    if not importlib.metadata.entry_points(group="pyinstaller40", module="jitlogreg.__pyinstaller"):
        pytest.skip("jitlogreg is not installed, so PyInstaller does not find its hook")
    (tmp_path / "first.py").write_text(FIRST, encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": str(Path(jlr.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", form, "first.py"]
    subprocess.run(build, cwd=tmp_path, env=variables, check=True, capture_output=True)
    program = tmp_path / "dist" / ("first" if form == "--onefile" else "first/first")
    del variables["PYTHONPATH"]
    variables["XDG_CACHE_HOME"] = str(tmp_path / "user")
    kept = []
    for _ in range(2):
        result = subprocess.run([program], env=variables, capture_output=True, text=True, check=False)
        probabilities = "[0.5987, 0.8022, 0.2891, 0.19]"
        assert (result.stdout.splitlines(), result.stderr) == ([probabilities, probabilities, "True"], "")
        kept.append({path: path.stat().st_mtime_ns for path in (tmp_path / "user").rglob("*.nbc")})
    assert kept[0] == kept[1] != {}  # the second run compiles nothing
    assert not list((tmp_path / "dist").rglob("__pycache__"))

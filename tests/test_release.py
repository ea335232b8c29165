"""What a release consists of: one version, data that agree, and the script that checks the archives."""

import importlib.util
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import jitlogreg as jlr

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
RECIPE = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("check", ROOT / "tools" / "release" / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- the data


def test_the_version_is_that_of_version_py(check):
    assert "version" in PROJECT["dynamic"]
    assert check.version() == CITATION["version"] == RECIPE["context"]["version"] == jlr.__version__


def test_no_other_file_repeats_the_version():
    places = [ROOT / name for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md")]
    places += [*(ROOT / "jitlogreg").rglob("*.py"), *(ROOT / "tools").rglob("*.py"), *ROOT.glob(".github/**/*.yml")]
    version = re.compile(rf"(?<![\d.]){re.escape(jlr.__version__)}(?![\d.])")
    found = [path.relative_to(ROOT).as_posix() for path in places if version.search(path.read_text(encoding="utf-8"))]
    assert found == ["jitlogreg/_version.py"]


def test_citation_and_recipe_agree_with_the_project():
    about, requirements = RECIPE["about"], RECIPE["requirements"]
    assert CITATION["abstract"] == about["summary"] == PROJECT["description"]
    assert CITATION["license"] == about["license"] == PROJECT["license"]
    assert CITATION["authors"] == PROJECT["authors"]
    assert CITATION["keywords"] == PROJECT["keywords"]
    assert [needed.replace(" ", "") for needed in requirements["run"][1:]] == PROJECT["dependencies"]
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    (command,) = RECIPE["build"]["python"]["entry_points"]
    assert command == f"jitlogreg = {PROJECT['scripts']['jitlogreg']}"


# ---------------------------------------------------------------- check.py


def test_a_tag_must_be_the_versions_and_in_the_changelog(check, monkeypatch, tmp_path):
    (tmp_path / "jitlogreg").mkdir()
    (tmp_path / "jitlogreg" / "_version.py").write_text('__version__ = "3.2.1"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    with pytest.raises(check.CheckError, match=r"expected v3\.2\.1.*got 3\.2\.1"):
        check.check_tag("3.2.1")
    with pytest.raises(check.CheckError, match=r"CHANGELOG\.md: expected a section"):
        check.check_tag("v3.2.1")
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [3.2.1] - 2030-01-01\n")
    check.check_tag("v3.2.1")


@pytest.fixture
def wheel(tmp_path):
    def write(name, **files):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        return tmp_path / name

    return write


def test_differences_between_wheels_are_found(check, wheel):
    one = wheel("one.whl", same="s", other="o", here="h")
    assert check.differences(one, one) == []
    assert check.differences(one, wheel("two.whl", same="s", other="O", there="t")) == ["here", "other", "there"]


def test_data_in_a_wheel_is_found(check, wheel):
    expected = {"p/a.py": "", "p/py.typed": "", "p-1.dist-info/METADATA": ""}
    assert check.data_files(wheel("one.whl", **expected)) == []
    assert check.data_files(wheel("two.whl", **expected, **{"p/bits.json": ""})) == ["p/bits.json"]


def test_a_command_gets_no_settings_and_must_succeed(check, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    program = "import os; print(os.environ.get('NUMBA_DISABLE_JIT'), os.environ.get('PYTHONOPTIMIZE'))"
    assert check.run([sys.executable, "-c", program]).split() == ["None", "None"]
    with pytest.raises(check.CheckError, match="exit status 3\nout of luck"):
        check.run([sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"])


def test_an_environment_that_fails_is_a_row_and_a_status(check, monkeypatch, tmp_path, capsys):
    def run(command, cwd=None):
        if "install" in command and "lowest" in command:
            raise check.CheckError("no wheels")
        if "freeze" in command:
            return "llvmlite==0.1\nnumba==0.99\nnumpy==9.0\n"
        return "3.99.0 (main)\n"

    for name in ("p.tar.gz", "p.whl"):
        (tmp_path / name).write_bytes(b"1234")
    monkeypatch.setattr(check, "run", run)
    monkeypatch.setattr(check, "build", lambda folder: (tmp_path / "p.tar.gz", tmp_path / "p.whl"))
    monkeypatch.setattr(check, "check_archives", lambda sdist, wheel: None)
    kept = tmp_path / "dist"
    assert check.main(["--python", "3.99", "--output", str(kept)]) == 1
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()[-2:]] == [
        ["3.99.0", "oldest", "FAILED"],
        ["3.99.0", "newest", "9.0", "0.99", "ok"],
    ]
    assert "p.whl: 4 bytes" in printed.out
    assert printed.err == "no wheels\n"
    assert sorted(path.name for path in kept.iterdir()) == ["p.tar.gz", "p.whl"]
    assert check.main(["--python"]) == 0


def test_an_archive_that_fails_is_not_tried(check, monkeypatch, capsys):
    def build(folder):
        raise check.CheckError("p.whl: expected the same files")

    monkeypatch.setattr(check, "build", build)
    assert check.main([]) == 1
    assert capsys.readouterr().err == "p.whl: expected the same files\n"

"""Is this checkout fit for release? Build the sdist and the wheel, check both, and try the wheel in empty environments.

    python tools/release/check.py                                         # in the Python that runs this
    python tools/release/check.py --python 3.11 3.12 3.13 3.14 3.14t      # in each of these
    python tools/release/check.py --python --output dist                  # in none; keep what was built
    python tools/release/check.py --tag v0.2.0                            # is that the tag of this version?

It needs the extra `release`. Each Python gets an empty environment with the oldest NumPy and Numba that pyproject.toml
accepts and that have wheels for it, and another with the newest. uv finds the Python, and downloads it if it is missing
and UV_PYTHON_DOWNLOADS is not `never`. smoke.py beside this file runs there. The exit status is 1 if anything fails.
"""

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
# By uv's names. `lowest` takes the oldest of what NumPy and Numba depend on, too
RESOLUTIONS = {"oldest": "lowest", "newest": "highest"}
DISTRIBUTIONS = ("numpy", "numba")
SETTINGS = ("JITLOGREG_", "NUMBA_", "PYTHON")


class CheckError(Exception):
    """What is wrong: a sentence, or a command with all that it printed."""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    versions = "versions, names or paths, as uv takes them; none to build and check alone"
    parser.add_argument("--python", nargs="*", default=[sys.executable], metavar="PYTHON", help=versions)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="copy the sdist and the wheel there")
    parser.add_argument("--tag", help="fail unless this is the tag of the version, and CHANGELOG.md has its section")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.tag:
                check_tag(options.tag)
            sdist, wheel = build(Path(folder))
            check_archives(sdist, wheel)
        except CheckError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{sdist.name}: {sdist.stat().st_size:,} bytes")
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes", flush=True)
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            for built in (sdist, wheel):
                shutil.copy(built, options.output)
        rows = [
            try_wheel(wheel, python, age, Path(folder, f"{k}-{age}"))
            for k, python in enumerate(options.python)
            for age in RESOLUTIONS
        ]
    if rows:
        print()
        print_table(("Python", "NumPy and Numba", *DISTRIBUTIONS, "result"), rows)
    return int(any(row[-1] != "ok" for row in rows))


def print_table(head, rows):
    """Print columns, each as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def check_tag(tag):
    """Compare a tag with the version, for which the changelog has a section."""
    expected = f"v{version()}"
    if tag != expected:
        raise CheckError(f"--tag: expected {expected}, the version in jitlogreg/_version.py, got {tag}")
    heading = f"## [{version()}]"
    if not any(line.startswith(heading) for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()):
        raise CheckError(f"CHANGELOG.md: expected a section that begins with {heading}, got none")


def version():
    """The version, from the one file that has it."""
    spec = importlib.util.spec_from_file_location("_version", ROOT / "jitlogreg" / "_version.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__version__


def build(folder):
    """Build the sdist, and the wheel from the checkout and from the sdist: both wheels must have the same bytes."""
    command = [sys.executable, "-m", "build", "--outdir"]
    run([*command, folder / "dist", "--sdist", "--wheel", ROOT])
    (sdist,), (wheel,) = ((folder / "dist").glob(ending) for ending in ("*.tar.gz", "*.whl"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run([*command, folder / "again", "--wheel", unpacked])
    (again,) = (folder / "again").iterdir()
    if differing := differences(wheel, again):
        names = ", ".join(differing)
        raise CheckError(f"{wheel.name}: expected the same files from the sdist, got others: {names}")
    return sdist, wheel


def differences(wheel, other):
    """The names of what only one of two wheels has, or has with other bytes."""
    with zipfile.ZipFile(wheel) as here, zipfile.ZipFile(other) as there:
        names = set(here.namelist()), set(there.namelist())
        both = names[0] & names[1]
        return sorted((names[0] ^ names[1]) | {name for name in both if here.read(name) != there.read(name)})


def check_archives(sdist, wheel):
    """Check that PyPI accepts and shows the metadata, and that the wheel has the whole package and nothing else."""
    run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel])
    run([sys.executable, "-m", "check_wheel_contents", "--config", ROOT / "pyproject.toml", wheel])
    if found := data_files(wheel):
        raise CheckError(f"{wheel.name}: expected modules, py.typed and metadata alone, got {', '.join(found)}")


def data_files(wheel):
    """The names of what is neither a module, nor py.typed, nor metadata: the package has no data."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    return [name for name in names if not name.endswith((".py", "/py.typed"))]


def try_wheel(wheel, python, age, folder):
    """Install the wheel into an empty environment and run smoke.py there: a row of the table."""
    uv, environment = [sys.executable, "-m", "uv"], folder / "environment"
    row = dict.fromkeys(DISTRIBUTIONS, "")
    try:
        run([*uv, "venv", "--python", python, environment])
        interpreter = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        python = run([interpreter, "-c", "import sys; print(sys.version)"]).partition(" (")[0]
        install = ["pip", "install", "--python", environment, "--only-binary", ":all:"]
        run([*uv, *install, "--resolution", RESOLUTIONS[age], wheel])
        frozen = run([*uv, "pip", "freeze", "--python", environment])
        row = {name: re.search(rf"^{name}==(.*)$", frozen, re.MULTILINE)[1] for name in DISTRIBUTIONS}
        # -I: nothing from the folder, the user's site or PYTHON variables
        run([interpreter, "-I", "-W", "error", SMOKE], cwd=folder)
        result = "ok"
    except CheckError as error:
        print(error, file=sys.stderr)
        result = "FAILED"
    return [python, age, *row.values(), result]


def run(command, cwd=None):
    """The output of a command that must succeed.

    No variable of Python, Numba or this package reaches it: it would change what is built or tried.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise CheckError(f"{shlex.join(command)}: exit status {done.returncode}\n{output}")
    return output


if __name__ == "__main__":
    sys.exit(main())

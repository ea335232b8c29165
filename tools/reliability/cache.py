"""Hard situations for compiled code on disk: each function tries one on copies of the package, and tells what came."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jitlogreg

PACKAGE = Path(jitlogreg.__file__).parent
_NOBODY = 65534

PROGRAM = """
import numpy as np, jitlogreg as jlr
X, y = np.linspace(-2, 2, 60).reshape(20, 3), np.arange(20) % 2
loss, dw, db = jlr.loss_and_gradient(X, y, np.ones(3), 0.5, target="cpu")
a = jlr.forward(X, np.ones(3), 0.5, target="cpu")
print(f"{loss:.12f} {db:.12f} {dw.sum():.12f} {a.sum():.12f}")
"""
DAMAGES = {
    "empty": lambda content: b"",
    "its first half": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"garbage" * 1000,
    "zeros": lambda content: bytes(len(content)),
    "one bit flipped": lambda content: _flipped(content),
}


def _flipped(content):
    code = content.find(b"\x7fELF")
    place = code + (len(content) - code) // 3 if code >= 0 else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@contextlib.contextmanager
def copies(*names):
    """Copies of the package in folders that every user may read, and a folder for a cache."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for copy in names:
            shutil.copytree(PACKAGE, root / copy / "jitlogreg", ignore=shutil.ignore_patterns("__pycache__"))
        yield root
        for path in root.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def command(root, copy, as_nobody=False, **environment):
    """Arguments for subprocess that run PROGRAM on a copy, with a cache in `root` unless told otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "JITLOGREG_"))}
    kept |= {"PYTHONPATH": str(root / copy), "NUMBA_CACHE_DIR": str(root / "cache")} | environment
    arguments = [sys.executable, "-c", PROGRAM]
    if as_nobody and os.geteuid() == 0:
        arguments = ["setpriv", f"--reuid={_NOBODY}", "--clear-groups", "--", *arguments]
    return {"args": arguments, "env": kept, "cwd": root, "text": True, "stdout": -1, "stderr": -1}


def run(*arguments, **named):
    """What PROGRAM printed, and what it said besides."""
    done = subprocess.run(**command(*arguments, **named), check=False)
    return (done.stdout.strip() if done.returncode == 0 else f"exit {done.returncode}"), done.stderr


def right_answer():
    with copies("one") as root:
        answer, complaint = run(root, "one")
    if complaint or answer.startswith("exit"):
        raise RuntimeError(f"{answer}: {complaint}")
    return answer


def can_be_another_user():
    """Whether there is a way to run as a user who may not write: as somebody other than root already, or by setpriv."""
    return hasattr(os, "geteuid") and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


def read_only(answer):
    """Another user, an installation and a home that may not be written to: right answers, and how many warnings."""
    with copies("one") as root:
        for path in [root / "one", *(root / "one").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        nowhere = {"NUMBA_CACHE_DIR": "", "HOME": str(root / "nowhere"), "XDG_CACHE_HOME": ""}
        got = [run(root, "one", as_nobody=True, **nowhere) for _ in range(2)]
        written = list(root.rglob("*.nb[ci]"))
    warnings = [complaint.count("RuntimeWarning: jitlogreg") for _, complaint in got]
    return {
        "right": sum(printed == answer for printed, _ in got),
        "of": 2,
        "warnings": warnings,
        "written": len(written),
    }


def cold(answer, processes=8):
    """Processes that start at once on an empty cache, and once more on what they left: right answers, complaints."""
    right = complaints = 0
    with copies("one") as root:
        for _ in range(2):
            running = [subprocess.Popen(**command(root, "one")) for _ in range(processes)]
            for process in running:
                printed, complaint = process.communicate()
                right += process.returncode == 0 and printed.strip() == answer
                complaints += bool(complaint)
    return {"right": right, "of": 2 * processes, "complaints": complaints}


def damaged(answer, kinds=tuple(DAMAGES), suffixes=("nbc", "nbi")):
    """Each kind of damage to all files of code, or to all indices: right answers, and files of code written anew."""
    right = complaints = files = mended = 0
    with copies("one") as root:
        run(root, "one")
        for suffix in suffixes:
            for kind in kinds:
                paths = sorted((root / "cache").rglob(f"*.{suffix}"))
                for path in paths:
                    path.write_bytes(DAMAGES[kind](path.read_bytes()))
                before = [path.stat().st_mtime_ns for path in paths]
                printed, complaint = run(root, "one")
                right += printed == answer
                complaints += bool(complaint)
                if suffix == "nbi":
                    continue  # a bit of an index may not matter: what it leads to has a checksum
                files += len(paths)
                mended += sum(path.stat().st_mtime_ns > time for path, time in zip(paths, before, strict=True))
    tried = len(kinds) * len(suffixes)
    return {"right": right, "of": tried, "complaints": complaints, "files": files, "mended": mended}


def versions(answer):
    """Two versions that compute differently, with one cache folder, in turn: right answers, and shared files."""
    with copies("one", "two") as root:
        _change(root / "two" / "jitlogreg" / "_version.py", '__version__ = "', '__version__ = "9.')
        source = root / "two" / "jitlogreg" / "pointwise.py"
        _change(source, "where(negative, -size, size)", "where(negative, size, -size)")
        seen, files = {"one": [], "two": []}, {}
        for copy in ("one", "two", "one", "two"):
            before = set((root / "cache").rglob("*.nbc"))
            seen[copy].append(run(root, copy))
            files.setdefault(copy, set((root / "cache").rglob("*.nbc")) - before)
    other = answer.split()
    other[1:3] = [f"{-float(value):.12f}" for value in other[1:3]]  # db and dw of the version that has them negated
    right = seen["one"].count((answer, "")) + seen["two"].count((" ".join(other), ""))
    return {"right": right, "of": 4, "shared files": len(files["one"] & files["two"])}


def _change(path, old, new):
    source = path.read_text(encoding="utf-8")
    if old not in source:
        raise ValueError(f"{path.name} has no {old!r}")
    path.write_text(source.replace(old, new), encoding="utf-8")

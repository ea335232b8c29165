"""Runs that survive: a file with all that the next step depends on, which is replaced whole or not at all.

The file is NumPy's .npz without pickles. Beside the state it holds what the run is, and the loss and gradient with
which it began: two numbers and a vector that hardly any other data gives to the bit.
"""

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from jitlogreg._version import __version__

_KIND = "jitlogreg checkpoint"
_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError)


def check_path(name, path):
    """Check a path, or None."""
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} is of type {type(path).__qualname__}; accepted is a path")
    if path is not None and name == "checkpoint" and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        raise FileNotFoundError(
            f"{name} is {os.fspath(path)!r}; accepted is the path of a file in a folder that exists"
        )


def save(path, run, arrays):
    """Write a checkpoint; whoever is killed meanwhile leaves the one before.

    Parameters
    ----------
    path : str or path-like
    run : dict
        What must be the same when the run goes on: numbers and strings by name.
    arrays : dict of ndarray
        The state.
    """
    path, stamp = Path(path), json.dumps([_KIND, __version__, run])
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, run=np.array(stamp), **arrays)
    whole = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with whole.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        whole.replace(path)
    finally:
        with contextlib.suppress(OSError):
            whole.unlink()


def load(path, run, names):
    """The state in a checkpoint of the same run: arrays of these names.

    Raises
    ------
    FileNotFoundError, OSError
        If it cannot be read.
    ValueError
        If it is damaged or no checkpoint, of another version, or of another run.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # each is compared with its checksum
        kind, version, saved = json.loads(str(arrays.pop("run")))
    except _DAMAGED as error:
        raise _damaged(path) from error
    if kind != _KIND or version != __version__:
        raise ValueError(
            f"resume is {os.fspath(path)!r}, of version {version}; accepted is a checkpoint of this one, {__version__}"
        )
    for name in [*run, *saved]:
        if saved.get(name) != run.get(name):
            raise ValueError(
                f"resume is {os.fspath(path)!r}, of a run whose {name} is {saved.get(name)!r}; it is {run.get(name)!r} "
                "here, and accepted is the same"
            )
    if not all(name in arrays for name in names):
        raise _damaged(path)
    return arrays


def _damaged(path):
    return ValueError(
        f"resume is {os.fspath(path)!r}, which is damaged or no checkpoint; accepted is a file that checkpoint= has "
        "written"
    )


def check_start(path, saved, start_loss, start_gradient):
    """Raise ValueError unless the run began with this loss and gradient."""
    if saved["start_loss"] != start_loss or not np.array_equal(saved["start_gradient"], start_gradient):
        raise ValueError(
            f"resume is {os.fspath(path)!r}, of a run that began with another loss or gradient than this one does; "
            "accepted is a run on the same X, in the same memory order, y and sample_weight, on a processor like this"
        )

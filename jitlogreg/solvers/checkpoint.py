"""Checkpoints: a file with all that the next step depends on, which is replaced whole or not at all.

The file is NumPy's .npz without pickles. Beside the state it holds a description of the run, the loss and gradient at
its start, and a checksum of some rows of X and of all labels, weights and offsets: what hardly any other data gives.
"""

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from jitlogreg import validation
from jitlogreg._version import __version__

_KIND = "jitlogreg checkpoint"
_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError)


class Checkpoint:
    """The file that a run is saved in, and the one that it resumes from.

    A solver calls `restore`, then `begin` with the start of the run, then `save` at each iteration and once more, with
    `is_last`, when the run has ended.

    Parameters
    ----------
    path, resume : path or None
    every : int
        The run is saved at each multiple of so many iterations, and at the last one.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        Unless the paths are paths, `every` is an integer of at least 1, and a file can be made at `path`.
    """

    def __init__(self, path, every, resume):
        self._every = validation.check_count("checkpoint_every", every, least=1)
        _check_path("checkpoint", path)
        _check_path("resume", resume)
        self._path, self._resume = path, resume
        self._run, self._start, self._restored = {}, {}, None

    @property
    def saves(self):
        """Whether the run is saved."""
        return self._path is not None

    @property
    def is_used(self):
        """Whether the run is saved or resumed: its start must be evaluated then."""
        return self.saves or self._resume is not None

    def restore(self, run, names):
        """The state to resume from: arrays of these names, or None if the run starts afresh.

        Parameters
        ----------
        run : dict
            What must be the same in both runs: numbers and strings by name.
        names : tuple of str

        Raises
        ------
        FileNotFoundError, OSError
            If the file cannot be read.
        ValueError
            If it is damaged or no checkpoint, of another version, or of another run.
        """
        self._run = run
        if self._resume is not None:
            self._restored = _load(self._resume, run, ("start_data", "start_loss", "start_gradient", *names))
        return self._restored

    def begin(self, loss, gradient, fingerprint, **start):
        """Take the loss, the gradient and further arrays at the start of the run, which every file will hold.

        Parameters
        ----------
        fingerprint : callable
            Makes a number that hardly any other data has; called if the run is saved or resumed.

        Raises
        ------
        ValueError
            If the run that is resumed is of other data, or began with another loss or gradient.
        """
        if not self.is_used:
            return
        self._start = {"start_data": fingerprint(), "start_loss": loss, "start_gradient": gradient}
        if self._restored is not None:
            _check_start(self._resume, self._restored, self._start)
            self._restored = None
        self._start |= start

    def save(self, iteration, make_state, *, is_last=False):
        """Save the state, arrays by name, if it is due at this iteration.

        Parameters
        ----------
        iteration : int
        make_state : callable
            Returns the state.
        is_last : bool
            Whether the run has ended here: what was saved on the way to the last iteration is not saved again.
        """
        if self.saves and (iteration % self._every == 0) != is_last:
            _replace(self._path, self._run, self._start | make_state())


def _check_path(name, path):
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {validation.described(path)}")
    if path is not None and name == "checkpoint" and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        raise FileNotFoundError(f"{name}: expected the path of a file in a folder that exists, got {os.fspath(path)!r}")


def _replace(path, run, arrays):
    """Write a checkpoint. A process that is killed meanwhile leaves the old one."""
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


def _load(path, run, names):
    """The arrays of these names in a checkpoint of the same run."""
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # each is compared with its checksum
        kind, version, saved = json.loads(str(arrays.pop("run")))
    except _DAMAGED as error:
        raise _damaged(path) from error
    if kind != _KIND or version != __version__:
        raise ValueError(
            f"resume: expected a checkpoint of this version, {__version__}, got {os.fspath(path)!r}, of version "
            f"{version}"
        )
    for name in [*run, *saved]:
        if saved.get(name) != run.get(name):
            raise ValueError(
                f"resume: expected a run whose {name} is {run.get(name)!r}, as it is here, got {os.fspath(path)!r}, "
                f"whose {name} is {saved.get(name)!r}"
            )
    if not all(name in arrays for name in names):
        raise _damaged(path)
    return arrays


def _damaged(path):
    return ValueError(
        f"resume: expected a file that checkpoint= has written, got {os.fspath(path)!r}, which is damaged or no "
        "checkpoint"
    )


def _check_start(path, restored, start):
    """Raise ValueError unless the restored run began as this one."""
    if not all(np.array_equal(restored[name], value) for name, value in start.items()):
        raise ValueError(
            "resume: expected a run on the same X, in the same memory order, y, sample_weight and offset, on a "
            f"processor like this, got {os.fspath(path)!r}, of a run that began with another loss or gradient"
        )

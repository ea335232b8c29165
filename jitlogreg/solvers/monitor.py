"""Who follows a run: a callback, a progress bar, a checkpoint."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitlogreg import validation
from jitlogreg.solvers.checkpoint import Checkpoint


class State(NamedTuple):
    """What a callback is shown, before the step is made. `w` is a copy."""

    iteration: int
    loss: float
    gradient_norm: float
    w: np.ndarray
    b: float


class Progress(NamedTuple):
    """What the callback of a call that makes many fits is shown: how many of them are done, and how many are left."""

    n_done: int
    n_left: int


class Monitor(NamedTuple):
    """The arguments by which a run is followed, once they are checked."""

    callback: Callable[[Any], object] | None
    progress: bool
    checkpoint: Checkpoint

    @classmethod
    def checked(cls, callback, progress, checkpoint, checkpoint_every, resume):
        """The monitor of a solver's arguments of these names.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
        """
        validation.check_callable("callback", callback)
        return cls(callback, progress, Checkpoint(checkpoint, checkpoint_every, resume))


def warn(message, category=RuntimeWarning):
    """Warn at the line of the user who has called the function that calls the caller of this one."""
    # past this, its caller, that one's caller, which is public, and the wrapper of the latter for arrays of others
    warnings.warn(message, category, stacklevel=5)


def is_true(answer):
    """Whether a callback returned True itself: nothing else that it returns stops the run."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)

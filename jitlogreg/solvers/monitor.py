"""Who follows a run: a callback, a progress bar, a checkpoint."""

from collections.abc import Callable
from typing import NamedTuple

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


class Monitor(NamedTuple):
    """The arguments by which a run is followed, once they are checked."""

    callback: Callable[[State], object] | None
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


def is_true(answer):
    """Whether a callback returned True itself: nothing else that it returns stops the run."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)

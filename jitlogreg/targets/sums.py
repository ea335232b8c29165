"""What a target gives back for a block of examples."""

from typing import NamedTuple

import numpy as np


class Sums(NamedTuple):
    """Sums over examples: they add up over blocks, and `objective.finish` alone makes means of them.

    Attributes
    ----------
    loss : float
        Σ sᵢ Lᵢ, in nats.
    dw : ndarray of float64, shape (n,)
        Σ sᵢ dzᵢ xᵢ; zeros where no gradient was asked for.
    db : float
        Σ sᵢ dzᵢ.
    weight : float
        Σ sᵢ.
    valid : bool
        Whether every label lay in [0, 1] and no weight was negative: the targets look at them as they pass.
    """

    loss: float
    dw: np.ndarray
    db: float
    weight: float
    valid: bool


class Steps(NamedTuple):
    """What a target that descends by itself has reached.

    Attributes
    ----------
    losses : list of float
        Of each step since the last such report; the last is that of `w` and `b`.
    gradient_norm : float
    w : ndarray of the descent's dtype, shape (n,)
    b : scalar of the descent's dtype
    weight : float
        Σ sᵢ.
    valid : bool
        Whether every label lay in [0, 1] and no weight was negative.
    """

    losses: list
    gradient_norm: float
    w: np.ndarray
    b: np.floating
    weight: float
    valid: bool

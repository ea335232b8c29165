"""Pointwise steps of K outputs: what happens to the K margins of each row of a block between the two passes over X.

The margins of a model lie side by side, those of the next `t.rows` numbers on. A step is a compile-time parameter of a
kernel, as in `targets.cpu.epilogue`:

    each(σ)        out = σ(z), for K independent models; no accumulation, no totals
    SIGMOID        K independent models: z ← s·dz, and totals LOSS, DB, WEIGHT, INVALID of each
    SOFTMAX        one model of K classes: likewise, with LOSS, WEIGHT and INVALID among the totals of class 0

`apply(t, i, block, z, state, totals, counts)` takes a block's rows from row i on. `block` says how many there are, how
many of them are padding, and whether no others follow that belong to the same sums. `state` is the address of memory
that is zero at first: `shared` vectors for all models, then `own` for each. `counts`, which it returns, is what is
summed there: examples of a segment, and segments. With no examples pending the accumulators may be flushed.
"""

from collections.abc import Callable
from typing import NamedTuple

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import load_scalar, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.vectors import broadcast_as, load, store


class OutputsEpilogue(NamedTuple):
    """A pointwise step of K outputs: see the module."""

    apply: Callable
    finish: Callable
    shared: int = 0
    own: int = 0
    inputs: int = 1
    """How many matrices of coefficients X is multiplied by."""
    accumulates: bool = True

    @property
    def room(self):
        """What `chunks.memory` asks."""
        return self.shared, self.own, self.inputs


@inline
def finish_nothing(t, state, z, totals, counts):
    """Of an epilogue whose totals are complete after each block."""


@inline
def write_outputs(t, i, rows, z, step):
    """Copy the K numbers of each row to `t.out`, whose rows have them side by side."""
    out = offset(pointer_to(t.out, z), i * t.outputs)
    for r in range(rows):
        for k in range(t.outputs):
            store_scalar(out, r * t.outputs + k, load_scalar(z, k * step + r))


def each(function):
    """The epilogue that writes a function of each margin."""

    @inline
    def apply(t, i, block, z, state, totals, counts):
        (rows, pad, _), like = block, broadcast_as(0.0, z)
        for k in range(t.outputs):
            for r in range(k * t.rows, k * t.rows + rows, LANES):
                store(z, r, function(load(z, r, like)))
        write_outputs(t, i, rows - pad, z, t.rows)
        return counts

    return OutputsEpilogue(apply, finish_nothing, accumulates=False)

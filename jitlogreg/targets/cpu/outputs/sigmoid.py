"""K independent models: each has the sums of one alone, in the same order, and keeps them in memory between blocks.

SIGMOID    z ← s·dz; totals LOSS, DB, WEIGHT, INVALID of each
PRODUCT    z ← s·σ(z)σ(−z)·u, with the margins u of K more vectors; total DB of each
"""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.epilogue import SEGMENTS, TOTALS, add_losses, add_products, examples, finish_loss
from jitlogreg.targets.cpu.outputs.epilogue import OutputsEpilogue, finish_nothing
from jitlogreg.targets.cpu.pointers import offset, pointer_to
from jitlogreg.targets.cpu.vectors import broadcast_as, load, splat, store

# Vectors of a model: three sums in float64 and two in w's dtype of the segment, and the same of the merged segments;
# then the products of segments
_WIDE, _NARROW = 6, 4
_OWN = _WIDE + _NARROW + SEGMENTS

# Vectors that labels and weights of the remainder are copied to
_SHARED = 2


@inline
def _apply(t, i, block, z, state, totals, counts):
    rows, pad, ends = block
    copies = pointer_to(state, z)
    after = counts
    for k in range(t.outputs):
        y = examples(t.y, i + k * t.y_step, pad, copies)
        s = examples(t.s, i * t.weighted + k * t.s_step, pad, offset(copies, LANES))
        before = _load(t, state, z, totals, counts, k)
        now = add_losses((y, s, t.weighted > 0 or pad > 0), rows, ends, offset(z, k * t.rows), before)
        _store(state, z, now, k)
        after = now[1], now[3]
    return after


@inline
def _finish(t, state, z, totals, counts):
    for k in range(t.outputs):
        finish_loss(_load(t, state, z, totals, counts, k))


@inline
def _memory_of(state, z, k):
    """Where the sums of model k are: those in float64, those in w's dtype, and the products."""
    own = state + 8 * LANES * (_SHARED + k * _OWN)
    narrow = pointer_to(own + 8 * LANES * _WIDE, z)
    return pointer_to(own, 0.0), narrow, offset(narrow, LANES * _NARROW)


@inline
def _load(t, state, z, totals, counts, k):
    """The state of `epilogue.add_losses` of model k."""
    wide, narrow, products = _memory_of(state, z, k)
    f, like, own = splat(0.0), broadcast_as(0.0, z), k * (t.n_padded + TOTALS) + t.n_padded
    sums = load(wide, 0, f), load(wide, 8, f), load(wide, 16, f), load(narrow, 0, like), load(narrow, 8, like)
    merged = load(wide, 24, f), load(wide, 32, f), load(wide, 40, f), load(narrow, 16, like), load(narrow, 24, like)
    return sums, counts[0], merged, counts[1], offset(totals[0], own), offset(totals[1], own), products


@inline
def _store(state, z, after, k):
    wide, narrow, _ = _memory_of(state, z, k)
    sums, merged = after[0], after[2]
    store(wide, 0, sums[0])
    store(wide, 8, sums[1])
    store(wide, 16, sums[2])
    store(narrow, 0, sums[3])
    store(narrow, 8, sums[4])
    store(wide, 24, merged[0])
    store(wide, 32, merged[1])
    store(wide, 40, merged[2])
    store(narrow, 16, merged[3])
    store(narrow, 24, merged[4])


SIGMOID = OutputsEpilogue(_apply, _finish, shared=_SHARED, own=_OWN)


# ---------------------------------------------------------------- curvature


@inline
def _apply_product(t, i, block, z, state, totals, counts):
    """Replace the margins z of each model by s·σ(z)σ(−z)·u, with the margins u of its vector, and add these to DB."""
    (rows, pad, _), copies, width = block, pointer_to(state, z), t.n_padded + TOTALS
    for k in range(t.outputs):
        s = examples(t.s, i * t.weighted + k * t.s_step, pad, copies)
        u = offset(z, (t.outputs + k) * t.rows)
        own = offset(totals[0], k * width + t.n_padded), offset(totals[1], k * width + t.n_padded)
        add_products((s, t.weighted > 0 or pad > 0), rows, offset(z, k * t.rows), u, own)
    return counts


PRODUCT = OutputsEpilogue(_apply_product, finish_nothing, shared=_SHARED, inputs=2)

"""Pointwise steps: what happens to the margins of a block of rows between the two passes over X.

An epilogue is a compile-time parameter of a kernel. It replaces margins z by what the accumulation multiplies the rows
with, or writes activations, and adds the sums of examples to the totals:

    activation(σ)   out = σ(z); no accumulation, no totals
    LOSS_GRADIENT   z ← s·dz, also written to `out` if there is one; totals LOSS, DB, WEIGHT, INVALID
    PRODUCT         z ← s·σ(z)σ(−z)·u, with the margins u of a second vector; total DB
    SQRT_CURVATURE  z ← √(s·σ(z)σ(−z)); no totals
    GIVEN           z ← numbers of the caller's; no totals

A new pointwise step is one more `Epilogue` here. `start(w, high, low, work)` gives what it keeps from block to block,
`apply(t, i, rows, pad, ends, z, u, state)` takes `rows` margins from row i on, and `finish(state)` ends. `apply`
returns its state and whether to flush the accumulators. `ends` says that no rows follow which belong to the same sums.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg import pointwise
from jitlogreg.simd import LANES, fma, ones, sqrt, where, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import add_number
from jitlogreg.targets.cpu.pointers import load_scalar, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.vectors import (
    broadcast_as,
    horizontal_compound,
    horizontal_sum,
    lane,
    load,
    minimum,
    splat,
    store,
    widen,
)

# The totals of examples that a kernel adds to, and the room that they take, a whole vector
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = LANES

# The examples that are summed in lanes before they go to the totals. Eight terms a lane: with the pairwise sum of the
# lanes a term meets at most 11 roundings of the 32 that the bound on sums allows
SEGMENT = 64

# The segments whose sums are merged in lanes: eight roundings more. Their products take six in a tree of three levels,
# after 16 within a segment, and six in the lanes: 29 with the logarithm. Reducing the lanes for every segment took
# 0.4 ns per example, an eighth of all that two columns take (Zen 5)
SEGMENTS = 8

# Numbers that an epilogue works in: products of segments, and labels and weights of the remainder
WORK = (SEGMENTS + 2) * LANES


class Epilogue(NamedTuple):
    """A pointwise step: see the module."""

    name: str
    start: Callable
    apply: Callable
    finish: Callable
    vectors: int = 1
    """How many vectors X is multiplied by: the second lies where labels do otherwise, its intercept behind it. Kernels
    of sparse rows know of 0."""
    accumulates: bool = True
    """Whether a second pass over the rows follows."""


@inline
def _no_state(w, high, low, work):
    """Of an epilogue that keeps nothing."""
    return high, low, work


@inline
def _nothing_left(state):
    """Of an epilogue whose totals are complete after each block."""


@inline
def add_offset(t, i, rows, pad, z):
    """Add offsets, from number i on, to the margins of `rows` examples, of which `pad` are padding."""
    if t.offset != 0:
        p, like = offset(pointer_to(t.offset, z), i), broadcast_as(0.0, z)
        full = (rows - pad) // LANES * LANES
        for r in range(0, full, LANES):
            store(z, r, load(z, r, like) + load(p, r, like))
        for r in range(full, rows - pad):
            store_scalar(z, r, load_scalar(z, r) + load_scalar(p, r))


# ---------------------------------------------------------------- remainder


@inline
def examples(address, i, pad, to):
    """Labels or weights at an address, from number i on. Those of a remainder are copied to `to`, padded with zeros.

    There the weights are ones if there are none, and their address is 0.
    """
    p = offset(pointer_to(address, to), i)
    if pad == 0:
        return p
    for r in range(LANES):
        store_scalar(to, r, 0)
        if r < LANES - pad:
            store_scalar(to, r, 1)
            if address != 0:
                store_scalar(to, r, load_scalar(p, r))
    return to


@inline
def _weights(t, i, pad, work):
    """The weights from row i on."""
    return examples(t.s, i * t.weighted, pad, offset(work, (SEGMENTS + 1) * LANES))


# ---------------------------------------------------------------- activations


@inline
def _write(z, t, i, rows, pad):
    """Copy a block to `t.out`, which has no room for padding."""
    out, like = offset(pointer_to(t.out, z), i), broadcast_as(0.0, z)
    if pad == 0:
        for r in range(0, rows, LANES):
            store(out, r, load(z, r, like))
    else:
        for r in range(LANES - pad):
            store_scalar(out, r, load_scalar(z, r))


def activation(function):
    """The epilogue that writes a function of the margins to `t.out`."""

    @inline
    def apply(t, i, rows, pad, ends, z, u, state):
        out, like = offset(pointer_to(t.out, z), i), broadcast_as(0.0, z)
        if pad > 0:
            store(z, 0, function(load(z, 0, like)))
            _write(z, t, i, rows, pad)
        else:
            for r in range(0, rows, LANES):
                store(out, r, function(load(z, r, like)))
        return state, False

    return Epilogue(function.__name__, _no_state, apply, _nothing_left, accumulates=False)


@inline
def margin(z):
    """z itself."""
    return z


@inline
def _apply_given(t, i, rows, pad, ends, z, u, state):
    """Put numbers of the caller's, where labels do otherwise, in place of margins."""
    p = offset(pointer_to(t.y, z), i)
    for r in range(rows - pad):
        store_scalar(z, r, load_scalar(p, r))
    return state, True


# ---------------------------------------------------------------- loss and residual


@inline
def _start_sums(w, high, low, work):
    """Nothing is summed yet: neither in the segment, of which no example is there, nor in the merged segments."""
    like = broadcast_as(0.0, w)
    none = np.int64(0)  # no literal, whose type would be another one
    return _no_sums(like), none, _no_sums(like), none, high, low, work


@inline
def _no_sums(like):
    """The sums, in lanes, of no examples: losses, residuals, weights, 1 + e, bad labels and weights."""
    loss = splat(0.0)
    return loss, loss, loss, zeros(like), zeros(like)


@inline
def _apply_loss(t, i, rows, pad, ends, z, u, state):
    """Replace margins by s·dz, and add to the sums."""
    work = state[6]
    y = examples(t.y, i, pad, offset(work, SEGMENTS * LANES))
    s, weighted = _weights(t, i, pad, work), t.weighted > 0 or pad > 0
    state = add_losses((y, s, weighted), rows, ends, z, state)
    if t.out != 0:
        _write(z, t, i, rows, pad)
    return state, state[1] == 0


@inline
def add_losses(of_examples, rows, ends, z, state):
    """Replace margins by s·dz, given labels, weights, and whether there are weights, and add to the sums."""
    (y, s, weighted), (sums, pending, merged, segments, high, low, work) = of_examples, state
    for r in range(0, rows, SEGMENT):
        examples = minimum(SEGMENT, rows - r)
        sums = _residuals(offset(z, r), offset(y, r), offset(s, r), weighted, examples, sums)
        pending += examples
        if pending >= SEGMENT or (ends and r + examples >= rows):
            merged = _merge_segment(sums, merged, work, segments)
            sums, pending, segments = _no_sums(sums[3]), pending - pending, segments + 1
            if segments == SEGMENTS:
                _add_segments(merged, work, segments, high, low)
                merged, segments = _no_sums(sums[3]), segments - segments
    return sums, pending, merged, segments, high, low, work


@inline
def finish_loss(state):
    """Add the segments that are left to the totals."""
    _, _, merged, segments, high, low, work = state
    if segments > 0:
        _add_segments(merged, work, segments, high, low)


@inline
def _residuals(z, y, s, weighted, rows, sums):
    """Replace `rows` margins by s·dz, and add to `sums`, which may hold SEGMENT examples.

    Without weights the losses' logarithms become one: 1 + p ← (1 + p)(1 + e), a sum of positive terms, so that
    p is within 16 roundings of itself after eight factors. A logarithm for each example costs half as much again as all
    else here.

    Labels and weights are checked on the way: a label is good if y (1 − y) ≥ 0, which is false for NaN.
    """
    loss, db, weight, p, invalid = sums
    zero, one = zeros(p), ones(p)
    if weighted:
        for i in range(0, rows, LANES):
            yi, si = load(y, i, p), load(s, i, p)
            loss_i, dz_i = pointwise.loss_and_residual(load(z, i, p), yi)
            weighted_dz = si * dz_i
            store(z, i, weighted_dz)
            # in float64: a sum of float32 may leave the range of float32
            loss += widen(si) * widen(loss_i)
            db += widen(weighted_dz)
            weight += widen(si)
            invalid = where(yi * (one - yi) >= zero, where(si >= zero, invalid, one), one)
    else:
        total = zero
        for i in range(0, rows, LANES):
            yi = load(y, i, p)
            e, linear, dz_i = pointwise.loss_terms_and_residual(load(z, i, p), yi)
            store(z, i, dz_i)
            p = fma(p, e, p + e)
            loss += widen(linear)
            total += dz_i
            invalid = where(yi * (one - yi) >= zero, invalid, one)
        db += widen(total)
        weight += splat(float(rows) / LANES)
    return loss, db, weight, p, invalid


@inline
def _merge_segment(sums, merged, products, k):
    """Add a segment's sums to the merged ones, and store its product in place k."""
    loss, db, weight, p, invalid = sums
    store(products, k * LANES, p)
    return merged[0] + loss, merged[1] + db, merged[2] + weight, merged[3], merged[4] + invalid


@inline
def _add_segments(merged, products, k, high, low):
    """Add k merged segments to the totals."""
    loss, db, weight, like, invalid = merged
    for i in range(k, SEGMENTS):
        store(products, i * LANES, zeros(like))
    half = SEGMENTS // 2
    while half > 0:
        for i in range(half):
            x, y = load(products, i * LANES, like), load(products, (i + half) * LANES, like)
            store(products, i * LANES, fma(x, y, x + y))  # (1 + x)(1 + y) − 1
        half //= 2
    product = splat(horizontal_compound(load(products, 0, like)))
    log_product = lane(pointwise.log1p_nonnegative(product), 0)  # libm's differs between systems
    add_number(offset(high, LOSS), offset(low, LOSS), horizontal_sum(loss) + log_product)
    add_number(offset(high, DB), offset(low, DB), horizontal_sum(db))
    add_number(offset(high, WEIGHT), offset(low, WEIGHT), horizontal_sum(weight))
    add_number(offset(high, INVALID), offset(low, INVALID), horizontal_sum(invalid))


# ---------------------------------------------------------------- curvature


@inline
def _apply_product(t, i, rows, pad, ends, z, u, state):
    """Replace margins z by s·σ(z)σ(−z)·u, and add these to DB, a segment at a time."""
    high, low, work = state
    add_products((_weights(t, i, pad, work), t.weighted > 0 or pad > 0), rows, z, u, (high, low))
    return state, True


@inline
def add_products(of_examples, rows, z, u, totals):
    """Replace margins z by s·σ(z)σ(−z)·u, given weights and whether there are any, and add these to DB."""
    (s, weighted), (high, low), like = of_examples, totals, broadcast_as(0.0, z)
    for first in range(0, rows, SEGMENT):
        total = splat(0.0)
        for r in range(first, minimum(first + SEGMENT, rows), LANES):
            h = pointwise.curvature(load(z, r, like)) * load(u, r, like)
            if weighted:
                h = load(s, r, like) * h
            store(z, r, h)
            total += widen(h)
        add_number(offset(high, DB), offset(low, DB), horizontal_sum(total))


@inline
def _apply_sqrt_curvature(t, i, rows, pad, ends, z, u, state):
    """Replace margins by √(s·σ(z)σ(−z))."""
    _, _, work = state
    s, weighted, like = _weights(t, i, pad, work), t.weighted > 0 or pad > 0, broadcast_as(0.0, z)
    for r in range(0, rows, LANES):
        h = pointwise.curvature(load(z, r, like))
        if weighted:
            h = load(s, r, like) * h
        store(z, r, sqrt(h))
    return state, True


LOSS_GRADIENT = Epilogue("loss_gradient", _start_sums, _apply_loss, finish_loss)
PRODUCT = Epilogue("product", _no_state, _apply_product, _nothing_left, vectors=2)
SQRT_CURVATURE = Epilogue("sqrt_curvature", _no_state, _apply_sqrt_curvature, _nothing_left)
GIVEN = Epilogue("given", _no_state, _apply_given, _nothing_left, vectors=0)

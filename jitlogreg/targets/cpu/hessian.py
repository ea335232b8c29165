"""The Hessian's accumulation, XᵀDX from one read of X, in place of a gradient's.

The Hessian is summed in tiles. A block of rows is scaled by √(s·σ(z)σ(−z)), so that a tile is AᵀA, and packed, in
float64, into packed panels of eight columns, each a run of memory: any order and dtype of X comes to the same loop, and
the column of ones for the intercept is just one more. Rows of packed panels are multiplied four columns by eight at a
time, eight vectors of AVX in registers, which is what the two units of today's processors need to be always busy.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jitlogreg.simd import LANES, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import compensated
from jitlogreg.targets.cpu.matrix import column_moments, load_column, load_row, scaled_columns
from jitlogreg.targets.cpu.pointers import load_scalar, offset, store_scalar
from jitlogreg.targets.cpu.vectors import broadcast_as, fma_each, lane, load, splat, store, store_transposed

# Rows that are packed at once, and added up before they go to the totals: in runs of sixteen, so that a term meets at
# most 16 + 8 roundings of the 32 that the bound on sums allows. A packed panel of them is 8 KB
BLOCK, RUN = 128, 16

# Numbers of a tile, the products of two panels
TILE = LANES * LANES


def panel_count(n):
    """The packed panels of n columns and the one of ones."""
    return n // LANES + 1


def tile_count(n):
    """The tiles of the lower half."""
    return panel_count(n) * (panel_count(n) + 1) // 2


def pack_size(n):
    """Numbers that a task packs."""
    return BLOCK * panel_count(n) * LANES


def unpack_symmetric(tiles, n):
    """The symmetric matrix (n + 1, n + 1) from tiles of its lower half: of panels (0, 0), (1, 0), (1, 1), (2, 0) …"""
    return tiles[_places(n)]


@functools.lru_cache(maxsize=1)  # 32 MB for 2,000 columns
def _places(n):
    """Where in the tiles each number of the matrix is found."""
    larger, smaller = np.maximum.outer(range(n + 1), range(n + 1)), np.minimum.outer(range(n + 1), range(n + 1))
    first, second = larger // LANES, smaller // LANES
    # within a tile of two panels the column of the second comes first, and within the diagonal's both halves are there
    return (first * (first + 1) // 2 + second) * TILE + smaller % LANES * LANES + larger % LANES


class Accumulation(NamedTuple):
    """What stands in place of a layout's accumulation of the gradient."""

    accumulate_gradient: Callable
    flush_gradient: Callable


def _accumulation(pack):
    """The accumulation of rows that are packed by a function."""

    @inline
    def accumulate(x, shape, i, rows, pad, scale, g, high, low, ahead):
        ld, n, _ = shape
        panels = n // LANES + 1
        packed, like = offset(g, panels * (panels + 1) // 2 * TILE), broadcast_as(0.0, scale)
        pack(x, ld, n, i, rows, pad, scale, packed, like)
        full = (rows + RUN - 1) // RUN * RUN
        for r in range(rows - pad, full):
            for j in range(0, n + 1, LANES):
                store(packed, j * BLOCK + r * LANES, zeros(like))
        _multiply(packed, panels, full, g, like)

    return Accumulation(accumulate, compensated.flush)


@inline
def _pack_rows(x, ld, n, i, rows, pad, scale, packed, like):
    """Write [x, 1] times its scale into packed panels, for rows of C order."""
    full = n // LANES * LANES
    for r in range(rows - pad):
        row, factor = (i + r) * ld, splat(load_scalar(scale, r))
        for j in range(0, full, LANES):
            store(packed, j * BLOCK + r * LANES, load_row(x, row, j, None, like) * factor)
        last = offset(packed, full * BLOCK + r * LANES)
        store(last, 0, load_row(x, row, full, n - full, like) * factor)
        store_scalar(last, n - full, load_scalar(scale, r))


@inline
def _pack_columns(x, ld, n, i, rows, pad, scale, packed, like):
    """Write [x, 1] times its scale into packed panels, for rows of F order."""
    full, count = n // LANES * LANES, LANES - pad
    for r in range(0, rows, LANES):
        factor = load(scale, r, like)
        for j in range(0, full, LANES):
            first, moments = i + r + j * ld, column_moments(x, j, 8, like)
            if pad > 0:
                store_transposed(packed, j * BLOCK + r * LANES, scaled_columns(x, first, ld, moments, count, factor))
            else:
                store_transposed(packed, j * BLOCK + r * LANES, scaled_columns(x, first, ld, moments, None, factor))
        rest = offset(packed, full * BLOCK + r * LANES)
        for k in range(LANES):
            store(rest, k * LANES, zeros(like))
            store_scalar(rest, k * LANES + n - full, load_scalar(scale, r + k))
        for j in range(full, n):
            numbers = load_column(x, i + r + j * ld, column_moments(x, j, 1, like), count, like) * factor
            for k in range(LANES):
                store_scalar(rest, k * LANES + j - full, lane(numbers, k))


BY_ROWS, BY_COLUMNS = _accumulation(_pack_rows), _accumulation(_pack_columns)


@inline
def _multiply(packed, panels, count, g, like):
    """Add the products of all packed panels, of `count` rows in whole runs, to the tiles g of the lower half."""
    tile = 0
    for first in range(panels):
        for second in range(first + 1):
            p, q = offset(packed, first * LANES * BLOCK), offset(packed, second * LANES * BLOCK)
            for half in range(0, LANES, 4):
                to = offset(g, tile + half * LANES)
                for start in range(0, count, RUN):
                    _add_run(offset(p, start * LANES), offset(q, start * LANES + half), to, like)
            tile += TILE


@inline
def _add_run(p, q, g, like):
    """Add Σ q[r, k]·p[r] over a run of rows to vector k of g, for four columns k."""
    sums = zeros(like), zeros(like), zeros(like), zeros(like)
    for r in range(RUN):
        sums = fma_each(q, r * LANES, load(p, r * LANES, like), sums)
    store(g, 0, load(g, 0, like) + sums[0])
    store(g, LANES, load(g, LANES, like) + sums[1])
    store(g, 2 * LANES, load(g, 2 * LANES, like) + sums[2])
    store(g, 3 * LANES, load(g, 3 * LANES, like) + sums[3])

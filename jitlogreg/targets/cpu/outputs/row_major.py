"""Row-major layout of K outputs: margins and gradients of the models side by side, each in the order of one alone.

A tile of rows and models keeps its sums in registers and loads each number of X once for all of its models. Only the
first models of a block prefetch, as much as one model alone does.

`shape` is that of `targets.cpu.row_major`, `i` a row, `pad` of them padding. `of` has the number of models, and how far
apart the numbers of one and the next lie: of coefficients (the intercept behind the padded ones), margins,
accumulators, and totals.
"""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import row_major
from jitlogreg.targets.cpu.matrix import prefetch
from jitlogreg.targets.cpu.outputs.tiles import (
    add_weighted_rows,
    make_fma_tile,
    make_store_dots,
    nothing,
    splat_rows,
)
from jitlogreg.targets.cpu.pointers import load_scalar, offset
from jitlogreg.targets.cpu.vectors import broadcast_as, load_each, minimum, splat, store, transpose_sum

UNROLL = row_major.UNROLL

# Models of the largest tile: four rows times four models are 16 sums. Room for what its eight rows leave, a vector each
MODELS = 4
DOTS = MODELS * LANES * LANES

_OF_MODEL = LANES * LANES


@inline
def margins(x, shape, of, i, rows, pad, w, z, dots, ahead):
    """z_k[:rows] = x·w_k + b_k, in the order of `row_major.margins`; `dots` has room for DOTS numbers."""
    ld, n, sequential = shape
    models, w_step, z_step, _, _ = of
    if pad > 0 or n == ld == 2:
        for k in range(models):
            own, like = offset(w, k * w_step), splat(load_scalar(w, (k + 1) * w_step - LANES))
            row_major.margins(x, shape, i, rows, pad, own, like, offset(z, k * z_step), 0, False)
        return
    first, step = 0, 2 if ahead > 0 else 0
    while first < models:
        own, count = offset(w, first * w_step), tile_size(models - first)
        for r in range(0, rows, LANES):
            row, line = (i + r) * ld, (i + r // 2) * ld + ahead
            if sequential:
                _sequential_dots(x, row, ld, n, own, w_step, count, dots, line, step)
            else:
                _dots(x, row, ld, n, own, w_step, count, dots, line, step)
            for k in range(count):
                sums = transpose_sum(load_each(dots, k * _OF_MODEL, broadcast_as(0.0, z)))
                b = splat(load_scalar(own, (k + 1) * w_step - LANES))
                store(z, (first + k) * z_step + r, sums + b)
        first, ahead, step = first + count, 0, 0


@inline
def tile_size(models):
    """How many of so many models the next tile has."""
    return MODELS if models >= MODELS else minimum(models, 2)


@inline
def _dots(x, i, ld, n, w, w_step, count, dots, line, step):
    """Eight rows times some models, four rows side by side."""
    if count == 4:
        _dots4(x, i, ld, n, w, w_step, dots, line, step)
    elif count == 2:
        _dots2(x, i, ld, n, w, w_step, dots, line, step)
    else:
        _dots1(x, i, ld, n, w, w_step, dots, line, step)


@inline
def _sequential_dots(x, i, ld, n, w, w_step, count, dots, line, step):
    """The same of rows that a model alone takes one after another. More than eight sums do not fit beside x and w."""
    if count == 1:
        _sequential1(x, i, ld, n, w, w_step, dots, line, step)
    else:
        _sequential2(x, i, ld, n, w, w_step, dots, line, step)
    if count == 4:
        _sequential2(x, i, ld, n, offset(w, 2 * w_step), w_step, offset(dots, 2 * _OF_MODEL), i, 0)


def _make_dots(models):
    count, fma_tile, store_dots = 4 * models, make_fma_tile(4, 1, (0,)), make_store_dots(4, 1)

    @inline
    def dots_of_models(x, i, ld, n, w, w_step, dots, line, step):
        like, full = broadcast_as(0.0, w), n // LANES * LANES
        for first in range(0, LANES, 4):
            row, prefetched = i + first * ld, line + first // 4 * step * ld
            sums = nothing(like, count)
            for j in range(0, full, LANES):
                prefetch(x, prefetched + step * j, 2)
                sums = fma_tile(x, row, j, ld, None, w, w_step, sums)
            if full < n:
                prefetch(x, prefetched + step * full, 2)
                sums = fma_tile(x, row, full, ld, n - full, w, w_step, sums)
            store_dots(dots, first, _OF_MODEL, sums)

    return dots_of_models


def _make_sequential_dots(models):
    rows, count, store_dots = 2, 8 * models, make_store_dots(2, 4)
    fma_all, fma_first, fma_second = (make_fma_tile(2, 4, to) for to in ((0, 1, 2, 3), (0,), (1,)))

    @inline
    def dots_of_models(x, i, ld, n, w, w_step, dots, line, step):
        like, unrolled, full = broadcast_as(0.0, w), n // UNROLL * UNROLL, n // LANES * LANES
        for first in range(0, LANES, rows):
            row, prefetched = i + first * ld, line + first // 4 * step * ld
            sums = nothing(like, count)
            for j in range(0, unrolled, UNROLL):
                prefetch(x, prefetched + step * j, 2)
                prefetch(x, prefetched + step * (j + LANES), 2)
                sums = fma_all(x, row, j, ld, None, w, w_step, sums)
            for j in range(unrolled, full, LANES):
                sums = fma_first(x, row, j, ld, None, w, w_step, sums)
            if full < n:
                sums = fma_second(x, row, full, ld, n - full, w, w_step, sums)
            store_dots(dots, first, _OF_MODEL, sums)

    return dots_of_models


_dots4, _dots2, _dots1 = _make_dots(4), _make_dots(2), _make_dots(1)
_sequential2, _sequential1 = _make_sequential_dots(2), _make_sequential_dots(1)


# ---------------------------------------------------------------- accumulation


@inline
def accumulate_gradient(x, shape, of, i, rows, pad, dz, g, totals, ahead):
    """g_k += dz_kᵀx for the rows from row i on, in the order of `row_major.accumulate_gradient`."""
    ld, n, _ = shape
    models, _, z_step, g_step, _ = of
    if pad > 0 or n == ld == 2:
        for k in range(models):
            own = offset(g, k * g_step)
            row_major.accumulate_gradient(x, shape, i, rows, pad, offset(dz, k * z_step), own, own, own, 0)
        return
    first = 0
    while first < models:
        own, d, pair = offset(g, first * g_step), offset(dz, first * z_step), models - first >= 2
        for r in range(0, rows, LANES):
            row = (i + r) * ld
            if not pair:
                _add_one(x, row, ld, n, offset(d, r), z_step, own, g_step)
            elif first == 0 and ahead > 0:
                line = (i + rows // 2 + r // 2) * ld + ahead
                _add_two_and_prefetch(x, row, ld, n, offset(d, r), z_step, own, g_step, line)
            else:
                _add_two(x, row, ld, n, offset(d, r), z_step, own, g_step)
        first += 2 if pair else 1


def _make_add(models):
    @inline
    def add(x, i, ld, n, dz, z_step, g, g_step):
        """Eight rows."""
        full, d = n // LANES * LANES, splat_rows(dz, 0, z_step, models, broadcast_as(0.0, dz))
        for j in range(0, full, LANES):
            add_weighted_rows(x, i, j, ld, None, d, g, g_step)
        if full < n:
            add_weighted_rows(x, i, full, ld, n - full, d, g, g_step)

    return add


_add_two, _add_one = _make_add(2), _make_add(1)


@inline
def _add_two_and_prefetch(x, i, ld, n, dz, z_step, g, g_step, line):
    """`_add_two`, and half of eight rows to come, from element `line` on."""
    full, d = n // LANES * LANES, splat_rows(dz, 0, z_step, 2, broadcast_as(0.0, dz))
    for j in range(0, full, LANES):
        prefetch(x, line + 4 * j, 4)
        add_weighted_rows(x, i, j, ld, None, d, g, g_step)
    if full < n:
        prefetch(x, line + 4 * full, 4)
        add_weighted_rows(x, i, full, ld, n - full, d, g, g_step)


flush_gradient = row_major.flush_gradient

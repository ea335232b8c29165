"""Column-major layout of K outputs: margins and gradients of the models side by side, each in the order of one alone.

Eight columns of a block of rows are used for one pair of models after another while they are in L1. Only the first pair
prefetches. `shape` and `of` are those of `targets.cpu.outputs.row_major`.
"""

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import column_major
from jitlogreg.targets.cpu.column_major import ROWS_AT_ONCE
from jitlogreg.targets.cpu.compensated import add_vector
from jitlogreg.targets.cpu.matrix import column_moments, column_starts, prefetch
from jitlogreg.targets.cpu.outputs.tiles import add_weighted_columns, fma_columns_of_models, nothing, splat_rows
from jitlogreg.targets.cpu.pointers import load_scalar, offset
from jitlogreg.targets.cpu.vectors import broadcast_as, minimum, splat, store, transpose_sum


@inline
def margins(x, shape, of, i, rows, pad, w, z, dots, ahead):
    """z_k[:rows] = x·w_k + b_k, in the order of `column_major.margins`; `dots` is not needed."""
    (ld, n, _), (models, w_step, z_step, _, _) = shape, of
    full = n // LANES * LANES
    if pad > 0:
        for k in range(models):
            own, b = offset(w, k * w_step), splat(load_scalar(w, (k + 1) * w_step - LANES))
            column_major.margins(x, shape, i, rows, pad, own, b, offset(z, k * z_step), 0, False)
        return
    like = broadcast_as(0.0, z)
    for k in range(models):
        b = splat(load_scalar(w, (k + 1) * w_step - LANES))
        for r in range(0, rows, LANES):
            store(z, k * z_step + r, b)
    for j in range(0, full, LANES):
        first, moments, k = i + j * ld, column_moments(x, j, 8, like), 0
        while k < models:
            of_models, margin, line = offset(w, k * w_step), offset(z, k * z_step), first + (ahead if k == 0 else 0)
            if models - k >= 2:
                weights = splat_rows(of_models, j, w_step, 2, like)
                for r in range(0, rows, LANES):
                    column_major.prefetch4(x, line + r, ld)
                    add_weighted_columns(x, first + r, ld, moments, weights, margin, r, z_step)
            else:
                weight = splat_rows(of_models, j, w_step, 1, like)
                for r in range(0, rows, LANES):
                    column_major.prefetch4(x, line + r, ld)
                    add_weighted_columns(x, first + r, ld, moments, weight, margin, r, z_step)
            k += 2 if models - k >= 2 else 1
    for j in range(full, n):
        for k in range(models):
            column_major.add_column(x, i, j, ld, rows, offset(w, k * w_step), offset(z, k * z_step), ahead, like)


# ---------------------------------------------------------------- accumulation


@inline
def accumulate_gradient(x, shape, of, i, rows, pad, dz, g, totals, ahead):
    """Add dz_kᵀx of the rows from row i on to the totals, in the order of `column_major.accumulate_gradient`."""
    (ld, n, _), (models, _, z_step, _, width), (high, low) = shape, of, totals
    if pad > 0:
        for k in range(models):
            to, rest = offset(high, k * width), offset(low, k * width)
            column_major.accumulate_gradient(x, shape, i, rows, pad, offset(dz, k * z_step), to, to, rest, 0)
        return
    like, last = broadcast_as(0.0, dz), i + (n - 1) * ld
    for j in range(0, n, LANES):
        starts = column_starts(i + j * ld, ld, last)
        left_moments, right_moments = column_moments(x, j, 4, like), column_moments(x, j + 4, 4, like)
        for r in range(0, rows, ROWS_AT_ONCE):
            stop, k = minimum(r + ROWS_AT_ONCE, rows), 0
            while k < models:
                own, line = offset(dz, k * z_step), ahead if k == 0 else 0
                to, rest = offset(high, k * width), offset(low, k * width)
                if models - k >= 4:
                    left = _dots4(x, starts[:4], r, stop, left_moments, own, z_step, starts[4] + line, ld, like)
                    right = _dots4(x, starts[4:], r, stop, right_moments, own, z_step, starts[6] + line, ld, like)
                    _add(left[:4], right[:4], to, rest, 0, j)
                    _add(left[4:8], right[4:8], to, rest, width, j)
                    _add(left[8:12], right[8:12], to, rest, 2 * width, j)
                    _add(left[12:], right[12:], to, rest, 3 * width, j)
                else:
                    left = _dots1(x, starts[:4], r, stop, left_moments, own, z_step, starts[4] + line, ld, like)
                    right = _dots1(x, starts[4:], r, stop, right_moments, own, z_step, starts[6] + line, ld, like)
                    _add(left, right, to, rest, 0, j)
                k += 4 if models - k >= 4 else 1


@inline
def _add(left, right, high, low, start, j):
    """Add the sums of eight columns to the totals of a model."""
    add_vector(offset(high, start), offset(low, start), j, transpose_sum(left + right))


def _make_dots(models):
    count = 4 * models

    @inline
    def dots(x, starts, first, stop, moments, dz, z_step, prefetched, ld, like):
        """The rows `first` to `stop` of four columns times dz of some models; two other columns are prefetched."""
        sums = nothing(like, count)
        for r in range(first, stop, LANES):
            prefetch(x, prefetched + r, 1)
            prefetch(x, prefetched + ld + r, 1)
            sums = fma_columns_of_models(x, starts, r, moments, dz, z_step, sums)
        return sums

    return dots


_dots4, _dots1 = _make_dots(4), _make_dots(1)


flush_gradient = column_major.flush_gradient

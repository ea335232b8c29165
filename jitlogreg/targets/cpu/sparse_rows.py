"""Kernels of sparse rows, whose tasks own rows: one read of X gives the margins of a block and, from cache, its sums.

The margins of a row are sums in eight chains, and one for what is left. A term of a gradient goes to the total of its
column at once: in float64 as a compensated sum, whose error does not grow with the number of rows; that of float32 is
exact in float64. So a column costs nothing until it has a number, and a task has two totals for each.

A block's indices are looked at before they are used: where one is out of range, or indptr falls, the block is counted
among the invalid examples, and nothing outside the arrays is read.
"""

import math

import numpy as np
from numba import types

from jitlogreg.simd import LANES, fma
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.compensated import clear
from jitlogreg.targets.cpu.epilogue import INVALID, TOTALS, add_offset
from jitlogreg.targets.cpu.pointers import load_scalar, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import problem_at
from jitlogreg.targets.cpu.row_chunks import rows_of
from jitlogreg.targets.cpu.sparse_matrix import (
    LOOKED_AT,
    add_product,
    add_to_chains,
    entry_of,
    largest_of,
    load_index,
    no_chains,
    prefetch_numbers,
    prefetch_one,
    total,
    zero_of,
)
from jitlogreg.targets.cpu.vectors import minimum

# The words of a matrix: `CSR.words`
DATA, INDICES, INDPTR, INDPTR_SIZE, COUNT = range(5)

# What is prefetched: bits of the plan's field
NUMBERS, COLUMNS = 1, 2


def make_task(epilogue, accumulate):
    """The function of a kernel's tasks: their numbers are those of `row_chunks`.

    Parameters
    ----------
    epilogue : Epilogue
    accumulate : function
        What adds a block of rows to the totals: `add_rows`, or what takes its place.
    """
    begin, apply, finish = epilogue.start, epilogue.apply, epilogue.finish
    accumulates, vectors = epilogue.accumulates, epilogue.vectors

    def task(number, problem, x0, index0, w0):
        t = problem_at(problem)
        start, stop, pad = rows_of(t, number)
        totals = offset(pointer_to(problem + t.partials, 0.0), number * 2 * t.width)
        high = offset(totals, 2 * t.n_padded)
        clear(totals, 2 * t.width)
        words = pointer_to(t.x, 0)
        x = pointer_to(load_scalar(words, DATA), x0), pointer_to(load_scalar(words, INDICES), index0), words
        w = pointer_to(t.w, w0)
        z = offset(pointer_to(problem + t.work, w0), number * t.work_size)
        u, work = offset(z, t.rows), offset(z, 2 * t.rows)
        state, invalid = begin(w, high, offset(high, TOTALS), work), 0
        sound = look_at(t, x, start, minimum(t.rows, stop - start) - pad, w, totals, accumulates)
        for i in range(start, stop, t.rows):
            rows = minimum(t.rows, stop - i)
            count, after = rows - pad, minimum(t.rows, stop - i - rows)
            next_sound = after > 0 and look_at(t, x, i + rows, after, w, totals, accumulates)
            if not sound:
                invalid += 1
                fill(z, count, math.nan)
            elif vectors > 0:
                margins(x, i, count, w, t.b, z)
            add_offset(t, i, rows, pad, z)
            if vectors == 2 and sound:
                v = pointer_to(t.y, w0)
                margins(x, i, count, v, load_scalar(v, t.n), u)
            for r in range(count, rows):
                store_scalar(z, r, 0)  # padding: its weight is 0, but 0 · inf would count
                store_scalar(u, r, 0)
            state, _ = apply(t, i, rows, pad, i + rows >= stop, z, u, state)
            if accumulates and sound and t.n_padded > 0:
                accumulate(x, i, count, z, totals, t.n)
            sound = next_sound
        finish(state)
        if invalid > 0:
            store_scalar(high, INVALID, load_scalar(high, INVALID) + invalid)

    return task


@inline
def fill(p, count, x):
    """p[:count] = x"""
    for r in range(count):
        store_scalar(p, r, x)


@inline
def first_of(x, i):
    """Where the numbers of row i begin."""
    words = x[2]
    if load_scalar(words, INDPTR_SIZE) == 8:
        return load_scalar(pointer_to(load_scalar(words, INDPTR), 0), i)
    return load_index(pointer_to(load_scalar(words, INDPTR), types.int32(0)), i)


@inline
def is_sound(x, i, count, n, prefetches):
    """Whether `count` rows lie within the arrays, one behind the other, and their columns within n."""
    first = first_of(x, i)
    last, in_order = first, first >= 0
    for r in range(count):
        following = first_of(x, i + r + 1)
        in_order = in_order and following >= last
        last = following
    if not in_order or last > load_scalar(x[2], COUNT):
        return False
    full = first + (last - first) // LOOKED_AT * LOOKED_AT
    for p in range(first, full, LOOKED_AT):
        if prefetches > 0:
            prefetch_numbers(x[0], p)
        if largest_of(x[1], p) >= n:
            return False
    outside = 0
    for p in range(full, last):
        j = load_index(x[1], p)
        outside += j < 0 or j >= n
    return outside == 0


@inline
def look_at(t, x, i, count, w, totals, accumulates):
    """Whether rows are sound; what they will need is prefetched, while the rows before are computed."""
    if not is_sound(x, i, count, t.n, t.prefetch & NUMBERS):
        return False
    if t.prefetch & COLUMNS:
        prefetch_columns(x, i, count, w, totals, accumulates and t.n_padded > 0)
    return True


@inline
def prefetch_columns(x, i, count, w, totals, are_written):
    """Prefetch the coefficients of some rows, and the totals of their columns if they will be written."""
    for p in range(first_of(x, i), first_of(x, i + count)):
        j = load_index(x[1], p)
        prefetch_one(w, j)
        if are_written:
            prefetch_one(totals, 2 * j)


@inline
def margins(x, i, count, w, b, z):
    """z[:count] = x·w + b of the rows from row i on."""
    data, indices, _ = x
    first = first_of(x, i)
    for r in range(count):
        last = first_of(x, i + r + 1)
        full, sums, rest = first + (last - first) // LANES * LANES, no_chains(w), zero_of(w)
        for p in range(first, full, LANES):
            sums = add_to_chains(data, indices, p, w, sums)
        for p in range(full, last):
            rest = fma(entry_of(data, p, w), load_scalar(w, load_index(indices, p)), rest)
        store_scalar(z, r, total(sums) + rest + b)
        first = last


@inline
def add_rows(x, i, count, dz, totals, n):
    """Add dzᵢ xᵢ of the rows from row i on to the totals."""
    data, indices, _ = x
    first = first_of(x, i)
    for r in range(count):
        last, d = first_of(x, i + r + 1), load_scalar(dz, r)
        for p in range(first, last):
            add_product(totals, load_index(indices, p), d, entry_of(data, p, dz))
        first = last


@inline
def add_outer_products(x, i, count, roots, totals, n):
    """Add h [x, 1][x, 1]ᵀ of the rows to the totals, which are the rows of a lower triangle; `roots` has √h."""
    data, indices, _ = x
    first = first_of(x, i)
    for r in range(count):
        last, root = first_of(x, i + r + 1), load_scalar(roots, r)
        for p in range(first, last):
            j, of_p = load_index(indices, p), root * entry_of(data, p, roots)
            for q in range(first, p + 1):
                k = load_index(indices, q)
                larger, smaller = (j, k) if j > k else (k, j)
                place = larger * (larger + 1) // 2 + smaller
                of_q = root * entry_of(data, q, roots)
                add_product(totals, place, of_p, of_q)
                if q < p and j == k:  # numbers of one row and column add up before they are squared
                    add_product(totals, place, of_p, of_q)
            add_product(totals, n * (n + 1) // 2 + j, of_p, root)
        add_product(totals, n * (n + 1) // 2 + n, root, root)
        first = last


def symmetric(totals, size):
    """The symmetric matrix from the totals of `add_outer_products`."""
    matrix = np.empty((size, size))
    lower = np.tril_indices(size)
    matrix[lower] = totals[: len(lower[0])]
    matrix.T[lower] = matrix[lower]
    return matrix

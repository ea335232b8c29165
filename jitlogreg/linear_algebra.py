"""Factorisations and triangular solves, compiled here in a fixed order: BLAS and LAPACK give other bits on other CPUs.

Loops run along rows, whose elements are contiguous, eight at a time, and no sum is reordered. Matrices are float64 in C
order, or a leading part of such a matrix; compiled code gets their addresses and leading dimensions, since arrays take
several times as long to compile.

Source: Golub & Van Loan, Matrix Computations, 2013: 4.2 (Cholesky), 5.1 (Householder reflections), 5.2 and 5.4 (QR,
with column pivoting); Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012 (TSQR).
"""

import math

import numpy as np

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline, serial
from jitlogreg.targets.cpu.pointers import data_address, load_scalar, offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.vectors import load, minimum, splat, store

# The blocked Cholesky factorisation eliminates so many rows at once, and applies them to so many columns in turn: 256
# KB, which fit L2
BLOCK, STRIPE = 64, 512

# Rows that are summed on their own before they are added to the total: equal terms, as columns of zeros and ones have
# them, are rounded to the same side one after another
RUN = 64

# Squares outside this range are scaled before they leave float64: rounding leaves about 2⁻⁵³ of a column that depends
# on others, and as much of that of the next one
SAFE_SQUARES = 2.0**-900, 2.0**900


# ---------------------------------------------------------------- from Python


def cholesky(A):
    """Overwrite the upper half of a matrix with a unit diagonal by R with RᵀR = A.

    Returns the smallest pivot: the share of a column's square that the columns before it do not explain. The
    factorisation ends at a pivot that is not positive.
    """
    return _cholesky(*_matrix(A))


def solve_transposed(R, v):
    """Overwrite v by the x with Rᵀx = v. R is upper triangular; what lies below its diagonal is not read."""
    _solve_transposed(*_matrix(R), data_address(v))


def solve(R, v):
    """Overwrite v by the x with Rx = v."""
    _solve(*_matrix(R), data_address(v))


def multiply(R, v):
    """Overwrite v by Rv."""
    _multiply(*_matrix(R), data_address(v))


def multiply_transposed(R, v):
    """Overwrite v by Rᵀv."""
    _multiply_transposed(*_matrix(R), data_address(v))


def add_rows(R, A):
    """Overwrite R by the triangular factor of R and the rows of A together, by Householder reflections. A is destroyed.

    Its condition is that of the rows; RᵀR + AᵀA has the square of it.
    """
    work = np.empty(2 * len(R))
    _add_rows(*_matrix(R), *_matrix(A), data_address(work))


def pivoted_qr(R, order):
    """Overwrite R by the triangular factor of its columns, in the order in which most is left of them.

    `order` is 0, 1, … at the call, and the order of the columns on return.
    """
    work = np.empty(3 * len(R))
    _pivoted_qr(*_matrix(R), data_address(order), data_address(work))


def joined(factors, R):
    """Overwrite R by the triangular factor of the rows behind it and behind all factors. Returns R.

    The factors, which are destroyed, are reduced in pairs, and pairs in pairs (TSQR): the result is rounded as often as
    the tree has levels.
    """
    waiting = []
    for factor in factors:
        level = 0
        while waiting and waiting[-1][0] == level:
            _, before = waiting.pop()
            add_rows(before, factor)
            factor, level = before, level + 1
        waiting.append((level, factor))
    for _, factor in waiting:
        add_rows(R, factor)
    return R


def _matrix(A):
    """The address of a matrix, its rows, and its leading dimension."""
    assert A.dtype == np.float64
    assert A.size == 0 or A.shape[1] == 1 or A.strides[1] == A.itemsize
    return data_address(A), len(A), A.strides[0] // A.itemsize


# ---------------------------------------------------------------- rows


@inline
def _element(address, ld, i, j):
    """The pointer to element (i, j) of a matrix at an address."""
    return offset(pointer_to(address, 0.0), i * ld + j)


@inline
def _subtract_multiple(row, factor, other, count):
    """Subtract factor times another row (axpy)."""
    factors, full = splat(factor), count // LANES * LANES
    for j in range(0, full, LANES):
        store(row, j, load(row, j, factors) - factors * load(other, j, factors))
    for j in range(full, count):
        store_scalar(row, j, load_scalar(row, j) - factor * load_scalar(other, j))


@inline
def _subtract_four_multiples(row, factors, ld, others, count):
    """Subtract multiples of four rows, `ld` apart from each other, as their factors are."""
    f0, f1 = splat(load_scalar(factors, 0)), splat(load_scalar(factors, ld))
    f2, f3 = splat(load_scalar(factors, 2 * ld)), splat(load_scalar(factors, 3 * ld))
    full = count // LANES * LANES
    for j in range(0, full, LANES):
        rest = (load(row, j, f0) - f0 * load(others, j, f0)) - f1 * load(others, ld + j, f0)
        store(row, j, (rest - f2 * load(others, 2 * ld + j, f0)) - f3 * load(others, 3 * ld + j, f0))
    for j in range(full, count):
        for k in range(0, 4 * ld, ld):
            store_scalar(row, j, load_scalar(row, j) - load_scalar(factors, k) * load_scalar(others, k + j))


@inline
def _dot(u, v, count):
    total = 0.0
    for j in range(count):
        total += load_scalar(u, j) * load_scalar(v, j)
    return total


# ---------------------------------------------------------------- Cholesky


@serial
def _cholesky(A, n, ld):
    least = 1.0
    for begin in range(0, n, BLOCK):
        end = minimum(begin + BLOCK, n)
        for k in range(begin, end):
            row = _element(A, ld, k, 0)
            pivot = load_scalar(row, k)
            if not pivot > 0:
                return pivot
            if pivot < least:
                least = pivot
            root = math.sqrt(pivot)
            store_scalar(row, k, root)
            for j in range(k + 1, n):
                store_scalar(row, j, load_scalar(row, j) / root)
            for i in range(k + 1, end):
                _subtract_multiple(_element(A, ld, i, i), load_scalar(row, i), offset(row, i), n - i)
        for stripe in range(end, n, STRIPE):
            _update_stripe(A, ld, begin, end, stripe, minimum(stripe + STRIPE, n))
    return least


@inline
def _update_stripe(A, ld, begin, end, stripe, last):
    """Eliminate rows `begin` to `end` from the columns `stripe` to `last` of the rows below."""
    for i in range(end, last):
        first, k = i if i > stripe else stripe, begin
        row, count = _element(A, ld, i, first), last - first
        while k + 4 <= end:
            _subtract_four_multiples(row, _element(A, ld, k, i), ld, _element(A, ld, k, first), count)
            k += 4
        while k < end:
            _subtract_multiple(row, load_scalar(_element(A, ld, k, i), 0), _element(A, ld, k, first), count)
            k += 1


# ---------------------------------------------------------------- triangles


@serial
def _solve_transposed(R, n, ld, v):
    x = pointer_to(v, 0.0)
    for k in range(n):
        row = _element(R, ld, k, 0)
        store_scalar(x, k, load_scalar(x, k) / load_scalar(row, k))
        _subtract_multiple(offset(x, k + 1), load_scalar(x, k), offset(row, k + 1), n - k - 1)


@serial
def _solve(R, n, ld, v):
    x = pointer_to(v, 0.0)
    for k in range(n - 1, -1, -1):
        row = _element(R, ld, k, 0)
        rest = load_scalar(x, k) - _dot(offset(row, k + 1), offset(x, k + 1), n - k - 1)
        store_scalar(x, k, rest / load_scalar(row, k))


@serial
def _multiply(R, n, ld, v):
    x = pointer_to(v, 0.0)
    for k in range(n):
        row = _element(R, ld, k, 0)
        rest = _dot(offset(row, k + 1), offset(x, k + 1), n - k - 1)
        store_scalar(x, k, load_scalar(row, k) * load_scalar(x, k) + rest)


@serial
def _multiply_transposed(R, n, ld, v):
    x = pointer_to(v, 0.0)
    for k in range(n - 1, -1, -1):
        row = _element(R, ld, k, 0)
        _subtract_multiple(offset(x, k + 1), -load_scalar(x, k), offset(row, k + 1), n - k - 1)
        store_scalar(x, k, load_scalar(x, k) * load_scalar(row, k))


# ---------------------------------------------------------------- QR


@inline
def _sum_of_squares(A, m, ld, k):
    """The square of a column's length."""
    square = 0.0
    for first in range(0, m, RUN):
        part = 0.0
        for i in range(first, minimum(first + RUN, m)):
            x = load_scalar(_element(A, ld, i, k), 0)
            part += x * x
        square += part
    return square


@inline
def _power_of_two_over(A, m, ld, k, largest):
    """The power of two that brings the largest number of a column, or another, to between ½ and 1."""
    for i in range(m):
        size = abs(load_scalar(_element(A, ld, i, k), 0))
        if size > largest:
            largest = size
    exponent = math.frexp(largest)[1]
    return 2.0 ** -(exponent if exponent > -1000 else -1000)


@serial
def _add_rows(R, n, R_ld, A, m, ld, work):
    products, of_run = pointer_to(work, 0.0), offset(pointer_to(work, 0.0), n)
    for k in range(n):
        row, rest = _element(R, R_ld, k, 0), n - k - 1
        square, unit, first = _sum_of_squares(A, m, ld, k), 1.0, load_scalar(row, k)
        if not SAFE_SQUARES[0] < square + first * first < SAFE_SQUARES[1]:
            unit = _power_of_two_over(A, m, ld, k, abs(first))
            first *= unit
            for i in range(m):
                x = _element(A, ld, i, k)
                store_scalar(x, 0, load_scalar(x, 0) * unit)
            square = _sum_of_squares(A, m, ld, k)
        if square == 0:
            store_scalar(row, k, first / unit)
            continue
        # the reflection I − 2 vvᵀ / vᵀv, where v is (head, A[:, k])
        diagonal = -math.copysign(math.sqrt(first * first + square), first)
        head = first - diagonal
        for j in range(rest):
            store_scalar(products, j, head * load_scalar(row, k + 1 + j))
        _add_products_by_runs(products, of_run, A, m, ld, k, rest)
        half = 2 / (head * head + square)
        for j in range(rest):
            store_scalar(products, j, load_scalar(products, j) * half)
        store_scalar(row, k, diagonal / unit)
        _subtract_multiple(offset(row, k + 1), head, products, rest)
        for i in range(m):
            x = _element(A, ld, i, k)
            _subtract_multiple(offset(x, 1), load_scalar(x, 0), products, rest)


@inline
def _add_products_by_runs(products, of_run, A, m, ld, k, rest):
    """Add the products of column k with the `rest` columns behind it, a run of rows at a time."""
    for first in range(0, m, RUN):
        for j in range(rest):
            store_scalar(of_run, j, 0)
        for i in range(first, minimum(first + RUN, m)):
            x = _element(A, ld, i, k)
            _subtract_multiple(of_run, -load_scalar(x, 0), offset(x, 1), rest)
        _subtract_multiple(products, -1.0, of_run, rest)


@serial
def _pivoted_qr(R, n, ld, order, work):
    squares, v = pointer_to(work, 0.0), offset(pointer_to(work, 0.0), n)
    products = offset(v, n)
    for k in range(n):
        _swap_columns(R, n, ld, pointer_to(order, 0), k, _largest_rest(R, n, ld, squares, k))
        square, diagonal_element, rest = 0.0, _element(R, ld, k, k), n - k - 1
        for i in range(k + 1, n):
            x = load_scalar(_element(R, ld, i, k), 0)
            store_scalar(v, i, x)
            store_scalar(_element(R, ld, i, k), 0, 0)
            square += x * x
        if square == 0:
            continue
        first = load_scalar(diagonal_element, 0)
        diagonal = -math.copysign(math.sqrt(first * first + square), first)
        head = first - diagonal
        store_scalar(v, k, head)
        half = 2 / (head * head + square)
        for j in range(rest):
            store_scalar(products, j, 0)
        for i in range(k, n):
            _subtract_multiple(products, -load_scalar(v, i), _element(R, ld, i, k + 1), rest)
        store_scalar(diagonal_element, 0, diagonal)
        for i in range(k, n):
            _subtract_multiple(_element(R, ld, i, k + 1), half * load_scalar(v, i), products, rest)


@inline
def _largest_rest(R, n, ld, squares, k):
    """The first of the columns from k on of which most is left below the rows before k."""
    for j in range(k, n):
        store_scalar(squares, j, 0)
    for i in range(k, n):
        for j in range(k, n):
            x = load_scalar(_element(R, ld, i, j), 0)
            store_scalar(squares, j, load_scalar(squares, j) + x * x)
    best = k
    for j in range(k + 1, n):
        if load_scalar(squares, j) > load_scalar(squares, best):
            best = j
    return best


@inline
def _swap_columns(R, n, ld, order, j, k):
    moved = load_scalar(order, j)
    store_scalar(order, j, load_scalar(order, k))
    store_scalar(order, k, moved)
    for i in range(n):
        row = _element(R, ld, i, 0)
        x = load_scalar(row, j)
        store_scalar(row, j, load_scalar(row, k))
        store_scalar(row, k, x)

"""Factorisations and triangular solves, compiled here in a fixed order: BLAS and LAPACK give other bits on other CPUs.

Loops run along rows, whose elements are contiguous, and no sum is reordered. So the compiler may use vectors of any
width without a change of bits.

Source: Golub & Van Loan, Matrix Computations, 2013: 4.2 (Cholesky), 5.1 (Householder reflections), 5.2 and 5.4 (QR,
with column pivoting); Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012 (TSQR).
"""

import math

import numpy as np

from jitlogreg.targets.compile import inline, serial

# The blocked Cholesky factorisation eliminates so many rows at once, and applies them to so many columns in turn: 256
# KB, which fit L2
BLOCK, STRIPE = 64, 512

# Rows that are summed on their own before they are added to the total: equal terms, as columns of zeros and ones have
# them, are rounded to the same side one after another
RUN = 64

# Squares outside this range are scaled before they leave float64: rounding leaves about 2⁻⁵³ of a column that depends
# on others, and as much of that of the next one
SAFE_SQUARES = 2.0**-900, 2.0**900


@inline
def _subtract_multiple(row, factor, other):
    """Subtract factor times another row (axpy)."""
    for j in range(row.shape[0]):
        row[j] -= factor * other[j]


@inline
def _subtract_four_multiples(row, rows, i, k, first, last):
    """Eliminate rows k to k + 3 from the numbers `first` to `last` of row i."""
    to = row[first:last]
    p0, p1, p2, p3 = rows[k, first:last], rows[k + 1, first:last], rows[k + 2, first:last], rows[k + 3, first:last]
    f0, f1, f2, f3 = rows[k, i], rows[k + 1, i], rows[k + 2, i], rows[k + 3, i]
    for j in range(to.shape[0]):
        to[j] = (((to[j] - f0 * p0[j]) - f1 * p1[j]) - f2 * p2[j]) - f3 * p3[j]


@inline
def _dot(u, v):
    total = 0.0
    for j in range(u.shape[0]):
        total += u[j] * v[j]
    return total


# ---------------------------------------------------------------- Cholesky


@serial
def cholesky(A):
    """Overwrite the upper half of a matrix with a unit diagonal by R with RᵀR = A.

    Returns the smallest pivot: the share of a column's square that the columns before it do not explain. The
    factorisation ends at a pivot that is not positive.
    """
    n, least = A.shape[0], 1.0
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        for k in range(begin, end):
            pivot = A[k, k]
            least = min(least, pivot)
            if not pivot > 0:
                return pivot
            root = math.sqrt(pivot)
            A[k, k] = root
            for j in range(k + 1, n):
                A[k, j] /= root
            for i in range(k + 1, end):
                _subtract_multiple(A[i, i:], A[k, i], A[k, i:])
        for stripe in range(end, n, STRIPE):
            _update_stripe(A, begin, end, stripe, min(stripe + STRIPE, n))
    return least


@inline
def _update_stripe(A, begin, end, stripe, last):
    """Eliminate rows `begin` to `end` from the columns `stripe` to `last` of the rows below."""
    for i in range(end, last):
        first, k = max(i, stripe), begin
        while k + 4 <= end:
            _subtract_four_multiples(A[i], A, i, k, first, last)
            k += 4
        while k < end:
            _subtract_multiple(A[i, first:last], A[k, i], A[k, first:last])
            k += 1


# ---------------------------------------------------------------- triangles


@serial
def solve_transposed(R, v):
    """Overwrite v by the x with Rᵀx = v. R is upper triangular; what lies below its diagonal is not read."""
    for k in range(R.shape[0]):
        v[k] /= R[k, k]
        _subtract_multiple(v[k + 1 :], v[k], R[k, k + 1 :])


@serial
def solve(R, v):
    """Overwrite v by the x with Rx = v."""
    for k in range(R.shape[0] - 1, -1, -1):
        v[k] = (v[k] - _dot(R[k, k + 1 :], v[k + 1 :])) / R[k, k]


@serial
def multiply(R, v):
    """Overwrite v by Rv."""
    for k in range(R.shape[0]):
        v[k] = R[k, k] * v[k] + _dot(R[k, k + 1 :], v[k + 1 :])


@serial
def multiply_transposed(R, v):
    """Overwrite v by Rᵀv."""
    for k in range(R.shape[0] - 1, -1, -1):
        _subtract_multiple(v[k + 1 :], -v[k], R[k, k + 1 :])
        v[k] *= R[k, k]


# ---------------------------------------------------------------- QR


@inline
def _sum_of_squares(A, k):
    """The square of a column's length."""
    square = 0.0
    for first in range(0, A.shape[0], RUN):
        part = 0.0
        for i in range(first, min(first + RUN, A.shape[0])):
            part += A[i, k] * A[i, k]
        square += part
    return square


@inline
def _power_of_two_over(A, k, largest):
    """The power of two that brings the largest number of a column, or another, to between ½ and 1."""
    for i in range(A.shape[0]):
        largest = max(largest, abs(A[i, k]))
    return 2.0 ** -max(math.frexp(largest)[1], -1000)


@serial
def add_rows(R, A):
    """Overwrite R by the triangular factor of R and the rows of A together, by Householder reflections. A is destroyed.

    Its condition is that of the rows; RᵀR + AᵀA has the square of it.
    """
    n, m = R.shape[0], A.shape[0]
    products, products_of_run = np.empty(n), np.empty(n)
    for k in range(n):
        square, unit = _sum_of_squares(A, k), 1.0
        if not SAFE_SQUARES[0] < square + R[k, k] * R[k, k] < SAFE_SQUARES[1]:
            unit = _power_of_two_over(A, k, abs(R[k, k]))
            R[k, k] *= unit
            for i in range(m):
                A[i, k] *= unit
            square = _sum_of_squares(A, k)
        if square == 0:
            R[k, k] /= unit
            continue
        # the reflection I − 2 vvᵀ / vᵀv, where v is (head, A[:, k])
        diagonal = -math.copysign(math.sqrt(R[k, k] * R[k, k] + square), R[k, k])
        head = R[k, k] - diagonal
        product, row = products[k + 1 :], R[k, k + 1 :]
        for j in range(product.shape[0]):
            product[j] = head * row[j]
        _add_products_by_runs(product, products_of_run[k + 1 :], A, k)
        half = 2 / (head * head + square)
        for j in range(product.shape[0]):
            product[j] *= half
        R[k, k] = diagonal / unit
        _subtract_multiple(row, head, product)
        for i in range(m):
            _subtract_multiple(A[i, k + 1 :], A[i, k], product)


@inline
def _add_products_by_runs(product, of_run, A, k):
    """Add the products of column k with the columns behind it, a run of rows at a time."""
    m = A.shape[0]
    for first in range(0, m, RUN):
        of_run[:] = 0
        for i in range(first, min(first + RUN, m)):
            _subtract_multiple(of_run, -A[i, k], A[i, k + 1 :])
        _subtract_multiple(product, -1.0, of_run)


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


@serial
def pivoted_qr(R, order):
    """Overwrite R by the triangular factor of its columns, in the order in which most is left of them.

    `order` is 0, 1, … at the call, and the order of the columns on return.
    """
    n = R.shape[0]
    squares, v, products = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        _swap_columns(R, order, k, _largest_rest(R, squares, k))
        square = 0.0
        for i in range(k + 1, n):
            v[i] = R[i, k]
            R[i, k] = 0
            square += v[i] * v[i]
        if square == 0:
            continue
        diagonal = -math.copysign(math.sqrt(R[k, k] * R[k, k] + square), R[k, k])
        v[k] = R[k, k] - diagonal
        half = 2 / (v[k] * v[k] + square)
        product = products[k + 1 :]
        product[:] = 0
        for i in range(k, n):
            _subtract_multiple(product, -v[i], R[i, k + 1 :])
        R[k, k] = diagonal
        for i in range(k, n):
            _subtract_multiple(R[i, k + 1 :], half * v[i], product)


@inline
def _largest_rest(R, squares, k):
    """The first of the columns from k on of which most is left below the rows before k."""
    n = R.shape[0]
    squares[k:] = 0
    for i in range(k, n):
        for j in range(k, n):
            squares[j] += R[i, j] * R[i, j]
    best = k
    for j in range(k + 1, n):
        if squares[j] > squares[best]:
            best = j
    return best


@inline
def _swap_columns(R, order, j, k):
    order[j], order[k] = order[k], order[j]
    for i in range(R.shape[0]):
        R[i, j], R[i, k] = R[i, k], R[i, j]

"""Factorisations and solves, compiled here in a fixed order: BLAS and LAPACK give other bits on another CPU.

Loops run along rows, which lie in memory as vectors do, and no sum is reordered: so the compiler may take vectors of
any width without a change of bits.
"""

import math

import numpy as np

from jitlogreg.targets.compile import inline, serial

# Rows that are eliminated at once, and the columns of the rest that they go through in turn: 256 KB, which fit L2
BLOCK, STRIPE = 64, 512

# Rows that are added up before they go to the sums: equal terms, as columns of zeros and ones have them, are rounded
# to the same side one after another
RUN = 64

# Squares that are scaled before they leave float64: what rounding has left of a column that depends on others is about
# 2⁻⁵³ of it, and of the next one as much of that
SQUARES = 2.0**-900, 2.0**900


@inline
def _subtract(row, factor, other):
    for j in range(row.shape[0]):
        row[j] -= factor * other[j]


@inline
def _subtract_four(row, rows, i, k, first, last):
    """Eliminate rows k to k + 3 from the numbers `first` to `last` of row i."""
    to = row[first:last]
    p0, p1, p2, p3 = rows[k, first:last], rows[k + 1, first:last], rows[k + 2, first:last], rows[k + 3, first:last]
    f0, f1, f2, f3 = rows[k, i], rows[k + 1, i], rows[k + 2, i], rows[k + 3, i]
    for j in range(to.shape[0]):
        to[j] = (((to[j] - f0 * p0[j]) - f1 * p1[j]) - f2 * p2[j]) - f3 * p3[j]


@serial
def cholesky(A):
    """Write R with RᵀR = A over the upper half of a matrix with ones on its diagonal.

    Returns the least pivot: what of a column's square its predecessors do not explain. The factorisation ends at one
    that is not positive.
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
                _subtract(A[i, i:], A[k, i], A[k, i:])
        for stripe in range(end, n, STRIPE):
            last = min(stripe + STRIPE, n)
            for i in range(end, last):
                first, k = max(i, stripe), begin
                while k + 4 <= end:
                    _subtract_four(A[i], A, i, k, first, last)
                    k += 4
                while k < end:
                    _subtract(A[i, first:last], A[k, i], A[k, first:last])
                    k += 1
    return least


@serial
def solve_transposed(R, v):
    """Write x with Rᵀx = v over v; R is upper triangular, and what lies below its diagonal is not looked at."""
    for k in range(R.shape[0]):
        v[k] /= R[k, k]
        _subtract(v[k + 1 :], v[k], R[k, k + 1 :])


@serial
def solve(R, v):
    """Write x with Rx = v over v."""
    for k in range(R.shape[0] - 1, -1, -1):
        v[k] = (v[k] - _dot(R[k, k + 1 :], v[k + 1 :])) / R[k, k]


@serial
def multiply(R, v):
    """Write Rv over v."""
    for k in range(R.shape[0]):
        v[k] = R[k, k] * v[k] + _dot(R[k, k + 1 :], v[k + 1 :])


@serial
def multiply_transposed(R, v):
    """Write Rᵀv over v."""
    for k in range(R.shape[0] - 1, -1, -1):
        _subtract(v[k + 1 :], -v[k], R[k, k + 1 :])
        v[k] *= R[k, k]


@inline
def _dot(u, v):
    total = 0.0
    for j in range(u.shape[0]):
        total += u[j] * v[j]
    return total


@inline
def _square(A, k):
    """The square of a column's length."""
    square = 0.0
    for first in range(0, A.shape[0], RUN):
        part = 0.0
        for i in range(first, min(first + RUN, A.shape[0])):
            part += A[i, k] * A[i, k]
        square += part
    return square


@inline
def _unit(A, k, largest):
    """The power of two that brings the largest number of a column, or another, to between ½ and 1."""
    for i in range(A.shape[0]):
        largest = max(largest, abs(A[i, k]))
    return 2.0 ** -max(math.frexp(largest)[1], -1000)


@serial
def add_rows(R, A):
    """Write over R the triangular factor of R and the rows of A together, by Householder's reflections. A is lost.

    It sees the condition of the rows, and not its square, which RᵀR + AᵀA has.
    """
    n, m = R.shape[0], A.shape[0]
    along, of_run = np.empty(n), np.empty(n)
    for k in range(n):
        square, unit = _square(A, k), 1.0
        if not SQUARES[0] < square + R[k, k] * R[k, k] < SQUARES[1]:
            unit = _unit(A, k, abs(R[k, k]))
            R[k, k] *= unit
            for i in range(m):
                A[i, k] *= unit
            square = _square(A, k)
        if square == 0:
            R[k, k] /= unit
            continue
        diagonal = -math.copysign(math.sqrt(R[k, k] * R[k, k] + square), R[k, k])
        head = R[k, k] - diagonal
        half = 2 / (head * head + square)
        product, row = along[k + 1 :], R[k, k + 1 :]
        for j in range(product.shape[0]):
            product[j] = head * row[j]
        for first in range(0, m, RUN):
            of_run[k + 1 :] = 0
            for i in range(first, min(first + RUN, m)):
                _subtract(of_run[k + 1 :], -A[i, k], A[i, k + 1 :])
            _subtract(product, -1.0, of_run[k + 1 :])
        for j in range(product.shape[0]):
            product[j] *= half
        R[k, k] = diagonal / unit
        _subtract(row, head, product)
        for i in range(m):
            _subtract(A[i, k + 1 :], A[i, k], product)


def joined(factors, R):
    """Write over R the triangular factor of the rows behind it and behind all factors, which are lost. Returns R.

    They are joined by pairs, and pairs by pairs: so what they come to is rounded as often as there are levels.
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
def pivoted(R, order):
    """Write over R the triangular factor of R with its columns in the order in which most is left of them.

    `order` comes as 0, 1, … and leaves as that order.
    """
    n = R.shape[0]
    left, v, along = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        left[k:] = 0
        for i in range(k, n):
            for j in range(k, n):
                left[j] += R[i, j] * R[i, j]
        best = k
        for j in range(k + 1, n):
            if left[j] > left[best]:
                best = j
        order[k], order[best] = order[best], order[k]
        for i in range(n):
            R[i, k], R[i, best] = R[i, best], R[i, k]
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
        product = along[k + 1 :]
        product[:] = 0
        for i in range(k, n):
            _subtract(product, -v[i], R[i, k + 1 :])
        R[k, k] = diagonal
        for i in range(k, n):
            _subtract(R[i, k + 1 :], half * v[i], product)

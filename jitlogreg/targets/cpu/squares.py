"""Sums in the order of `np.sum`, such as Σ w² for the penalty: compiled code and Python come to the same bits."""

import numpy as np

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import load_scalar, pointer_to
from jitlogreg.targets.cpu.problem import problem_at


def squares_task(number, problem, x0, w0):
    """Σ w² of a problem, as a kernel of one task."""
    t = problem_at(problem)
    t.square = sum_of_squares(pointer_to(t.w, w0), t.n)


# NumPy adds up to so many numbers at once, in eight sums
_AT_ONCE = 128


def _make_sum(term):
    """The function that adds up `term` of n numbers."""

    @inline
    def add_few(x, first, count):
        total, rest = 0.0, 0
        if count >= 8:
            t0, t1, t2, t3 = term(x, first), term(x, first + 1), term(x, first + 2), term(x, first + 3)
            t4, t5, t6, t7 = term(x, first + 4), term(x, first + 5), term(x, first + 6), term(x, first + 7)
            rest = count // 8 * 8
            for j in range(first + 8, first + rest, 8):
                t0, t1 = t0 + term(x, j), t1 + term(x, j + 1)
                t2, t3 = t2 + term(x, j + 2), t3 + term(x, j + 3)
                t4, t5 = t4 + term(x, j + 4), t5 + term(x, j + 5)
                t6, t7 = t6 + term(x, j + 6), t7 + term(x, j + 7)
            total = ((t0 + t1) + (t2 + t3)) + ((t4 + t5) + (t6 + t7))
        for j in range(first + rest, first + count):
            total += term(x, j)
        return total

    @inline
    def add(x, n):
        left = np.empty(64)  # for each depth the sum of the left half, where the way led to the right
        start = 0
        while True:
            first, count, depth, rights = 0, n, 0, 0
            while count > _AT_ONCE:
                half = count // 2 // 8 * 8
                depth += 1
                rights *= 2
                if start < first + half:
                    count = half
                else:
                    first, count, rights = first + half, count - half, rights + 1
            total = add_few(x, first, count)
            while rights % 2 == 1:
                total += left[depth]
                depth, rights = depth - 1, rights // 2
            if first + count == n:
                return total
            left[depth] = total
            start = first + count

    return add


@inline
def _number(x, j):
    return np.float64(load_scalar(x, j))


@inline
def _square(x, j):
    number = _number(x, j)
    return number * number


# In float64, by halves, but of whole eights, that are added up and then together
sum_of_numbers, sum_of_squares = _make_sum(_number), _make_sum(_square)

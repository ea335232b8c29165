"""Σ w² for the penalty, in the order of `np.sum`: compiled code and Python come to the same bits."""

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


@inline
def sum_of_squares(w, n):
    """Σ w² in float64, in the order of `np.sum`: halves, but of whole eights, are added up and then together."""
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
        total = _sum_few(w, first, count)
        while rights % 2 == 1:
            total += left[depth]
            depth, rights = depth - 1, rights // 2
        if first + count == n:
            return total
        left[depth] = total
        start = first + count


@inline
def _sum_few(w, first, count):
    total, rest = 0.0, 0
    if count >= 8:
        t0, t1, t2, t3 = _square(w, first), _square(w, first + 1), _square(w, first + 2), _square(w, first + 3)
        t4, t5, t6, t7 = _square(w, first + 4), _square(w, first + 5), _square(w, first + 6), _square(w, first + 7)
        rest = count // 8 * 8
        for j in range(first + 8, first + rest, 8):
            t0, t1 = t0 + _square(w, j), t1 + _square(w, j + 1)
            t2, t3 = t2 + _square(w, j + 2), t3 + _square(w, j + 3)
            t4, t5 = t4 + _square(w, j + 4), t5 + _square(w, j + 5)
            t6, t7 = t6 + _square(w, j + 6), t7 + _square(w, j + 7)
        total = ((t0 + t1) + (t2 + t3)) + ((t4 + t5) + (t6 + t7))
    for j in range(first + rest, first + count):
        total += _square(w, j)
    return total


@inline
def _square(w, j):
    x = np.float64(load_scalar(w, j))
    return x * x

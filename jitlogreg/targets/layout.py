"""How an array lies in memory."""

import functools


@functools.lru_cache  # a call asks twice
def layout(shape, strides, itemsize):
    """A matrix's order and leading dimension; None where it has no unit stride, or its rows or columns overlap.

    Returns
    -------
    order : {"C", "F"}
        "C" where the features of an example are adjacent in memory, "F" where a feature's values are.
    leading : int
        Elements from one row (C) or one column (F) to the next.
    """
    m, n = shape
    down, across = strides
    if m * n == 0:
        return "C", n
    if (n <= 1 or across == itemsize) and (m <= 1 or down >= n * itemsize):
        return "C", down // itemsize if m > 1 else n
    if (m <= 1 or down == itemsize) and (n <= 1 or across >= m * itemsize):
        return "F", across // itemsize if n > 1 else m
    return None

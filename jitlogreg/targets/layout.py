"""How an array lies in memory."""

import functools

NEITHER, C, F = -1, 0, 1


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
    order, leading = lies(*shape, *strides, itemsize)
    return None if order == NEITHER else ("CF"[order], leading)


def lies(m, n, down, across, itemsize):
    """What `layout` gives, of plain integers and in such, so that it compiles."""
    if m * n == 0:
        return C, n
    if (n <= 1 or across == itemsize) and (m <= 1 or down >= n * itemsize):
        return C, down // itemsize if m > 1 else n
    if (m <= 1 or down == itemsize) and (n <= 1 or across >= m * itemsize):
        return F, across // itemsize if n > 1 else m
    return NEITHER, 0

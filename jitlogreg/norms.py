"""Numbers brought into the range in which their squares and products stay within float64."""

import math

import numpy as np


def power_of_two_over(largest):
    """The power of two that brings a number between 1 and 2, or as near as float64 can."""
    _, exponent = math.frexp(largest)
    return 2.0 ** min(1 - exponent, 1023)


def norm(gradient):
    """The Euclidean norm, scaled if a square would overflow or vanish."""
    with np.errstate(all="ignore"):
        square = float(np.add.reduce(gradient * gradient))
    if 1e-250 < square < 1e250:
        return math.sqrt(square)
    largest = float(np.abs(gradient).max(initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    with np.errstate(all="ignore"):
        scaled = gradient / largest
        return largest * math.sqrt(float(np.sum(scaled * scaled)))

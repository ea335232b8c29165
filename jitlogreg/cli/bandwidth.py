"""The machine's read bandwidth: what a kernel that reads its data once cannot surpass."""

import numpy as np
from numba import prange

from jitlogreg.targets.compile import inline, parallel, serial

# Blocks enough to share among threads evenly; each is long enough for the processor to read ahead
_BLOCKS = 64
# Bytes that one thread has read before others are awake. With GNU OpenMP and another process busy on one of two cores,
# two threads take 8 ms for 20 us of work: whichever is done spins, where the other could run
_SERIAL_BELOW = 2**20


@inline
def _sum_of_words(words):
    """Four streams: 42 GB/s on two cores where one stream came to 34 and eight to 44 (Zen 4). Integers, because
    the compiler may reorder their sums, which then take vectors and wait for nothing but memory.
    """
    quarter = words.size // 4
    first, second = words[:quarter], words[quarter : 2 * quarter]
    third, fourth = words[2 * quarter : 3 * quarter], words[3 * quarter : 4 * quarter]
    s = t = u = v = np.uint64(0)
    for i in range(quarter):
        s += first[i]
        t += second[i]
        u += third[i]
        v += fourth[i]
    for i in range(4 * quarter, words.size):
        s += words[i]
    return s + t + u + v


@serial
def _sum_serially(words):
    return _sum_of_words(words)


@parallel
def _sum_of_blocks(words, sums):
    length = (words.size + sums.size - 1) // sums.size
    for k in prange(sums.size):
        sums[k] = _sum_of_words(words[k * length : min((k + 1) * length, words.size)])


def read(array):
    """Read every byte of a contiguous array once, on Numba's threads; on one, if there is less than 1 MiB.

    Returns
    -------
    sum : int
        Of the bytes, taken eight at a time, modulo 2**64: it keeps the reading from being optimised away. Bytes beyond
        a multiple of eight are left out.
    """
    flat = array.ravel(order="K").view(np.uint8)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    if array.nbytes < _SERIAL_BELOW:
        return int(_sum_serially(words))
    sums = np.empty(_BLOCKS, np.uint64)
    _sum_of_blocks(words, sums)
    return int(sums.sum())

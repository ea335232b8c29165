"""The limit: how fast this machine reads the bytes that a kernel needs, if it reads each once and only adds them."""

import numba
import numpy as np
from numba import prange

from jitlogreg.targets.compile import inline, parallel, serial

# Enough blocks to balance the threads; each is long enough for hardware prefetch
_BLOCKS = 64
# Bytes that one thread reads before others wake up. With GNU OpenMP and another process busy on one of two cores, two
# threads take 8 ms for 20 us of work: the one that finishes first spins on the core that the other needs
_SERIAL_BELOW = 2**20


@inline
def _one_stream(words):
    """Sum integers: the compiler may reorder and vectorise their sums, so only memory limits the speed."""
    s = np.uint64(0)
    for i in range(words.size):
        s += words[i]
    return s


@inline
def _four_streams(words):
    """Four streams per block: 42 GB/s on two cores, where one stream reached 34 and eight reached 44 (Zen 4)."""
    quarter = words.size // 4
    first, second = words[:quarter], words[quarter : 2 * quarter]
    third, fourth = words[2 * quarter : 3 * quarter], words[3 * quarter : 4 * quarter]
    s = t = u = v = np.uint64(0)
    for i in range(quarter):
        s += first[i]
        t += second[i]
        u += third[i]
        v += fourth[i]
    return s + t + u + v + _one_stream(words[4 * quarter :])


@inline
def _block(words, k, blocks):
    length = (words.size + blocks - 1) // blocks
    return words[min(k * length, words.size) : min((k + 1) * length, words.size)]


@serial
def _four_streams_serially(arrays):
    s = np.uint64(0)
    for words in arrays:
        s += _four_streams(words)
    return s


@serial
def _one_stream_serially(arrays):
    s = np.uint64(0)
    for words in arrays:
        s += _one_stream(words)
    return s


@parallel
def _four_streams_in_blocks(arrays, sums):
    for k in prange(sums.size):
        s = np.uint64(0)
        for words in arrays:
            s += _four_streams(_block(words, k, sums.size))
        sums[k] = s


@parallel
def _one_stream_in_blocks(arrays, sums):
    for k in prange(sums.size):
        s = np.uint64(0)
        for words in arrays:
            s += _one_stream(_block(words, k, sums.size))
        sums[k] = s


def readers(*arrays):
    """Two functions that read every byte of contiguous arrays, on Numba's threads, or on one thread below 1 MiB.

    The first reads each of many blocks in four streams. The second gives each thread one stream, which is faster from
    the last-level cache (8 MB on Zen 4: 184 GB/s instead of 164) and slower from memory. The limit is the time of the
    faster one.

    Returns
    -------
    list of callables
        Without arguments. Each returns the sum of the bytes, eight at a time, modulo 2**64, which keeps the compiler
        from removing the reads. An array's bytes beyond a multiple of eight are not read.
    """
    words = tuple(map(_words, arrays))
    if sum(array.nbytes for array in arrays) < _SERIAL_BELOW:
        return [lambda: int(_four_streams_serially(words)), lambda: int(_one_stream_serially(words))]
    sums, sums_of_threads = np.empty(_BLOCKS, np.uint64), np.empty(numba.get_num_threads(), np.uint64)
    return [
        lambda: _sum(_four_streams_in_blocks, words, sums),
        lambda: _sum(_one_stream_in_blocks, words, sums_of_threads),
    ]


def _sum(in_blocks, words, sums):
    in_blocks(words, sums)
    return int(sums.sum())


def _words(array):
    flat = array.ravel(order="K").view(np.uint8)
    return flat[: flat.size // 8 * 8].view(np.uint64)

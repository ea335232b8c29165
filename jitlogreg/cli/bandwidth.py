"""The limit: how fast this machine reads the bytes that a kernel needs, each once, and does no more than add them."""

import numba
import numpy as np
from numba import prange

from jitlogreg.targets.compile import inline, parallel, serial

# Blocks enough to share among threads evenly; each is long enough for the processor to read ahead
_BLOCKS = 64
# Bytes that one thread has read before others are awake. With GNU OpenMP and another process busy on one of two cores,
# two threads take 8 ms for 20 us of work: whichever is done spins, where the other could run
_SERIAL_BELOW = 2**20


@inline
def _one_stream(words):
    """Integers: the compiler may reorder their sums, which then take vectors and wait for nothing but memory."""
    s = np.uint64(0)
    for i in range(words.size):
        s += words[i]
    return s


@inline
def _four_streams(words):
    """42 GB/s on two cores where one stream a block came to 34 and eight to 44 (Zen 4)."""
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
    """The spellings of a read of every byte of contiguous arrays, on Numba's threads; on one, below 1 MiB.

    One goes in four streams through each of many blocks. The other gives each thread one stream, which is faster where
    the data lie in the last cache (8 MB on Zen 4: 184 GB/s for 164), and slower from memory. The limit is what the
    faster takes.

    Returns
    -------
    list of callables
        Without arguments. Each gives the sum of the bytes, taken eight at a time, modulo 2**64: it keeps the reading
        from being optimised away. An array's bytes beyond a multiple of eight are left out.
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

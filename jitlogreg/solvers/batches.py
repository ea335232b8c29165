"""Blocks of examples, one after the other: cut from arrays, or read from what gives them."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jitlogreg import validation
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.targets.dispatch import choose

# Rows in a block where arrays are cut. What an epoch over 1,000,000 x 28 numbers of float64 takes, as a multiple of one
# loss_and_gradient over them: with 256 rows 6.7, 512 3.9, 1024 2.5, 2048 1.8, 4096 1.5, 8192 1.4, 16,384 1.25, 32,768
# 1.14, 65,536 1.08 (best of 40 on two busy cores of an AMD EPYC, OMP_WAIT_POLICY=passive). A step costs 35 µs beside
# its sums, and from 14,564 rows of 28 columns on all threads share them
BLOCK_SIZE = 16384

_ACCEPTED = "(X, y) or (X, y, sample_weight)"


class Feed(NamedTuple):
    """Blocks with their numbers, epoch after epoch.

    Attributes
    ----------
    numbered : iterator of (int, object)
        Every block of every epoch. The number is its place in what was given, whatever the order.
    steps : int or None
        How many these are, where it is known.
    name : callable
        What a block of a number is called in messages.
    """

    numbered: Iterator
    steps: int | None
    name: Callable[[int], str]


def feed(blocks, sample_weight, block_size, n_epochs, rng, target):
    """The feed of arrays, cut into blocks of rows, or of blocks as they are given; in random order if there is an rng.

    Raises
    ------
    TypeError, ValueError
        For arrays no block of which could be taken, before the first is; for what cannot be iterated as often as there
        are epochs, or not in random order; from its iterator, for an epoch without blocks.
    """
    if isinstance(blocks, (tuple, list)) and len(blocks) in (2, 3) and not isinstance(blocks[0], (tuple, list)):
        arrays = X, y, weights = _with_weights(blocks, sample_weight)
        m = _row_count(X, y, sample_weight=weights, target=target)
        size = BLOCK_SIZE if block_size is None else validation.check_count("block_size", block_size, least=1)
        count = -(-m // size)

        def cut(i):
            return tuple(None if array is None else array[i * size : (i + 1) * size] for array in arrays)

        def name(i):
            return f"block {i} (rows {i * size} to {min((i + 1) * size, m) - 1})"

        return Feed(_indexed(cut, count, n_epochs, rng), n_epochs * count, name)
    if block_size is not None:
        raise ValueError(f"block_size is {block_size} beside blocks that are cut already; accepted is None")
    _check_blocks(blocks, n_epochs, rng)
    if sample_weight is not None:
        raise ValueError(
            "sample_weight is given beside blocks that are cut already; accepted is None: each block has its own, "
            "(X, y, sample_weight)"
        )
    count = len(blocks) if hasattr(type(blocks), "__len__") else None
    numbered = _streamed(blocks, n_epochs) if rng is None else _indexed(blocks.__getitem__, count, n_epochs, rng)
    return Feed(numbered, None if count is None else n_epochs * count, "block {}".format)


def _with_weights(arrays, sample_weight):
    """X, y and the weights, which are among the arrays, or beside them, or None."""
    X, y, weights = parts(arrays)
    if weights is not None and sample_weight is not None:
        raise ValueError("sample_weight is given beside (X, y, sample_weight); accepted is one of the two")
    return X, y, sample_weight if weights is None else weights


def parts(block):
    """X, y and sample_weight of a block, sample_weight None where it has none."""
    is_sequence = isinstance(block, (tuple, list))
    if not is_sequence or len(block) not in (2, 3):
        came = validation.described(block) + (f" with {len(block)} elements" if is_sequence else "")
        raise TypeError(f"it is {came}; accepted is {_ACCEPTED}")
    return (*block, None)[:3]


@accepts_foreign_arrays
def _row_count(X, y, *, sample_weight=None, target):
    choose(target, X)
    validation.check_matrix(X)
    validation.check_rows(X, y, sample_weight)
    return X.shape[0]


def _check_blocks(blocks, n_epochs, rng):
    if isinstance(blocks, Objective):
        raise TypeError("blocks is an Objective; accepted is the data itself, in blocks or to be cut into them")
    if not callable(blocks):
        if isinstance(blocks, Iterator) and n_epochs > 1:
            raise ValueError(
                f"blocks is {validation.described(blocks)}, which can be read once, and n_epochs is {n_epochs}; "
                "accepted is what can be iterated again, or a function that returns a new iterator each time it is "
                "called"
            )
        _iterator(blocks)
    if rng is not None and not all(hasattr(type(blocks), method) for method in ("__len__", "__getitem__")):
        raise TypeError(
            f"blocks is {validation.described(blocks)}, which cannot be indexed, and shuffle is given; accepted is a "
            "sequence of blocks, such as a list, or arrays"
        )


def _iterator(blocks):
    stream = blocks() if callable(blocks) else blocks
    if not any(hasattr(type(stream), method) for method in ("__iter__", "__getitem__")):
        came, of_blocks = validation.described(stream), f"an iterable of blocks, {_ACCEPTED}"
        if callable(blocks):
            raise TypeError(f"blocks() is {came}; accepted is {of_blocks}")
        raise TypeError(f"blocks is {came}; accepted is {_ACCEPTED}, or {of_blocks}")
    return iter(stream)


def _indexed(block_at, count, n_epochs, rng):
    for _ in range(n_epochs):
        for i in range(count) if rng is None else rng.permutation(count).tolist():
            yield i, block_at(i)


def _streamed(blocks, n_epochs):
    for epoch in range(n_epochs):
        stream = _iterator(blocks)
        for i in itertools.count():
            try:
                yield i, next(stream)  # without a name, by which the block would live until the next one is made
            except StopIteration:
                if i == 0:
                    raise ValueError(
                        f"blocks has no block in epoch {epoch}; accepted is at least one: a generator can be read "
                        "once, a function that returns a new one each time it is called in every epoch"
                    ) from None
                break

"""Batches of examples, one after the other: cut from arrays, or read from an iterable."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jitlogreg import outputs, validation
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.objective import Objective
from jitlogreg.targets.dispatch import choose

# Rows of a batch that is cut from arrays. An epoch over 1,000,000 x 28 numbers of float64, as a multiple of one
# loss_and_gradient over them, takes: with 256 rows 6.7, 512 3.9, 1024 2.5, 2048 1.8, 4096 1.5, 8192 1.4, 16,384 1.25,
# 32,768 1.14, 65,536 1.08 (best of 40 on two busy cores of an AMD EPYC, OMP_WAIT_POLICY=passive). A step costs 35 µs
# beside its sums. From 14,564 rows of 28 columns on, all threads share the sums
BATCH_ROWS = 16384

_FORM = "(X, y) or (X, y, sample_weight, offset)"


class BatchStream(NamedTuple):
    """Batches with their numbers, epoch after epoch.

    Attributes
    ----------
    numbered : iterator of (int, object)
        Every batch of every epoch. Its number is its place in what was given, whatever the order.
    n_batches : int or None
        How many these are, where it is known.
    label : callable
        What messages call the batch of a number.
    """

    numbered: Iterator
    n_batches: int | None
    label: Callable[[int], str]


def batch_stream(blocks, beside, block_size, n_epochs, rng, target):
    """The batches of `minibatch_descent`, in random order if there is an rng.

    Parameters
    ----------
    beside : dict
        `sample_weight` and `offset` of arrays (X, y), or None.

    Raises
    ------
    TypeError, ValueError
        For arrays of the wrong type or shape, before the first batch is cut; for what cannot be iterated for every
        epoch, or not in random order. For an epoch without batches, by the stream's iterator.
    """
    if _are_arrays(blocks):
        return _cut_from_arrays(_joined(blocks, beside), block_size, n_epochs, rng, target)
    if block_size is not None:
        raise ValueError(f"block_size: expected None beside batches that are cut already, got {block_size}")
    _check_batches(blocks, n_epochs, rng)
    for name, array in beside.items():
        if array is not None:
            raise ValueError(
                f"{name}: expected None beside batches that are cut already, got {validation.described(array)}: each "
                "batch has its own, (X, y, sample_weight, offset)"
            )
    count = len(blocks) if hasattr(type(blocks), "__len__") else None
    numbered = _iterated(blocks, n_epochs) if rng is None else _indexed(blocks.__getitem__, count, n_epochs, rng)
    return BatchStream(numbered, None if count is None else n_epochs * count, "batch {}".format)


def number_of_classes(blocks):
    """K of a softmax from the labels of arrays that are to be cut."""
    if not _are_arrays(blocks):
        raise ValueError(
            "w: expected shape (n, K), which tells K, for link='softmax' beside batches that are cut already, got None"
        )
    return _number_of_classes(*as_examples(blocks)[:2])[0]


@accepts_foreign_arrays
def _number_of_classes(X, y):
    return [outputs.number_of_classes(y)]


def _are_arrays(blocks):
    """Whether these are arrays to cut into batches."""
    return isinstance(blocks, (tuple, list)) and len(blocks) in (2, 3, 4) and not isinstance(blocks[0], (tuple, list))


def as_examples(batch):
    """X, y, sample_weight and offset of a batch; the last two are None if it has none."""
    is_sequence = isinstance(batch, (tuple, list))
    if not is_sequence or len(batch) not in (2, 3, 4):
        came = validation.described(batch) + (f" with {len(batch)} elements" if is_sequence else "")
        raise TypeError(f"expected {_FORM}, got {came}")
    return (*batch, None, None)[:4]


# ---------------------------------------------------------------- arrays


def _joined(arrays, beside):
    """X, y, weights and offsets; the last two are among the arrays, or beside them, or None."""
    X, y, *of_examples = as_examples(arrays)
    for k, (name, array) in enumerate(beside.items()):
        if of_examples[k] is not None and array is not None:
            among = ", ".join(("X", "y", *list(beside)[: k + 1]))
            raise ValueError(f"{name}: expected None beside ({among}), got {validation.described(array)}")
    weights, offset = (
        array if among is None else among for among, array in zip(of_examples, beside.values(), strict=True)
    )
    return X, y, weights, offset


def _cut_from_arrays(arrays, block_size, n_epochs, rng, target):
    """The stream of batches that are views of arrays."""
    X, y, weights, offset = arrays
    m = _row_count(X, y, sample_weight=weights, offset=offset, target=target)
    size = BATCH_ROWS if block_size is None else validation.check_count("block_size", block_size, least=1)
    count = -(-m // size)

    def cut(i):
        return tuple(None if array is None else array[i * size : (i + 1) * size] for array in arrays)

    def label(i):
        return f"batch {i} (rows {i * size} to {min((i + 1) * size, m) - 1})"

    return BatchStream(_indexed(cut, count, n_epochs, rng), n_epochs * count, label)


@accepts_foreign_arrays
def _row_count(X, y, *, sample_weight=None, offset=None, target):
    choose(target, X)
    validation.check_matrix(X)
    validation.check_some_rows(X)
    for name, array in (("y", y), ("sample_weight", sample_weight), ("offset", offset)):
        if array is not None or name == "y":
            validation.check_row_count(name, array, X.shape[0])
    return X.shape[0]


# ---------------------------------------------------------------- batches that are cut already


def _check_batches(blocks, n_epochs, rng):
    """Raise unless these can be iterated for every epoch, and indexed if they are to be shuffled."""
    if isinstance(blocks, Objective):
        raise TypeError("blocks: expected the data itself, in batches or to be cut into them, got an Objective")
    if not callable(blocks):
        if isinstance(blocks, Iterator) and n_epochs > 1:
            raise ValueError(
                "blocks: expected what can be iterated again, or a function that returns a new iterator each time it "
                f"is called, for n_epochs={n_epochs}, got {validation.described(blocks)}, which can be read once"
            )
        _iterator(blocks)
    if rng is not None and not all(hasattr(type(blocks), method) for method in ("__len__", "__getitem__")):
        raise TypeError(
            "blocks: expected a sequence of batches, such as a list, or arrays, as shuffle is given, got "
            f"{validation.described(blocks)}, which cannot be indexed"
        )


def _iterator(blocks):
    stream = blocks() if callable(blocks) else blocks
    if not any(hasattr(type(stream), method) for method in ("__iter__", "__getitem__")):
        iterable = f"an iterable of batches, {_FORM}"
        name, expected = ("blocks()", iterable) if callable(blocks) else ("blocks", f"{_FORM}, or {iterable}")
        raise TypeError(f"{name}: expected {expected}, got {validation.described(stream)}")
    return iter(stream)


def _indexed(batch_at, count, n_epochs, rng):
    for _ in range(n_epochs):
        for i in range(count) if rng is None else rng.permutation(count).tolist():
            yield i, batch_at(i)


def _iterated(blocks, n_epochs):
    for epoch in range(n_epochs):
        stream = _iterator(blocks)
        for i in itertools.count():
            try:
                yield i, next(stream)  # without a name, which would keep the batch alive until the next one is made
            except StopIteration:
                if i == 0:
                    raise ValueError(
                        f"blocks: expected at least one batch in epoch {epoch}, got none: a generator can be read "
                        "once, a function that returns a new one each time it is called in every epoch"
                    ) from None
                break

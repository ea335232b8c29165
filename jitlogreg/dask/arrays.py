"""Dask arrays: checked, cut as X is, and the keys of their blocks."""

import math
import sys
import uuid

import dask
import dask.array as da
import numpy as np

from jitlogreg import validation
from jitlogreg.interop.libraries import library_of
from jitlogreg.targets.dispatch import name_for


def matrix(X):
    """X as a dask array in blocks of whole rows."""
    X = _array("X", X)
    if X.ndim != 2 or math.isnan(X.shape[1]):
        raise ValueError(f"X: expected shape (m, n) with a known n, got {X.shape}")
    if X.numblocks[1] != 1:
        raise ValueError(
            f"X: expected blocks of whole rows, got {X.numblocks[1]} blocks of columns: X.rechunk({{1: -1}}) joins them"
        )
    validation.check_float_dtype("X", X)
    return X


def of_examples(name, v, X, columns=None):
    """Labels, weights or offsets, (m,) or with so many columns, in blocks as X's are; None stays None."""
    if v is None:
        return None
    if isinstance(v, np.ndarray):
        v = da.from_array(v, chunks=v.shape)
    v = _array(name, v)
    if v.shape[1:] not in ((), (columns,)):
        also = "" if columns is None else f" or (m, {columns})"
        raise ValueError(f"{name}: expected shape (m,){also}, one element per row of X, got {v.shape}")
    known = not any(math.isnan(rows) for rows in (*v.chunks[0], *X.chunks[0]))
    if known and v.shape[0] != X.shape[0]:
        raise ValueError(f"{name}: expected shape ({X.shape[0]},), one element per row of X, got {v.shape}")
    if known:
        return v.rechunk((X.chunks[0], *v.shape[1:]))
    if v.numblocks[0] != X.numblocks[0]:
        raise ValueError(
            f"{name}: expected {X.numblocks[0]} blocks, as X has, or known lengths in both, got {v.numblocks[0]}: "
            "compute_chunk_sizes() of the dask array counts the rows"
        )
    return v


def _array(name, value):
    if hasattr(value, "to_dask_array"):
        value = value.to_dask_array()
    if not isinstance(value, da.Array):
        also = "" if name == "X" else " or a numpy.ndarray"
        raise TypeError(f"{name}: expected a dask array{also}, got {validation.described(value)}")
    return value


def target_name(target, X):
    """Where the workers compute."""
    return name_for(target, library_of(X._meta))


def graph_of(arrays):
    """The graph that computes the arrays' blocks, with those that a cluster holds already."""
    # an optimised graph omits them, since they need no tasks; nothing else may keep them alive
    distributed = sys.modules.get("distributed")
    graph = {future.key: future for future in distributed.futures_of(arrays)} if distributed else {}
    for array in dask.optimize(*arrays):
        graph.update(array.__dask_graph__())
    return graph


def new_name(what):
    """A name of keys that no other graph has."""
    return f"jitlogreg-{what}-{uuid.uuid4().hex}"


def block_keys(array, count):
    """The keys of the blocks of a vector, or of a matrix with one block of columns; so many times None for None."""
    if array is None:
        return [None] * count
    return [key for row in array.__dask_keys__() for key in (row if isinstance(row, list) else [row])]

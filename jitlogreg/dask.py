"""The objective over dask arrays: for data beyond memory, and for clusters.

Dask provides the threads and processes, and the kernels process each block of rows on one of them. The order in which
the blocks' sums are added depends only on their number, so the bits are the same on every scheduler and any number of
workers.
"""

import functools
import io
import math
import pickle
import sys
import uuid

import numpy as np

from jitlogreg import api, row_passes, validation
from jitlogreg import objective as in_memory
from jitlogreg.evaluation import WEIGHT_RANGE, check_examples, check_weight
from jitlogreg.interop.device_array import device_array, on_host
from jitlogreg.interop.libraries import library_of
from jitlogreg.norms import power_of_two_over
from jitlogreg.pickling import keeps_by_itself, pack, unpack
from jitlogreg.targets.base import Problem, Sums, layout
from jitlogreg.targets.dispatch import name_for, one_thread

try:
    import cloudpickle
    import dask
    import dask.array as da
    from dask.base import get_scheduler
    from dask.threaded import get as on_threads
except ImportError as error:
    raise ImportError("jitlogreg.dask needs the package dask: pip install 'jitlogreg[dask]'") from error

# Rows of the sample that shows the columns; a fit by L-BFGS takes as many, of up to 500 columns
SAMPLE = 10_000

# How many sums a task adds. 100 blocks need seven such tasks and one more; each costs as much as a block without its
# arithmetic
ADDED_AT_ONCE = 16


class Objective(in_memory.Objective):
    """`jitlogreg.Objective` over dask arrays: J of `loss` as a function of θ = [w, b], bound to its data.

    J(θ) = 1/S Σᵢ sᵢ L(yᵢ, σ(xᵢ·w + b)) + l2/2 ‖w‖², S = Σ sᵢ. Calls compute immediately, on Dask's current scheduler:
    threads, or the cluster of the current client.

    Parameters
    ----------
    X : dask array or data frame of float32 or float64, shape (m, n)
        In blocks of whole rows. The numbers of rows may be unknown, as in blocks of a data frame.
    y : dask or NumPy array, or dask series, of bool, integer or float, shape (m,)
        Labels from 0 to 1; soft labels are allowed. y is rechunked as X, if the numbers of rows are known.
    sample_weight : as y, optional
        Finite weights of at least 0 with a positive sum; by default 1 each.
    l2 : float
        The strength of the penalty l2/2 ‖w‖², at least 0. The intercept is not penalised.
    fit_intercept : bool
        Whether θ ends with b; b is 0 otherwise.
    check_finite : bool
        Whether to refuse an X that contains NaN or infinity.
    target : {"cpu", "cuda", "reference"}, optional
        Where the workers compute. By default `use_target`, then the environment of this process, then where the blocks
        are stored decides.

    Attributes
    ----------
    n_features, n_parameters : int
        n; and n + 1, or n without an intercept.
    shape, dtype : tuple of int, numpy.dtype
        Those of X.
    l2 : float
    target : str
    has_hessian : bool
        Whether the target has a kernel for the Hessian, and X at most 2,000 columns.

    Raises
    ------
    TypeError, ValueError
        If arrays are cut across columns or in different ways, or if `jitlogreg.Objective` would raise. In the latter
        case the message begins with the number of the block, and rows are counted within the block.

    Notes
    -----
    Binding costs one evaluation. An evaluation runs one task per block, and some that add up the results. A block in
    memory is read once, in place; any other is loaded in every evaluation. `X.persist()` keeps blocks in the memory of
    the workers. Blocks stay where they are: each worker receives θ, 8 (n + 1) bytes, and a block returns 8 (n + 2)
    bytes, or 8 (n + 1)² for `hessian`.

    Sums over the blocks are compensated, so accuracy is that of `jitlogreg.Objective`.

    Pickles and deep copies contain the blocks in this process's memory, or the names of the files that these are mapped
    from. Of blocks on a cluster they contain the keys, for a process that is a client of it. `copy.copy` shares
    everything.

    `fit` loads X once more for a sample of its rows, which the caller keeps, and at the end once more to rule out
    separation. If separation is likely, all blocks are sent to the caller, one after another and several times.

    Examples
    --------
    >>> import dask.array as da, numpy as np, jitlogreg as jlr
    >>> from jitlogreg.dask import Objective
    >>> X = da.from_array(np.array([[-1.0], [0.5], [2.0], [0.1]]), chunks=(2, 1))
    >>> objective = Objective(X, np.array([0, 1, 1, 0]), l2=0.1)
    >>> loss, gradient = objective(np.zeros(2))
    >>> round(loss, 6), gradient
    (0.693147, array([-0.425,  0.   ]))
    >>> fitted = jlr.fit(objective)
    >>> fitted.w.round(4), round(fitted.b, 4)
    (array([1.3267]), -0.478)
    """

    def __init__(self, X, y, *, sample_weight=None, l2=0.0, fit_intercept=True, check_finite=True, target=None):
        X = _matrix(X)
        y, s = (None if v is None else _vector(name, v, X) for name, v in (("y", y), ("sample_weight", sample_weight)))
        if y is None:
            raise TypeError("y: expected a dask array or a numpy.ndarray, got None")
        self._describe(X, _name(target, X), l2, fit_intercept)
        arrays = [X, y] if s is None else [X, y, s]
        self._blocks = list(zip(*(_flat(array.__dask_keys__()) for array in arrays), strict=True))
        self._graph = _graph(arrays)
        self._weight_scale, self._sampled = 1.0, (0, None)
        bind = functools.partial(_bind, check_finite=bool(check_finite))
        zero = np.zeros(self.n_features + 1)
        rows, weight, loss, db, *dw = self._add_up(bind, zero)
        self.shape = int(rows), self.n_features
        if rows == 0:
            raise ValueError(f"X: expected at least one row, got shape {self.shape}")
        if s is not None and not WEIGHT_RANGE[0] <= weight <= WEIGHT_RANGE[1]:
            self._weight_scale = power_of_two_over(max(self._of_each_block(_largest_weight, zero)))
            rows, weight, loss, db, *dw = self._add_up(bind, zero)
        self.total_weight = float(weight)
        check_weight(self.total_weight)
        self.imbalance = float(db) / self.total_weight if self.n_parameters > self.n_features else 0.0
        self._at_zero = Sums(float(loss), np.array(dw), float(db), self.total_weight, True)

    def __getstate__(self):
        with io.BytesIO() as file:
            _Pickler(file).dump(self.__dict__)
            return {"pickled": file.getvalue()}

    def __setstate__(self, state):
        self.__dict__.update(pickle.loads(state["pickled"]))

    def sample(self, rows):
        """The objective, in memory, of every k-th example of each block; None if all weights are 0.

        k is chosen for about `rows` examples, which are sent to the caller.
        """
        X, y, s = self._every(rows)
        if s is not None and not np.sum(s) > 0:
            return None
        intercept = self.n_parameters > self.n_features
        part = in_memory.Objective(X, y, sample_weight=s, l2=self.l2, fit_intercept=intercept, target=self.target)
        return part if self.frame is None else part.in_frame(self.frame)

    def some_rows(self, count):
        """Every k-th row of each block, about `count` in all, and their weights or None, sent to the caller."""
        X, _, s = self._every(max(count, SAMPLE))
        step = max(1, len(X) // count)
        return X[::step], None if s is None else s[::step]

    def row_blocks(self):
        """Iterate over the blocks, which are sent to the caller: X, y and weights."""
        for block in self._blocks:
            name = _new_name("block")
            ((X, y, *s),) = self._compute({(name, 0): (_every, 1, *block)})
            yield X, y, s[0] * self._weight_scale if s else np.ones(len(y))

    def smallest_doubt(self, theta, enough=math.inf):
        """As for data in memory."""
        of_block = functools.partial(_smallest_doubt, enough=enough)
        return min(self._of_each_block(of_block, self._to_caller(theta)))

    def root(self, theta):
        """As for data in memory. Each block is factored by itself, and the factors are joined in pairs."""
        from jitlogreg.linear_algebra import joined

        R = self._root_of_penalty()
        of_block = functools.partial(_root, frame=self.frame, has_b=self.n_parameters > self.n_features)
        return joined(self._of_each_block(of_block, np.append(theta, np.zeros(self.n_features + 1 - len(theta)))), R)

    def _every(self, rows):
        """X, y and weights, or None, of every k-th example. The last sample is kept, since it takes a load of all X."""
        step = max(1, self.shape[0] // rows)
        if self._sampled[0] != step:
            name = _new_name("sample")
            parts = self._compute({(name, i): (_every, step, *block) for i, block in enumerate(self._blocks)})
            X, y, *s = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            self._sampled = step, (X, y, s[0] if s else None)
        return self._sampled[1]

    def _to_caller(self, theta):
        """w and b in one vector, with 0 if there is no b."""
        theta = theta if self.frame is None else self.frame.to_caller(theta)
        return np.append(theta, np.zeros(self.n_features + 1 - len(theta)))

    def _of_each_block(self, function, theta):
        """The results of a function of a block and θ, for every block in order."""
        name = _new_name("each")
        graph = {(name, "theta"): theta}
        for i, block in enumerate(self._blocks):
            graph[(name, i)] = (_of_block, function, i, self.target, self._weight_scale, (name, "theta"), *block)
        return [found[0] for found in self._compute(graph, [(name, i) for i in range(len(self._blocks))])]

    def _sums(self, w, b, with_gradient):
        if not with_gradient:
            loss = float(self._add_up(self._framed(_loss), np.append(w, b))[0])
            return Sums(loss, np.zeros(self.n_features), 0.0, self.total_weight, True)
        loss, db, *_ = numbers = self._add_up(self._framed(_gradient), np.append(w, b))
        return Sums(float(loss), numbers[2:], float(db), self.total_weight, True)

    def _into_frame(self, columns):
        pass  # each block is told

    def _hessian_vector_sums(self, w, b, v):
        numbers = self._add_up(self._framed(_hessian_vector), np.stack([np.append(w, b), v]))
        return numbers[:-1], float(numbers[-1])

    def _hessian_sums(self, w, b):
        return self._add_up(self._framed(_hessian), np.append(w, b)).reshape(self.n_features + 1, -1)

    def _framed(self, sums):
        return functools.partial(sums, frame=self.frame)

    def _add_up(self, sums, theta):
        """Σ over the blocks of `sums`, a function of a block and θ that returns a vector. θ is sent once."""
        name = _new_name("sums")
        graph = {(name, "theta"): theta}
        level = []
        for i, block in enumerate(self._blocks):
            level.append((name, "block", i))
            graph[level[-1]] = (_of_block, sums, i, self.target, self._weight_scale, (name, "theta"), *block)
        depth = 0
        while depth == 0 or len(level) > 1:
            groups = [level[i : i + ADDED_AT_ONCE] for i in range(0, len(level), ADDED_AT_ONCE)]
            level = [(name, depth, i) for i in range(len(groups))]
            graph.update({key: (add_up, group) for key, group in zip(level, groups, strict=True)})
            depth += 1
        ((high, low),) = self._compute(graph, level)
        # if the high part is not finite, the low part is NaN
        return np.where(np.isfinite(high), high + low, high)

    def _compute(self, graph, keys=None):
        # not by dask.compute, which would hash every number in the graph
        get = get_scheduler() or on_threads
        return get({**self._graph, **graph}, list(graph) if keys is None else keys)


class _Pickler(cloudpickle.Pickler):
    """Pickles the functions of a graph, and its arrays in their memory order or by the name of their file."""

    def reducer_override(self, value):
        if type(value) in (np.ndarray, np.memmap) and not value.dtype.hasobject and not keeps_by_itself(value):
            return unpack, (pack(value),)
        return super().reducer_override(value)


def forward(X, w, b=0.0, *, target=None):
    """a = σ(Xw + b) of a dask array, as a dask array; `compute` on that computes it.

    Parameters
    ----------
    X : dask array or data frame of float32 or float64, shape (m, n)
        In blocks of whole rows.
    w : ndarray of X's dtype or float64, shape (n,)
    b : float
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    dask array of w's dtype, shape (m,)
        In the same blocks as X. Accuracy is that of `jitlogreg.forward`.

    Raises
    ------
    TypeError, ValueError
        If X is cut across columns, or w or b is not valid beside X.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> from jitlogreg.dask import forward
    >>> forward(da.ones((4, 2), chunks=(2, 2)), np.array([0.5, -0.5])).compute()
    array([0.5, 0.5, 0.5, 0.5])
    """
    return _activations(api.forward, X, w, b, target)


def log_forward(X, w, b=0.0, *, target=None):
    """log σ(Xw + b) of a dask array, as a dask array, finite wherever a number can represent it.

    Everything else is as in `forward`.
    """
    return _activations(api.log_forward, X, w, b, target)


def _activations(call, X, w, b, target):
    X = _matrix(X)
    w = validation.check_coefficients(w, X)
    b = float(validation.check_intercept(b, w.dtype))
    sent = da.from_array(w.copy(), chunks=w.shape, name=_new_name("w"))
    meta = X._meta[:, :0].sum(axis=1).astype(w.dtype)  # in the library of X's blocks
    of_block = functools.partial(_forward, call, b, _name(target, X))
    return da.blockwise(of_block, "i", X, "ij", sent, "j", dtype=w.dtype, meta=meta, concatenate=False)


# ---------------------------------------------------------------- within a block


def _of_block(function, number, target, weight_scale, theta, X, y, sample_weight=None):
    """A function's result for a block, on one thread, in a list or array, where its rounding error may follow."""
    try:
        with one_thread():
            arrays = [_served(array) for array in (X, y, sample_weight)]
            chosen, data = in_memory.bind(*arrays, target=target, may_be_empty=True)
            X, s = data.X, data.sample_weight
            if X.shape[1] != theta.shape[-1] - 1:
                raise ValueError(f"X: expected {theta.shape[-1] - 1} columns, as declared, got shape {X.shape}")
            if weight_scale != 1:
                data = data._replace(sample_weight=s * weight_scale)
            found = function(chosen, data, theta)
            return found[np.newaxis] if isinstance(found, np.ndarray) else [found]
    except (TypeError, ValueError) as error:
        raise type(error)(f"block {number}: {error}") from error


def _bind(target, data, theta, check_finite):
    sums = target.sums(data, theta[:-1], 0.0, True)
    check_examples(sums.weight, sums.valid, data)
    if check_finite and not math.isfinite(sums.loss):
        validation.check_finite(on_host(data.X))
    return np.concatenate([[data.X.shape[0], sums.weight, sums.loss, sums.db], sums.dw])


def _largest_weight(target, data, theta):
    return float(on_host(data.sample_weight).max(initial=0.0))


def _smallest_doubt(target, data, theta, enough):
    return row_passes.smallest_doubt(target, _on_host(data), theta[:-1], float(theta[-1]), enough)


def _root(target, data, theta, frame, has_b):
    theta = theta if has_b else theta[:-1]
    return row_passes.add_weighted_rows(target, _on_host(data, frame), theta, np.zeros((len(theta), len(theta))))


def _on_host(data, frame=None):
    X, y, s = (None if array is None else on_host(array) for array in data[:3])
    return Problem.of(X, y, s, frame)


def _loss(target, data, theta, frame):
    return np.array([target.sums(data._replace(frame=frame), theta[:-1], theta[-1], False).loss])


def _gradient(target, data, theta, frame):
    sums = target.sums(data._replace(frame=frame), theta[:-1], theta[-1], True)
    return np.concatenate([[sums.loss, sums.db], sums.dw])


def _hessian_vector(target, data, theta, frame):
    at, v = theta
    return np.append(*target.hessian_vector_sums(data._replace(frame=frame), at[:-1], at[-1], v))


def _hessian(target, data, theta, frame):
    return target.hessian_sums(data._replace(frame=frame), theta[:-1], theta[-1]).ravel()


def add_up(parts):
    """The sum of the parts. Each is a vector, and its rounding error if that is known."""
    high, low = np.zeros((2, parts[0].shape[1]))
    with np.errstate(all="ignore"):
        for more, *lost in parts:
            total = high + more
            back = total - high
            low += (high - (total - back)) + (more - back)
            for x in lost:
                low += x
            high = total
    return np.stack([high, low])


def _every(step, *arrays):
    # copies, since a view would keep its whole block alive
    return [on_host(array[::step]).copy() for array in arrays]


def _forward(call, b, target, blocks_of_x, blocks_of_w):
    # lists of one block each, since Dask would copy to join them
    (X,), (w,) = blocks_of_x, blocks_of_w
    with one_thread():
        library = library_of(X)
        if library is not None:
            w = device_array(X, library).from_numpy(w).owner
        return call(_served(X), w, b, target=target)


def _served(array):
    """An array itself, or a copy if the kernels would refuse its strides or its alignment after a transfer."""
    if not isinstance(array, np.ndarray):
        return array
    if not array.flags.aligned or (array.ndim == 2 and layout(array.shape, array.strides, array.itemsize) is None):
        return array.copy(order="K" if array.flags.forc else "C")
    return array


# ---------------------------------------------------------------- arrays and keys


def _matrix(X):
    X = _array("X", X)
    if X.ndim != 2 or math.isnan(X.shape[1]):
        raise ValueError(f"X: expected shape (m, n) with a known n, got {X.shape}")
    if X.numblocks[1] != 1:
        raise ValueError(
            f"X: expected blocks of whole rows, got {X.numblocks[1]} blocks of columns: X.rechunk({{1: -1}}) joins them"
        )
    validation.check_float_dtype("X", X)
    return X


def _vector(name, v, X):
    """Labels or weights in blocks as X's are."""
    if isinstance(v, np.ndarray):
        v = da.from_array(v, chunks=v.shape)
    v = _array(name, v)
    if v.ndim != 1:
        raise ValueError(f"{name}: expected shape (m,), one element per row of X, got {v.shape}")
    known = not any(math.isnan(rows) for rows in (*v.chunks[0], *X.chunks[0]))
    if known and v.shape[0] != X.shape[0]:
        raise ValueError(f"{name}: expected shape ({X.shape[0]},), one element per row of X, got {v.shape}")
    if known:
        return v.rechunk((X.chunks[0],))
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


def _name(target, X):
    return name_for(target, library_of(X._meta))


def _graph(arrays):
    """The graph that computes the arrays' blocks, with those that a cluster holds already."""
    # an optimised graph omits them, since they need no tasks; nothing else may keep them alive
    distributed = sys.modules.get("distributed")
    graph = {future.key: future for future in distributed.futures_of(arrays)} if distributed else {}
    for array in dask.optimize(*arrays):
        graph.update(array.__dask_graph__())
    return graph


def _new_name(what):
    return f"jitlogreg-{what}-{uuid.uuid4().hex}"


def _flat(keys):
    """The keys of the blocks of a vector, or of a matrix with one block of columns, in one list."""
    return [key for row in keys for key in (row if isinstance(row, list) else [row])]

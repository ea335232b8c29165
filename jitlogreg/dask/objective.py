"""The objective over dask arrays."""

import functools
import io
import math
import pickle
from typing import ClassVar

import cloudpickle
import numpy as np
from dask.base import get_scheduler
from dask.threaded import get as on_threads

from jitlogreg import objective as in_memory
from jitlogreg import row_passes
from jitlogreg.dask import blocks
from jitlogreg.dask.arrays import block_keys, graph_of, matrix, new_name, of_examples, target_name
from jitlogreg.evaluation import WEIGHT_RANGE, check_weight
from jitlogreg.norms import power_of_two_over
from jitlogreg.pickling import keeps_by_itself, pack, unpack
from jitlogreg.targets.base import Problem, Sums
from jitlogreg.targets.csr import CSR, concatenated

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
    offset : as y, optional
        A known part of each margin, which is added to z.
    l2 : float
        The strength of the penalty l2/2 ‖w‖², at least 0. The intercept is not penalised.
    fit_intercept : bool
        Whether θ ends with b; b is 0 otherwise.
    check_finite : bool
        Whether to refuse an X that contains NaN or infinity.
    link : {"sigmoid", "softmax"}
        With more than one output: K independent models, or one model of K classes.
    n_outputs : int
        K. θ, labels, weights and what calls return are those of `jitlogreg.Objective`, and y, sample_weight and offset
        may have K columns in one block.
    target : {"cpu", "cuda", "reference"}, optional
        Where the workers compute. By default `use_target`, then the environment of this process, then where the blocks
        are stored decides.

    Attributes
    ----------
    n_features, n_parameters : int
        n; and n + 1, or n without an intercept, times the number of outputs.
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

    # what makes an objective of more than one output, once it is there
    _of_outputs: ClassVar[type | None] = None

    def __init__(
        self,
        X,
        y,
        *,
        sample_weight=None,
        l2=0.0,
        fit_intercept=True,
        check_finite=True,
        link="sigmoid",
        n_outputs=1,
        offset=None,
        target=None,
    ):
        X = self._gather(X, y, sample_weight, offset)
        self._describe(X, target_name(target, X), l2, fit_intercept)
        self._bind_block = functools.partial(in_memory.bind, may_be_empty=True)
        bind = functools.partial(blocks.bind, check_finite=bool(check_finite))
        zero = np.zeros(self.n_features + 1)
        rows, weight, imbalance, loss, db, *dw = self._add_up(bind, zero)
        self._check_rows(rows)
        if sample_weight is not None and not WEIGHT_RANGE[0] <= weight <= WEIGHT_RANGE[1]:
            self._weight_scale = power_of_two_over(max(self._of_each_block(blocks.largest_weight, zero)))
            rows, weight, imbalance, loss, db, *dw = self._add_up(bind, zero)
        self.total_weight = float(weight)
        check_weight(self.total_weight)
        self.imbalance = float(imbalance) / self.total_weight if self.has_intercept else 0.0
        self._at_zero = Sums(float(loss), np.array(dw), float(db), self.total_weight, True)

    def _gather(self, X, y, sample_weight, offset, columns=None):
        """Take the arrays, of which those of the examples may have so many columns. Returns X as a dask array."""
        if y is None:
            raise TypeError("y: expected a dask array or a numpy.ndarray, got None")
        X = matrix(X)
        beside = {"y": y, "sample_weight": sample_weight, "offset": offset}
        arrays = [X, *(of_examples(name, array, X, columns) for name, array in beside.items())]
        keys = (block_keys(array, X.numblocks[0]) for array in arrays)
        self._blocks = list(zip(*keys, strict=True))
        self._graph = graph_of([array for array in arrays if array is not None])
        self._weight_scale, self._sampled = 1.0, (0, None)
        return X

    def _check_rows(self, rows):
        self.shape = int(rows), self.n_features
        if rows == 0:
            raise ValueError(f"X: expected at least one row, got shape {self.shape}")

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
        X, y, s, offset = self._every(rows)
        if s is not None and not np.sum(s) > 0:
            return None
        described = {"link": self.link, "n_outputs": self.n_outputs, "l2": self.l2, "fit_intercept": self.has_intercept}
        part = in_memory.Objective(X, y, sample_weight=s, offset=offset, **described, target=self.target)
        return part if self.frame is None else part.in_frame(self.frame)

    def some_rows(self, count):
        """Every k-th row of each block, about `count` in all, and their weights or None, sent to the caller."""
        X, _, s, _ = self._every(max(count, SAMPLE))
        step = max(1, len(X) // count)
        return X[::step], None if s is None else s[::step]

    def fingerprint(self):
        """A checksum of the sample that hardly any other data has."""
        X, y, s, offset = self._every(SAMPLE)
        return row_passes.fingerprint(Problem(X, y, s, "C", 0, offset=offset))

    def row_blocks(self):
        """Iterate over the blocks, which are sent to the caller: X, y, weights, and offsets or None."""
        for block in self._blocks:
            name = new_name("block")
            ((X, y, s, offset),) = self._compute({(name, 0): (blocks.every, 1, *block)})
            of_model = [None if array is None else array.T for array in (y, offset)]
            yield (
                X.toarray() if type(X) is CSR else X,
                of_model[0],
                np.ones(len(X)) if s is None else s * self._weight_scale,
                of_model[1],
            )

    def smallest_doubt(self, theta, enough=math.inf):
        """As for data in memory."""
        of_block = functools.partial(blocks.smallest_doubt, enough=enough)
        return min(self._of_each_block(of_block, self._to_caller(theta)))

    def root(self, theta):
        """As for data in memory. Each block is factored by itself, and the factors are joined in pairs."""
        from jitlogreg.linear_algebra import joined

        R = self._root_of_penalty()
        of_block = functools.partial(blocks.root, frame=self.frame, has_b=self.has_intercept)
        return joined(self._of_each_block(of_block, np.append(theta, np.zeros(self.n_features + 1 - len(theta)))), R)

    def _every(self, rows):
        """Every k-th example: X, y, weights and offsets. The last sample is kept, since it takes a load of all X."""
        step = max(1, self.shape[0] // rows)
        if self._sampled[0] != step:
            name = new_name("sample")
            parts = self._compute({(name, i): (blocks.every, step, *block) for i, block in enumerate(self._blocks)})
            self._sampled = (
                step,
                [None if arrays[0] is None else concatenated(arrays) for arrays in zip(*parts, strict=True)],
            )
        return self._sampled[1]

    def _to_caller(self, theta):
        """w and b in one vector, with 0 if there is no b."""
        theta = theta if self.frame is None else self.frame.to_caller(theta)
        return np.append(theta, np.zeros(self.n_features + 1 - len(theta)))

    def _of_each_block(self, function, theta):
        """The results of a function of a block and θ, for every block in order."""
        name, work = new_name("each"), self._work(function)
        graph = {(name, "theta"): theta}
        for i, block in enumerate(self._blocks):
            graph[(name, i)] = (blocks.of_block, work, i, (name, "theta"), *block)
        return [found[0] for found in self._compute(graph, [(name, i) for i in range(len(self._blocks))])]

    def _sums(self, w, b, with_gradient):
        if not with_gradient:
            loss = float(self._add_up(self._framed(blocks.loss), np.append(w, b))[0])
            return Sums(loss, np.zeros(self.n_features), 0.0, self.total_weight, True)
        loss, db, *_ = numbers = self._add_up(self._framed(blocks.gradient), np.append(w, b))
        return Sums(float(loss), numbers[2:], float(db), self.total_weight, True)

    def _into_frame(self, columns):
        pass  # each block is told

    def _hessian_vector_sums(self, w, b, v):
        numbers = self._add_up(self._framed(blocks.hessian_vector), np.stack([np.append(w, b), v]))
        return numbers[:-1], float(numbers[-1])

    def _hessian_sums(self, w, b):
        return self._add_up(self._framed(blocks.hessian), np.append(w, b)).reshape(self.n_features + 1, -1)

    def _framed(self, sums):
        return functools.partial(sums, frame=self.frame)

    def _work(self, function):
        return blocks.Work(function, self._bind_block, self.target, self.n_features, self._weight_scale)

    def _add_up(self, sums, theta):
        """Σ over the blocks of `sums`, a function of a block and θ that returns a vector. θ is sent once."""
        name, work = new_name("sums"), self._work(sums)
        graph = {(name, "theta"): theta}
        level = []
        for i, block in enumerate(self._blocks):
            level.append((name, "block", i))
            graph[level[-1]] = (blocks.of_block, work, i, (name, "theta"), *block)
        depth = 0
        while depth == 0 or len(level) > 1:
            groups = [level[i : i + ADDED_AT_ONCE] for i in range(0, len(level), ADDED_AT_ONCE)]
            level = [(name, depth, i) for i in range(len(groups))]
            graph.update({key: (blocks.add_up, group) for key, group in zip(level, groups, strict=True)})
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

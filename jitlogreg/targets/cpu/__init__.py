"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import functools
import struct
import threading

import numba
import numpy as np

from jitlogreg.pointwise import ACTIVATIONS
from jitlogreg.simd import LANES
from jitlogreg.targets.base import Problem, Sums
from jitlogreg.targets.cpu import executor, hessian, profile, sparse_outputs
from jitlogreg.targets.cpu.epilogue import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cpu.kernels import plain_kernel
from jitlogreg.targets.cpu.plan import make_outputs_plan, make_plan, make_sparse_plan, plan_of_dot
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.cpu.problem import ALIGNMENT, CALL, CALL_FLOATS, WORDS
from jitlogreg.targets.cpu.sparse_rows import symmetric
from jitlogreg.targets.csr import CSR
from jitlogreg.targets.dispatch import may_use_threads
from jitlogreg.targets.frame import (
    turned,
    turned_hessian_sums,
    turned_hessian_vector_sums,
    turned_products_of_outputs,
    turned_sums,
)

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same tasks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()

# Memory of so many numbers is kept for the next call of the same plan: to allocate it takes 3 % of the smallest calls
POOLED_NUMBERS = 1 << 12

# In place of the dtype of numbers which are all 1
_ONES = np.dtype(np.bool_)

# What a call writes of its record
_CALL = struct.Struct(f"={len(CALL_FLOATS)}d{len(CALL)}q")


name = "cpu"


def hold(array):
    """The array itself: calls read it where it is."""
    return array


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    return _run(plan_of_dot(u, v), Problem(u, None, None, "C", 0), v, 0.0)[1][0]


def activate(function, problem, w, b, out):
    """Write a function of the margins to `out`: σ(Xw + b) for "sigmoid"."""
    if type(problem.X) is CSR and problem.frame is not None:
        problem, w, b = turned(problem, w, b)
    _, (*_, invalid) = _run(_plan(function, problem, w, False), problem, w, b, out=data_address(out))
    if type(problem.X) is CSR and invalid:
        problem.X.check_structure()
    return out


def sums(problem, w, b, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    plan, n = _plan("loss_gradient", problem, w, with_gradient), problem.X.shape[1]
    if plan.as_they_are and problem.frame is not None:
        return turned_sums(sums, problem, w, b, with_gradient)
    (memory, _), (loss, db, weight, invalid) = _run(plan, problem, w, b)
    dw = _totals(memory, plan)[:n].copy() if with_gradient else np.zeros(n)
    return Sums(loss, dw, db, weight, invalid == 0)


def residuals(problem, w, b, out):
    """Write s·(σ(Xw + b) − y) to `out`."""
    _run(_plan("loss_gradient", problem, w, False), problem, w, b, out=data_address(out))
    return out


def means(problem, w, b, l2, dw):
    """`sums` and their normalization in one, with the gradient written to dw."""
    plan = _plan("loss_gradient", problem, w, True)
    (memory, record), (loss, db, weight, invalid) = _run(plan, problem, w, b, l2, w.dtype.itemsize, data_address(dw))
    if plan.numbers < POOLED_NUMBERS:
        plan.pool.append((memory, record))
    return loss, db, weight, invalid == 0


def bind(problem, l2):
    """`means` as a function of θ = [w, b], or [w], and of where the gradient goes, which returns the loss.

    All is float64. None for data that threads share, where it would save nothing.
    """
    n, zero = problem.X.shape[1], np.zeros(problem.X.shape[1])
    plan = _plan("loss_gradient", problem, zero, True)
    if not plan.serial:
        return None
    (first, bound), _ = _run(plan, problem, zero, 0.0, l2, zero.itemsize)  # whose record later calls copy
    execute, steps = executor.execute, executor.ALL
    pool: list = []  # memory of calls that have ended: several threads may call at once

    def evaluate(theta, gradient):
        try:
            memory, record = pool.pop()
        except IndexError:
            memory, record = _allocated(plan)
        means = execute(record, steps, bound, data_address(theta), data_address(gradient), len(theta) > n)
        pool.append((memory, record))
        return means[0]

    evaluate.keeps = problem, first, plan  # the record has their addresses
    return evaluate


def hessian_vector_sums(problem, w, b, v):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    plan = _plan("product", problem, w, True)
    if plan.as_they_are and problem.frame is not None:
        return turned_hessian_vector_sums(hessian_vector_sums, problem, w, b, v)
    (memory, _), (_, along_b, _, _) = _run(plan, problem._replace(y=v), w, b)
    return _totals(memory, plan)[: problem.X.shape[1]].copy(), along_b


def activate_outputs(function, problem, W, b, out):
    """Write a function of the K margins of each row to `out`, shape (m, K)."""
    if function in ACTIVATIONS and _plan(function, problem, W, False).as_they_are:
        for k in range(W.shape[1]):
            out[:, k] = activate(function, problem.of_model(k), W[:, k].copy(), b[k], np.empty(len(out), out.dtype))
        return out
    if type(problem.X) is CSR:
        if problem.frame is not None:
            problem, W, b = turned(problem, W, b)
        return sparse_outputs.activate(_softmax_calls(), function, problem, W, b, out)
    packed = _packed(W, b)
    _run_outputs(_outputs_plan(f"outputs_{function}", problem, W, False), problem, packed, data_address(out))
    return out


def sums_of_outputs(link, problem, W, b, with_gradient):
    """`sums` of K outputs.

    Where tasks of one model own columns, and of sparse rows, independent models run one after another, to the same
    bits.
    """
    if link == "sigmoid" and _plan("loss_gradient", problem, W, with_gradient).as_they_are:
        return _sums_in_turn(problem, W, b, with_gradient)
    if type(problem.X) is CSR:
        of_softmax = functools.partial(sparse_outputs.sums, _softmax_calls())
        turned = problem.frame is not None
        return (
            turned_sums(of_softmax, problem, W, b, with_gradient)
            if turned
            else of_softmax(problem, W, b, with_gradient)
        )
    return _sums_of_outputs(link, problem, W, b, with_gradient)


def _softmax_sums(problem, W, b, residuals):
    """The sums of a softmax but for dw; s·dz is written to `residuals`, shape (m, K), unless that is None."""
    out = 0 if residuals is None else data_address(residuals)
    return _sums_of_outputs("softmax", problem, W, b, False, out)


def _weighted_rows(problem, weights):
    """Σ weightsᵢ xᵢ of sparse rows, which have float64 weights."""
    plan, n = _plan("given", problem, weights, True), problem.X.shape[1]
    given = problem._replace(y=weights, sample_weight=None, frame=None, offset=None)
    (memory, _), _ = _run(plan, given, weights, 0.0)
    return _totals(memory, plan)[:n].copy()


def _softmax_calls():
    return sparse_outputs.Calls(activate, activate_outputs, _softmax_sums, _weighted_rows)


def _sums_of_outputs(link, problem, W, b, with_gradient, out=0):
    n, outputs = W.shape
    plan, packed = _outputs_plan(f"outputs_{link}_loss", problem, W, with_gradient), _packed(W, b)
    (memory, _), _ = _run_outputs(plan, problem, packed, out)
    totals = _totals(memory, plan)[: plan.width].reshape(outputs, -1)
    loss, db, weight, invalid = totals[:, -TOTALS:][:, [LOSS, DB, WEIGHT, INVALID]].T
    dw = np.ascontiguousarray(totals[:, :n].T) if with_gradient else np.zeros((n, outputs))
    if link == "softmax":
        return Sums(float(loss[0]), dw, db, float(weight[0]), not invalid[0])
    return Sums(loss, dw, db, weight, not invalid.any())


def _sums_in_turn(problem, W, b, with_gradient):
    found = [sums(problem.of_model(k), W[:, k].copy(), b[k], with_gradient) for k in range(W.shape[1])]
    loss, dw, db, weight, valid = zip(*found, strict=True)
    return Sums(np.array(loss), np.stack(dw, axis=1), np.array(db), np.array(weight), all(valid))


def hessian_vector_sums_of_outputs(link, problem, W, b, V, c):
    """`hessian_vector_sums` of K outputs: shapes (n, K) and (K,)."""
    if link == "sigmoid" and _plan("product", problem, W, True).as_they_are:
        found = []
        for k in range(W.shape[1]):
            of_model = problem.of_model(k), W[:, k].copy(), b[k]
            found.append(hessian_vector_sums(*of_model, np.append(V[:, k], c[k])))
        of_w, of_b = zip(*found, strict=True)
        return np.stack(of_w, axis=1), np.array(of_b)
    if type(problem.X) is CSR:
        if problem.frame is not None:
            products = functools.partial(sparse_outputs.products, _softmax_calls())
            return turned_products_of_outputs(products, problem, (W, b), (V, c))
        return sparse_outputs.products(_softmax_calls(), problem, (W, b), (V, c))
    plan = _outputs_plan(f"outputs_{link}_product", problem, W, True)
    packed = np.concatenate([_packed(W, b), _packed(V, c)])
    (memory, _), _ = _run_outputs(plan, problem._replace(y=None), packed)
    totals = _totals(memory, plan)[: plan.width].reshape(W.shape[1], -1)
    return np.ascontiguousarray(totals[:, : len(W)].T), totals[:, DB - TOTALS].copy()


def hessian_sums(problem, w, b):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    plan = _plan("hessian", problem, w, True)
    if type(problem.X) is CSR and problem.frame is not None:
        return turned_hessian_sums(hessian_sums, problem, w, b)
    (memory, _), _ = _run(plan, problem._replace(y=None), w, b)
    if type(problem.X) is CSR:
        return symmetric(_totals(memory, plan), problem.X.shape[1] + 1)
    return hessian.unpack_symmetric(_totals(memory, plan), problem.X.shape[1])


def descend(problem, w, b, settings):
    """None: the host takes the steps."""


# ---------------------------------------------------------------- from arrays to the executor


def _plan(operation, problem, w, with_gradient):
    X, _, _, order, ld, frame, _ = problem
    if type(X) is CSR:
        numbers = X.dtype if X.data is not None else _ONES
        of_x = X.shape, X.nnz, numbers, X.indices.dtype
        return make_sparse_plan(operation, *of_x, w.dtype, with_gradient, profile.current())
    of_x = X.shape, order, ld, X.dtype
    return make_plan(operation, *of_x, w.dtype, with_gradient, frame is not None, profile.current())


def _outputs_plan(operation, problem, W, with_gradient):
    X, _, _, order, ld, frame, _ = problem
    of_x = X.shape, W.shape[1], order, ld, X.dtype
    return make_outputs_plan(operation, *of_x, W.dtype, with_gradient, frame is not None, profile.current())


def _packed(W, b):
    """Each column of W, padded with zeros to whole vectors, and behind it its intercept in another one; aligned."""
    n, outputs = W.shape
    padded = -(-n // LANES) * LANES
    room = np.zeros(outputs * (padded + LANES) + ALIGNMENT // W.itemsize, W.dtype)
    packed = room[-data_address(room) % ALIGNMENT // W.itemsize :][: outputs * (padded + LANES)].reshape(outputs, -1)
    packed[:, :n], packed[:, padded] = W.T, b
    return packed


def _run_outputs(plan, problem, packed, out=0):
    """`_run` of K outputs, whose labels, weights and offsets may be a row for each."""
    of_examples = problem.y, problem.sample_weight, problem.offset
    steps = (0 if array is None or array.ndim == 1 else array.shape[1] for array in of_examples)
    return _run(plan, problem, packed, 0.0, out=out, steps=tuple(steps))


def _run(plan, problem, w, b, l2=0.0, w_size=0, dw=0, out=0, steps=(0, 0, 0)):
    """Run a plan. Return the call's memory with its address, and the loss, db, Σs and number of bad examples.

    Means are taken if `w_size` says how many bytes a number of w has.
    """
    X, y, s, _, _, frame, offset = problem
    memory, record = _pooled(plan) if plan.pool else _allocated(plan)
    of_examples = 0 if y is None else data_address(y), 0 if s is None else data_address(s), s is not None
    frame, offset = 0 if frame is None else data_address(frame.packed), 0 if offset is None else data_address(offset)
    squares = plain_kernel("squares", w.dtype) if l2 != 0 else 0
    x, w_address = (
        data_address(X.words if type(X) is CSR else X),
        data_address(w),
    )  # the caller keeps what is at an address
    addresses = plan.address, x, w_address, *of_examples, out, frame, offset
    _CALL.pack_into(memory, 0, b, l2, *addresses, *steps, w_size, dw, squares)
    if plan.serial or not may_use_threads() or numba.get_num_threads() == 1:
        return (memory, record), executor.execute(record, executor.ALL, 0, 0, 0, False)
    return (memory, record), _run_on_threads(record)


def _pooled(plan):
    """The memory of a call that has ended, unless another thread takes it meanwhile."""
    try:
        return plan.pool.pop()
    except IndexError:
        return _allocated(plan)


def _allocated(plan):
    """Memory for a call, aligned, and its address, which is that of its record."""
    memory = np.empty(plan.numbers + ALIGNMENT // 8)
    address = data_address(memory)
    ahead = -address % ALIGNMENT
    return memory[ahead // 8 :], address + ahead


def _totals(memory, plan):
    """The totals in the memory of a call, high and low parts."""
    return memory[WORDS : WORDS + 2 * plan.width]


def _run_on_threads(record):
    """Run a problem on Numba's threads, or where somebody else has them, on the calling thread."""
    executor.execute(record, executor.PREPARE, 0, 0, 0, False)
    taken = False
    try:
        taken = _threads.acquire(blocking=False)
        if taken:
            executor.run_on_threads(record)
    finally:
        if taken:
            _threads.release()
    return executor.execute(record, executor.FINISH if taken else executor.RUN | executor.FINISH, 0, 0, 0, False)

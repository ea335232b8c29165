"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import threading

import numba
import numpy as np

from jitlogreg.targets.base import Means, Sums
from jitlogreg.targets.cpu import executor, hessian, profile
from jitlogreg.targets.cpu.kernels import plain_kernel
from jitlogreg.targets.cpu.plan import HEADER, make_plan, plan_of_dot
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.dispatch import may_use_threads
from jitlogreg.targets.frame import turned_hessian_vector_sums, turned_sums

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same tasks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()


name = "cpu"


def hold(array):
    """The array itself: calls read it where it is."""
    return array


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    return _run(plan_of_dot(u, v), u, v, 0.0)[1][0]


def forward(problem, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activate("sigmoid", problem, w, b, out)


def log_forward(problem, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activate("log_sigmoid", problem, w, b, out)


def _activate(operation, problem, w, b, out):
    _run(_plan(operation, problem, w), problem.X, w, b, out=data_address(out))
    return out


def sums(problem, w, b, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    plan, n = _plan("loss_gradient", problem, w, with_gradient), problem.X.shape[1]
    if plan.by_panels and problem.frame is not None:  # panels take columns as they are
        return turned_sums(sums, problem, w, b, with_gradient)
    totals, (loss, db, weight, invalid) = _run_problem(plan, problem, w, b)
    return Sums(loss, totals[:n].copy() if with_gradient else np.zeros(n), db, weight, invalid == 0)


def means(problem, w, b, l2, dw):
    """`sums` and their normalization in one, with the gradient written to dw."""
    of_means = data_address(dw), w.dtype.itemsize, l2
    loss, db, weight, invalid = _run_problem(_plan("loss_gradient", problem, w, True), problem, w, b, of_means)[1]
    return Means(loss, db, weight, invalid == 0)


def hessian_vector_sums(problem, w, b, v):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    plan = _plan("product", problem, w, True)
    if plan.by_panels and problem.frame is not None:
        return turned_hessian_vector_sums(hessian_vector_sums, problem, w, b, v)
    totals, (_, along_b, _, _) = _run_problem(plan, problem._replace(y=v), w, b)
    return totals[: problem.X.shape[1]].copy(), along_b


def hessian_sums(problem, w, b):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    totals, _ = _run_problem(_plan("hessian", problem, w, True), problem._replace(y=None), w, b)
    return hessian.unpack_symmetric(totals, problem.X.shape[1])


def descend(problem, w, b, settings):
    """None: the host takes the steps."""


def _plan(operation, problem, w, with_gradient=False):
    X, current = problem.X, profile.current()
    of_x = X.shape, problem.order, problem.ld, X.dtype, w.dtype
    return make_plan(operation, *of_x, with_gradient, problem.frame is not None, current)


def _run_problem(plan, problem, w, b, means=(0, 0, 0.0)):
    """Run a plan on the examples."""
    _, y, sample_weight, _, _, frame = problem
    frame = 0 if frame is None else data_address(frame.packed)
    y = 0 if y is None else data_address(y)
    return _run(plan, problem.X, w, b, y=y, sample_weight=sample_weight, frame=frame, means=means)


def _run(plan, X, w, b, *, y=0, sample_weight=None, out=0, frame=0, means=(0, 0, 0.0)):
    """Run a plan. Return the totals, and of the examples the loss, db, Σs and how many are bad."""
    memory = np.empty(plan.numbers)
    problem = data_address(memory)
    dw, w_size, l2 = means
    s, weighted = (0, 0) if sample_weight is None else (data_address(sample_weight), 1)
    squares = plain_kernel("squares", w.dtype) if l2 != 0 else 0
    x, w = data_address(X), data_address(w)
    totals, scratch = problem + 8 * plan.totals, problem + 8 * plan.scratch
    given = plan.kernel, x, w, y, s, weighted, out, frame, w_size, dw, totals, scratch, squares, plan.reduction
    HEADER.pack_into(memory, 0, b, l2, *given, *plan.header)
    if plan.serial or not may_use_threads() or numba.get_num_threads() == 1:
        of_examples = executor.execute(problem, executor.ALL)
    else:
        of_examples = _run_on_threads(problem)
    return memory[plan.totals : plan.scratch], of_examples


def _run_on_threads(problem):
    """Run a problem on Numba's threads, or where somebody else has them, on the calling thread."""
    executor.execute(problem, executor.PREPARE)
    taken = False
    try:
        taken = _threads.acquire(blocking=False)
        if taken:
            executor.run_on_threads(problem)
    finally:
        if taken:
            _threads.release()
    return executor.execute(problem, executor.FINISH if taken else executor.RUN | executor.FINISH)

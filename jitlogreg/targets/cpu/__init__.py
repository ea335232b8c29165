"""The CPU target: blocks of rows over all cores, explicit vectors, one read of X."""

import threading

import numba
import numpy as np

from jitlogreg.targets.cpu import executor, hessian, profile
from jitlogreg.targets.cpu.kernels import plain_kernel
from jitlogreg.targets.cpu.plan import HEADER, plan, plan_of_dot
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.dispatch import may_use_threads
from jitlogreg.targets.frame import turned_hessian_vector_sums, turned_sums
from jitlogreg.targets.sums import Sums

# One call at a time runs on Numba's threads, whose simplest layer aborts the process when two do. A forked child has
# none: GNU OpenMP would kill it. Whoever may not use the threads runs the same tasks alone, to the same bits. A
# KeyboardInterrupt may strike between taking and releasing; it strikes the main thread, which an RLock lets in again.
_threads = threading.RLock()


def dot(u, v):
    """Σⱼ uⱼ vⱼ of contiguous vectors, computed in float64, as a Python float."""
    return _run(plan_of_dot(u, v), u, v, 0.0)[1][0]


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activate("sigmoid", X, w, b, out)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activate("log_sigmoid", X, w, b, out)


def _activate(operation, X, w, b, out):
    _run(_plan(operation, X, w), X, w, b, out=data_address(out))
    return out


def sums(X, y, w, b, sample_weight, with_gradient, frame=None):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples; of standardized columns if there is a frame."""
    planned = _plan("loss_gradient", X, w, with_gradient, frame)
    if frame is not None and planned.by_panels:  # which take columns as they are
        return turned_sums(sums, X, y, w, b, sample_weight, with_gradient, frame)
    totals, (loss, db, weight, invalid) = _run(planned, X, w, b, y, sample_weight, frame=frame)
    n = X.shape[1]
    return Sums(loss, totals[:n].copy() if with_gradient else np.zeros(n), db, weight, invalid == 0)


def loss_and_gradient(X, y, w, b, sample_weight, l2, dw):
    """Write dw, and return the loss, db, Σs and whether the examples are good.

    Means are taken, and dw is written, if the examples are good and Σs is positive and finite.
    """
    of_means = data_address(dw), w.dtype.itemsize, l2
    _, (loss, db, weight, invalid) = _run(_plan("loss_gradient", X, w, True), X, w, b, y, sample_weight, means=of_means)
    return loss, db, weight, invalid == 0


def hessian_vector_sums(X, w, b, v, sample_weight, frame=None):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v."""
    planned = _plan("product", X, w, True, frame)
    if frame is not None and planned.by_panels:
        return turned_hessian_vector_sums(hessian_vector_sums, X, w, b, v, sample_weight, frame)
    totals, (_, along_b, _, _) = _run(planned, X, w, b, v, sample_weight, frame=frame)
    return totals[: X.shape[1]].copy(), along_b


def hessian_sums(X, w, b, sample_weight, frame=None):
    """Σ s·σ(z)σ(−z)·[x, 1][x, 1]ᵀ over the examples, shape (n + 1, n + 1)."""
    totals, _ = _run(_plan("hessian", X, w, True, frame), X, w, b, None, sample_weight, frame=frame)
    return hessian.unpack_symmetric(totals, X.shape[1])


def _plan(operation, X, w, with_gradient=False, frame=None):
    of_x = X.shape, X.strides, X.dtype, w.dtype
    return plan(operation, *of_x, with_gradient, frame is not None, profile.current())


def _run(plan, X, w, b, y=None, sample_weight=None, *, out=0, frame=None, means=(0, 0, 0.0)):
    """Run a plan. Returns the totals, and of the examples the loss, db, Σs and how many are bad."""
    memory = np.empty(plan.numbers)
    problem = data_address(memory)
    dw, w_size, l2 = means
    HEADER.pack_into(
        memory,
        0,
        b,
        l2,
        plan.kernel,
        data_address(X),
        data_address(w),
        0 if y is None else data_address(y),
        0 if sample_weight is None else data_address(sample_weight),
        sample_weight is not None,
        out,
        0 if frame is None else data_address(frame.packed),
        w_size,
        dw,
        problem + 8 * plan.totals,
        problem + 8 * plan.scratch,
        plain_kernel("squares", w.dtype) if l2 != 0 else 0,
        plan.reduction,
        *plan.header,
    )
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

"""The CUDA target: forward pass and sums on an NVIDIA GPU, from one read of X.

Arrays on a device are taken where they are, and the work is done on the stream that is current in their library. NumPy
arrays are copied to the device for the call.
"""

import functools

import numba
import numpy as np

from jitlogreg.targets.base import Sums
from jitlogreg.targets.cuda import dot as dot_kernel
from jitlogreg.targets.cuda import driver, plan
from jitlogreg.targets.cuda.driver import name as device
from jitlogreg.targets.cuda.driver import reason
from jitlogreg.targets.cuda.epilogue import UPDATES
from jitlogreg.targets.cuda.launch import OnDevice, placed
from jitlogreg.targets.cuda.steps import descend
from jitlogreg.targets.cuda.totals import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.frame import turned_hessian_vector_sums, turned_sums

__all__ = ["descend", "device", "dot", "forward", "hessian_vector_sums", "hold", "log_forward", "reason", "sums"]

DOT_THREADS = 256


def dot(u, v):
    """Σ uⱼ vⱼ, in float64."""
    if u.size == 0:
        return 0.0
    with placed(u.reshape(1, -1)) as call:
        blocks = min(driver.facts(call.ordinal).processors, -(-u.size // DOT_THREADS))
        left, total = call.scratch(blocks * 16, 8)
        types = numba.from_dtype(u.dtype), numba.from_dtype(v.dtype)
        p = plan.Plan("dot", (DOT_THREADS,), 1, blocks, 0, blocks)
        make = functools.partial(dot_kernel.make, *types, DOT_THREADS)
        call.launch(
            f"dot-{types[0]}-{types[1]}", make, p, (call.x, call.address(np.ascontiguousarray(v)), u.size, left)
        )
        call.add_up(np.dtype(np.float64), left, blocks, 1, 0, total)
        number = np.empty(1)
        driver.download(number, total, call.stream)
    return float(number[0])


def hold(array):
    """A NumPy array where calls find it on the device; another one as it is."""
    return OnDevice(array) if isinstance(array, np.ndarray) else array


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activations("forward", X, w, b, out)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activations("log_forward", X, w, b, out)


def sums(X, y, w, b, sample_weight, with_gradient, frame=None):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples; of standardized columns if there is a frame."""
    if frame is not None:
        return turned_sums(sums, X, y, w, b, sample_weight, with_gradient, frame)
    n = X.shape[1]
    numbers = _totals("gradient" if with_gradient else "loss", X, y, w, b, sample_weight)
    of_examples = numbers[n:].tolist()
    return Sums(of_examples[LOSS], numbers[:n], of_examples[DB], of_examples[WEIGHT], of_examples[INVALID] == 0)


def hessian_vector_sums(X, w, b, v, sample_weight, frame=None):
    """Σ s·h·x and Σ s·h over the examples, h = σ(z)σ(−z)·(xv + c), with c the last number of v; w and v are NumPy's."""
    if frame is not None:
        return turned_hessian_vector_sums(hessian_vector_sums, X, w, b, v, sample_weight, frame)
    n = X.shape[1]
    numbers = _totals("curvature", X, None, np.concatenate([w, v]), b, sample_weight)
    return numbers[:n], float(numbers[n + DB])


def _totals(operation, X, y, w, b, sample_weight):
    """The sums of the columns, 0 where the operation has none, and behind them those of examples."""
    m, n = X.shape
    width, first = n + TOTALS, 0 if operation in UPDATES else n
    numbers = np.zeros(width)
    if m == 0:
        return numbers
    with placed(X) as call:
        p = call.plan(w, operation)
        left, totals, work = call.scratch(
            plan.left_size(p, n) * w.dtype.itemsize, width * 8, p.scratch * w.dtype.itemsize
        )
        s = 0 if sample_weight is None else call.address(sample_weight)
        y = 0 if y is None else call.address(y)
        call.run(operation, p, w, b, y, s, left, work)
        call.add_up(w.dtype, left, p.rows_left, width, first, totals)
        driver.download(numbers[first:], totals + 8 * first, call.stream)
    return numbers


def _activations(operation, X, w, b, out):
    if X.shape[0] == 0:
        return out
    with placed(X) as call:
        p = call.plan(w)
        to_host = isinstance(out, np.ndarray)
        room, work = call.scratch(out.size * out.itemsize if to_host else 0, p.scratch * w.dtype.itemsize)
        call.run(operation, p, w, b, 0, 0, room if to_host else out.address, work)
        if to_host:
            driver.download(out, room, call.stream)
    return out

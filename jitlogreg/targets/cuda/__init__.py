"""The CUDA target: forward pass and sums on an NVIDIA GPU, from one read of X.

Arrays on a device are used in place, on the stream that is current in their library. NumPy arrays are copied to the
device for the call.
"""

import functools

import numba
import numpy as np

from jitlogreg.interop.device_array import on_host
from jitlogreg.pointwise import ACTIVATIONS
from jitlogreg.targets.base import Sums
from jitlogreg.targets.cuda import dot as dot_kernel
from jitlogreg.targets.cuda import driver, plan
from jitlogreg.targets.cuda.compensated import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cuda.descent_host import descend
from jitlogreg.targets.cuda.driver import name as device
from jitlogreg.targets.cuda.driver import reason
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT
from jitlogreg.targets.cuda.launch import DeviceCopy, device_call
from jitlogreg.targets.cuda.outputs import host as outputs_host
from jitlogreg.targets.dispatch import TargetUnavailableError
from jitlogreg.targets.frame import turned_hessian_vector_sums, turned_products_of_outputs, turned_sums

__all__ = [
    "activate",
    "activate_outputs",
    "bind",
    "descend",
    "device",
    "dot",
    "hessian_sums",
    "hessian_vector_sums",
    "hessian_vector_sums_of_outputs",
    "hold",
    "means",
    "name",
    "reason",
    "residuals",
    "sums",
    "sums_of_outputs",
]

name = "cuda"

DOT_THREADS = 256


def dot(u, v):
    """Σ uⱼ vⱼ, in float64."""
    if u.size == 0:
        return 0.0
    with device_call(u.reshape(1, -1)) as call:
        blocks = min(driver.device_properties(call.ordinal).n_sms, -(-u.size // DOT_THREADS))
        partials, result = call.workspace(blocks * 16, 8)
        types = numba.from_dtype(u.dtype), numba.from_dtype(v.dtype)
        p = plan.Plan("dot", (DOT_THREADS,), 1, blocks, 0, blocks)
        make = functools.partial(dot_kernel.make, *types, DOT_THREADS)
        arguments = call.x, call.address(np.ascontiguousarray(v)), u.size, partials
        call.launch(f"dot-{types[0]}-{types[1]}", make, p, arguments)
        call.reduce_partials(np.dtype(np.float64), partials, blocks, 1, 0, result)
        number = np.empty(1)
        driver.download(number, result, call.stream)
    return float(number[0])


def hold(array):
    """A NumPy array as a copy on the device that calls use in place; any other array unchanged."""
    return DeviceCopy(array) if isinstance(array, np.ndarray) else array


def activate(function, problem, w, b, out):
    """Write a function of the margins to `out`: σ(Xw + b) for "sigmoid"."""
    X = problem.X
    if X.shape[0] == 0:
        return out
    with device_call(X) as call:
        p = call.plan(w)
        to_host = isinstance(out, np.ndarray)
        device_out, workspace = call.workspace(
            out.size * out.itemsize if to_host else 0, p.workspace_size * w.dtype.itemsize
        )
        of_examples = call.of_examples(problem._replace(y=None, sample_weight=None))
        call.run(function, p, w, b, of_examples, device_out if to_host else out.address, workspace)
        if to_host:
            driver.download(out, device_out, call.stream)
    return out


def sums(problem, w, b, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    if problem.frame is not None:
        return turned_sums(sums, problem, w, b, with_gradient)
    n = problem.X.shape[1]
    numbers = _reduced_sums("gradient" if with_gradient else "loss", problem, w, b)
    totals = numbers[n:].tolist()
    return Sums(totals[LOSS], numbers[:n], totals[DB], totals[WEIGHT], totals[INVALID] == 0)


def residuals(problem, w, b, out):
    """Write s·(σ(Xw + b) − y) to `out`, a NumPy array. Rounded as σ is: below 1e-16 it may be 0."""
    y, s = (None if array is None else on_host(array) for array in problem[1:3])
    np.subtract(activate("sigmoid", problem, w, b, out), y, out=out)
    return out if s is None else np.multiply(out, s, out=out)


def means(problem, w, b, l2, dw):
    """None: the means come from `sums`."""


def bind(problem, l2):
    """None: nothing would be saved."""


def hessian_vector_sums(problem, w, b, v):
    """Σ s·h·x and Σ s·h over the examples, where h = σ(z)σ(−z)·(xv + c) and c is the last number of v.

    w and v are NumPy arrays.
    """
    if problem.frame is not None:
        return turned_hessian_vector_sums(hessian_vector_sums, problem, w, b, v)
    n = problem.X.shape[1]
    numbers = _reduced_sums("curvature", problem._replace(y=None), np.concatenate([w, v]), b)
    return numbers[:n], float(numbers[n + DB])


def hessian_sums(problem, w, b):
    """Raise TargetUnavailableError: there is no kernel for it yet."""
    raise TargetUnavailableError(
        f"target: expected 'cpu' or 'reference' for a Hessian, got {name!r}, which has none yet"
    )


def activate_outputs(function, problem, W, b, out):
    """Write a function of the K margins of each row to `out`, shape (m, K)."""
    if W.shape[1] == 1 and function in ACTIVATIONS:
        return activate(function, problem, *_of_one(W, b), out)
    return outputs_host.activate(function, problem, W, b, out)


def sums_of_outputs(link, problem, W, b, with_gradient):
    """`sums` of K independent models, or of a softmax. Those of one model alone are those of `sums`."""
    if problem.frame is not None:
        return turned_sums(functools.partial(sums_of_outputs, link), problem, W, b, with_gradient)
    if W.shape[1] > 1 or link == "softmax":
        return outputs_host.sums(link, problem, W, b, with_gradient)
    loss, dw, db, weight, valid = sums(problem, *_of_one(W, b), with_gradient)
    return Sums(np.array([loss]), dw.reshape(-1, 1), np.array([db]), np.array([weight]), valid)


def hessian_vector_sums_of_outputs(link, problem, W, b, V, c):
    """`hessian_vector_sums` of K outputs along V and c: shapes (n, K) and (K,)."""
    if problem.frame is not None:
        return turned_products_of_outputs(
            functools.partial(hessian_vector_sums_of_outputs, link), problem, (W, b), (V, c)
        )
    if W.shape[1] > 1 or link == "softmax":
        return outputs_host.hessian_vector_sums(link, problem, W, b, V, c)
    along = np.append(on_host(V), on_host(c)).astype(W.dtype, copy=False)
    of_w, of_b = hessian_vector_sums(problem, *_of_one(W, b), along)
    return of_w.reshape(-1, 1), np.array([of_b])


def _of_one(W, b):
    """w and b of one model, from those of K = 1."""
    return on_host(W).reshape(-1), on_host(b)[0]


def _reduced_sums(operation, problem, w, b):
    """The column sums, 0 where the operation has none, followed by the totals."""
    X = problem.X
    m, n = X.shape
    n_sums, first = n + TOTALS, 0 if operation in ACCUMULATE_GRADIENT else n
    numbers = np.zeros(n_sums)
    if m == 0:
        return numbers
    with device_call(X) as call:
        p = call.plan(w, operation)
        itemsize = w.dtype.itemsize
        partials, results, workspace = call.workspace(
            plan.partials_size(p, n) * itemsize, n_sums * 8, p.workspace_size * itemsize
        )
        call.run(operation, p, w, b, call.of_examples(problem), partials, workspace)
        call.reduce_partials(w.dtype, partials, p.n_partials, n_sums, first, results)
        driver.download(numbers[first:], results + 8 * first, call.stream)
    return numbers

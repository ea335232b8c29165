"""The host side of K outputs: from arrays to launches, and from sums to results."""

import functools

import numba
import numpy as np

from jitlogreg.interop.device_array import on_host
from jitlogreg.targets.base import Sums
from jitlogreg.targets.cuda import driver, plan
from jitlogreg.targets.cuda.compensated import INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cuda.epilogue import rhs_count
from jitlogreg.targets.cuda.launch import device_call
from jitlogreg.targets.cuda.outputs import kernel

# The most independent models of a launch
MAX_MODELS = 32


def activate(function, problem, W, b, out):
    """Write a function of the margins of each row to `out`."""
    if problem.X.shape[0] == 0:
        return out
    link = "softmax" if function.endswith("softmax") else "sigmoid"
    with device_call(problem.X) as call:
        launch = _Launch(call, problem._replace(y=None, sample_weight=None), link, function)
        p = launch.plan(W)
        to_host = isinstance(out, np.ndarray)
        device_out, workspace = call.workspace(
            out.size * out.itemsize if to_host else 0, p.workspace_size * W.dtype.itemsize
        )
        launch.run(p, _with_intercepts(W, b), 0, device_out if to_host else out.address, 0, workspace)
        if to_host:
            driver.download(out, device_out, call.stream)
    return out


def sums(link, problem, W, b, with_gradient):
    """`sums` of more than one output: independent models in launches of `MAX_MODELS`, a softmax in one."""
    n, outputs = W.shape
    operation = "gradient" if with_gradient else "loss"
    column_sums, totals = _reduced(link, operation, problem, _with_intercepts(W, b), outputs)
    dw = np.ascontiguousarray(column_sums[:, :n].T) if with_gradient else np.zeros((n, outputs))
    db, loss, weight = column_sums[:, -1].copy(), totals[:, LOSS].copy(), totals[:, WEIGHT].copy()
    valid = not totals[:, INVALID].any()
    if link == "softmax":
        return Sums(float(loss[0]), dw, db, float(weight[0]), valid)
    return Sums(loss, dw, db, weight, valid)


def hessian_vector_sums(link, problem, W, b, V, c):
    """`hessian_vector_sums` of more than one output: shapes (n, K) and (K,)."""
    n, outputs = W.shape
    along = _with_intercepts(V, c).astype(W.dtype, copy=False)
    both = np.concatenate([_with_intercepts(W, b), along], axis=1)
    column_sums, _ = _reduced(link, "curvature", problem._replace(y=None), both, outputs)
    return np.ascontiguousarray(column_sums[:, :n].T), column_sums[:, n].copy()


def _with_intercepts(W, b):
    """W with a row of intercepts below it, on the host."""
    return np.concatenate([on_host(W), on_host(b)[np.newaxis].astype(W.dtype, copy=False)])


def _reduced(link, operation, problem, coefficients, outputs):
    """The column sums of each output, of which the last is Σ s·dz or all there is; and the totals."""
    m, n = problem.X.shape
    n_columns = n + 1 if operation != "loss" else 1
    column_sums = np.zeros((outputs, n_columns))
    totals = np.zeros((outputs if link == "sigmoid" else 1, TOTALS))
    if m == 0:
        return column_sums, totals
    step = MAX_MODELS if link == "sigmoid" else outputs
    with device_call(problem.X) as call:
        launch = _Launch(call, problem, link, operation)
        of_all = coefficients.reshape(n + 1, -1, outputs)  # of "curvature" two right-hand sides
        for first in range(0, outputs, step):
            which = slice(first, first + step)
            of_group = np.ascontiguousarray(of_all[..., which].reshape(n + 1, -1))
            launch.reduce(of_group, first, column_sums[which], totals[which])
    return column_sums, totals


class _Launch:
    """The launches of one call, whose addresses of examples they share."""

    def __init__(self, call, problem, link, operation):
        self._call, self._link, self._operation = call, link, operation
        arrays = problem.y, problem.sample_weight, problem.offset
        of_examples = zip(call.of_examples(problem), map(_bytes_of_model, arrays), strict=True)
        self._of_examples = tuple(of_examples)

    def plan(self, coefficients):
        """The plan for coefficients (n, K)."""
        call, outputs = self._call, coefficients.shape[1]
        properties, itemsizes = driver.device_properties(call.ordinal), (call.x_dtype.itemsize, coefficients.itemsize)
        n_rhs = rhs_count(self._operation)
        return plan.outputs_plan(properties, *call.shape, outputs, *itemsizes, call.order, n_rhs)

    def run(self, p, coefficients, first, out, totals, workspace):
        """Launch the kernel for the outputs from `first` on."""
        call, link, operation = self._call, self._link, self._operation
        (m, n), dtypes = call.shape, (call.x_dtype, coefficients.dtype)
        outputs = coefficients.shape[1] // rhs_count(operation)
        examples = (number for address, step in self._of_examples for number in (address + first * step, step))
        arguments = (
            *(call.x, call.leading_dimension, m, n, call.address(coefficients), outputs, *examples),
            *(out, totals, workspace, p.panel_rows, p.split_k, call.barrier_counter),
        )
        driver.clear(call.barrier_counter, 8, call.stream)
        label = "-".join(map(str, (p.regime, link, operation, *dtypes, *p.constants)))
        make = functools.partial(kernel.make, *map(numba.from_dtype, dtypes), link, operation, *p.constants)
        call.launch(label, make, p, arguments)

    def reduce(self, coefficients, first, column_sums, totals):
        """Launch the kernel for the outputs from `first` on, and the second stage; write what they find."""
        call, dtype = self._call, coefficients.dtype
        p, itemsize = self.plan(coefficients[:, : len(column_sums)]), dtype.itemsize
        partials, block_totals, results, workspace = call.workspace(
            2 * p.n_partials * column_sums.size * itemsize,
            2 * p.blocks * totals.size * itemsize,
            (column_sums.size + totals.size) * 8,
            p.workspace_size * itemsize,
        )
        self.run(p, coefficients, first, partials, block_totals, workspace)
        call.reduce_partials(dtype, partials, p.n_partials, column_sums.size, 0, results)
        of_totals = results + 8 * column_sums.size
        if self._operation != "curvature":
            call.reduce_partials(dtype, block_totals, p.blocks, totals.size, 0, of_totals)
            driver.download(totals, of_totals, call.stream)
        driver.download(column_sums, results, call.stream)


def _bytes_of_model(array):
    """Bytes from one model's examples to the next; 0 where all models share them."""
    return 0 if array is None or len(array.shape) == 1 else array.shape[1] * array.itemsize

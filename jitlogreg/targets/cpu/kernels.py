"""Every kernel, by name: a layout and a pointwise step in one of two skeletons, compiled when it is asked for."""

import functools

import numba
import numpy as np
from numba import types

from jitlogreg.pointwise import ACTIVATIONS
from jitlogreg.targets.compile import function_pointer
from jitlogreg.targets.cpu import (
    column_major,
    column_panels,
    epilogue,
    hessian,
    outputs,
    row_chunks,
    row_major,
    sparse_rows,
)
from jitlogreg.targets.cpu.dot import dot_task
from jitlogreg.targets.cpu.executor import reduction_task
from jitlogreg.targets.cpu.outputs import chunks
from jitlogreg.targets.cpu.pointers import MatrixPointer
from jitlogreg.targets.cpu.squares import squares_task

LAYOUTS = {"C": row_major, "F": column_major}

EPILOGUES = {
    **{name: epilogue.activation(function) for name, function in ACTIVATIONS.items()},
    "loss_gradient": epilogue.LOSS_GRADIENT,
    "product": epilogue.PRODUCT,
    "hessian": epilogue.SQRT_CURVATURE,
}

# Those that sparse rows have besides
SPARSE_EPILOGUES = {**EPILOGUES, "margin": epilogue.activation(epilogue.margin), "given": epilogue.GIVEN}

# The same of K outputs
OUTPUTS_LAYOUTS = {"C": outputs.row_major, "F": outputs.column_major}

OUTPUTS_EPILOGUES = {
    **{f"outputs_{name}": outputs.epilogue.each(function) for name, function in ACTIVATIONS.items()},
    **{f"outputs_{name}": step for name, step in outputs.softmax.ACTIVATIONS.items()},
    "outputs_sigmoid_loss": outputs.sigmoid.SIGMOID,
    "outputs_softmax_loss": outputs.softmax.SOFTMAX,
    "outputs_sigmoid_product": outputs.sigmoid.PRODUCT,
    "outputs_softmax_product": outputs.softmax.PRODUCT,
}

_FLOAT64 = np.dtype(np.float64)

_HESSIAN = {"C": hessian.BY_ROWS, "F": hessian.BY_COLUMNS}

# Kernels that are no reads of X
_OTHERS = {"dot": dot_task, "squares": squares_task, "reduction": reduction_task}


def _task(operation, order, by_panels):
    if operation in _OTHERS:
        return _OTHERS[operation]
    if operation in OUTPUTS_EPILOGUES:
        return chunks.make_task(OUTPUTS_LAYOUTS[order], OUTPUTS_EPILOGUES[operation])
    layout, pointwise_step = LAYOUTS[order], EPILOGUES[operation]
    if by_panels:
        return column_panels.make_task(layout, pointwise_step)
    return row_chunks.make_task(layout, pointwise_step, _HESSIAN[order] if operation == "hessian" else layout)


def kernel_types(x_dtype, w_dtype, hint, standardized=False):
    """What a kernel is compiled for: a task's number, the problem's address, and two null pointers.

    The null pointers' types alone matter: they tell the dtype of X and its prefetch hint, and the dtype of w.
    """
    x0 = MatrixPointer(numba.from_dtype(x_dtype), hint, standardized)
    return types.intp, types.intp, x0, types.CPointer(numba.from_dtype(w_dtype))


@functools.cache
def kernel(operation, x_dtype, w_dtype, order, hint, by_panels=False, standardized=False):
    """The address of a task's machine code."""
    variant = f"{'panels_' if by_panels else ''}{x_dtype.name}_{w_dtype.name}_{order}_{hint}"
    function = _task(operation, order, by_panels)
    types_of_task = kernel_types(x_dtype, w_dtype, hint, standardized)
    return function_pointer(function, types_of_task, f"{operation}_{variant}{'_standardized' if standardized else ''}")


@functools.cache
def sparse_kernel(operation, x_dtype, index_dtype, w_dtype):
    """The address of a task's machine code for sparse rows; an x_dtype of bool says that all numbers are 1."""
    accumulate = sparse_rows.add_outer_products if operation == "hessian" else sparse_rows.add_rows
    function = sparse_rows.make_task(SPARSE_EPILOGUES[operation], accumulate)
    pointers = (types.CPointer(numba.from_dtype(dtype)) for dtype in (x_dtype, index_dtype, w_dtype))
    variant = f"{x_dtype.name}_{index_dtype.name}_{w_dtype.name}"
    return function_pointer(function, (types.intp, types.intp, *pointers), f"sparse_{operation}_{variant}")


def plain_kernel(operation, w_dtype=_FLOAT64):
    """The address of the machine code of a kernel that reads no X."""
    return kernel(operation, w_dtype, w_dtype, "C", "t0")

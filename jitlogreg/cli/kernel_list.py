"""What to compile ahead of time: all that calls on matrices of some dtypes and orders may need."""

import functools

import numpy as np
from numba import types

from jitlogreg import libsvm_kernel, linear_algebra
from jitlogreg.targets.cpu import executor, profile
from jitlogreg.targets.cpu.kernels import EPILOGUES, OUTPUTS_EPILOGUES, kernel, plain_kernel

_FLOAT64 = np.dtype(np.float64)

# What runs tasks, what the solvers factor and solve with, and what reads files, by the types of their arguments
_INTEGER = types.int64
_ENTRY_POINTS = (
    (executor.execute, (*[_INTEGER] * 5, types.boolean)),
    (executor.run_on_threads, (_INTEGER,)),
    (linear_algebra._cholesky, (_INTEGER,) * 3),
    (linear_algebra._solve, (_INTEGER,) * 4),
    (linear_algebra._solve_transposed, (_INTEGER,) * 4),
    (linear_algebra._multiply, (_INTEGER,) * 4),
    (linear_algebra._multiply_transposed, (_INTEGER,) * 4),
    (linear_algebra._add_rows, (_INTEGER,) * 7),
    (linear_algebra._pivoted_qr, (_INTEGER,) * 5),
    (libsvm_kernel.read_block, (_INTEGER,)),
)


def kernels_for(x_dtypes, orders, several_outputs=True):
    """Yield a name and a function that compiles, for each kernel and entry point."""
    tuned = profile.current()
    for entry_point, signature in _ENTRY_POINTS:
        yield entry_point.py_func.__name__, functools.partial(entry_point.compile, signature)
    for x_dtype in x_dtypes:
        w_dtypes = {x_dtype: None, _FLOAT64: None}
        for w_dtype in w_dtypes:
            yield f"squares {w_dtype}", functools.partial(plain_kernel, "squares", w_dtype)
            for order in orders:
                hint = (tuned.c_order if order == "C" else tuned.f_order).hint
                of_x = x_dtype, w_dtype, order, hint
                of_outputs = _outputs_variants(w_dtype) if several_outputs else ()
                for operation, by_panels, standardized in (*_variants(w_dtype, order), *of_outputs):
                    words = operation, "of panels" * by_panels, "standardized" * standardized, x_dtype, w_dtype, order
                    name = " ".join(str(word) for word in words if word)
                    yield name, functools.partial(kernel, operation, *of_x, by_panels, standardized)
    yield "reduction", functools.partial(plain_kernel, "reduction")


def _variants(w_dtype, order):
    """The operations, and whether by panels and of standardized columns, that there are for an order and a w."""
    for operation, epilogue in EPILOGUES.items():
        of_solvers = operation in ("product", "hessian")  # which compute in float64
        if of_solvers and w_dtype != _FLOAT64:
            continue
        yield operation, False, False
        if operation != "hessian" and (order == "F" or epilogue.accumulates):
            yield operation, True, False
        if epilogue.accumulates and w_dtype == _FLOAT64:
            yield operation, False, True


def _outputs_variants(w_dtype):
    """The same of K outputs, whose tasks never own columns."""
    for operation in OUTPUTS_EPILOGUES:
        if operation.endswith("_product") and w_dtype != _FLOAT64:  # of an objective, which computes in float64
            continue
        yield operation, False, False
        if "log_" not in operation and w_dtype == _FLOAT64:  # solvers standardize columns
            yield operation, False, True

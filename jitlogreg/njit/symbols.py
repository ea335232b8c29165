"""Machine code by symbol, for code that is compiled into the caller's functions and may be cached on disk with them.

An address is valid in one process only, so none may be compiled in. Compiled code names a symbol instead. LLVM resolves
it when the code is loaded, and the symbol must be defined by then. Therefore `Needed` is one of the constants of the
function: Numba stores them on disk beside the code, and loads them first, for all functions that are compiled into one.
(Numba's `_reload_init` would do as well, but is lost if a function calls another that was loaded from disk.)
"""

import functools
from typing import NamedTuple

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitlogreg.njit.arguments import convert, convert_classes
from jitlogreg.njit.call_frame import step
from jitlogreg.njit.outputs_frame import outputs_step
from jitlogreg.targets.compile import function_pointer, sources_stamp
from jitlogreg.targets.cpu import profile
from jitlogreg.targets.cpu.kernels import kernel, plain_kernel

# How the names of kernels of column panels begin
_PANELS = "panels_"

# What is compiled once for two dtypes, and called as a kernel is
_FUNCTIONS = {f.__name__: f for f in (step, outputs_step, convert, convert_classes)}


class Needed(NamedTuple):
    """Machine code that compiled code calls, and the stamp of the sources of both.

    Users' caches on disk contain this name and its arguments: later versions must be able to read them.
    """

    stamp: str
    operation: str
    x_dtype: str
    w_dtype: str
    order: str

    def symbol(self):
        """Compile it, or load it from disk, and define its symbol. Return the symbol."""
        return _known(*self)

    def __reduce__(self):
        return restored, tuple(self)


def restored(stamp, *machine_code):
    """Unpickle a `Needed` that was cached with compiled code, and define its symbol.

    Raises
    ------
    OSError
        If the code was compiled from other sources. Numba treats that as a missing file, and compiles.
    """
    if stamp != sources_stamp():
        raise OSError("compiled with other sources of jitlogreg")
    needed = Needed(stamp, *machine_code)
    needed.symbol()
    return needed


@functools.cache
def _known(stamp, operation, x_dtype, w_dtype, order):
    x_dtype, w_dtype = np.dtype(x_dtype), np.dtype(w_dtype)
    if operation in _FUNCTIONS:
        types_of_call = types.intp, types.intp, *(types.CPointer(numba.from_dtype(d)) for d in (x_dtype, w_dtype))
        address = function_pointer(_FUNCTIONS[operation], types_of_call, f"{operation}_{x_dtype}_{w_dtype}")
    elif operation == "profile":
        address = profile.numbers.ctypes.data
    elif operation == "most_threads":
        address = _most_threads().ctypes.data
    elif operation == "squares":
        address = plain_kernel(operation, w_dtype)
    else:
        # the hint of this process: code loaded from disk follows the profile
        tuned = profile.current()
        hint = (tuned.c_order if order == "C" else tuned.f_order).hint
        by_panels = operation.startswith(_PANELS)
        address = kernel(operation.removeprefix(_PANELS), x_dtype, w_dtype, order, hint, by_panels)
    symbol = f"jitlogreg_{stamp}_{operation}_{x_dtype}_{w_dtype}_{order}"
    llvmlite.binding.add_symbol(symbol, address)
    return symbol


@functools.cache  # for as long as code may read it
def _most_threads():
    return np.array([numba.config.NUMBA_NUM_THREADS])


def symbol(operation):
    """A function `f(array, w)` of compiled code that gives the address of machine code for the dtypes of two arrays."""

    @intrinsic
    def address(typingctx, array, w):
        needed = _needed(operation, array, w)
        return types.intp(array, w), lambda context, builder, sig, args: _address(context, builder, needed)

    return address


def kernel_symbols(operation, in_panels, of_panels=None):
    """A function `f(X, w)` of compiled code that gives the addresses of a kernel: row chunks of C and of F order, then
    column panels, which are there for the orders `in_panels`, of the same name or another. What X cannot need is 0.
    """
    of_panels = _PANELS + (of_panels or operation)

    @intrinsic
    def addresses(typingctx, X, w):
        # only a C-ordered matrix is sure to need no other: of one row or column the others may be in C order, too
        orders = ("C",) if X.layout == "C" else ("C", "F")
        wanted = [_needed(operation, X, w, order) if order in orders else None for order in "CF"]
        wanted += [
            _needed(of_panels, X, w, order) if order in orders and order in in_panels else None for order in "CF"
        ]

        def codegen(context, builder, sig, args):
            values = [_address(context, builder, needed) if needed else _zero(context) for needed in wanted]
            return context.make_tuple(builder, sig.return_type, values)

        return types.UniTuple(types.intp, len(wanted))(X, w), codegen

    return addresses


def _zero(context):
    """LLVM's constant 0 of an address."""
    return ir.Constant(context.get_value_type(types.intp), 0)


def _needed(operation, array, w, order="C"):
    # a NumPy boolean is a byte that is 0 or 1
    dtype = "uint8" if array.dtype == types.boolean else str(array.dtype)
    return Needed(sources_stamp(), operation, dtype, str(w.dtype), order)


def _address(context, builder, needed):
    name, module = needed.symbol(), builder.module
    context.environment.consts.append(needed)
    external = module.globals.get(name)
    if external is None:
        external = ir.GlobalVariable(module, ir.IntType(8), name)
    return builder.ptrtoint(external, context.get_value_type(types.intp))

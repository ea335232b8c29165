"""Machine code by name, for code that is compiled in the caller's functions and may be kept on disk with them.

An address is good for one process, so none may be compiled in. Compiled code names a symbol instead, which LLVM looks
up whenever the code is loaded, and by then it must be known: Numba keeps beside the code of a function what has to run
before that (`_reload_init` of its library, which passes on to whatever calls it), and there `Needed` is left.
"""

import functools
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitlogreg.targets.compile import sources_stamp
from jitlogreg.targets.cpu.drivers import kernel
from jitlogreg.targets.cpu.embedded import driver


class Needed(NamedTuple):
    """A kernel that compiled code calls, and the stamp of the sources that both are of.

    This name and its arguments are in the users' own caches on disk: a later version must be able to read them.
    """

    stamp: str
    operation: str
    x_dtype: str
    w_dtype: str
    order: str

    def __call__(self):
        """Compile it, or take it from disk, and make its symbol known. Returns the symbol."""
        return _known(*self)

    def __reduce__(self):
        """Let Numba miss code of other sources in its cache, and compile it anew: see `restored`."""
        return restored, tuple(self)


def restored(stamp, *kernel_of):
    """What was kept on disk with compiled code.

    Raises
    ------
    OSError
        If the code is of other sources. Numba takes that for a file that is gone, and compiles.
    """
    if stamp != sources_stamp():
        raise OSError("compiled with other sources of jitlogreg")
    return Needed(stamp, *kernel_of)


@functools.cache
def _known(stamp, operation, x_dtype, w_dtype, order):
    x_dtype, w_dtype = np.dtype(x_dtype), np.dtype(w_dtype)
    embedded = operation in ("plan", "finish")
    address = driver(operation, w_dtype) if embedded else kernel(operation, x_dtype, w_dtype, order)
    symbol = f"jitlogreg_{stamp}_{operation}_{x_dtype}_{w_dtype}_{order}"
    llvmlite.binding.add_symbol(symbol, address)
    return symbol


def symbol(operation, order="C"):
    """A function `f(X, w)` of compiled code that gives the address of a kernel for the dtypes of two arrays."""

    @intrinsic
    def address(typingctx, X, w):
        x_dtype, w_dtype = str(X.dtype), str(w.dtype)
        needed = Needed(sources_stamp(), operation, x_dtype, w_dtype, order)

        def codegen(context, builder, sig, args):
            name, module = needed(), builder.module
            context.active_code_library._reload_init.add(needed)
            external = module.globals.get(name)
            if external is None:
                external = ir.GlobalVariable(module, ir.IntType(8), name)
            return builder.ptrtoint(external, context.get_value_type(types.intp))

        return types.intp(X, w), codegen

    return address

"""All that is particular to numba-cuda: what kernels know as `cuda`, memory reached through addresses, the compiler.

Kernels take plain numbers: the addresses of arrays, sizes, and switches. Nothing about the caller's arrays but their
dtype is then part of what is compiled, and a launch has nothing to unpack.
"""

import contextlib
import importlib.metadata
import threading
from types import SimpleNamespace

import numba.cuda.dispatcher
from llvmlite import ir
from numba import cuda, int64, types
from numba.cuda.extending import intrinsic

from jitlogreg.targets.compile import inline

__all__ = [
    "compiler",
    "cuda",
    "intermediate_code",
    "load",
    "load_vector",
    "meet",
    "store",
    "this_thread",
    "unknown_zero",
]

_GLOBAL = 1  # LLVM's address space of device memory, without which each load would first find out where it points


def _pointer(context, builder, sig, args, llvm_type, size):
    """To the element `index` of the array that lies at `address`, given as the last two arguments."""
    address, index = (
        context.cast(builder, value, numba_type, types.int64) for value, numba_type in zip(args, sig, strict=True)
    )
    offset = builder.mul(index, ir.Constant(index.type, size))
    return builder.inttoptr(builder.add(address, offset), ir.PointerType(llvm_type, _GLOBAL))


def _llvm_type(dtype):
    return ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType()


def load(dtype):
    """A function `f(address, index)` that gives one number of an array."""
    element, size = _llvm_type(dtype), dtype.bitwidth // 8

    @intrinsic
    def read(typingctx, address, index):
        def codegen(context, builder, sig, args):
            return builder.load(_pointer(context, builder, sig.args, args, element, size), align=size)

        return dtype(address, index), codegen

    read.access = "load", dtype, 1
    return read


def load_vector(dtype, count):
    """A function `f(into, at, address, index)` that reads `count` numbers at once into a local array from `at` on.

    They must lie at a multiple of their size: Numba's own indexing reads one after another, which takes four times as
    many instructions for 16 bytes.
    """
    vector, size = ir.VectorType(_llvm_type(dtype), count), dtype.bitwidth // 8

    @intrinsic
    def read(typingctx, into, at, address, index):
        def codegen(context, builder, sig, args):
            pointer = _pointer(context, builder, sig.args[2:], args[2:], vector, size)
            numbers = builder.load(pointer, align=size * count)
            data = context.make_array(into)(context, builder, value=args[0]).data
            first = context.cast(builder, args[1], sig.args[1], types.int64)
            for k in range(count):
                number = builder.extract_element(numbers, ir.Constant(ir.IntType(32), k))
                builder.store(number, builder.gep(data, [builder.add(first, ir.Constant(first.type, k))]))
            return context.get_dummy_value()

        return types.void(into, at, address, index), codegen

    read.access = "load vector", dtype, count
    return read


def store(dtype):
    """A function `f(address, index, value)` that writes one number of an array."""
    element, size = _llvm_type(dtype), dtype.bitwidth // 8

    @intrinsic
    def write(typingctx, address, index, value):
        def codegen(context, builder, sig, args):
            pointer = _pointer(context, builder, sig.args[:2], args[:2], element, size)
            builder.store(context.cast(builder, args[2], sig.args[2], dtype), pointer, align=size)
            return context.get_dummy_value()

        return types.void(address, index, value), codegen

    write.access = "store", dtype, 1
    return write


@intrinsic
def _count(typingctx, address, more):
    """Add to the int64 at an address, as one step, and give what it was."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64), _GLOBAL))
        return builder.atomic_rmw("add", pointer, args[1], "monotonic")

    return types.int64(types.int64, types.int64), codegen


@inline
def meet(counter):
    """Wait until every block of the grid has come here; what any wrote before, all see after.

    The blocks must be resident together, which a cooperative launch sees to. `counter` is the address of an int64 that
    was 0 when the kernel was launched. Numba's own barrier of the grid needs a library that only the linker finds.
    """
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        blocks = int64(cuda.gridDim.x)
        cuda.threadfence()
        full = (_count(counter, int64(1)) // blocks + int64(1)) * blocks
        while _count(counter, int64(0)) < full:
            pass
        cuda.threadfence()
    cuda.syncthreads()


@inline
def unknown_zero(row):
    """0 for a number of a row, which a compiler cannot know: what it is added to is computed anew for each row.

    Else all that depends on a column alone, its address and whether there is such a column, is computed before the loop
    over the rows and kept in registers: 236 of them where 79 will do.
    """
    return row >> int64(62)


@inline
def this_thread(leading):
    """The number of the thread in its block, computed anew for each evaluation of a kernel that makes many."""
    return (int64(cuda.threadIdx.x) + unknown_zero(leading)) & int64(1023)


# ---------------------------------------------------------------- the compiler


def compiler():
    """What compiles kernels, and its version."""
    return f"numba-cuda {importlib.metadata.version('numba-cuda')}"


def intermediate_code(kernel, signature, cc, threads, per_processor, output="ltoir"):
    """A kernel in the form that the linker takes ("ltoir") or as assembly ("ptx"): no driver is asked.

    Registers are limited so that `per_processor` blocks of `threads` are resident on a multiprocessor.
    """
    with _pretended(cc):
        codes, _ = cuda.compile_all(
            kernel, signature, cc=cc, device=False, abi="numba", output=output, launch_bounds=(threads, per_processor)
        )
    return codes


_compiling = threading.Lock()


@contextlib.contextmanager
def _pretended(cc):
    """Let numba-cuda compile the functions that a kernel calls without asking a driver which GPU there is."""
    with _compiling:
        asked = numba.cuda.dispatcher.get_current_device
        numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
        try:
            yield
        finally:
            numba.cuda.dispatcher.get_current_device = asked

"""All that depends on numba-cuda: the `cuda` that kernels use, loads and stores by address, grid sync, the compiler.

Kernels take plain numbers: addresses of arrays, sizes and switches. A kernel is therefore compiled for dtypes alone,
whatever else the caller's arrays are, and a launch has nothing to unpack.
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
    "grid_sync",
    "intermediate_code",
    "load",
    "load_vector",
    "opaque_zero",
    "store",
    "thread_index",
]

_GLOBAL = 1  # LLVM's number for global memory; a generic pointer would have to be resolved at each load


def _pointer(context, builder, sig, args, llvm_type, size):
    """A pointer to element `index` of the array at `address`; `args` are (address, index)."""
    address, index = (
        context.cast(builder, value, numba_type, types.int64) for value, numba_type in zip(args, sig, strict=True)
    )
    offset = builder.mul(index, ir.Constant(index.type, size))
    return builder.inttoptr(builder.add(address, offset), ir.PointerType(llvm_type, _GLOBAL))


def _llvm_type(dtype):
    return ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType()


def load(dtype):
    """A function `f(address, index)` that loads one number of an array."""
    element, size = _llvm_type(dtype), dtype.bitwidth // 8

    @intrinsic
    def read(typingctx, address, index):
        def codegen(context, builder, sig, args):
            return builder.load(_pointer(context, builder, sig.args, args, element, size), align=size)

        return dtype(address, index), codegen

    read.access = "load", dtype, 1
    return read


def load_vector(dtype, count):
    """A function `f(destination, start, address, index)` that loads `count` numbers at once into a local array.

    They go to `destination[start:start + count]`, and must lie at a multiple of their total size. Numba's own indexing
    loads one number after another, which takes four times as many instructions for 16 bytes.
    """
    vector, size = ir.VectorType(_llvm_type(dtype), count), dtype.bitwidth // 8

    @intrinsic
    def read(typingctx, destination, start, address, index):
        def codegen(context, builder, sig, args):
            pointer = _pointer(context, builder, sig.args[2:], args[2:], vector, size)
            numbers = builder.load(pointer, align=size * count)
            data = context.make_array(destination)(context, builder, value=args[0]).data
            first = context.cast(builder, args[1], sig.args[1], types.int64)
            for k in range(count):
                number = builder.extract_element(numbers, ir.Constant(ir.IntType(32), k))
                builder.store(number, builder.gep(data, [builder.add(first, ir.Constant(first.type, k))]))
            return context.get_dummy_value()

        return types.void(destination, start, address, index), codegen

    read.access = "load vector", dtype, count
    return read


def store(dtype):
    """A function `f(address, index, value)` that stores one number of an array."""
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
def _atomic_add(typingctx, address, increment):
    """Add to the int64 at an address atomically, and return its value before."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64), _GLOBAL))
        return builder.atomic_rmw("add", pointer, args[1], "monotonic")

    return types.int64(types.int64, types.int64), codegen


@inline
def grid_sync(barrier_counter):
    """Wait until every block of the grid has arrived; what any block wrote before is visible to all after.

    All blocks must be resident together, which a cooperative launch guarantees. `barrier_counter` is the address of an
    int64 that was 0 when the kernel was launched. Numba's own grid barrier needs a library that only the linker finds.
    """
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        blocks = int64(cuda.gridDim.x)
        cuda.threadfence()
        expected = (_atomic_add(barrier_counter, int64(1)) // blocks + int64(1)) * blocks
        while _atomic_add(barrier_counter, int64(0)) < expected:
            pass
        cuda.threadfence()
    cuda.syncthreads()


@inline
def opaque_zero(row):
    """0 for any row number, but the compiler cannot know that: what it is added to is recomputed for each row.

    Otherwise the compiler hoists all that depends on the column alone, its address and whether it exists, out of the
    loop over the rows and keeps it in registers: 236 of them where 79 suffice.
    """
    return row >> int64(62)


@inline
def thread_index(ld):
    """The index of the thread in its block, recomputed for each evaluation where a kernel makes many."""
    return (int64(cuda.threadIdx.x) + opaque_zero(ld)) & int64(1023)


# ---------------------------------------------------------------- the compiler


def compiler():
    """The name and version of what compiles the kernels."""
    return f"numba-cuda {importlib.metadata.version('numba-cuda')}"


def intermediate_code(kernel, signature, cc, threads, blocks_per_sm, output="ltoir"):
    """A kernel compiled to the linker's input ("ltoir") or to assembly ("ptx"), without a driver.

    The compiler limits registers so that `blocks_per_sm` blocks of `threads` threads are resident on a multiprocessor.
    """
    with _assumed_capability(cc):
        codes, _ = cuda.compile_all(
            kernel, signature, cc=cc, device=False, abi="numba", output=output, launch_bounds=(threads, blocks_per_sm)
        )
    return codes


_compile_lock = threading.Lock()


@contextlib.contextmanager
def _assumed_capability(cc):
    """Let numba-cuda compile the functions that a kernel calls without asking a driver which GPU is present."""
    with _compile_lock:
        original = numba.cuda.dispatcher.get_current_device
        numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
        try:
            yield
        finally:
            numba.cuda.dispatcher.get_current_device = original

"""All that is particular to the CUDA library: imports, loads and stores through addresses, compilation, launches.

Kernels take plain numbers: the addresses of their arrays, sizes, and switches. Nothing about the caller's arrays but
their dtype is then part of what is compiled, and a launch has nothing to unpack.
"""

from llvmlite import ir
from numba import cuda, types
from numba.cuda.extending import intrinsic

__all__ = ["cuda", "load", "store"]

_GLOBAL = 1  # LLVM's address space of device memory, without which each load would first find out where it points


def _pointer(builder, llvm_type, address, index, size):
    """To the element of an array that lies at an address."""
    offset = builder.mul(index, ir.Constant(index.type, size))
    return builder.inttoptr(builder.add(address, offset), ir.PointerType(llvm_type, _GLOBAL))


def _llvm_type(dtype):
    return ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType()


def load(dtype, count=1):
    """A function `f(address, index)` that reads `count` numbers at once, as a tuple; one number alone if count is 1.

    The address must be a multiple of what is read at once.
    """
    element, size = _llvm_type(dtype), dtype.bitwidth // 8

    @intrinsic
    def read(typingctx, address, index):
        def codegen(context, builder, sig, args):
            i = context.cast(builder, args[1], sig.args[1], types.int64)
            base = context.cast(builder, args[0], sig.args[0], types.int64)
            if count == 1:
                return builder.load(_pointer(builder, element, base, i, size), align=size)
            vector = ir.VectorType(element, count)
            numbers = builder.load(_pointer(builder, vector, base, i, size), align=size * count)
            parts = [builder.extract_element(numbers, ir.Constant(ir.IntType(32), k)) for k in range(count)]
            return context.make_tuple(builder, sig.return_type, parts)

        result = dtype if count == 1 else types.UniTuple(dtype, count)
        return result(address, index), codegen

    read.access = "load", dtype, count
    return read


def store(dtype):
    """A function `f(address, index, value)` that writes one number."""
    element, size = _llvm_type(dtype), dtype.bitwidth // 8

    @intrinsic
    def write(typingctx, address, index, value):
        def codegen(context, builder, sig, args):
            i = context.cast(builder, args[1], sig.args[1], types.int64)
            base = context.cast(builder, args[0], sig.args[0], types.int64)
            number = context.cast(builder, args[2], sig.args[2], dtype)
            builder.store(number, _pointer(builder, element, base, i, size), align=size)
            return context.get_dummy_value()

        return types.void(address, index, value), codegen

    write.access = "store", dtype, 1
    return write

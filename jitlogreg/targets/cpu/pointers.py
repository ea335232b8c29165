"""Pointers: how kernels reach memory, and how compiled code calls another function by its address.

Pointers rather than arrays: an array is seven values that every call hands on, and a view of another layout would be
another compiled variant.
"""

import ctypes
import sys

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

# Prefetch hints by x86's names, and their locality in LLVM: into every cache, into L2 and beyond, and non-temporal. The
# last one loads L1 on AMD and is not written to L3 on eviction; on Intel it bypasses L2
HINTS = {"t0": 3, "t1": 2, "nta": 0}


class MatrixPointer(types.CPointer):
    """A pointer to the numbers of X. Its type names the prefetch hint, since that is part of the machine code."""

    def __init__(self, dtype, hint, standardized=False):
        super().__init__(dtype)
        self.hint, self.standardized = hint, standardized
        self.name = f"{hint}({dtype}{', standardized' if standardized else ''})*"

    @property
    def key(self):  # by which Numba tells types apart
        """What makes two types the same."""
        return self.dtype, self.hint, self.standardized


register_model(MatrixPointer)(models.PointerModel)


class StandardizedMatrix(types.Type):
    """A pointer to the numbers of X and one to the centres and scales of its columns: see `matrix.py`."""

    def __init__(self, numbers):
        self.numbers, self.dtype, self.hint = numbers, numbers.dtype, numbers.hint
        super().__init__(name=f"standardized({numbers.name})")


@register_model(StandardizedMatrix)
class _StandardizedModel(models.StructModel):
    def __init__(self, manager, fe_type):
        members = [("numbers", fe_type.numbers), ("frame", types.CPointer(types.float64))]
        super().__init__(manager, fe_type, members)


def numbers_of(builder, matrix_type, value):
    """LLVM's pointer to the numbers of a pointer or of a standardized matrix."""
    return builder.extract_value(value, 0) if isinstance(matrix_type, StandardizedMatrix) else value


@intrinsic
def pointer_to(typingctx, address, like):
    """The pointer at an address to what `like`, a number or a pointer, is or points to."""
    p = like if isinstance(like, types.CPointer) else types.CPointer(like)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(p))

    return p(types.intp, like), codegen


@intrinsic
def matrix(typingctx, address, frame, like):
    """The matrix whose numbers lie at an address; if `like` is standardized, with the frame at the other address."""
    if not like.standardized:
        return like(types.intp, types.intp, like), lambda context, builder, sig, args: builder.inttoptr(
            args[0], context.get_value_type(like)
        )
    standardized = StandardizedMatrix(like)

    def codegen(context, builder, sig, args):
        value = ir.Constant(context.get_value_type(standardized), ir.Undefined)
        value = builder.insert_value(value, builder.inttoptr(args[0], context.get_value_type(like)), 0)
        return builder.insert_value(value, builder.inttoptr(args[1], ir.DoubleType().as_pointer()), 1)

    return standardized(types.intp, types.intp, like), codegen


def record_reader(dtype):
    """A function `f(address)` that gives the record of this dtype at an address, to read and to write."""
    record = from_dtype(dtype)

    @intrinsic
    def record_at(typingctx, address):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(record))

        return record(types.intp), codegen

    return record_at


@intrinsic
def offset(typingctx, p, i):
    """The pointer to element i of p."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return p(p, types.intp), codegen


@intrinsic
def load_scalar(typingctx, p, i):
    """p[i], one number."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return p.dtype(p, types.intp), codegen


@intrinsic
def store_scalar(typingctx, p, i, x):
    """p[i] = x, one number."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(p, types.intp, p.dtype), codegen


def _of_either_size(emit_double, emit_float):
    """The codegen of a number at args[0] + args[2] of which args[1] says whether it is a float64 or a float32."""

    def codegen(context, builder, sig, args):
        is_double = builder.icmp_signed("==", args[1], args[1].type(8))
        result = cgutils.alloca_once(builder, ir.DoubleType())
        with builder.if_else(is_double) as (then, otherwise):
            for branch, number, emit in ((then, ir.DoubleType(), emit_double), (otherwise, ir.FloatType(), emit_float)):
                with branch:
                    emit(builder, builder.gep(builder.inttoptr(args[0], number.as_pointer()), [args[2]]), args, result)
        return builder.load(result) if sig.return_type == types.float64 else context.get_dummy_value()

    return codegen


@intrinsic
def load_sized(typingctx, address, itemsize, i):
    """Element i of the numbers of 8 or 4 bytes at an address, as float64."""

    def double(builder, p, args, result):
        builder.store(builder.load(p), result)

    def single(builder, p, args, result):
        builder.store(builder.fpext(builder.load(p), ir.DoubleType()), result)

    return types.float64(types.intp, types.intp, types.intp), _of_either_size(double, single)


@intrinsic
def store_sized(typingctx, address, itemsize, i, x):
    """Write a float64 to element i of the numbers of 8 or 4 bytes at an address."""

    def double(builder, p, args, result):
        builder.store(args[3], p)

    def single(builder, p, args, result):
        builder.store(builder.fptrunc(args[3], ir.FloatType()), p)

    return types.void(types.intp, types.intp, types.intp, types.float64), _of_either_size(double, single)


@intrinsic
def call(typingctx, function, i, address):
    """Call the C function at an address with a number, an address, and three null pointers."""

    def codegen(context, builder, sig, args):
        pointer = ir.IntType(8).as_pointer()
        null = ir.Constant(pointer, None)
        signature = ir.FunctionType(ir.VoidType(), [args[1].type, args[2].type, *[pointer] * 3])
        function = builder.inttoptr(args[0], signature.as_pointer())
        builder.call(function, [args[1], args[2], null, null, null])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def address_of(typingctx, array):
    """The address of an array's first element."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(context.make_array(array)(context, builder, args[0]).data, ir.IntType(64))

    return types.int64(array), codegen


@intrinsic
def store_words(typingctx, address, values):
    """Write values to an address, in words of eight bytes.

    An array is written as its address, item size, lengths, and strides in bytes. A vector has -1 for the other length,
    and None is all zeros.
    """

    def codegen(context, builder, sig, args):
        integer, words = ir.IntType(64), []
        for value_type, value in zip(values.types, cgutils.unpack_tuple(builder, args[1]), strict=True):
            if isinstance(value_type, types.Array):
                a = context.make_array(value_type)(context, builder, value)
                shape, strides = (cgutils.unpack_tuple(builder, numbers) for numbers in (a.shape, a.strides))
                if value_type.ndim == 1:
                    shape, strides = [*shape, integer(-1)], [*strides, integer(0)]
                words += [builder.ptrtoint(a.data, integer), a.itemsize, *shape, *strides]
            elif isinstance(value_type, types.NoneType):
                words += [integer(0)] * 6
            else:
                word = types.float64 if isinstance(value_type, types.Float) else types.int64
                words.append(context.cast(builder, value, value_type, word))
        for k, word in enumerate(words):
            to = builder.inttoptr(builder.add(args[0], integer(8 * k)), word.type.as_pointer())
            builder.store(word, to)
        return context.get_dummy_value()

    return types.void(types.intp, values), codegen


# ---------------------------------------------------------------- from Python


def _address_asked(array):
    return array.ctypes.data


def _address_read(array):
    return _pointer_at(id(array) + _HEADER).value or 0


# The data pointer is the first member of NumPy's array, behind the header of every CPython object, and part of NumPy's
# binary interface. Reading it takes 0.2 us, `ctypes.data` 1 us, and a small call needs four of them
_pointer_at, _HEADER = ctypes.c_void_p.from_address, object.__basicsize__
_probe = np.empty(1)
_readable = sys.implementation.name == "cpython" and _address_read(_probe) == _address_asked(_probe)

# The address of an array's first element; the caller keeps the array alive
data_address = _address_read if _readable else _address_asked

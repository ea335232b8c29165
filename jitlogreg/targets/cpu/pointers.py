"""Vectors and memory: pointers whose type tells what they point to, loads, stores, sums of lanes.

Pointers rather than arrays: an array is seven values that every call hands on, and a view of another layout would be
another compiled variant.
"""

import ctypes
import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from jitlogreg.simd import LANES, call_llvm, float32s, float64s, llvm_integer, llvm_scalar, llvm_suffix

_I32 = ir.IntType(32)
CACHE_LINE = 64  # bytes; where lines are longer, some are prefetched twice
_VECTOR_OF = {types.float64: float64s, types.float32: float32s}

# Prefetch hints by x86's names for them, as LLVM's localities: into every cache, from L2 on, and non-temporal, which on
# AMD comes into L1 and is not written to L3 when it leaves, and on Intel bypasses L2
HINTS = {"t0": 3, "t1": 2, "nta": 0}


class Streamed(types.CPointer):
    """A pointer to numbers that are prefetched, with the hint that its type names.

    The instruction is part of the machine code, so a kernel is compiled for a hint as it is for a dtype.
    """

    def __init__(self, dtype, hint, standardized=False):
        super().__init__(dtype)
        self.hint, self.standardized = hint, standardized
        self.name = f"{hint}({dtype}{', standardized' if standardized else ''})*"

    @property
    def key(self):  # by which Numba tells types apart
        """What makes two types the same."""
        return self.dtype, self.hint, self.standardized


register_model(Streamed)(models.PointerModel)


class Standardized(types.Type):
    """A pointer to the numbers of a matrix, and one to the centres and scales of its columns: see `moments`."""

    def __init__(self, numbers):
        self.numbers, self.dtype, self.hint = numbers, numbers.dtype, numbers.hint
        super().__init__(name=f"standardized({numbers.name})")


@register_model(Standardized)
class _StandardizedModel(models.StructModel):
    def __init__(self, manager, fe_type):
        members = [("numbers", fe_type.numbers), ("frame", types.CPointer(types.float64))]
        super().__init__(manager, fe_type, members)


def _same_lanes(vector, number):
    """A constant vector of one number."""
    scalar = llvm_scalar(vector.dtype)
    return ir.Constant(ir.VectorType(scalar, LANES), [ir.Constant(scalar, number)] * LANES)


def _splat(builder, value):
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, _I32(0))
    return _shuffle(builder, vector, vector, [0] * LANES)


def _shuffle(builder, x, y, lanes):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes)))


@intrinsic
def at(typingctx, address, like):
    """The pointer at an address, to what `like`, a number or a pointer, is or points to."""
    p = like if isinstance(like, types.CPointer) else types.CPointer(like)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(p))

    return p(types.intp, like), codegen


@intrinsic
def matrix(typingctx, address, frame, like):
    """The matrix at an address, as `at` gives it; where `like` says so, with the frame of its columns at another."""
    if not like.standardized:
        return like(types.intp, types.intp, like), lambda context, builder, sig, args: builder.inttoptr(
            args[0], context.get_value_type(like)
        )
    standardized = Standardized(like)

    def codegen(context, builder, sig, args):
        value = ir.Constant(context.get_value_type(standardized), ir.Undefined)
        value = builder.insert_value(value, builder.inttoptr(args[0], context.get_value_type(like)), 0)
        return builder.insert_value(value, builder.inttoptr(args[1], ir.DoubleType().as_pointer()), 1)

    return standardized(types.intp, types.intp, like), codegen


@intrinsic
def moved(typingctx, x, p):
    """The matrix x with its numbers at p."""

    def codegen(context, builder, sig, args):
        return builder.insert_value(*args, 0) if isinstance(x, Standardized) else args[1]

    return x(x, p), codegen


def _numbers(builder, pointer_type, args):
    """The arguments of an intrinsic, of whose first, a pointer or a matrix, the address of the numbers is left."""
    if isinstance(pointer_type, Standardized):
        return [builder.extract_value(args[0], 0), *args[1:]]
    return args


def _moments_at(builder, args):
    """Pointers to the centre and the scale of column args[1]: in a frame eight scales follow on eight centres."""
    j, lanes = args[1], args[1].type(LANES)
    within = builder.and_(j, j.type(LANES - 1))
    first = builder.add(builder.mul(builder.sub(j, within), j.type(2)), within)
    frame = builder.extract_value(args[0], 1)
    return [builder.gep(frame, [k]) for k in (first, builder.add(first, lanes))]


@intrinsic
def moments(typingctx, x, j, like):
    """The centres and scales of the eight columns of x from column j on, a multiple of eight.

    Of a matrix that is taken as it is they are zeros and ones, and nothing is left of the arithmetic with them.
    """

    def codegen(context, builder, sig, args):
        if isinstance(x, Standardized):
            vector = ir.VectorType(ir.DoubleType(), LANES).as_pointer()
            pointers = [builder.bitcast(p, vector) for p in _moments_at(builder, args)]
            values = [builder.load(p, align=8) for p in pointers]
        else:
            values = [_same_lanes(like, number) for number in (0.0, 1.0)]
        return context.make_tuple(builder, sig.return_type, values)

    return types.UniTuple(like, 2)(x, types.intp, like), codegen


@intrinsic
def moments_of(typingctx, x, j, like):
    """The centre and the scale of column j, each in every lane."""

    def codegen(context, builder, sig, args):
        if isinstance(x, Standardized):
            values = [_splat(builder, builder.load(p)) for p in _moments_at(builder, args)]
        else:
            values = [_same_lanes(like, number) for number in (0.0, 1.0)]
        return context.make_tuple(builder, sig.return_type, values)

    return types.UniTuple(like, 2)(x, types.intp, like), codegen


@intrinsic
def call(typingctx, function, i, address):
    """Call the C function at an address with a number, an address, and three null pointers."""

    def codegen(context, builder, sig, args):
        pointer = ir.IntType(8).as_pointer()
        null = ir.Constant(pointer, None)
        signature = ir.FunctionType(ir.VoidType(), [args[1].type, *[pointer] * 4])
        function = builder.inttoptr(args[0], signature.as_pointer())
        builder.call(function, [args[1], builder.inttoptr(args[2], pointer), null, null, null])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def address_of(typingctx, array):
    """The address of an array's first element."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(context.make_array(array)(context, builder, args[0]).data, ir.IntType(64))

    return types.int64(array), codegen


@intrinsic
def put_words(typingctx, address, values):
    """Write values to an address, in words of eight bytes.

    Of an array these are its address, item size, lengths, and strides in bytes; of None as many zeros as of a vector.
    """

    def codegen(context, builder, sig, args):
        integer, words = ir.IntType(64), []
        for value_type, value in zip(values.types, cgutils.unpack_tuple(builder, args[1]), strict=True):
            if isinstance(value_type, types.Array):
                a = context.make_array(value_type)(context, builder, value)
                shape, strides = (cgutils.unpack_tuple(builder, numbers) for numbers in (a.shape, a.strides))
                words += [builder.ptrtoint(a.data, integer), a.itemsize, *shape, *strides]
            elif isinstance(value_type, types.NoneType):
                words += [integer(0)] * 4
            else:
                word = types.float64 if isinstance(value_type, types.Float) else types.int64
                words.append(context.cast(builder, value, value_type, word))
        for k, word in enumerate(words):
            to = builder.inttoptr(builder.add(args[0], integer(8 * k)), word.type.as_pointer())
            builder.store(word, to)
        return context.get_dummy_value()

    return types.void(types.intp, values), codegen


@intrinsic
def offset(typingctx, p, i):
    """The pointer to element i of p."""

    def codegen(context, builder, sig, args):
        moved_on = builder.gep(_numbers(builder, p, args)[0], [args[1]])
        return builder.insert_value(args[0], moved_on, 0) if isinstance(p, Standardized) else moved_on

    return p(p, types.intp), codegen


@intrinsic
def get(typingctx, p, i):
    """p[i], one number."""

    def codegen(context, builder, sig, args):
        return builder.load(builder.gep(*_element(_numbers(builder, p, args))))

    return p.dtype(p, types.intp), codegen


@intrinsic
def put(typingctx, p, i, x):
    """p[i] = x, one number."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(*_element(args)))
        return context.get_dummy_value()

    return types.void(p, types.intp, p.dtype), codegen


def _element(args):
    return args[0], [args[1]]


def _vector_pointer(builder, p, args):
    address = builder.gep(*_element(_numbers(builder, p, args)))
    return builder.bitcast(address, ir.VectorType(llvm_scalar(p.dtype), LANES).as_pointer())


def _convert(builder, value, source, target):
    """A vector in the type of another's lanes; widening is exact."""
    if source == target:
        return value
    if source.bitwidth > target.bitwidth:
        raise TypeError("lanes are never narrowed: that would round")
    return builder.fpext(value, ir.VectorType(llvm_scalar(target), LANES))


@intrinsic
def load(typingctx, p, i, like):
    """p[i : i + LANES], widened to the type of `like`."""

    def codegen(context, builder, sig, args):
        vector = builder.load(_vector_pointer(builder, p, args), align=p.dtype.bitwidth // 8)
        return _convert(builder, vector, p.dtype, like.dtype)

    return like(p, types.intp, like), codegen


@intrinsic
def load_first(typingctx, p, i, count, like):
    """p[i : i + count], widened to the type of `like`; the other lanes are 0 and their memory is not touched."""

    def codegen(context, builder, sig, args):
        vector_type = ir.VectorType(llvm_scalar(p.dtype), LANES)
        # compared in integers as wide as the lanes: other widths cost conversions of the mask
        integer = llvm_integer(p.dtype)
        lane = ir.Constant(ir.VectorType(integer, LANES), list(range(LANES)))
        limit = args[2] if integer.width == args[2].type.width else builder.trunc(args[2], integer)
        arguments = [
            _vector_pointer(builder, p, args),
            _I32(p.dtype.bitwidth // 8),
            builder.icmp_signed("<", lane, _splat(builder, limit)),
            ir.Constant(vector_type, [0.0] * LANES),
        ]
        name = f"llvm.masked.load.{llvm_suffix(vector_type)}.p0"
        return _convert(builder, call_llvm(builder, name, vector_type, arguments), p.dtype, like.dtype)

    return like(p, types.intp, types.intp, like), codegen


@intrinsic
def store(typingctx, p, i, vector):
    """p[i : i + LANES] = vector."""
    if p.dtype != vector.dtype:
        return None

    def codegen(context, builder, sig, args):
        builder.store(args[2], _vector_pointer(builder, p, args), align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx, p, i, vectors):
    """Prefetch the cache lines of so many vectors from element i of a `Streamed` p on; the number is a literal.

    An address that nothing is mapped to does no harm.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None

    def codegen(context, builder, sig, args):
        read, locality, data = _I32(0), _I32(HINTS[p.hint]), _I32(1)
        first = builder.gep(*_element(_numbers(builder, p, args)))
        for k in range(0, vectors.literal_value * LANES, CACHE_LINE * 8 // p.dtype.bitwidth):
            line = builder.bitcast(builder.gep(first, [_I32(k)]), ir.IntType(8).as_pointer())
            call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [line, read, locality, data])
        return context.get_dummy_value()

    return types.void(p, types.intp, vectors), codegen


@intrinsic
def splat(typingctx, x):
    """The number x in every lane."""
    return _VECTOR_OF[x](x), lambda context, builder, sig, args: _splat(builder, args[0])


@intrinsic
def spread(typingctx, x, p):
    """The float64 x, rounded to what p points to, in every lane."""

    def codegen(context, builder, sig, args):
        return _splat(builder, context.cast(builder, args[0], types.float64, p.dtype))

    return _VECTOR_OF[p.dtype](types.float64, p), codegen


@intrinsic
def widen(typingctx, x):
    """The same numbers as float64."""
    return float64s(x), lambda context, builder, sig, args: _convert(builder, args[0], x.dtype, types.float64)


def _fold(builder, x, y, length):
    """Halve every segment of `length` lanes of two vectors by adding its halves; x's segments come first."""
    half = length // 2
    starts = range(0, 2 * LANES, length)
    low = [start + k for start in starts for k in range(half)]
    return builder.fadd(
        _shuffle(builder, x, y, low),
        _shuffle(builder, x, y, [lane + half for lane in low]),
    )


@intrinsic
def sum_each(typingctx, x0, x1, x2, x3, x4, x5, x6, x7):
    """The vector of eight vectors' sums, each summed pairwise."""

    def codegen(context, builder, sig, args):
        vectors, length = list(args), LANES
        while len(vectors) > 1:
            vectors = [_fold(builder, *pair, length) for pair in zip(vectors[::2], vectors[1::2], strict=True)]
            length //= 2
        return vectors[0]

    return x0(*[x0] * LANES), codegen


@intrinsic
def transpose(typingctx, x0, x1, x2, x3, x4, x5, x6, x7):
    """Eight vectors, the k-th of which has lane k of each."""

    def codegen(context, builder, sig, args):
        vectors = list(args)
        for half in (1, 2, 4):  # lane and number of a vector swap one binary digit at a time
            low = [lane if lane & half == 0 else LANES + lane - half for lane in range(LANES)]
            high = [lane + half if lane & half == 0 else LANES + lane for lane in range(LANES)]
            for k in range(LANES):
                if k & half == 0:
                    x, y = vectors[k], vectors[k + half]
                    vectors[k], vectors[k + half] = _shuffle(builder, x, y, low), _shuffle(builder, x, y, high)
        return context.make_tuple(builder, sig.return_type, vectors)

    return types.UniTuple(x0, LANES)(*[x0] * LANES), codegen


@intrinsic
def lane(typingctx, x, k):
    """Lane k of a vector."""
    return x.dtype(x, types.intp), lambda context, builder, sig, args: builder.extract_element(*args)


@intrinsic
def even_lanes(typingctx, x, y):
    """The lanes 0, 2, 4, … of two vectors."""
    return x(x, x), lambda context, builder, sig, args: _shuffle(builder, *args, range(0, 2 * LANES, 2))


@intrinsic
def odd_lanes(typingctx, x, y):
    """The lanes 1, 3, 5, … of two vectors."""
    return x(x, x), lambda context, builder, sig, args: _shuffle(builder, *args, range(1, 2 * LANES, 2))


def _reduce(combine):
    """Reduce a vector's lanes to one float64, pairwise."""

    def codegen(context, builder, sig, args):
        vector = _convert(builder, args[0], sig.args[0].dtype, types.float64)
        lanes = [builder.extract_element(vector, _I32(k)) for k in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [combine(builder, a, b) for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    return codegen


@intrinsic
def sum_lanes(typingctx, x):
    """The sum of a vector's lanes, in float64."""
    return types.float64(x), _reduce(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def compound_lanes(typingctx, x):
    """Π (1 + lane) − 1 over a vector's lanes of at least 0, in float64."""

    def combine(builder, a, b):
        return call_llvm(builder, "llvm.fma.f64", a.type, [a, b, builder.fadd(a, b)])

    return types.float64(x), _reduce(combine)


def _address_told(array):
    return array.ctypes.data


def _address_read(array):
    return _pointer_at(id(array) + _HEADER).value or 0


# The data pointer is the first member of NumPy's array, behind the header that every object of CPython has, and part of
# NumPy's binary interface. To read it takes 0.2 us, where `ctypes.data` takes 1, and a small call needs four of them
_pointer_at, _HEADER = ctypes.c_void_p.from_address, object.__basicsize__
_probe = np.empty(1)
_readable = sys.implementation.name == "cpython" and _address_read(_probe) == _address_told(_probe)

# The address of an array's first element; the caller keeps the array alive
data_address = _address_read if _readable else _address_told

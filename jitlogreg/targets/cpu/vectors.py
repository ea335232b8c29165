"""Eight numbers at a time between memory and registers: loads, stores, and sums of lanes."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitlogreg.simd import LANES, call_llvm, float32s, float64s, llvm_integer, llvm_scalar, llvm_suffix

I32, I64 = ir.IntType(32), ir.IntType(64)
_VECTOR_OF = {types.float64: float64s, types.float32: float32s}


# ---------------------------------------------------------------- LLVM, shared by the functions below


def emit_splat(builder, value):
    """A vector with a number in every lane."""
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, I32(0))
    return emit_shuffle(builder, vector, vector, [0] * LANES)


def emit_shuffle(builder, x, y, lanes):
    """The vector of these lanes of two vectors."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def emit_fma(builder, x, y, z):
    """x · y + z, rounded once."""
    return call_llvm(builder, f"llvm.fma.{llvm_suffix(z.type)}", z.type, [x, y, z])


def _vector_at(builder, p, i, dtype):
    return builder.bitcast(builder.gep(p, [i]), ir.VectorType(llvm_scalar(dtype), LANES).as_pointer())


def _convert(builder, value, source, target):
    """A vector in the type of another's lanes; widening is exact."""
    if source == target:
        return value
    if source.bitwidth > target.bitwidth:
        raise TypeError("lanes are never narrowed: that would round")
    return builder.fpext(value, ir.VectorType(llvm_scalar(target), LANES))


def emit_load(builder, p, i, count, source, target):
    """p[i : i + LANES] widened to `target`; only the first `count` of them, and zeros, unless that is None."""
    pointer, alignment = _vector_at(builder, p, i, source), source.bitwidth // 8
    if count is None:
        return _convert(builder, builder.load(pointer, align=alignment), source, target)
    vector_type, integer = pointer.type.pointee, llvm_integer(source)
    # compared in integers as wide as the lanes: other widths cost conversions of the mask
    lane = ir.Constant(ir.VectorType(integer, LANES), list(range(LANES)))
    limit = count if integer.width == count.type.width else builder.trunc(count, integer)
    mask = builder.icmp_signed("<", lane, emit_splat(builder, limit))
    arguments = [pointer, I32(alignment), mask, ir.Constant(vector_type, [0.0] * LANES)]
    name = f"llvm.masked.load.{llvm_suffix(vector_type)}.p0"
    return _convert(builder, call_llvm(builder, name, vector_type, arguments), source, target)


def emit_store(builder, vector, p, i, dtype):
    """p[i : i + LANES] = vector."""
    builder.store(vector, _vector_at(builder, p, i, dtype), align=dtype.bitwidth // 8)


def mask_of(count_type, count):
    """A count of lanes, or None for all of them: which it is, is part of its type."""
    return None if isinstance(count_type, types.NoneType) else count


# ---------------------------------------------------------------- numbers


@intrinsic
def minimum(typingctx, i, j):
    """The smaller of two integers; `min` is a function of its own for each pair of types."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.icmp_signed("<", *args), *args)

    return types.intp(types.intp, types.intp), codegen


# ---------------------------------------------------------------- one vector


@intrinsic
def load(typingctx, p, i, like):
    """p[i : i + LANES], widened to the type of `like`."""
    return like(p, types.intp, like), lambda context, builder, sig, args: emit_load(
        builder, args[0], args[1], None, p.dtype, like.dtype
    )


@intrinsic
def load_masked(typingctx, p, i, count, like):
    """p[i : i + count], widened to the type of `like`; other lanes are 0 and their memory is not touched.

    A count of None means all lanes.
    """
    return like(p, types.intp, count, like), lambda context, builder, sig, args: emit_load(
        builder, args[0], args[1], mask_of(count, args[2]), p.dtype, like.dtype
    )


@intrinsic
def store(typingctx, p, i, vector):
    """p[i : i + LANES] = vector."""
    if p.dtype != vector.dtype:
        return None

    def codegen(context, builder, sig, args):
        emit_store(builder, args[2], *args[:2], p.dtype)
        return context.get_dummy_value()

    return types.void(p, types.intp, vector), codegen


@intrinsic
def splat(typingctx, x):
    """The number x in every lane."""
    return _VECTOR_OF[x](x), lambda context, builder, sig, args: emit_splat(builder, args[0])


@intrinsic
def broadcast_as(typingctx, x, p):
    """The float64 x, rounded to what p points to, in every lane."""

    def codegen(context, builder, sig, args):
        return emit_splat(builder, context.cast(builder, args[0], types.float64, p.dtype))

    return _VECTOR_OF[p.dtype](types.float64, p), codegen


@intrinsic
def widen(typingctx, x):
    """The same numbers as float64."""
    return float64s(x), lambda context, builder, sig, args: _convert(builder, args[0], x.dtype, types.float64)


@intrinsic
def lane(typingctx, x, k):
    """Lane k of a vector."""
    return x.dtype(x, types.intp), lambda context, builder, sig, args: builder.extract_element(*args)


def _reduce(combine):
    """Reduce a vector's lanes to one float64, pairwise."""

    def codegen(context, builder, sig, args):
        vector = _convert(builder, args[0], sig.args[0].dtype, types.float64)
        lanes = [builder.extract_element(vector, I32(k)) for k in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [combine(builder, a, b) for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    return codegen


@intrinsic
def horizontal_sum(typingctx, x):
    """The sum of a vector's lanes, in float64."""
    return types.float64(x), _reduce(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def horizontal_compound(typingctx, x):
    """Π (1 + lane) − 1 over a vector's lanes of at least 0, in float64."""
    return types.float64(x), _reduce(lambda builder, a, b: emit_fma(builder, a, b, builder.fadd(a, b)))


# ---------------------------------------------------------------- eight vectors


@intrinsic
def room_for_eight(typingctx, like):
    """A pointer to room on the stack for eight vectors."""
    p = types.CPointer(like.dtype)

    def codegen(context, builder, sig, args):
        vectors = cgutils.alloca_once(builder, context.get_value_type(like), size=LANES)
        return builder.bitcast(vectors, context.get_value_type(p))

    return p(like), codegen


@intrinsic
def splat_each(typingctx, p, i, like):
    """p[i], …, p[i + LANES − 1], each in every lane of a vector of the type of `like`: a tuple of eight."""

    def codegen(context, builder, sig, args):
        numbers = [builder.load(builder.gep(args[0], [builder.add(args[1], I64(k))])) for k in range(LANES)]
        return context.make_tuple(builder, sig.return_type, [emit_splat(builder, number) for number in numbers])

    return types.UniTuple(like, LANES)(p, types.intp, like), codegen


@intrinsic
def fma_each(typingctx, p, i, v, sums):
    """sums[k] + p[i + k] · v, for as many numbers as there are sums."""

    def codegen(context, builder, sig, args):
        added = []
        for k, total in enumerate(cgutils.unpack_tuple(builder, args[3])):
            number = builder.load(builder.gep(args[0], [builder.add(args[1], I64(k))]))
            added.append(emit_fma(builder, emit_splat(builder, number), args[2], total))
        return context.make_tuple(builder, sums, added)

    return sums(p, types.intp, v, sums), codegen


@intrinsic
def load_each(typingctx, p, i, like):
    """The eight vectors that lie one after another from element i of p on."""

    def codegen(context, builder, sig, args):
        starts = [builder.add(args[1], I64(k * LANES)) for k in range(LANES)]
        vectors = [emit_load(builder, args[0], start, None, p.dtype, like.dtype) for start in starts]
        return context.make_tuple(builder, sig.return_type, vectors)

    return types.UniTuple(like, LANES)(p, types.intp, like), codegen


def _fold(builder, x, y, length):
    """Halve every segment of `length` lanes of two vectors by adding its halves; x's segments come first."""
    half = length // 2
    starts = range(0, 2 * LANES, length)
    low = [start + k for start in starts for k in range(half)]
    return builder.fadd(
        emit_shuffle(builder, x, y, low),
        emit_shuffle(builder, x, y, [lane + half for lane in low]),
    )


@intrinsic
def transpose_sum(typingctx, vectors):
    """The vector of eight vectors' sums, each summed pairwise."""

    def codegen(context, builder, sig, args):
        values, length = cgutils.unpack_tuple(builder, args[0]), LANES
        while len(values) > 1:
            values = [_fold(builder, *pair, length) for pair in zip(values[::2], values[1::2], strict=True)]
            length //= 2
        return values[0]

    return vectors.dtype(vectors), codegen


@intrinsic
def store_transposed(typingctx, p, i, vectors):
    """Store eight vectors at element i of p, the k-th of which has lane k of each of these."""

    def codegen(context, builder, sig, args):
        values = cgutils.unpack_tuple(builder, args[2])
        for half in (1, 2, 4):  # lane and number of a vector swap one binary digit at a time
            low = [lane if lane & half == 0 else LANES + lane - half for lane in range(LANES)]
            high = [lane + half if lane & half == 0 else LANES + lane for lane in range(LANES)]
            for k in range(LANES):
                if k & half == 0:
                    x, y = values[k], values[k + half]
                    values[k], values[k + half] = emit_shuffle(builder, x, y, low), emit_shuffle(builder, x, y, high)
        for k, value in enumerate(values):
            start = builder.add(args[1], I64(k * LANES))
            emit_store(builder, value, args[0], start, p.dtype)
        return context.get_dummy_value()

    return types.void(p, types.intp, vectors), codegen

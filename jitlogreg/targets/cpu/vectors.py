"""Eight numbers at a time between memory and registers: loads, stores, prefetches, and sums of lanes.

What a kernel does to several rows or columns at once is one function here: each is a dozen instructions that Numba's
typed code would only restate, and a function for each instruction takes longer to compile than the instruction.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitlogreg.simd import LANES, call_llvm, float32s, float64s, llvm_integer, llvm_scalar, llvm_suffix
from jitlogreg.targets.cpu.pointers import HINTS, StandardizedMatrix, numbers_of

CACHE_LINE = 64  # bytes; where lines are longer, some are prefetched twice

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR_OF = {types.float64: float64s, types.float32: float32s}


# ---------------------------------------------------------------- LLVM, shared by the functions below


def _splat(builder, value):
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, _I32(0))
    return _shuffle(builder, vector, vector, [0] * LANES)


def _shuffle(builder, x, y, lanes):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes)))


def _fma(builder, x, y, z):
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


def _load(builder, p, i, count, source, target):
    """p[i : i + LANES] widened to `target`; only the first `count` of them, and zeros, unless that is None."""
    pointer, alignment = _vector_at(builder, p, i, source), source.bitwidth // 8
    if count is None:
        return _convert(builder, builder.load(pointer, align=alignment), source, target)
    vector_type, integer = pointer.type.pointee, llvm_integer(source)
    # compared in integers as wide as the lanes: other widths cost conversions of the mask
    lane = ir.Constant(ir.VectorType(integer, LANES), list(range(LANES)))
    limit = count if integer.width == count.type.width else builder.trunc(count, integer)
    mask = builder.icmp_signed("<", lane, _splat(builder, limit))
    arguments = [pointer, _I32(alignment), mask, ir.Constant(vector_type, [0.0] * LANES)]
    name = f"llvm.masked.load.{llvm_suffix(vector_type)}.p0"
    return _convert(builder, call_llvm(builder, name, vector_type, arguments), source, target)


def _mask_of(count_type, count):
    """A count of lanes, or None for all of them: which it is, is part of its type."""
    return None if isinstance(count_type, types.NoneType) else count


def _moment_pointers(builder, matrix, j):
    """Pointers to the centre and the scale of column j: in a frame, eight scales follow on eight centres."""
    within = builder.and_(j, _I64(LANES - 1))
    first = builder.add(builder.mul(builder.sub(j, within), _I64(2)), within)
    frame = builder.extract_value(matrix, 1)
    return [builder.gep(frame, [k]) for k in (first, builder.add(first, _I64(LANES)))]


def _row_moments(builder, matrix, j):
    """The centres and the scales of the eight columns from column j on, a multiple of eight."""
    vector = ir.VectorType(ir.DoubleType(), LANES).as_pointer()
    return [builder.load(builder.bitcast(p, vector), align=8) for p in _moment_pointers(builder, matrix, j)]


def _column_moments(builder, matrix, j):
    """The centre and the scale of column j, each in every lane."""
    return [_splat(builder, builder.load(p)) for p in _moment_pointers(builder, matrix, j)]


def _standardized(builder, numbers, moments):
    """(x − centre) · scale, or x where there are no moments."""
    if not moments:
        return numbers
    centre, scale = moments
    return builder.fmul(builder.fsub(numbers, centre), scale)


def _pairs(builder, moments):
    """Moments from a flat tuple, for each column; none for each if the tuple is empty."""
    flat = cgutils.unpack_tuple(builder, moments)
    return [flat[k : k + 2] for k in range(0, len(flat), 2)] or [()] * LANES


# ---------------------------------------------------------------- numbers


@intrinsic
def minimum(typingctx, i, j):
    """The smaller of two integers; `min` is a function of its own for each pair of types."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.icmp_signed("<", *args), *args)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def split_exponent(typingctx, x):
    """k, in float64, and f with x = 2ᵏ f and 1 ≤ f < 2, of a normal float64 x > 0."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], _I64)
        exponent = builder.sub(builder.ashr(bits, _I64(52)), _I64(1023))
        fraction = builder.or_(builder.and_(bits, _I64((1 << 52) - 1)), _I64(1023 << 52))
        parts = [builder.sitofp(exponent, ir.DoubleType()), builder.bitcast(fraction, ir.DoubleType())]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(types.float64, 2)(types.float64), codegen


# ---------------------------------------------------------------- one vector


@intrinsic
def load(typingctx, p, i, like):
    """p[i : i + LANES], widened to the type of `like`."""
    return like(p, types.intp, like), lambda context, builder, sig, args: _load(
        builder, args[0], args[1], None, p.dtype, like.dtype
    )


@intrinsic
def load_masked(typingctx, p, i, count, like):
    """p[i : i + count], widened to the type of `like`; other lanes are 0 and their memory is not touched.

    A count of None means all lanes.
    """
    return like(p, types.intp, count, like), lambda context, builder, sig, args: _load(
        builder, args[0], args[1], _mask_of(count, args[2]), p.dtype, like.dtype
    )


@intrinsic
def store(typingctx, p, i, vector):
    """p[i : i + LANES] = vector."""
    if p.dtype != vector.dtype:
        return None

    def codegen(context, builder, sig, args):
        builder.store(args[2], _vector_at(builder, args[0], args[1], p.dtype), align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.intp, vector), codegen


@intrinsic
def splat(typingctx, x):
    """The number x in every lane."""
    return _VECTOR_OF[x](x), lambda context, builder, sig, args: _splat(builder, args[0])


@intrinsic
def broadcast_as(typingctx, x, p):
    """The float64 x, rounded to what p points to, in every lane."""

    def codegen(context, builder, sig, args):
        return _splat(builder, context.cast(builder, args[0], types.float64, p.dtype))

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
        lanes = [builder.extract_element(vector, _I32(k)) for k in range(LANES)]
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
    return types.float64(x), _reduce(lambda builder, a, b: _fma(builder, a, b, builder.fadd(a, b)))


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
        numbers = [builder.load(builder.gep(args[0], [builder.add(args[1], _I64(k))])) for k in range(LANES)]
        return context.make_tuple(builder, sig.return_type, [_splat(builder, number) for number in numbers])

    return types.UniTuple(like, LANES)(p, types.intp, like), codegen


@intrinsic
def fma_each(typingctx, p, i, v, sums):
    """sums[k] + p[i + k] · v, for as many numbers as there are sums."""

    def codegen(context, builder, sig, args):
        added = []
        for k, total in enumerate(cgutils.unpack_tuple(builder, args[3])):
            number = builder.load(builder.gep(args[0], [builder.add(args[1], _I64(k))]))
            added.append(_fma(builder, _splat(builder, number), args[2], total))
        return context.make_tuple(builder, sums, added)

    return sums(p, types.intp, v, sums), codegen


@intrinsic
def load_each(typingctx, p, i, like):
    """The eight vectors that lie one after another from element i of p on."""

    def codegen(context, builder, sig, args):
        starts = [builder.add(args[1], _I64(k * LANES)) for k in range(LANES)]
        vectors = [_load(builder, args[0], start, None, p.dtype, like.dtype) for start in starts]
        return context.make_tuple(builder, sig.return_type, vectors)

    return types.UniTuple(like, LANES)(p, types.intp, like), codegen


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
                    values[k], values[k + half] = _shuffle(builder, x, y, low), _shuffle(builder, x, y, high)
        for k, value in enumerate(values):
            start = builder.add(args[1], _I64(k * LANES))
            builder.store(value, _vector_at(builder, args[0], start, p.dtype), align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.intp, vectors), codegen


# ---------------------------------------------------------------- rows of X: C order


def _rows(builder, x, args, count, like):
    """A function that gives eight columns of the k-th row below x[i, j], standardized if x is."""
    matrix, i, j, ld = args[:4]
    moments = _row_moments(builder, matrix, j) if isinstance(x, StandardizedMatrix) else ()
    numbers, first = numbers_of(builder, x, matrix), builder.add(i, j)

    def row(k):
        start = builder.add(first, builder.mul(ld, _I64(k)))
        return _standardized(builder, _load(builder, numbers, start, count, x.dtype, like.dtype), moments)

    return row


@intrinsic
def load_row(typingctx, x, i, j, count, like):
    """Eight columns from column j on, a multiple of eight, of the row that begins at element i; `count` of them."""

    def codegen(context, builder, sig, args):
        matrix, i, j, lanes, _ = args
        return _rows(builder, x, (matrix, i, j, _I64(0)), _mask_of(count, lanes), like)(0)

    return like(x, types.intp, types.intp, count, like), codegen


@intrinsic
def fma_rows(typingctx, x, i, j, ld, count, v, sums):
    """sums[k] + x[k, j : j + count] · v for the rows k from the one that begins at element i on, as many as sums."""

    def codegen(context, builder, sig, args):
        row = _rows(builder, x, args, _mask_of(count, args[4]), v)
        added = [_fma(builder, row(k), args[5], a) for k, a in enumerate(cgutils.unpack_tuple(builder, args[6]))]
        return context.make_tuple(builder, sums, added)

    return sums(x, types.intp, types.intp, types.intp, count, v, sums), codegen


@intrinsic
def weighted_rows(typingctx, x, i, j, ld, count, d):
    """Σ d[k] · x[k, j : j + count] over eight rows from the one that begins at element i on.

    Even and odd rows are summed in two chains, which are added: a term meets at most five roundings.
    """

    def codegen(context, builder, sig, args):
        row = _rows(builder, x, args, _mask_of(count, args[4]), d.dtype)
        weights, chains = cgutils.unpack_tuple(builder, args[5]), []
        for first in (0, 1):
            chain = builder.fmul(row(first), weights[first])
            for k in range(first + 2, LANES, 2):
                chain = _fma(builder, row(k), weights[k], chain)
            chains.append(chain)
        return builder.fadd(*chains)

    return d.dtype(x, types.intp, types.intp, types.intp, count, d), codegen


@intrinsic
def load_two_columns(typingctx, x, i, like):
    """Columns 0 and 1 of eight rows, from element i on, where X has just these two, adjacent in memory."""

    def codegen(context, builder, sig, args):
        matrix, i, _ = args
        numbers, columns = numbers_of(builder, x, matrix), []
        halves = [_load(builder, numbers, builder.add(i, _I64(k)), None, x.dtype, like.dtype) for k in (0, LANES)]
        for first in (0, 1):  # the even lanes are column 0
            column = _shuffle(builder, *halves, range(first, 2 * LANES, 2))
            moments = _column_moments(builder, matrix, _I64(first)) if isinstance(x, StandardizedMatrix) else ()
            columns.append(_standardized(builder, column, moments))
        return context.make_tuple(builder, sig.return_type, columns)

    return types.UniTuple(like, 2)(x, types.intp, like), codegen


# ---------------------------------------------------------------- columns of X: F order


@intrinsic
def column_moments(typingctx, x, j, columns, like):
    """The moments of so many columns from column j on, a literal, in a flat tuple; an empty one if x has none."""
    if not isinstance(columns, types.IntegerLiteral):
        return None
    standardized = isinstance(x, StandardizedMatrix)
    moments = types.UniTuple(like, 2 * columns.literal_value) if standardized else types.Tuple(())

    def codegen(context, builder, sig, args):
        matrix, j, _, _ = args
        values = []
        for k in range(moments.count // 2):
            values += _column_moments(builder, matrix, builder.add(j, _I64(k)))
        return context.make_tuple(builder, moments, values)

    return moments(x, types.intp, columns, like), codegen


@intrinsic
def column_starts(typingctx, first, ld, last):
    """The elements at which eight columns begin, the first at `first`; none beyond `last`."""

    def codegen(context, builder, sig, args):
        starts = [builder.add(args[0], builder.mul(args[1], _I64(k))) for k in range(LANES)]
        clamped = [builder.select(builder.icmp_signed("<", start, args[2]), start, args[2]) for start in starts]
        return context.make_tuple(builder, sig.return_type, clamped)

    return types.UniTuple(types.intp, LANES)(types.intp, types.intp, types.intp), codegen


@intrinsic
def load_column(typingctx, x, i, moments, count, like):
    """Eight numbers of one column from element i of x on, or the first `count` of them; others are 0 · `like`."""

    def codegen(context, builder, sig, args):
        matrix, i, flat, lanes, _ = args
        mask = _mask_of(count, lanes)
        numbers = _load(builder, numbers_of(builder, x, matrix), i, mask, x.dtype, like.dtype)
        return _standardized(builder, numbers, _pairs(builder, flat)[0])

    return like(x, types.intp, moments, count, like), codegen


@intrinsic
def scaled_columns(typingctx, x, i, ld, moments, count, scale):
    """x[k] · scale of eight columns, of the rows from element i on: a tuple of eight vectors."""

    def codegen(context, builder, sig, args):
        matrix, i, ld, flat, lanes, factor = args
        numbers, scaled = numbers_of(builder, x, matrix), []
        for k, moments in enumerate(_pairs(builder, flat)):
            start = builder.add(i, builder.mul(ld, _I64(k)))
            column = _load(builder, numbers, start, _mask_of(count, lanes), x.dtype, scale.dtype)
            scaled.append(builder.fmul(_standardized(builder, column, moments), factor))
        return context.make_tuple(builder, sig.return_type, scaled)

    return types.UniTuple(scale, LANES)(x, types.intp, types.intp, moments, count, scale), codegen


@intrinsic
def weighted_columns(typingctx, x, i, ld, moments, count, w):
    """Σ w[k] · x[k] over eight columns, of the rows from element i on: four pairs, added as a tree."""

    def codegen(context, builder, sig, args):
        matrix, i, ld, flat, lanes, weights = args
        numbers, pairs, mask = numbers_of(builder, x, matrix), _pairs(builder, flat), _mask_of(count, lanes)
        weights = cgutils.unpack_tuple(builder, weights)

        def column(k):
            start = builder.add(i, builder.mul(ld, _I64(k)))
            return _standardized(builder, _load(builder, numbers, start, mask, x.dtype, w.dtype.dtype), pairs[k])

        sums = [
            _fma(builder, column(k + 1), weights[k + 1], builder.fmul(column(k), weights[k]))
            for k in range(0, LANES, 2)
        ]
        return builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))

    return w.dtype(x, types.intp, types.intp, moments, count, w), codegen


@intrinsic
def fma_columns(typingctx, x, starts, r, count, moments, d, sums):
    """sums[k] + x[starts[k] + r : … + count] · d, for as many columns as there are sums; a count of None is LANES."""

    def codegen(context, builder, sig, args):
        matrix, columns, r, lanes, flat, d_value, totals = args
        numbers, pairs, added = numbers_of(builder, x, matrix), _pairs(builder, flat), []
        mask = _mask_of(count, lanes)
        columns, totals = cgutils.unpack_tuple(builder, columns), cgutils.unpack_tuple(builder, totals)
        for k, (start, total) in enumerate(zip(columns, totals, strict=True)):
            column = _load(builder, numbers, builder.add(start, r), mask, x.dtype, d.dtype)
            added.append(_fma(builder, _standardized(builder, column, pairs[k]), d_value, total))
        return context.make_tuple(builder, sums, added)

    return sums(x, starts, types.intp, count, moments, d, sums), codegen


# ---------------------------------------------------------------- prefetch


@intrinsic
def prefetch(typingctx, x, i, vectors):
    """Prefetch the cache lines of so many vectors, a literal, from element i of x on.

    An address that nothing is mapped to does no harm.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None

    def codegen(context, builder, sig, args):
        read, locality, data = _I32(0), _I32(HINTS[x.hint]), _I32(1)
        first = builder.gep(numbers_of(builder, x, args[0]), [args[1]])
        for k in range(0, vectors.literal_value * LANES, CACHE_LINE * 8 // x.dtype.bitwidth):
            line = builder.bitcast(builder.gep(first, [_I32(k)]), ir.IntType(8).as_pointer())
            call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [line, read, locality, data])
        return context.get_dummy_value()

    return types.void(x, types.intp, vectors), codegen

"""Rows and columns of X, eight numbers at a time: loads, products with vectors, prefetches.

What a kernel does to several rows or columns at once is one function here: each is a dozen instructions that Numba's
typed code would only restate, and a function for each instruction takes longer to compile than the instruction.

A matrix is a pointer, or a standardized one: then its numbers come as (x − centre) · scale of their column.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitlogreg.simd import LANES, call_llvm
from jitlogreg.targets.cpu.pointers import HINTS, StandardizedMatrix, numbers_of
from jitlogreg.targets.cpu.vectors import I32, I64, emit_fma, emit_load, emit_shuffle, emit_splat, mask_of

CACHE_LINE = 64  # bytes; where lines are longer, some are prefetched twice


# ---------------------------------------------------------------- moments of columns


def _moment_pointers(builder, matrix, j):
    """Pointers to the centre and the scale of column j: in a frame, eight scales follow on eight centres."""
    within = builder.and_(j, I64(LANES - 1))
    first = builder.add(builder.mul(builder.sub(j, within), I64(2)), within)
    frame = builder.extract_value(matrix, 1)
    return [builder.gep(frame, [k]) for k in (first, builder.add(first, I64(LANES)))]


def _row_moments(builder, matrix, j):
    """The centres and the scales of the eight columns from column j on, a multiple of eight."""
    vector = ir.VectorType(ir.DoubleType(), LANES).as_pointer()
    return [builder.load(builder.bitcast(p, vector), align=8) for p in _moment_pointers(builder, matrix, j)]


def _column_moments(builder, matrix, j):
    """The centre and the scale of column j, each in every lane."""
    return [emit_splat(builder, builder.load(p)) for p in _moment_pointers(builder, matrix, j)]


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


# ---------------------------------------------------------------- rows of X: C order


def rows_of(builder, x, args, count, like):
    """A function that gives eight columns of the k-th row below x[i, j], standardized if x is."""
    matrix, i, j, ld = args[:4]
    moments = _row_moments(builder, matrix, j) if isinstance(x, StandardizedMatrix) else ()
    numbers, first = numbers_of(builder, x, matrix), builder.add(i, j)

    def row(k):
        start = builder.add(first, builder.mul(ld, I64(k)))
        return _standardized(builder, emit_load(builder, numbers, start, count, x.dtype, like.dtype), moments)

    return row


@intrinsic
def load_row(typingctx, x, i, j, count, like):
    """Eight columns from column j on, a multiple of eight, of the row that begins at element i; `count` of them."""

    def codegen(context, builder, sig, args):
        matrix, i, j, lanes, _ = args
        return rows_of(builder, x, (matrix, i, j, I64(0)), mask_of(count, lanes), like)(0)

    return like(x, types.intp, types.intp, count, like), codegen


@intrinsic
def fma_rows(typingctx, x, i, j, ld, count, v, sums):
    """sums[k] + x[k, j : j + count] · v for the rows k from the one that begins at element i on, as many as sums."""

    def codegen(context, builder, sig, args):
        row = rows_of(builder, x, args, mask_of(count, args[4]), v)
        added = [emit_fma(builder, row(k), args[5], a) for k, a in enumerate(cgutils.unpack_tuple(builder, args[6]))]
        return context.make_tuple(builder, sums, added)

    return sums(x, types.intp, types.intp, types.intp, count, v, sums), codegen


@intrinsic
def weighted_rows(typingctx, x, i, j, ld, count, d):
    """Σ d[k] · x[k, j : j + count] over eight rows from the one that begins at element i on.

    Even and odd rows are summed in two chains, which are added: a term meets at most five roundings.
    """

    def codegen(context, builder, sig, args):
        row = rows_of(builder, x, args, mask_of(count, args[4]), d.dtype)
        weights, chains = cgutils.unpack_tuple(builder, args[5]), []
        for first in (0, 1):
            chain = builder.fmul(row(first), weights[first])
            for k in range(first + 2, LANES, 2):
                chain = emit_fma(builder, row(k), weights[k], chain)
            chains.append(chain)
        return builder.fadd(*chains)

    return d.dtype(x, types.intp, types.intp, types.intp, count, d), codegen


@intrinsic
def load_two_columns(typingctx, x, i, like):
    """Columns 0 and 1 of eight rows, from element i on, where X has just these two, adjacent in memory."""

    def codegen(context, builder, sig, args):
        matrix, i, _ = args
        numbers, columns = numbers_of(builder, x, matrix), []
        halves = [emit_load(builder, numbers, builder.add(i, I64(k)), None, x.dtype, like.dtype) for k in (0, LANES)]
        for first in (0, 1):  # the even lanes are column 0
            column = emit_shuffle(builder, *halves, range(first, 2 * LANES, 2))
            moments = _column_moments(builder, matrix, I64(first)) if isinstance(x, StandardizedMatrix) else ()
            columns.append(_standardized(builder, column, moments))
        return context.make_tuple(builder, sig.return_type, columns)

    return types.UniTuple(like, 2)(x, types.intp, like), codegen


# ---------------------------------------------------------------- columns of X: F order


def columns_of(builder, x, matrix, moments, like, mask=None):
    """A function that gives eight numbers of the k-th column, from an element on, standardized if x is."""
    numbers, pairs = numbers_of(builder, x, matrix), _pairs(builder, moments)

    def column(k, start):
        return _standardized(builder, emit_load(builder, numbers, start, mask, x.dtype, like.dtype), pairs[k])

    return column


def emit_tree(builder, columns, weights):
    """Σ w[k] · columns[k] over eight vectors: four pairs, added as a tree."""
    sums = [
        emit_fma(builder, columns[k + 1], weights[k + 1], builder.fmul(columns[k], weights[k]))
        for k in range(0, LANES, 2)
    ]
    return builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))


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
            values += _column_moments(builder, matrix, builder.add(j, I64(k)))
        return context.make_tuple(builder, moments, values)

    return moments(x, types.intp, columns, like), codegen


@intrinsic
def column_starts(typingctx, first, ld, last):
    """The elements at which eight columns begin, the first at `first`; none beyond `last`."""

    def codegen(context, builder, sig, args):
        starts = [builder.add(args[0], builder.mul(args[1], I64(k))) for k in range(LANES)]
        clamped = [builder.select(builder.icmp_signed("<", start, args[2]), start, args[2]) for start in starts]
        return context.make_tuple(builder, sig.return_type, clamped)

    return types.UniTuple(types.intp, LANES)(types.intp, types.intp, types.intp), codegen


@intrinsic
def load_column(typingctx, x, i, moments, count, like):
    """Eight numbers of one column from element i of x on, or the first `count` of them; others are 0 · `like`."""

    def codegen(context, builder, sig, args):
        matrix, i, flat, lanes, _ = args
        mask = mask_of(count, lanes)
        numbers = emit_load(builder, numbers_of(builder, x, matrix), i, mask, x.dtype, like.dtype)
        return _standardized(builder, numbers, _pairs(builder, flat)[0])

    return like(x, types.intp, moments, count, like), codegen


@intrinsic
def scaled_columns(typingctx, x, i, ld, moments, count, scale):
    """x[k] · scale of eight columns, of the rows from element i on: a tuple of eight vectors."""

    def codegen(context, builder, sig, args):
        matrix, i, ld, flat, lanes, factor = args
        numbers, scaled = numbers_of(builder, x, matrix), []
        for k, moments in enumerate(_pairs(builder, flat)):
            start = builder.add(i, builder.mul(ld, I64(k)))
            column = emit_load(builder, numbers, start, mask_of(count, lanes), x.dtype, scale.dtype)
            scaled.append(builder.fmul(_standardized(builder, column, moments), factor))
        return context.make_tuple(builder, sig.return_type, scaled)

    return types.UniTuple(scale, LANES)(x, types.intp, types.intp, moments, count, scale), codegen


@intrinsic
def weighted_columns(typingctx, x, i, ld, moments, count, w):
    """Σ w[k] · x[k] over eight columns, of the rows from element i on: four pairs, added as a tree."""

    def codegen(context, builder, sig, args):
        matrix, i, ld, flat, lanes, weights = args
        column = columns_of(builder, x, matrix, flat, w.dtype, mask_of(count, lanes))
        columns = [column(k, builder.add(i, builder.mul(ld, I64(k)))) for k in range(LANES)]
        return emit_tree(builder, columns, cgutils.unpack_tuple(builder, weights))

    return w.dtype(x, types.intp, types.intp, moments, count, w), codegen


@intrinsic
def fma_columns(typingctx, x, starts, r, count, moments, d, sums):
    """sums[k] + x[starts[k] + r : … + count] · d, for as many columns as there are sums; a count of None is LANES."""

    def codegen(context, builder, sig, args):
        matrix, columns, r, lanes, flat, d_value, totals = args
        column, added = columns_of(builder, x, matrix, flat, d, mask_of(count, lanes)), []
        columns, totals = cgutils.unpack_tuple(builder, columns), cgutils.unpack_tuple(builder, totals)
        for k, (start, total) in enumerate(zip(columns, totals, strict=True)):
            added.append(emit_fma(builder, column(k, builder.add(start, r)), d_value, total))
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
        read, locality, data = I32(0), I32(HINTS[x.hint]), I32(1)
        first = builder.gep(numbers_of(builder, x, args[0]), [args[1]])
        for k in range(0, vectors.literal_value * LANES, CACHE_LINE * 8 // x.dtype.bitwidth):
            line = builder.bitcast(builder.gep(first, [I32(k)]), ir.IntType(8).as_pointer())
            call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [line, read, locality, data])
        return context.get_dummy_value()

    return types.void(x, types.intp, vectors), codegen

"""Register tiles: a few rows or columns of X times a few columns of W, with each number of X loaded once.

Each function is the code of one step of a loop. How many models it serves follows from the number of vectors that it is
given: that is part of their type.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitlogreg.simd import LANES
from jitlogreg.targets.cpu.matrix import columns_of, emit_tree, rows_of
from jitlogreg.targets.cpu.vectors import I64, emit_fma, emit_load, emit_splat, emit_store, mask_of


@intrinsic
def nothing(typingctx, like, count):
    """So many vectors of zeros, a literal."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.UniTuple(like, count.literal_value)

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, [0.0] * LANES)
        return context.make_tuple(builder, result, [zero] * count.literal_value)

    return result(like, count), codegen


def make_fma_tile(rows, parts, to):
    """The step of `rows` rows and some models that have `parts` sums each, which adds to the parts in `to` in turn.

    A row and a model have their sums side by side; rows come first, then models.
    """

    @intrinsic
    def fma_tile(typingctx, x, i, j, ld, count, w, w_step, sums):
        """sums[…] + x[r, j : j + count] · w_k[j :]; for each further part, of the next eight columns.

        Row 0 begins at element i of x, w_k at element k · w_step of w.
        """

        def codegen(context, builder, sig, args):
            like, totals = sums.dtype, cgutils.unpack_tuple(builder, args[7])
            models = len(totals) // (rows * parts)
            for step, part in enumerate(to):
                column = builder.add(args[2], I64(step * LANES))
                row = rows_of(builder, x, (args[0], args[1], column, args[3]), mask_of(count, args[4]), like)
                numbers = [row(r) for r in range(rows)]
                for k in range(models):
                    start = builder.add(column, builder.mul(args[6], I64(k)))
                    v = emit_load(builder, args[5], start, None, w.dtype, like.dtype)
                    for r in range(rows):
                        own = (r * models + k) * parts + part
                        totals[own] = emit_fma(builder, numbers[r], v, totals[own])
            return context.make_tuple(builder, sums, totals)

        return sums(x, types.intp, types.intp, types.intp, count, w, types.intp, sums), codegen

    return fma_tile


def make_store_dots(rows, parts):
    """The end of the same: parts are added in pairs."""

    @intrinsic
    def store_dots(typingctx, p, first, step, sums):
        """Store the sums: row r of model k at element (first + r) · LANES + k · step of p."""

        def codegen(context, builder, sig, args):
            values = cgutils.unpack_tuple(builder, args[3])
            models = len(values) // (rows * parts)
            for r in range(rows):
                row = builder.mul(builder.add(args[1], I64(r)), I64(LANES))
                for k in range(models):
                    own = values[(r * models + k) * parts :][:parts]
                    while len(own) > 1:
                        own = [builder.fadd(a, b) for a, b in zip(own[::2], own[1::2], strict=True)]
                    emit_store(builder, own[0], args[0], builder.add(row, builder.mul(args[2], I64(k))), p.dtype)
            return context.get_dummy_value()

        return types.void(p, types.intp, types.intp, sums), codegen

    return store_dots


@intrinsic
def splat_rows(typingctx, p, i, step, models, like):
    """p[i + k · step], …, p[i + k · step + LANES − 1], each in every lane, for so many models k, a literal."""
    if not isinstance(models, types.IntegerLiteral):
        return None
    result = types.UniTuple(like, LANES * models.literal_value)

    def codegen(context, builder, sig, args):
        vectors = []
        for k in range(models.literal_value):
            first = builder.add(args[1], builder.mul(args[2], I64(k)))
            for r in range(LANES):
                number = builder.load(builder.gep(args[0], [builder.add(first, I64(r))]))
                vectors.append(emit_splat(builder, number))
        return context.make_tuple(builder, result, vectors)

    return result(p, types.intp, types.intp, models, like), codegen


@intrinsic
def add_weighted_rows(typingctx, x, i, j, ld, count, weights, g, g_step):
    """g_k[j :] += Σ d_k[r] · x[r, j : j + count] over eight rows, for as many models as there are eights of weights.

    Even and odd rows are summed in two chains, as `weighted_rows` does. Row 0 begins at element i of x, g_k at element
    k · g_step of g.
    """

    def codegen(context, builder, sig, args):
        like = weights.dtype
        row = rows_of(builder, x, args, mask_of(count, args[4]), like)
        splats = cgutils.unpack_tuple(builder, args[5])
        n_models = len(splats) // LANES
        chains = [[None, None] for _ in range(n_models)]
        for r in range(LANES):  # a row is in registers for as long as the models take
            numbers = row(r)
            for k in range(n_models):
                own, chain = splats[k * LANES + r], chains[k][r % 2]
                chains[k][r % 2] = (
                    builder.fmul(numbers, own) if chain is None else emit_fma(builder, numbers, own, chain)
                )
        for k, (even, odd) in enumerate(chains):
            start = builder.add(args[2], builder.mul(args[7], I64(k)))
            before = emit_load(builder, args[6], start, None, g.dtype, like.dtype)
            emit_store(builder, builder.fadd(before, builder.fadd(even, odd)), args[6], start, g.dtype)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, count, weights, g, types.intp), codegen


# ---------------------------------------------------------------- columns of X


@intrinsic
def add_weighted_columns(typingctx, x, i, ld, moments, weights, z, r, z_step):
    """z_k[r :] += Σ w_k[j] · x[j] over eight columns, as `weighted_columns` sums them, of the rows from element i on.

    For as many models as there are eights of weights; z_k begins at element k · z_step of z.
    """

    def codegen(context, builder, sig, args):
        matrix, i, ld, flat, splats, to, r, step = args
        like, splats = weights.dtype, cgutils.unpack_tuple(builder, splats)
        column = columns_of(builder, x, matrix, flat, like)
        numbers = [column(k, builder.add(i, builder.mul(ld, I64(k)))) for k in range(LANES)]
        for model in range(len(splats) // LANES):
            start = builder.add(r, builder.mul(step, I64(model)))
            before = emit_load(builder, to, start, None, z.dtype, like.dtype)
            total = emit_tree(builder, numbers, splats[model * LANES :])
            emit_store(builder, builder.fadd(before, total), to, start, z.dtype)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, moments, weights, z, types.intp, types.intp), codegen


@intrinsic
def fma_columns_of_models(typingctx, x, starts, r, moments, dz, z_step, sums):
    """sums[…] + x[starts[c] + r :] · dz_k[r :] for four columns c and as many models k as there are fours of sums.

    Models come first, then columns; dz_k begins at element k · z_step of dz.
    """

    def codegen(context, builder, sig, args):
        matrix, columns, r, flat, source, step, totals = args
        like, totals = sums.dtype, cgutils.unpack_tuple(builder, totals)
        column = columns_of(builder, x, matrix, flat, like)
        starts_of = cgutils.unpack_tuple(builder, columns)
        numbers = [column(c, builder.add(start, r)) for c, start in enumerate(starts_of)]
        for k in range(len(totals) // 4):
            start = builder.add(r, builder.mul(step, I64(k)))
            d = emit_load(builder, source, start, None, dz.dtype, like.dtype)
            for c in range(4):
                totals[4 * k + c] = emit_fma(builder, numbers[c], d, totals[4 * k + c])
        return context.make_tuple(builder, sums, totals)

    return sums(x, starts, types.intp, moments, dz, types.intp, sums), codegen

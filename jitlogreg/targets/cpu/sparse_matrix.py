"""Sparse rows in memory: indices, numbers, and what is done to several of them at once.

The totals of columns lie side by side, the high part and the low part of each.
"""

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jitlogreg.simd import LANES, call_llvm, llvm_scalar, llvm_suffix
from jitlogreg.targets.cpu.matrix import CACHE_LINE
from jitlogreg.targets.cpu.vectors import I64

# Indices that are looked at at once: four vectors
LOOKED_AT = 4 * LANES


@intrinsic
def load_index(typingctx, p, i):
    """p[i] of 32 or 64 bits, as an integer of at least 0 if it is one."""

    def codegen(context, builder, sig, args):
        value = builder.load(builder.gep(args[0], [args[1]]))
        return builder.sext(value, I64) if value.type.width < 64 else value

    return types.int64(p, types.intp), codegen


@intrinsic
def prefetch_numbers(typingctx, data, p):
    """Prefetch LOOKED_AT numbers from p on, which are used once a block's indices have been looked at."""

    def codegen(context, builder, sig, args):
        size = 0 if isinstance(data.dtype, types.Boolean) else data.dtype.bitwidth // 8
        for line in range(0, LOOKED_AT * size, CACHE_LINE):
            _emit_prefetch(builder, builder.gep(args[0], [builder.add(args[1], I64(line // size))]))
        return context.get_dummy_value()

    return types.void(data, types.intp), codegen


@intrinsic
def prefetch_one(typingctx, p, i):
    """Prefetch p[i]."""

    def codegen(context, builder, sig, args):
        _emit_prefetch(builder, builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(p, types.intp), codegen


def _emit_prefetch(builder, pointer):
    byte, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
    signature = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), integer(0), integer(3), integer(1)])


@intrinsic
def entry_of(typingctx, data, p, like):
    """data[p], in the dtype that `like` points to; 1 where `data` points to no numbers."""

    def codegen(context, builder, sig, args):
        return emit_number(builder, data, args[0], args[1], llvm_scalar(like.dtype))

    return like.dtype(data, types.intp, like), codegen


def emit_number(builder, data, pointer, p, scalar):
    """LLVM's `entry_of`."""
    if isinstance(data.dtype, types.Boolean):
        return ir.Constant(scalar, 1.0)
    value = builder.load(builder.gep(pointer, [p]))
    return value if value.type == scalar else builder.fpext(value, scalar)


@intrinsic
def zero_of(typingctx, p):
    """0 in the dtype that p points to."""
    return p.dtype(p), lambda context, builder, sig, args: ir.Constant(llvm_scalar(p.dtype), 0.0)


@intrinsic
def no_chains(typingctx, p):
    """Eight sums of nothing."""
    result = types.UniTuple(p.dtype, LANES)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, result, [ir.Constant(llvm_scalar(p.dtype), 0.0)] * LANES)

    return result(p), codegen


@intrinsic
def add_to_chains(typingctx, data, indices, p, w, sums):
    """Add data[p + k] · w[indices[p + k]] to sum k, for eight k."""

    def codegen(context, builder, sig, args):
        numbers, columns, p, coefficients, totals = args
        totals, scalar = cgutils.unpack_tuple(builder, totals), llvm_scalar(w.dtype)
        for k in range(LANES):
            at = builder.add(p, I64(k))
            column = builder.load(builder.gep(columns, [at]))
            column = builder.sext(column, I64) if column.type.width < 64 else column
            factors = emit_number(builder, data, numbers, at, scalar), builder.load(builder.gep(coefficients, [column]))
            totals[k] = call_llvm(builder, f"llvm.fma.{llvm_suffix(scalar)}", scalar, [*factors, totals[k]])
        return context.make_tuple(builder, sums, totals)

    return sums(data, indices, types.intp, w, sums), codegen


@intrinsic
def total(typingctx, sums):
    """The sum of eight sums, in pairs."""

    def codegen(context, builder, sig, args):
        values = cgutils.unpack_tuple(builder, args[0])
        while len(values) > 1:
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    return sums.dtype(sums), codegen


@intrinsic
def largest_of(typingctx, indices, p):
    """The largest of LOOKED_AT indices from p on; a negative one counts as larger than any other."""

    def codegen(context, builder, sig, args):
        scalar = ir.IntType(indices.dtype.bitwidth)
        vector = ir.VectorType(scalar, LANES)
        loaded = []
        for k in range(0, LOOKED_AT, LANES):
            place = builder.gep(args[0], [builder.add(args[1], I64(k))])
            loaded.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=scalar.width // 8))
        while len(loaded) > 1:
            loaded = [
                builder.select(builder.icmp_unsigned(">", a, b), a, b)
                for a, b in zip(loaded[::2], loaded[1::2], strict=True)
            ]
        largest = call_llvm(builder, f"llvm.vector.reduce.umax.v{LANES}i{scalar.width}", scalar, loaded)
        if scalar.width == 64:  # as an unsigned number it may be no int64
            return builder.select(builder.icmp_signed("<", largest, scalar(0)), I64(2**63 - 1), largest)
        return builder.zext(largest, I64)

    return types.int64(indices, types.intp), codegen


@intrinsic
def add_product(typingctx, totals, j, d, x):
    """Add d · x to the total j: a compensated sum of float64; of float32, whose products are exact, a plain one.

    What the sum s = high + d · x loses is d · x − (s − high), exactly unless the term is larger than the total; then it
    is off by at most u times the term, so that all such errors stay within u Σ|terms|. Knuth's two-sum takes three
    additions more, and took a tenth more time (Zen 5).

    Source: Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18, 1971.
    """

    def codegen(context, builder, sig, args):
        double = ir.DoubleType()
        place = builder.gep(args[0], [builder.mul(args[1], I64(2))])
        below = builder.gep(place, [I64(1)])
        before = builder.load(place)
        if d.bitwidth == 32:
            term = builder.fmul(*(builder.fpext(value, double) for value in args[2:]))
            builder.store(builder.fadd(before, term), place)
            return context.get_dummy_value()
        fma = functools.partial(call_llvm, builder, "llvm.fma.f64", double)
        after = fma([*args[2:], before])
        added = builder.fsub(after, before)
        lost = fma([*args[2:], builder.fneg(added)])
        builder.store(after, place)
        builder.store(builder.fadd(builder.load(below), lost), below)
        return context.get_dummy_value()

    return types.void(totals, types.intp, d, x), codegen

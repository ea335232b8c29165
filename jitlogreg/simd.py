"""Eight numbers at a time: the vector type of the CPU kernels, and arithmetic that Numba has no spelling for.

Everything in `jitlogreg.pointwise` is written with these operations and with + - * /, so the same source compiles for
one float64 or float32 (a CUDA thread, a user's own loop) and for a vector of eight of them (the CPU kernels).

Why explicit vectors rather than a loop left to the optimiser: the order of every sum is fixed here, so no fastmath flag
is needed and equal inputs give equal bits; and the last columns of a row take one masked load, where a vectorised loop
would finish them one by one. Eight lanes are one AVX-512 or two AVX registers of float64, and one AVX register of
float32; LLVM splits them on narrower machines, and the results stay the same.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8


class Vector(types.Type):
    """Numba's type of `LANES` numbers of one floating-point type."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"vector({dtype} x {LANES})")


class Mask(types.Type):
    """Numba's type of the outcome of comparing two vectors lane by lane."""

    def __init__(self):
        super().__init__(name=f"mask({LANES})")


mask = Mask()
float64s, float32s = Vector(types.float64), Vector(types.float32)


def llvm_scalar(dtype):
    """LLVM's type of a float64 or float32."""
    return ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType()


def llvm_integer(dtype):
    """LLVM's integer of the same width."""
    return ir.IntType(dtype.bitwidth)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(llvm_scalar(fe_type.dtype), LANES))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(ir.IntType(1), LANES))


def number_type(numba_type):
    """The floating-point type of a scalar or of a vector's lanes."""
    return numba_type.dtype if isinstance(numba_type, Vector) else numba_type


def _is_number(numba_type):
    return isinstance(numba_type, (types.Float, Vector))


def call_llvm(builder, name, result, arguments):
    """Call an LLVM intrinsic, overloaded on its result's type."""
    function = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def llvm_suffix(llvm_type):
    """What an overloaded LLVM intrinsic's name ends with for a type."""
    if isinstance(llvm_type, ir.VectorType):
        return f"v{llvm_type.count}{llvm_suffix(llvm_type.element)}"
    return "f64" if isinstance(llvm_type, ir.DoubleType) else "f32"


def _constant(numba_type, value):
    scalar = ir.Constant(llvm_scalar(number_type(numba_type)), float(value))
    if isinstance(numba_type, Vector):
        return ir.Constant(ir.VectorType(scalar.type, LANES), [scalar] * LANES)
    return scalar


def _define(symbol, emit, returns_mask=False):
    """Let a Python operator, or `abs`, apply to vectors; `emit(builder, *values)` writes the instruction."""

    @type_callable(symbol)
    def type_operation(context):
        def typer(x, *others):
            if isinstance(x, Vector) and all(other == x for other in others):
                return mask if returns_mask else x
            return None

        return typer

    for vector in (float64s, float32s):

        @lower_builtin(symbol, vector)
        @lower_builtin(symbol, vector, vector)
        def lower_operation(context, builder, sig, args):
            return emit(builder, *args)


def _emit_absolute(builder, x):
    return call_llvm(builder, f"llvm.fabs.{llvm_suffix(x.type)}", x.type, [x])


_define(operator.add, ir.IRBuilder.fadd)
_define(operator.iadd, ir.IRBuilder.fadd)
_define(operator.sub, ir.IRBuilder.fsub)
_define(operator.mul, ir.IRBuilder.fmul)
_define(operator.truediv, ir.IRBuilder.fdiv)
_define(operator.neg, ir.IRBuilder.fneg)
_define(abs, _emit_absolute)
_define(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), returns_mask=True)
_define(operator.gt, lambda builder, x, y: builder.fcmp_ordered(">", x, y), returns_mask=True)
_define(operator.le, lambda builder, x, y: builder.fcmp_ordered("<=", x, y), returns_mask=True)
_define(operator.ge, lambda builder, x, y: builder.fcmp_ordered(">=", x, y), returns_mask=True)
_define(operator.eq, lambda builder, x, y: builder.fcmp_ordered("==", x, y), returns_mask=True)


@intrinsic
def fma(typingctx, x, y, z):
    """x * y + z, rounded once (on a machine without the instruction too, where libm computes it)."""
    if not (_is_number(x) and x == y == z):
        return None

    def codegen(context, builder, sig, args):
        return call_llvm(builder, f"llvm.fma.{llvm_suffix(args[0].type)}", args[0].type, args)

    return x(x, x, x), codegen


@intrinsic
def sqrt(typingctx, x):
    """√x, rounded once."""
    if not _is_number(x):
        return None

    def codegen(context, builder, sig, args):
        return call_llvm(builder, f"llvm.sqrt.{llvm_suffix(args[0].type)}", args[0].type, args)

    return x(x), codegen


@intrinsic
def where(typingctx, condition, x, y):
    """x where the condition holds, else y; both are computed, nothing branches."""
    if not (_is_number(x) and x == y):
        return None
    return x(condition, x, x), lambda context, builder, sig, args: builder.select(*args)


def literal(by_dtype):
    """A function `c(like)` that gives a constant in the type of `like`, so that none promotes float32 to float64.

    Parameters
    ----------
    by_dtype : float or dict
        The value, or one value for each of "float64" and "float32".
    """

    @intrinsic
    def constant(typingctx, like):
        if not _is_number(like):
            return None
        number = str(number_type(like))
        value = by_dtype[number] if isinstance(by_dtype, dict) else by_dtype
        return like(like), lambda context, builder, sig, args: _constant(like, value)

    return constant


def polynomial(by_dtype):
    """A function `p(x)` that evaluates c[0] + c[1] x + c[2] x² + …, by Horner's rule in fused multiply-adds.

    Parameters
    ----------
    by_dtype : dict
        The coefficients, constant term first, for each of "float64" and "float32".
    """

    @intrinsic
    def horner(typingctx, x):
        if not _is_number(x):
            return None
        coefficients = by_dtype[str(number_type(x))]

        def codegen(context, builder, sig, args):
            llvm_type = args[0].type
            value = _constant(x, coefficients[-1])
            for c in coefficients[-2::-1]:
                arguments = [value, args[0], _constant(x, c)]
                value = call_llvm(builder, f"llvm.fma.{llvm_suffix(llvm_type)}", llvm_type, arguments)
            return value

        return x(x), codegen

    return horner


@intrinsic
def exponent_from_low_bits(typingctx, x):
    """The number whose exponent field is the low bits of x (11 of float64, 8 of float32): 2**(bits - bias)."""
    if not _is_number(x):
        return None
    dtype = number_type(x)
    fraction_bits = 52 if dtype.bitwidth == 64 else 23

    def codegen(context, builder, sig, args):
        integer = llvm_integer(dtype)
        shift = ir.Constant(integer, fraction_bits)
        if isinstance(x, Vector):
            integer = ir.VectorType(integer, LANES)
            shift = ir.Constant(integer, [shift] * LANES)
        return builder.bitcast(builder.shl(builder.bitcast(args[0], integer), shift), args[0].type)

    return x(x), codegen


@intrinsic
def split_exponent(typingctx, x):
    """k and f with x = 2ᵏ f and 1 ≤ f < 2, of a normal number x > 0; both in the type of x."""
    if not _is_number(x):
        return None
    dtype = number_type(x)
    fraction_bits, bias = (52, 1023) if dtype.bitwidth == 64 else (23, 127)

    def codegen(context, builder, sig, args):
        integer = llvm_integer(dtype)

        def constant(value):
            scalar = ir.Constant(integer, value)
            return ir.Constant(ir.VectorType(integer, LANES), [scalar] * LANES) if isinstance(x, Vector) else scalar

        bits = builder.bitcast(args[0], constant(0).type)
        exponent = builder.sub(builder.ashr(bits, constant(fraction_bits)), constant(bias))
        fraction = builder.and_(bits, constant((1 << fraction_bits) - 1))
        fraction = builder.or_(fraction, constant(bias << fraction_bits))
        parts = [builder.sitofp(exponent, args[0].type), builder.bitcast(fraction, args[0].type)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(x, 2)(x), codegen


zeros, ones = literal(0.0), literal(1.0)

"""Eight numbers at a time: the vector type of the CPU kernels, and the operations Numba has no spelling for.

Everything in `jitlogreg.scalar` is written with these operations and with + - * /, so the same source compiles for one
float64 or float32 (a CUDA thread, a user's own loop) and for a vector of eight of them (the CPU kernels).

Why explicit vectors rather than a loop left to the optimiser: the order of every sum is fixed here, so two drivers over
one kernel give the same bits and no fastmath flag is needed; and the last columns of a row take one masked load, where a
vectorised loop would finish them one by one. Eight lanes are one AVX-512 or two AVX registers of float64, one AVX register
of float32; LLVM splits them on narrower machines, and the results stay the same.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8

_I32 = ir.IntType(32)


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
_VECTOR_OF = {types.float64: float64s, types.float32: float32s}


def _llvm_scalar(dtype):
    return ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType()


def _llvm_integer(dtype):
    return ir.IntType(dtype.bitwidth)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_llvm_scalar(fe_type.dtype), LANES))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(ir.IntType(1), LANES))


def _number_type(numba_type):
    """The floating-point type of a scalar or of a vector's lanes."""
    return numba_type.dtype if isinstance(numba_type, Vector) else numba_type


def _is_number(numba_type):
    return isinstance(numba_type, (types.Float, Vector))


def _call(builder, name, result, arguments):
    """Call an LLVM intrinsic, overloaded on its result's type."""
    function = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def _suffix(llvm_type):
    if isinstance(llvm_type, ir.VectorType):
        return f"v{llvm_type.count}{_suffix(llvm_type.element)}"
    return "f64" if isinstance(llvm_type, ir.DoubleType) else "f32"


def _splat(builder, value):
    vector = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, value, _I32(0))
    return _shuffle(builder, vector, vector, [0] * LANES)


def _shuffle(builder, x, y, lanes):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes)))


def _constant(numba_type, value):
    scalar = ir.Constant(_llvm_scalar(_number_type(numba_type)), float(value))
    if isinstance(numba_type, Vector):
        return ir.Constant(ir.VectorType(scalar.type, LANES), [scalar] * LANES)
    return scalar


# ---------------------------------------------------------------- arithmetic, alike on numbers and vectors


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
    return _call(builder, f"llvm.fabs.{_suffix(x.type)}", x.type, [x])


_define(operator.add, ir.IRBuilder.fadd)
_define(operator.iadd, ir.IRBuilder.fadd)
_define(operator.sub, ir.IRBuilder.fsub)
_define(operator.mul, ir.IRBuilder.fmul)
_define(operator.truediv, ir.IRBuilder.fdiv)
_define(operator.neg, ir.IRBuilder.fneg)
_define(abs, _emit_absolute)
_define(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), returns_mask=True)
_define(operator.gt, lambda builder, x, y: builder.fcmp_ordered(">", x, y), returns_mask=True)
_define(operator.ge, lambda builder, x, y: builder.fcmp_ordered(">=", x, y), returns_mask=True)


@intrinsic
def fma(typingctx, x, y, z):
    """x * y + z, rounded once (on a machine without the instruction too, where libm computes it)."""
    if not (_is_number(x) and x == y == z):
        return None

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.fma.{_suffix(args[0].type)}", args[0].type, args)

    return x(x, x, x), codegen


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
        number = str(_number_type(like))
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
        coefficients = by_dtype[str(_number_type(x))]

        def codegen(context, builder, sig, args):
            llvm_type = args[0].type
            value = _constant(x, coefficients[-1])
            for c in coefficients[-2::-1]:
                arguments = [value, args[0], _constant(x, c)]
                value = _call(builder, f"llvm.fma.{_suffix(llvm_type)}", llvm_type, arguments)
            return value

        return x(x), codegen

    return horner


@intrinsic
def exponent_from_low_bits(typingctx, x):
    """The number whose exponent field is the low bits of x (11 of float64, 8 of float32): 2**(bits - bias)."""
    if not _is_number(x):
        return None
    dtype = _number_type(x)
    fraction_bits = 52 if dtype.bitwidth == 64 else 23

    def codegen(context, builder, sig, args):
        integer = _llvm_integer(dtype)
        shift = ir.Constant(integer, fraction_bits)
        if isinstance(x, Vector):
            integer = ir.VectorType(integer, LANES)
            shift = ir.Constant(integer, [shift] * LANES)
        return builder.bitcast(builder.shl(builder.bitcast(args[0], integer), shift), args[0].type)

    return x(x), codegen


zeros, ones = literal(0.0), literal(1.0)


# ---------------------------------------------------------------- vectors and memory


@intrinsic
def at(typingctx, address, like):
    """The pointer to numbers of the type of `like` at an address."""
    p = types.CPointer(_number_type(like))

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(p))

    return p(types.intp, like), codegen


@intrinsic
def call(typingctx, function, i, address):
    """Call the C function at an address with an index and an address."""

    def codegen(context, builder, sig, args):
        arguments = [ir.IntType(types.intp.bitwidth), ir.IntType(8).as_pointer()]
        signature = ir.FunctionType(ir.VoidType(), arguments)
        pointer = builder.inttoptr(args[0], signature.as_pointer())
        builder.call(pointer, [args[1], builder.inttoptr(args[2], arguments[1])])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def offset(typingctx, p, i):
    """The pointer to element i of p."""
    return p(p, types.intp), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


@intrinsic
def get(typingctx, p, i):
    """p[i], one number."""
    return p.dtype(p, types.intp), lambda context, builder, sig, args: builder.load(builder.gep(*_element(args)))


@intrinsic
def put(typingctx, p, i, x):
    """p[i] = x, one number."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], builder.gep(*_element(args)))
        return context.get_dummy_value()

    return types.void(p, types.intp, p.dtype), codegen


def _element(args):
    return args[0], [args[1]]


def _vector_pointer(builder, dtype, args):
    address = builder.gep(*_element(args))
    return builder.bitcast(address, ir.VectorType(_llvm_scalar(dtype), LANES).as_pointer())


def _convert(builder, value, source, target):
    """A vector in the type of another's lanes; widening is exact."""
    if source == target:
        return value
    if source.bitwidth > target.bitwidth:
        raise TypeError("lanes are never narrowed: that would round")
    return builder.fpext(value, ir.VectorType(_llvm_scalar(target), LANES))


@intrinsic
def load(typingctx, p, i, like):
    """p[i : i + LANES], widened to the type of `like`."""

    def codegen(context, builder, sig, args):
        vector = builder.load(_vector_pointer(builder, p.dtype, args), align=p.dtype.bitwidth // 8)
        return _convert(builder, vector, p.dtype, like.dtype)

    return like(p, types.intp, like), codegen


@intrinsic
def load_first(typingctx, p, i, count, like):
    """p[i : i + count], widened to the type of `like`; the other lanes are 0 and their memory is not touched."""

    def codegen(context, builder, sig, args):
        vector_type = ir.VectorType(_llvm_scalar(p.dtype), LANES)
        # compared in integers as wide as the lanes: other widths cost conversions of the mask
        integer = _llvm_integer(p.dtype)
        lane = ir.Constant(ir.VectorType(integer, LANES), list(range(LANES)))
        limit = args[2] if integer.width == args[2].type.width else builder.trunc(args[2], integer)
        arguments = [
            _vector_pointer(builder, p.dtype, args),
            _I32(p.dtype.bitwidth // 8),
            builder.icmp_signed("<", lane, _splat(builder, limit)),
            ir.Constant(vector_type, [0.0] * LANES),
        ]
        name = f"llvm.masked.load.{_suffix(vector_type)}.p0"
        return _convert(builder, _call(builder, name, vector_type, arguments), p.dtype, like.dtype)

    return like(p, types.intp, types.intp, like), codegen


@intrinsic
def store(typingctx, p, i, vector):
    """p[i : i + LANES] = vector."""
    if p.dtype != vector.dtype:
        return None

    def codegen(context, builder, sig, args):
        builder.store(args[2], _vector_pointer(builder, p.dtype, args), align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(p, types.intp, vector), codegen


@intrinsic
def splat(typingctx, x):
    """The number x in every lane."""
    return _VECTOR_OF[x](x), lambda context, builder, sig, args: _splat(builder, args[0])


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
def sum_lanes(typingctx, x):
    """The sum of a vector's lanes, pairwise, in float64."""

    def codegen(context, builder, sig, args):
        vector = _convert(builder, args[0], x.dtype, types.float64)
        lanes = [builder.extract_element(vector, _I32(k)) for k in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [builder.fadd(a, b) for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    return types.float64(x), codegen

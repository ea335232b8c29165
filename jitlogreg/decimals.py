"""Decimal text to float64, correctly rounded, for compiled code that reads files.

A number of at most 18 digits is w · 10ᵍ with an integer w. Where w and 10^|q| are exact in float64, one product or
quotient is rounded correctly. Elsewhere w is multiplied by the 128 leading bits of 10ᵍ, whose error is known: mostly it
cannot change the rounding. What is still undecided, underflow and overflow are left to Python's float().

Source: Clinger, How to read floating point numbers accurately, PLDI 1990; Lemire, Number parsing at a gigabyte per
second, Softw. Pract. Exp. 51, 2021.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu.pointers import load_scalar, offset, pointer_to

# What text turned out to be: a number; a number that float() is to read; no number
NUMBER, UNDECIDED, MALFORMED = range(3)

# So many digits are below 2⁶³
MOST_DIGITS = 18

# Powers of ten that float64 holds exactly, and those whose leading bits are tabulated
MOST_EXACT = 22
LEAST_POWER, MOST_POWER = -342, 308
_LEAST_ROUNDED_UP = -27

# Exponents stop growing here, before an integer overflows: the result is 0 or infinite long before
_EXPONENT_LIMIT = 1 << 40

_DOT, _MINUS, _PLUS, _ZERO, _LOWER_E = b".-+0e"
_TO_LOWER = 32
_NAN, _INFINITY = tuple(b"nan"), tuple(b"infinity")

# One bit more than a float64 has, below the leading one, is what rounding looks at
_NINE, _SIXTY_THREE = np.uint64(9), np.uint64(63)
_ONE, _THREE = np.uint64(1), np.uint64(3)
_LOW_BITS, _ALL_ONES = np.uint64(0x1FF), np.uint64(2**64 - 1)
_FRACTION_BITS = np.uint64(52)


@functools.cache
def powers():
    """What `read_number` gets the address of: 10⁰ to 10²², then the leading bits of 10ᵍ from `LEAST_POWER` on.

    These are two words each, the higher one first.
    """
    exact = np.array([float(10**k) for k in range(MOST_EXACT + 1)])
    leading = [leading_bits(q) for q in range(LEAST_POWER, MOST_POWER + 1)]
    words = [word for bits in leading for word in (bits >> 64, bits & (2**64 - 1))]
    return np.concatenate([exact.view(np.uint64), np.array(words, np.uint64)])


def leading_bits(q):
    """The 128 leading bits of 5ᵍ, which are those of 10ᵍ, as an integer.

    They are rounded down, but up where 5⁻ᵍ has at most 64 bits: there a product with w is then exact in what counts.
    """
    if q >= 0:
        return (5**q << 128) >> (5**q).bit_length()
    return (1 << (127 + (5**-q).bit_length())) // 5**-q + (q >= _LEAST_ROUNDED_UP)


# ---------------------------------------------------------------- text


@inline
def digit_at(text, i):
    """The digit at text[i]; where there is none, a number outside 0 to 9."""
    return load_scalar(text, i) - _ZERO


@inline
def read_number(text, i, table):
    """The number at text[i], where it stops, and what it is: `NUMBER`, `UNDECIDED` or `MALFORMED`.

    Nothing is read beyond the first byte that cannot belong to a number.
    """
    c = load_scalar(text, i)
    is_negative = c == _MINUS
    if is_negative or c == _PLUS:
        i += 1
    first, w, q = i, 0, 0
    d = digit_at(text, i)
    while 0 <= d <= 9:
        w = 10 * w + d
        i += 1
        d = digit_at(text, i)
    n_digits = i - first
    if load_scalar(text, i) == _DOT:
        i += 1
        after_dot = i
        d = digit_at(text, i)
        while 0 <= d <= 9:
            w = 10 * w + d
            i += 1
            d = digit_at(text, i)
        q = after_dot - i
        n_digits -= q
    if n_digits == 0:
        stop, kind = _read_word(text, first, i)
        return 0.0, stop, kind
    if n_digits > MOST_DIGITS:
        n_digits -= leading_zeros(text, first)
    if load_scalar(text, i) | _TO_LOWER == _LOWER_E:
        power, i, is_power = _read_exponent(text, i + 1)
        if not is_power:
            return 0.0, i, MALFORMED
        q += power
    if n_digits > MOST_DIGITS:
        return 0.0, i, UNDECIDED
    x, kind = _scaled(w, q, table)
    return (-x if is_negative else x), i, kind


@inline
def _read_exponent(text, i):
    """The exponent whose sign or first digit is at text[i], where it stops, and whether it has a digit."""
    c = load_scalar(text, i)
    if c in (_MINUS, _PLUS):
        i += 1
    first, power, d = i, 0, digit_at(text, i)
    while 0 <= d <= 9:
        if power < _EXPONENT_LIMIT:
            power = 10 * power + d
        i += 1
        d = digit_at(text, i)
    return (-power if c == _MINUS else power), i, i > first


@inline
def leading_zeros(text, i):
    """How many zeros come before the first other digit, on both sides of the point."""
    count = 0
    while load_scalar(text, i) in (_ZERO, _DOT):
        if load_scalar(text, i) == _ZERO:
            count += 1
        i += 1
    return count


@inline
def _read_word(text, first, i):
    """Where `nan`, `inf` or `infinity` stops, and what it is. `i` is behind the point, if there is one."""
    if i > first:
        return i, MALFORMED
    of_nan, of_infinity = _matching(text, i, _NAN), _matching(text, i, _INFINITY)
    kind = UNDECIDED if of_nan == 3 or of_infinity in (3, 8) else MALFORMED
    return i + max(of_nan, of_infinity), kind


@inline
def _matching(text, i, word):
    """How many letters at text[i] are those of a word, whatever their case."""
    k = 0
    while k < len(word) and load_scalar(text, i + k) | _TO_LOWER == word[k]:
        k += 1
    return k


# ---------------------------------------------------------------- rounding


@inline
def _scaled(w, q, table):
    """w · 10ᵍ, and whether it is a `NUMBER` or `UNDECIDED`. The integer w is at least 0."""
    if w == 0:
        return 0.0, NUMBER
    if w <= 1 << 53 and -MOST_EXACT <= q <= MOST_EXACT:
        exact = pointer_to(table, 0.0)
        return (float(w) / load_scalar(exact, -q) if q < 0 else float(w) * load_scalar(exact, q)), NUMBER
    if q < LEAST_POWER or q > MOST_POWER:
        return 0.0, UNDECIDED
    return _rounded_product(w, q, offset(pointer_to(table, _ONE), MOST_EXACT + 1 + 2 * (q - LEAST_POWER)))


@inline
def _rounded_product(w, q, power):
    """The same by an integer product with the leading bits of 10ᵍ: two words, the higher one first."""
    shift = leading_zero_bits(np.uint64(w))
    high, low = full_product(np.uint64(w) << shift, load_scalar(power, 0))
    if high & _LOW_BITS == _LOW_BITS:  # the lower word may carry into the bits that are rounded
        more, _ = full_product(np.uint64(w) << shift, load_scalar(power, 1))
        before, low = low, low + more
        if low < before:
            high += _ONE
    upper = high >> _SIXTY_THREE
    fraction = high >> (upper + _NINE)
    # ⌊q log₂ 10⌋, which the fraction of 16 bits has right for every q of the table
    exponent = ((217706 * q) >> 16) + 63 + 1023 + np.int64(upper) - np.int64(shift)
    may_be_halfway = low <= _ONE and fraction & _THREE == _ONE
    if low == _ALL_ONES or may_be_halfway or exponent < 1 or exponent > 2045:
        return 0.0, UNDECIDED
    fraction = (fraction + (fraction & _ONE)) >> _ONE
    # the leading one of the fraction, and what rounding carries, count in the exponent
    return float_of_bits((np.uint64(exponent - 1) << _FRACTION_BITS) + fraction), NUMBER


@intrinsic
def full_product(typingctx, a, b):
    """The product of two words: its higher and its lower word."""

    def codegen(context, builder, sig, args):
        double = ir.IntType(128)
        product = builder.mul(*(builder.zext(word, double) for word in args))
        parts = builder.lshr(product, ir.Constant(double, 64)), product
        return context.make_tuple(builder, sig.return_type, [builder.trunc(part, ir.IntType(64)) for part in parts])

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), codegen


@intrinsic
def leading_zero_bits(typingctx, word):
    """The zeros above the highest one of a word that is not 0."""

    def codegen(context, builder, sig, args):
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def float_of_bits(typingctx, bits):
    """The float64 that has these bits."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), codegen

"""One example's mathematics, written once for every compiled target.

Each function takes and returns float64, float32, or a vector of either (`jitlogreg.simd`), and computes in that type
alone. u is 2⁻⁵³ or 2⁻²⁴. A result below the smallest normal number may be flushed to 0, and is where `exp_nonpositive`
flushes.

Everything rests on e = exp(−|z|), which lies in [0, 1], so nothing overflows and nothing cancels:

    σ(z)     = 1 / (1 + e)  or  e / (1 + e)
    L(z, y)  = log(1 + e) + (1 − y) max(z, 0) + y max(−z, 0)
    dz(z, y) = (1 − y) σ(z) − y σ(−z)

The coefficients come from `tools/accuracy/fit_polynomials.py`.
"""

from jitlogreg.simd import exponent_from_low_bits, fma, literal, ones, polynomial, split_exponent, where, zeros
from jitlogreg.targets.compile import pointwise

_twos = literal(2.0)

_log2_of_e = literal({"float64": 1.4426950408889634, "float32": 1.44269504})
# log(2) = high + low. Inside a fused multiply-add x - k * high is exact for the integer k nearest to x / log(2)
_log2_high = literal({"float64": 0.6931471805599453, "float32": 0.693147182})
_log2_low = literal({"float64": 2.3190468138462996e-17, "float32": -1.90465421e-9})
# Adding 1.5 * 2**52 (or 2**23) rounds to an integer and leaves it in the low bits; the exponent's bias is added with it
_round_and_bias = literal({"float64": 1.5 * 2**52 + 1023, "float32": 1.5 * 2**23 + 127})
# The same with so few digits that k * high is exact for every exponent k
_log2_short = literal({"float64": float.fromhex("0x1.62e42fefa38p-1"), "float32": float.fromhex("0x1.62e4p-1")})
_log2_rest = literal({"float64": float.fromhex("0x1.ef35793c7673p-45"), "float32": float.fromhex("0x1.7f7d1cp-20")})
_infinity = literal(float("inf"))
# The logarithm of the smallest normal number, rounded up: below it exp is 0
_log_smallest = literal({"float64": -708.3964185322641, "float32": -87.3365402})

_exp_tail = polynomial(
    {
        "float64": (
            0.5000000000000001,
            0.16666666666666667,
            0.041666666666623821,
            0.0083333333333300382,
            0.0013888888917367081,
            0.00019841269863171556,
            2.4801521057868205e-5,
            2.7557268276905696e-6,
            2.7620201591031549e-7,
            2.5100472505694996e-8,
        ),
        "float32": (0.5, 0.166665767, 0.0416665542, 0.00836323288, 0.00139262508),
    }
)
_log1p_tail = polynomial(
    {
        "float64": (
            0.66666666666666659,
            0.40000000000014583,
            0.28571428567108757,
            0.22222222717427863,
            0.18181789436132858,
            0.15385570064958623,
            0.13314144209654936,
            0.12001072809590713,
            0.088007384861446739,
            0.16164045611943532,
        ),
        "float32": (0.666666403, 0.400075606, 0.282366198, 0.26851498),
    }
)


@pointwise
def exp_nonpositive(x):
    """e**x for x ≤ 0, within 1 ulp; 0 below the logarithm of the smallest normal number; NaN for NaN.

    x = k log(2) + r with −log(2)/2 ≤ r ≤ log(2)/2, then e**x = 2**k (1 + r + r² P(r)) (Cody and Waite, 1980). `lost` is
    what the rounding of r left behind.
    """
    scale, part = _scaled_exp(x)
    value = fma(scale, part, scale)
    return where(x < _log_smallest(x), zeros(x), value)


@pointwise
def exp_nonpositive_sum(x, rest):
    """e**(x + rest) for x ≤ 0 and a `rest` of at most half an ulp of x, within 1 ulp; otherwise `exp_nonpositive`."""
    scale, part = _scaled_exp(x)
    nearer = fma(scale, part + fma(part, rest, rest), scale)
    return where(x < _log_smallest(x), zeros(x), nearer)


@pointwise
def _scaled_exp(x):
    """2**k and e**r − 1 of `exp_nonpositive`."""
    shifted = fma(x, _log2_of_e(x), _round_and_bias(x))
    k = shifted - _round_and_bias(x)
    exact = fma(-k, _log2_high(x), x)
    r = fma(-k, _log2_low(x), exact)
    lost = fma(-k, _log2_low(x), exact - r)
    return exponent_from_low_bits(shifted), fma(r * r, _exp_tail(r), lost) + r


@pointwise
def log1p_unit(e):
    """log(1 + e) for 0 ≤ e ≤ 1, within 1 ulp; NaN for NaN.

    log(1 + e) = 2 artanh(s) = 2 s + s t Q(t) with s = e / (2 + e), t = s². The rounding of s would cost an ulp: what it
    left behind, (e − s (2 + e)) / (2 + e), is exact up to its last division, and 1 / (2 + e) = (1 − s) / 2.
    """
    d = _twos(e) + e
    s = e / d
    left = fma(-s, d, e) - s * (e - (d - _twos(e)))
    t = s * s
    return fma(s * t, _log1p_tail(t), left * (ones(e) - s)) + (s + s)


@pointwise
def log1p_nonnegative(p):
    """log(1 + p) for p ≥ 0, within 2 ulp; inf for inf, NaN for NaN.

    1 + p = s + lost = 2ᵏ f + lost with 1 ≤ f < 2, so log(1 + p) = k log(2) + log(f) + lost / s, to first order in
    lost / s, which is at most u.
    """
    s, lost = two_sum(ones(p), p)
    k, f = split_exponent(s)
    small = p <= ones(p)
    value = log1p_unit(where(small, p, f - ones(p)))
    large = k * _log2_short(p) + (k * _log2_rest(p) + (value + lost / s))
    return where(small, value, where(p < _infinity(p), large, p))


@pointwise
def _both_tails(e):
    """σ(|z|) and σ(−|z|) from e = exp(−|z|). The rounding of 1 + e reaches either only multiplied by σ(−|z|)."""
    t = e / (ones(e) + e)
    return ones(e) - t, fma(-e, t, e)


@pointwise
def sigmoid(z):
    """σ(z) = 1 / (1 + e⁻ᶻ), within 2 ulp in both tails."""
    upper, lower = _both_tails(exp_nonpositive(-abs(z)))
    return where(z < zeros(z), lower, upper)


@pointwise
def log_sigmoid(z):
    """log σ(z) = min(z, 0) − log(1 + e^−|z|), within 2 ulp; −inf only at z = −inf."""
    e = exp_nonpositive(-abs(z))
    return where(z < zeros(z), z, zeros(z)) - log1p_unit(e)


@pointwise
def loss_terms_and_residual(z, y):
    """e, `linear` and dz of a margin z and a label 0 ≤ y ≤ 1: L = log(1 + e) + linear, dz = a − y with a = σ(z).

    In forms that keep both tails: dz is within 2 ulp for y ∈ {0, 1}; for other y within 4 ulp of the larger of
    (1 − y) σ(z) and y σ(−z). Whoever sums many losses takes one logarithm of the product of their 1 + e.

    `misfit` is the label's share on the side that z speaks against: 1 − y where z > 0, y where z < 0.
    """
    e = exp_nonpositive(-abs(z))
    negative = z < zeros(z)
    not_y = ones(z) - y
    misfit = where(negative, y, not_y)
    fit = where(negative, not_y, y)
    upper, lower = _both_tails(e)
    size = fma(misfit, upper, -fit * lower)
    # the choice keeps 0 · inf out: a right answer at an infinite margin costs nothing
    linear = where(misfit > zeros(z), misfit * abs(z), zeros(z))
    return e, linear, where(negative, -size, size)


@pointwise
def loss_and_residual(z, y):
    """The loss in nats and its derivative in z, of a margin z and a label 0 ≤ y ≤ 1.

    L = −(y log a + (1 − y) log(1 − a)), within 2 ulp for y ∈ {0, 1} and within 4 ulp for other y.
    """
    e, linear, dz = loss_terms_and_residual(z, y)
    return log1p_unit(e) + linear, dz


@pointwise
def curvature(z):
    """σ(z) σ(−z), the second derivative of the loss in its margin, within 4 ulp in both tails, whatever the label."""
    upper, lower = _both_tails(exp_nonpositive(-abs(z)))
    return upper * lower


@pointwise
def two_sum(a, b):
    """a + b, rounded, and what the rounding lost, exactly; of numbers or vectors."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


# The functions of a margin that a target can write for each example, by the names that targets know them by
ACTIVATIONS = {"sigmoid": sigmoid, "log_sigmoid": log_sigmoid}


# ---------------------------------------------------------------- softmax: K margins of an example

# With the largest margin zₘ, eₖ = exp(zₖ − zₘ) and T = Σ eₖ over k ≠ m:
#
#     aₖ       = eₖ / (1 + T)                       1 − aₖ = (T for k = m, else 1 + T − eₖ) / (1 + T)
#     log aₖ   = (zₖ − zₘ) − log(1 + T)
#     L(z, y)  = log(1 + T) + Σₖ yₖ (zₘ − zₖ)       for Σₖ yₖ = 1
#     dzₖ      = (1 − yₖ) aₖ − yₖ (1 − aₖ)
#
# Nothing overflows; every sum is one of terms of one sign, or has its rounding made good.


@pointwise
def below_largest(z, largest):
    """z − largest ≤ 0, rounded, and what the rounding lost: alone it may cost hundreds of ulp of exp."""
    difference, lost = two_sum(z, -largest)
    lost = where(abs(difference) < _infinity(z), lost, zeros(z))
    return where(z == largest, zeros(z), difference), lost  # infinite margins among the largest


@pointwise
def softmax_scale(high, low):
    """1 / (1 + T) of a sum T of positive numbers in two parts."""
    total, lost = two_sum(ones(high), high)
    scale = ones(high) / total
    rest = where(total < _infinity(high), lost + low, zeros(high))
    return fma(-scale * rest, scale, scale)


@pointwise
def log_softmax(difference, lost, log_total):
    """log aₖ of zₖ − zₘ in two parts and of log(1 + T)."""
    return difference - (log_total - lost)


@pointwise
def softmax_residual(e, scale, others, y):
    """dz = (1 − y) a − y (1 − a) of eₖ, 1 / (1 + T), the sum of the other classes' e, and a label 0 ≤ y ≤ 1."""
    return fma(ones(e) - y, e, -(y * others)) * scale

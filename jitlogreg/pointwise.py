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

from jitlogreg.simd import exponent_from_low_bits, fma, literal, ones, polynomial, where, zeros
from jitlogreg.targets.compile import pointwise

_twos = literal(2.0)

_log2_of_e = literal({"float64": 1.4426950408889634, "float32": 1.44269504})
# log(2) = high + low. Inside a fused multiply-add x - k * high is exact for the integer k nearest to x / log(2)
_log2_high = literal({"float64": 0.6931471805599453, "float32": 0.693147182})
_log2_low = literal({"float64": 2.3190468138462996e-17, "float32": -1.90465421e-9})
# Adding 1.5 * 2**52 (or 2**23) rounds to an integer and leaves it in the low bits; the exponent's bias is added with it
_round_and_bias = literal({"float64": 1.5 * 2**52 + 1023, "float32": 1.5 * 2**23 + 127})
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
    shifted = fma(x, _log2_of_e(x), _round_and_bias(x))
    k = shifted - _round_and_bias(x)
    exact = fma(-k, _log2_high(x), x)
    r = fma(-k, _log2_low(x), exact)
    lost = fma(-k, _log2_low(x), exact - r)
    scale = exponent_from_low_bits(shifted)
    value = fma(scale, fma(r * r, _exp_tail(r), lost) + r, scale)
    return where(x < _log_smallest(x), zeros(x), value)


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

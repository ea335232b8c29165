"""Print the polynomial coefficients of `jitlogreg.pointwise`, from mpmath.

    exp(r)   = 1 + r + r² P(r)            on |r| ≤ log(2)/2
    log1p(e) = 2 s + s t Q(t), t = s²     s = e / (2 + e) on [0, 1/3]

Each is interpolated at Chebyshev nodes, which is within a small factor of the best polynomial of its degree; the
degrees are the lowest whose error stays well below half an ulp of the result (the error is printed beside them).
"""

import mpmath as mp

mp.mp.dps = 50
HALF_LOG2 = mp.log(2) / 2


def exp_tail(r):
    return (mp.exp(r) - 1 - r) / r**2 if abs(r) > mp.mpf("1e-20") else mp.mpf(1) / 2  # else it cancels


def log1p_tail(t):
    s = mp.sqrt(t)
    return (2 * mp.atanh(s) / s - 2) / t if t > mp.mpf("1e-20") else mp.mpf(2) / 3  # else it cancels


def interpolate(function, low, high, degree):
    """Monomial coefficients of the interpolant at Chebyshev nodes, constant term first."""
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)
    ]
    powers = mp.matrix([[x**j for j in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(powers, mp.matrix([function(x) for x in nodes])))


def fit(degree_exp, degree_log1p, digits):
    """The two polynomials with their largest relative error."""
    exp_coefficients = interpolate(exp_tail, -HALF_LOG2 * mp.mpf("1.001"), HALF_LOG2 * mp.mpf("1.001"), degree_exp)
    log1p_coefficients = interpolate(log1p_tail, mp.mpf(0), mp.mpf(1) / 9, degree_log1p)
    grid = [mp.mpf(k) / 200 for k in range(201)]
    exp_error = max(
        abs(r**2 * (mp.polyval(exp_coefficients[::-1], r) - exp_tail(r)) / mp.exp(r))
        for r in (HALF_LOG2 * (2 * g - 1) for g in grid)
    )
    log1p_error = max(
        abs(t * (mp.polyval(log1p_coefficients[::-1], t) - log1p_tail(t)) / (2 + t * log1p_tail(t)))
        for t in (g / 9 for g in grid)
    )
    return {
        "exp": ([mp.nstr(c, digits) for c in exp_coefficients], exp_error),
        "log1p": ([mp.nstr(c, digits) for c in log1p_coefficients], log1p_error),
    }


def main():
    for dtype, degrees, digits, unit in (("float64", (9, 9), 17, 53), ("float32", (4, 3), 9, 24)):
        for name, (coefficients, error) in fit(*degrees, digits).items():
            print(f"{name}, {dtype}: relative error {mp.nstr(error * 2**unit, 2)} u")
            print("   ", ",\n    ".join(coefficients))


if __name__ == "__main__":
    main()

"""The epilogue, a pointwise step on each margin: to an activation, or to what the example adds to the sums."""

from jitlogreg.pointwise import curvature, log_sigmoid, loss_and_residual, sigmoid
from jitlogreg.simd import ones, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import load, store

# The operations that reduce over the rows, and those among them that also accumulate a gradient, Σ dz·x for each
# column. "forward" and "log_forward" write an activation per row instead
REDUCTIONS = "loss", "gradient", "curvature"
ACCUMULATE_GRADIENT = "gradient", "curvature"


def rhs_count(operation):
    """How many right-hand sides X is multiplied by: w alone, or w and v for "curvature", the product with the Hessian.

    z = xw + b and u = xv + c. v follows w in memory, and c follows v.
    """
    return 2 if operation == "curvature" else 1


def make_epilogue(w_type, operation):
    """A function `epilogue(z, u, row, y, s, out)` that returns s·dz, sL, s, and 1 if the label or weight is invalid.

    "curvature" takes no label: the function returns s·σ(z)σ(−z)·u in place of s·dz, and 0 for the loss and the flag.
    "forward" and "log_forward" write the activation to `out`, and the function returns four zeros.
    """
    load_w, store_w = load(w_type), store(w_type)
    reduces, logarithm = operation in REDUCTIONS, operation == "log_forward"

    @inline
    def apply_curvature(z, u, row, y, s, out):
        si = ones(z)
        if s != 0:
            si = load_w(s, row)
        return si * (curvature(z) * u), zeros(z), si, zeros(z)

    @inline
    def epilogue(z, u, row, y, s, out):
        zero, one = zeros(z), ones(z)
        if reduces:
            yi, si = load_w(y, row), one
            if s != 0:
                si = load_w(s, row)
            loss, dz = loss_and_residual(z, yi)
            # written so that NaN is invalid too
            valid = yi >= zero and yi <= one and si >= zero
            return si * dz, si * loss, si, zero if valid else one
        if logarithm:
            store_w(out, row, log_sigmoid(z))
        else:
            store_w(out, row, sigmoid(z))
        return zero, zero, zero, zero

    return apply_curvature if operation == "curvature" else epilogue

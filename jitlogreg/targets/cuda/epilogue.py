"""The per-example step: from a margin to an activation, or to what the example adds to the sums."""

from jitlogreg.pointwise import curvature, log_sigmoid, loss_and_residual, sigmoid
from jitlogreg.simd import ones, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import load, store

# The operations that leave sums, and those of them that go back to x for sums of the columns; "forward" and
# "log_forward" leave an activation per row
SUMS = "loss", "gradient", "curvature"
UPDATES = "gradient", "curvature"


def vectors_of(operation):
    """How many vectors x is multiplied by: w, and for "curvature", the product with the Hessian, v as well.

    z = xw + b and u = xv + c; v lies behind w, and c behind v.
    """
    return 2 if operation == "curvature" else 1


def linker(w_type, operation):
    """A function `link(z, u, row, y, s, out)` that gives s·dz, sL, s, and 1 where the label or the weight is none.

    For "curvature" it gives s·σ(z)σ(−z)·u in place of s·dz, and 0 for the loss and the validity, without a label. An
    activation is written to `out`, and the four numbers are 0.
    """
    load_w, store_w = load(w_type), store(w_type)
    sums, logarithm = operation in SUMS, operation == "log_forward"

    @inline
    def curved(z, u, row, y, s, out):
        si = ones(z)
        if s != 0:
            si = load_w(s, row)
        return si * (curvature(z) * u), zeros(z), si, zeros(z)

    @inline
    def link(z, u, row, y, s, out):
        zero, one = zeros(z), ones(z)
        if sums:
            yi, si = load_w(y, row), one
            if s != 0:
                si = load_w(s, row)
            loss, dz = loss_and_residual(z, yi)
            # NaN is neither a label nor a weight
            good = yi >= zero and yi <= one and si >= zero
            return si * dz, si * loss, si, zero if good else one
        if logarithm:
            store_w(out, row, log_sigmoid(z))
        else:
            store_w(out, row, sigmoid(z))
        return zero, zero, zero, zero

    return curved if operation == "curvature" else link

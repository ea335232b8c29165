"""The epilogue, a pointwise step on each margin: to an activation, or to what the example adds to the sums."""

from jitlogreg.pointwise import ACTIVATIONS, curvature, loss_and_residual
from jitlogreg.simd import ones, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import load, store

# The operations that reduce over the rows, and those among them that also accumulate a gradient, Σ dz·x for each
# column. Any other is the name of an activation, which is written for each row
REDUCTIONS = "loss", "gradient", "curvature"
ACCUMULATE_GRADIENT = "gradient", "curvature"


def rhs_count(operation):
    """How many right-hand sides X is multiplied by: w alone, or w and v for "curvature", the product with the Hessian.

    z = xw + b and u = xv + c. v follows w in memory, and c follows v.
    """
    return 2 if operation == "curvature" else 1


def make_with_offset(w_type):
    """A function `with_offset(z, row, offset)`: z with the example's offset, if that has an address."""
    load_w = load(w_type)

    @inline
    def with_offset(z, row, offset):
        if offset != 0:
            z = z + load_w(offset, row)
        return z

    return with_offset


def make_epilogue(w_type, operation):
    """A function `epilogue(z, u, row, y, s, offset, out)` that returns s·dz, sL, s, and 1 if the label or
    weight is invalid.

    z is without its example's offset. y, s and offset are addresses; s and offset are 0 where there are none.
    "curvature" takes no label: the function returns s·σ(z)σ(−z)·u in place of s·dz, and 0 for the loss and the flag.
    An activation is written to `out`, and the function returns four zeros.
    """
    load_w, store_w, with_offset = load(w_type), store(w_type), make_with_offset(w_type)
    activation = ACTIVATIONS.get(operation)

    @inline
    def apply_curvature(z, u, row, y, s, offset, out):
        si = ones(z)
        if s != 0:
            si = load_w(s, row)
        return si * (curvature(with_offset(z, row, offset)) * u), zeros(z), si, zeros(z)

    @inline
    def write_activation(z, u, row, y, s, offset, out):
        zero = zeros(z)
        store_w(out, row, activation(with_offset(z, row, offset)))
        return zero, zero, zero, zero

    @inline
    def loss_gradient(z, u, row, y, s, offset, out):
        zero, one = zeros(z), ones(z)
        yi, si = load_w(y, row), one
        if s != 0:
            si = load_w(s, row)
        loss, dz = loss_and_residual(with_offset(z, row, offset), yi)
        # written so that NaN is invalid too
        valid = yi >= zero and yi <= one and si >= zero
        return si * dz, si * loss, si, zero if valid else one

    if activation is not None:
        return write_activation
    return apply_curvature if operation == "curvature" else loss_gradient

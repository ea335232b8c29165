"""The per-example step: from a margin to an activation, or to the loss, the residual and the totals."""

from jitlogreg.lanes import ones, zeros
from jitlogreg.scalar import log_sigmoid, loss_and_residual, sigmoid
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.device import load, store

SUMS = "loss", "gradient"  # the operations that leave sums; "forward" and "log_forward" leave an activation per row


def linker(w_type, operation):
    """A function `link(z, row, y, s, out)` that gives s·dz, sL, s, and 1 where the label or the weight is none.

    An activation is written to `out`, and the four numbers are 0.
    """
    load_w, store_w = load(w_type), store(w_type)
    sums, logarithm = operation in SUMS, operation == "log_forward"

    @inline
    def link(z, row, y, s, out):
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

    return link

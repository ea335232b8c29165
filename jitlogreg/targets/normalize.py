"""From sums over examples to means with the penalty, in float64: the one place where that happens.

The formulas take numbers, in compiled code, and NumPy arrays, in Python: J = ΣsL/S + l2/2 ‖w‖², dw = Σs·dz·x/S + l2 w.
"""


def mean(total, weight):
    """A sum over examples as their mean."""
    return total / weight


def penalized_loss(loss, l2, squares):
    """A mean loss with the penalty, where Σ w² = `squares`."""
    return loss + 0.5 * l2 * squares


def penalized_gradient(gradient, l2, w):
    """A mean gradient with that of the penalty."""
    return gradient + l2 * w

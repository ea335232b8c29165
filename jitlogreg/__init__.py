"""Compiled kernels for logistic regression: the forward pass and the gradient, beside a NumPy reference."""

import importlib
import sys

from jitlogreg.api import forward, gradient, log_forward, loss, loss_and_gradient
from jitlogreg.descent import Descent, gradient_descent
from jitlogreg.minibatch import minibatch_descent
from jitlogreg.objective import Gradient, LossAndGradient, Objective
from jitlogreg.solvers.fit import Fit, fit
from jitlogreg.solvers.separation import SeparationWarning
from jitlogreg.targets import TargetUnavailableError, targets, use_target

__version__ = "0.1.0"

__all__ = [
    "Descent",
    "Fit",
    "Gradient",
    "LossAndGradient",
    "Objective",
    "SeparationWarning",
    "TargetUnavailableError",
    "fit",
    "forward",
    "gradient",
    "gradient_descent",
    "log_forward",
    "loss",
    "loss_and_gradient",
    "minibatch_descent",
    "targets",
    "use_target",
]

_LAZY = ("overloads", "scalar")  # which need Numba


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})


# Numba has an entry point of this package to call when it first compiles, and may have done that already
if "numba" in sys.modules:
    __getattr__("overloads").register()

"""Compiled kernels for logistic regression: the forward pass and the gradient, beside a NumPy reference."""

import importlib
import sys

from jitlogreg._version import __version__ as __version__
from jitlogreg.api import forward, gradient, log_forward, loss, loss_and_gradient
from jitlogreg.evaluation import Gradient, LossAndGradient
from jitlogreg.libsvm import read_libsvm
from jitlogreg.objective import Objective
from jitlogreg.solvers.bootstrap import Bootstrap, bootstrap
from jitlogreg.solvers.cross_validation import CrossValidation, cross_validate
from jitlogreg.solvers.fit import Fit, fit
from jitlogreg.solvers.fit_path import FitPath, fit_path
from jitlogreg.solvers.gradient_descent import Descent, gradient_descent
from jitlogreg.solvers.minibatch import minibatch_descent
from jitlogreg.solvers.separation import SeparationWarning
from jitlogreg.targets.csr import CSR
from jitlogreg.targets.dispatch import TargetUnavailableError, targets, use_target, when_loaded

__all__ = [
    "CSR",
    "Bootstrap",
    "CrossValidation",
    "Descent",
    "Fit",
    "FitPath",
    "Gradient",
    "LossAndGradient",
    "Objective",
    "SeparationWarning",
    "TargetUnavailableError",
    "bootstrap",
    "cross_validate",
    "fit",
    "fit_path",
    "forward",
    "gradient",
    "gradient_descent",
    "log_forward",
    "loss",
    "loss_and_gradient",
    "minibatch_descent",
    "read_libsvm",
    "targets",
    "use_target",
]

# Modules that need Numba, by their public names
_LAZY = {"overloads": "njit.overloads", "scalar": "pointwise"}


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{_LAZY[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})


def _register_overloads():
    __getattr__("overloads").register()


# Numba has an entry point of this package to call when it first compiles, and may have done that already. The target
# "cpu" imports Numba; a copy of the package that is not installed has no entry point
if "numba" in sys.modules:
    _register_overloads()
else:
    when_loaded("cpu", _register_overloads)

"""The choice of a target.

Precedence: `target=`, then `use_target`, then `JITLOGREG_TARGET`, then where X is stored.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import platform
from contextvars import ContextVar
from typing import NamedTuple

from jitlogreg.interop.device_array import DeviceArray
from jitlogreg.targets.base import Target
from jitlogreg.targets.csr import CSR

NAMES = ("cpu", "cuda", "reference")
ENVIRONMENT_VARIABLE = "JITLOGREG_TARGET"

# `os.environ.get` raises and catches an error where a variable is not set, in 0.5 of the 6 µs of a small call (Zen 5):
# the dict behind it is asked whether it is
try:
    _environment, _variable = os.environ._data, os.environ.encodekey(ENVIRONMENT_VARIABLE)  # type: ignore[attr-defined]
except AttributeError:
    _environment, _variable = os.environ, ENVIRONMENT_VARIABLE

_enclosing: ContextVar[str | None] = ContextVar("jitlogreg_target", default=None)
_alone: ContextVar[bool] = ContextVar("jitlogreg_one_thread", default=False)

_forked = False

# Functions to call once a target has been imported, by its name
_when_loaded: dict[str, list] = {}


def _after_fork_in_child():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def may_use_threads():
    """Whether a call may use more threads than its own.

    It may not within `one_thread`, nor in a child that was forked after this package was imported: the parent may have
    run threads.
    """
    return not (_forked or _alone.get())


@contextlib.contextmanager
def one_thread():
    """Run every call in the `with` block on the calling thread, since the caller keeps the other threads busy."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


class TargetUnavailableError(RuntimeError):
    """The requested target cannot run here. The message says why, and how to change that."""


class TargetInfo(NamedTuple):
    """Whether a target can run here, and on what.

    Attributes
    ----------
    available : bool
    reason : str
        Why it is not available; empty if it is.
    device : str
        What it runs on; empty if it is not available.
    """

    available: bool
    reason: str
    device: str


def choose(target: str | None = None, X=None) -> Target:
    """The module of the target that runs the call.

    Raises
    ------
    ValueError
        If the name, wherever it comes from, is not in `NAMES`.
    TypeError
        If X is on a GPU and the target supports only arrays on the CPU, or is sparse and the target is "cuda".
    TargetUnavailableError
        If that target cannot run here. There is no fallback.
    """
    if type(X) is CSR and name_for(target, None) == "cuda":
        raise TypeError("X: expected a dense matrix for the target 'cuda', got a CSR: X.toarray() makes one")
    return choose_for(target, X.library if type(X) is DeviceArray else None)


def choose_for(target, library) -> Target:
    """`choose` for an X on a GPU that belongs to this library, or for a NumPy array if it is None."""
    return _module(name_for(target, library))


def name_for(target, library):
    """The name of the target that `choose_for` returns, even if it cannot run here."""
    if target is not None:
        source, name = "target", _known(target, "target")
    elif (enclosing := _enclosing.get()) is not None:
        source, name = "use_target", enclosing
    elif _variable in _environment and (from_environment := os.environ.get(ENVIRONMENT_VARIABLE)):
        source, name = ENVIRONMENT_VARIABLE, _known(from_environment, ENVIRONMENT_VARIABLE)
    else:
        source, name = "", "cpu" if library is None else "cuda"  # where X is stored
    if library is not None and name != "cuda":
        conversion = library.to_cpu.format(name="X")
        raise TypeError(
            f"{source}: expected 'cuda' for X on a GPU, a {library.kind}, got {name!r}: "
            f"{conversion} copies X to the CPU"
        )
    return name


def has_hessian(name):
    """Whether a target has a kernel for the Hessian, whether it can run here or not."""
    return name in ("cpu", "reference")


def use_target(target: str) -> contextlib.AbstractContextManager[None]:
    """Run every call in the `with` block on this target, unless the call names another.

    Parameters
    ----------
    target : {"cpu", "cuda", "reference"}

    Raises
    ------
    ValueError
        If there is no target of that name.
    TargetUnavailableError
        If the target cannot run here.

    Notes
    -----
    The choice holds for the current thread or asynchronous task, and blocks may be nested. Without `with` it has no
    effect.

    Examples
    --------
    >>> import numpy as np, jitlogreg as jlr
    >>> with jlr.use_target("reference"):
    ...     jlr.forward(np.zeros((1, 2)), np.zeros(2))
    array([0.5])
    """
    name = _known(target, "target")
    _require(name)
    return _chosen(name)


@contextlib.contextmanager
def _chosen(name):
    token = _enclosing.set(name)
    try:
        yield
    finally:
        _enclosing.reset(token)


def targets() -> dict[str, TargetInfo]:
    """The targets that can run here: `{"cpu": TargetInfo(available, reason, device), …}`.

    Returns
    -------
    dict of str to TargetInfo
    """
    return {name: _info(name) for name in NAMES}


def _known(name, argument):
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"{argument}: expected one of {', '.join(map(repr, NAMES))}, got {name!r}")
    return name


def _require(name):
    reason = _reason(name)
    if reason:
        raise TargetUnavailableError(f"target {name!r} is not available: {reason}")


def _info(name):
    reason = _reason(name)
    if reason:
        return TargetInfo(False, reason, "")
    if name == "cuda":
        return TargetInfo(True, "", _module(name).device())
    device = platform.processor() or platform.machine()
    how = "NumPy in float64" if name == "reference" else f"{os.cpu_count()} logical cores"
    return TargetInfo(True, "", f"{device}, {how}")


def _reason(name):
    """Why a target cannot run here; empty if it can."""
    if name == "cuda":
        return _reason_of_cuda()
    if name == "cpu" and os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "the environment variable NUMBA_DISABLE_JIT keeps Numba from compiling"
    return ""


def _reason_of_cuda():
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: pip install 'jitlogreg[cuda13]' (or 'jitlogreg[cuda12]') installs it"
    try:
        return _imported("cuda").reason()
    except ImportError as error:
        return f"numba-cuda cannot be used here ({error}); 'jitlogreg[cuda13]' installs versions that work together"


@functools.cache
def _module(name):
    _require(name)
    # a lazy import: users of the reference need not wait for Numba's compiler
    module = _imported(name)
    for function in _when_loaded.get(name, ()):
        function()
    return module


def _imported(name):
    return importlib.import_module(f"{__package__}.{name}")


def when_loaded(name, function):
    """Call the function once the target of this name has been imported."""
    _when_loaded.setdefault(name, []).append(function)

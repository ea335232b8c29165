"""The public calls inside the caller's own `@njit` functions: the same names, arguments and results.

The target is always "cpu", with the same bits; the context and the environment do not count. Types are checked when the
caller's function is compiled, everything else when it runs.

A call runs on the calling thread, so it may stand in a `prange` of the caller. In a function with `parallel=True`, and
outside its `prange`, a call runs on Numba's threads: the loop over its parts is inlined into that function.

This module is imported as soon as both Numba and this package are; the kernels, which take longer to import, when a
call is first compiled.
"""

import functools

from numba.core.errors import TypingError
from numba.core.types import Array, Boolean, Float, Integer, NoneType, Omitted, StringLiteral, float32, float64
from numba.extending import overload

from jitlogreg import api
from jitlogreg.evaluation import Gradient, LossAndGradient


def _activations(function):
    def typed(X, w, b=0.0, link="sigmoid", out=None, target=None):
        _check_types(X=X, w=w, b=b, link=link, out=out, target=target)
        from jitlogreg.njit.call_frame import ACTIVATE
        from jitlogreg.njit.stub import beginning, finish, result, run

        begin = beginning(ACTIVATE, function, "F")

        def implementation(X, w, b=0.0, link="sigmoid", out=None, target=None):
            a = result(out, X.shape[0], w)
            record, memory = begin(X, None, w, b, None, 0.0, out, a)
            run(record, X, w)
            finish(record, memory, X, None, w, None, a)
            return a

        return implementation

    return typed


def _loss(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", target=None):
    _check_types(X=X, y=y, w=w, b=b, sample_weight=sample_weight, l2=l2, link=link, target=target)
    from jitlogreg.njit.stub import begin_loss as begin
    from jitlogreg.njit.stub import finish, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", target=None):
        record, memory = begin(X, y, w, b, sample_weight, l2, None, None)
        run(record, X, w)
        return finish(record, memory, X, y, w, sample_weight, None)[0]

    return implementation


def _gradient(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", out=None, target=None):
    _check_types(X=X, y=y, w=w, b=b, sample_weight=sample_weight, l2=l2, link=link, out=out, target=target)
    from jitlogreg.njit.stub import begin_gradient as begin
    from jitlogreg.njit.stub import finish, result, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", out=None, target=None):
        dw = result(out, X.shape[1], w)
        record, memory = begin(X, y, w, b, sample_weight, l2, out, dw)
        run(record, X, w)
        return Gradient(dw, finish(record, memory, X, y, w, sample_weight, dw)[1])

    return implementation


def _loss_and_gradient(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", out=None, target=None):
    _check_types(X=X, y=y, w=w, b=b, sample_weight=sample_weight, l2=l2, link=link, out=out, target=target)
    from jitlogreg.njit.stub import begin_gradient as begin
    from jitlogreg.njit.stub import finish, result, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", out=None, target=None):
        dw = result(out, X.shape[1], w)
        record, memory = begin(X, y, w, b, sample_weight, l2, out, dw)
        run(record, X, w)
        loss, db = finish(record, memory, X, y, w, sample_weight, dw)
        return LossAndGradient(loss, dw, db)

    return implementation


def _where(parallel, typed):
    """An overload for callers with `parallel=True`, or for those without."""

    @functools.wraps(typed)  # Numba reads the signature
    def chosen(*args, **kwargs):
        from jitlogreg.njit.stub import parallel_caller

        return typed(*args, **kwargs) if parallel_caller() == parallel else None

    return chosen


@functools.cache  # once
def register():
    """Let Numba compile the public calls.

    An installed package needs no call of this: Numba calls it through an entry point when it first compiles, and the
    package calls it if Numba is imported first, or with the target "cpu". Call it for a copy that is not installed, if
    that is imported before Numba and called from compiled code before it is called from Python.

    Examples
    --------
    >>> import jitlogreg as jlr
    >>> jlr.overloads.register()
    """
    operations = {"forward": _activations("sigmoid"), "log_forward": _activations("log_sigmoid")}
    operations |= {"loss": _loss, "gradient": _gradient, "loss_and_gradient": _loss_and_gradient}
    for name, typed in operations.items():
        for parallel in (True, False):
            # inlining makes `prange` the caller's own; literals, since a target is named by one
            inlined = "always" if parallel else "never"
            overload(getattr(api, name), inline=inlined, prefer_literal=True, target="cpu")(_where(parallel, typed))


# ---------------------------------------------------------------- types


def _check_types(*, X, w, b, link, target, **others):
    """Raise Numba's TypingError if an argument has an unsupported type."""
    _array("X", X, 2, (float32, float64), "a matrix (m, n) of float32 or float64")
    _array("w", w, 1, {X.dtype, float64}, f"a vector (n,) of {X.dtype}" + " or float64" * (X.dtype == float32))
    _number("b", b)
    for name in ("y", "sample_weight"):
        if (name == "y" and name in others) or _given(others.get(name)):
            _array(name, others[name], 1, (Boolean, Integer, float32, float64), "a vector (m,) of real numbers")
    if "l2" in others:
        _number("l2", others["l2"])
    out = others.get("out")
    if _given(out):
        _array("out", out, 1, (w.dtype,), f"a vector of {w.dtype}, the dtype of w")
        if not out.mutable:
            raise TypingError("out: expected a writable array, got a read-only one")
    if _given(target) and not (isinstance(target, StringLiteral) and target.literal_value == "cpu"):
        raise TypingError(f"target: expected 'cpu' or nothing in compiled code, got {_described(target)}")
    if not isinstance(link, (str, Omitted)) and getattr(link, "literal_value", None) != "sigmoid":
        raise TypingError(f"link: expected 'sigmoid' or nothing in compiled code, got {_described(link)}")


def _given(argument):
    if isinstance(argument, Omitted):
        argument = argument.value
    return argument is not None and not isinstance(argument, NoneType)


def _described(argument):
    return repr(argument.literal_value) if isinstance(argument, StringLiteral) else f"a value of type {argument}"


def _array(name, argument, ndim, dtypes, expected):
    if not isinstance(argument, Array):
        raise TypingError(f"{name}: expected {expected}, got {argument}")
    fits = any(argument.dtype == t or (isinstance(t, type) and isinstance(argument.dtype, t)) for t in dtypes)
    if argument.ndim != ndim or not fits:
        raise TypingError(
            f"{name}: expected {expected}, got an array of {argument.dtype} with {argument.ndim} dimensions"
        )
    if not argument.aligned:
        raise TypingError(f"{name}: expected an aligned array, got a misaligned one: {name}.copy() makes one")


def _number(name, argument):
    if isinstance(argument, Omitted):
        return
    if not isinstance(argument, (float, Float, Integer)) or isinstance(argument, Boolean):
        raise TypingError(f"{name}: expected a real number, got {argument}")

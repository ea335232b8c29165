"""The public calls inside the caller's own `@njit` functions: the same names, arguments and results.

The target is always "cpu", with the same bits; the context and the environment do not count. Types are checked when the
caller's function is compiled, everything else when it runs. The link decides types, so it must be a literal.

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
    def typed(X, w, b=0.0, link="sigmoid", offset=None, out=None, target=None):
        found = _check_types(X=X, w=w, b=b, link=link, offset=offset, out=out, target=target)
        if w.ndim == 2:
            from jitlogreg.njit import outputs_stub

            return outputs_stub.activations(function, "F", found)
        from jitlogreg.njit.arguments import ACTIVATE
        from jitlogreg.njit.stub import beginning, finish, result, run

        begin = beginning(ACTIVATE, function, "F")

        def implementation(X, w, b=0.0, link="sigmoid", offset=None, out=None, target=None):
            a = result(out, X.shape[0], w)
            record, memory = begin(X, None, w, b, None, 0.0, offset, out, a)
            run(record, X, w)
            finish(record, memory, X, None, w, None, offset, a)
            return a

        return implementation

    return typed


def _loss(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, target=None):
    others = {"y": y, "sample_weight": sample_weight, "l2": l2, "offset": offset}
    found = _check_types(X=X, w=w, b=b, link=link, target=target, **others)
    if w.ndim == 2:
        from jitlogreg.njit import outputs_stub

        return outputs_stub.loss(found)
    from jitlogreg.njit.stub import begin_loss as begin
    from jitlogreg.njit.stub import finish, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, target=None):
        record, memory = begin(X, y, w, b, sample_weight, l2, offset, None, None)
        run(record, X, w)
        return finish(record, memory, X, y, w, sample_weight, offset, None)[0]

    return implementation


def _gradient(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
    others = {"y": y, "sample_weight": sample_weight, "l2": l2, "offset": offset, "out": out}
    found = _check_types(X=X, w=w, b=b, link=link, target=target, **others)
    if w.ndim == 2:
        from jitlogreg.njit import outputs_stub

        return outputs_stub.gradient(found)
    from jitlogreg.njit.stub import begin_gradient as begin
    from jitlogreg.njit.stub import finish, result, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
        dw = result(out, X.shape[1], w)
        record, memory = begin(X, y, w, b, sample_weight, l2, offset, out, dw)
        run(record, X, w)
        return Gradient(dw, finish(record, memory, X, y, w, sample_weight, offset, dw)[1])

    return implementation


def _loss_and_gradient(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
    others = {"y": y, "sample_weight": sample_weight, "l2": l2, "offset": offset, "out": out}
    found = _check_types(X=X, w=w, b=b, link=link, target=target, **others)
    if w.ndim == 2:
        from jitlogreg.njit import outputs_stub

        return outputs_stub.loss_and_gradient(found)
    from jitlogreg.njit.stub import begin_gradient as begin
    from jitlogreg.njit.stub import finish, result, run

    def implementation(X, y, w, b=0.0, sample_weight=None, l2=0.0, link="sigmoid", offset=None, out=None, target=None):
        dw = result(out, X.shape[1], w)
        record, memory = begin(X, y, w, b, sample_weight, l2, offset, out, dw)
        run(record, X, w)
        loss, db = finish(record, memory, X, y, w, sample_weight, offset, dw)
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

_REAL = Integer, float32, float64


def _check_types(*, X, w, b, link, target, offset, **others):
    """Raise Numba's TypingError if an argument has an unsupported type. Return the link."""
    _array("X", X, (2,), (float32, float64), "a matrix (m, n) of float32 or float64")
    of_dtype = f"of {X.dtype}" + " or float64" * (X.dtype == float32)
    _array("w", w, (1, 2), {X.dtype, float64}, f"a vector (n,) or a matrix (n, K) {of_dtype}")
    found = _check_link(link, w)
    of_model = (1, 2) if w.ndim == 2 else (1,), "a vector (m,)" + " or a matrix (m, K)" * (w.ndim == 2)
    shared = (1,), "a vector (m,)"
    _number("b", b, w.ndim == 2)
    if "y" in others and found == "softmax":
        _classes(others["y"])
    elif "y" in others:
        _numbers("y", others["y"], *of_model)
    if _given(others.get("sample_weight")):
        _numbers("sample_weight", others["sample_weight"], *(shared if found == "softmax" else of_model))
    if _given(offset):
        _numbers("offset", offset, *of_model)
    if "l2" in others:
        _number("l2", others["l2"], w.ndim == 2 and found == "sigmoid")
    out = others.get("out")
    if _given(out):
        _array("out", out, (w.ndim,), (w.dtype,), f"an array of {w.dtype} with {w.ndim} dimensions, as w has")
        if not out.mutable:
            raise TypingError("out: expected a writable array, got a read-only one")
    if _given(target) and not (isinstance(target, StringLiteral) and target.literal_value == "cpu"):
        raise TypingError(f"target: expected 'cpu' or nothing in compiled code, got {_described(target)}")
    return found


def _check_link(link, w):
    found = getattr(link, "value", link) if isinstance(link, (str, Omitted)) else getattr(link, "literal_value", None)
    if found not in ("sigmoid", "softmax"):
        raise TypingError(f"link: expected the literal 'sigmoid' or 'softmax' in compiled code, got {_described(link)}")
    if found == "softmax" and w.ndim == 1:
        raise TypingError(
            "link: expected 'sigmoid' beside w of shape (n,), got 'softmax': w of shape (n, K) has K classes"
        )
    return found


def _classes(y):
    _numbers("y", y, (1, 2), "a vector (m,) of classes or a matrix (m, K)")
    if y.ndim == 1 and not isinstance(y.dtype, (Boolean, Integer)):
        raise TypingError(f"y: expected integers from 0 to K - 1, or a matrix (m, K), got a vector of {y.dtype}")


def _given(argument):
    if isinstance(argument, Omitted):
        argument = argument.value
    return argument is not None and not isinstance(argument, NoneType)


def _described(argument):
    return repr(argument.literal_value) if isinstance(argument, StringLiteral) else f"a value of type {argument}"


def _numbers(name, argument, dimensions, shapes):
    _array(name, argument, dimensions, (Boolean, *_REAL), f"{shapes} of real numbers")


def _array(name, argument, dimensions, dtypes, expected):
    if not isinstance(argument, Array):
        raise TypingError(f"{name}: expected {expected}, got {argument}")
    fits = any(argument.dtype == t or (isinstance(t, type) and isinstance(argument.dtype, t)) for t in dtypes)
    if argument.ndim not in dimensions or not fits:
        raise TypingError(
            f"{name}: expected {expected}, got an array of {argument.dtype} with {argument.ndim} dimensions"
        )
    if not argument.aligned:
        raise TypingError(f"{name}: expected an aligned array, got a misaligned one: {name}.copy() makes one")


def _number(name, argument, of_each=False):
    if isinstance(argument, Omitted):
        return
    if of_each and isinstance(argument, Array):
        _array(name, argument, (1,), _REAL, "a real number or a vector (K,) of real numbers")
    elif not isinstance(argument, (float, Float, Integer)) or isinstance(argument, Boolean):
        raise TypingError(f"{name}: expected a real number, got {argument}")

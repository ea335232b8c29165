"""Checks of a target by its public calls on NumPy arrays; each is a name and a function that raises if it fails."""

import functools
import warnings
from types import SimpleNamespace

import numpy as np

import jitlogreg as jlr
from gpu.expected import OffError, activations, objective, product, same_bits, unit, within
from gpu.shapes import cases


def example(m, n, x_dtype, w_dtype, order, *, soft=False, weighted=False, seed=0):
    """Random X, y, w, b, v and weights, with margins of deviation 3, as it takes to see both tails."""
    rng = np.random.default_rng([seed, m, n])
    shape = (m, n) if order == "C" else (n, m)
    X = rng.standard_normal(shape, x_dtype)
    w = (rng.standard_normal(n) * 3 / np.sqrt(max(n, 1))).astype(w_dtype)
    y = rng.uniform(size=m) if soft else rng.integers(0, 2, m)
    sample_weight = rng.uniform(0, 3, m).astype(w_dtype) if weighted else None
    X = X if order == "C" else X.T
    v = rng.standard_normal(n + 1).astype(w_dtype)  # the intercept's last
    return SimpleNamespace(X=X, y=y.astype(w_dtype), w=w, b=0.25, v=v, sample_weight=sample_weight)


def values(target, device, x_dtype, w_dtype, order, quick=False):
    """Every regime against wider numbers on the host."""
    for i, case in enumerate(cases(device, x_dtype, w_dtype, order, quick)):
        yield (
            case.name,
            functools.partial(check_case, case, target, soft=i % 3 > 0, weighted=i % 2 > 0, l2=0.1 * (i % 2)),
        )


def check_case(case, target, soft, weighted, l2):
    """Loss, gradient and product with the Hessian within their bounds, the same each time; activations if asked for."""
    data = example(case.m, case.n, case.x_dtype, case.w_dtype, case.order, soft=soft, weighted=weighted)
    options = {"sample_weight": data.sample_weight, "l2": l2, "target": target}
    results = []
    for _ in range(3):
        out = np.full(case.n, np.nan, case.w_dtype)
        got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, out=out, **options)
        if got.dw is not out:
            raise OffError("dw is another array than out")
        results.append(got)
    value, bound = objective(data.X, data.y, data.w, data.b, data.sample_weight, l2)
    for name in ("loss", "dw", "db"):
        within(name, getattr(results[0], name), getattr(value, name), getattr(bound, name))
        for other in results[1:]:
            same_bits(f"{name} of another run", getattr(other, name), getattr(results[0], name))
    if case.w_dtype == "float64":  # as θ is
        bound_to = jlr.Objective(data.X, data.y, sample_weight=data.sample_weight, l2=l2, target=target)
        theta = np.append(data.w, data.b)
        first, second = (bound_to.hessian_vector(theta, data.v) for _ in range(2))
        within("hessian_vector", first, *product(data.X, data.w, data.b, data.v, data.sample_weight, l2))
        same_bits("hessian_vector of another run", second, first)
    if case.activations:
        same_bits("the loss alone", jlr.loss(data.X, data.y, data.w, data.b, **options), results[0].loss)
        calls = jlr.forward, jlr.log_forward
        for call, (exact, allowed) in zip(calls, activations(data.X, data.w, data.b), strict=True):
            out = np.full(case.m, np.nan, case.w_dtype)
            within(call.__name__, call(data.X, data.w, data.b, out=out, target=target), exact, allowed)


# ---------------------------------------------------------------- the rest of the contract

# Matrices of each regime that reads X once, and of panels
READ_ONCE = ("C", 28), ("C", 200), ("C", 700), ("F", 28), ("F", 61), ("F", 300)
MEDIUM = *READ_ONCE, ("C", 17000), ("F", 1100)


def contract(target):
    """What is not finite, what is refused, and what is empty."""
    for order, n in MEDIUM:
        for value in (np.inf, -np.inf, np.nan):
            yield f"{value} in X, {order}, n = {n}", functools.partial(_not_finite, target, order, n, value)
        for wrong in (1.5, -0.25, np.nan):
            yield f"a label of {wrong} is refused, {order}, n = {n}", functools.partial(_label, target, order, n, wrong)
    for wrong in (-1.0, np.inf, np.nan):
        yield f"a weight of {wrong} is refused", functools.partial(_weight, target, wrong)
    yield "weights that sum to 0 are refused", functools.partial(_no_weight, target)
    for dtype in ("float32", "float64"):
        yield f"no rows, {dtype}", functools.partial(_no_rows, target, dtype)
        yield f"no columns, {dtype}", functools.partial(_no_columns, target, dtype)
    for order, n in READ_ONCE:  # in panels one sum of float32 may take all rows
        yield f"float32 whose sums leave float32, {order}, n = {n}", functools.partial(_large_sums, target, order, n)


def _not_finite(target, order, n, value):
    data = example(40, n, "float64", "float64", order)
    data.X[17, 2] = value
    with np.errstate(all="ignore"):
        wanted = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="reference")
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target=target)
    for name in ("loss", "dw", "db"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-9, atol=1e-12, err_msg=name)


def _refused(message, call):
    try:
        call()
    except ValueError as error:
        if message not in str(error):
            raise OffError(f"refused with {str(error)!r}; expected is {message!r} in it") from error
    else:
        raise OffError(f"was not refused; expected is an error that says {message!r}")


def _label(target, order, n, wrong):
    data = example(40, n, "float64", "float64", order)
    data.y[33] = wrong
    _refused(
        "y[33]: expected a label from 0 to 1, got ",
        lambda: jlr.loss_and_gradient(data.X, data.y, data.w, target=target),
    )


def _weight(target, wrong):
    data = example(40, 5, "float32", "float32", "C", weighted=True)
    data.sample_weight[3] = wrong
    _refused(
        "sample_weight[3]: expected a finite weight of at least 0, got ",
        lambda: jlr.loss_and_gradient(data.X, data.y, data.w, sample_weight=data.sample_weight, target=target),
    )


def _no_weight(target):
    data = example(40, 5, "float64", "float64", "C")
    _refused(
        "sample_weight: expected a sum that is positive and finite, got 0.0",
        lambda: jlr.loss_and_gradient(data.X, data.y, data.w, sample_weight=np.zeros(40), target=target),
    )


def _no_rows(target, dtype):
    got = jlr.forward(np.empty((0, 3), dtype), np.ones(3, dtype), target=target)
    if got.shape != (0,):
        raise OffError(f"forward has shape {got.shape}; expected is (0,)")


def _no_columns(target, dtype):
    data = example(3, 0, dtype, dtype, "C")
    got = jlr.loss_and_gradient(data.X, data.y, data.w, 0.5, target=target)
    value, bound = objective(data.X, data.y, data.w, 0.5)
    within("loss", got.loss, value.loss, bound.loss)
    within("db", got.db, value.db, bound.db)


def _large_sums(target, order, n):
    """64 terms stay within float32, all of them do not: the sum is right, being taken in float64."""
    m = 4000
    data = example(m, n, "float32", "float32", order)
    column = n // 2
    data.X[:, column], data.w[column] = 1e36, 0
    data.y[:] = 0
    got = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target=target)
    value, bound = objective(data.X, data.y, data.w, data.b)
    within("dw", got.dw, value.dw, bound.dw)


# ---------------------------------------------------------------- descent

STEPS = 40


def descents(target):
    """Gradient descent against the CPU's, and what must not change it."""
    for x_dtype, w_dtype in (("float32", "float32"), ("float64", "float64"), ("float32", "float64")):
        for order, n in READ_ONCE:
            what = f"{order}, n = {n}, {x_dtype}/{w_dtype}"
            arguments = target, order, n, x_dtype, w_dtype
            yield f"descent as on the CPU, {what}", functools.partial(_as_on_the_cpu, *arguments)
    for order, n in MEDIUM:
        arguments = target, order, n
        yield f"descent with a callback, {order}, n = {n}", functools.partial(_with_callback, *arguments)
    yield "descent with a callback that makes calls", functools.partial(_with_busy_callback, target)
    yield "descent that stops at a tolerance", functools.partial(_with_tolerance, target)
    yield "descent that diverges warns", functools.partial(_diverges, target)


def _descent(data, target, **options):
    start = {"w": data.w, "b": data.b, "sample_weight": data.sample_weight, "l2": 0.05}
    return jlr.gradient_descent(
        data.X, data.y, **{"learning_rate": 0.05, "n_iterations": STEPS, **start, **options}, target=target
    )


def _as_on_the_cpu(target, order, n, x_dtype, w_dtype):
    """Steps that surely go downhill move two points no further apart, so that the errors of steps add up at most."""
    data = example(500, n, x_dtype, w_dtype, order, soft=True, weighted=True)
    rate = 4 / (np.linalg.norm(data.X.astype(np.float64), 2) ** 2 * 3 / 500 + 4)
    got, wanted = (_descent(data, where, learning_rate=rate) for where in (target, "cpu"))
    _, bound = objective(data.X, data.y, data.w, data.b, data.sample_weight, 0.05)
    u = unit(w_dtype)
    a_step = rate * float(np.linalg.norm(np.append(bound.dw, bound.db).astype(np.float64)))
    a_step += 4 * u * float(np.linalg.norm(np.append(data.w, data.b).astype(np.float64)))
    apart = 2 * STEPS * a_step
    within("w", got.w, wanted.w, np.full(n, apart))
    within("b", got.b, wanted.b, apart)
    slope = np.sqrt(3.0) * np.linalg.norm(data.X.astype(np.float64), 2)  # more than any gradient of J here
    losses = 2 * float(bound.loss) + slope * apart
    within("loss_history", got.loss_history, wanted.loss_history, np.full(STEPS + 1, losses))


def _with_callback(target, order, n):
    data = example(300, n, "float32", "float32", order)
    plain, seen = _descent(data, target), []
    watched = _descent(data, target, callback=seen.append)
    for name in ("w", "b", "loss_history"):
        same_bits(name, getattr(watched, name), getattr(plain, name))
    same_bits("the losses that the callback saw", [state.loss for state in seen], plain.loss_history)
    same_bits("the last w that the callback saw", seen[-1].w, plain.w)


def _with_busy_callback(target):
    """The callback's own calls, larger than the descent's, share its thread and its stream."""
    data, other = example(300, 28, "float32", "float32", "C"), example(4000, 900, "float32", "float32", "C")
    plain = _descent(data, target)

    def evaluate(state):
        jlr.loss_and_gradient(other.X, other.y, other.w, target=target)
        jlr.loss(data.X, data.y, state.w, state.b, target=target)

    busy = _descent(data, target, callback=evaluate)
    for name in ("w", "b", "loss_history"):
        same_bits(name, getattr(busy, name), getattr(plain, name))


def _with_tolerance(target):
    data = example(400, 5, "float64", "float64", "C")
    got, wanted = (
        _descent(data, where, learning_rate=1.0, n_iterations=400, tolerance=1e-3) for where in (target, "cpu")
    )
    if not got.converged or got.n_iterations != wanted.n_iterations:
        raise OffError(f"ended after {got.n_iterations} steps; expected is convergence after {wanted.n_iterations}")


def _diverges(target):
    data = example(40, 5, "float64", "float64", "C")
    data.X[:] *= 1e200
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = jlr.gradient_descent(data.X, data.y, learning_rate=1e200, n_iterations=9, target=target)
    if got.n_iterations == 9 or not any("the loss is" in str(warning.message) for warning in caught):
        raise OffError(f"ended after {got.n_iterations} steps with {len(caught)} warnings; expected is one of the loss")

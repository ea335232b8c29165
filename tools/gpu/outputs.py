"""Checks of K outputs and of offsets: what a target's own functions give, against wider numbers on the host."""

import functools
from types import SimpleNamespace

import numpy as np

from gpu import expected_outputs
from gpu.expected import activations, objective, product, same_bits, within
from gpu.shapes import DTYPES, ORDERS
from gpu.values import MEDIUM, example
from jitlogreg.targets.base import Problem
from jitlogreg.targets.dispatch import choose

# Columns and outputs: tiles of every width, some of them full, more models than a launch takes, and many classes
SHAPES = ((0, 2), (1, 4), (28, 3), (31, 33), (50, 9), (300, 16), (784, 10), (5000, 5))
QUICK = ((28, 3), (31, 33), (784, 10))
CLASSES = (64, 300)  # n and K of a softmax alone
MOST_TERMS = 1 << 24  # rows, columns and outputs: the host takes 20 ns for each


def outputs_example(m, n, outputs, x_dtype, w_dtype, order, link, *, per_model=True, seed=0):
    """X, W, b, V, c, labels, weights and offsets of K models, or of a softmax, as targets read them."""
    rng = np.random.default_rng([seed, m, n, outputs])
    X = np.asarray(rng.standard_normal((m, n), x_dtype), order=order)
    W, V = ((rng.standard_normal((n, outputs)) * scale).astype(w_dtype) for scale in (3 / np.sqrt(max(n, 1)), 1.0))
    b, c = (rng.standard_normal(outputs).astype(w_dtype) for _ in range(2))
    shape = (outputs, m) if per_model else (m,)
    if link == "sigmoid":
        y, s = rng.uniform(size=shape), rng.uniform(0, 3, shape)
    else:
        y, s = rng.integers(0, outputs, m), rng.uniform(0, 3, m)
        y = rng.dirichlet(np.ones(outputs), m).T.copy() if per_model else y
    y, s, offset = (array.astype(w_dtype) for array in (y, s, rng.standard_normal(shape)))
    return SimpleNamespace(X=X, W=W, b=b, V=V, c=c, y=y, s=s, offset=offset)


def outputs(target, link, device, quick=False):
    """Every width and height of tiles against the host, for each pair of dtypes and each order."""
    shapes = QUICK if quick else SHAPES if link == "sigmoid" else (*SHAPES, CLASSES)
    for i, (n, K) in enumerate(shapes):
        for j, (x_dtype, w_dtype) in enumerate(DTYPES):
            for order in ORDERS:
                for m in (33, _rows(device, n, K, x_dtype, w_dtype, order)):
                    per_model = (i + j) % 2 == 0
                    name = f"{link}, {m} x {n} {order} {x_dtype}/{w_dtype}, {K} outputs"
                    arguments = link, m, n, K, x_dtype, w_dtype, order, per_model
                    yield name, functools.partial(check_outputs, choose(target), *arguments)


def _rows(device, n, K, x_dtype, w_dtype, order):
    """More than two panels, as far as the host has time for them."""
    from jitlogreg.targets.cuda.plan import outputs_plan

    sizes = (np.dtype(dtype).itemsize for dtype in (x_dtype, w_dtype))
    panels = 2 * outputs_plan(device, 1 << 40, n, K, *sizes, order).panel_rows + 5
    return max(70, min(panels, MOST_TERMS // (n + 1) // K))


def check_outputs(target, link, m, n, K, x_dtype, w_dtype, order, per_model):
    """Sums, products and activations within their bounds, the same each time."""
    data = outputs_example(m, n, K, x_dtype, w_dtype, order, link, per_model=per_model)
    problem = Problem.of(data.X, data.y, data.s, offset=data.offset)
    first, second = (target.sums_of_outputs(link, problem, data.W, data.b, True) for _ in range(2))
    expected = expected_outputs.models if link == "sigmoid" else expected_outputs.softmax
    value, bound = expected(data)
    for name in ("loss", "dw", "db"):
        got = getattr(first, name)
        within(name, np.ravel(got / first.weight), np.ravel(getattr(value, name)), np.ravel(getattr(bound, name)))
        same_bits(f"{name} of another run", getattr(second, name), got)
    alone = target.sums_of_outputs(link, problem, data.W, data.b, False)
    same_bits("the loss alone", alone.loss, first.loss)
    products = [
        np.vstack(target.hessian_vector_sums_of_outputs(link, problem, data.W, data.b, data.V, data.c))
        for _ in range(2)
    ]
    expected = expected_outputs.products_of_models if link == "sigmoid" else expected_outputs.product_of_softmax
    value, bound = expected(data)
    within("the product with the Hessian", np.ravel(products[0] / first.weight), np.ravel(value), np.ravel(bound))
    same_bits("the product of another run", products[1], products[0])
    _check_activations(target, link, problem, data)


def _check_activations(target, link, problem, data):
    m, K = len(data.X), data.W.shape[1]
    if link == "softmax":
        functions, wanted = ("softmax", "log_softmax"), expected_outputs.softmax_activations(data)
    else:
        functions, wanted = ("sigmoid", "log_sigmoid"), _activations_of_models(data)
    for function, (value, bound) in zip(functions, wanted, strict=True):
        out = np.full((m, K), np.nan, data.W.dtype)
        target.activate_outputs(function, problem, data.W, data.b, out)
        within(function, np.ravel(out), np.ravel(value), np.ravel(bound))


def _activations_of_models(data):
    found = []
    for k in range(data.W.shape[1]):
        offset = data.offset if data.offset.ndim == 1 else data.offset[k]
        found.append(activations(*expected_outputs.with_offset(data.X, data.W[:, k], offset), data.b[k]))
    of_functions = [zip(*of_function, strict=True) for of_function in zip(*found, strict=True)]
    return [[np.stack(parts, axis=1) for parts in of_function] for of_function in of_functions]


# ---------------------------------------------------------------- offsets of one output


def offsets(target):
    """Every regime with an offset for each example, which is one more column with the coefficient 1."""
    for x_dtype, w_dtype in DTYPES:
        for order, n in MEDIUM:
            name = f"an offset, {order}, n = {n}, {x_dtype}/{w_dtype}"
            yield name, functools.partial(check_offset, choose(target), order, n, x_dtype, w_dtype)


def check_offset(target, order, n, x_dtype, w_dtype):
    """Sums, products and activations within their bounds."""
    data = example(300, n, x_dtype, w_dtype, order, soft=True, weighted=True)
    offset = np.random.default_rng(1).standard_normal(300).astype(w_dtype)
    problem, S = Problem.of(data.X, data.y, data.sample_weight, offset=offset), data.sample_weight.astype(float).sum()
    X, w = expected_outputs.with_offset(data.X, data.w, offset)
    got, (value, bound) = (
        target.sums(problem, data.w, data.b, True),
        objective(X, data.y, w, data.b, data.sample_weight),
    )
    for name, wanted, allowed in (
        ("loss", value.loss, bound.loss),
        ("dw", value.dw[:n], bound.dw[:n]),
        ("db", value.db, bound.db),
    ):
        within(name, getattr(got, name) / S, wanted, allowed)
    along = np.append(*target.hessian_vector_sums(problem, data.w, data.b, data.v))
    value, bound = product(X, w, data.b, np.insert(data.v, n, 0), data.sample_weight)
    within("the product with the Hessian", along / S, np.delete(value, n), np.delete(bound, n))
    for function, (value, bound) in zip(("sigmoid", "log_sigmoid"), activations(X, w, data.b), strict=True):
        out = np.full(300, np.nan, w_dtype)
        within(function, target.activate(function, problem, data.w, data.b, out), value, bound)

"""Data, calls and their checks: what every benchmark times is made here.

jitlogreg itself is imported in a benchmark's `setup`, never before: asv forks its processes from one that has imported
this file, and a child of a process that had imported the package keeps away from Numba's threads.
"""

import ctypes
import time
from types import SimpleNamespace

import numba  # noqa: F401 (once, before asv forks: it takes half a second)
import numpy as np

# Where X lies: in the memory of the CPU; on the GPU; on the CPU and copied to the GPU in each call
TARGETS = ["cpu", "cuda-resident", "cuda-copied"]
DTYPES = ["float64", "float32"]
ORDERS = ["C", "F"]
# X in the first-level cache, the second, the third, and memory: 20 KB, 220 KB, 4.5 MB and 110 MB of float64
L1, L2, L3, MEMORY = SHAPES = [(128, 20), (1_000, 28), (20_000, 28), (500_000, 28)]

INTERCEPT = 0.1
ITERATIONS = 5  # of a descent
TILE = 5_000  # rows


def library():
    """The package of the commit that is measured."""
    import jitlogreg

    return jitlogreg


def example(shape, dtype, order):
    """X, y, w, and X's first rows `tile` with mean labels `tile_y`, which have the same loss and gradient.

    X repeats its first rows, and the loss is linear in the label: so the reference need not go through all of X. The
    labels do not repeat, so a kernel that leaves rows out is found.
    """
    (m, n), rng = shape, np.random.default_rng(0)
    rows = min(m, TILE)
    tile = rng.normal(size=(rows, n)).astype(dtype)
    X = np.empty(shape, dtype, order)
    for start in range(0, m, rows):
        X[start : start + rows] = tile
    y = (rng.uniform(size=m) < 0.5).astype(dtype)
    w = (rng.normal(size=n) / np.sqrt(n)).astype(dtype)
    return SimpleNamespace(X=X, y=y, w=w, tile=tile, tile_y=y.reshape(-1, rows).mean(0))


def forward(jlr, X, y, w, out, target):
    return jlr.forward(X, w, INTERCEPT, out=out, target=target)


def loss(jlr, X, y, w, out, target):
    return jlr.loss(X, y, w, INTERCEPT, target=target)


def gradient(jlr, X, y, w, out, target):
    return jlr.gradient(X, y, w, INTERCEPT, target=target)


def loss_and_gradient(jlr, X, y, w, out, target):
    return jlr.loss_and_gradient(X, y, w, INTERCEPT, target=target)


def gradient_descent(jlr, X, y, w, out, target):
    run = jlr.gradient_descent(X, y, w=w, learning_rate=0.1, n_iterations=ITERATIONS, target=target)
    return run.w, run.b, run.loss_history


OPERATIONS = {f.__name__: f for f in (forward, loss, gradient, loss_and_gradient, gradient_descent)}


def bound(operation, X, y, w, target):
    """A call without arguments; NotImplementedError where this commit or this machine lacks what it needs."""
    jlr = library()
    if operation in ("hessian", "hessian_vector"):
        objective = getattr(jlr, "Objective", None)
        if not hasattr(objective, operation):
            raise NotImplementedError(f"this commit has no Objective.{operation}")
        method = getattr(objective(X, y, target=target), operation)
        theta = np.append(np.zeros(len(w)), INTERCEPT)
        direction = np.linspace(-1, 1, len(w) + 1)
        return lambda: method(theta, direction) if operation == "hessian_vector" else method(theta)
    if not hasattr(jlr, operation):
        raise NotImplementedError(f"this commit has no {operation}")
    function = OPERATIONS[operation]
    out = np.empty(len(X), X.dtype) if isinstance(X, np.ndarray) else on_gpu(np.empty(len(y), w.dtype))
    return lambda: function(jlr, X, y, w, out, target)


def checked_call(operation, target, data):
    """The call to time, after its answer was found right.

    Parameters
    ----------
    operation : str
    target : str
        One of TARGETS.
    data : namespace
        Of `example`.
    """
    arrays = data.X, data.y, data.w
    if target != "cpu":
        require_gpu()
    if target == "cuda-resident":
        arrays = tuple(on_gpu(a) for a in arrays)
    call = bound(operation, *arrays, target.partition("-")[0])
    expected = bound(operation, data.tile, data.tile_y, data.w, "reference")()
    check(call(), expected, data.w.dtype)
    if target == "cuda-resident" and operation == "forward":  # the others wait for the numbers that they return
        from numba import cuda

        return lambda: (call(), cuda.synchronize())
    return call


def require_gpu():
    """Raise NotImplementedError where the CUDA target cannot run; where there is no driver, before anything loads."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NotImplementedError("there is no CUDA driver") from None
    info = library().targets().get("cuda")
    if info is None or not info.available:
        raise NotImplementedError(f"the CUDA target cannot run: {getattr(info, 'reason', 'this commit has none')}")


def on_gpu(array):
    from numba import cuda

    return cuda.to_device(array)


def check(result, expected, dtype):
    """A wrong fast kernel fails instead of winning."""
    off = 1e-12 if dtype == np.float64 else 1e-4
    results, expectations = ((a if isinstance(a, tuple) else (a,)) for a in (result, expected))
    for got, wanted in zip(results, expectations, strict=True):
        if hasattr(got, "copy_to_host"):
            got = got.copy_to_host()
        got = np.asarray(got)
        if got.shape != np.shape(wanted):  # of the tile
            got = got.reshape(-1, len(wanted))
        np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), rtol=off, atol=off)


def calls_per_sample(nbytes, evaluations=1):
    """So many calls that the clock does not matter: 10 ms of an optimistic 10 GB/s. By size alone, not by a timing:
    the same for both of two commits."""
    return max(1, int(1e8 / max(nbytes, 1e5) / evaluations))


def seconds(function, number=1):
    """The time of `number` calls."""
    start = time.perf_counter()
    for _ in range(number):
        function()
    return time.perf_counter() - start

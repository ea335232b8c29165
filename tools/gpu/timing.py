"""Timings on the device, by its own events, of what is compared in turn: A B C A B C …"""

import contextlib
import functools
import statistics
import time

import numpy as np

from gpu import peers
from gpu.expected import OffError
from gpu.record import AbsentError
from gpu.shapes import DTYPES, ORDERS
from gpu.views import fetch, interface, view
from jitlogreg.interop.libraries import DEFAULT_STREAM
from jitlogreg.targets.base import Problem

COLUMNS = (28, 256, 1024, 4096, 16384)
BYTES, QUICK_BYTES = 4_000_000_000, 500_000_000
MOST_OF_MEMORY = 0.4  # of what is free: the copy takes half as much again, and peers make vectors of their own
ROUNDS = 9
SHORTEST = 2e-3  # seconds that a round takes at least; shorter calls are repeated
BLOCK_BYTES = 1 << 26  # of random numbers, of which a matrix is made


def timings(dtype, order, quick=False):
    """The items of one dtype and order: first the kernels, the copy, and what is ready at once; then what compiles."""
    for which in ("ready", "compiled"):
        for n in COLUMNS:
            yield f"{n} {order} {dtype}, {which}", functools.partial(compare, n, dtype, order, quick, which)


def groups():
    """The dtype and order of each group of timings."""
    return [(dtype, order) for dtype, _ in DTYPES[:2] for order in ORDERS]


def compare(n, dtype, order, quick, which):
    """The median time of each, in seconds, on one matrix."""
    with matrix(n, dtype, order, QUICK_BYTES if quick else BYTES) as data, kernels(data) as calls:
        calls["copy"] = data.copy
        left_out = {}
        answers = {"kernels": data.answer}
        for name, prepare in (peers.READY if which == "ready" else peers.COMPILED).items():
            try:
                calls[name], answers[name] = prepare(*map(interface, (data.X, data.y, data.w)), data.b)
            except Exception as error:  # a peer's, whatever it is, is no failure of ours
                left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        off = {name: _off(answer(), data.answer()) for name, answer in answers.items()}
        seconds = in_turn(calls, ROUNDS)
        if which == "ready":
            with contextlib.suppress(AbsentError):
                seconds["public call"] = _wall(_public_call(data))
    figures = {"m": data.X.shape[0], "bytes": data.size, "seconds": seconds, "off": off, "left_out": left_out}
    wrong = {name: value for name, value in off.items() if not value < 1e-3}
    if wrong:
        raise OffError(f"dw differs from that of the kernels by {wrong} of its largest; seconds were {seconds}")
    return figures


def _off(dw, wanted):
    return float(np.max(np.abs(dw - wanted)) / np.max(np.abs(wanted)))


@contextlib.contextmanager
def matrix(n, dtype, order, size):
    """X, y and w on the device, w/√n of a model; a copy of half of X to elsewhere, and dw by the target."""
    from types import SimpleNamespace

    from cuda.bindings import driver as cuda_driver

    from jitlogreg.targets import cuda
    from jitlogreg.targets.cuda import driver

    item = np.dtype(dtype).itemsize
    with driver.current(0):
        _, free, _ = cuda_driver.cuMemGetInfo()
        m = int(min(size, free * MOST_OF_MEMORY)) // (n * item) // 32 * 32
        rng = np.random.default_rng(0)
        addresses = []

        def put(values, count):
            address = driver.allocate(count * item)
            addresses.append(address)
            driver.upload(address, values[:count], DEFAULT_STREAM)
            done = min(len(values), count)
            while done < count:
                more = min(done, count - done)
                driver.copy(address + done * item, address, more * item, DEFAULT_STREAM)
                done += more
            driver.synchronize(DEFAULT_STREAM)
            return address

        strides = (n * item, item) if order == "C" else (item, m * item)
        try:
            X = view(put(rng.standard_normal(BLOCK_BYTES // item, dtype), m * n), (m, n), strides, dtype)
            y = view(put(rng.integers(0, 2, 1 << 20).astype(dtype), m), (m,), (item,), dtype)
            w = view(put((rng.standard_normal(n) / np.sqrt(n)).astype(dtype), n), (n,), (item,), dtype)
            half = m * n * item // 2
            elsewhere = driver.allocate(half)
            addresses.append(elsewhere)
            yield SimpleNamespace(
                X=X,
                y=y,
                w=w,
                b=0.25,
                size=m * n * item,
                copy=lambda: driver.copy(elsewhere, X.address, half, DEFAULT_STREAM),
                answer=lambda: cuda.sums(Problem.of(X, y, None), w, 0.25, True).dw / m,
                room=put,
            )
        finally:
            driver.synchronize(DEFAULT_STREAM)
            for address in addresses:
                driver.free(address)


@contextlib.contextmanager
def kernels(data):
    """The target's own launches for loss and gradient, forward pass and `hessian_vector`: nothing is waited for."""
    from jitlogreg.targets.cuda import plan
    from jitlogreg.targets.cuda.compensated import TOTALS
    from jitlogreg.targets.cuda.launch import device_call

    (m, n), dtype = data.X.shape, data.w.dtype
    out = data.room(np.zeros(m, dtype), m)
    w = fetch(data.w.address, n, dtype).astype(np.float64)  # as θ is, whatever X is
    with device_call(data.X) as call, device_call(data.X) as second:
        p = call.plan(data.w)
        partials, sums, workspace = call.workspace(
            plan.partials_size(p, n) * dtype.itemsize, (n + TOTALS) * 8, p.workspace_size * dtype.itemsize
        )

        def loss_and_gradient():
            call.run("gradient", p, data.w, data.b, (data.y.address, 0, 0), partials, workspace)
            call.reduce_partials(dtype, partials, p.n_partials, n + TOTALS, 0, sums)

        def forward():
            call.run("sigmoid", p, data.w, data.b, (0, 0, 0), out, workspace)

        w_and_v = np.concatenate([w, w, np.ones(1)])
        q = second.plan(w_and_v, "curvature")
        of_second = second.workspace(plan.partials_size(q, n) * 8, (n + TOTALS) * 8, q.workspace_size * 8)

        def hessian_vector():
            second.run("curvature", q, w_and_v, data.b, (0, 0, 0), of_second[0], of_second[2])
            second.reduce_partials(w_and_v.dtype, of_second[0], q.n_partials, n + TOTALS, 0, of_second[1])

        yield {"kernels": loss_and_gradient, "forward": forward, "hessian_vector": hessian_vector}


def in_turn(calls, rounds):
    """The median seconds of one call of each, by events on the default stream, in turn; each is warmed up first."""
    from cuda.bindings import driver as cuda_driver

    def call(function, *arguments):
        status, *results = function(*arguments)
        if status != cuda_driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{function.__name__} failed: {status}")
        return results[0] if results else None

    start, stop = (call(cuda_driver.cuEventCreate, 0) for _ in range(2))

    def seconds(function, repeats):
        call(cuda_driver.cuEventRecord, start, DEFAULT_STREAM)
        for _ in range(repeats):
            function()
        call(cuda_driver.cuEventRecord, stop, DEFAULT_STREAM)
        call(cuda_driver.cuEventSynchronize, stop)
        return call(cuda_driver.cuEventElapsedTime, start, stop) / 1e3 / repeats

    repeats = {}
    for name, function in calls.items():
        seconds(function, 1)
        repeats[name] = max(1, round(SHORTEST / max(seconds(function, 2), 1e-7)))
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, function in calls.items():
            taken[name].append(seconds(function, repeats[name]))
    return {name: statistics.median(values) for name, values in taken.items()}


def _public_call(data):
    import numba.cuda

    import jitlogreg as jlr

    X, y, w = (numba.cuda.as_cuda_array(interface(array)) for array in (data.X, data.y, data.w))
    return lambda: jlr.loss_and_gradient(X, y, w, data.b)


def _wall(function, least=0.05):
    """The median seconds of a call by the host's clock."""
    for _ in range(3):
        function()
    taken, deadline = [], time.perf_counter() + least
    while len(taken) < ROUNDS or time.perf_counter() < deadline:
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


# ---------------------------------------------------------------- small problems

SMALL = ((64, 8), (1000, 20))
DESCENTS = ((1000, 20), (100_000, 28))
STEPS = 1000


def small():
    """What a call costs beside its kernels, and a step of descent."""
    for dtype in ("float32", "float64"):
        for m, n in SMALL:
            yield f"public call, {m} x {n} {dtype}", functools.partial(_small_call, m, n, dtype)
        for m, n in DESCENTS:
            yield f"descent, {m} x {n} {dtype}", functools.partial(_descent, m, n, dtype)


@contextlib.contextmanager
def _small(m, n, dtype):
    import numba.cuda

    from gpu.values import example
    from gpu.views import on_device

    data = example(m, n, dtype, dtype, "C")
    with on_device() as put:
        yield [numba.cuda.as_cuda_array(interface(put(array))) for array in (data.X, data.y, data.w)]


def _small_call(m, n, dtype):
    import jitlogreg as jlr

    with _small(m, n, dtype) as (X, y, w):
        return {"microseconds": 1e6 * _wall(lambda: jlr.loss_and_gradient(X, y, w, 0.25))}


def _descent(m, n, dtype):
    import jitlogreg as jlr

    with _small(m, n, dtype) as (X, y, _):
        descend = functools.partial(jlr.gradient_descent, X, y, learning_rate=0.1, n_iterations=STEPS)
        seconds = _wall(descend)
    return {"microseconds a step": 1e6 * seconds / STEPS}

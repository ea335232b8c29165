"""Checks of the CUDA target on arrays that lie on the device, wherever rows begin and however far apart they are.

They need nothing but the target's own driver; between the rows, before them and behind them lies what is none of its
business: NaN, which would show in every sum.
"""

import contextlib
import functools
from types import SimpleNamespace

import numpy as np

from gpu.expected import OffError, activations, objective, product, same_bits, within
from gpu.values import example
from jitlogreg.interop.device_array import DeviceArray
from jitlogreg.interop.libraries import DEFAULT_STREAM, NUMBA
from jitlogreg.targets.base import Problem

# How many numbers later the matrix begins, and how many lie between two rows: 16 bytes, 8 or 4 can be read at once
PLACES = ((0, 0), (4, 0), (2, 2), (1, 0), (0, 3), (5, 1))
COLUMNS = {"C": (1, 3, 28, 30, 33, 200, 256, 512, 700, 1025, 2050, 17000), "F": (2, 28, 33, 300, 700, 1100)}
GUARD = 64  # numbers behind an output


def view(address, shape, strides, dtype, stream=DEFAULT_STREAM):
    """What a target sees of an array that lies on the device."""
    return DeviceArray(None, NUMBA, address, 0, stream, shape, strides, np.dtype(dtype))


def interface(array):
    """An object with the CUDA array interface, of which Numba, CuPy and PyTorch make arrays without a copy."""
    described = {
        "shape": array.shape,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "data": (array.address, False),
        "version": 3,
    }
    return SimpleNamespace(__cuda_array_interface__=described)


@contextlib.contextmanager
def on_device():
    """A function `put(values, first, padding)` that copies an array there; all is given back at the end."""
    from jitlogreg.targets.cuda import driver

    addresses = []

    def put(values, first=0, padding=0):
        flat = values.T if values.ndim == 2 and not values.flags.c_contiguous else values
        length = flat.shape[-1] + padding
        room = np.full(first + flat.size // max(flat.shape[-1], 1) * length + GUARD, np.nan, values.dtype)
        inner = room[first : room.size - GUARD].reshape(*flat.shape[:-1], length)
        inner[..., : flat.shape[-1]] = flat
        addresses.append(driver.allocate(room.nbytes))
        driver.upload(addresses[-1], room, DEFAULT_STREAM)
        driver.synchronize(DEFAULT_STREAM)
        strides = inner.strides if flat is values else inner.strides[::-1]
        return view(addresses[-1] + first * values.itemsize, values.shape, strides, values.dtype)

    with driver.current(0):
        try:
            yield put
        finally:
            for address in addresses:
                driver.free(address)


def fetch(address, count, dtype):
    """Numbers from the device."""
    from jitlogreg.targets.cuda import driver

    numbers = np.empty(count, dtype)
    with driver.current(0):
        driver.download(numbers, address, DEFAULT_STREAM)
    return numbers


def views(columns=None, rows=1000, places=PLACES):
    """Each regime in each dtype and order, at every place."""
    for x_dtype, w_dtype in (("float32", "float32"), ("float64", "float64"), ("float32", "float64")):
        for order, ns in (columns or COLUMNS).items():
            for n in ns:
                m = min(rows, (1 << 22) // n)
                name = f"places of {m} x {n} {order} {x_dtype}/{w_dtype}"
                yield name, functools.partial(check_places, m, n, x_dtype, w_dtype, order, places)


def check_places(m, n, x_dtype, w_dtype, order, places):
    """Sums and activations have the same bits wherever a matrix lies, are right, and nothing else is written."""
    from jitlogreg.targets import cuda

    data = example(m, n, x_dtype, w_dtype, order, soft=True, weighted=True)
    wanted = None
    for first, padding in places:
        where = f"at {first} with {padding} between"
        with on_device() as put:
            X, y, s = put(data.X, first, padding), put(data.y), put(data.sample_weight)
            w = put(data.w, first % 3)
            sums = cuda.sums(Problem.of(X, y, s), w, data.b, True)
            along = np.append(*cuda.hessian_vector_sums(Problem.of(X, None, s), data.w, data.b, data.v))
            a, log = (put(np.full(m, np.nan, w_dtype)) for _ in range(2))
            cuda.activate("sigmoid", Problem.of(X), w, data.b, a)
            cuda.activate("log_sigmoid", Problem.of(X), w, data.b, log)
            arrays = [fetch(array.address, m + GUARD, w_dtype) for array in (a, log)]
        for array in arrays:
            if not np.isnan(array[m:]).all():
                raise OffError(f"{where}: something was written behind an output")
        got = {"loss": sums.loss, "dw": sums.dw, "db": sums.db, "forward": arrays[0][:m], "log_forward": arrays[1][:m]}
        got["hessian_vector"] = along
        if wanted is None:
            wanted = got
        for name in got:
            same_bits(f"{name} {where}", got[name], wanted[name])
    value, bound = objective(data.X, data.y, data.w, data.b, data.sample_weight)
    S = float(data.sample_weight.astype(np.float64).sum())
    for name in ("loss", "dw", "db"):
        within(name, wanted[name] / S, getattr(value, name), getattr(bound, name))
    exact = product(data.X, data.w, data.b, data.v, data.sample_weight)
    within("hessian_vector", wanted["hessian_vector"] / S, *exact)
    exact = activations(data.X, data.w, data.b)
    for name, (values, allowed) in zip(("forward", "log_forward"), exact, strict=True):
        within(name, wanted[name], values, allowed)


def public_calls():
    """The public calls on Numba's arrays: what comes back is Numba's, `out` is what was given."""
    for order in ("C", "F"):
        for dtype in ("float32", "float64"):
            yield f"arrays of Numba, {order} {dtype}", functools.partial(_of_numba, order, dtype)


def _of_numba(order, dtype):
    import numba.cuda

    import jitlogreg as jlr

    data = example(3001, 37, dtype, dtype, order, soft=True)
    with on_device() as put:
        X, y, w = (numba.cuda.as_cuda_array(interface(put(array))) for array in (data.X, data.y, data.w))
        got = jlr.loss_and_gradient(X, y, w, data.b, l2=0.1)
        out, dw = (numba.cuda.as_cuda_array(interface(put(np.full(size, np.nan, dtype)))) for size in (3001, 37))
        if jlr.forward(X, w, data.b, out=out) is not out:
            raise OffError("forward gave another array than out")
        if jlr.gradient(X, y, w, data.b, l2=0.1, out=dw).dw is not dw:
            raise OffError("gradient gave another array than out")
        run = jlr.gradient_descent(X, y, learning_rate=0.1, n_iterations=3)
        results = [array.copy_to_host() for array in (got.dw, dw, out, run.w)]
    same_bits("dw in out", results[1], results[0])
    value, bound = objective(data.X, data.y, data.w, data.b, None, 0.1)
    within("dw", results[0], value.dw, bound.dw)
    within("forward", results[2], *activations(data.X, data.w, data.b)[0])
    host = jlr.gradient_descent(data.X, data.y, learning_rate=0.1, n_iterations=3, target="cuda")
    same_bits("w of a descent", results[3], host.w)

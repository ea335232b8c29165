"""Checks with arrays of PyTorch and CuPy whose values are still on their way, on streams of their own."""

import functools
import importlib

import numpy as np

import jitlogreg as jlr
from gpu.expected import OffError, activations, objective, same_bits, within
from gpu.record import AbsentError
from gpu.values import example

# What a stream is busy with before the values are written: 64 MiB, multiplied so many times, take 10 to 100 ms
NUMBERS, TIMES = 1 << 24, 400


def streams(library):
    """The checks with one library's arrays, "torch" or "cupy"."""
    for order in ("C", "F"):
        for dtype in ("float32", "float64"):
            name = f"{library} on a stream of its own, {order} {dtype}"
            yield name, functools.partial(_on_a_stream, library, order, dtype)


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AbsentError(f"{name} is not installed ({error})") from error


def _on_a_stream(library, order, dtype):
    """What is queued on the stream just before a call is seen by it, and what it writes by what is queued after."""
    module, ours = _module(library), {"torch": _Torch, "cupy": _CuPy}[library]
    library = ours(module)
    data = example(20_001, 61, dtype, dtype, order, soft=True)
    for stream in library.streams():
        sources = [library.put(array) for array in (data.X, data.y, data.w)]
        X, y, w = (library.nan_like(array) for array in sources)
        busy, out, dw = library.ones(NUMBERS), library.nans(len(data.X), dtype), library.nans(61, dtype)
        library.wait()
        with library.on(stream):
            for _ in range(TIMES):
                busy *= 1.0
            for array, source in zip((X, y, w), sources, strict=True):
                array[...] = source
            got = jlr.loss_and_gradient(X, y, w, data.b)
            for _ in range(TIMES):
                busy *= 1.0
            w[...] = library.nan_like(w)
            w[...] = sources[2]
            returned = jlr.forward(X, w, data.b, out=out)
            X[...] = library.nan_like(X)  # queued after the call: it must not see this
            copied = out * 1.0
            X[...] = sources[0]
            again = jlr.gradient(X, y, w, data.b, out=dw)
            run = jlr.gradient_descent(X, y, learning_rate=0.1, n_iterations=3)
        library.wait()
        if returned is not out or again.dw is not dw:
            raise OffError("another array came back than out")
        for array in (got.dw, run.w):
            if type(array) is not type(X):
                raise OffError(f"a {type(array)} came back; expected is a {type(X)}")
        host = library.host
        value, bound = objective(data.X, data.y, data.w, data.b)
        within("dw", host(got.dw), value.dw, bound.dw)
        within("loss", got.loss, value.loss, bound.loss)
        same_bits("dw in out", host(dw), host(got.dw))
        within("forward", host(copied), *activations(data.X, data.w, data.b)[0])
        alone = jlr.loss_and_gradient(data.X, data.y, data.w, data.b, target="cuda")
        same_bits("dw beside that of NumPy arrays", host(got.dw), alone.dw)
        descent = jlr.gradient_descent(data.X, data.y, learning_rate=0.1, n_iterations=3, target="cuda")
        same_bits("w of a descent beside that of NumPy arrays", host(run.w), descent.w)


class _Torch:
    """What the check needs of PyTorch."""

    def __init__(self, torch):
        if not torch.cuda.is_available():
            raise AbsentError("torch was built without CUDA, or finds no GPU")
        self.torch, self.wait, self.on = torch, torch.cuda.synchronize, torch.cuda.stream

    def streams(self):
        return [self.torch.cuda.Stream(), self.torch.cuda.default_stream()]

    def put(self, array):
        tensor = self.torch.from_numpy(np.ascontiguousarray(array.T if not array.flags.c_contiguous else array)).cuda()
        return tensor if array.flags.c_contiguous else tensor.T

    def nan_like(self, tensor):
        return self.torch.full_like(tensor, float("nan"))  # it keeps the strides

    def nans(self, size, dtype):
        return self.torch.full((size,), float("nan"), dtype=getattr(self.torch, dtype), device="cuda")

    def ones(self, size):
        return self.torch.ones(size, device="cuda")

    def host(self, tensor):
        return tensor.cpu().numpy()


class _CuPy:
    """What the check needs of CuPy."""

    def __init__(self, cupy):
        self.cupy, self.wait, self.host = cupy, cupy.cuda.Device().synchronize, cupy.asnumpy

    def streams(self):
        return [self.cupy.cuda.Stream(non_blocking=True), self.cupy.cuda.Stream.null]

    def on(self, stream):
        return stream

    def put(self, array):
        return self.cupy.asarray(array, order="C" if array.flags.c_contiguous else "F")

    def nan_like(self, array):
        return self.cupy.full_like(array, np.nan)

    def nans(self, size, dtype):
        return self.cupy.full(size, np.nan, dtype)

    def ones(self, size):
        return self.cupy.ones(size, np.float32)

"""Runs the CUDA target through the driver's own interface, with a stub library as libcuda.so.1.

Only the machine code is replaced: it is compiled, and the simulator then runs the kernel's Python instead.
"""

import ctypes
import importlib

import numba
import numpy as np
import simulator

import jitlogreg as jlr

intrinsics, driver = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("intrinsics", "driver"))
memory = simulator.Memory()
kernels: dict[bytes, tuple] = {}
launched = []

CTYPES = {numba.int64: ctypes.c_int64, numba.float32: ctypes.c_float, numba.float64: ctypes.c_double}
NUMPY = {numba.int64: int, numba.float32: np.float32, numba.float64: np.float64}


def cached_machine_code(label, make, signature, cc, threads, blocks_per_sm):
    """The real machine code, under a name by which `on_launch` finds the kernel's Python."""
    kernel = make()
    intermediate = intrinsics.intermediate_code(kernel, signature, cc, threads, blocks_per_sm)
    code, entry, _ = driver.machine_code(intermediate, cc)
    assert entry in code
    name = f"{label}|{len(kernels)}".encode()
    kernels[name] = kernel, signature
    return code, name


@ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
def on_allocate(size):
    return memory.allocate(size)


@ctypes.CFUNCTYPE(None, ctypes.c_uint64)
def on_free(address):
    memory.free(address)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint] * 3, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int)
def on_launch(name, blocks, threads, shared_bytes, parameters, cooperative):
    kernel, signature = kernels[name]
    launched.append((name.split(b"-")[0].decode(), bool(cooperative)))
    values = (CTYPES[kind].from_address(parameters[i]).value for i, kind in enumerate(signature))
    arguments = [NUMPY[kind](value) for kind, value in zip(signature, values, strict=True)]
    simulator.launch(
        kernel,
        blocks,
        threads,
        arguments,
        memory=memory,
        replace=simulator.REPLACEMENTS,
        shared_bytes=shared_bytes,
        cooperative=bool(cooperative),
    )
    return 0


def compare(m, n, order, dtype, w_dtype):
    """Compare every operation with the reference."""
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(size=(m, n)), dtype, order=order)
    w = rng.normal(size=n).astype(w_dtype)
    y, s = rng.uniform(size=(2, m)).astype(w_dtype)
    tolerance = {"rtol": 0, "atol": 1e3 * np.finfo(dtype).eps}  # the descent starts at zeros of X's dtype
    for target in ("cuda", "reference"):
        got = jlr.loss_and_gradient(X, y, w, 0.5, sample_weight=s, l2=0.1, target=target)
        a = jlr.forward(X, w, 0.5, target=target)
        run = jlr.gradient_descent(X, y, learning_rate=0.1, n_iterations=2, sample_weight=s, target=target)
        objective = jlr.Objective(X, y, sample_weight=s.astype(np.float64), target=target)
        product = objective.hessian_vector(np.append(w, 0.5), np.linspace(-1, 1, n + 1))
        numbers = np.concatenate([[got.loss, got.db, run.b], got.dw, a, run.w, run.loss_history, product])
        if target == "cuda":
            of_cuda = numbers
    np.testing.assert_allclose(of_cuda, numbers, **tolerance)


def main():
    """Make the calls, and print the launches that the stub saw."""
    stub = ctypes.CDLL("libcuda.so.1")
    stub.stub_connect(*(ctypes.cast(f, ctypes.c_void_p) for f in (on_allocate, on_free, on_launch)))
    driver._cached_machine_code = cached_machine_code
    info = jlr.targets()["cuda"]
    assert info.available, info.reason
    assert info.device == "Stub GPU"
    compare(70, 5, "C", np.float32, np.float32)
    compare(70, 5, "C", np.float32, np.float64)
    compare(40, 20, "F", np.float64, np.float64)
    compare(3, 4500, "C", np.float32, np.float32)
    compare(2, 8200, "C", np.float64, np.float64)
    assert stub.stub_depth() == 0, "a context is still current"
    print(*sorted(set(launched)))


if __name__ == "__main__":
    main()

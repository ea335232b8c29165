"""What the kernels are timed beside: each prepares a call, and a function that gives its dw, on the very same memory.

A preparation takes X, y and w as objects with the CUDA array interface, and b. The calls return at once, with their
work on the default stream; JAX has streams of its own, and waits.
"""

import functools
import os

import numpy as np


def two_products_by_cupy(X, y, w, b):
    """cuBLAS, twice: what any library must do at least that has no kernel for both."""
    import cupy
    from cupy import cublas

    X, w = cupy.asarray(X), cupy.asarray(w)
    z, dw = cupy.empty(X.shape[0], X.dtype), cupy.empty(X.shape[1], X.dtype)
    dz = _residuals(cupy, cupy.asarray(y), X @ w + X.dtype.type(b))

    def call():
        cublas.gemv("N", 1.0, X, w, 0.0, z)
        cublas.gemv("T", 1.0, X, dz, 0.0, dw)

    return call, lambda: (call(), cupy.asnumpy(dw).astype(np.float64) / len(z))[1]


def two_products_by_torch(X, y, w, b):
    """The same through PyTorch, where CuPy is not installed."""
    torch, (X, y, w) = _tensors(X, y, w)
    z, dw = torch.empty_like(y), torch.empty_like(w)
    dz = torch.sigmoid(X @ w + b) - y

    def call():
        torch.mv(X, w, out=z)
        torch.mv(X.t(), dz, out=dw)

    return call, lambda: (call(), dw.cpu().numpy().astype(np.float64) / len(z))[1]


def torch_eager(X, y, w, b, compiled=False):
    """The loss, and its gradient by autograd."""
    torch, (X, y, w) = _tensors(X, y, w)
    leaves = w.clone().requires_grad_(), torch.tensor(b, dtype=X.dtype, device=X.device, requires_grad=True)

    def loss(X, y, w, b):
        return torch.nn.functional.binary_cross_entropy_with_logits(X @ w + b, y)

    evaluate = torch.compile(loss, dynamic=False) if compiled else loss

    def call():
        for leaf in leaves:
            leaf.grad = None
        evaluate(X, y, *leaves).backward()

    call()
    return call, lambda: (call(), leaves[0].grad.cpu().numpy().astype(np.float64))[1]


def jax_jit(X, y, w, b):
    """Jitted. Its arrays are in C order: one in F order goes in as the transpose that it is in memory."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # or it would take float64 for float32; float32 stays what it is
    transposed = X.__cuda_array_interface__["strides"][0] < X.__cuda_array_interface__["strides"][1]
    X, y, w = _arrays_of_jax(jax, X, y, w, transposed)
    b = w.dtype.type(b)

    def objective(w, b, X, y):
        z = (w @ X if transposed else X @ w) + b
        return jnp.mean(jax.nn.softplus(z) - y * z)

    evaluate = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))

    def call():
        return jax.block_until_ready(evaluate(w, b, X, y))

    call()
    return call, lambda: np.asarray(call()[1][0], np.float64)


def _residuals(library, y, z):
    return 1 / (1 + library.exp(-z)) - y


def _tensors(*arrays):
    import torch

    return torch, [torch.as_tensor(array, device="cuda") for array in arrays]


def _arrays_of_jax(jax, X, y, w, transposed):
    """By DLPack, which PyTorch or CuPy makes of the memory."""
    try:
        _, (X, y, w) = _tensors(X, y, w)
    except ImportError:
        import cupy

        X, y, w = (cupy.asarray(array) for array in (X, y, w))
    return [jax.dlpack.from_dlpack(array) for array in (X.T if transposed else X, y, w)]


READY = {
    "two gemv": two_products_by_cupy,
    "two torch.mv": two_products_by_torch,
    "torch": torch_eager,
}
COMPILED = {"torch.compile": functools.partial(torch_eager, compiled=True), "jax.jit": jax_jit}

"""The same for K outputs in other libraries, as `peers` calls them for one.

scikit-learn and oneDAL have a softmax, and no K models of two classes.
"""

import functools
import os

import numpy as np

from jitlogreg.cli import peers
from jitlogreg.cli.timing import shortest_of_three


def _scikit_learn(operation, link, X, y, W, b):
    """What LogisticRegression minimises by L-BFGS, on the faster of one thread and all, and its predict_proba."""
    from sklearn._loss import HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss
    from sklearn.utils.extmath import softmax

    if operation == "forward":
        return lambda: (softmax(X @ W + b, copy=False),)
    objective = LinearModelLoss(base_loss=HalfMultinomialLoss(n_classes=len(b)), fit_intercept=True)
    coef, labels = np.asfortranarray(np.column_stack([W.T, b])), y.astype(X.dtype)

    def loss_and_gradient(n_threads):
        loss, gradient = objective.loss_gradient(coef, X, labels, n_threads=n_threads)
        return loss, gradient[:, :-1].T, gradient[:, -1]

    on_one, on_all = (functools.partial(loss_and_gradient, threads) for threads in (1, os.cpu_count()))
    return min(on_one, on_all, key=shortest_of_three)


def _onedal(operation, link, X, y, W, b):
    """What scikit-learn-intelex's LogisticRegression minimises."""
    import daal4py

    labels, coef = y.astype(X.dtype)[:, None], np.column_stack([b, W.T]).reshape(-1, 1).copy()
    objective = daal4py.optimization_solver_cross_entropy_loss(
        nClasses=len(b),
        numberOfTerms=len(X),
        fptype="float" if X.dtype == np.float32 else "double",
        method="defaultDense",
        interceptFlag=True,
        penaltyL1=0,
        penaltyL2=0,
        resultsToCompute="value|gradient",
    )
    objective.setup(X, labels, coef)

    def loss_and_gradient():
        result = objective.compute(X, labels, coef)
        gradient = result.gradientIdx.reshape(len(b), -1)
        return result.valueIdx[0, 0], gradient[:, 1:].T, gradient[:, 0]

    return loss_and_gradient


def _pytorch(operation, link, X, y, W, b):
    """Eager execution, and the gradient by autograd."""
    import torch

    X, y, W, b = (torch.from_numpy(array) for array in (X, y, W, b))

    def forward():
        with torch.inference_mode():
            Z = X @ W + b
            return ((torch.softmax(Z, 1) if link == "softmax" else torch.sigmoid(Z)).numpy(),)

    leaves = W.clone().requires_grad_(), b.clone().requires_grad_()

    def losses():
        Z = X @ leaves[0] + leaves[1]
        if link == "softmax":
            return torch.nn.functional.cross_entropy(Z, y)
        of_models = y[:, None].expand(-1, len(b))
        return torch.nn.functional.binary_cross_entropy_with_logits(Z, of_models, reduction="none").mean(0)

    def loss_and_gradient():
        for leaf in leaves:
            leaf.grad = None
        found = losses()
        found.sum().backward()
        return found.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)

    return forward if operation == "forward" else loss_and_gradient


def _jax(operation, link, X, y, W, b):
    """Jitted functions. JAX arrays are in C order, so X in F order is passed as its transpose."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # otherwise float64 would become float32; float32 stays float32
    transposed = not X.flags.c_contiguous

    def margins(W, b, X):
        return (X.T if transposed else X) @ W + b

    def losses(W, b, X, y):
        Z = margins(W, b, X)
        if link == "softmax":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(Z), y[:, None], axis=1))
        return jnp.mean(jax.nn.softplus(Z) - y[:, None] * Z, axis=0)

    def total(*arguments):
        found = losses(*arguments)
        return jnp.sum(found), found

    cpu = jax.devices("cpu")[0]
    X, y, W, b = (jax.device_put(array, cpu) for array in (X.T if transposed else X, y, W, b))
    if operation == "forward":
        activation = jax.nn.softmax if link == "softmax" else jax.nn.sigmoid
        activate = jax.jit(lambda W, b, X: activation(margins(W, b, X)))
        return lambda: (activate(W, b, X).block_until_ready(),)
    evaluate = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))

    def loss_and_gradient():
        (_, found), gradient = jax.block_until_ready(evaluate(W, b, X, y))
        return found, *gradient

    return loss_and_gradient


_ALL = {(operation, link) for operation in ("loss_and_gradient", "forward") for link in ("sigmoid", "softmax")}

# By name: the function that prepares a call, and the operations and links that it has
_PEERS = {
    "scikit-learn": (_scikit_learn, {("loss_and_gradient", "softmax"), ("forward", "softmax")}),
    "oneDAL": (_onedal, {("loss_and_gradient", "softmax")}),
    "PyTorch": (_pytorch, _ALL),
    "JAX": (_jax, _ALL),
}


def installed(operation, link):
    """The peers that can be imported here and have this operation for K outputs.

    Returns
    -------
    peers : dict of str to callable
        By name. Each takes operation, link, X, y, W, b, and returns a function as `peers.installed` describes it.
    """
    found = peers.installed()
    return {name: prepare for name, (prepare, has) in _PEERS.items() if name in found and (operation, link) in has}

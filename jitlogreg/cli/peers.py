"""The same evaluation in other libraries, each called as its users or its own solver call it.

Each receives the same arrays before the timing, in the form that it uses without a copy of X, and runs on its default
threads.
"""

import functools
import importlib
import importlib.metadata
import os

import numpy as np

from jitlogreg.cli.timing import shortest_of_three


def _scikit_learn(operation, X, y, w, b):
    """The objective that LogisticRegression minimises by L-BFGS, and its predict_proba, on the faster of one thread and
    all threads. LogisticRegression itself uses one.
    """
    from scipy.special import expit
    from sklearn._loss import HalfBinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    objective = LinearModelLoss(base_loss=HalfBinomialLoss(), fit_intercept=True)
    coef = np.append(w, X.dtype.type(b))

    def forward():
        z = objective.weight_intercept_raw(coef, X)[2]
        return (expit(z, out=z),)

    def loss_and_gradient(n_threads):
        loss, gradient = objective.loss_gradient(coef, X, y, n_threads=n_threads)
        return loss, gradient[:-1], gradient[-1]

    if operation == "forward":
        return forward
    on_one, on_all = (functools.partial(loss_and_gradient, threads) for threads in (1, os.cpu_count()))
    return min(on_one, on_all, key=shortest_of_three)


def _onedal(operation, X, y, w, b):
    """The objective and the prediction that scikit-learn-intelex's LogisticRegression calls."""
    import daal4py

    fptype = "float" if X.dtype == np.float32 else "double"
    if operation == "forward":
        builder = daal4py.logistic_regression_model_builder(n_features=X.shape[1], n_classes=2)
        builder.set_beta(w[None], np.full((1, 1), b, w.dtype))
        model = builder.model
        predict = daal4py.logistic_regression_prediction(
            nClasses=2, fptype=fptype, method="defaultDense", resultsToEvaluate="computeClassProbabilities"
        )
        return lambda: (predict.compute(X, model).probabilities[:, 1],)
    labels, coef = y[:, None], np.append(X.dtype.type(b), w)[:, None]
    objective = daal4py.optimization_solver_logistic_loss(
        numberOfTerms=len(X),
        fptype=fptype,
        method="defaultDense",
        interceptFlag=True,
        penaltyL1=0,
        penaltyL2=0,
        resultsToCompute="value|gradient",
    )
    objective.setup(X, labels, coef)

    def loss_and_gradient():
        result = objective.compute(X, labels, coef)
        gradient = result.gradientIdx.ravel()
        return result.valueIdx[0, 0], gradient[1:], gradient[0]

    return loss_and_gradient


def _pytorch(operation, X, y, w, b):
    """Eager execution, and the gradient by autograd."""
    import torch

    X, y, w = (torch.from_numpy(array) for array in (X, y, w))
    b = torch.tensor(b, dtype=X.dtype)

    def forward():
        with torch.inference_mode():
            return (torch.sigmoid(X @ w + b).numpy(),)

    leaves = w.clone().requires_grad_(), b.clone().requires_grad_()

    def loss_and_gradient():
        for leaf in leaves:
            leaf.grad = None
        loss = torch.nn.functional.binary_cross_entropy_with_logits(X @ leaves[0] + leaves[1], y)
        loss.backward()
        return loss.detach(), *(leaf.grad for leaf in leaves)

    return forward if operation == "forward" else loss_and_gradient


def _jax(operation, X, y, w, b):
    """Jitted functions. JAX arrays are in C order, so X in F order is passed as its transpose."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # otherwise float64 would become float32; float32 stays float32
    transposed = not X.flags.c_contiguous

    def margins(w, b, X):
        return (w @ X if transposed else X @ w) + b  # X.T @ w takes seven times as long as w @ X

    def objective(w, b, X, y):
        z = margins(w, b, X)
        return jnp.mean(jax.nn.softplus(z) - y * z)

    cpu = jax.devices("cpu")[0]
    X, y, w, b = (jax.device_put(array, cpu) for array in (X.T if transposed else X, y, w, X.dtype.type(b)))
    if operation == "forward":
        activate = jax.jit(lambda w, b, X: jax.nn.sigmoid(margins(w, b, X)))
        return lambda: (activate(w, b, X).block_until_ready(),)
    evaluate = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))

    def loss_and_gradient():
        loss, (dw, db) = jax.block_until_ready(evaluate(w, b, X, y))
        return loss, dw, db

    return loss_and_gradient


# By name: the module, its package, and the function that prepares a call
_PEERS = {
    "scikit-learn": ("sklearn", "scikit-learn", _scikit_learn),
    "oneDAL": ("daal4py", "scikit-learn-intelex", _onedal),
    "PyTorch": ("torch", "torch", _pytorch),
    "JAX": ("jax", "jax", _jax),
}
NAMES = tuple(_PEERS)


def _is_installed(module):
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def installed():
    """The peers that can be imported here.

    Returns
    -------
    peers : dict of str to callable
        By name. Each takes the operation and X, y, w, b, and returns a function without arguments. That returns the
        results of `loss_and_gradient`, or of `forward` in a tuple of one, in X's dtype.
    """
    return {name: prepare for name, (module, _, prepare) in _PEERS.items() if _is_installed(module)}


def versions(names):
    """The versions of these peers, by the names of their packages."""
    return {_PEERS[name][1]: importlib.metadata.version(_PEERS[name][1]) for name in names}

"""The worst cases of other libraries' per-example functions, over the same margins and in the same units as ours."""

import importlib
import importlib.metadata
import warnings

import numpy as np

import jitlogreg as jlr
from accuracy.examples import COUNT, Worst, own_values
from accuracy.float64 import approximate, long_ulps

# What is compared, by the place of its exact value among `examples.FUNCTIONS`
WHAT = {"σ": (2, 0), "log σ": (3, 0), "loss": (4, 5), "residual": (6, 7)}


def margins(dtype):
    """Margins of either sign, from 0 to where exp(−|z|) is still a normal number: dense, in steps, in scale."""
    edge = 700 if dtype == np.float64 else 85
    rng = np.random.default_rng(6)
    size = np.concatenate([rng.uniform(0, edge, 20_000), np.arange(0, edge + 1), 10.0 ** rng.uniform(-9, 2, 20_000)])
    z = np.concatenate([size[size <= edge], -size[size <= edge]]).astype(dtype)
    return z[: len(z) // 8 * 8]


def ours(z):
    """Through the public calls where each example has a result of its own there."""
    one = np.ones(1, z.dtype)
    values = np.empty((COUNT, len(z)), z.dtype)
    own_values(z, 0 * z, values)
    a, log_a = jlr.forward(z[:, None], one), jlr.log_forward(z[:, None], one)
    return {"σ": a, "log σ": log_a, "loss": values[4:6], "residual": values[6:8]}


def numpy_formula(z):
    """The formulas as the definition has them."""
    a = 1 / (1 + np.exp(-z))
    return {"σ": a, "log σ": np.log(a), "loss": (-np.log(1 - a), -np.log(a)), "residual": (a, a - 1)}


def scikit_learn(z):
    """What LogisticRegression predicts, and the loss that it minimises."""
    from sklearn._loss import HalfBinomialLoss
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.ones((1, 1), z.dtype), np.zeros(1, z.dtype)
    model.n_features_in_ = 1
    pairs = [HalfBinomialLoss().loss_gradient(np.full_like(z, label), z) for label in (0, 1)]
    losses, residuals = zip(*pairs, strict=True)
    X = z[:, None]
    return {
        "σ": model.predict_proba(X)[:, 1],
        "log σ": model.predict_log_proba(X)[:, 1],
        "loss": losses,
        "residual": residuals,
    }


def scipy(z):
    """The functions that scikit-learn's stand on."""
    from scipy.special import expit, log_expit

    return {"σ": expit(z), "log σ": log_expit(z)}


def onedal(z):
    """The objective and the prediction that scikit-learn-intelex's LogisticRegression calls, one example at a time."""
    from jitlogreg.cli.peers import installed

    prepare = installed()["oneDAL"]
    one, values = np.ones(1, z.dtype), {"σ": prepare("forward", z[:, None], z, np.ones(1, z.dtype), 0.0)()[0]}
    pairs = [
        [prepare("loss_and_gradient", z[i : i + 1, None], label * one, one, 0.0)() for i in range(len(z))]
        for label in (0, 1)
    ]
    values["loss"] = [np.array([loss for loss, _, _ in of_label], z.dtype) for of_label in pairs]
    values["residual"] = [np.array([db for _, _, db in of_label], z.dtype) for of_label in pairs]
    return values


def pytorch(z):
    """`sigmoid`, `logsigmoid`, and `binary_cross_entropy_with_logits` with its gradient by autograd."""
    import torch

    tensor = torch.from_numpy(z)
    values = {"σ": torch.sigmoid(tensor).numpy(), "log σ": torch.nn.functional.logsigmoid(tensor).numpy()}
    values["loss"], values["residual"] = [], []
    for label in (0, 1):
        leaf = tensor.clone().requires_grad_()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            leaf, torch.full_like(tensor, label), reduction="none"
        )
        losses.sum().backward()
        values["loss"].append(losses.detach().numpy())
        values["residual"].append(leaf.grad.numpy())
    return values


def jax(z):
    """`sigmoid`, `log_sigmoid`, and softplus(z) − y z with its gradient."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(z, y):
        return jax.nn.softplus(z) - y * z

    values = {"σ": np.asarray(jax.nn.sigmoid(z)), "log σ": np.asarray(jax.nn.log_sigmoid(z))}
    both = [jax.vmap(jax.value_and_grad(loss), (0, None))(jnp.asarray(z), z.dtype.type(label)) for label in (0, 1)]
    values["loss"], values["residual"] = ([np.asarray(array) for array in arrays] for arrays in zip(*both, strict=True))
    return values


# By what a reader calls it: the module and the package that it comes in, and what computes
PEERS = {
    "jitlogreg": ("jitlogreg", "jitlogreg", ours),
    "NumPy, as the formula is written": ("numpy", "numpy", numpy_formula),
    "scikit-learn": ("sklearn", "scikit-learn", scikit_learn),
    "SciPy": ("scipy", "scipy", scipy),
    "oneDAL": ("daal4py", "scikit-learn-intelex", onedal),
    "PyTorch": ("torch", "torch", pytorch),
    "JAX": ("jax", "jax", jax),
}
FAR = 1000
_FEW = {"oneDAL": 16}  # a call for each example: every so many margins


def worst_cases():
    """Rows, the versions of the peers, and the names of those that are not installed.

    A row is a peer, a dtype, what is computed, its Worst, and the least |z| where it is off by more than FAR ulp.
    """
    rows, versions, left_out = [], {}, []
    for name, (module, package, compute) in PEERS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            left_out.append(name)
            continue
        versions[package] = importlib.metadata.version(package) if package != "jitlogreg" else jlr.__version__
        for dtype in (np.float64, np.float32):
            z = margins(dtype)[:: _FEW.get(name, 1)]
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                computed = compute(z)
                results, terms, e = approximate(z, 0 * z)
                for what, values in computed.items():
                    places = WHAT[what]
                    values = values if isinstance(values, (list, tuple)) or np.ndim(values) == 2 else [values]
                    cases = [
                        _worst(place, np.asarray(got), z, results, terms, e)
                        for place, got in zip(places, values, strict=False)
                    ]
                    far = min(first for _, first in cases)
                    rows.append((name, np.dtype(dtype).name, what, max(case for case, _ in cases), far))
    return rows, versions, left_out


def _worst(place, got, z, results, terms, e):
    ulps = long_ulps(place, got, results[place], terms[place], e, z.dtype)
    largest = ulps.max()
    k = np.flatnonzero(ulps == largest)
    first = k[np.argmin(np.abs(z[k]))]
    far = np.abs(z[ulps > FAR]).min(initial=np.inf)
    return Worst(float(largest), float(z[first]), float(place in (5, 7)), len(z)), float(far)

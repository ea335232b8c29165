"""What `jitlogreg demo` proposes to try next."""

import shlex

import numpy as np

from jitlogreg.cli.machine import memory

_MOST = 3

# Losses that differ by less look the same in what the demo prints
_CLOSE = 1e-6

# Where one label is rarer than this, accuracy says little
_RARE = 0.1

# Learning takes several copies of X
_LARGE_SHARE_OF_MEMORY = 0.2


def next_steps(settings, data, split, descent, fitted):
    """At most three lines, each with what was seen and what to do about it.

    Parameters
    ----------
    settings : argparse.Namespace
        The options of the demo.
    data : Data
    split : Split
    descent : Descent
    fitted : Fit

    Returns
    -------
    lines : list of str
    """
    seen = [
        _about_memory(data),
        _about_the_minimum(settings, descent, fitted),
        _about_rare_labels(data),
        _about_constant_columns(data, split),
    ]
    if settings.data is None:
        more = f"Data of your own: {_again(settings, data='FILE.csv')} guesses which column is the label"
    else:
        more = f"Other held-out rows: {_again(settings, seed=settings.seed + 1)} shows what was chance"
    in_python = "In Python: jlr.fit(X, y), after import jitlogreg as jlr; docs/how-to/fit-and-descend.md has the rest"
    return [line for line in (*seen, more, in_python) if line][:_MOST]


def _about_memory(data):
    available = memory()
    if available and data.X.nbytes > _LARGE_SHARE_OF_MEMORY * available:
        return (
            f"X takes {data.X.nbytes / 2**30:.2g} of {available / 2**30:.2g} GiB of memory: jitlogreg.dask and "
            "minibatch_descent learn from more than memory holds, as docs/how-to/data-beyond-memory.md says"
        )
    return None


def _about_the_minimum(settings, descent, fitted):
    if not (fitted.converged or settings.l2):
        return f"jlr.fit found no minimum: {_again(settings, l2=0.01)} adds a penalty, which makes for one"
    excess = descent.loss_history[-1] - fitted.loss
    if fitted.converged and excess > _CLOSE:
        command = _again(settings, iterations=10 * settings.iterations)
        return f"The descent ended {excess:.2g} above the minimum that jlr.fit found: {command} comes closer"
    return None


def _about_rare_labels(data):
    m, n_ones = len(data.y), np.count_nonzero(data.y)
    n_rare = min(n_ones, m - n_ones)
    if n_rare >= _RARE * m:
        return None
    rare = data.classes[int(n_rare == n_ones)]
    return (
        f"Only {100 * n_rare / m:.2g} % of the rows are {rare}: judge by the ROC curve, not by accuracy; "
        "sample_weight= of jlr.fit gives rare rows more weight"
    )


def _about_constant_columns(data, split):
    constant = [data.columns[j] for j in np.flatnonzero((split.X[0] == split.X).all(axis=0))]
    if not constant:
        return None
    named = ", ".join(constant[:8]) + ", ..." * (len(constant) > 8)
    return f"Columns without effect, as they are constant in the training rows: {named}"


def _again(settings, **changes):
    """The command of the same demo with some options changed."""
    options = {"data": settings.data, "label": settings.label, "l2": settings.l2 or None} | changes
    return " ".join(
        [
            "jitlogreg demo",
            *(f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None),
        ]
    )

"""What `jitlogreg demo` proposes to try next."""

import shlex

# Losses that differ by less look the same in what the demo prints
_CLOSE = 1e-6

# The built-in data, for Python
_SAVE = (
    "import numpy, sklearn.datasets as d; X, y = d.load_breast_cancer(return_X_y=True); "
    "numpy.savez('cancer.npz', X=X, y=y)"
)
_FIT = "import numpy, jitlogreg as jlr; file = numpy.load('cancer.npz'); print(jlr.fit(file['X'], file['y'], l2=0.01))"


def next_steps(settings, label, descent, fitted):
    """Commands that go on from a demo, each with what it does.

    Parameters
    ----------
    settings : argparse.Namespace
        The options of the demo.
    label : str or None
        The array or the column of labels in `settings.data`.
    descent : Descent
    fitted : Fit

    Returns
    -------
    steps : list of (str, str)
        Commands for a shell, except for a call in Python and a page of the documentation.
    """
    if settings.data is None:
        steps = [
            (f'python -c "{_SAVE}"', "writes the same data to a file"),
            ("jitlogreg demo --data cancer.npz --label y", "learns from it, as from your own .npz, .csv or .parquet"),
        ]
        call = f'python -c "{_FIT}"', "fits it in Python"
    else:
        l2 = _sufficient_penalty(settings, fitted)
        steps = [_same_data_again(settings, label, l2, descent.loss_history[-1] - fitted.loss)]
        penalty = f", l2={l2:g}" if l2 else ""
        call = f"fitted = jlr.fit(X, y{penalty})", "in Python, after import jitlogreg as jlr; X of floats, y of 0 and 1"
    return [
        *steps,
        ("jitlogreg tune", "measures in half a minute which settings suit this CPU"),
        ("jitlogreg bench", "times the kernels beside NumPy and the speed of memory"),
        call,
        ("docs/from-notes-to-kernels.md", "goes from the update rule to compiled kernels"),
    ]


def _sufficient_penalty(settings, fitted):
    """The l2 of the demo, unless the loss has no minimum without one."""
    return settings.l2 if settings.l2 or fitted.converged else 0.01


def _same_data_again(settings, label, l2, excess):
    command = f"jitlogreg demo --data {shlex.quote(settings.data)} --label {shlex.quote(label)}"
    if l2:
        command += f" --l2 {l2:g}"
    if l2 != settings.l2:
        return command, "adds a penalty, with which the loss has a minimum"
    if excess < _CLOSE:
        return f"{command} --seed {settings.seed + 1}", "holds out other rows"
    return f"{command} --iterations {10 * settings.iterations}", "comes closer to the loss of jlr.fit"

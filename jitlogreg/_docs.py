"""Docstring entries that the public functions share, each written once.

A line `%(X)s` in the docstring of a decorated object stands for the entry X below. Text after it belongs to the entry.
"""

import re
from typing import TypeVar

_Documented = TypeVar("_Documented")

ENTRIES = {
    "X": """
X : ndarray or CSR of float32 or float64, shape (m, n)
    One example per row; in C or F order, or a view with one unit stride. A sparse X, a `CSR` or a csr_array or
    csr_matrix of SciPy, runs on the CPU, and each of K outputs reads it.
""",
    "y": """
y : ndarray of bool, integer or float, shape (m,)
    Labels from 0 to 1; soft labels are allowed. Independent models may have labels of their own, shape (m, K). Of a
    softmax, the integers 0 to K − 1; or probabilities (m, K), whose rows sum to 1.
""",
    "w": """
w : ndarray of X's dtype or float64, shape (n,) or (n, K)
    The coefficients; with K columns, of K outputs from one read of X.
""",
    "b": """
b : float
    The intercept; of K outputs also an array (K,).
""",
    "sample_weight": """
sample_weight : ndarray of bool, integer or float, shape (m,), optional
    Finite weights of at least 0 with a positive sum; by default 1 each. Independent models may have weights of their
    own, shape (m, K).
""",
    "l2": """
l2 : float
    The strength of the penalty l2/2 ‖w‖², at least 0. The intercept is not penalised. Independent models may have
    penalties of their own, an array (K,).
""",
    "link": """
link : {"sigmoid", "softmax"}
    What w of shape (n, K) means: K independent models, or one model of K classes.
""",
    "offset": """
offset : ndarray of bool, integer or float, shape (m,), optional
    A known part of each margin, which is added to z; of K outputs also (m, K). A number that is not finite is computed
    with, as in X.
""",
    "out": """
out : ndarray of w's dtype, shape (m,) or (m, K), optional
    Receives the result and is returned. It must be contiguous and share no memory with an input.
""",
    "out_dw": """
out : ndarray of w's dtype, shape of w, optional
    Receives dw and is returned as dw. It must be contiguous and share no memory with an input. If the call raises, it
    stays unchanged.
""",
    "y_of_fit": """
y : ndarray of bool, integer or float, shape (m,)
    Labels from 0 to 1; soft labels are allowed. Of a softmax, the integers 0 to K − 1; or probabilities (m, K), whose
    rows sum to 1.
""",
    "sample_weight_of_fit": """
sample_weight : ndarray of bool, integer or float, shape (m,), optional
    Finite weights of at least 0 with a positive sum; by default 1 each.
""",
    "offset_of_fit": """
offset : ndarray of bool, integer or float, shape (m,), optional
    A known part of each margin, which is added to z: a term with the coefficient 1. Of a softmax also (m, K).
""",
    "l2_of_fit": """
l2 : float
    The strength of the penalty l2/2 ‖w‖², at least 0. The intercept is not penalised.
""",
    "callback_of_fits": """
callback : callable, optional
    Called as callback(state) after each fit, once where several end together, with the numbers of fits `n_done` and
    `n_left`; no more are made if it returns True.
""",
    "checkpoint_of_fits": """
checkpoint : path, optional
    A file to save finished fits in: at the start, after each `checkpoint_every` fits, and at the end, also where the
    callback is it.
checkpoint_every : int
    At least 1.
""",
    "target": """
target : {"cpu", "cuda", "reference"}, optional
    Where to run. By default the enclosing `use_target`, then the environment, then where X is stored decides.
""",
    "raises": """
TypeError
    If an argument has an unsupported type or dtype.
ValueError
    If a shape, a stride or a value is not supported; the message names what is.
TargetUnavailableError
    If the target cannot run here.
""",
}


def documented(described: _Documented) -> _Documented:
    """Replace each line `%(name)s` in the docstring of a function or class by the entry of that name.

    Under `python -OO` there is no docstring, and nothing happens.
    """
    if described.__doc__ is not None:
        described.__doc__ = re.sub(r"^( *)%\((\w+)\)s$", _entry, described.__doc__, flags=re.MULTILINE)
    return described


def _entry(match):
    indent, name = match.groups()
    return indent + ENTRIES[name].strip().replace("\n", f"\n{indent}")

"""Logistic regressions whose coefficients are printed somewhere: `textbook/cases.json` and the data beside it.

A case of that file has

- `title`, and `source`: who printed the coefficients, and where;
- `data`: a file of comma-separated values, whose first lines say where the numbers come from; or one that another
  package has, as package:path, which is not kept here where its author keeps all rights;
- `y`, `weight`: expressions in the columns of that file; grouped counts are successes / trials with weight trials;
- `coefficients`: for each column of X its name as printed, an expression that makes it, and the value as printed;
- `intercept`: its value as printed, or null for a fit without one;
- `l2`: the penalty of J(w, b) = 1/S Σ sᵢLᵢ + l2/2 ‖w‖², 0 if it is not there;
- `deviance` or `log_likelihood`, as printed, if it is;
- `within`: how many units of the last digit the printed numbers may be off, where that is more than the half unit of
  rounding; `why` says why.
"""

import csv
import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).resolve().parent / "textbook"

# Relative, for a number that lies between two of its printed digits: of twelve printed digits it leaves nine
TIE = 1e-9


class Case(NamedTuple):
    """A regression to be done, and what was printed of it."""

    name: str
    title: str
    source: str
    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    l2: float
    fit_intercept: bool
    names: list[str]
    w: list[str]
    b: str | None
    within: float
    deviance: str | None
    log_likelihood: str | None

    def printed(self):
        """What each number was printed as, by its name; the intercept is last."""
        pairs = list(zip(self.names, self.w, strict=True))
        return pairs if self.b is None else [*pairs, ("intercept", self.b)]


def names():
    return list(_cases())


def needs(name):
    """The package that a case's data are in and that is not installed, or None."""
    package, found, _ = _cases()[name]["data"].partition(":")
    return package if found and importlib.util.find_spec(package) is None else None


def load(name):
    """The case of this name."""
    case = _cases()[name]
    columns = _columns(_path(case["data"]))
    rows = len(next(iter(columns.values())))

    def made(expression):
        values = eval(expression, {"__builtins__": {}, **FUNCTIONS, **columns})
        return np.broadcast_to(np.asarray(values, dtype=np.float64), rows)

    labels, expressions, w = zip(*case["coefficients"], strict=True)
    return Case(
        name=name,
        title=case["title"],
        source=case["source"],
        X=np.ascontiguousarray(np.column_stack([made(expression) for expression in expressions])),
        y=made(case["y"]).copy(),
        sample_weight=made(case["weight"]).copy() if "weight" in case else None,
        l2=case.get("l2", 0.0),
        fit_intercept=case["intercept"] is not None,
        names=list(labels),
        w=list(w),
        b=case["intercept"],
        within=case.get("within", 0.5),
        deviance=case.get("deviance"),
        log_likelihood=case.get("log_likelihood"),
    )


def unit(text):
    """A unit of the last digit of a printed number."""
    return 10.0 ** Decimal(text).as_tuple().exponent


def digits(text):
    """How many significant digits a printed number has."""
    return len(Decimal(text).as_tuple().digits)


def misses(case, w, b, tie=TIE):
    """The numbers that do not come out as printed, and how far off they are, in units of their last digit."""
    return {
        name: distance(value, text) / unit(text)
        for (name, text), value in zip(case.printed(), [*w, b], strict=False)
        if not agrees(value, text, case.within, tie)
    }


def agrees(value, text, within=0.5, tie=TIE):
    """Whether a number is what was printed, up to so many units of its last digit and what decides a tie."""
    return distance(value, text) <= within * unit(text) + tie * abs(float(text))


def distance(value, text):
    return abs(float(value) - float(text))


def deviance(case, loss):
    """−2 log-likelihood less that of a model which fits each label, from the mean loss, penalty left out."""
    s = np.ones(len(case.y)) if case.sample_weight is None else case.sample_weight
    least = np.zeros(len(case.y))
    inner = (case.y > 0) & (case.y < 1)
    y = case.y[inner]
    least[inner] = -(y * np.log(y) + (1 - y) * np.log1p(-y))
    return float(2 * (s.sum() * loss - (s * least).sum()))


def newton(case):
    """w, b and the mean loss without the penalty, by Newton's method in `np.longdouble`: 80 bits, on x86 at least.

    It works on columns that are centred, where there is an intercept, and of unit scale.
    """
    wide = np.longdouble
    X, y = case.X.astype(wide), case.y.astype(wide)
    s = np.ones(len(y), wide) if case.sample_weight is None else case.sample_weight.astype(wide)
    s = s / s.sum()
    centre = s @ X if case.fit_intercept else np.zeros(X.shape[1], wide)
    scale = np.sqrt(s @ (X - centre) ** 2)
    Z = (X - centre) / scale
    penalty = wide(case.l2) / scale**2
    if case.fit_intercept:
        Z, penalty = np.column_stack([Z, np.ones(len(y), wide)]), np.append(penalty, wide(0))
    theta = np.zeros(Z.shape[1], wide)
    value = np.inf
    for _ in range(60):
        z = Z @ theta
        a = 1 / (1 + np.exp(-z))
        gradient = Z.T @ (s * (a - y)) + penalty * theta
        step = _solve(Z.T @ ((s * a * (1 - a))[:, np.newaxis] * Z) + np.diag(penalty), gradient)
        if np.abs(step).max() <= 1e-16 * max(1, np.abs(theta).max()):
            break
        length = wide(1)
        while (new := _value(Z, y, s, penalty, theta - length * step)) > value and length > 1e-6:
            length /= 2
        theta, value = theta - length * step, new
    w = theta[: X.shape[1]] / scale
    b = theta[-1] - w @ centre if case.fit_intercept else wide(0)
    return w, b, _value(Z, y, s, 0 * penalty, theta)


def _value(Z, y, s, penalty, theta):
    z = Z @ theta
    loss = np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))
    return s @ loss + (penalty * theta * theta).sum() / 2


def _solve(A, b):
    """Gaussian elimination with pivots, which NumPy has not for `np.longdouble`."""
    A = np.column_stack([A, b])
    n = len(b)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(A[k:, k])))
        A[[k, pivot]] = A[[pivot, k]]
        A[k] /= A[k, k]
        others = np.arange(n) != k
        A[others] -= np.outer(A[others, k], A[k])
    return A[:, n]


def _cases():
    return json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))


def _path(data):
    package, found, path = data.partition(":")
    return Path(importlib.util.find_spec(package).origin).parent / path if found else FOLDER / data


def _columns(path):
    """The columns of a file by their names: of numbers if all are, else of words."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    head, *rows = csv.reader(lines)
    return {name: _numbers(values) for name, values in zip(head, zip(*rows, strict=True), strict=True)}


def _numbers(values):
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:
        return np.array(values)


def _pick(values, levels):
    """One value for each row, by its level, counted from 1."""
    return np.array(values, dtype=np.float64)[levels.astype(int) - 1]


def _standard(x):
    """Mean 0 and variance 1, of a sample."""
    return (x - x.mean()) / x.std(ddof=1)


def _single(x):
    """As a program has it that keeps 24 bits."""
    return x.astype(np.float32).astype(np.float64)


# What an expression may call
FUNCTIONS = {"log": np.log, "log10": np.log10, "sqrt": np.sqrt, "pick": _pick, "standard": _standard, "single": _single}

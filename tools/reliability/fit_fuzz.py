"""Fit data of every kind, easy and hard, and hold each answer against the minimum in 80 bits.

    python tools/reliability/fit_fuzz.py                               # 20,000 fits, in some minutes on two cores
    python tools/reliability/fit_fuzz.py --kind offset --cases 500     # one kind
    python tools/reliability/fit_fuzz.py --case offset:17              # one fit, with all its details
    python tools/reliability/fit_fuzz.py --write                       # results/fit_fuzz.json and docs/reliability.md
    python tools/reliability/fit_fuzz.py --from results/fit_fuzz.json  # the table alone

It exits with 1 where a fit is at fault. It needs a machine whose long double has 80 bits, as x86 under Linux has.
"""

import argparse
import collections
import json
import multiprocessing
import os
import statistics
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, ROOT, digits, measured_on, provenance, replaced, table

sys.path.insert(0, str(ROOT / "tests"))

import exact_fit

RESULTS, PAGE = FIGURES / "fit_fuzz.json", DOCS / "reliability.md"
SOLVERS = ("auto", "newton", "lbfgs")

# Nats of all data's log-likelihood that an answer called converged may lack
ENOUGH = 1e-6
# The minimum itself is known to this: an answer that is better shows that the search for it is broken
TRUTH = 1e-7

GOOD, HONEST, FAULT = "good", "honest", "fault"


class Data(NamedTuple):
    """What `fit` gets."""

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    l2: float = 0.0
    fit_intercept: bool = True


class Outcome(NamedTuple):
    """What came of a fit. `lost` is None where there is no minimum, or no answer."""

    kind: str
    seed: int
    solver: str
    verdict: str
    reason: str
    exists: bool | None
    lost: float | None
    iterations: int | None
    warned: bool


# ---------------------------------------------------------------- kinds of data


def plain(rng, m=None, n=None, shift=None):
    """Independent columns about 0, and labels drawn from a model of them."""
    m, n = m or int(rng.integers(20, 401)), n or int(rng.integers(1, 9))
    X = rng.normal(size=(m, n))
    return Data(X, labels(rng, X, shift))


def labels(rng, X, shift=None):
    """Labels of both classes, drawn from a model with margins of some ±1."""
    slopes = rng.normal(size=X.shape[1]) * 10.0 ** rng.uniform(-1, 0.5) / np.sqrt(X.shape[1])
    z = X @ slopes + (rng.normal() if shift is None else shift)
    y = (rng.uniform(size=len(X)) < 1 / (1 + np.exp(-z))).astype(float)
    if y.min() == y.max():
        y[rng.integers(len(y))] = 1 - y[0]
    return y


def offset(rng):
    """Up to 1e9 standard deviations away from 0."""
    data = plain(rng)
    return data._replace(X=data.X + log_uniform(rng, 0, 9, data.X.shape[1]) * signs(rng, data.X.shape[1]))


def scale(rng):
    """All columns times one power of ten."""
    data = plain(rng)
    return data._replace(X=data.X * 10.0 ** rng.integers(-12, 13))


def scales(rng):
    """Each column times its own, with a mean of its own size."""
    data = plain(rng)
    n = data.X.shape[1]
    return data._replace(X=(data.X + rng.normal(size=n)) * 10.0 ** rng.integers(-12, 13, n))


def collinear(rng):
    """A column that the others make up, but for a share of 1e-2 to 1e-8."""
    data = plain(rng, n=int(rng.integers(2, 9)))
    X, k = data.X.copy(), rng.integers(data.X.shape[1])
    others = np.delete(np.arange(X.shape[1]), k)
    X[:, k] = X[:, others] @ rng.normal(size=len(others)) + log_uniform(rng, -8, -2) * X[:, k]
    return data._replace(X=X)


def duplicate(rng):
    """Columns twice, some of them negative or doubled."""
    data = plain(rng)
    n = data.X.shape[1]
    taken = rng.integers(0, n, rng.integers(1, 4))
    copies = data.X[:, taken] * rng.choice([1.0, 1.0, -1.0, 2.0, 1024.0], len(taken))
    return data._replace(X=np.column_stack([data.X, copies])[:, rng.permutation(n + len(taken))])


def dummies(rng):
    """A column for each value of a factor, and a number or two; in half of them a value has one class alone."""
    data = plain(rng, n=int(rng.integers(1, 3)))
    levels = int(rng.integers(2, 7))
    factor = rng.integers(levels, size=len(data.y))
    dropped = int(rng.integers(2))  # the first value is a column, or the reference
    columns = (factor[:, None] == np.arange(dropped, levels)).astype(float)
    y = np.where((factor == levels - 1) & (rng.uniform() < 0.5), 1.0, data.y)
    X = columns if rng.uniform() < 0.3 else np.column_stack([columns, data.X])
    return data._replace(X=X, y=y)


def separated(rng):
    """Every example is on its own side of a plane."""
    data = plain(rng)
    z = data.X @ rng.normal(size=data.X.shape[1]) + rng.normal() / 4
    return data._replace(y=(z > 0).astype(float))


def one_class(rng):
    """All labels are 0, or all are 1."""
    data = plain(rng)
    return data._replace(y=np.full(len(data.y), float(rng.integers(2))), l2=penalty(rng, 0.3))


def weightless_class(rng):
    """No example of one class has any weight."""
    data = plain(rng)
    of = float(rng.integers(2))
    return data._replace(sample_weight=np.where(data.y == of, 0.0, rng.uniform(0.1, 3, len(data.y))))


def rare(rng):
    """One to five of up to 20,000 examples are positive."""
    m, n = int(log_uniform(rng, 3, np.log10(20_000))), int(rng.integers(1, 5))
    X, y = rng.normal(size=(m, n)), np.zeros(m)
    y[: rng.integers(1, 6)] = 1
    return Data(X, y)


def weights(rng):
    """Weights from 1 to 1e12, divided by their mean."""
    data = plain(rng)
    s = log_uniform(rng, -6, 6, len(data.y))
    return data._replace(sample_weight=s / s.mean())


def wide(rng):
    """More columns than rows, and a penalty."""
    m = int(rng.integers(5, 21))
    return plain(rng, m, int(rng.integers(m + 1, 41)))._replace(l2=penalty(rng, 1))


def float32(rng):
    """In float32, with an offset and a scale of its own for each column."""
    data = plain(rng)
    n = data.X.shape[1]
    X = (data.X + log_uniform(rng, -1, 4, n)) * log_uniform(rng, -3, 3, n)
    return data._replace(X=X.astype(np.float32))


def powers(rng):
    """x, x² … of numbers such as years, that are not centred."""
    m, degree = int(rng.integers(20, 401)), int(rng.integers(2, 6))
    start, length = [(1950, 70), (2000, 24), (0, 10), (1, 1), (15, 70)][rng.integers(5)]
    x = start + length * rng.uniform(size=m)
    x = np.floor(x) if length > 20 and rng.uniform() < 0.5 else x
    centred = (x - start) / length - 0.5
    return Data(x[:, None] ** np.arange(1, degree + 1), labels(rng, 3 * centred[:, None] ** [1, 2]))


def tiny_or_huge(rng):
    """Columns times 1e-200 to 1e200."""
    data = plain(rng)
    n = data.X.shape[1]
    return data._replace(X=data.X * rng.choice([1e-200, 1e-150, 1e-100, 1.0, 1e100, 1e150, 1e200], n))


def counts(rng):
    """Shares of up to 1,000 events each, weighted by how many there are."""
    data = plain(rng)
    many = rng.integers(1, 10 ** rng.integers(1, 4), len(data.y))
    z = data.X @ rng.normal(size=data.X.shape[1]) / 2 + rng.normal()
    happened = rng.binomial(many, 1 / (1 + np.exp(-z)))
    return data._replace(y=happened / many, sample_weight=many.astype(float))


def penalised(rng):
    """Any of the above with a penalty of 1e-8 to 10."""
    makers = (plain, offset, scale, scales, collinear, duplicate, dummies, separated, rare, weights, powers, counts)
    return makers[rng.integers(len(makers))](rng)._replace(l2=penalty(rng, 1))


def no_intercept(rng):
    """Columns with means of their own, and no intercept."""
    makers = (plain, scales, collinear, duplicate, separated, weights, counts, one_class)
    maker = makers[rng.integers(len(makers))]
    data = maker(rng)
    X = data.X
    if maker is not duplicate:  # of which rounding would make columns that almost depend on each other
        X = X + np.abs(X).mean(axis=0) * rng.normal(size=X.shape[1]) * rng.integers(2)
    return data._replace(X=X, fit_intercept=False, l2=penalty(rng, 0.3))


def log_uniform(rng, low, high, size=None):
    return 10.0 ** rng.uniform(low, high, size)


def signs(rng, size):
    return rng.choice([-1.0, 1.0], size)


def penalty(rng, share):
    """An l2 in this share of cases, and 0 in the others."""
    return float(log_uniform(rng, -8, 1)) if rng.uniform() < share else 0.0


KINDS = {
    "plain": plain,
    "offset": offset,
    "scale": scale,
    "scales": scales,
    "collinear": collinear,
    "duplicate": duplicate,
    "dummies": dummies,
    "separated": separated,
    "one class": one_class,
    "weightless class": weightless_class,
    "rare": rare,
    "weights": weights,
    "wide": wide,
    "float32": float32,
    "powers": powers,
    "tiny or huge": tiny_or_huge,
    "counts": counts,
    "penalised": penalised,
    "no intercept": no_intercept,
}


def make(kind, seed):
    """The data of a case, and the solver whose turn it is; the same for ever, as long as the kind is."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    data = KINDS[kind](rng)
    X = np.asarray(data.X, order="CF"[rng.integers(2)])
    return data._replace(X=X), SOLVERS[seed % len(SOLVERS)]


# ---------------------------------------------------------------- a fit, and what is to be said of it


def run(kind, seed, fit=None):
    """The outcome of one case; `fit` is the package's, unless a test has another."""
    data, solver = make(kind, seed)
    truth = exact_fit.exact_fit(*data)
    fitted, complaint, warned = call(data, solver, fit)
    if fitted is None:
        return Outcome(kind, seed, solver, FAULT, complaint, truth.exists, None, None, warned)
    lost = exact_fit.lost(truth, fitted.w, fitted.b)
    if truth.exists and truth.steps == exact_fit.MOST_STEPS:  # so far out that the search for it ended before
        truth = exact_fit.exact_fit(*data, near=(fitted.w, fitted.b))
        lost = exact_fit.lost(truth, fitted.w, fitted.b)
    if lost < -TRUTH * max(1, float(truth.problem.s.max())):
        raise ArithmeticError(f"--case {kind!r}:{seed}: the truth is not the minimum: a fit is better by {-lost}")
    verdict, reason = judge(fitted, truth, lost)
    if complaint:
        verdict, reason = FAULT, complaint
    lost = None if truth.exists is False else lost
    return Outcome(kind, seed, solver, verdict, reason, truth.exists, lost, fitted.n_iterations, warned)


def call(data, solver, fit=None):
    """The fit, or None; what is wrong with how it came, or ""; and whether it warned of separable classes."""
    separation = getattr(jlr, "SeparationWarning", ())
    fit = fit or jlr.fit
    arguments = data._asdict() | {"solver": solver}
    fitted, complaint = None, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = fit(arguments.pop("X"), arguments.pop("y"), **arguments)
        except Exception as error:
            complaint = f"raised {type(error).__name__}: {error}"
    others = [of.message for of in caught if not isinstance(of.message, separation)]
    if others and not complaint:
        complaint = f"warned: {type(others[0]).__name__}: {others[0]}"
    return fitted, complaint, len(others) < len(caught)


def judge(fitted, truth, lost):
    """A verdict on a fit, and its reason."""
    if truth.exists is False:
        return (FAULT, "converged where there is no minimum") if fitted.converged else (GOOD, "no minimum, and says so")
    if not fitted.converged:
        return HONEST, reason_of(fitted)
    return (GOOD, "converged") if lost <= ENOUGH else (FAULT, "converged elsewhere")


def reason_of(fitted):
    return fitted.message.partition(":")[0]


# ---------------------------------------------------------------- many of them


def cases(kinds, count, seed):
    """Kinds in turn, and each with seeds of its own."""
    return [(kinds[k % len(kinds)], 1_000_000 * seed + k // len(kinds)) for k in range(count)]


def outcomes(kinds, count, seed=0, processes=1):
    """The outcomes in order; a line on stderr every five seconds."""
    todo = cases(kinds, count, seed)
    if processes == 1:
        return list(told(map(_run, todo), count))
    os.environ["NUMBA_NUM_THREADS"] = "1"  # of the processes that come now
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(told(pool.imap(_run, todo, chunksize=20), count))


def _run(case):
    return run(*case)


def told(done, count):
    last = time.monotonic()
    for k, outcome in enumerate(done, 1):
        if time.monotonic() > last + 5:
            last = time.monotonic()
            print(f"{k} of {count}", file=sys.stderr)
        yield outcome


def summary(of):
    """By kind, and of all together, what JSON takes."""
    kinds = {}
    for outcome in of:
        kinds.setdefault(outcome.kind, []).append(outcome)
    return {kind: _summary(some) for kind, some in kinds.items()} | {"together": _summary(of)}


def _summary(of):
    verdicts = collections.Counter(outcome.verdict for outcome in of)
    with_answer = [outcome.lost for outcome in of if outcome.lost is not None]
    reasons = collections.Counter(f"{outcome.verdict}: {outcome.reason}" for outcome in of)
    faults = [outcome for outcome in of if outcome.verdict == FAULT]
    iterations = [outcome.iterations for outcome in of if outcome.iterations is not None]
    return {
        "fits": len(of),
        "good": verdicts[GOOD],
        "honest": verdicts[HONEST],
        "faults": verdicts[FAULT],
        "faults_by_solver": dict(collections.Counter(outcome.solver for outcome in faults)),
        "no_minimum": sum(outcome.exists is False for outcome in of),
        "undecided": sum(outcome.exists is None for outcome in of),
        "warned": sum(outcome.warned for outcome in of if outcome.exists is False),
        "false_alarms": sum(outcome.warned for outcome in of if outcome.exists is not False),
        "worst_lost": max(_lost(of, honest=False), default=None),
        "worst_lost_honest": max(_lost(of, honest=True), default=None),
        "fits_with_a_minimum": len(with_answer),
        "median_iterations": statistics.median(iterations) if iterations else None,
        "reasons": dict(reasons.most_common()),
        "at_fault": [f"{outcome.kind}:{outcome.seed}" for outcome in faults[:20]],
    }


def _lost(of, honest):
    """What fits with a minimum lack: those that say they have not come there, or the others."""
    return [each.lost for each in of if each.lost is not None and (each.verdict == HONEST) == honest]


def text(results):
    """The table."""
    counted = ["fits", "good", "honest", "faults", "no_minimum", "warned", "false_alarms"]
    head, rows = ["kind", *(name.replace("_", " ") for name in counted), "worst lost", "iterations"], []
    for kind, of in results["kinds"].items():
        worst = "" if of["worst_lost"] is None else digits(max(of["worst_lost"], 0.0), 2)
        rows.append([kind, *(of[name] for name in counted), worst, f"{of['median_iterations'] or 0:g}"])
    return table(head, rows)


def reasons(results):
    """What is at fault, how often, and where to look first."""
    lines = []
    for kind, of in results["kinds"].items():
        if kind == "together":
            continue
        why = [f"    {count:5d}  {reason}" for reason, count in of["reasons"].items() if not reason.startswith(GOOD)]
        if of["undecided"]:
            why.append(f"    {of['undecided']:5d}  cannot be told whether there is a minimum")
        if why:
            by = ", ".join(f"{solver} {count}" for solver, count in of["faults_by_solver"].items())
            lines += [kind + (f" (faults: {by})" if by else ""), *why]
        if of["at_fault"]:
            lines.append(f"           --case '{of['at_fault'][0]}'")
    return "\n".join(lines)


# ---------------------------------------------------------------- one fit with its details


def details(kind, seed):
    """All that is known of a case, as text."""
    data, solver = make(kind, seed)
    truth = exact_fit.exact_fit(*data)
    fitted, complaint, warned = call(data, solver)
    order, wide = "C" if data.X.flags.c_contiguous else "F", data.X.astype(np.longdouble)
    zeros, ones = int(np.sum(data.y == 0)), int(np.sum(data.y == 1))
    lines = [
        f"X of {data.X.dtype.name}, {data.X.shape[0]} x {data.X.shape[1]}, in {order} order",
        f"    means     {_numbers(wide.mean(axis=0))}",
        f"    deviations {_numbers(wide.std(axis=0))}",
        f"labels: {zeros} of 0, {ones} of 1, {len(data.y) - zeros - ones} between",
        f"l2 {data.l2:g}, {'with' if data.fit_intercept else 'without'} an intercept, solver {solver!r}",
    ]
    if data.sample_weight is not None:
        s = data.sample_weight
        lines.append(f"weights from {s.min():.3g} to {s.max():.3g}, {np.sum(s == 0)} of them 0, sum {s.sum():.6g}")
    lines += ["", *_truth(truth), ""]
    if fitted is not None:
        lost = exact_fit.lost(truth, fitted.w, fitted.b)
        lines += [
            f"fit: converged={fitted.converged}, {fitted.n_iterations} iterations, {fitted.message}",
            f"    w    {_numbers(fitted.w)}",
            f"    b    {fitted.b!r}",
            f"    loss {fitted.loss!r}, the gradient's norm {fitted.gradient_norm:.3g}",
            f"    lost {lost:.3g} of the total",
        ]
    lines += [f"complaint: {complaint}"] if complaint else []
    lines += ["it warned of separable classes"] if warned else []
    outcome = run(kind, seed)
    return "\n".join([*lines, f"{outcome.verdict}: {outcome.reason}"])


def _truth(truth):
    there = {
        True: "there is a minimum",
        False: "there is no minimum",
        None: "whether there is a minimum is not decided",
    }
    return [
        f"truth: {there[truth.exists]}, {truth.steps} steps",
        f"    w    {_numbers(truth.w)}",
        f"    b    {truth.b:.18g}; {truth.a:.6g} with centred columns",
        f"    loss {truth.loss:.18g} in total",
    ]


def _numbers(of):
    return "  ".join(f"{number:.6g}" for number in of)


# ---------------------------------------------------------------- the command line


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="this kind alone")
    parser.add_argument("--case", metavar="KIND:SEED", help="one fit and its details; nothing is written")
    parser.add_argument("--processes", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--output", metavar="FILE", help="write the figures here as well")
    parser.add_argument("--write", action="store_true", help="write results/fit_fuzz.json and docs/reliability.md")
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the page's table from this file alone")
    options = parser.parse_args(argv)
    if options.source:
        return write_page(json.loads(Path(options.source).read_text(encoding="utf-8")))
    if not exact_fit.IS_WIDE:
        came = np.finfo(np.longdouble).nmant + 1
        parser.error(f"numpy.longdouble: expected a mantissa of 64 bits, as on x86 under Linux, got {came}")
    if options.case:
        kind, _, seed = options.case.rpartition(":")
        if kind not in KINDS:
            parser.error(f"--case: expected a kind of {', '.join(KINDS)}, got {kind!r}")
        print(details(kind, int(seed)))
        return 0
    results = measure([options.kind] if options.kind else list(KINDS), options.cases, options.seed, options.processes)
    print(text(results), reasons(results), sep="\n\n")
    if options.output:
        _write(Path(options.output), results)
    if options.write:
        _write(RESULTS, results)
        write_page(results)
    return int(results["kinds"]["together"]["faults"] > 0)


def measure(kinds, count, seed=0, processes=1):
    began = time.monotonic()
    of = outcomes(kinds, count, seed, processes)
    seconds = round(time.monotonic() - began)
    return provenance() | {"seed": seed, "seconds": seconds, "enough": ENOUGH, "kinds": summary(of)}


def _write(path, results):
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def write_page(results):
    PAGE.write_text(page_with(results, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def page_with(results, page):
    return replaced(page, "reliability: fits", f"{text(results)}\n\n{measured_on(results)}")


if __name__ == "__main__":
    sys.exit(main())

"""Random sparse matrices, as CSR and as dense ones, against sums in 80 bits; and malformed ones, which must be refused.

    python tools/reliability/sparse_fuzz.py                                  # 20,000 matrices, in some minutes
    python tools/reliability/sparse_fuzz.py --kind tall --cases 500          # one kind
    python tools/reliability/sparse_fuzz.py --case tall:17                   # one matrix, with all its details
    python tools/reliability/sparse_fuzz.py --write                          # results/sparse_fuzz.json and the page
    python tools/reliability/sparse_fuzz.py --from results/sparse_fuzz.json  # the table alone

It exits with 1 where a result is outside its bound, or an error is not the documented one. It needs a machine whose
long double has 80 bits, as x86 under Linux has.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

from reliability.sparse_cases import ALL_KINDS, MALFORMED, make

RESULTS, PAGE = FIGURES / "sparse_fuzz.json", DOCS / "reliability.md"
WIDE = np.longdouble
IS_WIDE = np.finfo(WIDE).nmant == 63

# What is compared: of each result the largest error, as a share of its bound
RESULTS_OF_CALLS = ("forward", "loss", "dw", "db")


class Outcome(NamedTuple):
    """What came of a case: the shares of the bounds, by the form of X and the result, and what is wrong, or ""."""

    kind: str
    seed: int
    shares: dict
    complaint: str


# ---------------------------------------------------------------- what is exact, and what a result may be off


def wide_matrices(X):
    """The sums of the numbers of each row and column, and of their sizes, in 80 bits; and how many each row stores."""
    first, last = int(X.indptr[0]), int(X.indptr[-1])
    counts = np.diff(X.indptr).astype(np.int64)
    data = np.ones(last - first) if X.data is None else X.data[first:last]
    where = np.repeat(np.arange(len(X)), counts), X.indices[first:last]
    numbers, sizes = np.zeros(X.shape, WIDE), np.zeros(X.shape, WIDE)
    np.add.at(numbers, where, data.astype(WIDE))
    np.add.at(sizes, where, np.abs(data.astype(WIDE)))
    return numbers, sizes, counts


def expected(case, matrices):
    """The exact results, and what a target may differ from each, by the names of RESULTS_OF_CALLS.

    A margin's error δ moves σ and the residual by at most δ σ'(z) exp(δ), because log σ' has slopes of at most 1, and
    the loss by at most (|dz| + that) δ. The sums have 32 u Σ|terms|, in which the roundings of labels 0 and 1 are; soft
    labels have 4 ulp of the larger part of a residual, and of the loss, besides. The sum of the weights has 32 u too.
    """
    numbers, sizes, counts = matrices
    X, y, s, offset, w, b, l2 = case
    m, n = X.shape
    u, tiny, truth = float(np.finfo(w.dtype).eps) / 2, float(np.finfo(w.dtype).tiny), 2.0**-64
    o, y, w = np.zeros(m, WIDE) if offset is None else offset.astype(WIDE), y.astype(WIDE), w.astype(WIDE)
    z = numbers @ w + WIDE(b) + o
    delta = (counts / 8 + 16) * u * (sizes @ np.abs(w) + abs(b) + np.abs(o)) + (counts + 3) * tiny
    e = np.exp(-np.abs(z))
    larger, smaller = 1 / (1 + e), e / (1 + e)
    upper, lower = np.where(z >= 0, larger, smaller), np.where(z >= 0, smaller, larger)
    moved = np.minimum(delta * np.minimum(0.25, larger * smaller * np.exp(np.minimum(delta, 1000))), 1)
    forward = SimpleNamespace(exact=upper, bound=moved + 4 * u * (upper + moved) + tiny)
    if m == 0:
        return {"forward": forward}
    is_soft = (y > 0) & (y < 1)
    dz, largest = (1 - y) * upper - y * lower, np.maximum((1 - y) * upper, y * lower)
    losses = np.log1p(e) + np.where(z >= 0, (1 - y) * z, -y * z)
    weights = np.ones(m, WIDE) if s is None else s.astype(WIDE)
    S, off_S = weights.sum(), 0.0 if s is None else 32 * u
    off_dz = moved + is_soft * 8 * u * (largest + moved) + tiny
    off_losses = (np.abs(dz) + moved) * delta + tiny
    off_losses += is_soft * 8 * u * (losses + off_losses)
    of_sum, of_mean = 32 * u + m * truth, off_S + 4 * u

    def mean(terms, off, penalty, off_penalty):
        """The mean of terms that are each off by so much at most, plus a penalty."""
        total, sizes = np.sum(terms, axis=0), np.sum(np.abs(terms) + off, axis=0)
        bound = (np.sum(off, axis=0) + (of_sum + of_mean) * sizes) / S
        return SimpleNamespace(exact=total / S + penalty, bound=bound + off_penalty + tiny)

    penalty = WIDE(l2) / 2 * (w @ w)
    dw = (numbers.T @ (weights * dz)) / S + WIDE(l2) * w
    off_rows = weights * off_dz
    of_terms = sizes.T @ (weights * np.abs(dz) + off_rows)
    underflow = tiny * (m + np.sum(weights) + np.sum(sizes, axis=0))
    bound = (sizes.T @ off_rows + (of_sum + of_mean) * of_terms + underflow) / S + 4 * u * l2 * np.abs(w) + tiny
    return {
        "forward": forward,
        "loss": mean(weights * losses, weights * off_losses, penalty, (n / 8 + 16) * u * penalty),
        "dw": SimpleNamespace(exact=dw, bound=bound),
        "db": mean(weights * dz, off_rows, 0.0, 0.0),
    }


# ---------------------------------------------------------------- a case, and what is to be said of it


def run(kind, seed, package=jlr):
    """The outcome of one case; the calls are the package's, unless a test has others."""
    case = make(kind, seed)
    if kind == MALFORMED:
        return Outcome(kind, seed, {}, not_refused(case, package))
    dense = case._replace(X=case.X.toarray())
    numbers = dense.X.astype(WIDE)
    forms = {
        "sparse": (case, wide_matrices(case.X)),
        "dense": (dense, (numbers, np.abs(numbers), np.full(len(numbers), numbers.shape[1]))),
    }
    shares, complaints = {}, []
    for form, (of_form, matrices) in forms.items():
        try:
            found = call(of_form, package)
        except Exception as error:
            complaints.append(f"{form}: raised {type(error).__name__}: {error}")
            continue
        shares[form] = {name: share(found[name], of) for name, of in expected(of_form, matrices).items()}
        complaints += [
            f"{form}: {name} is off by {digits(of, 2)} of its bound" for name, of in shares[form].items() if not of <= 1
        ]
    return Outcome(kind, seed, shares, "; ".join(complaints))


def call(case, package):
    """The results of the calls by their names; of no rows, the forward pass alone, and the error of the other."""
    X, y, s, offset, w, b, l2 = case
    found = {"forward": package.forward(X, w, b, offset=offset)}
    if len(X) > 0:
        found |= package.loss_and_gradient(X, y, w, b, sample_weight=s, l2=l2, offset=offset)._asdict()
        return found
    try:
        package.loss_and_gradient(X, y, w, b, l2=l2, offset=offset)
    except ValueError as error:
        if "X: expected at least one row" in str(error):
            return found
        raise
    raise ArithmeticError("a loss of no rows")


def share(found, of):
    """The largest error as a share of its bound; inf of what is not finite, or has another shape."""
    found = np.asarray(found)
    if found.shape != np.shape(of.exact) or not np.all(np.isfinite(found)):
        return float("inf")
    error = np.abs(found.astype(WIDE) - of.exact)
    return float(np.max(error / of.bound, initial=0.0))


def not_refused(case, package):
    """What is wrong with how a malformed matrix was refused, or ""."""
    X, y, s, offset, w, b, l2 = case
    calls = {
        "forward": lambda: package.forward(X, w, b, offset=offset),
        "loss_and_gradient": lambda: package.loss_and_gradient(X, y, w, b, sample_weight=s, l2=l2, offset=offset),
        "Objective": lambda: package.Objective(X, y, sample_weight=s, l2=l2, offset=offset),
    }
    for name, function in calls.items():
        try:
            function()
        except ValueError as error:
            if not str(error).startswith(("indices[", "indptr[")):
                return f"{name}: raised ValueError: {error}"
        except Exception as error:
            return f"{name}: raised {type(error).__name__}: {error}"
        else:
            return f"{name}: took it"
    return ""


# ---------------------------------------------------------------- many of them


def outcomes(kinds, count, seed=0):
    """Kinds in turn, each with seeds of its own; a line on stderr every five seconds."""
    last, found = time.monotonic(), []
    for k in range(count):
        found.append(run(kinds[k % len(kinds)], 1_000_000 * seed + k // len(kinds)))
        if time.monotonic() > last + 5:
            last = time.monotonic()
            print(f"{k + 1} of {count}", file=sys.stderr)
    return found


def measure(kinds, count, seed=0):
    began, of = time.monotonic(), outcomes(kinds, count, seed)
    seconds, by_kind = round(time.monotonic() - began), {kind: [] for kind in kinds}
    for outcome in of:
        by_kind[outcome.kind].append(outcome)
    summaries = {kind: summary(some) for kind, some in by_kind.items()} | {"together": summary(of)}
    return provenance() | {"seed": seed, "seconds": seconds, "kinds": summaries}


def summary(of):
    """What JSON takes of some outcomes."""
    faults = [outcome for outcome in of if outcome.complaint]
    return {
        "matrices": len(of),
        "malformed": sum(outcome.kind == MALFORMED for outcome in of),
        "faults": len(faults),
        "shares": {form: _largest(outcome.shares.get(form, {}) for outcome in of) for form in ("sparse", "dense")},
        "at_fault": [f"{outcome.kind}:{outcome.seed}: {outcome.complaint}" for outcome in faults[:20]],
    }


def _largest(shares):
    shares = list(shares)
    found = {name: [of[name] for of in shares if name in of] for name in RESULTS_OF_CALLS}
    return {name: max(of) if of else None for name, of in found.items()}


def text(results):
    """The table."""
    head = ["kind", "matrices", "faults"]
    head += [f"{name}, {form}" for name in RESULTS_OF_CALLS for form in ("sparse", "dense")]
    rows = []
    for kind, of in results["kinds"].items():
        shares = [of["shares"][form][name] for name in RESULTS_OF_CALLS for form in ("sparse", "dense")]
        rows.append([kind, of["matrices"], of["faults"], *("" if of is None else digits(of, 2) for of in shares)])
    return table(head, rows)


def details(kind, seed):
    """All that is known of a case, as text."""
    X, y, s, offset, w, b, l2 = make(kind, seed)
    outcome = run(kind, seed)
    given = (
        ", ".join(name for name, array in (("weights", s), ("offsets", offset)) if array is not None) or "no weights"
    )
    lines = [
        f"{X!r}, indices of {X.indices.dtype}, w of {w.dtype}",
        f"{'soft' if np.any((y > 0) & (y < 1)) else 'hard'} labels, {given}, b {b:g}, l2 {l2:g}",
        *(
            f"{form}: {name} {of:.3g} of its bound"
            for form, shares in outcome.shares.items()
            for name, of in shares.items()
        ),
        f"complaint: {outcome.complaint or 'none'}",
    ]
    return "\n".join(lines)


# ---------------------------------------------------------------- the command line


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--kind", choices=ALL_KINDS, help="this kind alone")
    parser.add_argument("--case", metavar="KIND:SEED", help="one matrix and its details; nothing is written")
    parser.add_argument("--write", action="store_true", help="write results/sparse_fuzz.json and docs/reliability.md")
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the page's table from this file alone")
    options = parser.parse_args(argv)
    if options.source:
        return write_page(json.loads(Path(options.source).read_text(encoding="utf-8")))
    if not IS_WIDE:
        came = np.finfo(WIDE).nmant + 1
        parser.error(f"numpy.longdouble: expected a mantissa of 64 bits, as on x86 under Linux, got {came}")
    if options.case:
        kind, _, seed = options.case.rpartition(":")
        if kind not in ALL_KINDS:
            parser.error(f"--case: expected a kind of {', '.join(ALL_KINDS)}, got {kind!r}")
        print(details(kind, int(seed)))
        return 0
    results = measure([options.kind] if options.kind else list(ALL_KINDS), options.cases, options.seed)
    together = results["kinds"]["together"]
    print(text(results), *(of for kind in results["kinds"].values() for of in kind["at_fault"]), sep="\n")
    print(f"{together['matrices']} matrices, {together['malformed']} of them malformed: {together['faults']} faults")
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page(results)
    return int(together["faults"] > 0)


def write_page(results):
    PAGE.write_text(page_with(results, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def page_with(results, page):
    return replaced(page, "reliability: sparse", f"{text(results)}\n\n{measured_on(results)}")


if __name__ == "__main__":
    sys.exit(main())

"""The bits of every kernel on data that is exactly representable, as hashes: tests/golden_bits.json.

    python tools/reliability/golden_bits.py          # compare: exit 1 and the cases that differ, where any does
    python tools/reliability/golden_bits.py --write  # after a deliberate change of bits, a line in CHANGELOG.md
    NUMBA_CPU_NAME=nehalem NUMBA_CPU_FEATURES= python tools/reliability/golden_bits.py  # another CPU's code
    python tools/reliability/golden_bits.py --small  # one case a kernel, where compiled code is slow: under emulation

The numbers come from an integer recurrence and hold no rounding of their own, so they are the same everywhere.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import jitlogreg as jlr

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden_bits.json"

DTYPES = ("float64/float64", "float32/float32", "float32/float64")
# Small; on threads; rows and columns that fill no vector; sequential rows; long rows; column panels of either order,
# from one strip and from several, with and without rows that fill no group of eight
SHAPES = (
    *((1, 1), (7, 3), (64, 8), (1_000, 20), (1_001, 37), (4_000, 2), (50_000, 28), (50_003, 28), (400_001, 9)),
    *((20_000, 64), (9_000, 131), (5_000, 256), (2_000, 513), (300, 2_048), (333, 5_003), (8_203, 4_100), (40, 40_000)),
)
SMALL = ((1_001, 37), (100, 64), (21, 4_100), (11, 33_000))

# Of sparse rows: one task; several, of short rows and of few numbers for each column; totals that are prefetched
SPARSE_SHAPES = ((1, 1), (7, 3), (1_001, 37), (50_003, 28), (20_000, 500), (300, 5_003), (3_000, 300_000))
SPARSE_SMALL = ((1_001, 37),)
# Their rows have so many numbers on average, some of them in the same column
STORED = 20

# A scale and a shift that standardized columns undo: exact in float32
FAR_OFF = 2.0**-4, 2.0**10

# Of a softmax
CLASSES = 5

# The columns up to which a case has a Hessian and fits
HESSIAN_COLUMNS = 64

# The rows of cases with paths, folds and resamples
FEWEST_ROWS, MOST_ROWS = 1_000, 60_000


def all_cases():
    """The names of all cases, such as "64x8 C float32/float64"."""
    return cases((*SHAPES, *SMALL), SPARSE_SHAPES)


def small_cases():
    """The names of a case of each kernel."""
    return cases(SMALL, SPARSE_SMALL)


def cases(shapes, sparse_shapes):
    """The names of the cases of some shapes."""
    dense = [f"{m}x{n} {order} {dtypes}" for m, n in shapes for order in "CF" for dtypes in DTYPES]
    return dense + [f"{m}x{n} CSR {dtypes}" for m, n in sparse_shapes for dtypes in DTYPES]


def bits(case):
    """A hash for each call of a case, by the call's name."""
    shape, order, dtypes = case.split()
    (m, n), (x_dtype, w_dtype) = map(int, shape.split("x")), dtypes.split("/")
    if order == "CSR":
        return sparse_bits(m, n, x_dtype, w_dtype)
    X = np.array(numbers(m * n, 1).reshape(m, n), dtype=x_dtype, order=order)
    w, y = numbers(n, 2).astype(w_dtype), (numbers(m, 3) > 0).astype(w_dtype)
    soft, s = (numbers(m, 5).astype(w_dtype) + 1) / 2, (numbers(m, 4) + 1).astype(w_dtype)
    found = {
        "loss_and_gradient": digest(*jlr.loss_and_gradient(X, y, w, 0.25)),
        "weighted": digest(*jlr.loss_and_gradient(X, soft, w, 0.25, sample_weight=s, l2=0.125)),
        "loss": digest(jlr.loss(X, y, w, 0.25)),
        "forward": digest(jlr.forward(X, w, 0.25)),
        "log_forward": digest(jlr.log_forward(X, w, 0.25)),
    }
    offset = numbers(m, 9).astype(w_dtype)
    found["offset"] = digest(*jlr.loss_and_gradient(X, y, w, 0.25, offset=offset))
    W, classes = numbers(n * CLASSES, 6).reshape(n, CLASSES).astype(w_dtype), classes_of(m)
    found["softmax"] = digest(
        *jlr.loss_and_gradient(X, classes, W, 0.25, link="softmax", sample_weight=s, l2=0.125),
        jlr.log_forward(X, W, 0.25, link="softmax"),
    )
    found["models"] = digest(*jlr.loss_and_gradient(X, y, W, 0.25, sample_weight=s, offset=offset, l2=0.125))
    if w_dtype == "float64":
        several = jlr.Objective(X, classes, link="softmax", n_outputs=CLASSES)
        T = np.append(W, numbers(CLASSES, 7))
        found["softmax hessian_vector"] = digest(several.hessian_vector(T, T[::-1].copy()))
        objective, theta = jlr.Objective(X, y, sample_weight=s, l2=0.125), np.append(w, 0.25)
        found["objective"] = digest(*objective(theta))
        found["hessian_vector"] = digest(objective.hessian_vector(theta, theta[::-1].copy()))
        if n <= HESSIAN_COLUMNS:
            found["hessian"] = digest(objective.hessian(theta))
            for solver in ("newton", "lbfgs"):
                found[solver] = digest(*fitted(X, soft, s, solver))
                found[f"{solver} far off"] = digest(*fitted(X * FAR_OFF[0] + FAR_OFF[1], soft, s, solver))
        if n <= HESSIAN_COLUMNS and MOST_ROWS >= m >= FEWEST_ROWS:
            found["path"] = digest(jlr.fit_path(X, soft, l2s=[0.5, 0.125], sample_weight=s).w)
            found["folds"] = digest(jlr.cross_validate(X, y, [0.5, 0.125], folds=3, sample_weight=s).scores)
            found["resamples"] = digest(jlr.bootstrap(X, y, n_resamples=9, l2=0.125, sample_weight=s).w)
        if n <= HESSIAN_COLUMNS and len(np.unique(classes)) == CLASSES:
            found["softmax fit"] = digest(*fitted(X, classes, s, "lbfgs", link="softmax", max_iterations=4))
    return found


def sparse_bits(m, n, x_dtype, w_dtype):
    """A hash for each call on sparse rows, by the call's name."""
    X = sparse_rows(m, n, x_dtype)
    w, y, s, offset = (numbers(count, k).astype(w_dtype) for count, k in ((n, 2), (m, 3), (m, 4), (m, 9)))
    y, s, soft = (y > 0).astype(w_dtype), s + 1, (numbers(m, 5).astype(w_dtype) + 1) / 2
    W, classes = numbers(n * CLASSES, 6).reshape(n, CLASSES).astype(w_dtype), classes_of(m)
    found = {
        "loss_and_gradient": digest(*jlr.loss_and_gradient(X, y, w, 0.25)),
        "weighted": digest(*jlr.loss_and_gradient(X, soft, w, 0.25, sample_weight=s, l2=0.125, offset=offset)),
        "forward": digest(jlr.forward(X, w, 0.25), jlr.log_forward(X, w, 0.25)),
        "softmax": digest(
            *jlr.loss_and_gradient(X, classes, W, 0.25, link="softmax", sample_weight=s, l2=0.125),
            jlr.log_forward(X, W, 0.25, link="softmax"),
        ),
        "models": digest(*jlr.loss_and_gradient(X, y, W, 0.25, sample_weight=s, offset=offset, l2=0.125)),
    }
    if w_dtype == "float64":
        of_ones = jlr.CSR(None, X.indices, X.indptr, X.shape)
        found["ones"] = digest(*jlr.loss_and_gradient(of_ones, y, w, 0.25))
        several = jlr.Objective(X, classes, link="softmax", n_outputs=CLASSES)
        T = np.append(W, numbers(CLASSES, 7))
        found["softmax hessian_vector"] = digest(several.hessian_vector(T, T[::-1].copy()))
        objective, theta = jlr.Objective(X, y, sample_weight=s, l2=0.125), np.append(w, 0.25)
        found["objective"] = digest(*objective(theta))
        found["hessian_vector"] = digest(objective.hessian_vector(theta, theta[::-1].copy()))
        found["lbfgs"] = digest(
            *results_of(jlr.fit(X, soft, sample_weight=s, solver="lbfgs", l2=1e-3, max_iterations=8))
        )
        if n <= HESSIAN_COLUMNS:
            found["hessian"] = digest(objective.hessian(theta))
            found["newton"] = digest(*results_of(jlr.fit(X, soft, sample_weight=s, solver="newton", max_iterations=8)))
        if n <= HESSIAN_COLUMNS and len(np.unique(classes)) == CLASSES:
            of_classes = jlr.fit(X, classes, sample_weight=s, solver="lbfgs", link="softmax", max_iterations=4)
            found["softmax fit"] = digest(*results_of(of_classes))
    return found


def sparse_rows(m, n, dtype):
    """Rows of 0 to 2 STORED numbers, but no more than 2 n, in columns in no order."""
    lengths = whole_numbers(m, 10, min(2 * STORED, 2 * n) + 1)
    indptr = np.append(0, np.cumsum(lengths)).astype(np.int32)
    count = int(indptr[-1])
    return jlr.CSR(numbers(count, 1).astype(dtype), whole_numbers(count, 11, n).astype(np.int32), indptr, (m, n))


def whole_numbers(count, seed, below):
    """Whole numbers from 0 on, from those of `numbers`."""
    return ((numbers(count, seed) + 1) * 2**19).astype(np.int64) * below // 2**20


def fitted(X, y, s, solver, link="sigmoid", max_iterations=8):
    """What a few iterations of a fit come to, with the first of several columns twice: a factor by rows serves that."""
    X = X if X.shape[1] < 2 else np.concatenate([X, X[:, :1]], axis=1).astype(X.dtype, order="K")
    return results_of(jlr.fit(X, y, sample_weight=s, solver=solver, link=link, max_iterations=max_iterations))


def results_of(fit):
    return fit.w, fit.b, fit.loss, fit.decrement


def classes_of(m):
    """A class for each example; the last one has the last class, so that there are as many as CLASSES."""
    classes = ((numbers(m, 8) + 1) / 2 * (CLASSES - 1)).astype(np.int64)
    classes[-1] = CLASSES - 1
    return classes


def numbers(count, seed):
    """Numbers from −1 to 1 of 20 bits, which float32 holds exactly, by the mixing function of SplitMix64."""
    x = np.arange(count, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(44)).astype(np.float64) / 2**19 - 1


def digest(*results):
    found = hashlib.sha256()
    for result in results:
        found.update(np.ascontiguousarray(result).tobytes())
    return found.hexdigest()[:16]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the file anew")
    parser.add_argument("--small", action="store_true", help="compare a case of each kernel alone")
    options = parser.parse_args(argv)
    if options.write:
        golden = {case: bits(case) for case in all_cases()}
        GOLDEN.write_text(json.dumps(golden, indent=0) + "\n", encoding="utf-8")
        print(f"{len(golden)} cases are in {GOLDEN}")
        return 0
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    compared = small_cases() if options.small else list(golden)
    differ = []
    for case in compared:
        if bits(case) != golden[case]:
            differ.append(case)
            print(f"differs: {case}", file=sys.stderr)
    print(f"{len(compared) - len(differ)} of {len(compared)} cases have the golden bits")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())

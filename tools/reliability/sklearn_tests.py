"""Run scikit-learn's own tests of LogisticRegression on this package's: results/sklearn.json, docs/sklearn.md.

    python tools/reliability/sklearn_tests.py                              # ten minutes
    python tools/reliability/sklearn_tests.py --from results/sklearn.json  # the tables alone

They are those of the installed scikit-learn. It exits with 1 where one fails for which no reason is written down below.
"""

import argparse
import collections
import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, measured_on, provenance, replaced, table

RESULTS, PAGE = FIGURES / "sklearn.json", DOCS / "sklearn.md"
TESTS = "sklearn.linear_model.tests.test_logistic"
OUTCOMES = PASSED, FAILED, OUTSIDE = "passed", "failed", "not applicable"

OTHER_ARRAYS = "arrays of other libraries than NumPy, by scikit-learn's array API"

# What the cases that fail, and match one of these, count as, and why
EXPLAINED = [
    (r"test_max_iter\[.*(newton|liblinear|sag)", OUTSIDE, "asks for the words of that solver's own warning"),
    (r"test_dtype_match\[.*liblinear", OUTSIDE, "liblinear alone gives float64 coefficients for a float32 X"),
    (r"test_large_sparse_matrix", OUTSIDE, "the index arrays of sparse matrices"),
    (r"test_liblinear_with_large_values", OUTSIDE, "liblinear alone refuses numbers above 1e30, which are served here"),
    (r"test_newton_cholesky_fallback_to_lbfgs", OUTSIDE, "what newton-cholesky does about a singular Hessian"),
    (r"test_logistic_regression_array_api_\w+\[(torch|cupy|array_api)", OUTSIDE, OTHER_ARRAYS),
    (r"test_logreg_predict_proba_multinomial", OUTSIDE, "calls a private method, once its other assertions have held"),
    (r"test_consistency_path", FAILED, "compares with liblinear, which penalises the intercept: by 2e-3 with seed 1"),
    (
        r"test_logistic_cv\[",
        FAILED,
        "compares six decimals with LogisticRegressionCV, whose liblinear stops farther than that from the minimum",
    ),
]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables from this file's results alone")
    parser.add_argument("--seeds", default="0-4", help="the random seeds of tests that draw their data (%(default)s)")
    parser.add_argument("-k", dest="select", default="", help="of pytest: run these alone, print, and write nothing")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        cases = measure(options.seeds, options.select)
        results = provenance({"scikit-learn": version("scikit-learn")})
        results |= {"tests": TESTS, "seeds": options.seeds, "rows": grouped(cases)}
    print(json.dumps({outcome: sum(row["cases"] for row in of(results, outcome)) for outcome in OUTCOMES}))
    unexplained = [row for row in of(results, FAILED) if not row["reason"]]
    for row in unexplained:
        print(f"{row['test']}: {row['cases']} failed, and no reason is known", file=sys.stderr)
    if not options.select:
        if not options.source:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        for name, text in tables(results).items():
            page = replaced(page, f"sklearn: {name}", text)
        PAGE.write_text(page, encoding="utf-8")
    return 1 if unexplained else 0


# ---------------------------------------------------------------- the tests


def measure(seeds, select=""):
    """The outcome of each of scikit-learn's cases, with this package's class under the name of theirs."""
    # both are read when they are imported
    os.environ |= {"SKLEARN_TESTS_GLOBAL_RANDOM_SEED": seeds, "SCIPY_ARRAY_API": "1"}
    import numpy as np
    import pytest
    import sklearn

    estimator = substitute()
    recorder = Recorder(estimator)
    folder = Path(sklearn.__file__).parent
    test_file = folder.parent / Path(*TESTS.split(".")).with_suffix(".py")
    arguments = ["-q", "--no-header", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    with (
        # the test module takes both from there when it is imported
        mock.patch("sklearn.linear_model.LogisticRegression", estimator),
        mock.patch("sklearn.utils.fixes.CSR_CONTAINERS", [np.array]),
        mock.patch("sklearn.utils.fixes.COO_CONTAINERS", [np.array]),
    ):
        pytest.main([*arguments, "--tb=no", "-k", select, str(test_file)], plugins=[recorder])
    return recorder.cases


def substitute():
    """The estimator, as scikit-learn's tests construct theirs: "lbfgs" is itself, any other solver "auto".

    A fit that is outside its scope ends the test as not applicable.
    """
    import numpy as np
    import pytest

    from jitlogreg.sklearn import LogisticRegression

    class Substitute(LogisticRegression):
        fits = 0

        def __init__(
            self,
            penalty="deprecated",
            *,
            C=1.0,
            l1_ratio=0.0,
            dual=False,
            tol=1e-10,
            fit_intercept=True,
            intercept_scaling=1,
            class_weight=None,
            random_state=None,
            solver="lbfgs",
            max_iter=100,
            verbose=0,
            warm_start=False,
            n_jobs=None,
        ):
            super().__init__(
                penalty,
                C=C,
                tol=tol,
                fit_intercept=fit_intercept,
                class_weight=class_weight,
                solver=solver,
                max_iter=max_iter,
                warm_start=warm_start,
                n_jobs=n_jobs,
            )
            self.l1_ratio = l1_ratio
            self.dual = dual
            self.intercept_scaling = intercept_scaling
            self.random_state = random_state
            self.verbose = verbose

        def fit(self, X, y, sample_weight=None):
            Substitute.fits += 1
            if self.l1_ratio != 0 or self.penalty in ("l1", "elasticnet"):
                pytest.skip("an L1 penalty, or the parameter l1_ratio")
            if self.dual:
                pytest.skip("liblinear's dual problem")
            if self.solver == "liblinear" and len(np.unique(y)) > 2:
                pytest.skip("liblinear, which has two classes alone")
            solver, self.target = self.solver, None
            self.solver = "lbfgs" if solver == "lbfgs" else "auto"
            try:
                return super().fit(X, y, sample_weight)
            finally:
                self.solver = solver

        def set_callbacks(self, *callbacks):
            Substitute.fits += 1
            pytest.skip("scikit-learn's callbacks")

        def sparsify(self):
            pytest.skip("sparse coefficients")

    Substitute.__name__ = LogisticRegression.__name__
    return Substitute


class Recorder:
    """A plugin of pytest that keeps each case's test, its outcome, and its reason."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.cases = []

    def pytest_runtest_setup(self, item):
        """Before a case."""
        self.estimator.fits = 0

    def pytest_runtest_logreport(self, report):
        """After each of its phases."""
        if report.when == "call" or report.outcome != "passed":
            why = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
            name = report.nodeid.partition("::")[2]
            self.cases.append((name.partition("[")[0], *counted(name, report.outcome, why, self.estimator.fits)))


def counted(name, outcome, why, fits):
    """What an outcome of pytest counts as, and the reason."""
    reason = ""
    if outcome == "skipped":
        outcome, reason = OUTSIDE, OTHER_ARRAYS if "is not installed: not checking array_api" in why else why
    elif outcome == "passed" and not fits:
        outcome, reason = OUTSIDE, "fits no LogisticRegression, but LogisticRegressionCV or a function"
    elif outcome == "failed":
        outcome, reason = next((why for pattern, *why in EXPLAINED if re.match(pattern, name)), (FAILED, ""))
    return outcome, reason


def grouped(cases):
    """How many cases of a test share an outcome and its reason."""
    return [
        {"test": test, "outcome": outcome, "reason": reason, "cases": count}
        for (test, outcome, reason), count in sorted(collections.Counter(cases).items())
    ]


def of(results, outcome):
    return [row for row in results["rows"] if row["outcome"] == outcome]


# ---------------------------------------------------------------- the page


def tables(results):
    """What goes into the page, by the names of its markers."""
    return {
        "counts": counts_table(results),
        "not passed": not_passed_table(results),
        "passed": table(
            ["test", "cases that pass"], [[f"`{row['test']}`", row["cases"]] for row in of(results, PASSED)]
        ),
        "measured": f"{measured_on(results)}\nTests of {results['tests']}, with the random seeds {results['seeds']}.",
    }


def counts_table(results):
    rows = [
        [outcome, sum(row["cases"] for row in of(results, outcome)), len({row["test"] for row in of(results, outcome)})]
        for outcome in OUTCOMES
    ]
    return table(["outcome", "cases", "of so many tests"], rows)


def not_passed_table(results):
    rows = []
    for outcome in (FAILED, OUTSIDE):
        for reason in sorted({row["reason"] for row in of(results, outcome)}):
            alike = [row for row in of(results, outcome) if row["reason"] == reason]
            tests = ", ".join(f"`{row['test']}` {row['cases']}" for row in alike)
            rows.append([outcome, reason or "no reason known", sum(row["cases"] for row in alike), tests])
    return table(["outcome", "why", "cases", "of which tests"], rows)


if __name__ == "__main__":
    sys.exit(main())

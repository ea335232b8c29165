"""The script that runs scikit-learn's own tests, and the page that it writes."""

import json
import os
import subprocess
import sys

import pages
import pytest
from reliability import sklearn_tests as tool

LINES = {
    "passed": ("test_nan", tool.PASSED, ""),
    "a known failure": ("test_logistic_cv", tool.FAILED, "a reason"),
    "a failure": ("test_nan", tool.FAILED, ""),
}


def test_some_of_them_pass():
    pytest.importorskip("sklearn", "1.7")
    command = [sys.executable, tool.__file__, "--seeds", "42", "-k", "test_predict_2_classes or test_nan or sparsify"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout.splitlines()[-1]) == {"passed": 2, "failed": 0, "not applicable": 1}, done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "outcome", "why", "fits", "expected"),
    [
        ("test_nan", "passed", "", 1, ("passed", "")),
        (
            "test_nan",
            "passed",
            "",
            0,
            ("not applicable", "fits no LogisticRegression, but LogisticRegressionCV or a f"),
        ),
        ("test_nan", "failed", "", 1, ("failed", "")),
        ("test_nan", "failed", "", 0, ("failed", "")),
        ("test_nan", "skipped", "sparse coefficients", 1, ("not applicable", "sparse coefficients")),
        ("test_logistic_cv[42]", "failed", "", 1, ("failed", "compares six decimals with LogisticRegressionCV")),
        ("test_logistic_cv_other[42]", "failed", "", 1, ("failed", "")),
        ("test_max_iter[42-sag-1]", "failed", "", 1, ("not applicable", "asks for the words")),
        ("test_max_iter[42-lbfgs-1]", "failed", "", 1, ("failed", "")),
    ],
)
def test_what_counts_as_what(name, outcome, why, fits, expected):
    found, reason = tool.counted(name, outcome, why, fits)
    assert found == expected[0]
    assert reason.startswith(expected[1])
    assert bool(reason) == bool(expected[1])


@pytest.mark.parametrize(("seen", "status"), [(["passed", "a known failure"], 0), (["passed", "a failure"], 1)])
def test_a_failure_without_a_reason_is_told(monkeypatch, tmp_path, capsys, seen, status):
    page = tmp_path / "sklearn.md"
    page.write_text(tool.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    results = tmp_path / "sklearn.json"
    monkeypatch.setattr(tool, "PAGE", page)
    monkeypatch.setattr(tool, "RESULTS", results)
    monkeypatch.setattr(tool, "version", lambda name: "1.9.1")
    monkeypatch.setattr(tool, "measure", lambda seeds, select: [LINES[name] for name in seen])
    assert tool.main([]) == status
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"passed": 1, "failed": 1, "not applicable": 0}
    assert ("test_nan: 1 failed, and no reason is known" in captured.err) == bool(status)
    written = page.read_text(encoding="utf-8")
    assert "| `test_nan` | 1 |" in written
    assert tool.main(["--from", str(results)]) == status
    assert page.read_text(encoding="utf-8") == written


def test_the_page_is_that_of_the_results_and_explains_each_failure():
    results = json.loads(tool.RESULTS.read_text(encoding="utf-8"))
    page = tool.PAGE.read_text(encoding="utf-8")
    for name, text in tool.tables(results).items():
        assert pages.replaced(page, f"sklearn: {name}", text) == page
    assert all(row["reason"] for row in results["rows"] if row["outcome"] != tool.PASSED)
    assert "scikit-learn" in results["versions"]
    assert sum(row["cases"] for row in tool.of(results, tool.PASSED)) > 150

"""What `jitlogreg demo` reads from archives of arrays and from LIBSVM text, and which labels it finds there."""

import bz2
import gzip
import re

import numpy as np
import pytest

from jitlogreg.cli import data, data_files, main
from jitlogreg.cli.errors import UsageError

X = np.array([[0.5, 1.0], [1.5, -1.0], [-1.0, 2.0], [-2.0, -0.5]])
Y = np.array([1, 0, 1, 1])


def load_npz(tmp_path, label=None, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return data.load(str(tmp_path / "a.npz"), label)


def fail_on(fail, path):
    output = str(path.parent / "a.png")
    return fail("demo", "--data", str(path), "--label", "y", "--target", "reference", "--output", output)


def test_the_label_among_arrays_is_guessed(tmp_path):
    words = np.array(["p", "q"], object)
    loaded = load_npz(tmp_path, X=X, names=words, two=np.array([3, 4]), z=np.arange(4), y=Y, mask=Y == 1)
    assert (loaded.label, loaded.y.tolist()) == ("y", Y.tolist())
    assert loaded.notes == ("label: array y, for its name and its two values; --label NAME chooses another",)
    assert load_npz(tmp_path, A=X, ill=np.where(Y == 1, "yes", "no"), weights=np.ones(4)).classes == ("no", "yes")
    with pytest.raises(UsageError, match="expected labels, of two values, got none among the arrays ones"):
        load_npz(tmp_path, X=X, ones=np.ones(4))


def test_the_only_matrix_of_npz_is_found(tmp_path):
    loaded = load_npz(tmp_path, "y", values=X.astype(np.float32), y=Y * 3 - 1, weights=np.ones(4))
    assert loaded.X.dtype == np.float64
    np.testing.assert_array_equal(loaded.X, X.astype(np.float32))
    assert (loaded.y.tolist(), loaded.classes) == (Y.tolist(), ("-1", "2"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X, "labels": Y}, "--label: expected one array y, got 0 among the arrays labels"),
        ({"y": Y}, "it holds 0 arrays of two dimensions, of which none is named X"),
        ({"A": X, "B": X, "y": Y}, "it holds 2 arrays of two dimensions, of which none is named X"),
        ({"X": X, "y": Y[:3]}, "got 0 among the arrays none that have a value for each row of X"),
        (
            {"X": X[0], "y": Y},
            "its array X should hold numbers and have two dimensions, but holds float64 of shape (2,)",
        ),
        ({"X": X.astype(str), "y": Y}, "its array X should hold numbers and have two dimensions, but holds <U"),
        ({"X": X[:, :0], "y": Y}, "expected at least one column beside the labels, got none"),
        ({"X": np.where(X == 1, np.inf, X), "y": Y}, "expected finite numbers, got infinity in X[:, 1]"),
        ({"X": X, "y": np.arange(4)}, "expected array y to have two values, got 4: 0, 1, 2, 3"),
        ({"X": X[:3], "y": Y[:3]}, "expected at least 4 rows, since a quarter is held out, got 3"),
    ],
)
def test_bad_arrays_are_refused(fail, tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    assert message in fail_on(fail, tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"X,y\n1,2\n", b"PK\x03\x04 cut short"])
def test_files_that_are_no_archives_are_refused(fail, tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    assert "--data: expected a file that can be read, got " in fail_on(fail, tmp_path / "a.npz")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("pickled", ["X", "y"])
def test_pickled_arrays_are_refused_unread(fail, tmp_path, pickled):
    trap = tmp_path / "unpickled"
    array = np.array([Trap(trap)], dtype=object)
    np.savez(tmp_path / "a.npz", **({"X": X, "y": Y} | {pickled: array}))
    assert "Python objects" in fail_on(fail, tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes((np.save(tmp_path / "b.npy", array), (tmp_path / "b.npy").read_bytes())[1])
    fail_on(fail, tmp_path / "a.npz")
    assert not trap.exists()


def test_a_single_array_is_no_archive(fail, tmp_path):
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert "a single array" in fail_on(fail, tmp_path / "a.npz")


# ---------------------------------------------------------------- LIBSVM text

TEXT = b"+1 1:0.5 2:1\n-1 1:1.5 2:-1\n+1 1:-1 2:2\n+1 2:-0.5 1:-2\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svm", TEXT),
        ("a.SVMLIGHT", TEXT),
        ("a.libsvm", TEXT),
        ("a.svm.gz", gzip.compress(TEXT)),
        ("a.libsvm.bz2", bz2.compress(TEXT)),
    ],
)
def test_libsvm_text_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    loaded = data.load(str(tmp_path / name))
    np.testing.assert_array_equal(loaded.X, X)
    assert (loaded.name, loaded.label, loaded.y.tolist(), loaded.classes) == (name, "label", Y.tolist(), ("-1", "1"))


def test_the_demo_learns_from_libsvm_text(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.svm").write_bytes(TEXT * 5)
    assert main(["demo", "--data", "a.svm", "--target", "reference", "--l2", "0.1"]) == 0
    assert (tmp_path / "jitlogreg-demo.png").exists()


def test_bad_libsvm_text_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.svm"
    path.write_bytes(b"1 1:2\n0 2:x")
    message = f"--data: expected a value after '2:', got 'x' in line 2, column 5 of {path}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        data.load(str(path))
    monkeypatch.setattr(data_files, "MOST_DENSE", 7)
    path.write_bytes(TEXT)
    with pytest.raises(
        UsageError, match=r"at most 7 elements, as the demo makes them dense, got 4 x 2: jitlogreg.read_l"
    ):
        data.load(str(path))
    path.with_suffix(".csv.gz").write_bytes(TEXT)
    with pytest.raises(UsageError, match=r"^--data: expected a .npz, .csv"):
        data.load(str(path.with_suffix(".csv.gz")))

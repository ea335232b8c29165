"""What `jitlogreg demo` reads from files, and which labels it finds there."""

import sys

import numpy as np
import pytest

from jitlogreg.cli import data, demo, demo_timing
from jitlogreg.cli.errors import UsageError

X = np.array([[0.5, 1.0], [1.5, -1.0], [-1.0, 2.0], [-2.0, -0.5]])
Y = np.array([1, 0, 1, 1])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little to time."""
    monkeypatch.setattr(demo, "_LARGE", 2**10)
    monkeypatch.setattr(demo, "_ROUNDS", 1)
    monkeypatch.setattr(demo_timing, "_LOOP_NUMBERS", 1000)


def load_csv(tmp_path, text, label=None):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    return data.load(str(tmp_path / "a.csv"), label)


# ---------------------------------------------------------------- which column the labels are


@pytest.mark.parametrize(
    ("header", "rows", "label"),
    [
        # a telling name, in any case, wherever it stands
        ("Target,a,b", ["0,1,5", "1,2,5", "0,3,6"], "Target"),
        ("a,outcome,b", ["1,ill,5", "2,well,5", "3,ill,6"], "outcome"),
        # but only of two values
        ("a,y,sick", ["1,0.1,0", "2,0.2,1", "3,0.3,0"], "sick"),
        ("class,sex,a", ["p,0,1", "q,1,2", "r,0,3"], "sex"),
        # else the last column, rather than others of two values
        ("sex,a,sick", ["0,1,no", "1,2,yes", "1,3,no"], "sick"),
        ("sex,a,sick", ["0,1,7", "1,2,7", "1,3,9"], "sick"),
        # else the only one
        ("a,sick,b", ["1,no,4", "2,yes,5", "3,no,6"], "sick"),
        ("a,sick,b", ["1,-1,4", "2,1,5", "3,-1,6"], "sick"),
        # a missing value is not a second one
        ("note,sick,b", [",no,4", "x,yes,5", ",no,6"], "sick"),
    ],
)
def test_the_label_is_guessed(tmp_path, header, rows, label):
    text = "\n".join([header, *rows])
    loaded = load_csv(tmp_path, text)
    assert loaded.label == label
    assert loaded.notes[0] == f'label: column "{label}" (guessed; --label NAME chooses another)'
    chosen = load_csv(tmp_path, text, label)
    assert chosen.notes == loaded.notes[1:]
    np.testing.assert_array_equal(chosen.X, loaded.X)
    np.testing.assert_array_equal(chosen.y, loaded.y)
    assert chosen.classes == loaded.classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n2,3\n3,4\n", "a.csv: expected a column of two values for the labels, got none in a, b"),
        ("label,target,a\n0,0,1\n1,0,2\n1,1,3\n", "any of label, target"),
        ("sex,smoker,a\n0,yes,1\n1,no,2\n1,yes,3\n", "any of sex, smoker"),
        # the third value comes late
        (
            "a,b\n" + 300 * "1,5\n2,6\n" + "3,7\n",
            "a.csv: expected a column of two values for the labels, got none in a, b",
        ),
        (
            "a,b\n" + 300 * "1,p\n2,q\n" + "3,r\n",
            "a.csv: expected a column of two values for the labels, got none in a, b",
        ),
    ],
)
def test_a_label_that_cannot_be_guessed_is_told(tmp_path, fail, text, message):
    (tmp_path / "a.csv").write_text(text)
    assert message in fail("demo", "--data", str(tmp_path / "a.csv"), "--output", str(tmp_path / "a.png"))


def test_the_labels_among_arrays_are_guessed(tmp_path):
    def load(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return data.load(str(tmp_path / "a.npz"))

    words = np.array(["p", "q"], object)
    loaded = load(X=X, names=words, two=np.array([3, 4]), z=np.arange(4), y=Y, mask=Y == 1)
    assert (loaded.label, loaded.y.tolist()) == ("y", Y.tolist())
    assert loaded.notes == ('label: array "y" (guessed; --label NAME chooses another)',)
    assert load(A=X, ill=np.where(Y == 1, "yes", "no"), weights=np.ones(4)).classes == ("no", "yes")
    with pytest.raises(UsageError, match=r"--label: expected the name of the labels, got none, .* any of sex, ill"):
        load(X=X, sex=1 - Y, ill=Y)
    with pytest.raises(UsageError, match="expected an array of two values for the labels, got none in ones"):
        load(X=X, ones=np.ones(4))


def test_the_guess_is_printed(run, tmp_path):
    rows = [f"{k},{k % 3 % 2},text {k}" for k in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["a,ill,note", *rows]))
    arguments = ("--target", "reference", "--iterations", "2", "--output", str(tmp_path / "a.svg"))
    lines = run("demo", "--data", str(tmp_path / "a.csv"), *arguments).splitlines()
    assert lines[:4] == [
        "a.csv: 40 rows, 1 columns; 10 of the rows held out",
        'label: column "ill" (guessed; --label NAME chooses another)',
        "left out, as they hold no numbers: note",
        "labels: 0 is 0, 1 is 1 (32.5 % of the rows)",
    ]


# ---------------------------------------------------------------- .csv


@pytest.mark.parametrize(
    ("text", "label", "X"),
    [
        ("1,2,0\n3,4,1\n", "column_3", [[1, 2], [3, 4]]),
        ("7,M,2\n8,B,4\n9,M,5\n", "column_2", [[7, 2], [8, 4], [9, 5]]),
        # names that are numbers, told by one that is not, or by the label
        ("0,1,y\n5,6,0\n7,8,1\n", "y", [[5, 6], [7, 8]]),
        ("0,1\n5,6\n7,8\n", "1", [[5], [7]]),
        # an index without a name, blank lines, other delimiters, spaces, quotes, and a name of two lines
        (",a,y\n0,5,0\n1,6,1\n", "y", [[0, 5], [1, 6]]),
        ("\na,y\n\n5,0\n\n6,1\n", "y", [[5], [6]]),
        ("a;b;y\n5;6;0\n7;8;1\n", "y", [[5, 6], [7, 8]]),
        ("a\tb\ty\n5\t6\t0\n7\t8\t1\n", "y", [[5, 6], [7, 8]]),
        ("a , y\n 5 , 0\n6, 1\n", "y", [[5], [6]]),
        ('"a\nb",y\n"5","0"\n"6","1"\n', "y", [[5], [6]]),
        ("a,y\r\n5,0\r\n6,1", "y", [[5], [6]]),
    ],
)
def test_a_line_of_names_is_told_from_numbers(tmp_path, text, label, X):
    loaded = load_csv(tmp_path, text, label)
    assert loaded.X.tolist() == X
    assert loaded.y.tolist()[:2] == ([1, 0] if "M" in text else [0, 1])


def test_a_first_line_that_lacks_a_number_is_no_line_of_names(tmp_path):
    with pytest.raises(UsageError, match=r"row 1, column column_1: expected a number, got '\?'"):
        load_csv(tmp_path, "?,1,0\n5,3,1\n", "column_3")


def test_text_is_left_out_and_named(tmp_path):
    loaded = load_csv(tmp_path, "city,a,sex,y\nBern,1,f,0\nBasel,2,m,1\n,3,f,1\n", "y")
    assert loaded.X.tolist() == [[1], [2], [3]]
    assert loaded.notes == ("left out, as they hold no numbers: city, sex",)
    with pytest.raises(UsageError, match=r"expected X of numbers and shape .*, n > 0"):
        load_csv(tmp_path, "city,y\nBern,0\nBasel,1\n", "y")
    assert load_csv(tmp_path, "city,a\nBern,1\nBasel,2\nBern,3\n", "city").classes == ("Basel", "Bern")
    with pytest.raises(UsageError, match="expected two distinct labels, got 3: Basel, Bern, Chur"):
        load_csv(tmp_path, "city,a\nBern,1\nBasel,2\nChur,3\n", "city")


@pytest.mark.parametrize("content", [b"a,y\n\xff\xfe,0\n", b"\x00\x01\x02", b'a,y\n"1,0\n2,1\n', b"\n\n", b"a,y\n"])
def test_malformed_tables_are_refused(fail, tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert "a.csv: " in fail("demo", "--data", str(tmp_path / "a.csv"), "--output", str(tmp_path / "a.png"))


# ---------------------------------------------------------------- Parquet


@pytest.fixture(params=["pandas", "polars"])
def frames(request, monkeypatch):
    """A library that writes and reads Parquet files, as the only one."""
    library = pytest.importorskip(request.param)
    if request.param == "pandas":
        pytest.importorskip("pyarrow")
        monkeypatch.setitem(sys.modules, "polars", None)
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    return library


def write(frame, path):
    getattr(frame, "to_parquet" if hasattr(frame, "to_parquet") else "write_parquet")(path)


@pytest.mark.parametrize("suffix", [".parquet", ".pq", ".PARQUET"])
def test_parquet_is_read(frames, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    columns = {
        "a": np.arange(4, dtype=np.int8),
        "when": np.arange(4).astype("datetime64[us]"),
        "b": X[:, 0].astype(np.float32),
        "city": ["Bern", "Basel", "Chur", None],
        "sex": ["f", "m", "f", "f"],
        "c": Y == 1,
        "sick": [bool(y) for y in Y],
    }
    write(frames.DataFrame(columns), path)
    loaded = data.load(str(path), "sick")
    np.testing.assert_array_equal(loaded.X, np.column_stack([np.arange(4), X[:, 0], Y]))
    assert loaded.X.dtype == np.float64
    assert loaded.y.tolist() == Y.tolist()
    assert loaded.notes == ("left out, as they hold no numbers: when, city, sex",)
    by_sex = data.load(str(path), "sex")
    assert (by_sex.y.tolist(), by_sex.classes) == ([0, 1, 0, 0], ("f", "m"))
    assert by_sex.X.shape == (4, 4)
    assert data.load(str(path)).label == "sick"


def test_missing_values_of_parquet_are_refused(frames, tmp_path):
    path = str(tmp_path / "a.parquet")
    write(frames.DataFrame({"a": [1.0, None, 3.0], "n": [1, 2, 3], "y": ["p", None, "q"], "z": ["p", "p", "q"]}), path)
    with pytest.raises(UsageError, match=r"got NaN or infinity in 1 of the rows, in the columns a$"):
        data.load(path, "z")
    with pytest.raises(UsageError, match="expected a label in every row, got none in 1 of the rows"):
        data.load(path, "y")
    with pytest.raises(UsageError, match="expected one column 'w', got 0 in the columns a, n, y, z"):
        data.load(path, "w")
    with pytest.raises(UsageError, match="expected two distinct labels, got 3: 1, 2, 3"):
        data.load(path, "n")


def test_damaged_parquet_is_refused(frames, fail, tmp_path):
    path = tmp_path / "a.parquet"
    write(frames.DataFrame({"a": np.arange(4.0), "y": Y}), path)
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # of what the file says of itself
    arguments = ("demo", "--data", str(path), "--output", str(tmp_path / "a.png"))
    for damaged in (b"", b"a,y\n1,2\n", whole[:50], whole[:start] + b"\xff" * 40 + whole[start + 40 :]):
        path.write_bytes(damaged)
        assert f"cannot read {path}: " in fail(*arguments)
    path.unlink()
    assert "No such file" in fail(*arguments)


def test_parquet_says_what_to_install(fail, monkeypatch, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    arguments = ("demo", "--data", str(path), "--output", str(tmp_path / "a.png"))
    for name in ("polars", "pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    try:
        import pandas  # noqa: F401
    except ImportError:
        pass
    else:
        assert "got pandas alone: pip install pyarrow" in fail(*arguments)
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = fail(*arguments)
    assert (
        "expected pandas with pyarrow, or Polars, to be installed, got neither: pip install pandas pyarrow" in message
    )


def test_tables_of_text_need_neither_library(monkeypatch, tmp_path):
    for name in ("pandas", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    assert load_csv(tmp_path, "a,y\n1,0\n2,1\n").label == "y"

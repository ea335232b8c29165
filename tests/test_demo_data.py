"""What `jitlogreg demo` reads from tables, and which labels it finds there."""

import sys

import numpy as np
import pytest

from jitlogreg.cli import data, data_files
from jitlogreg.cli.errors import UsageError

X = np.array([[0.5, 1.0], [1.5, -1.0], [-1.0, 2.0], [-2.0, -0.5]])
Y = np.array([1, 0, 1, 1])


def without(monkeypatch, *modules):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(params=["pandas", "polars"])
def frames(request, monkeypatch):
    """A library that reads tables, as the only one."""
    library = pytest.importorskip(request.param)
    without(monkeypatch, "polars" if request.param == "pandas" else "pandas")
    return library


def load_csv(tmp_path, text, label=None):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    return data.load(str(tmp_path / "a.csv"), label)


# ---------------------------------------------------------------- which column the labels are


@pytest.mark.parametrize(
    ("header", "rows", "label", "reason"),
    [
        # a telling name, in any case, wherever it stands
        ("Target,a,b", ["0,1,5", "1,2,5", "0,3,6"], "Target", "for its name and its two values"),
        ("sex,outcome,b", ["f,ill,5", "m,well,5", "m,ill,6"], "outcome", "for its name and its two values"),
        ("label,target,a", ["0,0,1", "1,0,2", "1,1,3"], "label", "for its name and its two values"),
        # but only of two values
        ("a,y,sick", ["1,0.1,0", "2,0.2,1", "3,0.3,0"], "sick", "the last one, of two values"),
        # else the last column, rather than others of two values
        ("sex,a,sick", ["f,1,no", "m,2,yes", "m,3,no"], "sick", "the last one, of two values"),
        ("sex,a,sick", ["0,1,7", "1,2,7", "1,3,9"], "sick", "the last one, of two values"),
        # else the only one
        ("a,sick,b", ["1,no,4", "2,yes,5", "3,no,6"], "sick", "the only one of two values"),
        # a missing value is not a second one, and labels are not missing
        ("note,sick,sex", [",no,f", "x,yes,", "x,no,m"], "sick", "the only one of two values"),
        # else the first
        ("a,sick,sex,b", ["1,0,f,4", "2,1,m,5", "3,1,f,6"], "sick", "the first of several with two values: sick, sex"),
    ],
)
def test_the_label_is_guessed(frames, tmp_path, header, rows, label, reason):
    text = "\n".join([header, *rows])
    loaded = load_csv(tmp_path, text)
    assert loaded.label == label
    assert loaded.notes[0] == f"label: column {label}, {reason}; --label NAME chooses another"
    chosen = load_csv(tmp_path, text, label)
    assert chosen.notes == loaded.notes[1:]
    np.testing.assert_array_equal(chosen.X, loaded.X)
    np.testing.assert_array_equal(chosen.y, loaded.y)
    assert chosen.classes == loaded.classes


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n2,3\n3,4\n",
        "a,b\n" + 300 * "1,5\n2,6\n" + "3,7\n",  # the third value comes late
        "a,b\n" + 300 * "1,p\n2,q\n" + "3,r\n",
    ],
)
def test_a_label_that_cannot_be_guessed_is_told(frames, tmp_path, text):
    with pytest.raises(UsageError, match=r"^--data: expected labels, of two values, got none among the columns a, b$"):
        load_csv(tmp_path, text)


# ---------------------------------------------------------------- .csv


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("1,2,0\n3,4,1\n", "column_3", [[1, 2], [3, 4]]),
        # an index without a name, blank lines, other delimiters, spaces, quotes, and a name of two lines
        (",a,y\n0,5,0\n1,6,1\n", "y", [[0, 5], [1, 6]]),
        ("\na,y\n\n5,0\n\n6,1\n", "y", [[5], [6]]),
        ("a;b;y\n5;6;0\n7;8;1\n", "y", [[5, 6], [7, 8]]),
        ("a\tb\ty\n5\t6\t0\n7\t8\t1\n", "y", [[5, 6], [7, 8]]),
        ("a , y\n 5 , 0\n6, 1\n", "y", [[5], [6]]),
        ('"a\nb",y\n"5","0"\n"6","1"\n', "y", [[5], [6]]),
        ("a,y\r\n5,0\r\n6,1", "y", [[5], [6]]),
        ('\ufeff"a, 1",y\n0.1234567890123456789,0\n2.5e-3,1\n', "y", [[0.1234567890123456789], [2.5e-3]]),
    ],
)
@pytest.mark.parametrize("library", ["pandas", "polars", None])
def test_tables_of_numbers_are_read_alike_with_and_without_a_library(
    monkeypatch, tmp_path, library, text, label, expected
):
    if library is not None:
        pytest.importorskip(library)
    without(monkeypatch, *{"pandas", "polars"} - {library})
    loaded = load_csv(tmp_path, text, label)
    np.testing.assert_allclose(loaded.X, expected, rtol=1e-15)
    assert loaded.y.tolist() == [0, 1]
    assert loaded.notes == ()


@pytest.mark.parametrize("text", ["a,y\n1,no\n2,yes\n", "a,y\n,0\n2,1\n"])
def test_numpy_alone_says_what_else_would_read_text(monkeypatch, tmp_path, text):
    without(monkeypatch, "pandas", "polars")
    with pytest.raises(
        UsageError, match=r"^--data: .* could not convert string '(no)?' .*: NumPy alone .* pip install"
    ):
        load_csv(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        # without names, though there is text, or a number is missing
        ("7,M,2\n8,B,4\n9,M,5\n", "column_2", [[7, 2], [8, 4], [9, 5]]),
        ("?,M,2\n8,B,4\n9,M,5\n", "column_2", [[np.nan, 2], [8, 4], [9, 5]]),
        # names that are numbers, told by one that is not
        ("0,1,y\n5,6,no\n7,8,no\n9,9,yes\n", "column_3", None),
        ("0,1,y\n5,6,0\n7,8,1\n9,9,1\n", "y", [[5, 6], [7, 8], [9, 9]]),
    ],
)
def test_a_line_of_names_is_told_from_the_first_row(frames, tmp_path, text, label, expected):
    if expected is None:  # as it looks like a row
        with pytest.raises(UsageError, match="expected column column_3 to have two values, got 3: no, y, yes"):
            load_csv(tmp_path, text, label)
    else:
        np.testing.assert_array_equal(load_csv(tmp_path, text, label).X, expected)


def test_labels_are_told_apart_as_numbers_where_they_are(frames, tmp_path):
    assert load_csv(tmp_path, "y,x\n#1,5\n#2,6\n", "y").classes == ("#1", "#2")
    loaded = load_csv(tmp_path, "y,x\n1,5\n1.0,6\n2e0,7\n", "y")
    assert (loaded.y.tolist(), loaded.classes) == ([0, 0, 1], ("1", "2"))


def test_text_becomes_columns_of_0_and_1(frames, tmp_path):
    header, rows = "city,a,sex,y,ship,id", ["Bern,1,f,0", "Basel,2,m,1", ",3, f,1", "Bern,4,m ,0"]
    rows = [f"{row},one,n{k}" for k, row in enumerate(7 * rows)]
    loaded = load_csv(tmp_path, "\n".join([header, *rows]), "y")
    assert loaded.columns == ["city=Basel", "city=Bern", "a", "sex=m"]
    assert loaded.X[:4].tolist() == [[0, 1, 1, 0], [1, 0, 2, 1], [0, 0, 3, 0], [0, 1, 4, 1]]
    assert loaded.notes == (
        "text, with a column of 0 and 1 for each value but the first: city, sex",
        "left out, as text of one value or of more than 20: ship, id",
    )
    with pytest.raises(UsageError, match="expected column id to have two values, got text of more than 20"):
        load_csv(tmp_path, "\n".join([header, *rows]), "id")


def test_missing_numbers_count_as_the_mean_of_the_training_rows(frames, tmp_path):
    rows = [f"{'?' if k % 4 == 0 else k},{k % 3 % 2},{' NA' if k % 5 == 0 else k}," for k in range(40)]
    loaded = load_csv(tmp_path, "\n".join(["a,y,b,none", *rows]), "y")
    assert loaded.notes == ("missing numbers, which count as the column's mean: a (10), b (8), none (40)",)
    assert np.isnan(loaded.X[::4, 0]).all()
    split = data.split(loaded, 3)
    order = np.random.default_rng(3).permutation(40)
    held_out, kept = np.sort(order[:10]), np.sort(order[10:])
    a = loaded.X[kept, 0]
    filled = np.where(np.isnan(a), np.nanmean(a), a)
    np.testing.assert_allclose(split.X[:, 0], (filled - filled.mean()) / filled.std(), atol=1e-14)
    np.testing.assert_allclose(split.X_held_out[np.isnan(loaded.X[held_out, 0]), 0], 0, atol=1e-14)
    assert (split.X[:, 2] == 0).all()


def test_rows_without_a_label_are_left_out(frames, tmp_path):
    for missing in ("", "nan", "?"):
        loaded = load_csv(tmp_path, f"y,a\nno,1\n{missing},2\nyes,3\n", "y")
        assert (loaded.X.tolist(), loaded.y.tolist()) == ([[1], [3]], [0, 1])
        assert loaded.notes == ("rows left out, as they have no label: 1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rows"),
        ("y,a\n", "it has no rows"),
        ("a,b\n1,2\n", "--label: expected one column y, got 0 among the columns a, b"),
        ("y,y,a\n1,2,3\n", "--label: expected one column y, got 2 among the columns y, y, a"),
        ("y,a\n0,1,2\n1,2,3\n", "its first line has 2 columns, another one 3"),
        ("y\n0\n1\n", "--data: expected at least one column beside the labels, got none"),
        ("y,a\n0,1\n1,inf\n", "--data: expected finite numbers, got infinity in a"),
        ("y,a\n0,1\n1,2\n2,3\n", "--label: expected column y to have two values, got 3: 0, 1, 2"),
        ("y,a\n0,1\n0,2\n", "--label: expected column y to have two values, got 1: 0"),
        ("y,a\n0,1\n1,2\n", "--data: expected at least 4 rows, since a quarter is held out, got 2"),
    ],
)
def test_bad_tables_are_refused(frames, fail, tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    assert message in fail_on(fail, tmp_path / "a.csv")


@pytest.mark.parametrize("content", [b"a,y\n\xff\xfe,0\n", b"\x00\x01\x02", b'a,y\n"1,0\n2,1\n', b"\n\n"])
def test_malformed_tables_are_refused(frames, fail, tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert "--data: expected a file that can be read, got " in fail_on(fail, tmp_path / "a.csv")


def fail_on(fail, path):
    output = str(path.parent / "a.png")
    return fail("demo", "--data", str(path), "--label", "y", "--target", "reference", "--output", output)


def test_files_beyond_memory_are_refused_unread(monkeypatch, fail, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=X, y=Y)
    monkeypatch.setattr(data_files, "memory", lambda: path.stat().st_size - 1)
    message = fail_on(fail, path)
    assert f"--data: expected a file that fits in memory, got {path}: jitlogreg.dask and minibatch_descent" in message
    for enough in (path.stat().st_size, None):
        monkeypatch.setattr(data_files, "memory", lambda enough=enough: enough)
        assert len(data.load(str(path)).y) == 4


def test_a_table_that_fills_memory_is_told(frames, monkeypatch, tmp_path):
    def read(*_, **__):
        raise MemoryError

    monkeypatch.setattr(frames, "read_csv", read)
    with pytest.raises(UsageError, match=r"^--data: expected a file that fits in memory, got "):
        load_csv(tmp_path, "a,y\n1,0\n2,1\n")


# ---------------------------------------------------------------- .parquet


def write(frame, path):
    getattr(frame, "to_parquet" if hasattr(frame, "to_parquet") else "write_parquet")(path)


@pytest.mark.parametrize("suffix", [".parquet", ".pq", ".PARQUET"])
def test_parquet_is_read(frames, tmp_path, suffix):
    if frames.__name__ == "pandas":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"a{suffix}"
    columns = {
        "a": np.arange(40, dtype=np.int8),
        "when": np.arange(40).astype("datetime64[us]"),
        "b": np.tile(X[:, 0], 10).astype(np.float32),
        "city": 10 * ["Bern", "Basel", "Bern", None],
        "c": np.tile(Y == 1, 10),
        "d": 10 * [1, 2, None, 4],
        "sick": 10 * [bool(y) for y in Y],
    }
    write(frames.DataFrame(columns), path)
    loaded = data.load(str(path), "sick")
    assert loaded.columns == ["a", "b", "city=Basel", "city=Bern", "c", "d"]
    expected = np.column_stack([np.arange(4), X[:, 0], [0, 1, 0, 0], [1, 0, 1, 0], Y, [1, 2, np.nan, 4]])
    np.testing.assert_array_equal(loaded.X[:4], expected)
    assert loaded.X.dtype == np.float64
    assert loaded.y[:4].tolist() == Y.tolist()
    assert "left out, as text of one value or of more than 20: when" in loaded.notes
    assert data.load(str(path)).label == "sick"
    by_city = data.load(str(path), "city")
    assert (len(by_city.y), by_city.classes) == (30, ("Basel", "Bern"))


def test_categories_of_pandas_are_read(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    sick = pandas.Categorical(["yes", "no", "yes", None])
    frame = pandas.DataFrame({"sick": sick, "n": pandas.array([1, None, 3, 4], dtype="Int64")})
    frame.to_parquet(tmp_path / "a.parquet")
    loaded = data.load(str(tmp_path / "a.parquet"), "sick")
    assert (loaded.y.tolist(), loaded.classes) == ([1, 0, 1], ("no", "yes"))
    np.testing.assert_array_equal(loaded.X, [[1], [np.nan], [3]])


def test_damaged_parquet_is_refused(frames, fail, tmp_path):
    if frames.__name__ == "pandas":
        pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    write(frames.DataFrame({"a": np.arange(4.0), "y": Y}), path)
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # of what the file says of itself
    for damaged in (b"", b"a,y\n1,2\n", whole[:50], whole[:start] + b"\xff" * 40 + whole[start + 40 :]):
        path.write_bytes(damaged)
        assert f"--data: expected a file that can be read, got {path}: " in fail_on(fail, path)
    path.unlink()
    assert "No such file" in fail_on(fail, path)


@pytest.mark.parametrize("missing", [["pandas"], ["pyarrow", "fastparquet"]])
def test_parquet_says_what_to_install(fail, monkeypatch, tmp_path, missing):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    without(monkeypatch, "polars", *missing)
    message = (
        f"--data: expected pandas with pyarrow, or Polars, to read {path}, got neither: pip install pandas pyarrow"
    )
    assert message in fail_on(fail, path)

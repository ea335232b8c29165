"""Files of LIBSVM text: whole, faulty and mutated, against a slow parser and scikit-learn's."""

import bz2
import gzip
import lzma
import os
import random
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg import libsvm_reader

NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
PLACE = re.compile(r" in line (\d+), column (\d+) of ")

SMALL = b"""-1 1:0.5 3:2\t7:-1e-3 # a comment
# one alone

+1 qid:3 2:.25 4:123456789012345678901 \r
0 5:1 5:2.5e300 1:+7 2:nan#and one behind a number
2.5e-1
1 qid:0
  1 0010:0.1 11:1e-320 12:INF
-inf 3:1"""


class RefusedError(Exception):
    pass


def parsed(text, limit=2**31 - 2):
    """Labels, and the rows' indices and numbers; `RefusedError` with the line and the column of the first fault."""
    labels, rows = [], []
    for line, content in enumerate(text.split(b"\n"), 1):
        tokens = [(m.start() + 1, m[0]) for m in re.finditer(rb"[^ \t\r\v\f]+", content.partition(b"#")[0])]
        if not tokens:
            continue
        column, label = tokens.pop(0)
        if not NUMBER.fullmatch(label):
            raise RefusedError(line, column)
        if tokens and tokens[0][1].startswith(b"qid:"):
            tokens.pop(0)
        row = []
        for column, token in tokens:
            index, colon, value = token.partition(b":")
            if not re.fullmatch(rb"\d+", index) or not colon or int(index) > limit:
                raise RefusedError(line, column)
            if not NUMBER.fullmatch(value):
                raise RefusedError(line, column + len(index) + 1)
            row.append((int(index), float(value)))
        labels.append(float(label))
        rows.append(row)
    if not rows:
        raise RefusedError
    return labels, rows


def check_equal(found, expected):
    (X, y), (labels, rows) = found, expected
    indices = [index for row in rows for index, _ in row]
    base = 0 if 0 in indices else 1
    np.testing.assert_array_equal(y, labels)
    assert X.shape == (len(rows), max(indices, default=base - 1) + 1 - base)
    np.testing.assert_array_equal(X.indptr, np.cumsum([0, *map(len, rows)]))
    np.testing.assert_array_equal(X.indices, np.array(indices, int) - base)
    np.testing.assert_array_equal(X.data, [number for row in rows for _, number in row])


@pytest.fixture
def read(tmp_path):
    """Read text by way of a file."""

    def read(text, name="data.svm", **arguments):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return jlr.read_libsvm(path, **arguments)

    return read


# ---------------------------------------------------------------- what a file holds


def test_a_small_file(read):
    X, y = read(SMALL)
    check_equal((X, y), parsed(SMALL))
    assert y.tolist() == [-1, 1, 0, 0.25, 1, 1, -np.inf]
    assert X.shape == (7, 12)
    assert X.indices.dtype == np.int32
    assert X.toarray()[2, 4] == 2.5e300


def test_tokens_and_lines_cross_blocks(read, monkeypatch):
    """Behind each block stand bytes of the one before it."""
    for block in range(30, 130):
        monkeypatch.setattr(libsvm_reader, "BLOCK", block)
        check_equal(read(SMALL), parsed(SMALL))


def test_many_rows_and_long_ones_outgrow_every_estimate(read, monkeypatch):
    monkeypatch.setattr(libsvm_reader, "BLOCK", 1 << 10)
    rng = np.random.default_rng(0)
    lengths = [*([0] * 5000), *([1] * 2000), *rng.integers(0, 900, 50)]
    lines = [" ".join([str(k), *(f"{j}:{j / 8}" for j in range(1, n + 1))]) for k, n in enumerate(lengths)]
    text = "\n".join(["# " + 5000 * "long ", *lines]).encode()
    check_equal(read(text), parsed(text))
    check_equal(read(gzip.compress(text), "a.svm.gz"), parsed(text))


def test_arrays_grow_between_a_label_and_its_numbers(read, monkeypatch):
    monkeypatch.setattr(libsvm_reader, "BLOCK", 64)
    text = b"#" + 10_000 * b"\n" + b"\n".join(b"%d  # nothing\n%d 1:%d 2:%d" % (k, -k, k, 7 * k) for k in range(2000))
    check_equal(read(text), parsed(text))


def test_it_is_what_scikit_learn_reads(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    rng = np.random.default_rng(1)
    dense = np.where(rng.uniform(size=(300, 40)) < 0.2, rng.standard_normal((300, 40)) * 10.0 ** rng.integers(-9, 9), 0)
    dense[0, 0], dense[1, 39] = 1, 2
    for is_zero_based in (True, False):
        path = str(tmp_path / f"{is_zero_based}.svm")
        datasets.dump_svmlight_file(dense, rng.integers(0, 2, 300), path, zero_based=is_zero_based, comment="made")
        with open(path, "a") as file:  # noqa: PTH123
            file.write("-3 7:nan 8:-inf\n")
        for zero_based in ("auto", is_zero_based):
            theirs, their_y = datasets.load_svmlight_file(path, zero_based=zero_based)
            X, y = jlr.read_libsvm(path, zero_based=zero_based)
            np.testing.assert_array_equal(y, their_y)
            for name in ("data", "indices", "indptr"):
                np.testing.assert_array_equal(getattr(X, name), getattr(theirs, name))
            assert X.shape == theirs.shape


def test_a_label_alone_has_no_columns(read):
    X, y = read("1")
    assert (X.shape, X.nnz, y.tolist()) == ((1, 0), 0, [1])
    assert read("1\n2", n_features=3)[0].toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "zero_based", "columns", "n"),
    [
        ("1 1:1 3:1", "auto", [0, 2], 3),
        ("1 1:1 3:1", False, [0, 2], 3),
        ("1 1:1 3:1", True, [1, 3], 4),
        ("1 2:1\n1 0:1", "auto", [2, 0], 3),
        ("1 2:1\n1 0:1", True, [2, 0], 3),
        ("1 2147483646:1", "auto", [2**31 - 3], 2**31 - 2),
        ("1 2147483646:1 0:1", "auto", [2**31 - 2, 0], 2**31 - 1),
        ("1 00000000000000000003:1", "auto", [2], 3),
    ],
)
def test_where_indices_begin(read, text, zero_based, columns, n):
    X, _ = read(text, zero_based=zero_based)
    assert (X.indices.tolist(), X.shape[1]) == (columns, n)


def test_n_features_is_the_width(read):
    for zero_based, text in ((False, "1 4:1"), (True, "1 3:1"), ("auto", "1 4:1"), ("auto", "1 0:1 3:1")):
        assert read(text, n_features=4, zero_based=zero_based)[0].shape == (1, 4)


def test_float32_is_rounded_from_float64(read):
    text = "1 1:0.1 2:1e-50 3:16777217 4:1.00000017881393432617187499 5:-2.5"
    X, y = read(text, dtype=np.float32)
    assert (X.dtype, y.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(X.data, read(text)[0].data.astype(np.float32))


def test_numbers_are_ready_for_kernels(read):
    X, y = read("1 1:2 3:4\n0 2:1\n", dtype="float32")
    X.check_structure()
    for array in (X.data, X.indices, X.indptr, y):
        assert array.flags.owndata
        assert array.flags.c_contiguous


# ---------------------------------------------------------------- faults


FAULTS = [
    ("1 1:2\n0 3:4 7:abc\n", "expected a value after '7:', got 'abc' in line 2, column 9"),
    ("\n# x\n1 7:", "expected a value after '7:', got nothing in line 3, column 5"),
    ("1 7:#c", "expected a value after '7:', got nothing in line 1, column 5"),
    ("1 7: 3", "expected a value after '7:', got nothing in line 1, column 5"),
    ("1 7:1_0", "expected a value after '7:', got '1_0' in line 1, column 5"),
    ("1 7:1e", "expected a value after '7:', got '1e' in line 1, column 5"),
    ("1 7:1e+ 8:1", "expected a value after '7:', got '1e+' in line 1, column 5"),
    ("1 7:0x10", "expected a value after '7:', got '0x10' in line 1, column 5"),
    ("1 7:1:2", "expected a value after '7:', got '1:2' in line 1, column 5"),
    ("1 7:infinit", "expected a value after '7:', got 'infinit' in line 1, column 5"),
    ("1 7:.nan", "expected a value after '7:', got '.nan' in line 1, column 5"),
    ("1 7:--1", "expected a value after '7:', got '--1' in line 1, column 5"),
    ("1 7:1é", "expected a value after '7:', got '1\\xc3\\xa9' in line 1, column 5"),
    ("1 7:" + 40 * "x", f"expected a value after '7:', got '{30 * 'x'}'... in line 1, column 5"),
    ("1 7", "expected index:value, got '7' in line 1, column 3"),
    ("1 7 :1", "expected index:value, got '7' in line 1, column 3"),
    ("1 :1", "expected index:value, got ':1' in line 1, column 3"),
    ("1 -3:1", "expected index:value, got '-3:1' in line 1, column 3"),
    ("1 1:1 qid:3", "expected index:value, got 'qid:3' in line 1, column 7"),
    ("1 quid:3", "expected index:value, got 'quid:3' in line 1, column 3"),
    ("1 q", "expected index:value, got 'q' in line 1, column 3"),
    ("1:2 3:4", "expected a label, got '1:2' in line 1, column 1"),
    ("1 1:1\n  yes 1:1", "expected a label, got 'yes' in line 2, column 3"),
    ("1,2 3:4", "expected one label, as rows of several are not supported, got '1,2' in line 1, column 1"),
    ("1\0", "expected a label, got '1\\x00' in line 1, column 1"),
    ("1 2147483647:1", "expected an index of at most 2147483646, got '2147483647:1' in line 1, column 3"),
    (f"1 {10**30}:1", f"expected an index of at most 2147483646, got '{f'{10**30}:1'[:30]}'... in line 1, column 3"),
]


@pytest.mark.parametrize("block", [1 << 18, 45])
@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_is_told_with_its_place(read, tmp_path, monkeypatch, block, text, message):
    monkeypatch.setattr(libsvm_reader, "BLOCK", block)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read(text)
    assert str(caught.value) == f"path: {message} of {tmp_path / 'data.svm'}"


def test_an_index_out_of_range_is_told_with_its_place(read):
    with pytest.raises(
        ValueError, match=r"index of at least 1, as zero_based is False, got '0:3' in line 2, column 7 of"
    ):
        read("1\n1 2:1 0:3", zero_based=False)
    for zero_based, text, least in (("auto", "1 5:1", 4), (False, "1 5:1", 4), (True, "1 4:1", 3)):
        match = rf"at most {least}, as n_features is 4, got '{text[2:]}' in line 1, column 3 of"
        with pytest.raises(ValueError, match=match):
            read(text, n_features=4, zero_based=zero_based)


@pytest.mark.parametrize("text", ["1\n1 1:1 4:2 4:3\n1 0:1 4:1", "1 0:1\n1 2:1 4:2"])
def test_an_index_that_a_zero_elsewhere_makes_too_large(read, text):
    place = re.escape("got '4' in line 2, column 7 of")
    match = rf"at most 3, as n_features is 4 and an index 0 is the first column, {place}"
    with pytest.raises(ValueError, match=match):
        read(text, n_features=4)
    assert read(text)[0].shape[1] == 5


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", " \t\r\n"])
def test_a_file_without_rows_is_refused(read, text):
    with pytest.raises(ValueError, match=r"^path: expected a file with at least one row, got none in .*data.svm$"):
        read(text)


def test_a_token_longer_than_a_block_is_refused(read):
    with pytest.raises(ValueError, match=r"a token of less than 262144 bytes, got '1{30}'\.\.\. in line 2, column 3"):
        read("1\n1 " + 300_000 * "1")
    assert read("1 # " + 10**6 * "x" + "\n2")[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, r"^path: expected a str or an os.PathLike, got an int$"),
        ({"path": b"a.svm"}, TypeError, r"^path: expected a str or an os.PathLike, got a bytes$"),
        ({"n_features": 0}, ValueError, r"^n_features: expected an integer of at least 1, got 0$"),
        ({"n_features": 2.0}, TypeError, r"^n_features: expected an integer, got a float$"),
        ({"zero_based": "yes"}, ValueError, r"^zero_based: expected True, False or 'auto', got 'yes'$"),
        ({"zero_based": 1}, ValueError, r"^zero_based: expected True, False or 'auto', got 1$"),
        ({"dtype": np.int32}, TypeError, r"^dtype: expected float64 or float32, got int32$"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, error, message):
    (tmp_path / "a.svm").write_text("1 1:1")
    with pytest.raises(error, match=message):
        jlr.read_libsvm(**({"path": tmp_path / "a.svm"} | arguments))


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        jlr.read_libsvm(tmp_path / "none.svm")


# ---------------------------------------------------------------- mutations


def mutated(rng, text):
    text = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(text) + 1), rng.randrange(6)
        if kind == 0:
            del text[at : at + rng.randint(1, 4)]
        elif kind == 1:
            text[at:at] = bytes([rng.choice(b"0123456789:.-+eE#\n\r\t qnaif,\0\xff")])
        elif kind == 2:
            del text[at:]
        elif kind == 3:
            del text[: text.find(b"\n", at) + 1]
        elif at < len(text):
            text[at] = rng.choice(b"0123456789:.-+eE#\n\r\t qnaif,") if kind == 4 else text[at] ^ 1 << rng.randrange(8)
    return bytes(text)


def attempt(function, text):
    """What a function makes of text; or None, and the line and the column of the fault."""
    try:
        return function(text), None
    except RefusedError as refused:
        return None, refused.args
    except ValueError as error:
        place = PLACE.search(str(error))
        return None, tuple(map(int, place.groups())) if place else ()


def check_mutations(read, monkeypatch, count):
    rng, outcomes = random.Random(1), {"read": 0, "refused": 0}
    for _ in range(count):
        text = mutated(rng, SMALL)
        monkeypatch.setattr(libsvm_reader, "BLOCK", rng.choice([150, 200, 1 << 12]))
        expected, place = attempt(parsed, text)
        found, told = attempt(read, text)
        assert told == place, text
        if place is None:
            check_equal(found, expected)
        outcomes["read" if place is None else "refused"] += 1
    assert min(outcomes.values()) > count / 5


def test_mutations_are_read_as_a_slow_parser_does_or_refused(read, monkeypatch):
    check_mutations(read, monkeypatch, 1000)


@pytest.mark.slow
def test_many_mutations_are_read_as_a_slow_parser_does_or_refused(read, monkeypatch):
    check_mutations(read, monkeypatch, 20_000)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("BZ2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_files(read, tmp_path, suffix, compress):
    text = SMALL + b"\n" + b"\n".join(b"1 %d:%d.5" % (k, 7 * k) for k in range(1, 30_000))
    packed = compress(text)
    check_equal(read(packed, f"a.svm.{suffix}"), parsed(text))
    half = len(packed) // 2
    with pytest.raises(ValueError, match=r"^path: expected "):  # of what is spoilt, some still looks like text
        read(packed[:half] + bytes(60) + packed[half + 60 :], f"b.svm.{suffix}")
    for damaged in (packed[:half], SMALL):
        with pytest.raises(ValueError, match=r"^path: expected a file that can be decompressed, got .*: .+"):
            read(damaged, f"b.svm.{suffix}")


def test_paths_are_str_or_pathlike(tmp_path):
    (tmp_path / "a").write_bytes(SMALL)
    for path in (tmp_path / "a", str(tmp_path / "a")):
        check_equal(jlr.read_libsvm(path), parsed(SMALL))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_whose_length_nobody_knows(tmp_path):
    text = b"\n".join([SMALL] * 3000)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(text,))
    writer.start()
    check_equal(jlr.read_libsvm(tmp_path / "pipe"), parsed(text))
    writer.join()


def test_the_package_imports_no_numba_for_it():
    code = "import sys, jitlogreg.libsvm; assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Files of LIBSVM text: a label and the numbers other than 0 in each line."""

import importlib
import os
import zlib
from pathlib import Path

import numpy as np

from jitlogreg.validation import FLOATS, check_count, described

# What opens a compressed file, by its suffix. Some builds of Python lack some of them
_OPENERS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}


def read_libsvm(path, *, n_features=None, dtype=np.float64, zero_based="auto"):
    r"""Read a file in the text format of LIBSVM and SVMlight, as sparse rows.

    A line is ``label index:value index:value ...``, and is one row. A `qid:` behind the label is skipped, and so are
    blank lines and what follows a `#`.

    Parameters
    ----------
    path : str or os.PathLike
        With the suffix `.gz`, `.bz2` or `.xz` it is decompressed while it is read.
    n_features : int, optional
        The columns of X, where a larger index is an error; as many as the largest index needs if left out. Files of the
        same data, such as training and test rows, may need different ones.
    dtype : float64 or float32
        Of the numbers. Each is the float64 nearest to the text, and then rounded to float32.
    zero_based : bool or "auto"
        Whether index 0 is the first column. "auto" says so if there is an index 0 in the file; else index 1 is the
        first one. False makes index 0 an error.

    Returns
    -------
    X : CSR, shape (m, n)
        Entries in the order of the file. An index may come twice in a row, whose numbers then add up.
    y : ndarray of float64, shape (m,)
        The labels as the file has them: most calls want 0 and 1, which ``(y > 0).astype(float)`` makes of -1 and 1.

    Raises
    ------
    ValueError
        If a line is malformed, or has several labels; the message has the line and the column, both from 1. If there
        is no row, or a compressed file is damaged.
    OSError
        If the file cannot be opened or read.

    Notes
    -----
    Numbers may have an exponent, and be `nan` or `inf`, as `float` takes them, but without underscores. Indices go to
    2³¹ − 2. Beside the result, reading takes memory for a block of the file, and as much as the result once more while
    an array grows.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import jitlogreg as jlr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.svm"
    >>> _ = path.write_text("-1 1:0.5 3:2  # index 2 is 0 here\n+1 2:-3\n")
    >>> X, y = jlr.read_libsvm(path)
    >>> X.toarray()
    array([[ 0.5,  0. ,  2. ],
           [ 0. , -3. ,  0. ]])
    >>> y
    array([-1.,  1.])
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a str or an os.PathLike, got {described(path)}")
    if n_features is not None:
        n_features = check_count("n_features", n_features, 1)
    if not (isinstance(zero_based, (bool, np.bool_)) or zero_based == "auto"):
        raise ValueError(f"zero_based: expected True, False or 'auto', got {zero_based!r}")
    dtype = np.dtype(dtype)
    if dtype not in FLOATS:
        raise TypeError(f"dtype: expected float64 or float32, got {dtype}")
    from jitlogreg.libsvm_reader import Reader  # and with it Numba

    reader = Reader(os.fspath(path), n_features, dtype, zero_based)
    with Path(path).open("rb", buffering=0) as raw:
        try:
            with _decompressed(raw, path) as file:
                reader.read(file, raw)
        except _damages() as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
                raise
            raise ValueError(f"path: expected a file that can be decompressed, got {reader.name}: {error}") from error
    return reader.result()


def _decompressed(raw, path):
    module = _OPENERS.get(Path(path).suffix.lower())
    return raw if module is None else importlib.import_module(module).open(raw)


def _damages():
    """What the decompressors raise where a file is damaged or ends too early."""
    try:
        from lzma import LZMAError
    except ImportError:
        return EOFError, zlib.error, OSError
    return EOFError, zlib.error, OSError, LZMAError

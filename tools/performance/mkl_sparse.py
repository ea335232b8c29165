"""MKL's products of a sparse matrix and its transpose with a vector, with hints and threads: a peer.

`mkl_sparse_d_mv` of the library's inspector-executor interface. The library is that of the package mkl; its folder may
be named by the environment variable MKL_FOLDER where that is installed elsewhere.
"""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

_NOT_TRANSPOSED, _TRANSPOSED = 10, 11
_CALLS = 1000  # how often the library is told that each product will be taken


class _Description(ctypes.Structure):
    """`struct matrix_descr` of a general matrix."""

    _fields_ = (("type", ctypes.c_int), ("mode", ctypes.c_int), ("diag", ctypes.c_int))


_GENERAL = _Description(20, 40, 50)


def load():
    """The library, or None if there is none."""
    folders = os.environ.get("MKL_FOLDER"), Path(sys.prefix) / "lib"
    for folder in folders:
        found = sorted(Path(folder).glob("libmkl_rt.so*")) if folder else []
        if found:
            os.environ.setdefault("MKL_THREADING_LAYER", "GNU")
            return ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)
    return None


class Products:
    """X v and Xᵀ u of a csr_array in float64 with 32-bit indices."""

    def __init__(self, library, X):
        self._library, self._arrays, (m, n) = library, (X.data, X.indices, X.indptr), X.shape
        self._handle = ctypes.c_void_p()
        data, indices, indptr = (array.ctypes.data for array in self._arrays)
        pointers = map(ctypes.c_void_p, (indptr, indptr + 4, indices, data))
        self._check(library.mkl_sparse_d_create_csr(ctypes.byref(self._handle), 0, m, n, *pointers))
        for operation in (_NOT_TRANSPOSED, _TRANSPOSED):
            self._check(library.mkl_sparse_set_mv_hint(self._handle, operation, _GENERAL, _CALLS))
        self._check(library.mkl_sparse_optimize(self._handle))
        self._shape = {_NOT_TRANSPOSED: m, _TRANSPOSED: n}

    def times(self, v):
        """X v."""
        return self._product(_NOT_TRANSPOSED, v)

    def transposed_times(self, u):
        """Xᵀ u."""
        return self._product(_TRANSPOSED, u)

    def _product(self, operation, v):
        out = np.empty(self._shape[operation])
        one, zero = ctypes.c_double(1.0), ctypes.c_double(0.0)
        given = ctypes.c_void_p(v.ctypes.data), zero, ctypes.c_void_p(out.ctypes.data)
        self._check(self._library.mkl_sparse_d_mv(operation, one, self._handle, _GENERAL, *given))
        return out

    def _check(self, status):
        if status != 0:
            raise RuntimeError(f"MKL returned {status}")

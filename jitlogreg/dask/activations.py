"""The forward pass over a dask array."""

import functools

import dask.array as da
import numpy as np

from jitlogreg import api, outputs, validation
from jitlogreg.dask.arrays import matrix, new_name, of_examples, target_name
from jitlogreg.dask.blocks import served
from jitlogreg.interop.device_array import device_array
from jitlogreg.interop.libraries import library_of
from jitlogreg.targets.dispatch import one_thread


def forward(X, w, b=0.0, *, link="sigmoid", offset=None, target=None):
    """a = σ(Xw + b) of a dask array, as a dask array; `compute` on that computes it.

    Parameters
    ----------
    X : dask array or data frame of float32 or float64, shape (m, n)
        In blocks of whole rows.
    w : ndarray of X's dtype or float64, shape (n,) or (n, K)
    b : float
        Of K outputs also an array (K,).
    link : {"sigmoid", "softmax"}
        What w of shape (n, K) means: K independent models, or one model of K classes.
    offset : dask or NumPy array, shape (m,), optional
        Added to the margins; of K outputs also (m, K).
    target : {"cpu", "cuda", "reference"}, optional

    Returns
    -------
    dask array of w's dtype, shape (m,) or (m, K)
        In the same blocks as X. Accuracy is that of `jitlogreg.forward`.

    Raises
    ------
    TypeError, ValueError
        If X is cut across columns, or w, b or offset is not valid beside X.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> from jitlogreg.dask import forward
    >>> forward(da.ones((4, 2), chunks=(2, 2)), np.array([0.5, -0.5])).compute()
    array([0.5, 0.5, 0.5, 0.5])
    """
    return _activations(api.forward, X, w, b, link, offset, target)


def log_forward(X, w, b=0.0, *, link="sigmoid", offset=None, target=None):
    """log σ(Xw + b) of a dask array, as a dask array, finite wherever a number can represent it.

    Everything else is as in `forward`.
    """
    return _activations(api.log_forward, X, w, b, link, offset, target)


def _activations(call, X, w, b, link, offset, target):
    X, columns = matrix(X), None
    if getattr(w, "ndim", 1) == 2:
        outputs.check_link(link)
        w, columns = validation.check_coefficients_of_outputs(w, X), w.shape[1]
        outputs.check_outputs(link, columns)
        b = outputs.check_intercepts(b, columns, w.dtype)
    else:
        outputs.check_link_of_one(link)
        w = validation.check_coefficients(w, X)
        b = float(validation.check_intercept(b, w.dtype))
    offset = of_examples("offset", offset, X, columns)
    index, of_w = ("i", "j") if columns is None else ("ik", "jk")
    sent = da.from_array(w.copy(), chunks=w.shape, name=new_name("w"))
    beside = () if offset is None else (offset, "ik"[: offset.ndim])
    meta = X._meta[:, :0].sum(axis=1).astype(w.dtype)  # in the library of X's blocks
    meta = meta if columns is None else meta[:, np.newaxis]
    of_block = functools.partial(_of_block, call, b, link, target_name(target, X))
    return da.blockwise(of_block, index, X, "ij", sent, of_w, *beside, dtype=w.dtype, meta=meta, concatenate=False)


def _of_block(call, b, link, target, blocks_of_x, blocks_of_w, offset=None):
    # lists of one block each, since Dask would copy to join them
    (X,), (w,) = blocks_of_x, blocks_of_w
    with one_thread():
        library = library_of(X)
        if library is not None:
            w = device_array(X, library).from_numpy(w).owner
        return call(served(X), w, b, link=link, offset=offset, target=target)

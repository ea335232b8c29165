"""The per-example functions at all 2³² float32 margins, against float64 and libm's exp and log1p."""

import math

import numba
import numpy as np

from accuracy.examples import COUNT, LABELS, LOG1P, SOFT_LOSS, Worst, label_tried, own_values

_LABELS32 = LABELS.astype(np.float32)
_TINY32 = float(np.finfo(np.float32).tiny)


@numba.njit(error_model="numpy")
def _exact(z, y, out, terms):
    """Exact results of FUNCTIONS, in float64, and the terms that a rounding or a flush is measured by.

    A soft residual is measured by the larger of its two terms, and is off by what flushing e = exp(−|z|) loses.
    """
    size = abs(z)
    e = math.exp(-size) if size < 746 else 0.0  # what exp gives, without the time it takes to underflow
    log = math.log1p(e)
    near, far = 1 / (1 + e), e / (1 + e)
    upper, lower = (far, near) if z < 0 else (near, far)
    out[0], out[1] = e, math.log1p(size) if size <= 1 else 0.0
    out[2], out[3] = upper, min(z, 0.0) - log
    out[4], out[5] = log + max(z, 0.0), log + max(-z, 0.0)
    out[6], out[7] = upper, -lower
    out[8] = log + (1 - y) * max(z, 0.0) + y * max(-z, 0.0)
    out[9] = (1 - y) * upper - y * lower
    for f in range(COUNT):
        terms[f] = abs(out[f])
    terms[9] = max((1 - y) * upper, y * lower)


@numba.njit(error_model="numpy")
def ulps(got, exact, term, e, soft):
    """The error in units of the last place of `term`, less what a flush of numbers below the smallest normal loses."""
    error = abs(np.float64(got) - exact)
    if error == 0:
        return 0.0
    if (e if soft else abs(exact)) < _TINY32:
        error = max(error - _TINY32, 0.0)
    exponent = (np.float64(max(term, _TINY32)).view(np.int64) >> 52) - 1023
    count = error * np.int64((1023 + 23 - exponent) << 52).view(np.float64)
    return count if count >= 0 else math.inf  # NaN where there should be a number is as wrong as can be


@numba.njit(error_model="numpy")
def _hash(bits):
    """A number of 32 bits that looks as if it had nothing to do with the margin's."""
    h = np.uint32(bits) * np.uint32(2654435761)
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
    return np.uint32(h ^ (h >> np.uint32(13)))


@numba.njit(error_model="numpy")
def _soft_label(bits):
    h = _hash(bits)
    if h & np.uint32(3) == 0:
        return _LABELS32[(h >> np.uint32(2)) & np.uint32(7)]
    return np.float32(h >> np.uint32(8)) * np.float32(2.0**-24)


_STRIP = 512


@numba.njit(error_model="numpy", parallel=True, nogil=True)
def _scan(start, step, total, chunks, worst, at_bits, nans):
    """The margins whose bits are start, start + step, …, `total` of them; each chunk notes its own worst cases."""
    for chunk in numba.prange(chunks):
        z, y = np.empty(_STRIP, np.float32), np.empty(_STRIP, np.float32)
        own, exact, terms = np.empty((COUNT, _STRIP), np.float32), np.empty(COUNT), np.empty(COUNT)
        last = (chunk + 1) * total // chunks
        for first in range(chunk * total // chunks, last, _STRIP):
            for i in range(_STRIP):  # beyond the last, the last again
                bits = np.uint32(start + min(first + i, last - 1) * step)
                z[i], y[i] = bits.view(np.float32), _soft_label(bits)
            own_values(z, y, own)
            for i in range(min(_STRIP, last - first)):
                if math.isnan(z[i]):
                    nans[chunk, 0] += 1
                    for f in range(COUNT):
                        if f != LOG1P and not math.isnan(own[f, i]):
                            nans[chunk, 1] += 1
                elif not math.isinf(z[i]):  # `special_values` looks at these
                    _exact(np.float64(z[i]), np.float64(y[i]), exact, terms)
                    for f in range(COUNT):
                        error = ulps(own[f, i], exact[f], terms[f], exact[0], f >= SOFT_LOSS)
                        if error > worst[chunk, f]:
                            worst[chunk, f], at_bits[chunk, f] = error, start + (first + i) * step


def scan(step=1, progress=None):
    """The worst case of each function over float32 margins.

    Parameters
    ----------
    step : int
        Every so many of the 2³² bit patterns; 1 is all of them, which takes minutes.
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    worst : list of Worst, one for each of FUNCTIONS
    nans : int
        How many of the margins were NaN; each gave NaN.

    Raises
    ------
    ArithmeticError
        If a NaN margin gave a number.
    """
    found, tried, nans = [Worst(-1.0, 0.0, 0.0, 0)] * COUNT, 0, 0
    parts, chunks = 64, 64
    for part in range(parts):
        start, stop = part * 2**32 // parts, (part + 1) * 2**32 // parts
        start += -start % step
        total = max(0, -(-(stop - start) // step))
        worst, at_bits = np.full((chunks, COUNT), -1.0), np.zeros((chunks, COUNT), np.uint32)
        counts = np.zeros((chunks, 2), np.int64)
        _scan(start, step, total, chunks, worst, at_bits, counts)
        if counts[:, 1].any():
            raise ArithmeticError("a NaN margin gave a number")
        tried, nans = tried + total, nans + int(counts[:, 0].sum())
        for f in range(COUNT):
            k = int(np.argmax(worst[:, f]))
            if worst[k, f] > found[f].ulps:
                margin, label = at_bits[k, f].view(np.float32), _soft_label(at_bits[k, f])
                found[f] = Worst(float(worst[k, f]), float(margin), label_tried(f, label), 0)
        if progress:
            progress((part + 1) / parts)
    return [case._replace(tried=tried) for case in found], nans

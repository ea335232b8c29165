"""The per-example functions at float64 margins of every kind, against long double, and the worst against mpmath."""

import math

import mpmath
import numpy as np

from accuracy.examples import COUNT, LABELS, SOFT_LOSS, Worst, label_tried, own_values
from jitlogreg.simd import LANES

HAS_LONG_DOUBLE = np.finfo(np.longdouble).nmant >= 63
_TINY64 = float(np.finfo(np.float64).tiny)
_SETTLED = 1000  # the worst cases of each function that mpmath judges


def margins(count, seed=1):
    """Margins over the whole range, a little more than `count`, in no order.

    Every power of two and its neighbours; numbers below the smallest normal one; where exp(−|z|) is flushed, where σ
    rounds to 1, and where the exponential changes its power of two; the rest at random, of every size.
    """
    rng = np.random.default_rng(seed)
    powers = 2.0 ** np.arange(-1074, 1024)
    log_2 = math.log(2)
    turns = np.arange(0, 1100) * log_2
    edges = np.concatenate([turns, turns + log_2 / 2, [36.7, 37.4, 708.3964185322641, 709.78, 744.44, 745.14]])
    near = [_neighbours(powers, 2), _neighbours(edges, 50)]
    share = count // 8
    sizes = [
        rng.integers(0, 2**52, share // 4).view(np.float64),  # below the smallest normal number
        rng.uniform(0, 1, share),
        rng.uniform(0, 40, 2 * share),
        rng.uniform(0, 760, 2 * share),
        708.39641853226 + rng.uniform(-1e-3, 1e-3, share // 4),
        10.0 ** rng.uniform(-308, 3, share),
        rng.integers(0, 0x7FF << 52, share).view(np.float64),  # every finite pattern
    ]
    sizes += [rng.uniform(0, 40, max(0, count - sum(map(len, sizes))))]
    z = np.concatenate([[0.0], *near, np.concatenate(sizes) * rng.choice([-1.0, 1.0], sum(map(len, sizes)))])
    return np.concatenate([z, -np.concatenate([[0.0], *near])])


def _neighbours(values, reach):
    steps = [values]
    up, down = values, values
    for _ in range(reach):
        up, down = np.nextafter(up, np.inf), np.nextafter(down, -np.inf)
        steps += [up, down]
    around = np.concatenate(steps)
    return around[np.isfinite(around)]


def soft_labels(count, seed=2):
    """Labels from 0 to 1: at random, close to either end, and those of `LABELS`."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(0, 1, count)
    y[1::4] = 10.0 ** rng.uniform(-308, 0, len(y[1::4]))
    y[2::8] = 1 - 10.0 ** rng.uniform(-17, 0, len(y[2::8]))
    y[3::8] = rng.choice(LABELS, len(y[3::8]))
    return y


def approximate(z, y):
    """Exact results of FUNCTIONS, in long double, the terms that a rounding is measured by, and e = exp(−|z|)."""
    z, y = z.astype(np.longdouble), y.astype(np.longdouble)
    size, zero = np.abs(z), np.longdouble(0)
    e = np.exp(-size)
    log = np.log1p(e)
    near, far = 1 / (1 + e), e / (1 + e)
    upper, lower = np.where(z < 0, far, near), np.where(z < 0, near, far)
    positive, negative = np.maximum(z, zero), np.maximum(-z, zero)
    results = [
        e,
        np.where(size <= 1, np.log1p(np.minimum(size, 1)), 0),
        upper,
        -negative - log,
        log + positive,
        log + negative,
        upper,
        -lower,
        log + (1 - y) * positive + y * negative,
        (1 - y) * upper - y * lower,
    ]
    terms = [np.abs(result) for result in results]
    terms[9] = np.maximum((1 - y) * upper, y * lower)
    return results, terms, e


def settled(f, z, y, got):
    """The error of one result in ulp, from sixty digits."""
    with mpmath.workdps(60):
        z, y = mpmath.mpf(float(z)), mpmath.mpf(float(y))
        e = mpmath.exp(-abs(z))
        log = mpmath.log1p(e)
        near, far = 1 / (1 + e), e / (1 + e)
        upper, lower = (far, near) if z < 0 else (near, far)
        positive, negative = max(z, 0), max(-z, 0)
        exact = (
            e,
            mpmath.log1p(abs(z)) if abs(z) <= 1 else mpmath.mpf(0),
            upper,
            -negative - log,
            log + positive,
            log + negative,
            upper,
            -lower,
            log + (1 - y) * positive + y * negative,
            (1 - y) * upper - y * lower,
        )[f]
        term = max((1 - y) * upper, y * lower) if f == COUNT - 1 else abs(exact)
        error = abs(mpmath.mpf(float(got)) - exact)
        if (e if f >= SOFT_LOSS else abs(exact)) < _TINY64:
            error = max(error - _TINY64, mpmath.mpf(0))
        if error == 0:
            return 0.0
        last_place = mpmath.ldexp(1, mpmath.frexp(max(term, mpmath.mpf(_TINY64)))[1] - 53)
        return float(error / last_place)


def scan(count=10_000_000, progress=None):
    """The worst case of each function over `margins`.

    Parameters
    ----------
    count : int
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    worst : list of Worst, one for each of FUNCTIONS
    """
    z = margins(count)
    z = np.append(z, np.zeros(-len(z) % LANES))
    y = soft_labels(len(z))
    leading = [(np.empty(0),) * 4] * COUNT  # errors, margins, labels, results
    at_once = 1 << 18
    for start in range(0, len(z), at_once):
        zs, ys = z[start : start + at_once], y[start : start + at_once]
        own = np.empty((COUNT, len(zs)))
        own_values(zs, ys, own)
        with np.errstate(all="ignore"):
            results, terms, e = approximate(zs, ys)
            for f in range(COUNT):
                errors = long_ulps(f, own[f], results[f], terms[f], e, np.float64)
                worst = np.argpartition(errors, -_SETTLED)[-_SETTLED:]
                columns = zip(leading[f], (errors, zs, ys, own[f]), strict=True)
                merged = [np.concatenate([old, new[worst]]) for old, new in columns]
                best = np.argsort(merged[0])[-_SETTLED:]
                leading[f] = tuple(column[best] for column in merged)
        if progress:
            progress(min(1.0, (start + at_once) / len(z)))
    found = []
    for f in range(COUNT):
        ulps, margin, label = max((settled(f, *case), *case[:2]) for case in zip(*leading[f][1:], strict=True))
        found.append(Worst(ulps, float(margin), label_tried(f, label), len(z)))
    return found


def long_ulps(f, got, exact, term, e, dtype):
    """The errors of FUNCTIONS[f] in ulp of the dtype, from long double; infinite where a number is missing."""
    tiny, digits = np.longdouble(np.finfo(dtype).tiny), np.finfo(dtype).nmant + 1
    error = np.abs(got.astype(np.longdouble) - exact)
    small = (e if f >= SOFT_LOSS else np.abs(exact)) < tiny
    error = np.where(small, np.maximum(error - tiny, 0), error)
    last_place = np.ldexp(np.longdouble(1), np.frexp(np.maximum(term, tiny))[1] - digits)
    return np.where(np.isnan(got), np.inf, (error / last_place).astype(np.float64))

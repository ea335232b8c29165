"""The search for this machine's tuning profile: candidates in turn on real kernels, medians of ratios."""

import dataclasses
import datetime
import functools
import math
import time
from typing import NamedTuple

import numba
import numpy as np

import jitlogreg as jlr
from jitlogreg.targets.cpu import profile
from jitlogreg.targets.cpu.partition import POINTWISE_COST, partition
from jitlogreg.targets.cpu.pointers import HINTS

# Bytes of the largest X: beyond the share of the last-level cache on a machine with few cores
LARGE = 192 << 20
# Seconds after which the search stops and remaining settings keep their values, and after which gains are left out
SEARCH, SECONDS = 40, 52
# A candidate wins if it is faster by this factor, and faster at all in three of four turns
GAIN = 1.02
# Threads must be faster by this factor, since other processes may need the cores
GAIN_OF_THREADS = 1.1
# Short calls are repeated until a turn takes this many seconds
TURN = 1e-3

DISTANCES = (2 << 10, 4 << 10, 8 << 10, 16 << 10)
# Columns of float64, below the number from which column panels are used
LONG_ROWS, MANY_COLUMNS = (2048, 4096, 8192, 16384), (28, 64, 128, 256, 512, 1024)
SHOWN = ("28 C", "256 C", "2048 C", "28 F", "256 F", "1024 F", "2048 F", "8192 F", "20000x50 C", "1000x20 C")


class Case(NamedTuple):
    """A call to be timed."""

    name: str
    call: object


class Tuner:
    """Finds a profile, starting from the one in force. It measures float64 alone, since hints depend on bytes."""

    def __init__(self):
        self.start = time.perf_counter()
        self.before = self.found = profile.current()
        self.numbers = np.resize(np.random.default_rng(0).standard_normal(1 << 20), LARGE // 8)
        self.steps = (
            ("prefetch hint, C order", functools.partial(self._hint, "c_order", (28, 256, 2048))),
            ("prefetch distance, C order", self._distance),
            ("rows too long to prefetch, gradient", functools.partial(self._limit, "c_order", "gradient_below")),
            ("prefetch hint, F order", functools.partial(self._hint, "f_order", (28, 128))),
            ("blocks too large to prefetch, gradient", functools.partial(self._limit, "f_order", "gradient_below")),
            ("rows too long to prefetch, forward pass", functools.partial(self._limit, "c_order", "forward_below")),
            ("blocks too large to prefetch, forward pass", functools.partial(self._limit, "f_order", "forward_below")),
            ("data that stays in a cache, C order", functools.partial(self._cached, "c_order")),
            ("data that stays in a cache, F order", functools.partial(self._cached, "f_order")),
            ("what threads are worth it for", self._serial_below),
        )

    def run(self, told):
        """Run the steps that time allows, and return the profile. Calls `told(name)` before each step."""
        skipped = []
        for name, step in self.steps:
            told(name)
            if self._seconds() < SEARCH:
                step()
            else:
                skipped.append(name)
        return self._named(self.found), skipped

    def gains(self):
        """By shape, the time before over the time after, for the shapes that time allows."""
        gains = {}
        for shape in SHOWN:
            if self._seconds() < SECONDS:
                case = self._case(*_parsed(shape))
                gains[case.name] = compare(case, (self.before, self.found), rounds=5)[1].median
        return gains

    def kept(self):
        """The settings that were in force before, for when the search found nothing better."""
        return self._named(self.before)

    # ------------------------------------------------------------ steps

    def _hint(self, order, columns):
        prefetch = getattr(self.found, order)
        others = [hint for hint in HINTS if hint != prefetch.hint]
        letter = order[0].upper()
        self._choose([self._with(order, hint=hint) for hint in others], [self._case(None, n, letter) for n in columns])

    def _distance(self):
        now = self.found.c_order.distance
        candidates = [self._with("c_order", distance=distance) for distance in DISTANCES if distance != now]
        self._choose(candidates, [self._case(None, n, "C") for n in (28, 256, 2048)])

    def _limit(self, order, field):
        """Find the size from which no prefetch is better, by the median of each size."""
        letter, forward = order[0].upper(), field == "forward_below"
        always, never = self._with(order, **{field: profile.NO_LIMIT}), self._with(order, **{field: 0})
        limit = profile.NO_LIMIT
        for n in reversed(LONG_ROWS if letter == "C" else MANY_COLUMNS):
            case = self._case(None, n, letter, forward)
            if not _is_better(compare(case, (always, never))[1]):
                break
            m = LARGE // 8 // n
            limit = 8 * n * (1 if letter == "C" else partition(m, n, 8, True, forward)[0])
        self.found = self._with(order, **{field: limit})

    def _cached(self, order):
        """Find the size up to which no prefetch is better."""
        letter = order[0].upper()
        always, never = (self._with(order, cached=size) for size in (0, profile.NO_LIMIT))
        cached = 0
        for size in (1 << k for k in range(18, 26)):
            cases = [self._case(size // 8 // n, n, letter) for n in (28, 256)]
            if not _is_better(_together(compare(case, (always, never))[1] for case in cases)):
                break
            cached = size
        self.found = self._with(order, cached=cached)

    def _serial_below(self):
        """Find the cost from which all threads are faster than one."""
        if numba.get_num_threads() == 1:
            return
        threads, one = (dataclasses.replace(self.found, serial_below=cost) for cost in (0, profile.NO_LIMIT))
        limit = 1 << 22
        for cost in (1 << k for k in range(21, 14, -1)):
            case = self._case(cost // (28 + POINTWISE_COST), 28, "C")
            if compare(case, (one, threads))[1].median < GAIN_OF_THREADS:
                break
            limit = cost
        self.found = dataclasses.replace(self.found, serial_below=limit)

    # ------------------------------------------------------------ shared by the steps

    def _seconds(self):
        return time.perf_counter() - self.start

    def _named(self, settings):
        source = f"measured by jitlogreg tune on {datetime.date.today().isoformat()}"
        return dataclasses.replace(settings, cpu=profile.cpu_name(), source=source)

    def _with(self, order, **changes):
        """The profile found so far, with changes to the prefetch of one order."""
        return dataclasses.replace(self.found, **{order: getattr(self.found, order)._replace(**changes)})

    def _choose(self, candidates, cases):
        """Take the best candidate, if it is better than the profile found so far."""
        everything = (self.found, *candidates)
        ratios = [compare(case, everything) for case in cases]
        together = [_together(row[k] for row in ratios) for k in range(len(everything))]
        best = max(range(len(everything)), key=lambda k: together[k].median)
        if _is_better(together[best]):
            self.found = everything[best]

    def _case(self, m, n, order, forward=False):
        """A call on the shared numbers, with all their rows unless m is given."""
        m = max(8, m if m is not None else LARGE // 8 // n)
        X = self.numbers[: m * n].reshape((m, n) if order == "C" else (n, m))
        X = X if order == "C" else X.T
        y, w = (np.arange(m) % 3 == 0).astype(float), np.ones(n) / math.sqrt(n)
        if forward:
            out = np.empty(m)
            return Case(f"{m}x{n} {order} forward", lambda: jlr.forward(X, w, 0.1, out=out, target="cpu"))
        return Case(f"{m}x{n} {order}", lambda: jlr.loss_and_gradient(X, y, w, 0.1, target="cpu"))


class Ratio(NamedTuple):
    """How much faster a profile is than the first one, over the turns."""

    median: float
    lower_quartile: float


def compare(case, profiles, rounds=7):
    """A `Ratio` for each profile: the first one's time over its own, turn by turn, after one untimed call each."""
    with profile.using(profiles[0]):
        repeats = max(1, round(TURN / min(_turn(case, tuned, 1) for tuned in profiles)))
        seconds = np.array([[_turn(case, tuned, repeats) for tuned in profiles] for _ in range(rounds)])
    ratios = seconds[:, :1] / seconds
    return [Ratio(*map(float, np.percentile(ratios[:, k], (50, 25)))) for k in range(len(profiles))]


def _turn(case, tuned, repeats):
    profile.use(tuned)
    case.call()
    start = time.perf_counter()
    for _ in range(repeats):
        case.call()
    return (time.perf_counter() - start) / repeats


def mean(ratios):
    """The geometric mean."""
    return math.exp(np.mean([math.log(ratio) for ratio in ratios]))


def _together(ratios):
    return Ratio(*map(mean, zip(*ratios, strict=True)))


def _is_better(ratio):
    return ratio.median > GAIN and ratio.lower_quartile > 1


def _parsed(shape):
    """Rows, or None for all there are, columns and order."""
    size, order = shape.split()
    m, _, n = size.rpartition("x")
    return int(m) if m else None, int(n), order

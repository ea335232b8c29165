"""Times over other times of the same moment: whatever slows the machine slows both."""

import itertools
import statistics
import threading
import time

import numba

from .cases import DTYPES, L2, MEMORY, OPERATIONS, bound, calls_per_sample, checked_call, example, seconds


class OverReference:
    """The time of a call over that of the reference target, plain NumPy."""

    params = ([*OPERATIONS, "hessian_vector"], DTYPES, [L2, MEMORY])
    param_names = ("operation", "dtype", "shape")
    compared = False  # where the other commit runs in the same moment, that is the better comparison

    def setup(self, operation, dtype, shape):
        data = example(shape, dtype, "C")
        self.call = checked_call(operation, "cpu", data)
        self.reference = bound(operation, data.X, data.y, data.w, "reference")
        self.number = calls_per_sample(10 * data.X.nbytes)

    def track_ratio(self, operation, dtype, shape):
        rounds = 9 if shape == L2 else 3
        times = [(seconds(self.call, self.number), seconds(self.reference, self.number)) for _ in range(rounds)]
        return statistics.median(ours / theirs for ours, theirs in times)

    track_ratio.unit = "times the reference"


class Threads:
    """The time on several threads over that on one, of an X in memory: at best 1 over their number."""

    params = ([2, 4, 8, 16, 32], DTYPES)
    param_names = ("threads", "dtype")

    def setup(self, threads, dtype):
        if threads > numba.config.NUMBA_NUM_THREADS:
            raise NotImplementedError(f"Numba has {numba.config.NUMBA_NUM_THREADS} threads here")
        self.call = checked_call("loss_and_gradient", "cpu", example(MEMORY, dtype, "C"))

    def track_time_over_one_thread(self, threads, dtype):
        ratios = []
        for _ in range(9):
            times = []
            for count in (1, threads):
                numba.set_num_threads(count)
                times.append(seconds(self.call))
            ratios.append(times[1] / times[0])
        return statistics.median(ratios)

    track_time_over_one_thread.unit = "times one thread"


class OtherThreads:
    """How long another Python thread stands still during a call, as a share of the call.

    Shares below a half count as a half: they are the system's, which lets a thread sleep longer than it asked for. A
    call that keeps the interpreter's lock makes it 1.
    """

    samples = 1

    def setup(self):
        self.call = checked_call("loss_and_gradient", "cpu", example(MEMORY, "float64", "C"))

    def track_standstill(self):
        wakes, stop = [], threading.Event()

        def sleep_and_wake():
            while not stop.is_set():
                wakes.append(time.perf_counter())
                time.sleep(0.5e-3)

        other, threads = threading.Thread(target=sleep_and_wake), numba.get_num_threads()
        numba.set_num_threads(1)  # one core stays free
        other.start()
        try:
            shares = [self._standstill(wakes) for _ in range(15)]
        finally:
            stop.set()
            other.join()
            numba.set_num_threads(threads)
        return max(0.5, min(1.0, statistics.median(shares)))

    track_standstill.unit = "of the call"

    def _standstill(self, wakes):
        start = time.perf_counter()
        self.call()
        stop = time.perf_counter()
        during = [start, *(t for t in wakes[:] if start < t < stop), stop]
        wakes.clear()
        return max(b - a for a, b in itertools.pairwise(during)) / (stop - start)

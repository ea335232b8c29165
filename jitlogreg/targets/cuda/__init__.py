"""The CUDA target: forward pass and sums on an NVIDIA GPU, from one read of X.

Arrays on a device are taken where they are, and the work is done on the stream that is current in their library. NumPy
arrays are copied to the device for the call.
"""

import contextlib
import functools

import numba
import numpy as np

from jitlogreg.targets.cuda import blocks, columns, driver, panels, plan, reduce, warps
from jitlogreg.targets.cuda.totals import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.layout import layout
from jitlogreg.targets.sums import Sums

REGIMES = {"warps": warps, "blocks": blocks, "columns": columns, "panels": panels}

REDUCE_THREADS = 256


def reason():
    """Why the target cannot run here; empty where it can."""
    return driver.reason()


def device():
    """What it runs on."""
    return driver.name()


def forward(X, w, b, out):
    """Write a = σ(Xw + b) to `out`."""
    return _activations("forward", X, w, b, out)


def log_forward(X, w, b, out):
    """Write log σ(Xw + b) to `out`."""
    return _activations("log_forward", X, w, b, out)


def sums(X, y, w, b, sample_weight, with_gradient):
    """Σ sL, Σ s·dz·x, Σ s·dz and Σ s over the examples."""
    m, n = X.shape
    if m == 0:
        return Sums(0.0, np.zeros(n), 0.0, 0.0, True)
    operation = "gradient" if with_gradient else "loss"
    with _placed(X) as call:
        p = call.plan(w)
        width, first = n + TOTALS, 0 if with_gradient else n
        left, totals, work = call.scratch(plan.left_size(p, n) * w.dtype.itemsize, width * 8, p.scratch * w.dtype.itemsize)
        s = 0 if sample_weight is None else call.address(sample_weight)
        call.run(operation, p, w, b, call.address(y), s, left, work)
        call.add_up(w.dtype, left, p.rows_left, width, first, totals)
        numbers = np.zeros(width)
        driver.download(numbers[first:], totals + 8 * first, call.stream)
    of_examples = numbers[n:].tolist()
    return Sums(of_examples[LOSS], numbers[:n], of_examples[DB], of_examples[WEIGHT], of_examples[INVALID] == 0)


def _activations(operation, X, w, b, out):
    if X.shape[0] == 0:
        return out
    with _placed(X) as call:
        p = call.plan(w)
        to_host = isinstance(out, np.ndarray)
        room, work = call.scratch(out.size * out.itemsize if to_host else 0, p.scratch * w.dtype.itemsize)
        call.run(operation, p, w, b, 0, 0, room if to_host else out.address, work)
        if to_host:
            driver.download(out, room, call.stream)
    return out


@contextlib.contextmanager
def _placed(X):
    """A call on X's device and stream, X copied there if it is not on one; what was copied is given back at the end."""
    on_host = isinstance(X, np.ndarray)
    ordinal, stream = (0, 0) if on_host else (X.device, X.stream)
    with driver.current(ordinal):
        call = _Call(X, ordinal, stream)
        try:
            yield call
        finally:
            call.close()


class _Call:
    """The addresses of one call's arrays on a device, and launches in the order of its stream."""

    def __init__(self, X, ordinal, stream):
        self.ordinal, self.stream, self._copies = ordinal, stream, []
        self.shape, self.x_dtype = X.shape, X.dtype
        self.order, self.leading = layout(X.shape, X.strides, X.itemsize)
        if isinstance(X, np.ndarray):
            X = np.asarray(X, order=self.order)
            self.leading = X.shape[1] if self.order == "C" else X.shape[0]
        self.x = self.address(X)

    def address(self, array):
        """Where an array lies on the device: NumPy's are copied there."""
        if not isinstance(array, np.ndarray):
            return array.address
        address = driver.allocate(array.nbytes)
        self._copies.append(address)
        driver.upload(address, array, self.stream)
        return address

    def scratch(self, *sizes):
        """Addresses of as many bytes each, as numbers of any dtype may lie."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // 256) * 256
        address = driver.scratch(self.ordinal, self.stream, total + 256)
        self.counter = address + total
        return [address + start for start in starts]

    def plan(self, w):
        """The plan for X and w. The address of w is kept with it."""
        self.w = self.address(w)
        m, n = self.shape
        sizes = self.x_dtype.itemsize, w.dtype.itemsize
        vector = _readable(self.x, sizes[0], n, self.leading) if self.order == "C" else 1
        w_vector = _readable(self.w, sizes[1], n, n) if vector > 1 else 1
        return plan.plan(driver.facts(self.ordinal), m, n, *sizes, self.order, vector, w_vector)

    def run(self, operation, p, w, b, y, s, out, work):
        """Launch the kernel of a plan."""
        (m, n), types = self.shape, (self.x_dtype, w.dtype)
        arguments = self.x, self.leading, m, n, self.w, w.dtype.type(b), y, s, out
        if p.cooperative:
            driver.clear(self.counter, 8, self.stream)
            arguments += work, p.panel, p.slices, self.counter
        label = "-".join(map(str, (p.regime, operation, *types, *p.constants)))
        signature = _signature(arguments)
        make = functools.partial(REGIMES[p.regime].make, *map(numba.from_dtype, types), operation, *p.constants)
        function = driver.kernel(self.ordinal, label, make, signature, p.threads, p.per_processor, p.shared)
        driver.launch(function, p.blocks, p.threads, p.shared, self.stream, arguments, p.cooperative)

    def add_up(self, dtype, left, rows, width, first, totals):
        """Launch the second stage for the columns from `first` on."""
        arguments = left, rows, width, first, totals
        make = functools.partial(reduce.make, numba.from_dtype(dtype), REDUCE_THREADS)
        function = driver.kernel(
            self.ordinal, f"reduce-{dtype}", make, _signature(arguments), REDUCE_THREADS, 1, 0
        )
        columns_of_block = REDUCE_THREADS // 32 * reduce.COLUMNS
        count = -(-(width - first) // columns_of_block)
        driver.launch(function, count, REDUCE_THREADS, 0, self.stream, arguments)

    def close(self):
        """Give back what was copied, once the device is done with it."""
        if self._copies:
            driver.synchronize(self.stream)
            for address in self._copies:
                driver.free(address)


def _readable(address, size, n, leading):
    """How many numbers of a row can be read at once, at most 16 bytes."""
    count = 16 // size
    while count > 1 and (address % (count * size) or n % count or leading % count):
        count //= 2
    return count


def _signature(arguments):
    return tuple(numba.int64 if isinstance(a, int) else numba.from_dtype(np.dtype(type(a))) for a in arguments)

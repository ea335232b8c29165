"""One call on a device: where its arrays lie, and its launches in the order of its stream."""

import contextlib
import functools
import weakref

import numba
import numpy as np

from jitlogreg.targets.base import layout
from jitlogreg.targets.cuda import block_per_row, column_major, driver, l2_panels, plan, reduce, warp_per_row
from jitlogreg.targets.cuda.epilogue import vectors_of

REGIMES = {"warps": warp_per_row, "blocks": block_per_row, "columns": column_major, "panels": l2_panels}

REDUCE_THREADS = 256


@contextlib.contextmanager
def placed(X):
    """A call on X's device and stream, X copied there if it is not on one; what was copied is given back at the end."""
    on_host = isinstance(X, np.ndarray)
    ordinal, stream = (0, 0) if on_host else (X.device, X.stream)
    with driver.current(ordinal):
        call = Call(X, ordinal, stream)
        try:
            yield call
        finally:
            call.close()


class Call:
    """The addresses of one call's arrays on a device, and launches in the order of its stream."""

    def __init__(self, X, ordinal, stream):
        self.ordinal, self.stream = ordinal, stream
        self._copies, self._borrowed = [], []
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
        address, room = driver.borrow(self.ordinal, self.stream, total + 256)
        self._borrowed.append((address, room))
        self.counter = address + total
        return [address + start for start in starts]

    def plan(self, w, operation="gradient"):
        """The plan for X and w. The address of w, and of what lies behind it, is kept with it."""
        self.w = self.address(w)
        m, n = self.shape
        sizes = self.x_dtype.itemsize, w.dtype.itemsize
        vector = _readable(self.x, sizes[0], n, self.leading) if self.order == "C" else 1
        w_vector = _readable(self.w, sizes[1], n, n) if vector > 1 else 1
        return plan.plan(driver.facts(self.ordinal), m, n, *sizes, self.order, vector, w_vector, vectors_of(operation))

    def run(self, operation, p, w, b, y, s, out, work):
        """Launch the kernel of a plan."""
        (m, n), types = self.shape, (self.x_dtype, w.dtype)
        arguments = self.x, self.leading, m, n, self.w, w.dtype.type(b), y, s, out
        if p.cooperative:
            driver.clear(self.counter, 8, self.stream)
            arguments += work, p.panel, p.slices, self.counter
        label = "-".join(map(str, (p.regime, operation, *types, *p.constants)))
        make = functools.partial(REGIMES[p.regime].make, *map(numba.from_dtype, types), operation, *p.constants)
        self.launch(label, make, p, arguments)

    def launch(self, label, make, p, arguments, cooperative=False):
        """Launch the kernel that `make()` makes, with the blocks of a plan."""
        cooperative = cooperative or p.cooperative
        function = driver.kernel(self.ordinal, label, make, signature(arguments), p.threads, p.per_processor, p.shared)
        driver.launch(function, p.blocks, p.threads, p.shared, self.stream, arguments, cooperative)

    def add_up(self, dtype, left, rows, width, first, totals):
        """Launch the second stage for the columns from `first` on."""
        arguments = left, rows, width, first, totals
        make = functools.partial(reduce.make, numba.from_dtype(dtype), REDUCE_THREADS)
        count = -(-(width - first) // (REDUCE_THREADS // 32 * reduce.COLUMNS))
        self.launch(f"reduce-{dtype}", make, plan.Plan("reduce", (REDUCE_THREADS,), 1, count, 0, 0), arguments)

    def close(self):
        """Give back what was borrowed, and what was copied once the device is done with it."""
        for address, room in self._borrowed:
            driver.give_back(self.ordinal, self.stream, address, room)
        if self._copies:
            driver.synchronize(self.stream)
            for address in self._copies:
                driver.free(address)


class OnDevice:
    """A copy of a NumPy array on the first device, for as long as this lives, with what kernels ask of arrays."""

    def __init__(self, array):
        order = layout(array.shape, array.strides, array.itemsize)[0] if array.ndim == 2 else "C"
        array = np.asarray(array, order=order)
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.itemsize, self.size = array.itemsize, array.size
        self.device, self.stream = 0, 0
        with driver.current(self.device):
            self.address = driver.allocate(array.nbytes)
            driver.upload(self.address, array, self.stream)
            driver.synchronize(self.stream)
        weakref.finalize(self, _free, self.device, self.address)


def _free(ordinal, address):
    with driver.current(ordinal):
        driver.free(address)


def _readable(address, size, n, leading):
    """How many numbers of a row can be read at once, at most 16 bytes."""
    count = 16 // size
    while count > 1 and (address % (count * size) or n % count or leading % count):
        count //= 2
    return count


def signature(arguments):
    """Numba's types of a kernel's arguments."""
    return tuple(numba.int64 if isinstance(a, int) else numba.from_dtype(np.dtype(type(a))) for a in arguments)

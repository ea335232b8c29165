"""One call on a device: the addresses of its arrays, its workspace, and its launches in stream order."""

import contextlib
import functools
import weakref

import numba
import numpy as np

from jitlogreg.targets.base import layout
from jitlogreg.targets.cuda import block_per_row, column_major, driver, l2_panels, plan, reduce, warp_per_row
from jitlogreg.targets.cuda.epilogue import rhs_count

REGIMES = {
    "warp_per_row": warp_per_row,
    "block_per_row": block_per_row,
    "column_major": column_major,
    "l2_panels": l2_panels,
}

REDUCE_THREADS = 256


@contextlib.contextmanager
def device_call(X):
    """A call on X's device and stream. A NumPy X is copied to the first device; copies are freed at the end."""
    on_host = isinstance(X, np.ndarray)
    ordinal, stream = (0, 0) if on_host else (X.device, X.stream)
    with driver.current(ordinal):
        call = DeviceCall(X, ordinal, stream)
        try:
            yield call
        finally:
            call.close()


class DeviceCall:
    """The device addresses of one call's arrays, and launches in the order of its stream."""

    def __init__(self, X, ordinal, stream):
        self.ordinal, self.stream = ordinal, stream
        self._copies, self._workspaces = [], []
        self.shape, self.x_dtype = X.shape, X.dtype
        self.order, self.leading_dimension = layout(X.shape, X.strides, X.itemsize)
        if isinstance(X, np.ndarray):
            X = np.asarray(X, order=self.order)
            self.leading_dimension = X.shape[1] if self.order == "C" else X.shape[0]
        self.x = self.address(X)

    def address(self, array):
        """The device address of an array; a NumPy array is copied to the device."""
        if not isinstance(array, np.ndarray):
            return array.address
        address = driver.allocate(array.nbytes)
        self._copies.append(address)
        driver.upload(address, array, self.stream)
        return address

    def of_examples(self, problem):
        """The addresses of a problem's labels, weights and offsets; 0 where there are none."""
        arrays = problem.y, problem.sample_weight, problem.offset
        return tuple(0 if array is None else self.address(array) for array in arrays)

    def workspace(self, *sizes):
        """The addresses of buffers of so many bytes, each aligned for any dtype."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // 256) * 256
        address, capacity = driver.acquire_workspace(self.ordinal, self.stream, total + 256)
        self._workspaces.append((address, capacity))
        self.barrier_counter = address + total
        return [address + start for start in starts]

    def plan(self, w, operation="gradient"):
        """The plan for X and w. The address of w, and of what follows it in memory, is kept in `self.w`."""
        self.w = self.address(w)
        m, n = self.shape
        itemsizes = self.x_dtype.itemsize, w.dtype.itemsize
        load_width = _load_width(self.x, itemsizes[0], n, self.leading_dimension) if self.order == "C" else 1
        w_load_width = _load_width(self.w, itemsizes[1], n, n) if load_width > 1 else 1
        properties = driver.device_properties(self.ordinal)
        return plan.plan(properties, m, n, *itemsizes, self.order, load_width, w_load_width, rhs_count(operation))

    def run(self, operation, p, w, b, of_examples, out, workspace):
        """Launch the kernel of a plan; `of_examples` holds the addresses of y, s and offset."""
        (m, n), dtypes = self.shape, (self.x_dtype, w.dtype)
        arguments = self.x, self.leading_dimension, m, n, self.w, w.dtype.type(b), *of_examples, out
        if p.cooperative:
            driver.clear(self.barrier_counter, 8, self.stream)
            arguments += workspace, p.panel_rows, p.split_k, self.barrier_counter
        label = "-".join(map(str, (p.regime, operation, *dtypes, *p.constants)))
        make = functools.partial(REGIMES[p.regime].make, *map(numba.from_dtype, dtypes), operation, *p.constants)
        self.launch(label, make, p, arguments)

    def launch(self, label, make, p, arguments, cooperative=False):
        """Launch the kernel that `make()` makes, with the blocks of a plan."""
        cooperative = cooperative or p.cooperative
        function = driver.kernel(
            self.ordinal, label, make, signature(arguments), p.threads, p.blocks_per_sm, p.shared_bytes
        )
        driver.launch(function, p.blocks, p.threads, p.shared_bytes, self.stream, arguments, cooperative)

    def reduce_partials(self, dtype, partials, n_partials, n_sums, first, results):
        """Launch the second stage for the sums from `first` on."""
        arguments = partials, n_partials, n_sums, first, results
        make = functools.partial(reduce.make, numba.from_dtype(dtype), REDUCE_THREADS)
        blocks = -(-(n_sums - first) // (REDUCE_THREADS // 32 * reduce.SUMS_PER_WARP))
        self.launch(f"reduce-{dtype}", make, plan.Plan("reduce", (REDUCE_THREADS,), 1, blocks, 0, 0), arguments)

    def close(self):
        """Release the workspaces, and free the copies once the device has finished with them."""
        for address, capacity in self._workspaces:
            driver.release_workspace(self.ordinal, self.stream, address, capacity)
        if self._copies:
            driver.synchronize(self.stream)
            for address in self._copies:
                driver.free(address)


class DeviceCopy:
    """A copy of a NumPy array on the first device, with the attributes that kernel calls need of an array.

    It is freed with this object.
    """

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


def _load_width(address, itemsize, n, leading_dimension):
    """How many numbers of a row one load can read: at most 16 bytes, and only what is aligned in every row."""
    count = 16 // itemsize
    while count > 1 and (address % (count * itemsize) or n % count or leading_dimension % count):
        count //= 2
    return count


def signature(arguments):
    """Numba's types of a kernel's arguments."""
    return tuple(numba.int64 if isinstance(a, int) else numba.from_dtype(np.dtype(type(a))) for a in arguments)

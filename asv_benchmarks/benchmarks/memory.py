"""What a call allocates: nothing of X's or y's size."""

import tracemalloc

from .cases import DTYPES, OPERATIONS, checked_call, example

SHAPE = 1_000_000, 2  # narrow: a vector of m numbers is a third of all


class Memory:
    params = ([*OPERATIONS, "hessian_vector"], DTYPES)
    param_names = ("operation", "dtype")
    samples, factor = 1, 1.02  # the same number every time

    def setup(self, operation, dtype):
        self.data = example(SHAPE, dtype, "C")
        self.call = checked_call(operation, "cpu", self.data)

    def peakmem_call(self, operation, dtype):
        self.call()

    def track_allocations(self, operation, dtype):
        """Of the data and of what a call allocates at its height, over the data. NumPy tells what it allocates."""
        tracemalloc.start()
        try:
            self.call()
            _, height = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        given = self.data.X.nbytes + self.data.y.nbytes
        return 1 + height / given

    track_allocations.unit = "times the data"

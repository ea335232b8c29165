"""The second stage: the rows that blocks left behind, added up in a fixed order in float64."""

from numba import float64, int64

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import cuda, load, store
from jitlogreg.targets.cuda.totals import join, join_over_lanes

# A warp takes eight columns, adjacent in memory, and every fourth row of each
COLUMNS = 8


def adder(w_type):
    """A function in which a warp adds up the columns from `first` on, and writes the finished totals."""
    load_w, store_total = load(w_type), store(float64)

    @inline
    def add_columns(left, rows, width, first, totals, lane):
        column = first + int64(lane % int64(COLUMNS))
        row = int64(lane // int64(COLUMNS))
        high, low = float64(0), float64(0)
        if column < width:
            while row < rows:
                at = row * int64(2) * width + column
                high, low = join(high, low, float64(load_w(left, at)), float64(load_w(left, at + width)))
                row += int64(32 // COLUMNS)
        high, low = join_over_lanes(high, low, 32, COLUMNS)
        if lane < int64(COLUMNS) and column < width:
            if high - high == float64(0):  # else the low part is NaN and means nothing
                high += low
            store_total(totals, column, high)

    return add_columns


def make(w_type, threads):
    """The kernel: a warp for every eight columns from `first` on."""
    add_columns = adder(w_type)

    def kernel(left, rows, width, first, totals):
        thread = int64(cuda.blockIdx.x) * int64(threads) + int64(cuda.threadIdx.x)
        column = first + thread // int64(32) * int64(COLUMNS)
        if column < width:
            add_columns(left, rows, width, column, totals, int64(cuda.threadIdx.x) & int64(31))

    return kernel

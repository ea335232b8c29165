"""Sums of a block: pairs of a number and what its roundings have lost, and the rows that the blocks leave behind.

A block leaves two rows, of high and of low parts: a number for each column of X, and `TOTALS` more. Adding to a pair
costs seven operations, some tenth of what a GPU can do while it reads one number; so no accumulator here takes more
rows than lie in registers at once, and nothing needs float64 for float32's sake.
"""

from numba import int64

from jitlogreg.pointwise import two_sum
from jitlogreg.simd import zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import cuda, store

# The totals that follow the columns: Σ sL, Σ s·dz, Σ s, and how many labels and weights were none
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = 4
SLOTS = 7  # numbers that they take as pairs and a count

EVERY_LANE = 0xFFFFFFFF


@inline
def add(high, low, x):
    """Add x to a pair."""
    high, lost = two_sum(high, x)
    return high, low + lost


@inline
def join(high, low, other_high, other_low):
    """Add a pair to a pair."""
    high, lost = two_sum(high, other_high)
    return high, low + (lost + other_low)


@inline
def sum_over_lanes(x, lanes, stride):
    """Σ x over those of `lanes` neighbours in a warp that are a multiple of `stride` apart, in each of them."""
    step = int64(lanes // 2)
    while step >= stride:
        x = x + cuda.shfl_xor_sync(EVERY_LANE, x, step)
        step >>= int64(1)
    return x


@inline
def join_over_lanes(high, low, lanes, stride):
    """The same of pairs. Each lane adds in an order of its own: the sum is what the first of them gets."""
    step = int64(lanes // 2)
    while step >= stride:
        high, low = join(
            high, low, cuda.shfl_xor_sync(EVERY_LANE, high, step), cuda.shfl_xor_sync(EVERY_LANE, low, step)
        )
        step >>= int64(1)
    return high, low


@inline
def no_totals(like):
    """The totals of no examples: three pairs and a count."""
    zero = zeros(like)
    return zero, zero, zero, zero, zero, zero, zero


@inline
def add_example(totals, loss, db, weight, bad):
    """The totals with one example more."""
    total_loss, loss_low, total_db, db_low, total_weight, weight_low, invalid = totals
    total_loss, loss_low = add(total_loss, loss_low, loss)
    total_db, db_low = add(total_db, db_low, db)
    total_weight, weight_low = add(total_weight, weight_low, weight)
    return total_loss, loss_low, total_db, db_low, total_weight, weight_low, max(invalid, bad)


@inline
def totals_at(slots, at, apart):
    """Totals that lie in shared memory, `apart` numbers between them: where registers are short they are kept so."""
    return (
        slots[at],
        slots[at + apart],
        slots[at + 2 * apart],
        slots[at + 3 * apart],
        slots[at + 4 * apart],
        slots[at + 5 * apart],
        slots[at + 6 * apart],
    )


@inline
def put_totals_at(slots, at, apart, totals):
    """Write totals to shared memory."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    slots[at], slots[at + apart] = loss, loss_low
    slots[at + 2 * apart], slots[at + 3 * apart] = db, db_low
    slots[at + 4 * apart], slots[at + 5 * apart] = weight, weight_low
    slots[at + 6 * apart] = invalid


@inline
def totals_over_lanes(totals):
    """The totals of a warp's lanes, in its first lane."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    loss, loss_low = join_over_lanes(loss, loss_low, 32, 1)
    db, db_low = join_over_lanes(db, db_low, 32, 1)
    weight, weight_low = join_over_lanes(weight, weight_low, 32, 1)
    return loss, loss_low, db, db_low, weight, weight_low, sum_over_lanes(invalid, 32, 1)


@inline
def join_at(shared, at, lows, high, low):
    """Add a pair to the one of a block whose parts lie at `at` and `at + lows`."""
    shared[at], shared[at + lows] = join(shared[at], shared[at + lows], high, low)


@inline
def join_totals_at(shared, at, lows, totals):
    """Add totals to those of a block, which begin at `at`."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    join_at(shared, at + LOSS, lows, loss, loss_low)
    join_at(shared, at + DB, lows, db, db_low)
    join_at(shared, at + WEIGHT, lows, weight, weight_low)
    shared[at + INVALID] += invalid


@inline
def clear(shared, count, thread, threads):
    """Set the first numbers of a shared array to 0, by all threads of a block, which wait for each other."""
    at = thread
    while at < count:
        shared[at] = 0
        at += threads
    cuda.syncthreads()


def row_writer(w_type):
    """A function that writes the sums of a block as two rows of `out`, once its threads have met at a barrier."""
    store_w = store(w_type)

    @inline
    def write_rows(out, block, n, shared, columns, thread, threads):
        lows = columns + TOTALS
        width = n + TOTALS
        first = int64(block) * int64(2) * width
        at = thread
        while at < n:
            store_w(out, first + at, shared[at])
            store_w(out, first + width + at, shared[at + lows])
            at += threads
        if thread < int64(TOTALS):
            store_w(out, first + n + thread, shared[columns + thread])
            store_w(out, first + width + n + thread, shared[columns + lows + thread])

    return write_rows

"""Compensated sums on a GPU: over the rows of a thread, the lanes of a warp and the warps of a thread block.

A sum is a pair: `high` is the running sum, and `low` collects what its roundings lost (Knuth's two-sum). Adding to a
pair takes seven operations, about a tenth of what a GPU can do while it reads one number. Plain accumulators are
therefore added to a pair often, after 64 rows at most, and float32 input needs no float64.

Each thread block leaves a partial: the high parts of `n + TOTALS` sums, then their low parts. The first n are column
sums, one for each column of X. The other `TOTALS` are the totals, which have one term per example.
"""

from numba import int64

from jitlogreg.pointwise import two_sum
from jitlogreg.simd import zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.intrinsics import cuda, store

# The totals: Σ sL, Σ s·dz, Σ s, and the count of invalid labels and weights
LOSS, DB, WEIGHT, INVALID = range(4)
TOTALS = 4
TOTALS_SIZE = 7  # numbers that hold the totals: three pairs and the count

FULL_MASK = 0xFFFFFFFF


@inline
def compensated_add(high, low, x):
    """Add x to a pair."""
    high, lost = two_sum(high, x)
    return high, low + lost


@inline
def compensated_merge(high, low, other_high, other_low):
    """Add a pair to a pair."""
    high, lost = two_sum(high, other_high)
    return high, low + (lost + other_low)


@inline
def warp_sum(x, lanes, stride):
    """Σ x over every `stride`-th of `lanes` neighbouring lanes of a warp; each of these lanes gets the same sum."""
    step = int64(lanes // 2)
    while step >= stride:
        x = x + cuda.shfl_xor_sync(FULL_MASK, x, step)
        step >>= int64(1)
    return x


@inline
def warp_sum_compensated(high, low, lanes, stride):
    """`warp_sum` of pairs. Each lane adds in an order of its own: only the result of the first lane counts."""
    step = int64(lanes // 2)
    while step >= stride:
        high, low = compensated_merge(
            high, low, cuda.shfl_xor_sync(FULL_MASK, high, step), cuda.shfl_xor_sync(FULL_MASK, low, step)
        )
        step >>= int64(1)
    return high, low


@inline
def zero_totals(like):
    """The totals of no examples: three pairs and a count."""
    zero = zeros(like)
    return zero, zero, zero, zero, zero, zero, zero


@inline
def add_example(totals, loss, db, weight, invalid):
    """The totals with one more example."""
    total_loss, loss_low, total_db, db_low, total_weight, weight_low, total_invalid = totals
    total_loss, loss_low = compensated_add(total_loss, loss_low, loss)
    total_db, db_low = compensated_add(total_db, db_low, db)
    total_weight, weight_low = compensated_add(total_weight, weight_low, weight)
    return total_loss, loss_low, total_db, db_low, total_weight, weight_low, max(total_invalid, invalid)


@inline
def load_totals(shared, index, stride):
    """Totals from shared memory, one number every `stride`. Kernels that are short of registers keep them there."""
    return (
        shared[index],
        shared[index + stride],
        shared[index + 2 * stride],
        shared[index + 3 * stride],
        shared[index + 4 * stride],
        shared[index + 5 * stride],
        shared[index + 6 * stride],
    )


@inline
def store_totals(shared, index, stride, totals):
    """Write totals to shared memory, one number every `stride`."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    shared[index], shared[index + stride] = loss, loss_low
    shared[index + 2 * stride], shared[index + 3 * stride] = db, db_low
    shared[index + 4 * stride], shared[index + 5 * stride] = weight, weight_low
    shared[index + 6 * stride] = invalid


@inline
def warp_sum_totals(totals):
    """The totals of all lanes of a warp, in its first lane."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    loss, loss_low = warp_sum_compensated(loss, loss_low, 32, 1)
    db, db_low = warp_sum_compensated(db, db_low, 32, 1)
    weight, weight_low = warp_sum_compensated(weight, weight_low, 32, 1)
    return loss, loss_low, db, db_low, weight, weight_low, warp_sum(invalid, 32, 1)


@inline
def merge_pair(block_sums, index, low_offset, high, low):
    """Add a pair to the pair of a thread block whose parts lie at `index` and `index + low_offset`."""
    block_sums[index], block_sums[index + low_offset] = compensated_merge(
        block_sums[index], block_sums[index + low_offset], high, low
    )


@inline
def merge_totals(block_sums, index, low_offset, totals):
    """Add totals to those of a thread block, which begin at `index`."""
    loss, loss_low, db, db_low, weight, weight_low, invalid = totals
    merge_pair(block_sums, index + LOSS, low_offset, loss, loss_low)
    merge_pair(block_sums, index + DB, low_offset, db, db_low)
    merge_pair(block_sums, index + WEIGHT, low_offset, weight, weight_low)
    block_sums[index + INVALID] += invalid


@inline
def clear_shared(shared, count, thread, threads):
    """Set the first `count` numbers of a shared array to 0 with all threads of a block, and synchronize them."""
    i = thread
    while i < count:
        shared[i] = 0
        i += threads
    cuda.syncthreads()


def make_partial_writer(w_type):
    """A function that writes the partial of a thread block to `out`. The threads must be synchronized before."""
    store_w = store(w_type)

    @inline
    def write_partial(out, block, n, block_sums, columns, thread, threads):
        low_offset = columns + TOTALS
        n_sums = n + TOTALS
        partial = int64(block) * int64(2) * n_sums
        j = thread
        while j < n:
            store_w(out, partial + j, block_sums[j])
            store_w(out, partial + n_sums + j, block_sums[j + low_offset])
            j += threads
        if thread < int64(TOTALS):
            store_w(out, partial + n + thread, block_sums[columns + thread])
            store_w(out, partial + n_sums + n + thread, block_sums[columns + low_offset + thread])

    return write_partial

"""The partition of a matrix into tasks: it decides the order of every sum, and so the bits.

It follows from shape, dtype and layout alone, never from the CPU or the number of threads; what is chosen by the CPU is
in `profile.py` and decides speed only. In plain integers, since compiled code asks too.

There are two ways to share a matrix:

    row chunks     a task takes blocks of rows, with sums of its own for every column; these are added up in order
    column panels  for one strip of rows after another, a task takes some of the columns; the parts of the margins are
                   added up in order, and the sums of a column belong to one task
"""

from typing import NamedTuple

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import jitable
from jitlogreg.targets.cpu.epilogue import SEGMENT

# A row block in C order: the fewest rows, the most, and the bytes of X that it should keep to. It is read twice, and
# with what is prefetched beside it should fit 32 KB, the smallest L1 of today. Shares of the read limit with 8 KB and
# 16, in float64: 28 columns 0.81 and 0.77, 128 columns 0.76 and 0.73 (Zen 5). Half of what the Zen 4 was tuned to
C_BLOCK = LANES, SEGMENT, 8 << 10

# A row block in F order: a page of each column, at whose end the hardware prefetcher stops; less where a block would
# have more numbers than this. Shares of the read limit with 128, 256, 512 and 1024 rows, in float64: 128 columns 0.49,
# 0.54, 0.53, 0.46; 1024 columns 0.40, 0.45, 0.53, 0.46 (Zen 5)
F_STRETCH, F_NUMBERS = 4 << 10, 1 << 19

# The blocks that a matrix in F order is cut into at least, so that threads can share it, unless it has fewer segments
F_BLOCKS = 16

# In C order the rows whose margins are taken one after another, not four side by side: of so many bytes in float64,
# from the first to below the second, in float32 to below twice that. Sequential and side by side, in float64: 48
# columns 0.79 and 0.81, 64 columns 0.80 and 0.72, 96 columns 0.80 and 0.72, 128 columns 0.71 and 0.75 (Zen 5); on a
# Zen 4 200 columns 0.87 and 0.68, 32 columns 0.68 and 0.77
SEQUENTIAL_ROW_BYTES = 512, 1024

# In C order the bytes of a row from which on tasks own columns. Shares of the read limit, where memory gives 36 GB/s,
# with row chunks and with column panels: 200,000 columns of float64 0.35 and 0.55, 65,536 columns 0.58 and 0.70, 16,384
# columns 0.69 either way (Zen 4, 32 MB of L3)
PANEL_ROW_BYTES = 256 << 10

# Columns of a panel in C order. From 512 to 4096 the time is the same, at 16,384 a tenth more (Zen 4)
C_PANEL = 2048

# In F order the columns from which on tasks own columns and read them from end to end: in the forward pass, and for
# what reads X twice, then from memory. Row blocks have a page of each column, which costs a TLB miss and a stream of
# the hardware prefetcher each. Time with row blocks over time with column panels, float64 and float32, one thread of a
# Zen 5: forward pass 2048 columns 1.28 and 1.35, 4096 columns 1.37 and 1.62; gradient 2048 columns 0.93 and 0.87, 4096
# columns 1.03 and 1.03, 8192 columns 1.27 and 1.90. A plain trial on a Cascade Lake: gradient 2048 columns about even,
# 8192 columns 2.0 and 2.8
F_PANEL_COLUMNS, F_PANEL_COLUMNS_TWICE = 2048, 4096

# In F order the most rows of a strip, whose margins stay in L2 while a panel adds to them. Where X is read twice,
# strips are short below so many columns: an L3 may still hold their X. With 2048 rows 4096 columns took 0.93 of the
# time in float64 and 0.82 in float32, 8192 columns 1.0 to 1.2 times (Zen 5, 32 MB of L3)
F_STRIP, F_SHORT_STRIP, F_LONG_STRIP_COLUMNS = 8192, 2048, 8192

# In F order the fewest columns of a panel, and the most panels: for each of them every row has a partial margin. 64
# took 0.95 of the time of 256 (Zen 5)
F_PANEL, F_PANELS = 8 * LANES, 64

# What the pointwise step costs, in numbers of a row: 3 ns against 0.2 to 0.5
POINTWISE_COST = 8

# The most row chunks, and the least cost of one. `tools/performance/partition_model.py` shows what 2 to 192 cores make
# of it
CHUNKS = 384
CHUNK_COST = 1 << 14

# A chunk has three numbers of its own for each column, which are written and added up: beyond four chunks at most a
# sixteenth of the bytes of X, beyond 32, which serve what a cache holds, a sixty-fourth
FEW_CHUNKS, SHARE_OF_FEW, SHARE = 32, 16, 64

# Of sparse rows a chunk has so many numbers for each column, beyond four chunks, or one where rows have fewer numbers
# than X has columns: its two totals of a column are cleared, and added up, in the time of one number
SPARSE_SHARE = 16

# Beyond so many chunks they are a multiple of it, which 2 to 16 threads share evenly
EVEN = 16


class Partition(NamedTuple):
    """How a matrix is shared by tasks; integers."""

    rows: int
    """Rows of a block, or of a strip that column panels share."""
    tasks: int
    """Row chunks, or column panels."""
    panel: int
    """Columns of a panel; 0 for row chunks."""
    sequential: int
    """Whether margins in C order are taken one after another, in 32 partial sums, or four side by side, in 8 each."""


@jitable
def partition(m, n, itemsize, f_order, forward):
    """A `Partition`, as a plain tuple, for the forward pass or for what reads X twice: sums and products.

    The forward pass of C order keeps nothing for a second one, so that long rows stay whole.
    """
    row = n * itemsize
    if f_order and n >= (F_PANEL_COLUMNS if forward else F_PANEL_COLUMNS_TWICE):
        longest = F_STRIP if forward or n >= F_LONG_STRIP_COLUMNS else F_SHORT_STRIP
        strips = max(1, (m + longest - 1) // longest)
        strip = ((m + strips - 1) // strips + LANES - 1) // LANES * LANES
        panel = max(F_PANEL, ((n + F_PANELS - 1) // F_PANELS + LANES - 1) // LANES * LANES)
        return strip, (n + panel - 1) // panel, panel, 0
    if not f_order and not forward and row >= PANEL_ROW_BYTES:
        return LANES, (n + C_PANEL - 1) // C_PANEL, C_PANEL, 0
    return row_partition(m, n, itemsize, f_order)


@jitable
def row_partition(m, n, itemsize, f_order):
    """The partition into row chunks, however wide X is."""
    row = n * itemsize
    if f_order:
        block = F_STRETCH // itemsize
        while block > SEGMENT and (block * n > F_NUMBERS or block * F_BLOCKS > m):
            block //= 2
    else:
        shortest, block, size = C_BLOCK
        while block > shortest and block * row > size:
            block //= 2
    sequential = int(SEQUENTIAL_ROW_BYTES[0] <= row < SEQUENTIAL_ROW_BYTES[1] * 8 // itemsize)
    affordable = m * itemsize // (3 * 8)  # chunks whose sums were as large as X
    most = max(4, max(min(FEW_CHUNKS, affordable // SHARE_OF_FEW), affordable // SHARE))
    chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most)
    return block, chunks // EVEN * EVEN if chunks > EVEN else chunks, 0, sequential


def sparse_partition(m, n, nnz):
    """The row chunks of sparse rows with so many numbers in all: rows of a block, and chunks."""
    most = max(4 if nnz >= n else 1, nnz // (SPARSE_SHARE * max(n, 1)))
    chunks = min(chunk_count(m // LANES * LANES, 2 * nnz // max(m, 1) + POINTWISE_COST, SEGMENT), most)
    return Partition(SEGMENT, chunks // EVEN * EVEN if chunks > EVEN else chunks, 0, 0)


@jitable
def chunk_count(rows, row_cost, block):
    """Chunks of whole blocks that are worth it."""
    return min(CHUNKS, -(-rows // block), max(1, rows * row_cost // CHUNK_COST))

"""How a matrix is cut into blocks and chunks: that follows from its shape alone. In plain integers: it compiles."""

from jitlogreg.lanes import LANES
from jitlogreg.targets.compile import shared
from jitlogreg.targets.cpu.link import SEGMENT

# A block is read twice, the second time from a cache, and beside it lies what was asked for.
# C order: the fewest rows of a block, the most, and the bytes of X that it should keep to, so that both fit 32 KB.
# Shares of the read limit with 8 KB and 16, in float64: 28 columns 0.81 and 0.77, 128 columns 0.76 and 0.73 (Zen 5)
C_BLOCK = LANES, SEGMENT, 8 << 10

# F order: a page of each column, at whose end the processor's own read-ahead stops; less where a block would have more
# numbers than this. Shares of the read limit with 128, 256, 512 and 1024 rows, in float64: 128 columns 0.49, 0.54,
# 0.53, 0.46; 1024 columns 0.40, 0.45, 0.53, 0.46; 2048 columns 0.36, 0.43, 0.38, 0.36; in float32: 256 columns 0.38,
# 0.43, 0.51, 0.55; 2048 columns 0.70, 0.70, 0.54, 0.37 (Zen 5, 2048 columns of float32 in a slow moment)
F_STRETCH, F_NUMBERS = 4 << 10, 1 << 19

# The blocks that a matrix in F order is cut into at least, so that threads can share it, unless it has fewer segments
F_BLOCKS = 16

# In C order the bytes of X between the row being read and the line being asked for, beyond the half block and the rows
# that the order of reading needs. 28 columns of float64 0.81 with 8 KB, 0.71 with 4; 256 columns 0.79 and 0.80 (Zen 5)
LEAD = 8 << 10

# In C order the rows that are read one by one for their margins, not four together: of so many bytes in float64, from
# the first to below the second, in float32 to below twice that. Alone and together, in float64: 48 columns 0.79 and
# 0.81, 64 columns 0.80 and 0.72, 96 columns 0.80 and 0.72, 128 columns 0.71 and 0.75; in float32: 96 columns 0.88 and
# 0.90, 128 columns 0.88 and 0.76, 400 columns 0.91 and 0.81, 512 columns 0.84 and 0.87 (Zen 5)
APART = 512, 1024

# The columns from which on the forward pass asks for nothing: the processor's own read-ahead follows four long rows
# better. Shares of the read limit in float64, asking and not: 4096 columns 0.94 and 0.95, 8192 columns 0.90 and
# 0.98, 200,000 columns 0.55 and 0.88; in float32 0.93 and 0.93 for 8192 columns, 0.50 and 0.82 for 200,000 (Zen 5)
LONG = 8192

# What the per-example step costs, in numbers of a row: 3 ns against 0.2 to 0.5
LINK_COST = 8

# The most chunks that a matrix is cut into, and the least cost of one: enough for 64 cores, and few enough that adding
# up their partial sums does not show
CHUNKS = 64
CHUNK_COST = 1 << 14


@shared
def cut(m, n, itemsize, leading, f_order):
    """The rows of a block, the number of chunks, how far ahead memory is asked for, and whether rows are read apart."""
    row = n * itemsize
    if f_order:
        block = F_STRETCH // itemsize
        while block > SEGMENT and (block * n > F_NUMBERS or block * F_BLOCKS > m):
            block //= 2
    else:
        shortest, block, size = C_BLOCK
        while block > shortest and block * row > size:
            block //= 2
    apart = int(APART[0] <= row < APART[1] * 8 // itemsize)
    lead = (block // 2 + 2) * leading + LEAD // itemsize
    # each chunk has three numbers of its own for each column: beyond four chunks not more than a sixteenth of X
    few = max(4, m * n * itemsize // (16 * 24 * max(n, 1)))
    chunks = min(chunk_count(m // LANES * LANES, n + LINK_COST, block), few)
    return block, chunks, lead, apart


@shared
def chunk_count(rows, row_cost, block):
    """Chunks of whole blocks that are worth it."""
    return min(CHUNKS, -(-rows // block), max(1, rows * row_cost // CHUNK_COST))

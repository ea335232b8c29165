"""How a matrix is cut into blocks and chunks: that follows from its shape alone. In plain integers: it compiles."""

from jitlogreg.lanes import LANES
from jitlogreg.targets.compile import shared
from jitlogreg.targets.cpu.link import SEGMENT

# For each order the fewest rows in a block, the most, and the bytes of X that it should keep to: they are read twice,
# the second time from a cache. C: half of a 32 KB first-level cache. F, whose segments want to be long: at 256 columns
# 0.75 of the read limit with 256 KB, 0.81 with 1 MB, 0.74 with 2 MB (Zen 4, whose second level has 1 MB); 28 columns of
# float32 0.60 with 512 rows, 0.65 with 1024 and with 2048 (Zen 3).
C_BLOCKS, F_BLOCKS = (LANES, SEGMENT, 16 << 10), (SEGMENT, 1024, 1 << 20)

# In C order the bytes of X between the row being read and the line being asked for, beyond the half block and the rows
# that the order of reading needs. At 8, 16 and 32 KB the same time; at 4 KB up to a tenth more, at 64 KB for long rows
LEAD = 16 << 10

# In C order the bytes of a row, from the least to the most, that is read alone for its margin, not four together: the
# processor's own read-ahead follows one stream best. Shares of the read limit where memory gives 60 GB/s, in float64:
# 256 columns 0.70 against 0.64, 200 0.87 against 0.68; but 32 columns 0.68 against 0.77, 512 0.59 against 0.73 (Zen 4)
APART = 512, 2560

# What the per-example step costs, in numbers of a row: 3 ns against 0.2 to 0.5
LINK_COST = 8

# The most chunks that a matrix is cut into, and the least cost of one: enough for 64 cores, and few enough that adding
# up their partial sums does not show
CHUNKS = 64
CHUNK_COST = 1 << 14


@shared
def cut(m, n, itemsize, leading, f_order):
    """The rows of a block, the number of chunks, how far ahead memory is asked for, and whether rows are read apart."""
    shortest, longest, size = F_BLOCKS if f_order else C_BLOCKS
    block = longest
    while block > shortest and block * n * itemsize > size:
        block //= 2
    apart = int(APART[0] <= n * itemsize <= APART[1])
    lead = (block // 2 + 2) * leading + LEAD // itemsize
    # each chunk has three numbers of its own for each column: beyond four chunks not more than a sixteenth of X
    few = max(4, m * n * itemsize // (16 * 24 * max(n, 1)))
    chunks = min(chunk_count(m // LANES * LANES, n + LINK_COST, block), few)
    return block, chunks, lead, apart


@shared
def chunk_count(rows, row_cost, block):
    """Chunks of whole blocks that are worth it."""
    return min(CHUNKS, -(-rows // block), max(1, rows * row_cost // CHUNK_COST))

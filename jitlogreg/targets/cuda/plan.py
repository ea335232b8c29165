"""Which kernel takes a matrix, and how the matrix is cut: it follows from shape, order, dtypes and the device alone.

How much is read at once depends on where the matrix lies, the order of no sum does: the same values have the same sums
to the bit in every view. The constants here are predictions from the bytes that must be in flight, some 40 KB for each
multiprocessor of an H100, and from the registers that the compiler reports; none has been tuned on a GPU yet.
"""

import functools
from typing import NamedTuple

from jitlogreg.targets.cuda.totals import TOTALS

# The most bytes of a row that a warp holds, counted in numbers of w's type: beyond, a block shares it
WARP_ROW = 2048
WARP_THREADS = 256

# The most pieces of 16 bytes that a thread of the largest block holds without spills, twice: this row's and the next's;
# by bytes of X and of w, where X is multiplied by one vector, and by two
BLOCK_THREADS = (128, 256, 512)
MOST_PIECES = {(4, 4): (8, 4), (4, 8): (4, 4), (8, 8): (8, 8)}

# Bytes of shared memory that such a block takes beside its column sums, and a kilobyte for the system
STATIC = 4096

# The most columns in F order whose tiles of rows fit in registers
MOST_COLUMNS = 1024

# In F order, the most columns that a lane has alone, by bytes of w, in blocks of so many threads
NARROW = {4: 32, 8: 16}
NARROW_THREADS = 256

# In F order with more columns: the most columns, threads, and lanes and columns of a part, by bytes of w
PARTS = {
    4: ((256, 256, 32, 32), (512, 512, 32, 32), (1024, 512, 16, 32)),
    8: ((256, 256, 16, 16), (512, 512, 16, 16), (1024, 512, 8, 16)),
}

# The part of the second-level cache that a panel may take, and the columns of a segment of its rows: in C order those
# of eight loads of 16 bytes for each lane of a warp
PANEL_SHARE = 3
PANEL_THREADS = 512
F_SEGMENT, C_LOADS = 64, 8
MOST_PANEL = 2048
MOST_SLICES = 32
FLUSH_ROWS = 64  # the most rows that one accumulator takes


class Device(NamedTuple):
    """What a plan needs to know of a device: multiprocessors, bytes of shared memory, bytes of second-level cache."""

    processors: int
    shared_per_block: int
    shared_per_processor: int
    cache: int


class Plan(NamedTuple):
    """A kernel and its launch.

    Attributes
    ----------
    regime : str
        The module whose `make` makes the kernel.
    constants : tuple
        Its arguments after the dtypes and the operation, the threads of a block first.
    per_processor : int
        Blocks that each multiprocessor must have room for.
    blocks : int
    shared : int
        Bytes of dynamic shared memory.
    rows_left : int
        Pairs of rows that the kernel leaves for the second stage.
    panel, slices : int
        Rows of a panel and the slices of its rows; 0 in the other regimes.
    scratch : int
        Numbers of w's type that the kernel works in.
    """

    regime: str
    constants: tuple
    per_processor: int
    blocks: int
    shared: int
    rows_left: int
    panel: int = 0
    slices: int = 0
    scratch: int = 0

    @property
    def threads(self):
        """Threads of a block."""
        return self.constants[0]

    @property
    def cooperative(self):
        """Whether the blocks meet within the kernel, and so must be resident together."""
        return self.regime == "panels"


@functools.lru_cache(maxsize=1024)
def plan(device, m, n, x_size, w_size, order, vector, w_vector, vectors=1):
    """The plan for a matrix (m, n) of numbers of `x_size` bytes, of which `vector` may be read at once, beside w.

    `vectors` is how many vectors X is multiplied by at once, w and perhaps another, for which an operation needs room.
    """
    if order == "F":
        return (
            _columns(device, m, n, x_size, w_size)
            if n <= MOST_COLUMNS
            else _panels(device, m, n, x_size, w_size, 1, True, vectors)
        )
    piece = 16 // x_size
    if n * w_size <= WARP_ROW:
        return _warps(device, m, n, x_size, w_size, vector)
    pieces = -(-n // piece)
    threads = next((t for t in BLOCK_THREADS if pieces <= 2 * t), BLOCK_THREADS[-1])
    held = _power_of_two(-(-pieces // threads))
    shared = 2 * threads * held * piece * w_size
    if held > MOST_PIECES[x_size, w_size][vectors - 1] or shared + STATIC > device.shared_per_block:
        return _panels(device, m, n, x_size, w_size, vector, False, vectors)
    return _blocks(device, m, threads, held, x_size, w_size, shared, vector, w_vector)


def _power_of_two(number):
    """The smallest power of two that is at least this number."""
    return 1 << max(number - 1, 0).bit_length()


def _grid(device, per_processor, m, rows):
    """Blocks for m rows, of which a block takes so many at once: no more than are resident together."""
    return max(1, min(device.processors * per_processor, -(-m // rows)))


def _warps(device, m, n, x_size, w_size, vector):
    threads, piece = WARP_THREADS, 16 // x_size
    pieces = -(-n // piece)
    group = min(32, _power_of_two(pieces))
    held = _power_of_two(-(-pieces // group))
    numbers = held * piece
    # 64 bytes in flight for each thread, 128 where registers leave room for two blocks only
    rows = min(8, max(1, (64 if w_size == 4 and numbers <= 8 else 128) // (numbers * x_size)))
    if w_size == 8:
        rows = 1 if numbers >= 8 else min(rows, x_size // 2)
    per_processor = 3 if w_size == 4 and numbers <= 8 else 2
    blocks = _grid(device, per_processor, m, threads // group * rows)
    return Plan("warps", (threads, vector, group, held, rows), per_processor, blocks, 0, blocks)


def _blocks(device, m, threads, held, x_size, w_size, shared, vector, w_vector):
    rows = 2 if held * (16 // x_size) * w_size <= 32 else 1
    by_registers = max(1, (768 if rows == 2 else 512) // threads)
    by_memory = device.shared_per_processor // (shared + STATIC)
    per_processor = max(1, min(by_registers, by_memory))
    blocks = _grid(device, per_processor, m, rows)
    constants = threads, vector, w_vector, held, rows
    return Plan("blocks", constants, by_registers, blocks, shared, blocks)


def _columns(device, m, n, x_size, w_size):
    if n <= NARROW[w_size]:
        threads, lanes, columns, parts = NARROW_THREADS, 32, _power_of_two(n), 1
        rows = min(8, max(1, 128 // (columns * max(x_size, w_size))))
        per_processor = 3 if w_size == 4 else 2
    else:
        _, threads, lanes, columns = next(choice for choice in PARTS[w_size] if n <= choice[0])
        parts, rows = _power_of_two(-(-n // columns)), 1
        per_processor = max(1, 512 // threads)
    blocks = _grid(device, per_processor, m, threads // parts * rows)
    return Plan("columns", (threads, lanes, columns, parts, rows, parts > 1), per_processor, blocks, 0, blocks)


def _panels(device, m, n, x_size, w_size, vector, f_order, vectors):
    piece = 16 // x_size
    segment = F_SEGMENT if f_order else C_LOADS * 32 * piece
    fitting = device.cache // PANEL_SHARE // (n * x_size)
    panel = min(MOST_PANEL, max(32, fitting // 32 * 32) if f_order else max(1, fitting))
    panel = min(panel, -(-m // 32) * 32) if f_order else min(panel, max(m, 1))
    warps = device.processors * PANEL_THREADS // 32
    tiles = n if f_order else -(-n // (32 * piece))
    accumulated = panel // 32 if f_order else panel
    slices = max(-(-accumulated // FLUSH_ROWS), min(-(-warps // tiles), MOST_SLICES, panel))
    scratch = 2 * vectors * panel * -(-n // segment)
    constants = PANEL_THREADS, f_order, vector, segment
    return Plan("panels", constants, 1, device.processors, 0, slices, panel, slices, scratch)


def left_size(plan, n):
    """Numbers that a kernel for sums leaves behind."""
    return plan.rows_left * 2 * (n + TOTALS)

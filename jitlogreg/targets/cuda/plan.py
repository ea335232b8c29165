"""Which kernel takes a matrix, and its tile sizes: they follow from shape, order, dtypes and the device alone.

The alignment of the matrix decides how wide its loads are, but not the order of any sum: equal values have the same
sums bit for bit in every view. The constants here are predictions, from the bytes that must be in flight, some 40 KB
for each multiprocessor of an H100, and from the registers that the compiler reports. None has been tuned on a GPU yet.
"""

import functools
from typing import NamedTuple

from jitlogreg.targets.cuda.compensated import TOTALS
from jitlogreg.targets.cuda.l2_panels import MAX_PANEL_ROWS

# C order: the longest row that a warp holds, in bytes if X had w's type; a block holds longer ones
WARP_ROW_BYTES = 2048
WARP_THREADS = 256

# The most 16-byte vectors of a row that a thread of the largest block holds without spills. It holds them twice, for
# these rows and for the prefetched ones. By bytes of X and of w, for one right-hand side and for two
BLOCK_THREADS = (128, 256, 512)
MAX_VECTORS = {(4, 4): (8, 4), (4, 8): (4, 4), (8, 8): (8, 8)}

# Bytes of shared memory that such a block takes beside its column sums, one kilobyte of it for the system
STATIC_SHARED = 4096

# The most columns in F order for which a tile of rows fits in registers
MAX_COLUMNS = 1024

# F order, where one lane holds a whole row: the most columns, by bytes of w, and the threads of a block
NARROW_COLUMNS = {4: 32, 8: 16}
NARROW_THREADS = 256

# F order with more columns: the most columns, the threads of a block, and the lanes and columns of a sub-warp, by bytes
# of w
SUB_WARPS = {
    4: ((256, 256, 32, 32), (512, 512, 32, 32), (1024, 512, 16, 32)),
    8: ((256, 256, 16, 16), (512, 512, 16, 16), (1024, 512, 8, 16)),
}

# A panel takes at most one third of the L2 cache
PANEL_L2_DIVISOR = 3
PANEL_THREADS = 512
# Columns of a segment in F order; in C order, the 16-byte loads of each lane of a warp for a segment
F_SEGMENT, C_LOADS = 64, 8
MAX_SPLIT_K = 32
FLUSH_ROWS = 64  # the most rows that one accumulator takes

# K outputs: the threads of a block, of which two reside on a multiprocessor; the most models of a tile; and the most
# rows or columns of one, by bytes of w. A thread then has at most 16 sums in float32 and 8 in float64, each with a
# chain, or a pair and a chain, in registers
OUTPUTS_THREADS, OUTPUTS_BLOCKS = 256, 2
OUTPUTS_MODELS = 32
OUTPUTS_TILE, OUTPUTS_LEAST_TILE = {4: 128, 8: 64}, 32
# The share of the L2 cache that a panel takes, X and residuals. Small tiles of rows read X once from memory where they
# give half of the blocks something to do; where they would not, X is read from memory twice, in large tiles
OUTPUTS_L2_DIVISOR = 2
# The most bytes of the workspace, for thousands of classes
OUTPUTS_WORKSPACE = 1 << 28


class DeviceProperties(NamedTuple):
    """What a plan needs to know of a device: multiprocessors (SMs), bytes of shared memory, bytes of L2 cache."""

    n_sms: int
    shared_per_block: int
    shared_per_sm: int
    l2_size: int


class Plan(NamedTuple):
    """A kernel and its launch.

    Attributes
    ----------
    regime : str
        The module whose `make` makes the kernel.
    constants : tuple
        The arguments of `make` after the dtypes and the operation; the first is the threads of a block.
    blocks_per_sm : int
        Blocks that must be able to reside on each multiprocessor.
    blocks : int
    shared_bytes : int
        Dynamic shared memory.
    n_partials : int
        Partials that the kernel leaves for the second stage.
    panel_rows, split_k : int
        Rows of a panel and the slices of these rows; 0 in regimes without panels.
    workspace_size : int
        Numbers of w's type in the kernel's workspace.
    """

    regime: str
    constants: tuple
    blocks_per_sm: int
    blocks: int
    shared_bytes: int
    n_partials: int
    panel_rows: int = 0
    split_k: int = 0
    workspace_size: int = 0

    @property
    def threads(self):
        """Threads of a block."""
        return self.constants[0]

    @property
    def cooperative(self):
        """Whether the kernel has grid syncs, which require that all blocks be resident together."""
        return self.regime in ("l2_panels", "outputs")


@functools.lru_cache(maxsize=1024)
def plan(device, m, n, x_itemsize, w_itemsize, order, load_width, w_load_width, n_rhs=1):
    """The plan for a matrix (m, n) whose numbers have `x_itemsize` bytes.

    A load may read `load_width` numbers of X and `w_load_width` of w. `n_rhs` is the number of right-hand sides, w and
    perhaps v, for which the operation needs registers.
    """
    if order == "F":
        return (
            _column_major(device, m, n, x_itemsize, w_itemsize)
            if n <= MAX_COLUMNS
            else _l2_panels(device, m, n, x_itemsize, 1, True, n_rhs)
        )
    vector_width = 16 // x_itemsize
    if n * w_itemsize <= WARP_ROW_BYTES:
        return _warp_per_row(device, m, n, x_itemsize, w_itemsize, load_width)
    vectors = -(-n // vector_width)
    threads = next((t for t in BLOCK_THREADS if vectors <= 2 * t), BLOCK_THREADS[-1])
    vectors_per_thread = _power_of_two(-(-vectors // threads))
    shared_bytes = 2 * threads * vectors_per_thread * vector_width * w_itemsize
    if (
        vectors_per_thread > MAX_VECTORS[x_itemsize, w_itemsize][n_rhs - 1]
        or shared_bytes + STATIC_SHARED > device.shared_per_block
    ):
        return _l2_panels(device, m, n, x_itemsize, load_width, False, n_rhs)
    rows = 2 if vectors_per_thread * vector_width * w_itemsize <= 32 else 1
    return _block_per_row(device, m, shared_bytes, (threads, load_width, w_load_width, vectors_per_thread, rows))


def _power_of_two(number):
    """The smallest power of two that is at least this number."""
    return 1 << max(number - 1, 0).bit_length()


def _grid(device, blocks_per_sm, m, block_rows):
    """Blocks for m rows, of which a block takes `block_rows` at once: no more than can be resident together."""
    return max(1, min(device.n_sms * blocks_per_sm, -(-m // block_rows)))


def _warp_per_row(device, m, n, x_itemsize, w_itemsize, load_width):
    threads, vector_width = WARP_THREADS, 16 // x_itemsize
    vectors = -(-n // vector_width)
    lanes_per_row = min(32, _power_of_two(vectors))
    vectors_per_lane = _power_of_two(-(-vectors // lanes_per_row))
    lane_columns = vectors_per_lane * vector_width
    # 64 bytes in flight per thread; 128 where registers leave room for only two blocks
    in_flight = 64 if w_itemsize == 4 and lane_columns <= 8 else 128
    rows = min(8, max(1, in_flight // (lane_columns * x_itemsize)))
    if w_itemsize == 8:
        rows = 1 if lane_columns >= 8 else min(rows, x_itemsize // 2)
    blocks_per_sm = 3 if w_itemsize == 4 and lane_columns <= 8 else 2
    blocks = _grid(device, blocks_per_sm, m, threads // lanes_per_row * rows)
    constants = threads, load_width, lanes_per_row, vectors_per_lane, rows
    return Plan("warp_per_row", constants, blocks_per_sm, blocks, 0, blocks)


def _block_per_row(device, m, shared_bytes, constants):
    threads, *_, rows = constants
    by_registers = max(1, (768 if rows == 2 else 512) // threads)
    by_shared = device.shared_per_sm // (shared_bytes + STATIC_SHARED)
    blocks = _grid(device, max(1, min(by_registers, by_shared)), m, rows)
    return Plan("block_per_row", constants, by_registers, blocks, shared_bytes, blocks)


def _column_major(device, m, n, x_itemsize, w_itemsize):
    if n <= NARROW_COLUMNS[w_itemsize]:
        threads, lanes, lane_columns, sub_warps_per_row = NARROW_THREADS, 32, _power_of_two(n), 1
        rows = min(8, max(1, 128 // (lane_columns * max(x_itemsize, w_itemsize))))
        blocks_per_sm = 3 if w_itemsize == 4 else 2
    else:
        _, threads, lanes, lane_columns = next(choice for choice in SUB_WARPS[w_itemsize] if n <= choice[0])
        sub_warps_per_row, rows = _power_of_two(-(-n // lane_columns)), 1
        blocks_per_sm = max(1, 512 // threads)
    blocks = _grid(device, blocks_per_sm, m, threads // sub_warps_per_row * rows)
    constants = threads, lanes, lane_columns, sub_warps_per_row, rows, sub_warps_per_row > 1
    return Plan("column_major", constants, blocks_per_sm, blocks, 0, blocks)


def _l2_panels(device, m, n, x_itemsize, load_width, f_order, n_rhs):
    vector_width = 16 // x_itemsize
    segment = F_SEGMENT if f_order else C_LOADS * 32 * vector_width
    fitting = device.l2_size // PANEL_L2_DIVISOR // (n * x_itemsize)
    panel_rows = min(MAX_PANEL_ROWS, max(32, fitting // 32 * 32) if f_order else max(1, fitting))
    panel_rows = min(panel_rows, -(-m // 32) * 32) if f_order else min(panel_rows, max(m, 1))
    warps = device.n_sms * PANEL_THREADS // 32
    tiles = n if f_order else -(-n // (32 * vector_width))
    accumulator_rows = panel_rows // 32 if f_order else panel_rows  # in F order each lane takes every 32nd row
    split_k = max(-(-accumulator_rows // FLUSH_ROWS), min(-(-warps // tiles), MAX_SPLIT_K, panel_rows))
    workspace_size = 2 * n_rhs * panel_rows * -(-n // segment)
    constants = PANEL_THREADS, f_order, load_width, segment
    return Plan("l2_panels", constants, 1, device.n_sms, 0, split_k, panel_rows, split_k, workspace_size)


@functools.lru_cache(maxsize=1024)
def outputs_plan(device, m, n, outputs, x_itemsize, w_itemsize, order, n_rhs=1):
    """The plan for K outputs. Up to `OUTPUTS_MODELS` of them it depends on their number in the width of tiles alone."""
    models = min(OUTPUTS_MODELS, max(4, _power_of_two(outputs)))
    widest, resident = max(OUTPUTS_MODELS, outputs), device.n_sms * OUTPUTS_BLOCKS
    most = OUTPUTS_TILE[w_itemsize]
    fitting = device.l2_size // OUTPUTS_L2_DIVISOR // (n * x_itemsize + widest * w_itemsize)
    if fitting < OUTPUTS_LEAST_TILE * resident // 2:
        fitting = most * resident
    fitting = max(OUTPUTS_LEAST_TILE, min(fitting, OUTPUTS_WORKSPACE // (4 * widest * w_itemsize), m))
    rows = most
    while rows > OUTPUTS_LEAST_TILE and fitting < rows * resident:
        rows //= 2
    tiles = -(-fitting // rows) if fitting == m else fitting // rows
    if tiles > resident and fitting < m:
        tiles = tiles // resident * resident  # every block has as many
    columns = min(most, max(OUTPUTS_LEAST_TILE, _power_of_two(n + 1)))
    column_tiles = -(-(n + 1) // columns) * -(-outputs // models)
    panel_rows = tiles * rows
    n_slices = max(1, min(resident // column_tiles, -(-min(panel_rows, m) // FLUSH_ROWS)))
    blocks = min(resident, max(tiles, column_tiles * n_slices))
    constants = OUTPUTS_THREADS, order == "F", rows, columns, models
    workspace_size = 2 * n_rhs * panel_rows * outputs
    return Plan("outputs", constants, OUTPUTS_BLOCKS, blocks, 0, n_slices, panel_rows, n_slices, workspace_size)


def partials_size(plan, n):
    """Numbers of w's type in all partials that a kernel leaves."""
    return plan.n_partials * 2 * (n + TOTALS)

"""The kernel of K outputs: one panel of rows after another, of which the L2 cache keeps what it can hold.

Blocks share the rows of a panel. Each computes all margins of its tiles of rows, in groups of models, and takes the
pointwise step; the workspace holds what follows, of two panels in turn. After one grid sync blocks share the column
sums: each item is a tile of columns for a group of models over a slice of the panel's rows, with a pair for each sum,
which is added to that of the panels before. Σ s·dz is the sum of a column of ones, column n. There is one partial of
column sums for each slice, and one of totals for each block.
"""

from numba import int64

from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import TOTALS, clear_shared, compensated_merge
from jitlogreg.targets.cuda.epilogue import ACCUMULATE_GRADIENT, REDUCTIONS, make_with_offset, rhs_count
from jitlogreg.targets.cuda.intrinsics import cuda, grid_sync, load, opaque_zero, store, thread_index
from jitlogreg.targets.cuda.outputs.steps import make_step
from jitlogreg.targets.cuda.outputs.tiles import CHAIN_ROWS, Tile, make_column_sums, make_margins, make_place


def make(x_type, w_type, link, operation, threads, f_order, rows, columns, models):
    """The kernel, in tiles of so many rows or columns and models.

    w has a row for each column of X and one of intercepts, of the outputs' numbers and for "curvature" of those along
    which the product is taken. `y_step` and such are bytes from one model's labels to the next, 0 where they share
    them. `workspace` holds 2 · panel_rows numbers for each column of w.
    """
    x_itemsize, w_itemsize = x_type.bitwidth // 8, w_type.bitwidth // 8
    margin_tile, sums_tile = (Tile.of(threads, outer, models, w_itemsize) for outer in (rows, columns))
    store_margins = _make_margins_stage(x_type, w_type, operation, margin_tile, f_order)
    add_column_sums = _make_sums_stage(x_type, w_type, operation, sums_tile, f_order)
    slots = max(models, threads // 32) if link == "sigmoid" else threads // 32
    step, write_totals = make_step(w_type, link, operation, threads, slots), _make_totals_writer(w_type, link, slots)
    x_size, models_size = (
        max(getattr(tile, name) for tile in (margin_tile, sums_tile)) for name in ("x_size", "models_size")
    )
    reduces, counts = operation in REDUCTIONS, operation in ("loss", "gradient")
    n_rhs, totals_size = rhs_count(operation), 2 * slots * TOTALS

    def kernel(
        x,
        ld,
        m,
        n,
        w,
        outputs,
        y,
        y_step,
        s,
        s_step,
        offset,
        offset_step,
        out,
        totals,
        workspace,
        panel_rows,
        n_slices,
        barrier_counter,
    ):
        thread = thread_index(ld)
        shared = cuda.shared.array(x_size, w_type), cuda.shared.array(models_size, w_type)
        block_totals = cuda.shared.array(totals_size, w_type)
        clear_shared(block_totals, int64(totals_size), thread, int64(threads))
        z_size = int64(n_rhs) * outputs * panel_rows * int64(w_itemsize)
        panel, z = int64(0), workspace
        while panel < m:
            n_rows = min(panel_rows, m - panel)
            matrix = x + panel * (int64(1) if f_order else ld) * int64(x_itemsize), ld, n
            row = int64(cuda.blockIdx.x) * int64(rows)
            while row < n_rows:
                z_tile, stop = z + row * int64(w_itemsize), min(n_rows, row + int64(rows))
                of_offsets = offset, offset_step, panel
                store_margins(matrix, (row, stop), (w, outputs), of_offsets, (z, panel_rows), shared, thread)
                cuda.syncthreads()
                of_rows = panel + row, stop - row
                step(z_tile, panel_rows, of_rows, outputs, (y, s), (y_step, s_step), out, block_totals, thread)
                cuda.syncthreads()  # before margins of the next panel overwrite these: an activation has no grid sync
                row += int64(cuda.gridDim.x) * int64(rows)
            if reduces:
                grid_sync(barrier_counter)
                of_panel = n_rows, n_slices, panel
                add_column_sums(matrix, of_panel, outputs, (z, panel_rows), out, shared, thread)
                z = workspace + (workspace + z_size - z)  # the other half: slower blocks may still read this one
            panel += panel_rows
        if counts:
            cuda.syncthreads()
            write_totals(totals, outputs, block_totals, thread, int64(threads))

    return kernel


def _make_margins_stage(x_type, w_type, operation, tile, f_order):
    """A function that stores the margins of a tile of rows in the workspace, with intercepts and offsets."""
    margins, place = make_margins(x_type, w_type, tile, f_order), make_place(tile)
    load_w, store_w, with_offset = load(w_type), store(w_type), make_with_offset(w_type)
    n_rhs, n_sums, models = rhs_count(operation), tile.sums, tile.models
    outer_per_thread, models_per_thread, outer_threads = (
        tile.outer_per_thread,
        tile.models_per_thread,
        tile.outer_threads,
    )

    @inline
    def store_margins(matrix, rows, model, offsets, margins_of_panel, shared, thread):
        (first_row, stop), (w, outputs), (offset, offset_step, panel) = rows, model, offsets
        (_, _, n), (z, stride) = matrix, margins_of_panel
        n_margins, first = int64(n_rhs) * outputs, int64(0)
        zs = cuda.local.array(n_sums, w_type)
        while first < n_margins:
            margins(matrix, rows, (w, n_margins), first, shared, thread, zs)
            own_row, own_model, is_mine = place(thread + opaque_zero(first))
            for o in range(outer_per_thread):
                row = first_row + own_row + int64(o * outer_threads)
                for k in range(models_per_thread):
                    j = first + own_model + int64(k)
                    if is_mine and row < stop and j < n_margins:
                        zk = zs[o * models_per_thread + k] + load_w(w, n * n_margins + j)
                        if j < outputs:
                            zk = with_offset(zk, panel + row, offset + j * offset_step)
                        store_w(z, j * stride + row, zk)
            first += int64(models)

    return store_margins


def _make_sums_stage(x_type, w_type, operation, tile, f_order):
    """A function that adds a panel's column sums to those of the panels before."""
    column_sums, place = make_column_sums(x_type, w_type, tile, f_order), make_place(tile)
    load_w, store_w = load(w_type), store(w_type)
    n_sums, columns, models = tile.sums, tile.outer, tile.models
    outer_per_thread, models_per_thread, outer_threads = (
        tile.outer_per_thread,
        tile.models_per_thread,
        tile.outer_threads,
    )
    all_columns = operation in ACCUMULATE_GRADIENT

    @inline
    def add_pair(out, index, distance, high, low, panel):
        if panel > int64(0):
            high, low = compensated_merge(load_w(out, index), load_w(out, index + distance), high, low)
        store_w(out, index, high)
        store_w(out, index + distance, low)

    @inline
    def add_column_sums(matrix, of_panel, outputs, residuals, out, shared, thread):
        (_, _, n), (n_rows, n_slices, panel) = matrix, of_panel
        first_column = int64(0) if all_columns else n
        n_columns = n + int64(1) - first_column
        tiles, groups = (
            (n_columns + int64(columns - 1)) // int64(columns),
            (outputs + int64(models - 1)) // int64(models),
        )
        slice_rows = ((n_rows + n_slices - int64(1)) // n_slices + int64(CHAIN_ROWS - 1)) // int64(CHAIN_ROWS)
        slice_rows *= int64(CHAIN_ROWS)
        high, low = cuda.local.array(n_sums, w_type), cuda.local.array(n_sums, w_type)
        item = int64(cuda.blockIdx.x)
        while item < tiles * groups * n_slices:
            column = first_column + item % tiles * int64(columns)
            first = item // tiles % groups * int64(models)
            slice_index = item // (tiles * groups)
            rows = slice_index * slice_rows, min(n_rows, (slice_index + int64(1)) * slice_rows)
            column_sums(matrix, column, rows, residuals, (first, outputs), shared, thread, (high, low))
            # recomputed, as what is live during the sums takes registers from them
            own_column, own_model, is_mine = place(thread + opaque_zero(item))
            for o in range(outer_per_thread):
                j = column + own_column + int64(o * outer_threads)
                for k in range(models_per_thread):
                    model = first + own_model + int64(k)
                    if is_mine and j <= n and model < outputs:
                        index = (int64(2) * slice_index * outputs + model) * n_columns + j - first_column
                        e = o * models_per_thread + k
                        add_pair(out, index, outputs * n_columns, high[e], low[e], panel)
            item += int64(cuda.gridDim.x)

    return add_column_sums


def _make_totals_writer(w_type, link, slots):
    """A function that writes a block's partial of totals: of each model, or of all warps of a softmax together."""
    store_w = store(w_type)
    of_models, distance = link == "sigmoid", slots * TOTALS

    @inline
    def write_totals(totals, outputs, block_totals, thread, threads):
        count = (outputs if of_models else int64(1)) * int64(TOTALS)
        i = thread
        while i < count:
            high, low = block_totals[i], block_totals[i + int64(distance)]
            if not of_models:
                for slot in range(1, slots):
                    j = i + int64(slot * TOTALS)
                    high, low = compensated_merge(high, low, block_totals[j], block_totals[j + int64(distance)])
            index = int64(2) * int64(cuda.blockIdx.x) * count + i
            store_w(totals, index, high)
            store_w(totals, index + count, low)
            i += threads

    return write_totals

"""A tile of X times a few models, through shared memory.

    margins        z[row, k]    = Σ over columns of x[row, column] · w[column, k]
    column sums    g[column, k] = Σ over rows of    x[row, column] · dz[row, k]

These are one product. Its outer index is a row of X for margins and a column for column sums; the inner index is what
is summed over. A block loads a chunk of X and the models' numbers that go with it into registers, puts both into shared
memory, and loads the next chunk while it multiplies. A thread has the sums of a few outer indices and a few models. How
many models run beside each other changes the order of no sum.
"""

from typing import NamedTuple

from numba import int64

from jitlogreg.simd import fma
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import compensated_add
from jitlogreg.targets.cuda.intrinsics import cuda, load, opaque_zero

# Terms of a margin that one accumulator takes, as the bound on margins wants it; and rows that one takes of a column
# sum before a pair takes it over, as the bound on sums wants it
CHAIN_COLUMNS, CHAIN_ROWS = 16, 32

# The most bytes of X that a chunk has if X has w's type: two blocks of a multiprocessor have twice as many in flight. A
# thread of 256 has 8 numbers in registers until they are put into shared memory, or 4 where w is float64
CHUNK_BYTES = 8192

# Inner indices whose numbers the compiler may load together: it would load those of all, and spill them
UNROLLED = 4

# The most models of a thread
MODELS_PER_THREAD = 4


class Tile(NamedTuple):
    """The shape of a tile, which all its functions are made for; powers of two.

    Attributes
    ----------
    threads, outer, inner, models : int
        Of a block, and of a chunk.
    outer_per_thread, models_per_thread : int
        What a thread has sums of: outer indices `outer_threads` apart, and adjacent models.
    """

    threads: int
    outer: int
    inner: int
    models: int
    outer_per_thread: int
    models_per_thread: int

    @classmethod
    def of(cls, threads, outer, models, w_itemsize):
        """The tile of so many outer indices and models. Threads beyond the number of its sums do others' again."""
        per_thread = max(1, outer * models // threads)
        of_models = min(per_thread, MODELS_PER_THREAD, models)
        inner = min(CHAIN_ROWS, CHUNK_BYTES // w_itemsize // outer)
        return cls(threads, outer, inner, models, per_thread // of_models, of_models)

    @property
    def outer_threads(self):
        """Threads beside each other that have the same models."""
        return self.outer // self.outer_per_thread

    @property
    def model_threads(self):
        """How often `outer_threads` threads take to have all models."""
        return self.models // self.models_per_thread

    @property
    def sums(self):
        """Sums of a thread."""
        return self.outer_per_thread * self.models_per_thread

    # padded by two numbers and by one, so that what a warp puts into shared memory lies in different banks, whichever
    # index is adjacent in global memory
    @property
    def x_stride(self):
        """Numbers of shared memory from one inner index of X to the next."""
        return self.outer + 2

    @property
    def model_stride(self):
        """The same of the models' numbers."""
        return self.models + 1

    @property
    def x_size(self):
        """Numbers of shared memory for X."""
        return self.inner * self.x_stride

    @property
    def models_size(self):
        """And for the models' numbers."""
        return self.inner * self.model_stride


def make_place(tile):
    """A function of the thread: its first outer index, its first model, and whether it is the one to store them."""
    outer_threads, model_threads = tile.outer_threads, tile.model_threads
    models_per_thread, working = tile.models_per_thread, tile.outer_threads * tile.model_threads

    @inline
    def place(thread):
        model = (thread // int64(outer_threads)) % int64(model_threads) * int64(models_per_thread)
        return thread % int64(outer_threads), model, thread < int64(working)

    return place


def _make_x_loader(x_type, w_type, tile, outer_is_adjacent):
    """Functions that load a thread's numbers of a chunk of X, and put them into shared memory in w's type.

    Beyond X there are zeros, but for the outer index `ones`: it has ones. Adjacent threads take what is adjacent in
    memory, and a thread every so many'th row or column.
    """
    load_x, x_stride = load(x_type), tile.x_stride
    adjacent, across = (tile.outer, tile.inner) if outer_is_adjacent else (tile.inner, tile.outer)
    distance = tile.threads // adjacent
    count = across // distance

    @inline
    def load_chunk(x, ld, outer_range, inner_range, ones, thread, numbers):
        adjacent_range, across_range = (outer_range, inner_range) if outer_is_adjacent else (inner_range, outer_range)
        near, far = adjacent_range[0] + thread % int64(adjacent), across_range[0] + thread // int64(adjacent)
        # one number tells what remains to be read: a comparison for each load would take registers
        remaining = across_range[1] - far if near < adjacent_range[1] else int64(0)
        index = far * ld + near
        for e in range(count):
            has_ones = near == ones if outer_is_adjacent else far + int64(e * distance) == ones
            numbers[e] = x_type(1) if has_ones else x_type(0)
            if int64(e * distance) < remaining:
                numbers[e] = load_x(x, index)
            index += int64(distance) * ld

    @inline
    def store_chunk(shared, thread, numbers):
        near, far = thread % int64(adjacent), thread // int64(adjacent)
        start = far * int64(x_stride) + near if outer_is_adjacent else near * int64(x_stride) + far
        step = distance * x_stride if outer_is_adjacent else distance
        for e in range(count):
            shared[start + int64(e * step)] = w_type(numbers[e])

    return load_chunk, store_chunk, count


def _make_models_loader(w_type, tile, models_are_adjacent):
    """The same of the models' numbers; `steps` are the numbers from one inner index and from one model to the next."""
    load_w, model_stride = load(w_type), tile.model_stride
    adjacent, across = (tile.models, tile.inner) if models_are_adjacent else (tile.inner, tile.models)
    distance = tile.threads // adjacent
    count = -(-across // distance)

    @inline
    def load_chunk(address, steps, inner_range, model_range, thread, numbers):
        near, far = thread % int64(adjacent), thread // int64(adjacent)
        i, k = (far, near) if models_are_adjacent else (near, far)
        i, k = inner_range[0] + i, model_range[0] + k
        for e in range(count):
            numbers[e] = w_type(0)
            if i < inner_range[1] and k < model_range[1]:
                numbers[e] = load_w(address, i * steps[0] + k * steps[1])
            if models_are_adjacent:
                i += int64(distance)
            else:
                k += int64(distance)

    @inline
    def store_chunk(shared, thread, numbers):
        near, far = thread % int64(adjacent), thread // int64(adjacent)
        start = far * int64(model_stride) + near if models_are_adjacent else near * int64(model_stride) + far
        step = distance * model_stride if models_are_adjacent else distance
        for e in range(count):
            if far + int64(e * distance) < int64(across):
                shared[start + int64(e * step)] = numbers[e]

    return load_chunk, store_chunk, count


def _make_multiply(w_type, tile, count, place):
    """A function that adds the products of `count` inner indices of a chunk, from `start` on, to a thread's sums."""
    outer_threads, outer_per_thread, models_per_thread = (
        tile.outer_threads,
        tile.outer_per_thread,
        tile.models_per_thread,
    )
    x_stride, model_stride = tile.x_stride, tile.model_stride

    @inline
    def multiply(shared_x, shared_models, start, thread, sums):
        first_outer, first_model, _ = place(thread)
        xs = cuda.local.array(outer_per_thread, w_type)
        i, stop = start, start + int64(count) + opaque_zero(thread)
        while i < stop:
            for step in range(UNROLLED):
                x_index = (i + int64(step)) * int64(x_stride) + first_outer
                index = (i + int64(step)) * int64(model_stride) + first_model
                for o in range(outer_per_thread):
                    xs[o] = shared_x[x_index + int64(o * outer_threads)]
                for k in range(models_per_thread):
                    number = shared_models[index + int64(k)]
                    for o in range(outer_per_thread):
                        sums[o * models_per_thread + k] = fma(xs[o], number, sums[o * models_per_thread + k])
            i += int64(UNROLLED)

    return multiply


def make_margins(x_type, w_type, tile, f_order):
    """A function that computes the margins of a tile of rows, without intercepts: those of the models from `first` on.

    A matrix is its address, leading dimension and number of columns. `coefficients` are an address, at which those of
    all models lie for one column after another, and the number of these models.
    """
    load_x, store_x, x_count = _make_x_loader(x_type, w_type, tile, f_order)
    load_models, store_models, models_count = _make_models_loader(w_type, tile, True)
    multiply = _make_multiply(w_type, tile, CHAIN_COLUMNS, make_place(tile))
    n_sums, inner = tile.sums, tile.inner
    chains = inner // CHAIN_COLUMNS

    @inline
    def margins(matrix, rows, coefficients, first, shared, thread, zs):
        (x, ld, n), (w, n_margins), (shared_x, shared_w) = matrix, coefficients, shared
        xs, ws = cuda.local.array(x_count, x_type), cuda.local.array(models_count, w_type)
        chain = cuda.local.array(n_sums, w_type)
        steps, models = (n_margins, int64(1)), (first, n_margins)
        for e in range(n_sums):
            zs[e] = w_type(0)
        column = int64(0)
        load_x(x, ld, rows, (column, n), int64(-1), thread, xs)
        load_models(w, steps, (column, n), models, thread, ws)
        while column < n:
            cuda.syncthreads()
            store_x(shared_x, thread, xs)
            store_models(shared_w, thread, ws)
            cuda.syncthreads()
            column += int64(inner)
            opaque_thread = thread + opaque_zero(column)
            load_x(x, ld, rows, (column, n), int64(-1), opaque_thread, xs)
            load_models(w, steps, (column, n), models, opaque_thread, ws)
            for c in range(chains):
                for e in range(n_sums):
                    chain[e] = w_type(0)
                multiply(shared_x, shared_w, int64(c * CHAIN_COLUMNS), thread, chain)
                for e in range(n_sums):
                    zs[e] = zs[e] + chain[e]

    return margins


def make_column_sums(x_type, w_type, tile, f_order):
    """A function that adds up a tile of columns over some rows, times the residuals of models, as pairs.

    `residuals` are an address, and the numbers from one model's to the next. Column n of X has ones.
    """
    load_x, store_x, x_count = _make_x_loader(x_type, w_type, tile, not f_order)
    load_models, store_models, models_count = _make_models_loader(w_type, tile, False)
    multiply = _make_multiply(w_type, tile, tile.inner, make_place(tile))
    n_sums, inner = tile.sums, tile.inner

    @inline
    def column_sums(matrix, column, rows, residuals, models, shared, thread, pairs):
        (x, ld, n), (dz, stride), (shared_x, shared_dz), (high, low) = matrix, residuals, shared, pairs
        xs, dzs = cuda.local.array(x_count, x_type), cuda.local.array(models_count, w_type)
        chain = cuda.local.array(n_sums, w_type)
        columns, steps, (row, stop) = (column, n), (int64(1), stride), rows
        pending = int64(0)
        for e in range(n_sums):
            chain[e], high[e], low[e] = w_type(0), w_type(0), w_type(0)
        load_x(x, ld, columns, (row, stop), n, thread, xs)
        load_models(dz, steps, (row, stop), models, thread, dzs)
        while row < stop:
            cuda.syncthreads()
            store_x(shared_x, thread, xs)
            store_models(shared_dz, thread, dzs)
            cuda.syncthreads()
            row += int64(inner)
            opaque_thread = thread + opaque_zero(row)
            load_x(x, ld, columns, (row, stop), n, opaque_thread, xs)
            load_models(dz, steps, (row, stop), models, opaque_thread, dzs)
            multiply(shared_x, shared_dz, int64(0), thread, chain)
            pending += int64(inner)
            if pending == int64(CHAIN_ROWS) or row >= stop:
                for e in range(n_sums):
                    high[e], low[e] = compensated_add(high[e], low[e], chain[e])
                    chain[e] = w_type(0)
                pending = int64(0)

    return column_sums

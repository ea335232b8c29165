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

# The most bytes of X that a chunk has: two blocks of a multiprocessor have twice as many in flight. A thread of 256 has
# 8 numbers of float32 in registers until they are put into shared memory, or 4 of float64
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
    def of(cls, threads, outer, models, x_itemsize):
        """The tile of so many outer indices and models. Threads beyond the number of its sums do others' again."""
        per_thread = max(1, outer * models // threads)
        of_models = min(per_thread, MODELS_PER_THREAD, models)
        inner = min(CHAIN_ROWS, CHUNK_BYTES // x_itemsize // outer)
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

    Beyond X there are zeros, but for the outer index `ones`: it has ones.
    """
    load_x = load(x_type)
    threads, outer, inner, x_stride = tile.threads, tile.outer, tile.inner, tile.x_stride
    count = outer * inner // threads

    @inline
    def at(thread, e):
        t = thread + int64(e * threads)
        if outer_is_adjacent:
            return t % int64(outer), t // int64(outer)
        return t // int64(inner), t % int64(inner)

    @inline
    def load_chunk(x, ld, outer_range, inner_range, ones, thread, numbers):
        (outer_start, outer_stop), (inner_start, inner_stop) = outer_range, inner_range
        for e in range(count):
            o, i = at(thread, e)
            o, i = outer_start + o, inner_start + i
            numbers[e] = x_type(1) if o == ones else x_type(0)
            if o < outer_stop and i < inner_stop:
                numbers[e] = load_x(x, i * ld + o if outer_is_adjacent else o * ld + i)

    @inline
    def store_chunk(shared, thread, numbers):
        for e in range(count):
            o, i = at(thread, e)
            shared[i * int64(x_stride) + o] = w_type(numbers[e])

    return load_chunk, store_chunk, count


def _make_models_loader(w_type, tile, models_are_adjacent):
    """The same of the models' numbers; `steps` are the numbers from one inner index and from one model to the next."""
    load_w = load(w_type)
    threads, models, inner, model_stride = tile.threads, tile.models, tile.inner, tile.model_stride
    size = inner * models
    count = -(-size // threads)

    @inline
    def at(thread, e):
        t = thread + int64(e * threads)
        if models_are_adjacent:
            return t // int64(models), t % int64(models)
        return t % int64(inner), t // int64(inner)

    @inline
    def load_chunk(address, steps, inner_range, model_range, thread, numbers):
        (inner_step, model_step), (start, stop), (first, last) = steps, inner_range, model_range
        for e in range(count):
            i, k = at(thread, e)
            i, k = start + i, first + k
            numbers[e] = w_type(0)
            if i < stop and k < last:
                numbers[e] = load_w(address, i * inner_step + k * model_step)

    @inline
    def store_chunk(shared, thread, numbers):
        for e in range(count):
            i, k = at(thread, e)
            if thread + int64(e * threads) < int64(size):
                shared[i * int64(model_stride) + k] = numbers[e]

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

    w has the coefficients of all `n_margins` models for one column after another.
    """
    load_x, store_x, x_count = _make_x_loader(x_type, w_type, tile, f_order)
    load_models, store_models, models_count = _make_models_loader(w_type, tile, True)
    multiply = _make_multiply(w_type, tile, CHAIN_COLUMNS, make_place(tile))
    n_sums, inner = tile.sums, tile.inner
    chains = inner // CHAIN_COLUMNS

    @inline
    def margins(x, ld, rows, n, w, n_margins, first, shared, thread, zs):
        shared_x, shared_w = shared
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

    A model's residuals lie `stride` after those of the model before. Column n of X has ones.
    """
    load_x, store_x, x_count = _make_x_loader(x_type, w_type, tile, not f_order)
    load_models, store_models, models_count = _make_models_loader(w_type, tile, False)
    multiply = _make_multiply(w_type, tile, tile.inner, make_place(tile))
    n_sums, inner = tile.sums, tile.inner

    @inline
    def column_sums(x, ld, column, n, rows, dz, stride, models, shared, thread, high, low):
        shared_x, shared_dz = shared
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

"""Runs CUDA kernels on the CPU: the same functions as on a GPU, with one greenlet per thread.

It supports what the kernels use: warps of 32 lanes with shuffles, block barriers, grid syncs (all blocks are then
resident together), shared memory that is NaN until it is written, and memory at addresses. It raises an error where a
GPU would go wrong silently: an index outside the allocation at an address, a barrier that some threads of a block do
not reach, lanes of a warp that wait for each other, and a deadlock. Blocks can run in any order.
"""

import builtins
import contextlib
import importlib
import random
import sys
import types
from collections import defaultdict
from typing import NamedTuple

import numba
import numpy as np
from greenlet import getcurrent, greenlet

from jitlogreg import pointwise


class Memory:
    """Allocations by address; each byte is 0xFF until it is written, so unwritten numbers are NaN."""

    def __init__(self):
        self._allocations, self._views = {}, {}

    def allocate(self, size):
        """The address of `size` new bytes, a multiple of 256 as on a GPU."""
        buffer = np.full(size + 256, 0xFF, np.uint8)
        start = -buffer.ctypes.data % 256
        self._allocations[buffer.ctypes.data + start] = buffer[start : start + size]
        return buffer.ctypes.data + start

    def free(self, address):
        """Forget an allocation: every later read of it fails."""
        del self._allocations[address]
        for views in self._views.values():
            views.clear()

    def view(self, address, dtype):
        """An array from an address to the end of its allocation."""
        for base, buffer in self._allocations.items():
            if base <= address < base + len(buffer):
                rest, size = buffer[address - base :], np.dtype(dtype).itemsize
                return rest[: len(rest) // size * size].view(dtype)
        raise IndexError(f"{address} is in no allocation")

    def _views_of(self, dtype):
        """A function that returns the `view` of an address, and caches it until something is freed."""
        dtype = _dtype(dtype)
        views = self._views.setdefault(dtype, {})

        def view_of(address):
            array = views.get(address)
            if array is None:
                array = views[int(address)] = self.view(int(address), dtype)
            return array

        return view_of

    def read(self, dtype):
        view_of = self._views_of(dtype)

        def read(address, i):
            array = view_of(address)
            if not 0 <= i < len(array):
                raise IndexError(f"reads at {i} of {len(array)}")
            return array[i]

        return read

    def read_vector(self, dtype, count):
        view_of = self._views_of(dtype)

        def read_vector(destination, start, address, index):
            array, i = view_of(address), int(index)
            if not 0 <= i <= len(array) - count:
                raise IndexError(f"reads {count} at {i} of {len(array)}")
            if (address + i * array.itemsize) % (count * array.itemsize):
                raise ValueError(f"reads {count} at {i}, which is not aligned")
            destination[start : start + count] = array[i : i + count]

        return read_vector

    def write(self, dtype):
        view_of = self._views_of(dtype)

        def write(address, i, value):
            array = view_of(address)
            if not 0 <= i < len(array):
                raise IndexError(f"writes at {i} of {len(array)}")
            array[i] = value

        return write


def _dtype(of_numba_or_numpy):
    return np.dtype(of_numba_or_numpy.name if isinstance(of_numba_or_numpy, numba.types.Type) else of_numba_or_numpy)


class Position(NamedTuple):
    x: int = 0
    y: int = 0
    z: int = 0


class _Block:
    def __init__(self, number, threads, shared_bytes, body):
        self.index, self.shared, self.dynamic = Position(number), {}, np.full(shared_bytes, 0xFF, np.uint8)
        self.threads = [_Thread(self, i, body) for i in range(threads)]
        self.warps = [self.threads[i : i + 32] for i in range(0, threads, 32)]


class _Thread(greenlet):
    def __init__(self, block, number, body):
        super().__init__(body)
        self.block, self.index, self.lane = block, Position(number), number % 32
        self.waits, self.answer = None, None


def _wait(*what):
    thread = getcurrent()
    thread.waits = what
    thread.parent.switch()
    return thread.answer


class _Arrays:
    """`cuda.shared.array`, with one array per call site in the kernel, or `cuda.local.array`."""

    def __init__(self, is_shared):
        self._is_shared = is_shared

    def array(self, shape, dtype, alignment=None):
        dtype = _dtype(dtype)
        blank = np.nan if dtype.kind == "f" else 0
        if not self._is_shared:
            return np.full(shape, blank, dtype)
        block = getcurrent().block
        if shape == 0:
            return block.dynamic.view(dtype)  # bytes of 0xFF: NaN
        caller = sys._getframe(1)
        key = caller.f_code, caller.f_lasti
        return block.shared.setdefault(key, np.full(shape, blank, dtype))


class _Grid:
    def sync(self):
        _wait("grid")


class _Cuda:
    """The `cuda` of the kernels."""

    def __init__(self, blocks, threads):
        self.gridDim, self.blockDim = Position(blocks), Position(threads)
        self.shared, self.local = _Arrays(True), _Arrays(False)
        self.cg = types.SimpleNamespace(this_grid=_Grid)

    threadIdx = property(lambda self: getcurrent().index)  # noqa: N815
    blockIdx = property(lambda self: getcurrent().block.index)  # noqa: N815

    def syncthreads(self):
        _wait("block")

    def syncwarp(self):
        _wait("warp", "sync", 0xFFFFFFFF, 0, 0)

    def shfl_sync(self, mask, value, lane):
        return _wait("warp", "from", mask, value, int(lane))

    def shfl_xor_sync(self, mask, value, lanes):
        return _wait("warp", "xor", mask, value, int(lanes))


_FROM = {"sync": lambda lane, _: lane, "from": lambda _, source: source % 32, "xor": lambda lane, by: lane ^ by}


def launch(kernel, blocks, threads, arguments, *, memory, replace, shared_bytes=0, cooperative=False, order=None):
    """Run a kernel on `blocks` blocks of `threads` threads.

    `replace` maps names to Python functions, for what only a compiler understands. `order` shuffles a list, of blocks
    or of the warps of a block; no result may depend on its order.
    """
    body = _Interpreter(_Cuda(blocks, threads), memory, replace).of(kernel)
    numbers = list(range(blocks))
    if order is not None:
        order(numbers)

    def thread():
        with np.errstate(all="ignore"):  # each greenlet has its own error state
            body(*arguments)

    all_blocks = [_Block(i, threads, shared_bytes, thread) for i in numbers]
    for group in [all_blocks] if cooperative else [[block] for block in all_blocks]:
        _run(group, order)


class _Interpreter:
    """Makes copies of functions that use the simulated device instead of the real one."""

    def __init__(self, cuda, memory, replace):
        self._cuda, self._memory, self._replace, self._seen = cuda, memory, replace, {}

    def of(self, function):
        if function in self._seen:
            return self._seen[function]
        used = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
        names = {"__builtins__": builtins, **{name: self._seen_as(name, value) for name, value in used.items()}}
        cells = tuple(
            types.CellType(self._seen_as(name, cell.cell_contents))
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        )
        copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells or None)
        self._seen[function] = copy
        return copy

    def _seen_as(self, name, value):
        if name in self._replace:
            return self._replace[name]
        if name == "cuda":
            return self._cuda
        access = getattr(value, "access", None)
        if access is not None:
            kind, dtype, count = access
            if kind == "load vector":
                return self._memory.read_vector(dtype, count)
            return self._memory.read(dtype) if kind == "load" else self._memory.write(dtype)
        if isinstance(value, numba.types.Number):
            return _dtype(value).type  # does what calling Numba's type does, but faster
        python = getattr(value, "py_func", None)
        if isinstance(python, types.FunctionType):  # whose own name tells what it is where a closure renames it
            return self._replace.get(python.__name__) or self.of(python)
        return value


def _run(blocks, order):
    while True:
        moved = False
        alive = []
        for block in blocks:
            block_moved, unfinished = _run_block(block, order)
            moved |= block_moved
            alive += unfinished
        if not alive:
            return
        if all(thread.waits == ("grid",) for thread in alive):
            moved = _release(alive)
        if not moved:
            waiting = ", ".join(f"{t.block.index.x}.{t.index.x} {t.waits}" for t in alive[:8])
            raise RuntimeError(f"deadlock: {waiting}")


def _run_block(block, order):
    """Run a block until it waits for others; return whether it moved, and the threads that have not returned."""
    moved = False
    while True:
        warps = list(block.warps)
        if order is not None:
            order(warps)
        # each warp as far as possible: if a barrier is missing, one warp gets far ahead of another
        for warp in warps:
            while _run_lanes(warp) or _shuffle(warp):
                moved = True
        unfinished = [thread for thread in block.threads if not thread.dead]
        if not unfinished or any(thread.waits != ("block",) for thread in unfinished):
            return moved, unfinished
        if len(unfinished) < len(block.threads):
            raise RuntimeError("some threads of the block returned without reaching a barrier that the others wait at")
        moved = _release(unfinished)


def _run_lanes(warp):
    moved = False
    for thread in warp:
        if not thread.dead and thread.waits is None:
            moved = True
            try:
                thread.switch()
            except Exception as error:
                error.add_note(f"in thread {thread.index.x} of block {thread.block.index.x}")
                raise
    return moved


def _release(threads):
    for thread in threads:
        thread.waits = None
    return True


def _same_exchange(warp):
    """The kind of exchange if all 32 lanes of a warp wait for the same one: the common case, and quick to test."""
    first = warp[0].waits
    if first is None or first[0] != "warp" or first[2] != 0xFFFFFFFF or len(warp) != 32:
        return None
    kind = first[1]
    for thread in warp:
        waits = thread.waits
        if waits is None or thread.dead or waits[0] != "warp" or waits[1] != kind or waits[2] != 0xFFFFFFFF:
            return None
    return kind


def _shuffle(warp):
    """Do the exchanges for which all lanes in the mask wait."""
    if all_lanes := _same_exchange(warp):
        values, source = [thread.waits[3] for thread in warp], _FROM[all_lanes]
        for thread in warp:
            thread.answer = values[source(thread.lane, thread.waits[4])]
        return _release(warp)
    groups = defaultdict(list)
    for thread in warp:
        if not thread.dead and thread.waits and thread.waits[0] == "warp":
            groups[thread.waits[1:3]].append(thread)
    moved = False
    for (kind, mask), threads in groups.items():
        expected = {lane for lane in range(len(warp)) if mask >> lane & 1}
        if {thread.lane for thread in threads} == expected:
            values = {thread.lane: thread.waits[3] for thread in threads}
            for thread in threads:
                thread.answer = values[_FROM[kind](thread.lane, thread.waits[4])]
            moved = _release(threads)
    return moved


# ---------------------------------------------------------------- replacements, and the driver


def fma(x, y, z):
    """x · y + z, rounded once."""
    if isinstance(x, np.float32):
        return np.float32(float(x) * float(y) + float(z))
    return np.float64(np.longdouble(x) * np.longdouble(y) + np.longdouble(z))


def _compiled(function):
    """One example's mathematics, compiled for the CPU; its results in the type of its first argument."""
    compiled = numba.njit(error_model="numpy")(function.py_func)

    def call(x, *others):
        found = compiled(x, *others)
        return tuple(map(type(x), found)) if isinstance(found, tuple) else type(x)(found)

    return call


_POINTWISE = (
    *("loss_and_residual", "sigmoid", "log_sigmoid", "curvature", "below_largest", "exp_nonpositive_sum"),
    *("log1p_nonnegative", "log_softmax", "softmax_residual", "softmax_scale"),
)


REPLACEMENTS = {
    "fma": fma,
    **{name: _compiled(getattr(pointwise, name)) for name in _POINTWISE},
    "zeros": lambda x: type(x)(0),
    "ones": lambda x: type(x)(1),
    "grid_sync": lambda barrier_counter: _wait("grid"),
}


class Driver:
    """Stands in for `jitlogreg.targets.cuda.driver`, on a simulated device."""

    def __init__(self, properties, order=None):
        self.memory, self.launched = Memory(), []
        self._properties, self._order = properties, order
        self._functions = {}

    def device_properties(self, ordinal):
        return self._properties

    @contextlib.contextmanager
    def current(self, ordinal):
        yield

    def kernel(self, ordinal, label, make, signature, threads, blocks_per_sm, shared_bytes):
        self.launched.append(label)
        if label not in self._functions:
            self._functions[label] = make()
        return self._functions[label]

    def launch(self, function, blocks, threads, shared_bytes, stream, arguments, cooperative=False):
        launch(
            function,
            blocks,
            threads,
            arguments,
            memory=self.memory,
            replace=REPLACEMENTS,
            shared_bytes=shared_bytes,
            cooperative=cooperative,
            order=self._order,
        )

    def allocate(self, size):
        return self.memory.allocate(max(size, 1))

    def free(self, address):
        self.memory.free(address)

    @contextlib.contextmanager
    def pop_context(self):
        yield

    def acquire_workspace(self, ordinal, stream, size):
        return self.memory.allocate(size), size

    def release_workspace(self, ordinal, stream, address, capacity):
        self.memory.free(address)

    def clear(self, address, size, stream):
        self.memory.view(address, np.uint8)[:size] = 0

    def upload(self, address, array, stream):
        if array.nbytes:
            self.memory.view(address, np.uint8)[: array.nbytes] = array.ravel("K").view(np.uint8)

    def copy(self, address, source, size, stream):
        self.memory.view(address, np.uint8)[:size] = self.memory.view(source, np.uint8)[:size]

    def download(self, array, address, stream):
        array.reshape(-1)[...] = self.memory.view(address, array.dtype)[: array.size]

    def synchronize(self, stream):
        pass


def in_place_of_driver(monkeypatch, properties):
    """Replace the driver by that of a simulated device, whose blocks run in random order; for a fixture."""
    driver, plan = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("driver", "plan"))
    targets = importlib.import_module("jitlogreg.targets.dispatch")
    simulated = Driver(properties, random.Random(0).shuffle)
    for name in (name for name in dir(simulated) if not name.startswith("_")):
        monkeypatch.setattr(driver, name, getattr(simulated, name), raising=False)
    monkeypatch.setattr(targets, "_reason_of_cuda", lambda: "")
    caches = plan.plan, plan.outputs_plan, targets._module
    for cache in caches:
        cache.cache_clear()
    yield simulated
    for cache in caches:
        cache.cache_clear()

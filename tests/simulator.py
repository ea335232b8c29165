"""Runs CUDA kernels on the CPU: the very functions that a GPU runs, one greenlet for each of its threads.

It knows what the kernels use: warps of 32 with shuffles, barriers of a block, a barrier of all blocks (which are then
resident together), shared memory that is NaN until it is written, and memory behind addresses. It raises where a GPU
would go wrong in silence: an index outside the array that lies at an address, a barrier that not every thread of a
block reaches, lanes of a warp that wait for each other, and a deadlock. Blocks may run in any order that is asked for.
"""

import sys
import types
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet


class Memory:
    """Arrays by the address at which they begin."""

    def __init__(self):
        self._arrays = {}

    def add(self, array):
        """Make an array reachable from kernels: all that lies between its first and its last element."""
        extent = 1 + sum((size - 1) * step // array.itemsize for size, step in zip(array.shape, array.strides))
        flat = np.lib.stride_tricks.as_strided(
            array, (extent if array.size else 0,), (array.itemsize,), writeable=array.flags.writeable
        )
        self._arrays[array.ctypes.data, array.dtype] = flat
        return array.ctypes.data

    def read(self, dtype, count):
        def read(address, index):
            array, i = self._find(address, dtype), int(index)
            if not 0 <= i <= len(array) - count:
                raise IndexError(f"reads {count} at {i} of {len(array)}")
            if (address + i * array.itemsize) % (count * array.itemsize):
                raise ValueError(f"reads {count} at {i}, which is not aligned")
            return array[i] if count == 1 else tuple(array[i : i + count])

        return read

    def write(self, dtype):
        def write(address, index, value):
            array, i = self._find(address, dtype), int(index)
            if not 0 <= i < len(array):
                raise IndexError(f"writes at {i} of {len(array)}")
            array[i] = value

        return write

    def _find(self, address, dtype):
        return self._arrays[int(address), np.dtype(str(dtype))]


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
    """`cuda.shared.array`, one for each call of it in the kernel, or `cuda.local.array`."""

    def __init__(self, is_shared):
        self._is_shared = is_shared

    def array(self, shape, dtype, alignment=None):
        dtype = np.dtype(str(dtype))
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
    """What kernels know as `cuda`."""

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

    `replace` maps names to Python functions that stand in for what only a compiler understands. `order` rearranges the
    list of blocks, which no result may depend on.
    """
    body = _Interpreter(_Cuda(blocks, threads), memory, replace).of(kernel)
    numbers = list(range(blocks))
    if order is not None:
        order(numbers)
    all_blocks = [_Block(i, threads, shared_bytes, lambda: body(*arguments)) for i in numbers]
    with np.errstate(all="ignore"):
        for group in [all_blocks] if cooperative else [[block] for block in all_blocks]:
            _run(group)


class _Interpreter:
    """Copies of functions that see the simulated device in place of the real one."""

    def __init__(self, cuda, memory, replace):
        self._cuda, self._memory, self._replace, self._seen = cuda, memory, replace, {}

    def of(self, function):
        if function in self._seen:
            return self._seen[function]
        names = {name: self._seen_as(name, value) for name, value in function.__globals__.items()}
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
            return self._memory.read(dtype, count) if kind == "load" else self._memory.write(dtype)
        python = getattr(value, "py_func", None)
        if isinstance(python, types.FunctionType):
            return lambda *arguments: self.of(python)(*arguments)
        return value


def _run(blocks):
    while True:
        moved = False
        alive = []
        for block in blocks:
            for thread in block.threads:
                if not thread.dead and thread.waits is None:
                    moved = True
                    try:
                        thread.switch()
                    except Exception as error:
                        error.add_note(f"in thread {thread.index.x} of block {block.index.x}")
                        raise
            for warp in block.warps:
                moved |= _shuffle(warp)
            left = [thread for thread in block.threads if not thread.dead]
            alive += left
            if left and all(thread.waits == ("block",) for thread in left):
                if len(left) < len(block.threads):
                    raise RuntimeError("a barrier that some threads of the block have returned without reaching")
                moved = _release(left)
        if not alive:
            return
        if all(thread.waits == ("grid",) for thread in alive):
            moved = _release(alive)
        if not moved:
            waiting = ", ".join(f"{t.block.index.x}.{t.index.x} {t.waits}" for t in alive[:8])
            raise RuntimeError(f"deadlock: {waiting}")


def _release(threads):
    for thread in threads:
        thread.waits = None
    return True


def _shuffle(warp):
    """Let the lanes that wait for the same exchange have it, once all that its mask names have come."""
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

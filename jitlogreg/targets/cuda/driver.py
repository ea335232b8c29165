"""The host's side of the CUDA library: machine code, memory and launches, on the stream that a call belongs to.

Kernels are compiled to an intermediate form (device.py) and linked to machine code, which needs no driver, and are
launched through the driver's own functions: a launch with plain numbers costs some microseconds so. The machine code is
kept on disk beside that of the CPU.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import tempfile
import threading

import numpy as np
from cuda.bindings import driver
from cuda.core import Linker, LinkerOptions, ObjectCode

from jitlogreg.targets.compile import cache_folder, sources_stamp
from jitlogreg.targets.cuda.intrinsics import compiler, intermediate_code
from jitlogreg.targets.cuda.plan import Device

OLDEST = (7, 5)  # compute capability from which on the kernels are compiled and checked

_SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_ARGUMENTS = {int: ctypes.c_int64, np.float32: ctypes.c_float, np.float64: ctypes.c_double}

# Memory that calls have worked in, by device and stream, and for how many of these it is kept
_spare: dict[tuple[int, int], list[tuple[int, int]]] = {}
_spare_lock = threading.Lock()
MOST_STREAMS = 16


def _call(function, *arguments):
    """Call a function of the driver; its results, or RuntimeError with its own message."""
    status, *results = function(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        _, message = driver.cuGetErrorString(status)
        raise RuntimeError(f"CUDA: {function.__name__} failed: {message.decode() if message else status}")
    return results[0] if len(results) == 1 else results


def reason():
    """Why no kernel can run here; empty where one can."""
    try:
        status = driver.cuInit(0)[0]
    except RuntimeError:
        return "no NVIDIA driver was found; it needs a GPU, and NVIDIA's driver: https://www.nvidia.com/drivers"
    if status != driver.CUresult.CUDA_SUCCESS or _call(driver.cuDeviceGetCount) == 0:
        return f"the NVIDIA driver finds no GPU ({status.name}); CUDA_VISIBLE_DEVICES may hide it"
    if capability(0) < OLDEST:
        return f"the GPU has compute capability {capability(0)}; accepted is {OLDEST} or more"
    return ""


def name(ordinal=0):
    """What a device is called."""
    return _call(driver.cuDeviceGetName, 128, ordinal).split(b"\0")[0].decode()


def _attribute(ordinal, which):
    return _call(
        driver.cuDeviceGetAttribute, getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{which}"), ordinal
    )


@functools.cache
def capability(ordinal):
    """Compute capability, (major, minor)."""
    return _attribute(ordinal, "COMPUTE_CAPABILITY_MAJOR"), _attribute(ordinal, "COMPUTE_CAPABILITY_MINOR")


@functools.cache
def facts(ordinal):
    """What a plan needs to know of a device."""
    return Device(
        _attribute(ordinal, "MULTIPROCESSOR_COUNT"),
        _attribute(ordinal, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        _attribute(ordinal, "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        _attribute(ordinal, "L2_CACHE_SIZE"),
    )


@functools.cache
def _primary_context(ordinal):
    """The context that other libraries use as well."""
    return _call(driver.cuDevicePrimaryCtxRetain, ordinal)


@contextlib.contextmanager
def current(ordinal):
    """Make a device the current one of this thread, and leave what was current before as it was."""
    _call(driver.cuInit, 0)
    _call(driver.cuCtxPushCurrent, _primary_context(ordinal))
    try:
        yield
    finally:
        _call(driver.cuCtxPopCurrent)


@contextlib.contextmanager
def aside():
    """Within `current`, leave what was current before, while the caller's own code runs."""
    context = _call(driver.cuCtxPopCurrent)
    try:
        yield
    finally:
        _call(driver.cuCtxPushCurrent, context)


# ---------------------------------------------------------------- machine code


def machine_code(codes, cc):
    """The machine code of an intermediate form, the kernel's name in it, and what the assembler says of registers."""
    objects = [code if isinstance(code, ObjectCode) else ObjectCode.from_ltoir(code) for code in codes]
    options = LinkerOptions(arch=f"sm_{cc[0]}{cc[1]}", link_time_optimization=True, ptxas_options=["-v"])
    linker = Linker(*objects, options=options)
    try:
        code = bytes(linker.link("cubin").code)
        return code, re.search(rb"\0\.text\.([^\0]+)\0", code).group(1), linker.get_info_log()
    finally:
        linker.close()


def _kept_machine_code(label, make, signature, cc, threads, per_processor):
    """The same from disk where it is kept; written there, as a whole, where it is not."""

    def compiled():
        return machine_code(intermediate_code(make(), signature, cc, threads, per_processor), cc)[:2]

    folder = cache_folder()
    if folder is None:
        return compiled()
    stamp = hashlib.sha256(f"{sources_stamp()} {compiler()} {signature}".encode()).hexdigest()[:16]
    path = folder / f"cuda-{label}-sm{cc[0]}{cc[1]}-{stamp}.cubin"
    with contextlib.suppress(OSError, ValueError):
        digest, entry, code = path.read_bytes().split(b"\n", 2)
        if digest.decode() == hashlib.sha256(entry + code).hexdigest():
            return code, entry
    code, entry = compiled()
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(b"\n".join([hashlib.sha256(entry + code).hexdigest().encode(), entry, code]))
        os.replace(temporary, path)  # noqa: PTH105
    return code, entry


@functools.cache
def _loaded(label, ordinal):
    """Where each kernel's handle is kept, once for a device."""
    return {}


def kernel(ordinal, label, make, signature, threads, per_processor, shared):
    """A kernel that is ready to be launched on the current device; `label` is a name for what `make()` makes."""
    handles = _loaded(label, ordinal)
    if shared not in handles:
        code, entry = _kept_machine_code(label, make, signature, capability(ordinal), threads, per_processor)
        library = _call(driver.cuLibraryLoadData, code, [], [], 0, [], [], 0)
        function = _call(driver.cuKernelGetFunction, _call(driver.cuLibraryGetKernel, library, entry))
        if shared > 0:
            _call(driver.cuFuncSetAttribute, function, _SHARED, shared)
        handles[shared] = function
    return handles[shared]


def launch(function, blocks, threads, shared, stream, arguments, cooperative=False):
    """Launch a kernel on the current device. Integers are handed over as int64, NumPy's numbers as what they are."""
    values = tuple(arguments), tuple(_ARGUMENTS[type(argument)] for argument in arguments)
    where = function, blocks, 1, 1, threads, 1, 1, shared, stream, values
    if cooperative:
        _call(driver.cuLaunchCooperativeKernel, *where)
    else:
        _call(driver.cuLaunchKernel, *where, 0)


# ---------------------------------------------------------------- memory


def allocate(size):
    """The address of `size` bytes on the current device."""
    return int(_call(driver.cuMemAlloc, max(size, 1)))


def free(address):
    """Give memory back, once all that was launched is done with it."""
    _call(driver.cuMemFree, address)


def borrow(ordinal, stream, size):
    """The address of memory for a call to work in, and its size: what an earlier call on the stream has given back.

    That call's work comes before this one's in the order of the stream, so it need not be waited for.
    """
    with _spare_lock:
        spare = _spare.setdefault((ordinal, stream), [])
        spare.sort()
        room, address = spare.pop() if spare else (0, 0)
    if room >= size:
        return address, room
    if address:
        synchronize(stream)
        free(address)
    return allocate(size), size


def give_back(ordinal, stream, address, room):
    """Keep memory for the next call on the stream; of streams that have been many, none is kept any longer."""
    with _spare_lock:
        _spare.setdefault((ordinal, stream), []).append((room, address))
        if len(_spare) <= MOST_STREAMS:
            return
        others = [_spare.pop(key) for key in list(_spare) if key[0] == ordinal]
    _call(driver.cuCtxSynchronize)
    for _, address in (pair for pairs in others for pair in pairs):
        free(address)


def clear(address, size, stream):
    """Set bytes to 0, in the order of the stream."""
    _call(driver.cuMemsetD8Async, address, 0, size, stream)


def upload(address, array, stream):
    """Copy a contiguous array to the device, in the order of the stream."""
    if array.nbytes:
        _call(driver.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, stream)


def copy(address, source, size, stream):
    """Copy bytes from one place on the device to another, in the order of the stream."""
    if size:
        _call(driver.cuMemcpyDtoDAsync, address, source, size, stream)


def download(array, address, stream):
    """Copy from the device into a contiguous array, and wait for it."""
    if array.nbytes:
        _call(driver.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, stream)
    synchronize(stream)


def synchronize(stream):
    """Wait for all that was launched on the stream."""
    _call(driver.cuStreamSynchronize, stream)

"""NVIDIA's driver as the CUDA target uses it: machine code, launches and memory, in stream order.

Kernels are compiled to intermediate code (intrinsics.py) and linked to machine code; neither needs a driver. They are
launched through the driver's own functions, where a launch with plain numbers costs a few microseconds. The machine
code is cached on disk beside that of the CPU kernels.
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
from jitlogreg.targets.cuda.plan import DeviceProperties

MIN_CAPABILITY = (7, 5)  # the oldest compute capability for which the kernels are compiled and tested

_MAX_DYNAMIC_SHARED = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_ARGUMENT_TYPES = {int: ctypes.c_int64, np.float32: ctypes.c_float, np.float64: ctypes.c_double}

# Workspaces that no call uses at present, as (capacity, address), by device and stream; and for how many streams they
# are kept
_workspaces: dict[tuple[int, int], list[tuple[int, int]]] = {}
_workspaces_lock = threading.Lock()
MAX_STREAMS = 16


def _call(function, *arguments):
    """Call a function of the driver and return its results; an error status raises RuntimeError with its message."""
    status, *results = function(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        _, message = driver.cuGetErrorString(status)
        raise RuntimeError(f"CUDA: {function.__name__} failed: {message.decode() if message else status}")
    return results[0] if len(results) == 1 else results


def reason():
    """Why no kernel can run here; empty if kernels can run."""
    try:
        status = driver.cuInit(0)[0]
    except RuntimeError:
        return "no NVIDIA driver was found; an NVIDIA GPU and its driver are needed: https://www.nvidia.com/drivers"
    if status != driver.CUresult.CUDA_SUCCESS or _call(driver.cuDeviceGetCount) == 0:
        return f"the NVIDIA driver finds no GPU ({status.name}); CUDA_VISIBLE_DEVICES may hide it"
    if capability(0) < MIN_CAPABILITY:
        oldest, found = (".".join(map(str, version)) for version in (MIN_CAPABILITY, capability(0)))
        return f"compute capability of the GPU: expected at least {oldest}, got {found}"
    return ""


def name(ordinal=0):
    """The name of a device."""
    return _call(driver.cuDeviceGetName, 128, ordinal).split(b"\0")[0].decode()


def _attribute(ordinal, which):
    return _call(
        driver.cuDeviceGetAttribute, getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{which}"), ordinal
    )


@functools.cache
def capability(ordinal):
    """The compute capability, (major, minor)."""
    return _attribute(ordinal, "COMPUTE_CAPABILITY_MAJOR"), _attribute(ordinal, "COMPUTE_CAPABILITY_MINOR")


@functools.cache
def device_properties(ordinal):
    """What a plan needs to know of a device."""
    return DeviceProperties(
        _attribute(ordinal, "MULTIPROCESSOR_COUNT"),
        _attribute(ordinal, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        _attribute(ordinal, "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        _attribute(ordinal, "L2_CACHE_SIZE"),
    )


@functools.cache
def _primary_context(ordinal):
    """The device's primary context, which other libraries use as well."""
    return _call(driver.cuDevicePrimaryCtxRetain, ordinal)


@contextlib.contextmanager
def current(ordinal):
    """Make a device's context current in this thread, and restore the previous one at the end."""
    _call(driver.cuInit, 0)
    _call(driver.cuCtxPushCurrent, _primary_context(ordinal))
    try:
        yield
    finally:
        _call(driver.cuCtxPopCurrent)


@contextlib.contextmanager
def pop_context():
    """Within `current`, restore the previous context while the caller's own code runs."""
    context = _call(driver.cuCtxPopCurrent)
    try:
        yield
    finally:
        _call(driver.cuCtxPushCurrent, context)


# ---------------------------------------------------------------- machine code


def machine_code(codes, cc):
    """The machine code of intermediate code, the kernel's name in it, and the assembler's report of registers."""
    objects = [code if isinstance(code, ObjectCode) else ObjectCode.from_ltoir(code) for code in codes]
    options = LinkerOptions(arch=f"sm_{cc[0]}{cc[1]}", link_time_optimization=True, ptxas_options=["-v"])
    linker = Linker(*objects, options=options)
    try:
        code = bytes(linker.link("cubin").code)
        return code, re.search(rb"\0\.text\.([^\0]+)\0", code).group(1), linker.get_info_log()
    finally:
        linker.close()


def _cached_machine_code(label, make, signature, cc, threads, blocks_per_sm):
    """The machine code and the kernel's name, from the cache on disk; on a miss they are made and written there."""

    def compiled():
        return machine_code(intermediate_code(make(), signature, cc, threads, blocks_per_sm), cc)[:2]

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
def _kernel_handles(label, ordinal):
    """The handles of a kernel on a device, by bytes of dynamic shared memory."""
    return {}


def kernel(ordinal, label, make, signature, threads, blocks_per_sm, shared_bytes):
    """The handle of a kernel, ready to launch on the current device; `label` names what `make()` makes."""
    handles = _kernel_handles(label, ordinal)
    if shared_bytes not in handles:
        code, entry = _cached_machine_code(label, make, signature, capability(ordinal), threads, blocks_per_sm)
        library = _call(driver.cuLibraryLoadData, code, [], [], 0, [], [], 0)
        function = _call(driver.cuKernelGetFunction, _call(driver.cuLibraryGetKernel, library, entry))
        if shared_bytes > 0:
            _call(driver.cuFuncSetAttribute, function, _MAX_DYNAMIC_SHARED, shared_bytes)
        handles[shared_bytes] = function
    return handles[shared_bytes]


def launch(function, blocks, threads, shared_bytes, stream, arguments, cooperative=False):
    """Launch a kernel on the current device. Python integers are passed as int64, NumPy scalars in their own type."""
    values = tuple(arguments), tuple(_ARGUMENT_TYPES[type(argument)] for argument in arguments)
    configuration = function, blocks, 1, 1, threads, 1, 1, shared_bytes, stream, values
    if cooperative:
        _call(driver.cuLaunchCooperativeKernel, *configuration)
    else:
        _call(driver.cuLaunchKernel, *configuration, 0)


# ---------------------------------------------------------------- memory


def allocate(size):
    """The address of `size` newly allocated bytes on the current device."""
    return int(_call(driver.cuMemAlloc, max(size, 1)))


def free(address):
    """Free memory, once all that was launched has finished with it."""
    _call(driver.cuMemFree, address)


def acquire_workspace(ordinal, stream, size):
    """The address and the capacity of a workspace: one that an earlier call on the stream has released, or a new one.

    That call's work precedes this one's in stream order, so there is nothing to wait for.
    """
    with _workspaces_lock:
        unused = _workspaces.setdefault((ordinal, stream), [])
        unused.sort()
        capacity, address = unused.pop() if unused else (0, 0)
    if capacity >= size:
        return address, capacity
    if address:
        synchronize(stream)
        free(address)
    return allocate(size), size


def release_workspace(ordinal, stream, address, capacity):
    """Keep a workspace for the next call on the stream; beyond `MAX_STREAMS` streams all unused ones are freed."""
    with _workspaces_lock:
        _workspaces.setdefault((ordinal, stream), []).append((capacity, address))
        if len(_workspaces) <= MAX_STREAMS:
            return
        unused = [_workspaces.pop(key) for key in list(_workspaces) if key[0] == ordinal]
    _call(driver.cuCtxSynchronize)
    for _, address in (workspace for of_stream in unused for workspace in of_stream):
        free(address)


def clear(address, size, stream):
    """Set bytes to 0, in stream order."""
    _call(driver.cuMemsetD8Async, address, 0, size, stream)


def upload(address, array, stream):
    """Copy a contiguous array to the device, in stream order."""
    if array.nbytes:
        _call(driver.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, stream)


def copy(address, source, size, stream):
    """Copy bytes from one device address to another, in stream order."""
    if size:
        _call(driver.cuMemcpyDtoDAsync, address, source, size, stream)


def download(array, address, stream):
    """Copy from the device into a contiguous array, and wait for it."""
    if array.nbytes:
        _call(driver.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, stream)
    synchronize(stream)


def synchronize(stream):
    """Wait for all work on the stream."""
    _call(driver.cuStreamSynchronize, stream)

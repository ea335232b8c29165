"""The machine and the versions that a measurement belongs to."""

import os
import platform

import llvmlite
import llvmlite.binding
import numba
import numpy as np

import jitlogreg
from jitlogreg.cli import bandwidth
from jitlogreg.targets.cpu import profile


def versions():
    """The versions of the packages that results and speed depend on, by name."""
    return {
        "jitlogreg": jitlogreg.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }


def machine():
    """The processor and its use: system, cpu, simd_bits, fma, profile, cores, threads, threading_layer and load.

    The load is `load()`, before anything is measured.
    """
    simd_bits, fma = simd()
    layer, threads = threading()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": llvmlite.binding.get_host_cpu_name(),
        "simd_bits": simd_bits,
        "fma": fma,
        "profile": profile.current().cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "threading_layer": layer,
        "load": load(),
    }


def load():
    """The load average of the last minute: threads that ran or waited to run. None if the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def memory():
    """The bytes of memory of this machine; None if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def print_load(before):
    """Warn of a load before the measurement: half of one core already slows calls that use all cores."""
    if before is not None and before > 0.5:
        print(f"The load was {before} before: other processes may have slowed some of this.")


def simd():
    """The width of the widest vector registers in bits, and whether there are fused multiply-adds."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        bits = 512
    elif features.get("avx2") or features.get("avx"):
        bits = 256
    else:
        bits = 128
    # every 64-bit ARM has FMA, though LLVM may list no features at all
    fma = features.get("fma") or features.get("neon") or platform.machine().lower() in ("aarch64", "arm64")
    return bits, bool(fma)


def threading():
    """Numba's threading layer and its number of threads; the reason and 0 if there is none."""
    try:
        read, _ = bandwidth.readers(np.zeros(2**17))  # enough for all threads
        read()  # the layer is chosen when threads first run
        return numba.threading_layer(), numba.get_num_threads()
    except ValueError as error:  # the configured layer cannot be loaded
        return " ".join(str(error).split()), 0

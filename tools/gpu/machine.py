"""The device and the versions that a report belongs to."""

import importlib.metadata
import platform

import jitlogreg

PACKAGES = (
    "numpy",
    "numba",
    "numba-cuda",
    "cuda-bindings",
    "cuda-core",
    "nvidia-nvjitlink",
    "nvidia-cuda-nvcc",
    "cupy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "torch",
    "jax",
)


def versions():
    """The versions of what results and speed depend on, by name; of what is not installed, none."""
    found = {"jitlogreg": jitlogreg.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device():
    """Name, compute capability, multiprocessors, memory and cache of GPU 0, and the driver's version of CUDA."""
    from cuda.bindings import driver as cuda_driver

    from jitlogreg.targets.cuda import driver

    properties, capability = driver.device_properties(0), driver.capability(0)
    with driver.current(0):
        _, free, total = cuda_driver.cuMemGetInfo()
    _, version = cuda_driver.cuDriverGetVersion()
    return {
        "name": driver.name(0),
        "compute capability": f"{capability[0]}.{capability[1]}",
        "multiprocessors": properties.n_sms,
        "shared memory of a block, bytes": properties.shared_per_block,
        "shared memory of a multiprocessor, bytes": properties.shared_per_sm,
        "second-level cache, bytes": properties.l2_size,
        "memory, bytes": int(total),
        "free memory, bytes": int(free),
        "CUDA of the driver": f"{version // 1000}.{version % 1000 // 10}",
        "system": f"{platform.system()} {platform.machine()}",
    }

"""Stand-ins for CuPy, PyTorch and Numba's CUDA, and for a target that runs on their arrays, where there is no GPU.

Their arrays lie in the memory of the CPU and say that they lie on a GPU. They are strict where the libraries would go
wrong in silence: what needs its device to be the current one raises where it is not.
"""

import contextlib
import ctypes
import importlib
from types import ModuleType, SimpleNamespace

import numpy as np

from jitlogreg.interop.device_array import DeviceArray
from jitlogreg.targets import reference
from jitlogreg.targets.base import Problem, layout

DL_CUDA, DL_MANAGED = 2, 13


class Machine:
    """Its GPUs: which is the current one, the current stream of each, what was asked of arrays, copies to the host."""

    def __init__(self):
        self.current, self.streams, self.memory = 0, {0: 0, 1: 0}, DL_CUDA
        self.asked, self.to_host = [], 0

    @contextlib.contextmanager
    def on(self, gpu):
        before, self.current = self.current, gpu
        try:
            yield
        finally:
            self.current = before


class Array:
    """What the three have in common. `host` is the memory."""

    def __init__(self, machine, host, gpu):
        self.machine, self.host, self.gpu, self.readonly = machine, host, gpu, False

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)

    def __getitem__(self, rows):
        return type(self)(self.machine, self.host[rows], self.gpu)

    def same_gpu(self):
        assert self.machine.current == self.gpu, "another device is the current one"


class WithDLPack(Array):
    def __dlpack_device__(self):
        return self.machine.memory, self.gpu

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        assert stream not in (None, 0), "neither is a stream of CUDA's by the protocol"
        self.machine.asked.append(("__dlpack__", self.gpu, stream))
        capsule = self.host.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        # a DLTensor begins with the address, and the device's type and ordinal follow
        device = ctypes.c_int32 * 2
        device.from_address(pointer(capsule, b"dltensor") + 8)[:] = self.machine.memory, self.gpu
        return capsule


def named(kind, module, name):
    """A class as if it had been defined elsewhere."""
    return type(name, (kind,), {"__module__": module, "__qualname__": name})


# ---------------------------------------------------------------- CuPy


def cupy(machine):
    module = ModuleType("cupy")

    class NDArray(WithDLPack):
        @property
        def device(self):
            return SimpleNamespace(id=self.gpu)

        def set(self, values):
            self.same_gpu()
            assert type(values) is np.ndarray
            assert (values.shape, values.dtype) == (self.shape, self.dtype)
            self.host[...] = values

        def astype(self, dtype):
            self.same_gpu()
            return module.ndarray(machine, self.host.astype(dtype), self.gpu)

    def ascontiguousarray(array):
        array.same_gpu()
        return module.ndarray(machine, np.ascontiguousarray(array.host), array.gpu)

    def asnumpy(array):
        array.same_gpu()
        machine.to_host += 1
        return array.host.copy()

    module.ndarray = named(NDArray, "cupy", "ndarray")
    module.empty = lambda shape, dtype: module.ndarray(machine, filled(shape, dtype), machine.current)
    module.ascontiguousarray, module.asnumpy = ascontiguousarray, asnumpy
    module.cuda = SimpleNamespace(
        Device=machine.on, get_current_stream=lambda: SimpleNamespace(ptr=machine.streams[machine.current])
    )
    return {"cupy": module}, module.ndarray


def filled(shape, dtype):
    """New memory that is not zeros by chance."""
    return np.full(shape, 77, dtype)


# ---------------------------------------------------------------- PyTorch


def torch(machine):
    module = ModuleType("torch")

    class Tensor(WithDLPack):
        """On the CPU where its GPU is None."""

        requires_grad, layout, negated = False, "strided", False

        @property
        def device(self):
            return SimpleNamespace(type="cpu" if self.gpu is None else "cuda", index=self.gpu)

        def is_neg(self):
            return self.negated

        def cpu(self):
            machine.to_host += 1
            return module.Tensor(machine, self.host.copy(), None)

        def numpy(self):
            assert self.gpu is None, "can't convert a cuda tensor to NumPy"
            return self.host

        def to(self, dtype):
            assert type(dtype) is str, "a dtype of PyTorch's own"
            return module.Tensor(machine, self.host.astype(dtype), self.gpu)

        def contiguous(self):
            return module.Tensor(machine, np.ascontiguousarray(self.host), self.gpu)

        def copy_(self, values):
            assert values.host.shape == self.shape
            self.host[...] = values.host
            return self

    def empty(shape, dtype, device):
        assert type(dtype) is str
        assert device[0] == "cuda"
        return module.Tensor(machine, filled(shape, dtype), device[1])

    def from_numpy(array):
        assert array.flags.writeable
        return module.Tensor(machine, array, None)

    module.Tensor = named(Tensor, "torch", "Tensor")
    module.empty, module.from_numpy = empty, from_numpy
    module.device = lambda kind, index: (kind, index)
    module.strided, module.float32, module.float64 = "strided", "float32", "float64"
    module.cuda = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=machine.streams[device]))
    return {"torch": module}, module.Tensor


# ---------------------------------------------------------------- Numba


def numba(machine):
    module = ModuleType("numba.cuda")

    class DeviceNDArray(Array):
        stream = 7

        @property
        def __cuda_array_interface__(self):
            self.machine.asked.append(("__cuda_array_interface__", self.gpu, None))
            return {"data": (self.host.ctypes.data, self.readonly), "version": 3, "stream": self.stream}

        def bind(self, stream):
            bound = module.DeviceNDArray(machine, self.host, self.gpu)
            bound.stream = stream
            return bound

        def copy_to_host(self):
            self.same_gpu()
            assert self.stream == 0, "the host does not wait for copies on another stream"
            return self.host.copy()

        def copy_to_device(self, values):
            self.same_gpu()
            assert self.stream == 0
            assert (values.shape, values.dtype) == (self.shape, self.dtype)
            self.host[...] = values

    def device_array(shape, dtype):
        return module.DeviceNDArray(machine, filled(shape, dtype), machine.current)

    def to_device(values):
        assert values.flags.c_contiguous
        return module.DeviceNDArray(machine, values.copy(), machine.current)

    class GPUs:
        def __getitem__(self, gpu):
            return machine.on(gpu)

    module.DeviceNDArray = named(DeviceNDArray, "numba.cuda.cudadrv.devicearray", "DeviceNDArray")
    module.device_array, module.to_device, module.gpus = device_array, to_device, GPUs()
    # Numba itself stays: its configuration is asked for
    return {"numba": importlib.import_module("numba"), "numba.cuda": module}, module.DeviceNDArray


LIBRARIES = {"cupy": cupy, "torch": torch, "numba": numba}


def view(owner, stream):
    """In place of `device_array._view`, which asks CUDA where an array lies that has no DLPack."""
    if hasattr(owner, "__dlpack__"):
        owner.__dlpack__(stream=stream)
        address = owner.host.ctypes.data
    else:
        address = owner.__cuda_array_interface__["data"][0]
    host = owner.host
    return {
        "address": address,
        "device": owner.gpu,
        "shape": host.shape,
        "strides": host.strides,
        "dtype": host.dtype,
        "readonly": owner.readonly,
        "exported": owner,
    }


# ---------------------------------------------------------------- a target


def memory(array):
    """What lies at the addresses of a `DeviceArray`; NumPy arrays as they are."""
    if type(array) is not DeviceArray:
        return array
    interface = {
        "version": 3,
        "shape": array.shape,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "data": (array.address, False),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def target(seen):
    """The reference, on what lies behind addresses; it notes what arrays it is given, and checks what was promised."""
    module = ModuleType("jitlogreg.targets.cuda")

    def taken(X, w, *others):
        arrays = [array for array in (X, w, *others) if array is not None]
        seen.append(arrays)
        assert len({type(array) for array in arrays}) == 1
        if type(X) is DeviceArray:
            assert len({(array.library, array.device, array.stream) for array in arrays}) == 1
        for array in arrays[1:]:
            assert array.flags.c_contiguous
            assert array.dtype == w.dtype
        return [None if array is None else memory(array) for array in (X, w, *others)]

    def activate(function, problem, w, b, out):
        X, w, to, offset = taken(problem.X, w, out, problem.offset)
        reference.activate(function, Problem.of(X, frame=problem.frame, offset=offset), w, b, to)
        return out

    def sums(problem, w, b, with_gradient):
        X, y, sample_weight, order, ld, frame, offset = problem
        assert (order, ld) == layout(X.shape, X.strides, X.itemsize)
        if type(w) is np.ndarray:  # an objective's θ comes from the host
            X, y, sample_weight, offset = taken(X, y, sample_weight, offset)
        else:
            X, w, y, sample_weight, offset = taken(X, w, y, sample_weight, offset)
        return reference.sums(Problem.of(X, y, sample_weight, frame, offset), w, b, with_gradient)

    def activate_outputs(function, problem, W, b, out):
        X, to = taken(problem.X, out)
        reference.activate_outputs(function, problem._replace(X=X), W, b, to)
        return out

    def sums_of_outputs(link, problem, W, b, with_gradient):
        X, _ = taken(problem.X, None)
        return reference.sums_of_outputs(link, problem._replace(X=X), W, b, with_gradient)

    module.name, module.hold = "cuda", reference.hold
    module.activate_outputs, module.sums_of_outputs = activate_outputs, sums_of_outputs
    module.activate = activate
    module.sums, module.bind, module.means, module.descend = sums, reference.bind, reference.means, reference.descend
    return module

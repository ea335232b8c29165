"""Arrays on a GPU in and out: the whole way of a call, on stand-ins for the libraries and for the target."""

import gc
import importlib
import subprocess
import sys
import weakref
from types import SimpleNamespace

import gpus
import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg import validation
from jitlogreg.interop import device_array
from jitlogreg.interop.device_array import DeviceArray
from jitlogreg.interop.libraries import library_of
from jitlogreg.interop.wrapping import accepts_foreign_arrays
from jitlogreg.solvers.gradient_descent import State
from jitlogreg.targets.dispatch import ENVIRONMENT_VARIABLE

targets = importlib.import_module("jitlogreg.targets.dispatch")

GPU, STREAM = 1, 5  # neither is what there is without being asked for
FORWARDS = (jlr.forward, jlr.log_forward)
GRADIENTS = (jlr.gradient, jlr.loss_and_gradient)
CONVERSIONS = {
    "cupy": {"other": "cupy.asarray({})", "device": "cupy.asarray({})", "cpu": "cupy.asnumpy({})"},
    "torch": {"other": "torch.as_tensor({}, device=X.device)", "device": "{}.to(X.device)", "cpu": "{}.cpu()"},
    "numba": {
        "other": "numba.cuda.to_device({})",
        "device": "numba.cuda.to_device({}.copy_to_host())",
        "cpu": "{}.copy_to_host()",
    },
}


def install(monkeypatch, machine, name):
    modules, kind = gpus.LIBRARIES[name](machine)
    for module_name, module in modules.items():
        monkeypatch.setitem(sys.modules, module_name, module)
    return kind


@pytest.fixture(autouse=True)
def _no_choice_from_outside(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def machine():
    machine = gpus.Machine()
    machine.streams[GPU] = STREAM
    return machine


@pytest.fixture(params=["cupy", "cupy by cuda.core", "torch", "numba"])
def library(request, monkeypatch, machine):
    """A library, viewed by a stand-in for cuda.core, or by that itself: where there is DLPack, it needs no driver."""
    name = request.param.split()[0]
    if request.param.endswith("cuda.core"):
        pytest.importorskip("cuda.core.utils", exc_type=ImportError)
    else:
        monkeypatch.setattr(device_array, "_view", gpus.view)
    kind = install(monkeypatch, machine, name)

    def put(array, gpu=GPU):
        return kind(machine, array, gpu)

    return SimpleNamespace(name=name, kind=kind, put=put, said=CONVERSIONS[name], by=request.param)


@pytest.fixture
def seen(monkeypatch):
    """What the target was given, call by call."""
    given = []
    targets._module.cache_clear()
    monkeypatch.setattr(targets, "_reason", lambda name: "")
    monkeypatch.setitem(sys.modules, "jitlogreg.targets.cuda", gpus.target(given))
    yield given
    targets._module.cache_clear()


@pytest.fixture
def both(library, data):
    """The same data as NumPy arrays and as the library's, which share their memory."""
    return data, SimpleNamespace(**{name: library.put(getattr(data, name)) for name in ("X", "y", "w")})


def refuses(exception, fragments, call, *arguments, **keywords):
    with pytest.raises(exception) as caught:
        call(*arguments, **keywords)
    assert type(caught.value) is exception
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        assert fragment in str(caught.value)


# ---------------------------------------------------------------- in and out


def test_results_are_the_library_s_with_the_same_bits(library, both, seen, machine):
    arrays, device = both
    with jlr.use_target("reference"):
        wanted = [call(arrays.X, arrays.w, 0.5) for call in FORWARDS]
        wanted_sums = jlr.loss_and_gradient(arrays.X, arrays.y, arrays.w, 0.5, l2=0.1)
    got = [call(device.X, device.w, 0.5) for call in FORWARDS]
    for a, b in zip(got, wanted, strict=True):
        assert type(a) is library.kind
        assert a.gpu == GPU
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.host, b)
    sums = jlr.loss_and_gradient(device.X, device.y, device.w, 0.5, l2=0.1)
    alone = jlr.gradient(device.X, device.y, device.w, 0.5, l2=0.1)
    assert type(sums.dw) is type(alone.dw) is library.kind
    assert sums.dw.dtype == wanted_sums.dw.dtype
    assert sums.dw.gpu == GPU
    np.testing.assert_array_equal(sums.dw.host, wanted_sums.dw)
    np.testing.assert_array_equal(alone.dw.host, wanted_sums.dw)
    assert (sums.loss, sums.db) == (wanted_sums.loss, wanted_sums.db)
    assert jlr.loss(device.X, device.y, device.w, b=0.5, l2=0.1) == wanted_sums.loss
    assert len(seen) == 5
    assert machine.current == 0


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_results_of_several_outputs_are_the_library_s(library, seen, dtypes, link):
    data = make_data(40, 5, dtypes)
    rng = np.random.default_rng(0)
    W, b, offset = (rng.normal(size=shape).astype(data.w.dtype) for shape in ((5, 3), 3, (40, 3)))
    y = rng.integers(0, 3, 40) if link == "softmax" else (rng.uniform(size=(40, 3)) < 0.5).astype(data.w.dtype)
    on_gpu = {name: library.put(array) for name, array in {"X": data.X, "w": W, "b": b, "offset": offset}.items()}
    on_cpu = {"X": data.X, "w": W, "b": b, "offset": offset, "link": link, "target": "reference"}
    out = library.put(np.empty((5, 3), data.w.dtype))
    results = [
        *((call(**on_gpu, link=link), call(**on_cpu)) for call in FORWARDS),
        *zip(
            jlr.loss_and_gradient(**on_gpu, y=library.put(y), link=link, l2=0.1),
            jlr.loss_and_gradient(**on_cpu, y=y, l2=0.1),
            strict=True,
        ),
        *zip(
            jlr.gradient(**on_gpu, y=library.put(y), link=link, out=out),
            jlr.gradient(**on_cpu, y=y),
            strict=True,
        ),
    ]
    for got, wanted in results:
        if np.ndim(wanted) == 0:
            assert got == wanted  # the loss of a softmax
            continue
        assert type(got) is library.kind
        assert (got.gpu, got.dtype) == (GPU, wanted.dtype)
        np.testing.assert_array_equal(got.host, wanted)
    assert any(got is out for got, _ in results)


def test_arrays_are_taken_where_they_lie_on_the_current_stream(library, both, seen, machine):
    arrays, device = both
    jlr.loss(device.X, device.y, device.w)
    stream = 1 if library.name == "numba" else STREAM
    X, w, y = seen[0]
    assert (X.address, X.shape, X.strides) == (arrays.X.ctypes.data, arrays.X.shape, arrays.X.strides)
    assert (w.address, y.address) == (arrays.w.ctypes.data, arrays.y.ctypes.data)
    assert {(array.device, array.stream) for array in (X, w, y)} == {(GPU, stream)}
    if library.name != "numba":
        assert machine.asked == [("__dlpack__", GPU, STREAM)] * 3


def test_the_default_stream_has_a_number_that_the_protocols_take(library, data, seen):
    jlr.forward(library.put(data.X, 0), library.put(data.w, 0))
    assert {array.stream for array in seen[0]} == {1}


def test_numba_s_default_stream_may_be_the_thread_s(monkeypatch, machine):
    install(monkeypatch, machine, "numba")
    monkeypatch.setattr("numba.config.CUDA_PER_THREAD_DEFAULT_STREAM", 1)
    assert library_of(sys.modules["numba.cuda"].to_device(np.zeros(1))).stream(None) == 2


def test_managed_memory_is_a_gpu_s_too(monkeypatch, machine, library, data, seen):
    monkeypatch.setattr(machine, "memory", gpus.DL_MANAGED)
    assert type(jlr.forward(library.put(data.X), library.put(data.w))) is library.kind


@pytest.mark.parametrize("target", [None, "cuda"])
def test_blocks_of_a_dask_array_are_taken_where_they_lie(library, seen, target):
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    over_blocks = importlib.import_module("jitlogreg.dask")
    data = make_data(100, 5)

    def blocks(name, array):
        parts = [library.put(array[first : first + 30]) for first in range(0, 100, 30)]
        graph = {(name, i, *[0] * (array.ndim - 1)): part for i, part in enumerate(parts)}
        return da.Array(graph, name, ((30, 30, 30, 10), *((n,) for n in array.shape[1:])), dtype=array.dtype)

    X, y = blocks("X", data.X), blocks("y", data.y)
    if target is None:
        refuses(TypeError, ["target: expected 'cuda' for X on a GPU, a ", "got 'cpu'"], over_blocks.Objective, X, y)
        return
    objective = over_blocks.Objective(X, y, l2=0.1, target=target)
    loss, gradient = objective(np.append(data.w, 0.5))
    wanted = jlr.loss_and_gradient(data.X, data.y, data.w, 0.5, l2=0.1, target="reference")
    np.testing.assert_allclose([loss, *gradient], [wanted.loss, *wanted.dw, wanted.db], rtol=0, atol=1e-15)
    assert {array.device for call in seen for array in call if type(array) is DeviceArray} == {GPU}
    parts = over_blocks.forward(X, data.w, target=target).to_delayed()
    for part, first in zip(parts, range(0, 100, 30), strict=True):
        a = part.compute()
        assert type(a) is library.kind
        np.testing.assert_array_equal(a.host, jlr.forward(data.X[first : first + 30], data.w, target="reference"))


def test_views_are_taken_as_they_are(library, seen):
    memory = np.random.default_rng(0).normal(size=(12, 10))
    w = np.linspace(-1, 1, 4)
    for X in (memory[:, 2:6], memory.T[:10, 3:7], memory[2:9, :4]):
        got = jlr.forward(library.put(X), library.put(w))
        np.testing.assert_array_equal(got.host, jlr.forward(X, w, target="reference"))
        assert (seen[-1][0].address, seen[-1][0].strides) == (X.ctypes.data, X.strides)


def test_no_examples_and_no_features(library, seen):
    assert jlr.forward(library.put(np.zeros((0, 3))), library.put(np.zeros(3))).shape == (0,)
    got = jlr.gradient(library.put(np.zeros((2, 0))), library.put(np.ones(2)), library.put(np.zeros(0)))
    assert (got.dw.shape, got.db) == ((0,), -0.5)
    refuses(ValueError, "(0, 3)", jlr.loss, *map(library.put, (np.zeros((0, 3)), np.zeros(0), np.zeros(3))))


@pytest.mark.parametrize("call", FORWARDS)
def test_out_of_activations_is_written_and_returned(library, both, seen, call):
    arrays, device = both
    out = library.put(np.full(len(arrays.y), 0.5, arrays.w.dtype))
    assert call(device.X, device.w, out=out) is out
    np.testing.assert_array_equal(out.host, call(arrays.X, arrays.w, target="reference"))
    assert seen[0][-1].address == out.host.ctypes.data


@pytest.mark.parametrize("call", GRADIENTS)
def test_out_of_gradients_is_written_and_returned(library, both, seen, call):
    arrays, device = both
    out = library.put(np.full_like(arrays.w, 0.5))
    got = call(device.X, device.y, device.w, out=out)
    wanted = call(arrays.X, arrays.y, arrays.w, target="reference")
    assert got.dw is out
    np.testing.assert_array_equal(out.host, wanted.dw)
    assert got._replace(dw=0) == wanted._replace(dw=0)


def test_callbacks_and_results_of_a_descent_are_given_the_library_s_arrays(library, both, seen):
    @accepts_foreign_arrays
    def descend(X, y, *, w=None, callback=None):
        w = validation.initial_coefficients(X) if w is None else validation.check_coefficients(w, X).copy()
        callback(State(0, 0.5, 1.0, w, 0.0))
        return jlr.Descent(w, 0.0, np.zeros(1), 0, False)

    arrays, device = both
    states = []
    got = descend(device.X, device.y, callback=states.append)
    assert type(got.w) is type(states[0].w) is library.kind
    assert got.w.dtype == arrays.X.dtype
    np.testing.assert_array_equal(got.w.host, np.zeros(5))
    assert type(got.loss_history) is np.ndarray
    got = descend(device.X, device.y, w=device.w, callback=states.append)
    assert got.w is not device.w
    assert not np.shares_memory(got.w.host, arrays.w)
    np.testing.assert_array_equal(got.w.host, arrays.w)


@pytest.mark.parametrize("cut_before", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_mini_batches_are_taken_where_they_lie(library, both, seen, cut_before, started):
    arrays, device = both
    settings, states = {"learning_rate": 0.1, "n_epochs": 2, "shuffle": 0}, []
    wanted = jlr.minibatch_descent(
        (arrays.X, arrays.y), w=arrays.w if started else None, block_size=15, target="reference", **settings
    )
    blocks = (device.X, device.y)
    if cut_before:
        blocks = [(device.X[i : i + 15], device.y[i : i + 15]) for i in (0, 15, 30)]
    else:
        settings["block_size"] = 15
    got = jlr.minibatch_descent(blocks, w=device.w if started else None, callback=states.append, **settings)
    assert type(got.w) is library.kind
    assert got.w.gpu == GPU
    assert got.w.dtype == wanted.w.dtype
    np.testing.assert_array_equal(got.w.host, wanted.w)
    assert got.b == wanted.b
    assert [state.loss for state in states] == wanted.loss_history.tolist() == got.loss_history.tolist()
    assert all(type(state.w) is library.kind for state in states)
    starts = {arrays.X[i:].ctypes.data for i in (0, 15, 30)}
    assert len(seen) == 6
    assert {given[0].address for given in seen} == starts


def test_mini_batches_stay_in_one_memory(library, both, seen):
    arrays, device = both
    of = {"CPU": (arrays.X, arrays.y), "GPU": (device.X, device.y)}
    for first, other in (("CPU", "GPU"), ("GPU", "CPU")):
        message = rf"^batch 1: X: expected the memory of .*{first}.*, got the memory of .*{other}"
        with pytest.raises(TypeError, match=message):
            jlr.minibatch_descent([of[first], of[other]], learning_rate=0.1)
    with pytest.raises(TypeError, match=r"^target: expected 'cuda' for X on a GPU, a .*, got 'cpu'"):
        jlr.minibatch_descent(of["GPU"], learning_rate=0.1, target="cpu")


def test_an_array_lives_as_long_as_its_view(library):
    array = library.put(np.ones(3))
    alive, view = weakref.ref(array), device_array.device_array(array, library_of(array))
    del array
    gc.collect()
    assert alive() is view.owner
    del view
    gc.collect()
    assert alive() is None


# ---------------------------------------------------------------- where it runs


def test_the_target_may_be_named(library, both, seen):
    device = both[1]
    jlr.forward(device.X, device.w, target="cuda")
    with jlr.use_target("cuda"):
        jlr.forward(device.X, device.w)
    assert len(seen) == 2


def test_targets_on_the_cpu_take_no_arrays_on_a_gpu(library, both, seen, monkeypatch):
    device = both[1]
    conversion = f"{library.said['cpu'].format('X')} copies X to the CPU"
    for name in ("cpu", "reference"):
        said = ": expected 'cuda' for X on a GPU, a ", f", got {name!r}: {conversion}"
        refuses(TypeError, [f"target{said[0]}", said[1]], jlr.forward, device.X, device.w, target=name)
        with jlr.use_target(name):
            refuses(TypeError, [f"use_target{said[0]}", said[1]], jlr.loss, device.X, device.y, device.w)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    refuses(TypeError, ["JITLOGREG_TARGET: expected 'cuda'", "got 'reference'"], jlr.forward, device.X, device.w)
    said = "target: expected one of 'cpu', 'cuda', 'reference', got 'gpu'"
    refuses(ValueError, said, jlr.forward, device.X, device.w, target="gpu")
    assert not seen


def test_where_cuda_cannot_run_nothing_is_asked_of_it(library, both, monkeypatch):
    device = both[1]
    targets._module.cache_clear()
    monkeypatch.setattr(targets, "_reason", lambda name: "there is no driver; install one" if name == "cuda" else "")
    monkeypatch.setattr(device_array, "_view", None)
    for target in (None, "cuda"):
        said = "'cuda' is not available: there is no driver; install one"
        refuses(jlr.TargetUnavailableError, said, jlr.forward, device.X, device.w, target=target)
    refuses(TypeError, "target: expected 'cuda'", jlr.forward, device.X, device.w, target="cpu")


def test_numpy_arrays_stay_numpy_on_the_target(data, seen):
    wanted = jlr.gradient(data.X, data.y, data.w, target="reference")
    got = jlr.gradient(data.X, data.y, data.w, target="cuda")
    assert type(got.dw) is np.ndarray
    np.testing.assert_array_equal(got.dw, wanted.dw)
    assert len(seen) == 1


def test_calls_with_numpy_arrays_import_nothing_of_cuda():
    code = (
        "import sys, numpy as np, jitlogreg as jlr\n"
        "jlr.gradient_descent(np.ones((2, 1)), np.ones(2), learning_rate=1, n_iterations=1, target='reference')\n"
        "try: jlr.forward(np.ones((2, 1)), [1.0], target='reference')\n"
        "except TypeError: pass\n"
        "print(*({'cuda', 'cupy', 'numba', 'numba_cuda', 'torch'} & {name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == []


# ---------------------------------------------------------------- libraries and devices


BESIDE_X = ("y", "w", "sample_weight", "out")


def arguments(put, data, call=jlr.loss_and_gradient):
    """Good arguments of a call."""
    m, n, dtype = len(data.y), len(data.w), data.w.dtype
    if call in FORWARDS:
        return {"X": put(data.X), "w": put(data.w), "out": put(np.ones(m, dtype))}
    beside = {"y": data.y, "w": data.w, "sample_weight": np.ones(m, dtype), "out": np.ones(n, dtype)}
    return {"X": put(data.X)} | {name: put(array) for name, array in beside.items()}


@pytest.mark.parametrize("name", BESIDE_X)
def test_arrays_of_another_library_are_refused_with_the_conversion(library, data, seen, monkeypatch, machine, name):
    other = "torch" if library.name == "cupy" else "cupy"
    on_other = install(monkeypatch, machine, other)
    good = arguments(library.put, data)
    host = good[name].host
    came = {"a numpy.ndarray": host, "a list": host.tolist(), f"a {other}.": on_other(machine, host, GPU)}
    if library.name != "torch":
        came["a float"] = 0.5
    for words, value in came.items():
        conversion = f": {library.said['other'].format(name)} makes one"
        said = f"{name}: expected a ", f"on GPU 1, as X is, got {words}", conversion
        refuses(TypeError, said, jlr.loss_and_gradient, **good | {name: value})
    assert not seen
    assert set(good["out"].host) == {1}


@pytest.mark.parametrize("name", ["y", "w"])
def test_none_is_no_array_on_a_gpu(library, data, seen, name):
    good = arguments(library.put, data)
    refuses(TypeError, [f"{name}: expected a ", "as X is, got None"], jlr.loss_and_gradient, **good | {name: None})
    assert jlr.loss_and_gradient(**good | {"sample_weight": None, "out": None}).loss > 0


@pytest.mark.parametrize("name", BESIDE_X)
def test_arrays_on_another_gpu_are_refused_with_the_conversion(library, data, seen, name):
    good = arguments(library.put, data)
    there = library.put(good[name].host, 0)
    conversion = library.said["device"].format(name)
    said = f"{name}: expected a ", f"on GPU 1, as X is, got one on GPU 0: {conversion}", " makes one"
    refuses(TypeError, said, jlr.loss_and_gradient, **good | {name: there})
    assert not seen
    assert set(good["out"].host) == {1}


@pytest.mark.parametrize("name", BESIDE_X)
def test_arrays_on_a_gpu_beside_numpy_s_are_refused_with_the_conversion(library, data, seen, name):
    good = arguments(np.asarray, data)
    on_gpu = library.put(good[name])
    conversion = library.said["cpu"].format(name) + (".numpy()" if library.name == "torch" else "")
    said = f"{name}: expected a numpy.ndarray, got a {library.name}.", f": {conversion} makes one"
    for target in ("cuda", "reference"):
        refuses(TypeError, said, jlr.loss_and_gradient, **good | {name: on_gpu}, target=target)


def test_tensors_on_the_cpu_and_on_a_gpu_do_not_mix(monkeypatch, machine, data, seen):
    Tensor = install(monkeypatch, machine, "torch")
    monkeypatch.setattr(device_array, "_view", gpus.view)
    X, w = Tensor(machine, data.X, GPU), Tensor(machine, data.w, None)
    refuses(TypeError, ["got a torch.Tensor", "torch.as_tensor(w, device=X.device)"], jlr.forward, X, w)
    said = "w: expected a tensor on the CPU", "w.cpu()"
    refuses(TypeError, said, jlr.forward, X.cpu(), Tensor(machine, data.w, GPU))
    assert type(jlr.forward(X.cpu(), w, target="reference")) is Tensor


def test_arrays_of_a_fourth_library_are_refused_by_name(data, seen, machine):
    class ByInterface:
        __cuda_array_interface__ = None

    class ByDLPack:
        def __dlpack_device__(self):
            return machine.memory, 0

    for kind in (gpus.DL_CUDA, gpus.DL_MANAGED):
        machine.memory = kind
        for X in (ByInterface(), ByDLPack()):
            said = "X: expected an array of CuPy, PyTorch or Numba on a GPU, got a", f".{type(X).__name__}: cupy"
            refuses(TypeError, said, jlr.forward, X, data.w)
    machine.memory = 1
    for X in (ByDLPack(), ByDLPack):
        refuses(TypeError, "X: expected a numpy.ndarray", jlr.forward, X, data.w)


@pytest.mark.parametrize(
    ("attribute", "value", "fragment"),
    [
        (
            "requires_grad",
            True,
            "a tensor that requires no gradient, since none is recorded here, got one that does: {}.det",
        ),
        ("layout", "sparse_coo", "a dense tensor, got one with the layout sparse_coo: {}.to_dense()"),
        ("negated", True, "a tensor without the negative bit, got a negated view: {}.resolve_neg()"),
    ],
)
def test_tensors_that_are_more_than_their_memory_are_refused(
    monkeypatch, machine, data, seen, attribute, value, fragment
):
    kind = install(monkeypatch, machine, "torch")
    monkeypatch.setattr(device_array, "_view", gpus.view)
    good = arguments(lambda array: kind(machine, array, GPU), data)
    for name in good:
        tensor = kind(machine, good[name].host, GPU)
        setattr(tensor, attribute, value)
        refuses(TypeError, f"{name}: expected {fragment.format(name)}", jlr.loss_and_gradient, **good | {name: tensor})
    assert not seen


@pytest.mark.parametrize("error", [BufferError, NotImplementedError])
def test_arrays_that_give_no_view_are_refused(library, both, seen, monkeypatch, error):
    def no_view(owner, stream):
        raise error("bfloat16")

    monkeypatch.setattr(device_array, "_view", no_view)
    said = "X: expected float32 or float64, got an array without a view of its memory: bfloat16"
    refuses(TypeError, said, jlr.forward, both[1].X, both[1].w)


# ---------------------------------------------------------------- checks


def test_vectors_that_are_not_contiguous_are_copied(library, seen):
    data = make_data(weighted=True)
    w, y, s = (np.repeat(array, 2)[::2] for array in (data.w, data.y, data.sample_weight))
    got = jlr.loss_and_gradient(*map(library.put, (data.X, y, w)), sample_weight=library.put(s))
    wanted = jlr.loss_and_gradient(data.X, data.y, data.w, sample_weight=data.sample_weight, target="reference")
    assert got.loss == wanted.loss
    np.testing.assert_array_equal(got.dw.host, wanted.dw)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.uint64, np.float16, np.float32, np.float64])
def test_labels_and_weights_of_every_real_dtype_are_taken(library, both, seen, machine, dtype):
    arrays, device = both
    s = (np.arange(len(arrays.y)) % 2 + 1).astype(dtype)
    y = library.put(arrays.y.astype(dtype))
    got = jlr.loss(device.X, y, device.w, sample_weight=library.put(s))
    weights = s.astype(arrays.w.dtype)
    assert got == jlr.loss(arrays.X, arrays.y, arrays.w, sample_weight=weights, target="reference")
    assert {array.device for array in seen[0]} == {GPU}
    assert y.dtype == dtype
    exact = np.dtype(dtype).kind != "f" or np.dtype(dtype).itemsize <= arrays.w.itemsize
    if library.name != "numba":  # whose arrays are converted by the host
        assert machine.to_host == (0 if exact else 2)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float16, np.float32, np.float64])
def test_bad_labels_and_weights_are_named_by_their_place(library, both, seen, dtype):
    arrays, device = both
    y, s = arrays.y.astype(dtype), np.ones(len(arrays.y), dtype)
    y[[7, 9]], s[[3, 5]] = 2, -1

    def loss(y, s):
        return jlr.loss(device.X, library.put(y), device.w, sample_weight=library.put(s))

    refuses(ValueError, "y[7]: expected a label from 0 to 1, got 2", loss, y, s)
    said = "sample_weight[3]: expected a finite weight of at least 0, got -1"
    refuses(ValueError, said, loss, np.abs(y - 1), s)
    said = "sample_weight: expected a sum that is positive and finite, got 0.0"
    refuses(ValueError, said, loss, np.abs(y - 1), 0 * s)


def test_labels_and_weights_are_judged_before_they_are_rounded(library, seen):
    data = make_data(dtypes=(np.float32, np.float32))
    X, w = library.put(data.X), library.put(data.w)
    y, s = data.y.astype(np.float64), np.ones(len(data.y))

    def loss(y, s):
        return jlr.loss(X, library.put(y), w, sample_weight=library.put(s))

    for value in (1 + 1e-12, -1e-50):
        said = f"y[4]: expected a label from 0 to 1, got {value}"
        refuses(ValueError, said, loss, np.where(np.arange(40) == 4, value, y), s)
    for value in (1e39, 1e-46):
        said = f"sample_weight[6]: expected a number within float32, the dtype of w, got {value}"
        refuses(ValueError, said, loss, y, np.where(np.arange(40) == 6, value, s))
    assert not seen
    assert loss(y, s) == jlr.loss(data.X, data.y, data.w, sample_weight=s.astype(np.float32), target="reference")


def test_conversions_are_spelled_as_the_library_s(library, data, seen):
    def dtype(name, to):
        return {
            "cupy": f"{name}.astype('{to}')",
            "torch": f"{name}.to(torch.{to})",
            "numba": f"numba.cuda.to_device({name}.copy_to_host().astype('{to}'))",
        }[library.name]

    contiguous = {
        "cupy": "cupy.ascontiguousarray(X) makes",
        "torch": "X.contiguous() makes",
        "numba": "numba.cuda.to_device(np.ascontiguousarray(X.copy_to_host())) makes",
    }[library.name]
    X, w = np.ones((4, 2)), np.ones(2)
    misaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    bad = {
        f"w: expected float64 beside X of float64, got float32: {dtype('w', 'float64')} converts it": (
            X,
            w.astype("f4"),
        ),
        f"w: expected float32 or float64 beside X of float32, got int64: {dtype('w', 'float32')} converts it": (
            X.astype("f4"),
            w.astype(int),
        ),
        f"X: expected float32 or float64, got int64: {dtype('X', 'float64')} converts it": (X.astype(int), w),
        f"X: expected an aligned array in native byte order, got a misaligned array: {dtype('X', 'float64')} makes": (
            misaligned,
            w,
        ),
        "X: expected real numbers, got dtype complex128": (X + 0j, w),
    }
    for said, given in bad.items():
        refuses(TypeError, said, jlr.forward, *map(library.put, given))
    bad = {
        contiguous: (np.ones((4, 4))[:, ::2], w),
        "X: expected shape (m, n), one example per row, got (4,)": (np.ones(4), w),
        "w: expected shape (2,), one coefficient per column of X, got (3,)": (X, np.ones(3)),
    }
    for said, given in bad.items():
        refuses(ValueError, said, jlr.forward, *map(library.put, given))
    assert not seen


@pytest.mark.parametrize("call", FORWARDS + GRADIENTS)
def test_out_that_cannot_be_written_is_refused(library, data, seen, call):
    good = arguments(library.put, data, call)
    size, dtype = len(good["out"].host), data.w.dtype
    bad = {
        f"out: expected {np.dtype(dtype)}, the dtype of w, got int64": np.ones(size, int),
        f"out: expected shape ({size},), got ({size + 1},)": np.ones(size + 1, dtype),
        "out: expected a contiguous array, got one that is not": np.ones(2 * size, dtype)[::2],
    }
    for said, out in bad.items():
        kind = TypeError if "the dtype of w" in said else ValueError
        refuses(kind, said, call, **good | {"out": library.put(out)})
        assert (out == 1).all()
    if library.by != "cupy by cuda.core":  # CuPy's arrays are never read-only
        good["out"].readonly = True
        refuses(ValueError, "out: expected a writable array, got a read-only one", call, **good)
    assert not seen


@pytest.mark.parametrize("call", FORWARDS + GRADIENTS)
def test_out_that_shares_memory_with_an_input_is_refused(library, seen, call):
    good = arguments(library.put, make_data(), call)
    size, memory = len(good["out"].host), np.full((60, 8), 0.25)
    flat = memory.reshape(-1)
    good["out"] = library.put(flat[:size])
    shared = {"X": memory[:40, :5], "w": flat[size - 1 : size + 4], "y": flat[:80:2], "sample_weight": flat[1:41]}
    for name in shared.keys() & good.keys():
        said = f"out: expected an array that shares no memory with an input, got one that shares memory with {name}"
        refuses(ValueError, said, call, **good | {name: library.put(shared[name])})
    assert not seen
    assert (memory == 0.25).all()
    if call in GRADIENTS:  # there is room between the rows
        good["out"] = library.put(np.full((40, 20), 0.25)[0, 5:10])
        good["X"] = library.put(good["out"].host.base[:, :5])
    assert call(**good) is not None


def test_out_is_unchanged_when_the_call_raises(library, data, seen):
    good = arguments(library.put, data)
    y = data.y.copy()
    y[7] = -1
    bad = {"y": library.put(y), "sample_weight": library.put(-np.ones(40)), "b": 1j, "l2": -1.0}
    for name, value in bad.items():
        with pytest.raises((TypeError, ValueError)):
            jlr.loss_and_gradient(**good | {name: value})
        assert set(good["out"].host) == {1}


# ---------------------------------------------------------------- DeviceArray


@pytest.mark.parametrize(
    ("shape", "strides", "contiguous"),
    [
        ((), (), True),
        ((3,), (8,), True),
        ((3,), (16,), False),
        ((1,), (16,), True),
        ((0,), (16,), True),
        ((3, 2), (16, 8), True),
        ((3, 2), (8, 24), False),
        ((1, 2), (99, 8), True),
        ((3, 2), (-16, 8), False),
    ],
)
def test_contiguous_is_what_numpy_calls_so(shape, strides, contiguous):
    array = DeviceArray(None, None, 64, 0, 1, shape, strides, np.dtype(np.float64))
    assert array.is_contiguous is array.flags.c_contiguous is contiguous
    view = np.lib.stride_tricks.as_strided(np.zeros(0), shape, strides)
    assert (array.ndim, array.size, array.itemsize) == (view.ndim, view.size, view.itemsize)
    assert view.flags.c_contiguous is contiguous


def test_values_are_written_from_any_numpy_array(library):
    array = device_array.device_array(library.put(np.zeros((2, 3))), library_of(library.put(np.zeros(1))))
    values = np.arange(6.0, dtype=np.float32).reshape(3, 2).T
    values.flags.writeable = False
    assert array.assign(values) is array
    np.testing.assert_array_equal(array.owner.host, values)
    new = array.from_numpy(values)
    assert (new.device, new.stream, new.dtype) == (GPU, array.stream, np.float32)
    np.testing.assert_array_equal(new.to_numpy(), values)
    np.testing.assert_array_equal(array.astype(np.float32).to_numpy(), values)

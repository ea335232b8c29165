"""CPU tensors of PyTorch in and out; where PyTorch is not installed, a stand-in that shares its memory with an array.

Arrays on a GPU are in test_gpu_arrays.py.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr


class Tensor:
    """As much of torch.Tensor as matters here."""

    def __init__(self, array, requires_grad=False, device="cpu"):
        self.array, self.requires_grad, self.device = array, requires_grad, SimpleNamespace(type=device)

    def numpy(self):
        return self.array

    def __getitem__(self, rows):
        return Tensor(self.array[rows])

    def data_ptr(self):
        return self.array.ctypes.data


@pytest.fixture(params=["PyTorch", "stand-in"])
def torch(request, monkeypatch):
    if request.param == "PyTorch":
        return pytest.importorskip("torch")
    module = ModuleType("torch")
    module.Tensor, module.from_numpy = Tensor, Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture
def both(torch, data):
    """The same data as arrays and as tensors that share their memory."""
    return data, SimpleNamespace(X=torch.from_numpy(data.X), y=torch.from_numpy(data.y), w=torch.from_numpy(data.w))


def test_results_are_tensors_with_the_same_bits(torch, both):
    arrays, tensors = both
    for call in (jlr.forward, jlr.log_forward):
        got = call(tensors.X, tensors.w, 0.5)
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), call(arrays.X, arrays.w, 0.5))
    got = jlr.loss_and_gradient(tensors.X, tensors.y, tensors.w, 0.5, l2=0.1)
    wanted = jlr.loss_and_gradient(arrays.X, arrays.y, arrays.w, 0.5, l2=0.1)
    assert (got.loss, got.db) == (wanted.loss, wanted.db)
    assert isinstance(got.dw, torch.Tensor)
    np.testing.assert_array_equal(got.dw.numpy(), wanted.dw)
    assert jlr.loss(tensors.X, tensors.y, w=tensors.w) == jlr.loss(arrays.X, arrays.y, arrays.w)


def test_out_is_the_tensor_that_is_returned(torch, both):
    arrays, tensors = both
    a = torch.from_numpy(np.empty(len(arrays.y), arrays.w.dtype))
    assert jlr.forward(tensors.X, tensors.w, out=a) is a
    np.testing.assert_array_equal(a.numpy(), jlr.forward(arrays.X, arrays.w))
    dw = torch.from_numpy(np.empty_like(arrays.w))
    assert jlr.gradient(tensors.X, tensors.y, tensors.w, out=dw).dw is dw
    np.testing.assert_array_equal(dw.numpy(), jlr.gradient(arrays.X, arrays.y, arrays.w).dw)


def test_descent_gives_tensors_to_its_callback_and_back(torch, both):
    arrays, tensors = both
    seen = []
    got = jlr.gradient_descent(tensors.X, tensors.y, learning_rate=0.1, n_iterations=3, callback=seen.append)
    wanted = jlr.gradient_descent(arrays.X, arrays.y, learning_rate=0.1, n_iterations=3)
    assert isinstance(got.w, torch.Tensor)
    np.testing.assert_array_equal(got.w.numpy(), wanted.w)
    assert [state.loss for state in seen] == wanted.loss_history.tolist() == got.loss_history.tolist()
    assert all(isinstance(state.w, torch.Tensor) for state in seen)


@pytest.mark.parametrize("cut_before", [False, True])
def test_mini_batches_of_tensors(torch, both, cut_before):
    arrays, tensors = both
    settings, seen = {"learning_rate": 0.1, "n_epochs": 2, "shuffle": 0}, []
    wanted = jlr.minibatch_descent((arrays.X, arrays.y), w=arrays.w, block_size=15, **settings)
    blocks = (tensors.X, tensors.y)
    if cut_before:
        blocks = [[tensors.X[i : i + 15], tensors.y[i : i + 15]] for i in (0, 15, 30)]
    else:
        settings["block_size"] = 15
    got = jlr.minibatch_descent(blocks, w=tensors.w, callback=seen.append, **settings)
    assert isinstance(got.w, torch.Tensor)
    np.testing.assert_array_equal(got.w.numpy(), wanted.w)
    assert (got.b, got.n_iterations) == (wanted.b, 6)
    assert [state.loss for state in seen] == wanted.loss_history.tolist() == got.loss_history.tolist()
    assert all(isinstance(state.w, torch.Tensor) for state in seen)
    np.testing.assert_array_equal(seen[0].w.numpy(), arrays.w)
    with pytest.raises(TypeError, match=r"^y: expected a torch\.Tensor, as X is, got a numpy\.ndarray"):
        jlr.minibatch_descent((tensors.X, arrays.y), learning_rate=0.1)
    with pytest.raises(TypeError, match=r"^batch 0.*: w: expected a torch\.Tensor, as X is, got a numpy\.ndarray"):
        jlr.minibatch_descent((tensors.X, tensors.y), learning_rate=0.1, w=arrays.w)


def test_mixed_libraries_are_refused_with_the_conversion(torch, both):
    arrays, tensors = both
    with pytest.raises(TypeError, match=r"w: expected a torch\.Tensor, as X is, got a numpy\.ndarray: torch\.from_"):
        jlr.forward(tensors.X, arrays.w)
    with pytest.raises(TypeError, match=r"w: expected a numpy\.ndarray, got a .*Tensor: w\.numpy\(\) makes one"):
        jlr.forward(arrays.X, tensors.w)


def test_a_tensor_that_requires_a_gradient_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"w: expected a tensor that requires no gradient.* got one .*: w\.detach\(\)"):
        jlr.forward(torch.ones(3, 2), torch.ones(2, requires_grad=True))


def test_a_tensor_elsewhere_is_refused(monkeypatch):
    module = ModuleType("torch")
    module.Tensor, module.from_numpy = Tensor, Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    data = make_data()
    with pytest.raises(TypeError, match="w: expected a tensor that requires no gradient"):
        jlr.forward(Tensor(data.X), Tensor(data.w, requires_grad=True))
    with pytest.raises(TypeError, match=r"X: expected a tensor on the CPU, got one on .*mps.*: X\.cpu\(\)"):
        jlr.forward(Tensor(data.X, device="mps"), Tensor(data.w))
    with pytest.raises(TypeError, match=r"w: expected a tensor on the CPU, got one on .*cuda.*: w\.cpu\(\)"):
        jlr.forward(Tensor(data.X), Tensor(data.w, device="cuda"))

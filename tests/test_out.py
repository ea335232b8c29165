"""Only `out` is written to, and only by a call that returns."""

import numpy as np
import pytest
from calls import CALLS, FORWARDS, LONG, W32, X32, W, X, Y, call, parameters, read_only, refuses, snapshot

import jitlogreg as jlr

pytestmark = pytest.mark.usefixtures("target")


# ---------------------------------------------------------------- out


def outputs(name):
    return {"out": np.full(12 if name in FORWARDS else 3, 0.5)}


OUT_CALLS = [name for name in CALLS if "out" in parameters(name)]


@pytest.mark.parametrize("name", OUT_CALLS)
def test_out_is_written_and_returned(name, dtypes, order):
    at = {"X": np.asarray(X, dtypes[0], order=order), "w": W.astype(dtypes[1])}
    expected = call(name, **at)
    out = np.full(12 if name in FORWARDS else 3, 0.5, dtypes[1])
    result = call(name, out=out, **at)
    assert (result if name in FORWARDS else result.dw) is out
    np.testing.assert_equal(result, expected)


@pytest.mark.parametrize("name", OUT_CALLS)
class TestOut:
    def test_of_another_dtype_is_refused(self, name):
        for dtype in (np.float32, np.int64, np.bool_, *LONG):
            out = outputs(name)["out"].astype(dtype)
            refuses(TypeError, str(out.dtype), "float64", out=out, calls=[name])
        out = outputs(name)["out"]
        refuses(TypeError, "float64", "float32", out=out, X=X32, w=W32, calls=[name])

    def test_of_another_shape_is_refused(self, name):
        out = outputs(name)["out"]
        for wrong in (out[1:], np.append(out, 0), out[:, None], out[None], out[0:0], np.array(0.5)):
            refuses(ValueError, str(wrong.shape), str(out.shape), out=wrong, calls=[name])

    def test_that_is_not_contiguous_is_refused(self, name):
        out = outputs(name)["out"]
        for view in (np.repeat(out, 2)[::2], out[::-1], np.broadcast_to(out[:1], out.shape)):
            refuses(ValueError, "out: expected a contiguous array, got one that is not", out=view, calls=[name])

    def test_that_is_read_only_is_refused(self, name):
        said = "out: expected a writable array, got a read-only one"
        refuses(ValueError, said, out=read_only(outputs(name)["out"]), calls=[name])

    def test_that_shares_memory_with_an_input_is_refused(self, name):
        memory = np.full(60, 0.25)
        size = len(outputs(name)["out"])
        inputs = {
            "X": memory[10:46].reshape(12, 3),
            "w": memory[10:13],
            "y": memory[10:22],
            "sample_weight": memory[10:22],
        }
        strided = {"w": memory[9:15:2], "y": memory[9:33:2], "sample_weight": memory[9:33:2]}
        for array, value in [*inputs.items(), *strided.items()]:
            if array in parameters(name):
                refuses(
                    ValueError,
                    f"shares memory with {array}",
                    out=memory[11 : 11 + size],
                    **{array: value},
                    calls=[name],
                )

    def test_between_the_elements_of_an_input_is_taken(self, name):
        memory = np.full((12, 20), 0.25)
        size = len(outputs(name)["out"])
        apart = memory[:, :3]
        assert call(name, X=apart, out=memory[0, 4 : 4 + size]) is not None

    def test_that_shares_memory_with_labels_of_another_dtype_is_refused(self, name):
        memory = np.zeros(12)
        for array in {"y", "sample_weight"} & set(parameters(name)):
            other = memory.view(np.float32)[:12]
            refuses(ValueError, f"shares memory with {array}", out=memory[:3], **{array: other}, calls=[name])

    def test_is_unchanged_when_the_call_raises(self, name):
        bad = {"X": X[:, ::2], "w": W[:2], "b": 1j, "y": Y + 1, "sample_weight": -Y - 1, "l2": -1.0}
        for argument, value in bad.items():
            if argument in parameters(name):
                out = outputs(name)["out"]
                with pytest.raises((TypeError, ValueError)):
                    call(name, out=out, **{argument: value})
                assert (out == 0.5).all()


# ---------------------------------------------------------------- what is passed is not changed


@pytest.mark.parametrize("name", CALLS)
def test_nothing_that_is_passed_is_changed(name, dtypes, order):
    arguments = {
        "X": np.array(X, dtypes[0], order=order),
        "y": Y.copy(),
        "w": W.astype(dtypes[1]),
        "sample_weight": Y + 1,
    }
    before = [snapshot(array) for array in arguments.values()]
    call(name, **arguments)
    assert [snapshot(array) for array in arguments.values()] == before


@pytest.mark.parametrize("name", CALLS)
def test_results_are_new_arrays(name):
    result = call(name)
    arrays = [a for a in (result if isinstance(result, tuple) else [result]) if isinstance(a, np.ndarray)]
    for array in arrays:
        assert array.flags.writeable
        assert not any(np.shares_memory(array, given_array) for given_array in (X, Y, W))


def test_results_have_the_promised_types(dtypes):
    at = {"X": X.astype(dtypes[0]), "w": W.astype(dtypes[1]), "l2": 1, "b": 1}
    assert call("forward", **at).dtype == call("log_forward", **at).dtype == dtypes[1]
    assert type(call("loss", **at)) is float
    gradient, both = call("gradient", **at), call("loss_and_gradient", **at)
    assert isinstance(gradient, jlr.Gradient)
    assert isinstance(both, jlr.LossAndGradient)
    assert gradient.dw.dtype == both.dw.dtype == dtypes[1]
    assert {type(gradient.db), type(both.loss), type(both.db)} == {float}

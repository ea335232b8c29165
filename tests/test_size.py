"""More than 2³¹ numbers, which 32-bit indices would lose, and shapes that no index could hold."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import jitlogreg as jlr

BEYOND = 2**31


@pytest.fixture
def sparse_file(tmp_path):
    """A file of zeros that takes no room on the disk, as a matrix of float32 in either order."""

    def make(m, n, order):
        path = tmp_path / "X"
        with path.open("wb") as file:
            file.truncate(4 * m * n)
        return np.memmap(path, np.float32, "r+", shape=(m, n), order=order)

    return make


# tall, tall with a tail of five rows, and wide enough for panels
@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "n", "order"),
    [(2**25 + 13, 65, "C"), (2**25 + 13, 65, "F"), (1_101, 2_000_000, "C"), (1_101, 2_000_000, "F")],
)
def test_more_than_two_to_the_31_numbers(sparse_file, m, n, order):
    X = sparse_file(m, n, order)
    assert X.size > BEYOND
    rng = np.random.default_rng(0)
    places = [(0, 0), (m - 1, n - 1), (m - 1, 0), (0, n - 1), (m // 2, n // 2), (m - 7, n - 9)]
    places += [(int(i), int(j)) for i, j in zip(rng.integers(m, size=20), rng.integers(n, size=20), strict=True)]
    values = dict.fromkeys(places, 0.0)
    for k, (i, j) in enumerate(values):
        values[i, j] = np.float32((-1) ** k * (1 + k / 16))
        X[i, j] = values[i, j]
    w, y = np.zeros(n, np.float32), np.zeros(m, np.float32)
    for _, j in values:
        w[j] = 0.25 + j % 5
    z = np.zeros(m)
    for (i, j), value in values.items():
        z[i] += float(value) * float(w[j])
    touched = sorted({i for i, _ in values})
    a = jlr.forward(X, w, target="cpu")
    np.testing.assert_allclose(a[touched], 1 / (1 + np.exp(-z[touched])), rtol=1e-5)
    assert np.count_nonzero(a != 0.5) <= len(touched)
    y[touched[::2]] = 1
    loss, dw, db = jlr.loss_and_gradient(X, y, w, target="cpu")
    dz = 1 / (1 + np.exp(-z)) - y
    expected = np.zeros(n)
    for (i, j), value in values.items():
        expected[j] += float(value) * dz[i] / m
    np.testing.assert_allclose(dw, expected, rtol=1e-4, atol=1e-14)
    assert loss == pytest.approx(np.mean(np.logaddexp(0, z) - y * z), rel=1e-6)
    assert db == pytest.approx(np.mean(dz), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("shape", [(2**40, 2**30), (2**62, 4), (4, 2**62), (2**32, 2**29)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_whose_bytes_no_index_can_hold_are_no_arrays(shape, order):
    """NumPy refuses them, so none comes to a kernel."""
    m, n = shape
    strides = (8 * n, 8) if order == "C" else (8, 8 * m)
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        as_strided(np.zeros(4), shape, strides)
    with pytest.raises((ValueError, OverflowError, MemoryError)):
        np.empty(shape, order=order)


@pytest.mark.parametrize("m", [2**40, 2**57])
def test_a_view_of_one_row_many_times_is_refused_for_its_strides(m):
    row = np.zeros((1, 4))
    with pytest.raises(ValueError, match="strides"):
        jlr.forward(np.broadcast_to(row, (m, 4)), np.zeros(4))
    with pytest.raises(ValueError, match="strides"):
        jlr.forward(np.broadcast_to(row.T, (4, m)), np.broadcast_to(np.zeros(1), m), out=np.zeros(4))

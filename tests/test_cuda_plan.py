"""How matrices are cut for the CUDA kernels: every row has a kernel that holds it, and the kernels are few."""

import importlib

import pytest
from gpu.predictions import h100

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
plan, panels = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("plan", "l2_panels"))

DEVICES = {
    "H100": h100(),
    "A100": plan.Device(processors=108, shared_per_block=163 << 10, shared_per_processor=164 << 10, cache=40 << 20),
    "T4": plan.Device(processors=40, shared_per_block=64 << 10, shared_per_processor=64 << 10, cache=4 << 20),
    # a made-up one, whose few warps would each take long slices of large panels
    "few": plan.Device(processors=8, shared_per_block=99 << 10, shared_per_processor=100 << 10, cache=48 << 20),
}
TYPES = {"f32/f32": (4, 4), "f64/f64": (8, 8), "f32/f64": (4, 8)}
MOST_COLUMNS = 100_000

# The most kernels that loss and gradient are compiled to, whatever matrices there are: in C order each in two or three
# widths of its reads
MOST_VARIANTS = {"C": 42, "F": 12}

every_type = pytest.mark.parametrize(("x_size", "w_size"), TYPES.values(), ids=TYPES)
every_device = pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)


def planned(device, m, n, x_size, w_size, order, vectors=1):
    """The plan of a matrix whose rows follow each other; not from the store of plans, which keeps a thousand."""
    vector, w_vector = (next(count for count in (16 // size, 2, 1) if n % count == 0) for size in (x_size, w_size))
    if order == "F":
        vector = 1
    w_vector = w_vector if vector > 1 else 1
    return plan.plan.__wrapped__(device, m, n, x_size, w_size, order, vector, w_vector, vectors)


def columns_held(p, x_size):
    """The columns that a block of a plan has room for."""
    piece = 16 // x_size
    if p.regime == "warps":
        _, _, group, pieces, _ = p.constants
        return group * pieces * piece
    if p.regime == "blocks":
        threads, _, _, pieces, _ = p.constants
        return threads * pieces * piece
    _, _, columns, parts, _, _ = p.constants
    return columns * parts


@every_device
@every_type
@pytest.mark.parametrize("vectors", [1, 2])
def test_every_row_is_held(device, x_size, w_size, order, vectors):
    """All that is promised on the largest; on the others the edges of their regimes lie below 20,000."""
    for n in range(1, MOST_COLUMNS + 1 if device is DEVICES["H100"] else 20_001):
        p = planned(device, 1 << 40, n, x_size, w_size, order, vectors)
        if p.regime == "panels":
            rows = -(-p.panel // p.slices)
            assert (-(-rows // 32) if order == "F" else rows) <= 64
            assert 1 <= p.panel <= panels.MOST_ROWS
            assert p.scratch == 2 * vectors * p.panel * -(-n // p.constants[-1])
            assert p.rows_left == p.slices <= p.panel
        else:
            assert columns_held(p, x_size) >= n
            assert p.rows_left == p.blocks
            assert p.shared + (plan.STATIC if p.shared else 0) <= device.shared_per_block
        if p.regime == "blocks":
            assert p.shared == 2 * columns_held(p, x_size) * w_size  # a pair for each column
        if p.regime == "columns":
            threads, lanes, _, parts, _, _ = p.constants
            assert threads % (lanes * parts) == 0


@pytest.mark.parametrize(
    ("x_size", "w_size", "order", "most"),
    [(4, 4, "C", 16_384), (8, 8, "C", 8192), (4, 8, "C", 8192), (4, 4, "F", 1024)],
)
def test_up_to_where_x_is_read_once(x_size, w_size, order, most):
    regimes = [planned(DEVICES["H100"], 1 << 40, n, x_size, w_size, order).regime for n in (most, most + 1)]
    assert [regime == "panels" for regime in regimes] == [False, True]


@pytest.mark.parametrize(
    "device",
    [pytest.param(device, marks=() if name == "H100" else pytest.mark.slow) for name, device in DEVICES.items()],
    ids=DEVICES,
)
@every_type
def test_the_kernels_are_few(device, x_size, w_size, order):
    found = {planned(device, 1 << 40, n, x_size, w_size, order)[:2] for n in range(1, MOST_COLUMNS + 1)}
    assert 2 < len(found) <= MOST_VARIANTS[order]


@every_type
@pytest.mark.parametrize("n", [1, 28, 700, 5000, 100_000])
def test_no_number_of_rows_needs_a_kernel_of_its_own(x_size, w_size, order, n):
    plans = [planned(DEVICES["H100"], m, n, x_size, w_size, order) for m in (1, 2, 33, 100_003, 1 << 40)]
    assert len({p[:2] for p in plans}) == 1
    assert all(1 <= p.blocks <= plans[-1].blocks for p in plans)

"""Plans of the CUDA kernels: every row has a kernel that holds it, and there are few kernels."""

import importlib

import pytest
from gpu.predictions import h100

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
plan, l2_panels = (importlib.import_module(f"jitlogreg.targets.cuda.{name}") for name in ("plan", "l2_panels"))

DEVICES = {
    "H100": h100(),
    "A100": plan.DeviceProperties(n_sms=108, shared_per_block=163 << 10, shared_per_sm=164 << 10, l2_size=40 << 20),
    "T4": plan.DeviceProperties(n_sms=40, shared_per_block=64 << 10, shared_per_sm=64 << 10, l2_size=4 << 20),
    # an invented device, whose few warps would each take long slices of large panels
    "few": plan.DeviceProperties(n_sms=8, shared_per_block=99 << 10, shared_per_sm=100 << 10, l2_size=48 << 20),
}
TYPES = {"f32/f32": (4, 4), "f64/f64": (8, 8), "f32/f64": (4, 8)}
MAX_COLUMNS = 100_000

# The most kernels that loss and gradient are compiled to, over all matrices: in C order each in two or three widths of
# its loads
MAX_VARIANTS = {"C": 42, "F": 12}

every_type = pytest.mark.parametrize(("x_size", "w_size"), TYPES.values(), ids=TYPES)
every_device = pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)


def planned(device, m, n, x_size, w_size, order, n_rhs=1):
    """The plan of a contiguous matrix, computed anew: the cache of plans holds a thousand."""
    load_width, w_load_width = (
        next(count for count in (16 // size, 2, 1) if n % count == 0) for size in (x_size, w_size)
    )
    if order == "F":
        load_width = 1
    w_load_width = w_load_width if load_width > 1 else 1
    return plan.plan.__wrapped__(device, m, n, x_size, w_size, order, load_width, w_load_width, n_rhs)


def columns_held(p, x_size):
    """The most columns that a block of a plan can hold."""
    vector_width = 16 // x_size
    if p.regime == "warp_per_row":
        _, _, lanes_per_row, vectors_per_lane, _ = p.constants
        return lanes_per_row * vectors_per_lane * vector_width
    if p.regime == "block_per_row":
        threads, _, _, vectors_per_thread, _ = p.constants
        return threads * vectors_per_thread * vector_width
    _, _, lane_columns, sub_warps_per_row, _, _ = p.constants
    return lane_columns * sub_warps_per_row


@every_device
@every_type
@pytest.mark.parametrize("n_rhs", [1, 2])
def test_every_row_is_held(device, x_size, w_size, order, n_rhs):
    """Up to the documented number of columns on the H100; on the others all regimes change below 20,000."""
    for n in range(1, MAX_COLUMNS + 1 if device is DEVICES["H100"] else 20_001):
        p = planned(device, 1 << 40, n, x_size, w_size, order, n_rhs)
        if p.regime == "l2_panels":
            rows = -(-p.panel_rows // p.split_k)
            assert (-(-rows // 32) if order == "F" else rows) <= 64
            assert 1 <= p.panel_rows <= l2_panels.MAX_PANEL_ROWS
            assert p.workspace_size == 2 * n_rhs * p.panel_rows * -(-n // p.constants[-1])
            assert p.n_partials == p.split_k <= p.panel_rows
        else:
            assert columns_held(p, x_size) >= n
            assert p.n_partials == p.blocks
            assert p.shared_bytes + (plan.STATIC_SHARED if p.shared_bytes else 0) <= device.shared_per_block
        if p.regime == "block_per_row":
            assert p.shared_bytes == 2 * columns_held(p, x_size) * w_size  # a pair for each column
        if p.regime == "column_major":
            threads, lanes, _, sub_warps_per_row, _, _ = p.constants
            assert threads % (lanes * sub_warps_per_row) == 0


@pytest.mark.parametrize(
    ("x_size", "w_size", "order", "most"),
    [(4, 4, "C", 16_384), (8, 8, "C", 8192), (4, 8, "C", 8192), (4, 4, "F", 1024)],
)
def test_up_to_where_x_is_read_once(x_size, w_size, order, most):
    regimes = [planned(DEVICES["H100"], 1 << 40, n, x_size, w_size, order).regime for n in (most, most + 1)]
    assert [regime == "l2_panels" for regime in regimes] == [False, True]


@pytest.mark.parametrize(
    "device",
    [pytest.param(device, marks=() if name == "H100" else pytest.mark.slow) for name, device in DEVICES.items()],
    ids=DEVICES,
)
@every_type
def test_the_kernels_are_few(device, x_size, w_size, order):
    found = {planned(device, 1 << 40, n, x_size, w_size, order)[:2] for n in range(1, MAX_COLUMNS + 1)}
    assert 2 < len(found) <= MAX_VARIANTS[order]


@every_device
@every_type
@pytest.mark.parametrize("m", [1, 100, 10_000, 1 << 40])
def test_outputs_fit(device, x_size, w_size, order, m):
    """Panels, tiles and slices hold every row, and nothing but tiles' widths depends on how many models there are."""
    for n in (0, 1, 31, 32, 127, 128, 500, 784, 5000, 100_000):
        found = [plan.outputs_plan(device, m, n, outputs, x_size, w_size, order) for outputs in (2, 3, 9, 32, 1000)]
        for p, outputs in zip(found, (2, 3, 9, 32, 1000), strict=True):
            threads, is_f, rows, columns, models = p.constants
            assert (threads, is_f) == (plan.OUTPUTS_THREADS, order == "F")
            assert rows % 32 == columns % 32 == p.panel_rows % rows == 0
            assert models >= min(outputs, 32)
            assert p.blocks <= device.n_sms * p.blocks_per_sm
            assert 1 <= p.n_partials <= -(-min(p.panel_rows, m) // 32)
            assert p.workspace_size == 2 * p.panel_rows * outputs
            assert p.workspace_size * w_size <= max(plan.OUTPUTS_WORKSPACE, 2 * 32 * outputs * w_size)
        assert len({(*p[2:8], *p.constants[:4]) for p in found[:4]}) == 1


@every_type
@pytest.mark.parametrize("n", [1, 28, 700, 5000, 100_000])
def test_no_number_of_rows_needs_a_kernel_of_its_own(x_size, w_size, order, n):
    plans = [planned(DEVICES["H100"], m, n, x_size, w_size, order) for m in (1, 2, 33, 100_003, 1 << 40)]
    assert len({p[:2] for p in plans}) == 1
    assert all(1 <= p.blocks <= plans[-1].blocks for p in plans)

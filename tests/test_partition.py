"""How a matrix is shared by tasks: every row and column has one, for compiled code and for Python alike."""

import pytest
from numba import njit

from jitlogreg.targets.cpu.partition import CHUNKS, Partition, partition

ROWS = (0, 1, 7, 8, 9, 63, 1000, 8191, 8193, 10**6, 10**9)
COLUMNS = (0, 1, 28, 500, 2047, 2048, 4095, 4096, 32_768, 200_000, 10**6)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("f_order", [False, True])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_a_partition_covers_every_shape_and_says_the_same_compiled(itemsize, f_order, forward):
    @njit
    def compiled(m, n):
        return partition(m, n, itemsize, f_order, forward)

    for m in ROWS:
        for n in COLUMNS:
            parts = Partition(*partition(m, n, itemsize, f_order, forward))
            assert compiled(m, n) == tuple(parts)
            assert parts.rows % 8 == 0
            if parts.panel:
                assert parts.panel % 8 == 0
                assert (parts.tasks - 1) * parts.panel < n <= parts.tasks * parts.panel
            else:
                assert 0 <= parts.tasks <= min(CHUNKS, -(-m // parts.rows))


def test_only_very_long_rows_and_many_columns_of_f_order_have_panels():
    def has_panels(n, f_order, forward=False):
        return partition(1000, n, 8, f_order, forward)[2] > 0

    assert [has_panels(n, False) for n in (32_767, 32_768)] == [False, True]
    assert [has_panels(n, True) for n in (4095, 4096)] == [False, True]
    assert [has_panels(n, True, forward=True) for n in (2047, 2048)] == [False, True]
    assert not has_panels(10**6, False, forward=True)


def test_a_matrix_of_many_rows_has_a_task_for_each_of_many_cores():
    assert partition(5_000_000, 28, 8, False, False)[1] == CHUNKS >= 192
    assert partition(500_000, 256, 4, True, False)[1] >= 192
    assert partition(8_000, 8_192, 8, True, False)[1] == 64

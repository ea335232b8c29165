"""Factorisations and solves against NumPy and mpmath, on sizes around their blocks, and the same bits for every CPU."""

import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from reliability import golden_bits

from jitlogreg import linear_algebra
from jitlogreg.linear_algebra import BLOCK, STRIPE

# Around a block, and beyond a stripe
SIZES = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 130, STRIPE + 88]

U = 2.0**-53


def unit_diagonal(p, seed=0, condition=1e4):
    """A positive definite matrix with ones on its diagonal."""
    Q = np.linalg.qr(np.random.default_rng([seed, p]).normal(size=(p, p)))[0]
    A = (Q * np.geomspace(1, 1 / condition, p)) @ Q.T
    A = (A + A.T) / 2
    root = np.sqrt(np.diag(A))
    A = A / root / root[:, np.newaxis]
    np.fill_diagonal(A, 1.0)
    return A


def upper(p, seed=0):
    """A well-conditioned upper triangle, with NaN below it."""
    R = np.random.default_rng([seed, p]).normal(size=(p, p)) / p + 2 * np.eye(p)
    R[np.tril_indices(p, -1)] = np.nan
    return R


def least_pivot(A):
    return np.min(np.diag(np.linalg.cholesky(A))) ** 2


# ---------------------------------------------------------------- Cholesky


@pytest.mark.parametrize("p", SIZES)
def test_a_cholesky_factor_is_that_of_numpy(p):
    A = unit_diagonal(p)
    R = A.copy()
    least = linear_algebra.cholesky(R)
    R = np.triu(R)
    # RᵀR = A + E, |E| ≤ (p + 1) u |Rᵀ||R|, and the rows of R have length 1
    np.testing.assert_allclose(R.T @ R, A, rtol=0, atol=4 * (p + 1) * U)
    np.testing.assert_allclose(R, np.linalg.cholesky(A).T, rtol=0, atol=1e-9)
    assert least == pytest.approx(least_pivot(A), rel=1e-9)


@pytest.mark.parametrize("p", SIZES)
def test_what_lies_below_the_diagonal_is_not_looked_at(p):
    A = unit_diagonal(p)
    R, half = A.copy(), np.where(np.tri(p, k=-1), np.nan, A)
    assert linear_algebra.cholesky(R) == linear_algebra.cholesky(half)
    np.testing.assert_array_equal(np.triu(R), np.triu(half))


@pytest.mark.parametrize("p", [2, BLOCK, BLOCK + 1, 130])
@pytest.mark.parametrize("at", [1, -1])
def test_the_least_pivot_is_what_a_columns_predecessors_do_not_explain(p, at):
    A = np.eye(p)
    at %= p
    A[0, at] = A[at, 0] = 1 - 2.0**-40
    assert linear_algebra.cholesky(A) == pytest.approx(2.0**-39, rel=1e-12)  # 1 − (1 − ε)², and no less than it rounds


@pytest.mark.parametrize("p", [2, BLOCK, BLOCK + 1, 130])
@pytest.mark.parametrize("at", [1, -1])
def test_what_is_not_positive_definite_has_no_factor(p, at):
    for off in (1.0, 1.5, np.nan):
        A = np.eye(p)
        A[0, at % p] = A[at % p, 0] = off
        assert not linear_algebra.cholesky(A) > 0


def test_nothing_has_a_factor():
    assert linear_algebra.cholesky(np.empty((0, 0))) == 1


# ---------------------------------------------------------------- triangles


@pytest.mark.parametrize("p", SIZES)
def test_products_with_a_triangle(p):
    R, v = upper(p), np.random.default_rng(p).normal(size=p)
    whole = np.triu(R)
    for multiply, matrix in ((linear_algebra.multiply, whole), (linear_algebra.multiply_transposed, whole.T)):
        found = v.copy()
        multiply(R, found)
        size = np.abs(matrix) @ np.abs(v)
        assert np.all(np.abs(found - matrix @ v) <= 2 * (p + 1) * U * size)


@pytest.mark.parametrize("p", SIZES)
def test_solutions_are_what_the_triangle_makes_the_right_side_of(p):
    R, v = upper(p), np.random.default_rng(p).normal(size=p)
    whole = np.triu(R)
    for solve, matrix in ((linear_algebra.solve, whole), (linear_algebra.solve_transposed, whole.T)):
        x = v.copy()
        solve(R, x)
        # (R + E)x = v, |E| ≤ (p + 1) u |R|
        assert np.all(np.abs(matrix @ x - v) <= 2 * (p + 1) * U * (np.abs(matrix) @ np.abs(x)))


def test_solutions_are_exact_where_all_numbers_are():
    R, x = np.array([[2.0, 1.0, -3.0], [np.nan, 4.0, 5.0], [np.nan, np.nan, 8.0]]), np.array([3.0, -1.0, 2.0])
    for multiply, solve in (
        (linear_algebra.multiply, linear_algebra.solve),
        (linear_algebra.multiply_transposed, linear_algebra.solve_transposed),
    ):
        v = x.copy()
        multiply(R, v)
        solve(R, v)
        np.testing.assert_array_equal(v, x)
    v = x.copy()
    linear_algebra.multiply(R, v)
    np.testing.assert_array_equal(v, [-1.0, 6.0, 16.0])


# ---------------------------------------------------------------- factors by rows


def signless(R):
    """An upper triangle with a diagonal of positive numbers, as it is unique."""
    return np.where(np.diag(R) < 0, -1.0, 1.0)[:, np.newaxis] * R


@pytest.mark.parametrize("p", [1, 2, 7, 64, 130])
@pytest.mark.parametrize("rows", [0, 1, 3, 200])
def test_rows_added_to_a_triangle(p, rows):
    R, A = np.triu(upper(p)), np.random.default_rng([p, rows]).normal(size=(rows, p))
    found = R.copy()
    linear_algebra.add_rows(found, A.copy())
    np.testing.assert_array_equal(found, np.triu(found))
    wanted = np.linalg.qr(np.vstack([R, A]), mode="r")
    np.testing.assert_allclose(signless(found), signless(wanted), rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("step", [1, 7, 50])
def test_rows_may_come_in_any_portions(step):
    A = np.random.default_rng(0).normal(size=(50, 6))
    R = np.zeros((6, 6))
    for first in range(0, 50, step):
        linear_algebra.add_rows(R, A[first : first + step].copy())
    np.testing.assert_allclose(signless(R), signless(np.linalg.qr(A, mode="r")), rtol=0, atol=1e-13)


def test_a_column_of_zeros_stays_one():
    A = np.random.default_rng(0).normal(size=(20, 3))
    A[:, 1] = 0
    R = np.zeros((3, 3))
    linear_algebra.add_rows(R, A.copy())
    np.testing.assert_array_equal(R[:, 1], 0)
    np.testing.assert_allclose(R.T @ R, A.T @ A, atol=1e-13)


def laeuchli(p, epsilon):
    """A row of ones over ε times the unit matrix: columns that are the same but for ε."""
    return np.vstack([np.ones(p), epsilon * np.eye(p)])


@pytest.mark.parametrize("epsilon", [1e-5, 1e-9, 1e-12])
def test_rows_show_their_own_condition_and_not_its_square(epsilon):
    p = 4
    R = np.zeros((p, p))
    linear_algebra.add_rows(R, laeuchli(p, epsilon))
    with mpmath.workdps(60):
        A = mpmath.matrix(laeuchli(p, epsilon).tolist())
        exact = np.array(mpmath.cholesky(A.T * A).T.tolist(), dtype=float)
    # RᵀR would be a matrix of ones from ε² < u on
    np.testing.assert_allclose(signless(R)[0], exact[0], rtol=4e-16 * 4)
    np.testing.assert_allclose(np.abs(np.diag(R)), np.diag(exact), rtol=100 * U / epsilon)


@pytest.mark.parametrize("power", [-1000, -600, -530, -300, 300, 500])
def test_rows_of_any_size(power):
    A = np.random.default_rng(0).normal(size=(30, 4))
    A[:, 3] = A[:, 2]
    wanted = signless(np.linalg.qr(A, mode="r"))
    for scale in (np.ldexp(1.0, [power] * 4), np.ldexp(1.0, [power, 0, 0, 0]), np.ldexp(1.0, [0, 0, power, 0])):
        R = np.zeros((4, 4))
        linear_algebra.add_rows(R, (A * scale).copy())
        linear_algebra.add_rows(R, np.zeros((3, 4)))
        found = signless(R)[:3] / scale
        np.testing.assert_allclose(found, wanted[:3], rtol=0, atol=1e-14 * np.abs(wanted).max())


def left_of_dummies(m, rows, *, centred):
    """What factors of so many rows at once leave of the last of three dummies and a column of ones, in roundings."""
    levels = np.sort(np.random.default_rng(0).integers(0, 3, m))
    dummies = (levels[:, np.newaxis] == np.arange(3)) * 1.0
    ones = np.ones((m, 1))
    A = 0.0778 * (np.c_[ones, dummies - dummies.mean(axis=0)] if centred else np.c_[dummies, ones])

    def factor(first):
        R = np.zeros((4, 4))
        linear_algebra.add_rows(R, A[first : first + rows].copy())
        return R

    R = linear_algebra.joined([factor(first) for first in range(0, m, rows)], np.zeros((4, 4)))
    np.testing.assert_allclose(R.T @ R, A.T @ A, rtol=1e-13, atol=1e-13 * m)
    return abs(R[3, 3]) / np.linalg.norm(A[:, 3]) / U


@pytest.mark.parametrize("m", [1_000, 4_000, 30_000])
def test_many_equal_rows_are_rounded_no_further(m):
    # one after another they come to ten or a hundred times as much
    assert left_of_dummies(m, 4_000, centred=True) <= 60
    assert left_of_dummies(m, 64, centred=False) <= 6


@pytest.mark.parametrize("count", range(10))
def test_factors_are_joined_with_what_is_there(count):
    A = np.random.default_rng(count).normal(size=(5 * count + 5, 3))
    given = np.linalg.qr(A[:5], mode="r")
    parts = [np.linalg.qr(A[first : first + 5], mode="r") for first in range(5, 5 * count + 5, 5)]
    found = linear_algebra.joined(parts, given)
    assert found is given
    np.testing.assert_allclose(signless(found), signless(np.linalg.qr(A, mode="r")), rtol=0, atol=1e-13)


# ---------------------------------------------------------------- with pivots


@pytest.mark.parametrize("p", [1, 2, 7, 64, 65, 130])
def test_a_pivoted_factor_is_one_of_the_columns_in_its_order(p):
    A = np.triu(upper(p)) * np.random.default_rng(p).permutation(np.geomspace(1, 100, p))
    R, order = A.copy(), np.arange(p)
    linear_algebra.pivoted_qr(R, order)
    assert sorted(order) == list(range(p))
    np.testing.assert_array_equal(R, np.triu(R))
    wanted = np.linalg.qr(A[:, order], mode="r")
    np.testing.assert_allclose(signless(R), signless(wanted), rtol=0, atol=1e-12 * np.abs(wanted).max())
    # of the columns at and behind k, most is left of that which was taken
    for k in range(p):
        left = np.sqrt(np.sum(R[k:, k:] ** 2, axis=0))
        assert np.all(left <= left[0] * (1 + 1e-12))


def test_the_first_of_equal_columns_is_taken():
    R, order = np.triu(np.ones((3, 3))), np.arange(3)
    R[1:] = 0
    linear_algebra.pivoted_qr(R, order)
    np.testing.assert_array_equal(order, [0, 1, 2])
    np.testing.assert_array_equal(np.diag(R)[1:], 0)


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_what_is_left_beyond_the_rank_is_rounding(rank):
    rng = np.random.default_rng(rank)
    A = np.linalg.qr(rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 8)), mode="r")
    R, order = A.copy(), np.arange(8)
    linear_algebra.pivoted_qr(R, order)
    diagonal, size = np.abs(np.diag(R)), max(np.abs(A).max(), 1e-300)
    assert np.all(diagonal[:rank] > 1e-3 * size)
    assert np.all(diagonal[rank:] <= 1e-14 * size)


# ---------------------------------------------------------------- the same bits for every CPU


def everything():
    """The bits of all factors and solutions, of numbers that are the same everywhere."""
    found = []
    for p in SIZES:
        A = golden_bits.numbers(p * p, p).reshape(p, p)
        A = (A + A.T) / (4 * p)
        np.fill_diagonal(A, 1.0)
        R, v = A.copy(), golden_bits.numbers(p, 1)
        found += [linear_algebra.cholesky(R), np.triu(R)]
        for call in ("solve", "solve_transposed", "multiply", "multiply_transposed"):
            x = v.copy()
            getattr(linear_algebra, call)(R, x)
            found.append(x)
        rows, order = golden_bits.numbers(37 * p, 2).reshape(37, p), np.arange(p)
        linear_algebra.add_rows(R := np.triu(R), rows)
        found.append(R.copy())
        if p <= 130:
            linear_algebra.pivoted_qr(R, order)
            found += [R, order]
    return golden_bits.digest(*found)


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from test_linear_algebra import everything
print(everything())
"""


@pytest.mark.slow
def test_other_cpus_give_the_same():
    tests = Path(__file__).parent
    program = PROGRAM.format(paths=[str(tests), str(tests.parent / "tools")])
    found = {everything()}
    for cpu in ("nehalem", "haswell"):
        variables = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
        command = [sys.executable, "-c", program]
        found.add(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip())
    assert len(found) == 1

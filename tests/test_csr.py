"""Sparse rows: the numbers of the dense matrix, equal bits, and structures that are refused before anything is read."""

import math
import pickle
import subprocess
import sys
import textwrap
from fractions import Fraction

import numba
import numpy as np
import pytest

import jitlogreg as jlr
from jitlogreg.targets.csr import concatenated

sparse = pytest.importorskip("scipy.sparse")

U = 2.0**-53


def random_csr(m=400, n=30, density=0.2, seed=0, dtype=np.float64, index=np.int32):
    """A csr_array with an empty row, an explicit zero, a row out of order, and a number in two parts."""
    rng = np.random.default_rng([seed, m, n])
    X = sparse.random_array((m, n), density=density, format="csr", rng=rng, dtype=dtype)
    X.data = rng.normal(size=X.nnz).astype(dtype)
    X = sparse.vstack([X, sparse.csr_array((1, n), dtype=dtype)]).tocsr()
    data = np.append(X.data, np.array([1.5, 0.0, -2.0, 0.25], dtype))
    indices = np.append(X.indices, [n - 1, 0, n // 2, n - 1]).astype(index)
    indptr = np.append(X.indptr, X.nnz + 4).astype(index)
    return sparse.csr_array((data, indices, indptr), shape=(m + 2, n))


def examples(X, seed=1):
    """Labels, weights and offsets of its rows, and coefficients of X's dtype."""
    rng = np.random.default_rng(seed)
    m, n = X.shape
    w = rng.normal(size=n).astype(X.dtype)
    return (rng.uniform(size=m) < 0.5).astype(float), rng.uniform(size=m), rng.normal(size=m), w


def same(a, b):
    """Whether two results have the same bits."""
    return all(np.asarray(p).tobytes() == np.asarray(q).tobytes() for p, q in zip(a, b, strict=True))


# ---------------------------------------------------------------- values


KINDS = [(np.float64, np.int32), (np.float64, np.int64), (np.float32, np.int32), (np.float32, np.int64)]


@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize(("dtype", "index"), KINDS)
def test_every_call_gives_what_the_dense_matrix_gives(dtype, index, target):
    X = random_csr(dtype=dtype, index=index)
    y, s, offset, w = examples(X)
    given = {"offset": offset, "target": target}
    close = 1e-13 if dtype == np.float64 else 1e-5
    sparsely, densely = (
        [
            jlr.forward(rows, w, 0.3, **given),
            jlr.log_forward(rows, w, 0.3, **given),
            jlr.loss(rows, y, w, 0.3, sample_weight=s, l2=0.1, **given),
            *jlr.loss_and_gradient(rows, y, w, 0.3, sample_weight=s, l2=0.1, **given),
            *jlr.gradient(rows, y, w, 0.3, **given),
            *jlr.loss_and_gradient(rows, y, w.astype(np.float64), 0.3, **given),
        ]
        for rows in (X, X.toarray())
    )
    for a, b in zip(sparsely, densely, strict=True):
        assert np.max(np.abs(np.asarray(a) - np.asarray(b))) <= close
        assert np.asarray(a).dtype == np.asarray(b).dtype


def exact_sums(X, residuals):
    """Σ dz·x of each column and Σ |dz·x|, in exact arithmetic, as fractions."""
    totals, sizes = ([Fraction(0)] * X.shape[1] for _ in range(2))
    for i in range(X.shape[0]):
        for p in range(X.indptr[i], X.indptr[i + 1]):
            term = Fraction(float(residuals[i])) * Fraction(float(X.data[p]))
            totals[X.indices[p]] += term
            sizes[X.indices[p]] += abs(term)
    return totals, sizes


@pytest.mark.parametrize("order", ["rising", "falling", "mixed", "lost"])
def test_sums_are_within_their_bound_however_many_terms_a_column_has(order):
    m, n = 6000, 3
    rng = np.random.default_rng(5)
    data = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-8, 8, (m, n))
    if order == "lost":  # each too small to move a plain sum, and many
        data[:] = 2.0**-54
        data[0] = 1.0
    elif order != "mixed":
        data = np.sort(np.abs(data), axis=0)[:: 1 if order == "rising" else -1] * rng.choice([-1, 1], (m, n))
    X = sparse.csr_array(data)
    y = np.zeros(m) if order == "lost" else (rng.uniform(size=m) < 0.5).astype(float)
    # at w = 0 the residuals are exactly ±½
    totals, sizes = exact_sums(X, 0.5 - y)
    dw = jlr.gradient(X, y, np.zeros(n)).dw
    for j in range(n):
        assert abs(Fraction(float(dw[j])) * m - totals[j]) <= 34 * Fraction(U) * sizes[j]


def test_margins_are_within_their_bound():
    X = random_csr(300, 200, 0.4, seed=4)
    w = np.random.default_rng(0).normal(size=200) * 1e-3
    log_a = jlr.log_forward(X, -w, 0.0) - jlr.log_forward(X, w, 0.0)  # −z, to about 2 ulp of a logarithm
    for i in range(X.shape[0]):
        terms = [Fraction(float(X.data[p])) * Fraction(float(w[X.indices[p]])) for p in range(*X.indptr[i : i + 2])]
        error = abs(Fraction(float(log_a[i])) + sum(terms, Fraction(0)))
        assert error <= (200 / 8 + 16) * U * sum(map(abs, terms)) + 8 * U


def test_the_smallest_matrices():
    w = np.ones(3)
    no_rows = jlr.CSR(np.empty(0), np.empty(0, np.int32), np.zeros(1, np.int32), (0, 3))
    assert jlr.forward(no_rows, w).shape == (0,)
    no_numbers = jlr.CSR(np.empty(0), np.empty(0, np.int32), np.zeros(6, np.int32), (5, 3))
    assert np.all(jlr.forward(no_numbers, w, 0.0) == 0.5)
    assert np.all(jlr.gradient(no_numbers, np.ones(5), w).dw == 0)
    no_columns = jlr.CSR(np.empty(0), np.empty(0, np.int32), np.zeros(6, np.int32), (5, 0))
    assert jlr.loss_and_gradient(no_columns, np.ones(5), np.empty(0)).dw.shape == (0,)
    with pytest.raises(ValueError, match="X: expected at least one row"):
        jlr.loss(no_rows, np.empty(0), w)


def test_what_is_not_stored_stays_out_beside_an_infinite_coefficient():
    X = jlr.CSR(np.array([1.0, 0.0]), np.array([0, 1]), np.array([0, 1, 2]), (2, 2))
    a = jlr.forward(X, np.array([0.0, np.inf]))
    assert a[0] == 0.5  # the column with the infinity is not there
    assert np.isnan(a[1])  # a stored 0 times infinity


# ---------------------------------------------------------------- bits


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS == 1, reason="there is one thread alone")
def test_any_number_of_threads_gives_the_same_bits():
    X = random_csr(20_000, 700, 0.02)
    y, s, offset, w = examples(X)
    before, found = numba.get_num_threads(), []
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            objective = jlr.Objective(X, y, sample_weight=s, offset=offset)
            theta = np.append(w, 0.5)
            found.append((*objective(theta), objective.hessian(theta), objective.hessian_vector(theta, theta)))
    finally:
        numba.set_num_threads(before)
    assert len(found) > 1
    assert all(same(one, found[0]) for one in found)


def test_wide_indices_shared_slices_and_numbers_of_one_have_the_same_bits():
    X = random_csr(1500, 90)
    X.data[:] = 1.0
    y, _, _, w = examples(X)
    plain = jlr.loss_and_gradient(X, y, w, 0.25)
    as_csr = jlr.CSR.of_scipy(X)
    assert as_csr.without_ones().data is None
    assert same(jlr.loss_and_gradient(as_csr.without_ones(), y, w, 0.25), plain)
    wide = jlr.CSR(X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64), X.shape)
    assert same(jlr.loss_and_gradient(wide, y, w, 0.25), plain)
    part = as_csr[100:900]
    assert part.indices is as_csr.indices
    assert same(jlr.loss_and_gradient(part, y[100:900], w), jlr.loss_and_gradient(X[100:900], y[100:900], w))


def test_numbers_of_which_some_are_1_are_read():
    X = random_csr(300, 10)
    X.data[::2] = 1.0
    y, _, _, w = examples(X)
    loss, gradient = jlr.Objective(X, y)(np.append(w, 0.25))
    assert same((loss, *np.split(gradient, [10])), jlr.loss_and_gradient(X, y, w, 0.25))


def test_an_objective_has_the_bits_of_the_call_and_of_its_copies():
    X = random_csr(900, 40)
    y, s, _, w = examples(X)
    objective = jlr.Objective(X, y, sample_weight=s, l2=0.1)
    loss, gradient = objective(np.append(w, 0.5))
    assert same((loss, *np.split(gradient, [40])), jlr.loss_and_gradient(X, y, w, 0.5, sample_weight=s, l2=0.1))
    assert same(pickle.loads(pickle.dumps(objective))(np.append(w, 0.5)), (loss, gradient))


def test_each_model_has_the_bits_that_it_has_alone():
    X = random_csr(900, 40)
    rng = np.random.default_rng(0)
    Y, W = (rng.uniform(size=(902, 3)) < 0.5).astype(float), rng.normal(size=(40, 3))
    together = jlr.loss_and_gradient(X, Y, W, np.arange(3.0))
    for k in range(3):
        alone = jlr.loss_and_gradient(X, Y[:, k].copy(), W[:, k].copy(), float(k))
        assert same((together.loss[k], together.dw[:, k].copy(), together.db[k]), alone)


# ---------------------------------------------------------------- derivatives, and solvers


def test_derivatives_of_an_objective_are_those_of_the_dense_matrix():
    X = random_csr(700, 25)
    y, s, offset, w = examples(X)
    theta, v = np.append(w, 0.5), np.random.default_rng(2).normal(size=26)
    sparsely, densely = (jlr.Objective(rows, y, sample_weight=s, offset=offset, l2=0.1) for rows in (X, X.toarray()))
    assert np.allclose(sparsely.hessian(theta), densely.hessian(theta), rtol=1e-13, atol=1e-15)
    assert np.array_equal(sparsely.hessian(theta), sparsely.hessian(theta).T)
    assert np.allclose(sparsely.hessian_vector(theta, v), densely.hessian_vector(theta, v), rtol=1e-12, atol=1e-15)


def labels(X, seed=0):
    """Labels from a model of X's columns."""
    rng = np.random.default_rng(seed)
    z = X @ rng.normal(size=X.shape[1])
    return (rng.uniform(size=len(z)) < 1 / (1 + np.exp(-z))).astype(int)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "auto"])
def test_fits_are_those_of_the_dense_matrix(solver):
    X = random_csr(3000, 20)
    y = labels(X)
    sparsely, densely = (jlr.fit(rows, y, solver=solver, l2=1e-4) for rows in (X, X.toarray()))
    assert sparsely.converged
    assert np.allclose(sparsely.w, densely.w, rtol=0, atol=1e-8)
    assert sparsely.b == pytest.approx(densely.b, abs=1e-8)


def test_columns_that_lie_far_from_0_are_centred_by_algebra():
    rng = np.random.default_rng(3)
    D = rng.normal(size=(2000, 4)) + 1e4
    y = (rng.uniform(size=2000) < 1 / (1 + np.exp(-(D - 1e4) @ rng.normal(size=4)))).astype(int)
    sparsely, densely = jlr.fit(sparse.csr_array(D), y), jlr.fit(D, y)
    assert sparsely.converged
    assert np.allclose(sparsely.w, densely.w, rtol=1e-6)


def test_separated_sparse_rows_are_told():
    X = random_csr(400, 6, 0.5)
    y = (X.toarray()[:, 0] > 0.2).astype(int)
    with pytest.warns(jlr.SeparationWarning, match="a plane separates the classes"):
        assert not jlr.fit(X, y).converged


def test_more_columns_than_rows():
    X = random_csr(300, 5000, 0.01)
    y = labels(X)
    fitted = jlr.fit(X, y, l2=1e-2)
    assert fitted.converged
    assert np.linalg.norm(jlr.gradient(X, y, fitted.w, fitted.b, l2=1e-2).dw) < 1e-6
    assert not np.any(fitted.w[np.bincount(X.indices, minlength=5000) == 0])


def test_totals_that_are_prefetched():
    X = random_csr(60, 300_000, 1e-4)
    y, s, _, w = examples(X)
    sums, densely = (jlr.loss_and_gradient(rows, y, w, sample_weight=s) for rows in (X, X.toarray()))
    assert np.allclose(sums.dw, densely.dw, rtol=1e-12, atol=1e-15)


def test_a_softmax_of_sparse_rows():
    X = random_csr(1500, 12)
    rng = np.random.default_rng(1)
    y, W, b = rng.integers(0, 4, 1502), rng.normal(size=(12, 4)), rng.normal(size=4)
    D = X.toarray()
    for a, c in zip(
        jlr.loss_and_gradient(X, y, W, b, link="softmax"),
        jlr.loss_and_gradient(D, y, W, b, link="softmax"),
        strict=True,
    ):
        assert np.allclose(a, c, rtol=1e-12, atol=1e-14)
    assert np.allclose(
        jlr.log_forward(X, W, b, link="softmax"), jlr.log_forward(D, W, b, link="softmax"), rtol=1e-12, atol=1e-14
    )
    assert np.allclose(jlr.fit(X, y, link="softmax").w, jlr.fit(D, y, link="softmax").w, atol=1e-8)
    more = {"sample_weight": rng.uniform(size=1502), "offset": rng.normal(size=(1502, 4))}
    sparsely, densely = (jlr.Objective(rows, y, link="softmax", n_outputs=4, **more) for rows in (X, D))
    theta, v = rng.normal(size=52), rng.normal(size=52)
    assert np.allclose(sparsely.hessian_vector(theta, v), densely.hessian_vector(theta, v), rtol=1e-11, atol=1e-14)


def test_every_solver_takes_sparse_rows():
    X = random_csr(1200, 8)
    y, D = labels(X), X.toarray()
    Y = np.stack([y, 1 - y], axis=1)
    for call in (
        lambda rows: jlr.fit(rows, Y).w,
        lambda rows: jlr.fit_path(rows, y).w,
        lambda rows: jlr.cross_validate(rows, y, [0.1, 0.01]).scores,
        lambda rows: jlr.bootstrap(rows, y, n_resamples=8, method="bca").w_interval,
        lambda rows: jlr.gradient_descent(rows, y, learning_rate=1.0, n_iterations=20).w,
        lambda rows: jlr.minibatch_descent((rows, y), learning_rate=0.1, block_size=100).w,
    ):
        assert np.allclose(call(X), call(D), rtol=0, atol=1e-8)


# ---------------------------------------------------------------- bad input


DATA, INDICES, INDPTR = np.array([1.0, 2.0, -3.0]), np.array([0, 2, 1]), np.array([0, 2, 3])

MALFORMED = [
    ({"indices": np.array([0, 3, 1])}, r"indices\[1\]: expected a column from 0 to 2, got 3"),
    ({"indices": np.array([0, 2, -1])}, r"indices\[2\]: expected a column from 0 to 2, got -1"),
    ({"indices": np.array([0, 2**40, 1])}, r"indices\[1\]: expected a column from 0 to 2, got 1099511627776"),
    ({"indptr": np.array([0, 4, 3])}, r"indptr\[1\]: expected a number from 0 to 3, the length of indices, got 4"),
    ({"indptr": np.array([0, 3, 2])}, r"indptr\[2\]: expected no less than the number before it, got 2"),
    ({"indptr": np.array([2, 0, 3])}, r"indptr\[1\]: expected no less than the number before it, got 0"),
    ({"indptr": np.array([0, 2, 9])}, r"indptr\[2\]: expected a number from 0 to 3, the length of indices, got 9"),
    ({"indptr": np.array([-1, 2, 3])}, r"indptr\[0\]: expected a number from 0 to 3, the length of indices, got -1"),
]


@pytest.mark.parametrize(("fault", "message"), MALFORMED)
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_a_malformed_structure_is_refused(fault, message, index):
    arrays = {"data": DATA, "indices": INDICES, "indptr": INDPTR} | fault
    if index == np.int32 and np.max(arrays["indices"]) >= 2**31:
        pytest.skip("no such number in 32 bits")
    X = jlr.CSR(arrays["data"], arrays["indices"].astype(index), arrays["indptr"].astype(index), (2, 3))
    y, w = np.array([0.0, 1.0]), np.ones(3)
    for call in (
        lambda: jlr.forward(X, w),
        lambda: jlr.log_forward(X, np.ones((3, 2)), link="softmax"),
        lambda: jlr.loss(X, y, w),
        lambda: jlr.loss_and_gradient(X, y, w),
        lambda: jlr.loss_and_gradient(X, y.astype(int), np.ones((3, 2)), link="softmax"),
        lambda: jlr.gradient(X, y, np.ones((3, 2))),
        lambda: jlr.Objective(X, y),
        lambda: jlr.fit(X, y),
        lambda: jlr.forward(X, w, target="reference"),
        lambda: X.toarray(),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("column", [20, -1])
@pytest.mark.parametrize("position", [0, 31, 32, 63, 64, 100, 70_000])
def test_a_bad_index_is_found_wherever_it_is(position, column, index):
    X = random_csr(max(100, position // 8), 20, 0.5, index=index)
    X.indices[position] = column
    with pytest.raises(ValueError, match=rf"indices\[{position}\]: expected a column from 0 to 19, got {column}"):
        jlr.forward(jlr.CSR(X.data, X.indices, X.indptr, X.shape), np.zeros(20))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((DATA[:2], INDICES, INDPTR, (2, 3)), ValueError, r"data: expected shape \(3,\)"),
        ((DATA, INDICES, INDPTR[:2], (2, 3)), ValueError, r"indptr: expected shape \(3,\)"),
        ((DATA.astype(int), INDICES, INDPTR, (2, 3)), TypeError, "data: expected float32 or float64, got int64"),
        ((DATA, INDICES.astype(float), INDPTR, (2, 3)), TypeError, "indices: expected int32 or int64, got float64"),
        ((DATA, INDICES.tolist(), INDPTR, (2, 3)), TypeError, "indices: expected a numpy.ndarray, got a list"),
        ((DATA, INDICES, None, (2, 3)), TypeError, "indptr: expected a numpy.ndarray, got None"),
        ((DATA, INDICES[:, None], INDPTR, (2, 3)), ValueError, "indices: expected one dimension"),
        ((DATA, INDICES, INDPTR, (2, -3)), ValueError, "shape: expected numbers of at least 0"),
        ((DATA, INDICES, INDPTR, 2), TypeError, "shape: expected two integers"),
        ((np.arange(6.0)[::2], INDICES, INDPTR, (2, 3)), ValueError, "data: expected a contiguous"),
        ((DATA.astype(">f8"), INDICES, INDPTR, (2, 3)), TypeError, "data: expected float32 or float64, got >f8"),
    ],
)
def test_arrays_that_make_no_matrix_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        jlr.CSR(*arguments)


def test_other_arguments_are_checked_beside_sparse_rows():
    X = random_csr(50, 4, 0.5)
    y, s, _, w = examples(X)
    with pytest.raises(ValueError, match=r"w: expected shape \(4,\)"):
        jlr.forward(X, np.ones(5))
    with pytest.raises(ValueError, match=r"y\[3\]: expected a label from 0 to 1, got 2"):
        jlr.loss(X, np.where(np.arange(52) == 3, 2.0, y), w)
    with pytest.raises(ValueError, match=r"sample_weight\[1\]: expected a finite weight"):
        jlr.loss(X, y, w, sample_weight=np.where(np.arange(52) == 1, -1.0, s))
    with pytest.raises(ValueError, match="shares memory with X"):
        jlr.forward(X, w, out=X.data[:52])
    with pytest.raises(TypeError, match=r"X: expected a dense matrix for the target 'cuda', got a CSR: X.toarray\(\)"):
        jlr.forward(X, w, target="cuda")
    with pytest.raises(TypeError, match=r"X: expected float32 or float64, got int64: X.astype\('float64'\)"):
        jlr.forward(X.astype(np.int64), w)
    X.data[7] = math.nan
    with pytest.raises(ValueError, match=r"data\[7\]: expected a finite number, got nan"):
        jlr.Objective(X, y)


HOSTILE = """
    import ctypes, mmap, sys
    import numpy as np
    import jitlogreg as jlr

    # arrays that end at a page which nobody may read
    libc = ctypes.CDLL(None, use_errno=True)

    def at_the_end(array):
        pages = -(-array.nbytes // mmap.PAGESIZE) + 2
        region = mmap.mmap(-1, pages * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(region))
        for page in (0, pages - 1):
            assert libc.mprotect(ctypes.c_void_p(address + page * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
        start = (pages - 1) * mmap.PAGESIZE - array.nbytes
        placed = np.frombuffer(region, array.dtype, len(array), start)
        placed[:] = array
        return placed

    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(400):
        index = (np.int32, np.int64)[trial % 2]
        m, n, count = rng.integers(1, 200), rng.integers(1, 50), rng.integers(1, 3000)
        indices = rng.integers(0, n, count).astype(index)
        indptr = np.sort(rng.integers(0, count + 1, m + 1)).astype(index)
        extremes = np.iinfo(index)
        wild = np.array([-1, n, n + 1, count, count + 1, extremes.max, extremes.min, extremes.min + 1], np.int64)
        for array in (indices, indptr):
            if rng.uniform() < 0.6:
                array[rng.integers(0, len(array), rng.integers(1, 4))] = rng.choice(wild)
        X = jlr.CSR(*map(at_the_end, (rng.normal(size=count), indices, indptr)), (m, n))
        y, w, out = (at_the_end(array) for array in (np.ones(m), rng.normal(size=n), np.zeros(m)))
        is_sound = True
        try:
            X.check_structure()
        except ValueError:
            is_sound = False
        for call in (
            lambda: jlr.forward(X, w, out=out), lambda: jlr.loss_and_gradient(X, y, w), lambda: jlr.Objective(X, y)
        ):
            try:
                call()
                assert is_sound
            except ValueError as error:
                assert not is_sound, error
                refused += 1
    print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's call")
def test_a_hostile_matrix_reads_nothing_outside_its_arrays():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(HOSTILE)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300


# ---------------------------------------------------------------- in blocks


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_blocks_of_a_dask_array_may_be_sparse(link):
    da = pytest.importorskip("dask.array")
    import jitlogreg.dask as jd

    D = random_csr(1998, 9).toarray()
    n_outputs = 1 if link == "sigmoid" else 3
    y = da.from_array(np.random.default_rng(0).integers(0, max(2, n_outputs), 2000), chunks=400)
    X = da.from_array(D, chunks=(400, 9))
    sparsely, densely = (
        jd.Objective(blocks, y, link=link, n_outputs=n_outputs, l2=0.01)
        for blocks in (X.map_blocks(sparse.csr_array), X)
    )
    theta = np.random.default_rng(1).normal(size=sparsely.n_parameters)
    assert np.allclose(sparsely(theta)[1], densely(theta)[1], rtol=1e-12, atol=1e-15)
    for solver in ("newton", "lbfgs"):
        assert np.allclose(jlr.fit(sparsely, None, solver=solver).w, jlr.fit(densely, None, solver=solver).w, atol=1e-8)


def test_rows_can_be_gathered_merged_and_joined():
    X = jlr.CSR.of_scipy(random_csr(60, 12))
    D = X.toarray()
    assert np.array_equal(X[5:50:3].toarray(), D[5:50:3])
    assert np.array_equal(X[np.array([7, 0, 61, 7])].toarray(), D[[7, 0, 61, 7]])
    assert X[50:10].shape == (0, 12)
    mask = np.arange(62) % 3 == 1
    for which in ([-2], [0, -2], mask, []):
        assert np.array_equal(X[which].toarray(), D[np.array(which, bool if which is mask else int)])
    with pytest.raises(IndexError, match="62"):
        X[[62]]
    for call in (lambda: X[1], lambda: X[:, :3], lambda: np.asarray(X), lambda: X @ np.ones(12)):
        with pytest.raises(TypeError, match=r"^X: expected .* X\.toarray\(\) makes"):
            call()
    assert np.array_equal(X[5:20].to_scipy().toarray(), D[5:20])
    ones = jlr.CSR(None, X.indices, X.indptr, X.shape)
    assert np.array_equal(ones[5:20].to_scipy().toarray(), ones[5:20].toarray())
    assert np.allclose(X.merged().toarray(), D, rtol=1e-15)
    assert len(np.unique(X.merged().row_numbers() * 12 + X.merged().indices)) == X.merged().nnz
    assert np.array_equal(concatenated([X[:20], X[20:21], X[21:]]).toarray(), D)
    part = pickle.loads(pickle.dumps(X[10:20]))
    assert len(part.indices) == part.nnz
    assert np.array_equal(part.toarray(), D[10:20])

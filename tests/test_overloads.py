"""The public calls in the caller's own compiled code: the bits of the Python calls, what is refused, and the disk."""

import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numba
import numpy as np
import pytest
from calls import read_only
from conftest import make_data
from numba import njit, prange
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

import jitlogreg as jlr
from jitlogreg.targets.compile import cache_folder

jlr.overloads.register()  # as the entry point does where the package is installed

PACKAGE = Path(jlr.__file__).parent

# Small, on all threads, in panels, of one row or column, and with rows that fill no group of eight
SHAPES = [(45, 7), (30_001, 28), (19, 40_000), (1, 5), (9, 1), (3, 0)]


def every_call(X, y, w, b, sample_weight, l2, offset, dw, a):
    both = jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, offset=offset)
    into = jlr.gradient(X, y, w, b=b, sample_weight=sample_weight, l2=l2, offset=offset, out=dw, target="cpu")
    loss = jlr.loss(X, y, w, b, sample_weight=sample_weight, l2=l2, offset=offset, target=None)
    return both, into, loss, jlr.forward(X, w, b, offset=offset, out=a), jlr.log_forward(X=X, w=w, b=b, offset=offset)


compiled, on_threads = njit(every_call), njit(parallel=True)(every_call)


def bits(results):
    both, into, loss, a, log_a = results
    numbers = both.loss, both.db, into.db, loss
    return b"".join(np.asarray(part).tobytes() for part in (*numbers, both.dw, into.dw, a, log_a))


def assert_equal_bits(function, X, y, w, b, sample_weight, l2, offset=None):
    outputs = [(np.empty(len(w), w.dtype), np.empty(len(X), w.dtype)) for _ in range(2)]
    with jlr.use_target("cpu"):
        expected = every_call(X, y, w, b, sample_weight, l2, offset, *outputs[0])
    with jlr.use_target("reference"):  # which compiled code does not ask
        results = function(X, y, w, b, sample_weight, l2, offset, *outputs[1])
    assert bits(results) == bits(expected)
    assert (type(results[0]), type(results[1])) == (jlr.LossAndGradient, jlr.Gradient)
    for array, output in ((results[1].dw, outputs[1][0]), (results[3], outputs[1][1])):
        assert array.ctypes.data == output.ctypes.data
        assert array.dtype == w.dtype


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_bits_are_those_of_the_python_call(dtypes, order, weighted):
    for shape in SHAPES:
        data = make_data(*shape, dtypes, order, soft=True, weighted=weighted)
        offset = 2 * data.sample_weight - 3 if weighted else None
        assert_equal_bits(compiled, data.X, data.y, data.w, data.b, data.sample_weight, 0.25 * weighted, offset)


def test_any_view_gives_the_same():
    for shape in SHAPES:
        for order in "CF":
            data = make_data(*shape, order=order, soft=True, weighted=True)
            m, n = shape
            wide = np.full((m + 3, n + 5), np.nan, order=order)
            wide[2 : m + 2, 3 : n + 3] = data.X
            X, y, w = (read_only(v) for v in (wide[2 : m + 2, 3 : n + 3], np.repeat(data.y, 3)[::3], data.w[::-1]))
            assert_equal_bits(compiled, X, y, w, data.b, data.sample_weight[::-1], 0.5, np.repeat(data.y, 2)[::2])


@pytest.mark.parametrize("order", ["C", pytest.param("F", marks=pytest.mark.slow)])
def test_on_threads_the_bits_are_the_same(order):
    for shape in SHAPES:
        data = make_data(*shape, order=order, soft=True, weighted=True)
        assert_equal_bits(on_threads, data.X, data.y, data.w, data.b, data.sample_weight, 0.25, -data.sample_weight)
    (code,) = {"do_scheduling" in text for text in on_threads.inspect_llvm().values()}
    assert code, "no loop was left to Numba's threads"


@njit(parallel=True)
def losses_of_blocks(X, y, w, size, out):
    for k in prange(out.size):
        rows = slice(k * size, (k + 1) * size)
        out[k] = jlr.loss(X[rows].copy(), y[rows], w)  # of a copy that nothing else holds


def test_within_a_loop_on_threads():
    data = make_data(64 * 997, 28)  # each block so large that alone it would have run on threads
    out = np.empty(4)
    losses_of_blocks(data.X, data.y, data.w, 15_952, out)
    rows = [slice(k * 15_952, (k + 1) * 15_952) for k in range(4)]
    assert out.tolist() == [jlr.loss(data.X[r], data.y[r], data.w, target="cpu") for r in rows]


@njit
def descent(X, y, steps):
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(steps):
        loss, dw, db = jlr.loss_and_gradient(X, y, w, b)
        w, b = w - 0.5 * dw, b - 0.5 * db
    return loss, w, b


@njit(parallel=True)
def of_temporary_arrays(X, y, w):
    return jlr.gradient(X * 1.0, y * 1.0, w * 1.0, sample_weight=y * 0.0 + 1.0, offset=y * 0.0).dw * 2.0


@pytest.fixture
def count_allocations():
    _nrt_python.memsys_enable_stats()
    yield
    _nrt_python.memsys_disable_stats()


@pytest.mark.usefixtures("count_allocations")
def test_memory_is_given_back_and_not_before():
    data, results = make_data(30_001, 28), []
    for function, arguments in ((descent, (data.X, data.y, 3)), (of_temporary_arrays, (data.X, data.y, data.w))):
        function(*arguments)
        before = rtsys.get_allocation_stats()
        results.append(function(*arguments))
        after = rtsys.get_allocation_stats()
        assert after.alloc - before.alloc == after.free - before.free + 1, "the one array of the result is left"
    assert results[1].tobytes() == (2 * jlr.gradient(data.X, data.y, data.w, target="cpu").dw).tobytes()


@njit
def with_labels(X, y, w, sample_weight, offset=None):
    return jlr.loss_and_gradient(X, y, w, 1, sample_weight=sample_weight, l2=1, offset=offset)


# a caller is compiled for each: both dtypes of w where the rounding is twofold, and one for the others in every run
@pytest.mark.parametrize(
    ("dtype", "w_dtype"),
    [
        *(("uint64", "float32"), ("uint64", "float64"), ("float64", "float32"), ("float32", "float64")),
        *(("bool", "float32"), ("int8", "float64")),
        *(
            pytest.param(*dtypes, marks=pytest.mark.slow)
            for dtypes in (("bool", "float64"), ("int8", "float32"), ("float32", "float32"), ("float64", "float64"))
        ),
    ],
)
def test_labels_and_weights_of_other_dtypes(dtype, w_dtype):
    data = make_data(45, 7, (w_dtype, w_dtype))
    y = data.y.astype(dtype)
    weights = np.arange(1, 46).astype(dtype)
    if dtype == "uint64":
        weights += np.uint64(2**60 + 2**36 + 1)  # rounded to float32 by way of float64 it would become another number
    for labels in (y, np.repeat(y, 2)[::2]):
        result, expected = (f(data.X, labels, data.w, weights, labels) for f in (with_labels, with_labels.py_func))
        np.testing.assert_equal(result, expected)


def test_infinities_and_nan_are_computed_with():
    X = np.array([[np.inf], [-np.inf], [np.nan], [1.0]])
    for rows in (slice(0, 2), slice(0, 4)):
        arguments = X[rows], np.array([1.0, 0, 0, 1])[rows], np.ones(1), np.ones(4)[rows]
        with np.errstate(all="ignore"):
            np.testing.assert_equal(with_labels(*arguments), with_labels.py_func(*arguments))
    for dtype in (np.float64, np.float32):  # the offset is converted, or not
        for offset in (np.array([0.5, np.inf]), np.array([-np.inf, 1]), np.array([np.nan, 0])):
            arguments = np.ones((2, 1), dtype), np.ones(2), np.ones(1, dtype), np.ones(2), offset
            with np.errstate(all="ignore"):
                np.testing.assert_equal(with_labels(*arguments), with_labels.py_func(*arguments))


# ---------------------------------------------------------------- what is refused


@njit
def f(X, y, w, b, sample_weight, l2, out, offset=None):
    return jlr.loss_and_gradient(X, y, w, b, sample_weight=sample_weight, l2=l2, offset=offset, out=out)


def good(w_dtype=np.float64):
    X, y = np.ones((4, 3), w_dtype), np.ones(4, w_dtype)
    return {"X": X, "y": y, "w": np.ones(3, w_dtype), "b": 0.5, "sample_weight": y.copy(), "l2": 0.0}


def call(**changes):
    return f(**({**good(), "out": None} | changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", np.ones((4, 3), np.int64)),
        ("X", np.ones(12)),
        ("X", [1.0]),
        ("y", np.ones((4, 1))),
        ("y", np.ones(4, complex)),
        ("y", None),
        ("w", np.ones(3, np.float32)),
        ("w", np.ones((3, 1, 1))),
        ("b", True),
        ("b", 1j),
        ("b", None),
        ("sample_weight", 1.0),
        ("offset", np.ones((4, 1))),
        ("offset", 1.0),
        ("offset", np.ones(4, complex)),
        ("l2", np.ones(1)),
        ("out", np.ones(3, np.float32)),
        ("out", read_only(np.ones(3))),
        ("out", np.ones((3, 1))),
    ],
)
def test_types_are_refused_when_the_caller_is_compiled(name, value):
    with pytest.raises(TypingError, match=f"{name}: expected .*, got "):
        call(**{name: value})


def test_another_target_is_refused_when_the_caller_is_compiled():
    for target in ("cuda", "reference", "gpu"):
        function = njit(lambda X, w: jlr.forward(X, w, target=target))  # noqa: B023 (called at once)
        with pytest.raises(TypingError, match=f"target: expected 'cpu' or nothing in compiled code, got '{target}'"):
            function(np.ones((2, 1)), np.ones(1))
    said = "target: expected 'cpu' or nothing in compiled code, got a value of type unicode_type"
    with pytest.raises(TypingError, match=said):
        njit(lambda X, w, target: jlr.forward(X, w, target=target))(np.ones((2, 1)), np.ones(1), "cpu")


MEMORY = np.ones(40)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("X: expected a unit stride", {"X": np.ones((8, 6))[::2, ::2]}),
        ("X: expected a unit stride", {"X": np.ones((4, 3))[::-1]}),
        ("X: expected a unit stride", {"X": np.broadcast_to(np.ones(3), (4, 3))}),
        ("X: expected at least one row", {"X": np.ones((0, 3)), "y": np.ones(0), "sample_weight": np.ones(0)}),
        (r"w: expected shape \(n,\)", {"w": np.ones(4)}),
        (r"y: expected shape \(m,\)", {"y": np.ones(3)}),
        ("y: expected labels from 0 to 1", {"y": np.array([0, 1, 1.5, 1])}),
        ("y: expected labels from 0 to 1", {"y": np.array([0, 1, np.nan, 1])}),
        ("y: expected labels from 0 to 1", {"y": np.array([0, 1, -1, 1])}),
        (r"sample_weight: expected shape \(m,\)", {"sample_weight": np.ones(5)}),
        ("sample_weight: expected finite weights of at least 0", {"sample_weight": np.array([1, 1, -1.0, 1])}),
        ("sample_weight: expected finite weights of at least 0", {"sample_weight": np.array([1, 1, np.inf, 1])}),
        ("sample_weight: expected finite weights of at least 0", {"sample_weight": np.array([1, 1, -1, 1])}),
        ("sample_weight: expected a positive and finite sum", {"sample_weight": np.zeros(4)}),
        (r"offset: expected shape \(m,\)", {"offset": np.ones(5)}),
        (r"offset: expected shape \(m,\)", {"offset": np.ones(0)}),
        ("l2: expected a finite number of at least 0", {"l2": -1.0}),
        ("l2: expected a finite number of at least 0", {"l2": np.nan}),
        ("l2: expected a finite number of at least 0", {"l2": np.inf}),
        ("out: expected the shape of the result", {"out": np.ones(4)}),
        ("out: expected a contiguous array", {"out": np.ones(6)[::2]}),
        ("out: expected a contiguous array", {"out": np.ones(3)[::-1]}),
        ("out: expected .* no memory with an input", {"out": MEMORY[10:13], "X": MEMORY[:12].reshape(4, 3)}),
        (
            "out: expected .* no memory with an input",
            {"out": MEMORY[4:7], "X": MEMORY[:32].reshape(8, 4).T[:, 1:4]},
        ),
        ("out: expected .* no memory with an input", {"out": MEMORY[2:5], "w": MEMORY[4:7]}),
        ("out: expected .* no memory with an input", {"out": MEMORY[2:5], "w": MEMORY[:5:2][::-1]}),
        ("out: expected .* no memory with an input", {"out": MEMORY[2:5], "y": MEMORY[:8:2]}),
        (
            "out: expected .* no memory with an input",
            {"out": MEMORY[2:5], "sample_weight": MEMORY.view(np.int32)[6:10]},
        ),
        ("out: expected .* no memory with an input", {"out": MEMORY[2:5], "offset": MEMORY[4:11][::-2]}),
    ],
)
def test_values_are_refused_when_it_runs(message, changes):
    out = changes.setdefault("out", np.full(3, 0.5))
    before = [(array, array.copy()) for array in changes.values() if isinstance(array, np.ndarray)]
    arguments = good() | {"sample_weight": None} | changes
    with pytest.raises(ValueError, match=r"^\w+(\[\d+\])?: expected .*, got "), jlr.use_target("cpu"):
        f.py_func(**arguments)
    with pytest.raises(ValueError, match=f"^{message}.*, got "):
        call(**arguments)
    assert out.tolist() == before[-1][1].tolist() or len(changes) > 1
    for array, copy in before:
        np.testing.assert_array_equal(array, copy)


def test_a_sum_of_weights_beyond_float64_is_refused_here_alone():
    # Python's own calls take weights of another scale then, which needs a copy
    arguments = good() | {"out": None, "sample_weight": np.full(4, 1e308)}
    assert np.isfinite(f.py_func(**arguments)[0])
    with pytest.raises(ValueError, match=r"^sample_weight: expected a positive and finite sum, got another"):
        f(**arguments)


def test_what_float32_cannot_hold_is_refused():
    most = float(np.finfo(np.float32).max)
    for value, fits in ((most, True), (-most, True), (2.0**128 - 2.0**103, False), (-1e39, False), (np.inf, True)):
        arguments = {**good(np.float32), "out": None, "b": value}
        if fits:
            np.testing.assert_equal(f(**arguments), f.py_func(**arguments))
        else:
            with pytest.raises(ValueError, match=r"b: expected a number within float32.*, got one beyond it"):
                f(**arguments)
    for number in (2.0**128 - 2.0**103, -1e39):
        arguments = {**good(np.float32), "out": None, "offset": np.array([1, number, 0, 1])}
        with pytest.raises(ValueError, match=r"offset: expected numbers within float32, the dtype of w, got "):
            f(**arguments)
        with pytest.raises(ValueError, match=r"offset\[1\]: expected a number within float32, the dtype of w, got "):
            f.py_func(**arguments)
    for weight in (1e39, 1e-60):
        arguments = {**good(np.float32), "out": None, "sample_weight": np.array([1, weight, 1, 1])}
        with pytest.raises(ValueError, match="sample_weight: expected numbers within the dtype of w, got "):
            f(**arguments)


def test_out_between_the_numbers_of_an_input_is_taken():
    memory = np.full((12, 20), 0.25)
    assert call(X=memory[:4, :3], out=memory[0, 4:7])[1].tolist() == memory[0, 4:7].tolist()
    assert call(X=memory[:3, :4].T[:4], out=memory[1, 4:7], w=memory[5, :3])[0] > 0


@pytest.mark.parametrize("function", [compiled, on_threads], ids=["here", "on threads"])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_nothing_is_written_beside_out(function, shape):
    m, n = shape
    data, memory = make_data(m, n), np.full((2, max(m, n) * 2), 0.25)
    dw, a = memory[0, :n], memory[1, :m]
    results = function(data.X, data.y, data.w, data.b, None, 0.0, None, dw, a)
    assert results[1].dw.ctypes.data == dw.ctypes.data
    assert (memory[0, n:] == 0.25).all()
    assert (memory[1, m:] == 0.25).all()


def test_compiled_code_may_catch_what_is_refused():
    for options in ({}, {"parallel": True}):

        @njit(**options)
        def caught(X, y, w):
            try:
                return jlr.loss(X, y, w)
            except Exception:
                return -1.0

        assert caught(np.ones((2, 1)), np.array([1.0, 2.0]), np.ones(1)) == -1
        assert caught(np.ones((2, 1)), np.ones(2), np.ones(1)) == jlr.loss(np.ones((2, 1)), np.ones(2), np.ones(1))


# ---------------------------------------------------------------- other processes


@pytest.fixture
def metadata(tmp_path):
    """A folder with what an installer writes of the package's entry points."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["entry-points"]
    folder = tmp_path / "metadata" / "jitlogreg-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: jitlogreg\nVersion: 0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {function}" for name, function in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    return folder.parent


@pytest.fixture
def python(tmp_path):
    """Run a program in a process of its own, with folders of modules, and a cache of its own where one is named."""

    def run(program, *paths, cache=None):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("JITLOGREG_")}
        # this package goes before one that is installed, and so does metadata in `paths`
        variables["PYTHONPATH"] = os.pathsep.join(map(str, (*paths, PACKAGE.parent)))
        if cache:
            variables["NUMBA_CACHE_DIR"] = str(tmp_path / cache)
        command = [sys.executable, "-W", "error", "-c", program]
        return subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    return run


LIBRARY = """
import numpy as np, jitlogreg as jlr
from numba import njit
X, y, w = np.arange(12.0).reshape(6, 2) - 5, np.array([1, 0, 1, 1, 0, 1.0]), np.array([0.5, -0.25])

@njit(cache=True)
def inner(X, w):
    return jlr.forward(X, w)

@njit(cache=True)
def outer(X, w):
    return 2 * inner(X, w)

@njit(cache=True, parallel=True)
def both(X, y, w):
    return jlr.loss_and_gradient(X, y.astype(np.int64), w, l2=0.5)

@njit(cache=True)
def several(X, w):
    return jlr.forward(X, np.outer(w, w), link="softmax", offset=X)

def show(*functions):
    for function in functions:
        result = function(X, y, w) if function is both else function(X, w)
        hits, misses = (sum(counts.values()) for counts in (function.stats.cache_hits, function.stats.cache_misses))
        print(hits, misses, np.hstack(result).sum().hex())
"""


@pytest.fixture
def with_kernels(tmp_path):
    """The name of a cache in which the kernels are already."""
    X, y, w = np.ones((6, 2)), np.ones(6), np.ones(2)
    njit(lambda X, y, w: (jlr.forward(X, w), jlr.loss_and_gradient(X, y, w)))(X, y, w)
    njit(lambda X, w: jlr.forward(X, w, link="softmax"))(X, np.ones((2, 2)))
    shutil.copytree(cache_folder(), tmp_path / "with kernels" / cache_folder().name)
    return "with kernels"


@pytest.mark.parametrize("kernels", ["on disk", pytest.param("compiled", marks=pytest.mark.slow)])
def test_functions_that_are_kept_on_disk(request, python, metadata, tmp_path, kernels):
    cache = "cold" if kernels == "compiled" else request.getfixturevalue("with_kernels")
    (tmp_path / "library.py").write_text(LIBRARY)
    first = python("from library import *; show(inner, both, several)", tmp_path, metadata, cache=cache)
    # `outer` is compiled with what came from the disk of `inner`, and then comes from there alone
    second = python("from library import *; show(inner, both, outer, several)", tmp_path, metadata, cache=cache)
    third = python("from library import *; show(outer)", tmp_path, metadata, cache=cache)
    inner, both, several = (line.split() for line in first.splitlines())
    outer = third.split()
    assert (inner[:2], both[:2], several[:2], outer[:2]) == (["0", "1"], ["0", "1"], ["0", "1"], ["1", "0"])
    again = [["1", "0", inner[2]], ["1", "0", both[2]], ["0", "1", outer[2]], ["1", "0", several[2]]]
    assert [line.split() for line in second.splitlines()] == again
    with jlr.use_target("cpu"):
        X, y, w = np.arange(12.0).reshape(6, 2) - 5, np.array([1, 0, 1, 1, 0, 1.0]), np.array([0.5, -0.25])
        assert float.fromhex(inner[2]) == jlr.forward(X, w).sum()
        assert float.fromhex(outer[2]) == (2 * jlr.forward(X, w)).sum()
        assert float.fromhex(several[2]) == jlr.forward(X, np.outer(w, w), link="softmax", offset=X).sum()
        assert float.fromhex(both[2]) == np.hstack(jlr.loss_and_gradient(X, y, w, l2=0.5)).sum()


def test_functions_on_disk_with_the_stamp_of_other_sources_are_compiled_again(python, metadata, tmp_path, with_kernels):
    (tmp_path / "library.py").write_text(LIBRARY)
    program = "from jitlogreg.njit import symbols; from library import *; "

    def show(sources=""):
        return python(program + sources + "show(inner)", tmp_path, metadata, cache=with_kernels).split()

    first, second = show(), show()
    assert (first[:2], second) == (["0", "1"], ["1", "0", first[2]])
    other = "symbols.sources_stamp = lambda: 'other'; "
    assert [show(other), show(other)] == [first, second]


@pytest.mark.slow
def test_functions_on_disk_are_compiled_again_for_other_sources(python, metadata, tmp_path):
    copy = tmp_path / "installed"
    shutil.copytree(PACKAGE, copy / "jitlogreg", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "library.py").write_text(LIBRARY)

    def show():
        return python("from library import *; show(inner)", copy, tmp_path, metadata, cache="cache").split()

    first, second = show(), show()
    assert (first[:2], second) == (["0", "1"], ["1", "0", first[2]])
    scalar = copy / "jitlogreg" / "pointwise.py"
    source = scalar.read_text(encoding="utf-8")
    edited = source.replace("return where(z < zeros(z), lower, upper)", "return where(z < zeros(z), lower, -upper)")
    assert edited != source
    scalar.write_text(edited, encoding="utf-8")
    third = show()
    assert third[:2] == ["0", "1"]
    assert float.fromhex(third[2]) != float.fromhex(first[2])


def test_the_callers_fastmath_stays_out_of_the_kernels(python):
    """Which are compiled when the caller is, if they are not on disk."""
    program = """
import numpy as np, jitlogreg as jlr
from numba import njit
X, w = np.linspace(-800, 800, 999).reshape(333, 3), np.array([0.3, -0.2, 1.0])
print(njit(fastmath=True, error_model="python")(lambda X, w: jlr.log_forward(X, w))(X, w).tobytes().hex())
"""
    X, w = np.linspace(-800, 800, 999).reshape(333, 3), np.array([0.3, -0.2, 1.0])
    found = python("import numba" + program, cache="cold").strip()
    assert found == jlr.log_forward(X, w, target="cpu").tobytes().hex()


CALL = "print(njit(lambda X, w: jlr.forward(X, w))(np.zeros((1, 1)), np.zeros(1))[0])"


def test_numba_may_have_compiled_before(python):
    program = "import numpy as np; from numba import njit; njit(lambda: 1)(); import jitlogreg as jlr; "
    assert python(program + CALL) == "0.5\n"


def test_a_python_call_may_have_brought_numba(python):
    """As in a copy that is not installed: no entry point, and no Numba when the package was imported."""
    program = "import numpy as np, jitlogreg as jlr; jlr.forward(np.zeros((1, 1)), np.zeros(1)); "
    assert python(program + "from numba import njit; " + CALL) == "0.5\n"


def test_numba_finds_the_entry_point(python, metadata):
    program = "import sys, numpy as np, jitlogreg as jlr; assert 'numba' not in sys.modules; from numba import njit; "
    assert python(program + CALL, metadata) == "0.5\n"


def test_the_caller_may_register_and_more_than_once(python):
    program = "import numpy as np, jitlogreg as jlr; from numba import njit; "
    assert python(program + 2 * "jlr.overloads.register(); " + CALL) == "0.5\n"


# ---------------------------------------------------------------- one example's mathematics


@pytest.mark.parametrize("options", [{}, {"fastmath": True}], ids=["", "fastmath"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalar_in_the_callers_own_loop(dtype, options):
    @njit(**options)
    def loop(z, y):
        a, losses = np.empty_like(z), np.empty_like(z)
        for i in range(z.size):
            a[i] = jlr.scalar.sigmoid(z[i])
            losses[i] = jlr.scalar.loss_and_residual(z[i], y[i])[0]
        return a, losses

    z = np.linspace(-80, 80, 999).astype(dtype)
    a, losses = loop(z, np.zeros_like(z))
    X, w = z[:, None], np.ones(1, dtype)
    assert a.tobytes() == jlr.forward(X, w, target="cpu").tobytes()
    # two roundings of 2 ulp each
    np.testing.assert_allclose(losses, -jlr.log_forward(X, -w, target="cpu"), rtol=4 * np.finfo(dtype).eps)


def test_scalar_in_a_cuda_kernel():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    pytest.importorskip("nvidia.cu13", reason="the wheels cuda-toolkit[nvrtc,nvvm,nvjitlink,nvcc] are not installed")
    from numba import cuda

    def kernel(z, y, out):
        i = cuda.grid(1)
        if i < z.size:
            loss, dz = jlr.scalar.loss_and_residual(z[i], y[i])
            out[i] = loss + dz + jlr.scalar.sigmoid(z[i]) + jlr.scalar.log_sigmoid(z[i])

    vector = numba.float32[::1]
    device = importlib.import_module("jitlogreg.targets.cuda.intrinsics")  # which asks no GPU
    (code,) = device.intermediate_code(kernel, (vector, vector, vector), (9, 0), 128, 1, "ptx")
    text = code if isinstance(code, str) else code.code.decode()
    assert "st.global.f32" in text
    assert ".f64" not in text


def test_the_package_names_what_it_imports_on_demand():
    assert {"scalar", "overloads"} <= set(dir(jlr))
    with pytest.raises(AttributeError, match="module 'jitlogreg' has no attribute 'nothing'"):
        _ = jlr.nothing

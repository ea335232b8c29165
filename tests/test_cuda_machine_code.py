"""The machine code of the CUDA kernels, without a GPU: compiled through assembly, and as the target compiles it."""

import contextlib
import functools
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from gpu.predictions import h100

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("nvidia.cu13", reason="the wheels cuda-toolkit[nvrtc,nvvm,nvjitlink,nvcc] are not installed")
driver, plan, descent, intrinsics, dot, reduce, launch, epilogue, outputs = (
    importlib.import_module(f"jitlogreg.targets.cuda.{name}")
    for name in ("driver", "plan", "descent", "intrinsics", "dot", "reduce", "launch", "epilogue", "outputs.kernel")
)

compiler = importlib.import_module("numba.cuda.compiler")  # which exists where numba-cuda is installed

H100 = h100()
CAPABILITIES = (7, 5), (8, 0), (9, 0)

TYPES = {"f32/f32": (4, 4), "f64/f64": (8, 8), "f32/f64": (4, 8)}
OF_SIZE = {4: numba.float32, 8: numba.float64}

# Shapes for the smallest and the largest kernels of each regime: order, columns, and whether rows are aligned
SHAPES = [
    *(("C", n, True) for n in (2, 28, 256, 512, 1024, 4096, 8192, 16_384, 100_000)),
    *(("C", n, False) for n in (28, 512, 1024, 8192, 100_000)),
    *(("F", n, True) for n in (2, 28, 256, 512, 1024, 100_000)),
]

# The shapes of every run; compiling a kernel takes one to five seconds
QUICK = {("C", 28, True), ("C", 1024, True), ("C", 100_000, True), ("F", 28, True), ("F", 256, True)}

# Of K outputs: columns and outputs, with tiles of few columns and of many, of few rows and of many, and of few models
OUTPUTS = (28, 32), (5000, 32), (784, 10), (50, 3)
QUICK_OUTPUTS = {
    ("sigmoid", "gradient", "C", 5000, 32, "f32/f32"),
    ("softmax", "gradient", "F", 28, 32, "f64/f64"),
    ("softmax", "curvature", "C", 784, 10, "f32/f64"),
}

# In names in LLVM code: how many functions came before, and the options that a function was compiled with
NUMBERED = re.compile(r"B\d+v\d+B\w+|[$_]\d+\b")

DOT_THREADS = importlib.import_module("jitlogreg.targets.cuda").DOT_THREADS

# Of a multiprocessor, for all blocks that the plan wants resident
REGISTERS = 65_536


def slow_unless(quick, *values):
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


def planned(sizes, order, n, aligned, operation="gradient"):
    x_size, w_size = sizes
    load_width = 16 // x_size if aligned and order == "C" else 1
    w_load_width, n_rhs = min(load_width, 16 // w_size), epilogue.rhs_count(operation)
    return plan.plan(H100, 1_000_000, n, x_size, w_size, order, load_width, w_load_width, n_rhs)


def sums_kernel(sizes, p, operation="gradient"):
    x_type, w_type = (OF_SIZE[size] for size in sizes)
    extra = 4 if p.cooperative else 0
    signature = (*[numba.int64] * 5, w_type, *[numba.int64] * (4 + extra))
    return launch.REGIMES[p.regime].make(x_type, w_type, operation, *p.constants), signature


def descent_kernel(sizes, p):
    kernel, _ = sums_kernel(sizes, p)
    w_type = OF_SIZE[sizes[1]]
    signature = (*[numba.int64] * 17, w_type, numba.float64, numba.float64, *[numba.int64] * 4)
    return descent.make(kernel, w_type, p.threads, p.regime == "l2_panels"), signature


def ptxas():
    found = shutil.which("ptxas")
    wheels = (path for folder in map(Path, sys.path) for path in folder.glob("nvidia/*/bin/ptxas"))
    return found or str(next(wheels))


@contextlib.contextmanager
def llvm_made_once():
    """Within, a kernel becomes LLVM code once, for every architecture and for both outputs.

    That is most of the time that a kernel takes; `test_every_architecture_has_the_same_llvm` shows that it may be kept.
    """
    made = functools.cache(functools.partial(compiler._compile_pyfunc_with_fixup, cc=CAPABILITIES[0], lto=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            compiler, "_compile_pyfunc_with_fixup", lambda *kernel, cc, lto, **options: made(*kernel, **options)
        )
        yield


class Resources:
    """The assembler's report on a kernel."""

    def __init__(self, log):
        numbers = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        self.spills = tuple(map(int, numbers.groups()))
        self.registers = int(re.search(r"Used (\d+) registers", log).group(1))


def compiled_through_assembly(kernel, signature, cc, threads, blocks_per_sm, folder):
    (code,) = intrinsics.intermediate_code(kernel, signature, cc, threads, blocks_per_sm, "ptx")
    text = code if isinstance(code, str) else code.code.decode()
    (folder / "kernel.ptx").write_text(text, encoding="utf-8")
    command = [ptxas(), "-v", f"-arch=sm_{cc[0]}{cc[1]}", "kernel.ptx", "-o", "kernel.cubin"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return text, Resources(run.stderr)


def compiled_as_target_does(kernel, signature, cc, threads, blocks_per_sm):
    codes = intrinsics.intermediate_code(kernel, signature, cc, threads, blocks_per_sm)
    return Resources(driver.machine_code(codes, cc)[2])


def assert_no_spills(folder, kernel, signature, threads, blocks_per_sm, capabilities=CAPABILITIES):
    """Assert that a kernel, compiled either way, spills and calls nothing and lets its blocks reside; its assembly."""
    with llvm_made_once():
        return [assert_no_spills_on(folder, kernel, signature, cc, threads, blocks_per_sm) for cc in capabilities]


def assert_no_spills_on(folder, kernel, signature, cc, threads, blocks_per_sm):
    text, of_assembly = compiled_through_assembly(kernel, signature, cc, threads, blocks_per_sm, folder)
    for resources in (of_assembly, compiled_as_target_does(kernel, signature, cc, threads, blocks_per_sm)):
        assert resources.spills == (0, 0, 0)
        # registers are allocated to warps in units of 256
        assert -(-resources.registers // 8) * 8 * threads * blocks_per_sm <= REGISTERS
    assert not re.search(r"\bcall\b", text)
    assert not re.search(r"\b(atom|red)\.\S*\.f\d", text)  # they would make the order of a sum vary from run to run
    return text


def assert_float32_alone(texts, sizes):
    if sizes == (4, 4):
        assert not [text for text in texts if ".f64" in text.replace(".b64", "")]


def assert_reads(texts, sizes, wide_loads):
    """X is read in 16-byte loads exactly where rows are aligned."""
    wide = f"ld.global.v{16 // sizes[0]}.f{8 * sizes[0]}"
    assert [wide in text for text in texts] == [wide_loads] * len(texts)


of_every_type = pytest.mark.parametrize("sizes", TYPES.values(), ids=TYPES)


@pytest.mark.parametrize("operation", ["gradient", "curvature"])
@pytest.mark.parametrize("sizes", [slow_unless(name != "f32/f64", sizes) for name, sizes in TYPES.items()], ids=TYPES)
@pytest.mark.parametrize(("order", "n", "aligned"), [slow_unless(shape in QUICK, *shape) for shape in SHAPES])
def test_kernels_for_sums(tmp_path, sizes, order, n, aligned, operation):
    some = operation == "curvature" and (order, n, aligned) not in QUICK
    assert_kernel_for_sums(tmp_path, sizes, order, n, aligned, operation, CAPABILITIES[-1:] if some else CAPABILITIES)


def assert_kernel_for_sums(tmp_path, sizes, order, n, aligned, operation, capabilities=CAPABILITIES):
    p = planned(sizes, order, n, aligned, operation)
    kernel = sums_kernel(sizes, p, operation)
    texts = assert_no_spills(tmp_path, *kernel, p.threads, p.blocks_per_sm, capabilities)
    assert_float32_alone(texts, sizes)
    assert_reads(texts, sizes, wide_loads=order == "C" and aligned)


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 1022, 99_998])
def test_reads_of_eight_bytes(tmp_path, n):
    p = plan.plan(H100, 1_000_000, n, 4, 4, "C", 2, 2)
    for text in assert_no_spills(tmp_path, *sums_kernel((4, 4), p), p.threads, p.blocks_per_sm):
        assert "ld.global.v2.f32" in text


@pytest.mark.slow
@of_every_type
@pytest.mark.parametrize("operation", ["sigmoid", "log_sigmoid", "loss"])
@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 1024), ("C", 100_000), ("F", 28), ("F", 1024)])
def test_the_other_operations(tmp_path, sizes, order, n, operation):
    assert_kernel_for_sums(tmp_path, sizes, order, n, True, operation)


@pytest.mark.parametrize(
    ("order", "n", "sizes"),
    [
        slow_unless((n, name) == (28, "f32/f32"), order, n, sizes)
        for order, n in (("C", 28), ("C", 1024), ("C", 8192), ("C", 100_000), ("F", 28), ("F", 1024), ("F", 100_000))
        for name, sizes in TYPES.items()
    ],
)
def test_descent(tmp_path, sizes, order, n):
    p = planned(sizes, order, n, True)
    blocks_per_sm = 1 if p.regime == "l2_panels" else max(1, min(p.blocks_per_sm, 512 // p.threads))
    texts = assert_no_spills(tmp_path, *descent_kernel(sizes, p), p.threads, blocks_per_sm)
    assert_reads(texts, sizes, wide_loads=order == "C")


def assert_kernel_of_outputs(folder, link, operation, order, n, outputs_count, sizes, capabilities):
    n_rhs = epilogue.rhs_count(operation)
    p = plan.outputs_plan(H100, 1_000_000, n, outputs_count, *sizes, order, n_rhs)
    kernel = outputs.make(*(OF_SIZE[size] for size in sizes), link, operation, *p.constants)
    texts = assert_no_spills(folder, kernel, (numba.int64,) * 18, p.threads, p.blocks_per_sm, capabilities)
    assert_float32_alone(texts, sizes)


@pytest.mark.parametrize(
    ("link", "operation", "order", "n", "outputs_count", "name"),
    [
        slow_unless((link, operation, order, *width, name) in QUICK_OUTPUTS, link, operation, order, *width, name)
        for name in TYPES
        for link in ("sigmoid", "softmax")
        for operation in ("gradient", "curvature")
        for order in "CF"
        for width in OUTPUTS
    ],
)
def test_sums_of_outputs(tmp_path, link, operation, order, n, outputs_count, name):
    capabilities = CAPABILITIES if (n, outputs_count) == OUTPUTS[1] else CAPABILITIES[-1:]
    assert_kernel_of_outputs(tmp_path, link, operation, order, n, outputs_count, TYPES[name], capabilities)


@pytest.mark.slow
@of_every_type
@pytest.mark.parametrize(
    ("link", "operation"),
    [
        *(("sigmoid", name) for name in ("loss", "log_sigmoid")),
        *(("softmax", name) for name in ("loss", "log_softmax")),
    ],
)
def test_the_other_operations_of_outputs(tmp_path, sizes, link, operation):
    assert_kernel_of_outputs(tmp_path, link, operation, "C", 784, 10, sizes, CAPABILITIES[-1:])


@pytest.mark.parametrize("w_type", OF_SIZE.values(), ids=["f32", "f64"])
def test_the_second_stage(tmp_path, w_type):
    kernel, signature = reduce.make(w_type, launch.REDUCE_THREADS), (numba.int64,) * 5
    assert_no_spills(tmp_path, kernel, signature, launch.REDUCE_THREADS, 1)


@of_every_type
def test_dot(tmp_path, sizes):
    kernel = dot.make(*(OF_SIZE[size] for size in sizes), DOT_THREADS)
    assert_no_spills(tmp_path, kernel, (numba.int64,) * 4, DOT_THREADS, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 8192), ("C", 100_000), ("F", 28)])
def test_every_architecture_has_the_same_llvm(monkeypatch, order, n):
    made, compiled = [], compiler._compile_pyfunc_with_fixup

    def noted(*kernel, **options):
        library, result = compiled(*kernel, **options)
        made.append(sorted(NUMBERED.sub("", module) for module in library.llvm_strs))
        return library, result

    monkeypatch.setattr(compiler, "_compile_pyfunc_with_fixup", noted)
    p = planned((4, 8), order, n, True)
    for cc in CAPABILITIES:
        for output in ("ptx", "ltoir"):
            kernel, signature = sums_kernel((4, 8), p)
            intrinsics.intermediate_code(kernel, signature, cc, p.threads, p.blocks_per_sm, output)
    assert len(made) == 2 * len(CAPABILITIES)
    assert all(modules == made[0] for modules in made)


def test_machine_code_is_cached_on_disk_and_damage_is_repaired(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "cache_folder", lambda: tmp_path)
    made = []

    def make():
        made.append(1)
        return reduce.make(numba.float32, 256)

    arguments = "reduce", make, (numba.int64,) * 5, (9, 0), 256, 1
    first = driver._cached_machine_code(*arguments)
    assert driver._cached_machine_code(*arguments) == first
    assert len(made) == 1
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"garbage", file.read_bytes()[:-1]):
        file.write_bytes(damage)
        code, entry = driver._cached_machine_code(*arguments)
        assert code.startswith(b"\x7fELF")
        assert entry in code
    assert len(made) == 4
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

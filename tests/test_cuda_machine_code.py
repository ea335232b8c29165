"""The machine code of the CUDA kernels, made without a GPU: both by way of assembly and as it is made to be run."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("nvidia.cu13", reason="the wheels cuda-toolkit[nvrtc,nvvm,nvjitlink,nvcc] are not installed")
driver, plan, descent, reduce, call, link = (
    importlib.import_module(f"jitlogreg.targets.cuda.{name}")
    for name in ("driver", "plan", "descent", "reduce", "call", "link")
)

H100 = plan.Device(processors=132, shared_per_block=227 << 10, shared_per_processor=228 << 10, cache=50 << 20)
OTHERS = (7, 5), (8, 0)  # than 9.0, for which every other test compiles

TYPES = {"f32/f32": (4, 4), "f64/f64": (8, 8), "f32/f64": (4, 8)}
OF_SIZE = {4: numba.float32, 8: numba.float64}

# Shapes that the smallest and the largest kernels of each regime take: order, columns, and whether the rows are aligned
SHAPES = [
    *(("C", n, True) for n in (2, 28, 256, 512, 1024, 4096, 8192, 16_384, 100_000)),
    *(("C", n, False) for n in (28, 512, 1024, 8192, 100_000)),
    *(("F", n, True) for n in (2, 28, 256, 512, 1024, 100_000)),
]

# A kernel takes a second or three to compile twice: those that every run looks at
QUICK = {("C", 28, True), ("C", 1024, True), ("C", 100_000, True), ("F", 28, True), ("F", 256, True)}

# Of a multiprocessor, for the blocks that a plan counts on
REGISTERS = 65_536


def slow_unless(quick, *values):
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


def planned(sizes, order, n, aligned, operation="gradient"):
    x_size, w_size = sizes
    vector = 16 // x_size if aligned and order == "C" else 1
    w_vector, vectors = min(vector, 16 // w_size), link.vectors_of(operation)
    return plan.plan(H100, 1_000_000, n, x_size, w_size, order, vector, w_vector, vectors)


def sums_kernel(sizes, p, operation="gradient"):
    x_type, w_type = (OF_SIZE[size] for size in sizes)
    extra = 4 if p.cooperative else 0
    signature = (*[numba.int64] * 5, w_type, *[numba.int64] * (3 + extra))
    return call.REGIMES[p.regime].make(x_type, w_type, operation, *p.constants), signature


def descent_kernel(sizes, p):
    evaluate, _ = sums_kernel(sizes, p)
    w_type = OF_SIZE[sizes[1]]
    signature = (*[numba.int64] * 16, w_type, numba.float64, numba.float64, *[numba.int64] * 4)
    return descent.make(evaluate, w_type, p.threads, p.regime == "panels"), signature


def ptxas():
    found = shutil.which("ptxas")
    wheels = (path for folder in map(Path, sys.path) for path in folder.glob("nvidia/*/bin/ptxas"))
    return found or str(next(wheels))


class Resources:
    """What the assembler says of a kernel."""

    def __init__(self, log):
        numbers = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        self.stack, self.stores, self.loads = map(int, numbers.groups())
        self.registers = int(re.search(r"Used (\d+) registers", log).group(1))


def by_way_of_assembly(kernel, signature, cc, threads, per_processor, folder):
    (code,) = driver.intermediate_code(kernel, signature, cc, threads, per_processor, "ptx")
    text = code if isinstance(code, str) else code.code.decode()
    (folder / "kernel.ptx").write_text(text, encoding="utf-8")
    command = [ptxas(), "-v", f"-arch=sm_{cc[0]}{cc[1]}", "kernel.ptx", "-o", "kernel.cubin"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return text, Resources(run.stderr)


def as_it_is_run(kernel, signature, cc, threads, per_processor):
    codes = driver.intermediate_code(kernel, signature, cc, threads, per_processor)
    return Resources(driver.machine_code(codes, cc)[2])


def assert_lean(resources, threads, per_processor):
    assert (resources.stack, resources.stores, resources.loads) == (0, 0, 0)
    # registers are handed out to warps in units of 256
    assert -(-resources.registers // 8) * 8 * threads * per_processor <= REGISTERS


@pytest.mark.parametrize("operation", ["gradient", "curvature"])
@pytest.mark.parametrize("sizes", [slow_unless(name != "f32/f64", sizes) for name, sizes in TYPES.items()], ids=TYPES)
@pytest.mark.parametrize(("order", "n", "aligned"), [slow_unless(shape in QUICK, *shape) for shape in SHAPES])
def test_kernels_for_sums(tmp_path, sizes, order, n, aligned, operation):
    p = planned(sizes, order, n, aligned, operation)
    kernel, signature = sums_kernel(sizes, p, operation)
    text, resources = by_way_of_assembly(kernel, signature, (9, 0), p.threads, p.per_processor, tmp_path)
    assert_lean(resources, p.threads, p.per_processor)
    assert_lean(as_it_is_run(kernel, signature, (9, 0), p.threads, p.per_processor), p.threads, p.per_processor)
    assert not re.search(r"\bcall\b", text)
    if sizes == (4, 4):
        assert ".f64" not in text.replace(".b64", "")
    bits = 8 * sizes[0]
    at_once = 128 // bits
    wide = f"ld.global.v{at_once}.f{bits}"
    assert (wide in text) == (order == "C" and aligned)


@pytest.mark.slow
@pytest.mark.parametrize("cc", OTHERS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("operation", ["gradient", "curvature"])
@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 1024), ("C", 100_000), ("F", 28), ("F", 256)])
@pytest.mark.parametrize("sizes", [(4, 4), (8, 8)], ids=["f32", "f64"])
def test_older_architectures(tmp_path, sizes, order, n, cc, operation):
    p = planned(sizes, order, n, True, operation)
    kernel, signature = sums_kernel(sizes, p, operation)
    _, resources = by_way_of_assembly(kernel, signature, cc, p.threads, p.per_processor, tmp_path)
    assert_lean(resources, p.threads, p.per_processor)
    assert_lean(as_it_is_run(kernel, signature, cc, p.threads, p.per_processor), p.threads, p.per_processor)


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["forward", "log_forward", "loss"])
@pytest.mark.parametrize(("order", "n"), [("C", 28), ("C", 1024), ("C", 100_000), ("F", 28), ("F", 1024)])
@pytest.mark.parametrize("sizes", [(4, 4), (8, 8)], ids=["f32", "f64"])
def test_the_other_operations(tmp_path, sizes, order, n, operation):
    p = planned(sizes, order, n, True)
    kernel, signature = sums_kernel(sizes, p, operation)
    text, resources = by_way_of_assembly(kernel, signature, (9, 0), p.threads, p.per_processor, tmp_path)
    assert_lean(resources, p.threads, p.per_processor)
    if sizes == (4, 4):
        assert ".f64" not in text


@pytest.mark.parametrize(
    ("order", "n"),
    [
        slow_unless(n == 28, order, n)
        for order, n in (("C", 28), ("C", 1024), ("C", 8192), ("C", 100_000), ("F", 28), ("F", 1024))
    ],
)
@pytest.mark.parametrize("sizes", [slow_unless(name == "f32/f32", sizes) for name, sizes in TYPES.items()], ids=TYPES)
def test_descent(tmp_path, sizes, order, n):
    p = planned(sizes, order, n, True)
    per_processor = 1 if p.regime == "panels" else max(1, min(p.per_processor, 512 // p.threads))
    kernel, signature = descent_kernel(sizes, p)
    _, resources = by_way_of_assembly(kernel, signature, (9, 0), p.threads, per_processor, tmp_path)
    assert_lean(resources, p.threads, per_processor)


@pytest.mark.parametrize("w_type", OF_SIZE.values(), ids=["f32", "f64"])
def test_the_second_stage(tmp_path, w_type):
    kernel, signature = reduce.make(w_type, call.REDUCE_THREADS), (numba.int64,) * 5
    _, resources = by_way_of_assembly(kernel, signature, (7, 5), call.REDUCE_THREADS, 1, tmp_path)
    assert_lean(resources, call.REDUCE_THREADS, 1)


def test_machine_code_is_kept_on_disk_and_damage_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "cache_folder", lambda: tmp_path)
    made = []

    def make():
        made.append(1)
        return reduce.make(numba.float32, 256)

    arguments = "reduce", make, (numba.int64,) * 5, (9, 0), 256, 1
    first = driver._kept_machine_code(*arguments)
    assert driver._kept_machine_code(*arguments) == first
    assert len(made) == 1
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"garbage", file.read_bytes()[:-1]):
        file.write_bytes(damage)
        code, entry = driver._kept_machine_code(*arguments)
        assert code.startswith(b"\x7fELF")
        assert entry in code
    assert len(made) == 4
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

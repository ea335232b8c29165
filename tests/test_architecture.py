"""Who may import whom: read from the sources, lazy imports within functions included."""

import ast
import inspect
from pathlib import Path

import pytest

import jitlogreg
from jitlogreg.targets.base import Target
from jitlogreg.targets.dispatch import NAMES

PACKAGE = Path(jitlogreg.__file__).parent

# What a module, and all within it, may import: of the package (`name.*` is a name and all within it), and from
# elsewhere (None: no rule)
STANDARD = {
    "collections",
    "contextlib",
    "functools",
    "math",
    "numbers",
    "operator",
    "os",
    "struct",
    "threading",
    "typing",
    "warnings",
}
# Modules of the CPU's kernels that have no rule of their own
KERNELS = (
    *("column_major", "column_panels", "dot", "hessian", "partition", "plan", "row_chunks", "row_major"),
    "sparse_rows",
    "squares",
)
COMPILED = {"simd", "targets.compile"}
SEEN = {"interop.device_array", "targets.dispatch"}
ARROWS = {
    # `overloads` and `scalar` on demand
    "": (
        {"_version", "api", "evaluation", "libsvm", "objective", "solvers.*", "targets.csr", "targets.dispatch"},
        {"importlib", "sys"},
    ),
    "api": (
        {
            "_docs",
            "evaluation",
            "interop.device_array",
            "interop.wrapping",
            "outputs",
            "targets.dispatch",
            "validation",
        },
        {"numpy"},
    ),
    "interop": ({"interop.*", "targets.csr", "targets.dispatch"}, STANDARD | {"cuda", "inspect", "numpy", "sys"}),
    "interop.device_array": ({"interop.libraries"}, {"cuda", "numpy", "typing"}),  # cuda when there is such an array
    "interop.libraries": (set(), STANDARD | {"numpy", "sys"}),
    "solvers": (
        SEEN
        | {"_docs", "_version", "evaluation", "interop.wrapping", "linear_algebra", "norms", "objective", "solvers.*"}
        | {"outputs", "outputs_objective", "row_passes", "targets.base", "targets.csr", "targets.frame", "validation"},
        STANDARD | {"io", "itertools", "json", "matplotlib", "numpy", "pathlib", "rich", "statistics", "zipfile"},
    ),
    "solvers.progress": (set(), {"contextlib", "math", "rich"}),
    "solvers.solver_objective": ({"targets.frame"}, {"collections", "numpy", "typing"}),
    "linear_algebra": (COMPILED | {"targets.cpu.pointers", "targets.cpu.vectors"}, {"math", "numpy"}),
    "libsvm": ({"libsvm_reader", "validation"}, STANDARD | {"importlib", "lzma", "numpy", "pathlib", "zlib"}),
    "libsvm_reader": (
        {"decimals", "libsvm_kernel", "targets.cpu.pointers", "targets.csr"},
        {"numpy", "os", "re"},
    ),
    "libsvm_kernel": ({"decimals", "targets.compile", "targets.cpu.pointers"}, {"numpy"}),
    "decimals": ({"targets.compile", "targets.cpu.pointers"}, {"functools", "llvmlite", "numba", "numpy"}),
    "row_passes": ({"interop.device_array", "linear_algebra", "targets.csr"}, {"math", "numpy", "zlib"}),
    "softmax_passes": ({"linear_algebra", "targets.csr"}, {"math", "numpy"}),
    "dask": (
        SEEN
        | {"api", "dask.*", "evaluation", "interop.libraries", "linear_algebra", "norms", "objective", "outputs"}
        | {
            "outputs_objective",
            "pickling",
            "row_passes",
            "softmax_passes",
            "targets.base",
            "targets.csr",
            "validation",
        },
        STANDARD | {"cloudpickle", "collections", "dask", "io", "numpy", "pickle", "sys", "uuid"},
    ),
    "sklearn": (
        {"api", "evaluation", "norms", "solvers.*", "targets.base", "targets.csr"},
        STANDARD | {"numpy", "scipy", "sklearn"},
    ),
    "objective": (
        SEEN
        | {
            "_docs",
            "evaluation",
            "interop.wrapping",
            "pickling",
            "row_passes",
            "targets.base",
            "targets.csr",
            "validation",
        },
        STANDARD | {"copy", "numpy"},
    ),
    "evaluation": (
        {"interop.device_array", "targets.base", "targets.csr", "targets.normalize", "validation"},
        {"math", "numpy", "typing"},
    ),
    "outputs": (
        {"evaluation", "interop.device_array", "targets.base", "targets.csr", "targets.normalize", "validation"},
        {"math", "numpy"},
    ),
    "outputs_objective": (
        {
            "interop.wrapping",
            "linear_algebra",
            "objective",
            "outputs",
            "row_passes",
            "softmax_passes",
            "targets.base",
            "targets.csr",
            "targets.dispatch",
            "validation",
        },
        {"copy", "math", "numpy"},
    ),
    "norms": (set(), {"math", "numpy"}),
    "pickling": ({"targets.base", "targets.csr"}, STANDARD | {"mmap", "numpy"}),
    "validation": (
        {"interop.device_array", "interop.libraries", "targets.base", "targets.csr"},
        STANDARD | {"numpy", "types"},
    ),
    "graph": (set(), STANDARD),
    "_docs": (set(), {"re", "typing"}),
    "_version": (set(), set()),
    "njit": (
        COMPILED | {"api", "evaluation", "njit.*", "targets.base", "targets.csr", "targets.cpu.*", "targets.normalize"},
        None,
    ),
    "simd": (set(), STANDARD | {"numba", "llvmlite"}),
    "pointwise": (COMPILED, set()),
    "targets": (set(), set()),
    "targets.base": ({"targets.csr", "targets.frame"}, {"collections", "functools", "numpy", "typing"}),
    "targets.csr": (set(), {"collections", "numpy", "scipy", "sys"}),
    "targets.frame": (set(), {"numpy", "typing"}),
    "targets.normalize": (set(), set()),
    "targets.dispatch": (
        {"interop.device_array", "targets.base", "targets.csr"},
        STANDARD | {"contextvars", "importlib", "platform"},
    ),
    "targets.compile": (
        {"targets.pipeline"},
        STANDARD | {"hashlib", "numba", "pathlib", "pickle", "pkgutil", "secrets", "sys", "types"},
    ),
    "targets.pipeline": (set(), {"ctypes", "logging", "numba", "time"}),
    "targets.reference": ({"targets.base", "targets.csr"}, {"math", "numpy"}),
    # the record and the pointers below the kernels, the plans above them
    "targets.cpu": (
        {"pointwise", "simd", "targets.base", "targets.csr", "targets.cpu.*", "targets.dispatch", "targets.frame"},
        {"functools", "numba", "numpy", "struct", "threading"},
    ),
    "targets.cpu.pointers": (set(), {"ctypes", "llvmlite", "numba", "numpy", "sys"}),
    "targets.cpu.vectors": ({"simd"}, {"llvmlite", "numba"}),
    "targets.cpu.matrix": ({"simd", "targets.cpu.pointers", "targets.cpu.vectors"}, {"llvmlite", "numba"}),
    "targets.cpu.sparse_outputs": (set(), {"collections", "numpy", "typing"}),
    "targets.cpu.sparse_matrix": (
        {"simd", "targets.cpu.matrix", "targets.cpu.vectors"},
        {"functools", "llvmlite", "numba"},
    ),
    "targets.cpu.problem": ({"targets.cpu.pointers"}, {"numpy"}),
    "targets.cpu.profile": (
        {"targets.compile", "targets.cpu.pointers"},
        STANDARD | {"dataclasses", "json", "llvmlite", "numpy"},
    ),
    **{f"targets.cpu.{name}": (COMPILED | {"targets.cpu.*"}, STANDARD | {"numba", "numpy"}) for name in KERNELS},
    "targets.cpu.outputs": (COMPILED | {"pointwise", "targets.cpu.*"}, STANDARD | {"llvmlite", "numba"}),
    "targets.cpu.kernels": (COMPILED | {"pointwise", "targets.cpu.*"}, {"functools", "numba", "numpy"}),
    "targets.cpu.compensated": (COMPILED | {"pointwise", "targets.cpu.pointers", "targets.cpu.vectors"}, set()),
    "targets.cpu.epilogue": (
        COMPILED | {"pointwise", "targets.cpu.compensated", "targets.cpu.pointers", "targets.cpu.vectors"},
        {"collections", "numpy", "typing"},
    ),
    "targets.cpu.executor": (COMPILED | {"targets.cpu.*", "targets.normalize"}, {"math", "numba", "numpy"}),
    "targets.cuda": (
        COMPILED | SEEN | {"pointwise", "targets.base", "targets.csr", "targets.cuda.*", "targets.frame"},
        None,
    ),
}


def modules():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path):
    """Dotted names: of the package's own modules without its name, and of others."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            # `from package import x` names a module where x is one
            names = []
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.append(inner if inner.removeprefix("jitlogreg.") in MODULES else node.module)
        else:
            continue
        for name in names:
            if name.split(".")[0] == "jitlogreg":
                own.add(name.removeprefix("jitlogreg").removeprefix("."))
            else:
                others.add(name.split(".")[0])
    return own, others


def within(name, allowed):
    return name in allowed or any(f"{name}.".startswith(a.removesuffix("*")) for a in allowed if a.endswith(".*"))


def rule(module):
    """The rule of a module: its own, or that of the package it lies in; the root's is for the root alone."""
    while module and module not in ARROWS:
        module = module.rpartition(".")[0]
        if not module:
            return None
    return ARROWS[module]


@pytest.mark.parametrize("module", [name for name in MODULES if rule(name)])
def test_imports_follow_the_arrows(module):
    own, others = imports(MODULES[module])
    allowed_own, allowed_others = rule(module)
    assert [name for name in sorted(own) if not within(name, allowed_own)] == []
    if allowed_others is not None:
        assert sorted(others - allowed_others) == []


def test_modules_without_a_rule_are_imported_by_none_that_has_one():
    free = {name for name in MODULES if not rule(name)}
    assert {name: imports(MODULES[name])[0] & free for name in MODULES if rule(name)} == {
        name: set() for name in MODULES if rule(name)
    }


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in MODULES
        if not within(name, {"targets.compile", "targets.cuda.*", "cli.peers", "cli.outputs_peers"})
    ],
)
def test_numba_compiles_nothing_behind_the_back_of_compile(module):
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else node.id
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, (ast.Attribute, ast.alias, ast.Name))
    }
    assert not names & {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil"}


def test_what_is_numba_cuda_s_is_one_file():
    """Another compiler of CUDA kernels is one file's work."""
    mine = {name for name, path in MODULES.items() if {"numba.cuda", "numba_cuda"} & dotted(path)}
    assert mine == {"targets.cuda.intrinsics"}


def dotted(path):
    """What a file imports, and the packages of what it imports: `from numba import cuda` is numba.cuda."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[: i + 1]) for i in range(len(parts))}
    return found


def test_every_target_is_a_module_under_a_rule():
    for name in ("reference", "cpu"):
        assert f"targets.{name}" in MODULES
        assert f"targets.{name}" in ARROWS


def test_imports_run_in_no_circle():
    """Lazy imports within functions count as well."""
    graph = {name: imports(path)[0] & set(MODULES) - {name} for name, path in MODULES.items()}
    while leaves := {name for name, needed in graph.items() if not needed & set(graph)}:
        for name in leaves:
            del graph[name]
    assert {name: sorted(needed & set(graph)) for name, needed in graph.items()} == {}


# ---------------------------------------------------------------- what functions take, and ask

MOST_PARAMETERS = 10

# Kernels of the GPU, whose launch takes plain numbers
LAUNCHED = {f"targets.cuda.{name}.kernel" for name in ("descent", "l2_panels", "outputs.kernel")}


def trees():
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def parameters_of(function):
    """The parameters of a function, but for a method's own object or class."""
    of = function.args
    found = *of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg
    names = [parameter.arg for parameter in found if parameter is not None]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_function_takes_more_parameters_than_one_can_keep_apart():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    many = {
        f"{name}.{getattr(node, 'name', 'lambda')}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, functions) and len(parameters_of(node)) > MOST_PARAMETERS
    }
    public = {getattr(jitlogreg, name) for name in jitlogreg.__all__}
    exported = {f"{f.__module__.removeprefix('jitlogreg.')}.{f.__name__}" for f in public if inspect.isfunction(f)}
    assert many >= LAUNCHED  # else the list is behind
    assert many - LAUNCHED <= exported


def test_nobody_asks_a_target_what_it_has():
    offered = {name for name in (*vars(Target), *Target.__annotations__) if not name.startswith("_")}
    asked = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("hasattr", "getattr")
        and isinstance(node.args[1], ast.Constant)
        and (node.args[1].value in offered or last_name(node.args[0]) in ("target", "chosen", "kernels"))
    ]
    assert asked == []


def last_name(node):
    """What an expression is called last, without underscores: `self._target` is a target."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_")


# Comparisons with such a string that are not of a target, and the one of compiled code, whose types tell the target
COMPARED = {
    "interop.libraries: value.device.type == 'cuda'",
    "interop.wrapping: value.device.type != 'cpu'",
    "njit.overloads: target.literal_value == 'cpu'",
}


def test_nobody_asks_which_target_it_is():
    compared = {
        f"{name}: {ast.unparse(node)}"
        for name, tree in trees().items()
        if not within(name, {"targets.*", "cli.*"})
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(
            isinstance(inner, ast.Constant) and inner.value in NAMES
            for operand in (node.left, *node.comparators)
            for inner in ast.walk(operand)
        )
    }
    assert compared == COMPARED

"""Who may import whom: read from the sources, lazy imports within functions included."""

import ast
from pathlib import Path

import pytest

import jitlogreg

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
KERNELS = {"pointwise", "simd", "targets.compile", "targets.frame", "targets.layout", "targets.sums"}
SEEN = {"interop.device_array", "targets.dispatch"}
ARROWS = {
    # `overloads` and `scalar` on demand
    "": ({"_version", "api", "objective", "solvers.*", "targets.dispatch"}, {"importlib", "sys"}),
    "api": ({"_docs", "interop.wrapping", "objective", "targets.dispatch", "validation"}, {"numpy"}),
    "interop": ({"interop.*", "targets.dispatch"}, STANDARD | {"cuda", "inspect", "numpy", "sys"}),
    "interop.device_array": ({"interop.libraries"}, {"cuda", "numpy", "typing"}),  # cuda when there is such an array
    "interop.libraries": (set(), STANDARD | {"numpy", "sys"}),
    "solvers": (
        SEEN
        | {"_docs", "_version", "interop.wrapping", "linear_algebra", "objective", "solvers.*", "targets.frame"}
        | {"targets.sums", "validation"},
        STANDARD | {"io", "itertools", "json", "numpy", "pathlib", "rich", "zipfile"},
    ),
    "linear_algebra": ({"targets.compile"}, {"math", "numpy"}),
    "passes": ({"linear_algebra"}, {"math", "numpy"}),
    "dask": (
        SEEN
        | {"api", "interop.libraries", "linear_algebra", "objective", "passes", "pickling"}
        | {"targets.layout", "targets.sums", "validation"},
        STANDARD | {"cloudpickle", "dask", "io", "numpy", "pickle", "sys", "uuid"},
    ),
    "sklearn": ({"api", "objective", "solvers.*", "targets.layout"}, STANDARD | {"numpy", "sklearn"}),
    "objective": (
        SEEN | {"_docs", "interop.wrapping", "passes", "pickling", "targets.layout", "targets.sums", "validation"},
        STANDARD | {"copy", "numpy"},
    ),
    "pickling": ({"targets.layout"}, STANDARD | {"mmap", "numpy"}),
    "validation": ({"interop.device_array", "interop.libraries", "targets.layout"}, STANDARD | {"numpy", "types"}),
    "graph": (set(), STANDARD),
    "_docs": (set(), {"re", "typing"}),
    "_version": (set(), set()),
    "njit": (KERNELS | {"api", "njit.*", "objective", "targets.cpu.*"}, None),
    "simd": (set(), STANDARD | {"numba", "llvmlite"}),
    "pointwise": ({"simd", "targets.compile"}, {"math", "numba"}),
    "targets": (set(), set()),
    "targets.dispatch": ({"interop.device_array"}, STANDARD | {"contextvars", "importlib", "platform"}),
    "targets.frame": (set(), {"typing", "numpy"}),
    "targets.layout": (set(), STANDARD),
    "targets.sums": (set(), {"typing", "numpy"}),
    "targets.compile": (set(), None),
    "targets.reference": ({"targets.sums"}, {"math", "numpy"}),
    "targets.cpu": (KERNELS | {"targets.cpu.*", "targets.dispatch"}, None),
    "targets.cuda": (KERNELS | SEEN | {"targets.cuda.*"}, None),
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
    [name for name in MODULES if not within(name, {"targets.compile", "targets.cuda.*", "cli.peers"})],
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

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
KERNELS = {"scalar", "lanes", "targets.compile", "targets.frame", "targets.layout", "targets.sums"}
ARROWS = {
    # `overloads` and `scalar` on demand
    "": ({"api", "objective", "descent", "solvers.*", "minibatch", "targets"}, {"importlib", "sys"}),
    "api": ({"arrays", "checks", "objective", "targets"}, {"numpy"}),
    "arrays": ({"targets", "targets.device_array", "targets.libraries"}, STANDARD | {"inspect", "numpy", "sys"}),
    "checkpoint": ({""}, STANDARD | {"io", "json", "numpy", "pathlib", "zipfile"}),
    "descent": (
        {"arrays", "checkpoint", "checks", "objective", "progress", "targets", "targets.device_array", "targets.sums"},
        STANDARD | {"numpy"},
    ),
    "solvers": (
        {"arrays", "checkpoint", "checks", "descent", "linear_algebra", "objective", "progress", "solvers.*"}
        | {"targets.device_array", "targets.frame"},
        STANDARD | {"numpy"},
    ),
    "linear_algebra": ({"targets.compile"}, {"math", "numpy"}),
    "passes": ({"linear_algebra"}, {"math", "numpy"}),
    "dask": (
        {"api", "checks", "linear_algebra", "objective", "passes", "targets", "targets.device_array"}
        | {"targets.layout", "targets.libraries", "targets.sums", "travel"},
        STANDARD | {"cloudpickle", "dask", "io", "numpy", "pickle", "sys", "uuid"},
    ),
    "minibatch": (
        {"arrays", "blocks", "checks", "descent", "objective", "progress", "targets", "targets.device_array"},
        STANDARD | {"numpy"},
    ),
    "blocks": ({"arrays", "checks", "objective", "targets"}, STANDARD | {"itertools"}),
    "sklearn": ({"api", "objective", "solvers.*", "targets.layout"}, STANDARD | {"numpy", "sklearn"}),
    "objective": (
        {"arrays", "checks", "passes", "targets", "targets.device_array", "targets.layout"}
        | {"targets.sums", "travel"},
        STANDARD | {"copy", "numpy"},
    ),
    "travel": ({"targets.layout"}, STANDARD | {"mmap", "numpy"}),
    "checks": ({"targets.device_array", "targets.layout", "targets.libraries"}, STANDARD | {"numpy", "types"}),
    "graph": (set(), STANDARD),
    "progress": (set(), STANDARD | {"rich"}),
    "overloads": ({"api", "objective", "targets.cpu.*"}, {"functools", "numba"}),
    "lanes": (set(), STANDARD | {"numba", "llvmlite"}),
    "scalar": ({"lanes", "targets.compile"}, {"math", "numba"}),
    "targets": ({"targets.device_array"}, STANDARD | {"contextvars", "importlib", "platform"}),
    "targets.device_array": ({"targets.libraries"}, {"cuda", "numpy", "typing"}),  # cuda when there is such an array
    "targets.libraries": (set(), STANDARD | {"numpy", "sys"}),
    "targets.frame": (set(), {"typing", "numpy"}),
    "targets.layout": (set(), STANDARD),
    "targets.sums": (set(), {"typing", "numpy"}),
    "targets.compile": (set(), None),
    "targets.reference": ({"targets.sums"}, {"math", "numpy"}),
    "targets.cpu": (KERNELS | {"targets", "targets.cpu.*"}, None),
    "gpu_check": ({"", "targets.cuda.*", "targets.device_array", "targets.libraries", "gpu_check.*"}, None),
    "targets.cuda": (KERNELS | {"targets", "targets.cuda.*", "targets.device_array"}, None),
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
        if not within(name, {"targets.compile", "targets.cuda.*", "cli.peers", "gpu_check.peers"})
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
    # the other two make arrays of Numba's, as a user would
    assert mine == {"targets.cuda.device", "gpu_check.timing", "gpu_check.views"}


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

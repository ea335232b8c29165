"""Changes for `plants.py`: what makes the package slower, and what does not. Each is a list of replacements."""

CPU, POINTWISE = "jitlogreg/targets/cpu/__init__.py", "jitlogreg/pointwise.py"
EPILOGUE = "jitlogreg/targets/cpu/epilogue.py"
COMPILE, EVALUATION = "jitlogreg/targets/compile.py", "jitlogreg/evaluation.py"
CHUNKS, COMPENSATED = "jitlogreg/targets/cpu/row_chunks.py", "jitlogreg/targets/cpu/compensated.py"
COLUMNS, PARTITION = "jitlogreg/targets/cpu/column_major.py", "jitlogreg/targets/cpu/partition.py"
PROFILE = "jitlogreg/targets/cpu/profile.py"

_MEANS = "    means = target.means(problem, w, b, l2, dw)\n"
_SUMS = "    sums = target.sums(problem, w, b, with_gradient)\n"
_PLAN = '    plan, n = _plan("loss_gradient", problem, w, with_gradient), problem.X.shape[1]\n'
_PLAN_OF_MEANS = '    plan = _plan("loss_gradient", problem, w, True)\n    (memory, record), (loss'
_LANES, _OWN_COMPILE = "from jitlogreg.simd import", "from jitlogreg.targets.compile"
_EXP, _EXP_BODY = (
    "\n@pointwise\ndef exp_nonpositive",
    """    scale, part = _scaled_exp(x)
    value = fma(scale, part, scale)
    return where(x < _log_smallest(x), zeros(x), value)
""",
)
_LIBRARY_EXP = """
@intrinsic
def _library_exp(typingctx, x):
    def codegen(context, builder, sig, args):
        return call_llvm(builder, f"llvm.exp.{llvm_suffix(args[0].type)}", args[0].type, args)

    return x(x), codegen

"""
_NOGIL = '_entry(_named(function, f"{function.__name__}_serial"))'
_GIL = '_njit(_named(function, f"{function.__name__}_serial"), **_ENTRY)'
_ONCE = "    dispatcher.compile(argument_types)\n"
_AGAIN = """    for again in range(2):
        copy = _njit(_named(function, f"{name}_{again}"), nogil=True, forceinline=False)
        copy.compile(argument_types)
"""
_TOTALS = "    loss, db, weight, p, invalid = sums\n    zero, one = zeros(p), ones(p)\n"
_SHAPE = "        x, shape = matrix(t.x, t.frame, x0), (t.ld, t.n, t.sequential)\n"
_CLEAR = '''@inline
def clear(p, count):
    """Set `count` numbers to 0."""
    for i in range(count):
        store_scalar(p, i, 0)


'''
_FLUSH = "@inline\ndef flush("

SLOWER = {
    "a second read of X": [
        (EVALUATION, _MEANS, f"    target.sums(problem, w, b, False)\n{_MEANS}"),
        (EVALUATION, _SUMS, f"    target.sums(problem, w, b, False)\n{_SUMS}"),
    ],
    "a scalar exp": [
        (POINTWISE, _LANES, f"from jitlogreg.simd import call_llvm, llvm_suffix\n{_LANES}"),
        (POINTWISE, _OWN_COMPILE, f"from numba.extending import intrinsic\n{_OWN_COMPILE}"),
        (POINTWISE, _EXP, _LIBRARY_EXP + _EXP),
        (POINTWISE, _EXP_BODY, "    return where(x < _log_smallest(x), zeros(x), _library_exp(x))\n"),
    ],
    "blocks of rows that fit no cache": [(PARTITION, "= LANES, SEGMENT, 8 << 10", "= LANES, 1 << 14, 1 << 30")],
    "float64 arithmetic in the float32 path": [
        (
            CPU,
            _PLAN,
            f"    problem, w = problem._replace(y=problem.y.astype(np.float64)), w.astype(np.float64)\n{_PLAN}",
        ),
        (CPU, _PLAN_OF_MEANS, f"    if w.dtype == np.float32:\n        return None\n{_PLAN_OF_MEANS}"),
    ],
    "a copy of y": [
        (EVALUATION, _MEANS, f"    problem = problem._replace(y=problem.y.copy())\n{_MEANS}"),
        (EVALUATION, _SUMS, f"    problem = problem._replace(y=problem.y.copy())\n{_SUMS}"),
    ],
    "threads for small inputs too": [(PROFILE, "_SERIAL_BELOW = 1 << 19", "_SERIAL_BELOW = 0")],
    "the interpreter's lock is kept": [(COMPILE, _NOGIL, _GIL)],
    "the compiler is imported with the package": [
        ("jitlogreg/__init__.py", "from jitlogreg.api", "import jitlogreg.targets.cpu\nfrom jitlogreg.api"),
    ],
    "kernels compiled three times": [(COMPILE, _ONCE, _AGAIN + _ONCE)],
}

INNOCENT = {
    "comments in kernels": [
        (EPILOGUE, _TOTALS, f"    # of the examples before\n{_TOTALS}"),
        (CHUNKS, _SHAPE, f"        # X, and how it lies in memory\n{_SHAPE}"),
    ],
    "a variable by another name": [(EPILOGUE, "weighted_dz", "share_of_dz")],
    "functions in another order": [(COMPENSATED, _CLEAR, ""), (COMPENSATED, _FLUSH, _CLEAR + _FLUSH)],
    "a function by another name": [(COLUMNS, "_four_dots", "_dots_of_four")],
    "other words in docstrings and messages": [
        (EVALUATION, "Means from sums, with the penalty", "Means, from sums and the penalty"),
        (CPU, "The CPU target: blocks", "The target for CPUs: blocks"),
        ("jitlogreg/validation.py", "one example per row", "a row for each example"),
    ],
}

SAME = [f"the same commit, {times}" for times in ("once", "twice", "three times", "four times", "five times")]

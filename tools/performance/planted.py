"""Changes for `plants.py`: what makes the package slower, and what does not. Each is a list of replacements."""

CPU, SCALAR, LINK = "jitlogreg/targets/cpu/__init__.py", "jitlogreg/pointwise.py", "jitlogreg/targets/cpu/epilogue.py"
COMPILE, OBJECTIVE = "jitlogreg/targets/compile.py", "jitlogreg/objective.py"
DRIVERS, ACCUMULATE = "jitlogreg/targets/cpu/drivers.py", "jitlogreg/targets/cpu/compensated.py"
COLUMNS, PARTITION = "jitlogreg/targets/cpu/column_major.py", "jitlogreg/targets/cpu/partition.py"
PROFILE = "jitlogreg/targets/cpu/profile.py"

_SUMS = "    sums = kernels.sums(X, y, w, b, sample_weight, with_gradient)\n"
_PLAN = "    totals = np.zeros((2, (_room(n) if"
_LANES, _OWN_COMPILE = "from jitlogreg.simd import", "from jitlogreg.targets.compile"
_EXP, _EXP_BODY = (
    "\n@example\ndef exp_nonpositive",
    """    shifted = fma(x, _log2_of_e(x), _round_and_bias(x))
    k = shifted - _round_and_bias(x)
    exact = fma(-k, _log2_high(x), x)
    r = fma(-k, _log2_low(x), exact)
    lost = fma(-k, _log2_low(x), exact - r)
    scale = exponent_from_low_bits(shifted)
    value = fma(scale, fma(r * r, _exp_tail(r), lost) + r, scale)
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
_NOGIL = 'numba.njit(nogil=True, **_FLAGS)(_named(function, "serial"))'
_ONCE = "    dispatcher.compile(argument_types)\n"
_AGAIN = """    for again in range(2):
        copy = numba.njit(nogil=True, **_FLAGS)(_named(function, f"{variant}_{again}"))
        copy.compile(argument_types)
"""
_TOTALS = "    loss, db, weight, p, invalid = sums\n"
_SIZES = "    n, room = t.n, t.room"
_CLEAR = '''@inline
def clear(p, count):
    """Set `count` numbers to 0."""
    for i in range(count):
        put(p, i, 0)


'''
_FLUSH = "@inline\ndef flush("

SLOWER = {
    "a second read of X": [
        (OBJECTIVE, _SUMS, f"    kernels.sums(Problem.of(X, y, sample_weight), w, b, False)\n{_SUMS}")
    ],
    "a scalar exp": [
        (SCALAR, _LANES, f"from jitlogreg.simd import call_llvm, llvm_suffix\n{_LANES}"),
        (SCALAR, _OWN_COMPILE, f"from numba.extending import intrinsic\n{_OWN_COMPILE}"),
        (SCALAR, _EXP, _LIBRARY_EXP + _EXP),
        (SCALAR, _EXP_BODY, "    return where(x < _log_smallest(x), zeros(x), _library_exp(x))\n"),
    ],
    "blocks of rows that fit no cache": [(PARTITION, "= LANES, SEGMENT, 8 << 10", "= LANES, 1 << 14, 1 << 30")],
    "float64 arithmetic in the float32 path": [
        (CPU, _PLAN, f"    y, w = y.astype(np.float64), w.astype(np.float64)\n{_PLAN}"),
    ],
    "a copy of y": [(OBJECTIVE, _SUMS, f"    y = y.copy()\n{_SUMS}")],
    "threads for small inputs too": [(PROFILE, "_SERIAL_BELOW = 1 << 19", "_SERIAL_BELOW = 0")],
    "the interpreter's lock is kept": [(COMPILE, _NOGIL, _NOGIL.replace("nogil=True, ", ""))],
    "the compiler is imported with the package": [
        ("jitlogreg/__init__.py", "from jitlogreg.api", "import jitlogreg.targets.cpu\nfrom jitlogreg.api"),
    ],
    "kernels compiled three times": [(COMPILE, _ONCE, _AGAIN + _ONCE)],
}

INNOCENT = {
    "comments in kernels": [
        (LINK, _TOTALS, f"    # of the examples before\n{_TOTALS}"),
        (DRIVERS, _SIZES, f"    # columns, and the columns that have sums\n{_SIZES}"),
    ],
    "a variable by another name": [(LINK, "total", "of_residuals")],
    "functions in another order": [(ACCUMULATE, _CLEAR, ""), (ACCUMULATE, _FLUSH, _CLEAR + _FLUSH)],
    "a function by another name": [(COLUMNS, "_four_dots", "_dots_of_four")],
    "other words in docstrings and messages": [
        (OBJECTIVE, "Means from sums, with the penalty", "Means, from sums and the penalty"),
        (CPU, "The CPU target: blocks", "The target for CPUs: blocks"),
        ("jitlogreg/validation.py", "one example per row", "a row for each example"),
    ],
}

SAME = [f"the same commit, {times}" for times in ("once", "twice", "three times", "four times", "five times")]

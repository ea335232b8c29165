"""The mutants: what `run.py` puts in the place of what, one at a time."""

from typing import NamedTuple

CPU = "jitlogreg/targets/cpu/"
_OUTPUTS, _SOLVERS = CPU + "outputs/", "jitlogreg/solvers/"
_CHUNKS, _PANELS, _NORMALIZE = CPU + "row_chunks.py", CPU + "column_panels.py", "jitlogreg/targets/normalize.py"
_CSR, _SPARSE_ROWS, _SPARSE_MATRIX = "jitlogreg/targets/csr.py", CPU + "sparse_rows.py", CPU + "sparse_matrix.py"


OUTPUTS_FILES = [
    _OUTPUTS + f"{name}.py" for name in ("chunks", "column_major", "row_major", "sigmoid", "softmax", "tiles")
]

OFFSET_FILES = ["jitlogreg/row_passes.py", "jitlogreg/softmax_passes.py", _SOLVERS + "separation.py"]

SELECTION_FILES = [
    _SOLVERS + f"{name}.py" for name in ("cross_validation", "intervals", "lockstep", "resamples", "scoring")
]


class Mutant(NamedTuple):
    """A file, what stands there once, and what is put in its place."""

    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(*change)
    for change in (
        # signs
        (
            "jitlogreg/pointwise.py",
            "e = exp_nonpositive(-abs(z))\n    return where",
            "e = exp_nonpositive(abs(z))\n    return where",
        ),
        ("jitlogreg/pointwise.py", "exact = fma(-k, _log2_high(x), x)", "exact = fma(k, _log2_high(x), x)"),
        ("jitlogreg/pointwise.py", "lost = fma(-k, _log2_low(x), exact - r)", "lost = fma(k, _log2_low(x), exact - r)"),
        ("jitlogreg/pointwise.py", "return ones(e) - t, fma(-e, t, e)", "return ones(e) - t, fma(e, t, e)"),
        ("jitlogreg/pointwise.py", "return log1p_unit(e) + linear, dz", "return log1p_unit(e) - linear, dz"),
        ("jitlogreg/pointwise.py", "left = fma(-s, d, e) - s *", "left = fma(-s, d, e) + s *"),
        ("jitlogreg/pointwise.py", "left * (ones(e) - s)) + (s + s)", "left * (ones(e) + s)) + (s + s)"),
        ("jitlogreg/pointwise.py", "size = fma(misfit, upper, -fit * lower)", "size = fma(misfit, upper, fit * lower)"),
        ("jitlogreg/pointwise.py", "where(negative, -size, size)", "where(negative, size, size)"),
        (
            "jitlogreg/pointwise.py",
            "return total, (a - (total - part)) + (b - part)",
            "return total, (a - (total - part)) - (b - part)",
        ),
        # comparisons, and what is chosen
        (
            "jitlogreg/pointwise.py",
            "return where(z < zeros(z), lower, upper)",
            "return where(z > zeros(z), lower, upper)",
        ),
        (
            "jitlogreg/pointwise.py",
            "where(misfit > zeros(z), misfit * abs(z)",
            "where(misfit < zeros(z), misfit * abs(z)",
        ),
        ("jitlogreg/pointwise.py", "misfit = where(negative, y, not_y)", "misfit = where(negative, not_y, y)"),
        (
            "jitlogreg/pointwise.py",
            "return where(z < zeros(z), z, zeros(z)) -",
            "return where(z > zeros(z), z, zeros(z)) -",
        ),
        ("jitlogreg/pointwise.py", "return where(x < _log_smallest(x), zeros(x), value)", "return value"),
        # constants
        ("jitlogreg/pointwise.py", "0.6931471805599453,", "0.6931471805599454,"),
        ("jitlogreg/pointwise.py", "0.693147182}", "0.693147123}"),
        ("jitlogreg/pointwise.py", "2.3190468138462996e-17", "2.3190468138462996e-16"),
        ("jitlogreg/pointwise.py", '"float32": -1.90465421e-9', '"float32": 1.90465421e-9'),
        ("jitlogreg/pointwise.py", '"float64": 1.4426950408889634', '"float64": 1.5426950408889634'),
        ("jitlogreg/pointwise.py", "1.5 * 2**52 + 1023", "1.5 * 2**52 + 1022"),
        ("jitlogreg/pointwise.py", "-708.3964185322641", "-707.3964185322641"),
        ("jitlogreg/pointwise.py", "0.008333333333330038", "0.008333333333330138"),
        ("jitlogreg/pointwise.py", "0.400075606", "0.400075706"),
        ("jitlogreg/pointwise.py", "0.16164045611943532", "0.16164045611943533"),
        # bounds, remainders and indices
        (
            CPU + "row_major.py",
            "    if full < n:\n        prefetch(x, prefetched + step * full, 4)\n        sums",
            "    if full < 0:\n        prefetch(x, prefetched + step * full, 4)\n        sums",
        ),
        (CPU + "matrix.py", "emit_fma(builder, row(k), args[5], a)", "emit_fma(builder, row(min(k, 2)), args[5], a)"),
        (CPU + "row_major.py", "full = n // UNROLL * UNROLL,", "full = (n - 1) // UNROLL * UNROLL,"),
        (
            CPU + "row_major.py",
            "for j in range(unrolled, full, LANES):",
            "for j in range(unrolled, full - LANES, LANES):",
        ),
        (CPU + "row_major.py", "    if full < n:\n        a1 =", "    if full > n:\n        a1 ="),
        (CPU + "row_major.py", "row = (r + k) * ld", "row = (r + min(k, 2)) * ld"),
        (
            CPU + "row_major.py",
            "fma(first, w0, fma(second, w1, b))",
            "fma(first, w1, fma(second, w0, b))",
        ),
        (CPU + "row_major.py", "transpose_sum((a0, a1, nothing", "transpose_sum((a1, a0, nothing"),
        (CPU + "row_major.py", "transpose_sum(upper + lower) + b)", "transpose_sum(upper + lower) - b)"),
        (
            CPU + "matrix.py",
            "chain = emit_fma(builder, row(k), weights[k], chain)",
            "chain = emit_fma(builder, row(k), weights[min(k, 5)], chain)",
        ),
        (
            CPU + "row_major.py",
            "store(g, full, load(g, full, like) + weighted_rows(",
            "store(g, full, load(g, 0, like) + weighted_rows(",
        ),
        (
            CPU + "row_major.py",
            "            for k in range(LANES - pad):\n                store_scalar(",
            "            for k in range(1, LANES - pad):\n                store_scalar(",
        ),
        (
            CPU + "row_major.py",
            "        if full < n:\n            store(g, full, fma(",
            "        if full < n - 1:\n            store(g, full, fma(",
        ),
        (CPU + "column_major.py", "    for j in range(full, n):\n", "    for j in range(full, n - 1):\n"),
        (CPU + "column_major.py", "LANES - pad, b), weight, load(z, 0, b)))", "LANES - pad, b), weight, b))"),
        (CPU + "column_major.py", "ROWS_AT_ONCE = 128", "ROWS_AT_ONCE = 1024"),
        (CPU + "matrix.py", "columns[k + 1], weights[k + 1],", "columns[k + 1], weights[k + (k != 4)],"),
        (CPU + "matrix.py", "builder.fadd(sums[2], sums[3]))", "builder.fsub(sums[2], sums[3]))"),
        (CPU + "column_major.py", "load(z, 0, b) + weighted_columns(", "load(z, 0, b) - weighted_columns("),
        (CPU + "column_major.py", "stop = minimum(r + ROWS_AT_ONCE, rows)", "stop = r + minimum(ROWS_AT_ONCE, rows)"),
        (CPU + "column_major.py", "i + (n - 1) * ld", "i + (n - 2) * ld"),
        (
            CPU + "column_major.py",
            "sums = fma_columns(x, starts, r,",
            "sums = fma_columns(x, (starts[0], starts[1], starts[2], starts[2]), r,",
        ),
        (CPU + "epilogue.py", "p = fma(p, e, p + e)", "p = fma(p, e, e)"),
        (CPU + "epilogue.py", "SEGMENT = 64", "SEGMENT = 512"),
        (
            CPU + "epilogue.py",
            "invalid = where(yi * (one - yi) >= zero, invalid, one)",
            "invalid = where(yi * (one + yi) >= zero, invalid, one)",
        ),
        (CPU + "epilogue.py", "where(si >= zero, invalid, one), one)", "where(si >= -one, invalid, one), one)"),
        (CPU + "epilogue.py", "weight += splat(float(rows) / LANES)", "weight += splat(float(rows - 1) / LANES)"),
        (CPU + "epilogue.py", "loss += widen(si) * widen(loss_i)", "loss += widen(loss_i)"),
        (CPU + "epilogue.py", "    for i in range(k, SEGMENTS):\n", "    for i in range(k + 1, SEGMENTS):\n"),
        (CPU + "epilogue.py", "    half = SEGMENTS // 2\n", "    half = SEGMENTS // 4\n"),
        (CPU + "epilogue.py", "merged[1] + db, merged[2] + weight", "merged[1] - db, merged[2] + weight"),
        (
            CPU + "compensated.py",
            "store_scalar(low, 0, load_scalar(low, 0) + lost)",
            "store_scalar(low, 0, load_scalar(low, 0) - lost)",
        ),
        (CPU + "compensated.py", "store(low, j, load(low, j, wide) + lost)", "store(low, j, load(low, j, wide))"),
        (CPU + "compensated.py", "store(g, j, zeros(like))", "store(g, j, load(g, j, like))"),
        (_CHUNKS, "blocks // t.tasks * t.rows, full), 0", "blocks // t.tasks * t.rows, full - 8), 0"),
        (_CHUNKS, "for r in range(rows - pad, rows):", "for r in range(rows - pad + 1, rows):"),
        (CPU + "compensated.py", "+ (lost + load(low_part, j, like))", "+ lost"),
        (CPU + "executor.py", "last = minimum(width, first + ADDED_AT_ONCE)", "last = width"),
        (CPU + "compensated.py", "where(is_finite, total + load(low, j, like), total)", "total + load(low, j, like)"),
        (CPU + "epilogue.py", "            if segments == SEGMENTS:", "            if segments == SEGMENTS + 1:"),
        (
            CPU + "dot.py",
            "    for j in range(full, stop, LANES):\n",
            "    for j in range(full, stop - LANES, LANES):\n",
        ),
        (CPU + "epilogue.py", "return state, state[1] == 0", "return state, state[1] < 0"),
        (CPU + "epilogue.py", "            store_scalar(to, r, 1)\n", "            store_scalar(to, r, 0)\n"),
        (
            CPU + "epilogue.py",
            "if r < LANES - pad:\n            store_scalar(to, r, 1)",
            "if r <= LANES - pad:\n            store_scalar(to, r, 1)",
        ),
        (_PANELS, "for panel in range(t.tasks):", "for panel in range(1, t.tasks):"),
        (_PANELS, "row + t.rows >= t.m", "row + t.rows > t.m"),
        (
            _PANELS,
            "    for r in range(count, (count + LANES - 1) // LANES * LANES):\n",
            "    for r in range(0):\n",
        ),
        (_PANELS, "load_scalar(high, j) + load_scalar(low, j)", "load_scalar(high, j) - load_scalar(low, j)"),
        (_PANELS, "(minimum(SEGMENT, full - r), 0)", "(minimum(SEGMENT, full), 0)"),
        (_PANELS, "rows, pad, offset(dz, r), g,", "rows, pad, dz, g,"),
        (
            CPU + "compensated.py",
            "for part in range(parts):\n        high_part",
            "for part in range(1, parts):\n        high_part",
        ),
        (CPU + "vectors.py", 'builder.icmp_signed("<", lane', 'builder.icmp_signed("<=", lane'),
        (
            CPU + "partition.py",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most)",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most) + 1",
        ),
        (CPU + "__init__.py", "else data_address(s), s is not None", "else data_address(s), s is None"),
        (_NORMALIZE, "return loss + 0.5 * l2 * squares", "return loss + l2 * squares"),
        (_NORMALIZE, "return gradient + l2 * w", "return gradient - l2 * w"),
        (_NORMALIZE, "return total / weight", "return total / weight + 1e-15"),
        ("jitlogreg/evaluation.py", "if not 0 < weight < math.inf:", "if not 0 <= weight < math.inf:"),
        (CPU + "executor.py", "_mean(t.loss, t.weight), _mean(t.db, t.weight)", "_mean(t.loss, t.weight), t.db"),
        ("jitlogreg/evaluation.py", "if not valid or not", "if not valid and not"),
        # K outputs
        ("jitlogreg/pointwise.py", "part + fma(part, rest, rest), scale)", "part + fma(part, rest, zeros(x)), scale)"),
        ("jitlogreg/pointwise.py", "return fma(-scale * rest, scale, scale)", "return scale"),
        ("jitlogreg/pointwise.py", "return difference - (log_total - lost)", "return difference - log_total"),
        ("jitlogreg/pointwise.py", "e, -(y * others)) * scale", "e, y * others) * scale"),
        (_OUTPUTS + "tiles.py", "chains[k][r % 2]\n", "chains[k][(r // 4) % 2]\n"),
        (
            _OUTPUTS + "tiles.py",
            "totals[own] = emit_fma(builder, numbers[r]",
            "totals[own] = emit_fma(builder, numbers[0]",
        ),
        (_OUTPUTS + "row_major.py", "first, ahead, step = first + count, 0, 0", "first, ahead, step = first + 4, 0, 0"),
        (_OUTPUTS + "row_major.py", "offset(dz, first * z_step), models", "offset(dz, 0), models"),
        (_OUTPUTS + "column_major.py", "_add(left[4:8], right[4:8]", "_add(left[4:8], right[:4]"),
        (_OUTPUTS + "column_major.py", "offset(z, k * z_step), first + (ahead", "offset(z, 0), first + (ahead"),
        (_OUTPUTS + "sigmoid.py", "i + k * t.y_step, pad, copies)", "i, pad, copies)"),
        (_OUTPUTS + "sigmoid.py", "store(narrow, 8, sums[4])", "store(narrow, 16, sums[4])"),
        (_OUTPUTS + "softmax.py", "misfit = where(y == which, -(difference + lost), misfit)", "misfit = zeros(misfit)"),
        (
            _OUTPUTS + "softmax.py",
            "low, which = low + rounded, which + ones(e)\n    return",
            "which = which + ones(e)\n    return",
        ),
        (_OUTPUTS + "softmax.py", "high + low, ones(e) + ((high - e) + low))", "high + low, ones(e) - e)"),
        (_OUTPUTS + "chunks.py", "stage + STAGES > t.stages)", "stage > 0)"),
        (_OUTPUTS + "chunks.py", "first = stage // STAGES * t.wave", "first = 0"),
        (_OUTPUTS + "chunks.py", "for k in range(t.outputs if counts[0] == 0 else 0):", "for k in range(0):"),
        # offsets
        (CPU + "epilogue.py", "for r in range(full, rows - pad):", "for r in range(full, full):"),
        (_OUTPUTS + "chunks.py", "add_offset(t, i + k * t.offset_step,", "add_offset(t, i,"),
        (_PANELS, "add_offset(t, first, count, 0, z)", "add_offset(t, 0, count, 0, z)"),
        ("jitlogreg/row_passes.py", 'activate("sigmoid", opposite, -w', 'activate("sigmoid", block, -w'),
        ("jitlogreg/softmax_passes.py", "4.0 * weights, offset=None)", "4.0 * weights)"),
        (_SOLVERS + "separation.py", "z = self.Z @ theta + self.offset", "z = self.Z @ theta"),
        # models side by side
        (_SOLVERS + "lockstep.py", "if self._taken[0] != numbers:", "if self._taken[0] is None:"),
        (_SOLVERS + "lockstep.py", "self._keep(k, request, own)", "self._keep(j, request, own)"),
        (_SOLVERS + "cross_validation.py", "left_out] = 0.0", "left_out] = 1.0"),
        (_SOLVERS + "scoring.py", "np.cumsum(negative) - negative / 2", "np.cumsum(negative)"),
        (_SOLVERS + "resamples.py", "default_rng([seed, number])", "default_rng([seed, 0])"),
        (_SOLVERS + "intervals.py", "skewness = third - 3 * first * second", "skewness = third - first * second"),
        (_SOLVERS + "curvature.py", "shared if shared.is_well_conditioned else NoModel()", "NoModel()"),
        # sparse rows
        (_SPARSE_ROWS, "in_order = in_order and following >= last", "in_order = in_order and following >= first"),
        (_SPARSE_ROWS, "last > load_scalar(x[2], COUNT)", "last > load_scalar(x[2], COUNT) + 1"),
        (_SPARSE_ROWS, "if largest_of(x[1], p) >= n:", "if largest_of(x[1], p) > n:"),
        (_SPARSE_ROWS, "outside += j < 0 or j >= n", "outside += j >= n"),
        (
            _SPARSE_ROWS,
            "for p in range(full, last):\n            rest",
            "for p in range(full + 1, last):\n            rest",
        ),
        (_SPARSE_ROWS, "margins(x, i, count, v, load_scalar(v, t.n), u)", "margins(x, i, count, v, t.b, u)"),
        (_SPARSE_ROWS, "for r in range(count, rows):", "for r in range(rows, rows):"),
        (_SPARSE_ROWS, "if q < p and j == k:", "if q < p and j > k:"),
        (_SPARSE_MATRIX, 'builder.icmp_unsigned(">", a, b), a, b)', 'builder.icmp_signed(">", a, b), a, b)'),
        (_SPARSE_MATRIX, "I64(2**63 - 1), largest)", "largest, largest)"),
        (_SPARSE_MATRIX, "builder.store(builder.fadd(builder.load(below), lost), below)", "builder.store(lost, below)"),
        (_SPARSE_MATRIX, "added = builder.fsub(after, before)", "added = builder.fmul(after, before)"),
        (
            CPU + "compensated.py",
            "for part in range(parts):\n        of_part",
            "for part in range(1, parts):\n        of_part",
        ),
        (_CSR, "not all(np.all(part == 1)", "not all(np.any(part == 1)"),
        (_CSR, "np.repeat(starts - indptr[:-1], lengths)", "np.repeat(starts, lengths)"),
        (_CSR, 'f"a column from 0 to {n - 1}", first)', 'f"a column from 0 to {n - 1}", 0)'),
        (_CSR, "part.indptr[:-1].astype(np.int64) - part.indptr[0] + end", "part.indptr[:-1].astype(np.int64) + end"),
        (CPU + "sparse_outputs.py", "problem._replace(offset=None), *along)", "problem, *along)"),
    )
]

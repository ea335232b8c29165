"""The mutants: what `run.py` puts in the place of what, one at a time."""

from typing import NamedTuple

CPU = "jitlogreg/targets/cpu/"
_PANELS = CPU + "column_panels.py"


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
            "    if whole < n:\n        j, rest = whole, n - whole\n        v, of =",
            "    if whole < 0:\n        j, rest = whole, n - whole\n        v, of =",
        ),
        (
            CPU + "row_major.py",
            "i1, i2, i3 = i + leading, i + 2 * leading, i + 3 * leading",
            "i1, i2, i3 = i + leading, i + 2 * leading, i + 2 * leading",
        ),
        (CPU + "row_major.py", "whole = n // step * step", "whole = (n - 1) // step * step"),
        (
            CPU + "row_major.py",
            "for j in range(whole, vectors, LANES):",
            "for j in range(whole, vectors - LANES, LANES):",
        ),
        (CPU + "row_major.py", "    if vectors < n:\n", "    if vectors > n:\n"),
        (CPU + "row_major.py", "a2 = _one_dot(x, i + 2 * leading", "a2 = _one_dot(x, i + 3 * leading"),
        (
            CPU + "row_major.py",
            "fma(first, w0, fma(second, w1, b))",
            "fma(first, w1, fma(second, w0, b))",
        ),
        (CPU + "row_major.py", "sum_each(a0, a1, zero, zero", "sum_each(a1, a0, zero, zero"),
        (CPU + "row_major.py", "a4, a5, a6, a7) + b)", "a4, a5, a6, a7) - b)"),
        (
            CPU + "row_major.py",
            "p = fma(standardized(load(x, i6 + j, like), of), d6, p)",
            "p = fma(standardized(load(x, i6 + j, like), of), d5, p)",
        ),
        (
            CPU + "row_major.py",
            "q = fma(standardized(load_first(x, i7 + j, rest, like), of), d7, q)",
            "q = fma(standardized(load_first(x, i7 + j, rest, like), of), d7, p)",
        ),
        (
            CPU + "row_major.py",
            "    for r in range(rows):\n        row = i + r * leading\n        put",
            "    for r in range(1, rows):\n        row = i + r * leading\n        put",
        ),
        (CPU + "row_major.py", "        if rest > 0:\n", "        if rest > 1:\n"),
        (
            CPU + "column_major.py",
            "    for j in range(whole, n):\n        column",
            "    for j in range(whole, n - 1):\n        column",
        ),
        (
            CPU + "column_major.py",
            "    for j in range(whole, n):\n        total",
            "    for j in range(whole, n - 1):\n        total",
        ),
        (CPU + "column_major.py", "ROWS_AT_ONCE = 128", "ROWS_AT_ONCE = 1024"),
        (
            CPU + "column_major.py",
            "s = fma(standardized(load(x, i5 + r, b), of5), w5,",
            "s = fma(standardized(load(x, i5 + r, b), of5), w4,",
        ),
        (CPU + "column_major.py", "load(z, r, b) + ((p + q) + (s + t))", "load(z, r, b) + ((p + q) + (s - t))"),
        (CPU + "column_major.py", "total + ((p + q) + (s + t))", "total + ((p + q) + (s - t))"),
        (CPU + "column_major.py", "count = min(ROWS_AT_ONCE, rows - r)", "count = min(ROWS_AT_ONCE, rows)"),
        (CPU + "column_major.py", "last = i + (n - 1) * leading", "last = i + (n - 2) * leading"),
        (
            CPU + "column_major.py",
            "a3 = fma(standardized(load(x, i3 + r, like), of3), d, a3)",
            "a3 = fma(standardized(load(x, i2 + r, like), of3), d, a3)",
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
        (CPU + "epilogue.py", "held[1] + db, held[2] + weight", "held[1] - db, held[2] + weight"),
        (CPU + "compensated.py", "put(low, k, get(low, k) + lost)", "put(low, k, get(low, k) - lost)"),
        (CPU + "compensated.py", "store(low, j, load(low, j, wide) + lost)", "store(low, j, load(low, j, wide))"),
        (CPU + "compensated.py", "store(g, j, zeros(like))", "store(g, j, load(g, j, like))"),
        (
            CPU + "chunks.py",
            "min((chunk + 1) * blocks // chunks * block, m)",
            "min((chunk + 1) * blocks // chunks * block, m - 8)",
        ),
        (
            CPU + "drivers.py",
            "        for r in range(count - pad, count):\n",
            "        for r in range(count - pad + 1, count):\n",
        ),
        (CPU + "drivers.py", "+ (lost + load(low_part, j, like))", "+ lost"),
        (CPU + "drivers.py", "last = width if first + 2 * ADDED_AT_ONCE > width", "last = width if True"),
        (CPU + "drivers.py", "        if math.isfinite(get(high, j)):", "        if True:"),
        (CPU + "drivers.py", "            if segments == SEGMENTS or", "            if segments == SEGMENTS + 1 or"),
        (
            CPU + "drivers.py",
            "    for j in range(whole, stop, LANES):\n",
            "    for j in range(whole, stop - LANES, LANES):\n",
        ),
        (CPU + "drivers.py", "if f_order is None and pending == 0:", "if f_order is None and pending < 0:"),
        (CPU + "remainder.py", "            put(tail, r, 1)\n", "            put(tail, r, 0)\n"),
        (CPU + "remainder.py", "if r < count:", "if r <= count:"),
        (_PANELS, "for panel in range(t.panels):", "for panel in range(1, t.panels):"),
        (_PANELS, "row + t.strip >= t.m", "row + t.strip > t.m"),
        (
            _PANELS,
            "    for r in range(count, full):\n        put(z, r, 0)  #",
            "    for r in range(0):\n        put(z, r, 0)  #",
        ),
        (_PANELS, "put(high, j, get(high, j) + get(low, j))", "put(high, j, get(high, j) - get(low, j))"),
        (_PANELS, "examples = examples // LANES * LANES", "examples = examples // LANES * LANES - LANES"),
        (_PANELS, "n, offset(dz, whole), count - whole,", "n, dz, count - whole,"),
        (_PANELS, "for block in range(blocks):", "for block in range(1, blocks):"),
        (CPU + "pointers.py", 'builder.icmp_signed("<", lane', 'builder.icmp_signed("<=", lane'),
        (
            CPU + "partition.py",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most)",
            "chunks = min(chunk_count(m // LANES * LANES, n + POINTWISE_COST, block), most) + 1",
        ),
        (
            CPU + "__init__.py",
            "return (0, 0) if sample_weight is None else",
            "return (0, 0) if sample_weight is not None else",
        ),
        ("jitlogreg/objective.py", "loss += 0.5 * l2", "loss += l2"),
        ("jitlogreg/objective.py", "dw += l2 * w_wide", "dw -= l2 * w_wide"),
        ("jitlogreg/objective.py", "loss = sums.loss / sums.weight", "loss = sums.loss / sums.weight + 1e-15"),
        ("jitlogreg/objective.py", "if not 0 < weight < math.inf:", "if not 0 <= weight < math.inf:"),
        (
            "jitlogreg/objective.py",
            "return LossAndGradient(loss, dw_out, sums.db / sums.weight)",
            "return LossAndGradient(loss, dw_out, sums.db)",
        ),
        ("jitlogreg/objective.py", "if not valid or not", "if not valid and not"),
    )
]

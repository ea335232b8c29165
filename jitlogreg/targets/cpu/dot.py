"""Σ xⱼ wⱼ of two vectors, as a kernel: the notes' first example of what vectors are good for."""

from jitlogreg.simd import LANES, fma
from jitlogreg.targets.cpu.compensated import clear
from jitlogreg.targets.cpu.epilogue import LOSS
from jitlogreg.targets.cpu.pointers import offset, pointer_to, store_scalar
from jitlogreg.targets.cpu.problem import problem_at
from jitlogreg.targets.cpu.vectors import horizontal_sum, load, load_masked, minimum, splat

# Numbers in a block
BLOCK = 4 * LANES


def dot_task(number, problem, x0, w0):
    """Σ xⱼ wⱼ of one chunk, in float64, by four vectors of partial sums, in place of a loss."""
    t = problem_at(problem)
    a0 = splat(0.0)
    a1, a2, a3, like = a0, a0, a0, a0
    x, w, blocks = pointer_to(t.x, x0), pointer_to(t.w, w0), (t.n + t.rows - 1) // t.rows
    start, stop = number * blocks // t.tasks * t.rows, minimum((number + 1) * blocks // t.tasks * t.rows, t.n)
    full = stop // (4 * LANES) * (4 * LANES)
    for j in range(start, full, 4 * LANES):
        a0 = fma(load(x, j, like), load(w, j, like), a0)
        a1 = fma(load(x, j + LANES, like), load(w, j + LANES, like), a1)
        a2 = fma(load(x, j + 2 * LANES, like), load(w, j + 2 * LANES, like), a2)
        a3 = fma(load(x, j + 3 * LANES, like), load(w, j + 3 * LANES, like), a3)
    for j in range(full, stop, LANES):
        rest = minimum(LANES, stop - j)
        a0 = fma(load_masked(x, j, rest, like), load_masked(w, j, rest, like), a0)
    high = offset(pointer_to(problem + t.partials, 0.0), number * 2 * t.width)
    clear(high, 2 * t.width)
    store_scalar(high, LOSS, horizontal_sum((a0 + a1) + (a2 + a3)))

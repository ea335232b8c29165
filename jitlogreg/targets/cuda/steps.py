"""The host's side of gradient descent on a device: it launches some steps at a time, and looks at what they did."""

import numba
import numpy as np

from jitlogreg.targets.base import Steps
from jitlogreg.targets.cuda import descent, driver, plan
from jitlogreg.targets.cuda.descent import ENDED, LAST, NORM, REPORT, SUM_OF_WEIGHTS, WRONG
from jitlogreg.targets.cuda.launch import REGIMES, placed
from jitlogreg.targets.cuda.totals import TOTALS

# What a launch may take, in seconds, so that the host can be interrupted; and the most steps of one
LAUNCH_SECONDS = 0.1
MOST_STEPS = 4096

# The time of a step, to guess how many fit: bytes per second, and what a small problem takes
BYTES_PER_SECOND, STEP_SECONDS = 1e12, 10e-6

# Registers for 512 threads a multiprocessor: the kernel holds all of a step
RESIDENT_THREADS = 512

# Up to so many numbers that blocks leave behind, one block adds them up: to meet once more takes longer
FEW_NUMBERS = 1 << 14


def descend(X, y, w, b, sample_weight, learning_rate, n_iterations, l2, tolerance, each_step):
    """Descend, and yield what was reached after each launch, or after each step if `each_step`."""
    n, dtype = X.shape[1], w.dtype
    size = dtype.itemsize
    with placed(X) as call:
        p = _resident(call.plan(w), call)
        apart = -(-(n + 1) // 8) * 8  # each row begins where vectors can be read
        at_once = 1 if each_step else _steps_of_a_launch(X)
        left, totals, work, parameters, history, report = call.scratch(
            plan.left_size(p, n) * size,
            (n + TOTALS) * 8,
            p.scratch * size,
            2 * apart * size,
            at_once * 8,
            REPORT * 8,
        )
        driver.copy(parameters, call.w, n * size, call.stream)
        driver.upload(parameters + n * size, np.array([b], dtype), call.stream)
        driver.clear(report, REPORT * 8, call.stream)
        s = 0 if sample_weight is None else call.address(sample_weight)
        y = call.address(y)
        reducers = 1 if plan.left_size(p, n) <= FEW_NUMBERS else p.blocks
        types = numba.from_dtype(call.x_dtype), numba.from_dtype(dtype)

        def make():
            evaluate = REGIMES[p.regime].make(*types, "gradient", *p.constants)
            return descent.make(evaluate, types[1], p.threads, p.regime == "panels")

        label = "-".join(map(str, ("descent", p.regime, *types, *p.constants)))
        first, last, ended = 0, -1, False
        while not ended and last < n_iterations:
            first, count = last + 1, min(at_once, n_iterations - last)
            driver.clear(call.counter, 8, call.stream)
            arguments = (
                *(call.x, call.leading, *call.shape, y, s, left, p.rows_left, work),
                *(parameters, apart, totals, history, report),
                *(first, count, dtype.type(learning_rate), np.float64(l2), np.float64(tolerance)),
                *(reducers, p.panel, p.slices, call.counter),
            )
            call.launch(label, make, p, arguments, cooperative=True)
            said = np.empty(REPORT)
            driver.download(said, report, call.stream)
            last, ended = int(said[LAST]), bool(said[ENDED])
            losses, reached = np.empty(last - first + 1), np.empty(n + 1, dtype)
            driver.download(losses, history, call.stream)
            driver.download(reached, parameters + (last & 1) * apart * size, call.stream)
            with driver.aside():
                yield Steps(
                    losses.tolist(),
                    float(said[NORM]),
                    reached[:n],
                    reached[n],
                    float(said[SUM_OF_WEIGHTS]),
                    said[WRONG] == 0,
                )


def _resident(p, call):
    """The plan with no more blocks than can be resident together, which meet in every step."""
    if p.regime == "panels":
        return p
    per_processor = max(1, min(p.per_processor, RESIDENT_THREADS // p.threads))
    blocks = min(p.blocks, per_processor * driver.facts(call.ordinal).processors)
    return p._replace(per_processor=per_processor, blocks=blocks, rows_left=blocks)


def _steps_of_a_launch(X):
    seconds = X.size * X.itemsize / BYTES_PER_SECOND + STEP_SECONDS
    return max(1, min(MOST_STEPS, int(LAUNCH_SECONDS / seconds)))

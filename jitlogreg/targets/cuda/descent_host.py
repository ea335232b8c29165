"""The host side of gradient descent on a device: launches some steps at a time and reads what they reached."""

import numba
import numpy as np

from jitlogreg.targets.base import Steps
from jitlogreg.targets.cuda import descent, driver, plan
from jitlogreg.targets.cuda.compensated import TOTALS
from jitlogreg.targets.cuda.descent import (
    REPORT_INVALID,
    REPORT_LAST_STEP,
    REPORT_NORM,
    REPORT_SIZE,
    REPORT_STOPPED,
    REPORT_WEIGHT,
)
from jitlogreg.targets.cuda.launch import REGIMES, device_call

# The most seconds and steps of a launch. The host can be interrupted between two launches only
LAUNCH_SECONDS = 0.1
MAX_STEPS = 4096

# An estimate of a step's time: the bandwidth in bytes per second, and the seconds of a step on a small problem
BYTES_PER_SECOND, STEP_SECONDS = 1e12, 10e-6

# Threads that are resident on a multiprocessor: the kernel of a whole step needs the registers
RESIDENT_THREADS = 512

# Up to so many numbers in all partials, one block reduces them: a second grid sync would take longer
ONE_BLOCK_NUMBERS = 1 << 14


def descend(problem, w, b, settings):
    """Descend, and yield what was reached after each launch, or after each step if `settings.each_step`."""
    X = problem.X
    learning_rate, n_iterations, l2, tolerance, each_step = settings
    n, dtype = X.shape[1], w.dtype
    itemsize = dtype.itemsize
    with device_call(X) as call:
        p = _resident_plan(call.plan(w), call)
        parameter_stride = -(-(n + 1) // 8) * 8  # keeps each row aligned for wide loads
        launch_steps = 1 if each_step else _steps_per_launch(X)
        partials, sums, workspace, parameters, history, report = call.workspace(
            plan.partials_size(p, n) * itemsize,
            (n + TOTALS) * 8,
            p.workspace_size * itemsize,
            2 * parameter_stride * itemsize,
            launch_steps * 8,
            REPORT_SIZE * 8,
        )
        driver.copy(parameters, call.w, n * itemsize, call.stream)
        driver.upload(parameters + n * itemsize, np.array([b], dtype), call.stream)
        driver.clear(report, REPORT_SIZE * 8, call.stream)
        of_examples = call.of_examples(problem)
        n_reducers = 1 if plan.partials_size(p, n) <= ONE_BLOCK_NUMBERS else p.blocks
        types = numba.from_dtype(call.x_dtype), numba.from_dtype(dtype)

        def make():
            sums_kernel = REGIMES[p.regime].make(*types, "gradient", *p.constants)
            return descent.make(sums_kernel, types[1], p.threads, p.regime == "l2_panels")

        label = "-".join(map(str, ("descent", p.regime, *types, *p.constants)))
        first, last, stopped = 0, -1, False
        while not stopped and last < n_iterations:
            first, n_steps = last + 1, min(launch_steps, n_iterations - last)
            driver.clear(call.barrier_counter, 8, call.stream)
            arguments = (
                *(call.x, call.leading_dimension, *call.shape, *of_examples, partials, p.n_partials, workspace),
                *(parameters, parameter_stride, sums, history, report),
                *(first, n_steps, dtype.type(learning_rate), np.float64(l2), np.float64(tolerance)),
                *(n_reducers, p.panel_rows, p.split_k, call.barrier_counter),
            )
            call.launch(label, make, p, arguments, cooperative=True)
            reported = np.empty(REPORT_SIZE)
            driver.download(reported, report, call.stream)
            last, stopped = int(reported[REPORT_LAST_STEP]), bool(reported[REPORT_STOPPED])
            losses, reached = np.empty(last - first + 1), np.empty(n + 1, dtype)
            driver.download(losses, history, call.stream)
            driver.download(reached, parameters + (last & 1) * parameter_stride * itemsize, call.stream)
            with driver.pop_context():
                yield Steps(
                    losses.tolist(),
                    float(reported[REPORT_NORM]),
                    reached[:n],
                    reached[n],
                    float(reported[REPORT_WEIGHT]),
                    reported[REPORT_INVALID] == 0,
                )


def _resident_plan(p, call):
    """The plan with no more blocks than can be resident together: each step has grid syncs."""
    if p.regime == "l2_panels":
        return p
    blocks_per_sm = max(1, min(p.blocks_per_sm, RESIDENT_THREADS // p.threads))
    blocks = min(p.blocks, blocks_per_sm * driver.device_properties(call.ordinal).n_sms)
    return p._replace(blocks_per_sm=blocks_per_sm, blocks=blocks, n_partials=blocks)


def _steps_per_launch(X):
    seconds = X.size * X.itemsize / BYTES_PER_SECOND + STEP_SECONDS
    return max(1, min(MAX_STEPS, int(LAUNCH_SECONDS / seconds)))

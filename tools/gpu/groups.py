"""The groups of checks and timings. Each runs in a process of its own: a crash or a hang leaves the next untouched."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

from gpu import outputs, sanitizer, timing, values, views
from gpu.record import CHECK, run
from gpu.shapes import DTYPES, ORDERS
from gpu.streams import streams

GRACE = 30.0  # seconds that a process has after its time, for the item that it is at
LAST_WORDS = 5  # lines of a process that died


def _matrices(device, quick):
    return {
        f"values {order} {x_dtype} {w_dtype}": lambda target, arguments=(x_dtype, w_dtype, order): values.values(
            target, device, *arguments, quick
        )
        for x_dtype, w_dtype in DTYPES
        for order in ORDERS
    }


def checks(device, quick=False):
    """The groups of checks by name: each is a function of the target that gives items."""
    return {
        **_matrices(device, quick),
        "contract": values.contract,
        "descent": values.descents,
        "offsets": outputs.offsets,
        "outputs sigmoid": lambda target: outputs.outputs(target, "sigmoid", device, quick),
        "outputs softmax": lambda target: outputs.outputs(target, "softmax", device, quick),
        "places": lambda target: views.views(),
        "numba": lambda target: views.public_calls(),
        "torch": lambda target: streams("torch"),
        "cupy": lambda target: streams("cupy"),
        "memcheck": lambda target: sanitizer.items("memcheck"),
        "racecheck": lambda target: sanitizer.items("racecheck"),
    }


def timings(quick=False):
    """The groups of timings by name, the small problems first."""
    large = {
        f"timings {dtype} {order}": lambda target, arguments=(dtype, order): timing.timings(*arguments, quick)
        for dtype, order in timing.groups()
    }
    return {"small": lambda target: timing.small(), **large}


def run_here(name, target, device, quick, emit, deadline):
    """Run a group in this process."""
    groups = {**checks(device, quick), **timings(quick), "subset": lambda target: sanitizer.subset()}
    run(groups[name](target), emit, deadline)


def run_in_process(name, options, emit, deadline):
    """Run a group in a process of its own, and emit its records as they come; and a failure if it dies or hangs."""
    seconds = max(0.0, deadline - time.monotonic())
    command = [sys.executable, str(CHECK), "--group", name, "--seconds", f"{seconds:.0f}", *options]
    words, start = [], time.monotonic()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, **pipes) as process:
        late = threading.Timer(seconds + GRACE, process.kill)
        late.start()
        try:
            for line in process.stdout:
                record = _record(line)
                if record is None:
                    words = [*words, line.strip()][-LAST_WORDS:]
                else:
                    emit(record)
            status = process.wait()
        finally:
            late.cancel()
            process.kill()
    if status != 0:
        taken = time.monotonic() - start
        cause = "was stopped: it hung" if taken > seconds + GRACE - 1 else f"ended with status {status}"
        emit(
            {
                "name": "its process",
                "seconds": round(taken, 1),
                "failure": f"{cause}; last it said {' / '.join(words)!r}",
            }
        )


def _record(line):
    """A record that a group has printed; None for anything else that came on its output."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict) and "name" in record:
            return record
    return None


def print_record(record):
    """What a group's process says."""
    print(json.dumps(record), flush=True)


def at_once():
    """How many groups of checks run together: most of their time is the compiler's and the host's."""
    return max(1, min(6, len(os.sched_getaffinity(0)) // 2 if hasattr(os, "sched_getaffinity") else 2))

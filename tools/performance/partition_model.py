"""What 2 to 192 cores would make of the row chunks of `targets/cpu/partition.py`: a model with figures measured here.

    python tools/performance/partition_model.py

Measured, on one thread: the time of a number of X in cache, and what a chunk costs beside its rows, with the adding up
of its sums; on two threads: starting them and waiting for them. Assumed: starting takes as often as long as the number
of cores doubles, the threads share chunks evenly, and memory keeps up with the cores, so that arithmetic alone counts:
where memory does not, fewer tasks than cores would do.

    share = work / cores / (longest thread + starts + chunks · cost of a chunk + adding up)

Adding up is shared by blocks of columns where there are many sums.
"""

import math
import statistics
import time
import unittest.mock

import numba
import numpy as np

from jitlogreg.targets import cpu
from jitlogreg.targets.base import Problem
from jitlogreg.targets.cpu import plan
from jitlogreg.targets.cpu.executor import ADDED_AT_ONCE, SHARED_SUMS
from jitlogreg.targets.cpu.partition import POINTWISE_COST, partition
from jitlogreg.targets.cpu.problem import PLAN, PROBLEM

SHAPES = ((1_000, 20), (20_000, 50), (100_000, 28), (5_000_000, 28), (500_000, 256), (60_000, 2048), (30_000, 2048))
CORES, CAPS = (2, 16, 64, 192), (64, 384, 768)


def main():
    number, chunk, sums, start = measure()
    print(f"a number of X {1e9 * number:.3f} ns, a chunk {1e9 * chunk:.0f} ns, each of its sums {1e9 * sums:.2f} ns,")
    print(f"starting two threads {1e6 * start:.1f} us\n")
    head = [f"{cores} cores, {cap} chunks" for cores in CORES for cap in CAPS]
    print("| X | " + " | ".join(head) + " |\n|---|" + "--:|" * len(head))
    for m, n in SHAPES:
        cells = []
        for cores in CORES:
            for cap in CAPS:
                work = number * m * (n + POINTWISE_COST)
                chunks = chunks_of(m, n, cap)
                extra = chunks * chunk
                adding, adders = sums * chunks * (n + 4), 1
                if chunks * (n + 4) >= SHARED_SUMS:
                    adders = min(cores, max(1, (n + 4) // ADDED_AT_ONCE))
                threads = min(cores, chunks)
                starting = start * math.log2(cores) if m * (n + POINTWISE_COST) >= 1 << 19 else 0
                extra += adding / adders + (starting if adders > 1 else 0)
                busy = threads if starting else 1
                longest = work / chunks * math.ceil(chunks / busy)
                cells.append(f"{work / cores / (longest + starting + extra):.2f}")
        print(f"| {m} x {n} | " + " | ".join(cells) + " |")


def chunks_of(m, n, cap):
    """The row chunks of float64 in C order with another cap."""
    with unittest.mock.patch.dict(partition.__globals__, CHUNKS=cap):
        return partition(m, n, 8, False, False)[1]


def measure():
    """Seconds for a number of X, a chunk, one of its sums, and a start."""
    per_number = seconds(2_000, 28, 1) / (2_000 * (28 + POINTWISE_COST))
    narrow, wide = ((seconds(24_576, n, 384) - seconds(24_576, n, 1)) / 383 for n in (8, 64))
    per_sum = max(0.0, (wide - narrow) / 56)
    on_two = seconds(2_000, 28, 2, threads=True) - seconds(2_000, 28, 2) / 2
    return per_number, max(0.0, narrow - 12 * per_sum), per_sum, max(0.0, on_two)


def seconds(m, n, chunks, threads=False):
    """The median time of the sums of an X in C order, cut into so many chunks."""
    X, y, w = np.ones((m, n)), np.ones(m), np.zeros(n)
    problem, taken = Problem.of(X, y), []
    record = cpu._plan("loss_gradient", problem, w, True).record.copy().view(PROBLEM)[0]
    record["tasks"] = chunks
    planned = plan._planned(record["kernel"], record[list(PLAN[2:])].tolist(), not threads)
    for _ in range(200):
        begin = time.perf_counter()
        cpu._run(planned, problem, w, 0.0)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


if __name__ == "__main__":
    if numba.get_num_threads() < 2:
        raise SystemExit("this needs two threads")
    main()

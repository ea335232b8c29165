"""The record that describes a problem in compiled code: what the tasks of a kernel, and the executor, know of a call.

Addresses are plain integers, and sizes count numbers. All memory but the caller's is one block of numbers of eight
bytes each, which those of every dtype fit in: the record, the totals, and what the tasks work in. Python writes the
fields of the call, and a plan has those of the plan; the call frame of a user's own compiled function writes both.
"""

import numpy as np

from jitlogreg.targets.cpu.pointers import record_reader

# What differs from call to call
CALL_FLOATS = ("b", "l2")
CALL = (
    # the record with what a plan fixes, or 0 if that is written here
    "plan",
    # addresses of X, w, labels, weights, activations, of a frame's moments, and of offsets, or 0
    *("x", "w", "y", "s", "weighted", "out", "frame", "offset"),
    # of K outputs: how far apart labels, weights and offsets of two models are, 0 if they share them
    *("y_step", "s_step", "offset_step"),
    # bytes of a number of w if means are asked for, else 0; where those of the gradient go, or 0
    *("w_size", "dw"),
    # what computes Σ w² if there is a penalty, else 0
    "squares",
)

# What calls of one operation on matrices of one shape have in common
PLAN = (
    # the machine code of a task; what adds up the tasks' totals if threads share that, else 0
    *("kernel", "reduction"),
    # X's shape and leading dimension
    *("m", "n", "ld"),
    # the partition, and how far ahead to prefetch
    *("rows", "tasks", "panel", "sequential", "prefetch"),
    # outputs; numbers from one's coefficients to the next's; tasks that have memory at once, if that is not all of them
    *("outputs", "w_step", "wave"),
    # columns of the sums, in whole vectors; numbers that a task packs; vectors that X is multiplied by
    *("n_padded", "packed", "vectors"),
    # where a call's memory has the totals, high and low parts, and how many they are; each task's or row block's
    # totals, and what it works in, in bytes from the record; of column panels, parts of the margins, the margins of a
    # strip, and accumulators
    *("width", "totals", "partials", "work", "work_size", "parts", "z", "accumulators"),
    # row blocks of column panels; stages, the tasks of one, at most, and those of each of the three kinds of stage
    *("blocks", "stages", "stage_tasks", "first_tasks", "second_tasks", "third_tasks"),
    # blocks of totals that are added up on their own; whether a task has both parts of a column's total side by side
    *("total_blocks", "paired"),
)

_RESULTS = ("square", "loss", "db", "weight", "invalid")

_FIELDS = [
    *((name, np.float64) for name in CALL_FLOATS),
    *((name, np.int64) for name in (*CALL, *PLAN)),
    *((name, np.float64) for name in _RESULTS),
]

# Bytes that a call's memory is aligned to, a cache line: else every other vector of eight float64 would lie in two
ALIGNMENT = 64

PROBLEM = np.dtype([*_FIELDS, *((f"unused{k}", np.int64) for k in range(-len(_FIELDS) % (ALIGNMENT // 8)))])

# Numbers of eight bytes that the record takes
WORDS = PROBLEM.itemsize // 8

# Where the fields of the plan begin, and how many they are, in numbers
PLAN_START, PLAN_WORDS = len(CALL_FLOATS) + len(CALL), len(PLAN)

# The record at an address
problem_at = record_reader(PROBLEM)

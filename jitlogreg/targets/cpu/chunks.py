"""What a chunk of a matrix is told: a record of addresses and sizes, and which rows are its own."""

import numpy as np

from jitlogreg.simd import LANES
from jitlogreg.targets.compile import inline

# Addresses, sizes in numbers, and switches of one call. `out` is where activations go; where X is standardized, sums
# find the frame of its columns there
_INTEGERS = (
    *(
        "x",
        "w",
        "leading",
        "m",
        "n",
        "block",
        "chunks",
        "prefetch",
        "sequential",
        "y",
        "s",
        "s_step",
        "out",
        "logarithm",
    ),
    *("room", "width", "work", "work_step", "tail", "partials"),
)
TASK = np.dtype([("b", np.float64), *((name, np.intp) for name in _INTEGERS)])

# Bytes of the tail's labels and weights, which lie before the copy of its rows
OF_TAIL = 2 * LANES * 8


@inline
def bounds(chunk, chunks, m, block):
    """The first row of a chunk, and the row after its last."""
    blocks = (m + block - 1) // block
    return chunk * blocks // chunks * block, min((chunk + 1) * blocks // chunks * block, m)

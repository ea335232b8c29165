"""The objective and the forward pass over dask arrays: for data beyond memory, and for clusters.

Dask provides the threads and processes, and the kernels process each block of rows on one of them. The order in which
the blocks' sums are added depends only on their number, so the bits are the same on every scheduler and any number of
workers.
"""

try:
    import cloudpickle  # noqa: F401
    import dask.array  # noqa: F401
except ImportError as error:
    raise ImportError("jitlogreg.dask needs the package dask: pip install 'jitlogreg[dask]'") from error

from jitlogreg.dask.activations import forward, log_forward
from jitlogreg.dask.objective import Objective
from jitlogreg.dask.outputs_objective import OutputsObjective

__all__ = ["Objective", "OutputsObjective", "forward", "log_forward"]

"""Kernels of K outputs: X is read once for K columns of W.

Each output is a model of its own, or one class of a softmax. The parts are those of the kernels of one output: a layout
(row_major.py, column_major.py, from the tiles in tiles.py), a pointwise step (sigmoid.py, softmax.py), and a skeleton
(chunks.py).
"""

from jitlogreg.targets.cpu.outputs import column_major, epilogue, row_major, sigmoid, softmax

__all__ = ["column_major", "epilogue", "row_major", "sigmoid", "softmax"]

"""Kernels of K outputs: products of tiles through shared memory, and a pointwise step between the two of them.

`tiles.py`     a tile of X times a few models: their margins, or their column sums
`steps.py`     what lies between the two: K independent models, a softmax, and their activations
`kernel.py`    the kernel, which does both for one panel of rows after another
`host.py`      from arrays to launches
"""

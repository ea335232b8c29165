"""Compile the kernels of the CPU ahead of time, into the folder where later processes find them."""

import time

import numpy as np

from jitlogreg.cli.errors import NotStoredError
from jitlogreg.cli.options import one_or_more
from jitlogreg.cli.tables import print_table
from jitlogreg.targets.compile import cache_folder
from jitlogreg.targets.cpu.profile import NOWHERE

DTYPES, ORDERS = ("float64", "float32"), ("C", "F")


def add_options(parser):
    """Add the options of `jitlogreg compile`."""
    parser.add_argument("--dtype", type=one_or_more(*DTYPES), default=DTYPES, help="of X: float64,float32 by default")
    parser.add_argument("--order", type=one_or_more(*ORDERS), default=ORDERS, help="of X in memory: C,F by default")
    parser.add_argument(
        "--outputs", choices=("all", "one"), default="all", help="one: without the kernels of w of shape (n, K)"
    )


def run(options):
    """Compile, and print the time of each kernel: little of those that are there already."""
    if cache_folder() is None:
        raise NotStoredError(NOWHERE)
    from jitlogreg.cli.kernel_list import kernels_for

    rows, start = [], time.perf_counter()
    x_dtypes = [np.dtype(name) for name in options.dtype]
    for name, make in kernels_for(x_dtypes, options.order, options.outputs == "all"):
        begin = time.perf_counter()
        make()
        rows.append((name, f"{time.perf_counter() - begin:.2f}"))
    print_table(("<kernel", ">seconds"), rows)
    print(f"\n{len(rows)} kernels in {time.perf_counter() - start:.1f} s, kept in {cache_folder()}")

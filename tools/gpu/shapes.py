"""The matrices to check: every regime of the CUDA target with its edges, asked of the target's own plan."""

import functools
from typing import NamedTuple

# Columns that are checked wherever the regimes' edges lie
COLUMNS = (1, 2, 3, 27, 28, 31, 32, 33, 64, 256, 257, 512, 513, 1024, 1025, 4096, 8192, 16384, 20000, 100_000)
QUICK = (1, 28, 33, 256, 1025, 16384, 20000)
FEW_ROWS = (1, 2, 3, 31, 33)
MOST_NUMBERS = 1 << 24  # of a matrix: the host takes 20 ns for each

DTYPES = (("float32", "float32"), ("float64", "float64"), ("float32", "float64"))
ORDERS = ("C", "F")


class Case(NamedTuple):
    """A matrix to check.

    Attributes
    ----------
    m, n : int
    x_dtype, w_dtype, order : str
    regime : str
        Of the plan, with its constants.
    activations : bool
        Whether `forward`, `log_forward` and `loss` are checked too.
    """

    m: int
    n: int
    x_dtype: str
    w_dtype: str
    order: str
    regime: str
    activations: bool

    @property
    def name(self):
        """What it is called in a report."""
        return f"{self.m} x {self.n} {self.order} {self.x_dtype}/{self.w_dtype}, {self.regime}"


def cases(device, x_dtype, w_dtype, order, quick=False):
    """The cases of one pair of dtypes and one order, those first that show the most.

    Each number of columns has a few rows, and more than twice as many as fill the device: then blocks go round. The
    first of each regime and the first with each set of constants come first.

    Parameters
    ----------
    device : jitlogreg.targets.cuda.plan.DeviceProperties
    x_dtype, w_dtype, order : str
    quick : bool

    Returns
    -------
    list of Case
    """
    planned = functools.partial(_planned, device, _size(x_dtype), _size(w_dtype), order)
    columns = sorted(QUICK if quick else {*COLUMNS, *_edges(planned)})
    ordered, seen = [], set()
    for n in columns:
        p = planned(1 << 40, n)
        new_regime, new_constants = p.regime not in seen, (p.regime, p.constants) not in seen
        seen |= {p.regime, (p.regime, p.constants)}
        rows = [FEW_ROWS[len(ordered) % len(FEW_ROWS)], _many_rows(planned, n)]
        label = "-".join(map(str, (p.regime, *p.constants)))
        rank = 0 if new_regime else 1 if new_constants else 2
        ordered.append((rank, n, [Case(m, n, x_dtype, w_dtype, order, label, new_regime) for m in rows]))
    ordered.sort(key=lambda item: item[:2])
    return [case for _, _, of_columns in ordered for case in of_columns]


def _size(dtype):
    return int(dtype.removeprefix("float")) // 8


def _planned(device, x_size, w_size, order, m, n):
    """The plan of a matrix whose rows begin at a multiple of 16 bytes and follow each other."""
    from jitlogreg.targets.cuda.plan import plan

    vector, w_vector = (_readable(size, n) if order == "C" else 1 for size in (x_size, w_size))
    return plan(device, m, n, x_size, w_size, order, vector, w_vector if vector > 1 else 1)


def _readable(size, n):
    count = 16 // size
    while count > 1 and n % count:
        count //= 2
    return count


def _edges(planned):
    """The last columns that a kernel takes, and the first that the next does."""
    most, step = 20_000, 16  # where rows are cut does not depend on what remains of 16, and 16 are read at once

    def key(n):
        p = planned(1 << 40, n)
        return p.regime, p.constants[2:] if p.regime != "l2_panels" else (), p.threads

    found = []
    for n in range(step, most, step):
        if key(n) != key(n + step):
            found += [n, n + 1]
    return found


def _many_rows(planned, n):
    p = planned(1 << 40, n)
    if p.regime == "l2_panels":
        return 2 * p.panel_rows + 5
    low, high = 1, 1 << 32
    while low < high:  # the fewest rows that fill the device
        middle = (low + high) // 2
        low, high = (low, middle) if planned(middle, n).blocks == p.blocks else (middle + 1, high)
    return max(1, min(2 * low + 5, MOST_NUMBERS // n))

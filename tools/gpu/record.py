"""One check or timing after the other: what each gave, and that a failing one stops no other."""

import time
from pathlib import Path

CHECK = Path(__file__).with_name("check.py")  # the script that runs a group in a process of its own


class AbsentError(Exception):
    """Something that a check or a timing needs is not here."""


def run(items, emit, deadline):
    """Run named functions, and emit a record of each.

    Parameters
    ----------
    items : iterable of (str, callable)
        A function gives None, or figures in a dict; it raises `AbsentError` where it cannot run, anything else where it
        fails.
    emit : callable
        Given a dict with `name` and `seconds`, and with `figures`, `failure` or `left_out`.
    deadline : float
        Of `time.monotonic()`; what remains then is left out by name.
    """
    for name, function in items:
        if time.monotonic() > deadline:
            emit({"name": name, "seconds": 0.0, "left_out": "no time was left"})
            continue
        start, said = time.monotonic(), {}
        try:
            figures = function()
            if figures is not None:
                said["figures"] = figures
        except AbsentError as error:
            said["left_out"] = str(error)
        except Exception as error:
            said["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
        emit({"name": name, "seconds": round(time.monotonic() - start, 3), **said})

"""The tuning profile: what decides speed, and may not change one bit. The bits follow from `partition.py`.

One profile is in force in a process: the one that `JITLOGREG_PROFILE` names, else what `jitlogreg tune` stored for this
CPU, else the one that is shipped for it, else the default. Compiled code reads its numbers at run time, so another
profile compiles nothing anew; only the prefetch hint is part of the machine code, and a kernel is compiled for a hint
when it is first called.
"""

import contextlib
import dataclasses
import functools
import json
import os
import warnings
from typing import NamedTuple

import llvmlite.binding
import numpy as np

from jitlogreg.targets.compile import cache_folder, jitable
from jitlogreg.targets.cpu.pointers import HINTS

ENVIRONMENT_VARIABLE = "JITLOGREG_PROFILE"

# Of stored profiles; to be raised when the kernels change so much that what was measured says nothing about them
VERSION = 1

# What is said where no profile can be stored
NOWHERE = "no folder of compiled code is writable; set NUMBA_CACHE_DIR to a folder of your own"

# More bytes than any row or block has
NO_LIMIT = 1 << 60


class Prefetch(NamedTuple):
    """How X is prefetched in one order of memory."""

    hint: str
    """The instruction, one of `pointers.HINTS`."""
    distance: int
    """In C order the bytes between the row that is read and the line that is prefetched, beyond half a block and the
    rows that the order of reading needs. F order has no use for it: the next block is prefetched."""
    forward_below: int
    """The forward pass prefetches nothing from so many bytes on: of a row in C order, of a block in F order."""
    gradient_below: int
    """The same for whatever reads a block twice."""
    cached: int
    """Nothing is prefetched of an X of at most so many bytes, which stays in a cache."""


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """What suits a CPU. Two profiles are the same only if they are one object: that makes it a cheap key."""

    cpu: str
    """The CPU's name, as LLVM gives it."""
    c_order: Prefetch
    f_order: Prefetch
    serial_below: int
    """What costs less runs on the calling thread, in numbers of X and 8 more for each example."""
    source: str
    """Where the profile comes from, for people."""

    def settings(self):
        """What was measured, without names: JSON can hold it."""
        return {
            "c_order": self.c_order._asdict(),
            "f_order": self.f_order._asdict(),
            "serial_below": self.serial_below,
        }


# What threads cost: below it they save less than a tenth of a millisecond and may lose much. Those of GNU OpenMP spin
# while they wait for each other, and where another process has the core that one of them needs, a call takes 8 ms
_SERIAL_BELOW = 1 << 19

# By CPU. docs/performance.md has the measurement behind each
SHIPPED = {
    profile.cpu: profile
    for profile in (
        # the non-temporal hint is best by 2 to 5 %; the hardware prefetcher follows four long rows by itself
        Profile(
            cpu="znver5",
            c_order=Prefetch("nta", 8 << 10, 64 << 10, 64 << 10, 0),
            f_order=Prefetch("nta", 0, 3 << 20, 3 << 20, 16 << 20),
            serial_below=_SERIAL_BELOW,
            source="shipped for znver5",
        ),
        # into L2, 8, 16 and 32 KB ahead alike; measured with row blocks twice as large as today's
        Profile(
            cpu="znver4",
            c_order=Prefetch("t1", 16 << 10, NO_LIMIT, NO_LIMIT, 0),
            f_order=Prefetch("t1", 0, NO_LIMIT, NO_LIMIT, 0),
            serial_below=_SERIAL_BELOW,
            source="shipped for znver4",
        ),
        # nta takes 2.7 times as long, since it bypasses L2; t0, t1 and t2 are alike
        Profile(
            cpu="cascadelake",
            c_order=Prefetch("t0", 4 << 10, 32 << 10, 64 << 10, 0),
            f_order=Prefetch("t0", 0, 0, 0, 0),
            serial_below=_SERIAL_BELOW,
            source="shipped for cascadelake",
        ),
        Profile(
            cpu="default",
            c_order=Prefetch("t0", 8 << 10, 64 << 10, 64 << 10, 0),
            f_order=Prefetch("t0", 0, 3 << 20, 3 << 20, 16 << 20),
            serial_below=_SERIAL_BELOW,
            source="the default, since none is shipped for this CPU",
        ),
    )
}


@jitable
def prefetch_offset(m, n, itemsize, ld, f_order, block, panel, cached, distance, below):
    """How far ahead to prefetch, in elements in C order and in rows in F order; 0 for not at all."""
    bytes_at_once = itemsize * (n * block if f_order else panel if panel > 0 else n)
    if m * n * itemsize <= cached or bytes_at_once >= below:
        return 0
    if f_order:
        return block
    # the margins prefetch half of what they read, and four rows are read at once
    return (block // 2 + 2) * ld + distance // itemsize


# ---------------------------------------------------------------- the one in force

_in_force: Profile | None = None

# The same for compiled code, which knows the address: `serial_below`, and for C and then F order what `Prefetch` has
# behind the hint
numbers = np.zeros(9, np.int64)
SERIAL_BELOW, C_ORDER, F_ORDER = 0, 1, 5
DISTANCE, FORWARD_BELOW, GRADIENT_BELOW, CACHED = range(4)


def current():
    """The profile in force.

    Raises
    ------
    ValueError
        If `JITLOGREG_PROFILE` names none that is shipped.
    """
    return _in_force or use(_choose())


def use(profile):
    """Put a profile in force, and return it."""
    global _in_force
    _in_force = profile
    numbers[:] = profile.serial_below, *profile.c_order[1:], *profile.f_order[1:]
    return profile


@contextlib.contextmanager
def using(profile):
    """Have a profile in force for a while. For measurements and tests: other threads get it too."""
    before = current()
    try:
        yield use(profile)
    finally:
        use(before)


def _choose():
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    if name:
        if name not in SHIPPED:
            raise ValueError(f"{ENVIRONMENT_VARIABLE}: expected one of {', '.join(map(repr, SHIPPED))}, got {name!r}")
        return dataclasses.replace(SHIPPED[name], source=f"{name}, as {ENVIRONMENT_VARIABLE} says")
    return stored() or SHIPPED.get(cpu_name(), SHIPPED["default"])


@functools.cache
def cpu_name():
    """The name of this CPU, as LLVM gives it."""
    return llvmlite.binding.get_host_cpu_name()


# ---------------------------------------------------------------- the one on disk


def path():
    """The file for this CPU's profile, in the folder of compiled code; None where no folder is writable."""
    folder = cache_folder()
    return folder and folder / f"profile-{cpu_name()}.json"


def stored():
    """What `jitlogreg tune` stored for this CPU; None if nothing, or with a warning nothing that is good."""
    file = path()
    if file is None or not file.exists():
        return None
    try:
        return _read(json.loads(file.read_text(encoding="utf-8")), file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}" if isinstance(error, (KeyError, OSError)) else error
        warnings.warn(f"jitlogreg: the tuning profile {file} is ignored ({why})", RuntimeWarning, stacklevel=2)
        return None


def store(profile):
    """Write a profile for this CPU, whole or not at all. Returns the file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file = path()
    if file is None:
        raise OSError(NOWHERE)
    content = {"version": VERSION, "cpu": profile.cpu, "source": profile.source, **profile.settings()}
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
    return file


def _read(content, file):
    if content["version"] != VERSION:
        raise ValueError(f"version: expected {VERSION}, got {content['version']}")
    if content["cpu"] != cpu_name():
        raise ValueError(f"cpu: expected {cpu_name()}, this CPU, got {content['cpu']}")
    orders = [_prefetch(content[order]) for order in ("c_order", "f_order")]
    serial_below = _size("serial_below", content["serial_below"])
    return Profile(content["cpu"], *orders, serial_below, f"{content['source']}, in {file}")


def _prefetch(content):
    hint, *sizes = (content[name] for name in Prefetch._fields)
    if hint not in HINTS:
        raise ValueError(f"hint: expected one of {', '.join(map(repr, HINTS))}, got {hint!r}")
    return Prefetch(hint, *map(_size, Prefetch._fields[1:], sizes))


def _size(name, value):
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{name}: expected an integer from 0 to 2**62 - 1, got {value!r}")
    return value

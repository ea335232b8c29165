"""Blocks of a file of LIBSVM text: what stands between the file and the compiled pass over a block."""

import os
import re

import numpy as np

from jitlogreg import decimals
from jitlogreg import libsvm_kernel as kernel
from jitlogreg.targets.cpu.pointers import data_address
from jitlogreg.targets.csr import CSR

# Bytes that are read at once. They stay in L2, beside what is read from them
BLOCK = 1 << 18

# What an array grows by at least, and how much longer it becomes than the file so far lets expect
_LEAST_GROWTH, _MARGIN = 1.125, 1.02

# What a message shows of a token
_SHOWN = 30
_TOKEN = re.compile(rb"[^\s#]*")

_NEWLINE = ord("\n")


class Reader:
    """Hands blocks of a file to the kernel, and makes room for what it reads."""

    def __init__(self, name, n_features, dtype, zero_based):
        self.name, self.n_features = name, n_features
        self.labels, self.row_ends = np.empty(0), np.zeros(1, np.int64)
        self.numbers, self.indices = np.empty(0, dtype), np.empty(0, np.int32)
        self.text = np.empty(BLOCK + 2, np.uint8)  # a block, and newlines behind it
        self.undecided = np.empty((len(self.text) // kernel.UNDECIDED_BYTES, 3), np.int64)
        self.powers = decimals.powers()
        self.memory = np.zeros(1, kernel.STATE)
        self.state = self.memory[0]
        base = 0 if zero_based is True else 1
        limit = kernel.MOST_INDEX if n_features is None else n_features - 1 + base
        self._set(
            text=data_address(self.text),
            undecided=data_address(self.undecided),
            powers=data_address(self.powers),
            itemsize=dtype.itemsize,
            line=1,
            base=base,
            largest=base - 1,
            is_strict=zero_based is False,
            limit=min(limit, kernel.MOST_INDEX),
            edge=limit if zero_based == "auto" and n_features is not None else -1,
        )

    def _set(self, **fields):
        for name, value in fields.items():
            self.state[name] = value

    def read(self, file, raw):
        """Read a file to its end. What it comes from, `raw`, tells how much of it has been read."""
        state, text, kept, is_over = self.state, self.text, 0, False
        while not is_over:
            n_read = file.readinto(memoryview(text)[kept:BLOCK])
            is_over, end = n_read == 0, kept + n_read
            if is_over:  # the last line may lack its newline
                text[end] = _NEWLINE
                end += 1
            text[end] = _NEWLINE
            self._make_room(end, raw)
            self._set(position=0, end=end, undecided_count=0)
            expected = kernel.read_block(data_address(self.memory))
            if expected != kernel.READ:
                raise ValueError(self._fault(expected, file))
            self._decide()
            position = int(state["position"])
            kept = end - position
            if kept == BLOCK:
                raise ValueError(self._message(f"a token of less than {BLOCK} bytes", 0, _shown(bytes(text[:kept]))))
            text[:kept] = text[position:end]
            state["line_start"] -= position

    def _make_room(self, n_bytes, raw):
        """Let the arrays have room for what so many bytes may hold."""
        rows, entries = (int(self.state[name]) for name in ("rows", "entries"))
        rows_then, entries_then = rows + n_bytes // kernel.ROW_BYTES + 2, entries + n_bytes // kernel.ENTRY_BYTES + 1
        # a row that has begun has its label already, and does not count yet
        if rows_then > len(self.labels):
            length = _grown(rows, rows_then, raw)
            self.labels, self.row_ends = _longer(self.labels, length), _longer(self.row_ends, length + 1)
            self._set(labels=data_address(self.labels), row_ends=data_address(self.row_ends))
        if entries_then > len(self.indices):
            length = _grown(entries, entries_then, raw)
            self.numbers, self.indices = _longer(self.numbers, length), _longer(self.indices, length)
            self._set(numbers=data_address(self.numbers), indices=data_address(self.indices))

    def _decide(self):
        """Read the numbers that the kernel has left to float()."""
        for start, stop, where in self.undecided[: self.state["undecided_count"]].tolist():
            number = float(bytes(self.text[start:stop]))
            if where < 0:
                self.labels[-1 - where] = number
            else:
                self.numbers[where] = number

    def result(self):
        """X and y."""
        state = self.state
        rows, entries, base = (int(state[name]) for name in ("rows", "entries", "base"))
        if rows == 0:
            raise ValueError(f"path: expected a file with at least one row, got none in {self.name}")
        if state["has_zero"] and base == 1:
            if state["edge_line"]:
                raise ValueError(
                    f"path: expected an index of at most {self.n_features - 1}, as n_features is {self.n_features} and "
                    f"an index 0 is the first column, got '{self.n_features}' in line {state['edge_line']}, "
                    f"column {state['edge_column']} of {self.name}"
                )
            self.indices[:entries] += 1
            base = 0
        n = int(state["largest"]) + 1 - base if self.n_features is None else self.n_features
        for array, length in ((self.labels, rows), (self.row_ends, rows + 1)):
            array.resize(length, refcheck=False)
        for array in (self.numbers, self.indices):
            array.resize(entries, refcheck=False)
        return CSR(self.numbers, self.indices, self.row_ends, (rows, n)), self.labels

    def _fault(self, expected, file):
        """The message for a fault: what the kernel expected in its place, and what came."""
        token, fault, end, limit, base = (int(self.state[name]) for name in ("token", "fault", "end", "limit", "base"))
        at = fault if expected == kernel.NO_VALUE else token
        came = _TOKEN.match(bytes(self.text[at:end]) + file.read(_SHOWN + 1))[0]
        limited = f", as n_features is {self.n_features}" if limit == (self.n_features or 0) - 1 + base else ""
        what = {
            kernel.NO_LABEL: "one label, as rows of several are not supported" if b"," in came else "a label",
            kernel.NO_PAIR: "index:value",
            kernel.NO_VALUE: f"a value after {_shown(bytes(self.text[token:fault]))}",
            kernel.BELOW_BASE: "an index of at least 1, as zero_based is False",
            kernel.BEYOND_LIMIT: f"an index of at most {limit}{limited}",
        }[expected]
        return self._message(what, at, _shown(came) if came else "nothing")

    def _message(self, expected, at, came):
        line, line_start = int(self.state["line"]), int(self.state["line_start"])
        return f"path: expected {expected}, got {came} in line {line}, column {at - line_start + 1} of {self.name}"


def _shown(token):
    """A token as a message has it: what is no ASCII is escaped, and the end of a long one left out."""
    return repr(token[:_SHOWN])[1:] + ("..." if len(token) > _SHOWN else "")


def _grown(count, needed, raw):
    """How long an array becomes that holds `count` and needs more: as the share of the file that is read tells."""
    try:
        share = raw.tell() / os.fstat(raw.fileno()).st_size
    except (OSError, ZeroDivisionError):  # a pipe
        share = 0.5
    return max(int(_LEAST_GROWTH * needed), needed - count + int(_MARGIN * count / share))


def _longer(array, length):
    """A longer array that begins with the numbers of this one."""
    longer = np.empty(length, array.dtype)
    longer[: len(array)] = array
    return longer

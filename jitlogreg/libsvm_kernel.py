"""The compiled pass over a block of LIBSVM text.

A block may end anywhere. A token, which is a label, a `qid:` or an `index:value`, that reaches the end of the block may
be incomplete: the pass stops before it, and the next block begins with it. So no token is read in parts, and what goes
on from block to block is a few numbers. Behind the block stands a newline, at which every inner loop ends.
"""

import numpy as np

from jitlogreg.decimals import MALFORMED, MOST_DIGITS, UNDECIDED, digit_at, leading_zeros, read_number
from jitlogreg.targets.compile import inline, serial
from jitlogreg.targets.cpu.pointers import load_scalar, pointer_to, record_reader, store_scalar, store_sized

# All integers, addresses among them
STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            # the block, where it ends, and the first byte that has not been read
            *("text", "end", "position"),
            # where the lines stand: the number of this one, where it begins, as counted from the block's first byte,
            # and how much of it is read
            *("line", "line_start", "phase"),
            # of a fault: the token in which it is, and where its text begins
            *("token", "fault"),
            # the addresses of the result and the bytes of a number
            *("labels", "row_ends", "numbers", "itemsize", "indices"),
            # rows and numbers so far
            *("rows", "entries"),
            # the index that becomes column 0, and whether one below it is a fault; the largest that is none, and the
            # one that is beyond the columns as soon as there is an index 0 elsewhere, or -1
            *("base", "is_strict", "limit", "edge"),
            # the largest index so far; whether there was an index 0; where the edge came first, line 0 if nowhere
            *("largest", "has_zero", "edge_line", "edge_column"),
            # numbers for float(): where they begin and stop, and where they go: entry k, or the label of row -1 - k
            *("undecided", "undecided_count"),
            # decimals.powers()
            "powers",
        )
    ]
)

# How much of a line is read: nothing, all but a comment, its label, its label and what may be a `qid:`
START, COMMENT, LABEL, PAIRS = range(4)

# Why a pass ended: with the block, or what was expected in place of a fault
READ, NO_LABEL, NO_PAIR, NO_VALUE, BELOW_BASE, BEYOND_LIMIT = range(6)

# The largest index: columns are int32
MOST_INDEX = 2**31 - 2

# The fewest bytes of a row, "1\n", of an entry, "1:1 ", and of a number for float(), "nan ", with what ends it
ROW_BYTES, ENTRY_BYTES, UNDECIDED_BYTES = 2, 4, 4

_TAB, _RETURN, _NEWLINE, _SPACE, _HASH, _COLON = b"\t\r\n #:"
_QID = tuple(b"qid:")

_state_at = record_reader(STATE)


@serial
def read_block(address):
    """Read a block by the state at an address. Return `READ`, or what was expected where the fault is.

    The arrays of the result have room for what so many bytes may hold at most.
    """
    t = _state_at(address)
    text, end, i, phase, status = pointer_to(t.text, np.uint8(0)), t.end, t.position, t.phase, READ
    stop = i
    labels, row_ends = pointer_to(t.labels, 0.0), pointer_to(t.row_ends, 0)
    while i < end:
        c = load_scalar(text, i)
        if c == _NEWLINE or (c == _HASH and phase != COMMENT):
            if phase >= LABEL:
                t.rows += 1
                store_scalar(row_ends, t.rows, t.entries)
            phase, i = COMMENT, i + 1
            if c == _NEWLINE:
                t.line, t.line_start, phase = t.line + 1, i, START
        elif phase == COMMENT or _is_blank(c):
            i += 1
        elif phase == START:
            x, stop, kind = read_number(text, i, t.powers)
            if stop == end:
                break
            if kind == MALFORMED or not _ends_token(load_scalar(text, stop)):
                status = _fault(t, NO_LABEL, i, i)
                break
            store_scalar(labels, t.rows, x)
            if kind == UNDECIDED:
                _leave(t, i, stop, -1 - t.rows)
            phase, i = LABEL, stop
        elif phase == LABEL and c == _QID[0]:
            stop = _token_end(text, i)
            if stop == end:
                break
            if not _is_qid(text, i):
                status = _fault(t, NO_PAIR, i, i)
                break
            phase, i = PAIRS, stop
        else:
            phase = PAIRS
            stop, status = _read_pair(t, text, i)
            if stop == end or status != READ:
                break
            i = stop
    t.position, t.phase = i, phase
    # what seems a fault at the end of the block is a token that goes on
    return READ if stop == end else status


@inline
def _read_pair(t, text, start):
    """Read the `index:value` at text[start]. Return where it stops, and `READ` or what was expected.

    What reaches the end of the block is not written: it is read again.
    """
    i, index, d = start, 0, digit_at(text, start)
    while 0 <= d <= 9:
        index = 10 * index + d
        i += 1
        d = digit_at(text, i)
    if i == start or load_scalar(text, i) != _COLON:
        return i, _fault(t, NO_PAIR, start, start)
    if i - start > MOST_DIGITS and i - start - leading_zeros(text, start) > MOST_DIGITS:
        index = MOST_INDEX + 1  # whatever the integer has become
    if (index < t.base and t.is_strict) or index > t.limit:
        return i, _fault(t, BELOW_BASE if index < t.base else BEYOND_LIMIT, start, start)
    i += 1
    x, stop, kind = read_number(text, i, t.powers)
    if kind == MALFORMED or not _ends_token(load_scalar(text, stop)):
        return stop, _fault(t, NO_VALUE, start, i)
    if stop == t.end:
        return stop, READ
    if index == 0 or index == t.edge:
        _note_edge(t, index, start)
    store_sized(t.numbers, t.itemsize, t.entries, x)
    store_scalar(pointer_to(t.indices, np.int32(0)), t.entries, np.int32(index - t.base))
    if kind == UNDECIDED:
        _leave(t, i, stop, t.entries)
    t.largest = max(t.largest, index)
    t.entries += 1
    return stop, READ


@inline
def _note_edge(t, index, start):
    """Remember an index that tells how text counts, or that is beyond the limit once another one has told."""
    if index == 0:
        t.has_zero = 1
    elif t.edge_line == 0:
        t.edge_line, t.edge_column = t.line, start - t.line_start + 1


@inline
def _leave(t, start, stop, where):
    """Leave a number to float()."""
    numbers, k = pointer_to(t.undecided, 0), 3 * t.undecided_count
    store_scalar(numbers, k, start)
    store_scalar(numbers, k + 1, stop)
    store_scalar(numbers, k + 2, where)
    t.undecided_count += 1


@inline
def _fault(t, expected, token, fault):
    t.token, t.fault = token, fault
    return expected


@inline
def _is_blank(c):
    return c == _SPACE or _TAB <= c <= _RETURN


@inline
def _ends_token(c):
    return _is_blank(c) or c == _HASH


@inline
def _token_end(text, i):
    while not _ends_token(load_scalar(text, i)):
        i += 1
    return i


@inline
def _is_qid(text, i):
    k = 0
    while k < len(_QID) and load_scalar(text, i + k) == _QID[k]:
        k += 1
    return k == len(_QID)

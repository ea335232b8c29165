"""What the kernels should reach on an H100 SXM, computed from their plans and a small model; nothing here is measured.

A multiprocessor works off its resident blocks in rounds: a round reads the rows that its threads hold at once. It takes
the longest of three times, and the share of the copy's bandwidth is the time that the memory needs for the round's
bytes, over that.

- **memory**: the bytes over the multiprocessor's part of the bandwidth.
- **instructions**: what each warp issues, counted from the loops (`_work`): at 4 a clock, in float64 at 2 where they
  are arithmetic; exchanges between lanes at 1, and a number of 4 bytes from or to shared memory at 1.
- **latency**: where the next rows are not on their way yet, the latency of memory, then what waits for each other
  within a warp or a block (exchanges, barriers, the logistic function) and the instructions of one block; where they
  are, that without the latency, which must not be longer alone.

Panels are read twice, from memory and from the second-level cache, and the stages between them add up: nothing is on
its way while blocks meet or a warp takes the margins of its rows.
"""

from typing import NamedTuple

LATENCY = 700e-9  # of memory under load, seconds
CLOCK = 1.755e9  # of an H100 SXM under load
COPY = 0.92  # of the peak, that a copy reaches and a read too

# In clocks: an exchange between lanes; a barrier; a read of shared memory; the second-level cache; a meeting of all
# blocks; and by bytes of w, the logistic function of one example with its totals, one after the other
EXCHANGE, BARRIER, SHARED, SECOND_LEVEL, MEETING = 25, 40, 30, 280, 2000
LINK_LATENCY = {4: 350, 8: 600}
# Instructions of the same, as counted in the machine code: arithmetic, and constants and comparisons beside it
LINK_WORK, LINK_MOVES = {4: 100, 8: 90}, {4: 30, 8: 90}


class Machine(NamedTuple):
    """What the model knows of a device beside what a plan does: bytes a second, of memory and of the cache."""

    name: str
    bandwidth: float
    cache_bandwidth: float


H100 = Machine("H100 SXM", 3.35e12, 5.5e12)


class Prediction(NamedTuple):
    """Of one shape: the plan, bytes in flight a multiprocessor beside those that are needed, what limits, the share."""

    regime: str
    threads: int
    blocks: float
    in_flight: float
    needed: float
    limit: str
    share: float


def h100():
    """The device that the plans are asked for."""
    from jitlogreg.targets.cuda.plan import DeviceProperties

    return DeviceProperties(132, 227 << 10, 228 << 10, 50 << 20)


def planned(device, n, dtype, order, size=4_000_000_000):
    """The plan for a matrix of so many bytes, aligned."""
    from jitlogreg.targets.cuda.plan import plan

    item = 4 if dtype == "float32" else 8
    vector = 1
    if order == "C":
        vector = next(count for count in (16 // item, 2, 1) if n % count == 0)
    return plan(device, size // (n * item), n, item, item, order, vector, vector)


def predicted(n, dtype, order, machine=H100, device=None):
    """The prediction for `loss_and_gradient`."""
    device = device or h100()
    p, item = planned(device, n, dtype, order), 4 if dtype == "float32" else 8
    rate = COPY * machine.bandwidth / device.n_sms / CLOCK  # bytes a clock that a multiprocessor gets
    needed = machine.bandwidth / device.n_sms * LATENCY
    if p.regime == "l2_panels":
        return _of_panels(p, n, item, order, machine, device, needed)
    blocks = p.blocks / device.n_sms
    bytes_of_block, prefetched, work, chain = _round(p, n, item)
    warps = p.threads // 32
    memory = blocks * bytes_of_block / rate
    instructions = blocks * warps * work
    waiting = chain + warps * work
    latency = max(LATENCY * CLOCK, waiting) if prefetched else LATENCY * CLOCK + waiting
    times = {"memory": memory, "instructions": instructions, "latency": latency}
    limit = max(times, key=times.__getitem__)
    return Prediction(p.regime, p.threads, blocks, blocks * bytes_of_block, needed, limit, memory / times[limit])


def _round(p, n, item):
    """Bytes that a block has in flight, whether while it works on those before, clocks a warp and clocks of waiting."""
    warps = p.threads // 32
    if p.regime == "warp_per_row":
        _, vector, group, held, rows = p.constants
        numbers, rows_of_block = held * (16 // item), p.threads // group * rows
        loads, exchanges = rows * held * (16 // item) // vector, rows * (_levels(group) + 1)
        links = -(-rows // group)
        work = _work(item, 2 * numbers * rows, numbers, links, loads, exchanges, 0)
        return rows_of_block * n * item, False, work, EXCHANGE * (_levels(group) + 2) + links * LINK_LATENCY[item]
    if p.regime == "block_per_row":
        _, vector, w_vector, held, rows = p.constants
        numbers = held * (16 // item)
        loads = rows * numbers // vector + numbers // w_vector
        exchanges = rows * (5 + _levels(warps))
        work = _work(item, 2 * numbers * rows, numbers, rows, loads, exchanges, 4 * numbers + 2 * rows)
        chain = EXCHANGE * (5 + _levels(warps)) + BARRIER + SHARED + rows * LINK_LATENCY[item]
        return rows * n * item, True, work, chain
    _, lanes, columns, parts, rows, prefetch = p.constants
    rows_of_block = p.threads // parts * rows
    folds = min(columns, 32)
    sharers = min(parts, 32)  # lanes to a row's margin: a warp takes the links of its rows at once
    links = rows
    loads = columns * rows
    # addresses and comparisons take as many as the loads again, and each fold chooses twice what it sends
    work = _work(
        item, 2 * columns * rows + folds, max(1, columns // lanes), links, 3 * loads, folds, columns + 2 * links
    )
    work += 2 * folds / 4
    together = _levels(sharers) * EXCHANGE + -(-parts // sharers) * SHARED if parts > 1 else 0
    chain = EXCHANGE * _levels(lanes) + links * (LINK_LATENCY[item] + together)
    return rows_of_block * n * item, prefetch, work, chain + (2 * BARRIER if parts > 1 else 0)


def _work(item, products, pairs, links, loads, exchanges, shared):
    """Clocks of a multiprocessor for one warp's round: the longest of issue, arithmetic, exchanges and shared memory.

    A pair takes seven additions; an exchange moves 4 bytes, and is followed by an addition.
    """
    arithmetic = products + 7 * pairs + exchanges + links * LINK_WORK[item]
    words = item // 4
    issued = arithmetic + links * LINK_MOVES[item] + loads + words * exchanges + shared + 30
    return max(issued / 4, arithmetic * words / 4, words * (exchanges + shared))


def _levels(lanes):
    return max(lanes, 1).bit_length() - 1


def _of_panels(p, n, item, order, machine, device, needed):
    """A panel: its bytes from memory, a meeting, margins of each warp's rows, and its bytes from the cache."""
    size = p.panel_rows * n * item
    # loads that are under way together, as the compiler has unrolled the loops: of one number, or of 16 bytes
    in_flight = p.threads * 8 * (item if order == "F" else 16)
    copied = size / (COPY * machine.bandwidth)
    from_memory = copied / min(1.0, in_flight / needed)
    again = size / machine.cache_bandwidth
    # a warp takes eight rows at once, four lanes to a row, each with eight parts on their way at once
    parts = p.workspace_size // (2 * p.panel_rows)
    eight_rows = -(-parts // 32) * SECOND_LEVEL + 2 * EXCHANGE + LINK_LATENCY[item]
    margins = -(-p.panel_rows // (8 * p.threads // 32)) * eight_rows / CLOCK
    meeting = MEETING / CLOCK
    times = {"memory": from_memory, "cache": again, "margins of a panel": margins, "meeting": meeting}
    share = copied / sum(times.values())
    return Prediction("l2_panels", p.threads, 1.0, in_flight, needed, max(times, key=times.__getitem__), share)


def step_of_descent(m, n, dtype, machine=H100, device=None):
    """Seconds of a step of descent on a matrix that lies in the second-level cache.

    One evaluation, two meetings, the rows that blocks leave, of which a lane adds up a fourth one after the other, and
    the update, whose sums over the block wait for each other.
    """
    device, item = device or h100(), 4 if dtype == "float32" else 8
    p = planned(device, n, dtype, "C", m * n * item)
    bytes_of_block, _, work, chain = _round(p, n, item)
    rounds = max(1, round(m * n * item / (bytes_of_block * p.blocks)))
    evaluation = (
        rounds * (SECOND_LEVEL + chain + work * p.threads / 32) + m * n * item / machine.cache_bandwidth * CLOCK
    )
    joined = -(-p.n_partials // 4) * SECOND_LEVEL / 4  # four loads are on their way at once
    update = 4 * (5 * EXCHANGE + 2 * BARRIER + p.threads // 32 * SHARED) + 4 * SECOND_LEVEL
    return (evaluation + 2 * MEETING + joined + update) / CLOCK

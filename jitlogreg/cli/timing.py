"""Timing in turns: a machine's speed changes from minute to minute, but ratios within one round do not."""

import time

import numpy as np

# Long enough to neglect the clock and the loop around the call, which take well below a microsecond
_SHORTEST = 1e-3
# How long untimed calls wake the threads: those of GNU OpenMP may start on one core and share it for 8 ms, and a single
# call of 0.8 ms did not separate them
_WAKING = 20e-3


def in_turn(calls, rounds, wait=True):
    """Time calls in rounds: A B C A B C …

    Parameters
    ----------
    calls : sequence of callables
    rounds : int
    wait : bool, optional
        Whether to wait until the threads of the previous call are idle. Threads of one library need no wait, since the
        next call uses them again.

    Returns
    -------
    seconds : ndarray, shape (len(calls), rounds)
        The time of one call. Short calls are repeated within a round.

    Notes
    -----
    Each function is called a few times before the timing.
    """
    shortest = [max(shortest_of_three(call), 1e-9) for call in calls]
    repeats = [max(1, round(_SHORTEST / seconds)) for seconds in shortest]
    seconds = np.empty((len(calls), rounds))
    for turn in range(rounds):
        for k, call in enumerate(calls):
            if wait:
                _wait_for_idle_threads()
                if shortest[k] < _WAKING:
                    _call_for(call, _WAKING)
            seconds[k, turn] = _seconds(call, repeats[k])
    return seconds


def _call_for(call, seconds):
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        call()


def _seconds(call, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def shortest_of_three(call):
    """The shortest time of three calls, in seconds."""
    return min(_seconds(call, 1) for _ in range(3))


def _wait_for_idle_threads():
    """Wait until this process uses no more processor time, half a second at most.

    Threads of a BLAS spin for more work before they sleep, for 120 ms with OpenBLAS. On two cores, everything that ran
    in that time took twice as long.
    """
    deadline = time.perf_counter() + 0.5
    while time.perf_counter() < deadline:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.2 * (time.perf_counter() - start):
            return

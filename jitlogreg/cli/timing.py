"""Timing by turns: machines change their speed from minute to minute, ratios within one round do not."""

import time

import numpy as np

# Long enough for the clock and the loop around the call not to count (both are well below a microsecond)
_SHORTEST = 1e-3
# Untimed calls are made for so long, to wake the threads: those of GNU OpenMP may start on one core and take turns on
# it for 8 ms, and a single call of 0.8 ms did not part them
_WAKING = 20e-3


def in_turn(calls, rounds, wait=True):
    """Time calls in rounds: A B C A B C …

    Parameters
    ----------
    calls : sequence of callables
    rounds : int
    wait : bool, optional
        Whether the threads of the one before come to rest before each is timed. Threads of one kind need not: the next
        call takes them up.

    Returns
    -------
    seconds : ndarray, shape (len(calls), rounds)
        Of one call. Short calls are repeated within a round.

    Notes
    -----
    Each is called a few times beforehand.
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
    """The shortest time that three calls took, in seconds."""
    return min(_seconds(call, 1) for _ in range(3))


def _wait_for_idle_threads():
    """Wait until this process uses no more processor time, half a second at most.

    Threads of a BLAS look for more work before they sleep, for 120 ms with OpenBLAS: on two cores whatever ran in that
    time took twice as long.
    """
    deadline = time.perf_counter() + 0.5
    while time.perf_counter() < deadline:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.2 * (time.perf_counter() - start):
            return

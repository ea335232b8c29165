"""One hard situation for the kernels, in a process of its own: prints what happened as JSON, or dies of it.

    python tools/reliability/stress.py threads --threads 8 --calls 1000
    python tools/reliability/stress.py fork
    python tools/reliability/stress.py interrupt

`measure.py` runs these on every threading layer that can be had. The layer is chosen by NUMBA_THREADING_LAYER.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from operator import call

import numba
import numpy as np

import jitlogreg as jlr

# Rows, columns, dtypes of X and w, order: on the calling thread, on all threads, and in panels of columns
CASES = [
    (300, 5, "f4", "f4", "C"),
    (20_003, 28, "f8", "f8", "C"),
    (20_003, 28, "f4", "f8", "F"),
    (40_001, 9, "f4", "f4", "F"),
    (17, 40_000, "f8", "f8", "C"),
]


def example(m, n, x_dtype, w_dtype, order):
    rng = np.random.default_rng([m, n])
    X = np.asarray(rng.normal(size=(m, n)), x_dtype, order=order)
    return X, (rng.uniform(size=m) < 0.5).astype(w_dtype), (rng.normal(size=n) / np.sqrt(n)).astype(w_dtype)


def calls():
    """Calls without arguments, each of which gives bytes."""
    return [_call(kind, *example(*case)) for case in CASES for kind in range(4)]


def _call(kind, X, y, w):
    out = threading.local()

    def bits():
        if kind == 0:
            loss, dw, db = jlr.loss_and_gradient(X, y, w, 0.25, l2=0.5, target="cpu")
            return np.array([loss, db]).tobytes() + dw.tobytes()
        if kind == 1:
            return np.array(jlr.loss(X, y, w, 0.25, sample_weight=y + 1, target="cpu")).tobytes()
        if kind == 2:
            return jlr.log_forward(X, w, 0.25, target="cpu").tobytes()
        if not hasattr(out, "dw"):
            out.dw = np.empty_like(w)  # of each thread its own
        return jlr.gradient(X, y, w, 0.25, out=out.dw, target="cpu").dw.tobytes()

    return bits


def threads(count, n_calls):
    """Many threads call at once; every answer is compared with what one thread gave before."""
    todo = calls()
    expected = [call() for call in todo]
    wrong, finished = [], []
    start = threading.Barrier(count)

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for k in rng.integers(len(todo), size=n_calls):
            if todo[k]() != expected[k]:
                wrong.append(int(k))
        finished.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
    before = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - before
    return {"finished": len(finished), "calls": count * n_calls, "wrong": len(wrong), "seconds": seconds}


def _digest(_=None):
    return hashlib.sha256(b"".join(call() for call in calls())).hexdigest()


def fork():
    """Children forked after a parallel call give the same bits, and so does the parent after them."""
    expected = _digest()
    got = {"os.fork": _forked(), "os.fork of a fork": _forked(_forked)}
    with multiprocessing.get_context("fork").Pool(2) as pool:
        got["multiprocessing"] = _same(pool.map(_digest, range(4)))
    try:
        import joblib
    except ImportError:
        pass
    else:
        for backend in ("loky", "multiprocessing", "threading"):
            run = joblib.Parallel(n_jobs=2, backend=backend)
            got[f"joblib {backend}"] = _same(run(joblib.delayed(_digest)() for _ in range(4)))
    got["the parent after them"] = _digest()
    return {"same": {name: digest == expected for name, digest in got.items()}}


def _forked(compute=_digest):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, compute().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        digest = pipe.read()
    return digest if os.waitpid(child, 0)[1] == 0 else "killed"


def _same(digests):
    return digests[0] if len(set(digests)) == 1 else "different"


def interrupt(times=20):
    """Ctrl-C at a random moment of a descent, again and again: steps until it ends, and what state it leaves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without it
    X, y, w = example(20_003, 28, "f8", "f8", "C")
    inputs = [array.tobytes() for array in (X, y, w)]
    expected = jlr.loss_and_gradient(X, y, w, target="cpu")
    rng = np.random.default_rng(0)
    late, invalid, missed = [], 0, 0
    for k in range(times):
        states, at = [], []
        # one call after the other with no Python between, where the descent could take many steps before the signal
        strike = partial(at.extend, map(call, [states.__len__, partial(os.kill, os.getpid(), signal.SIGINT)]))
        timer = threading.Timer(rng.uniform(0.001, 0.1), strike)
        try:
            timer.start()
            jlr.gradient_descent(
                X,
                y,
                learning_rate=0.1,
                n_iterations=10**9,
                w=w,
                callback=states.append,
                progress=k % 4 == 3,
                target="cpu",
            )
        except KeyboardInterrupt:
            timer.join()
            late.append(len(states) - at[0])
        else:
            missed += 1
        for state in states[-1:]:
            loss, dw, db = jlr.loss_and_gradient(X, y, state.w, state.b, target="cpu")
            norm = float(np.linalg.norm([*dw, db]))
            invalid += loss != state.loss or not abs(norm - state.gradient_norm) <= 1e-12 * norm
    after = jlr.loss_and_gradient(X, y, w, target="cpu")
    return {
        "interrupted": len(late),
        "missed": missed,
        "most steps after": max(late, default=None),
        "invalid states": int(invalid),
        "inputs unchanged": inputs == [array.tobytes() for array in (X, y, w)],
        "same bits after": after.loss == expected.loss and after.dw.tobytes() == expected.dw.tobytes(),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("situation", choices=["threads", "fork", "interrupt"])
    parser.add_argument("--threads", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--calls", type=int, default=1000, help="of each thread (%(default)s)")
    options = parser.parse_args(argv)
    if options.situation == "threads":
        result = threads(options.threads, options.calls)
    else:
        result = {"fork": fork, "interrupt": interrupt}[options.situation]()
    try:
        layer = numba.threading_layer()
    except ValueError:  # nothing ran on threads: there is one
        layer = None
    print(json.dumps({"layer": layer, **result}))


if __name__ == "__main__":
    main()

"""Time `jitlogreg.dask`, and fit data that memory does not hold: results/scaling.json, and tables in docs/scaling.md.

python tools/performance/scaling.py              # about ten minutes on two cores; 6 GB of disk for a while
python tools/performance/scaling.py --from results/scaling.json
python tools/performance/scaling.py --only disk  # the rest is kept as it is in results/scaling.json
"""

import argparse
import functools
import json
import logging
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import distributed
import numpy as np

import jitlogreg as jlr
from jitlogreg import dask as over_blocks
from jitlogreg.cli.timing import in_turn
from jitlogreg.dask import blocks
from jitlogreg.dask.objective import ADDED_AT_ONCE

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, digits, measured_on, provenance, replaced, table

# what starts and stops is told by the clusters' processes otherwise
logging.getLogger("distributed").setLevel(logging.WARNING)

RESULTS, PAGE = FIGURES / "scaling.json", DOCS / "scaling.md"
MARKER = "{}: tools/performance/scaling.py"

ROUNDS = 15
COLUMNS = 28, 1000, 100_000

# Of the model: what each worker keeps, and in blocks of what size
KEPT, BLOCKS = 16 << 30, (256 << 20, 1 << 30, 4 << 30)
SHARE = 0.1

# On disk
DISK_BLOCKS, DISK_ROWS, LIMIT = 54, 500_000, 2 << 30


def examples(m, n, blocks, seed=0):
    """X and y as dask arrays whose blocks are in memory, and as NumPy arrays."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, n))
    y = (rng.uniform(size=m) < 1 / (1 + np.exp(-X @ rng.normal(size=n) / np.sqrt(n)))).astype(np.float64)
    rows = -(-m // blocks)
    return da.from_array(X, chunks=(rows, n)), da.from_array(y, chunks=rows), X, y


def cluster(workers):
    """Worker processes of one thread each, and a client that is current where it is asked to be."""
    return distributed.Client(
        distributed.LocalCluster(workers, threads_per_worker=1, dashboard_address=None), set_as_default=False
    )


def on(client, call, *arguments):
    with client.as_current():
        return call(*arguments)


def kept(client, m, n, blocks):
    """An objective whose blocks the workers have drawn, and keep."""
    with client.as_current():
        rows = -(-m // blocks)
        X = da.random.default_rng(0).normal(size=(m, n), chunks=(rows, n))
        y = (X[:, 0] > da.random.default_rng(1).logistic(size=m, chunks=rows)).astype(np.float64)
        X, y = dask.persist(X, y)
        distributed.wait([X, y])
        return over_blocks.Objective(X, y)


def medians(calls, rounds=ROUNDS):
    """The median seconds of each call, and the median of its ratio to the first one."""
    seconds = in_turn(list(calls.values()), rounds)
    return {
        name: {"seconds": float(np.median(row)), "times": float(np.median(row / seconds[0]))}
        for name, row in zip(calls, seconds, strict=True)
    }


# ---------------------------------------------------------------- one evaluation


def two_reads(X, y, w, b):
    """Loss and gradient as dask array's own operations make them."""
    z = X @ w + b
    loss = da.mean(da.logaddexp(0, z) - y * z)
    dz = 1 / (1 + da.exp(-z)) - y
    return dask.compute(loss, X.T @ dz / len(y), dz.mean())


def evaluation():
    """100 blocks of 10,000 x 28: in memory, over blocks on each scheduler, and by hand."""
    X, y, X_in_memory, y_in_memory = examples(1_000_000, 28, 100)
    X, y = dask.persist(X, y, scheduler="threads")
    theta = np.full(29, 0.1)
    in_memory, over = jlr.Objective(X_in_memory, y_in_memory), over_blocks.Objective(X, y)
    by_hand = functools.partial(two_reads, X, y, theta[:-1], theta[-1])
    loss, gradient = in_memory(theta)
    for other_loss, *rest in (over(theta), by_hand()):
        np.testing.assert_allclose(
            [other_loss, *np.concatenate([np.ravel(r) for r in rest])], [loss, *gradient], rtol=1e-9
        )

    def scheduled(call, **settings):
        with dask.config.set(**settings):
            return call()

    with cluster(2) as client:
        there = kept(client, 1_000_000, 28, 100)
        return medians(
            {
                "in memory, 2 threads": lambda: in_memory(theta),
                "dask, synchronous": lambda: scheduled(lambda: over(theta), scheduler="synchronous"),
                "dask, 2 threads": lambda: scheduled(lambda: over(theta), scheduler="threads", num_workers=2),
                "dask, 2 processes of a cluster": lambda: on(client, there, theta),
                "by hand, two reads, 2 threads": lambda: scheduled(by_hand, scheduler="threads", num_workers=2),
            }
        )


def workers():
    """16,000,000 x 28 in 16 blocks, kept by one worker, and by two."""
    theta = np.full(29, 0.1)
    with cluster(1) as one, cluster(2) as two:
        of_one, of_two = (kept(client, 16_000_000, 28, 16) for client in (one, two))
        assert on(one, of_one, theta)[1].tobytes() == on(two, of_two, theta)[1].tobytes()
        measured = medians({"1 worker": lambda: on(one, of_one, theta), "2 workers": lambda: on(two, of_two, theta)})
    return measured | {"bytes": 16_000_000 * 28 * 8}


# ---------------------------------------------------------------- what the model starts from


def kernel_speed(n):
    """Bytes of X that one thread takes a second, over one block."""
    m = max(64, (256 << 20) // (8 * n))
    X, y, *_ = examples(m, n, 1)
    X, y = dask.persist(X, y, scheduler="threads")
    objective, theta = over_blocks.Objective(X, y), np.zeros(n + 1)
    with dask.config.set(scheduler="synchronous"):
        return X.nbytes / medians({"": lambda: objective(theta)}, 7)[""]["seconds"]


def task_cost(client):
    """Seconds that a block's task and its share in adding up cost beside the arithmetic."""
    objectives = [kept(client, blocks, 1, blocks) for blocks in (160, 640)]
    few, many = medians(
        {k: functools.partial(on, client, o, np.zeros(2)) for k, o in enumerate(objectives)}, 7
    ).values()
    return (many["seconds"] - few["seconds"]) / 480


def empty_task(client):
    """Seconds that a task costs which does nothing."""
    few, many = medians(
        {k: lambda k=k: client.gather(client.map(int, range(k), pure=False)) for k in (160, 640)}, 7
    ).values()
    return (many["seconds"] - few["seconds"]) / 480


def send(client, size):
    """Seconds until one worker has 15 vectors of `size` numbers that the other has, and has added them up."""
    with client.as_current():
        first, second = client.scheduler_info(n_workers=-1)["workers"]
        parts = [client.submit(np.zeros, (2, size), workers=[first], pure=False) for _ in range(15)]
        distributed.wait(parts)
        start = time.perf_counter()
        distributed.wait(client.submit(blocks.add_up, parts, workers=[second], pure=False))
        return time.perf_counter() - start


def model_figures():
    with cluster(2) as client:
        task = task_cost(client)
        short, long = (float(np.median([send(client, size) for _ in range(9)])) for size in (3, 1_000_000))
        return {
            "task": task,
            "empty_task": empty_task(client),
            "hop": short,
            "bytes_per_second": 15 * 2 * 8e6 / (long - short),
            "speed": {str(n): kernel_speed(n) for n in COLUMNS},
        }


def reduction_seconds(figures, n, count, block):
    """What adding up costs with so many workers: tasks, one after the other, and the way up the tree."""
    blocks = count * KEPT // block
    levels, width = 0, blocks
    while width > 1:
        width, levels = -(-width // ADDED_AT_ONCE), levels + 1
    of_level = figures["hop"] + 15 * 16 * (n + 2) / figures["bytes_per_second"]
    return blocks * figures["task"] + levels * of_level


def most_workers(figures, n, block):
    """The workers of blocks of this size at which adding up costs a tenth of an evaluation's arithmetic."""
    arithmetic = KEPT / figures["speed"][str(n)]
    count = 0
    while reduction_seconds(figures, n, count + 1, block) <= SHARE * arithmetic and count < 100_000:
        count += 1
    return count


# ---------------------------------------------------------------- beyond memory


def write_blocks(folder):
    """X and y as stacks of .npy files, a file for each block."""
    m = DISK_ROWS * DISK_BLOCKS
    w = np.random.default_rng(0).normal(size=28) / np.sqrt(28)
    da.to_npy_stack(folder / "X", da.random.default_rng(1).normal(size=(m, 28), chunks=(DISK_ROWS, 28)))
    z = da.from_npy_stack(folder / "X") @ w
    da.to_npy_stack(folder / "y", (z > da.random.default_rng(2).logistic(size=m, chunks=DISK_ROWS)).astype(np.float64))


def disk():
    """A fit to 6 GB on disk, by a process that may have 2 GB; one that loads them all is the control."""
    with tempfile.TemporaryDirectory() as folder:
        write_blocks(Path(folder))
        run = functools.partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True)
        whole = run([sys.executable, __file__, "--load-whole", folder]).stdout.strip()
        return json.loads(run([sys.executable, __file__, "--fit", folder]).stdout) | {"whole": whole}


def limited():
    """Let this process have no more than two gigabytes of addresses."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


def load_whole(folder):
    limited()
    try:
        X = da.from_npy_stack(folder / "X").compute(scheduler="synchronous")
    except (MemoryError, OSError) as error:  # of memory, or of a file's pages
        print(f"{type(error).__name__}: {error}")
    else:
        raise SystemExit(f"the limit does not bite: {X.nbytes} bytes were loaded")


def fit_from_disk(folder):
    limited()
    X, y = (da.from_npy_stack(folder / name) for name in "Xy")
    with dask.config.set(scheduler="threads", num_workers=2):
        start = time.perf_counter()
        objective = over_blocks.Objective(X, y)
        fitted = jlr.fit(objective)
        seconds = time.perf_counter() - start
        assert fitted.converged, fitted.message
        theta = np.append(fitted.w, fitted.b)
        timed = medians({"read": lambda: read_through(folder), "evaluation": lambda: objective(theta)}, 5)
    print(
        json.dumps(
            {
                "bytes": X.nbytes + y.nbytes,
                "seconds": seconds,
                "evaluations": fitted.n_evaluations,
                "message": fitted.message,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
                "addresses": int(Path("/proc/self/status").read_text().partition("VmPeak:")[2].split()[0]) << 10,
                "timed": timed,
            }
        )
    )


def read_through(folder):
    """Read every file, by two threads, into a few megabytes again and again."""
    files = sorted(folder.glob("*/*.npy"))

    def through(mine):
        buffer = bytearray(4 << 20)
        for path in mine:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    threads = [threading.Thread(target=through, args=(files[k::2],)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---------------------------------------------------------------- the page

PARTS = {"evaluation": evaluation, "workers": workers, "model": model_figures, "disk": disk}


def tables(results):
    """What stands between each pair of markers."""
    ms, gb = (lambda row: digits(1e3 * row["seconds"])), 1e9
    evaluation, on_workers, figures, disk = (results[part] for part in PARTS)
    yield (
        "evaluation",
        table(["", "ms", "times"], [[name, ms(row), digits(row["times"])] for name, row in evaluation.items()]),
    )
    rows = {name: row for name, row in on_workers.items() if name != "bytes"}
    yield (
        "workers",
        table(
            ["", "ms", "times", "GB/s"],
            [[k, ms(v), digits(v["times"]), digits(on_workers["bytes"] / v["seconds"] / gb)] for k, v in rows.items()],
        ),
    )
    yield (
        "figures",
        table(
            ["", ""],
            [
                ["a block's task, its share in adding up included", f"{1e3 * figures['task']:.2f} ms"],
                ["a task that does nothing", f"{1e3 * figures['empty_task']:.2f} ms"],
                ["15 short vectors to another worker, added up", f"{1e3 * figures['hop']:.1f} ms"],
                ["the same of long ones", f"{figures['bytes_per_second'] / gb:.2f} GB/s"],
            ],
        ),
    )
    model = []
    for n in COLUMNS:
        speed = figures["speed"][str(n)]
        sizes = n, f"{speed / gb:.1f}", digits(1e3 * KEPT / speed), 8 * (n + 1), 8 * (n + 2)
        model.append([*sizes, *(most_workers(figures, n, block) for block in BLOCKS)])
    head = ["n", "GB/s of a worker", "arithmetic, ms", "theta, bytes", "of a block, bytes"]
    yield "model", table([*head, *(f"workers, {block >> 20} MiB" for block in BLOCKS)], model)
    timed = disk["timed"]
    yield (
        "disk",
        table(
            ["", ""],
            [
                ["on disk", f"{disk['bytes'] / gb:.2f} GB"],
                ["the limit on addresses", f"{LIMIT / gb:.2f} GB"],
                ["loaded whole under it", disk["whole"]],
                ["the fit", f"{disk['seconds']:.1f} s, {disk['evaluations']} evaluations; {disk['message']}"],
                ["most addresses at once", f"{disk['addresses'] / gb:.2f} GB"],
                ["most memory at once, pages of files included", f"{disk['peak'] / gb:.2f} GB"],
                ["an evaluation", f"{disk['bytes'] / timed['evaluation']['seconds'] / gb:.1f} GB/s"],
                ["the files read through", f"{disk['bytes'] / timed['read']['seconds'] / gb:.1f} GB/s"],
            ],
        ),
    )
    yield "measured", measured_on(results)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables from this file's figures alone")
    parser.add_argument("--only", choices=PARTS, help="measure this part; the others stay as they are in the results")
    parser.add_argument("--load-whole", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    for task, folder in ((load_whole, options.load_whole), (fit_from_disk, options.fit)):
        if folder:
            return task(folder)
    source = Path(options.source or RESULTS)
    results = json.loads(source.read_text(encoding="utf-8")) if options.source or source.exists() else {}
    if not options.source:
        results |= provenance({"dask": dask.__version__, "distributed": distributed.__version__})
        for part in [options.only] if options.only else PARTS:
            print(part, file=sys.stderr)
            results[part] = PARTS[part]()
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not results.keys() >= PARTS.keys():
        return None
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables(results):
        page = replaced(page, MARKER.format(name), text)
    PAGE.write_text(page, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()

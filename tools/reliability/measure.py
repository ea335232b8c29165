"""Put the kernels into hard situations: what happened into results/reliability.json, and in tables docs/reliability.md.

    python tools/reliability/measure.py                          # some ten minutes on two cores
    python tools/reliability/measure.py --calls 50 --skip-tests  # threads, forks, interrupts and the cache alone
    python tools/reliability/measure.py --from results/reliability.json

It stops with an error, and writes nothing, where something went wrong. The threading layer `tbb` needs
`pip install tbb`; to be another user, root needs Linux's `setpriv`.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS, FIGURES, ROOT, digits, measured_on, provenance, replaced, table

from reliability import cache

STRESS = Path(__file__).resolve().with_name("stress.py")
RESULTS, PAGE = FIGURES / "reliability.json", DOCS / "reliability.md"
LAYERS = ("omp", "workqueue", "tbb")
# Tests that are too long for the ordinary run, and what each tries
TESTS = {
    "tests/test_fuzz.py": "random inputs: the reference's answer, or the documented error",
    "tests/test_size.py": "more than 2³¹ numbers",
    "tests/test_bits.py": "the same bits",
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", metavar="FILE", help="write the tables from this file's figures alone")
    parser.add_argument("--threads", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--calls", type=int, default=1000, help="of each thread (%(default)s)")
    parser.add_argument("--skip-tests", action="store_true", help="leave out what the slow tests try")
    options = parser.parse_args(argv)
    if options.source:
        results = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        results = measure(options.threads, options.calls, {} if options.skip_tests else TESTS)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables(results).items():
        page = replaced(page, f"reliability: {name}", text)
    PAGE.write_text(page, encoding="utf-8")


def measure(threads=8, calls=1000, tests=TESTS):
    results = provenance() | {"layers": {}, "not_here": [], "cache": {}, "tests": {}}
    for layer in LAYERS:
        if not can_run_on(layer):
            results["not_here"].append(layer)
            continue
        count = ["--threads", str(threads), "--calls", str(calls)]
        situations = {"threads": count, "fork": [], "interrupt": []}
        outcome = {situation: stress(situation, layer, *more) for situation, more in situations.items()}
        for situation, seen in outcome.items():
            _require(is_well(situation, seen), f"{situation} on {layer}: {seen}")
        results["layers"][layer] = outcome
    answer = cache.right_answer()
    for name, situation in {"read_only": cache.read_only, "cold": cache.cold, "damaged": cache.damaged}.items():
        if name == "read_only" and not cache.can_be_another_user():
            continue
        results["cache"][name] = seen = situation(answer)
        _require(seen["right"] == seen["of"], f"{name}: {seen}")
    results["cache"]["versions"] = seen = cache.versions(answer)
    _require(seen["right"] == seen["of"] and seen["shared files"] == 0, f"versions: {seen}")
    for path in tests:
        results["tests"][path] = seen = run_tests(path)
        _require(seen["failed"] == 0 and seen["passed"] > 0, f"{path}: {seen}")
    return results


def _require(holds, message):
    print(message, file=sys.stderr)
    if not holds:
        raise RuntimeError(message)


# ---------------------------------------------------------------- threads, forks, interrupts


def environment(layer):
    """Variables for a process that runs on this threading layer; the wheel of tbb keeps its library beside Python's."""
    libraries = os.pathsep.join([str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH", "")])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"NUMBA_THREADING_LAYER": layer, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": path}


@functools.cache
def can_run_on(layer):
    program = (
        "import numba, numpy as np\n"
        "@numba.njit(parallel=True)\n"
        "def fill(x):\n"
        "    for i in numba.prange(x.size):\n"
        "        x[i] = i\n"
        "fill(np.zeros(1000))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(layer), capture_output=True, check=False)
    return done.returncode == 0


def stress(situation, layer, *arguments, timeout=600):
    """What `stress.py` says of a situation on a threading layer, or how it ended."""
    command = [sys.executable, "-W", "ignore", str(STRESS), situation, *arguments]
    try:
        done = subprocess.run(
            command, env=environment(layer), capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"died": f"not done after {timeout} s"}
    if done.returncode != 0:
        return {"died": f"exit {done.returncode}: {done.stderr.strip()[-300:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def is_well(situation, seen):
    """Whether what `stress.py` says is what is promised."""
    if "died" in seen:
        return False
    if situation == "threads":
        return seen["wrong"] == 0 and seen["finished"] > 0
    if situation == "fork":
        return all(seen["same"].values())
    return (
        seen["interrupted"] > 0
        and seen["missed"] == seen["invalid states"] == 0
        and seen["most steps after"] <= 1
        and seen["inputs unchanged"]
        and seen["same bits after"]
    )


# ---------------------------------------------------------------- tests


def run_tests(path):
    """How many slow tests of a file passed and failed, and how many cases a fuzz of them says it has tried."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "-m", "slow", path, "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment("default"), capture_output=True, text=True, check=False)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    tried = sum(map(int, re.findall(r"tried (\d+) cases", done.stdout)))
    return {
        "passed": counts.get("passed", 0),
        "failed": counts.get("failed", 0) + counts.get("error", 0),
        "cases": tried,
    }


# ---------------------------------------------------------------- the page


def tables(results):
    """What goes into the page, by the names of its markers."""
    return {
        "layers": layers_table(results),
        "cache": cache_table(results["cache"]),
        "tests": tests_table(results["tests"]),
        "measured": measured_on(results),
    }


def layers_table(results):
    rows = []
    for layer, outcome in results["layers"].items():
        threads, fork, interrupt = outcome["threads"], outcome["fork"], outcome["interrupt"]
        rows += [
            [layer, "threads", f"{threads['calls']} calls from {threads['finished']} threads at once", _share(threads)],
            [
                layer,
                "fork",
                ", ".join(fork["same"]),
                f"{sum(fork['same'].values())} of {len(fork['same'])} the same bits",
            ],
            [
                layer,
                "Ctrl-C",
                f"{interrupt['interrupted']} descents",
                f"at most {interrupt['most steps after']} steps after it; {interrupt['invalid states']} invalid states",
            ],
        ]
    text = table(["layer", "situation", "tried", "seen"], rows)
    return f"{text}\n\nNot to be had there: {', '.join(results['not_here'])}." if results["not_here"] else text


def _share(threads):
    return f"{threads['wrong']} wrong, none died, {digits(threads['seconds'], 2)} s"


def cache_table(seen):
    rows = []
    if "read_only" in seen:
        of = seen["read_only"]
        rows.append(["nothing may be written, as another user", f"{of['of']} processes", _right(of)])
        rows[-1][-1] += f"; warnings in each: {', '.join(map(str, of['warnings']))}"
    of = seen["cold"]
    rows.append(["processes at once on an empty cache, and again", f"{of['of'] // 2} + {of['of'] // 2}", _right(of)])
    of = seen["damaged"]
    kinds = ", ".join(cache.DAMAGES)
    rows.append(
        [f"damaged: {kinds}", f"{of['of']} runs", f"{_right(of)}; {of['mended']} of {of['files']} files written anew"]
    )
    of = seen["versions"]
    rows.append(["two versions with one cache folder, in turn", f"{of['of']} runs", _right(of)])
    rows[-1][-1] += f"; {of['shared files']} files shared"
    return table(["situation", "tried", "seen"], rows)


def _right(of):
    return f"{of['right']} of {of['of']} right"


def tests_table(tests):
    rows = []
    for path, seen in tests.items():
        tried = f"{seen['cases']} cases" if seen["cases"] else f"{seen['passed'] + seen['failed']} tests"
        rows.append([TESTS[path], path, tried, "all as promised" if not seen["failed"] else f"{seen['failed']} failed"])
    return table(["what", "where", "tried", "seen"], rows) if rows else "Left out."


if __name__ == "__main__":
    main()

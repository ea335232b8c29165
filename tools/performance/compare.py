"""Compare the speed of two commits, and say in one line and by the exit status which is slower.

Both commits' packages are installed into folders of their own, with the same Numba and NumPy, and a process of each
takes samples of the benchmarks in turn with one of the other: A B B A A B … Whatever slows the machine slows both, and
the ratio stays. How memory happens to lie in a process may cost some per cent for as long as it lives, so processes are
started anew a few times. What looks changed then is measured as often again, and stands if it looks so again.

Exit status: 0 no difference, 1 slower, 2 could not be measured, 3 faster.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).resolve().with_name("compare_worker.py")

NO_DIFFERENCE, SLOWER, NOT_MEASURED, FASTER = range(4)

# A change is told from this ratio on. Every launch must show half of it, its square root
FACTOR = 1.1
LAUNCHES = 3
SAMPLES = 9

# Seconds that one answer may take; a setup that compiles takes ten, and more on a busy machine
PATIENCE = 600

# Under two minutes on two cores. Every kernel's loops, both dtypes, from the first-level cache to memory, what is
# allocated, other threads, import and compilation
NARROW = (
    r"LossAndGradient.*'cpu', 'float(64|32)', 'C', \((128|500000),|LossAndGradient.*'cpu', 'float64', 'C', \((1|20)000,"
    r"|LossAndGradient.*'cpu', 'float64', 'F', \((1000|500000),|Forward.*'cpu', 'float64', 'C', \((128|500000),"
    r"|Memory.track.*'loss_and_gradient'|OtherThreads|Import|FirstCall.track_compiled\('forward', 'C'"
)


class CannotMeasureError(Exception):
    """A commit does not build, or a benchmark fails."""


class Side:
    """One commit's process, "base" or "head"."""

    def __init__(self, name, package):
        self.name = name
        environment = {
            **os.environ,
            "PYTHONPATH": str(package),
            "PYTHONSAFEPATH": "1",
            # threads of the process that waits would spin on the cores of the other
            "OMP_WAIT_POLICY": "passive",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=package,
        )

    def tell(self, *words):
        """Ask without waiting for the answer."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        """What comes back: {"value": …} or {"error": …}."""
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        line = self.process.stdout.readline()
        patience.cancel()
        answer = json.loads(line or '{"trace": ""}')
        if not line:
            answer["error"] = f"the process ended with status {self.process.wait()}"
        if "error" in answer:
            answer["error"] = f"{self.name}: {answer['error']}"
        return answer

    def ask(self, *words):
        """The answer's value; CannotMeasureError with its error."""
        self.tell(*words)
        return value(self.answer())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def value(answer):
    if "error" in answer:
        print(answer["trace"], file=sys.stderr)
        raise CannotMeasureError(answer["error"])
    return answer["value"]


def git(repository, *words, **options):
    return subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True, **options).stdout


def install(repository, commit, cache):
    """The folder into which a commit's wheel is installed, without what it depends on."""
    try:
        name = git(repository, "rev-parse", "--verify", f"{commit}^{{commit}}", text=True).strip()
    except subprocess.CalledProcessError:
        raise CannotMeasureError(f"{repository} has no commit {commit}") from None
    folder = cache / name
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as sources, tempfile.TemporaryDirectory(dir=cache) as unfinished:
        with tempfile.TemporaryFile() as archive:
            archive.write(git(repository, "archive", name))
            archive.seek(0)
            with tarfile.open(fileobj=archive) as tar:
                tar.extractall(sources, filter="data")
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{unfinished}/it", sources]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            print(built.stderr, file=sys.stderr)
            raise CannotMeasureError(f"{commit} cannot be built")
        Path(unfinished, "it").rename(folder)
    return folder


def launch(packages, names, facts, turn):
    """Measure with two new processes: by name head's time over base's, None where one lacks it, or an error's text."""
    found = {}
    with Side("base", packages[0]) as base, Side("head", packages[1]) as head:
        for name in names:
            for side in (base, head):  # both at a time
                side.tell("setup", name)
            answers = base.answer(), head.answer()
            try:
                ready = [value(answer) for answer in answers]
                if ready == [True, False]:
                    raise CannotMeasureError("it runs with the base, and is not applicable any more")
                samples = facts[name]["samples"] or SAMPLES
                found[name] = in_turn(base, head, samples, turn) if all(ready) else None
            except CannotMeasureError as error:
                found[name] = str(error)
                if base.process.poll() is not None or head.process.poll() is not None:
                    break
    return found


def in_turn(base, head, samples, turn):
    """Head's time over base's: of the lower quartiles, which other processes do not reach."""
    numbers = {base: [], head: []}
    for k in range(samples):
        for side in (base, head) if (k + turn) % 2 == 0 else (head, base):
            numbers[side].append(side.ask("sample"))
    low, other_low = (sorted(numbers[side])[samples // 4] for side in (head, base))
    return low / other_low


def changed(ratios, factor):
    """1 for slower, -1 for faster, 0 for neither: all launches by half of the factor, their median by all of it."""
    middle = statistics.median(ratios)
    if middle > factor and min(ratios) > factor**0.5:
        return 1
    if middle < 1 / factor and max(ratios) < factor**-0.5:
        return -1
    return 0


def measure(packages, select, factor=FACTOR, log=print):
    """Ratios of what both sides have, those of the first launches and those of the launches that confirm; errors.

    Returns
    -------
    ratios, factors, errors : dicts
        By name: two lists, the second of which is empty where nothing looked changed; the factor; the error's text.
    """
    with Side("head", packages[1]) as head:
        facts = head.ask("describe")
    names = [name for name in facts if select.search(name)]
    if not names:
        raise CannotMeasureError(f"no benchmark matches {select.pattern!r}")
    factors = {name: facts[name]["factor"] or factor for name in names}
    ratios, errors = {}, {}

    def go(names, again):
        for turn in range(LAUNCHES):
            left = [n for n in names if n not in errors and turn < (facts[n]["launches"] or LAUNCHES)]
            for name, outcome in launch(packages, left, facts, turn + again).items():
                if isinstance(outcome, str):
                    errors[name] = outcome
                elif outcome is not None:
                    ratios.setdefault(name, ([], []))[again].append(outcome)
            log(f"{'confirmed' if again else 'measured'}: {len(left)} benchmarks, {turn + 1} of {LAUNCHES} times")

    go(names, 0)
    suspicious = [name for name in ratios if name not in errors and changed(ratios[name][0], factors[name])]
    if suspicious:
        go(suspicious, 1)
    return ratios, factors, errors


def directions(ratios, factors, errors):
    """By name 1 for slower, -1 for faster, 0 for neither or for what was not confirmed."""
    found = {}
    for name, (first, again) in ratios.items():
        if name not in errors:
            direction = changed(first, factors[name])
            found[name] = direction if direction and again and changed(again, factors[name]) == direction else 0
    return found


def verdict(ratios, factors, errors):
    """The exit status, and the line that says it."""
    found = directions(ratios, factors, errors)
    middle = {name: statistics.median(first + again) for name, (first, again) in ratios.items()}
    slower = sorted((name for name in found if found[name] > 0), key=middle.get, reverse=True)
    faster = sorted((name for name in found if found[name] < 0), key=middle.get)
    total = len(found) + len(errors)
    if errors:
        name, error = next(iter(errors.items()))
        also = f"; slower: {len(slower)}" if slower else ""
        return NOT_MEASURED, f"could not be measured: {len(errors)} of {total} failed, {name}: {error}{also}"
    if not found:
        return NOT_MEASURED, "could not be measured: no benchmark is applicable to both commits"
    if slower:
        also = f"; faster: {len(faster)}" if faster else ""
        return SLOWER, f"slower: {len(slower)} of {total}, {slower[0]} by a factor of {middle[slower[0]]:.3g}{also}"
    if faster:
        return FASTER, f"faster: {len(faster)} of {total}, {faster[0]} by a factor of {1 / middle[faster[0]]:.3g}"
    return NO_DIFFERENCE, f"no difference: {total} benchmarks"


def compare(repository, base, head, select=NARROW, factor=FACTOR, log=print):
    """Install, measure, judge: a dict of status, line, ratios, what is slower or faster, and errors."""
    cache = ROOT / ".asv" / "compare"
    cache.mkdir(parents=True, exist_ok=True)
    select = re.compile(select)
    ratios, factors, errors = {}, {}, {}
    try:
        packages = [install(repository, commit, cache) for commit in (base, head)]
        ratios, factors, errors = measure(packages, select, factor, log)
        status, line = verdict(ratios, factors, errors)
    except (CannotMeasureError, OSError, subprocess.SubprocessError) as error:
        status, line = NOT_MEASURED, f"could not be measured: {error}"
    found = directions(ratios, factors, errors)
    return {
        "status": status,
        "line": line,
        "ratios": ratios,
        "slower": [name for name in found if found[name] > 0],
        "faster": [name for name in found if found[name] < 0],
        "errors": errors,
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a commit, such as main")
    parser.add_argument("head", nargs="?", default="HEAD", help="another; HEAD if left out. Both as they are committed")
    parser.add_argument("--repository", type=Path, default=ROOT, help="where the commits are; this one if left out")
    parser.add_argument("--all", action="store_true", help="every benchmark, not the narrow selection")
    parser.add_argument("--bench", action="append", help="a regular expression: what it matches, beside the selection")
    parser.add_argument("--only", help="a regular expression: what it matches alone")
    parser.add_argument("--factor", type=float, default=FACTOR, help="the least change that is told")
    parser.add_argument("--json", type=Path, help="a file to write all ratios to")
    options = parser.parse_args(arguments)
    select = options.only or ("" if options.all else "|".join([NARROW, *(options.bench or [])]))
    result = compare(options.repository, options.base, options.head, select, options.factor)
    for name, (first, again) in sorted(result["ratios"].items()):
        each = ", ".join(f"{ratio:.3f}" for ratio in first + again)
        print(f"{statistics.median(first + again):8.3f}  {name}  ({each})")
    for name, error in result["errors"].items():
        print(f"  failed  {name}: {error}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(result["line"])
    return result["status"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:  # not 1, which says slower
        print(f"could not be measured: {type(error).__name__}: {error}")
        sys.exit(NOT_MEASURED)

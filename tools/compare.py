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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).resolve().parent / "compare_worker.py"

NO_DIFFERENCE, SLOWER, NOT_MEASURED, FASTER = range(4)

# Ratios that are told, and in the processes of each launch, of which all must show half of it
FACTOR = 1.1
LAUNCHES = 3
SAMPLES = 9

# Under two minutes on two cores. Every kernel's loops, both dtypes, from the first-level cache to memory, what is
# allocated, other threads, import and compilation
NARROW = (
    r"LossAndGradient.*'cpu', 'float(64|32)', 'C', \((128|500000),|LossAndGradient.*'cpu', 'float64', 'C', \((1|20)000,"
    r"|LossAndGradient.*'cpu', 'float64', 'F', \((128|500000),|Forward.*'cpu', 'float64', 'C', \((128|500000),"
    r"|Memory.track.*'loss_and_gradient'|OtherThreads|Import|FirstCall.track_compiled\('forward', 'C'"
)


class CannotMeasureError(Exception):
    """A commit does not build, or a benchmark fails."""


class Side:
    """One commit's process."""

    def __init__(self, package):
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
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"the process ended with status {self.process.wait()}", "trace": ""}
        return json.loads(line)

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
        os.rename(f"{unfinished}/it", folder)
    return folder


def launch(packages, names, facts, turn):
    """Measure with two new processes: by name head's time over base's, None where one lacks it, or an error's text."""
    found = {}
    with Side(packages[0]) as base, Side(packages[1]) as head:
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


def measure(packages, select, factor=FACTOR, log=lambda line: None):
    """Ratios by name, of all launches, of what both sides have; and errors by name.

    Returns
    -------
    ratios, factors, errors : dicts
    """
    with Side(packages[1]) as head:
        every = head.ask("describe")
    names = [name for name in every if re.search(select, name)]
    if not names:
        raise CannotMeasureError(f"no benchmark matches {select!r}")
    factors = {name: every[name]["factor"] or factor for name in names}
    ratios, errors = {}, {}

    def go(names, turns):
        for turn in turns:
            for name, outcome in launch(packages, [n for n in names if n not in errors], every, turn).items():
                if isinstance(outcome, str):
                    errors[name] = outcome
                elif outcome is not None:
                    ratios.setdefault(name, []).append(outcome)
            log(f"measured {turn + 1} times: {len(ratios)} benchmarks")

    go(names, range(LAUNCHES))
    suspicious = [name for name in ratios if name not in errors and changed(ratios[name], factors[name])]
    if suspicious:
        go(suspicious, range(LAUNCHES, 2 * LAUNCHES))
    return ratios, factors, errors


def verdict(ratios, factors, errors):
    """The exit status, and the line that says it."""
    direction = {
        name: changed(r[:LAUNCHES], factors[name]) if changed(r[:LAUNCHES], factors[name]) == changed(r, factors[name]) else 0
        for name, r in ratios.items()
        if name not in errors
    }
    slower = sorted((n for n in direction if direction[n] > 0), key=lambda n: -statistics.median(ratios[n]))
    faster = sorted((n for n in direction if direction[n] < 0), key=lambda n: statistics.median(ratios[n]))
    if errors:
        name, error = next(iter(errors.items()))
        also = f"; slower: {len(slower)}" if slower else ""
        return NOT_MEASURED, f"could not be measured: {len(errors)} of {len(errors) + len(direction)} failed, {name}: {error}{also}"
    if not direction:
        return NOT_MEASURED, "could not be measured: no benchmark is applicable to both commits"
    for status, word, names in ((SLOWER, "slower", slower), (FASTER, "faster", faster)):
        if names:
            most = statistics.median(ratios[names[0]])
            also = f"; faster: {len(faster)}" if faster and status == SLOWER else ""
            return status, f"{word}: {len(names)} of {len(direction)} benchmarks, {names[0]} takes {most:.3g} times as much{also}"
    return NO_DIFFERENCE, f"no difference: {len(direction)} benchmarks, none by a factor of {min(factors.values()):g} to {max(factors.values()):g}"


def compare(repository, base, head, select=NARROW, factor=FACTOR, log=lambda line: None):
    """Everything: install, measure, judge. A dict of status, line, ratios and errors."""
    cache = ROOT / ".asv" / "compare"
    cache.mkdir(parents=True, exist_ok=True)
    ratios, errors = {}, {}
    try:
        packages = [install(repository, commit, cache) for commit in (base, head)]
        ratios, factors, errors = measure(packages, select, factor, log)
        status, line = verdict(ratios, factors, errors)
    except (CannotMeasureError, OSError, subprocess.SubprocessError) as error:
        status, line = NOT_MEASURED, f"could not be measured: {error}"
    return {"status": status, "line": line, "ratios": ratios, "errors": errors}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a commit, such as main")
    parser.add_argument("head", nargs="?", default="HEAD", help="another; HEAD if left out. Both as they are committed")
    parser.add_argument("--repository", type=Path, default=ROOT, help="where the commits are; this one if left out")
    parser.add_argument("--all", action="store_true", help="every benchmark, which takes long, not the narrow selection")
    parser.add_argument("--bench", action="append", help="a regular expression: what it matches, beside the selection")
    parser.add_argument("--only", help="a regular expression: what it matches alone")
    parser.add_argument("--factor", type=float, default=FACTOR, help="the least change that is told")
    parser.add_argument("--json", type=Path, help="a file to write all ratios to")
    options = parser.parse_args(arguments)
    select = options.only or ("" if options.all else "|".join([NARROW, *(options.bench or [])]))
    result = compare(options.repository, options.base, options.head, select, options.factor, print)
    for name, ratios in sorted(result["ratios"].items(), key=lambda item: statistics.median(item[1])):
        print(f"{statistics.median(ratios):8.3f}  {name}  ({', '.join(f'{r:.3f}' for r in ratios)})")
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

"""One side of `compare.py`: a process in which one commit's package answers for the benchmarks, a sample at a time.

It is told what to do by lines of JSON, and answers each with one. `PYTHONPATH` says which package is measured; the
benchmarks are those of this checkout, whatever the commit.
"""

import importlib
import importlib.util
import itertools
import json
import os
import sys
import traceback
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2] / "asv_benchmarks"
MODULES = "operations", "ratios", "memory", "startup"
BATCHES = 8


def cases():
    """What of the suite is compared, with every combination of parameters: name, class, method and values."""
    sys.path.insert(0, str(SUITE))
    for name in MODULES:
        module = importlib.import_module(f"benchmarks.{name}")
        for class_name, kind in vars(module).items():
            if class_name.startswith("_") or not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            if not getattr(kind, "compared", True):
                continue
            for method in dir(kind):
                if method.startswith(("time_", "track_")):
                    for values in itertools.product(*getattr(kind, "params", ())):
                        yield f"{class_name}.{method}{values!r}", kind, method, values


class Worker:
    """Keeps one benchmark ready at a time."""

    def __init__(self):
        package = Path(importlib.util.find_spec("jitlogreg").origin).parent.parent
        if package != Path.cwd():
            raise ImportError(f"jitlogreg is found in {package}, not in {Path.cwd()}")
        self.cases = {name: rest for name, *rest in cases()}

    def describe(self):
        """What each case says of itself: how many samples a process takes of it, in how many launches, and by what
        factor it must change to be told.
        """
        words = "samples", "launches", "factor"
        return {name: {word: getattr(kind, word, None) for word in words} for name, (kind, _, _) in self.cases.items()}

    def setup(self, name):
        """Get ready; False where the commit or the machine lacks what is measured."""
        kind, method, self.values = self.cases[name]
        self.benchmark = None  # its memory goes back before the next takes some
        self.benchmark = kind()
        self.method = getattr(self.benchmark, method)
        self.timed = method.startswith("time_")
        self.seconds = importlib.import_module("benchmarks.cases").seconds
        try:
            if hasattr(self.benchmark, "setup"):
                self.benchmark.setup(*self.values)
        except NotImplementedError:
            return False
        if self.timed:
            self.sample()  # threads awake, caches filled
        return True

    def sample(self):
        """One number: seconds of a call, or what is tracked.

        Of short calls the best of a few batches, each shorter than the time after which another process gets the core.
        """
        if not self.timed:
            return self.method(*self.values)
        batches = min(self.benchmark.number, BATCHES)
        number = self.benchmark.number // batches
        return min(self.seconds(lambda: self.method(*self.values), number) for _ in range(batches)) / number


def main():
    # answers have a channel of their own: what else is printed must not come between
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        action, *arguments = json.loads(line)
        try:
            worker = worker or Worker()
            answer = {"value": getattr(worker, action)(*arguments)}
        except Exception as error:
            last = " ".join(str(error).split()) or type(error).__name__
            answer = {"error": f"{type(error).__name__}: {last}"[:300], "trace": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

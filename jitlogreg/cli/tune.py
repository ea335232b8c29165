"""Measure this machine and store the tuning profile that suits it."""

import contextlib
import json
import sys
import time

import numba

from jitlogreg.cli.errors import NotStoredError, UsageError
from jitlogreg.cli.machine import load, print_load
from jitlogreg.cli.tables import print_table
from jitlogreg.targets.cpu import profile


def add_options(parser):
    """Add the options of `jitlogreg tune`."""
    parser.add_argument("--dry-run", action="store_true", help="measure, and store nothing")
    parser.add_argument("--json", action="store_true", help="print JSON: cpu, profile, gains by shape and more")
    parser.add_argument("--reset", action="store_true", help="remove what was stored for this CPU, and measure nothing")


def run(options):
    """Measure and store, or remove what is stored."""
    if options.reset:
        if options.dry_run:
            raise UsageError("--reset and --dry-run: expected at most one, got both")
        return _print(options, *_reset())
    try:
        before = profile.current()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not options.dry_run and profile.path() is None:
        raise NotStoredError(f"{profile.NOWHERE}; --dry-run measures all the same")
    from jitlogreg.cli.tuner import Tuner, mean

    start, load_before = time.perf_counter(), load()
    tuner = Tuner()
    with _progress(len(tuner.steps) + 1, enabled=not options.json and sys.stderr.isatty()) as told:
        found, skipped = tuner.run(told)
        told("gains")
        gains = tuner.gains()
    if gains and mean(gains.values()) < 1:
        found, gains = tuner.kept(), dict.fromkeys(gains, 1.0)
    stored = None
    if not options.dry_run:
        try:
            stored = profile.store(found)
        except OSError as error:
            raise NotStoredError(f"the profile cannot be stored: {error}") from error
    result = {
        "cpu": found.cpu,
        "threads": numba.get_num_threads(),
        "profile": found.settings(),
        "before": {"source": before.source, **before.settings()},
        "gains": {shape: round(gain, 3) for shape, gain in gains.items()},
        "skipped": skipped,
        "seconds": round(time.perf_counter() - start, 1),
        "stored": stored and str(stored),
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print_result(result)
        print_load(load_before)
    return None


def _reset():
    file = profile.path()
    if file is None:
        raise NotStoredError(profile.NOWHERE)
    existed = file.exists()
    file.unlink(missing_ok=True)
    return {
        "removed": str(file) if existed else None
    }, f"removed {file}" if existed else f"nothing was stored in {file}"


def _print(options, result, text):
    print(json.dumps(result) if options.json else text)


@contextlib.contextmanager
def _progress(steps, enabled):
    """Yield `told(name)`, which advances a bar on standard error and names the measurement. Without rich, no bar."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        enabled = False
    if not enabled:
        yield lambda name: None
        return
    columns = TextColumn("tuning"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps, completed=-1)
        yield lambda name: bar.update(task, advance=1, description=name)
        bar.update(task, completed=steps, description="done")


def _print_result(result):
    before, after = result["before"], result["profile"]
    rows = []
    for order in ("c_order", "f_order"):
        rows += [(f"{order} {name}", _size(before[order][name]), _size(after[order][name])) for name in after[order]]
    rows.append(("serial_below", _size(before["serial_below"]), _size(after["serial_below"])))
    print_table(("<profile", ">before", ">measured"), rows, title=f"{result['cpu']}, {result['threads']} threads")
    print()
    print_table(("<X", ">time before / after"), [(shape, f"{gain:.2f}") for shape, gain in result["gains"].items()])
    print()
    print(f"before: {before['source']}")
    if result["skipped"]:
        print(f"no time was left for: {', '.join(result['skipped'])}")
    print(
        f"measured in {result['seconds']:.0f} s; "
        + (f"stored in {result['stored']}" if result["stored"] else "not stored")
    )


def _size(value):
    return "no limit" if value == profile.NO_LIMIT else str(value)

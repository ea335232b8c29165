"""Check and time the CUDA target on the GPU that is here: docs/gpu.md, and a table.

    python tools/gpu/check.py                   # nine minutes at most
    python tools/gpu/check.py --quick           # less of everything
    python tools/gpu/check.py --group contract  # one group alone, and nothing is written

Checks come first, several groups at once, then timings, one after the other; last the page and a table.
"""

import argparse
import datetime
import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jitlogreg as jlr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS

from gpu import groups, machine, page

CHECKS_SHARE = 0.5  # of the time; what the timings do not need, the checks have had


def main(argv=None):
    """Check and time the CUDA target; 0, 1 if anything failed, 2 if there is no GPU that it runs on."""
    options = _options(argv)
    reason = jlr.targets()["cuda"].reason
    if reason:
        print(f"The CUDA target cannot run here: {reason}.", file=sys.stderr)
        return 2
    driver = importlib.import_module("jitlogreg.targets.cuda.driver")
    deadline = time.monotonic() + options.seconds
    if options.group:
        groups.run_here(
            options.group, "cuda", driver.device_properties(0), options.quick, groups.print_record, deadline
        )
        return 0
    records = []
    report = {
        "date": datetime.date.today().isoformat(),
        "device": machine.device(),
        "versions": machine.versions(),
        "records": records,
        "options": ["--quick"] if options.quick else [],
    }
    print(f"{report['device']['name']}, {', '.join(' '.join(item) for item in report['versions'].items())}", flush=True)
    try:
        run_groups(driver.device_properties(0), options, records, deadline)
    finally:  # what was found is not lost if this is interrupted
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page.page(report), encoding="utf-8")
    print("\n".join(["", *page.table(report), f"written to {options.output}"]), flush=True)
    return 1 if page.failed(report) else 0


def run_groups(device, options, records, deadline, run=groups.run_in_process):
    """Run all groups and put what they find into `records`, as they find it."""
    passed_on = ["--quick"] if options.quick else []

    def one(name, until):
        def emit(record):
            records.append({"group": name, **record})
            said = next((key for key in ("failure", "left_out") if key in record), "")
            words = {"failure": "FAILED", "left_out": "left out", "": "ok"}[said]
            print(f"{words:8} {name}: {record['name']}  {record.get(said, '')} ({record['seconds']:.1f} s)", flush=True)

        run(name, passed_on, emit, until)

    start = time.monotonic()
    checks_until = start + CHECKS_SHARE * (deadline - start)
    with ThreadPoolExecutor(groups.at_once()) as pool:
        for future in [pool.submit(one, name, checks_until) for name in groups.checks(device, options.quick)]:
            future.result()
    names = list(groups.timings(options.quick))
    for i, name in enumerate(names):
        now = time.monotonic()
        one(name, now + max(0.0, deadline - now) / (len(names) - i))


def _options(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DOCS / "gpu.md", metavar="FILE", help="the page (docs/gpu.md)")
    parser.add_argument("--quick", action="store_true", help="fewer matrices, and 0.5 GB where it is 4")
    parser.add_argument(
        "--seconds", type=float, default=540, metavar="N", help="what remains then is left out (%(default)s)"
    )
    parser.add_argument("--group", metavar="NAME", help="run one group, and print its records")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

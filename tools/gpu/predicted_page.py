"""Write docs/gpu.md from the predictions alone, with the registers that the compiler gives each kernel.

    python tools/gpu/predicted_page.py  # a minute or two; it needs numba-cuda and the CUDA wheels, but no GPU

Once `python tools/gpu/check.py` has run on a GPU, the page holds its measurements, which this does not overwrite.
"""

import argparse
import re
import sys
from pathlib import Path

import numba

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import DOCS

from gpu import page, predictions

UNMEASURED = "**Not yet run on a GPU.**"
CAPABILITY = (9, 0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DOCS / "gpu.md", metavar="FILE", help="(docs/gpu.md)")
    options = parser.parse_args(argv)
    if options.output.exists() and UNMEASURED not in options.output.read_text(encoding="utf-8"):
        raise SystemExit(f"{options.output} holds measurements: it stays as it is")
    options.output.write_text(page.page(registers=registers()), encoding="utf-8")


def registers():
    """The registers of a thread, by (n, dtype, order), in the machine code as it would run."""
    from jitlogreg.targets.cuda import driver, launch
    from jitlogreg.targets.cuda.intrinsics import intermediate_code

    found = {}
    for n, dtype, order in page.CASES:
        print(n, dtype, order, file=sys.stderr, flush=True)
        p, number = predictions.planned(predictions.h100(), n, dtype, order), getattr(numba, dtype)
        kernel = launch.REGIMES[p.regime].make(number, number, "gradient", *p.constants)
        extra = 4 if p.cooperative else 0
        signature = (*[numba.int64] * 5, number, *[numba.int64] * (4 + extra))
        codes = intermediate_code(kernel, signature, CAPABILITY, p.threads, p.blocks_per_sm)
        found[n, dtype, order] = int(
            re.search(r"Used (\d+) registers", driver.machine_code(codes, CAPABILITY)[2]).group(1)
        )
    return found


if __name__ == "__main__":
    main()

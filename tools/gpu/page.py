"""The page docs/gpu.md and the table that is printed last, from a report or from the predictions alone."""

import textwrap

from gpu import predictions
from gpu.timing import COLUMNS

CASES = [(n, dtype, order) for dtype in ("float32", "float64") for order in ("C", "F") for n in COLUMNS]
GEMV, TORCH = 1.7, 3.0  # asked: so many times as fast as two products by cuBLAS, and as PyTorch
STEP = 15e-6  # asked: seconds of a step of descent on a small problem


def asked(n, order):
    """The share of the copy's bandwidth that loss and gradient should reach; None where nothing was asked."""
    if n <= 1024:
        return 0.90 if order == "C" else 0.85
    return {4096: 0.80, 16384: 0.65}.get(n)


def page(report=None, registers=None):
    """The page in Markdown.

    Parameters
    ----------
    report : dict, optional
        With `date`, `device`, `versions`, `records` and `options`, as `check.py` makes it; none if nothing was run.
    registers : dict, optional
        What the compiler says of each kernel, by (n, dtype, order).
    """
    parts = ["# On a GPU", ""]
    parts += _not_run() if report is None else _measured(report)
    parts += _predicted(registers)
    return "\n".join(parts) + "\n"


def table(report):
    """The compact table: lines of plain text."""
    heads, rows = _timing_rows(report)
    lines = [heads, *rows] if rows else []
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)] if lines else []
    printed = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    counts = _counts(report)
    return [*printed, f"{counts['checked']} done, {counts['failed']} failed, {counts['left out']} left out"]


def failed(report):
    """The records of what failed."""
    return [record for record in report["records"] if "failure" in record]


def _counts(report):
    records = report["records"]
    left_out = sum("left_out" in record for record in records)
    return {"checked": len(records) - left_out, "failed": len(failed(report)), "left out": left_out}


def _not_run():
    return [
        *_paragraph(
            "**Not yet run on a GPU.** No kernel of the CUDA target has been timed, and none has been checked on a",
            "device: every test run checks them in a simulator and through the compiler.",
            "`python tools/gpu/check.py` checks and times them on whatever NVIDIA GPU is there, and writes what it",
            "finds to this page. Until then it holds predictions.",
        ),
        "",
    ]


# ---------------------------------------------------------------- what was measured


def _measured(report):
    counts, device = _counts(report), report["device"]
    command = " ".join(["python tools/gpu/check.py", *report["options"]])
    parts = [
        *_paragraph(
            f"Written by `{command}` on {report['date']}: {counts['checked']} checks and timings done,",
            f"**{counts['failed']} failed**, {counts['left out']} left out.",
        ),
        "",
        *_rows(["device", ""], [[name, str(value)] for name, value in device.items()]),
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
        "",
        "## What failed",
        "",
    ]
    failures = failed(report)
    parts += [f"- {record['group']}: {record['name']}: {record['failure']}" for record in failures] or ["Nothing."]
    parts += [
        "",
        "## What was checked",
        "",
        *_rows(["group", "done", "failed", "left out", "seconds"], _groups(report)),
    ]
    reasons = sorted({f"- {r['group']}: {r['name']}: {r['left_out']}" for r in report["records"] if "left_out" in r})
    parts += ["", *(["Left out:", "", *reasons] if reasons else ["Nothing was left out."]), ""]
    parts += ["## Loss and gradient", "", *_timing_text(), ""]
    heads, rows = _timing_rows(report)
    parts += [*_rows(heads, rows), ""] if rows else ["No timing was made.", ""]
    absent = sorted({f"- {name}: {why}" for f in _figures(report).values() for name, why in f["left_out"].items()})
    parts += ["Not timed beside it:", "", *absent, ""] if absent else []
    small = [r for r in report["records"] if r["group"] == "small" and "figures" in r]
    if small:
        rows = [[r["name"], *(f"{value:.3g} {name}" for name, value in r["figures"].items())] for r in small]
        parts += ["## Small problems", "", *_rows(["what", "microseconds"], rows), ""]
    return parts


def _timing_text():
    return _paragraph(
        "Medians by CUDA events of rounds in turn, on one matrix: the kernels for loss and gradient, for the forward",
        "pass and for `hessian_vector` (H v), whose θ is float64, without the call around them; a copy on the device",
        "that reads and writes as many bytes as X has, which is the limit; two products by cuBLAS; PyTorch and JAX.",
        "`x gemv` is their time over that of the kernels, and so on. The public call is timed by the host's clock, and",
        "waits for its result.",
    )


def _groups(report):
    names = list(dict.fromkeys(record["group"] for record in report["records"]))
    for name in names:
        records = [record for record in report["records"] if record["group"] == name]
        counts = _counts({"records": records})
        yield [name, *(str(counts[key]) for key in counts), f"{sum(r['seconds'] for r in records):.0f}"]


def _figures(report):
    """Figures of the timings by (n, dtype, order), those of both passes together."""
    found = {}
    for record in report["records"]:
        if record["group"].startswith("timings") and "figures" in record:
            n, order, dtype = record["name"].partition(",")[0].split()
            own, new = (
                found.setdefault((int(n), dtype, order), {"left_out": {}, "seconds": {}, "ratios": {}}),
                record["figures"],
            )
            seconds = new["seconds"]
            # a ratio is of one pass, in which both sides were timed in turn; of two, the first
            own["ratios"] = {name: value / seconds["kernels"] for name, value in seconds.items()} | own["ratios"]
            own["seconds"] = {**seconds, **own["seconds"]}
            own["left_out"] |= new["left_out"]
            own["bytes"] = new["bytes"]
    return found


def _timing_rows(report):
    heads = [
        "n",
        "dtype",
        "order",
        "GB/s",
        "of copy",
        "asked",
        "predicted",
        "forward",
        "H v",
        "x gemv",
        "x torch",
        "x compiled",
    ]
    heads += ["x jax", "call, ms"]
    rows = []
    for (n, dtype, order), figures in _figures(report).items():
        seconds, ratios = figures["seconds"], figures["ratios"]
        expected = predictions.predicted(n, dtype, order).share
        gemv = ratios.get("two gemv", ratios.get("two torch.mv"))
        rows.append(
            [
                *(
                    str(n),
                    dtype,
                    order,
                    f"{figures['bytes'] / seconds['kernels'] / 1e9:.0f}",
                    _number(ratios.get("copy")),
                ),
                *(_number(asked(n, order)), _number(expected)),
                *(
                    _number(seconds["copy"] / seconds[name] if name in seconds else None)
                    for name in ("forward", "hessian_vector")
                ),
                *(_number(ratio) for ratio in (gemv, *(ratios.get(k) for k in ("torch", "torch.compile", "jax.jit")))),
                _number(1e3 * seconds["public call"] if "public call" in seconds else None),
            ]
        )
    return heads, rows


# ---------------------------------------------------------------- what is predicted


def _predicted(registers):
    heads = ["n", "dtype", "order", "regime", "threads x blocks", "registers", "KB in flight", "limited by", "of copy"]
    rows = []
    for case in CASES:
        n, dtype, order = case
        p, goal = predictions.predicted(*case), asked(n, order)
        said = "" if goal is None or p.share >= goal else "falls short"
        rows.append(
            [
                *(str(n), dtype, order, p.regime, f"{p.threads} x {p.blocks:g}", str((registers or {}).get(case, ""))),
                *(_kilobytes(p.in_flight), p.limit, _number(p.share), _number(goal), said),
            ]
        )
    steps = [
        [f"{m} x {n} {dtype}", f"{1e6 * predictions.step_of_descent(m, n, dtype):.1f}", goal]
        for m, n, goal in ((1000, 20, f"{1e6 * STEP:.0f}"), (100_000, 28, ""))
        for dtype in ("float32", "float64")
    ]
    return [
        "## Predictions",
        "",
        *_from_what(),
        "",
        *_rows([*heads, "asked", ""], rows),
        "",
        *_beside_others(),
        "",
        "A step of descent, all within one launch:",
        "",
        *_rows(["X", "microseconds", "asked"], steps),
    ]


def _from_what():
    machine, device = predictions.H100, predictions.h100()
    needed = _kilobytes(predictions.predicted(28, "float32", "C").needed)
    return [
        *_paragraph(
            f"For an {machine.name}: {machine.bandwidth / 1e12:g} TB/s from memory,",
            f"{machine.cache_bandwidth / 1e12:g} TB/s from the second-level cache (L2) of {device.l2_size >> 20} MB,",
            f"{device.n_sms} multiprocessors with",
            f"{device.shared_per_block >> 10} KB of shared memory for a block, at {predictions.CLOCK / 1e9:g} GHz;",
            "X has 4 GB. `tools/gpu/predicted_page.py` computes them from the target's own plans and the model",
            "in `tools/gpu/predictions.py`:",
        ),
        "",
        *predictions.__doc__.strip().split("\n\n", 1)[1].splitlines(),
        "",
        *_paragraph(
            f"By Little's law {predictions.LATENCY * 1e9:.0f} ns of latency require {needed} KB in flight for each",
            "multiprocessor. Registers are those of a thread, as compiled for sm_90; blocks are those of a",
            "multiprocessor. A share of 1.00 says that memory alone limits the model, which knows no start, no end and",
            "no row that does not fill 16-byte vectors.",
        ),
    ]


def _beside_others():
    shares = {case: predictions.predicted(*case).share for case in CASES}
    worst = min(shares, key=shares.__getitem__)
    short = [" ".join(map(str, case)) for case, share in shares.items() if 2 * share < GEMV]
    return _paragraph(
        "Two products by cuBLAS read X twice, so at the copy's bandwidth they take twice its time.",
        f"Being {GEMV:g} times as fast, as asked, requires a share of {GEMV / 2:g}. That is",
        f"not reached at {', '.join(short)}." if short else "reached everywhere.",
        "PyTorch makes the same two products, and also passes over vectors of m numbers.",
        f"Being {TORCH:g} times as fast, as asked, requires that PyTorch stay below two thirds of the bandwidth,",
        "or that the vectors count, as they do at n = 28. The least predicted share is",
        f"{shares[worst]:.2f}, at {' '.join(map(str, worst))}.",
    )


def _paragraph(*lines):
    """Lines of at most 120 characters."""
    return textwrap.wrap(" ".join(lines), 120, break_long_words=False, break_on_hyphens=False)


def _kilobytes(number):
    return f"{number / 1000:.1f}"


def _number(value):
    return "" if value is None else f"{value:.2f}"


def _rows(heads, rows):
    """A table in Markdown."""
    lines = [heads, ["--"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]

"""Time the kernels against NumPy and against the speed at which this machine reads memory."""

import functools
import json
import statistics
from pathlib import Path

import numpy as np

from jitlogreg.cli import options, outputs_peers, peers, picture
from jitlogreg.cli.cases import OPERATIONS, rows_of_case
from jitlogreg.cli.errors import UsageError
from jitlogreg.cli.machine import machine, print_load, versions
from jitlogreg.cli.numpy_baseline import check_answer
from jitlogreg.cli.outputs_cases import Outputs, rows_of_outputs
from jitlogreg.cli.tables import print_table
from jitlogreg.cli.timing import in_turn
from jitlogreg.outputs import LINKS
from jitlogreg.targets.dispatch import choose
from jitlogreg.targets.reference import dot_loop

# The notes' vectors
_DOT_LENGTH = 1_000_000


def add_options(parser):
    """Add the options of `jitlogreg bench`."""
    parser.add_argument(
        "--shapes",
        type=options.shapes,
        default="1000x20,1000000x28,50000x256",
        help="shapes of X, rows x columns (%(default)s)",
    )
    parser.add_argument(
        "--dtype",
        type=options.one_or_more("float64", "float32"),
        default="float64,float32",
        help="dtypes of X (%(default)s)",
    )
    parser.add_argument(
        "--order", type=options.one_or_more("C", "F"), default="C,F", help="memory orders of X (%(default)s)"
    )
    parser.add_argument("--operation", choices=OPERATIONS, default=OPERATIONS[0], help="what to time (%(default)s)")
    parser.add_argument(
        "--outputs",
        metavar="K",
        type=options.positive_integers,
        help="time K outputs, beside one: 4 or 4,16; w is (n, K)",
    )
    parser.add_argument(
        "--link", choices=LINKS, default=LINKS[0], help="K models or the K classes of a softmax (%(default)s)"
    )
    parser.add_argument(
        "--rounds", type=options.positive_integer, default=5, help="how often each is timed (%(default)s)"
    )
    parser.add_argument(
        "--peers", action="store_true", help=f"time {', '.join(peers.NAMES)} too, as far as they are installed"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the shares of the limit too: .png, .pdf or .svg")
    parser.add_argument("--json", action="store_true", help="print JSON, with the machine and the versions")
    options.add_target_option(parser, "time this target alone, beside NumPy; as does the variable JITLOGREG_TARGET")


def run(options_):
    """Measure, and print tables or JSON."""
    targets = options.selected_targets(options_.target)
    if options_.plot:
        picture.check("--plot", options_.plot)
    measured = _measured(options_.outputs, options_.link)
    here = machine()
    if not here["threads"]:
        raise UsageError(f"Numba has no threads to run on: {here['threading_layer']}")
    others = _peers(options_) if options_.peers else {}
    left_out = [name for name in peers.NAMES if name not in others] if options_.peers else []
    dot = dot_rows(targets, options_.rounds)
    if not options_.json:
        _print_dot(dot)
    rows = []
    for m, n in options_.shapes:
        for title, rows_of in measured:
            of_shape = [
                row
                for dtype in options_.dtype
                for order in options_.order
                for row in rows_of(options_.operation, m, n, dtype, order, targets, options_.rounds, others)
            ]
            rows += of_shape
            if not options_.json:
                _print_rows(f"{options_.operation}, {m} x {n}{title}", of_shape, options_.peers)
    if options_.plot:
        picture.draw_shares(options_.plot, rows)
    if options_.json:
        all_versions = versions() | peers.versions(others)
        result = {"machine": here, "versions": all_versions, "left_out": left_out, "dot": dot, "rows": rows}
        print(json.dumps(result, indent=2))
    else:
        _print_legend(options_, left_out)
        print_load(here["load"])


def _measured(counts, link):
    """What is measured on each shape: the end of its title, and a function as `rows_of_case` is."""
    if counts is None:
        if link != LINKS[0]:
            raise UsageError(f"--link: expected --outputs K beside {link}")
        return [("", rows_of_case)]
    if link == "softmax" and min(counts) < 2:
        raise UsageError("--outputs: expected at least 2 classes of a softmax, got 1")
    of_link = " classes of a softmax" if link == "softmax" else " models"
    return [(f", {K}{of_link}", functools.partial(rows_of_outputs, Outputs(K, link))) for K in counts]


def _peers(options_):
    if options_.outputs is None:
        return peers.installed()
    return outputs_peers.installed(options_.operation, options_.link)


def dot_rows(targets, rounds):
    """Time the notes' dot product of two random vectors, by a for-loop, by NumPy and by each target.

    Returns
    -------
    list of dict
        With `implementation`, `seconds`, `gb_per_s`, `speedup` (over the for-loop) and `result`.
    """
    u, v = np.random.default_rng(0).random((2, _DOT_LENGTH))
    u_list, v_list = u.tolist(), v.tolist()  # a for-loop over an array takes twice as long
    calls = {"Python for-loop": lambda: dot_loop(u_list, v_list), "NumPy": lambda: float(np.dot(u, v))}
    calls |= {target: functools.partial(choose(target).dot, u, v) for target in targets}
    results = {name: call() for name, call in calls.items()}
    bound = 8 * np.sqrt(_DOT_LENGTH) * np.finfo(float).eps / 2 * float(u @ v)
    for name, result in results.items():
        check_answer(f"the dot product of {name}", [result], [results["Python for-loop"]], [2 * bound])
    seconds = in_turn(list(calls.values()), rounds)
    return [
        {
            "implementation": name,
            "seconds": statistics.median(own),
            "gb_per_s": (u.nbytes + v.nbytes) / statistics.median(own) / 1e9,
            "speedup": statistics.median(seconds[0] / own),
            "result": results[name],
        }
        for name, own in zip(calls, seconds, strict=True)
    ]


def _print_dot(rows):
    print_table(
        ("<dot product of", ">ms", ">GB/s", ">speed-up", ">result"),
        [
            (
                row["implementation"],
                f"{1e3 * row['seconds']:.3f}",
                f"{row['gb_per_s']:.2f}",
                f"{row['speedup']:.1f}",
                f"{row['result']:.6f}",
            )
            for row in rows
        ],
        title=f"Two random vectors of {_DOT_LENGTH} elements; speed-up over the for-loop",
    )


def _print_rows(title, rows, with_peers):
    beside_one = (">x one",) if "times_one" in rows[0] else ()
    beside_peers = (">x ours", "<remark") if with_peers else ()
    print()
    print_table(
        ("<dtype", "<order", "<by", ">ms", ">GB/s", ">% of limit", ">x NumPy", *beside_one, *beside_peers),
        [
            (
                row["dtype"],
                row["order"],
                row["implementation"],
                f"{1e3 * row['seconds']:.4f}",
                f"{row['gb_per_s']:.2f}",
                f"{row['percent_of_limit']:.0f}",
                f"{row['speedup']:.2f}",
                *((f"{row['times_one']:.2f}",) if beside_one else ()),
                *((f"{row['times_ours']:.2f}", row["remark"]) if with_peers else ()),
            )
            for row in rows
        ],
        title=title,
    )


def _print_legend(options_, left_out):
    print()
    print(f"GB/s: bytes of {'X and w' if options_.operation == 'forward' else 'X, y and w'}, each once, over the time.")
    print("limit: the threads read these bytes and add them up (from 1 MiB on; below it, one); the faster of two ways.")
    if options_.outputs:
        print("x one: this time over that of the first target for one output, w of shape (n,).")
    if options_.peers:
        print("x NumPy: NumPy's time over this one. x ours: this time over that of the first target.")
    if left_out:
        without = " or without this for K outputs" if options_.outputs else ""
        print(f"left out, not installed{without}: {', '.join(left_out)}")
    print(f"Medians of {options_.rounds} rounds, in which everything takes its turn.")
    if options_.plot:
        print(f"picture: {Path(options_.plot).resolve()}")

"""Draw what asv has measured, commit by commit, as a picture that opens anywhere.

asv's own pages load their libraries from the network. This reads the same results: results/history.json keeps what is
drawn, docs/pictures/history.svg is the picture.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pictures
from pages import FIGURES, ROOT

RESULTS = ROOT / ".asv" / "results"


def values(kept):
    """Benchmark, parameters and number of everything that one of asv's results holds."""
    for name, row in kept["results"].items():
        result = dict(zip(kept["result_columns"], row, strict=False))
        for number, *parameters in zip(result["result"] or [], *_combinations(result["params"]), strict=True):
            if number is not None and number == number:
                yield name, parameters, number


def _combinations(params):
    """The parameters of every result, column by column."""
    return zip(*itertools.product(*params), strict=True) if params else []


def collect(folder, repository):
    """The commits in the order of history, and for each line what was measured at each: a number, or None."""
    machines = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    files = [path for machine in machines for path in sorted(machine.glob("*-*.json")) if path.name != "machine.json"]
    found, lines = {}, {}
    for path in files:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found[kept["commit_hash"]] = kept
    if not found:
        raise SystemExit(f"{folder} has no results of asv: run `asv run` before")
    log = ["git", "-C", str(repository), "log", "--topo-order", "--reverse", "--format=%H", *found]
    in_order = subprocess.run(log, check=True, capture_output=True, text=True).stdout.split()
    commits = [commit for commit in in_order if commit in found]
    for place, commit in enumerate(commits):
        for name, parameters, number in values(found[commit]):
            line = lines.setdefault(f"{name}({', '.join(parameters)})", [None] * len(commits))
            line[place] = number
    return {"commits": [c[:8] for c in commits], "lines": dict(sorted(lines.items()))}


def draw(kept, path):
    """A panel for each benchmark, a line for each combination of parameters that was measured more than once."""
    panels = {}
    for name, line in kept["lines"].items():
        if sum(v is not None for v in line) > 1:
            panels.setdefault(name.partition("(")[0], {})[name.partition("(")[2].removesuffix(")")] = line
    with pictures.drawing(path, 10, 3.4 * len(panels)) as figure:
        for axes, (title, lines) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
            for label, line in lines.items():
                axes.plot(range(len(line)), [float("nan") if v is None else v for v in line], marker="o", label=label)
            axes.set(title=title, yscale="log", ylabel="s" if ".time_" in title else "")
            axes.set_xticks(range(len(kept["commits"])), kept["commits"], rotation=60, fontsize="small")
            axes.grid()
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of asv's results")
    parser.add_argument("--from", dest="source", type=Path, help="draw this history.json anew")
    options = parser.parse_args(arguments)
    if options.source:
        kept = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        kept = collect(options.results, ROOT)
        (FIGURES / "history.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(kept, pictures.PICTURES / "history.svg")


if __name__ == "__main__":
    main()

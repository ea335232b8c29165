#!/bin/sh
# Every benchmark once, for the smallest X of float64, in under a minute: whether they run, not how fast.
set -e
cd "$(dirname "$0")/../asv_benchmarks"
asv machine --yes > /dev/null
asv check -E existing:python
# --quick results are no measurement, and are kept unless it is a --dry-run
asv run --quick --dry-run --show-stderr -E existing:python \
    -b "'cpu', 'float64', 'C', \(128, 20\)|LossAndGradient.*'cpu', 'float64', 'F', \(128, 20\)|'cuda-.*64', 'C', \(128" \
    -b "track_ratio.*'float64', \(1000, 28\)|Threads.*\(2, 'float64'|OtherThreads|Memory.*'float64'" \
    -b "SeveralOutputs.*\('softmax', 4" \
    -b "solvers.*\(569, 30\)" \
    -b "sparse.*\(5000, 200000, 20\), 'float64'|SparseFit" \
    -b "Import|track_from_disk\('loss_and_gradient', 'C'"

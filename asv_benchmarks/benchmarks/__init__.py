"""Benchmarks of the public calls, for asv and for tools/performance/compare.py."""

import hashlib
import importlib.util
import os
from pathlib import Path


def sources_stamp():
    """A hash of all sources of the package that is installed here, which is not imported for it."""
    package = Path(importlib.util.find_spec("jitlogreg").origin).parent
    digest = hashlib.sha256(str(package).encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


# Before Numba is imported, which reads it then: no commit may run what another one compiled, whatever it says itself
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).resolve().parents[2] / ".asv" / "numba" / sources_stamp())

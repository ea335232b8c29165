"""What a process pays before its first result, in processor time of a process of its own.

Processor time, not the clock's: all this runs on one thread, and other processes do not add to it.
"""

import os
import subprocess
import sys
import tempfile

_IMPORT = "import jitlogreg as jlr"
_DATA = """
import time, numpy as np
X, y, w = np.ones((128, 20), order={!r}), np.ones(128), np.zeros(20)
"""
_CALLS = {
    "forward": "jlr.forward(X, w, target='cpu')",
    "loss_and_gradient": "jlr.loss_and_gradient(X, y, w, target='cpu')",
}


def processor_seconds(before, timed, folder=None):
    """The processor time that the statement `timed` takes after the statement `before`, in a new process."""
    code = f"{before}\nstart = time.process_time()\n{timed}\nprint(time.process_time() - start)"
    environment = os.environ if folder is None else {**os.environ, "NUMBA_CACHE_DIR": folder}
    # -P: not from the folder that it is called in
    command = [sys.executable, "-P", "-c", code]
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


class Import:
    """`import jitlogreg`, where NumPy has been imported."""

    samples, factor = 1, 1.5  # 20 ms, of which a tenth is noise

    def track_import(self):
        return min(processor_seconds("import time, numpy", _IMPORT) for _ in range(3))

    track_import.unit = "s"


class FirstCall:
    """The first call of a process."""

    params = (list(_CALLS), ["C", "F"])
    param_names = ("operation", "order")
    samples, launches, factor = 1, 2, 1.4  # seconds, which vary by a fifth on a busy machine
    timeout = 300

    def setup(self, operation, order):
        self.before = _DATA.format(order) + _IMPORT
        self.call = _CALLS[operation]

    def track_compiled(self, operation, order):
        """Where nothing is kept on disk."""
        with tempfile.TemporaryDirectory() as folder:
            return processor_seconds(self.before, self.call, folder)

    track_compiled.unit = "s"

    def track_from_disk(self, operation, order):
        """Where an earlier process has compiled it."""
        processor_seconds(self.before, self.call)
        return min(processor_seconds(self.before, self.call) for _ in range(3))

    track_from_disk.unit = "s"

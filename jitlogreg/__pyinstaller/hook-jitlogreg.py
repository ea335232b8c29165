"""What a frozen application needs beside what PyInstaller sees: modules that are imported by name when first asked for.

The metadata have the entry point by which Numba comes to know the calls, for functions that the application compiles.
"""

from PyInstaller.utils.hooks import copy_metadata

hiddenimports = [
    "jitlogreg.njit.overloads",
    "jitlogreg.pointwise",
    "jitlogreg.targets.cpu",
    "jitlogreg.targets.reference",
]
datas = copy_metadata("jitlogreg")

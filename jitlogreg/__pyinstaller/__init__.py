"""What PyInstaller asks installed packages for: where their hooks lie."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder of the hook for this package; PyInstaller finds the function by an entry point."""
    return [str(Path(__file__).parent)]

"""What ends a command early."""

import importlib


class UsageError(Exception):
    """What was asked for cannot be done: an option, a file, a label, a missing package. Exit status 2."""


class WrongAnswerError(Exception):
    """Two implementations disagree by more than rounding. Exit status 1."""


class NotStoredError(Exception):
    """What was measured cannot be stored. Exit status 1."""


def optional_module(module, package):
    """Import a module of an optional package.

    Raises
    ------
    UsageError
        If the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"this needs the package {package}: pip install 'jitlogreg[demo]'") from error

"""The errors that end a command."""

import importlib


class UsageError(Exception):
    """An option, a file or a label is wrong, or a package is missing. Exit status 2."""


class WrongAnswerError(Exception):
    """Two implementations disagree by more than rounding errors. Exit status 1."""


class NotStoredError(Exception):
    """A measurement cannot be stored. Exit status 1."""


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

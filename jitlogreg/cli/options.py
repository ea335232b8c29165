"""The types of options, and the option that all commands share."""

import argparse
import math
import os

from jitlogreg.cli.errors import UsageError
from jitlogreg.targets.dispatch import ENVIRONMENT_VARIABLE, NAMES, choose, targets


def add_target_option(parser, effect):
    """Add `--target`."""
    parser.add_argument("--target", choices=NAMES, help=effect)


def selected_targets(name):
    """The names of the targets to show: the one that the option or the environment names, or all available ones.

    Raises
    ------
    UsageError
        If the environment names an unknown target.
    TargetUnavailableError
        If the named target cannot run here.
    """
    chosen = name or os.environ.get(ENVIRONMENT_VARIABLE)
    if not chosen:
        return [known for known, info in targets().items() if info.available]
    try:
        choose(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return [chosen]


def positive_integer(text):
    """An integer of at least 1."""
    return _number(text, int, lambda value: value >= 1, "an integer of at least 1")


def nonnegative_integer(text):
    """An integer of at least 0."""
    return _number(text, int, lambda value: value >= 0, "an integer of at least 0")


def positive_number(text):
    """A finite number above 0."""
    return _number(text, float, lambda value: 0 < value < math.inf, "a finite number above 0")


def nonnegative_number(text):
    """A finite number of at least 0."""
    return _number(text, float, lambda value: 0 <= value < math.inf, "a finite number of at least 0")


def one_or_more(*names):
    """A comma-separated list of these names, each at most once."""

    def parse(text):
        chosen = text.split(",")
        if not set(chosen) <= set(names) or len(set(chosen)) < len(chosen):
            raise argparse.ArgumentTypeError(f"expected a comma-separated list of {', '.join(names)}, got {text!r}")
        return chosen

    return parse


def positive_integers(text):
    """A comma-separated list of integers of at least 1."""
    return [positive_integer(part) for part in text.split(",")]


def shapes(text):
    """Shapes such as 1000x20,1000000x28, as pairs (m, n)."""
    return [_shape(part) for part in text.split(",")]


def _shape(text):
    try:
        m, n = map(int, text.split("x"))
    except ValueError:
        m = n = 0
    if m < 1 or n < 1:
        raise argparse.ArgumentTypeError(f"expected ROWSxCOLUMNS, such as 1000x20, got {text!r}")
    return m, n


def _number(text, kind, is_valid, expected):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not is_valid(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value

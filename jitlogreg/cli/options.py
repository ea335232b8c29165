"""The kinds of values that options take, and the option all commands share."""

import argparse
import math
import os

from jitlogreg.cli.errors import UsageError
from jitlogreg.targets.dispatch import ENVIRONMENT_VARIABLE, NAMES, choose, targets


def add_target_option(parser, effect):
    """Add `--target`."""
    parser.add_argument("--target", choices=NAMES, help=effect)


def selected_targets(name):
    """The names of the targets to show: the one named by the option or the environment, or all that are available.

    Raises
    ------
    UsageError
        If the environment names no target.
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
    """A list separated by commas, of these names, each at most once."""

    def parse(text):
        chosen = text.split(",")
        if not set(chosen) <= set(names) or len(set(chosen)) < len(chosen):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(names)}, separated by commas")
        return chosen

    return parse


def shapes(text):
    """Shapes such as 1000x20,1000000x28, as pairs (m, n)."""
    return [_shape(part) for part in text.split(",")]


def _shape(text):
    try:
        m, n = map(int, text.split("x"))
    except ValueError:
        m = n = 0
    if m < 1 or n < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROWSxCOLUMNS, such as 1000x20")
    return m, n


def _number(text, kind, accepts, accepted):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accepts(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {accepted}")
    return value

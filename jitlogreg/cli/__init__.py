"""The command line: `jitlogreg info`, `demo`, `bench`, `tune`, `compile`. Output is ASCII: a pipe may allow no more."""

import argparse
import os
import sys

import jitlogreg
from jitlogreg.cli import bench, demo, info, tune
from jitlogreg.cli import compile as compile_
from jitlogreg.cli.errors import NotStoredError, UsageError, WrongAnswerError
from jitlogreg.targets.dispatch import TargetUnavailableError


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; those of the process if left out.

    Returns
    -------
    status : int
        0; 1 if a result was wrong or could not be stored; 2 if an option, a file or a label was wrong, or a package or
        a target was missing; 130 if interrupted. Messages go to standard error, one line each.
    """
    try:
        options = _parser().parse_args(argv)
        options.run(options)
        sys.stdout.flush()  # a closed pipe raises here
    except (UsageError, TargetUnavailableError, MemoryError) as error:
        return _fail(2, str(error) or "out of memory")
    except (WrongAnswerError, NotStoredError) as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")
    except BrokenPipeError:
        # the reader of the output has gone; keep the interpreter from reporting that at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(status, message):
    print(f"jitlogreg: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message} ({self.prog} --help lists the options)")


def _parser():
    parser = _Parser(prog="jitlogreg", description="Compiled kernels for logistic regression.")
    parser.add_argument("--version", action="version", version=jitlogreg.__version__)
    commands = parser.add_subparsers(required=True, metavar="{info,demo,bench,tune,compile}")
    for command in (info, demo, bench, tune, compile_):
        name = command.__name__.rpartition(".")[2]
        summary = command.__doc__.split("\n")[0]
        subparser = commands.add_parser(name, help=summary, description=summary)
        command.add_options(subparser)
        subparser.set_defaults(run=command.run)
    return parser

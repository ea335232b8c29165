"""Tables: by rich on a terminal if it is installed, otherwise aligned plain text."""

import sys


def print_table(columns, rows, title=None):
    """Print a table to standard output.

    Parameters
    ----------
    columns : sequence of str
        Headings, each after its alignment: "<target" to the left, ">time (ms)" to the right.
    rows : sequence of sequences of str
    title : str, optional
    """
    if sys.stdout.isatty():
        try:
            return _print_rich(columns, rows, title)
        except ImportError:
            pass
    return _print_plain(columns, rows, title)


def _print_plain(columns, rows, title):
    lines = [[column[1:] for column in columns], *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if title:
        print(title)
    for line in lines:
        cells = (f"{cell:{column[0]}{width}}" for cell, column, width in zip(line, columns, widths, strict=True))
        print("  ".join(cells).rstrip())


def _print_rich(columns, rows, title):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table()
    for column in columns:
        table.add_column(Text(column[1:]), justify="left" if column[0] == "<" else "right")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: square brackets in a cell are not markup
    if title:
        console.print(Text(title, style="bold"))
    console.print(table)

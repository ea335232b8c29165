"""The progress bar of a long run."""

import contextlib


@contextlib.contextmanager
def progress_bar(description, total, *, enabled):
    """Yield `advance(loss)`, which moves the bar by one and shows the loss; it does nothing unless `enabled`.

    Raises
    ------
    ImportError
        If it is enabled and the package rich is not installed.
    """
    if not enabled:
        yield lambda loss: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as error:
        raise ImportError("progress=True needs the package rich: pip install 'jitlogreg[demo]'") from error
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, loss="compiling")  # what the first step of a process waits for
        yield lambda loss: bar.update(task, advance=1, loss=f"loss {loss:.6g}")
        bar.update(task, total=bar.tasks[task].completed)  # it may have ended early

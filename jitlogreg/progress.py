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
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as error:
        raise ImportError("progress=True needs the package rich: pip install 'jitlogreg[demo]'") from error
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.6g}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(description, total=total, loss=float("nan"))
        yield lambda loss: bar.update(task, advance=1, loss=loss)

"""The progress bar of a long run."""

import contextlib
import math


@contextlib.contextmanager
def progress_bar(description, total, *, enabled):
    """Yield `advance(steps, loss)`, which moves the bar and shows the loss if there is one; nothing unless `enabled`.

    Raises
    ------
    ImportError
        If the bar is enabled and the package rich is not installed.
    """
    if not enabled:
        yield lambda steps, loss: None
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
        task = bar.add_task(description, total=total, loss="compiling")  # the first step of a process waits for that
        yield lambda steps, loss: bar.update(
            task, advance=steps, loss="" if loss is None or math.isnan(loss) else f"loss {loss:.6g}"
        )
        bar.update(task, total=bar.tasks[task].completed)  # the run may have ended early

"""Progress of long calls: what is being done, and how much of it is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bar,
    TextColumn,
    TimeElapsedColumn,
)

# (what is being done, in words; trajectories done; trajectories in all)
Progress = Callable[[str, int, int], None]


def silent(doing: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def bar(console: Console, begin: Callable[[], None] = lambda: None) -> Iterator[Progress]:
    """A listener whose bar appears with its first call, after `begin()`.

    Before that call input may still be refused. The bar disappears once the work is done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    drawn = Bar(*columns, console=console, transient=True)
    task = drawn.add_task("")

    def listener(doing: str, done: int, total: int) -> None:
        if not drawn.live.is_started:
            begin()
            drawn.start()
        drawn.update(task, description=escape(doing), completed=done, total=total or None)

    try:
        yield listener
    finally:
        if drawn.live.is_started:
            drawn.stop()


@contextmanager
def listening(progress: Progress | bool) -> Iterator[Progress]:
    """The listener of a call: the user's own, or a bar (True; on a terminal alone), or none."""
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty():
        with bar(Console(stderr=True)) as listener:
            yield listener
    else:
        yield silent

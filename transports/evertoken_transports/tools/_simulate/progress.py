"""Shows how far a simulation is: by a bar on a terminal, by a line now and then elsewhere, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Tell = Callable[[float, str], None]
"""A function that is called with how much is done, and with what there is to say about it."""

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def following(console: Console, total: float, *, quiet: bool) -> Generator[Tell]:
    """Show on ``console`` how much of ``total`` is done while it lasts."""
    if quiet:
        yield lambda _done, _text: None
    elif console.is_terminal:
        with _bar(console, total) as tell:
            yield tell
    else:
        yield _Lines(console, total)


@contextmanager
def _bar(console: Console, total: float) -> Generator[Tell]:
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)

        def tell(done: float, text: str) -> None:
            progress.update(task, completed=done, description=text)

        yield tell


class _Lines:
    """One line at once, and one every ten seconds."""

    def __init__(self, console: Console, total: float) -> None:
        self._console = console
        self._total = total
        self._next = time.monotonic()

    def __call__(self, done: float, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_LINES
            self._console.print(f"{done / self._total:4.0%}  {text}", markup=False, soft_wrap=True)

"""A progress bar while the rest of a run is sent, on a terminal and only if it takes a moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kelt.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

SHOWN_AFTER_S = 0.5
_REFRESH_S = 0.1


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Yields what is to be told of committed and all records."""
    bar = _Bar() if console.is_terminal else None
    try:
        yield bar.update if bar is not None else _nothing
    finally:
        if bar is not None:
            bar.close()


def _nothing(committed: int, records: int) -> None:
    """Shows nothing: nobody watches."""


class _Bar:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._next = self._started + SHOWN_AFTER_S
        self._progress: Progress | None = None
        self._first = 0

    def update(self, committed: int, records: int) -> None:
        now = time.monotonic()
        if now < self._next or committed >= records:
            return
        self._next = now + _REFRESH_S
        if self._progress is None:
            self._progress = self._begin()
        self._progress.update(self._progress.task_ids[0], completed=committed, total=records)
        self._progress.refresh()

    @staticmethod
    def _begin() -> Progress:
        from rich.console import Console as RichConsole  # noqa: PLC0415 # only for a long wait
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

        columns = (TextColumn("kelt: sending"), BarColumn(), MofNCompleteColumn())
        # No thread of its own: none can be started while the interpreter ends.
        progress = Progress(
            *columns, console=RichConsole(stderr=True), auto_refresh=False, transient=True
        )
        progress.add_task("sending", total=None)
        progress.start()
        return progress

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

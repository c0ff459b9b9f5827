"""Following a run's console as the server commits it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kelt.api_client.errors import ServerFaultError, UnreachableError
from kelt.cli.terminal import note
from kelt.cli.wording import plain

if TYPE_CHECKING:
    from kelt.api_client import Api, Run
    from kelt.api_client.output import ConsoleChunk, ConsoleLogLine

#: How long an upstream may be away before following it is given up.
OUTAGE_S_MAX = 60.0
_CHUNK_LINES = 1000
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


class ConsoleTail:
    """The lines of a run's console, then those that come, wherever its name moves.

    Args:
        api: the server.
        path: the run, as people name it.
        label: only of the writers of a shared run that have this label; empty: of all.
        sleep: waits.
        interval_s: how long to wait between looks.

    Raises:
        RunNotFoundError: there is no such run.
    """

    def __init__(
        self, *, api: Api, path: str, label: str, sleep: Callable[[float], None], interval_s: float
    ) -> None:
        self._api = api
        self._path = path
        self._label = label
        self._sleep = sleep
        self._interval_s = interval_s
        self._run = api.run(path)
        #: The last line that was given, which may be written over yet, and its place.
        self._place: str | None = None
        self._last: ConsoleLogLine | None = None
        #: Lines that were let go at the server.
        self.dropped = 0

    def lines(self, *, last: int | None, follow: bool) -> Iterator[ConsoleLogLine]:
        """The last lines that are there, or all, then, while the run runs, those that come."""
        if last is not None:
            yield from self._given(self._chunk(self._run, last=last))
        yield from self._arrived()
        while follow and self._run.state == "running":
            self._sleep(self._interval_s)
            # The state first: lines that came before the end are then found below.
            run = self._look_again()
            if run.immutable_id != self._run.immutable_id:
                note(f"{run.id} goes on on a new branch, {run.immutable_id}.")
                self._place = self._last = None
            self._run = run
            yield from self._arrived()

    def _look_again(self) -> Run:
        away_s = 0.0
        while True:
            try:
                return self._api.run(self._path)
            except (UnreachableError, ServerFaultError) as error:
                if away_s >= OUTAGE_S_MAX:
                    raise
                if away_s == 0.0:
                    note(f"{error} Waiting for it up to {OUTAGE_S_MAX:g} s.")
                self._sleep(self._interval_s)
                away_s += self._interval_s

    def _arrived(self) -> Iterator[ConsoleLogLine]:
        while True:
            chunk = self._chunk(self._run, begin=self._place)
            yield from self._given(chunk)
            if chunk.next is None:
                return

    def _given(self, chunk: ConsoleChunk) -> Iterator[ConsoleLogLine]:
        """The lines of a chunk, but for the first where it was given as it is."""
        self.dropped = chunk.dropped
        lines = chunk.lines
        yield from lines[1:] if lines and lines[0] == self._last else lines
        if lines:
            self._last, self._place = lines[-1], chunk.place

    def _chunk(
        self, run: Run, *, last: int | None = None, begin: str | None = None
    ) -> ConsoleChunk:
        return run.console_chunk(last=last, begin=begin, limit=_CHUNK_LINES, label=self._label)


def log_line(text: str, *, has_colours: bool) -> str:
    """A line as a terminal may have it: with its colours, or without, and nothing else of that."""
    parts = _COLOUR.split(text)
    return "".join(
        (part if has_colours else "") if _COLOUR.fullmatch(part) else plain(part) for part in parts
    )


def log_json(line: ConsoleLogLine) -> dict[str, Any]:
    """A line for scripts."""
    at = line.timestamp
    return {
        "number": line.number,
        "timestamp": None if at is None else at.isoformat(),
        "level": line.level,
        "label": line.label,
        "content": line.content,
    }

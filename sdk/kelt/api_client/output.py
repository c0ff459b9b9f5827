"""Lines of a run's console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from kelt.api_client.errors import QueryError
from kelt.api_client.history import PAGE_ROWS_MAX, Getter


@dataclass(frozen=True, slots=True)
class ConsoleLogLine:
    """A line of a run's console.

    Args:
        number: its place, from 0; each session counts for itself unless it went on counting.
        timestamp: when it was written (UTC), or None where nobody knows.
        level: `error` for standard error, else empty.
        label: of one of several processes that write the run, else empty.
        content: the text, colours left in.
    """

    number: int
    timestamp: datetime | None
    level: str
    label: str
    content: str


@dataclass(frozen=True, slots=True)
class ConsoleChunk:
    """Some lines. `place` is that of the last one, `next` likewise where more follow."""

    lines: tuple[ConsoleLogLine, ...]
    place: str | None
    next: str | None
    total: int
    dropped: int


def read_chunk(
    getter: Getter,
    route: str,
    *,
    last: int | None = None,
    after: str | None = None,
    begin: str | None = None,
    limit: int = 1000,
    label: str = "",
) -> ConsoleChunk:
    """The last lines, or those after a place, or from a place on.

    Raises:
        QueryError: a bound is out of range.
    """
    for name, number in (("last", last), ("per_page", limit)):
        if number is not None and not 1 <= number <= PAGE_ROWS_MAX:
            raise QueryError(f"{name} is {number}; choose between 1 and {PAGE_ROWS_MAX}.")
    asked: list[tuple[str, str | int | None]] = [("last", last), ("label", label or None)]
    if last is None:
        asked += [("limit", limit), ("after", after), ("begin", begin)]
    arguments = [(name, value) for name, value in asked if value is not None]
    reply = getter.get(f"{route}/console", arguments)
    lines = tuple(_line(item) for item in reply["lines"])
    return ConsoleChunk(lines, reply["last"], reply["next"], reply["total"], reply["dropped"])


def read_lines(
    getter: Getter, route: str, *, last: int | None, per_page: int, label: str
) -> Iterator[ConsoleLogLine]:
    """Lines of a console, page by page."""
    after: str | None = None
    while True:
        found = read_chunk(getter, route, last=last, after=after, limit=per_page, label=label)
        yield from found.lines
        after = found.next
        if after is None:
            return


def _line(item: Mapping[str, Any]) -> ConsoleLogLine:
    at = item["at"]
    return ConsoleLogLine(
        item["number"],
        None if at is None else datetime.fromtimestamp(at, timezone.utc),
        "error" if item["stream"] == "stderr" else "",
        item["label"],
        item["text"],
    )

"""What a run put out beside its rows: lines of the console, and files."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kelt.api_client.connection import Connection
from kelt.api_client.errors import QueryError
from kelt.api_client.history import PAGE_ROWS_MAX, Getter
from kelt.errors import StorageError


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


@dataclass(frozen=True, slots=True)
class File:
    """A file of a run.

    Args:
        name: its path, relative to the run's files.
        size: in bytes.
        sha256: of its content, in hex; empty where it is not known.
    """

    name: str
    size: int
    sha256: str
    _connection: Connection = field(repr=False, compare=False)
    _route: str = field(repr=False, compare=False)

    def download(self, root: str | Path = ".", *, replace: bool = False) -> Path:
        """Writes the file, under its name, into a folder; returns its path.

        Args:
            root: the folder.
            replace: whether a file that is there already is replaced.

        Raises:
            StorageError: it cannot be written, or is there already.
        """
        folder = Path(root).resolve()
        path = folder.joinpath(*self.name.split("/")).resolve()
        if not path.is_relative_to(folder):
            raise StorageError(f"The file {self.name!r} leads out of {folder}.")
        if path.exists() and not replace:
            raise StorageError(f"{path} is there already; choose another root, or replace=True.")
        partial = path.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as target:
                    for piece in self._connection.content(f"{self._route}/{quote(self.name)}"):
                        target.write(piece)
                partial.replace(path)
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}); choose another root."
            ) from error
        return path


def read_files(connection: Connection, route: str) -> list[File]:
    """The files of a run, by name."""
    return [
        File(item["name"], item["size_bytes"], item["sha256"], connection, f"{route}/files")
        for item in connection.get(f"{route}/files")["files"]
    ]

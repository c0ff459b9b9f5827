"""The daemon's log file: its last lines, new ones across rotation, and a form for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from kelt.cli.wording import plain, shown

_CHUNK_BYTES = 64 * 1024
_POLL_S = 0.25
_LINE_BYTES_MAX = 1024 * 1024


def last_lines(path: Path, lines_max: int) -> tuple[list[str], int]:
    """The last whole lines of a file and where it ended; a missing file is an empty one."""
    try:
        with path.open("rb") as file:
            end = position = file.seek(0, 2)
            tail = b""
            while position > 0 and tail.count(b"\n") <= lines_max:
                step = min(_CHUNK_BYTES, position)
                position -= step
                file.seek(position)
                tail = file.read(step) + tail
    except FileNotFoundError:
        return [], 0
    # A line that is still being written is left to whoever follows.
    whole = tail[: tail.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", "replace").splitlines()
    return lines[len(lines) - min(lines_max, len(lines)) :], end - (len(tail) - len(whole))


def follow_lines(path: Path, *, from_bytes: int, sleep: Callable[[float], None]) -> Iterator[str]:
    """New lines as they come, for ever; begins anew where the file was rotated."""
    identity = _identity(path)
    offset = from_bytes
    while True:
        now = _identity(path)
        if now is not None and (now != identity or path.stat().st_size < offset):
            identity, offset = now, 0
        data = _read(path, offset)
        whole = data[: data.rfind(b"\n") + 1]
        offset += len(whole)
        yield from whole.decode("utf-8", "replace").splitlines()
        if not whole:
            sleep(_POLL_S)


def readable(line: str) -> str:
    """A JSON line as time, level, event and the rest; any other line as it is."""
    try:
        data = json.loads(line)
    except ValueError:
        return plain(line)
    if not isinstance(data, dict):
        return plain(line)
    head = [str(data.pop(key, "")) for key in ("timestamp", "level", "event")]
    rest = [f"{key}={shown(value, characters_max=200)}" for key, value in data.items()]
    return plain("  ".join(part for part in [*head, *rest] if part))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _read(path: Path, offset_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset_bytes)
            return file.read(_LINE_BYTES_MAX)
    except FileNotFoundError:
        return b""

"""What was printed and is not written down yet: a buffer that printing never waits for.

`take` is called by every `print`, from any thread, and by signal handlers; the background thread
drains. Of a script that prints faster than `RATE` characters a second for long, the beginning, a
part of each moment and the end are kept; what is not is counted. Whole lines go: what follows a gap
begins on a line of its own.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: Characters that are taken each second, in the long run, and those that are taken at once.
RATE = 64 * 1024
BURST = 1024 * 1024
#: What is held of a gap that still goes on, so that the end of a run shows what it was at.
_END = 16 * 1024
#: What pieces and lines count for beside their characters; `print` hands over a line in two pieces.
_PIECE, _LINE = 16, 32

_Piece = tuple[bool, str]


@dataclass(slots=True)
class Lost:
    """What was not kept; as many lines as have their end in it."""

    lines: int = 0
    characters: int = 0

    def __bool__(self) -> bool:
        return self.lines > 0 or self.characters > 0


@dataclass(slots=True)
class _Stream:
    #: Whether what was kept last ended within a line.
    is_within_line: bool = False
    #: Whether what came last was not kept, and ended within a line.
    is_losing: bool = False
    is_losing_line: bool = False
    #: Whether anything is gone since what was kept last, and the last of it ended within a line.
    has_gap: bool = False
    gap_within_line: bool = False


class PrintedText:
    """Takes text of standard output and standard error. Mutable state: pieces, room, losses."""

    def __init__(self) -> None:
        # Re-entrant, for signal handlers that print. Held for a few steps, never across I/O.
        self._lock = threading.RLock()
        self._pieces: list[_Piece] = []
        self._room = float(BURST)
        self._lost = Lost()
        #: The last that was lost since anything was kept; not in `_lost`.
        self._end: deque[_Piece] = deque()
        self._end_characters = 0
        self._streams = (_Stream(), _Stream())

    def take(self, text: str, is_error: bool) -> None:
        """Takes a piece, or counts it."""
        if not text:
            return
        with self._lock:
            size = _PIECE + len(text) + _LINE * text.count("\n")  # as `_size`, which would cost
            stream = self._streams[is_error]
            if stream.is_losing or size > self._room:
                self._take_in_need(text, is_error, stream)
                return
            self._room -= size
            self._pieces.append((is_error, text))
            stream.is_within_line = text[-1] != "\n"

    def _take_in_need(self, text: str, is_error: bool, stream: _Stream) -> None:
        """What there is room for, in whole lines, unless a line is being lost."""
        kept = 0 if stream.is_losing_line else _fitting(text, self._room)
        if kept:
            self._forget_end()
            self._room -= _size(text, kept)
            self._keep(is_error, text[:kept])
        held = max(kept, len(text) - _END)  # not the whole of what may be very long
        stream.is_losing = kept < len(text)
        stream.is_losing_line = stream.is_losing and text[-1] != "\n"
        if held > kept:
            self._forget_end()
            self._lose(is_error, text, kept, held)
        if stream.is_losing:
            self._end.append((is_error, text[held:]))
            self._end_characters += len(text) - held
            while self._end_characters > _END and len(self._end) > 1:
                self._end_characters -= len(self._end[0][1])
                self._lose(*self._end.popleft())

    def _keep(self, is_error: bool, text: str) -> None:
        stream = self._streams[is_error]
        begins_line = stream.has_gap and stream.is_within_line
        self._pieces.append((is_error, "\n" * begins_line + text))
        stream.is_within_line, stream.has_gap = text[-1] != "\n", False

    def _lose(self, is_error: bool, text: str, start: int = 0, end: int | None = None) -> None:
        end = len(text) if end is None else end
        stream = self._streams[is_error]
        stream.has_gap, stream.gap_within_line = True, text[end - 1] != "\n"
        self._lost.lines += text.count("\n", start, end)
        self._lost.characters += end - start

    def _forget_end(self) -> None:
        while self._end:
            self._lose(*self._end.popleft())
        self._end_characters = 0

    def drain(self, elapsed_s: float, *, is_last: bool) -> tuple[list[_Piece], Lost]:
        """All that has gathered, what follows on one stream joined; and what was lost meanwhile.

        Args:
            elapsed_s: since the last time.
            is_last: whether the end of what was lost belongs to it, as nothing more does.
        """
        with self._lock:
            if is_last:
                self._keep_end()
            pieces, self._pieces = self._pieces, []
            lost, self._lost = self._lost, Lost()
            self._room = min(BURST, self._room + elapsed_s * RATE)
        return _joined(pieces), lost

    def _keep_end(self) -> None:
        """Keeps the end of what was lost, from the beginning of a line."""
        pieces = _joined(self._end)
        self._end.clear()
        self._end_characters = 0
        for is_error, text in pieces:
            stream = self._streams[is_error]
            begins = 0
            if stream.has_gap and stream.gap_within_line:
                begins = text.find("\n") + 1 or len(text)
                self._lose(is_error, text, 0, begins)
            if begins < len(text):
                self._keep(is_error, text[begins:])


def _size(text: str, length: int) -> int:
    """What the beginning of a text counts for."""
    return _PIECE + length + _LINE * text.count("\n", 0, length)


def _fitting(text: str, room: float) -> int:
    """How much of a text there is room for: all of it, or some whole lines."""
    lengths = range(min(len(text), max(0, int(room))) + 1)
    length = bisect_right(lengths, room, key=lambda length: _size(text, length)) - 1
    return length if length == len(text) else text.rfind("\n", 0, max(0, length)) + 1


def _joined(pieces: Iterable[_Piece]) -> list[_Piece]:
    joined: list[tuple[bool, list[str]]] = []
    for is_error, text in pieces:
        if joined and joined[-1][0] == is_error:
            joined[-1][1].append(text)
        else:
            joined.append((is_error, [text]))
    return [(is_error, "".join(texts)) for is_error, texts in joined]

"""The console of a run: what was printed, as numbered lines in records.

A line is told when it has begun and again when it has changed; the first after a pause at once, and
then as much as `PACE_S` and `RATE` allow, so that a progress bar costs two records a second. What
waits meanwhile is bounded: with `WAITING_CHARACTERS_MAX` of it nothing more is taken from what was
printed, which counts what it cannot hold. What was lost, there or because the spool had no room, is
told by a line of its own, whose count goes up for as long as the same gap goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kelt import records
from kelt.printed_text import RATE, Lost, PrintedText
from kelt.records import PrintedLine
from kelt.terminal_output import ConsoleOutput

#: Between two records, at least.
PACE_S = 0.5
WAITING_CHARACTERS_MAX = 1024 * 1024
#: So long after a loss another one is told by another line.
GAP_S = 10.0
_RECORD_CHARACTERS_MAX = 64 * 1024
#: What a line takes in a record beside its characters, about.
_LINE = 32
#: How long others wait for the background thread. It may in its turn wait for a record that is
#: being written, in the middle of which a signal handler ends the run.
_WAIT_S = 1.0


@dataclass(slots=True)
class _Gap:
    number: int
    lost: Lost
    seen_s: float

    @property
    def text(self) -> str:
        lines = max(1, self.lost.lines)
        return (
            f"kelt: {lines:,} line{'' if lines == 1 else 's'} ({self.lost.characters:,} "
            f"characters) are missing here: more than {RATE // 1024} KiB a second were printed, "
            "or there was no room on this host"
        )


class ConsoleLog:
    """The console of one writer.

    Args:
        append: takes a record; False where there is no room for it.
        append_last: takes the one that tells of the last loss, in room that is kept for such.
        wall_s: the time of day.

    Attributes:
        printed: takes what is printed.
    """

    def __init__(
        self,
        *,
        append: Callable[[bytes], bool],
        append_last: Callable[[bytes], object],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.printed = PrintedText()
        self._append = append
        self._append_last = append_last
        self._wall_s = wall_s
        # Re-entrant, for signal handlers that end the run.
        self._lock = threading.RLock()
        self._output = ConsoleOutput()
        self._waiting: dict[int, PrintedLine] = {}
        self._waiting_characters = 0
        self._gap: _Gap | None = None
        self._drained_s = self._next_s = 0.0
        self._has_ended = False

    def write(self, now_s: float, *, is_last: bool = False) -> None:
        """Takes what was printed, and writes what is due.

        Args:
            now_s: the monotonic time.
            is_last: whether nothing may wait.
        """
        with self._lock:
            if self._has_ended:
                return
            if self._waiting_characters < WAITING_CHARACTERS_MAX or is_last:
                self._drain(now_s, is_last=is_last)
            if self._waiting and (is_last or now_s >= self._next_s):
                written = self._write_waiting(now_s)
                self._next_s = now_s + max(PACE_S, written / RATE)

    @contextlib.contextmanager
    def between_branches(self, now_s: float) -> Iterator[None]:
        """What was printed before is written before, and after it lines count from 0."""
        with self._held_soon() as is_held:
            if is_held:
                self._write_all(now_s)
            yield
            if is_held:
                self._output, self._gap = ConsoleOutput(), None

    def end(self, now_s: float) -> None:
        """Writes the rest, and nothing after it."""
        with self._held_soon() as is_held:
            if is_held:
                self._write_all(now_s)
            self._has_ended = True

    @contextlib.contextmanager
    def _held_soon(self) -> Iterator[bool]:
        is_held = self._lock.acquire(timeout=_WAIT_S)
        try:
            yield is_held
        finally:
            if is_held:
                self._lock.release()

    def _write_all(self, now_s: float) -> None:
        self.write(now_s, is_last=True)
        if self._waiting:  # what was lost just now
            self._append_last(records.console(self._waiting.values()))
            self._waiting, self._waiting_characters = {}, 0

    def _drain(self, now_s: float, *, is_last: bool) -> None:
        elapsed_s = max(0.0, now_s - self._drained_s)
        pieces, lost = self.printed.drain(elapsed_s, is_last=is_last)
        self._drained_s = now_s
        at = self._wall_s()
        for is_error, text in pieces:
            for number, line in self._output.write(text, is_error=is_error).items():
                self._wait(PrintedLine(number, is_error, at, line))
        self._lose(lost, now_s)

    def _wait(self, line: PrintedLine) -> None:
        before = self._waiting.get(line.number)
        self._waiting_characters += len(line.text) - (0 if before is None else len(before.text))
        self._waiting[line.number] = line

    def _lose(self, lost: Lost, now_s: float) -> None:
        if not lost:
            return
        gap = self._gap
        if gap is None or now_s - gap.seen_s > GAP_S:
            gap = self._gap = _Gap(self._output.take_number(), Lost(), now_s)
        gap.lost.lines += lost.lines
        gap.lost.characters += lost.characters
        gap.seen_s = now_s
        self._wait(PrintedLine(gap.number, True, self._wall_s(), gap.text))

    def _write_waiting(self, now_s: float) -> int:
        """Writes all that waits; returns how many bytes were told."""
        lines = sorted(self._waiting.values())
        self._waiting, self._waiting_characters = {}, 0
        written = 0
        for part in _parts(lines):
            payload = records.console(part)
            written += len(payload)
            if not self._append(payload):
                self._lose_lines(part, now_s)
        return written

    def _lose_lines(self, lines: Iterable[PrintedLine], now_s: float) -> None:
        lost = Lost()
        for line in lines:
            if self._gap is not None and line.number == self._gap.number:
                self._wait(line)
            else:
                lost.lines += 1
                lost.characters += len(line.text)
        self._lose(lost, now_s)


def _parts(lines: Iterable[PrintedLine]) -> Iterator[list[PrintedLine]]:
    """As many together as make one record."""
    part: list[PrintedLine] = []
    size = 0
    for line in lines:
        more = len(line.text) + _LINE
        if part and size + more > _RECORD_CHARACTERS_MAX:
            yield part
            part, size = [], 0
        part.append(line)
        size += more
    if part:
        yield part

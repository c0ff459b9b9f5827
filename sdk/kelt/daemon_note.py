"""What the daemon tells a writer that is not told by a stream.

A forked child has no stream, and neither has a writer whose daemon refuses to speak with it. The
daemon reads their spools from disk and notes in the run folder's `cursors.json` how far its journal
was synced, and whether somebody asked the process to stop. What a file says that is damaged, or of
another writer, counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kelt.checked_json import decode_checked
from kelt.journal.files import open_regular

CURSORS_NAME = "cursors.json"
LOOK_INTERVAL_S = 1.0
_FILE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Note:
    """What is noted of a writer: up to which record the journal is synced; 0: nothing is."""

    durable_through: int = 0
    must_stop: bool = False


class DaemonNote:
    """Looks at the daemon's note from time to time; for the background thread.

    Args:
        folder: the run folder.
        writer_id: whose records.
    """

    def __init__(self, *, folder: Path, writer_id: bytes) -> None:
        self._path = folder / CURSORS_NAME
        self._writer_id = writer_id
        self._next_look_s = 0.0
        self._note = Note()

    def read(self, now_s: float) -> Note:
        """What it said when it was looked at last, which is not long ago.

        Args:
            now_s: the monotonic time.
        """
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_INTERVAL_S
            self._note = read_note(self._path, self._writer_id)
        return self._note


def read_note(path: Path, writer_id: bytes) -> Note:
    """What a `cursors.json` says of a writer; nothing where it cannot be believed."""
    try:
        with open_regular(path) as file:
            data = decode_checked(file.read(_FILE_BYTES_MAX))
    except (OSError, ValueError):
        return Note()
    numbers = data.get("durable")
    through = numbers.get(writer_id.hex(), 0) if isinstance(numbers, dict) else 0
    return Note(
        durable_through=through if type(through) is int and through > 0 else 0,
        must_stop=data.get("must_stop") is True,
    )

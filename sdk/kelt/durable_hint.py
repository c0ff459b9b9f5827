"""How far the daemon has a writer's records, for a writer that is not told so by a stream.

A forked child has no stream, and neither has a writer whose daemon refuses to speak with it. The
daemon reads their spools from disk and notes in the run folder's `cursors.json` how far its journal
was synced. What a file says that is damaged, or of another writer, counts for nothing.
"""

from __future__ import annotations

from pathlib import Path

from kelt.checked_json import decode_checked
from kelt.journal.files import open_regular

CURSORS_NAME = "cursors.json"
LOOK_INTERVAL_S = 1.0
_FILE_BYTES_MAX = 1024 * 1024


class DurableHint:
    """Looks at the daemon's note from time to time; for the background thread.

    Args:
        folder: the run folder.
        writer_id: whose records.
    """

    def __init__(self, *, folder: Path, writer_id: bytes) -> None:
        self._path = folder / CURSORS_NAME
        self._writer_id = writer_id
        self._next_look_s = 0.0
        self._through = 0

    def through(self, now_s: float) -> int:
        """Records up to here are in the journal and synced; 0 where nothing says so.

        Args:
            now_s: the monotonic time.
        """
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_INTERVAL_S
            self._through = durable_through(self._path, self._writer_id)
        return self._through


def durable_through(path: Path, writer_id: bytes) -> int:
    """What a `cursors.json` says of a writer; 0 where it says nothing that can be believed."""
    try:
        with open_regular(path) as file:
            numbers = decode_checked(file.read(_FILE_BYTES_MAX))["durable"]
    except (OSError, ValueError, KeyError):
        return 0
    through = numbers.get(writer_id.hex(), 0) if isinstance(numbers, dict) else 0
    return through if type(through) is int and through > 0 else 0

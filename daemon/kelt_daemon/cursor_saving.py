"""When and how a run folder's hint (`cursors`) is written."""

from __future__ import annotations

import structlog

from kelt_daemon.cursors import Cursors, write_cursors
from kelt_daemon.run_folders import RunFolder

log = structlog.get_logger()


class CursorSaver:
    """Writes a folder's hint now and then while it changes, and once it has changed for good.

    Args:
        folder: whose.
        interval_s: the least between two times, unless it is forced.
    """

    def __init__(self, folder: RunFolder, *, interval_s: float) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._saved_at_s = 0.0
        self._is_unsaved = False

    @property
    def due_at_s(self) -> float | None:
        """When what was not written is to be; None where all is."""
        return self._saved_at_s + self._interval_s if self._is_unsaved else None

    def changed(self, now_s: float, *, is_forced: bool = False) -> None:
        """Writes it, if it is time."""
        is_last = self._folder.is_over and self._folder.is_committed
        is_due = now_s - self._saved_at_s >= self._interval_s
        self._is_unsaved = not (is_forced or is_due or is_last)
        if not self._is_unsaved:
            self._saved_at_s = now_s
            save_cursors(self._folder)


def save_cursors(folder: RunFolder) -> None:
    """Writes the hint; that it cannot be written costs a resend, no more."""
    cursors = Cursors(
        server_id=folder.cursors.server_id,
        committed=dict(folder.cursors.committed),
        durable={writer: cursor.durable for writer, cursor in tuple(folder.writers.items())},
        ended=folder.life if folder.is_over else None,
        lost_rows=folder.lost_rows,
        must_stop=folder.must_stop,
    )
    try:
        write_cursors(folder.home, cursors, filesystem=folder.journal.filesystem)
    except OSError as error:
        log.warning("cursors_not_saved", folder=str(folder.path), reason=str(error))

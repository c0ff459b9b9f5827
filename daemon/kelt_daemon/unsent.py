"""What of a run folder's journal was not pushed yet, and where reading it stands."""

from __future__ import annotations

from functools import partial

from kelt.journal.entries import Entry
from kelt_daemon.batch import Push, gather
from kelt_daemon.host import Host
from kelt_daemon.journal_reader import Position, extents, read_entries, start_position
from kelt_daemon.missing_records import beyond_journal
from kelt_daemon.run_folders import RunFolder


class Unsent:
    """Mutable state: how far each writer was pushed, the place in the journal, what was read ahead.

    Args:
        folder: the run folder.
        host: reads in a thread.
    """

    def __init__(self, *, folder: RunFolder, host: Host) -> None:
        self._folder = folder
        self._host = host
        self._position = Position()
        self._sent: dict[bytes, int] = {}
        self._ahead: list[Entry] = []

    @property
    def has_ahead(self) -> bool:
        """Whether something was read that did not fit into the last push."""
        return bool(self._ahead)

    @property
    def unread_bytes(self) -> int:
        """What lies in the journal behind the place."""
        at, begin_bytes = self._position, Position().offset_bytes
        return sum(
            max(0, part.end_bytes - (at.offset_bytes if part.number == at.number else begin_bytes))
            for part in extents(self._folder.journal.segments)
            if part.number >= at.number
        )

    @property
    def has_more_to_read(self) -> bool:
        """Whether the journal, or what was read of it, goes on."""
        return self.has_ahead or self.unread_bytes > 0

    def has_more(self) -> bool:
        """Whether anything is durable that was not pushed, wherever it lies."""
        writers = self._folder.writers.items()
        is_behind = any(cursor.durable > self._sent.get(w, 0) for w, cursor in writers)
        return self.has_more_to_read or is_behind

    def is_in_step(self) -> bool:
        """Whether what was pushed is what is committed: then there is nothing to look for again."""
        writers = self._folder.writers.items()
        return all(self._sent.get(writer, 0) == cursor.committed for writer, cursor in writers)

    def start_from_cursors(self) -> None:
        """Forgets the place: what the upstream has not committed is unsent."""
        self._sent = {w: c.committed for w, c in self._folder.writers.items()}
        self._position = start_position(self._folder.journal.segments, self._sent)
        self._ahead = []

    async def read(self, *, bytes_max: int, records_max: int | None) -> Push:
        """The next of it, within bounds; it counts as pushed once `pushed` is told."""
        if not self._ahead:
            parts = extents(self._folder.journal.segments)
            read = partial(read_entries, parts, self._position, bytes_max=bytes_max)
            self._ahead, self._position = await self._host.in_thread(read)
        push = gather(self._ahead, self._sent, bytes_max=bytes_max, records_max=records_max)
        del self._ahead[: push.taken]
        if not push.batches and not self.has_more_to_read:
            return beyond_journal(self._folder, self._sent)
        return push

    def pushed(self, push: Push) -> None:
        """It is on its way."""
        self._sent = push.sent_through

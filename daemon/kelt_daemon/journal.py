"""A run folder's journal: appending, and where its entries lie (format: `kelt.journal`).

All of this runs in worker threads, one call at a time for a folder. A commit is written, synced and
only then counted; whoever calls acknowledges after it returned.

Failures
    No room: nothing is counted, the position stays, and the same commit can be tried again.
    A write or sync that fails otherwise: the kernel may have dropped the data and the next sync
    would succeed without them, so it is never repeated. The segment is abandoned where it was last
    known to be good, and the same entries go into a new one. A second failure is reported; the
    next try starts with yet another segment.
    A segment that somebody deleted, moved or cut short while it is open: noticed at the next
    commit, before anything is counted. What the open file still holds goes into a new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from kelt.journal.entries import encode_entry
from kelt.journal.files import DISK, SegmentFiles
from kelt.journal.reader import Damage, read_journal_bytes, read_journal_headers
from kelt.journal.segments import segment_path
from kelt_daemon.errors import JournalBrokenError, JournalFullError
from kelt_daemon.filesystem import Filesystem
from kelt_daemon.journal_segments import (
    NewEntry,
    OpenSegment,
    Segment,
    allocated_bytes,
    create_segment,
    segment_bytes_for,
)
from kelt_daemon.quota import JournalUsage

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_GROWTH = 4
_NAMES_TRIED_MAX = 100


class Journal:
    """The appending end.

    Args:
        folder: the run folder.
        filesystem: the disk.
        first_segment_bytes: the size of the first segment after each start.
        segment_bytes_max: what segments grow to.
        journal_id: 16 bytes, those of the segments that are there.
        segments: those segments, ascending; they are never written again.
        usage: counts what the journals of the host take.
    """

    def __init__(
        self,
        *,
        folder: Path,
        filesystem: Filesystem,
        first_segment_bytes: int,
        segment_bytes_max: int,
        journal_id: bytes,
        segments: list[Segment],
        usage: JournalUsage | None = None,
    ) -> None:
        self.folder = folder
        self.segments = segments
        self.usage = usage or JournalUsage()
        #: How often an open segment was found deleted, moved or cut short.
        self.segments_rescued = 0
        #: What such a segment held: to be written before anything else.
        self._rescued: list[NewEntry] = []
        self.filesystem = filesystem
        self._next_bytes = first_segment_bytes
        self._bytes_max = segment_bytes_max
        self._journal_id = journal_id
        self._next_number = segments[-1].number + 1 if segments else 1
        self._open: OpenSegment | None = None

    def make_sure(self) -> None:
        """Syncs what was found at start: a daemon that was killed may have written and not synced.

        Where that fails, it is written again into a new segment, like everything whose sync fails.

        Raises:
            OSError: that failed too; nothing of the journal counts in `usage` then.
        """
        self.usage.add(self.used_bytes)
        written = [segment for segment in self.segments if segment.entries]
        try:
            if written:
                self._sync_again(written[-1])
        except OSError:
            self.usage.add(-self.used_bytes)
            raise

    def _sync_again(self, segment: Segment) -> None:
        try:
            self.filesystem.sync_file(segment.path)
        except OSError:
            self._rewrite(segment)

    def _rewrite(self, segment: Segment) -> None:
        raw = self.filesystem.read(segment.path, 0, segment.end_bytes)
        self._take_back(segment, raw)
        try:
            while self._rescued:
                del self._rescued[: self._commit_once(self._rescued)]
        finally:
            self.close()
        self.filesystem.unlink(segment.path)

    def commit(self, entries: Sequence[NewEntry]) -> int:
        """Writes and syncs as many of the entries as go into one segment, at least one.

        Returns:
            How many of them are durable now.

        Raises:
            JournalFullError: there is no room.
            JournalBrokenError: two segments in a row could not be written.
        """
        try:
            return self._commit_in_place(entries)
        except OSError as error:
            self._raise_if_full(error)
            self._abandon()
        try:
            return self._commit_in_place(entries)
        except OSError as error:
            self._raise_if_full(error)
            self._abandon()
            raise JournalBrokenError(
                f"The disk under {self.folder} failed to store a journal twice "
                f"({error.strerror}); what is logged stays in the trainer's spool. Check the disk."
            ) from error

    def _raise_if_full(self, error: OSError) -> None:
        if error.errno in _NO_ROOM:
            raise JournalFullError(
                f"There is no room for the journal in {self.folder} ({error.strerror}); what is "
                "logged stays in the trainer's spool. Free some space: it goes on by itself."
            ) from error

    def _commit_in_place(self, entries: Sequence[NewEntry]) -> int:
        """Commits, in a segment that is found by its name when all is done."""
        for _ in range(_NAMES_TRIED_MAX):
            while self._rescued:
                del self._rescued[: self._commit_once(self._rescued)]
            done = self._commit_once(entries)
            if done:
                return done
        raise FileNotFoundError(errno.ENOENT, "segments vanish as they are made", str(self.folder))

    def _commit_once(self, entries: Sequence[NewEntry]) -> int:
        """Returns 0 where the segment is not where it was made any more."""
        if self._open is None or self._open.room_bytes < entries[0].size_bytes:
            if self._open is not None and not self._is_in_place(self._open):
                return 0
            self.close()
            self._open = self._create(entries[0].size_bytes)
        opened = self._open
        segment, room = opened.segment, opened.room_bytes
        seed = segment.crc_seed
        assert seed is not None  # noqa: S101 # our own segment has a header
        data = bytearray()
        counted: list[tuple[NewEntry, int, int]] = []
        for entry in entries:
            if len(data) + entry.size_bytes > room:
                break
            encoded, crc32 = encode_entry(
                seed, entry.writer_id, entry.first_seq, entry.last_seq, entry.payload
            )
            data += encoded
            counted.append((entry, crc32, segment.end_bytes + len(data)))
        # Before: what is cut short would be made long again by writing. After: deleted meanwhile.
        if not self._is_in_place(opened):
            return 0
        self.filesystem.write_at(opened.fd, bytes(data), segment.end_bytes)
        try:
            self.filesystem.sync(opened.fd)
        except OSError as error:
            # Whatever its reason: a sync that failed is never tried again on this segment.
            raise OSError(errno.EIO, error.strerror or "sync failed") from error
        if not self._is_in_place(opened):
            return 0
        if not segment.entries:
            self.segments.append(segment)
            self.usage.add(segment.end_bytes)
        for entry, crc32, end_bytes in counted:
            self.usage.add(end_bytes - segment.end_bytes)
            segment.count(entry, crc32=crc32, end_bytes=end_bytes)
        return len(counted)

    def _is_in_place(self, opened: OpenSegment) -> bool:
        segment = opened.segment
        if self.filesystem.is_in_place(opened.fd, segment.path, segment.end_bytes):
            return True
        self._rescue(opened)
        return False

    def _rescue(self, opened: OpenSegment) -> None:
        """Takes what a segment held that cannot be found any more out of the open file.

        What it does not yield is a gap in the numbers, which is told when they are read.
        """
        self._open = None
        self.segments_rescued += 1
        raw = b""
        with contextlib.suppress(OSError):
            raw = self.filesystem.read_open(opened.fd, opened.segment.end_bytes)
        self._take_back(opened.segment, raw)
        with contextlib.suppress(OSError):
            self.filesystem.close(opened.fd)

    def _take_back(self, segment: Segment, raw: bytes) -> None:
        if segment in self.segments:
            self.segments.remove(segment)
            self.usage.add(-segment.end_bytes)
        self._rescued = [
            NewEntry(item.writer_id, item.first_seq, item.last_seq, item.payload)
            for item in read_journal_bytes(raw, segment.path, is_whole=False)
            if not isinstance(item, Damage)
        ] + self._rescued

    def _create(self, entry_bytes: int) -> OpenSegment:
        """A new segment with its header, its name on the disk; smaller where room is short."""
        needed = segment_bytes_for(entry_bytes)
        wanted = max(allocated_bytes(self._next_bytes), needed)
        try:
            opened = self._create_sized(wanted)
        except OSError as error:
            if error.errno not in _NO_ROOM or wanted == needed:
                raise
            opened = self._create_sized(needed)
        self._next_bytes = min(self._bytes_max, wanted * _GROWTH)
        return opened

    def _create_sized(self, bytes_max: int) -> OpenSegment:
        for _ in range(_NAMES_TRIED_MAX):
            number = self._next_number
            self._next_number += 1
            with contextlib.suppress(FileExistsError):
                return create_segment(
                    segment_path(self.folder, "journal", number),
                    filesystem=self.filesystem,
                    journal_id=self._journal_id,
                    number=number,
                    bytes_max=bytes_max,
                    before=tuple(self.segments),
                )
        raise FileExistsError(errno.EEXIST, "no free name for a segment", str(self.folder))

    def _abandon(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.abandon(self.filesystem)

    def close(self) -> None:
        """Ends writing; a later commit opens a new segment."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.finish(self.filesystem)

    @property
    def open_number(self) -> int:
        """The segment that is being written, 0 for none."""
        return self._open.segment.number if self._open else 0

    @property
    def used_bytes(self) -> int:
        """What the entries take."""
        return sum(segment.end_bytes for segment in tuple(self.segments))

    def drop(self, segment: Segment) -> None:
        """Deletes a segment that is not being written.

        Raises:
            OSError: it cannot be deleted.
        """
        self.filesystem.unlink(segment.path)
        if segment in self.segments:
            self.segments.remove(segment)
            self.usage.add(-segment.end_bytes)
        self.filesystem.sync_folder(self.folder)


def new_journal_id(folder: Path, *, files: SegmentFiles = DISK) -> bytes:
    """The id of the journal that is there, or a new one."""
    for segment in read_journal_headers(folder, files=files):
        if segment.header is not None:
            return segment.header.journal_id
    return os.urandom(16)

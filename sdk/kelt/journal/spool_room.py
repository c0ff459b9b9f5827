"""Where a spool's frames go: the current segment, the ones that come after it, and their end.

Segments. The background thread keeps a prepared segment ready (`prepare`); an append that finds
none makes a small one itself rather than lose a row.

No room. Past the quota, or on a full disk, a row is counted as lost, waits, or is refused with an
error, as the `RoomPolicy` says. The last `CONTROL_RESERVE_BYTES` of a segment are kept from rows:
`LOSS_SHARE_BYTES` of them may hold records of losses, and `GOODBYE_BYTES` are for the last two
records alone, so that neither a long shortage nor a large config keeps a run from ending well.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from kelt.journal.errors import NoSpaceError
from kelt.journal.segments import (
    BEAT_WORD,
    FIRST_SEQ_WORD,
    LOST_ROWS_WORD,
    PREVIOUS_SEQ_WORD,
    SPOOL_HEADER_BYTES,
    STEP_MAX_WORD,
    TOLD_ROWS_WORD,
)
from kelt.journal.spool_segments import (
    CONTROL_RESERVE_BYTES,
    NEXT_STEP,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    InternedSchema,
    RoomPolicy,
    SegmentStore,
    SpoolSegment,
    wait_deadline,
)
from kelt_proto.v1.frames import FRAME_HEADER_BYTES, Kind, frame_bytes, padded, word0
from kelt_proto.v1.rows import STEP_OFFSET_BYTES

LOSS_SHARE_BYTES = 1024
GOODBYE_BYTES = 2048
_SEGMENT_LASTS_S = 2.0
_INSTANT_S = 1e-3
_COMMIT_TAIL = struct.Struct("<QQ")
_STEP_OFFSET_WORDS = (FRAME_HEADER_BYTES + STEP_OFFSET_BYTES) // 8


class Attention(Protocol):
    """What wakes the background thread."""

    def set(self) -> None:
        """Asks it to look; called by `log()`, so it must be quick."""


class _Unheard:
    """Of a spool that has no background thread yet."""

    def set(self) -> None:
        """Nobody looks."""


class SpoolRoom:
    """The room of one spool; `SpoolWriter` says how records come into it.

    Args:
        folder: where the segments lie, which exists.
        writer_id: 16 random bytes.
        quota_bytes: how much unreleased spool may lie on disk.
        policy: what becomes of a row that finds no room.

    Raises:
        NoSpaceError: the first segment cannot be allocated.
    """

    def __init__(
        self,
        *,
        folder: Path,
        writer_id: bytes,
        quota_bytes: int,
        policy: RoomPolicy,
    ) -> None:
        self.folder = folder
        self.writer_id = writer_id
        #: The last sequence number given, and how many of the records are not rows.
        self.seq = 0
        self.controls = 0
        #: The highest step of the branch, -1 without one.
        self.step_max = -1
        #: Rows lost, and control records, because there was no room; rows that a record tells of.
        self.dropped_rows = 0
        self.told_rows = 0
        self.dropped_controls = 0
        #: Rows whose append had to wait for room.
        self.waits = 0
        #: Set whenever there is something for the background thread to do at once.
        self.wants_attention: Attention = _Unheard()
        self.segments: list[SpoolSegment] = []
        self._store = SegmentStore(folder=folder, writer_id=writer_id, quota_bytes=quota_bytes)
        self._policy = policy
        # Re-entrant, for signal handlers that log.
        self._lock = threading.RLock()
        # Whether its holder is in the middle of an append: what a handler logs then must wait.
        self._is_appending = False
        self._spare: SpoolSegment | None = None
        self._is_short = False
        self._beat = 0
        self._closed = False
        self._activate(self._store.create(SEGMENT_BYTES_MIN))

    # -- frames ----------------------------------------------------------------------------------

    def _put(self, kind: int, seq: int, payload: bytes, *, step: int | None = None) -> None:
        segment = self._current
        pos = segment.pos
        start = pos + FRAME_HEADER_BYTES
        segment.map[start : start + len(payload)] = payload
        _COMMIT_TAIL.pack_into(segment.map, pos + 8, seq, 0)
        # What an interrupted, longer append left behind must not be taken for a frame.
        segment.words[(start + padded(len(payload))) >> 3] = 0
        segment.words[pos >> 3] = word0(kind, len(payload))
        self._count_record(kind, seq, step)
        segment.pos = start + padded(len(payload))

    def _count_record(self, kind: int, seq: int, step: int | None) -> None:
        if kind != Kind.SCHEMA:
            self.seq = seq
            self.controls += kind != Kind.ROW
        if step is not None and step > self.step_max:
            self.step_max = self._current.words[STEP_MAX_WORD] = step

    def _recover(self) -> int:
        """Steps over a frame that was committed by an append which never came to count it."""
        segment = self._current
        while (word := segment.words[(at := segment.pos >> 3)]) != 0:
            kind = word >> 32 & 0xFF
            step = segment.words[at + _STEP_OFFSET_WORDS] if kind == Kind.ROW else None
            self._count_record(kind, segment.words[at + 1], step)
            segment.pos += frame_bytes(word & 0xFFFFFFFF)
        return segment.pos

    @property
    def rows(self) -> int:
        """How many rows were kept."""
        return self.seq - self.controls

    @contextlib.contextmanager
    def _inside_append(self) -> Iterator[None]:
        """Holds the lock, and what this thread's signal handlers log waits."""
        with self._lock:
            self._is_appending = True
            try:
                yield
            finally:
                self._is_appending = False

    # -- room ------------------------------------------------------------------------------------

    def _waited(self, deadline_s: float | None) -> float | None:
        """Waits for room a while, as the policy says, holding no lock; None once that is over."""
        if self._closed or not self._policy.wait_max_s:
            return None
        if deadline_s is None:
            self.waits += 1
        deadline_s = wait_deadline(self._policy, deadline_s)
        if deadline_s is not None:
            self._wake()
            self._store.wait_for_room(max(0.0, deadline_s - time.monotonic()))
        return deadline_s

    def _refuse(self, step: int, *, may_raise: bool) -> bool:
        """A row found no room: it is counted with its step, or the caller is told."""
        if may_raise and self._policy.raises and not self._closed:
            raise NoSpaceError(self.shortage, path=self.folder)
        with self._lock:
            self.step_max = max(self.step_max, self.step_max + 1 if step == NEXT_STEP else step)
            self.count_lost(1)
        self._wake()
        return False

    def count_lost(self, rows: int) -> None:
        """Counts rows as lost."""
        with self._lock:
            self.dropped_rows += rows
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._current.words[LOST_ROWS_WORD] = self.dropped_rows
                self._current.words[STEP_MAX_WORD] = self.step_max

    def _wake(self) -> None:
        """Wakes the background thread once, when a shortage begins."""
        if not self._is_short:
            self._is_short = True
            self.wants_attention.set()

    @property
    def shortage(self) -> str:
        """Why there was no room when there was none last."""
        return self._store.shortage

    def _make_room(self, interned: InternedSchema | None, size_bytes: int) -> bool:
        """Makes the current segment hold `size_bytes` more, and the schema that a row uses."""
        schema = b"" if interned is None else interned.schema.encode()
        with_schema = size_bytes + (frame_bytes(len(schema)) if interned else 0)
        segment = self._current
        known = interned is None or interned.segment_number == segment.number
        if segment.pos + (size_bytes if known else with_schema) > segment.row_end:
            if not self._rotate(with_schema, may_ask=interned is None):
                return False
            segment = self._current
        if interned is not None and interned.segment_number != segment.number:
            self._put(Kind.SCHEMA, 0, schema)
            interned.segment_number = segment.number
        return True

    def _rotate(self, wanted_bytes: int, *, may_ask: bool) -> bool:
        """Goes on in the next segment.

        Args:
            wanted_bytes: what it must hold.
            may_ask: whether to ask a disk that has refused and not given anything since.
        """
        if self._closed:
            return False
        needed = wanted_bytes + SPOOL_HEADER_BYTES + CONTROL_RESERVE_BYTES + 8
        spare, self._spare = self._spare, None
        if spare is not None and spare.bytes_max < needed:
            self._store.discard(spare)
            spare = None
        if spare is None:
            if self._store.refusal and not may_ask:
                return False
            try:
                spare = self._store.create(max(SEGMENT_BYTES_MIN, _page_multiple(needed)))
            except NoSpaceError:
                return False
        self._activate(spare)
        self._is_short = False
        self.wants_attention.set()
        return True

    def prepare(self) -> None:
        """Makes the next segment ready; for the background thread, never for `log()`.

        It is as large as what is written in `_SEGMENT_LASTS_S` at the rate of the current one, so
        that a slow run takes little disk and memory, and at most twice as large as that one.

        Raises:
            NoSpaceError: there is no room for it now.
        """
        if self._spare is not None or self._closed:
            return
        current = self._current
        open_s = max(time.monotonic() - self._activated_at_s, _INSTANT_S)
        filling = _page_multiple(int(current.pos / open_s * _SEGMENT_LASTS_S))
        grown = min(SEGMENT_BYTES_MAX, current.bytes_max * 2, filling)
        wanted = max(SEGMENT_BYTES_MIN, min(grown, self._store.quota_left_bytes))
        try:
            spare = self._store.create(wanted)
        except NoSpaceError:
            if wanted == SEGMENT_BYTES_MIN:
                raise
            spare = self._store.create(SEGMENT_BYTES_MIN)
        with self._lock:
            # An append that found no spare may have made a segment of a higher number meanwhile;
            # this one would then come out of order.
            is_next = spare.number > self._current.number
            if is_next and self._spare is None and not self._closed:
                self._spare = spare
                return
        self._store.discard(spare)

    @property
    def needs_preparation(self) -> bool:
        """Whether the current segment is half full and no next one is ready."""
        return self._spare is None and self._current.pos > self._current.end // 2

    @property
    def quota_bytes(self) -> int:
        """How much unreleased spool may lie on disk."""
        return self._store.quota_bytes

    @property
    def unreleased_bytes(self) -> int:
        """Spool on disk, prepared segments included."""
        return self._store.bytes_on_disk

    def _activate(self, segment: SpoolSegment) -> None:
        """Makes a prepared segment the current one.

        The order matters where this is interrupted: a segment in the list that never became
        current stays empty, and readers pass over it.
        """
        words = segment.words
        words[STEP_MAX_WORD] = self.step_max
        words[LOST_ROWS_WORD] = self.dropped_rows
        words[TOLD_ROWS_WORD] = self.told_rows
        words[PREVIOUS_SEQ_WORD] = self.seq
        words[FIRST_SEQ_WORD] = self.seq + 1
        self.segments.append(segment)
        self._current = segment
        self._activated_at_s = time.monotonic()
        for left in self.segments[:-1]:
            if left.last_seq is None:
                left.last_seq = self.seq

    # -- the background thread's part -----------------------------------------------------------

    def beat(self) -> None:
        """Counts the beat up; a beat that stands still tells a stalled process."""
        with self._lock:
            if not self._closed:
                self._beat += 1
                self._current.words[BEAT_WORD] = self._beat

    def release(self, durable_through: int) -> None:
        """Deletes the segments all of whose records are in the daemon's journal."""
        while len(self.segments) > 1:
            segment = self.segments[0]
            if segment.last_seq is None or segment.last_seq > durable_through:
                return
            self.segments.pop(0)
            self._store.discard(segment)

    @property
    def current_segment(self) -> SpoolSegment:
        """The one that frames are being added to."""
        return self._current

    def segment_after(self, segment: SpoolSegment) -> SpoolSegment | None:
        """The next segment in order."""
        return next((s for s in list(self.segments) if s.number > segment.number), None)

    def close(self) -> None:
        """Ends writing: gives back unused room. The files stay for whoever reads them."""
        with self._inside_append():
            if self._closed:
                return
            self._closed = True
            self._recover()
            used, spare, self._spare = self._current.pos, self._spare, None
        if spare is not None:
            self._store.discard(spare)
        last = self._current
        for segment in self.segments:
            segment.close()
        os.truncate(last.path, used + 8)

    def abandon(self) -> None:
        """Forgets the maps without touching the files: for a forked child of theirs."""
        self._closed = True
        for segment in self.segments:
            segment.words.release()
        self.segments.clear()


def _page_multiple(size_bytes: int) -> int:
    return -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE

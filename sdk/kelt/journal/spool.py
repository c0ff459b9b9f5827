"""The spool's writing end: what `log()` pays for.

One `SpoolWriter` belongs to one process and one run. Appending packs straight into the mapped
segment and commits a frame with one aligned store; there is no system call on that path.

Interrupted appends. A signal handler or a KeyboardInterrupt can raise between any two
bytecodes. Before its commit a frame does not exist; after it, the writer's own position may lag
behind, which the next append notices (the word at its position is not zero) and mends. A handler
that itself logs while its own thread is inside an append is set aside and written when that
append ends, because two frames cannot share a place.

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
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    InternedSchema,
    RoomPolicy,
    SegmentStore,
    SpoolSegment,
    wait_deadline,
)
from kelt_proto.v1.frames import (
    FRAME_HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Kind,
    frame_bytes,
    padded,
    word0,
)
from kelt_proto.v1.rows import RowHeader, encode_row

__all__ = ["InternedSchema", "RoomPolicy", "SpoolSegment", "SpoolWriter"]

LOSS_SHARE_BYTES = 1024
GOODBYE_BYTES = 2048
_COMMIT_TAIL = struct.Struct("<QQ")
_DROP_COUNTED = RoomPolicy()


class SpoolWriter:
    """Appends records to a run folder's spool.

    Args:
        folder: the run folder, which exists.
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
        policy: RoomPolicy = _DROP_COUNTED,
    ) -> None:
        self.folder = folder
        self.writer_id = writer_id
        #: The last sequence number given.
        self.seq = 0
        #: Rows lost, and control records, because there was no room; rows that a record tells of.
        self.dropped_rows = 0
        self.told_rows = 0
        self.dropped_controls = 0
        #: Rows whose append had to wait for room.
        self.waits = 0
        #: Set whenever there is something for the background thread to do at once.
        self.wants_attention = threading.Event()
        self.segments: list[SpoolSegment] = []
        self._store = SegmentStore(folder=folder, writer_id=writer_id, quota_bytes=quota_bytes)
        self._policy = policy
        # Re-entrant only so that it can be asked whether this thread holds it.
        self._lock = threading.RLock()
        self._is_inside_append: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 # as threading.Condition does
        self._deferred: deque[tuple[Any, ...]] = deque()
        self._spare: SpoolSegment | None = None
        self._is_short = False
        self._step_max = -1
        self._beat = 0
        self._closed = False
        self._activate(self._store.create(SEGMENT_BYTES_MIN))

    # -- appending -------------------------------------------------------------------------------

    def append_row(  # noqa: PLR0917 # names would cost on this path
        self,
        interned: InternedSchema,
        flags: int,
        step: int,
        timestamp: float,
        runtime: float,
        values: Sequence[Any],
        may_wait: bool = True,
    ) -> bool:
        """Writes a row whose columns all have a plain slot (no text, no JSON).

        Returns:
            False where there was no room; the row is counted in `dropped_rows`.

        Raises:
            struct.error: a value does not fit its column; nothing was written.
            NoSpaceError: there was no room, and the policy is to say so.
        """
        if self._is_inside_append():
            record = (interned, flags, step, timestamp, runtime, tuple(values), False)
            self._deferred.append(record)
            return True
        deadline_s = None
        while True:
            try:
                with self._lock:
                    segment = self._current
                    pos = segment.pos
                    if segment.words[pos >> 3]:
                        pos = self._recover()
                    size = interned.frame_bytes
                    fits = pos + size <= segment.row_end
                    if (fits and interned.segment_number == segment.number) or self._make_room(
                        interned, size
                    ):
                        segment = self._current
                        pos = segment.pos
                        seq = self.seq + 1
                        interned.pack_into(
                            segment.map, pos + 8, seq, 0, interned.schema.schema_id, flags, step,
                            timestamp, runtime, *values,
                        )  # fmt: skip
                        # What an interrupted, longer append left behind must not be taken for a
                        # frame.
                        segment.words[(pos + size) >> 3] = 0
                        segment.words[pos >> 3] = interned.word0
                        self.seq = seq
                        segment.pos = pos + size
                        if step > self._step_max:
                            self._step_max = segment.words[STEP_MAX_WORD] = step
                        return True
            except ValueError:
                if not self._closed:  # by another thread, in the middle of this
                    raise
            finally:
                if self._deferred:
                    self.write_deferred()
            deadline_s = self._waited(deadline_s) if may_wait else None
            if deadline_s is None:
                return self._refuse(may_raise=may_wait)

    def append_row_with_tail(
        self,
        schema: InternedSchema,
        header: RowHeader,
        values: Sequence[Any],
    ) -> bool:
        """Writes a row with texts or JSON, or one that carries its own schema.

        Returns:
            As `append_row`.

        Raises:
            ValueError: the row is larger than `PAYLOAD_BYTES_MAX`.
            NoSpaceError: as `append_row`.
        """
        payload = encode_row(schema.schema, header, values)
        interned = schema if header.schema_id == schema.schema.schema_id else None
        deadline_s = None
        while not self._append(Kind.ROW, payload, interned=interned, step=header.step):
            deadline_s = self._waited(deadline_s)
            if deadline_s is None:
                return self._refuse(may_raise=True)
        return True

    def append_control(self, kind: Kind, payload: bytes) -> bool:
        """Writes a control record, into the room reserved for such if need be.

        Returns:
            False where there was no room even there; it is counted in `dropped_controls`.

        Raises:
            ValueError: the record is larger than `PAYLOAD_BYTES_MAX`.
        """
        if self._append(kind, payload, interned=None, step=None):
            return True
        with self._lock:
            self.dropped_controls += 1
        self._wake()
        return False

    def append_loss(self, payload: bytes, *, rows: int, is_last: bool) -> bool:
        """Writes a record of losses, where that takes nothing from what must still be written.

        Args:
            payload: the record.
            rows: that it tells of.
            is_last: whether the run ends, so that the room kept for its end may be used.

        Returns:
            False where there is no room for it yet.
        """
        with self._lock:
            self._recover()
            segment = self._current
            limit = segment.end if is_last else segment.row_end + LOSS_SHARE_BYTES
            if segment.pos + frame_bytes(len(payload)) > limit:
                return False
            self._put(Kind.LOSS, self.seq + 1, payload)
            self.told_rows += rows
            segment.words[TOLD_ROWS_WORD] = self.told_rows
            return True

    def reset_step_max(self, step: int) -> None:
        """Says that the current branch now ends at `step` (a rewind, or a point resumed from)."""
        with self._lock:
            self._step_max = self._current.words[STEP_MAX_WORD] = step

    def _append(
        self, kind: Kind, payload: bytes, *, interned: InternedSchema | None, step: int | None
    ) -> bool:
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(
                f"a record of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are possible"
            )
        if self._is_inside_append():
            self._deferred.append((kind, payload, interned, step))
            return True
        try:
            with self._lock:
                self._recover()
                segment, size = self._current, frame_bytes(len(payload))
                fits = segment.pos + size <= _end_for(kind, segment)
                needs_schema = interned is not None and interned.segment_number != segment.number
                if (needs_schema or not fits) and not self._make_room(interned, size):
                    return False
                self._put(kind, self.seq + 1, payload)
                if step is not None and step > self._step_max:
                    self._step_max = self._current.words[STEP_MAX_WORD] = step
                return True
        except ValueError:
            if not self._closed:  # by another thread, in the middle of this
                raise
            return False
        finally:
            if self._deferred:
                self.write_deferred()

    def _put(self, kind: int, seq: int, payload: bytes) -> None:
        segment = self._current
        pos = segment.pos
        start = pos + FRAME_HEADER_BYTES
        segment.map[start : start + len(payload)] = payload
        _COMMIT_TAIL.pack_into(segment.map, pos + 8, seq, 0)
        # What an interrupted, longer append left behind must not be taken for a frame.
        segment.words[(start + padded(len(payload))) >> 3] = 0
        segment.words[pos >> 3] = word0(kind, len(payload))
        if kind != Kind.SCHEMA:
            self.seq = seq
        segment.pos = start + padded(len(payload))

    def write_deferred(self) -> None:
        """Writes what was logged from inside an append; called when that append has ended."""
        while self._deferred and not self._is_inside_append():
            try:
                record = self._deferred.popleft()
            except IndexError:  # another thread took it
                return
            if isinstance(record[0], InternedSchema):
                self.append_row(*record)
                continue
            kind, payload, interned, step = record
            if not self._append(kind, payload, interned=interned, step=step) and step is not None:
                self._refuse(may_raise=False)

    def _recover(self) -> int:
        """Steps over a frame that was committed by an append which never came to count it."""
        segment = self._current
        while (word := segment.words[segment.pos >> 3]) != 0:
            if word >> 32 & 0xFF != Kind.SCHEMA:
                self.seq = segment.words[(segment.pos >> 3) + 1]
            segment.pos += frame_bytes(word & 0xFFFFFFFF)
        return segment.pos

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

    def _refuse(self, *, may_raise: bool) -> bool:
        """A row found no room: it is counted, or the caller is told."""
        if may_raise and self._policy.raises and not self._closed:
            raise NoSpaceError(self.shortage, path=self.folder)
        self.count_lost(1)
        self._wake()
        return False

    def count_lost(self, rows: int) -> None:
        """Counts rows as lost."""
        with self._lock:
            self.dropped_rows += rows
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._current.words[LOST_ROWS_WORD] = self.dropped_rows

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

        Segments grow with the rate at which they fill, so that a slow run takes little disk.

        Raises:
            NoSpaceError: there is no room for it now.
        """
        if self._spare is not None or self._closed:
            return
        grown = min(SEGMENT_BYTES_MAX, self._current.bytes_max * 4)
        wanted = min(grown, max(SEGMENT_BYTES_MIN, self._store.quota_left_bytes))
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
        words[STEP_MAX_WORD] = self._step_max
        words[LOST_ROWS_WORD] = self.dropped_rows
        words[TOLD_ROWS_WORD] = self.told_rows
        words[PREVIOUS_SEQ_WORD] = self.seq
        words[FIRST_SEQ_WORD] = self.seq + 1
        self.segments.append(segment)
        self._current = segment
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
        with self._lock:
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


def _end_for(kind: Kind, segment: SpoolSegment) -> int:
    """How far a record of this kind may reach."""
    if kind == Kind.ROW:
        return segment.row_end
    return segment.end - (0 if kind == Kind.EXIT else GOODBYE_BYTES)


def _page_multiple(size_bytes: int) -> int:
    return -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE

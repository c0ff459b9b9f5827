"""The spool's writing end: what `log()` pays for.

One `SpoolWriter` belongs to one process and one run. Appending packs straight into the mapped
segment and commits a frame with one aligned store; there is no system call on that path.

Interrupted appends. A signal handler or a KeyboardInterrupt can raise between any two
bytecodes. Before its commit a frame does not exist; after it, the writer's own position may lag
behind, which the next append notices (the word at its position is not zero) and mends. A handler
that itself logs while its own thread is inside an append is set aside and written when that
append ends, because two frames cannot share a place.

Segments. The background thread keeps a prepared segment ready (`prepare`); an append that finds
none makes a small one itself rather than lose a row. Past the quota, or on a full disk, rows are
refused and counted; the last `CONTROL_RESERVE_BYTES` of a segment are kept for control records.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kelt.journal.errors import NoSpaceError
from kelt.journal.segments import (
    BEAT_WORD,
    FIRST_SEQ_WORD,
    PREVIOUS_SEQ_WORD,
    SPOOL_HEADER_BYTES,
    STEP_MAX_WORD,
    encode_spool_header,
    segment_path,
)
from kelt_proto.v1.frames import (
    FRAME_HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Kind,
    frame_bytes,
    padded,
    word0,
)
from kelt_proto.v1.rows import ROW_HEADER_BYTES, RowHeader, Schema, encode_row

CONTROL_RESERVE_BYTES = 16 * 1024
SEGMENT_BYTES_MIN = 256 * 1024
SEGMENT_BYTES_MAX = 16 * 1024 * 1024
_COMMIT_TAIL = struct.Struct("<QQ")


class InternedSchema:
    """A schema as the hot path wants it: everything that does not change from row to row."""

    __slots__ = ("frame_bytes", "has_tail", "pack_into", "schema", "segment_number", "word0")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.has_tail = schema.has_tail
        payload_bytes = ROW_HEADER_BYTES + 8 * len(schema.names)
        codes = schema.slots.format.removeprefix("<")
        self.pack_into = struct.Struct("<QQIIqdd" + codes).pack_into
        self.word0 = word0(Kind.ROW, payload_bytes)
        self.frame_bytes = frame_bytes(payload_bytes)
        #: The segment that holds this schema's frame, 0 for none.
        self.segment_number = 0


class SpoolSegment:
    """One mapped segment. `words` is the same memory as signed 8-byte integers."""

    __slots__ = ("bytes_max", "end", "last_seq", "map", "number", "path", "pos", "row_end", "words")

    def __init__(self, *, number: int, path: Path, mapped: mmap.mmap) -> None:
        self.number = number
        self.path = path
        self.map = mapped
        self.bytes_max = len(mapped)
        self.words = memoryview(mapped).cast("q")
        #: Where the next frame goes, and how far rows and control records may reach; one zero
        #: word always ends a segment.
        self.pos = SPOOL_HEADER_BYTES
        self.end = self.bytes_max - 8
        self.row_end = self.end - CONTROL_RESERVE_BYTES
        #: Known once the writer has moved on and no frame will be added.
        self.last_seq: int | None = None

    def close(self) -> None:
        """Unmaps the memory; whoever still holds a view of it keeps it alive."""
        self.words.release()
        with contextlib.suppress(BufferError):  # a batch being cut: the collector closes the map
            self.map.close()


class SpoolWriter:
    """Appends records to a run folder's spool.

    Args:
        folder: the run folder, which exists.
        writer_id: 16 random bytes.
        quota_bytes: how much unreleased spool may lie on disk.

    Raises:
        NoSpaceError: the first segment cannot be allocated.
    """

    def __init__(self, *, folder: Path, writer_id: bytes, quota_bytes: int) -> None:
        self.folder = folder
        self.writer_id = writer_id
        self.quota_bytes = quota_bytes
        #: The last sequence number given.
        self.seq = 0
        #: Rows refused because there was no room.
        self.dropped_rows = 0
        #: Set whenever there is something for the background thread to do at once.
        self.wants_attention = threading.Event()
        self.segments: list[SpoolSegment] = []
        # Re-entrant only so that it can be asked whether this thread holds it.
        self._lock = threading.RLock()
        self._is_inside_append: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 # as threading.Condition does
        self._deferred: deque[tuple[Any, ...]] = deque()
        self._spare: SpoolSegment | None = None
        self._numbers = itertools.count(1)
        self._bytes_on_disk = 0
        self._step_max = -1
        self._beat = 0
        self._closed = False
        self._activate(self._create(SEGMENT_BYTES_MIN))

    # -- appending -------------------------------------------------------------------------------

    def append_row(  # noqa: PLR0917 # names would cost on this path
        self,
        interned: InternedSchema,
        flags: int,
        step: int,
        timestamp: float,
        runtime: float,
        values: Sequence[Any],
    ) -> bool:
        """Writes a row whose columns all have a plain slot (no text, no JSON).

        Returns:
            False where there was no room; the row is counted in `dropped_rows`.

        Raises:
            struct.error: a value does not fit its column; nothing was written.
        """
        if self._is_inside_append():
            self._deferred.append((interned, flags, step, timestamp, runtime, tuple(values)))
            return True
        try:
            with self._lock:
                segment = self._current
                pos = segment.pos
                if segment.words[pos >> 3]:
                    pos = self._recover()
                size = interned.frame_bytes
                if interned.segment_number != segment.number or pos + size > segment.row_end:
                    if not self._make_room(interned, size):
                        self.dropped_rows += 1
                        return False
                    segment = self._current
                    pos = segment.pos
                seq = self.seq + 1
                interned.pack_into(
                    segment.map, pos + 8, seq, 0, interned.schema.schema_id, flags, step,
                    timestamp, runtime, *values,
                )  # fmt: skip
                # What an interrupted, longer append left behind must not be taken for a frame.
                segment.words[(pos + size) >> 3] = 0
                segment.words[pos >> 3] = interned.word0
                self.seq = seq
                segment.pos = pos + size
                if step > self._step_max:
                    self._step_max = segment.words[STEP_MAX_WORD] = step
                return True
        finally:
            if self._deferred:
                self.write_deferred()

    def append_row_with_tail(
        self, schema: InternedSchema, header: RowHeader, values: Sequence[Any]
    ) -> bool:
        """Writes a row with texts or JSON, or one that carries its own schema.

        Returns:
            As `append_row`.

        Raises:
            ValueError: the row is larger than `PAYLOAD_BYTES_MAX`.
        """
        payload = encode_row(schema.schema, header, values)
        interned = schema if header.schema_id == schema.schema.schema_id else None
        done = self._append(Kind.ROW, payload, interned=interned, step=header.step)
        if not done:
            self.dropped_rows += 1
        return done

    def append_control(self, kind: Kind, payload: bytes) -> bool:
        """Writes a control record, into the room reserved for such if need be.

        Returns:
            False where there was no room even there.

        Raises:
            ValueError: the record is larger than `PAYLOAD_BYTES_MAX`.
        """
        return self._append(kind, payload, interned=None, step=None)

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
                fits = segment.pos + size <= (segment.end if step is None else segment.row_end)
                needs_schema = interned is not None and interned.segment_number != segment.number
                if (needs_schema or not fits) and not self._make_room(interned, size):
                    return False
                self._put(kind, self.seq + 1, payload)
                if step is not None and step > self._step_max:
                    self._step_max = self._current.words[STEP_MAX_WORD] = step
                return True
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
            else:
                kind, payload, interned, step = record
                self._append(kind, payload, interned=interned, step=step)

    def _recover(self) -> int:
        """Steps over a frame that was committed by an append which never came to count it."""
        segment = self._current
        while (word := segment.words[segment.pos >> 3]) != 0:
            if word >> 32 & 0xFF != Kind.SCHEMA:
                self.seq = segment.words[(segment.pos >> 3) + 1]
            segment.pos += frame_bytes(word & 0xFFFFFFFF)
        return segment.pos

    # -- room ------------------------------------------------------------------------------------

    def _make_room(self, interned: InternedSchema | None, size_bytes: int) -> bool:
        """Makes the current segment hold `size_bytes` more, and the schema that a row uses."""
        schema = b"" if interned is None else interned.schema.encode()
        with_schema = size_bytes + (frame_bytes(len(schema)) if interned else 0)
        segment = self._current
        known = interned is None or interned.segment_number == segment.number
        if segment.pos + (size_bytes if known else with_schema) > segment.row_end:
            if not self._rotate(with_schema):
                return False
            segment = self._current
        if interned is not None and interned.segment_number != segment.number:
            self._put(Kind.SCHEMA, 0, schema)
            interned.segment_number = segment.number
        return True

    def _rotate(self, wanted_bytes: int) -> bool:
        needed = wanted_bytes + SPOOL_HEADER_BYTES + CONTROL_RESERVE_BYTES + 8
        spare, self._spare = self._spare, None
        if spare is not None and spare.bytes_max < needed:
            self._discard(spare)
            spare = None
        if spare is None:
            try:
                spare = self._create(max(SEGMENT_BYTES_MIN, _page_multiple(needed)))
            except NoSpaceError:
                return False
        self._activate(spare)
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
        spare = self._create(min(grown, max(SEGMENT_BYTES_MIN, self._quota_left())))
        with self._lock:
            # An append that found no spare may have made a segment of a higher number meanwhile;
            # this one would then come out of order.
            is_next = spare.number > self._current.number
            if is_next and self._spare is None and not self._closed:
                self._spare = spare
                return
        self._discard(spare)

    @property
    def needs_preparation(self) -> bool:
        """Whether the current segment is half full and no next one is ready."""
        return self._spare is None and self._current.pos > self._current.end // 2

    def _quota_left(self) -> int:
        return self.quota_bytes - self._bytes_on_disk

    def _create(self, bytes_max: int) -> SpoolSegment:
        number = next(self._numbers)  # atomic: appends and the background thread both make segments
        path = segment_path(self.folder, "spool", number)
        if self._bytes_on_disk and bytes_max > self._quota_left():
            raise NoSpaceError(
                f"the spool's quota of {self.quota_bytes} bytes is used up", path=path
            )
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, bytes_max)
                flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
                mapped = mmap.mmap(fd, bytes_max, flags=flags)
            finally:
                os.close(fd)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise NoSpaceError(f"no room for a segment ({error.strerror})", path=path) from error
        mapped[:SPOOL_HEADER_BYTES] = encode_spool_header(self.writer_id, number)
        self._bytes_on_disk += bytes_max
        return SpoolSegment(number=number, path=path, mapped=mapped)

    def _activate(self, segment: SpoolSegment) -> None:
        """Makes a prepared segment the current one.

        The order matters where this is interrupted: a segment in the list that never became
        current stays empty, and readers pass over it.
        """
        words = segment.words
        words[STEP_MAX_WORD] = self._step_max
        words[PREVIOUS_SEQ_WORD] = self.seq
        words[FIRST_SEQ_WORD] = self.seq + 1
        self.segments.append(segment)
        self._current = segment
        for left in self.segments[:-1]:
            if left.last_seq is None:
                left.last_seq = self.seq

    def _discard(self, segment: SpoolSegment) -> None:
        segment.close()
        segment.path.unlink(missing_ok=True)
        self._bytes_on_disk -= segment.bytes_max

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
            self._discard(segment)

    @property
    def current_segment(self) -> SpoolSegment:
        """The one that frames are being added to."""
        return self._current

    def segment_after(self, segment: SpoolSegment) -> SpoolSegment | None:
        """The next segment in order."""
        return next((s for s in list(self.segments) if s.number > segment.number), None)

    @property
    def unreleased_bytes(self) -> int:
        """Spool on disk, prepared segments included."""
        return self._bytes_on_disk

    def close(self) -> None:
        """Ends writing: gives back unused room. The files stay for whoever reads them."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._recover()
            used, spare, self._spare = self._current.pos, self._spare, None
        if spare is not None:
            self._discard(spare)
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

"""The spool's writing end: what `log()` pays for.

One `SpoolWriter` belongs to one process and one run. Appending packs straight into the mapped
segment and commits a frame with one aligned store; there is no system call on that path.

Interrupted appends. A signal handler or a KeyboardInterrupt can raise between any two
bytecodes. Before its commit a frame does not exist; after it, the writer's own position may lag
behind, which the next append notices (the word at its position is not zero) and mends. A handler
that itself logs while its own thread is inside an append is set aside and written when that
append ends, because two frames cannot share a place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kelt.journal.segments import STEP_MAX_WORD, TOLD_ROWS_WORD
from kelt.journal.spool_room import GOODBYE_BYTES, LOSS_SHARE_BYTES, SpoolRoom
from kelt.journal.spool_segments import NEXT_STEP, InternedSchema, RoomPolicy, SpoolSegment
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX, Kind, frame_bytes
from kelt_proto.v1.rows import RowHeader, encode_row, with_step

__all__ = ["GOODBYE_BYTES", "InternedSchema", "RoomPolicy", "SpoolSegment", "SpoolWriter"]

_DROP_COUNTED = RoomPolicy()
#: The part of the quota beyond which there is room for rows alone.
OUTPUT_SHARE = 0.5


class SpoolWriter(SpoolRoom):
    """Appends records to a spool.

    Args and errors: as `SpoolRoom`.
    """

    def __init__(
        self,
        *,
        folder: Path,
        writer_id: bytes,
        quota_bytes: int,
        policy: RoomPolicy = _DROP_COUNTED,
    ) -> None:
        super().__init__(folder=folder, writer_id=writer_id, quota_bytes=quota_bytes, policy=policy)
        self._deferred: deque[tuple[Any, ...]] = deque()

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

        Of `NEXT_STEP` the spool makes the step above the highest.

        Returns:
            False where there was no room; the row is counted in `dropped_rows`.

        Raises:
            struct.error: a value does not fit its column; nothing was written.
            NoSpaceError: there was no room, and the policy is to say so.
        """
        with self._lock:
            if self._is_appending:
                record = (interned, flags, step, timestamp, runtime, tuple(values), False)
                self._deferred.append(record)
                return True
            self._is_appending = True
            try:
                segment = self._current
                pos = segment.pos
                end = pos + interned.frame_bytes
                if (
                    end <= segment.row_end
                    and interned.segment_number == segment.number
                    and not segment.words[pos >> 3]
                ):
                    seq, highest = self.seq + 1, self.step_max
                    if step == NEXT_STEP:
                        step = highest + 1
                    interned.pack_into(
                        segment.map, pos + 8, seq, interned.schema_id, flags, step, timestamp,
                        runtime, *values,
                    )  # fmt: skip
                    segment.words[pos >> 3] = interned.word0
                    self.seq = seq
                    if step > highest:
                        self.step_max = segment.words[STEP_MAX_WORD] = step
                    interned.newest = (seq, step, values, timestamp, runtime)
                    # Last: before it, an interrupt leaves a frame that is found and counted.
                    segment.pos = end
                    return True
            except ValueError:
                if not self._closed:  # by another thread, in the middle of this
                    raise
            finally:
                self._is_appending = False
                if self._deferred:
                    self.write_deferred()
        row = (interned, flags, step, timestamp, runtime, values)
        return self._append_once_there_is_room(row, may_wait=may_wait)

    def _append_once_there_is_room(
        self, row: tuple[InternedSchema, int, int, float, float, Sequence[Any]], *, may_wait: bool
    ) -> bool:
        interned, _, step, *_ = row
        deadline_s = None
        while True:
            with self._lock:
                if self._has_room_for(interned):
                    return self.append_row(*row, may_wait)
            deadline_s = self._waited(deadline_s) if may_wait else None
            if deadline_s is None:
                return self._refuse(step, may_raise=may_wait)

    def _has_room_for(self, interned: InternedSchema) -> bool:
        """Makes the current segment take a row of a schema, if that can be."""
        self._is_appending = True
        try:
            end = self._recover() + interned.frame_bytes
            segment = self._current
            if end <= segment.row_end and interned.segment_number == segment.number:
                return True
            return self._make_room(interned, interned.frame_bytes)
        except ValueError:
            if not self._closed:  # by another thread, in the middle of this
                raise
            return False
        finally:
            self._is_appending = False

    def append_row_with_tail(
        self,
        schema: InternedSchema,
        header: RowHeader,
        values: Sequence[Any],
    ) -> bool:
        """Writes a row with texts or JSON, or one that carries its own schema.

        A `header.step` of `NEXT_STEP` is as in `append_row`.

        Returns:
            As `append_row`.

        Raises:
            ValueError: the row is larger than `PAYLOAD_BYTES_MAX`.
            NoSpaceError: as `append_row`.
        """
        payload = encode_row(schema.schema, header, values)
        interned = schema if header.schema_id == schema.schema_id else None
        deadline_s = None
        while not self._append(Kind.ROW, payload, interned=interned, step=header.step):
            deadline_s = self._waited(deadline_s)
            if deadline_s is None:
                return self._refuse(header.step, may_raise=True)
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

    def append_output(self, kind: Kind, payload: bytes) -> bool:
        """Writes a record of which there may be many, into no room that others need.

        Returns:
            False where half of the quota is used, or the disk is full; it is the caller's to count.

        Raises:
            ValueError: the record is larger than `PAYLOAD_BYTES_MAX`.
        """
        if self.unreleased_bytes > self.quota_bytes * OUTPUT_SHARE:
            return False
        return self._append(kind, payload, interned=None, step=None, is_output=True)

    def append_loss(self, payload: bytes, *, rows: int, is_last: bool) -> bool:
        """Writes a record of losses, where that takes nothing from what must still be written.

        Args:
            payload: the record.
            rows: that it tells of.
            is_last: whether the run ends, so that the room kept for its end may be used.

        Returns:
            False where there is no room for it yet.
        """
        with self._inside_append():
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
            self.step_max = self._current.words[STEP_MAX_WORD] = step

    def _append(
        self,
        kind: Kind,
        payload: bytes,
        *,
        interned: InternedSchema | None,
        step: int | None,
        is_output: bool = False,
    ) -> bool:
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(
                f"a record of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are possible"
            )
        with self._lock:
            if self._is_appending:
                self._deferred.append((kind, payload, interned, step))
                return True
            self._is_appending = True
            try:
                self._recover()
                segment, size = self._current, frame_bytes(len(payload))
                end = segment.row_end if is_output else _end_for(kind, segment)
                fits = segment.pos + size <= end
                needs_schema = interned is not None and interned.segment_number != segment.number
                if (needs_schema or not fits) and not self._make_room(interned, size):
                    return False
                if step == NEXT_STEP:
                    step = self.step_max + 1
                    payload = with_step(payload, step)
                self._put(kind, self.seq + 1, payload, step=step)
                return True
            except ValueError:
                if not self._closed:  # by another thread, in the middle of this
                    raise
                return False
            finally:
                self._is_appending = False
                if self._deferred:
                    self.write_deferred()

    def write_deferred(self) -> None:
        """Writes what was logged from inside an append; called when that append has ended."""
        while self._deferred and not self._is_appending:
            try:
                record = self._deferred.popleft()
            except IndexError:  # another thread took it
                return
            if isinstance(record[0], InternedSchema):
                self.append_row(*record)
                continue
            kind, payload, interned, step = record
            if not self._append(kind, payload, interned=interned, step=step) and step is not None:
                self._refuse(step, may_raise=False)


def _end_for(kind: Kind, segment: SpoolSegment) -> int:
    """How far a record of this kind may reach."""
    if kind == Kind.ROW:
        return segment.row_end
    return segment.end - (0 if kind == Kind.EXIT else GOODBYE_BYTES)

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kelt.journal.segments import STEP_MAX_WORD, TOLD_ROWS_WORD
from kelt.journal.spool_room import GOODBYE_BYTES, LOSS_SHARE_BYTES, SpoolRoom
from kelt.journal.spool_segments import InternedSchema, RoomPolicy, SpoolSegment
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX, Kind, frame_bytes
from kelt_proto.v1.rows import RowHeader, encode_row

__all__ = ["GOODBYE_BYTES", "InternedSchema", "RoomPolicy", "SpoolSegment", "SpoolWriter"]

_DROP_COUNTED = RoomPolicy()


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
        self._is_inside_append: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 # as threading.Condition does
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


def _end_for(kind: Kind, segment: SpoolSegment) -> int:
    """How far a record of this kind may reach."""
    if kind == Kind.ROW:
        return segment.row_end
    return segment.end - (0 if kind == Kind.EXIT else GOODBYE_BYTES)

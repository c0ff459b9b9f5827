"""Cutting batches: from frames in a spool to what travels and what the journal keeps.

A batch holds at most `BATCH_BYTES_MAX` of frames (one larger record travels alone) and begins
with the schemas that its rows use, because whoever reads it has nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kelt.journal.reader import Damage, read_spool
from kelt_proto.v1.frames import FRAME_HEADER_BYTES, Frame, Kind
from kelt_proto.v1.rows import INLINE_SCHEMA_ID

BATCH_BYTES_MAX = 256 * 1024
_SCHEMA_ID = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class CutBatch:
    """Frames `first_seq` to `last_seq` of one writer, with their schemas in front."""

    first_seq: int
    last_seq: int
    frames: bytes

    @property
    def crc32(self) -> int:
        """The checksum that travels with the batch."""
        return zlib.crc32(self.frames)


@dataclass
class BatchCutter:
    """Gathers consecutive frames of one writer into batches.

    Feed it each frame's bytes in order; it hands back a batch whenever one is full. `flush` hands
    back what is left. A gap in the numbers ends a batch, so that none spans a loss.
    """

    batch_bytes_max: int = BATCH_BYTES_MAX
    _schemas: dict[int, bytes] = field(default_factory=dict)
    _used: dict[int, bytes] = field(default_factory=dict)
    _frames: list[bytes] = field(default_factory=list)
    _bytes: int = 0
    _first_seq: int = 0
    _last_seq: int = 0

    def add_schema(self, frame: bytes, schema_id: int) -> None:
        """Remembers a schema for the rows that follow."""
        self._schemas[schema_id] = frame

    def take(self, item: Frame, *, after_seq: int) -> CutBatch | None:
        """Adds what was read from a spool: a schema, or a record above `after_seq`.

        Returns:
            As `add`.
        """
        if item.kind == Kind.SCHEMA:
            (schema_id,) = _SCHEMA_ID.unpack_from(item.payload)
            self.add_schema(bytes(item.memory), schema_id)
        elif item.seq > after_seq:
            return self.add(item.kind, item.seq, bytes(item.memory), passed=item.passed)
        return None

    def add(self, kind: int, seq: int, frame: bytes, *, passed: int = 0) -> CutBatch | None:
        """Adds a numbered frame, padding included; `passed` numbers before it hold nothing.

        Returns:
            The batch before it, where the frame did not fit in or did not follow.
        """
        schema_id = INLINE_SCHEMA_ID
        if kind == Kind.ROW:
            (schema_id,) = _SCHEMA_ID.unpack_from(frame, FRAME_HEADER_BYTES)
        schema = b""
        if schema_id not in self._used:
            schema = self._schemas.get(schema_id, b"")
        size = len(frame) + len(schema)
        full = None
        if self._frames and (
            seq - passed != self._last_seq + 1 or self._bytes + size > self.batch_bytes_max
        ):
            full = self.flush()
            schema = self._schemas.get(schema_id, b"")
            size = len(frame) + len(schema)
        if schema:
            self._used[schema_id] = schema
        if not self._frames:
            self._first_seq = seq - passed
        self._frames.append(frame)
        self._bytes += size
        self._last_seq = seq
        return full

    def flush(self) -> CutBatch | None:
        """The batch gathered so far, or None."""
        if not self._frames:
            return None
        frames = b"".join((*self._used.values(), *self._frames))
        batch = CutBatch(self._first_seq, self._last_seq, frames)
        self._used.clear()
        self._frames.clear()
        self._bytes = 0
        return batch

    @property
    def waiting_bytes(self) -> int:
        """What `flush` would hand back."""
        return self._bytes


def cut_live_spool(folder: Path, *, after_seq: int = 0) -> Iterator[CutBatch]:
    """The records above `after_seq` of a spool that another process still writes.

    It ends at the first that is not sealed, or that does not follow: what is copied while it is
    written can look torn, and is whole the next time.
    """
    cutter = BatchCutter()
    last_seq = after_seq
    for item in read_spool(folder, after_seq=after_seq):
        if isinstance(item, Damage) or not item.is_sealed or item.first_seq > last_seq + 1:
            break
        if (batch := cutter.take(item, after_seq=last_seq)) is not None:
            yield batch
        last_seq = max(last_seq, item.seq)
    if (batch := cutter.flush()) is not None:
        yield batch


def cut_spool(folder: Path, *, after_seq: int = 0) -> Iterator[CutBatch | Damage]:
    """The records above `after_seq` of a spool that nobody writes any more, as batches.

    Damage stands in its place. Where the numbers jump between batches, what lies between is lost.
    """
    cutter = BatchCutter()
    last_seq = after_seq
    for item in read_spool(folder, after_seq=after_seq):
        if isinstance(item, Damage):
            if (batch := cutter.flush()) is not None:
                yield batch
            yield item
            continue
        if (batch := cutter.take(item, after_seq=last_seq)) is not None:
            yield batch
        last_seq = max(last_seq, item.seq)
    if (batch := cutter.flush()) is not None:
        yield batch

"""The background thread's walk over a live spool: seals frames and cuts batches.

It follows the writer through the maps of the same process, so a frame is there as soon as its
first word is not zero, and a segment is finished as soon as the writer's current one is another.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from kelt.journal.batches import BatchCutter, CutBatch
from kelt.journal.segments import SPOOL_HEADER_BYTES
from kelt.journal.spool import SpoolSegment, SpoolWriter
from kelt_proto.v1.frames import FLAG_SEALED, FRAME_HEADER_BYTES, Kind, crc_seed

_HEADER = struct.Struct("<QQ")
_CRC = struct.Struct("<I")
_SCHEMA_ID = struct.Struct("<I")
_CRC_OFFSET = 16
_FLAGS_OFFSET = 5


class Sealer:
    """Seals each new frame of a spool and hands out batches of them.

    Args:
        spool: the writer of the same process. Only one sealer may follow it.
        cutter: how batches are cut.
        on_sealed: told how far a segment is sealed, segment after segment.
    """

    def __init__(
        self,
        *,
        spool: SpoolWriter,
        cutter: BatchCutter,
        on_sealed: Callable[[SpoolSegment, int], None] | None = None,
    ) -> None:
        self._spool = spool
        self._on_sealed = on_sealed
        self._cutter = cutter
        self._seed = crc_seed(spool.writer_id)
        self._segment: SpoolSegment = spool.segments[0]
        self._pos = SPOOL_HEADER_BYTES
        #: The last record that was sealed.
        self.sealed_seq = 0

    def batches(self) -> Iterator[CutBatch]:
        """Seals everything that is there now and yields what it fills, the rest included."""
        self._spool.write_deferred()
        while True:
            is_finished = self._segment is not self._spool.current_segment
            yield from self._seal_segment()
            if not is_finished:
                break
            following = self._spool.segment_after(self._segment)
            if following is None:
                break
            self._segment, self._pos = following, SPOOL_HEADER_BYTES
        if (last := self._cutter.flush()) is not None:
            yield last

    def _seal_segment(self) -> Iterator[CutBatch]:
        mapped, words, end = self._segment.map, self._segment.words, self._segment.end
        cutter, pos = self._cutter, self._pos
        while pos < end and (word := words[pos >> 3]) != 0:
            length = word & 0xFFFFFFFF
            stop = pos + FRAME_HEADER_BYTES + ((length + 7) & ~7)
            kind = word >> 32 & 0xFF
            seq = words[(pos >> 3) + 1]
            payload_end = pos + FRAME_HEADER_BYTES + length
            crc32 = zlib.crc32(_HEADER.pack(word, seq), self._seed)
            crc32 = zlib.crc32(mapped[pos + FRAME_HEADER_BYTES : payload_end], crc32)
            # The checksum first, the flag last: a frame that says it is sealed is.
            _CRC.pack_into(mapped, pos + _CRC_OFFSET, crc32)
            mapped[pos + _FLAGS_OFFSET] = FLAG_SEALED
            frame = mapped[pos:stop]
            self._pos = pos = stop
            if kind == Kind.SCHEMA:
                (schema_id,) = _SCHEMA_ID.unpack_from(frame, FRAME_HEADER_BYTES)
                cutter.add_schema(frame, schema_id)
                continue
            self.sealed_seq = seq
            if (full := cutter.add(kind, seq, frame)) is not None:
                yield full
        if self._on_sealed is not None:
            self._on_sealed(self._segment, pos)

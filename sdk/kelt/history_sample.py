"""A bounded picture of each metric's course, for the lines at the end of a run.

Fed with the batches that the background thread cuts anyway. It decodes the first rows of a schema,
then every second one, every fourth, and so on, as fewer and fewer of them have a place in the
picture; what it costs grows with the logarithm of what is logged.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from kelt.sparkline import KEPT_MAX, Course
from kelt_proto.v1.frames import FRAME_HEADER_BYTES, Kind, frame_bytes
from kelt_proto.v1.rows import (
    INLINE_SCHEMA_ID,
    ROW_HEADER_BYTES,
    ColumnKind,
    DamagedRowError,
    Schema,
    decode_row,
    decode_schema,
)

METRICS_MAX = 50
#: Rows of a schema that are all decoded; of as many more every second, of twice as many every
#: fourth, and so on: as a course keeps them.
ROWS_IN_FULL = KEPT_MAX
#: Schemas whose rows are counted apart; the rows of all others are counted together.
SCHEMAS_MAX = 256
_NUMBERS = frozenset({ColumnKind.FLOAT, ColumnKind.INT, ColumnKind.BOOL})
_WORD0 = struct.Struct("<Q")
_SCHEMA_ID = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class _Known:
    """A schema of the writer, with the courses of its columns where rows of it have no tail."""

    payload: bytes
    schema: Schema
    courses: tuple[tuple[int, Course], ...]


class HistorySample:
    """Courses of the first metrics seen."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}
        self._rows_seen: dict[int, int] = {}
        self._known: dict[int, _Known] = {}

    def add(self, frames: bytes) -> None:
        """Takes some rows of a batch, which this process has cut itself."""
        payloads: dict[int, slice] = {}
        memory, pos, end = memoryview(frames), 0, len(frames)
        while pos < end:
            (word,) = _WORD0.unpack_from(frames, pos)
            start, kind = pos + FRAME_HEADER_BYTES, word >> 32 & 0xFF
            payload_end = start + (word & 0xFFFFFFFF)
            pos += frame_bytes(word & 0xFFFFFFFF)
            if kind > Kind.ROW:
                continue
            (schema_id,) = _SCHEMA_ID.unpack_from(frames, start)
            if kind == Kind.SCHEMA:
                payloads[schema_id] = slice(start, payload_end)
            elif weight := self._weight_of_next(schema_id):
                try:
                    if schema_id == INLINE_SCHEMA_ID:
                        self._add_row(memory[start:payload_end], {}, weight)
                    else:
                        known = self._schema(schema_id, frames[payloads[schema_id]])
                        self._add_known(known, memory[start:payload_end], weight)
                except (DamagedRowError, KeyError, struct.error):
                    continue

    def _schema(self, schema_id: int, payload: bytes) -> _Known:
        known = self._known.get(schema_id)
        if known is None or known.payload != payload:
            schema = decode_schema(payload)
            named = enumerate(zip(schema.names, schema.kinds, strict=True))
            courses = [
                (column, course)
                for column, (name, kind) in named
                if kind in _NUMBERS and not schema.has_tail and (course := self._course(name))
            ]
            known = _Known(payload, schema, tuple(courses))
            if schema_id in self._known or len(self._known) < SCHEMAS_MAX:
                self._known[schema_id] = known
        return known

    def _add_known(self, known: _Known, row: memoryview, weight: int) -> None:
        schema = known.schema
        if schema.has_tail:
            self._add_row(row, {schema.schema_id: schema}, weight)
            return
        slots = schema.slots.unpack_from(row, ROW_HEADER_BYTES)
        for column, course in known.courses:
            course.add(float(slots[column]), weight)

    def _add_row(self, row: memoryview, schemas: Mapping[int, Schema], weight: int) -> None:
        for name, value in decode_row(row, schemas).values.items():
            if isinstance(value, (int, float)) and (course := self._course(name)):
                course.add(float(value), weight)

    def _weight_of_next(self, schema_id: int) -> int:
        """For how many rows the next of a schema stands; 0 where it is passed over."""
        if schema_id not in self._rows_seen and len(self._rows_seen) >= SCHEMAS_MAX:
            schema_id = INLINE_SCHEMA_ID
        seen = self._rows_seen.get(schema_id, 0)
        self._rows_seen[schema_id] = seen + 1
        stride: int = 1 << (seen // ROWS_IN_FULL).bit_length()
        return 0 if seen % stride else stride

    def _course(self, name: str) -> Course | None:
        """A metric's course, or None where there are enough."""
        course = self.courses.get(name)
        if course is None and len(self.courses) < METRICS_MAX:
            course = self.courses[name] = Course()
        return course

    def values(self) -> dict[str, list[float]]:
        """Each metric's sampled values, in order."""
        return {name: course.values for name, course in self.courses.items()}

"""A bounded picture of each metric's course, for the lines at the end of a run.

Fed with the batches that the background thread cuts anyway. It decodes the first rows of a schema,
then every second one, every fourth, and so on, as fewer and fewer of them have a place in the
picture; what it costs grows with the logarithm of what is logged.
"""

from __future__ import annotations

import struct

from kelt.sparkline import KEPT_MAX, Course
from kelt_proto.v1.frames import FRAME_HEADER_BYTES, Kind, frame_bytes
from kelt_proto.v1.rows import INLINE_SCHEMA_ID, DamagedRowError, Schema, decode_row, decode_schema

METRICS_MAX = 50
#: Rows of a schema that are all decoded; of as many more every second, of twice as many every
#: fourth, and so on: as a course keeps them.
ROWS_IN_FULL = KEPT_MAX
#: Schemas whose rows are counted apart; the rows of all others are counted together.
SCHEMAS_MAX = 256
_WORD0 = struct.Struct("<Q")
_SCHEMA_ID = struct.Struct("<I")


class HistorySample:
    """Courses of the first metrics seen."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}
        self._rows_seen: dict[int, int] = {}

    def add(self, frames: bytes) -> None:
        """Takes some rows of a batch, which this process has cut itself."""
        schemas: dict[int, Schema] = {}
        schema_starts: dict[int, int] = {}
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
                schema_starts[schema_id] = start
            elif weight := self._weight_of_next(schema_id):
                try:
                    if schema_id not in schemas and schema_id != INLINE_SCHEMA_ID:
                        schemas[schema_id] = decode_schema(memory[schema_starts[schema_id] :])
                    row = decode_row(memory[start:payload_end], schemas)
                except (DamagedRowError, KeyError):
                    continue
                for name, value in row.values.items():
                    if isinstance(value, (int, float)):
                        self._course_add(name, float(value), weight)

    def _weight_of_next(self, schema_id: int) -> int:
        """For how many rows the next of a schema stands; 0 where it is passed over."""
        if schema_id not in self._rows_seen and len(self._rows_seen) >= SCHEMAS_MAX:
            schema_id = INLINE_SCHEMA_ID
        seen = self._rows_seen.get(schema_id, 0)
        self._rows_seen[schema_id] = seen + 1
        stride: int = 1 << (seen // ROWS_IN_FULL).bit_length()
        return 0 if seen % stride else stride

    def _course_add(self, name: str, value: float, weight: int) -> None:
        course = self.courses.get(name)
        if course is None:
            if len(self.courses) >= METRICS_MAX:
                return
            course = self.courses[name] = Course()
        course.add(value, weight)

    def values(self) -> dict[str, list[float]]:
        """Each metric's sampled values, in order."""
        return {name: course.values for name, course in self.courses.items()}

"""A bounded picture of each metric's course, for the lines at the end of a run.

Fed with the batches that the background thread cuts anyway; of each batch only a few rows are
decoded, so that the picture costs little however much is logged.
"""

from __future__ import annotations

import contextlib
from itertools import islice

from kelt.sparkline import Course
from kelt_proto.v1.frames import DamagedFrameError, Kind, iter_frames
from kelt_proto.v1.rows import DamagedRowError, Schema, decode_row, decode_schema

ROWS_PER_BATCH_MAX = 16
METRICS_MAX = 50


class HistorySample:
    """Courses of the first metrics seen."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}

    def add(self, frames: bytes) -> None:
        """Takes some rows of a batch."""
        with contextlib.suppress(DamagedFrameError, DamagedRowError):
            self._add(frames)

    def _add(self, frames: bytes) -> None:
        schemas: dict[int, Schema] = {}
        rows = []
        for frame in iter_frames(memoryview(frames)):
            if frame.kind == Kind.SCHEMA:
                schema = decode_schema(frame.payload)
                schemas[schema.schema_id] = schema
            elif frame.kind == Kind.ROW:
                rows.append(frame.payload)
        stride = max(1, len(rows) // ROWS_PER_BATCH_MAX)
        for payload in islice(rows, 0, None, stride):
            for name, value in decode_row(payload, schemas).values.items():
                if isinstance(value, (int, float)):
                    self._course_add(name, float(value))

    def _course_add(self, name: str, value: float) -> None:
        course = self.courses.get(name)
        if course is None:
            if len(self.courses) >= METRICS_MAX:
                return
            course = self.courses[name] = Course()
        course.add(value)

    def values(self) -> dict[str, list[float]]:
        """Each metric's sampled values, in order."""
        return {name: course.values for name, course in self.courses.items()}

"""A sink that opens its session with the first record: for a run in a forked child."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from kelt.journal.spool import InternedSchema
from kelt.session import RecordSink
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import RowHeader


class LateSink:
    """Passes everything to what `open_sink` makes, once it is needed.

    Args:
        open_sink: called once.
    """

    def __init__(self, *, open_sink: Callable[[], RecordSink]) -> None:
        self._open_sink = open_sink
        self._opened: RecordSink | None = None
        self._lock = threading.RLock()

    @property
    def _sink(self) -> RecordSink:
        with self._lock:
            if self._opened is None:
                self._opened = self._open_sink()
            return self._opened

    @property
    def seq(self) -> int:
        """The last sequence number given."""
        return 0 if self._opened is None else self._opened.seq

    @property
    def dropped_rows(self) -> int:
        """Rows that found no room."""
        return 0 if self._opened is None else self._opened.dropped_rows

    def append_row(  # noqa: PLR0917 # as the spool's
        self,
        interned: InternedSchema,
        flags: int,
        step: int,
        timestamp: float,
        runtime: float,
        values: Sequence[Any],
        /,
    ) -> bool:
        """Passes a row on."""
        return self._sink.append_row(interned, flags, step, timestamp, runtime, values)

    def append_row_with_tail(
        self, schema: InternedSchema, header: RowHeader, values: Sequence[Any], /
    ) -> bool:
        """Passes a row on."""
        return self._sink.append_row_with_tail(schema, header, values)

    def append_control(self, kind: Kind, payload: bytes, /) -> bool:
        """Passes a record on."""
        return self._sink.append_control(kind, payload)

    def reset_step_max(self, step: int, /) -> None:
        """Passes it on."""
        self._sink.reset_step_max(step)

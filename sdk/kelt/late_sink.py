"""A sink that opens its session with the first record: for a run in a forked child."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from kelt.errors import KeltError
from kelt.journal.spool_segments import InternedSchema
from kelt.session import NoSink, RecordSink
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import RowHeader


class LateSink:
    """Passes everything to what `open_sink` makes, once it is needed.

    Args:
        open_sink: called once. Where it fails, as on a full disk, nothing is recorded.
        on_failure: told why.
    """

    def __init__(
        self, *, open_sink: Callable[[], RecordSink], on_failure: Callable[[Exception], None]
    ) -> None:
        self._open_sink = open_sink
        self._on_failure = on_failure
        self._opened: RecordSink | None = None
        self._lock = threading.RLock()

    @property
    def _sink(self) -> RecordSink:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open_sink()
                except (KeltError, OSError, RuntimeError) as error:
                    self._opened = NoSink()
                    self._on_failure(error)
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

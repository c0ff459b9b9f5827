"""A sink that opens its session with the first record: for a run in a forked child."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kelt.errors import KeltError
from kelt.journal.spool_segments import NEXT_STEP, InternedSchema
from kelt.session import RecordSink
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import RowHeader

RETRY_S = 2.0


class LateSink:
    """Passes everything to what `open_sink` makes, once it is needed.

    Args:
        open_sink: called with the first record. Where it fails, as on a full disk, it is called
            again with one that comes some time later; rows in between are counted as lost.
        on_failure: told why.
    """

    def __init__(
        self, *, open_sink: Callable[[], RecordSink], on_failure: Callable[[Exception], None]
    ) -> None:
        self._open_sink = open_sink
        self._on_failure = on_failure
        self._opened: RecordSink | None = None
        self._next_try_s = 0.0
        self._lost_rows = 0
        self._step_max = -1
        self._lock = threading.RLock()

    def _sink(self) -> RecordSink | None:
        with self._lock:
            if self._opened is None and time.monotonic() >= self._next_try_s:
                try:
                    opened = self._open_sink()
                except (KeltError, OSError, RuntimeError) as error:
                    self._next_try_s = time.monotonic() + RETRY_S
                    self._on_failure(error)
                else:
                    opened.count_lost(self._lost_rows)
                    opened.reset_step_max(self._step_max)
                    self._opened = opened
            return self._opened

    @property
    def seq(self) -> int:
        """The last sequence number given."""
        return 0 if self._opened is None else self._opened.seq

    @property
    def rows(self) -> int:
        """How many rows were kept."""
        return 0 if self._opened is None else self._opened.rows

    @property
    def step_max(self) -> int:
        """The highest step of the branch, -1 without one."""
        return self._step_max if self._opened is None else self._opened.step_max

    def reset_step_max(self, step: int, /) -> None:
        """Says that the branch ends at `step`, which opens nothing."""
        with self._lock:
            if self._opened is None:
                self._step_max = step
            else:
                self._opened.reset_step_max(step)

    @property
    def dropped_rows(self) -> int:
        """Rows that found no room."""
        return self._lost_rows if self._opened is None else self._opened.dropped_rows

    def count_lost(self, rows: int, /) -> None:
        """Counts rows that were lost before they came here."""
        with self._lock:
            if self._opened is None:
                self._lost_rows += rows
            else:
                self._opened.count_lost(rows)

    def _refuse(self, step: int) -> bool:
        """A row is lost; its step is taken all the same."""
        with self._lock:
            number = self._step_max + 1 if step == NEXT_STEP else step
            self._step_max = max(self._step_max, number)
            self.count_lost(1)
        return False

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
        if (sink := self._sink()) is None:
            return self._refuse(step)
        return sink.append_row(interned, flags, step, timestamp, runtime, values)

    def append_row_with_tail(
        self, schema: InternedSchema, header: RowHeader, values: Sequence[Any], /
    ) -> bool:
        """Passes a row on."""
        if (sink := self._sink()) is None:
            return self._refuse(header.step)
        return sink.append_row_with_tail(schema, header, values)

    def append_control(self, kind: Kind, payload: bytes, /) -> bool:
        """Passes a record on."""
        sink = self._sink()
        return sink is not None and sink.append_control(kind, payload)

"""The path of `log()`: from a dict to a frame in the spool.

A *plan* is all that can be known from the names and types of a row. Rows of a known plan whose
values pack as they are go straight to the spool. Everything else takes the general path, which
also finds the caller's mistakes.

Steps. The automatic step is one above the highest so far, which the sink knows and gives where it
writes the row, so that neither threads nor a signal handler that logs can take it twice.
`commit=False` keeps it open: rows go out at once, marked as parts, until a row with `commit=True`
closes it.

Relative steps. Where a run was resumed whose end this host does not know, automatic steps count
from 0 and are marked `FLAG_RELATIVE_STEP`. A step given by hand is always absolute, and the
automatic ones after it follow it.

The lock orders those rows of threads that are more than their plan; it is re-entrant, for signal
handlers that log.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kelt.errors import UsageError
from kelt.journal.errors import NoSpaceError
from kelt.journal.spool_segments import NEXT_STEP, InternedSchema
from kelt.row_mistakes import no_room, own_number, own_step, too_large
from kelt.row_plans import Plan, RowEvents, RowPlans, RowSink, StepCount
from kelt.values import RESERVED_KEYS, RUNTIME_KEY, STEP_KEY, TIMESTAMP_KEY, checked_step
from kelt_proto.v1.rows import (
    FLAG_PARTIAL,
    FLAG_RELATIVE_STEP,
    FLAG_STEP_WENT_DOWN,
    INLINE_SCHEMA_ID,
    STEP_MAX,
    RowHeader,
    Schema,
)

_now = time.time
_monotonic = time.monotonic
_NO_PLAN = Plan(interned=InternedSchema(Schema(0, (), ())), is_inline=True)
_NO_PLAN.types = [object]  # of no value


class RowPacker:
    """Packs rows into a spool.

    Args:
        sink: where rows go.
        steps: where the branch stands.
        started: the monotonic time from which `_runtime` counts.
        events: what the run wants to hear.
    """

    def __init__(
        self, *, sink: RowSink, steps: StepCount, started: float, events: RowEvents
    ) -> None:
        self._sink = sink
        self._append_row = sink.append_row
        self._started = started
        self._events = events
        self._closed_reason = ""
        self._wants_every_row = False
        self._lock = threading.RLock()
        self._newest: tuple[int, float, float] | None = None
        self._plans = RowPlans()
        self._by_keys = self._plans.by_keys
        #: The plan of the row before; the next row mostly looks the same.
        self._plan = _NO_PLAN
        self._branch_from(steps)

    def _branch_from(self, steps: StepCount) -> None:
        self._sink.reset_step_max(steps.highest)
        self._auto_flags = FLAG_RELATIVE_STEP if steps.is_relative else 0
        self._open_step: int | None = None
        self._set_path()

    def _set_path(self) -> None:
        """Whether rows may take the short path: nothing but a plan is asked of them."""
        self._is_plain = (
            self._open_step is None
            and not self._auto_flags
            and not self._closed_reason
            and not self._wants_every_row
        )

    def go_on_from(self, steps: StepCount) -> None:
        """Says where the branch stands now (a rewind); an open step is closed."""
        with self._lock:
            self._branch_from(steps)

    def want_every_row(self) -> None:
        """Has `on_row` called for every row from now on."""
        self._wants_every_row = True
        self._set_path()

    def close(self, reason: str) -> None:
        """Makes every later call an error with this reason."""
        self._closed_reason = reason
        self._set_path()

    @property
    def rows(self) -> int:
        """How many rows were kept."""
        return self._sink.rows

    @property
    def next_step(self) -> int:
        """The step that the next automatic row gets."""
        return self._sink.step_max + 1 if self._open_step is None else self._open_step

    @property
    def highest_step(self) -> int:
        """The highest step so far, -1 without one."""
        return self._sink.step_max

    @property
    def is_relative(self) -> bool:
        """Whether automatic steps count from an end that is not known here."""
        return bool(self._auto_flags)

    def row_facts(self) -> dict[str, float]:
        """The row's own keys as they stand now: the highest step, and when the newest row was."""
        highest = self._sink.step_max
        facts: dict[str, float] = {} if highest < 0 else {STEP_KEY: highest}
        newest_rows = (plan.interned.newest for plan in self._plans.all())
        rows = [(row[0], *row[3:]) for row in newest_rows if row]
        newest = max([*rows, *([self._newest] if self._newest else [])], default=None)
        if newest is not None:
            facts |= {TIMESTAMP_KEY: newest[1], RUNTIME_KEY: newest[2]}
        return facts

    def unmerged_rows(self) -> Iterator[tuple[Sequence[str], Sequence[Any], int, int]]:
        """For each plan its newest row, where the summary has not seen it: as for `on_row`."""
        for plan in self._plans.all():
            newest = plan.interned.newest
            if newest is not None and newest[0] > plan.merged_seq:
                seq, step, values, *_ = newest
                plan.merged_seq = seq
                yield plan.interned.schema.names, values, step, seq

    # -- the path of most rows --------------------------------------------------------------------

    def log(self, data: Any, step: int | None, commit: bool | None) -> None:
        """Writes one row, or part of one.

        Raises:
            UsageError: a key, value or step that cannot be logged; nothing was written.
        """
        if step is None and commit and self._is_plain and type(data) is dict:
            plan = self._plan
            keys, values = [*data], [*data.values()]
            if keys != plan.keys:
                self._plan = plan = self._by_keys.get(tuple(keys), _NO_PLAN)
            if plan.types == [*map(type, values)]:
                at, runtime = _now(), _monotonic() - self._started
                try:
                    if self._append_row(plan.interned, 0, NEXT_STEP, at, runtime, values):
                        return
                except struct.error:  # an integer that has outgrown its slot
                    pass
                except NoSpaceError as error:
                    raise no_room(error) from error
                else:
                    if self._closed_reason:  # by another thread, in the middle of this
                        raise UsageError(self._closed_reason)
                    return
        self._log_general(data, step, commit is not False)

    # -- every other row --------------------------------------------------------------------------

    def _log_general(self, data: Any, step: object, commit: bool) -> None:
        if self._closed_reason:
            raise UsageError(self._closed_reason)
        if not isinstance(data, Mapping):
            raise UsageError(
                f"kelt.log takes a dict of values by name, not {type(data).__name__}; "
                'write kelt.log({"loss": loss}).'
            )
        values: dict[Any, Any] = dict(data)  # a copy that no other thread changes
        timestamp = runtime = None
        if not RESERVED_KEYS.isdisjoint(values):
            step = own_step(values, step)
            timestamp = own_number(values, TIMESTAMP_KEY)
            runtime = own_number(values, RUNTIME_KEY)
        number = None if step is None else checked_step(step, STEP_MAX)
        plan, row = self._plans.plan(values)
        with self._lock:
            before = (self._sink.step_max, self._open_step, self._auto_flags)
            taken, flags = self._take_step(number, commit=commit)
            header = RowHeader(
                INLINE_SCHEMA_ID if plan.is_inline else plan.interned.schema.schema_id,
                flags,
                taken,
                _now() if timestamp is None else timestamp,
                _monotonic() - self._started if runtime is None else runtime,
            )
            try:
                self._write(plan, header, row)
            except NoSpaceError as error:
                self._go_back(before)
                raise no_room(error) from error
            except UsageError:
                self._go_back(before)
                raise

    def _go_back(self, before: tuple[int, int | None, int]) -> None:
        highest, self._open_step, auto_flags = before
        if self._auto_flags != auto_flags:  # no other thread has taken a step meanwhile
            self._auto_flags = auto_flags
            self._sink.reset_step_max(highest)
        self._set_path()

    def _take_step(self, step: int | None, *, commit: bool) -> tuple[int, int]:
        """The number and the flags of a row; the open step is kept or closed."""
        flags = 0 if commit else FLAG_PARTIAL
        if step is None:
            flags |= self._auto_flags
            if commit and self._open_step is None:
                return NEXT_STEP, flags
            number = self.next_step
        else:
            number = step
            if self._auto_flags:  # the user has told where the run stands
                self._auto_flags = 0
                self._sink.reset_step_max(number - 1)
        highest = self._sink.step_max
        if number < highest:
            flags |= FLAG_STEP_WENT_DOWN
            self._events.before_step_goes_down(number, highest)
        if not commit:
            self._open_step = number
        elif step is None or (self._open_step is not None and number >= self._open_step):
            self._open_step = None
        self._set_path()
        return number, flags

    def _write(self, plan: Plan, header: RowHeader, row: Sequence[Any]) -> None:
        sink, interned = self._sink, plan.interned
        if plan.is_inline or interned.has_tail:
            try:
                is_kept = sink.append_row_with_tail(interned, header, row)
            except ValueError as error:
                raise too_large(interned.schema.names, row) from error
        else:
            slots: Sequence[Any] = row
            if plan.nones:
                slots = [0 if value is None else value for value in row]
            is_kept = sink.append_row(
                interned, header.flags, header.step, header.timestamp, header.runtime, slots
            )
        if not is_kept:
            return
        step = sink.step_max if header.step == NEXT_STEP else header.step
        if plan.is_inline or self._wants_every_row:
            plan.merged_seq = sink.seq
            self._newest = (sink.seq, header.timestamp, header.runtime)
            self._events.on_row(interned.schema.names, row, step, sink.seq)
        elif plan.nones or interned.has_tail:
            interned.newest = (sink.seq, step, row, header.timestamp, header.runtime)

"""The path of `log()`: from a dict to a frame in the spool.

A *plan* is all that can be known from the names and types of a row. Rows of a known plan whose
values pack as they are go straight to the spool. Everything else takes the general path, which
also finds the caller's mistakes.

Steps. The automatic step is one above the highest so far. `commit=False` keeps it open: rows go
out at once, marked as parts, until a row with `commit=True` closes it. An automatic step is taken
with one atomic operation, so that neither threads nor a signal handler that logs can take it
twice; a call that a KeyboardInterrupt cuts short may leave its number unused.

Relative steps. Where a run was resumed whose end this host does not know, automatic steps count
from 0 and are marked `FLAG_RELATIVE_STEP`. A step given by hand is always absolute, and the
automatic ones after it follow it.

The lock orders the rows of threads; it is re-entrant, for signal handlers that log.
"""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kelt.errors import UsageError
from kelt.journal.errors import NoSpaceError
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
)

_now = time.time
_monotonic = time.monotonic


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
        self.rows = 0
        self._sink = sink
        self._started = started
        self._events = events
        self._closed_reason = ""
        self._wants_every_row = False
        self._lock = threading.RLock()
        self._newest: tuple[int, float, float] | None = None
        self._plans = RowPlans()
        self._by_keys = self._plans.by_keys
        self._branch_from(steps)

    def _branch_from(self, steps: StepCount) -> None:
        self._highest = steps.highest
        self._auto = itertools.count(steps.highest + 1)
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
    def next_step(self) -> int:
        """The step that the next automatic row gets."""
        if self._open_step is not None:
            return self._open_step
        return self._next_auto()

    def _next_auto(self) -> int:
        return int(repr(self._auto)[len("count(") : -1])  # the way to look without taking

    @property
    def highest_step(self) -> int:
        """The highest step so far, -1 without one."""
        return self._highest

    @property
    def is_relative(self) -> bool:
        """Whether automatic steps count from an end that is not known here."""
        return bool(self._auto_flags)

    def row_facts(self) -> dict[str, float]:
        """The row's own keys as they stand now: the highest step, and when the newest row was."""
        facts: dict[str, float] = {} if self._highest < 0 else {STEP_KEY: self._highest}
        rows = [(p.last[0], *p.last[3:]) for p in self._plans.all() if p.last]
        newest = max([*rows, *([self._newest] if self._newest else [])], default=None)
        if newest is not None:
            facts |= {TIMESTAMP_KEY: newest[1], RUNTIME_KEY: newest[2]}
        return facts

    def unmerged_rows(self) -> Iterator[tuple[Sequence[str], Sequence[Any], int, int]]:
        """For each plan its newest row, where the summary has not seen it: as for `on_row`."""
        for plan in self._plans.all():
            last = plan.last
            if last is not None and last[0] > plan.merged_seq:
                plan.merged_seq = last[0]
                yield plan.interned.schema.names, last[2], last[1], last[0]

    # -- the path of most rows --------------------------------------------------------------------

    def log(self, data: Any, step: int | None, commit: bool | None) -> None:
        """Writes one row, or part of one.

        Raises:
            UsageError: a key, value or step that cannot be logged; nothing was written.
        """
        if step is not None or not commit or not self._is_plain or type(data) is not dict:
            self._log_general(data, step, commit is not False)
            return
        values = tuple(data.values())
        plan = self._by_keys.get(tuple(data))
        if plan is None or plan.types != tuple(map(type, values)):
            self._log_general(data, step, commit=True)
            return
        with self._lock:
            number = next(self._auto)
            flags = 0 if number > self._highest else FLAG_STEP_WENT_DOWN
            at, runtime = _now(), _monotonic() - self._started
            try:
                is_kept = self._sink.append_row(plan.interned, flags, number, at, runtime, values)
            except struct.error:  # an integer that has outgrown its slot
                self._log_general(data, number, commit=True)
                return
            except NoSpaceError as error:
                self._give_back(number)
                raise no_room(error) from error
            if number > self._highest:  # noqa: PLR1730 # cheaper than max()
                self._highest = number
            if is_kept:
                plan.last = (self._sink.seq, number, values, at, runtime)
                self.rows += 1
            elif self._closed_reason:  # by another thread, in the middle of this
                raise UsageError(self._closed_reason)

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
            before = (self._next_auto(), self._open_step, self._highest, self._auto_flags)
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

    def _give_back(self, number: int) -> None:
        """The automatic step of a row that was not logged is the next one's again."""
        if self._next_auto() == number + 1:
            self._auto = itertools.count(number)

    def _go_back(self, before: tuple[int, int | None, int, int]) -> None:
        number, self._open_step, self._highest, self._auto_flags = before
        self._auto = itertools.count(number)
        self._set_path()

    def _take_step(self, step: int | None, *, commit: bool) -> tuple[int, int]:
        """The number and the flags of a row; the open step is kept or closed."""
        flags = 0 if commit else FLAG_PARTIAL
        if step is None:
            number = next(self._auto) if self._open_step is None else self._open_step
            flags |= self._auto_flags
        else:
            number = step
            if self._auto_flags:  # the user has told where the run stands
                self._auto_flags, self._highest = 0, number - 1
                self._auto = itertools.count(number + 1)
            elif number > self._highest:
                self._auto = itertools.count(number + 1)
        if number < self._highest:
            flags |= FLAG_STEP_WENT_DOWN
            self._events.before_step_goes_down(number, self._highest)
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
        self._highest = max(self._highest, header.step)
        if not is_kept:
            return
        self.rows += 1
        if plan.is_inline or self._wants_every_row:
            plan.merged_seq = sink.seq
            self._newest = (sink.seq, header.timestamp, header.runtime)
            self._events.on_row(interned.schema.names, row, header.step, sink.seq)
        else:
            plan.last = (sink.seq, header.step, row, header.timestamp, header.runtime)

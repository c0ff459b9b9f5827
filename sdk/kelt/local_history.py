"""What a branch holds, read from the run folders on this host.

The daemon's journal is read first and then the spool, because records move from the one to the
other while somebody writes. Where a branch leaves a parent that this host knows, the parent's
history up to that step comes first, to any depth.

Most summaries need only the newest row of each schema, so only those rows are decoded; a
definition such as `min` has all of them read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kelt.journal.reader import Damage, read_journal, read_spool, read_spool_headers
from kelt.local_runs import LINEAGE_MAX, BranchRecord, LocalRuns, SessionRef
from kelt.metric_definitions import MetricDefinition
from kelt.run_folder import RunFolderError, read_manifest
from kelt.run_summary import SummaryState
from kelt.spool_place import spool_place_of
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import DamagedFrameError, Frame, Kind, iter_frames
from kelt_proto.v1.rows import (
    FLAG_RELATIVE_STEP,
    INLINE_SCHEMA_ID,
    STEP_MAX,
    DamagedRowError,
    RowHeader,
    Schema,
    decode_row,
    decode_row_header,
    decode_schema,
)

_READ_TRIES = 3


@dataclass(kw_only=True)
class BranchState:
    """What a run goes on from.

    Attributes:
        last_step: the highest step, -1 without rows.
        runtime: `_runtime` of the newest row.
    """

    last_step: int = -1
    runtime: float = 0.0
    config: dict[str, object] = field(default_factory=dict)
    summary: SummaryState = field(default_factory=SummaryState)


class LocalRecord(NamedTuple):
    """A record of a run folder, with the branch that it lies on.

    The numbers from `first_seq` up to its own hold nothing.
    """

    kind: int
    first_seq: int
    seq: int
    payload: bytes
    branch_id: str
    schemas: dict[int, Schema]


def read_records(folder: Path) -> Iterator[LocalRecord]:
    """The records of a run folder's writer, in order; what is damaged is passed over."""
    try:
        manifest = read_manifest(folder)
    except RunFolderError:
        return
    branch_id, schemas = manifest.branch_id, dict[int, Schema]()
    last_seq = 0
    for attempt in range(1, _READ_TRIES + 1):
        is_whole = True
        for kind, first_seq, seq, payload in _frames(
            folder, bytes.fromhex(manifest.writer_id), last_seq
        ):
            if kind == Kind.SCHEMA:
                schema = decode_schema(payload)
                schemas[schema.schema_id] = schema
                continue
            if seq <= last_seq:
                continue
            if first_seq > last_seq + 1 and attempt < _READ_TRIES:
                is_whole = False  # a segment went from spool to journal in between: look again
                break
            last_seq = seq
            if kind == Kind.REWIND:
                branch_id = record_pb2.Rewind.FromString(payload).branch_id
            yield LocalRecord(kind, first_seq, seq, payload, branch_id, schemas)
        if is_whole:
            return


def _frames(
    folder: Path, writer_id: bytes, after_seq: int
) -> Iterator[tuple[int, int, int, bytes]]:
    last_seq = 0
    for entry in read_journal(folder):
        if isinstance(entry, Damage) or entry.writer_id != writer_id:
            continue
        last_seq = max(last_seq, entry.last_seq)
        if entry.last_seq > after_seq:
            try:
                for frame in iter_frames(memoryview(entry.payload)):
                    yield frame.kind, frame.first_seq, frame.seq, bytes(frame.payload)
            except (DamagedFrameError, DamagedRowError):
                continue
    for item in read_spool(spool_place_of(folder), after_seq=max(last_seq, after_seq)):
        if isinstance(item, Frame):
            yield item.kind, item.first_seq, item.seq, bytes(item.payload)


class LocalHistory:
    """Reads branches.

    Args:
        local: the registry.
    """

    def __init__(self, *, local: LocalRuns) -> None:
        self._local = local

    def last_step(self, branch: BranchRecord) -> int:
        """The highest step of a branch: of its own rows, or else where it leaves its parent."""
        own = [self._session_last_step(branch, session) for session in branch.sessions]
        forked_at = branch.parent.step if branch.parent is not None else -1
        elsewhere = branch.elsewhere.last_step if branch.elsewhere is not None else -1
        return max((*own, forked_at, elsewhere))

    def runtime(self, branch: BranchRecord) -> float:
        """`_runtime` of the newest row on this host, for a session that goes on from there."""
        if not branch.sessions:
            return branch.elsewhere.runtime if branch.elsewhere is not None else 0.0
        session = branch.sessions[-1]
        if session.last_step is not None:
            return session.runtime
        folder = spool_place_of(self._local.folder(session))
        headers = [header for header in read_spool_headers(folder) if header.first_seq]
        newest = 0.0
        for item in read_spool(folder, after_seq=headers[-1].previous_seq) if headers else ():
            if isinstance(item, Frame) and item.kind == Kind.ROW:
                newest = decode_row_header(item.payload).runtime
        return newest

    def _session_last_step(self, branch: BranchRecord, session: SessionRef) -> int:
        if session.last_step is not None:
            return session.last_step
        folder = self._local.folder(session)
        place = spool_place_of(folder)
        headers = [header for header in read_spool_headers(place) if header.first_seq]
        if headers:
            return headers[-1].step_max
        steps = (
            decode_row_header(record.payload).step
            for record in read_records(folder)
            if record.kind == Kind.ROW and record.branch_id == branch.branch_id
        )
        return max(steps, default=-1)

    def state(self, branch: BranchRecord, *, step: int | None, at: float) -> BranchState:
        """What a branch that leaves this one inherits.

        Args:
            branch: the one to leave.
            step: the last step that stays; None for all of them.
            at: when the new branch is made: config set later stays behind.
        """
        chain = self._lineage(branch, STEP_MAX if step is None else step, at)
        state = BranchState()
        for part in chain:
            _Reading(self._local, part, state).run()
        state.last_step = max(state.last_step, -1)
        return state

    def _lineage(self, branch: BranchRecord, step: int, at: float) -> list[LineagePart]:
        parts = [LineagePart(branch, step, at)]
        while (parent := branch.parent) is not None and len(parts) < LINEAGE_MAX:
            known = self._local.find_point(parent)
            if known is None or any(known.branch_id == p.branch.branch_id for p in parts):
                break
            step, at = min(step, parent.step), min(at, branch.created_at)
            branch = known
            parts.append(LineagePart(branch, step, at))
        return parts[::-1]


@dataclass(frozen=True)
class LineagePart:
    """What of a branch belongs to a history: steps up to `step`, config up to `at`."""

    branch: BranchRecord
    step: int
    at: float


class _Reading:
    """Folds one branch's part into a state."""

    def __init__(self, local: LocalRuns, part: LineagePart, state: BranchState) -> None:
        self._folders = [local.folder(session) for session in part.branch.sessions]
        self._part = part
        self._state = state
        self._newest: dict[tuple[str, ...], tuple[int, LocalRecord]] = {}

    def run(self) -> None:
        self._take_elsewhere()
        definitions = self._state.summary.definitions
        for folder in self._folders:
            for record in self._own_records(folder):
                self._take(record)
        if definitions.needs_every_row:
            for folder in self._folders:
                for record in self._own_records(folder):
                    if record.kind == Kind.ROW and self._included(record) is not None:
                        self._fold(record)
            return
        for _, record in sorted(self._newest.values(), key=lambda item: item[0]):
            self._fold(record)

    def _take_elsewhere(self) -> None:
        elsewhere = self._part.branch.elsewhere
        if elsewhere is None:
            return
        self._state.config.update(elsewhere.config)
        if elsewhere.last_step <= self._part.step:
            self._state.last_step = max(self._state.last_step, elsewhere.last_step)
            self._state.summary.add_row(
                tuple(elsewhere.summary), tuple(elsewhere.summary.values()), elsewhere.last_step
            )

    def _own_records(self, folder: Path) -> Iterator[LocalRecord]:
        for record in read_records(folder):
            if record.branch_id == self._part.branch.branch_id:
                yield record

    def _included(self, record: LocalRecord) -> RowHeader | None:
        try:
            header = decode_row_header(record.payload)
        except DamagedRowError:
            return None
        is_unplaced = bool(header.flags & FLAG_RELATIVE_STEP) and self._part.step < STEP_MAX
        return None if header.step > self._part.step or is_unplaced else header

    def _take(self, record: LocalRecord) -> None:
        if record.kind == Kind.ROW:
            self._take_row(record)
        elif record.kind == Kind.CONFIG:
            self._take_config(record_pb2.Config.FromString(record.payload))
        elif record.kind == Kind.SUMMARY:
            self._take_summary(record_pb2.Summary.FromString(record.payload))
        elif record.kind == Kind.METRIC_DEFINITION:
            said = record_pb2.MetricDefinition.FromString(record.payload)
            if said.step <= self._part.step:
                self._state.summary.definitions.add(definition_of(said))

    def _take_row(self, record: LocalRecord) -> None:
        header = self._included(record)
        if header is None:
            return
        self._state.last_step = max(self._state.last_step, header.step)
        self._state.runtime = header.runtime
        names = self._names(record, header.schema_id)
        newest = self._newest.get(names)
        if newest is None or header.step >= newest[0]:
            self._newest[names] = (header.step, record)

    def _take_config(self, change: record_pb2.Config) -> None:
        if change.at > self._part.at:
            return
        for item in change.items:
            self._state.config.pop(item.key, None)
            if not item.removed:
                self._state.config[item.key] = json.loads(item.json)

    def _take_summary(self, values: record_pb2.Summary) -> None:
        if values.step > self._part.step:
            return
        for item in values.items:
            if item.removed:
                self._state.summary.remove(item.key)
            else:
                self._state.summary.set_by_hand(item.key, json.loads(item.json))

    def _names(self, record: LocalRecord, schema_id: int) -> tuple[str, ...]:
        if schema_id != INLINE_SCHEMA_ID and schema_id in record.schemas:
            return record.schemas[schema_id].names
        try:
            return tuple(decode_row(record.payload, record.schemas).values)
        except DamagedRowError:
            return ()

    def _fold(self, record: LocalRecord) -> None:
        try:
            row = decode_row(record.payload, record.schemas)
        except DamagedRowError:
            return
        values = tuple(row.values.values())
        self._state.summary.add_row(tuple(row.values), values, row.header.step)


def definition_of(said: record_pb2.MetricDefinition) -> MetricDefinition:
    """A definition as a record holds it."""
    return MetricDefinition(
        name=said.name,
        step_metric=said.step_metric,
        summary=said.summary or "last",
        goal=said.goal or "minimize",
        hidden=said.hidden,
        step=said.step,
    )

"""Folds records into a `CarriedRun`: what each of them means to W&B. Pure.

The same records give the same lines at the same indices, however they are cut into pushes. A record
that cannot be read is a lost row; one of a kind that is not carried is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from google.protobuf.message import DecodeError

from kelt.metric_definitions import MetricDefinition
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.chapters import Record
from kelt_daemon.upstream.wandb.file_pieces import Piece, add_piece, key_of, lose_file
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.history_lines import Lines, add_row, close
from kelt_daemon.upstream.wandb.output_lines import add_console, add_samples
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import DamagedRowError, decode_row

_SIGNAL_BASE = 128
_ENDS = frozenset((record_pb2.Assertion.FAILED, record_pb2.Assertion.CRASHED))


@dataclass(slots=True)
class Folded:
    """What is to be posted, and put down, for records that were taken in.

    Attributes:
        history: lines.
        events: lines.
        console: lines by their index.
        pieces: of files.
        is_cut: whether a file found no room: its records, and what follows, are to come again.
    """

    history: Lines = field(default_factory=Lines)
    events: Lines = field(default_factory=Lines)
    console: dict[int, record_pb2.ConsoleLine] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    is_cut: bool = False


def open_session(run: CarriedRun, opened: record_pb2.RunOpened) -> None:
    """The first record of a session: whose run it is, and what people see of it."""
    host = opened.host
    run.entity, run.project, run.run_id = opened.entity, opened.project, opened.run_id
    run.branches = [opened.branch_id]
    if opened.HasField("shared"):
        run.is_shared, run.is_primary = True, opened.shared.is_primary
        run.label = opened.shared.label
    started = datetime.fromtimestamp(opened.started_at, tz=timezone.utc)
    environment = {
        "python": f"CPython {host.python}" if host.python else "",
        "startedAt": started.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "program": host.program,
        "host": host.hostname,
        "writerId": client_id(run.writer_id),
        "label": run.label,
    }
    run.environment = {name: value for name, value in environment.items() if value}
    _take_info(run, opened.info)
    run.config_due = True


def client_id(writer_id: bytes) -> str:
    """A writer as W&B names one."""
    return str(UUID(bytes=writer_id))


def fold(run: CarriedRun, records: Iterable[Record], room: FileRoom) -> Folded:
    """Takes records in, and returns what is to be posted for them.

    The last line of the history is among them unless more of its row is still to come.
    """
    folded = Folded()
    for record in records:
        if record.kind == Kind.ROW:
            _fold_row(run, record, folded.history)
        elif record.kind == Kind.FILE_PIECE:
            if not _fold_piece(run, record, folded.pieces, room):
                folded.is_cut = True
                break
        else:
            _fold_control(run, record, folded)
        run.folded[record.writer_id] = max(run.folded.get(record.writer_id, 0), record.seq)
    last = run.last_line
    if last is not None and (not last.is_partial or run.exit_code is not None):
        close(run, folded.history)
    return folded


def closed(run: CarriedRun) -> Folded:
    """The last line of the history, if it is open: nothing more of its row comes."""
    folded = Folded()
    close(run, folded.history)
    return folded


def turn_back(run: CarriedRun, rewind: record_pb2.Rewind) -> None:
    """The run has gone back: W&B drops more than what was logged since, as its own client does."""
    run.branches.append(rewind.branch_id)
    run.branch_point = {"run_id": run.run_id, "step": rewind.point.step}
    kept = type(run.summary)(definitions=run.summary.definitions)
    run.summary, run.inherited_summary = kept, {}
    run.last_line, run.last_step, run.row_facts = None, -1, {}
    run.next_event = run.console_base = 0
    run.config_due = True


def _fold_row(run: CarriedRun, record: Record, lines: Lines) -> None:
    try:
        row = decode_row(record.payload, record.schemas)
    except DamagedRowError as error:
        run.lose(1, f"a row that cannot be read: {error}")
        return
    add_row(run, row, record.seq, lines)


def _fold_piece(run: CarriedRun, record: Record, pieces: list[Piece], room: FileRoom) -> bool:
    """Returns whether there was room for it."""
    try:
        said = record_pb2.FilePiece.FromString(bytes(record.payload))
    except DecodeError as error:
        run.lose(1, f"a record that cannot be read: {error}")
        return True
    key = key_of(said.name, said.version)
    if said.size_bytes > room.limit_bytes:
        if said.offset_bytes + len(said.content) >= said.size_bytes:  # once, with the last of them
            reason = f"its {said.size_bytes:,} bytes are more than all files may take on this host"
            lose_file(run, key, said.name, reason)
        return True
    if said.offset_bytes == 0 and not room.take(run.writer_id, key, said.size_bytes):
        return False
    piece = add_piece(run, said, writer_id=record.writer_id)
    pieces += [] if piece is None else [piece]
    return True


def _fold_control(run: CarriedRun, record: Record, folded: Folded) -> None:
    payload = bytes(record.payload)
    try:
        if record.kind == Kind.CONSOLE:
            add_console(run, record_pb2.Console.FromString(payload), folded.console)
        elif record.kind == Kind.SYSTEM:
            add_samples(run, record_pb2.System.FromString(payload), folded.events)
        elif (take := _TAKERS.get(record.kind)) is not None:
            kind, taker = take
            taker(run, kind.FromString(payload))
        else:
            run.skipped += 1
    except (DecodeError, ValueError, RecursionError) as error:
        run.lose(1, f"a record that cannot be read: {error}")


def _take_config(run: CarriedRun, said: record_pb2.Config) -> None:
    _change(run.config, said.items)
    run.config_due = True


def _take_summary(run: CarriedRun, said: record_pb2.Summary) -> None:
    for item in said.items:
        if item.removed:
            run.summary.remove(item.key)
            run.inherited_summary.pop(item.key, None)
        else:
            run.summary.set_by_hand(item.key, json.loads(item.json))
    run.summary_due = True


def _take_definition(run: CarriedRun, said: record_pb2.MetricDefinition) -> None:
    run.summary.definitions.add(
        MetricDefinition(
            name=said.name,
            step_metric=said.step_metric,
            summary=said.summary or "last",
            goal=said.goal or "minimize",
            hidden=said.hidden,
            step=said.step,
        )
    )
    run.config_due = run.summary_due = True


def _take_info(run: CarriedRun, said: record_pb2.RunInfo) -> None:
    for ours, theirs in _FACTS.items():
        if said.HasField(ours):
            run.facts_due[theirs] = getattr(said, ours)
    if said.HasField("tags"):
        run.facts_due["tags"] = list(said.tags.values)
    run.facts |= run.facts_due


def _take_exit(run: CarriedRun, said: record_pb2.Exit) -> None:
    run.exit_code = exit_code_of(said.exit_code, said.signal)


def _take_loss(run: CarriedRun, said: record_pb2.Loss) -> None:
    run.lose(said.rows, said.reason)


def _take_assertion(run: CarriedRun, said: record_pb2.Assertion) -> None:
    """What a daemon knows of the end counts where the writer itself said nothing."""
    if said.writer_id != run.writer_id or run.exit_code is not None:
        return
    if said.state == record_pb2.Assertion.FINISHED:
        run.exit_code = 0
    elif said.state in _ENDS:
        run.exit_code = exit_code_of(said.exit_code, said.signal) or 1
        run.ended_by, run.config_due = said.reason, True


def exit_code_of(exit_code: int, signal: int) -> int:
    """As a shell has it: W&B's exit codes know no signals."""
    return exit_code or (_SIGNAL_BASE + signal if signal else 0)


def _change(values: dict[str, Any], items: Iterable[record_pb2.JsonItem]) -> None:
    for item in items:
        if item.removed:
            values.pop(item.key, None)
        else:
            values[item.key] = json.loads(item.json)


_FACTS = {"name": "displayName", "notes": "notes", "group": "groupName", "job_type": "jobType"}
_TAKERS: Mapping[int, tuple[Any, Callable[[CarriedRun, Any], None]]] = {
    Kind.CONFIG: (record_pb2.Config, _take_config),
    Kind.SUMMARY: (record_pb2.Summary, _take_summary),
    Kind.METRIC_DEFINITION: (record_pb2.MetricDefinition, _take_definition),
    Kind.RUN_INFO: (record_pb2.RunInfo, _take_info),
    Kind.EXIT: (record_pb2.Exit, _take_exit),
    Kind.LOSS: (record_pb2.Loss, _take_loss),
    Kind.ASSERTION: (record_pb2.Assertion, _take_assertion),
}

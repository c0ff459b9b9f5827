"""What a post changes: which lines are new, and the records that they become. Pure.

A row is known again by its step and its time, whatever the index of its line says: two processes
may count the same lines, and a file that is synced again begins at another index. The index alone
decides of lines that have no step or time, or are no rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import FLAG_STEP_WENT_DOWN
from kelt_server import facts
from kelt_server.wandb_api.batches import BatchBuilder, json_items
from kelt_server.wandb_api.history_lines import BadLine, HistoryLine, RowLine, Stamp
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.summaries import digest
from kelt_server.wandb_api.upserts import Upsert, info_of

_REASONS_MAX = 8
#: Of a client's id, whose first ones are a time.
_LABEL_CHARS = 8


def asked_steps(session: Session, post: Post, highest_step: int) -> tuple[int, int] | None:
    """The steps at which rows may be there already; None where all lines are surely new.

    Args:
        session: whose post it is.
        post: what came.
        highest_step: that any process of the name may have logged.
    """
    if _counts_alone(session):
        return None
    doubtful = [
        line.step
        for index, line in enumerate(post.lines, post.offset)
        if isinstance(line, RowLine)
        and line.stamp is not None
        and line.step is not None
        and (index < session.lines or line.step <= highest_step)
    ]
    return (min(doubtful), max(doubtful)) if doubtful else None


def new_lines(
    session: Session, post: Post, there: Collection[Stamp]
) -> tuple[list[HistoryLine], int]:
    """The lines that are not there yet, and how many were."""
    found: list[HistoryLine] = []
    repeated = 0
    taken: set[Stamp] = set()
    counts_alone = _counts_alone(session)
    for index, line in enumerate(post.lines, post.offset):
        stamp = line.stamp if isinstance(line, RowLine) and not counts_alone else None
        is_there = index < session.lines if stamp is None else stamp in there or stamp in taken
        if is_there:
            repeated += 1
        else:
            found.append(line)
        if stamp is not None:
            taken.add(stamp)
    return found, repeated


def _counts_alone(session: Session) -> bool:
    """Whether the index of a line says all: a writer of a shared run is known by its client's id.

    Others log the same steps at nearly the same time.
    """
    return session.is_shared and session.phase is Phase.OPEN


def says_something(session: Session, post: Post) -> bool:
    """Whether a session that was only announced has begun: not by output alone.

    A file that is synced again begins with that. A shared run's writer is known by its id.
    """
    if session.is_shared:
        return True
    return bool(post.lines or post.is_empty or post.faults or post.exit_code is not None)


def settled(session: Session, post: Post, there: Mapping[Stamp, str]) -> Session:
    """A session that was announced repeats an older one if its first lines do."""
    if session.phase is not Phase.ANNOUNCED:
        return session
    for line in post.lines:
        stamp = line.stamp if isinstance(line, RowLine) else None
        if stamp is not None and stamp in there:
            return replace(session, phase=Phase.REPEATING, branch_id=there[stamp])
    return session


def after_lines(session: Session, post: Post) -> Session:
    """The session with the line that comes next."""
    if not post.lines:
        return session
    end = post.offset + len(post.lines)
    lines = max(session.lines, end) if session.took_lines else end
    last_row = post.last_row or session.last_row
    return replace(session, lines=lines, took_lines=True, last_row=last_row)


def missing_lines(session: Session, post: Post) -> int:
    """How many lines the client counts that never came: only of a stream that is going on."""
    if not (session.took_lines and post.lines and session.has_writer):
        return 0
    return max(0, post.offset - session.lines)


def add_lines(
    builder: BatchBuilder, session: Session, lines: Iterable[HistoryLine], now: float
) -> Session:
    """Takes lines as rows; what cannot be one is counted as lost."""
    last_step = session.last_step
    lost: Counter[str] = Counter()
    for line in lines:
        if isinstance(line, BadLine):
            lost[line.reason] += 1
            continue
        step = last_step + 1 if line.step is None else line.step
        flags = FLAG_STEP_WENT_DOWN if step < last_step else 0
        timestamp = now if line.timestamp is None else line.timestamp
        if builder.add_row(line, (flags, step, timestamp)):
            last_step = max(last_step, step)
        else:
            lost[f"the row at step {step} takes more than 8 MiB"] += 1
        lost.update(f"of the row at step {step} was left out: {why}" for why in line.left_out)
    for number, (reason, rows) in enumerate(lost.items()):
        if number == _REASONS_MAX and len(lost) > _REASONS_MAX + 1:
            rest = sum(list(lost.values())[number:])
            builder.lose("other lines that cannot be kept", rows=rest)
            break
        builder.lose(reason, rows=rows)
    return replace(session, last_step=last_step)


def add_opening(builder: BatchBuilder, session: Session, sdk_version: str) -> None:
    """The first record of a writer: how its branch begins."""
    entity, project, run_id = session.name
    opened = record_pb2.RunOpened(
        entity=entity,
        project=project,
        run_id=run_id,
        branch_id=session.branch_id,
        started_at=session.started_at,
        host=record_pb2.Host(hostname=session.host, program=session.program),
        sdk_version=sdk_version,
    )
    point = record_pb2.BranchPoint(
        entity=entity,
        project=project,
        run_id=session.parent_run_id,
        branch_id=session.parent_branch_id,
        step=session.parent_step,
    )
    if session.origin == facts.FORKED:
        opened.forked.CopyFrom(point)
    elif session.origin == facts.REWOUND:
        opened.rewound.CopyFrom(point)
    elif session.origin == facts.RESUMED:
        opened.resumed.last_step = session.last_step_before
    else:
        opened.created.SetInParent()
    info = info_of(session.said.get("texts", {}), session.said.get("tags"))
    if session.origin != facts.RESUMED or info.ByteSize():
        opened.info.CopyFrom(info)
    if session.is_shared:
        opened.shared.label = session.label or session.client[-_LABEL_CHARS:]
    builder.add(Kind.RUN_OPENED, opened)


def add_or_lose(
    builder: BatchBuilder,
    kind: Kind,
    message: record_pb2.Config | record_pb2.Summary,
    what: str,
) -> None:
    """Takes a record, or says that it is too large to be one."""
    if not builder.add(kind, message):
        builder.lose(f"{what} that takes more than 8 MiB", rows=1)


def add_config(
    builder: BatchBuilder, session: Session, config: Mapping[str, Any] | None, now: float
) -> Session:
    """The values that this session has not said yet, and those that it takes back."""
    if config is None:
        return session
    digests = {key: digest(value) for key, value in config.items()}
    new = {k: v for k, v in config.items() if session.config.get(k) != digests[k]}
    removed = [key for key in session.config if key not in config]
    if new or removed:
        message = record_pb2.Config(items=json_items(new, removed), at=now)
        add_or_lose(builder, Kind.CONFIG, message, "a config")
    return replace(session, config=digests)


def add_definitions(
    builder: BatchBuilder, session: Session, said: Sequence[record_pb2.MetricDefinition]
) -> Session:
    """The definitions that this session has not said yet."""
    defined = dict(session.defined)
    for message in said:
        content = record_pb2.MetricDefinition()
        content.CopyFrom(message)
        content.step = 0
        known = digest(content.SerializeToString(deterministic=True).hex())
        if defined.get(message.name) != known:
            defined[message.name] = known
            builder.add(Kind.METRIC_DEFINITION, message)
    return replace(session, defined=defined)


def add_by_hand(builder: BatchBuilder, session: Session, values: Mapping[str, Any]) -> Session:
    """Summary values that the rows do not come to."""
    if not values:
        return session
    message = record_pb2.Summary(items=json_items(values), step=session.last_step)
    add_or_lose(builder, Kind.SUMMARY, message, "a summary")
    said = {key: digest(value) for key, value in values.items()}
    return replace(session, by_hand={**session.by_hand, **said})


def add_exit(builder: BatchBuilder, session: Session, exit_code: int, now: float) -> Session:
    """The goodbye."""
    builder.add(Kind.EXIT, record_pb2.Exit(exit_code=exit_code, at=now))
    return session.ended()


def add_assertions(
    builder: BatchBuilder, writer_ids: Iterable[str], state: record_pb2.Assertion.State, now: float
) -> None:
    """What is so of writers of a shared run that say nothing of it themselves."""
    for writer_id in writer_ids:
        said = record_pb2.Assertion(writer_id=bytes.fromhex(writer_id), state=state, at=now)
        builder.add(Kind.ASSERTION, said)


def merged_said(said: Mapping[str, Any], upsert: Upsert) -> dict[str, Any]:
    """What a session that has no writer yet was told, with what it is told now."""
    merged: dict[str, Any] = {**said}
    if upsert.config is not None:
        merged["config"] = dict(upsert.config)
        merged["m"] = upsert.internal.get("m", [])
    if upsert.texts:
        merged["texts"] = {**merged.get("texts", {}), **upsert.texts}
    if upsert.tags is not None:
        merged["tags"] = list(upsert.tags)
    return merged

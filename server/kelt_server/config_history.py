"""Config, as of when a branch was made, and what people see of a run. Pure.

A branch inherits the config that its parent had when the branch was made, and adds its own. Between
writers "when" is by the clocks of the hosts, within one writer by sequence number. A
continuation is the same run going on and inherits everything. Items are merged in the order of the
line of descent, then session, then sequence; the last of a key holds. Writers of a shared run set
values at the same time, so theirs are merged by the time at which they were set; so are those of a
session and of who tells it again (`retellings`).

Name, notes, group, job type and tags belong to a run id: a rewound or continued branch keeps them,
a fork begins with none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from kelt_server import facts
from kelt_server.facts import BranchFact, ConfigFact, InfoFact, SessionFact
from kelt_server.lineage import Line


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What people see of a run."""

    name: str = ""
    notes: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a writer comes among sessions. `retold_by` is empty but for who tells one again."""

    started_at: float
    session_id: bytes
    retold_by: bytes


def session_order(writer_id: bytes, sessions: Mapping[bytes, SessionFact]) -> Place:
    """The place of a writer among sessions: by time of start, then by id.

    Who tells a session again comes right behind it.
    """
    session = sessions.get(writer_id)
    retold = None if session is None else sessions.get(session.retells)
    if retold is not None and retold.writer_id != writer_id:
        return Place(retold.started_at, retold.writer_id, writer_id)
    return Place(0.0 if session is None else session.started_at, writer_id, b"")


def resolve_config(
    line: Line,
    *,
    items: Mapping[str, Sequence[ConfigFact]],
    sessions: Mapping[bytes, SessionFact],
) -> dict[str, Any]:
    """The config of a branch; `items` are by branch."""
    config: dict[str, Any] = {}
    for branch_id, limits in _limits(line):
        own = [item for item in items.get(branch_id, ()) if _is_inherited(item, limits)]
        merged = _merged(own, sessions)
        for item, value in zip(merged, _values(merged), strict=True):
            if item.removed:
                config.pop(item.key, None)
            else:
                config[item.key] = value
    return config


def _values(items: Sequence[ConfigFact]) -> list[Any]:
    """What the items were set to, None for removed ones. In one call, as each is JSON alone."""
    texts = ["null" if item.removed else item.json for item in items]
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    return values


def _merged(
    items: Sequence[ConfigFact], sessions: Mapping[bytes, SessionFact]
) -> Sequence[ConfigFact]:
    """By session and sequence; of shared writers by time, which never goes back in one writer."""
    if len({item.writer_id for item in items}) <= 1:
        return sorted(items, key=_by_sequence)
    placed: list[tuple[tuple[Any, ...], ConfigFact]] = []
    latest: dict[bytes, float] = {}
    orders = {item.writer_id: session_order(item.writer_id, sessions) for item in items}
    retold = {session_id for _, session_id, again in orders.values() if again}
    for item in sorted(items, key=lambda i: (i.writer_id, *_by_sequence(i))):
        session = sessions.get(item.writer_id)
        at, session_id, again = orders[item.writer_id]
        if session is not None and session.is_shared:
            at = latest[item.writer_id] = max(item.at, latest.get(item.writer_id, item.at))
        set_at = item.at if session_id in retold else 0.0
        placed.append(((at, session_id, set_at, again, item.seq, item.index), item))
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


_by_sequence = attrgetter("seq", "index")


def resolve_info(
    line: Line, *, infos: Mapping[str, Sequence[InfoFact]], sessions: Mapping[bytes, SessionFact]
) -> RunInfo:
    """What people see of the run that a branch belongs to."""
    chain = [line.branch.branch_id]
    for ancestor in line.ancestors:
        if ancestor.child.kind == facts.FORKED:
            break
        chain.append(ancestor.branch_id)
    values: dict[str, Any] = {}
    for branch_id in reversed(chain):
        own = infos.get(branch_id, ())
        for info in sorted(own, key=lambda i: (*session_order(i.writer_id, sessions), i.seq)):
            for field in ("name", "notes", "group", "job_type"):
                if getattr(info, field) is not None:
                    values[field] = getattr(info, field)
            if info.tags is not None:
                values["tags"] = tuple(json.loads(info.tags))
    return RunInfo(**values)


def _limits(line: Line) -> Iterable[tuple[str, list[BranchFact]]]:
    """The branches from the root on, each with the branchings that its items must precede."""
    limits: list[BranchFact] = []
    found = [(line.branch.branch_id, list(limits))]
    for ancestor in line.ancestors:
        if ancestor.child.kind not in facts.GOING_ON:
            limits.append(ancestor.child)
        found.append((ancestor.branch_id, list(limits)))
    return reversed(found)


def _is_inherited(item: ConfigFact, limits: Iterable[BranchFact]) -> bool:
    for child in limits:
        if item.writer_id == child.writer_id:
            if item.seq > child.seq:
                return False
        elif item.at > child.made_at:
            return False
    return True

"""Which runs must be at W&B before another can begin there: pure.

W&B copies a parent's history when the child is made, and gives a session the lines that follow
those of the session before it. So a parent goes before its children, and the sessions of one run go
one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kelt_proto.v1.record_pb2 import BranchPoint, RunOpened


@dataclass(frozen=True, kw_only=True)
class QueuedRun:
    """A run folder that goes to the same server.

    Attributes:
        writer_id: the trainer's.
        writers: all whose records are in its journal.
        home: where progress is kept.
        is_through: whether it is over and the server has all of it.
        is_held: whether it waits for `kelt sync`.
        problem: why it cannot be sent.
    """

    writer_id: bytes
    writers: Collection[bytes]
    home: Path
    entity: str
    project: str
    run_id: str
    branch_id: str
    started_at: float
    is_through: bool
    is_held: bool
    problem: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.project}/{self.run_id}"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A run that has to go first: as far as `through_step`, or wholly."""

    run: QueuedRun
    through_step: int | None


def predecessors(
    opened: RunOpened, me: QueuedRun, queue: Iterable[QueuedRun], *, default_entity: str
) -> Iterator[Predecessor]:
    """What a session that opens must wait for, of what is still on its way.

    The writers of a shared run wait for nobody: W&B keeps them apart by themselves.
    """
    if opened.HasField("shared"):
        return
    origin = opened.WhichOneof("origin")
    point = getattr(opened, origin) if origin in {"forked", "rewound"} else None
    for other in queue:
        if other.writer_id == me.writer_id or other.is_through:
            continue
        is_same = _key(other, default_entity) == _key(me, default_entity)
        is_earlier = (other.started_at, other.writer_id) < (me.started_at, me.writer_id)
        if is_same and is_earlier:
            yield Predecessor(other, None)
        elif not is_same and point is not None and _is_of(other, point, me, default_entity):
            yield Predecessor(other, point.step)


def _is_of(other: QueuedRun, point: BranchPoint, me: QueuedRun, default_entity: str) -> bool:
    if point.branch_id and point.branch_id == other.branch_id:
        return True
    wanted = (
        point.entity or me.entity or default_entity,
        point.project or me.project,
        point.run_id,
    )
    return _key(other, default_entity) == wanted


def _key(run: QueuedRun, default_entity: str) -> tuple[str, str, str]:
    return run.entity or default_entity, run.project, run.run_id

"""Which runs must be at W&B before another can begin there: pure.

W&B copies a parent's history when the child is made, drops what a rewind archives, and gives a
session the lines that follow those of the session before it. So a parent goes before its children,
its children before it goes back, and the sessions of one run go one after the other. Several
sessions may write one branch: a child goes as soon as one of them has come to its point.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kelt_proto.v1.record_pb2 import BranchPoint, RunOpened

if TYPE_CHECKING:
    # What that stands on a daemon without a W&B upstream need not have.
    from kelt_daemon.upstream.wandb.carried_run import CarriedRun


def _nothing() -> None:
    """For a run that nobody else waits for."""


@dataclass(frozen=True, kw_only=True)
class QueuedRun:
    """A run folder that goes to the same server.

    Attributes:
        writer_id: the trainer's.
        writers: all whose records are in its journal.
        folder: the run folder.
        home: where progress is kept: that, unless it is a copy.
        is_through: whether it is over and the server has all of it but artifacts perhaps.
        is_held: whether it waits for `kelt sync`.
        has_artifacts: whether artifacts of it wait.
        problem: why it cannot be sent.
        hurry: has it sent without gathering more.
        nudge: has it tried again now.
    """

    writer_id: bytes
    writers: Collection[bytes]
    folder: Path
    home: Path
    entity: str
    project: str
    run_id: str
    branch_id: str
    started_at: float
    is_through: bool
    is_held: bool
    has_artifacts: bool = False
    problem: str = ""
    hurry: Callable[[], None] = field(default=_nothing, compare=False)
    nudge: Callable[[], None] = field(default=_nothing, compare=False)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.project}/{self.run_id}"

    @property
    def is_stuck(self) -> bool:
        """Whether it cannot be sent before somebody does something."""
        return self.is_held or bool(self.problem)


class RunQueue(Protocol):
    """The run folders that go to one server, thousands perhaps: whoever can asks for some alone."""

    def __iter__(self) -> Iterator[QueuedRun]:
        """All of them."""

    def of(self, writer_ids: Collection[bytes]) -> list[QueuedRun]:
        """Those in which one of these writes."""


def sessions_before(
    opened: RunOpened, me: QueuedRun, queue: Iterable[QueuedRun], *, default_entity: str
) -> Iterator[QueuedRun]:
    """Sessions of the same run that have to end before this one begins.

    The writers of a shared run wait for nobody: W&B keeps them apart by themselves. A new run of an
    old name waits for those before it so that its own lines are the ones that stay, but not for
    what cannot be sent now.
    """
    if opened.HasField("shared"):
        return
    for other in queue:
        is_same = _key(other, default_entity) == _key(me, default_entity)
        if not (is_same and _is_earlier(other, me)) or other.is_through:
            continue
        if not (opened.HasField("created") and other.is_stuck):
            yield other


def files_before(
    me: QueuedRun, queue: Iterable[QueuedRun], *, default_entity: str
) -> Iterator[QueuedRun]:
    """Sessions of the same run whose files, of the same names perhaps, go before those of `me`."""
    for other in queue:
        is_same = _key(other, default_entity) == _key(me, default_entity)
        if is_same and _is_earlier(other, me) and not (other.is_through or other.is_stuck):
            yield other


def artifacts_before(
    me: QueuedRun, queue: Iterable[QueuedRun], *, default_entity: str
) -> Iterator[QueuedRun]:
    """Sessions of the same run whose artifacts are the earlier versions."""
    for other in queue:
        is_same = _key(other, default_entity) == _key(me, default_entity)
        if is_same and _is_earlier(other, me) and other.has_artifacts and not other.is_stuck:
            yield other


def parents(
    point: BranchPoint, me: QueuedRun, queue: Iterable[QueuedRun], *, default_entity: str
) -> Iterator[QueuedRun]:
    """Sessions that may have logged, or are to log, what a fork inherits up to a point."""
    target = _target(point, me, default_entity)
    for other in queue:
        if _key(other, default_entity) == _key(me, default_entity):
            continue
        is_named = _is_earlier(other, me) and _key(other, default_entity) == target
        if is_named or (point.branch_id and point.branch_id == other.branch_id):
            yield other


def has_reached(run: CarriedRun, point: BranchPoint) -> bool:
    """Whether W&B has a run's history up to a point, as far as it will ever have it."""
    if point.branch_id and run.branches:
        if point.branch_id in run.branches[:-1]:
            return True  # it has gone back since: nothing more of that branch comes
        if point.branch_id != run.branches[-1]:
            return False
    last = run.last_line
    is_open = last is not None and not last.is_posted and last.step <= point.step
    return run.last_step >= point.step and not is_open


def may_inherit(other: QueuedRun, me: QueuedRun, *, before_at: float, default_entity: str) -> bool:
    """Whether a run may be a fork of what another had before it went back."""
    is_near = _key(other, default_entity)[:2] == _key(me, default_entity)[:2]
    is_on_its_way = not (other.is_through or other.is_stuck)
    return is_near and is_on_its_way and other.started_at < before_at


def inherits(
    opened: RunOpened, other: QueuedRun, me: QueuedRun, *, beyond_step: int, default_entity: str
) -> bool:
    """Whether it is one, of something that goes."""
    point = opened.forked
    is_mine = _target(point, other, default_entity) == _key(me, default_entity)
    return opened.HasField("forked") and is_mine and point.step > beyond_step


def _is_earlier(other: QueuedRun, me: QueuedRun) -> bool:
    return (other.started_at, other.writer_id) < (me.started_at, me.writer_id)


def _target(point: BranchPoint, child: QueuedRun, default_entity: str) -> tuple[str, str, str]:
    entity = point.entity or child.entity or default_entity
    return entity, point.project or child.project, point.run_id


def _key(run: QueuedRun, default_entity: str) -> tuple[str, str, str]:
    return run.entity or default_entity, run.project, run.run_id

"""Has runs wait for each other, by what W&B has of them (`ordering`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kelt_daemon.errors import NotYetError, RunRefusedError
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.ordering import (
    QueuedRun,
    RunQueue,
    artifacts_before,
    files_before,
    has_reached,
    inherits,
    may_inherit,
    parents,
    sessions_before,
)
from kelt_proto.v1.record_pb2 import BranchPoint, RunOpened


class Turns:
    """Who may go at one server.

    Args:
        queue: the run folders that go there.
        kept: what the server has acknowledged of one.
        look: finds run folders that were made since they were looked for last.
    """

    def __init__(
        self,
        *,
        queue: RunQueue,
        kept: Callable[[QueuedRun], Awaitable[CarriedRun]],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._queue = queue
        self._look = look
        self._kept = kept
        #: Of those that have tried to begin.
        self._opened: dict[bytes, RunOpened] = {}
        #: By whom they wait for.
        self._waiting: dict[bytes, dict[bytes, QueuedRun]] = {}
        self.default_entity = ""

    async def wait_turn(self, me: QueuedRun, opened: RunOpened) -> None:
        """For a session to begin.

        Raises:
            NotYetError: somebody who has to go first is on the way.
            RunRefusedError: such a one cannot be sent.
        """
        if me.writer_id not in self._opened:
            # What it follows on lay there before it, though it may be noticed after it.
            await self._look()
        self._opened[me.writer_id] = opened
        self.advanced(me.writer_id)
        entity = self.default_entity
        for before in list(sessions_before(opened, me, self._queue, default_entity=entity)):
            # Of one that has ended there, no more than files are left: those are not waited for.
            if not (await self._kept(before)).is_completed:
                self._hold(me, before)
        if opened.HasField("forked") and not opened.HasField("shared"):
            await self._wait_parents(me, opened.forked)
        if opened.HasField("rewound"):
            await self.wait_children(me, opened.rewound.step, opened.started_at)

    async def _wait_parents(self, me: QueuedRun, point: BranchPoint) -> None:
        missing: list[QueuedRun] = []
        found = parents(point, me, self._queue, default_entity=self.default_entity)
        for parent in list(found):
            if not has_reached(await self._kept(parent), point):
                missing += [] if parent.is_through else [parent]
            elif point.branch_id:
                return
        if missing:
            self._hold(me, next((one for one in missing if not one.is_stuck), missing[0]))

    async def wait_files(self, me: QueuedRun) -> None:
        """For the files of a session to go.

        Raises:
            NotYetError: a session before it has files that did not go yet.
        """
        for before in list(files_before(me, self._queue, default_entity=self.default_entity)):
            if (await self._kept(before)).files:
                self._await(before, me)
                raise NotYetError(f"Files of {me.name} wait for those of its session before.")

    async def wait_artifacts(self, me: QueuedRun) -> CarriedRun:
        """For the artifacts of a session to go: it has begun. Returns it as it is there.

        Raises:
            NotYetError: it has not, which it says itself; or those of a session before it wait.
        """
        run = await self._kept(me)
        if not run.is_begun:
            self._await(me, me)
            run = await self._kept(me)  # it may have begun before that
        if not run.is_begun:
            raise NotYetError("")
        before = artifacts_before(me, self._queue, default_entity=self.default_entity)
        if not run.is_shared and (first := next(before, None)) is not None:
            self._await(first, me)
            raise NotYetError(f"Artifacts of {me.name} wait for those of its session before.")
        return run

    def _hold(self, me: QueuedRun, other: QueuedRun) -> None:
        """Raises: `other` goes before `me`."""
        if other.is_stuck:
            reason = other.problem or "it waits for `kelt sync`"
            raise RunRefusedError(
                f"{me.name} follows on {other.name}, which cannot be sent before it ({reason})."
            )
        self._await(other, me)
        raise NotYetError(f"{me.name} waits until {other.name}, on which it follows, is sent.")

    def advanced(self, writer_id: bytes) -> None:
        """More is known, or at the server, of a run: those that wait for it try again."""
        for run in self._waiting.pop(writer_id, {}).values():
            run.nudge()

    def _await(self, other: QueuedRun, me: QueuedRun) -> None:
        self._waiting.setdefault(other.writer_id, {})[me.writer_id] = me
        other.hurry()

    async def wait_children(self, me: QueuedRun, step: int, at: float) -> None:
        """For a run to go back to a step, which it did at that time.

        Raises:
            NotYetError: a fork of what goes may be on the way.
        """
        await self._look()  # the folder of a fork lay there before its parent went back
        for other in list(self._queue):
            entity = self.default_entity
            if not may_inherit(other, me, before_at=at, default_entity=entity):
                continue
            if other.writer_id == me.writer_id or (await self._kept(other)).is_begun:
                continue
            opened = self._opened.get(other.writer_id)
            if opened is None or inherits(
                opened, other, me, beyond_step=step, default_entity=entity
            ):
                self._await(other, me)
                raise NotYetError(
                    f"{me.name} goes back once {other.name} has what it may inherit of it."
                )

"""Has runs wait for each other, by what W&B has of them (`ordering`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from kelt_daemon.errors import NotYetError, RunRefusedError
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.ordering import (
    QueuedRun,
    has_reached,
    inherits,
    may_inherit,
    predecessors,
)
from kelt_proto.v1.record_pb2 import RunOpened


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
        queue: Callable[[], Iterable[QueuedRun]],
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
        self._opened[me.writer_id] = opened
        self.advanced(me.writer_id)
        queue = list(self._queue())
        for before in predecessors(opened, me, queue, default_entity=self.default_entity):
            other, point = before.run, before.point
            kept = await self._kept(other)
            # Of one that has ended there, no more than files are left: those are not waited for.
            if kept.is_completed if point is None else has_reached(kept, point):
                continue
            if other.is_stuck:
                reason = other.problem or "it waits for `kelt sync`"
                raise RunRefusedError(
                    f"{me.name} follows on {other.name}, which cannot be sent before it ({reason})."
                )
            self._await(other, me)
            raise NotYetError(f"{me.name} waits until {other.name}, on which it follows, is sent.")
        if opened.HasField("rewound"):
            await self.wait_children(me, opened.rewound.step, opened.started_at)

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
        for other in list(self._queue()):
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

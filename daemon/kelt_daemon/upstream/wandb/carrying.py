"""Carries chapters of one run to W&B: asks, posts, and keeps what was answered.

Progress is kept after the session began and after each chapter. Whatever is raised in between
leaves the run in memory ahead of what W&B has said: it is to be dropped then.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from kelt_daemon.errors import OverloadedError, RejectedDataError, RunRefusedError
from kelt_daemon.host import InThread
from kelt_daemon.upstream.wandb import requests
from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.chapters import Chapter, Record
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.folding import (
    Folded,
    closed,
    fold,
    open_session,
    turn_back,
)
from kelt_daemon.upstream.wandb.replies import (
    UNREADABLE,
    read_standing,
    take_rewound,
    take_standing,
    take_upserted,
)
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Rewind, RunOpened

#: What no config is in.
_BULK = frozenset((Kind.ROW, Kind.CONSOLE, Kind.SYSTEM, Kind.FILE_PIECE))


class Speaker(Protocol):
    """What is needed of the server; see `Talk`."""

    async def ask(self, question: requests.Question) -> dict[str, Any]:
        """A GraphQL answer's data."""

    async def stream(self, run: CarriedRun, body: dict[str, Any]) -> None:
        """Posts to a run's `file_stream`."""


class Carrier:
    """The way of one run's chapters.

    Args:
        run: as far as it is.
        fallback: what is known of its session where its first record was lost.
        speaker: the server.
        wait_turn: raises unless those before it are at the server.
        wait_children: raises unless those have begun that inherit what a rewind drops.
        store: puts down what becomes files.
        room: how much of them there may be.
        keep: makes `run` as it stands durable.
        in_thread: does work that blocks.
    """

    def __init__(
        self,
        *,
        run: CarriedRun,
        fallback: RunOpened,
        speaker: Speaker,
        wait_turn: Callable[[RunOpened], Awaitable[None]],
        wait_children: Callable[[int, float], Awaitable[None]],
        store: Callable[[Folded], Awaitable[None]],
        room: FileRoom,
        keep: Callable[[], Awaitable[None]],
        in_thread: InThread,
    ) -> None:
        self._run = run
        self._room = room
        self._fallback = fallback
        self._speaker = speaker
        self._wait_turn = wait_turn
        self._wait_children = wait_children
        self._store = store
        self._keep = keep
        self._in_thread = in_thread
        #: The config of the last upsert: what is the same is not sent again.
        self._told = ""

    async def carry(self, chapter: Chapter) -> bool:
        """Returns once the server has it; False where a file in it found no room.

        Raises:
            UpstreamError: it has not.
        """
        run, opening = self._run, chapter.opening
        if opening is not None and opening.kind == Kind.REWIND:
            await self._turn_back(opening, chapter)
        elif opening is not None:
            await self._open(self._opened(opening), chapter, seq=opening.seq)
        elif not run.is_begun and any(r.writer_id == run.writer_id for r in chapter.records):
            await self._open(self._fallback, chapter, seq=0)
        folded = await self._in_thread(fold, run, chapter.records, self._room)
        if run.is_begun:
            await self._tell(folded)
        await self._store(folded)
        await self._keep()
        return not folded.is_cut

    async def tell_config(self) -> None:
        """What the server lacks of it, if anything."""
        if self._run.is_begun and self._run.config_due:
            await self._tell(Folded())
            await self._keep()

    async def tell_end(self, uploaded: Sequence[str]) -> None:
        """That the run has ended, if it has, behind everything else; and which files are there."""
        run = self._run
        if not run.is_begun or run.exit_code is None or run.is_completed:
            return
        if run.tells_end:
            await self._speaker.stream(run, requests.completion(run.exit_code, uploaded))
        run.is_completed = True
        await self._keep()

    def _opened(self, record: Record) -> RunOpened:
        try:
            return RunOpened.FromString(bytes(record.payload))
        except DecodeError:
            return self._fallback

    async def _open(self, opened: RunOpened, chapter: Chapter, *, seq: int) -> None:
        """Begins the session."""
        run = self._run
        await self._wait_turn(opened)
        open_session(run, opened)
        origin = opened.WhichOneof("origin")
        if origin == "resumed" and not run.is_shared:
            await self._take_up(is_relative=opened.resumed.point_unknown)
        elif origin == "forked":
            run.branch_point = {"run_id": opened.forked.run_id, "step": opened.forked.step}
        elif origin == "rewound":
            run.branch_point = {"run_id": run.run_id, "step": opened.rewound.step}
            await self._rewind(opened.rewound.step, is_ours=run.is_rewinding)
        await self._begin(chapter, seq=seq, inherits=origin == "forked")

    async def _turn_back(self, opening: Record, chapter: Chapter) -> None:
        """In mid-session: what was logged before is posted, and inherited, before it goes."""
        run = self._run
        try:
            rewind = Rewind.FromString(bytes(opening.payload))
        except DecodeError as error:
            raise RejectedDataError(f"a rewind that cannot be read: {error}") from error
        await self._post_all(closed(run))
        await self._keep()
        await self._wait_children(rewind.point.step, rewind.at)
        await self._rewind(rewind.point.step, is_ours=True)
        turn_back(run, rewind)
        run.is_begun = False
        await self._begin(chapter, seq=opening.seq, inherits=False)

    async def _begin(self, chapter: Chapter, *, seq: int, inherits: bool) -> None:
        """The first upsert, with the config that came at once."""
        run = self._run
        coming = copy.deepcopy(run)
        few = [record for record in chapter.records if record.kind not in _BULK]
        fold(coming, few, self._room)
        data = await self._ask(requests.upsert(coming))
        self._read(lambda: take_upserted(run, data, inherits=inherits))
        run.folded[run.writer_id] = max(seq, run.folded.get(run.writer_id, 0))
        run.config_due = True
        await self._keep()

    async def _take_up(self, *, is_relative: bool) -> None:
        run = self._run
        data = await self._ask(requests.status(run.entity, run.project, run.run_id))
        standing = self._read(lambda: read_standing(data))
        if standing is not None:
            take_standing(run, standing, is_relative=is_relative)

    async def _rewind(self, step: int, *, is_ours: bool) -> None:
        """Goes back.

        W&B may do so in runs that have ended alone. One that goes on in this session ends for a
        moment; so does one that went back before, should the answer to that have been lost.
        """
        run, question = self._run, requests.rewind(self._run, step)
        run.is_rewinding = True
        await self._keep()
        try:
            data = await self._ask(question)
        except RunRefusedError:
            if not is_ours:
                run.is_rewinding = False
                await self._keep()
                raise
            await self._speaker.stream(run, requests.completion(0))
            data = await self._ask(question)
        self._read(lambda: take_rewound(run, data))
        run.is_rewinding = False

    async def _tell(self, folded: Folded) -> None:
        """What was folded, and what the server lacks beside it."""
        run = self._run
        question = requests.upsert(run)
        if run.facts_due or (run.config_due and question.variables["config"] != self._told):
            data = await self._ask(question)
            self._read(lambda: take_upserted(run, data, inherits=False))
        run.config_due = False
        await self._post_all(folded)

    async def _post_all(self, folded: Folded) -> None:
        run = self._run
        for body in requests.posts(run, folded):
            run.is_completed = run.has_made_files = False  # whoever posts goes on
            await self._speaker.stream(run, body)
        run.summary_due = False

    async def _ask(self, question: requests.Question) -> dict[str, Any]:
        data = await self._speaker.ask(question)
        self._told = question.variables.get("config", self._told)
        return data

    @staticmethod
    def _read(take: Callable[[], Any]) -> Any:
        try:
            return take()
        except UNREADABLE as error:
            raise OverloadedError(
                f"W&B's answer cannot be read ({type(error).__name__}: {error}); it is asked again."
            ) from error

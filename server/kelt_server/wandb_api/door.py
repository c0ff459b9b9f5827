"""Takes what clients say and post, one thing at a time for each run's name, or shared run's writer.

All of it goes the way of a daemon's pushes: records of a writer, committed by the `Committer`. What
is about to be committed is written down first, with the session as it will then be, so that a
commit that fails half way is sent again exactly as it was, by whoever comes next or after a start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from kelt_proto.v1.frames import Kind
from kelt_server.branch_names import Name
from kelt_server.counters import Counters
from kelt_server.errors import RunDeletedError
from kelt_server.ingest.committer import Committer
from kelt_server.reader import RunReader
from kelt_server.wandb_api import addressing, announcing, deciding
from kelt_server.wandb_api.editing import Editor
from kelt_server.wandb_api.keeping import SessionKeeper, builder_for
from kelt_server.wandb_api.lookups import Lookups
from kelt_server.wandb_api.opening import Opener
from kelt_server.wandb_api.outputs import Outputs
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.taking import PostTaker
from kelt_server.wandb_api.upserts import Upsert, definitions, info_of, rewinding

#: Names of which it is remembered that somebody is about to resume them, and for how long.
_RESUMING_MAX = 2000
_RESUMING_S = 120.0
#: Sessions of the writers of a shared run that are waited for, before it is deleted.
_ALONE_MAX = 500


class Door:
    """Mutable state: who is about to resume.

    Args:
        table: of sessions.
        committer: commits what is said.
        reader: reads runs.
        clock: the time of day.
        counters: of the server.
        times_deleted: how often the run of a name was deleted.
        is_stopped: whether a writer's process was asked to stop.
    """

    def __init__(
        self,
        *,
        table: SessionTable,
        committer: Committer,
        reader: RunReader,
        clock: Callable[[], float],
        counters: Counters,
        default_entity: str,
        times_deleted: Callable[[Name], int] = lambda _name: 0,
        is_stopped: Callable[[bytes], bool] = lambda _writer_id: False,
    ) -> None:
        self._times_deleted = times_deleted
        self._is_stopped = is_stopped
        self._kept = SessionKeeper(table=table, committer=committer, clock=clock)
        self._lookups = Lookups(reader=reader, ask=self._kept.read)
        self._opener = Opener(lookups=self._lookups, clock=clock, default_entity=default_entity)
        self._editor = Editor(lookups=self._lookups, committer=committer, clock=clock)
        self._taker = PostTaker(
            kept=self._kept,
            lookups=self._lookups,
            opener=self._opener,
            outputs=Outputs(kept=self._kept, reader=reader),
            clock=clock,
            counters=counters,
        )
        self._clock = clock
        self._resuming: OrderedDict[Name, float] = OrderedDict()
        self._counters = counters

    def expect_resume(self, name: Name) -> None:
        """Somebody asked how a run stands, to go on with it.

        Clients before 0.18 do not say so again when they begin. Kept in memory alone.
        """
        self._resuming[name] = self._clock()
        while len(self._resuming) > _RESUMING_MAX:
            self._resuming.popitem(last=False)

    async def upsert(self, name: Name, said: Upsert, client: str = "") -> int:
        """A session begins or says more of its run; returns the index of the line to begin with.

        Args:
            name: of the run.
            said: what is said.
            client: which of the writers of a shared run says it; empty of others.

        Raises:
            StoreError, BusyError: it is to be said again later.
            RunDeletedError: the run of which it says more was deleted.
        """
        async with self._kept.turn(name, client):
            sessions = await self._sessions(name, client)
            if not sessions and not said.is_beginning:
                self._check_not_deleted(name)
            if said.is_beginning or not sessions:
                lines = await self._begin(name, said, sessions, client)
            else:
                lines = await self._change(addressing.teller(said, sessions), said)
        await self._kept.sweep()
        return lines

    async def rewind(self, name: Name, step: int) -> None:
        """A client is about to go on with a run from an earlier step.

        From 0.20 on it then says so again as it begins; before, this is the beginning.

        Raises:
            StoreError, BusyError: it is to be said again later.
        """
        said = rewinding(name, step)
        async with self._kept.turn(name, ""):
            sessions = await self._kept.ordinary(name)
            before = sessions[0] if sessions else None
            session, _ = await self._opener.announced(name, said, before, "")
            await self._kept.displace(session, sessions)

    async def edit(self, name: Name, said: Upsert, by_hand: Mapping[str, Any] | None) -> None:
        """Somebody changes a run that need not live: see `Editor`."""
        async with self._kept.turn(name, ""):  # so that it is not deleted meanwhile
            await self._editor.edit(name, said, by_hand)

    async def take(self, name: Name, post: Post, client: str = "") -> bool:
        """Takes a post; when this returns it is committed. Returns whether the client is to stop.

        Raises:
            StoreError, BusyError: it is to be posted again later.
            RunDeletedError: the run was deleted, and nobody has begun another of its name.
        """
        self._counters.wandb_lines_dropped += post.lines_elsewhere
        async with self._kept.turn(name, client):
            sessions = await self._sessions(name, client)
            if not sessions:
                self._check_not_deleted(name)
                sessions = [await self._opener.unannounced(name, post, client)]
            session = addressing.addressee(post, sessions)
            must_stop = self._is_stopped(bytes.fromhex(session.writer_id))
            await self._taker.take(session, sessions, post)
            return must_stop

    @asynccontextmanager
    async def alone_with(self, name: Name) -> AsyncIterator[frozenset[bytes]]:
        """Nothing of a run is taken meanwhile, and what was before is committed.

        Writers of a shared run that have a session by then are waited for; one that comes later
        begins a run of its own.

        Yields:
            The writers of the clients' sessions that have not ended.

        Raises:
            StoreError, BusyError: not now.
        """
        async with AsyncExitStack() as turns:
            await turns.enter_async_context(self._kept.turn(name, ""))
            sessions = await self._kept.ordinary(name)
            shared = [s for s in await self._kept.shared(name) if s.phase is not Phase.ENDED]
            for client in sorted(session.client for session in shared[:_ALONE_MAX]):
                await turns.enter_async_context(self._kept.turn(name, client))
                with suppress(RunDeletedError):  # what a deletion before has overtaken
                    session = await self._kept.load(name, client)
                    sessions += [] if session is None else [session]
            alive = (*sessions, *shared[_ALONE_MAX:])
            yield frozenset(
                bytes.fromhex(session.writer_id)
                for session in alive
                if session.phase is not Phase.ENDED
            )

    async def check_begun(self, name: Name) -> None:
        """Whether something beside its rows may come: not of a run that was deleted.

        Raises:
            RunDeletedError: it was, and nobody has begun another of its name.
        """
        if not self._times_deleted(name):
            return
        async with self._kept.turn(name, ""):
            if await self._kept.ordinary(name) or await self._kept.shared(name):
                return
            standing, _, _ = await self._lookups.standing(name, None, counts_rows=False)
            if not standing.branch_id:
                self._check_not_deleted(name)

    def _check_not_deleted(self, name: Name) -> None:
        if self._times_deleted(name):
            raise RunDeletedError(
                f"the run {'/'.join(name)} was deleted; what it wrote meanwhile is in its folder "
                "on its host, and a new run may have its id"
            )

    async def _sessions(self, name: Name, client: str) -> list[Session]:
        """Those that may be meant, the latest first; of a shared run's writer it is its own."""
        if not client:
            return await self._kept.ordinary(name)
        session = await self._kept.load(name, client)
        return [] if session is None else [session]

    # -- beginnings -----------------------------------------------------------------------------

    async def _begin(
        self, name: Name, said: Upsert, sessions: Sequence[Session], client: str
    ) -> int:
        asked_at = self._resuming.pop(name, -_RESUMING_S)
        if said.asks_before_it_resumes and not said.storage_id and said.point is None:
            is_resuming = self._clock() - asked_at < _RESUMING_S
            said = replace(said, storage_id="asked before" if is_resuming else "")
        before = sessions[0] if sessions else None
        if before is not None and announcing.is_asked_again(before, said):
            await self._change(before, said)
            return before.lines
        session, is_opened = await self._opener.announced(name, said, before, client)
        await self._kept.displace(session, [] if client else sessions)
        if is_opened:
            builder = builder_for(session)
            await self._kept.commit(await self._opener.opened(session, builder), builder)
        return session.lines

    async def _change(self, session: Session, said: Upsert) -> int:
        session = replace(session, signs=tuple(dict.fromkeys([*session.signs, *said.signs])))
        if session.phase in (Phase.ANNOUNCED, Phase.REPEATING):
            session = replace(session, said=deciding.merged_said(session.said, said))
            await self._kept.save(session)
            return session.lines
        builder = builder_for(session)
        info = info_of(said.texts, said.tags)
        if info.ListFields():
            builder.add(Kind.RUN_INFO, info)
        session = deciding.add_config(builder, session, said.config, self._clock())
        defined = list(definitions(said.internal, session.last_step))
        session = deciding.add_definitions(builder, session, defined)
        await self._kept.commit(session, builder)
        return session.lines

"""Takes what clients say and post, one thing at a time for each run's name.

All of it goes the way of a daemon's pushes: records of a writer, committed by the `Committer`. What
is about to be committed is written down first, with the session as it will then be, so that a
commit that fails half way is sent again exactly as it was, by whoever comes next or after a start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotFoundError, RunDeletedError
from kelt_server.histories import Standing
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import Counters
from kelt_server.liveness import CRASHED, RUNNING
from kelt_server.reader import RunReader
from kelt_server.run_view import RunView
from kelt_server.wandb_api import announcing, deciding, summaries
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine
from kelt_server.wandb_api.keeping import SessionKeeper, builder_for
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.upserts import Upsert, definitions, info_of

#: Names of which it is remembered that somebody is about to resume them.
_RESUMING_MAX = 2000
_FAULTS_MAX = 100
_SDK_VERSION = "wandb"


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
        times_deleted: Callable[[Name], int] = lambda _name: 0,
        is_stopped: Callable[[bytes], bool] = lambda _writer_id: False,
    ) -> None:
        self._times_deleted = times_deleted
        self._is_stopped = is_stopped
        self._kept = SessionKeeper(table=table, committer=committer, clock=clock)
        self._reader = reader
        self._clock = clock
        self._resuming: OrderedDict[Name, None] = OrderedDict()
        self._counters = counters

    def expect_resume(self, name: Name) -> None:
        """Somebody asked how a run stands, to go on with it.

        Clients before 0.17 do not say so again when they begin. Kept in memory alone.
        """
        self._resuming[name] = None
        while len(self._resuming) > _RESUMING_MAX:
            self._resuming.popitem(last=False)

    async def upsert(self, name: Name, said: Upsert) -> int:
        """A session begins or says more of its run; returns the index of the line to begin with.

        Raises:
            StoreError, BusyError: it is to be said again later.
            RunDeletedError: the run of which it says more was deleted.
        """
        async with self._kept.turn(name):
            session = await self._kept.load(name)
            if session is None and not said.is_beginning:
                self._check_not_deleted(name)
            if said.is_beginning or session is None:
                return await self._begin(name, said, session)
            return await self._change(session, said)

    async def edit(self, name: Name, said: Upsert, by_hand: Mapping[str, Any] | None) -> None:
        """Somebody changes a run that need not live.

        Raises:
            BadRequestError: the run did not come through this door.
        """
        async with self._kept.turn(name):
            session = await self._kept.load(name)
            if session is None or not session.has_writer:
                raise BadRequestError(
                    f"{name[2]} was not written by a wandb client, so none can change it"
                )
            builder = builder_for(session)
            self._add_info(builder, said)
            session = deciding.add_config(builder, session, said.config, self._clock())
            if by_hand is not None:
                view = await self._view(session.branch_id)
                values, _ = summaries.values_of(by_hand)
                resolved = {} if view is None else view.summary
                new = summaries.differing(values, resolved)
                session = deciding.add_by_hand(builder, session, new)
            await self._kept.commit(session, builder)

    async def take(self, name: Name, post: Post) -> bool:
        """Takes a post; when this returns it is committed. Returns whether the client is to stop.

        Raises:
            StoreError, BusyError: it is to be posted again later.
            RunDeletedError: the run was deleted, and nobody has begun another of its name.
        """
        self._counters.wandb_lines_dropped += post.lines_elsewhere
        async with self._kept.turn(name):
            session = await self._kept.load(name)
            if session is None:
                self._check_not_deleted(name)
                session = await self._unannounced(name, post)
            must_stop = self._is_stopped(bytes.fromhex(session.writer_id))
            there = await self._there(session, post)
            lines, repeated = deciding.new_lines(session, post, there)
            if session.phase is Phase.ENDED:
                if not lines:
                    return must_stop  # its last post, once more
                session = announcing.succeeding(session, self._clock())
            session = _settled(session, post, there)
            if post.exit_code is not None and not post.lines:
                session = await self._settled_without_rows(session)
            if session.phase is Phase.REPEATING and not lines:
                await self._repeat(deciding.after_lines(session, post), post)
            elif session.phase is not Phase.ANNOUNCED or _says_something(post):
                await self._take(session, post, lines)
                if repeated and not lines:
                    self._kept.beat(session)
            return must_stop

    @asynccontextmanager
    async def alone_with(self, name: Name) -> AsyncIterator[bytes | None]:
        """Nothing of a run is taken meanwhile, and what was before is committed.

        Yields:
            The writer of the client's session that has not ended.

        Raises:
            StoreError, BusyError: not now.
        """
        async with self._kept.turn(name):
            session = await self._kept.load(name)
            is_open = session is not None and session.phase is not Phase.ENDED
            yield bytes.fromhex(session.writer_id) if session is not None and is_open else None

    async def check_begun(self, name: Name) -> None:
        """Whether files of a run may come: not once it was deleted, before another has begun.

        Raises:
            RunDeletedError: they may not.
        """
        if not self._times_deleted(name):
            return
        async with self._kept.turn(name):
            if await self._kept.load(name) is None:
                self._check_not_deleted(name)

    def _check_not_deleted(self, name: Name) -> None:
        if self._times_deleted(name):
            raise RunDeletedError(
                f"the run {'/'.join(name)} was deleted; what it wrote meanwhile is in its folder "
                "on its host, and a new run may have its id"
            )

    # -- beginnings -----------------------------------------------------------------------------

    async def _begin(self, name: Name, said: Upsert, before: Session | None) -> int:
        is_resuming = self._resuming.pop(name, said) is None
        if is_resuming and not said.storage_id and said.point is None:
            said = replace(said, storage_id="asked before")
        if before is not None and announcing.is_asked_again(before, said):
            await self._change(before, said)
            return before.lines
        session, is_new = await self._announced(name, said, before)
        if is_new:
            builder = builder_for(session)
            session = await self._opened(session, builder)
            await self._kept.commit(session, builder)
        else:
            await self._kept.save(session, b"")
        return session.lines

    async def _announced(
        self, name: Name, said: Upsert, before: Session | None
    ) -> tuple[Session, bool]:
        """The session that begins, and whether it is the first of its name."""
        entity, project, _ = name
        point = said.point

        def look() -> tuple[Standing, str, int]:
            standing, parent, rows = self._reader.rows.standing(*name), "", 0
            if point is not None and point.run_id != name[2]:
                parent = self._reader.rows.standing(entity, project, point.run_id).branch_id
            elif standing.branch_id and (said.storage_id or point is not None):
                rows = self._reader.run(*name).rows
            return standing, parent, rows

        standing, parent, rows = await self._kept.read(look)
        session = announcing.announced(
            name,
            said,
            standing=standing,
            parent_branch_id=parent,
            rows=rows,
            before=before,
            now=self._clock(),
        )
        return session, not standing.branch_id

    async def _unannounced(self, name: Name, post: Post) -> Session:
        """A session of which this server knows nothing, for its catalog is a new one."""
        said = Upsert(
            entity=name[0], project=name[1], run_id=name[2], storage_id="unknown", config=None,
            internal={}, texts={}, tags=None, host="", program="",
        )  # fmt: skip
        session, _ = await self._announced(name, said, None)
        return replace(session, lines=post.offset)

    async def _opened(self, session: Session, builder: BatchBuilder) -> Session:
        """The session with its first records in the builder."""
        if session.phase is Phase.REPEATING or session.origin == facts.RESUMED:
            view = await self._view(session.branch_id)
            if view is not None:
                session = announcing.knowing_config(session, view.config)
            session = replace(session, origin=facts.RESUMED)
        deciding.add_opening(builder, session, _SDK_VERSION)
        if session.said.get("lost"):
            builder.lose("what a damaged file of the server held", rows=session.said["lost"])
        session = deciding.add_config(builder, session, session.said.get("config"), self._clock())
        defined = list(definitions({"m": session.said.get("m")}, session.last_step))
        session = deciding.add_definitions(builder, session, defined)
        return replace(session, phase=Phase.OPEN, said={})

    async def _change(self, session: Session, said: Upsert) -> int:
        if session.phase in (Phase.ANNOUNCED, Phase.REPEATING):
            session = replace(session, said=deciding.merged_said(session.said, said))
            await self._kept.save(session, b"")
            return session.lines
        builder = builder_for(session)
        self._add_info(builder, said)
        session = deciding.add_config(builder, session, said.config, self._clock())
        defined = list(definitions(said.internal, session.last_step))
        session = deciding.add_definitions(builder, session, defined)
        await self._kept.commit(session, builder)
        return session.lines

    @staticmethod
    def _add_info(builder: BatchBuilder, said: Upsert) -> None:
        info = info_of(said.texts, said.tags)
        if info.ListFields():
            builder.add(Kind.RUN_INFO, info)

    # -- posts ----------------------------------------------------------------------------------

    async def _take(self, session: Session, post: Post, lines: list[HistoryLine]) -> None:
        builder = builder_for(session)
        if session.phase is not Phase.OPEN:
            session = await self._opened(session, builder)
        missing = deciding.missing_lines(session, post)
        if missing:
            builder.lose("lines that the client counted, and that never came", rows=missing)
        session = deciding.add_lines(builder, session, lines, self._clock())
        session = deciding.after_lines(session, post)
        self._kept.remember(session).metrics.update(
            name for line in lines if isinstance(line, RowLine) for name in line.names
        )
        session = self._add_faults(builder, session, post.faults)
        session = await self._add_summary(builder, session, post)
        if builder.last_seq > session.last_seq or post.lines or post.summary is not None:
            session = await self._kept.commit(session, builder)
        else:
            self._kept.beat(session)
        if post.exit_code is not None:
            await self._end(session, post.exit_code)

    async def _add_summary(self, builder: BatchBuilder, session: Session, post: Post) -> Session:
        """Keeps values that no row can come to at once, others until the session ends."""
        if post.summary is None:
            return session
        values, faults = summaries.values_of(post.summary)
        session = self._add_faults(builder, session, faults)
        changed = {
            key: value
            for key, value in values.items()
            if session.by_hand.get(key) != summaries.digest(value)
        }
        logged = self._kept.remember(session).metrics
        resolved: Mapping[str, Any] = {}
        if any(key not in logged for key in changed) and session.has_writer:
            view = await self._view(session.branch_id)
            resolved = {} if view is None else view.summary
        at_once = {
            key: value
            for key, value in changed.items()
            if key in session.by_hand or (key not in logged and key not in resolved)
        }
        waiting = {key: value for key, value in changed.items() if key not in at_once}
        session = replace(session, waiting=waiting)
        return deciding.add_by_hand(builder, session, at_once)

    def _add_faults(self, builder: BatchBuilder, session: Session, faults: Any) -> Session:
        """Each is told once."""
        told = list(session.said.get("faults", ()))
        new = [fault for fault in dict.fromkeys(faults) if fault not in told]
        for fault in new[: max(0, _FAULTS_MAX - len(told))]:
            builder.lose(fault, rows=1)
            told.append(fault)
        return replace(session, said={**session.said, "faults": told}) if new else session

    async def _end(self, session: Session, exit_code: int) -> None:
        builder = builder_for(session)
        view = await self._view(session.branch_id)
        resolved = {} if view is None else view.summary
        by_hand = summaries.differing(session.waiting, resolved)
        session = deciding.add_by_hand(builder, session, by_hand)
        session = deciding.add_exit(builder, session, exit_code, self._clock())
        await self._kept.commit(replace(session, waiting={}), builder)

    async def _repeat(self, session: Session, post: Post) -> None:
        """Nothing new came; at the end it is compared what the run lacks."""
        if post.summary is not None:
            values, _ = summaries.values_of(post.summary)
            session = replace(session, waiting=values)
        if post.exit_code is None:
            await self._kept.save(session, b"")
            return
        view = await self._view(session.branch_id)
        if view is None or self._lacks_something(session, view):
            builder = builder_for(session)
            session = await self._opened(session, builder)
            await self._end(await self._kept.commit(session, builder), post.exit_code)
        else:
            await self._kept.save(replace(session, phase=Phase.ENDED), b"")

    @staticmethod
    def _lacks_something(session: Session, view: RunView) -> bool:
        config = session.said.get("config") or {}
        return (
            view.state.state in (RUNNING, CRASHED)
            or bool(summaries.differing(session.waiting, view.summary))
            or bool(summaries.differing(config, view.config))
        )

    async def _settled_without_rows(self, session: Session) -> Session:
        """One that ends without a row repeats a run that has none either."""
        if session.phase is not Phase.ANNOUNCED or session.origin != facts.CREATED:
            return session
        standing = await self._kept.read(lambda: self._reader.rows.standing(*session.name))
        if standing.branch_id and standing.highest_step < 0:
            return replace(session, phase=Phase.REPEATING, branch_id=standing.branch_id)
        return session

    async def _there(self, session: Session, post: Post) -> Mapping[deciding.Stamp, str]:
        asked = deciding.asked_steps(session, post)
        if asked is None:
            return {}
        first, last = asked
        return await self._kept.read(
            lambda: self._reader.rows.stamps(*session.name, step_min=first, step_max=last)
        )

    async def _view(self, branch_id: str) -> RunView | None:
        def look() -> RunView | None:
            try:
                return self._reader.branch(branch_id)
            except NotFoundError:
                return None

        return await self._kept.read(look)


def _says_something(post: Post) -> bool:
    """Whether a session that was only announced has begun: not by system events alone."""
    return bool(post.lines or post.is_empty or post.faults or post.exit_code is not None)


def _settled(session: Session, post: Post, there: Mapping[deciding.Stamp, str]) -> Session:
    """A session that was announced repeats an older one if its first lines do."""
    if session.phase is not Phase.ANNOUNCED:
        return session
    for line in post.lines:
        stamp = line.stamp if isinstance(line, RowLine) else None
        if stamp is not None and stamp in there:
            return replace(session, phase=Phase.REPEATING, branch_id=there[stamp])
    return session

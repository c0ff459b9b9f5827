"""Takes what clients say and post, one thing at a time for each run's name.

All of it goes the way of a daemon's pushes: records of a writer, committed by the `Committer`. What
is about to be committed is written down first, with the session as it will then be, so that a
commit that fails half way is sent again exactly as it was, by whoever comes next or after a start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, BusyError, NotFoundError
from kelt_server.facts import LifeSign
from kelt_server.histories import Standing
from kelt_server.ingest.committer import Committer
from kelt_server.liveness import CRASHED, RUNNING
from kelt_server.reader import RunReader
from kelt_server.run_view import RunView
from kelt_server.wandb_api import announcing, deciding, summaries
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.upserts import Upsert, definitions, info_of

_Result = TypeVar("_Result")

#: Names that are worked on at a time; who comes beyond is told to come later.
_NAMES_MAX = 2000
#: Of how many names it is remembered what was committed, and what has rows.
_REMEMBERED_MAX = 2000
#: A batch that is committed is not kept for longer if it is larger.
_KEPT_BYTES_MAX = 64 * 1024
_FAULTS_MAX = 100
_SDK_VERSION = "wandb"


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    waiting: int = 0


@dataclass(slots=True)
class _Known:
    """What need not be looked up again of a session."""

    writer_id: str
    committed_through: int = 0
    metrics: set[str] = field(default_factory=set)


class Door:
    """Mutable state: turns by name, and what is remembered of sessions."""

    def __init__(
        self,
        *,
        table: SessionTable,
        committer: Committer,
        reader: RunReader,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._committer = committer
        self._reader = reader
        self._clock = clock
        self._turns: dict[Name, _Turn] = {}
        self._known: OrderedDict[Name, _Known] = OrderedDict()
        self._resuming: OrderedDict[Name, None] = OrderedDict()
        #: Lines of the console and of system events, for which there is no place.
        self.lines_elsewhere = 0

    def expect_resume(self, name: Name) -> None:
        """Somebody asked how a run stands, to go on with it.

        Clients before 0.17 do not say so again when they begin. Kept in memory alone.
        """
        self._resuming[name] = None
        while len(self._resuming) > _REMEMBERED_MAX:
            self._resuming.popitem(last=False)

    async def upsert(self, name: Name, said: Upsert) -> int:
        """A session begins or says more of its run; returns the index of the line to begin with.

        Raises:
            StoreError, BusyError: it is to be said again later.
        """
        async with self._turn(name):
            session = await self._load(name)
            if said.is_beginning or session is None:
                return await self._begin(name, said, session)
            return await self._change(session, said)

    async def edit(self, name: Name, said: Upsert, by_hand: Mapping[str, Any] | None) -> None:
        """Somebody changes a run that need not live.

        Raises:
            BadRequestError: the run did not come through this door.
        """
        async with self._turn(name):
            session = await self._load(name)
            if session is None or not session.has_writer:
                raise BadRequestError(
                    f"{name[2]} was not written by a wandb client, so none can change it"
                )
            builder = self._builder(session)
            self._add_info(builder, said)
            session = deciding.add_config(builder, session, said.config, self._clock())
            if by_hand is not None:
                view = await self._view(session.branch_id)
                values, _ = summaries.values_of(by_hand)
                resolved = {} if view is None else view.summary
                new = summaries.differing(values, resolved)
                session = deciding.add_by_hand(builder, session, new)
            await self._commit(session, builder)

    async def take(self, name: Name, post: Post) -> None:
        """Takes a post; when this returns it is committed.

        Raises:
            StoreError, BusyError: it is to be posted again later.
        """
        self.lines_elsewhere += post.lines_elsewhere
        async with self._turn(name):
            session = await self._load(name) or await self._unannounced(name, post)
            there = await self._there(session, post)
            lines, repeated = deciding.new_lines(session, post, there)
            if session.phase is Phase.ENDED:
                if not lines:
                    return  # its last post, once more
                session = announcing.succeeding(session, self._clock())
            session = _settled(session, post, there)
            if post.exit_code is not None and not post.lines:
                session = await self._settled_without_rows(session)
            if session.phase is Phase.REPEATING and not lines:
                await self._repeat(deciding.after_lines(session, post), post)
                return
            if session.phase is Phase.ANNOUNCED and not _says_something(post):
                return
            await self._take(session, post, lines)
            if repeated and not lines:
                self._beat(session)

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
            builder = self._builder(session)
            session = await self._opened(session, builder)
            await self._commit(session, builder)
        else:
            await self._save(session, b"")
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

        standing, parent, rows = await self._read(look)
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
        session = deciding.add_config(builder, session, session.said.get("config"), self._clock())
        defined = list(definitions({"m": session.said.get("m")}, session.last_step))
        session = deciding.add_definitions(builder, session, defined)
        return replace(session, phase=Phase.OPEN, said={})

    async def _change(self, session: Session, said: Upsert) -> int:
        if session.phase in (Phase.ANNOUNCED, Phase.REPEATING):
            session = replace(session, said=deciding.merged_said(session.said, said))
            await self._save(session, b"")
            return session.lines
        builder = self._builder(session)
        self._add_info(builder, said)
        session = deciding.add_config(builder, session, said.config, self._clock())
        defined = list(definitions(said.internal, session.last_step))
        session = deciding.add_definitions(builder, session, defined)
        await self._commit(session, builder)
        return session.lines

    @staticmethod
    def _add_info(builder: BatchBuilder, said: Upsert) -> None:
        info = info_of(said.texts, said.tags)
        if info.ListFields():
            builder.add(Kind.RUN_INFO, info)

    # -- posts ----------------------------------------------------------------------------------

    async def _take(self, session: Session, post: Post, lines: list[HistoryLine]) -> None:
        builder = self._builder(session)
        if session.phase is not Phase.OPEN:
            session = await self._opened(session, builder)
        missing = deciding.missing_lines(session, post)
        if missing:
            builder.lose("lines that the client counted, and that never came", rows=missing)
        session = deciding.add_lines(builder, session, lines, self._clock())
        session = deciding.after_lines(session, post)
        self._remember(session).metrics.update(
            name for line in lines if isinstance(line, RowLine) for name in line.names
        )
        session = self._add_faults(builder, session, post.faults)
        session = await self._add_summary(builder, session, post)
        if builder.last_seq > session.last_seq or post.lines or post.summary is not None:
            session = await self._commit(session, builder)
        else:
            self._beat(session)
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
        logged = self._remember(session).metrics
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
        builder = self._builder(session)
        view = await self._view(session.branch_id)
        resolved = {} if view is None else view.summary
        by_hand = summaries.differing(session.waiting, resolved)
        session = deciding.add_by_hand(builder, session, by_hand)
        session = deciding.add_exit(builder, session, exit_code, self._clock())
        await self._commit(replace(session, waiting={}), builder)

    async def _repeat(self, session: Session, post: Post) -> None:
        """Nothing new came; at the end it is compared what the run lacks."""
        if post.summary is not None:
            values, _ = summaries.values_of(post.summary)
            session = replace(session, waiting=values)
        if post.exit_code is None:
            await self._save(session, b"")
            return
        view = await self._view(session.branch_id)
        if view is None or self._lacks_something(session, view):
            builder = self._builder(session)
            session = await self._opened(session, builder)
            await self._end(await self._commit(session, builder), post.exit_code)
        else:
            await self._save(replace(session, phase=Phase.ENDED), b"")

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
        standing = await self._read(lambda: self._reader.rows.standing(*session.name))
        if standing.branch_id and standing.highest_step < 0:
            return replace(session, phase=Phase.REPEATING, branch_id=standing.branch_id)
        return session

    async def _there(self, session: Session, post: Post) -> Mapping[deciding.Stamp, str]:
        asked = deciding.asked_steps(session, post)
        if asked is None:
            return {}
        first, last = asked
        return await self._read(
            lambda: self._reader.rows.stamps(*session.name, step_min=first, step_max=last)
        )

    # -- committing -----------------------------------------------------------------------------

    def _builder(self, session: Session) -> BatchBuilder:
        return BatchBuilder(writer_id=bytes.fromhex(session.writer_id), last_seq=session.last_seq)

    async def _load(self, name: Name) -> Session | None:
        """The session of a name, with all that it had written down committed."""
        found = await self._read(lambda: self._table.load(name))
        if found is None:
            return None
        session, raw = found
        if raw and self._remember(session).committed_through < session.last_seq:
            await self._push(session, record_pb2.Batch.FromString(raw))
        return session

    async def _commit(self, session: Session, builder: BatchBuilder) -> Session:
        batch = builder.batch()
        session = replace(session, last_seq=builder.last_seq)
        raw = b"" if batch is None else batch.SerializeToString()
        await self._save(session, raw)
        if batch is not None:
            await self._push(session, batch)
            if len(raw) > _KEPT_BYTES_MAX:
                await self._save(session, b"")
        return session

    async def _push(self, session: Session, batch: record_pb2.Batch) -> None:
        (ack,) = await self._committer.push([batch])
        if ack.gap:
            # A store was set aside as damaged, and this writer's beginning with it.
            await self._save(announcing.succeeding(session, self._clock()), b"")
            raise BusyError("what this session wrote before is not here any more; post it again")
        self._remember(session).committed_through = session.last_seq

    async def _save(self, session: Session, raw: bytes) -> None:
        await self._read(lambda: self._table.save(session, raw))

    def _beat(self, session: Session) -> None:
        if session.has_writer and session.phase is Phase.OPEN:
            writer_id = bytes.fromhex(session.writer_id)
            self._committer.beat([LifeSign(writer_id, self._clock(), stalled=False)])

    # -- what surrounds it ----------------------------------------------------------------------

    async def _view(self, branch_id: str) -> RunView | None:
        def look() -> RunView | None:
            try:
                return self._reader.branch(branch_id)
            except NotFoundError:
                return None

        return await self._read(look)

    async def _read(self, ask: Callable[[], _Result]) -> _Result:
        return await anyio.to_thread.run_sync(ask)

    def _remember(self, session: Session) -> _Known:
        known = self._known.get(session.name)
        if known is None or known.writer_id != session.writer_id:
            known = self._known[session.name] = _Known(session.writer_id)
        self._known.move_to_end(session.name)
        while len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    @asynccontextmanager
    async def _turn(self, name: Name) -> AsyncIterator[None]:
        turn = self._turns.get(name)
        if turn is None:
            if len(self._turns) >= _NAMES_MAX:
                raise BusyError(f"{_NAMES_MAX} runs are written at this moment; come again later")
            turn = self._turns[name] = _Turn()
        turn.waiting += 1
        try:
            async with turn.lock:
                with anyio.CancelScope(shield=True):
                    yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(name, None)


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

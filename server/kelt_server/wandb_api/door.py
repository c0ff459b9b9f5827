"""Takes what clients say and post, one thing at a time for each run's name, or shared run's writer.

All of it goes the way of a daemon's pushes: records of a writer, committed by the `Committer`. What
is about to be committed is written down first, with the session as it will then be, so that a
commit that fails half way is sent again exactly as it was, by whoever comes next or after a start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Assertion
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import Counters
from kelt_server.liveness import CRASHED, FINISHED, RUNNING
from kelt_server.reader import RunReader
from kelt_server.run_view import RunView
from kelt_server.wandb_api import addressing, announcing, deciding, summaries
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.editing import Editor
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine
from kelt_server.wandb_api.keeping import METRICS_REMEMBERED_MAX, SessionKeeper, builder_for
from kelt_server.wandb_api.lookups import Lookups
from kelt_server.wandb_api.opening import Opener
from kelt_server.wandb_api.output_lines import Output, add_output, held, hold
from kelt_server.wandb_api.outputs import Outputs, taken
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.upserts import Upsert, definitions, info_of, rewinding

#: Names of which it is remembered that somebody is about to resume them, and for how long.
_RESUMING_MAX = 2000
_RESUMING_S = 120.0
_FAULTS_MAX = 100
#: A shared run's writer that still posts so long after the run's end goes on.
_STRAGGLES_S = 120.0
_LOOKS_EVERY_S = 60.0


class Door:
    """Mutable state: who is about to resume."""

    def __init__(
        self,
        *,
        table: SessionTable,
        committer: Committer,
        reader: RunReader,
        clock: Callable[[], float],
        counters: Counters,
        default_entity: str,
    ) -> None:
        self._kept = SessionKeeper(table=table, committer=committer, clock=clock)
        self._lookups = Lookups(reader=reader, ask=self._kept.read)
        self._opener = Opener(lookups=self._lookups, clock=clock, default_entity=default_entity)
        self._editor = Editor(lookups=self._lookups, committer=committer, clock=clock)
        self._outputs = Outputs(kept=self._kept, reader=reader)
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
        """
        async with self._kept.turn(name, client):
            sessions = await self._sessions(name, client)
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
        await self._editor.edit(name, said, by_hand)

    async def take(self, name: Name, post: Post, client: str = "") -> None:
        """Takes a post; when this returns it is committed.

        Raises:
            StoreError, BusyError: it is to be posted again later.
        """
        self._counters.wandb_lines_dropped += post.lines_elsewhere
        async with self._kept.turn(name, client):
            sessions = await self._sessions(name, client) or [
                await self._opener.unannounced(name, post, client)
            ]
            session = addressing.addressee(post, sessions)
            steps = deciding.asked_steps(session, post, addressing.highest_step(sessions))
            there = await self._lookups.stamps(name, steps)
            lines, repeated = deciding.new_lines(session, post, there)
            output = await self._outputs.sifted(session, post.output)
            if session.phase is Phase.ENDED:
                if not lines and not output:
                    return  # its last post, once more
                session = announcing.succeeding(session, self._clock())
            elif not session.is_shared and addressing.is_strangers(session, lines):
                session = announcing.of_a_stranger(session, post.offset, self._clock())
                await self._kept.make_room(sessions)
            session = deciding.settled(session, post, there)
            if post.exit_code is not None and not post.lines:
                session = await self._settled_without_rows(session)
            if session.phase is Phase.ANNOUNCED and not deciding.says_something(session, post):
                await self._hold(session, output)
                return
            session, output = await self._outputs.with_held(session, output)
            if session.phase is Phase.REPEATING and not lines and not output:
                await self._repeat(deciding.after_lines(session, post), post)
                return
            await self._take(session, post, lines, output)
            if repeated and not lines:
                self._kept.beat(session)

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

    # -- posts ----------------------------------------------------------------------------------

    async def _hold(self, session: Session, output: Output) -> None:
        """Keeps output until it is known whether it is there already."""
        if output:
            kept, left_out = hold(held(session.held), output)
            self._counters.wandb_lines_dropped += left_out
            await self._kept.save(replace(session, held=kept), b"")

    async def _take(
        self, session: Session, post: Post, lines: list[HistoryLine], output: Output
    ) -> None:
        builder = builder_for(session)
        if session.phase is not Phase.OPEN:
            session = replace(session, label=session.label or post.label)
            session = await self._opener.opened(session, builder, post)
        elif session.is_shared:
            await self._revive(builder, session)
        missing = deciding.missing_lines(session, post)
        if missing:
            builder.lose("lines that the client counted, and that never came", rows=missing)
        session = deciding.add_lines(builder, session, lines, self._clock())
        session = deciding.after_lines(session, post)
        self._remember_rows(session, lines)
        add_output(builder, output)
        session = taken(session, output, post.output)
        session = self._add_faults(builder, session, post.faults)
        session = await self._add_summary(builder, session, post)
        if builder.last_seq > session.last_seq or post.lines or post.summary is not None:
            session = await self._kept.commit(session, builder)
        else:
            self._kept.beat(session)
        if post.exit_code is not None:
            await self._end(session, post.exit_code)

    def _remember_rows(self, session: Session, lines: Sequence[HistoryLine]) -> None:
        metrics = self._kept.remember(session).metrics
        for line in lines:
            if isinstance(line, RowLine):
                for name, value in zip(line.names, line.values, strict=True):
                    if name in metrics or len(metrics) < METRICS_REMEMBERED_MAX:
                        metrics[name] = summaries.digest(value) if session.is_shared else ""

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
            view = await self._lookups.view(session.branch_id)
            resolved = {} if view is None else view.summary
        is_ahead = summaries.is_ahead(post.summary, session.last_row)
        at_once = {
            key: value
            for key, value in changed.items()
            if key in session.by_hand
            or (key not in logged and key not in resolved and not is_ahead)
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

    # -- ends -----------------------------------------------------------------------------------

    async def _end(self, session: Session, exit_code: int) -> None:
        builder = builder_for(session)
        view = await self._lookups.view(session.branch_id)
        resolved = {} if view is None else view.summary
        by_hand = summaries.differing(session.waiting, resolved)
        if session.is_shared:
            # What others logged of a metric makes no value of this one's rows one by hand.
            last = self._kept.remember(session).metrics
            by_hand = {k: v for k, v in by_hand.items() if last.get(k, "") != summaries.digest(v)}
            others = [s for s in await self._kept.shared(session.name) if s.phase is Phase.OPEN]
            silent = [s.writer_id for s in others if s.writer_id != session.writer_id]
            deciding.add_assertions(builder, silent, Assertion.FINISHED, self._clock())
        session = deciding.add_by_hand(builder, session, by_hand)
        session = deciding.add_exit(builder, session, exit_code, self._clock())
        await self._kept.commit(session, builder)

    async def _revive(self, builder: BatchBuilder, session: Session) -> None:
        """A writer of a shared run that another one ended, but that goes on, says that it does.

        Clients that may not set the run's state say no goodbye, so the goodbye of one that may
        counts for them (`_end`), unless they are heard of well after it.
        """
        known, now = self._kept.remember(session), self._clock()
        if now - known.looked_at < _LOOKS_EVERY_S:
            return
        known.looked_at = now
        view = await self._lookups.view(session.branch_id)
        for shown in () if view is None else view.sessions:
            if shown.session.writer_id.hex() != session.writer_id:
                continue
            if shown.state.state == FINISHED and now - shown.state.at > _STRAGGLES_S:
                deciding.add_assertions(builder, [session.writer_id], Assertion.RUNNING, now)

    # -- repetitions ----------------------------------------------------------------------------

    async def _repeat(self, session: Session, post: Post) -> None:
        """Nothing new came; at the end it is compared what the run lacks."""
        if post.summary is not None:
            values, _ = summaries.values_of(post.summary)
            session = replace(session, waiting=values)
        if post.exit_code is None:
            await self._kept.save(session)
            return
        view = await self._lookups.view(session.branch_id)
        if view is None or _lacks_something(session, view):
            builder = builder_for(session)
            session = await self._opener.opened(session, builder)
            await self._end(await self._kept.commit(session, builder), post.exit_code)
        else:
            await self._kept.save(session.ended())

    async def _settled_without_rows(self, session: Session) -> Session:
        """One that ends without a row repeats a run that has none either."""
        if session.phase is not Phase.ANNOUNCED or session.origin != facts.CREATED:
            return session
        standing, _, _ = await self._lookups.standing(session.name, None, counts_rows=False)
        if standing.branch_id and standing.highest_step < 0 and not session.is_shared:
            return replace(session, phase=Phase.REPEATING, branch_id=standing.branch_id)
        return session


def _lacks_something(session: Session, view: RunView) -> bool:
    config = session.said.get("config") or {}
    return (
        view.state.state in (RUNNING, CRASHED)
        or bool(summaries.differing(session.waiting, view.summary))
        or bool(summaries.differing(config, view.config))
    )

"""What becomes of a client's post, once it is known whose it is: its session's next records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kelt_proto.v1.record_pb2 import Assertion
from kelt_server import facts
from kelt_server.counters import Counters
from kelt_server.liveness import CRASHED, FINISHED, RUNNING
from kelt_server.run_view import RunView
from kelt_server.wandb_api import addressing, announcing, deciding, summaries
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine
from kelt_server.wandb_api.keeping import METRICS_REMEMBERED_MAX, SessionKeeper, builder_for
from kelt_server.wandb_api.lookups import Lookups
from kelt_server.wandb_api.opening import Opener
from kelt_server.wandb_api.output_lines import Output, add_output, held, hold
from kelt_server.wandb_api.outputs import Outputs, taken
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.sessions import Phase, Session

_FAULTS_MAX = 100
#: A shared run's writer that still posts so long after the run's end goes on.
_STRAGGLES_S = 120.0
_LOOKS_EVERY_S = 60.0


class PostTaker:
    """Takes posts; called while the session has its turn."""

    def __init__(
        self,
        *,
        kept: SessionKeeper,
        lookups: Lookups,
        opener: Opener,
        outputs: Outputs,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._kept = kept
        self._lookups = lookups
        self._opener = opener
        self._outputs = outputs
        self._clock = clock
        self._counters = counters

    async def take(self, session: Session, sessions: Sequence[Session], post: Post) -> None:
        """Commits what a post has that is new.

        Args:
            session: whose post it is.
            sessions: of its name, or of its client alone.
            post: what was posted.

        Raises:
            StoreError, BusyError: it is to be posted again later.
            RunDeletedError: the run was deleted meanwhile.
        """
        steps = deciding.asked_steps(session, post, addressing.highest_step(sessions))
        there = await self._lookups.stamps(session.name, steps)
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

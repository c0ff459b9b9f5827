"""What a writer tells again goes to the session that told it before, and no row is there twice.

`kelt sync` may read the file of a run that W&B's client has sent to this server itself, wholly or
in part. The opening of such a writer says so (`RunOpened.retold`), and as its first batch comes it
is looked for the session that it retells: one that logged a row of the same run id with the same
step and time as one of the writer's rows; else the one whose client gave its process the same id.
So two runs that share an id alone are never taken for one. Where a session is found, the writer is
put on that session's branch, and all of it belongs to that session (`kelt_server.retellings`); else
on a branch of its own.

From then on a row on such a branch is left out if another writer has logged one of its step and
time, whoever comes first: the client may go on, or send late what it could not send. A system
sample is known again by its millisecond, a console line by its number: it is the session's line.

Called by the committing thread alone, so nothing comes in between. What was decided is in the
facts of the first batch; rows that come again after a crash are looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kelt_proto.v1.rows import FLAG_RELATIVE_STEP
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog, Family
from kelt_server.ingest.apply import BatchEffect, RoutedBlock
from kelt_server.ingest.blocks import RowBlock
from kelt_server.ingest.output_records import branch_of_system, system_branch
from kelt_server.metrics.store import MetricsStore

#: Rows by which a session is recognised: a client that sent any has sent the first ones.
_LOOKED_AT_MAX = 1000

#: Step and time of a row; the time is 0 of a system sample.
_Stamp = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Told:
    """A session that was here before. `label` is that of one of a shared run's."""

    writer_id: bytes
    branch_id: str
    label: str = ""


#: The session of W&B's client whose process has an id, as far as it is remembered.
SessionOfProcess = Callable[[Name, str], Told | None]


class Retellings:
    """Mutable state: the branches on which somebody retells, some 100 bytes each."""

    def __init__(
        self, *, catalog: Catalog, metrics: MetricsStore, session_of_process: SessionOfProcess
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._session_of_process = session_of_process
        self._branches: set[str] | None = None

    def settled(
        self, effect: BatchEffect, *, writer_id: bytes, pending: Sequence[RoutedBlock]
    ) -> BatchEffect:
        """What a batch changes, given what others told before.

        Args:
            effect: of the batch.
            writer_id: whose it is.
            pending: rows that are about to be committed before these.

        Raises:
            StoreError: a store cannot be asked.
        """
        if self._branches is None:
            self._branches = self._catalog.retold_branches()
        session = _retelling_session(effect)
        if session is not None:
            told = self._told_before(effect, session)
            if told is not None:
                effect = moved(effect, session, told)
            self._branches.add(session.branch_id if told is None else told.branch_id)
        if effect.state.retells not in (b"", writer_id):
            effect = self._with_console(effect)
        if not any(branch_of_system(block.branch_id) in self._branches for block in effect.blocks):
            return effect
        blocks = tuple(self._new_rows(effect.blocks, writer_id, pending))
        return replace(effect, blocks=blocks)

    # -- whose it is ----------------------------------------------------------------------------

    def _told_before(self, effect: BatchEffect, session: facts.SessionFact) -> Told | None:
        name = effect.state.name
        if name is None:
            return None
        family = self._catalog.family([name])
        branch_ids = [
            branch_id for branch_id, fact in family.branches.by_id.items() if fact.name == name
        ]
        if not branch_ids:
            return None
        told = self._by_rows(effect.blocks, session.branch_id, branch_ids, family)
        if told is None and effect.retold_process:
            told = self._session_of_process(name, effect.retold_process)
            known = None if told is None else family.sessions.get(told.writer_id)
            told = None if told is None or known is None else replace(told, label=known.label)
        return told

    def _by_rows(
        self,
        blocks: Iterable[RoutedBlock],
        own_branch_id: str,
        branch_ids: Sequence[str],
        family: Family,
    ) -> Told | None:
        stamps = list(_first_stamps(blocks, own_branch_id))
        if not stamps:
            return None
        steps = [step for step, _ in stamps]
        found = self._metrics.stamps(branch_ids, step_min=min(steps), step_max=max(steps))
        by_stamp = {(row.step, row.timestamp): row for row in found}
        for stamp in stamps:
            row = by_stamp.get(stamp)
            session = None if row is None else family.sessions.get(row.writer_id)
            if row is not None and session is not None:
                return Told(session.retells or row.writer_id, row.branch_id, session.label)
        return None

    # -- what of it is new ----------------------------------------------------------------------

    def _new_rows(
        self, blocks: Iterable[RoutedBlock], writer_id: bytes, pending: Sequence[RoutedBlock]
    ) -> Iterator[RoutedBlock]:
        for block in blocks:
            if self._branches is None or branch_of_system(block.branch_id) not in self._branches:
                yield block
                continue
            there = self._stamps_of_others(block, writer_id)
            for other in pending:
                if other.branch_id == block.branch_id and other.writer_id != writer_id:
                    there.update(_stamps(other.rows, other.branch_id))
            if there:
                stamps = _stamps(block.rows, block.branch_id)
                new = np.flatnonzero([stamp not in there for stamp in stamps])
                if len(new) < len(block.rows.seqs):
                    block = replace(block, rows=block.rows.picked(new))  # noqa: PLW2901
            if len(block.rows.seqs):
                yield block

    def _stamps_of_others(self, block: RoutedBlock, writer_id: bytes) -> set[_Stamp]:
        first, last = int(block.rows.steps.min()), int(block.rows.steps.max())
        streams = self._metrics.streams([block.branch_id]).get(block.branch_id, ())
        if not any(
            stream.writer_id != writer_id and stream.step_min <= last and stream.step_max >= first
            for stream in streams
        ):
            return set()
        is_system = block.branch_id != branch_of_system(block.branch_id)
        return {
            (row.step, 0.0 if is_system else row.timestamp)
            for row in self._metrics.stamps([block.branch_id], step_min=first, step_max=last)
            if row.writer_id != writer_id
        }

    # -- the console ----------------------------------------------------------------------------

    def _with_console(self, effect: BatchEffect) -> BatchEffect:
        """Lines as the session's own, under the numbers that they have there."""
        if not any(isinstance(fact, facts.ConsoleFact) for fact in effect.facts):
            return effect
        session_id = effect.state.retells
        found: list[facts.Fact] = []
        starts: dict[str, int | None] = {}
        for fact in effect.facts:
            if not isinstance(fact, facts.ConsoleFact):
                found.append(fact)
                continue
            if fact.branch_id not in starts:
                starts[fact.branch_id] = self._console_start(fact.branch_id, session_id)
            start = starts[fact.branch_id]
            if start is not None:
                found.append(fact._replace(writer_id=session_id, number=fact.number + start))
        return replace(effect, facts=tuple(found))

    def _console_start(self, branch_id: str, session_id: bytes) -> int | None:
        """The number of a session's first line: a resumed one counts on. None where it is gone."""
        consoles = self._catalog.consoles([branch_id])
        others = [kept.end_number for kept in consoles if kept.writer_id != session_id]
        own = next((kept for kept in consoles if kept.writer_id == session_id), None)
        if own is None:
            return max(others, default=0)
        if own.lines_dropped:
            return None if others else 0
        first = self._catalog.lines_after(own, -1, 1)
        return first[0].number if first else 0


def moved(effect: BatchEffect, session: facts.SessionFact, told: Told) -> BatchEffect:
    """The first batch of a retelling writer, on the branch of the session that it retells."""
    own = session.branch_id
    branches = {own: told.branch_id, system_branch(own): system_branch(told.branch_id)}
    blocks = (
        replace(block, branch_id=branches.get(block.branch_id, block.branch_id))
        for block in effect.blocks
    )
    routes = tuple(
        replace(route, branch_id=branches.get(route.branch_id, route.branch_id))
        for route in effect.state.routes
    )
    return replace(
        effect,
        facts=tuple(_moved_fact(fact, own, told) for fact in effect.facts),
        blocks=tuple(blocks),
        state=replace(effect.state, routes=routes, retells=told.writer_id),
    )


def _moved_fact(fact: facts.Fact, own: str, told: Told) -> facts.Fact:
    if isinstance(fact, facts.ConfigFact | facts.SummaryFact | facts.ConsoleFact):
        return fact._replace(branch_id=told.branch_id) if fact.branch_id == own else fact
    if isinstance(fact, facts.BranchFact):
        return replace(
            fact, branch_id=told.branch_id, kind=facts.RESUMED, parent_run_id="",
            parent_branch_id="", parent_step=None,
        )  # fmt: skip
    if isinstance(fact, facts.SessionFact):
        return replace(
            fact, branch_id=told.branch_id, retells=told.writer_id, point_unknown=False,
            resume_mode="", is_shared=bool(told.label), label=told.label,
        )  # fmt: skip
    if isinstance(fact, facts.RouteFact | facts.InfoFact | facts.DefinitionFact):
        return replace(fact, branch_id=told.branch_id) if fact.branch_id == own else fact
    return fact


def _retelling_session(effect: BatchEffect) -> facts.SessionFact | None:
    """The session that a batch opens, if it may retell another."""
    for fact in effect.facts:
        if isinstance(fact, facts.SessionFact) and fact.retells:
            return fact
    return None


def _first_stamps(blocks: Iterable[RoutedBlock], branch_id: str) -> Iterator[_Stamp]:
    """Of rows that have a step of their own; relative ones are not known again."""
    found = 0
    for block in blocks:
        if block.branch_id != branch_id:
            continue
        rows = block.rows
        absolute = np.flatnonzero((rows.flags & FLAG_RELATIVE_STEP) == 0)[:_LOOKED_AT_MAX]
        yield from zip(
            rows.steps[absolute].tolist(), rows.timestamps[absolute].tolist(), strict=True
        )
        found += len(absolute)
        if found >= _LOOKED_AT_MAX:
            return


def _stamps(rows: RowBlock, branch_id: str) -> list[_Stamp]:
    """By what rows are known again; relative ones by nothing that others have."""
    if branch_id != branch_of_system(branch_id):
        return [(step, 0.0) for step in rows.steps.tolist()]
    relative = (rows.flags & FLAG_RELATIVE_STEP) != 0
    times = np.where(relative, np.nan, rows.timestamps)
    return list(zip(rows.steps.tolist(), times.tolist(), strict=True))

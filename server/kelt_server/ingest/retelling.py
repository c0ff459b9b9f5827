"""What a writer tells again goes to the session that told it before, and no row is there twice.

`kelt sync` may read the file of a run that W&B's client has sent to this server itself, wholly or
in part. The opening of such a writer says so (`RunOpened.retold`), and as its first batch comes it
is looked for the session that it retells: one that logged a row of the same run id with the same
step and time as one of the writer's rows, or a system sample of the same time; else the one whose
client gave its process the same id. So two runs that share an id alone are never taken for one.
Where a session is found, the writer is put on that session's branch, and all of it belongs to that
session (`kelt_server.retellings`); else on a branch of its own. Steps that count from the end of
what a run resumed become steps of that branch: by a row that both have, else from its end.

From then on a row that such a writer and another have, with one step and time, is taken once,
whoever comes first: the client may go on, or send late what it could not send. A system sample is
known again by its millisecond, a console line by its number: it is the session's line.

Called by the committing thread alone, so nothing comes in between. What was decided is in the
facts of the first batch; rows that come again after a crash are looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kelt_proto.v1.rows import FLAG_RELATIVE_STEP, STEP_MAX
from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog, Family
from kelt_server.config_history import session_order
from kelt_server.ingest.apply import BatchEffect, RoutedBlock
from kelt_server.ingest.blocks import RowBlock
from kelt_server.ingest.output_records import NUMBER_MAX, branch_of_system, system_branch
from kelt_server.metrics.store import MetricsStore, StampedRow, Stream

#: Rows by which a session is recognised: a client that sent any has sent the first ones.
_LOOKED_AT_MAX = 1000
#: A system sample's time is nanoseconds in a file and a float in what its client sends.
_SAME_TIME_S = 1e-5

#: Step and time of a row; the time is 0 of a system sample.
_Stamp = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Told:
    """A session that was here before.

    Attributes:
        label: of one of a shared run's.
        base: what is added to relative steps of who tells it again.
    """

    writer_id: bytes
    branch_id: str
    label: str = ""
    base: int = 0


#: The session of W&B's client whose process has an id, as far as it is remembered.
SessionOfProcess = Callable[[Name, str], Told | None]


class Retellings:
    """Mutable state: who retells on which branch, some 300 bytes for each."""

    def __init__(
        self, *, catalog: Catalog, metrics: MetricsStore, session_of_process: SessionOfProcess
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._session_of_process = session_of_process
        self._retelling: dict[str, set[bytes]] | None = None

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
        retelling = self._known()
        session = _retelling_session(effect)
        if session is not None:
            told = self._told_before(effect, session)
            if told is not None:
                effect = moved(effect, session, told)
            branch_id = session.branch_id if told is None else told.branch_id
            retelling.setdefault(branch_id, set()).add(writer_id)
        if effect.state.retells not in (b"", writer_id):
            effect = self._with_console(with_absolute_steps(effect))
        if not any(branch_of_system(block.branch_id) in retelling for block in effect.blocks):
            return effect
        blocks = tuple(self._new_rows(effect.blocks, writer_id, pending))
        return replace(effect, blocks=blocks)

    def _known(self) -> dict[str, set[bytes]]:
        if self._retelling is None:
            found: dict[str, set[bytes]] = {}
            for branch_id, writer_id in self._catalog.retelling_writers():
                found.setdefault(branch_id, set()).add(writer_id)
            self._retelling = found
        return self._retelling

    # -- whose it is ----------------------------------------------------------------------------

    def _told_before(self, effect: BatchEffect, session: facts.SessionFact) -> Told | None:
        name = effect.state.name
        if name is None:
            return None
        family = self._catalog.family([name])
        branches = family.branches.by_id
        branch_ids = [branch_id for branch_id, fact in branches.items() if fact.name == name]
        if not branch_ids:
            return None
        rows = _first_rows(effect.blocks, session.branch_id)
        told = self._by_rows(rows, branch_ids, family)
        if told is not None:
            return told
        samples = _first_rows(effect.blocks, system_branch(session.branch_id))
        told = self._by_rows(samples, [system_branch(b) for b in branch_ids], family)
        if told is None and effect.retold_process:
            told = self._session_of_process(name, effect.retold_process)
        known = None if told is None else family.sessions.get(told.writer_id)
        if told is None or known is None:
            return None
        may_be_relative = not rows or rows[0][2]
        return replace(
            told, label=known.label, base=self._end(told, family) if may_be_relative else 0
        )

    def _by_rows(
        self,
        rows: Sequence[tuple[int, float, bool]],
        branch_ids: Sequence[str],
        family: Family,
    ) -> Told | None:
        if not rows:
            return None
        times = [at for _, at, _ in rows]
        found = self._metrics.stamps(
            branch_ids,
            step_min=min(step for step, _, _ in rows),
            step_max=STEP_MAX,
            times=(min(times) - _SAME_TIME_S, max(times) + _SAME_TIME_S),
        )
        found = [row for row in found if row.writer_id in family.sessions]
        by_step: dict[int, list[StampedRow]] = {}
        for known in found:
            by_step.setdefault(known.step, []).append(known)
        by_time = {known.timestamp: known for known in found}
        for step, at, is_relative in rows:
            alike = (k for k in by_step.get(step, ()) if abs(k.timestamp - at) < _SAME_TIME_S)
            row = by_time.get(at) if is_relative else next(alike, None)
            if row is not None:
                label = family.sessions[row.writer_id].label
                writer_id = family.sessions[row.writer_id].retells or row.writer_id
                return Told(writer_id, branch_of_system(row.branch_id), label, row.step - step)
        return None

    def _end(self, told: Told, family: Family) -> int:
        """The step after all that earlier sessions than one have logged on its branch."""
        is_earlier = _earlier_than(told.writer_id, family.sessions)
        ends = (
            stream.step_max + 1
            for stream in self._streams(told.branch_id)
            if not stream.relative and is_earlier(stream.writer_id)
        )
        return min(max(ends, default=0), STEP_MAX)

    # -- what of it is new ----------------------------------------------------------------------

    def _new_rows(
        self, blocks: Sequence[RoutedBlock], writer_id: bytes, pending: Sequence[RoutedBlock]
    ) -> Iterator[RoutedBlock]:
        there = {
            branch_id: self._there(branch_id, blocks, writer_id, pending)
            for branch_id in {block.branch_id for block in blocks}
        }
        for block in blocks:
            of_others = there[block.branch_id]
            stamps = _stamps(block.rows, block.branch_id) if of_others else []
            if of_others.isdisjoint(stamps):
                yield block
                continue
            new = np.flatnonzero([stamp not in of_others for stamp in stamps])
            if len(new):
                yield replace(block, rows=block.rows.picked(new))

    def _there(
        self,
        branch_id: str,
        blocks: Iterable[RoutedBlock],
        writer_id: bytes,
        pending: Iterable[RoutedBlock],
    ) -> set[_Stamp]:
        """What others have at a batch's steps: asked once, as it may have a block for a row."""
        retelling = self._known().get(branch_of_system(branch_id), set())
        if not retelling:
            return set()
        alike = [other for other in pending if other.branch_id == branch_id]
        streams = self._streams(branch_id)
        others = {s.writer_id for s in streams} | {other.writer_id for other in alike}
        others -= {writer_id}
        if writer_id not in retelling:
            others &= retelling
        steps = [block.rows.steps for block in blocks if block.branch_id == branch_id]
        first, last = int(min(s.min() for s in steps)), int(max(s.max() for s in steps))
        there: set[_Stamp] = set()
        of_others = (stream for stream in streams if stream.writer_id in others)
        if any(stream.step_min <= last and stream.step_max >= first for stream in of_others):
            is_system = branch_id != branch_of_system(branch_id)
            there.update(
                (row.step, 0.0 if is_system else row.timestamp)
                for row in self._metrics.stamps([branch_id], step_min=first, step_max=last)
                if row.writer_id in others
            )
        for other in alike:
            if other.writer_id in others:
                there.update(_stamps(other.rows, branch_id))
        return there

    def _streams(self, branch_id: str) -> Sequence[Stream]:
        return self._metrics.streams([branch_id]).get(branch_id, ())

    # -- the console ----------------------------------------------------------------------------

    def _with_console(self, effect: BatchEffect) -> BatchEffect:
        """Lines as the session's own, under the numbers that they have there."""
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
                found.append(_line(fact, session_id, start))
        return replace(effect, facts=tuple(found))

    def _console_start(self, branch_id: str, session_id: bytes) -> int | None:
        """The number of a session's first line: a resumed one counts on. None where it is gone."""
        consoles = self._catalog.consoles([branch_id])
        others = {k.writer_id: k.end_number for k in consoles if k.writer_id != session_id}
        own = next((kept for kept in consoles if kept.writer_id == session_id), None)
        if own is None:
            sessions = self._catalog.family([], [branch_id]).sessions if others else {}
            is_earlier = _earlier_than(session_id, sessions)
            return max((end for other, end in others.items() if is_earlier(other)), default=0)
        if own.lines_dropped:
            return None if others else 0
        first = self._catalog.lines_after(own, -1, 1)
        return first[0].number if first else 0


def moved(effect: BatchEffect, session: facts.SessionFact, told: Told) -> BatchEffect:
    """The first batch of a retelling writer, on the branch of the session that it retells."""
    own = session.branch_id
    branches = {own: told.branch_id, system_branch(own): system_branch(told.branch_id)}
    state = effect.state
    blocks = (
        replace(block, branch_id=branches.get(block.branch_id, block.branch_id))
        for block in effect.blocks
    )
    routes = (
        replace(route, branch_id=branches.get(route.branch_id, route.branch_id))
        for route in state.routes
    )
    return replace(
        effect,
        facts=tuple(_moved_fact(fact, own, told) for fact in effect.facts),
        blocks=tuple(blocks),
        state=replace(state, routes=tuple(routes), retells=told.writer_id, retold_base=told.base),
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
            fact, branch_id=told.branch_id, retells=told.writer_id, retold_base=told.base,
            point_unknown=False, resume_mode="", is_shared=bool(told.label), label=told.label,
        )  # fmt: skip
    if isinstance(fact, facts.RouteFact | facts.InfoFact | facts.DefinitionFact):
        return replace(fact, branch_id=told.branch_id) if fact.branch_id == own else fact
    return fact


def with_absolute_steps(effect: BatchEffect) -> BatchEffect:
    """What a retelling writer logged under the steps that its session gave to that."""
    base = effect.state.retold_base
    said = [_later(fact, base) for fact in effect.facts] if base else effect.facts
    blocks = []
    for block in effect.blocks:
        rows = block.rows
        is_relative = (rows.flags & FLAG_RELATIVE_STEP) != 0
        if is_relative.any():
            rows = replace(
                rows,
                steps=np.where(
                    is_relative, np.clip(rows.steps, -STEP_MAX, STEP_MAX) + base, rows.steps
                ),
                flags=rows.flags & ~FLAG_RELATIVE_STEP,
            )
        blocks.append(replace(block, rows=rows))
    return replace(effect, facts=tuple(said), blocks=tuple(blocks))


def _later(fact: facts.Fact, base: int) -> facts.Fact:
    if isinstance(fact, facts.SummaryFact):
        return fact._replace(step=_bounded(fact.step) + base)
    if isinstance(fact, facts.DefinitionFact):
        return replace(fact, step=_bounded(fact.step) + base)
    return fact


def _line(fact: facts.ConsoleFact, session_id: bytes, start: int) -> facts.ConsoleFact:
    return fact._replace(writer_id=session_id, number=min(fact.number + start, NUMBER_MAX))


def _bounded(step: int) -> int:
    """A step to which a base can be added: no sum leaves what stores can hold."""
    return max(-STEP_MAX, min(step, STEP_MAX))


def _earlier_than(
    session_id: bytes, sessions: Mapping[bytes, facts.SessionFact]
) -> Callable[[bytes], bool]:
    """Whether a writer is of an earlier session, or tells one again."""
    place = session_order(session_id, sessions)[:2]
    return lambda writer_id: session_order(writer_id, sessions)[:2] < place


def _retelling_session(effect: BatchEffect) -> facts.SessionFact | None:
    """The session that a batch opens, if it may retell another."""
    for fact in effect.facts:
        if isinstance(fact, facts.SessionFact) and fact.retells:
            return fact
    return None


def _first_rows(blocks: Iterable[RoutedBlock], branch_id: str) -> list[tuple[int, float, bool]]:
    """Step and time, and whether the step is relative, of rows whose time and step can be ones."""
    found: list[tuple[int, float, bool]] = []
    for rows in (block.rows for block in blocks if block.branch_id == branch_id):
        is_relative = ((rows.flags & FLAG_RELATIVE_STEP) != 0).tolist()
        own = zip(rows.steps.tolist(), rows.timestamps.tolist(), is_relative, strict=True)
        found += (row for row in own if math.isfinite(row[1]) and row[0] == _bounded(row[0]))
        if len(found) >= _LOOKED_AT_MAX:
            break
    return found[:_LOOKED_AT_MAX]


def _stamps(rows: RowBlock, branch_id: str) -> list[_Stamp]:
    """By what rows are known again; those with relative steps by nothing that others have."""
    if branch_id != branch_of_system(branch_id):
        return [(step, 0.0) for step in rows.steps.tolist()]
    is_relative = (rows.flags & FLAG_RELATIVE_STEP) != 0
    times = np.where(is_relative, np.nan, rows.timestamps)
    return list(zip(rows.steps.tolist(), times.tolist(), strict=True))

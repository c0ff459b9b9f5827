"""One group of pushes → one transaction in each store. Runs in the committing thread alone.

Objects go first, as the catalog names them; then the catalog. A crash in between leaves it ahead of
the metrics; the acknowledgement is the smaller of the two, so the daemon sends again and each store
takes what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import WRITER_ID_BYTES
from kelt_proto.v1.record_pb2 import Assertion
from kelt_server import facts
from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.catalog.deletions import Deletion
from kelt_server.catalog.store import Catalog
from kelt_server.changes import Noticed, keys_of
from kelt_server.counters import Counters
from kelt_server.errors import (
    ForbiddenError,
    KeltServerError,
    RunDeletedError,
    StoreError,
)
from kelt_server.ingest.apply import (
    BatchEffect,
    RoutedBlock,
    apply_batch,
    is_gap,
    whole_batch_lost,
)
from kelt_server.ingest.deleting import RunDeleter
from kelt_server.ingest.known_writers import KnownWriters
from kelt_server.ingest.name_limits import GroupNames, NameLimits
from kelt_server.ingest.output_records import StoredObject
from kelt_server.ingest.permits import check_effect
from kelt_server.ingest.pushes import Push, PushResult, WriterAck, fault_of
from kelt_server.ingest.retelling import Retellings, SessionOfProcess
from kelt_server.ingest.writer_state import WriterState
from kelt_server.metrics.store import MetricsStore, Span
from kelt_server.object_store import ObjectStore

#: Different metrics of one branch.
METRIC_NAMES_MAX = 10_000


@dataclass
class _Work:
    """What one group has come to so far. Thrown away if a commit fails."""

    states: dict[bytes, WriterState]
    said: list[facts.Fact] = field(default_factory=list)
    blocks: list[RoutedBlock] = field(default_factory=list)
    objects: list[StoredObject] = field(default_factory=list)
    moved: set[bytes] = field(default_factory=set)
    errors: dict[int, KeltServerError] = field(default_factory=dict)
    deferred: list[tuple[int, record_pb2.Batch, Caller | None]] = field(default_factory=list)
    names: GroupNames = field(default_factory=GroupNames)


class GroupCommitter:
    """Mutable state: counters, and that of its parts."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        metrics: MetricsStore,
        objects: ObjectStore,
        clock: Callable[[], float],
        default_entity: str,
        counters: Counters,
        noticed: Noticed,
        metric_names_max: int = METRIC_NAMES_MAX,
        session_of_process: SessionOfProcess = lambda _name, _process: None,
    ) -> None:
        self._limits = NameLimits(
            names_max=metric_names_max,
            total=metrics.names_total,
            of_branch=lambda branch_id: _names_of(branch_id, metrics),
        )
        self._catalog = catalog
        self._metrics = metrics
        self._objects = objects
        self._clock = clock
        self._default_entity = default_entity
        self._counters = counters
        self._noticed = noticed
        self._known = KnownWriters(catalog=catalog, metrics=metrics)
        self._deleter = RunDeleter(
            catalog=catalog,
            metrics=metrics,
            objects=objects,
            known=self._known,
            limits=self._limits,
            clock=clock,
            noticed=noticed,
        )
        self._retellings = Retellings(
            catalog=catalog, metrics=metrics, session_of_process=session_of_process
        )
        self._log = structlog.get_logger("kelt_server.ingest")

    def commit(
        self, pushes: Sequence[Push], beats: Iterable[facts.LifeSign] = ()
    ) -> list[PushResult]:
        """Commits pushes together; if that fails, each alone, so that one cannot hold up all."""
        beats = list(beats)
        try:
            return self._commit_once(pushes, beats)
        except StoreError as error:
            self._counters.commits_failed += 1
            self._log.warning("commit failed", pushes=len(pushes), reason=str(error))
            if len(pushes) <= 1:
                return [error for _ in pushes]
        results: list[PushResult] = []
        for push in pushes:
            results += self.commit([push])
        return results

    def delete_run(self, name: Name, *, by_user: str) -> Deletion:
        """Deletes a run, in turn with commits: see `RunDeleter`."""
        return self._deleter.delete(name, by_user=by_user)

    def settle_deletions(self) -> None:
        """Has the metrics store follow the catalog: see `RunDeleter`."""
        self._deleter.settle()

    def committed_through(self, writer_ids: Iterable[bytes]) -> list[WriterAck]:
        """Where writers stand."""
        ids = list(writer_ids)
        states = self._known.load(ids)
        self._known.remember(states)  # who asks will push
        return [WriterAck(w, states[w].committed_through, gap=False) for w in ids]

    def _commit_once(self, pushes: Sequence[Push], beats: list[facts.LifeSign]) -> list[PushResult]:
        self.settle_deletions()
        valid = {
            batch.writer_id
            for push in pushes
            for batch in push.batches
            if len(batch.writer_id) == WRITER_ID_BYTES
        }
        work = _Work(states=self._known.load(valid))
        for number, push in enumerate(pushes):
            for batch in push.batches:
                self._take(number, batch, push.caller, work)
                if number in work.errors:
                    break
        self._retry_deferred(work)
        signs = self._signs(work, beats)
        try:
            self._write(work, signs)
        except BaseException:
            self._known.forget(work.states)
            self._limits.forget(work.names)
            raise
        self._known.remember(work.states)
        gaps = {batch.writer_id for _, batch, _ in work.deferred}
        return [
            work.errors[number] if number in work.errors else self._acks(push, work, gaps)
            for number, push in enumerate(pushes)
        ]

    def _take(
        self, number: int, batch: record_pb2.Batch, caller: Caller | None, work: _Work
    ) -> None:
        error = fault_of(batch)
        if error is not None:
            work.errors[number] = error
            self._counters.batches_damaged_on_the_way += 1
            return
        state = work.states[batch.writer_id]
        if state.deleted is not None:
            self._counters.pushes_of_deleted_runs += 1
            work.errors[number] = RunDeletedError(
                f"the run {'/'.join(state.deleted)} was deleted, and nothing of it is taken"
            )
            return
        if batch.last_seq <= state.committed_through:
            self._counters.batches_repeated += 1
        elif is_gap(batch.first_seq, state):
            work.deferred.append((number, batch, caller))
        else:
            try:
                self._apply(batch, state, caller, work)
            except ForbiddenError as refusal:
                self._counters.pushes_forbidden += 1
                work.errors[number] = refusal

    def _apply(
        self, batch: record_pb2.Batch, state: WriterState, caller: Caller | None, work: _Work
    ) -> None:
        entity = self._default_entity if caller is None else caller.entity
        try:
            effect = apply_batch(batch, state, default_entity=entity, received_at=self._clock())
        except Exception as error:  # noqa: BLE001 # our mistake must not stop a writer for ever
            self._log.exception("a batch could not be decoded", writer=batch.writer_id.hex())
            reason = f"the server could not decode it: {type(error).__name__}: {error}"
            effect = whole_batch_lost(batch, state, reason)
        effect = self._settled(effect, batch.writer_id, work)
        if caller is not None and not caller.sees_all:
            check_effect(
                effect,
                caller,
                writer_id=batch.writer_id,
                of_branch=lambda branch_id: self._name_of(branch_id, work),
                of_writer=lambda writer_id: self._known.load([writer_id])[writer_id].name,
            )
        effect = self._limits.apply(
            effect,
            writer_id=batch.writer_id,
            catalog_cursor=state.catalog_cursor,
            group=work.names,
        )
        self._absorb(batch.writer_id, effect, work)

    def _settled(self, effect: BatchEffect, writer_id: bytes, work: _Work) -> BatchEffect:
        try:
            return self._retellings.settled(effect, writer_id=writer_id, pending=work.blocks)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 # likewise; nothing of it is lost, but perhaps there twice
            self._log.exception("what is told again was not found", writer=writer_id.hex())
            return effect

    def _absorb(self, writer_id: bytes, effect: BatchEffect, work: _Work) -> None:
        work.states[writer_id] = effect.state.beyond_losses()
        work.said += effect.facts
        work.blocks += effect.blocks
        work.objects += effect.objects
        work.moved.add(writer_id)
        self._counters.batches += 1
        for fact in effect.facts:
            if isinstance(fact, facts.LossFact):
                self._learn_loss(fact, writer_id, work)

    def _learn_loss(self, loss: facts.LossFact, by_writer_id: bytes, work: _Work) -> None:
        """A writer that another declared to have lost records goes on after them."""
        self._counters.records_lost += loss.rows
        if loss.writer_id == by_writer_id or not loss.first_seq:
            return
        if loss.writer_id not in work.states:
            work.states.update(self._known.load([loss.writer_id]))
        state = work.states[loss.writer_id]
        lost = (*state.lost, (loss.first_seq, loss.last_seq))
        work.states[loss.writer_id] = replace(state, lost=lost).beyond_losses()
        work.moved.add(loss.writer_id)

    def _retry_deferred(self, work: _Work) -> None:
        """What closes a gap may stand later in the same group."""
        for _ in range(len(work.deferred)):
            waiting, work.deferred = work.deferred, []
            for number, batch, caller in waiting:
                self._take(number, batch, caller, work)
            if len(work.deferred) == len(waiting):
                break
        self._counters.batches_after_gap += len(work.deferred)

    def _signs(self, work: _Work, beats: list[facts.LifeSign]) -> list[facts.LifeSign]:
        """Data is a sign of life, and so is what a daemon says of a living process."""
        now = self._clock()
        signs = {
            writer_id: facts.LifeSign(writer_id, now, stalled=False) for writer_id in work.moved
        }
        for fact in work.said:
            if isinstance(fact, facts.AssertionFact) and fact.state in _ALIVE:
                stalled = fact.state == Assertion.STALLED
                signs[fact.writer_id] = facts.LifeSign(fact.writer_id, now, stalled)
        for beat in beats:
            signs[beat.writer_id] = beat
        return list(signs.values())

    def _write(self, work: _Work, signs: list[facts.LifeSign]) -> None:
        if not (work.moved or signs):
            return
        catalog_cursors = {w: work.states[w].catalog_cursor for w in work.moved}
        for found in work.objects:
            self._objects.put(found.object_id, found.content)
        try:
            self._catalog.commit(work.said, catalog_cursors, signs)
            if work.moved:
                metrics_cursors = {w: work.states[w].metrics_cursor for w in work.moved}
                self._metrics.commit(work.blocks, metrics_cursors)
        finally:  # one of them may have been committed
            self._noticed(keys_of(work.said, signs, work.blocks))
        self._counters.commits += 1
        for block in work.blocks:
            self._counters.rows += len(block.rows.seqs)
            self._counters.points += len(block.rows.seqs) * len(block.rows.columns)

    def _acks(self, push: Push, work: _Work, gaps: set[bytes]) -> list[WriterAck]:
        writers = dict.fromkeys(batch.writer_id for batch in push.batches)
        return [WriterAck(w, work.states[w].committed_through, w in gaps) for w in writers]

    def _name_of(self, branch_id: str, work: _Work) -> Name | None:
        """The name of a branch that is there, or is about to be."""
        for fact in work.said:
            if isinstance(fact, facts.BranchFact) and fact.branch_id == branch_id:
                return fact.name
        return self._catalog.name_of(branch_id)


_ALIVE = (Assertion.RUNNING, Assertion.STALLED)


def _names_of(branch_id: str, metrics: MetricsStore) -> list[str]:
    """Every metric of one branch, of rows with relative steps too."""
    streams = metrics.streams([branch_id])[branch_id]
    spans = {
        Span(branch_id, 0, stream.writer_id if stream.relative else None) for stream in streams
    }
    return metrics.metric_names(list(spans)) if spans else []

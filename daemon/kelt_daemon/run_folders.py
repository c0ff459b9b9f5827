"""The state of one run folder: what was accepted, what is durable, what is committed.

Lives on the event loop. `offer` checks and accepts a batch in one step without an await between,
which makes it the one appender of its writer however many streams there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.run_folder import RunManifest
from kelt.spool_place import spool_place
from kelt_daemon.cursors import Cursors
from kelt_daemon.journal import Journal
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.liveness import Goodbye, Life
from kelt_daemon.records import encode_assertion, encode_unknown_loss, notice
from kelt_daemon.signals import Signal
from kelt_proto.v1.record_pb2 import Assertion, Exit, Loss

if TYPE_CHECKING:
    from kelt_daemon.links import UpstreamLink

#: A sender that offers the same record this often in place of what is asked for has no more of it.
_GAPS_MAX = 3


class Offer(Enum):
    """What became of a batch."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    GAP = "gap"


@dataclass(slots=True)
class WriterCursor:
    """How far one writer is: accepted ≥ durable; committed is the upstream's word."""

    accepted: int = 0
    durable: int = 0
    committed: int = 0
    unsynced_bytes: int = 0
    streams: int = 0
    #: How often its stream was not read on because too much of it was unsynced.
    held_back: int = 0
    #: The record offered instead of the one asked for, and how often.
    gap: tuple[int, int] = (0, 0)
    gap_count: int = 0


@dataclass(eq=False, kw_only=True)
class RunFolder:
    """A run folder that was read.

    Attributes:
        path: the folder itself, links resolved.
        home: where the daemon keeps its own files for it: the folder, or, for a copy of another
            machine's or another place's folder, one of the daemon's own, so that a copy may be
            made again over the first, and so that two daemons never write into one folder.
        manifest: its `run.json`.
        writer_id: the trainer's writer.
        witness_id: the daemon's own.
        journal: the appending end.
        link: the upstream its run goes to.
        changed: whenever anything below changed.
        pending: accepted, not yet handed to the disk.
        life: what is held of the writer's life.
        is_over: nothing will be added any more: ended, and its spool read.
        problem: why it cannot go on, with the remedy; empty while it can.
    """

    path: Path
    home: Path
    manifest: RunManifest
    writer_id: bytes
    witness_id: bytes
    journal: Journal
    link: UpstreamLink
    cursors: Cursors
    #: Whether this is where its writer writes, on this machine; otherwise nobody judges its life.
    is_on_this_machine: bool
    is_released: bool
    life: Life = field(default_factory=Life)
    goodbye: Goodbye | None = None
    is_over: bool = False
    is_live: bool = False
    #: Its writer gave back its lock, though its process may live, and its spool has been read.
    is_closed: bool = False
    #: What cannot be read any more at the end of its journal, and nobody knows how much it was;
    #: said once, by the keeper.
    lost_tail: str = ""
    #: The losses of unknown extent that were told, by their reasons.
    told_losses: set[str] = field(default_factory=set)
    #: Its journal has damage within: what the spool still has mends it, so that stays.
    is_damaged: bool = False
    problem: str = ""
    #: Another run waits for what this one has: it is sent without gathering more.
    is_awaited: bool = False
    #: Why the upstream does not take it yet; it is tried again by itself.
    delay: str = ""
    #: Somebody asked its process to stop, at the upstream.
    must_stop: bool = False
    #: What a copy still lacks, in a sentence; it is read on when more arrives.
    incomplete: str = ""
    #: Names, sizes and times of a copy's segments before they were read for the last time.
    copied: tuple[tuple[str, int, int], ...] | None = None
    #: Since when, by the monotonic clock, nothing of the copy has changed.
    quiet_since_s: float = 0.0
    #: How many `kelt sync --live` want it read while it is still being written.
    followers: int = 0
    #: Somebody asked whether the upstream has it, and only the upstream's own answer counts.
    is_unconfirmed: bool = False
    #: They have not released it yet.
    is_asked: bool = False
    #: How far the trainer's writer was committed when the upstream answered that.
    upstream_had: int = 0
    journal_problem: str = ""
    lost_rows: int = 0
    #: What the living writer counts as lost, most of it recorded in `lost_rows` sooner or later.
    counted_rows: int = 0
    #: Of the lost rows, what a dead writer had counted and not told, and the daemon told for it.
    untold_losses_told: int = 0
    #: Set aside because a server does not take them (`dead_letters`).
    refused_records: int = 0
    #: Logged, and neither upstream nor given up, as far as was looked; and what keeps them.
    artifacts_waiting: int = 0
    artifacts_problem: str = ""
    #: An artifact was logged, or the folder is over.
    artifact_news: Signal = field(default_factory=Signal)
    writers: dict[bytes, WriterCursor] = field(default_factory=dict)
    pending: list[NewEntry] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)
    #: Ask the keeper to look again, and the shipper to try what was rejected again; `changed` is
    #: told, too.
    nudged: Signal = field(default_factory=Signal)
    unsynced_bytes: int = 0
    #: Of those, what the commit loop was not told of yet.
    unsubmitted_bytes: int = 0

    def cursor(self, writer_id: bytes) -> WriterCursor:
        """A writer's cursor, made on first sight."""
        return self.writers.setdefault(writer_id, WriterCursor())

    @property
    def spool_path(self) -> Path:
        """Where its spool is to be read now: not in the run folder if that is on a network."""
        return spool_place(self.path, self.manifest, is_here=self.is_on_this_machine)

    @property
    def is_spool_removed(self) -> bool:
        """Whether its spool lay apart and is gone, as at the end of a run, with the lock."""
        lay_apart = self.is_on_this_machine and bool(self.manifest.spool_folder)
        return lay_apart and self.spool_path == self.path

    @property
    def is_held(self) -> bool:
        """Whether it waits for somebody to ask for it: an offline run in its own place."""
        offline_here = self.manifest.mode == "offline" and self.is_on_this_machine
        return offline_here and not self.is_released

    @property
    def all_lost_rows(self) -> int:
        """Rows lost, those included that no record tells of yet."""
        return max(self.lost_rows, self.counted_rows)

    @property
    def durable_records(self) -> int:
        """Records on this host's disk, ever."""
        return sum(cursor.durable for cursor in self.writers.values())

    @property
    def committed_records(self) -> int:
        """Of those, what the upstream has committed."""
        return sum(min(c.committed, c.durable) for c in self.writers.values())

    @property
    def is_committed(self) -> bool:
        """Whether the upstream has all that was accepted."""
        return self.has_records_committed and not self.artifacts_waiting

    @property
    def has_records_committed(self) -> bool:
        """Whether it has all but artifacts perhaps."""
        return all(c.committed >= c.accepted for c in self.writers.values())

    @property
    def has_unshipped(self) -> bool:
        """Whether the upstream lacks something that is durable."""
        return any(c.committed < c.durable for c in self.writers.values())

    # -- accepting -------------------------------------------------------------------------------

    def offer(self, writer_id: bytes, first_seq: int, last_seq: int, frames: bytes) -> Offer:
        """Accepts a batch if it follows what was accepted before."""
        cursor = self.cursor(writer_id)
        if last_seq <= cursor.accepted:
            return Offer.DUPLICATE
        if first_seq > cursor.accepted + 1:
            self._count_gap(cursor, first_seq)
            if cursor.gap_count < _GAPS_MAX:
                return Offer.GAP
            # The sender was told where to go on and cannot: those records are gone from its spool,
            # and damage took them from the journal. The hole in the numbers becomes a loss marker.
        cursor.gap_count = 0
        self._accept(cursor, NewEntry(writer_id, first_seq, last_seq, frames))
        return Offer.TAKEN

    def _count_gap(self, cursor: WriterCursor, first_seq: int) -> None:
        # One try may offer several batches: the first of them is the one that counts.
        accepted, lowest = cursor.gap
        if accepted != cursor.accepted or first_seq < lowest or not cursor.gap_count:
            cursor.gap, cursor.gap_count = (cursor.accepted, first_seq), 1
        elif first_seq == lowest:
            cursor.gap_count += 1

    def _accept(self, cursor: WriterCursor, entry: NewEntry) -> None:
        cursor.accepted = entry.last_seq
        cursor.unsynced_bytes += len(entry.payload)
        self.unsynced_bytes += len(entry.payload)
        self.unsubmitted_bytes += len(entry.payload)
        self.pending.append(entry)
        lost_rows, said, has_artifact = notice(entry.payload, entry.writer_id)
        self.lost_rows += lost_rows
        if has_artifact:
            self.artifact_news.notify()
        if said is not None and entry.writer_id == self.writer_id:
            self.take_exit(said)

    def take_exit(self, said: Exit) -> None:
        """Remembers the writer's goodbye."""
        self.goodbye = Goodbye(said.exit_code, said.signal, said.reason, said.at)

    def assert_life(self, life: Life) -> None:
        """Appends what the daemon knows of the writer to the daemon's own sequence."""
        cursor = self.cursor(self.witness_id)
        seq = cursor.accepted + 1
        assertion = Assertion(
            writer_id=self.writer_id,
            state=life.phase.name,
            reason=life.reason,
            exit_code=life.exit_code,
            signal=life.signal,
            at=life.at,
        )
        frame = encode_assertion(self.witness_id, seq, assertion)
        self._accept(cursor, NewEntry(self.witness_id, seq, seq, frame))

    def assert_unknown_loss(self, reason: str) -> None:
        """Says, once, that records after the last accepted one were lost; nobody knows how many."""
        if reason in self.told_losses:
            return
        self.told_losses.add(reason)
        cursor = self.cursor(self.witness_id)
        seq = cursor.accepted + 1
        first_lost = self.cursor(self.writer_id).accepted + 1
        loss = Loss(writer_id=self.writer_id, first_seq=first_lost, reason=reason)
        frame = encode_unknown_loss(self.witness_id, seq, loss)
        self._accept(cursor, NewEntry(self.witness_id, seq, seq, frame))

    def assert_loss(self, rows: int, reason: str) -> None:
        """Says that so many rows of the writer never got a number."""
        cursor = self.cursor(self.witness_id)
        seq = cursor.accepted + 1
        loss = Loss(writer_id=self.writer_id, rows=rows, reason=reason)
        frame = encode_unknown_loss(self.witness_id, seq, loss)
        self._accept(cursor, NewEntry(self.witness_id, seq, seq, frame))

    # -- what the commit loop and the shipper report ---------------------------------------------

    def take_pending(self) -> list[NewEntry]:
        """Hands over what waits for the disk."""
        entries, self.pending = self.pending, []
        return entries

    def mark_durable(self, entries: Sequence[NewEntry]) -> None:
        """These are synced."""
        for entry in entries:
            cursor = self.cursor(entry.writer_id)
            cursor.durable = max(cursor.durable, entry.last_seq)
            cursor.unsynced_bytes -= len(entry.payload)
            self.unsynced_bytes -= len(entry.payload)
        if entries:
            self.journal_problem = ""

    def give_back(self, entries: Sequence[NewEntry], problem: str) -> None:
        """These could not be synced; they wait in front of the others."""
        self.pending = [*entries, *self.pending]
        self.journal_problem = problem

    def mark_committed(self, writer_id: bytes, through: int) -> None:
        """The upstream has committed up to here."""
        cursor = self.cursor(writer_id)
        cursor.committed = max(cursor.committed, through)
        self.cursors.committed[writer_id] = cursor.committed

    def replace_committed(
        self, server_id: str, cursors: dict[bytes, int], *, is_answer: bool = True
    ) -> None:
        """The upstream said where it stands, which may be behind what another one said.

        Args:
            server_id: who it is.
            cursors: what it has, by writer.
            is_answer: whether it said so, or was not asked yet.
        """
        self.cursors.server_id = server_id
        self.cursors.committed = dict(cursors)
        if is_answer and self.is_unconfirmed:
            self.is_unconfirmed = False
            self.upstream_had = cursors.get(self.writer_id, 0)
        for writer_id, cursor in self.writers.items():
            cursor.committed = cursors.get(writer_id, 0)
        self.changed.notify()

"""A sender, the daemon's acceptance and shipping, and a server, with everything between them lossy.

Streams keep their order but break, late ones may still deliver; the daemon dies and remembers what
it synced; pushes are lost, delivered twice, late and in any order, and so are answers. The oracle
knows the records that were written and what each party was told.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import zlib
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from server.stand import Stand
from server.streams import Stream, simple_run

from harness.simulation.upstream import Store
from kelt.journal.entries import Entry
from kelt_daemon.batch import Outgoing, gather
from kelt_daemon.cursors import Cursors
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.run_folders import Offer, RunFolder
from kelt_proto.v1 import record_pb2

WITNESS = bytes(16)
BYTES = st.sampled_from([1, 300, 10_000])
PICK = st.integers(0, 99)


class StoreServer:
    """The contract, in memory."""

    def __init__(self) -> None:
        self._store = Store()

    def push(self, batches: list[Outgoing]) -> dict[bytes, tuple[int, bool]]:
        gaps = {}
        for batch in batches:
            gaps[batch.writer_id] = self._store.take(batch) or gaps.get(batch.writer_id, False)
        assert not self._store.violations
        return {writer: (self._store.cursor(writer), gap) for writer, gap in gaps.items()}

    def cursor(self, writer_id: bytes) -> int:
        return self._store.cursor(writer_id)

    def check(self, stream: Stream) -> None:
        seqs = [stored.last_seq for stored in self._store.records[stream.writer_id]]
        assert seqs == list(range(1, stream.last_seq + 1))

    def close(self) -> None:
        pass


class RealServer:
    """The server's own commit path on its real stores."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kelt-model-"))
        self._opened = Stand.opened(self._folder)
        self._stand = self._opened.__enter__()
        self._cursors: dict[bytes, int] = {}

    def push(self, batches: list[Outgoing]) -> dict[bytes, tuple[int, bool]]:
        sent = [
            record_pb2.Batch(
                writer_id=batch.writer_id, first_seq=batch.first_seq, last_seq=batch.last_seq,
                crc32=zlib.crc32(batch.frames), frames=batch.frames,
            )
            for batch in batches
        ]  # fmt: skip
        acks = {a.writer_id: (a.committed_through, a.gap) for a in self._stand.push(sent)}
        for writer, (through, _) in acks.items():
            assert through >= self._cursors.get(writer, 0), "a cursor went back"
            self._cursors[writer] = through
        return acks

    def cursor(self, writer_id: bytes) -> int:
        return self._cursors.get(writer_id, 0)

    def check(self, stream: Stream) -> None:
        rows = self._stand.rows("run")
        assert [row["step"] for row in rows] == list(range(stream.last_seq - 1))
        assert [row["values"]["loss"] for row in rows] == [
            n + 0.5 for n in range(stream.last_seq - 1)
        ]

    def close(self) -> None:
        self._opened.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)


class SenderAndServer(RuleBasedStateMachine):
    """The daemon between them is `RunFolder` and `gather`; its disk and journal are lists."""

    make_server = StoreServer

    @initialize()
    def begin(self):
        self.server = self.make_server()
        self.stream = simple_run(row_count=0)
        self.writer = self.stream.writer_id
        #: Synced, and in the page cache only.
        self.journal: list[NewEntry] = []
        self.start_daemon()
        #: What the sender knows, and each stream's batches on their way.
        self.told_durable = self.told_committed = 0
        self.streams: list[list[tuple[int, int]]] = [[]]
        self.sent_seq = 0
        #: Pushes and answers on their way.
        self.pushes: list[tuple[int, list[Outgoing]]] = []
        self.answers: list[tuple[int, dict[bytes, tuple[int, bool]]]] = []
        self.highest_commit = 0

    def start_daemon(self):
        self.folder = RunFolder(
            path=Path("/nowhere"), home=Path("/nowhere"), manifest=None, writer_id=self.writer,
            witness_id=WITNESS, journal=None, link=None, cursors=Cursors(),
            is_on_this_machine=True, is_released=False,
        )  # fmt: skip
        cursor = self.folder.cursor(self.writer)
        cursor.accepted = cursor.durable = max((e.last_seq for e in self.journal), default=0)
        #: In the hands of the disk.
        self.writing: list[NewEntry] = []
        #: Counts daemons: an answer for an earlier one reaches nobody.
        self.life = getattr(self, "life", 0) + 1
        self.sent = {self.writer: 0}

    # -- the trainer -----------------------------------------------------------------------------

    @rule(rows=st.integers(1, 12), batch=st.integers(1, 6))
    def log_and_send(self, rows, batch):
        for _ in range(rows):
            step = self.stream.last_seq - 1
            self.stream.row(step, {"loss": step + 0.5}, timestamp=1.0, runtime=0.0)
        self.send(batch)

    def send(self, batch):
        while self.sent_seq < self.stream.last_seq:
            last = min(self.sent_seq + batch, self.stream.last_seq)
            self.streams[-1].append((self.sent_seq + 1, last))
            self.sent_seq = last

    @rule(keeps_old=st.booleans(), batch=st.integers(1, 6))
    def connect_again(self, keeps_old, batch):
        """What was on its way in the last stream may be gone, or arrive late."""
        if not keeps_old:
            self.streams.clear()
        self.streams.append([])
        self.told_durable = self.folder.cursor(self.writer).durable
        self.send_again(batch)

    @rule(batch=st.integers(1, 6))
    def send_again(self, batch):
        """Nothing became durable for a while; the batches may be others now."""
        self.sent_seq = self.told_durable
        self.send(batch)

    # -- the daemon ------------------------------------------------------------------------------

    @precondition(lambda self: any(self.streams))
    @rule(which=PICK, count=st.integers(1, 5))
    def deliver(self, which, count):
        waiting = [stream for stream in self.streams if stream]
        stream = waiting[which % len(waiting)]
        for first, last in stream[:count]:
            self.offer(first, last)
        del stream[:count]

    def offer(self, first, last):
        before = self.folder.cursor(self.writer).accepted
        frames = self.stream.batch(first, last).frames
        offer = self.folder.offer(self.writer, first, last, frames)
        after = self.folder.cursor(self.writer).accepted
        if offer is Offer.TAKEN:
            assert first <= before + 1
            assert last > before
            assert after == last
        else:
            assert after == before
            assert offer is (Offer.DUPLICATE if last <= before else Offer.GAP)

    @precondition(lambda self: not self.writing)
    @rule()
    def begin_commit(self):
        self.writing = self.folder.take_pending()

    @precondition(lambda self: self.writing)
    @rule(synced=st.sampled_from([0, 1, 2, None, None, None]))
    def end_commit(self, synced):
        """All of it, or some until the disk failed; more was accepted meanwhile."""
        entries, self.writing = self.writing, []
        done = entries[:synced]
        self.journal += done
        self.folder.mark_durable(done)
        if left := entries[len(done) :]:
            self.folder.give_back(left, "the disk failed")

    @rule()
    def tell_sender(self):
        cursor = self.folder.cursor(self.writer)
        assert cursor.durable <= max((e.last_seq for e in self.journal), default=0)
        self.told_durable = max(self.told_durable, cursor.durable)
        self.told_committed = max(self.told_committed, min(cursor.committed, cursor.durable))
        assert self.told_committed <= self.highest_commit

    @rule()
    def kill_daemon(self):
        """Its streams end; the journal keeps what was synced."""
        self.start_daemon()
        self.streams.clear()
        self.connect_again(keeps_old=False, batch=3)

    # -- shipping --------------------------------------------------------------------------------

    @rule(bytes_max=BYTES)
    def push(self, bytes_max):
        entries = [Entry(e.writer_id, e.first_seq, e.last_seq, e.payload) for e in self.journal]
        push = gather(entries, self.sent, bytes_max=bytes_max)
        self.sent = push.sent_through
        if push.batches:
            assert all(batch.frames is not None for batch in push.batches), "nothing was lost"
            self.pushes.append((self.life, push.batches))

    @rule()
    def go_back(self):
        """After any failure: from the server's own cursor."""
        cursor = self.server.cursor(self.writer)
        self.folder.replace_committed("s", {self.writer: cursor})
        self.sent = {self.writer: cursor}

    @precondition(lambda self: self.pushes)
    @rule(which=PICK, is_repeated=st.booleans(), is_answered=st.booleans())
    def serve(self, which, is_repeated, is_answered):
        index = which % len(self.pushes)
        life, batches = self.pushes[index]
        if not is_repeated:
            del self.pushes[index]
        acks = self.server.push(batches)
        self.highest_commit = max(self.highest_commit, self.server.cursor(self.writer))
        if is_answered:
            self.answers.append((life, acks))

    @precondition(lambda self: self.pushes)
    @rule(which=PICK)
    def lose_push(self, which):
        del self.pushes[which % len(self.pushes)]

    @precondition(lambda self: self.answers)
    @rule(which=PICK)
    def hear_answer(self, which):
        life, acks = self.answers.pop(which % len(self.answers))
        if life != self.life:
            return
        for writer, (through, gap) in acks.items():
            self.folder.mark_committed(writer, through)
            if gap:
                self.sent = {writer: self.folder.cursor(writer).committed}

    # -- always ----------------------------------------------------------------------------------

    @invariant()
    def nothing_is_claimed_too_early(self):
        if not hasattr(self, "folder"):
            return
        cursor = self.folder.cursor(self.writer)
        assert cursor.accepted >= cursor.durable
        assert cursor.committed <= self.highest_commit
        waiting = sum(len(entry.payload) for entry in self.folder.pending)
        waiting += sum(len(entry.payload) for entry in self.writing)
        assert cursor.unsynced_bytes == waiting

    @invariant()
    def the_journal_has_no_holes_and_repeats_nothing(self):
        through = 0
        for entry in getattr(self, "journal", []):
            assert entry.first_seq <= through + 1
            assert entry.last_seq > through
            through = entry.last_seq

    def teardown(self):
        if not hasattr(self, "server"):
            return
        try:
            self.bring_to_end()
        finally:
            self.server.close()

    def bring_to_end(self):
        self.connect_again(keeps_old=False, batch=20)
        while any(self.streams):
            self.deliver(0, 5)
        while self.writing or self.folder.pending:
            if not self.writing:
                self.begin_commit()
            self.end_commit(None)
        for _ in itertools.repeat(None, 200):
            self.go_back()
            if self.server.cursor(self.writer) == self.stream.last_seq:
                break
            self.push(10_000)
            self.serve(len(self.pushes) - 1, is_repeated=False, is_answered=False)
        self.server.check(self.stream)


class SenderAndRealServer(SenderAndServer):
    make_server = RealServer


SenderAndServer.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None
)
SenderAndRealServer.TestCase.settings = settings(
    max_examples=10, stateful_step_count=30, deadline=None
)
TestSenderAndServer = SenderAndServer.TestCase
TestSenderAndRealServer = SenderAndRealServer.TestCase

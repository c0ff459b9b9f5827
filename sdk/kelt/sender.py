"""What a run does in the background: writes down its output, minds the spool's room, beats, seals,
hands batches over.

Memory is bounded: while the daemon is there and has no room, one batch waits and no more are cut.
Where it takes nothing for a while, or is not there, batches are dropped and cut again from the
spool's files later, from the first record that the daemon does not have, which costs much more.
What the daemon has synced to disk is deleted from the spool; a writer without a stream learns of
it, and that it is to stop, from the daemon's note in the run folder. Nothing that goes wrong here
reaches the training; it is said once.

All runs of a process share one thread (`kelt.background`), except those whose spool is copied to a
network filesystem, which may take its time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kelt.background import BackgroundThread, shared_thread
from kelt.console import Console
from kelt.daemon_link import DaemonLink, LinkState
from kelt.daemon_note import DaemonNote, Note
from kelt.history_sample import HistorySample
from kelt.journal.batches import BatchCutter, CutBatch
from kelt.journal.reader import Damage, read_spool
from kelt.journal.sealing import Sealer
from kelt.journal.spool import SpoolWriter
from kelt.journal.spool_copy import SpoolCopy
from kelt.sending_end import POLL_S, SendingEnd, wait_until_committed
from kelt.settings import Settings
from kelt.spool_watch import SpoolWatch

BEAT_INTERVAL_S = 5.0
LINGER_S = 0.01
#: The most that rows wait for others; a round costs the same whatever it finds.
LINGER_S_MAX = 0.1
#: What a round waits to find: a message of it costs little more than its bytes do.
ROUND_BYTES = 64 * 1024
RESEND_AFTER_S = 10.0
#: What a round cuts at most, so that the other runs of the process have theirs.
CUT_BYTES_MAX = 4 * 1024 * 1024
#: How soon a daemon is asked again that had no room for a batch.
FULL_LINGER_S = 0.05
#: How long a daemon that takes nothing keeps new records from being sealed and cut.
HOLD_S = 5.0
_STOP_TIMEOUT_S = 2.0
#: What a network filesystem may take for the rest of the copy.
_COPY_TIMEOUT_S = 5.0


class Sender:
    """Everything that a run does in the background.

    Args:
        settings: where the daemon is.
        spool: the run's writer.
        folder: the run folder.
        console: told what goes wrong.
        sample: fed with the rows that pass, or None.
        sends: whether records go to the daemon, or stay in the spool for it to find.
        copy: of the spool in the run folder, where it lies elsewhere.
        on_stop: called once, when somebody asked the process to stop, at the upstream.
        put_out: writes what the run puts out beside its rows, given the monotonic time.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        spool: SpoolWriter,
        folder: Path,
        console: Console,
        sample: HistorySample | None,
        sends: bool,
        copy: SpoolCopy | None = None,
        on_stop: Callable[[], None] = lambda: None,
        put_out: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._on_stop: Callable[[], None] | None = on_stop
        self._put_out = put_out
        self._spool = spool
        self._folder = folder
        self._console = console
        self._sample = sample
        self._copy = copy
        on_sealed = None if copy is None else copy.sealed
        self._sealer = Sealer(spool=spool, cutter=BatchCutter(), on_sealed=on_sealed)
        self._background = shared_thread() if copy is None else BackgroundThread()
        self._attention = spool.wants_attention = self._background.attention()
        self._link: DaemonLink | None = None
        if sends:
            self._link = DaemonLink(
                settings=settings,
                writer_id=spool.writer_id,
                folder=folder,
                console=console,
                backlog=lambda: spool.seq - self.state.durable_through,
                on_news=self._attention.set,
            )
        # An offline run's records stay where `kelt sync` finds them.
        self._daemon_note: DaemonNote | None = None
        if settings.mode == "online":
            self._daemon_note = DaemonNote(folder=folder, writer_id=spool.writer_id)
        self._offline_state = LinkState()
        self._sent_seq = 0
        self._round_bytes = 0
        self._has_more = False
        #: The last record that was cut into a batch, and when a batch last went out.
        self._cut_seq = 0
        self._sent_at = 0.0
        self._was_connected = False
        self._catching_up: Iterator[CutBatch] | None = None
        self._unsent: CutBatch | None = None
        self._watch = SpoolWatch(spool=spool, console=console)
        self._next_beat = 0.0
        self._stands_at, self._stands_since = 0, 0.0
        self._is_finishing = False
        self._stopping = threading.Event()
        self._has_ended = threading.Event()
        self._looked_at = time.monotonic()

    @property
    def state(self) -> LinkState:
        """What is known of daemon and upstream."""
        return self._offline_state if self._link is None else self._link.state

    def start(self) -> None:
        """Has the rounds done from now on."""
        self._background.add(self, self._attention)

    def wait_until_tried(self, timeout_s: float) -> None:
        """Waits until the daemon was looked for once."""
        deadline = time.monotonic() + timeout_s
        while self._link is not None and not self.state.has_tried and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def finish(self, *, timeout_s: float, on_progress: Callable[[int, int], None]) -> SendingEnd:
        """Waits until the upstream has committed everything, or until waiting is of no use.

        Args:
            timeout_s: at most so long.
            on_progress: told committed and all records, from time to time.
        """
        self._is_finishing = True
        self._attention.set()
        return wait_until_committed(
            self.state,
            records=lambda: self._spool.seq,
            timeout_s=timeout_s,
            on_progress=on_progress,
            is_sent=self._link is not None,
        )

    def stop(self) -> None:
        """Ends with a last round."""
        self._stopping.set()
        self._attention.set()
        self._has_ended.wait(_STOP_TIMEOUT_S if self._copy is None else _COPY_TIMEOUT_S)

    @property
    def is_all_copied(self) -> bool:
        """Whether the last round is over and has left a whole copy of the spool in the folder."""
        if self._copy is None or not self._has_ended.is_set():
            return False
        return self._copy.is_whole and self._sealer.sealed_seq == self._spool.seq

    # -- the rounds ------------------------------------------------------------------------------

    def turn(self) -> float | None:
        """One round; see `kelt.background`."""
        is_last = self._stopping.is_set()
        self._guarded_round()
        if is_last:
            self._begin_end()
            return None
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        return self._linger_s(self._round_bytes / max(self._looked_at - looked_at, LINGER_S))

    def _begin_end(self) -> None:
        """Takes leave of the daemon, which may take it a second: no other run waits for that."""
        if self._link is not None and self._copy is None:
            with contextlib.suppress(RuntimeError):  # the interpreter ends: no more threads
                threading.Thread(target=self._end, name="kelt-end", daemon=True).start()
                return
        self._end()

    def _end(self) -> None:
        try:
            if self._link is not None:
                self._link.close()
        finally:
            self._has_ended.set()

    def _linger_s(self, bytes_per_s: float) -> float:
        """As long as about `ROUND_BYTES` take to gather, within bounds; short with one in hand."""
        if self._has_more:
            return 0.0
        if self._is_finishing:
            return POLL_S
        if self._link is not None and self._unsent is not None and not self._link.has_room:
            return FULL_LINGER_S
        if self.state.is_connected and self._sent_seq < self._cut_seq:
            return LINGER_S
        linger_s = max(self.state.linger_s, LINGER_S)
        most_s = max(LINGER_S_MAX, linger_s)
        return min(most_s, max(linger_s, ROUND_BYTES / max(bytes_per_s, 1)))

    def _guarded_round(self) -> None:
        try:
            self._round()
        except Exception as error:  # noqa: BLE001 # nothing here may end the thread
            self._console.warn_once(
                f"round {type(error).__name__}",
                f"an error in kelt's background thread ({type(error).__name__}: {error}); "
                "rows are kept on disk",
            )

    def _round(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_INTERVAL_S
            self._spool.beat()
            if self._copy is not None:
                self._copy.refresh()
        note = self._note(now)
        must_stop = self.state.must_stop or note.must_stop
        if must_stop and self._on_stop is not None and not self._is_finishing:
            on_stop, self._on_stop = self._on_stop, None
            on_stop()
        self._put_out(now)
        self._watch.look(now, is_last=self._is_finishing or self._stopping.is_set())
        self._send_all(note)
        if self._copy is not None:
            self._write_copy(self._copy, now)

    def _note(self, now: float) -> Note:
        """What the daemon says where no stream does."""
        if self._daemon_note is None or self.state.is_connected:
            return Note()
        return self._daemon_note.read(now)

    def _write_copy(self, copy: SpoolCopy, now: float) -> None:
        copy.release(self._spool.segments[0].number)
        copy.write(now, is_last=self._stopping.is_set())
        if copy.problem:
            self._console.warn_once(
                "copy",
                f"the run's copy in {self._folder} cannot be written ({copy.problem}); rows are "
                "kept on this machine, and it is tried again",
            )
        else:
            self._console.forget("copy")

    def _send_all(self, note: Note) -> None:
        link = self._link
        is_connected = link is not None and link.poll()
        if is_connected and not self._was_connected:
            # As if just sent: the daemon may have read all there was from the spool.
            self._sent_seq, self._sent_at = self.state.durable_through, time.monotonic()
            self._catching_up = self._unsent = None
        self._round_bytes, self._has_more = 0, False
        if is_connected:
            self._go_back_if_stuck()
            self._catch_up()
        if not (is_connected and self._holds_back()):
            self._cut(can_send=is_connected and self._sent_seq >= self._cut_seq)
        self._was_connected = self.state.is_connected
        if is_connected:
            # Never the segment that the sealer stands in, even where the writer has left it.
            self._spool.release(min(self.state.durable_through, self._sealer.sealed_seq - 1))
        elif note.durable_through and len(self._spool.segments) > 1:
            self._spool.release(min(note.durable_through, self._sealer.sealed_seq - 1))

    def _holds_back(self) -> bool:
        """Whether cutting waits until what was cut has gone out: a copy's readers never wait."""
        is_waiting = self._sent_seq < self._cut_seq and self._catching_up is None
        is_moving = time.monotonic() - self._sent_at < HOLD_S
        return is_waiting and is_moving and self._copy is None and not self._stopping.is_set()

    def _cut(self, *, can_send: bool) -> None:
        """Seals what there is, and sends it while there is room."""
        for batch in self._sealer.batches():
            self._round_bytes += len(batch.frames)
            if self._sample is not None:
                self._sample.add(batch.frames)
            self._cut_seq = batch.last_seq
            if can_send and not self._send(batch):
                self._unsent, can_send = batch, False
                if self.state.is_connected and self._holds_back():
                    return
            if self._round_bytes >= CUT_BYTES_MAX and not self._stopping.is_set():
                self._has_more = True
                return

    def _go_back_if_stuck(self) -> None:
        """Sends again what the daemon was sent and has not synced for a while.

        It answers a gap with where it stands, and takes what it knows for a repeat.
        """
        now, durable = time.monotonic(), self.state.durable_through
        if durable != self._stands_at or self._sent_seq <= durable:
            self._stands_at, self._stands_since = durable, now
        elif now - self._stands_since > RESEND_AFTER_S:
            self._stands_since = now
            self._sent_seq = durable
            self._catching_up = self._unsent = None
            if self._link is not None:
                self._link.send_again()

    def _send(self, batch: CutBatch) -> bool:
        link = self._link
        if link is None or not link.has_room or not link.send(batch):
            return False
        self._sent_seq, self._sent_at = batch.last_seq, time.monotonic()
        return True

    def _catch_up(self) -> None:
        """Sends what was cut and not sent: the batch that waits, and others from the files."""
        while self._sent_seq < self._cut_seq:
            batch, self._unsent = self._unsent, None
            if batch is None:
                self._catching_up = self._catching_up or cut_sealed(
                    self._spool.folder, after_seq=self._sent_seq, through_seq=self._cut_seq
                )
                batch = next(self._catching_up, None)
            if batch is None:
                self._catching_up = None
                return
            if not self._send(batch):
                self._unsent = batch
                return
        self._catching_up = None


def cut_sealed(folder: Path, *, after_seq: int, through_seq: int) -> Iterator[CutBatch]:
    """Records of a live spool from its files, as far as they are sealed."""
    cutter = BatchCutter()
    for item in read_spool(folder, after_seq=after_seq):
        if isinstance(item, Damage):
            continue
        if item.seq > through_seq:
            break
        if (full := cutter.take(item, after_seq=after_seq)) is not None:
            yield full
    if (last := cutter.flush()) is not None:
        yield last

"""The journal, driven at random against a plain record of what it promised."""

from __future__ import annotations

import errno
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from harness.amounts import amount
from harness.crash_filesystem import CrashFilesystem
from harness.crash_histories import MANIFEST_TEXT, RUN, RUNS, TRAINER, loaded, payload
from kelt.journal.reader import Damage, read_journal
from kelt_daemon.cursors import Cursors, write_cursors, write_trimmed
from kelt_daemon.errors import JournalBrokenError, JournalFullError
from kelt_daemon.journal_segments import NewEntry

SIZES = st.lists(st.sampled_from([30, 100, 900, 3000, 6000]), min_size=1, max_size=4)


class JournalMachine(RuleBasedStateMachine):
    """One record an entry: what is missing is told number by number."""

    @initialize(seed=st.integers(0, 1 << 32))
    def start(self, seed):
        self.rng = Random(seed)
        self.disk = CrashFilesystem()
        for folder in (RUNS.parent, RUNS, RUN):
            self.disk.make_folder(folder)
        self.disk.sync_folder(RUNS.parent.parent)
        self.disk.write_unsynced(RUN / "run.json", MANIFEST_TEXT)
        #: What was acknowledged, and which of it damage may have taken.
        self.acknowledged: dict[int, bytes] = {}
        self.handed: set[tuple[int, bytes]] = set()
        self.sizes: dict[int, int] = {}
        self.trimmed = 0
        self.taken_by_damage: set[int] = set()
        self.is_any_damage = False
        self.folder = loaded(self.disk)

    # -- what the daemon does --------------------------------------------------------------------

    @rule(sizes=SIZES)
    def append(self, sizes):
        first = self.folder.cursor(TRAINER).durable + 1
        # What is tried again after a failure is the same record: its number never gets another.
        entries = [
            NewEntry(
                TRAINER, seq, seq, payload(TRAINER, seq, seq, self.sizes.setdefault(seq, size))
            )
            for seq, size in enumerate(sizes, first)
        ]
        self.handed |= {(entry.first_seq, entry.payload) for entry in entries}
        try:
            while entries:
                done = self.folder.journal.commit(entries)
                for entry in entries[:done]:
                    self.acknowledged[entry.first_seq] = entry.payload
                    self.taken_by_damage.discard(entry.first_seq)
                self.folder.mark_durable(entries[:done])
                entries = entries[done:]
        except (JournalBrokenError, JournalFullError):
            return

    @rule(call=st.sampled_from(["sync", "write", "create", "sync_folder", "truncate"]),
          nth=st.integers(1, 3), error=st.sampled_from([errno.EIO, errno.ENOSPC]))  # fmt: skip
    def fail_soon(self, call, nth, error):
        self.disk.fail(call, nth, error)

    @rule(room=st.integers(0, 9000), sizes=SIZES)
    def append_on_a_full_disk(self, room, sizes):
        self.disk.room_bytes = self.disk.used_bytes() + room
        self.append(sizes)
        self.disk.room_bytes = 1 << 40

    @rule()
    def save_cursors(self):
        durable = {w: c.durable for w, c in self.folder.writers.items()}
        self.disk.plan.clear()
        write_cursors(RUN, Cursors(durable=durable), filesystem=self.disk)

    @precondition(lambda self: len(self.folder.journal.segments) > 1)
    @rule()
    def collect_garbage(self):
        self.disk.plan.clear()
        journal = self.folder.journal
        segment = journal.segments[0]
        last = segment.ranges.get(TRAINER, (0, 0))[1]
        self.trimmed = max(self.trimmed, last)
        trimmed = self.folder.cursors.trimmed | {TRAINER: self.trimmed}
        write_trimmed(RUN, Cursors(trimmed=trimmed), filesystem=self.disk)
        self.folder.cursors.trimmed = trimmed
        journal.drop(segment)

    @rule(is_clean=st.booleans())
    def reopen(self, is_clean):
        self.disk.plan.clear()
        if is_clean:
            self.folder.journal.close()
            self.save_cursors()
        self.open()

    @rule()
    def cut_the_power(self):
        self.disk = self.disk.crash(self.rng)
        self.open()

    def open(self):
        self.folder = loaded(self.disk)  # the start never fails, whatever lies there
        held = self.held()
        durable = self.folder.cursor(TRAINER).durable
        for seq in range(1, durable + 1):
            # Synced by nobody's order, and there all the same: it counts from now on.
            if seq in held and seq not in self.acknowledged:
                self.acknowledged[seq] = held[seq]
            elif seq not in held and seq > self.trimmed:
                # Behind the last acknowledgement a part of a group that was never synced may be
                # there; what lies before it is told as lost.
                assert seq not in self.acknowledged or seq in self.taken_by_damage
                self.taken_by_damage.add(seq)
        if not self.is_any_damage:
            assert self.folder.lost_tail == ""
        assert durable >= max(
            (s for s in self.acknowledged if s not in self.taken_by_damage), default=0
        )

    # -- what befalls the files ------------------------------------------------------------------

    def segments(self):
        return sorted(n for n in self.disk.names(RUN) if n.startswith("journal-"))

    def _will_hurt(self, name, low, high):
        """Remembers the entries of which bytes between `low` and `high` are about to change."""
        self.is_any_damage = True
        for segment in self.folder.journal.segments:
            if segment.path.name == name and low < 64:  # its header
                first, last = segment.ranges.get(TRAINER, (1, 0))
                self.taken_by_damage |= set(range(first, last + 1))
        for number, seq, start, end in self._places():
            if number == name and start < high and end > low:
                self.taken_by_damage.add(seq)

    def _places(self):
        from kelt.journal.reader import read_journal_segment

        for name in self.segments():
            for item in read_journal_segment(RUN / name, files=self.disk):
                if not isinstance(item, Damage):
                    yield name, item.first_seq, item.offset_bytes, item.end_bytes

    @precondition(lambda self: self.segments())
    @rule(data=st.data())
    def flip_a_bit(self, data):
        name = data.draw(st.sampled_from(self.segments()))
        inode = self.disk.names_of[str(RUN)][name]
        if not inode.data:
            return
        place = data.draw(st.integers(0, len(inode.data) - 1))
        self._will_hurt(name, place, place + 1)
        inode.data[place] ^= 1 << data.draw(st.integers(0, 7))
        inode.synced = bytes(inode.data)
        self.open()

    @precondition(lambda self: self.segments())
    @rule(data=st.data())
    def cut_a_segment_short(self, data):
        name = data.draw(st.sampled_from(self.segments()))
        inode = self.disk.names_of[str(RUN)][name]
        length = data.draw(st.integers(0, len(inode.data)))
        self._will_hurt(name, length, 1 << 40)
        del inode.data[length:]
        inode.synced, inode.pending = bytes(inode.data), []
        self.open()

    @precondition(lambda self: self.segments())
    @rule(data=st.data(), is_daemon_up=st.booleans())
    def delete_a_segment(self, data, is_daemon_up):
        name = data.draw(st.sampled_from(self.segments()))
        opened = self.folder.journal.open_number
        is_open = name == f"journal-{opened:06d}.kelt"
        if not (is_daemon_up and is_open):
            self._will_hurt(name, 0, 1 << 40)
        self.disk.plan.clear()
        self.disk.unlink(RUN / name)
        self.disk.sync_folder(RUN)
        if is_daemon_up and is_open:
            # The open file still holds everything; the next commit finds out and saves it.
            before = self.folder.journal.segments_rescued
            self.append([100])
            assert self.folder.journal.segments_rescued > before or self.disk.plan
        else:
            self.open()

    # -- what must hold --------------------------------------------------------------------------

    def held(self) -> dict[int, bytes]:
        held: dict[int, bytes] = {}
        for item in read_journal(RUN, files=self.disk):
            if isinstance(item, Damage) or item.writer_id != TRAINER:
                continue
            assert (item.first_seq, item.payload) in self.handed, "invented"
            held.setdefault(item.first_seq, item.payload)
        return held

    @invariant()
    def nothing_acknowledged_is_missing(self):
        held = self.held()
        for seq, content in self.acknowledged.items():
            if seq > self.trimmed and seq not in self.taken_by_damage:
                assert held.get(seq) == content, f"lost {seq}"


def test_the_journal_keeps_its_word_whatever_is_done_to_it():
    run_state_machine_as_test(
        JournalMachine,
        settings=settings(
            max_examples=amount(100, long=400), stateful_step_count=50, deadline=None
        ),
    )

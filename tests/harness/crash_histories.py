"""Lives of one run folder on a disk whose power is cut after every change, and what must hold then.

The judge keeps its own record of what was handed to the journal and what it acknowledged.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace

from harness.crash_filesystem import CrashFilesystem
from kelt.checked_json import decode_checked, encode_checked
from kelt.journal.reader import Damage, read_journal
from kelt.run_folder import RunManifest
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursors import Cursors, write_cursors, write_trimmed
from kelt_daemon.errors import JournalBrokenError, JournalFullError
from kelt_daemon.folder_loading import load_folder
from kelt_daemon.host import Host
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.quota import JournalUsage

RUNS = Path("/state/runs")
RUN = RUNS / "r"
TRAINER = bytes(range(16))
HOST = Host(machine_id="m", boot_id="b")
CONFIG = DaemonConfig(first_segment_bytes=4096, segment_bytes_max=8192)
MANIFEST = RunManifest(
    writer_id=TRAINER.hex(), entity="", project="p", run_id="r", branch_id="b", mode="online",
    upstream="http://127.0.0.1:9", started_at=1.0, hostname="here", machine_id="m", boot_id="b",
    pid=1, pid_start_ticks=1,
)  # fmt: skip
MANIFEST_TEXT = encode_checked({**MANIFEST.__dict__, "folder": ""})


def loaded(disk: CrashFilesystem):
    """The daemon's own way to open a run folder."""
    return load_folder(
        RUN, MANIFEST, home=RUN, host=HOST, config=CONFIG, filesystem=disk, usage=JournalUsage(),
        link=SimpleNamespace(),
    )  # fmt: skip


def payload(writer_id: bytes, first: int, last: int, size: int) -> bytes:
    return (b"%s %d-%d " % (writer_id.hex()[:4].encode(), first, last)).ljust(size, b"x")


@dataclass
class Truth:
    """What was handed over, and what was acknowledged, by writer."""

    written: dict[bytes, dict[int, list[NewEntry]]] = field(default_factory=dict)
    #: The last record handed over in this life of the daemon.
    through: dict[bytes, int] = field(default_factory=dict)
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    #: Up to here the journal may have been trimmed.
    trimmed: dict[bytes, int] = field(default_factory=dict)

    def hand_over(self, rng: Random, writer_id: bytes) -> NewEntry:
        first = self.through.get(writer_id, 0) + 1
        last = self.through[writer_id] = first + rng.randrange(3)
        size = rng.choice((24, 100, 700, 1500, 5000 if rng.random() < 0.1 else 300))
        entry = NewEntry(writer_id, first, last, payload(writer_id, first, last, size))
        self.written.setdefault(writer_id, {}).setdefault(first, []).append(entry)
        return entry

    def acknowledge(self, entries: list[NewEntry]) -> None:
        for entry in entries:
            self.acknowledged[entry.writer_id] = entry.last_seq

    def judge(self, disk: CrashFilesystem) -> int:
        """Asserts that nothing acknowledged is missing; returns how many unsynced holes it met."""
        through: dict[bytes, int] = {}
        holes = 0
        for item in read_journal(RUN, files=disk):
            if isinstance(item, Damage):
                continue
            mine = self.written.get(item.writer_id, {}).get(item.first_seq, [])
            is_ours = (item.last_seq, item.payload) in ((e.last_seq, e.payload) for e in mine)
            assert is_ours, f"invented or changed: {item.first_seq}-{item.last_seq}"
            before = through.get(item.writer_id)
            if before is not None and item.last_seq <= before:
                continue  # written again after a failed sync
            trimmed = self.trimmed.get(item.writer_id, 0)
            if before is None:
                assert item.first_seq <= trimmed + 1 or item.first_seq > self._acked(item), "lost"
            elif item.first_seq > before + 1:
                missing = item.first_seq - 1
                assert before >= self._acked(item) or missing <= trimmed, f"lost {before + 1}"
                holes += before >= self._acked(item)
            through[item.writer_id] = item.last_seq
        for writer_id, acknowledged in self.acknowledged.items():
            reached = max(through.get(writer_id, 0), self.trimmed.get(writer_id, 0))
            assert reached >= acknowledged, f"lost {reached + 1}-{acknowledged}"
        return holes

    def _acked(self, item) -> int:
        return self.acknowledged.get(item.writer_id, 0)


_PHASE_OF_ACT = {"cursors": "cursor_save", "trim": "gc", "stop": "spawn_handover_shutdown"}
_PHASE_OF_CALL = {"write": "journal_append", "sync": "fdatasync"}


class KilledError(BaseException):
    """The daemon died here; what it had written is in the kernel's hands, synced or not."""


class History:
    """One life, from a seed. `points` counts the cuts that were judged."""

    def __init__(self, seed: int, *, points_max: int) -> None:
        self.seed = seed
        self.points = 0
        self.holes = 0
        self.second_cuts = 0
        #: The cuts by what was going on.
        self.cuts: Counter[str] = Counter()
        self._phase = "recovery"
        self._points_max = points_max
        self._rng = Random(seed)
        self._truth = Truth()
        self._left: list[NewEntry] = []
        #: How many changes the daemon may still make before it is killed.
        self._kill_in: int | None = None
        self.disk = CrashFilesystem()

    def run(self, steps: int = 30) -> None:
        disk = self.disk
        disk.make_folder(RUNS.parent)
        disk.make_folder(RUNS)
        disk.make_folder(RUN)
        disk.sync_folder(RUNS.parent.parent)
        disk.write_unsynced(RUN / "run.json", MANIFEST_TEXT)
        disk.on_step = self._cut
        folder = loaded(disk)
        self._settle(folder)
        for _ in range(steps):
            if self.points >= self._points_max:
                return
            folder = self._act(folder)

    def _settle(self, folder) -> None:
        """What the daemon says is durable when it starts is acknowledged with that."""
        for writer_id, cursor in folder.writers.items():
            self._truth.acknowledged[writer_id] = cursor.durable
            self._truth.through[writer_id] = cursor.durable
        self._left = []

    def _act(self, folder):
        rng, disk = self._rng, self.disk
        act = rng.choices(
            ("commit", "cursors", "trim", "stop", "kill", "bad sync", "full"),
            (12, 2, 3, 1, 2, 2, 1),
        )[0]
        self._phase = _PHASE_OF_ACT.get(act, "commit")
        if act in {"bad sync", "full", "commit"}:
            if act == "bad sync":
                disk.fail(rng.choice(("sync", "sync_folder", "write")), rng.randrange(1, 3))
            if act == "full":
                disk.room_bytes = disk.used_bytes() + rng.randrange(4096)
            self._commit(folder)
            disk.room_bytes = 1 << 40
        elif act == "cursors":
            self._save_cursors()
        elif act == "trim":
            self._trim(folder)
        else:
            if act == "stop":
                folder.journal.close()
                self._save_cursors()
            else:
                self._kill_in = rng.randrange(5)
                with contextlib.suppress(KilledError):
                    self._commit(folder)
                self._kill_in = None
            disk.plan.clear()
            self._phase = "recovery"
            folder = loaded(disk)
            self._settle(folder)
        return folder

    def _commit(self, folder) -> None:
        truth, rng = self._truth, self._rng
        writers = (TRAINER, TRAINER, folder.witness_id)
        entries = self._left + [
            truth.hand_over(rng, rng.choice(writers)) for _ in range(rng.randrange(1, 5))
        ]
        self._left = []
        while entries:
            try:
                done = folder.journal.commit(entries)
            except (JournalBrokenError, JournalFullError):
                self._left = entries
                return
            truth.acknowledge(entries[:done])
            entries = entries[done:]

    def _save_cursors(self) -> None:
        durable = {w: s for w, s in self._truth.acknowledged.items() if s}
        try:
            write_cursors(RUN, Cursors(durable=durable, lost_rows=0), filesystem=self.disk)
        except OSError:
            return

    def _trim(self, folder) -> None:
        closed = [s for s in folder.journal.segments if s.number != folder.journal.open_number]
        if not closed:
            return
        chosen = closed[: self._rng.randrange(1, len(closed) + 1)]
        trimmed = dict(folder.cursors.trimmed)
        for segment in chosen:
            for writer_id, (_, last) in segment.ranges.items():
                trimmed[writer_id] = max(trimmed.get(writer_id, 0), last)
        try:
            write_trimmed(RUN, Cursors(trimmed=trimmed), filesystem=self.disk)
            folder.cursors.trimmed = trimmed
            for writer_id, last in trimmed.items():
                self._truth.trimmed[writer_id] = max(self._truth.trimmed.get(writer_id, 0), last)
            for segment in chosen:
                folder.journal.drop(segment)
        except OSError:
            return

    # -- cutting the power -----------------------------------------------------------------------

    def _cut(self) -> None:
        if self.points >= self._points_max:
            return
        self.points += 1
        phase = _PHASE_OF_CALL.get(self.disk.last_call) if self._phase == "commit" else self._phase
        self.cuts[phase or "segment_rotate"] += 1
        self._judge(self.disk.crash(self._rng))
        if self._kill_in is not None:
            self._kill_in -= 1
            if self._kill_in < 0:
                raise KilledError

    def _judge(self, disk: CrashFilesystem) -> None:
        truth = self._truth
        has_promised = any(truth.acknowledged.values())
        if str(RUN) not in disk.names_of:
            assert not has_promised, "the folder is gone"
            return
        names = disk.names(RUN)
        manifests = [disk.read(RUN / n) for n in ("run.json", "run.json.copy") if n in names]
        if "run.json" not in names or not any(_is_whole(raw) for raw in manifests):
            assert not has_promised, "the manifest is gone"
            return
        self.holes += truth.judge(disk)
        folder = loaded(disk)
        assert folder.lost_tail == "", "damage was seen where there was none"
        for writer_id, acknowledged in truth.acknowledged.items():
            cursor = folder.cursor(writer_id)
            assert cursor.durable >= acknowledged, "the acknowledgement is forgotten"
            written = truth.written.get(writer_id, {}).values()
            highest = max((entry.last_seq for tries in written for entry in tries), default=0)
            assert cursor.durable <= highest, "more is claimed than was ever written"
        self._go_on(disk, folder)

    def _go_on(self, disk: CrashFilesystem, folder) -> None:
        """Appending goes on behind what was found, and that too survives a cut."""
        rng = self._rng
        found = _held(disk)
        first = folder.cursor(TRAINER).durable + 1
        entry = NewEntry(TRAINER, first, first, payload(TRAINER, first, first, 60))
        assert folder.journal.commit([entry]) == 1
        after = disk.crash(rng) if rng.random() < 0.25 else disk
        self.second_cuts += after is not disk
        held = _held(after)
        assert held[-1:] == [(TRAINER, first, first, entry.payload)], "what was appended is gone"
        assert held[:-1] == found, "what was found after the first cut is gone after the second"


def _held(disk: CrashFilesystem) -> list[tuple[bytes, int, int, bytes]]:
    return [
        (item.writer_id, item.first_seq, item.last_seq, item.payload)
        for item in read_journal(RUN, files=disk)
        if not isinstance(item, Damage)
    ]


def _is_whole(raw: bytes) -> bool:
    try:
        decode_checked(raw)
    except ValueError:
        return False
    return True


def environment_number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))

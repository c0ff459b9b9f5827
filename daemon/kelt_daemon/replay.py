"""Reading a run folder that is a copy: perhaps half of it so far, perhaps of a run still going on.

Everything that follows what was taken before is taken at once, from the copy's journal and then
from its spool, whichever has it; a batch is recognised by its numbers. Where something is missing
in front of what is there, that is a *hole*. It may be filled by the rest of the copy, so it is
declared lost only when nobody seems to copy any more: soon where bytes within a file are damaged,
and after a day where a file, or the end of one, is not there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kelt.journal.batches import cut_spool
from kelt.journal.reader import Damage, read_journal_segment
from kelt.journal.segments import segment_numbers, segment_path
from kelt_daemon.journal_segments import NewEntry


@dataclass(frozen=True, kw_only=True)
class Hole:
    """Records of a writer that are not there, while later ones are."""

    writer_id: bytes
    first_seq: int
    last_seq: int
    #: What was found in their place; empty where a file, or the end of one, is missing.
    damage: str


@dataclass
class Copy:
    """What a copy holds beyond what was taken of it.

    Args:
        folder: the run folder.
        writer_id: the trainer's writer.
        taken: for each writer the last record taken; kept up to date.
        trimmed: for each writer the last record that the copy's own daemon deleted after its
            server had committed it: those are no hole.
    """

    folder: Path
    writer_id: bytes
    taken: dict[bytes, int]
    trimmed: dict[bytes, int]
    #: Where reading has to stop for now, once `entries` has come to its end.
    holes: dict[bytes, Hole] = field(default_factory=dict)
    #: Damage at the end of the spool: nobody knows what it held.
    damaged_end: str = ""
    #: Journal segments that hold nothing new unless they change.
    _read: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def entries(self) -> Iterator[NewEntry]:
        """What follows, in order for each writer. Blocking; to be advanced in a thread.

        Raises:
            OSError: the copy cannot be read.
        """
        while True:
            before = dict(self.taken)
            self.holes.clear()
            yield from self._journal()
            yield from self._spool()
            # The spool may have filled what the journal lacked, so that more of it follows.
            if not self.holes or not (self.taken != before or self._pass_trimmed()):
                return

    def _pass_trimmed(self) -> bool:
        """Goes over what the copy's daemon had its server commit and then deleted."""
        is_any = False
        for writer_id, hole in self.holes.items():
            if hole.last_seq <= self.trimmed.get(writer_id, 0):
                self.taken[writer_id] = hole.last_seq
                is_any = True
        return is_any

    def pass_end(self) -> None:
        """As above, where nothing is left behind what was deleted."""
        for writer_id, through in self.trimmed.items():
            if writer_id not in self.holes:
                self.taken[writer_id] = max(self.taken.get(writer_id, 0), through)

    def _journal(self) -> Iterator[NewEntry]:
        for number in segment_numbers(self.folder, "journal"):
            path = segment_path(self.folder, "journal", number)
            with contextlib.suppress(FileNotFoundError):  # trimmed, or replaced by the copying
                status = path.stat()
                version = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._read.get(path) == version:
                    continue
                yield from self._segment(path)
                if not self.holes:
                    self._read[path] = version

    def _segment(self, path: Path) -> Iterator[NewEntry]:
        damage: Damage | None = None
        for item in read_journal_segment(path):
            if isinstance(item, Damage):
                damage = item
                continue
            first_seq, last_seq = item.first_seq, item.last_seq
            if self._is_next(item.writer_id, first_seq, last_seq, damage):
                yield NewEntry(item.writer_id, first_seq, last_seq, bytes(item.payload))
            damage = None

    def _spool(self) -> Iterator[NewEntry]:
        damage: Damage | None = None
        for item in cut_spool(self.folder, after_seq=self.taken.get(self.writer_id, 0)):
            if isinstance(item, Damage):
                damage = item
                continue
            if self._is_next(self.writer_id, item.first_seq, item.last_seq, damage):
                yield NewEntry(self.writer_id, item.first_seq, item.last_seq, item.frames)
            damage = None
        self.damaged_end = f"{damage.path.name}: {damage.reason}" if damage is not None else ""

    def _is_next(
        self, writer_id: bytes, first_seq: int, last_seq: int, damage: Damage | None
    ) -> bool:
        taken = self.taken.get(writer_id, 0)
        if last_seq <= taken:
            return False
        if first_seq > taken + 1:
            known = self.holes.get(writer_id)
            if known is None or first_seq <= known.last_seq:
                self.holes[writer_id] = Hole(
                    writer_id=writer_id,
                    first_seq=taken + 1,
                    last_seq=first_seq - 1,
                    damage=_within(damage),
                )
            return False
        self.taken[writer_id] = last_seq
        hole = self.holes.get(writer_id)
        if hole is not None and hole.last_seq <= last_seq:
            del self.holes[writer_id]
        return True


def _within(damage: Damage | None) -> str:
    """What is wrong where damage lies before intact records of the same file."""
    if damage is None:
        return ""
    try:
        is_within = damage.end_bytes < damage.path.stat().st_size
    except OSError:
        return ""
    return f"{damage.path.name}: {damage.reason}" if is_within else ""


def newest_change(folder: Path) -> float:
    """When a segment of a folder last changed here, Unix seconds; 0 where there is none.

    By this disk's own time of change: copying may set the time of modification back.
    """
    changes = [0.0]
    for stem in ("journal", "spool"):
        for number in segment_numbers(folder, stem):
            with contextlib.suppress(OSError):
                changes.append(segment_path(folder, stem, number).stat().st_ctime)
    return max(changes)

"""Reading spools that no stream brings, in worker threads and bounded pieces."""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kelt.journal.batches import BatchCutter, CutBatch, cut_live_spool, cut_spool
from kelt.journal.reader import Damage, read_spool, read_spool_headers
from kelt.journal.segments import segment_numbers, segment_path
from kelt.spool_place import remove_spool_folder
from kelt_daemon.records import encode_loss

_DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, slots=True)
class UnknownLoss:
    """Damage at the end of a spool: how many records it held is not known."""

    reason: str


class SpoolImport:
    """Turns a spool into batches without holes: what is missing is a batch that says so.

    Args:
        folder: the run folder.
        writer_id: the trainer's writer.
        after_seq: what the journal has already.
        is_live: its writer goes on, so that nothing that does not look whole is taken for damage.
    """

    def __init__(
        self, *, folder: Path, writer_id: bytes, after_seq: int, is_live: bool = False
    ) -> None:
        self._folder = folder
        self._writer_id = writer_id
        self._through = after_seq
        live = cut_live_spool(folder, after_seq=after_seq)
        self._items: Iterator[CutBatch | UnknownLoss] = live if is_live else self._read(after_seq)
        self._damaged: set[Path] = set()

    def take(self, *, bytes_max: int) -> list[CutBatch | UnknownLoss]:
        """The next pieces, about `bytes_max` of them; none at the end.

        Raises:
            OSError: the spool cannot be read.
        """
        taken: list[CutBatch | UnknownLoss] = []
        size_bytes = 0
        for item in self._items:
            taken.append(item)
            if isinstance(item, CutBatch):
                size_bytes += len(item.frames)
            if size_bytes >= bytes_max:
                break
        return taken

    def _read(self, after_seq: int) -> Iterator[CutBatch | UnknownLoss]:
        damage: Damage | None = None
        for item in cut_spool(self._folder, after_seq=after_seq):
            if isinstance(item, Damage):
                damage = item
                self._damaged.add(item.path)
                continue
            if item.first_seq > self._through + 1:
                yield self._loss(item.first_seq - 1, damage)
            damage = None
            self._through = item.last_seq
            yield item
        if damage is not None:
            yield UnknownLoss(f"damage at the end of {damage.path.name}: {damage.reason}")

    def _loss(self, last_seq: int, damage: Damage | None) -> CutBatch:
        first_seq = self._through + 1
        reason = f"damage in {damage.path.name}: {damage.reason}" if damage else "a missing file"
        frames = encode_loss(self._writer_id, first_seq, last_seq, f"{reason}, on the run's host")
        return CutBatch(first_seq, last_seq, frames)

    def remove_files(self) -> None:
        """Once all of it is durable: deletes the segments, and sets damaged ones aside.

        Raises:
            OSError: they cannot be removed.
        """
        for number in segment_numbers(self._folder, "spool"):
            path = segment_path(self._folder, "spool", number)
            with contextlib.suppress(FileNotFoundError):
                if path in self._damaged:
                    path.rename(path.with_name(path.name + _DAMAGED_SUFFIX))
                else:
                    path.unlink()


def remove_spool(spool: SpoolImport, folder: Path, place: Path) -> None:
    """Once all of it is durable: deletes a spool, and where it lies apart its copy before.

    Args:
        spool: what was read.
        folder: the run folder.
        place: where the spool lies.

    Raises:
        OSError: it cannot be removed.
    """
    if place != folder:
        # Before: what is left of a removal that was cut short must not be taken for a spool.
        for number in reversed(segment_numbers(folder, "spool")):
            segment_path(folder, "spool", number).unlink(missing_ok=True)
    spool.remove_files()
    if place != folder:
        remove_spool_folder(place)


@dataclass(frozen=True, slots=True)
class SpoolSigns:
    """What the heads of a spool's segments tell: of losses, and that its writer moves."""

    #: Rows that found no room, as the writer counts them.
    lost_rows: int
    #: The beat in the newest segment in use.
    beat: int | None


def spool_signs(folder: Path) -> SpoolSigns:
    """The signs that a writer gives without a record.

    Raises:
        OSError: the spool cannot be read.
    """
    headers = read_spool_headers(folder)
    return SpoolSigns(
        lost_rows=max((header.lost_rows for header in headers), default=0),
        beat=max((header.beat for header in headers if header.first_seq), default=None),
    )


def untold_losses(folder: Path) -> int:
    """Rows that found no room in a spool and that its dead writer never came to tell of."""
    headers = [header for header in read_spool_headers(folder) if header.first_seq]
    lost = max((header.lost_rows for header in headers), default=0)
    told = max((header.told_rows for header in headers), default=0)
    return max(0, lost - told)


def has_spool(folder: Path) -> bool:
    """Whether there are spool segments."""
    return bool(segment_numbers(folder, "spool"))


@contextlib.contextmanager
def _bad_disk_is_damage() -> Iterator[None]:
    """What a disk does not give back is lost; what only cannot be read now is not."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def read_range(folder: Path, first_seq: int, last_seq: int) -> list[CutBatch]:
    """A range of records as batches, as far as the spool still has them.

    Raises:
        OSError: the spool cannot be read now.
    """
    cutter = BatchCutter()
    found: list[CutBatch | None] = []
    with contextlib.suppress(struct.error), _bad_disk_is_damage():
        for item in read_spool(folder, after_seq=first_seq - 1):
            if isinstance(item, Damage):
                continue
            if item.seq > last_seq:
                break
            found.append(cutter.take(item, after_seq=first_seq - 1))
    found.append(cutter.flush())
    return [batch for batch in found if batch is not None]

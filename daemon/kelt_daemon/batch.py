"""Which journal entries make a push, and what becomes of records that are refused: pure.

A refusal names no record. The push is sent again in halves, one at a time, until what is refused is
a single record; that one is set aside, and a loss marker takes its place in the sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kelt.journal.entries import Entry
from kelt_proto.v1.frames import DamagedFrameError, Frame, Kind, iter_frames


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Records `first_seq` to `last_seq` of a writer; no `frames` where they are missing here."""

    writer_id: bytes
    first_seq: int
    last_seq: int
    frames: bytes | None


@dataclass(slots=True)
class Push:
    """What goes into one request, and how far each writer is sent with it."""

    batches: list[Outgoing] = field(default_factory=list)
    sent_through: dict[bytes, int] = field(default_factory=dict)
    #: How many of the entries went in or needed not go.
    taken: int = 0
    #: What it holds of the upstream's slots while it is on its way.
    slot: object = None

    @property
    def records(self) -> int:
        """How many numbers it covers."""
        return sum(batch.last_seq - batch.first_seq + 1 for batch in self.batches)

    @property
    def size_bytes(self) -> int:
        """How large it is, without what surrounds frames."""
        return sum(len(batch.frames or b"") for batch in self.batches)


@dataclass(frozen=True, kw_only=True)
class PushBounds:
    """How large a push may be, given how the last ones went.

    Args:
        bytes_limit: what the upstream takes.
        bytes_min: no smaller than this, however slow the way is.
        bytes_max: now.
        records_max: now; None: no bound, because nothing is being looked for.
    """

    bytes_limit: int
    bytes_min: int
    bytes_max: int
    records_max: int | None = None

    @classmethod
    def widest(cls, *, bytes_limit: int, bytes_min: int) -> PushBounds:
        """All that the upstream takes."""
        return cls(bytes_limit=bytes_limit, bytes_min=bytes_min, bytes_max=bytes_limit)

    @property
    def is_careful(self) -> bool:
        """Whether one push at a time is sent, because one of its records may be refused."""
        return self.records_max is not None

    def limited(self, bytes_limit: int) -> PushBounds:
        """With the limit of the upstream that answers now."""
        return replace(self, bytes_limit=bytes_limit, bytes_max=min(self.bytes_max, bytes_limit))

    def too_slow(self, push: Push) -> PushBounds:
        """After a push that was not answered in time: half of it."""
        smaller = max(self.bytes_min, min(self.bytes_max, push.size_bytes) // 2)
        slower = replace(self, bytes_max=smaller)
        is_one_batch = len(push.batches) == 1 and push.size_bytes > self.bytes_min
        return slower.refused(push.records) if is_one_batch else slower

    def refused(self, records: int) -> PushBounds:
        """After a push of so many records was refused: half of them, to find the one."""
        return replace(self, records_max=max(1, records // 2))

    def accepted(self, records: int) -> PushBounds:
        """After a push that was taken."""
        wider = replace(self, bytes_max=min(self.bytes_limit, self.bytes_max * 2))
        if self.records_max is None or records < self.records_max:
            return wider
        doubled = self.records_max * 2
        return replace(wider, records_max=None if doubled >= _CAREFUL_RECORDS_MAX else doubled)


#: As many records taken in one push end the search.
_CAREFUL_RECORDS_MAX = 4096


def gather(
    entries: Sequence[Entry],
    sent: Mapping[bytes, int],
    *,
    bytes_max: int,
    records_max: int | None = None,
) -> Push:
    """Whole entries in their order, up to `bytes_max` (one larger travels alone).

    With `records_max` an entry is cut where that many records are together, and counts as taken
    once nothing of it is left.

    Entries that were sent are passed over: they lie twice in the journal after a failed sync. A
    jump in a writer's numbers becomes a batch without frames, for the caller to fill.

    Args:
        entries: as they follow in the journal.
        sent: the last record of each writer that was sent or is committed.
        bytes_max: the upstream's limit for a push.
        records_max: records in a push, at most.
    """
    push = Push(sent_through=dict(sent))
    size_bytes = 0
    for entry in entries:
        through = push.sent_through.get(entry.writer_id, 0)
        if entry.last_seq > through:
            if push.batches and size_bytes + len(entry.payload) > bytes_max:
                return push
            if records_max is not None:
                if not _take_part(push, entry, through, records_max):
                    return push
                push.taken += 1
                continue
            if entry.first_seq > through + 1:
                push.batches.append(
                    Outgoing(entry.writer_id, through + 1, entry.first_seq - 1, None)
                )
            push.batches.append(
                Outgoing(entry.writer_id, entry.first_seq, entry.last_seq, entry.payload)
            )
            size_bytes += len(entry.payload)
            push.sent_through[entry.writer_id] = entry.last_seq
        push.taken += 1
    return push


def _take_part(push: Push, entry: Entry, through: int, records_max: int) -> bool:
    """Takes what of an entry goes in; returns whether nothing of it is left."""
    if entry.first_seq > through + 1:  # missing here: one loss marker, however many
        push.batches.append(Outgoing(entry.writer_id, through + 1, entry.first_seq - 1, None))
        push.sent_through[entry.writer_id] = entry.first_seq - 1
        return False
    room = records_max - push.records
    if room <= 0:
        return False
    whole = Outgoing(entry.writer_id, entry.first_seq, entry.last_seq, entry.payload)
    last_seq = min(entry.last_seq, through + room)
    part = cut(whole, through + 1, last_seq)
    if part.last_seq > last_seq and push.batches:
        return False  # it cannot be cut, and travels alone
    push.batches.append(part)
    push.sent_through[entry.writer_id] = part.last_seq
    return part.last_seq == entry.last_seq


def cut(batch: Outgoing, first_seq: int, last_seq: int) -> Outgoing:
    """The records `first_seq` to `last_seq` of a batch, with the schemas that stand before them.

    A batch that does not hold each of its records, such as a loss marker, stays whole. Numbers that
    hold nothing go with the record behind them: the part ends before it where it does not reach it,
    and with it where there would be nothing else.
    """
    if (batch.first_seq, batch.last_seq) == (first_seq, last_seq):
        return batch
    frames = _numbered_and_schemas(batch)
    if frames is None:
        return batch
    seqs = [frame.seq for frame in frames if frame.seq >= first_seq]
    end_seq = max((seq for seq in seqs if seq <= last_seq), default=seqs[0])
    kept = [
        frame.memory
        for frame in frames
        if first_seq <= frame.seq <= end_seq or (frame.seq == 0 and frame.kind == Kind.SCHEMA)
    ]
    return Outgoing(batch.writer_id, first_seq, end_seq, b"".join(kept))


def _numbered_and_schemas(batch: Outgoing) -> list[Frame] | None:
    if batch.frames is None:
        return None
    try:
        frames = list(iter_frames(memoryview(batch.frames)))
    except DamagedFrameError:
        return None
    next_seq = batch.first_seq
    for frame in frames:
        if frame.seq:
            if frame.first_seq != next_seq:
                return None
            next_seq = frame.seq + 1
    return frames if next_seq == batch.last_seq + 1 else None


def without_refused(
    batch: Outgoing, refused: Mapping[tuple[bytes, int], Outgoing]
) -> list[Outgoing]:
    """A batch with loss markers in the place of what the upstream refused before.

    Args:
        batch: to be sent.
        refused: by writer and first number, the marker for each range that was set aside.
    """
    inside = sorted(
        (
            marker
            for (writer_id, _), marker in refused.items()
            if writer_id == batch.writer_id
            and marker.first_seq <= batch.last_seq
            and marker.last_seq >= batch.first_seq
        ),
        key=lambda marker: marker.first_seq,
    )
    if not inside or batch.frames is None:
        return [batch]
    parts: list[Outgoing] = []
    next_seq = batch.first_seq
    for marker in inside:
        if marker.first_seq > next_seq:
            parts.append(cut(batch, next_seq, marker.first_seq - 1))
        parts.append(marker)
        next_seq = marker.last_seq + 1
    if next_seq <= batch.last_seq:
        parts.append(cut(batch, next_seq, batch.last_seq))
    return parts

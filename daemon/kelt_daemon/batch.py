"""Which journal entries make a push: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kelt.journal.entries import Entry


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


def gather(entries: Sequence[Entry], sent: Mapping[bytes, int], *, bytes_max: int) -> Push:
    """Whole entries in their order, up to `bytes_max` (one larger travels alone).

    Entries that were sent are passed over: they lie twice in the journal after a failed sync. A
    jump in a writer's numbers becomes a batch without frames, for the caller to fill.

    Args:
        entries: as they follow in the journal.
        sent: the last record of each writer that was sent or is committed.
        bytes_max: the upstream's limit for a push.
    """
    push = Push(sent_through=dict(sent))
    size_bytes = 0
    for entry in entries:
        through = push.sent_through.get(entry.writer_id, 0)
        if entry.last_seq > through:
            if push.batches and size_bytes + len(entry.payload) > bytes_max:
                return push
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

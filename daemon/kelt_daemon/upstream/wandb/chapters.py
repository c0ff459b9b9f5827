"""Batches of a run folder into records, and records into chapters: pure.

A chapter begins where the server must be asked before rows can be given an index: where the session
opens, and where it goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kelt_daemon.batch import Outgoing
from kelt_proto.v1.frames import DamagedFrameError, Kind, iter_frames
from kelt_proto.v1.rows import DamagedRowError, Schema, decode_schema

_OPENINGS = frozenset((Kind.RUN_OPENED, Kind.REWIND))


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `schemas` are those of its batch. `damage` says why it cannot be read."""

    writer_id: bytes
    seq: int
    kind: int
    payload: bytes | memoryview
    schemas: Mapping[int, Schema]


@dataclass(slots=True)
class Chapter:
    """Records that follow an opening, if it has one."""

    opening: Record | None = None
    records: list[Record] = field(default_factory=list)


def contiguous(
    batches: Sequence[Outgoing], folded: Mapping[bytes, int]
) -> tuple[list[Outgoing], set[bytes]]:
    """The batches that continue what was folded, and the writers of which something is missing."""
    through, gaps, fitting = dict(folded), set(), []
    for batch in batches:
        at = through.get(batch.writer_id, 0)
        if batch.first_seq > at + 1:
            gaps.add(batch.writer_id)
        elif batch.last_seq > at and batch.writer_id not in gaps:
            through[batch.writer_id] = batch.last_seq
            fitting.append(batch)
    return fitting, gaps


def chapters(batches: Iterable[Outgoing], folded: Mapping[bytes, int]) -> list[Chapter]:
    """The records beyond what was folded, in their order.

    Raises:
        DamagedFrameError: a batch cannot be read.
    """
    found = [Chapter()]
    for batch in batches:
        for record in _records(batch, after=folded.get(batch.writer_id, 0)):
            if record.kind in _OPENINGS:
                found.append(Chapter(opening=record))
            else:
                found[-1].records.append(record)
    return [chapter for chapter in found if chapter.opening or chapter.records]


def _records(batch: Outgoing, *, after: int) -> Iterator[Record]:
    schemas: dict[int, Schema] = {}
    for frame in iter_frames(memoryview(batch.frames or b"")):
        if frame.kind == Kind.SCHEMA:
            try:
                schema = decode_schema(frame.payload)
            except DamagedRowError as error:
                raise DamagedFrameError(str(error), offset_bytes=frame.offset_bytes) from error
            schemas[schema.schema_id] = schema
        elif frame.seq > after:
            yield Record(batch.writer_id, frame.seq, frame.kind, frame.payload, schemas)

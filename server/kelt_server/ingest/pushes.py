"""What daemons push, and what they are told of it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import WRITER_ID_BYTES
from kelt_server.access.callers import Caller
from kelt_server.errors import BadBatchError, BadRequestError, KeltServerError
from kelt_server.ingest.writer_state import INT64_MAX


@dataclass(frozen=True, slots=True)
class Push:
    """Batches that came together, and from whom: None stands for this server itself."""

    batches: Sequence[record_pb2.Batch]
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class WriterAck:
    """What is said to a daemon about one writer."""

    writer_id: bytes
    committed_through: int
    gap: bool


PushResult = list[WriterAck] | KeltServerError


def fault_of(batch: record_pb2.Batch) -> KeltServerError | None:
    """What is wrong with a batch as a message, whatever its content."""
    if len(batch.writer_id) != WRITER_ID_BYTES:
        return BadRequestError(
            f"a batch of a writer id of {len(batch.writer_id)} bytes; it has {WRITER_ID_BYTES}"
        )
    if not 1 <= batch.first_seq <= batch.last_seq <= INT64_MAX:
        return BadRequestError(
            f"a batch of the records {batch.first_seq} to {batch.last_seq}; numbers rise from 1"
        )
    if zlib.crc32(batch.frames) != batch.crc32:
        return BadBatchError(
            f"the batch {batch.first_seq}-{batch.last_seq} of writer {batch.writer_id.hex()} was "
            "damaged on the way (its checksum does not match); send it again"
        )
    return None

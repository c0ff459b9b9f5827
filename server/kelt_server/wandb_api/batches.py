"""Builds the records of one post as the batch that a daemon would have sent. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX, Kind, crc_seed, encode_frame
from kelt_proto.v1.rows import INLINE_SCHEMA_ID, SCHEMAS_MAX, RowHeader, Schema, encode_row
from kelt_server.wandb_api.history_lines import RowLine


class _Message(Protocol):
    def SerializeToString(self) -> bytes:  # noqa: N802 # protobuf's
        """The payload."""


class BatchBuilder:
    """Frames of one writer, from a sequence number on. Mutable state: the frames so far."""

    def __init__(self, *, writer_id: bytes, last_seq: int) -> None:
        self._writer_id = writer_id
        self._seed = crc_seed(writer_id)
        self._first_seq = last_seq + 1
        self._schemas: dict[tuple[tuple[str, ...], tuple[int, ...]], Schema] = {}
        self._frames: list[bytes] = []
        #: The number of the last record.
        self.last_seq = last_seq

    def add(self, kind: int, message: _Message) -> bool:
        """Takes a control record; False where it is larger than a record may be."""
        return self._add(kind, message.SerializeToString())

    def add_row(self, line: RowLine, header: tuple[int, int, float]) -> bool:
        """Takes a row: (flags, step, timestamp); False where it is larger than one may be."""
        flags, step, timestamp = header
        key = (line.names, line.kinds)
        schema = self._schemas.get(key)
        if schema is None:
            full = len(self._schemas) >= SCHEMAS_MAX
            number = INLINE_SCHEMA_ID if full else len(self._schemas)
            schema = Schema(number, line.names, line.kinds)
        payload = encode_row(
            schema, RowHeader(schema.schema_id, flags, step, timestamp, line.runtime), line.values
        )
        if len(payload) > PAYLOAD_BYTES_MAX or len(schema.encode()) > PAYLOAD_BYTES_MAX:
            return False
        if schema.schema_id != INLINE_SCHEMA_ID:
            self._schemas[key] = schema
        return self._add(Kind.ROW, payload)

    def lose(self, reason: str, *, rows: int) -> None:
        """Says that rows, or values, came and cannot be kept."""
        message = record_pb2.Loss(writer_id=self._writer_id, rows=rows, reason=reason)
        self._add(Kind.LOSS, message.SerializeToString())

    def batch(self) -> record_pb2.Batch | None:
        """All of it; None where there is nothing."""
        if not self._frames:
            return None
        schemas = [
            encode_frame(self._seed, Kind.SCHEMA, 0, schema.encode())
            for schema in self._schemas.values()
        ]
        content = b"".join([*schemas, *self._frames])
        return record_pb2.Batch(
            writer_id=self._writer_id,
            first_seq=self._first_seq,
            last_seq=self.last_seq,
            crc32=zlib.crc32(content),
            frames=content,
        )

    def _add(self, kind: int, payload: bytes) -> bool:
        if len(payload) > PAYLOAD_BYTES_MAX:
            return False
        self.last_seq += 1
        self._frames.append(encode_frame(self._seed, kind, self.last_seq, payload))
        return True


def json_items(values: Mapping[str, Any], removed: Iterable[str] = ()) -> list[record_pb2.JsonItem]:
    """Values as records hold them."""
    said = [record_pb2.JsonItem(key=key, json=json.dumps(v)) for key, v in values.items()]
    return said + [record_pb2.JsonItem(key=key, removed=True) for key in removed]

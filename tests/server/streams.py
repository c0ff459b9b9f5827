"""Writers' streams, built with the protocol's own encoders."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from kelt_proto.v1 import frames, record_pb2, rows


def kind_of(value: Any) -> int:
    if value is None:
        return rows.ColumnKind.NONE
    if isinstance(value, bool):
        return rows.ColumnKind.BOOL
    if isinstance(value, int):
        return rows.ColumnKind.INT if -(2**63) <= value < 2**63 else rows.ColumnKind.JSON
    if isinstance(value, float):
        return rows.ColumnKind.FLOAT
    return rows.ColumnKind.TEXT if isinstance(value, str) else rows.ColumnKind.JSON


@dataclass
class Stream:
    """The records of one writer, as frames, in order."""

    writer_id: bytes
    schemas: list[rows.Schema] = field(default_factory=list)
    frames: list[tuple[bytes, int | None]] = field(default_factory=list)  # frame, schema used

    @property
    def seed(self) -> int:
        return frames.crc_seed(self.writer_id)

    @property
    def last_seq(self) -> int:
        return len(self.frames)

    def record(self, kind: int, message: Any) -> int:
        payload = message if isinstance(message, bytes) else message.SerializeToString()
        seq = self.last_seq + 1
        self.frames.append((frames.encode_frame(self.seed, kind, seq, payload), None))
        return seq

    def opened(
        self, project: str, run_id: str, branch_id: str, *, started_at: float, **more: Any
    ) -> int:
        return self.record(
            frames.Kind.RUN_OPENED,
            record_pb2.RunOpened(
                project=project,
                run_id=run_id,
                branch_id=branch_id,
                started_at=started_at,
                host=record_pb2.Host(hostname="host", pid=7),
                **more,
            ),
        )

    def row(
        self,
        step: int,
        values: dict[str, Any],
        *,
        flags: int = 0,
        timestamp: float = 1.0,
        runtime: float = 0.5,
        inline: bool = False,
    ) -> int:
        names, kinds = tuple(values), tuple(kind_of(value) for value in values.values())
        number = next(
            (i for i, s in enumerate(self.schemas) if (s.names, s.kinds) == (names, kinds)), None
        )
        if inline:
            schema = rows.Schema(rows.INLINE_SCHEMA_ID, names, kinds)
        elif number is None:
            number = len(self.schemas)
            schema = rows.Schema(number, names, kinds)
            self.schemas.append(schema)
        else:
            schema = self.schemas[number]
        header = rows.RowHeader(schema.schema_id, flags, step, timestamp, runtime)
        payload = rows.encode_row(schema, header, list(values.values()))
        seq = self.last_seq + 1
        frame = frames.encode_frame(self.seed, frames.Kind.ROW, seq, payload)
        self.frames.append((frame, None if inline else number))
        return seq

    def config(self, at: float, **values: Any) -> int:
        return self.record(frames.Kind.CONFIG, record_pb2.Config(items=json_items(values), at=at))

    def summary(self, step: int, values: dict[str, Any]) -> int:
        return self.record(
            frames.Kind.SUMMARY, record_pb2.Summary(items=json_items(values), step=step)
        )

    def define(self, name: str, summary: str, *, step: int = -1, goal: str = "") -> int:
        return self.record(
            frames.Kind.METRIC_DEFINITION,
            record_pb2.MetricDefinition(name=name, summary=summary, goal=goal, step=step),
        )

    def rewind(self, branch_id: str, *, at: float, point: record_pb2.BranchPoint) -> int:
        return self.record(
            frames.Kind.REWIND, record_pb2.Rewind(branch_id=branch_id, point=point, at=at)
        )

    def exit(self, exit_code: int, *, at: float, reason: str = "") -> int:
        return self.record(
            frames.Kind.EXIT, record_pb2.Exit(exit_code=exit_code, reason=reason, at=at)
        )

    def loss(self, of: bytes, first: int, last: int, reason: str = "trimmed") -> int:
        message = record_pb2.Loss(
            writer_id=of, first_seq=first, last_seq=last, rows=last - first + 1, reason=reason
        )
        return self.record(frames.Kind.LOSS, message)

    def batch(self, first: int, last: int) -> record_pb2.Batch:
        picked = self.frames[first - 1 : last]
        used = sorted({number for _, number in picked if number is not None})
        parts = [
            frames.encode_frame(self.seed, frames.Kind.SCHEMA, 0, self.schemas[number].encode())
            for number in used
        ]
        return sealed(self.writer_id, first, last, b"".join(parts + [frame for frame, _ in picked]))

    def batches(self, size: int = 1000) -> list[record_pb2.Batch]:
        return [
            self.batch(first, min(first + size - 1, self.last_seq))
            for first in range(1, self.last_seq + 1, size)
        ]


def sealed(writer_id: bytes, first: int, last: int, content: bytes) -> record_pb2.Batch:
    return record_pb2.Batch(
        writer_id=writer_id,
        first_seq=first,
        last_seq=last,
        crc32=zlib.crc32(content),
        frames=content,
    )


def json_items(values: dict[str, Any]) -> list[record_pb2.JsonItem]:
    return [record_pb2.JsonItem(key=key, json=json.dumps(v)) for key, v in values.items()]


def writer_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def simple_run(
    number: int = 1, *, run_id: str = "run", branch_id: str = "b", row_count: int = 3
) -> Stream:
    """A run of `row_count` rows with the loss n + 0.5 at step n."""
    stream = Stream(writer_id(number))
    stream.opened("proj", run_id, branch_id, started_at=float(number), created=record_pb2.Created())
    for step in range(row_count):
        stream.row(step, {"loss": step + 0.5}, timestamp=100.0 + step, runtime=float(step))
    return stream

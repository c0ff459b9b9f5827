"""Runs pushed to a real server over its gRPC door, record by record, with no daemon between."""

from __future__ import annotations

import json
import os
import time
import zlib
from dataclasses import dataclass, field

import grpc

from kelt_proto.v1 import record_pb2, upstream_pb2, upstream_pb2_grpc
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.rows import INLINE_SCHEMA_ID, ColumnKind, RowHeader, Schema, encode_row


@dataclass
class PushedRun:
    """One session. Rows carry their schema with them."""

    port: int
    run_id: str
    project: str = "demo"
    entity: str = ""
    key: str = ""
    writer_id: bytes = field(default_factory=lambda: os.urandom(16))
    branch_id: str = field(default_factory=lambda: os.urandom(8).hex())
    started_at: float = field(default_factory=time.time)
    seq: int = 0
    pending: list[tuple[int, int, bytes]] = field(default_factory=list)

    def opened(self, *, forked=None, **info):
        message = record_pb2.RunOpened(
            entity=self.entity,
            project=self.project,
            run_id=self.run_id,
            branch_id=self.branch_id,
            started_at=self.started_at,
            info=record_pb2.RunInfo(**info),
            host=record_pb2.Host(hostname="box", pid=1),
            sdk_version="0",
        )
        if forked is None:
            message.created.SetInParent()
        else:
            message.forked.CopyFrom(forked)
        return self.record(Kind.RUN_OPENED, message)

    def config(self, **values):
        items = [record_pb2.JsonItem(key=k, json=json.dumps(v)) for k, v in values.items()]
        return self.record(Kind.CONFIG, record_pb2.Config(items=items, at=self.started_at))

    def row(self, step, **values):
        kinds = []
        for value in values.values():
            by_type = {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT", type(None): "NONE"}
            kinds.append(ColumnKind[by_type.get(type(value), "JSON")])
        schema = Schema(INLINE_SCHEMA_ID, tuple(values), tuple(kinds))
        header = RowHeader(INLINE_SCHEMA_ID, 0, step, self.started_at + step, float(step))
        return self.frame(Kind.ROW, encode_row(schema, header, list(values.values())))

    def rewound(self, step):
        """The name goes on on a new branch from here."""
        old, self.branch_id = self.branch_id, os.urandom(8).hex()
        point = record_pb2.BranchPoint(
            project=self.project, run_id=self.run_id, branch_id=old, step=step
        )
        message = record_pb2.Rewind(branch_id=self.branch_id, point=point, at=time.time())
        return self.record(Kind.REWIND, message)

    def ended(self, exit_code=0, reason="", signal=0):
        return self.record(
            Kind.EXIT,
            record_pb2.Exit(exit_code=exit_code, reason=reason, signal=signal, at=time.time()),
        )

    def lost(self, rows, reason):
        return self.record(
            Kind.LOSS, record_pb2.Loss(writer_id=self.writer_id, rows=rows, reason=reason)
        )

    def printed(self, *texts):
        lines = [
            record_pb2.ConsoleLine(number=number, text=text, at=5.0)
            for number, text in enumerate(texts)
        ]
        return self.record(Kind.CONSOLE, record_pb2.Console(lines=lines))

    def point(self, step):
        """Where a fork leaves this run."""
        return record_pb2.BranchPoint(
            project=self.project, run_id=self.run_id, branch_id=self.branch_id, step=step
        )

    def record(self, kind, message):
        return self.frame(kind, message.SerializeToString())

    def frame(self, kind, payload):
        self.seq += 1
        self.pending.append((self.seq, kind, payload))
        return self

    def push(self):
        seed = crc_seed(self.writer_id)
        frames = b"".join(encode_frame(seed, kind, seq, body) for seq, kind, body in self.pending)
        batch = record_pb2.Batch(
            writer_id=self.writer_id,
            first_seq=self.pending[0][0],
            last_seq=self.pending[-1][0],
            crc32=zlib.crc32(frames),
            frames=frames,
        )
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            reply = upstream_pb2_grpc.UpstreamStub(channel).Push(
                upstream_pb2.PushRequest(batches=[batch]),
                timeout=60,
                metadata=[("authorization", f"Bearer {self.key}")] if self.key else None,
            )
        assert reply.cursors[0].committed_through == self.seq, reply
        self.pending = []
        return self

"""A server that keeps in memory what daemons push, and holds them to the contract.

It is written from `upstream.proto` and the frame format alone, and takes frames apart by itself, so
that it can judge the daemon: whatever is not as it should be goes into `violations`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from kelt_proto.v1.record_pb2 import Assertion, Batch, Loss
from kelt_proto.v1.upstream_pb2 import (
    CursorsReply,
    CursorsRequest,
    DescribeRunReply,
    DescribeRunRequest,
    HeartbeatReply,
    HeartbeatRequest,
    PushReply,
    PushRequest,
    UpstreamHelloReply,
    UpstreamHelloRequest,
    WriterCursor,
)
from kelt_proto.v1.upstream_pb2_grpc import UpstreamServicer, add_UpstreamServicer_to_server

_HEADER = struct.Struct("<IBBHQII")
SCHEMA, ROW, RUN_OPENED, EXIT, LOSS, ASSERTION = 1, 2, 3, 9, 10, 11


@dataclass
class Record:
    kind: int
    payload: bytes
    #: A loss stands for all numbers from here to its own.
    first_seq: int


def take_apart(frames: bytes) -> list[tuple[int, int, bytes]]:
    """(kind, seq, payload) of each frame, read by hand."""
    found, offset = [], 0
    while offset < len(frames):
        length, kind, _, mark, seq, _, _ = _HEADER.unpack_from(frames, offset)
        if mark != 0x4B4C:
            raise ValueError(f"no frame at byte {offset}")
        start = offset + _HEADER.size
        found.append((kind, seq, frames[start : start + length]))
        offset = start + (length + 7) // 8 * 8
    return found


@dataclass
class MemoryUpstream(UpstreamServicer):
    """The store lives on when the server is stopped and started again."""

    server_id: str = "server-1"
    api_key: str = ""
    protocol: int = 1
    push_bytes_max: int = 4 * 1024 * 1024
    records: dict[bytes, dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))
    cursors: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    beats: list[dict[bytes, bool]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    pushes: int = 0
    refusals: int = 0
    #: Raised before a push is looked at, once each.
    failures: list[grpc.StatusCode] = field(default_factory=list)
    #: Answers are lost for so many pushes: taken, but the caller is told of an error.
    lost_answers: int = 0
    http_port: int = 0
    grpc_port: int = 0
    _server: Any = None
    _http: Any = None
    _answers: set[asyncio.Task] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 16 * 1024 * 1024),
                ("grpc.so_reuseport", 0),
            ]
        )
        add_UpstreamServicer_to_server(self, self._server)
        self.grpc_port = self._server.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        await self._server.start()
        self._http = await asyncio.start_server(self._accept, "127.0.0.1", self.http_port)
        self.http_port = self._http.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        # Taking connections ends first: one that was taken as the server closed would leak.
        for listening in self._http.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0.01)
        self._http.close()
        for _ in range(10):  # connections just accepted get their task one after the other
            await asyncio.sleep(0.01)
            for answer in list(self._answers):
                answer.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)
            for writer in self._writers:  # a task that is cancelled before it begins closes nothing
                writer.close()
        await self._server.stop(grace=None)

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._answer(reader, writer))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._say_info(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller went away
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def _say_info(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        info = {
            "version": "0.1.0",
            "protocol": self.protocol,
            "server_id": self.server_id,
            "grpc_port": self.grpc_port,
            "default_entity": "someone",
            "auth_required": bool(self.api_key),
        }
        body = json.dumps(info).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()

    async def _check_key(self, context: Any) -> None:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if self.api_key and given != f"Bearer {self.api_key}":
            self.refusals += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown key")

    async def Hello(  # noqa: N802 # the name in upstream.proto
        self, _request: UpstreamHelloRequest, context: Any
    ) -> UpstreamHelloReply:
        await self._check_key(context)
        return UpstreamHelloReply(
            version="0.1.0",
            protocol=self.protocol,
            server_id=self.server_id,
            default_entity="someone",
            push_bytes_max=self.push_bytes_max,
        )

    async def Push(  # noqa: N802 # the name in upstream.proto
        self, request: PushRequest, context: Any
    ) -> PushReply:
        await self._check_key(context)
        self.pushes += 1
        if self.failures:
            await context.abort(self.failures.pop(0), "a failure that was asked for")
        gaps = {}
        for batch in request.batches:
            gaps[batch.writer_id] = self._take(batch) or gaps.get(batch.writer_id, False)
        if self.lost_answers:
            self.lost_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return PushReply(
            cursors=[
                WriterCursor(writer_id=w, committed_through=self.cursors[w], gap=gap)
                for w, gap in gaps.items()
            ]
        )

    def _take(self, batch: Batch) -> bool:
        writer = batch.writer_id
        if len(writer) != 16 or not 0 < batch.first_seq <= batch.last_seq:
            self.violations.append(f"a batch {batch.first_seq} to {batch.last_seq}")
            return False
        if zlib.crc32(batch.frames) != batch.crc32:
            self.violations.append("a batch whose checksum does not match")
            return False
        if batch.first_seq > self.cursors[writer] + 1:
            return True
        if batch.last_seq <= self.cursors[writer]:
            return False
        numbered = [f for f in take_apart(batch.frames) if f[0] != SCHEMA]
        seqs = [seq for _, seq, _ in numbered]
        is_loss = len(numbered) == 1 and numbered[0][0] == LOSS and seqs == [batch.last_seq]
        if not is_loss and seqs != list(range(batch.first_seq, batch.last_seq + 1)):
            self.violations.append(f"{batch.first_seq} to {batch.last_seq} holds {seqs[:20]}")
            return False
        for kind, seq, payload in numbered:
            if seq > self.cursors[writer]:
                first_seq = batch.first_seq if is_loss else seq
                self.records[writer][seq] = Record(kind, payload, first_seq)
        self.cursors[writer] = batch.last_seq
        return False

    async def Cursors(  # noqa: N802 # the name in upstream.proto
        self, request: CursorsRequest, context: Any
    ) -> CursorsReply:
        await self._check_key(context)
        return CursorsReply(
            cursors=[
                WriterCursor(writer_id=w, committed_through=self.cursors[w])
                for w in request.writer_ids
            ]
        )

    async def Heartbeat(  # noqa: N802 # the name in upstream.proto
        self, request: HeartbeatRequest, context: Any
    ) -> HeartbeatReply:
        await self._check_key(context)
        self.beats.append({b.writer_id: b.stalled for b in request.beats})
        return HeartbeatReply()

    async def DescribeRun(  # noqa: N802 # the name in upstream.proto
        self, request: DescribeRunRequest, context: Any
    ) -> DescribeRunReply:
        await self._check_key(context)
        return DescribeRunReply(exists=True, project=request.project, run_id=request.run_id)

    # -- what tests ask --------------------------------------------------------------------------

    def of_kind(self, writer_id: bytes, kind: int) -> list[bytes]:
        return [r.payload for _, r in sorted(self.records[writer_id].items()) if r.kind == kind]

    def row_values(self, writer_id: bytes) -> list[float]:
        """The first column of each row."""
        return [struct.unpack_from("<d", p, 32)[0] for p in self.of_kind(writer_id, ROW)]

    def assertions(self, about: bytes) -> list[Assertion]:
        found = [
            Assertion.FromString(payload)
            for writer in list(self.records)
            for payload in self.of_kind(writer, ASSERTION)
        ]
        return [a for a in found if a.writer_id == about]

    def losses(self, writer_id: bytes) -> list[Loss]:
        return [Loss.FromString(p) for p in self.of_kind(writer_id, LOSS)]

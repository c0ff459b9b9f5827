"""Runs of synthetic rows, pushed to a server as its daemons do it: batches over gRPC."""

from __future__ import annotations

import contextlib
import hashlib
import json
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from kelt_proto.v1 import frames, record_pb2, rows, upstream_pb2, upstream_pb2_grpc

_HEADER_WORDS = frames.FRAME_HEADER_BYTES // 8
_ROW_WORDS = rows.ROW_HEADER_BYTES // 8
_PREFIX_BYTES = 16
#: When the first synthetic row was logged.
BEGAN_AT = 1_790_000_000.0


class Door:
    """The server's ingest."""

    def __init__(self, address: str) -> None:
        limits = [("grpc.max_send_message_length", 64 * 2**20)]
        self._channel = grpc.insecure_channel(address, options=limits)
        self._stub = upstream_pb2_grpc.UpstreamStub(self._channel)

    def push(self, batches: Sequence[record_pb2.Batch]) -> None:
        """Returns when they are committed."""
        self._stub.Push(upstream_pb2.PushRequest(batches=batches), timeout=600)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


@contextlib.contextmanager
def door(url: str) -> Iterator[Door]:
    """The ingest of the server whose HTTP address is known."""
    with urllib.request.urlopen(f"{url}/api/v1/info", timeout=30) as reply:
        port = json.load(reply)["grpc_port"]
    opened = Door(f"127.0.0.1:{port}")
    try:
        yield opened
    finally:
        opened.close()


@dataclass
class Run:
    """One writer of one run. Mutable state: the number of its last record."""

    project: str
    run_id: str
    metrics: Sequence[str]
    parent: Run | None = None
    fork_step: int = -1
    began_at: float = BEGAN_AT
    last_seq: int = field(default=0, init=False)

    @property
    def writer_id(self) -> bytes:
        """Follows from its name."""
        return hashlib.blake2b(f"{self.project}/{self.run_id}".encode(), digest_size=16).digest()

    @property
    def branch_id(self) -> str:
        """Follows from its name."""
        return f"branch-{self.writer_id.hex()[:16]}"

    def opened(self, config: Mapping[str, Any] | None = None) -> record_pb2.Batch:
        """The batch of its first records."""
        how: dict[str, Any] = {"created": record_pb2.Created()}
        if self.parent is not None:
            point = record_pb2.BranchPoint(
                project=self.project,
                run_id=self.parent.run_id,
                branch_id=self.parent.branch_id,
                step=self.fork_step,
            )
            how = {"forked": point}
        opened = record_pb2.RunOpened(
            project=self.project,
            run_id=self.run_id,
            branch_id=self.branch_id,
            started_at=self.began_at,
            host=record_pb2.Host(hostname="host", pid=1),
            **how,
        )
        records = [(frames.Kind.RUN_OPENED, opened)]
        if config:
            items = [record_pb2.JsonItem(key=k, json=json.dumps(v)) for k, v in config.items()]
            records.append((frames.Kind.CONFIG, record_pb2.Config(items=items, at=self.began_at)))
        return self._records(records)

    def ended(self) -> record_pb2.Batch:
        """The batch of its last record."""
        at = self.began_at + self.last_seq
        return self._records([(frames.Kind.EXIT, record_pb2.Exit(exit_code=0, at=at))])

    def rows(
        self, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> record_pb2.Batch:
        """A batch of rows; `values` has a line for each step and a column for each metric."""
        count, first_seq = len(steps), self.last_seq + 1
        payload_bytes = rows.ROW_HEADER_BYTES + 8 * len(self.metrics)
        words = np.zeros((count, _HEADER_WORDS + payload_bytes // 8), "<u8")
        words[:, 0] = frames.word0(frames.Kind.ROW, payload_bytes)
        words[:, 1] = np.arange(first_seq, first_seq + count)
        words[:, _HEADER_WORDS + 1] = steps
        floats = words.view("<f8")
        floats[:, _HEADER_WORDS + 2] = self.began_at + steps
        floats[:, _HEADER_WORDS + 3] = steps
        floats[:, _HEADER_WORDS + _ROW_WORDS :] = values
        words[:, 2] = _checksums(words, frames.crc_seed(self.writer_id))
        words[:, 0] |= np.uint64(frames.FLAG_SEALED << 40)
        kinds = (rows.ColumnKind.FLOAT,) * len(self.metrics)
        schema = rows.Schema(0, tuple(self.metrics), kinds).encode()
        seed = frames.crc_seed(self.writer_id)
        content = frames.encode_frame(seed, frames.Kind.SCHEMA, 0, schema) + words.tobytes()
        return self._batch(count, content)

    def _records(self, records: Sequence[tuple[int, Any]]) -> record_pb2.Batch:
        seed = frames.crc_seed(self.writer_id)
        content = b"".join(
            frames.encode_frame(seed, kind, seq, message.SerializeToString())
            for seq, (kind, message) in enumerate(records, self.last_seq + 1)
        )
        return self._batch(len(records), content)

    def _batch(self, count: int, content: bytes) -> record_pb2.Batch:
        first_seq, self.last_seq = self.last_seq + 1, self.last_seq + count
        return record_pb2.Batch(
            writer_id=self.writer_id,
            first_seq=first_seq,
            last_seq=self.last_seq,
            crc32=zlib.crc32(content),
            frames=content,
        )


def _checksums(words: npt.NDArray[np.uint64], seed: int) -> list[int]:
    """Of frames that lie one after the other and are equally long."""
    memory, step = memoryview(words).cast("B"), words.shape[1] * 8
    crc32, head = zlib.crc32, frames.FRAME_HEADER_BYTES
    return [
        crc32(memory[at + head : at + step], crc32(memory[at : at + _PREFIX_BYTES], seed))
        for at in range(0, len(memory), step)
    ]


def curves(
    first_step: int, count: int, metrics: int, *, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps, and values as losses are: falling, and noisy in every digit."""
    steps = np.arange(first_step, first_step + count, dtype=np.int64)
    noise = np.random.default_rng((seed, first_step)).standard_normal((count, metrics))
    return steps, np.exp(-steps / 250_000)[:, None] * (1 + 0.05 * noise)

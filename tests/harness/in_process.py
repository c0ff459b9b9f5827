"""The daemon's parts in the test's own loop, with short times and a disk that can fail."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from harness.faulty_filesystem import FaultyFilesystem
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.run_folder import (
    RunManifest,
    boot_id,
    machine_id,
    pid_start_ticks,
    write_manifest,
)
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.host import this_host
from kelt_daemon.ingest import Ingest
from kelt_daemon.registry import Registry
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream.kelt_server import KeltServer
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Exit
from kelt_proto.v1.rows import ColumnKind, Schema

QUICK = DaemonConfig(
    no_room_retry_s=0.05,
    broken_retry_s_min=0.05,
    broken_retry_s_max=0.05,
    settle_s=0.1,
    probe_interval_s=0.05,
    backoff_s_min=0.05,
    backoff_s_max=0.2,
    heartbeat_interval_s=0.05,
    first_segment_bytes=64 * 1024,
    segment_bytes_max=64 * 1024,
)


@dataclass
class Parts:
    registry: Registry
    committer: GroupCommitter
    ingest: Ingest
    disk: FaultyFilesystem
    config: DaemonConfig

    async def until(self, condition, what: str) -> None:
        deadline_s = time.monotonic() + 60
        while not condition():  # conditions on state that announces no change
            assert time.monotonic() < deadline_s, what
            await anyio.sleep(0.02)

    async def adopt(self, path: Path) -> RunFolder:
        return await self.registry.adopt(path)


@asynccontextmanager
async def daemon_parts(runs: Path, **config) -> AsyncIterator[Parts]:
    """Everything but the socket and the process."""
    os.makedirs(runs, exist_ok=True)  # noqa: PTH103 # once, in a test
    chosen = replace(QUICK, **config)
    async with anyio.create_task_group() as tasks:
        committer = GroupCommitter(config=chosen)
        disk = FaultyFilesystem()
        registry = Registry(
            tasks=tasks,
            runs=runs,
            committer=committer,
            host=this_host(),
            config=chosen,
            filesystem=disk,
            make_upstream=lambda url: KeltServer(url=url, config=chosen),
        )
        ingest = Ingest(
            registry=registry, committer=committer, config=chosen, keep_secret=lambda _: None
        )
        tasks.start_soon(committer.run)
        yield Parts(registry, committer, ingest, disk, chosen)
        tasks.cancel_scope.cancel()


def make_folder(
    folder: Path, upstream: str, rows: int, *, ended: bool = True, **changes
) -> SpoolWriter:
    """A run folder of this very process, or, with `pid=0`, of one that is gone."""
    writer_id = os.urandom(16)
    folder.mkdir(parents=True)
    manifest = RunManifest(
        writer_id=writer_id.hex(), entity="", project="p", run_id=folder.name, branch_id="b",
        mode="online", upstream=upstream, started_at=time.time(), hostname="here",
        machine_id=machine_id(), boot_id=boot_id(), pid=os.getpid(),
        pid_start_ticks=pid_start_ticks(os.getpid()),
    )  # fmt: skip
    write_manifest(folder, replace(manifest, **changes))
    spool = SpoolWriter(folder=folder, writer_id=writer_id, quota_bytes=1 << 28)
    schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
    for i in range(rows):
        spool.append_row(schema, 0, i, 0.0, 0.0, (float(i),))
    if ended:
        spool.append_control(Kind.EXIT, Exit(at=1.0).SerializeToString())
    return spool


def offer_all(folder: RunFolder, spool: SpoolWriter) -> None:
    """Offers a folder everything that its spool holds, as its stream would."""
    for cut in Sealer(spool=spool, cutter=BatchCutter()).batches():
        folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)

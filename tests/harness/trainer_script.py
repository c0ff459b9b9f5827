"""A trainer as the daemon sees one: a run folder, a spool, perhaps a stream, and an end.

    python trainer_script.py FOLDER UPSTREAM ROWS END [--stream] [--mode offline] [--machine ID]

END is `exit` (an exit record, code 0), `silent:N` (leaves with code N without a record) or `wait`
(lives until it is killed). Prints `ready` when all rows are logged. Row i holds the value i.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path

from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.run_folder import (
    RunManifest,
    boot_id,
    machine_id,
    pid_start_ticks,
    take_lock,
    write_manifest,
)
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Exit, RunOpened
from kelt_proto.v1.rows import ColumnKind, Schema


def open_folder(folder: Path, arguments: argparse.Namespace) -> SpoolWriter:
    writer_id = os.urandom(16)
    folder.mkdir(parents=True, mode=0o700)
    take_lock(folder)
    write_manifest(
        folder,
        RunManifest(
            writer_id=writer_id.hex(), entity="", project="p", run_id=folder.name,
            branch_id="b-" + folder.name, mode=arguments.mode, upstream=arguments.upstream,
            started_at=time.time(), hostname="here", machine_id=arguments.machine or machine_id(),
            boot_id=arguments.boot or boot_id(), pid=os.getpid(),
            pid_start_ticks=pid_start_ticks(os.getpid()),
        ),
    )  # fmt: skip
    spool = SpoolWriter(folder=folder, writer_id=writer_id, quota_bytes=1 << 30)
    opened = RunOpened(project="p", run_id=folder.name, branch_id="b-" + folder.name)
    spool.append_control(Kind.RUN_OPENED, opened.SerializeToString())
    return spool


class Stream(threading.Thread):
    """A sender as plain as can be: seals, sends, sends again from the spool's start on a break."""

    def __init__(self, spool: SpoolWriter, socket: Path) -> None:
        super().__init__(daemon=True)
        self.spool, self.socket = spool, socket
        self.sealer = Sealer(spool=spool, cutter=BatchCutter())
        self.unacked: list = []
        self.durable = self.committed = 0
        self.closing = False

    def run(self) -> None:
        while not (self.closing and not self.unacked and self.sealer.sealed_seq == self.spool.seq):
            try:
                self.follow()
            except Exception as error:  # noqa: BLE001 # the daemon may come back
                print("stream:", error, file=sys.stderr, flush=True)  # noqa: T201
                time.sleep(0.05)

    def follow(self) -> None:
        from kelt.sidecar_client import SidecarClient
        from kelt_proto.v1 import sidecar_pb2
        from kelt_proto.v1.record_pb2 import Batch

        with SidecarClient(socket=self.socket) as client:
            stream = client.append(writer_id=self.spool.writer_id, run_folder=self.spool.folder)
            sent = None
            while True:
                self.unacked += self.sealer.batches()
                reply = stream.latest(timeout_s=0.02)
                if reply is None:
                    continue
                if sent is None or reply.durable_through > self.durable:
                    sent = max(sent or 0, reply.durable_through)
                self.durable, self.committed = reply.durable_through, reply.committed_through
                self.unacked = [b for b in self.unacked if b.last_seq > self.durable]
                for cut in self.unacked:
                    if cut.last_seq > sent:
                        batch = Batch(
                            writer_id=self.spool.writer_id, first_seq=cut.first_seq,
                            last_seq=cut.last_seq, crc32=cut.crc32, frames=cut.frames,
                        )  # fmt: skip
                        stream.send(sidecar_pb2.AppendRequest(batch=batch))
                        sent = cut.last_seq
                self.spool.release(self.durable)
                if self.closing and not self.unacked and self.sealer.sealed_seq == self.spool.seq:
                    stream.close()
                    return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("upstream")
    parser.add_argument("rows", type=int)
    parser.add_argument("end")
    parser.add_argument("--stream", type=Path)
    parser.add_argument("--mode", default="online")
    parser.add_argument("--machine", default="")
    parser.add_argument("--boot", default="")
    parser.add_argument("--row-s", type=float, default=0.0)
    arguments = parser.parse_args()
    spool = open_folder(arguments.folder, arguments)
    stream = Stream(spool, arguments.stream) if arguments.stream else None
    if stream:
        stream.start()
    schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
    for i in range(arguments.rows):
        spool.append_row(schema, 0, i, time.time(), 0.0, (float(i),))
        if arguments.row_s:
            time.sleep(arguments.row_s)
        if i % 1000 == 0:
            spool.prepare()
    print("ready", flush=True)  # noqa: T201
    if arguments.end == "wait":
        while True:
            spool.beat()
            time.sleep(0.1)
    kind, _, code = arguments.end.partition(":")
    if kind == "exit":
        spool.append_control(Kind.EXIT, Exit(exit_code=0, at=time.time()).SerializeToString())
    if stream:
        stream.closing = True
        stream.join(60)
    spool.close()
    sys.stdout.flush()
    os._exit(int(code or 0))


if __name__ == "__main__":
    main()

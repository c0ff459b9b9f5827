from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import kelt
from harness.online_runs import daemon_pid
from kelt.active import active
from kelt.journal.spool import SpoolWriter
from kelt.local_history import read_records
from kelt.row_packing import RowPacker
from kelt.row_plans import RowEvents, StepCount
from kelt.run_folder import read_manifest
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import Row, decode_row


@dataclass
class FolderContents:
    """What a run folder holds, decoded by the protocol's plain reader."""

    opened: record_pb2.RunOpened | None = None
    rows: list[Row] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    controls: list[Any] = field(default_factory=list)
    exits: list[record_pb2.Exit] = field(default_factory=list)
    rewinds: list[record_pb2.Rewind] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    #: Lines of the console by their branch and number, and system samples.
    console: dict[tuple[str, int], str] = field(default_factory=dict)
    samples: list[record_pb2.SystemSample] = field(default_factory=list)

    @property
    def printed(self) -> list[str]:
        return list(self.console.values())

    @property
    def steps(self) -> list[int]:
        return [row.header.step for row in self.rows]

    def column(self, name: str) -> list[Any]:
        return [row.values.get(name) for row in self.rows]


_TYPES = {
    Kind.CONFIG: record_pb2.Config,
    Kind.SUMMARY: record_pb2.Summary,
    Kind.METRIC_DEFINITION: record_pb2.MetricDefinition,
    Kind.RUN_INFO: record_pb2.RunInfo,
    Kind.LOSS: record_pb2.Loss,
}


def contents_of(folder: Path) -> FolderContents:
    found = FolderContents()
    for record in read_records(folder):
        found.seqs.append(record.seq)
        if record.kind == Kind.ROW:
            found.rows.append(decode_row(record.payload, record.schemas))
            found.branches.append(record.branch_id)
        elif record.kind == Kind.RUN_OPENED:
            found.opened = record_pb2.RunOpened.FromString(record.payload)
        elif record.kind == Kind.EXIT:
            found.exits.append(record_pb2.Exit.FromString(record.payload))
        elif record.kind == Kind.REWIND:
            found.rewinds.append(record_pb2.Rewind.FromString(record.payload))
        elif record.kind == Kind.CONSOLE:
            for line in record_pb2.Console.FromString(record.payload).lines:
                found.console[record.branch_id, line.number] = line.text
        elif record.kind == Kind.SYSTEM:
            found.samples += record_pb2.System.FromString(record.payload).samples
        else:
            found.controls.append(_TYPES[Kind(record.kind)].FromString(record.payload))
    return found


@pytest.fixture
def contents() -> Callable[[Path], FolderContents]:
    return contents_of


@pytest.fixture
def kelt_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of its own, offline and silent; runs left open are finished."""
    for name in [n for n in os.environ if n.startswith("KELT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "state"
    monkeypatch.setenv("KELT_DIR", str(root))
    monkeypatch.setenv("KELT_MODE", "offline")
    monkeypatch.setenv("KELT_SILENT", "1")
    monkeypatch.setenv("KELT_CONFIG", "/dev/null")
    yield root
    while active.all:
        active.all[-1].finish()


@pytest.fixture
def start(kelt_dir: Path) -> Callable[..., kelt.Run]:
    """Opens an offline run of project `p`."""

    def open_run(project: str = "p", **arguments: Any) -> kelt.Run:
        arguments.setdefault("reinit", "create_new")
        return kelt.init(project, **arguments)

    return open_run


@dataclass
class Packing:
    """A packer on a real spool."""

    packer: RowPacker
    spool: SpoolWriter
    folder: Path

    def log(self, data: Any, step: Any = None, *, commit: bool = True) -> None:
        self.packer.log(data, step, commit)

    def rows(self) -> list[Row]:
        from kelt.journal.reader import read_spool
        from kelt_proto.v1.rows import decode_schema

        schemas: dict[int, Any] = {}
        rows = []
        for frame in read_spool(self.folder):
            if frame.kind == Kind.SCHEMA:
                schema = decode_schema(bytes(frame.payload))
                schemas[schema.schema_id] = schema
            else:
                rows.append(decode_row(bytes(frame.payload), schemas))
        return rows


def open_packing(folder: Path, steps: StepCount | None = None) -> Packing:
    folder.mkdir(parents=True, exist_ok=True)
    spool = SpoolWriter(folder=folder, writer_id=bytes(16), quota_bytes=1 << 28)
    events = RowEvents(on_row=lambda *_: None, before_step_goes_down=lambda *_: None)
    packer = RowPacker(
        sink=spool, steps=steps or StepCount(), started=time.monotonic(), events=events
    )
    return Packing(packer, spool, folder)


@pytest.fixture
def packing(tmp_path: Path) -> Iterator[Packing]:
    opened = open_packing(tmp_path / "run")
    yield opened
    opened.spool.close()


@pytest.fixture
def new_packing(tmp_path: Path) -> Iterator[Callable[[StepCount], Packing]]:
    opened: list[Packing] = []

    def make(steps: StepCount) -> Packing:
        opened.append(open_packing(tmp_path / f"run{len(opened)}", steps))
        return opened[-1]

    yield make
    for one in opened:
        one.spool.close()


@pytest.fixture
def run_script(kelt_dir: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process of its own."""

    def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def folders(kelt_dir: Path) -> Callable[[], list[Path]]:
    """The run folders, oldest first."""

    def found() -> list[Path]:
        return sorted(
            (kelt_dir / "runs").iterdir(), key=lambda path: read_manifest(path).started_at
        )

    return found


@pytest.fixture
def online(kelt_dir, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("KELT_MODE", "online")
    monkeypatch.setenv("KELT_UPSTREAM", f"http://127.0.0.1:{port}")
    yield kelt_dir
    while kelt.run is not None:
        kelt.finish()
    with contextlib.suppress(OSError, ValueError):
        os.kill(daemon_pid(kelt_dir), signal.SIGTERM)
